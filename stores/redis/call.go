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
	"github.com/gensession/gensession/stores/internal/caught"
	"github.com/gensession/gensession/stores/internal/storekey"
)

// A call has a deadline. It is retried if it is a read that failed on a broken
// connection, or if it was never sent. Its outcome is reported to the prober.
//
// The client does not keep the deadline in all states: it waits without limit for
// a place in the ring of a connection, for a dial that another call began, and
// for the end of a failed dial. A call in its own goroutine can be abandoned at
// any time, but takes twice as long as a round trip to a nearby server. So the
// store uses a goroutine only if there is reason to: see limiter.

// attempts is the maximum number of attempts of a call over broken connections:
// one for each default connection of a client to a server, which may all be from
// before its restart, and one more. They share the deadline of the call.
const attempts = 5

// do executes a request. A nil reply is not an error here.
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
	if r.batch != nil && s.apart(*client, r.batch) {
		return none, errApart
	}
	r.began = time.Now()
	r.key = strings.Clone(r.key) // it may refer to a buffer of the caller
	send := s.send
	if _, ok := ctx.Deadline(); !ok {
		if ctx.Done() != nil {
			send = s.handOff // only a goroutine notices the cancellation at once
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
			s.cache.wroteAll(r, errors.Is(err, core.ErrOutcomeUnknown))
		}
		return reply, err
	}
}

// again reports whether a request that failed with err can be sent again.
func (r *request) again(err error) bool {
	if !r.op.reads() {
		return neverSent(err, r.began)
	}
	// A timeout here is that of another call, which closed the connection.
	return broken(err) || timedOut(err)
}

// finish reports the outcome to the prober and wraps an error with its class.
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
		if server, ok := rueidis.IsRedisErr(err); ok && strings.HasPrefix(server.Error(), "READONLY") {
			s.readonly.Store(true)
		}
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

// send executes a request in this goroutine, or hands it off.
func (s *Store) send(ctx context.Context, client rueidis.Client, r request) rueidis.RedisResult {
	deadline, _ := ctx.Deadline()
	if !s.limiter.enter(r.began, deadline, 2*s.timeout) {
		return s.handOff(ctx, client, r)
	}
	defer func() {
		s.limiter.leave() // also if the client panics
		caught.Again(recover())
	}()
	return r.run(ctx, client)
}

// handOff executes a request in another goroutine and abandons it when ctx ends.
func (s *Store) handOff(ctx context.Context, client rueidis.Client, r request) rueidis.RedisResult {
	select {
	case s.limiter.places <- struct{}{}:
	case <-ctx.Done():
		return rueidis.NewErrorResult(&unsentError{ctx.Err()})
	}
	var outcome rueidis.RedisResult
	ended := make(chan caught.End, 1)
	caught.Go(func() {
		if err := ctx.Err(); err != nil {
			outcome = rueidis.NewErrorResult(&unsentError{err})
		} else {
			// The client returns when ctx ends, but its command stays queued.
			// Without ctx the place is held until the command is done: otherwise
			// abandoned commands would delay later ones long after an outage.
			outcome = r.run(context.WithoutCancel(ctx), client)
		}
	}, func(end caught.End) {
		if s.cache != nil && !r.op.reads() {
			s.cache.wroteAll(r, false) // the caller may have returned
		}
		ended <- end
		<-s.limiter.places // when the client is done, not when the caller returns
	})
	select {
	case end := <-ended:
		end.Raise()
		return outcome
	case <-ctx.Done():
		return rueidis.NewErrorResult(ctx.Err())
	}
}

// An unsentError ended a call before anything was sent.
type unsentError struct{ error }

func (e *unsentError) Unwrap() error { return e.error }

// unsent wraps the error of a ctx that ended before the call was sent.
func unsent(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("redisstore: %w: %w", core.ErrTimeout, err)
	}
	return fmt.Errorf("redisstore: %w", err)
}

// A limiter decides whether calls can run in the goroutines of their callers.
// They can while replies come, few calls wait, and there was no recent failure.
// Then connections are open, so that no call dials, and their rings have places.
type limiter struct {
	start  time.Time
	direct atomic.Int64 // calls in the goroutines of their callers
	began  atomic.Int64 // when the first of them began
	last   atomic.Int64 // when the last reply came
	calm   atomic.Int64 // until then all calls are handed off
	warm   atomic.Int64 // replies since then
	places chan struct{}
	crowd  int64 // calls that keep all processors busy
}

const (
	// Their sum is less than the 1024 places of a ring.
	maxDirect  = 256
	maxHandOff = 512

	// Calls are handed off if no reply came for stall while calls wait, or for
	// idle while none does.
	stall = 20 * time.Millisecond
	idle  = time.Second

	// A call that timed out keeps its place in a ring until its connection ends:
	// within calming, if the client has about the settings of OpenOption.
	calming = 15 * time.Second

	// A client dials when a call needs a connection. After warming replies all
	// connections are open.
	warming = 64
)

func (l *limiter) init() {
	l.start = time.Now()
	l.last.Store(int64(-idle))
	l.places = make(chan struct{}, maxHandOff)
	l.crowd = int64(4 * runtime.GOMAXPROCS(0))
}

// enter reports whether the caller may run a call that began at at. If so, the
// caller must call leave.
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

// crowded reports whether there are so many calls that they wait for processors.
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
