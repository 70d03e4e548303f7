package core

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// health knows whether the store is down and lets requests wait for its
// return (K43): at most until timeout after it went down, and at most max of
// them.
type health struct {
	timeout time.Duration
	max     int

	down atomic.Bool // the fast answer: false while up and open

	mu      sync.Mutex
	since   time.Time     // when it went down
	change  chan struct{} // closed when it goes down or up, or health closes
	waiting int
	closed  bool
	stop    func() // nil if the store tells nothing
}

// A server that has just come back is not met by all the waiters at once: so
// many go on at a time, and the next ones so much later.
const (
	batch = 32
	gap   = 4 * time.Millisecond
)

// noticeTime is how long a store may take to notice that it is down (K44),
// with some room for a busy machine.
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

// notify is called by the store. A second disconnect is ignored.
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

// wait returns nil as soon as the store is up, else an ErrUnavailable that
// says why there is no use in waiting, or the error of ctx.
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
		return fmt.Errorf("%w: it is down for longer than ReconnectTimeout", ErrUnavailable)
	case h.waiting >= h.max:
		h.mu.Unlock()
		return fmt.Errorf("%w: it is down, and MaxWaiters requests wait for it already", ErrUnavailable)
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

// changes waits for the next change, for so long at most, as one of the
// waiters. mu is held, and free afterwards.
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

// outlasts reports whether a call that failed with err is worth another try: it
// failed because the store went down, and the store is back. It waits for
// that as a request does that comes while the store is down.
//
// The store gets some time to notice, less what the call has taken.
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
		// It was too short to be noticed; but a store that is only slow must
		// not get the same call twice.
		return !errors.Is(err, ErrTimeout) && !errors.Is(err, ErrOutcomeUnknown)
	}
	return h.wait(ctx) == nil
}

// close releases every waiter with ErrUnavailable and ends the listening.
func (h *health) close() {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return
	}
	h.closed = true
	close(h.change)
	h.down.Store(true) // leads every later wait to the closed mark
	stop := h.stop
	h.mu.Unlock()
	if stop != nil {
		stop()
	}
}
