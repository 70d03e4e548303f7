package foreignstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/stores/internal/caught"
	"github.com/gensession/gensession/stores/internal/duration"
	"github.com/gensession/gensession/stores/internal/storekey"
)

// A Store is a [core.Store] on a driver of another library. It has no versions and
// does not notice an outage by itself: the last write wins, and requests get the
// errors of the driver.
//
// A call returns when its context ends, also where the driver goes on. What the
// driver is still about to write then comes before every later write of the same
// key: a logout waits for it, or fails.
type Store struct {
	get    func(ctx context.Context, key string) (data []byte, found bool, err error)
	set    func(ctx context.Context, key string, data []byte, ttl time.Duration) error
	delete func(ctx context.Context, key string) error

	maxTTL  time.Duration
	better  string
	onError func(error)

	room chan struct{} // a place for each call that the driver has not returned from

	mu   sync.Mutex
	late map[string][]chan struct{} // of writes that nobody waits for any more: closed at their end
}

// Format does not show what is in the store, under any verb.
func (s *Store) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("session store")) }

// maxCalls is how many calls may be under way in the driver. Those that hang are
// among them: beyond that there is no use in asking it more.
const maxCalls = 1024

// deletes is how often a removal is tried that others write between.
const deletes = 8

func newStore(driver any, o *Options) (*Store, error) {
	if o == nil {
		o = new(Options)
	}
	if err := duration.Check("foreignstore: Options.MaxTTL", o.MaxTTL, 100*365*24*time.Hour); err != nil {
		return nil, err
	}
	if o.MaxTTL > 0 && o.MaxTTL < time.Minute {
		return nil, errors.New("foreignstore: Options.MaxTTL is shorter than a minute: omit it for the default")
	}
	name, better := serverOf(driver)
	s := &Store{maxTTL: o.MaxTTL, better: better, onError: o.OnError, room: make(chan struct{}, maxCalls), late: map[string][]chan struct{}{}}
	switch {
	case s.maxTTL != 0:
	case name == "memcache":
		s.maxTTL = month30
	default:
		s.maxTTL = manyYears
	}
	return s, nil
}

// Better names the store of this library that keeps versions on the same server, such
// as "stores/redis"; "" if there is none, or the server is unknown. The text of
// [core.Manager.Guarantees] has it.
func (s *Store) Better() string { return s.better }

// Get returns the payload under key; see [core.Store].
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	if !storekey.Valid(key) {
		return nil, errKey
	}
	type answer struct {
		data  []byte
		found bool
	}
	a, err := call(s, ctx, key, reading, func() (a answer, err error) {
		a.data, a.found, err = s.get(ctx, key)
		return a, err
	})
	switch {
	case err != nil:
		return nil, err
	case !a.found:
		return nil, errNotFound
	}
	return emptied(a.data), nil
}

// Set stores data under key for ttl, rounded up to whole seconds and one more; see
// [core.Store].
func (s *Store) Set(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	switch {
	case !storekey.Valid(key):
		return errKey
	case ttl < 0:
		return errNegative
	}
	data = filled(data)
	_, err := call(s, ctx, key, writing, func() (struct{}, error) {
		return struct{}{}, s.set(ctx, key, data, ttl)
	})
	return err
}

// Destroy removes key; see [core.Store].
func (s *Store) Destroy(ctx context.Context, key string) error {
	if !storekey.Valid(key) {
		return errKey
	}
	_, err := call(s, ctx, key, writing, func() (struct{}, error) {
		var err error
		for range deletes {
			if err = s.delete(ctx, key); err == nil || down(err) || refused(err) {
				break
			}
			// Some drivers call it an error that there was nothing. If there is
			// something now, it may have come since.
			if _, found, lookErr := s.get(ctx, key); lookErr != nil {
				break
			} else if !found {
				err = nil
				break
			}
		}
		return struct{}{}, err
	})
	return err
}

// What a call does. An error of a write may come after its effect.
type kind bool

const (
	reading kind = false
	writing kind = true
)

// A result is what a driver has returned.
type result[T any] struct {
	value T
	err   error
	end   caught.End
}

// call lets the driver do f, and waits for it as long as ctx lasts.
func call[T any](s *Store, ctx context.Context, key string, k kind, f func() (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, s.notBegun(err)
	}
	if k == writing {
		if err := s.waitForLate(ctx, key); err != nil {
			return none, s.notBegun(err)
		}
	}
	select {
	case s.room <- struct{}{}:
	default:
		select {
		case s.room <- struct{}{}:
		case <-ctx.Done():
			return none, s.notBegun(ctx.Err())
		}
	}
	done := make(chan result[T], 1)
	end := make(chan struct{})
	var r result[T]
	caught.Go(func() { r.value, r.err = f() }, func(e caught.End) {
		<-s.room
		r.end = e
		done <- r
		s.ended(key, end)
	})
	select {
	case r := <-done:
		r.end.Raise()
		if r.err == nil {
			return r.value, nil
		}
		if s.onError != nil {
			s.onError(r.err)
		}
		return none, s.failed(k, r.err)
	case <-ctx.Done():
		if k == writing {
			s.leave(key, end)
		}
		return none, s.failed(k, ctx.Err())
	}
}

// leave notes a write that nobody waits for any more.
func (s *Store) leave(key string, end chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-end:
	default:
		s.late[key] = append(s.late[key], end)
	}
}

// ended notes that a call has come to its end.
func (s *Store) ended(key string, end chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(end)
	all := s.late[key]
	if all == nil {
		return
	}
	left := all[:0:0]
	for _, other := range all {
		if other != end {
			left = append(left, other)
		}
	}
	if s.late[key] = left; len(left) == 0 {
		delete(s.late, key)
	}
}

// waitForLate waits for earlier writes of key.
func (s *Store) waitForLate(ctx context.Context, key string) error {
	s.mu.Lock()
	late := s.late[key]
	s.mu.Unlock()
	for _, end := range late {
		select {
		case <-end:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

var _ core.Store = (*Store)(nil)
