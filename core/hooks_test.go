package core_test

import (
	"context"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/soak"
	"github.com/gensession/gensession/internal/usercode"
)

// TestW38AHookThatPanicsAtAnyEvent: events are told when the call is done. A hook that
// panics at one of them leaves the session and its cookie as the call has made them.
func TestW38AHookThatPanicsAtAnyEvent(t *testing.T) {
	for name, do := range map[string]func(s *core.Session) error{
		"Login":   func(s *core.Session) error { return s.Login(core.LoginOptions{}) },
		"Renew":   func(s *core.Session) error { return s.Renew(bg) },
		"Reset":   func(s *core.Session) error { return s.Reset(bg) },
		"Destroy": func(s *core.Session) error { return s.Destroy(bg) },
		"Save":    func(s *core.Session) error { return s.Save(bg) },
		"Take":    func(s *core.Session) error { _, err := visits.Take(bg, s); return err },
	} {
		for n := 1; n < 10; n++ {
			reached := false
			t.Run("W38 "+name, func(t *testing.T) {
				at, left := 0, n
				a := newApp(t, &core.Options{Hooks: core.Hooks{Event: func(context.Context, core.Event) {
					if at == 0 {
						return
					}
					if left--; left == 0 {
						reached = true
						panic("mine")
					}
				}}})
				a.ok(a.get("/", count(t)))
				old := core.ID(a.value())
				jar := a.browser.Jar("/")
				func() {
					defer func() { _ = recover() }()
					a.send(jar, func(_ *core.Visit, s *core.Session) {
						a.ok(a.with(old, count(t))) // a conflict
						if name != "Take" {
							must(t, visits.Set(s, 7))
						}
						at = 1
						_ = do(s)
						if name == "Login" {
							_ = s.Save(bg)
						}
					})
				}()
				at = 0
				a.browser.Take("/", jar.SetCookies...)
				want := 7
				if name == "Reset" || name == "Destroy" || name == "Take" {
					want = 0
				}
				a.wantVisits(want)
				if now := core.ID(a.value()); name != "Save" && name != "Take" && (now == old || a.lives(old)) {
					t.Errorf("the old id: in the browser %t, in the store %t", now == old, a.lives(old))
				}
			})
			if !reached {
				break
			}
		}
	}
}

// TestW38SaveBesideAHook: while a hook runs, other goroutines of the request wait, and
// what happens meanwhile is told. From the hook itself it is an error.
func TestW38SaveBesideAHook(t *testing.T) {
	runs, goOn := make(chan bool), make(chan bool)
	var once sync.Once
	var mu sync.Mutex
	kinds := []core.EventKind{}
	var fromHook error
	a := newApp(t, &core.Options{Hooks: core.Hooks{
		BeforeSave: func(ctx context.Context, _ core.Jar, s *core.Session) error {
			once.Do(func() {
				fromHook = s.Save(ctx)
				runs <- true
				<-goOn
			})
			return nil
		},
		Event: func(_ context.Context, e core.Event) {
			mu.Lock()
			defer mu.Unlock()
			kinds = append(kinds, e.Kind)
		},
	}})
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		must(t, visits.Set(s, 1))
		must(t, user.Set(s, "ada"))
		var wg sync.WaitGroup
		wg.Go(func() { must(t, s.Save(bg)) })
		<-runs
		number := core.Key[int]("user") // a string
		if number.Get(s) != 0 {
			t.Error("decoded")
		}
		wg.Go(func() {
			if err := s.Save(bg); err != nil {
				t.Errorf("Save beside a hook: %v", err)
			}
		})
		goOn <- true
		wg.Wait()
	}))
	if fromHook == nil || !strings.Contains(fromHook.Error(), "hook") {
		t.Errorf("Save from the hook: %v", fromHook)
	}
	if want := []core.EventKind{core.EventFailed, core.EventCreated}; !slices.Equal(kinds, want) {
		t.Errorf("events %q, want %q", kinds, want)
	}
	if n := a.store.Calls(storetest.OpSetVersion); n != 1 {
		t.Errorf("stored %d times", n)
	}
	a.wantVisits(1)
}

// played makes the application of a world on store.
func played(t *testing.T, store core.Store) usercode.Open {
	return func(o *core.Options) (*core.Manager, *storetest.Faulty) {
		a := newAppOn(t, store, o)
		return a.manager, a.store
	}
}

// TestW38StoreAndResponseAgree: whatever code of the application panics, at any of its
// calls in any request, and whether or not the handler recovers and the session is
// committed: the browser holds each session that the store has, and none that was
// given up.
func TestW38StoreAndResponseAgree(t *testing.T) {
	for kind, wrap := range renewingStores {
		for row := range usercode.Rows() {
			if !soak.On && mathrand.IntN(12) > 0 {
				continue // another twelfth in each run
			}
			t.Run(kind+", "+row.String(), func(t *testing.T) {
				for left, reached := 1, true; reached && left < 30; left++ {
					for _, commits := range []bool{false, true} {
						synctest.Test(t, func(t *testing.T) {
							w := usercode.NewWorld(t, row, renewAfter, newMemory(t), played(t, wrap(newMemory(t))))
							if reached = w.Play(left, commits); t.Failed() {
								t.Errorf("call %d, committed %t", left, commits)
							}
						})
					}
				}
			})
		}
	}
}

// TestW38HooksThatCallBack: from any code of the application that core calls, what would
// wait for that call is an error, and nothing hangs or changes.
func TestW38HooksThatCallBack(t *testing.T) {
	for row := range usercode.Rows() {
		if row.Carries != "cookie" || row.Deferred || row.Code == "NewID" { // which gets no session
			continue
		}
		t.Run(row.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := usercode.NewWorld(t, row, renewAfter, nil, played(t, newMemory(t)))
				w.Code.In = func(ctx context.Context, s *core.Session) {
					if s == nil {
						if s, _ = core.From(ctx); s == nil {
							return
						}
					}
					in := w.Code.In
					w.Code.In = nil
					for call, err := range map[string]error{
						"Save": s.Save(bg), "Login": s.Login(core.LoginOptions{}), "Renew": s.Renew(bg), "Reset": s.Reset(bg), "Destroy": s.Destroy(bg),
					} {
						if err == nil && !s.IsNew() {
							t.Errorf("%s from the hook works", call)
						}
					}
					if v, err := core.Key[int]("once").Take(bg, s); err == nil && v != 0 {
						t.Error("Take from the hook works")
					}
					_ = core.Key[string]("visits").Get(s)
					s.Names()
					w.Code.In = in
				}
				w.Play(1000, true)
			})
		})
	}
}

// A hook that uses the Manager, or another session by its id, is not told of what that
// causes, or it would be called for ever. Others are told meanwhile.
func TestW38AHookThatUsesTheManager(t *testing.T) {
	t.Parallel()
	audit := core.ID(strings.Repeat("a", 32))
	for name, act := range map[string]func(t *testing.T, m *core.Manager) error{
		"SetByID":     func(_ *testing.T, m *core.Manager) error { return m.SetByID(bg, audit, map[string]int{"n": 1}, 0) },
		"DestroyByID": func(_ *testing.T, m *core.Manager) error { return m.DestroyByID(bg, audit) },
		"VisitByID": func(t *testing.T, m *core.Manager) error {
			return m.VisitByID(bg, audit, func(s *core.Session) error { count(t)(nil, s); return nil })
		},
		"a request": func(t *testing.T, m *core.Manager) error {
			return serve(t, m, &jartest.Jar{}, count(t)).err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var m *core.Manager
			var told []core.EventKind
			a := newApp(t, &core.Options{Hooks: core.Hooks{Event: func(_ context.Context, e core.Event) {
				if m == nil {
					return
				}
				told = append(told, e.Kind)
				must(t, act(t, m))
			}}})
			must(t, a.manager.SetByID(bg, audit, map[string]int{"n": 1}, 0))
			a.ok(a.get("/", count(t)))
			m = a.manager
			a.ok(a.get("/", count(t)))
			must(t, a.manager.SetByID(bg, audit, map[string]int{"n": 2}, 0))
			if len(told) != 3 || told[0] != core.EventLoaded || told[1] != core.EventSaved {
				t.Errorf("told were %q", told)
			}
		})
	}
}

// While a hook runs, what other goroutines do is told: only the hook's own is not.
func TestW38TheEventsOfOthersDuringAHook(t *testing.T) {
	t.Parallel()
	var m *core.Manager
	var told []core.EventKind
	a := newApp(t, &core.Options{Hooks: core.Hooks{Event: func(_ context.Context, e core.Event) {
		if told = append(told, e.Kind); len(told) > 1 {
			return
		}
		var other sync.WaitGroup
		other.Go(func() {
			if err := serve(t, m, &jartest.Jar{}, count(t)).err(); err != nil {
				t.Error(err)
			}
		})
		other.Wait()
	}}})
	m = a.manager
	a.ok(a.get("/", count(t)))
	if len(told) != 2 || told[0] != core.EventCreated || told[1] != core.EventCreated {
		t.Errorf("told were %q", told)
	}
}
