package redisstore

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/stores/internal/storekey"
)

// The way of a call: with a deadline, a second try for a read that met a
// broken connection and for any call that was never sent, and a report to the
// prober.
//
// The client alone does not keep a deadline in all states: it waits for a
// place in the ring of a connection, for a dial that another call began, and
// for the end of a dial of its own that failed, as long as that takes. A call
// that a goroutine of its own carries out can be left at any time, but costs
// twice the time of a round trip to a near server. So that is done only when
// there is reason to: see limiter.

// attempts of a call over broken connections: as many as a client has to one
// server by default, each of which may have been left behind by its restart,
// and one more. They share the time of one call.
const attempts = 5

// do carries out a request. A nil reply is no error here.
func (s *Store) do(ctx context.Context, r request) (rueidis.RedisMessage, error) {
	var none rueidis.RedisMessage
	if s.closed.Load() {
		return none, errClosed
	}
	if !storekey.Valid(r.key) {
		return none, errKey
	}
	if err := ctx.Err(); err != nil {
		return none, unsent(err)
	}
	client := s.client.Load()
	if client == nil {
		s.health.Lost()
		return none, s.dialer.down()
	}
	r.began = time.Now()
	r.key = strings.Clone(r.key) // it may be a view into a buffer of the caller's
	send := s.send
	if _, ok := ctx.Deadline(); !ok {
		if ctx.Done() != nil {
			send = s.handOff // cancelling it is all that its owner has
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.timeout)
		defer cancel()
	}
	for n := 1; ; n++ {
		result := send(ctx, *client, r)
		if err := result.NonRedisError(); err != nil && n < attempts && ctx.Err() == nil && r.again(err) {
			s.health.Lost()
			s.limiter.trouble()
			continue
		}
		reply, err := s.finish(result, r)
		if s.cache != nil && !r.op.reads() {
			s.cache.wrote(r.key, errors.Is(err, core.ErrOutcomeUnknown))
		}
		return reply, err
	}
}

// again reports whether a request that met err can be sent once more.
func (r *request) again(err error) bool {
	if !r.op.reads() {
		return neverSent(err, r.began)
	}
	// If a timeout, it is that of another call, whose end took the connection
	// with it.
	return broken(err) || timedOut(err)
}

// finish reports how it went, and gives an error its class.
func (s *Store) finish(result rueidis.RedisResult, r request) (rueidis.RedisMessage, error) {
	reply, err := result.ToMessage()
	if err == nil || err == rueidis.Nil {
		s.health.Answered()
		s.limiter.answer()
		return reply, nil
	}
	kind, class := classify(err, r)
	switch kind {
	case answered:
		s.health.Answered()
	case lost:
		s.health.Lost()
		s.limiter.trouble()
	case late:
		s.health.Late()
		s.limiter.trouble()
	case left:
		s.limiter.trouble()
	}
	return reply, describe(err, class, r)
}

// send carries a request out here, or hands it off.
func (s *Store) send(ctx context.Context, client rueidis.Client, r request) rueidis.RedisResult {
	deadline, _ := ctx.Deadline()
	if !s.limiter.enter(r.began, deadline, 2*s.timeout) {
		return s.handOff(ctx, client, r)
	}
	result := r.run(ctx, client)
	s.limiter.leave()
	return result
}

// handOff lets a goroutine carry a request out, and leaves it when ctx ends.
func (s *Store) handOff(ctx context.Context, client rueidis.Client, r request) rueidis.RedisResult {
	select {
	case s.limiter.places <- struct{}{}:
	case <-ctx.Done():
		return rueidis.NewErrorResult(&unsentError{ctx.Err()})
	}
	result := make(chan rueidis.RedisResult, 1)
	go func() {
		var outcome rueidis.RedisResult
		if err := ctx.Err(); err != nil {
			outcome = rueidis.NewErrorResult(&unsentError{err})
		} else {
			// The client returns when ctx ends, but what it has queued stays
			// queued. Without an end the place is held until that is done: else
			// more and more calls that nobody waits for would be before those
			// that somebody does, for long after an outage.
			outcome = r.run(context.WithoutCancel(ctx), client)
		}
		if s.cache != nil && !r.op.reads() {
			s.cache.wrote(r.key, false) // for who has left
		}
		result <- outcome
		<-s.limiter.places // when the client is done with it, not when the caller has left
	}()
	select {
	case r := <-result:
		return r
	case <-ctx.Done():
		return rueidis.NewErrorResult(ctx.Err())
	}
}

// An unsentError ended a call before anything was sent.
type unsentError struct{ error }

func (e *unsentError) Unwrap() error { return e.error }

// unsent gives a ctx that had ended its class.
func unsent(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("redisstore: %w: %w", core.ErrTimeout, err)
	}
	return fmt.Errorf("redisstore: %w", err)
}

// A limiter knows whether calls can be carried out by their callers. They can
// while answers come, few wait for one, and nothing has gone wrong of late.
// Then there are connections, so that nobody dials, and places in their rings.
type limiter struct {
	start  time.Time
	direct atomic.Int64 // calls that their callers carry out
	began  atomic.Int64 // when the first of them did
	last   atomic.Int64 // when the last answer came
	calm   atomic.Int64 // until then all are handed off
	warm   atomic.Int64 // answers since then
	places chan struct{}
	crowd  int64 // calls that are a crowd for the processors there are
}

const (
	// Together they are less than a ring has places, which are 1024.
	maxDirect  = 256
	maxHandOff = 512

	// stall is how long no answer may come to those who wait, and idle how
	// long when none does, before calls are handed off.
	stall = 20 * time.Millisecond
	idle  = time.Second

	// A call that ran out of time keeps its place in a ring until its
	// connection ends: within calming, if the client has the settings of
	// OpenOption, or not much worse ones.
	calming = 15 * time.Second

	// A client dials when a call needs a connection, each of which has been
	// used after so many.
	warming = 64
)

func (l *limiter) init() {
	l.start = time.Now()
	l.last.Store(int64(-idle))
	l.places = make(chan struct{}, maxHandOff)
	l.crowd = int64(4 * runtime.GOMAXPROCS(0))
}

// enter lets the caller carry out a call that began at; it must leave then.
func (l *limiter) enter(at, deadline time.Time, longest time.Duration) bool {
	now := int64(at.Sub(l.start))
	quiet := time.Duration(now - l.last.Load())
	if quiet > idle || l.warm.Load() < warming || now < l.calm.Load() || deadline.Sub(at) > longest {
		return false
	}
	n := l.direct.Add(1)
	if n == 1 {
		l.began.Store(now)
		return true
	}
	if n > maxDirect || quiet > stall && time.Duration(now-l.began.Load()) > stall {
		l.direct.Add(-1)
		return false
	}
	return true
}

// crowded reports whether so many calls are on their way that the processors
// are what they wait for.
func (l *limiter) crowded() bool { return l.direct.Load() > l.crowd }

func (l *limiter) leave() { l.direct.Add(-1) }

func (l *limiter) answer() {
	l.last.Store(int64(time.Since(l.start)))
	if l.warm.Load() < warming {
		l.warm.Add(1)
	}
}

func (l *limiter) trouble() {
	l.warm.Store(0)
	l.calm.Store(int64(time.Since(l.start) + calming))
}
