// Package memorystore keeps sessions in the memory of this process: nothing to
// install, no network, no error but the bounds that you set.
//
// It is right for tests, for small sites and for tools, with three things
// known. All sessions are lost when the process ends. A second process knows
// nothing of them, so several instances behind a balancer need a store that
// they share. And memory is what an attacker can fill: a site that gives a
// session to everybody should set [Options.MaxEntries] or [Options.MaxBytes].
//
//	sessions, err := core.New(memorystore.New(nil), &core.Options{Keys: keys})
//
// It has all abilities: versions, keeping, touching and notifying (it goes down
// once, when it is closed). It holds encoded text, never live values, as strings,
// which nothing changes. So two requests can't come to share anything that one
// of them could change.
//
// A million sessions are ordinary for it. Each takes 80 to 130 bytes more than
// its key and payload, and no call has to wait longer for the sweeper of
// expired ones the more there are.
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

// Options bound a store. The zero value and nil bound nothing.
type Options struct {
	// MaxEntries is how many sessions the store holds at most. Zero or less
	// is no limit.
	//
	// When the store is full and nothing in it has expired, a new session is
	// refused with an error that is [core.ErrRefused]. No live session is ever
	// dropped to make room.
	MaxEntries int

	// MaxBytes is how much memory the sessions take at most: keys, payloads
	// and 128 bytes for each. Zero or less is no limit.
	//
	// A write that does not fit is refused as above, also one that makes an
	// old session larger, which then stays as it was. One that could never fit
	// is [core.ErrTooLarge].
	MaxBytes int64
}

// A Store keeps sessions in memory. It is safe for concurrent use.
type Store struct {
	seed   maphash.Seed
	start  time.Time // the time of all records counts from here, monotonically
	shards [shards]shard
	quota  quota

	closed    atomic.Bool
	once      sync.Once
	sweeper   sweeper
	listeners notify.Listeners
}

var (
	_ core.Store    = (*Store)(nil)
	_ core.Swapper  = (*Store)(nil)
	_ core.Toucher  = (*Store)(nil)
	_ core.Notifier = (*Store)(nil)

	// The core finds View and Keep by their names.
	_ interface {
		View(ctx context.Context, key string) (string, core.Version, error)
		Keep(ctx context.Context, text string, keyLen int, ttl time.Duration, v core.Version) (core.Version, error)
	} = (*Store)(nil)
)

// New makes an empty store. Nil options are fine.
//
// Nothing runs while the store is idle: a timer sweeps the expired sessions
// out as long as there are some that can expire. So a store that is forgotten
// without Close gives its memory back by and by.
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

// GetVersion returns a copy of the payload under key, and its version.
func (s *Store) GetVersion(ctx context.Context, key string) ([]byte, core.Version, error) {
	payload, version, err := s.View(ctx, key)
	if err != nil {
		return nil, 0, err
	}
	return []byte(payload), version, nil
}

// View returns the payload under key as it is kept, and its version.
func (s *Store) View(ctx context.Context, key string) (string, core.Version, error) {
	sh, err := s.lock(ctx, key)
	if err != nil {
		return "", 0, err
	}
	r, ok := s.find(sh, key, s.now())
	sh.mu.Unlock()
	if !ok {
		return "", 0, errNotFound
	}
	return r.payload(key), r.version, nil
}

// Set stores a copy of data under key for ttl, zero being without an end.
func (s *Store) Set(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	_, err := s.write(ctx, join(key, data), len(key), ttl, nil)
	return err
}

// SetVersion is Set if the version of key is v still, or if there is no key
// and v is zero.
func (s *Store) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	return s.write(ctx, join(key, data), len(key), ttl, &v)
}

// Keep is SetVersion of the key that text begins with and of what follows it.
// The store keeps text.
func (s *Store) Keep(ctx context.Context, text string, keyLen int, ttl time.Duration, v core.Version) (core.Version, error) {
	return s.write(ctx, text, keyLen, ttl, &v)
}

// write stores text, if the version of its key is *want; a nil want is any.
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
		r, ok := s.find(sh, key, now)
		if !ok && !storekey.Valid(key) { // one that is there was valid when it came
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
		if ok {
			entries, bytes = 0, int64(len(text)-len(r.text))
		}
		if !s.quota.take(entries, bytes) {
			sh.mu.Unlock()
			if err := s.makeRoom(ctx, cost(text)); err != nil {
				return 0, err
			}
			continue // the key may have changed meanwhile
		}

		sh.version++
		r = record{text, sh.version, after(now, ttl)}
		sh.put(key, r)
		sh.mu.Unlock()
		s.arm(r.expires)
		return r.version, nil
	}
}

// Touch gives key a new ttl, counted from now.
func (s *Store) Touch(ctx context.Context, key string, ttl time.Duration) error {
	if ttl < 0 {
		return errNegative
	}
	sh, err := s.lock(ctx, key)
	if err != nil {
		return err
	}
	now := s.now()
	r, ok := s.find(sh, key, now)
	if !ok {
		sh.mu.Unlock()
		return errNotFound
	}
	r.expires = after(now, ttl)
	sh.put(key, r)
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
	}
	return nil
}

// Len tells how many sessions the store holds now, those included that have
// expired and wait to be swept out.
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

// Notify calls f(false) when the store is closed, at once if it is already.
func (s *Store) Notify(f func(up bool)) (stop func()) { return s.listeners.Notify(f) }

// Close forgets all sessions and stops the sweeper; when it returns, nothing
// of the store runs any more. Calls after it fail with [core.ErrUnavailable].
// The second Close does nothing. The error is always nil.
func (s *Store) Close() error {
	s.once.Do(func() {
		s.closed.Store(true)
		s.sweeper.stop()
		for i := range s.shards {
			sh := &s.shards[i]
			sh.mu.Lock() // the calls before have ended, and those after it see closed
			sh.records = nil
			sh.mu.Unlock()
		}
		s.listeners.Close()
	})
	return nil
}

// lock returns the locked shard of key, unless the call may not be carried out.
func (s *Store) lock(ctx context.Context, key string) (*shard, error) {
	if err := ctx.Err(); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return nil, fmt.Errorf("memorystore: %w: %w", core.ErrTimeout, err)
		}
		return nil, fmt.Errorf("memorystore: %w", err)
	}
	sh := &s.shards[maphash.String(s.seed, key)%shards]
	if !sh.mu.TryLock() {
		sh.waiting.Add(1)
		sh.mu.Lock()
		sh.waiting.Add(-1)
	}
	if s.closed.Load() {
		sh.mu.Unlock()
		return nil, errClosed
	}
	return sh, nil
}

// find returns the record of key, if it is alive now. It removes an expired
// one: a ttl is over exactly when it is over, whatever the sweeper does.
func (s *Store) find(sh *shard, key string, now time.Duration) (r record, ok bool) {
	r, ok = sh.records[key]
	if ok && r.expires <= now {
		s.drop(sh, key, r)
		return record{}, false
	}
	return r, ok
}

// drop removes the record of key.
func (s *Store) drop(sh *shard, key string, r record) {
	delete(sh.records, key)
	s.quota.give(cost(r.text))
}

// now is the age of the store: monotonic, so that a change of the wall clock
// ends no session and revives none.
func (s *Store) now() time.Duration { return time.Since(s.start) }

// after is the moment when a ttl that begins now is over.
func after(now, ttl time.Duration) time.Duration {
	if ttl == 0 || ttl >= never-now { // 292 years
		return never
	}
	return now + ttl
}

const never time.Duration = math.MaxInt64

// The errors are made once: a miss is an everyday thing. They name no key.
var (
	errNotFound = fmt.Errorf("memorystore: %w", core.ErrNotFound)
	errConflict = fmt.Errorf("memorystore: %w", core.ErrConflict)
	errClosed   = fmt.Errorf("memorystore: %w: it is closed", core.ErrUnavailable)
	errNegative = fmt.Errorf("memorystore: %w: a negative ttl", core.ErrRefused)
	errKey      = fmt.Errorf("memorystore: %w: %s", core.ErrRefused, storekey.Rule)
	errFull     = fmt.Errorf("memorystore: %w: it is full (Options.MaxEntries, MaxBytes)", core.ErrRefused)
	errTooLarge = fmt.Errorf("memorystore: %w for Options.MaxBytes", core.ErrTooLarge)
)
