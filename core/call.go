package core

import (
	"context"
	"sync/atomic"
	"time"
)

// A callContext is the context of one call of the store: with a deadline, and
// in writes without the cancellation of the request. It is a
// context.WithTimeout that starts its timer when the first caller waits for it.
type callContext struct {
	context.Context
	manager *Manager
	over    time.Duration                // when its time is, as an age of the manager
	timed   atomic.Pointer[timedContext] // made by the first Done
}

type timedContext struct {
	context.Context
	stop context.CancelFunc
}

// call returns the context of a call that begins now; end must be called after
// it.
func (m *Manager) call(ctx context.Context) *callContext {
	return &callContext{Context: ctx, manager: m, over: time.Since(m.born) + m.o.OpTimeout}
}

func (c *callContext) Deadline() (time.Time, bool) {
	over := c.manager.born.Add(c.over)
	if d, ok := c.Context.Deadline(); ok && d.Before(over) {
		return d, true
	}
	return over, true
}

func (c *callContext) Done() <-chan struct{} {
	if t := c.timed.Load(); t != nil {
		return t.Done()
	}
	if c.Context.Done() == nil { // nothing but time can end it
		if _, ok := c.Context.Deadline(); !ok {
			return c.manager.doneAt(c.over)
		}
	}
	t := new(timedContext)
	over, _ := c.Deadline()
	t.Context, t.stop = context.WithDeadline(c.Context, over)
	if !c.timed.CompareAndSwap(nil, t) {
		t.stop()
	}
	return c.timed.Load().Done()
}

func (c *callContext) Err() error {
	if t := c.timed.Load(); t != nil {
		return t.Err()
	}
	if err := c.Context.Err(); err != nil {
		return err
	}
	if time.Since(c.manager.born) >= c.over {
		return context.DeadlineExceeded
	}
	return nil
}

// end frees the timer of the call, and ends what still waits for its Done. A
// shared one is left: it ends when the time of the call is over.
func (c *callContext) end() {
	if t := c.timed.Load(); t != nil {
		t.stop()
	}
}

// A sharedEnd is one timer for the calls of about a millisecond: under load a
// timer of its own, and the context around it, would be a good part of what a
// call costs.
type sharedEnd struct {
	over time.Duration
	done chan struct{}
}

const endGrain = time.Millisecond

// doneAt returns what is closed when the manager is so old, or up to two
// milliseconds later.
func (m *Manager) doneAt(over time.Duration) <-chan struct{} {
	for {
		last := m.sharedEnd.Load()
		if last != nil && last.over >= over && last.over-over <= 2*endGrain {
			return last.done
		}
		next := &sharedEnd{over + endGrain, make(chan struct{})}
		if m.sharedEnd.CompareAndSwap(last, next) {
			time.AfterFunc(next.over-time.Since(m.born), func() { close(next.done) })
			return next.done
		}
	}
}

// withoutCancel is context.WithoutCancel, which allocates also for a context
// that can't be cancelled.
func withoutCancel(ctx context.Context) context.Context {
	if ctx.Done() == nil {
		if _, ok := ctx.Deadline(); !ok {
			return ctx
		}
	}
	return context.WithoutCancel(ctx)
}
