package core

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// health tracks whether the store is down and lets requests wait until it is up
// again (K43): at most max requests, and at most for timeout after the store
// went down.
type health struct {
	timeout time.Duration
	max     int

	down atomic.Bool // false while up and not closed; the fast path

	causer Causer                                   // nil if the store does not tell causes
	tell   func(now storeState, cause func() error) // may be nil

	mu      sync.Mutex
	since   time.Time     // when it went down
	change  chan struct{} // closed when it goes down or up, or health closes
	waiting int
	waited  int // requests that have waited since it went down
	closed  bool
	stop    func() // nil if the store is no Notifier

	untold  []storeState
	telling bool // a goroutine works on untold

	// A series of failures that the store does not report: see noticing.
	first, last time.Time
	partial     atomic.Bool // the series has been told
}

// A storeState is a change that health has told: an outage begins or ends, or
// calls fail although the store is up.
type storeState struct {
	up      bool
	partial bool          // calls fail, but the store is up: one of several servers, perhaps
	cause   error         // why it is down or calls fail, nil if the store does not tell
	lasted  time.Duration // of an outage that is over
	waited  int           // requests that waited in it
}

// When the store comes back, the waiters continue in batches, so that they do not
// overload it.
const (
	batch = 32
	gap   = 4 * time.Millisecond // between two batches
)

// noticeTime is how long a store may take to notice that it is down (K44), with a
// margin for a busy machine.
const noticeTime = 1250 * time.Millisecond

// series is the time without a failure after which a series of them is over.
const series = 4 * noticeTime

// newHealth listens to store. It calls tell, which may be nil and must not panic, for
// each change, in order, and not from within the store.
func newHealth(store Store, timeout time.Duration, max int, tell func(now storeState, cause func() error)) *health {
	h := &health{timeout: timeout, max: max, change: make(chan struct{}), tell: tell}
	h.causer, _ = As[Causer](store)
	if n, ok := As[Notifier](store); ok {
		stop := n.Notify(h.notify)
		h.mu.Lock()
		h.stop = stop
		h.mu.Unlock()
	}
	return h
}

// notify is the listener of the store. It ignores a repeated value.
func (h *health) notify(up bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || up != h.down.Load() {
		return
	}
	now := storeState{up: up}
	if up {
		now.lasted, now.waited = time.Since(h.since), h.waited
	} else {
		h.since, h.waited = time.Now(), 0
	}
	h.over()
	h.down.Store(!up)
	close(h.change)
	h.change = make(chan struct{})
	h.report(now)
}

// report passes a change to h.tell on another goroutine: a listener of a store
// must not block, and must not call the store. The caller holds mu.
func (h *health) report(now storeState) {
	if h.tell == nil {
		return
	}
	h.untold = append(h.untold, now)
	if h.telling {
		return
	}
	h.telling = true
	go func() {
		for {
			h.mu.Lock()
			if len(h.untold) == 0 || h.closed {
				h.telling = false
				h.mu.Unlock()
				return
			}
			next := h.untold[0]
			h.untold = h.untold[1:]
			h.mu.Unlock()
			h.tell(next, h.cause)
		}
	}()
}

// cause returns why the store is down, nil if it does not tell.
func (h *health) cause() error {
	if h.causer == nil {
		return nil
	}
	return h.causer.Cause()
}

// unavailable returns the ErrUnavailable of a request that waits no longer. It
// has only the text of the cause, whose class is not that of the request.
func (h *health) unavailable(why string) error {
	if cause := h.cause(); cause != nil {
		return fmt.Errorf("%w: %s: %v", ErrUnavailable, why, cause)
	}
	return fmt.Errorf("%w: %s", ErrUnavailable, why)
}

// wait returns nil as soon as the store is up. Otherwise it returns an
// ErrUnavailable with the reason for not waiting longer, or the error of ctx.
func (h *health) wait(ctx context.Context) error {
	if !h.down.Load() {
		return nil
	}
	h.mu.Lock()
	left := time.Until(h.since.Add(h.timeout))
	switch {
	case h.closed:
		h.mu.Unlock()
		return fmt.Errorf("%w: the manager is closed", ErrUnavailable)
	case !h.down.Load():
		h.mu.Unlock()
		return nil
	case left <= 0:
		h.mu.Unlock()
		return h.unavailable("it has been down for longer than ReconnectTimeout")
	case h.waiting >= h.max:
		h.mu.Unlock()
		return h.unavailable("it is down, and MaxWaiters requests are already waiting")
	}
	before := h.waiting
	h.waited++
	changed, err := h.changes(ctx, left)
	switch {
	case err != nil:
		return err
	case !changed:
		return h.unavailable("it did not come back within ReconnectTimeout")
	}
	h.mu.Lock()
	closed := h.closed
	h.mu.Unlock()
	if closed {
		return fmt.Errorf("%w: the manager was closed", ErrUnavailable)
	}
	return sleep(ctx, time.Duration(before/batch)*gap)
}

// changes waits for the next change, at most for atMost, and counts as a waiter.
// The caller holds mu; changes unlocks it.
func (h *health) changes(ctx context.Context, atMost time.Duration) (changed bool, err error) {
	change := h.change
	h.waiting++
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		h.waiting--
		h.mu.Unlock()
	}()
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-change:
		return true, nil
	case <-timer.C:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// outlasts reports whether a call that failed with err should be retried: it
// failed because the store went down, and the store is up again. It waits for
// the store as wait does.
//
// The store gets noticeTime to notice that it is down: see noticing.
func (h *health) outlasts(ctx context.Context, err error, taken time.Duration) bool {
	if h.stop == nil || h.timeout == 0 {
		return false
	}
	h.mu.Lock()
	if h.closed || h.waiting >= h.max {
		h.mu.Unlock()
		return false
	}
	if h.down.Load() {
		h.mu.Unlock()
	} else if noticed, ctxErr := h.changes(ctx, h.noticing(taken)); ctxErr != nil {
		return false
	} else if !noticed {
		// Only some calls fail, such as those to one of several servers, or the outage
		// was too short to be noticed. But a store that is only slow must not get the
		// same call twice.
		if errors.Is(err, ErrTimeout) || errors.Is(err, ErrOutcomeUnknown) {
			h.unnoticed(err)
			return false
		}
		return true
	}
	return h.wait(ctx) == nil
}

// noticing returns how long a call that failed after so long waits for the store
// to notice that it is down: until noticeTime has passed since the first failure
// of a series. Later calls of the series don't wait. The store is up, and if one
// of its servers is down for an hour, only the first call is delayed. The caller
// holds mu.
func (h *health) noticing(taken time.Duration) time.Duration {
	now := time.Now()
	if now.Sub(h.last) > series {
		h.over()
		h.first = now.Add(-taken)
	}
	h.last = now
	return max(h.first.Add(noticeTime).Sub(now), 0)
}

// retried takes the result of a call that was made once more because of
// outlasts. If the store answered, the series is over.
func (h *health) retried(err error) {
	if errors.Is(err, ErrUnavailable) || errors.Is(err, ErrOutcomeUnknown) {
		h.unnoticed(err)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over()
}

// over ends a series. The caller holds mu.
func (h *health) over() {
	h.first, h.last = time.Time{}, time.Time{}
	h.partial.Store(false)
}

// unnoticed reports, once for a series, that calls fail although the store is up.
func (h *health) unnoticed(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.partial.Load() && !h.last.IsZero() && !h.down.Load() {
		h.partial.Store(true)
		h.report(storeState{partial: true, cause: err})
	}
}

// failing reports whether the store is down, or calls fail although it is up.
func (h *health) failing() bool { return h.down.Load() || h.partial.Load() }

// close releases all waiters with ErrUnavailable and removes the listener. No
// change is told after it, except for one that is being told.
func (h *health) close() {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return
	}
	h.closed = true
	close(h.change)
	h.down.Store(true) // makes every later wait look at closed
	stop := h.stop
	h.mu.Unlock()
	if stop != nil {
		stop()
	}
}
