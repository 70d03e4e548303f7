// Package memcachestore keeps sessions in memcached, on one server or on
// several, through gomemcache.
//
//	store, err := memcachestore.Open([]string{"127.0.0.1:11211"}, nil)
//	...
//	sessions, err := core.New(store, &core.Options{Keys: keys})
//
// memcached is a cache, and sessions in it can be lost. A restart of a server
// loses all its sessions. A server whose memory is full evicts the least recently
// used sessions; started with -M, it refuses new sessions and keeps the old ones.
// There are no replicas: while a server is down its sessions are unavailable, and
// afterwards they are lost; those of the other servers are not affected. Each key
// belongs to one server by its position in the list, so that a change of the list
// moves most keys and logs their users out. If that is not acceptable, use a
// store that writes to disk.
//
// The store is fast and can be shared by many processes. It has all capabilities
// of a store: versions (by cas), touching and notifying, and batches of one write,
// since memcached can't change two keys in one step. It never uses the command
// set, since memcached deletes the old value if it refuses the new one: a refused
// write leaves the session unchanged.
//
// The lists of the sessions of an owner ([core.Indexer]) are best effort: the server
// can drop a list like any item, and a session that is not used afterwards is then
// missed by "log out everywhere". If that is not acceptable, use another store.
//
// A new connection is used when the server has replied on it. So a write is never
// sent to a server that is at its limit of connections (-c), or that does not
// reply.
//
// A ttl has the precision of a second. The clock of memcached ticks once a
// second, so the store rounds a ttl up and adds one second: a session lives up to
// two seconds longer than its ttl, never shorter. A ttl of more than 30 days is
// sent as a date by the clock of this machine, and expires by the clock of the
// server. Dates end in January 2038, in gomemcache and in memcached: a longer ttl
// ends then, or after 30 days, whichever is later.
package memcachestore

import (
	"context"
	"errors"
	"fmt"
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
	nextLost atomic.Int64 // when the next loss is reported, as time since born
}

var (
	_ core.Store    = (*Store)(nil)
	_ core.Swapper  = (*Store)(nil)
	_ core.Batcher  = (*Store)(nil)
	_ core.Indexer  = (*Store)(nil)
	_ core.Toucher  = (*Store)(nil)
	_ core.Notifier = (*Store)(nil)
	_ core.Causer   = (*Store)(nil)
)

// Format does not show what is in the store, under any verb.
func (s *Store) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("session store")) }

// Get returns the payload under key.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	r := request{verb: verbGet, ctx: ctx}
	if err := s.read(&r, key); err != nil {
		return nil, err
	}
	return r.answer.Value, nil
}

// GetVersion returns the payload under key and its version, which is the number
// for cas. On a server started with -C, which has no versions, the error is
// [core.ErrRefused].
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

// Set stores data under key for ttl. A ttl of zero has no end. Set uses replace,
// then add if the key does not exist, and starts again if another call came in
// between. After 8 attempts it returns [core.ErrConflict].
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

// SetVersion is Set on condition that key still has version v, or does not exist
// if v is zero. It always returns the version zero, since memcached does not
// report the new version.
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

// Touch sets the ttl of key, counted from now.
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

// prepare sets the key and the deadline of a request. It returns an error if the
// call must not be executed.
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

// ask executes one command. It repeats the command if that is safe: the first
// connection may be from before a restart of the server.
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
		if _, ok := errors.AsType[unsent](err); !ok { // it was no connection that broke
			s.backend.drop(r.item.Key)
		}
		s.reportLost()
	case outOfStep(err):
		s.backend.drop(r.item.Key)
	}
	return r.class(err)
}

// reportLost triggers a probe of the servers, at most once in lostEvery: a probe
// may find that other servers are up.
func (s *Store) reportLost() {
	now := time.Since(s.born)
	if next := s.nextLost.Load(); now >= time.Duration(next) && s.nextLost.CompareAndSwap(next, int64(now+lostEvery)) {
		s.health.Lost()
	}
}

const lostEvery = 20 * time.Millisecond

// probe checks for the prober whether a server is reachable. Its error is the cause
// of an outage, without its class.
func (s *Store) probe(ctx context.Context) error {
	err := s.backend.probe(ctx)
	switch {
	case err == nil:
		return nil
	case late(err) && ctx.Err() != nil:
		return ctx.Err() // there was no reply
	case !late(err) && !lost(err) && !errors.Is(err, context.Canceled):
		err = errStrange // gomemcache quotes the reply
	}
	return fmt.Errorf("memcachestore: %w", err)
}

// Notify calls f(false) when no server is reachable, and f(true) when one is
// reachable again. If one of several servers is down, requests for its sessions
// fail at once.
func (s *Store) Notify(f func(up bool)) (stop func()) { return s.health.Notify(f) }

// Cause returns why no server is reachable, or was when the store was down last.
func (s *Store) Cause() error {
	if s.closed.Load() {
		return errClosed
	}
	return s.health.Cause()
}

// Close stops the probes, waits for calls in progress, at most for
// Options.Timeout, and closes the connections that the store has opened. A
// client passed to [New] stays open. Later calls fail with
// [core.ErrUnavailable]. A second Close does nothing. The error is always nil.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.health.Close()
	s.backend.close(s.timeout + grace)
	return nil
}
