package core

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// Code of the user, such as a store or a hook, may panic. On a goroutine of this
// package that would end the process, so there it is caught: it goes on where somebody
// waits, and is logged where nobody does.

// A caught is how a function has ended on another goroutine. The zero value is ready.
type caught struct {
	mu    sync.Mutex
	ended bool // without having returned
	value any  // of its panic; nil for runtime.Goexit, as by T.FailNow of a store for tests
}

// run calls f, and catches its panic.
func (c *caught) run(f func()) {
	returned := false
	defer func() {
		if returned {
			return
		}
		p := recover()
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.ended {
			c.ended, c.value = true, p
		}
	}()
	f()
	returned = true
}

// raise ends the caller as the first function has ended that did not return. It is
// called when all have come to their end.
func (c *caught) raise() {
	switch {
	case !c.ended:
	case c.value == nil:
		runtime.Goexit()
	default:
		panic(c.value)
	}
}

// atOnce calls f(0) to f(n-1), some at a time. It panics as one of them has.
func atOnce(n int, f func(i int)) {
	const most = 16
	if n == 1 {
		f(0)
		return
	}
	var next atomic.Int64
	var c caught
	var workers sync.WaitGroup
	for range min(n, most) {
		workers.Go(func() {
			c.run(func() {
				for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
					f(i - 1)
				}
			})
		})
	}
	workers.Wait()
	c.raise()
}

// alone calls f on a goroutine on which nobody waits for it. A panic is logged, with
// its stack and without its text, which might have a key. The Logger is code of the
// user, too.
func (m *Manager) alone(f func()) {
	defer func() { _ = recover() }()
	defer func() {
		p := recover()
		if p == nil || m.o.Logger == nil {
			return
		}
		text := fmt.Sprintf("%T", p)
		if err, ok := p.(runtime.Error); ok {
			text = err.Error()
		}
		m.o.Logger.LogAttrs(context.Background(), slog.LevelError, "session: a hook or the store has panicked, on a goroutine of its own",
			slog.String("panic", text), slog.String("stack", string(debug.Stack())))
	}()
	f()
}
