package core

import (
	"context"
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
	change  chan struct{} // closed when it is up again or health closes
	waiting int
	closed  bool
	stop    func()
}

func newHealth(store Store, timeout time.Duration, max int) *health {
	h := &health{timeout: timeout, max: max}
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
	switch {
	case h.closed:
	case up && h.down.Load():
		h.down.Store(false)
		close(h.change)
	case !up && !h.down.Load():
		h.since = time.Now()
		h.change = make(chan struct{})
		h.down.Store(true)
	}
}

// wait returns nil as soon as the store is up, else an ErrUnavailable that
// says why there is no use in waiting, or the error of ctx.
func (h *health) wait(ctx context.Context) error {
	if !h.down.Load() {
		return nil
	}
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return fmt.Errorf("%w: the manager is closed", ErrUnavailable)
	}
	if !h.down.Load() {
		h.mu.Unlock()
		return nil
	}
	left := time.Until(h.since.Add(h.timeout))
	if left <= 0 {
		h.mu.Unlock()
		return fmt.Errorf("%w: it is down for longer than ReconnectTimeout", ErrUnavailable)
	}
	if h.waiting >= h.max {
		h.mu.Unlock()
		return fmt.Errorf("%w: it is down, and MaxWaiters requests wait for it already", ErrUnavailable)
	}
	h.waiting++
	change := h.change
	h.mu.Unlock()

	timer := time.NewTimer(left)
	defer timer.Stop()
	defer func() {
		h.mu.Lock()
		h.waiting--
		h.mu.Unlock()
	}()
	select {
	case <-change:
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.closed {
			return fmt.Errorf("%w: the manager was closed", ErrUnavailable)
		}
		return nil
	case <-timer.C:
		return fmt.Errorf("%w: it did not come back within ReconnectTimeout", ErrUnavailable)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close releases every waiter with ErrUnavailable and ends the listening.
func (h *health) close() {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return
	}
	h.closed = true
	if h.down.Load() {
		close(h.change)
	}
	h.down.Store(true) // leads every later wait to the closed mark
	stop := h.stop
	h.mu.Unlock()
	if stop != nil {
		stop()
	}
}
