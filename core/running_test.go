package core_test

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
)

const cart core.Key[map[string]int] = "cart"

// ask begins a request of the app's browser whose handler gets the session by a
// context that with makes.
func ask(t *testing.T, a *app, with func(context.Context) context.Context) (*core.Visit, *core.Session, *jartest.Jar) {
	t.Helper()
	jar := a.browser.Jar("/")
	v, _ := a.manager.NewVisit(jar, nil)
	ctx := core.NewContext(bg, v)
	must(t, v.Begin(ctx))
	s, err := core.From(ctx) // by a middleware, outside of the one that makes the context
	must(t, err)
	if with != nil {
		s, err = core.From(with(ctx))
		must(t, err)
	}
	return v, s, jar
}

// timed is a context that a middleware gives to its handler.
func timed(t *testing.T, d time.Duration) func(context.Context) context.Context {
	return func(ctx context.Context) context.Context {
		ctx, cancel := context.WithTimeout(ctx, d)
		t.Cleanup(cancel)
		return ctx
	}
}

// never writes into m until the test ends, as a handler that does not look at its
// context.
func never(t *testing.T, m map[string]int) {
	begun, end, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ; i++ {
			m[string(rune('a'+i%26))] = i
			if i == 100 {
				close(begun)
			}
			select {
			case <-end:
				return
			default:
			}
		}
	}()
	<-begun
	t.Cleanup(func() { close(end); <-ended })
}

func (a *app) wantCart(want map[string]int) {
	a.t.Helper()
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		a.t.Helper()
		if got := cart.Get(s); !maps.Equal(got, want) {
			a.t.Errorf("the cart has %v, want %v", got, want)
		}
	}))
}

// W11, P21: what a handler that was left running may still write is not read.
func TestW11LeftRunning(t *testing.T) {
	saved := map[string]int{"tea": 1}
	fill := func(t *testing.T, a *app) {
		t.Helper()
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, cart.Set(s, maps.Clone(saved))) }))
	}

	t.Run("W12 a guard knows it, and nothing is saved", func(t *testing.T) {
		for _, deferred := range []bool{false, true} {
			var events []core.EventKind
			a := newApp(t, &core.Options{Defer: deferred, Hooks: core.Hooks{Event: func(_ context.Context, e core.Event) {
				events = append(events, e.Kind)
				if e.Kind == core.EventAbandoned {
					for range cart.Get(e.Session) { // a copy, or this would be the end
					}
				}
			}}})
			fill(t, a)
			v, s, jar := ask(t, a, nil)
			v.Enter()
			events = nil
			must(t, visits.Set(s, 1))
			never(t, cart.Get(s))
			writes := a.store.Calls("set-version")
			must(t, v.Commit(bg))
			if n := a.store.Calls("set-version") - writes; n != 0 || len(jar.SetCookies) != 0 {
				t.Errorf("%d writes, %d cookies", n, len(jar.SetCookies))
			}
			wantIs(t, visits.Set(s, 2), core.ErrCommitted)
			wantIs(t, s.Save(bg), core.ErrCommitted)
			v.Leave()
			must(t, v.Commit(bg)) // as an adapter calls it again
			if !slices.Equal(events, []core.EventKind{core.EventAbandoned}) {
				t.Errorf("events %q", events)
			}
			a.wantVisits(0)
			a.wantCart(saved)
		}
	})

	t.Run("W12 what it has sent by Renew before stays in the response", func(t *testing.T) {
		a := newApp(t, nil)
		fill(t, a)
		v, s, jar := ask(t, a, nil)
		v.Enter()
		must(t, s.Renew(bg))
		must(t, visits.Set(s, 1))
		jar.Clear()
		must(t, v.Commit(bg))
		e := &exchange{jar: jar}
		e.wantCookies(t, pair)
		if vary, cache := jar.Response.Get("Vary"), jar.Response.Get("Cache-Control"); vary != "Cookie" || cache != "no-store" {
			t.Errorf("Vary %q, Cache-Control %q", vary, cache)
		}
		a.browser.Take("/", jar.SetCookies...)
		a.wantVisits(0)
		a.wantCart(saved)
	})

	t.Run("W13 P22 a panic that is recovered below ends as nothing saved", func(t *testing.T) {
		outer, inner := newApp(t, nil), newApp(t, &core.Options{Name: "inner"})
		jar := &jartest.Jar{}
		v, _ := outer.manager.NewVisit(jar, nil)
		w, _ := inner.manager.NewVisit(jar, v)
		ctx := core.NewContext(core.NewContext(bg, v), w)
		for _, visit := range []*core.Visit{v, w} {
			must(t, visit.Begin(ctx))
			s, err := visit.Session(ctx)
			must(t, err)
			must(t, visits.Set(s, 1))
		}
		func() { // the guard
			defer func() { _ = recover() }()
			w.Enter()
			panic("below")
		}()
		must(t, w.Commit(bg))
		must(t, v.Commit(bg))
		if len(jar.SetCookies) != 0 || outer.store.Calls("set-version")+inner.store.Calls("set-version") != 0 {
			t.Errorf("cookies %d: saved", len(jar.SetCookies))
		}
	})

	t.Run("P21 a handler that answers itself has not been left running", func(t *testing.T) {
		a := newApp(t, nil)
		v, s, _ := ask(t, a, nil)
		v.Enter()
		v.Enter() // a guard inside of a guard
		must(t, visits.Set(s, 1))
		v.Leave()
		v.Leave() // both are about to write
		must(t, v.Commit(bg))
		v.Enter()
		v.Enter()
		wantIs(t, visits.Set(s, 2), core.ErrCommitted)
		v.Leave()
		v.Leave()
		if n := a.store.Calls("set-version"); n != 1 {
			t.Errorf("%d writes", n)
		}
	})

	t.Run("P21 no context makes an ordinary handler one that was left running", func(t *testing.T) {
		cancelled := func(ctx context.Context) context.Context {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx
		}
		early := func(ctx context.Context) context.Context { // defer cancel()
			ctx, cancel := context.WithTimeout(ctx, time.Hour)
			cancel()
			return ctx
		}
		for name, c := range map[string]struct {
			with    func(context.Context) context.Context
			guarded bool
		}{
			"cancelled":                    {with: cancelled},
			"cancelled before its end":     {with: early},
			"its time is not over":         {with: timed(t, time.Hour)},
			"its time is over, in a guard": {with: timed(t, -time.Second), guarded: true},
		} {
			t.Run(name, func(t *testing.T) {
				var log bytes.Buffer
				a := newApp(t, &core.Options{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
				fill(t, a)
				v, s, _ := ask(t, a, c.with)
				if c.guarded {
					v.Enter()
				}
				cart.Get(s)["tea"] = 2
				if c.guarded {
					v.Leave()
				}
				must(t, v.Commit(bg))
				a.wantCart(map[string]int{"tea": 2})
				if log.Len() != 0 {
					t.Errorf("told: %s", &log)
				}
			})
		}
	})

	t.Run("W11 without a guard the process lives, and what was not saved is told", func(t *testing.T) {
		for _, deferred := range []bool{false, true} {
			var log bytes.Buffer
			seen := 0
			a := newApp(t, &core.Options{
				Defer:  deferred,
				Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})),
				Hooks: core.Hooks{BeforeSave: func(_ context.Context, _ core.Jar, s *core.Session) error {
					for range cart.Get(s) { // a copy, or this would be the end
						seen++
					}
					return nil
				}},
			})
			fill(t, a)
			seen = 0
			v, s, _ := ask(t, a, timed(t, -time.Second))
			held := cart.Get(s)
			must(t, visits.Set(s, 1))
			if _, err := s.JSON(); err != nil {
				t.Error(err)
			}
			never(t, held)
			must(t, v.Commit(bg))
			if got := log.String(); !strings.Contains(got, "level=WARN") || !strings.Contains(got, "session unchecked") || strings.Contains(got, "tea") || strings.Contains(got, "cart") {
				t.Errorf("told: %s", got)
			}
			if seen != 1 {
				t.Errorf("the hook saw %d things in the cart", seen)
			}
			a.wantVisits(1) // what it has Set is known
			a.wantCart(saved)
		}
	})

	t.Run("W11 the first deadline counts, in whatever order they ask", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			for _, with := range [][]time.Duration{{time.Second, time.Hour}, {time.Hour, time.Second}, {0, time.Second}, {time.Second, 0}} {
				a := newApp(t, nil)
				fill(t, a)
				v, _, _ := ask(t, a, nil)
				for _, d := range with {
					ctx := core.NewContext(bg, v)
					if d > 0 {
						ctx = timed(t, d)(ctx)
					}
					s, err := core.From(ctx)
					must(t, err)
					cart.Get(s)["tea"] = 2
				}
				time.Sleep(time.Second)
				must(t, v.Commit(bg))
				a.wantCart(saved)
			}
		})
	})
}
