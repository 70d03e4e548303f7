package memorystore

import (
	"context"
	"hash/maphash"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/stores/internal/storekey"
)

// lists are some of the lists of [core.Indexer], those that one lock guards. It is
// taken after the locks of the shards, so that what a batch does to both is one step
// for everybody.
type lists struct {
	mu     sync.Mutex
	byName map[string]map[string]time.Duration // when each key leaves, as time since start; nil until the first one
	due    time.Duration                       // no key leaves earlier
}

func (s *Store) listsOf(name string) *lists { return &s.lists[s.listsAt(name)] }

func (s *Store) listsAt(name string) int { return int(maphash.String(s.seed, name) % shards) }

// lockLists locks the lists that the writes name. Most batches name none.
func (s *Store) lockLists(writes []core.Write) (unlock func()) {
	var room [4]int
	order := room[:0]
	for _, w := range writes {
		if w.Owner != "" {
			order = append(order, s.listsAt(w.Owner))
		}
	}
	if len(order) == 0 {
		return func() {}
	}
	slices.Sort(order)
	locked := slices.Clone(slices.Compact(order))
	for _, at := range locked {
		s.lists[at].mu.Lock()
	}
	return func() {
		for _, at := range locked {
			s.lists[at].mu.Unlock()
		}
	}
}

// enlist does to the lists what the writes say. They are locked.
func (s *Store) enlist(writes []core.Write, now time.Duration) {
	for _, w := range writes {
		switch {
		case w.Owner == "":
		case w.Data == nil || w.Note:
			s.listsOf(w.Owner).remove(w.Owner, w.Key)
		default:
			s.listsOf(w.Owner).add(w.Owner, w.Key, after(now, w.TTL))
		}
	}
}

// add puts key into the list until expires. mu is held.
func (l *lists) add(name, key string, expires time.Duration) {
	keys := l.byName[name]
	if keys == nil {
		if l.byName == nil {
			l.byName, l.due = map[string]map[string]time.Duration{}, never
		}
		keys = make(map[string]time.Duration, 1)
		l.byName[strings.Clone(name)] = keys // it may refer to a large string
	}
	if was, ok := keys[key]; !ok {
		key = strings.Clone(key)
	} else if was >= expires {
		return
	}
	keys[key] = expires
	l.due = min(l.due, expires)
}

// remove takes key out. mu is held.
func (l *lists) remove(name, key string) {
	keys := l.byName[name]
	delete(keys, key)
	if keys != nil && len(keys) == 0 {
		delete(l.byName, name)
	}
}

func (l *lists) clear() {
	l.mu.Lock()
	l.byName = nil
	l.mu.Unlock()
}

// lockList locks the lists of which one has that name.
func (s *Store) lockList(ctx context.Context, name string) (*lists, error) {
	if err := ctx.Err(); err != nil {
		return nil, ended(err)
	}
	if !storekey.Valid(name) {
		return nil, errKey
	}
	l := s.listsOf(name)
	l.mu.Lock()
	if s.closed.Load() {
		l.mu.Unlock()
		return nil, errClosed
	}
	return l, nil
}

// Owned returns the keys in the list of owner.
func (s *Store) Owned(ctx context.Context, owner string) ([]string, error) {
	l, err := s.lockList(ctx, owner)
	if err != nil {
		return nil, err
	}
	defer l.mu.Unlock()
	now := s.now()
	var keys []string
	for key, expires := range l.byName[owner] {
		if expires <= now {
			l.remove(owner, key)
		} else {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// Own puts key into the list of owner for ttl.
func (s *Store) Own(ctx context.Context, owner, key string, ttl time.Duration) error {
	switch {
	case ttl < 0:
		return errNegative
	case !storekey.Valid(key):
		return errKey
	}
	l, err := s.lockList(ctx, owner)
	if err != nil {
		return err
	}
	expires := after(s.now(), ttl)
	l.add(owner, key, expires)
	l.mu.Unlock()
	s.arm(expires)
	return nil
}

// Disown takes keys out of the list of owner.
func (s *Store) Disown(ctx context.Context, owner string, keys ...string) error {
	l, err := s.lockList(ctx, owner)
	if err != nil {
		return err
	}
	defer l.mu.Unlock()
	for _, key := range keys {
		l.remove(owner, key)
	}
	return nil
}

// GetMany returns a copy of the payload under each of the keys, and its version.
func (s *Store) GetMany(ctx context.Context, keys ...string) ([]core.Payload, error) {
	found := make([]core.Payload, len(keys))
	for i, key := range keys {
		text, version, err := s.View(ctx, key)
		switch {
		case err == nil:
			found[i] = core.Payload{Data: []byte(text), Version: version}
		case err != errNotFound:
			return nil, err
		}
	}
	return found, nil
}

// Keys calls f with the keys that begin with prefix.
func (s *Store) Keys(ctx context.Context, prefix string, f func(keys []string) error) error {
	for i := range s.shards {
		if err := ctx.Err(); err != nil {
			return ended(err)
		}
		sh := &s.shards[i]
		sh.lock()
		if s.closed.Load() {
			sh.mu.Unlock()
			return errClosed
		}
		var keys []string
		seen, now := 0, s.now()
		for key, r := range sh.records {
			if r.expires > now && strings.HasPrefix(key, prefix) {
				keys = append(keys, strings.Clone(key)) // which is a part of the record
			}
			if seen++; seen%sweepSlice == 0 {
				sh.giveWay()
			}
		}
		if sh.notes != nil {
			for key := range sh.notes.byKey {
				if strings.HasPrefix(key, prefix) {
					keys = append(keys, strings.Clone(key))
				}
			}
		}
		sh.mu.Unlock()
		if len(keys) == 0 {
			continue
		}
		if err := f(keys); err != nil {
			return err
		}
	}
	return nil
}

// sweepLists takes out the keys whose time is over, and returns a time before which
// no other one leaves.
func (s *Store) sweepLists(l *lists) (due time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := s.now()
	if l.byName == nil || l.due > now {
		return l.dueAt()
	}
	l.due, due = never, never // from here on others lower l.due for what they add
	seen := 0
	for name, keys := range l.byName {
		for key, expires := range keys {
			if expires <= now {
				if again, ok := l.byName[name][key]; ok && again <= now { // it may have come anew while others had the lock
					l.remove(name, key)
				}
			} else {
				due = min(due, expires)
			}
			if seen++; seen%sweepSlice == 0 {
				l.mu.Unlock()
				runtime.Gosched()
				l.mu.Lock()
				if s.closed.Load() {
					return never
				}
			}
		}
	}
	if len(l.byName) == 0 {
		l.byName = nil // a map never shrinks
	}
	l.due = min(l.due, due)
	return l.dueAt()
}

func (l *lists) dueAt() time.Duration {
	if l.byName == nil {
		return never
	}
	return l.due
}
