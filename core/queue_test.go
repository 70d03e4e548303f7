package core_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
)

// slow makes every call of the store take d, and counts them.
func (a *app) slow(d time.Duration) *atomic.Int64 {
	calls := new(atomic.Int64)
	a.store.Before(func(context.Context, storetest.Op, string) error {
		calls.Add(1)
		time.Sleep(d)
		return nil
	})
	return calls
}

// A crowd that writes one session queues up instead of racing (W40). Code of the user
// has no place in the queue (P13).
func TestCrowd(t *testing.T) {
	crowd := func(t *testing.T, a *app, n int, h handler) (failed int64) {
		var wg sync.WaitGroup
		var failures atomic.Int64
		for range n {
			jar := a.browser.Jar("/")
			wg.Go(func() {
				if e := a.send(jar, h); e.err() != nil {
					failures.Add(1)
					t.Log(e.err())
				}
			})
		}
		wg.Wait()
		return failures.Load()
	}
	t.Run("400 writers at 2.2 ms: none refused, at most 5 calls each", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, nil)
			a.ok(a.get("/", count(t)))
			calls := a.slow(2200 * time.Microsecond)
			const n = 400
			if failed := crowd(t, a, n, count(t)); failed > 0 {
				t.Errorf("%d were refused", failed)
			}
			if got := calls.Load(); got > 5*n {
				t.Errorf("%d calls for %d writers", got, n)
			}
			a.store.Before(nil)
			a.wantVisits(n + 1)
		})
	})
	for _, limit := range []struct {
		writers int
		call    time.Duration
	}{{2400, time.Millisecond}, {400, 6 * time.Millisecond}} { // as docs/concurrency.md says
		t.Run(fmt.Sprintf("the limit, %d writers at %v", limit.writers, limit.call), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newApp(t, nil)
				a.ok(a.get("/", count(t)))
				a.slow(limit.call)
				if failed := crowd(t, a, limit.writers, count(t)); failed > 0 {
					t.Errorf("%d were refused", failed)
				}
				a.store.Before(nil)
				a.wantVisits(limit.writers + 1)
			})
		})
	}
	t.Run("an Update that takes long hold nobody up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, nil)
			a.ok(a.get("/", count(t)))
			a.slow(time.Millisecond)
			if failed := crowd(t, a, 20, func(_ *core.Visit, s *core.Session) {
				_, err := visits.Update(s, func(n int) int { time.Sleep(15 * time.Millisecond); return n + 1 })
				must(t, err)
			}); failed > 0 {
				t.Errorf("%d were refused", failed)
			}
			a.store.Before(nil)
			a.wantVisits(21)
		})
	})
	t.Run("an Update that asks its own server for the session", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, nil)
			a.ok(a.get("/", count(t)))
			a.slow(time.Millisecond)
			inner := a.browser.Jar("/")
			var once sync.Once
			start := time.Now()
			failed := crowd(t, a, 2, func(_ *core.Visit, s *core.Session) {
				runs := 0
				_, err := visits.Update(s, func(n int) int {
					if runs++; runs == 2 { // the replay, which it is in line for
						once.Do(func() { a.ok(a.send(inner, set(t, "inner", true))) })
					}
					return n + 1
				})
				must(t, err)
			})
			if failed > 0 || time.Since(start) > time.Second {
				t.Errorf("%d were refused, it took %v", failed, time.Since(start))
			}
			a.store.Before(nil)
			a.wantVisits(3)
		})
	})
	t.Run("too many", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, &core.Options{MaxWaiters: 5})
			a.ok(a.get("/", count(t)))
			a.slow(10 * time.Millisecond)
			failed := crowd(t, a, 30, count(t))
			a.store.Before(nil)
			a.wantVisits(31 - int(failed))
			if failed == 0 {
				t.Error("nobody was turned away")
			}
		})
	})
	for name, pause := range map[string]time.Duration{
		"a panic in an Update leaves the line":                     0,
		"so does one that comes when the next request is let past": 10 * time.Millisecond,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newApp(t, nil)
				a.ok(a.get("/", count(t)))
				a.slow(time.Millisecond)
				failed := crowd(t, a, 5, func(v *core.Visit, s *core.Session) {
					runs := 0
					_, err := visits.Update(s, func(n int) int {
						if runs++; runs == 2 {
							time.Sleep(pause)
							panic("boom")
						}
						return n + 1
					})
					must(t, err)
					defer func() { _ = recover() }()
					_ = v.Commit(bg)
				})
				_ = failed
				start := time.Now()
				a.ok(a.get("/", set(t, "after", true)))
				if time.Since(start) > 100*time.Millisecond {
					t.Error("a line without requests holds others up")
				}
				a.store.Before(nil)
			})
		})
	}
	t.Run("a login beside a crowd needs few calls", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, nil)
			a.ok(a.get("/", count(t)))
			a.slow(2200 * time.Microsecond)
			var wg sync.WaitGroup
			for range 64 {
				jar := a.browser.Jar("/")
				wg.Go(func() { a.send(jar, count(t)) })
			}
			jar := a.browser.Jar("/")
			a.ok(a.send(jar, func(_ *core.Visit, s *core.Session) { must(t, s.Renew(bg)) }))
			wg.Wait()
			a.store.Before(nil)
		})
	})
}
