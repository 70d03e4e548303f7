// Package stall is for tests that judge by the clock. A machine that stands still for
// a second, as those of CI services do, makes a call miss a time limit that it keeps
// otherwise.
package stall

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

const (
	tries = 6
	tick  = 5 * time.Millisecond
	// still is how late a goroutine that only waits may be on a machine that is busy.
	still = 100 * time.Millisecond
)

// Retry runs test. If it fails and the machine stood still meanwhile, test runs again,
// from the beginning and with a t of its own, a few times. What fails on a machine that
// goes on has failed, and so has what fails each time. The t has no Run: a subtest has
// a Retry of its own.
func Retry(t *testing.T, test func(t testing.TB)) {
	t.Helper()
	retry(t, watch, test)
}

func retry(t testing.TB, watch func() (longest func() time.Duration), test func(t testing.TB)) {
	t.Helper()
	for n := 1; ; n++ {
		a := &attempt{TB: t}
		longest := watch()
		a.run(test)
		stood := longest()
		switch {
		case a.skipped && !a.failed:
			t.SkipNow()
		case a.failed && stood > still && n < tries:
			t.Logf("try %d, in which the machine stood still for %v: %q", n, stood.Round(time.Millisecond), a.said)
			continue
		case a.failed:
			for _, text := range a.said {
				t.Error(text)
			}
			if n > 1 || len(a.said) == 0 {
				t.Errorf("failed in try %d", n)
			}
		}
		return
	}
}

// watch measures how late a goroutine is that only waits. longest ends it.
func watch() (longest func() time.Duration) {
	var most time.Duration
	last := time.Now()
	late := func() {
		now := time.Now()
		most, last = max(most, now.Sub(last)-tick), now
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		wake := time.NewTicker(tick)
		defer wake.Stop()
		for {
			select {
			case <-stop:
				return
			case <-wake.C:
				late()
			}
		}
	}()
	return func() time.Duration {
		close(stop)
		<-done
		late() // it may stand still for the goroutine as yet
		return most
	}
}

// An attempt is the t of one try. It keeps failures for itself.
type attempt struct {
	testing.TB
	ctx    context.Context
	cancel context.CancelFunc

	mu              sync.Mutex
	failed, skipped bool
	said            []string
	cleanups        []func()
}

func (a *attempt) run(test func(t testing.TB)) {
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.apart(func() { test(a) })
	a.cancel()
	for {
		a.mu.Lock()
		n := len(a.cleanups)
		if n == 0 {
			a.mu.Unlock()
			return
		}
		last := a.cleanups[n-1]
		a.cleanups = a.cleanups[:n-1]
		a.mu.Unlock()
		a.apart(last)
	}
}

// apart runs f in a goroutine, which FailNow may end.
func (a *attempt) apart(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

func (a *attempt) Context() context.Context { return a.ctx }

func (a *attempt) Cleanup(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cleanups = append(a.cleanups, f)
}

// fail notes a failure, and where in the test it was, as far as that is known.
func (a *attempt) fail(text string) {
	at := ""
	if _, file, line, ok := runtime.Caller(2); ok {
		at = fmt.Sprintf("%s:%d: ", filepath.Base(file), line)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failed = true
	a.said = append(a.said, at+text)
}

func (a *attempt) Error(args ...any)                 { a.fail(fmt.Sprint(args...)) }
func (a *attempt) Errorf(format string, args ...any) { a.fail(fmt.Sprintf(format, args...)) }
func (a *attempt) Fatal(args ...any)                 { a.fail(fmt.Sprint(args...)); runtime.Goexit() }
func (a *attempt) Fatalf(format string, args ...any) {
	a.fail(fmt.Sprintf(format, args...))
	runtime.Goexit()
}
func (a *attempt) FailNow() { a.Fail(); runtime.Goexit() }

func (a *attempt) Fail() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failed = true
}

func (a *attempt) Failed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failed
}

func (a *attempt) Skip(args ...any)                 { a.Log(args...); a.SkipNow() }
func (a *attempt) Skipf(format string, args ...any) { a.Logf(format, args...); a.SkipNow() }

func (a *attempt) SkipNow() {
	a.mu.Lock()
	a.skipped = true
	a.mu.Unlock()
	runtime.Goexit()
}

func (a *attempt) Skipped() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.skipped
}
