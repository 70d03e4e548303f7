// Package caught is for code of the user that a store calls on a goroutine of its own,
// such as a client or a function that dials: a panic there would end the process.
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

// Raise ends the caller as the function has ended, if it has not returned.
func (e End) Raise() {
	switch {
	case !e.early:
	case e.value == nil:
		runtime.Goexit()
	default:
		panic(e.value)
	}
}

// Err is an error if the function has not returned, for where nobody can be made to
// panic. It does not say what the panic says, which may have a key.
func (e End) Err() error {
	if err, ok := e.value.(runtime.Error); ok {
		return fmt.Errorf("panic: %w", err)
	}
	if e.early {
		return fmt.Errorf("panic: %T", e.value)
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

// All calls f(0) to f(n-1) at once, and panics as one of them has.
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
