// Package caught is for code of others that a store calls, such as a driver, a client or
// a function that dials. On a goroutine of the store's a panic of it would end the
// process. In a call of the store it goes on without its text: that may quote a key or a
// value, and whoever recovers it writes it to a log, or into the response.
package caught

import (
	"fmt"
	"runtime"
	"sync"
)

// An End is how a function has ended on another goroutine. The zero value is that of
// one that has returned.
type End struct {
	early bool
	value any // of its panic; nil for runtime.Goexit
}

// Raise ends the caller as the function has ended, if it has not returned: its panic
// goes on as by [Again].
func (e End) Raise() {
	switch {
	case !e.early:
	case e.value == nil:
		runtime.Goexit()
	default:
		Again(e.value)
	}
}

// Again lets the panic of value p, which recover has returned, go on without its text.
// Errors of the runtime go on as they are: they quote nothing. Nil does nothing. Called
// where recover is, it leaves the place of the panic in the stack.
func Again(p any) {
	switch p.(type) {
	case nil:
	case runtime.Error:
		panic(p)
	default:
		panic(withhold(p))
	}
}

// A withheld stands for a panic of a type, without its text.
type withheld struct{ kind string }

func (w *withheld) Error() string { return "panic: " + w.kind }

func withhold(p any) *withheld {
	if w, ok := p.(*withheld); ok { // a store on another one
		return w
	}
	return &withheld{fmt.Sprintf("%T", p)}
}

// Err is an error if the function has not returned, for where nobody can be made to
// panic. It does not say what the panic says, which may have a key.
func (e End) Err() error {
	if err, ok := e.value.(runtime.Error); ok {
		return fmt.Errorf("panic: %w", err)
	}
	if e.early {
		return withhold(e.value)
	}
	return nil
}

// Go calls f on a goroutine of its own, and then done, there.
func Go(f func(), done func(End)) { go run(f, done) }

// Do calls f in this goroutine, and returns its panic as an error.
func Do(f func()) (err error) {
	run(f, func(e End) { err = e.Err() })
	return err
}

func run(f func(), done func(End)) {
	e := End{early: true}
	defer func() {
		if e.early {
			e.value = recover()
		}
		done(e)
	}()
	f()
	e.early = false
}

// All calls f(0) to f(n-1) at once, and raises as one of them has ended.
func All(n int, f func(i int)) {
	ends := make([]End, n)
	var all sync.WaitGroup
	all.Add(n)
	for i := range n {
		Go(func() { f(i) }, func(e End) {
			ends[i] = e
			all.Done()
		})
	}
	all.Wait()
	for _, e := range ends {
		e.Raise()
	}
}
