// Package memcachestore keeps sessions in memcached, on one server or on
// several, through gomemcache.
//
//	store, err := memcachestore.Open([]string{"127.0.0.1:11211"}, nil)
//	...
//	sessions, err := core.New(store, &core.Options{Keys: keys})
//
// memcached is a cache, and sessions in it can be lost. All of them are gone
// when their server restarts. A server whose memory is full drops what was
// used least recently, or, started with -M, refuses new sessions and keeps the
// old ones. There are no replicas: the sessions of a server that is down can't
// be reached until it is back, and then begin anew, while those of the other
// servers go on. And each key belongs to one server of the list, by its place
// in it, so that a change of the list moves most keys elsewhere and logs their
// visitors out. A site that can't live with this needs a store that writes to
// disk.
//
// What it does well is to be fast, and to be shared by many processes. It has
// all abilities of a store: versions, by cas; touching; and notifying. No call
// ever uses the command set, since memcached forgets the old value when it has
// to refuse a new one: a refused write leaves the session as it was.
//
// A ttl is kept to the second. memcached's own clock ticks once in a second,
// so a session is given one second more than its ttl, rounded up, and lives
// for up to two seconds longer than asked, never shorter. One of more than 30
// days is sent as a date by the clock of this machine, and ends by that of the
// server. Dates end in January 2038, for gomemcache and for memcached: a ttl
// that reaches further ends there, or after 30 days, whichever is later.
package memcachestore

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/stores/internal/health"
	"github.com/gensession/gensession/stores/internal/storekey"
)

// A Store keeps sessions in memcached. It is safe for concurrent use.
type Store struct {
	backend    backend
	timeout    time.Duration
	maxPayload int
	health     *health.Prober
	closed     atomic.Bool

	born     time.Time
	nextLost atomic.Int64 // when the next loss counts, as an age of the store
}

var (
	_ core.Store    = (*Store)(nil)
	_ core.Swapper  = (*Store)(nil)
	_ core.Toucher  = (*Store)(nil)
	_ core.Notifier = (*Store)(nil)
)

// Get returns the payload under key.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	r := request{verb: verbGet, ctx: ctx}
	if err := s.read(&r, key); err != nil {
		return nil, err
	}
	return r.answer.Value, nil
}

// GetVersion returns the payload under key and its version, which is the
// number that cas asks for. A server that was started with -C has none, and
// the call is then [core.ErrRefused].
func (s *Store) GetVersion(ctx context.Context, key string) ([]byte, core.Version, error) {
	r := request{verb: verbGet, ctx: ctx}
	if err := s.read(&r, key); err != nil {
		return nil, 0, err
	}
	if r.answer.CasID == 0 {
		return nil, 0, errNoCAS
	}
	return r.answer.Value, core.Version(r.answer.CasID), nil
}

func (s *Store) read(r *request, key string) error {
	if err := s.prepare(r, key); err != nil {
		return err
	}
	return s.ask(r)
}

// Set stores data under key for ttl, zero being without an end. It replaces
// what is there, else it adds, and begins again when another call came
// between; when that happens for the eighth time it gives up with
// [core.ErrConflict].
func (s *Store) Set(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	r := request{ctx: ctx}
	if err := s.prepareWrite(&r, key, data, ttl); err != nil {
		return err
	}
	for range 8 {
		r.verb = verbReplace
		if err := s.ask(&r); !errors.Is(err, core.ErrNotFound) {
			return err
		}
		r.verb = verbAdd
		if err := s.ask(&r); !errors.Is(err, core.ErrConflict) {
			return err
		}
	}
	return errRace
}

// SetVersion is Set if the version of key is v still, or if there is no key
// and v is zero. memcached does not tell the version of the new payload, so
// the one returned is always zero.
func (s *Store) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	r := request{verb: verbCAS, ctx: ctx}
	if err := s.prepareWrite(&r, key, data, ttl); err != nil {
		return 0, err
	}
	if v == 0 {
		r.verb = verbAdd
	}
	r.item.CasID = uint64(v)
	return 0, s.ask(&r)
}

// Touch gives key a new ttl, counted from now.
func (s *Store) Touch(ctx context.Context, key string, ttl time.Duration) error {
	if ttl < 0 {
		return errNegative
	}
	r := request{verb: verbTouch, ctx: ctx}
	if err := s.prepare(&r, key); err != nil {
		return err
	}
	r.item.Expiration = expiration(ttl, time.Now())
	return s.ask(&r)
}

// Destroy removes key.
func (s *Store) Destroy(ctx context.Context, key string) error {
	r := request{verb: verbDelete, ctx: ctx}
	if err := s.prepare(&r, key); err != nil {
		return err
	}
	if err := s.ask(&r); !errors.Is(err, core.ErrNotFound) {
		return err
	}
	return nil
}

func (s *Store) prepareWrite(r *request, key string, data []byte, ttl time.Duration) error {
	if ttl < 0 {
		return errNegative
	}
	if len(data) > s.maxPayload {
		return errTooLarge
	}
	if err := s.prepare(r, key); err != nil {
		return err
	}
	r.item.Value = data
	r.item.Expiration = expiration(ttl, time.Now())
	return nil
}

// prepare gives a request its key and its deadline, unless the call may not be
// carried out.
func (s *Store) prepare(r *request, key string) error {
	if s.closed.Load() {
		return errClosed
	}
	if !storekey.Valid(key) {
		return errKey
	}
	now := time.Now()
	r.item.Key = key
	var ok bool
	if r.deadline, ok = r.ctx.Deadline(); !ok {
		r.deadline = now.Add(s.timeout)
	}
	err := r.ctx.Err()
	if err == nil && !now.Before(r.deadline) {
		err = context.DeadlineExceeded
	}
	if err != nil {
		return r.class(unsent{err})
	}
	return nil
}

// ask carries out one command, a second time if that can't do harm: the first
// connection may have been one to a server that has restarted since.
func (s *Store) ask(r *request) error {
	err := s.backend.do(r)
	if r.mayRepeat(err) {
		s.backend.drop(r.item.Key)
		err = s.backend.do(r)
	}
	if err == nil && r.verb == verbGet && r.answer.Key != r.item.Key {
		err = errForeign
	}
	switch {
	case answered(err):
		s.health.Answered()
	case errors.Is(err, errBusy), r.ctx.Err() == context.Canceled:
		// tells nothing about the server
	case late(err):
		s.health.Late()
	case lost(err):
		s.backend.drop(r.item.Key)
		s.reportLost()
	case outOfStep(err):
		s.backend.drop(r.item.Key)
	}
	return r.class(err)
}

// reportLost has the servers probed, but not for each of many calls: a probe may
// find that others are up.
func (s *Store) reportLost() {
	now := time.Since(s.born)
	if next := s.nextLost.Load(); now >= time.Duration(next) && s.nextLost.CompareAndSwap(next, int64(now+lostEvery)) {
		s.health.Lost()
	}
}

const lostEvery = 20 * time.Millisecond

// Notify calls f when no server can be reached any more, and when one can be
// again. With several servers, the sessions of one that is down meet errors
// meanwhile, and nobody waits for it.
func (s *Store) Notify(f func(up bool)) (stop func()) { return s.health.Notify(f) }

// Close ends the watch over the servers, waits for the calls that are under
// way, at most for Options.Timeout, and closes the connections that the store
// has opened. A client that was given to [New] stays open. Calls after it fail
// with [core.ErrUnavailable]. The second Close does nothing. The error is
// always nil.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.health.Close()
	s.backend.close(s.timeout + grace)
	return nil
}
