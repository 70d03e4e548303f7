package core

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A switchboard is a store that tells what the test wants.
type switchboard struct {
	Store
	tell    func(up bool)
	down    bool // when Notify is called
	stopped atomic.Int32
}

func (s *switchboard) Notify(f func(up bool)) func() {
	s.tell = f
	if s.down {
		f(false)
	}
	return func() { s.stopped.Add(1) }
}

// A waiter is a request that waits.
type waiter struct {
	err  error
	took time.Duration
	done atomic.Bool
}

func wait(ctx context.Context, h *health) *waiter {
	w := new(waiter)
	begin := time.Now()
	go func() {
		w.err = h.wait(ctx)
		w.took = time.Since(begin)
		w.done.Store(true)
	}()
	return w
}

func (w *waiter) waits(t *testing.T) {
	t.Helper()
	synctest.Wait()
	if w.done.Load() {
		t.Errorf("does not wait any more: %v", w.err)
	}
}

func (w *waiter) ended(t *testing.T, after time.Duration, with error, text string) {
	t.Helper()
	synctest.Wait()
	switch {
	case !w.done.Load():
		t.Error("still waits")
	case w.took != after || !errors.Is(w.err, with) || with != nil && !strings.Contains(w.err.Error(), text):
		t.Errorf("ended after %v with %v; want %v, %v (%s)", w.took, w.err, after, with, text)
	}
}

func TestK43Waiting(t *testing.T) {
	t.Parallel()
	const window = 10 * time.Second
	background := context.Background()
	bubble := func(name string, max int, f func(t *testing.T, s *switchboard, h *health)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := new(switchboard)
				f(t, s, newHealth(s, window, max, nil))
			})
		})
	}
	bubble("up", 10, func(t *testing.T, s *switchboard, h *health) {
		wait(background, h).ended(t, 0, nil, "")
		s.tell(true)
		wait(background, h).ended(t, 0, nil, "")
	})
	bubble("until connect", 10, func(t *testing.T, s *switchboard, h *health) {
		s.tell(false)
		a, b := wait(background, h), wait(background, h)
		time.Sleep(3 * time.Second)
		a.waits(t)
		s.tell(true)
		a.ended(t, 3*time.Second, nil, "")
		b.ended(t, 3*time.Second, nil, "")
		wait(background, h).ended(t, 0, nil, "")
	})
	bubble("window from the disconnect", 10, func(t *testing.T, s *switchboard, h *health) {
		s.tell(false)
		time.Sleep(4 * time.Second)
		w := wait(background, h)
		time.Sleep(6*time.Second - 1)
		w.waits(t)
		time.Sleep(time.Nanosecond)
		w.ended(t, 6*time.Second, ErrUnavailable, "did not come back")
		wait(background, h).ended(t, 0, ErrUnavailable, "longer than ReconnectTimeout")
		time.Sleep(time.Hour)
		wait(background, h).ended(t, 0, ErrUnavailable, "longer than ReconnectTimeout")
		s.tell(true)
		wait(background, h).ended(t, 0, nil, "")
	})
	bubble("second disconnect", 10, func(t *testing.T, s *switchboard, h *health) {
		s.tell(false)
		w := wait(background, h)
		time.Sleep(5 * time.Second)
		s.tell(false)
		late := wait(background, h)
		time.Sleep(5 * time.Second)
		w.ended(t, window, ErrUnavailable, "")
		late.ended(t, 5*time.Second, ErrUnavailable, "")
		s.tell(true)
		s.tell(true)
		s.tell(false) // a new outage has a new window
		next := wait(background, h)
		time.Sleep(window - 1)
		next.waits(t)
		time.Sleep(time.Nanosecond)
		next.ended(t, window, ErrUnavailable, "")
	})
	bubble("MaxWaiters", 2, func(t *testing.T, s *switchboard, h *health) {
		s.tell(false)
		ctx, cancel := context.WithCancel(background)
		a, b := wait(ctx, h), wait(background, h)
		a.waits(t)
		b.waits(t)
		wait(background, h).ended(t, 0, ErrUnavailable, "MaxWaiters")
		cancel() // makes room for another one
		a.ended(t, 0, context.Canceled, "")
		c := wait(background, h)
		c.waits(t)
		s.tell(true)
		b.ended(t, 0, nil, "")
		c.ended(t, 0, nil, "")
		if h.waiting != 0 {
			t.Errorf("%d are counted as waiting", h.waiting)
		}
	})
	bubble("context", 10, func(t *testing.T, s *switchboard, h *health) {
		s.tell(false)
		short, cancel := context.WithTimeout(background, time.Second)
		defer cancel()
		w := wait(short, h)
		time.Sleep(time.Second)
		w.ended(t, time.Second, context.DeadlineExceeded, "")
	})
	bubble("Close", 10, func(t *testing.T, s *switchboard, h *health) {
		s.tell(false)
		a, b := wait(background, h), wait(background, h)
		time.Sleep(time.Second)
		m := &Manager{health: h}
		for range 2 {
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		}
		a.ended(t, time.Second, ErrUnavailable, "closed")
		b.ended(t, time.Second, ErrUnavailable, "closed")
		if n := s.stopped.Load(); n != 1 {
			t.Errorf("the listening was ended %d times", n)
		}
		s.tell(true) // too late, and harmless
		s.tell(false)
		wait(background, h).ended(t, 0, ErrUnavailable, "closed")
	})
	bubble("Close while up", 10, func(t *testing.T, s *switchboard, h *health) {
		h.close()
		h.close()
		s.tell(false)
		s.tell(true)
		wait(background, h).ended(t, 0, ErrUnavailable, "closed")
	})
	bubble("nobody waits", 10, func(t *testing.T, s *switchboard, h *health) {
		for range 3 { // the original ends the process here
			s.tell(false)
			time.Sleep(time.Hour)
			s.tell(true)
		}
		wait(background, h).ended(t, 0, nil, "")
	})
	t.Run("down from the start", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := &switchboard{down: true}
			h := newHealth(s, window, 10, nil)
			w := wait(background, h)
			w.waits(t)
			s.tell(true)
			w.ended(t, 0, nil, "")
		})
	})
	t.Run("FailFast", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := new(switchboard)
			h := newHealth(s, 0, 10, nil)
			s.tell(false)
			wait(background, h).ended(t, 0, ErrUnavailable, "")
			s.tell(true)
			wait(background, h).ended(t, 0, nil, "")
		})
	})
	t.Run("no Notifier", func(t *testing.T) {
		t.Parallel()
		h := newHealth(struct{ Store }{}, window, 10, nil)
		if err := h.wait(background); err != nil {
			t.Error(err)
		}
		h.close()
	})
	t.Run("at once", func(t *testing.T) { // for the race detector
		t.Parallel()
		s := new(switchboard)
		h := newHealth(s, time.Second, 100, nil)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 200 {
					if err := h.wait(background); err != nil && !errors.Is(err, ErrUnavailable) {
						t.Error(err)
					}
				}
			})
		}
		for i := range 1000 {
			s.tell(i%2 == 1)
		}
		s.tell(true)
		wg.Wait()
		h.close()
		if h.waiting != 0 {
			t.Errorf("%d are counted as waiting", h.waiting)
		}
	})
}
