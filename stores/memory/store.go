// Package memorystore keeps sessions in the memory of this process. It needs no
// server and no network, and fails only at the limits that you set.
//
// It suits tests, small sites and tools. Its limitations are: all sessions are
// lost when the process ends; other processes can't see the sessions, so several
// instances behind a load balancer need a shared store; and an attacker can fill
// the memory, so a site that creates sessions for anonymous visitors should set
// [Options.MaxEntries] or [Options.MaxBytes].
//
//	sessions, err := core.New(memorystore.New(nil), &core.Options{Keys: keys})
//
// The store has all capabilities: versions, batches ([core.Batcher]), lists of the
// sessions of an owner ([core.Indexer]), touching and notifying (it goes down when it
// is closed). It holds encoded sessions as immutable strings, never live
// values, so that two requests never share data that one of them could change.
//
// A session takes 80 to 130 bytes more than its key and payload. The removal of
// expired sessions does not delay calls, even with a million sessions.
//
// A batch counts net for the limits of [Options], so a store that is full takes a
// new session that replaces another one: a login never needs a free place. Notes
// ([core.Write]) are no sessions and do not count. All notes together take at
// most 64 MiB; beyond that, those that were written longest ago are removed. An entry
// in a list takes 150 to 250 bytes, and does not count either.
package memorystore

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/stores/internal/notify"
	"github.com/gensession/gensession/stores/internal/storekey"
)

// Options limit a store. Nil and the zero value set no limits.
type Options struct {
	// MaxEntries is the maximum number of sessions. Zero or less means no
	// limit.
	//
	// If the store is full and no session has expired, a new session is refused
	// with [core.ErrRefused]. A live session is never evicted.
	MaxEntries int

	// MaxBytes is the maximum memory of all sessions: the keys, the payloads and
	// 128 bytes for each session. Zero or less means no limit.
	//
	// A write that exceeds it is refused as above. That includes a write that
	// makes a stored session larger, which then stays unchanged. The error of a
	// session that could never fit is [core.ErrTooLarge].
	MaxBytes int64
}

// A Store keeps sessions in memory. It is safe for concurrent use.
type Store struct {
	seed   maphash.Seed
	start  time.Time // the times of records count from here, monotonically
	shards [shards]shard
	quota  quota
	lists  [shards]lists

	closed    atomic.Bool
	once      sync.Once
	sweeper   sweeper
	listeners notify.Listeners
}

var (
	_ core.Store    = (*Store)(nil)
	_ core.Swapper  = (*Store)(nil)
	_ core.Batcher  = (*Store)(nil)
	_ core.Indexer  = (*Store)(nil)
	_ core.Toucher  = (*Store)(nil)
	_ core.Notifier = (*Store)(nil)
	_ core.Causer   = (*Store)(nil)

	// The core finds View and Keep by their names.
	_ interface {
		View(ctx context.Context, key string) (string, core.Version, error)
		Keep(ctx context.Context, text string, keyLen int, ttl time.Duration, v core.Version) (core.Version, error)
	} = (*Store)(nil)
)

// Format does not show what is in the store, under any verb.
func (s *Store) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("session store")) }

// New returns an empty store. Nil options are valid.
//
// A timer removes expired sessions. It runs only while the store has sessions
// that can expire. So a store that is dropped without Close frees its memory
// when its sessions have expired.
func New(o *Options) *Store {
	if o == nil {
		o = &Options{}
	}
	s := &Store{
		seed:  maphash.MakeSeed(),
		start: time.Now(),
		quota: quota{maxEntries: int64(o.MaxEntries), maxBytes: o.MaxBytes},
	}
	s.sweeper.at.Store(int64(never))
	return s
}

// Get returns a copy of the payload under key.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	data, _, err := s.GetVersion(ctx, key)
	return data, err
}

// GetVersion returns a copy of the payload under key and its version.
func (s *Store) GetVersion(ctx context.Context, key string) ([]byte, core.Version, error) {
	payload, version, err := s.View(ctx, key)
	if err != nil {
		return nil, 0, err
	}
	return []byte(payload), version, nil
}

// View returns the payload under key without copying it, and its version. It is
// a fast path for the core.
func (s *Store) View(ctx context.Context, key string) (string, core.Version, error) {
	sh, err := s.lock(ctx, key)
	if err != nil {
		return "", 0, err
	}
	r, _, ok := s.find(sh, key, s.now())
	sh.mu.Unlock()
	if !ok {
		return "", 0, errNotFound
	}
	return r.payload(key), r.version, nil
}

// Set stores a copy of data under key for ttl. A ttl of zero has no end.
func (s *Store) Set(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	_, err := s.write(ctx, join(key, data), len(key), ttl, nil)
	return err
}

// SetVersion is Set on condition that key still has version v, or does not exist
// if v is zero.
func (s *Store) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	return s.write(ctx, join(key, data), len(key), ttl, &v)
}

// Keep is SetVersion without copying: the first keyLen bytes of text are the key,
// and the rest is the payload. It is a fast path for the core.
func (s *Store) Keep(ctx context.Context, text string, keyLen int, ttl time.Duration, v core.Version) (core.Version, error) {
	return s.write(ctx, text, keyLen, ttl, &v)
}

// write stores text if the version of its key is *want. A nil want matches any
// version.
func (s *Store) write(ctx context.Context, text string, keyLen int, ttl time.Duration, want *core.Version) (core.Version, error) {
	if ttl < 0 {
		return 0, errNegative
	}
	key := text[:keyLen]
	for {
		sh, err := s.lock(ctx, key)
		if err != nil {
			return 0, err
		}
		now := s.now()
		r, note, ok := s.find(sh, key, now)
		if !ok && !storekey.Valid(key) { // an existing key is valid
			sh.mu.Unlock()
			return 0, errKey
		}
		if want != nil {
			switch {
			case !ok && *want != 0:
				err = errNotFound
			case ok && r.version != *want:
				err = errConflict
			}
			if err != nil {
				sh.mu.Unlock()
				return 0, err
			}
		}

		entries, bytes := int64(1), cost(text)
		if ok && !note {
			entries, bytes = 0, int64(len(text)-len(r.text))
		}
		if !s.quota.take(entries, bytes) {
			sh.mu.Unlock()
			if err := s.makeRoom(ctx, cost(text)); err != nil {
				return 0, err
			}
			continue // the record may have changed meanwhile
		}

		sh.version++
		r = record{text, sh.version, after(now, ttl)}
		if note {
			sh.notes.remove(key)
		}
		sh.put(key, r)
		sh.mu.Unlock()
		s.arm(r.expires)
		return r.version, nil
	}
}

// Touch sets the ttl of key, counted from now.
func (s *Store) Touch(ctx context.Context, key string, ttl time.Duration) error {
	if ttl < 0 {
		return errNegative
	}
	sh, err := s.lock(ctx, key)
	if err != nil {
		return err
	}
	now := s.now()
	r, note, ok := s.find(sh, key, now)
	if !ok {
		sh.mu.Unlock()
		return errNotFound
	}
	r.expires = after(now, ttl)
	if note {
		sh.notes.touch(key, r.expires)
	} else {
		sh.put(key, r)
	}
	sh.mu.Unlock()
	s.arm(r.expires)
	return nil
}

// Destroy removes key.
func (s *Store) Destroy(ctx context.Context, key string) error {
	sh, err := s.lock(ctx, key)
	if err != nil {
		return err
	}
	defer sh.mu.Unlock()
	if r, ok := sh.records[key]; ok {
		s.drop(sh, key, r)
	} else if sh.notes != nil {
		sh.notes.remove(key)
	}
	return nil
}

// Len returns the number of stored sessions, including expired ones that are not
// yet removed. Notes do not count.
func (s *Store) Len() int {
	n := 0
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		n += len(sh.records)
		sh.mu.Unlock()
	}
	return n
}

// Notify calls f(false) when the store is closed, or at once if it is already
// closed.
func (s *Store) Notify(f func(up bool)) (stop func()) { return s.listeners.Notify(f) }

// Cause returns why the store is down: it is closed.
func (s *Store) Cause() error {
	if s.closed.Load() {
		return errClosed
	}
	return nil
}

// Close removes all sessions and stops the sweeper. When it returns, the store
// has no running goroutine. Later calls fail with [core.ErrUnavailable]. A second
// Close does nothing. The error is always nil.
func (s *Store) Close() error {
	s.once.Do(func() {
		s.closed.Store(true)
		s.sweeper.stop()
		for i := range s.shards {
			sh := &s.shards[i]
			sh.mu.Lock() // earlier calls have ended, and later ones see closed
			sh.records, sh.notes = nil, nil
			sh.mu.Unlock()
			s.lists[i].clear()
		}
		s.listeners.Close()
	})
	return nil
}

// lock returns the locked shard of key, or an error if the call must not be
// executed.
func (s *Store) lock(ctx context.Context, key string) (*shard, error) {
	if err := ctx.Err(); err != nil {
		return nil, ended(err)
	}
	sh := &s.shards[s.shardOf(key)]
	sh.lock()
	if s.closed.Load() {
		sh.mu.Unlock()
		return nil, errClosed
	}
	return sh, nil
}

// shardOf returns the index of the shard of key.
func (s *Store) shardOf(key string) int { return int(maphash.String(s.seed, key) % shards) }

// ended is the error of a call whose context has ended with err.
func ended(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("memorystore: %w: %w", core.ErrTimeout, err)
	}
	return fmt.Errorf("memorystore: %w", err)
}

// find returns the record of key if it has not expired, and whether it is a
// note. It removes an expired record, so that a ttl is exact whatever the
// sweeper does.
func (s *Store) find(sh *shard, key string, now time.Duration) (r record, note, ok bool) {
	r, ok = sh.records[key]
	switch {
	case !ok:
		if sh.notes != nil {
			r, ok = sh.notes.find(key, now)
		}
		return r, ok, ok
	case r.expires <= now:
		s.drop(sh, key, r)
		return record{}, false, false
	}
	return r, false, true
}

// drop removes the record of key, which is a session.
func (s *Store) drop(sh *shard, key string, r record) {
	delete(sh.records, key)
	s.quota.give(cost(r.text))
}

// now returns the time since start. It is monotonic, so that a change of the wall
// clock neither ends nor revives a session.
func (s *Store) now() time.Duration { return time.Since(s.start) }

// after returns when a ttl that begins now ends.
func after(now, ttl time.Duration) time.Duration {
	if ttl == 0 || ttl >= never-now { // 292 years
		return never
	}
	return now + ttl
}

const never time.Duration = math.MaxInt64

// Frequent errors are created once. They contain no key.
var (
	errNotFound = fmt.Errorf("memorystore: %w", core.ErrNotFound)
	errConflict = fmt.Errorf("memorystore: %w", core.ErrConflict)
	errClosed   = fmt.Errorf("memorystore: %w: it is closed", core.ErrUnavailable)
	errNegative = fmt.Errorf("memorystore: %w: the ttl is negative", core.ErrRefused)
	errKey      = fmt.Errorf("memorystore: %w: %s", core.ErrRefused, storekey.Rule)
	errFull     = fmt.Errorf("memorystore: %w: it is full (Options.MaxEntries, MaxBytes)", core.ErrRefused)
	errTooLarge = fmt.Errorf("memorystore: %w for Options.MaxBytes", core.ErrTooLarge)
	errNote     = fmt.Errorf("memorystore: %w for a note", core.ErrTooLarge)
	errTwice    = fmt.Errorf("memorystore: %w: a batch has two writes of one key", core.ErrRefused)
	errRemoval  = fmt.Errorf("memorystore: %w: a removal in a batch has no version", core.ErrRefused)
)
