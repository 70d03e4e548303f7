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

	mu      sync.Mutex
	since   time.Time     // when it went down
	change  chan struct{} // closed when it goes down or up, or health closes
	waiting int
	closed  bool
	stop    func() // nil if the store is no Notifier
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

func newHealth(store Store, timeout time.Duration, max int) *health {
	h := &health{timeout: timeout, max: max, change: make(chan struct{})}
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
	if !up {
		h.since = time.Now()
	}
	h.down.Store(!up)
	close(h.change)
	h.change = make(chan struct{})
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
		return fmt.Errorf("%w: it has been down for longer than ReconnectTimeout", ErrUnavailable)
	case h.waiting >= h.max:
		h.mu.Unlock()
		return fmt.Errorf("%w: it is down, and MaxWaiters requests are already waiting", ErrUnavailable)
	}
	before := h.waiting
	changed, err := h.changes(ctx, left)
	switch {
	case err != nil:
		return err
	case !changed:
		return fmt.Errorf("%w: it did not come back within ReconnectTimeout", ErrUnavailable)
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
// The store gets noticeTime, counted from the start of the call, to notice that
// it is down.
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
	} else if noticed, ctxErr := h.changes(ctx, max(noticeTime-taken, 0)); ctxErr != nil {
		return false
	} else if !noticed {
		// The outage was too short to be noticed. But a store that is only slow
		// must not get the same call twice.
		return !errors.Is(err, ErrTimeout) && !errors.Is(err, ErrOutcomeUnknown)
	}
	return h.wait(ctx) == nil
}

// close releases all waiters with ErrUnavailable and removes the listener.
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
