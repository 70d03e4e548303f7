package core_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
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

// A userCode is one of the functions of an application that core calls. Its nth call
// in a request panics.
type userCode struct {
	name  string
	left  int // calls until then; zero: none panics
	known map[core.ID]bool
	in    func(ctx context.Context, s *core.Session) // called by each in the request; nil for nothing
	calls int
}

func (u *userCode) called(ctx context.Context, name string, s *core.Session) {
	if name != u.name || u.left == 0 {
		return
	}
	u.calls++
	if u.in != nil {
		u.in(ctx, s)
	}
	if u.calls == u.left {
		panic("mine")
	}
}

func (u *userCode) options(o *core.Options) *core.Options {
	o.Hooks = core.Hooks{
		Event: func(ctx context.Context, e core.Event) { u.called(ctx, "Event", e.Session) },
		Valid: func(ctx context.Context, _ core.Jar, s *core.Session) (bool, error) {
			u.called(ctx, "Valid", s)
			return true, nil
		},
		BeforeSave: func(ctx context.Context, _ core.Jar, s *core.Session) error {
			u.called(ctx, "BeforeSave", s)
			return nil
		},
		Error: func(ctx context.Context, e *core.Error) error { u.called(ctx, "Error", nil); return e },
	}
	o.NewID = func(ctx context.Context) (string, error) {
		u.called(ctx, "NewID", nil)
		id := rand.Text() + rand.Text()
		u.known[core.ID(id)] = true
		return id, nil
	}
	if u.name == "TTLFunc" {
		o.TTLFunc = func(s *core.Session) time.Duration { u.called(bg, "TTLFunc", s); return 0 }
	}
	if u.name == "Logger" {
		o.Logger = slog.New(logged{slog.DiscardHandler, u})
	}
	return o
}

type logged struct {
	slog.Handler
	u *userCode
}

func (l logged) Enabled(context.Context, slog.Level) bool { return true }
func (l logged) Handle(ctx context.Context, _ slog.Record) error {
	l.u.called(ctx, "Logger", nil)
	return nil
}

var userCodes = []string{"Event", "Logger", "Valid", "BeforeSave", "Error", "NewID", "TTLFunc"}

// hookedRequests are requests of a browser that has a session, with the handler and
// whether the browser has none behind it.
var hookedRequests = map[string]struct {
	h    func(s *core.Session) error
	ends bool
}{
	"read":  {func(s *core.Session) error { visits.Get(s); return nil }, false},
	"set":   {func(s *core.Session) error { return visits.Set(s, 2) }, false},
	"Save":  {func(s *core.Session) error { _ = visits.Set(s, 2); return s.Save(bg) }, false},
	"Take":  {func(s *core.Session) error { _, err := core.Key[int]("once").Take(bg, s); return err }, false},
	"Login": {func(s *core.Session) error { _ = user.Set(s, "ada"); return s.Login(core.LoginOptions{}) }, false},
	"Login, Save": {func(s *core.Session) error {
		_ = user.Set(s, "ada")
		return errors.Join(s.Login(core.LoginOptions{}), s.Save(bg))
	}, false},
	"Renew":   {func(s *core.Session) error { _ = user.Set(s, "ada"); return s.Renew(bg) }, false},
	"Reset":   {func(s *core.Session) error { err := s.Reset(bg); _ = user.Set(s, "ada"); return err }, true},
	"Destroy": {func(s *core.Session) error { return s.Destroy(bg) }, true},
	"wrong type": {func(s *core.Session) error {
		core.Key[string]("visits").Get(s)
		return visits.Set(s, 2)
	}, false},
}

// hookedMoments are what comes together with the request.
var hookedMoments = map[string]func(a *app){
	"nothing":       nil,
	"another saves": func(a *app) { a.ok(a.send(a.browser.Jar("/"), count(a.t))) },
	"another logs in": func(a *app) {
		e := a.ok(a.send(a.browser.Jar("/"), func(_ *core.Visit, s *core.Session) { must(a.t, s.Login(core.LoginOptions{})) }))
		a.browser.Take("/", e.jar.SetCookies...)
	},
	"the store refuses": func(a *app) {
		n := 0
		a.store.Before(func(_ context.Context, op storetest.Op, _ string) error {
			if n++; op != storetest.OpGetVersion && n < 3 {
				return core.ErrRefused
			}
			return nil
		})
	},
	"a renewal is due": func(*app) { time.Sleep(renewAfter) },
}

// TestW38StoreAndResponseAgree: whatever code of the application panics, at any of its
// calls in any request, and whether or not the handler recovers and the session is
// committed: the browser holds each session that the store has, and none that was
// given up.
func TestW38StoreAndResponseAgree(t *testing.T) {
	for kind, wrap := range renewingStores {
		for _, code := range userCodes {
			for request, r := range hookedRequests {
				for moment, meanwhile := range hookedMoments {
					for _, deferred := range []bool{false, true} {
						if os.Getenv("SOAK") != "1" && mathrand.IntN(5) > 0 {
							continue // another fifth in each run
						}
						t.Run(fmt.Sprintf("W38 %s, %s, %s, %s, deferred %t", kind, code, request, moment, deferred), func(t *testing.T) {
							for left, reached := 1, true; reached && left < 30; left++ {
								for _, commits := range []bool{false, true} {
									synctest.Test(t, func(t *testing.T) {
										u := &userCode{name: code, known: map[core.ID]bool{}}
										o := renewingOptions()
										if code == "TTLFunc" { // which KoaCompat alone has
											o = core.KoaCompat()
										}
										o.Defer = deferred
										a := newAppOn(t, wrap(newMemory(t)), u.options(o))
										a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
											must(t, visits.Set(s, 1))
											must(t, core.Key[int]("once").Set(s, 1))
										}))
										old := core.ID(a.value())
										if moment == "a renewal is due" {
											meanwhile(a)
										}
										jar := a.browser.Jar("/")
										u.left = left
										once := true
										a.hooked(jar, commits, func(s *core.Session) error {
											if u.left = 0; once && meanwhile != nil && moment != "a renewal is due" {
												once = false
												meanwhile(a)
											}
											u.left = left
											return r.h(s)
										})
										reached = u.calls >= left
										u.left = 0
										a.store.Before(nil)
										a.browser.Take("/", jar.SetCookies...)
										a.agrees(u.known, old, request, moment)
										if t.Failed() {
											t.Errorf("call %d, committed %t", left, commits)
										}
									})
								}
							}
						})
					}
				}
			}
		}
	}
}

// hooked is one request whose handler panics, and recovers if commits.
func (a *app) hooked(jar *jartest.Jar, commits bool, h func(s *core.Session) error) {
	guarded := func(f func()) {
		defer func() {
			if p := recover(); p != nil && p != "mine" {
				panic(p)
			}
		}()
		f()
	}
	v, _ := a.manager.NewVisit(jar, nil)
	ctx := core.NewContext(bg, v)
	begun := false
	guarded(func() { begun = v.Begin(ctx) == nil })
	for range 2 {
		done := false
		guarded(func() {
			if !begun {
				return
			}
			if s, err := v.Session(ctx); err == nil {
				_ = h(s)
				done = true
			}
		})
		if done || !commits {
			break
		}
	}
	if begun && commits {
		guarded(func() { _ = v.Commit(ctx) })
	}
	guarded(v.Abandon)
	guarded(func() { _ = v.Commit(ctx) }) // as at the end of the response
}

// agrees checks what the browser and the store have.
func (a *app) agrees(known map[core.ID]bool, old core.ID, request, moment string) {
	a.t.Helper()
	id := core.ID(a.value())
	next, _ := a.browser.Value("/", "koa.sid.next")
	for other := range known {
		switch {
		case moment == "a renewal is due": // both ids live for a while
		case moment == "another logs in": // in a session of its own
		case moment == "the store refuses" && request == "Destroy": // the cookie goes either way
		case other != id && string(other) != next && a.lives(other):
			a.t.Errorf("the store has a session that the browser does not hold: the old id %t", other == old)
		}
	}
	if !hookedRequests[request].ends && !a.lives(id) {
		a.t.Error("the session is lost")
	}
	if data, err := a.manager.GetByID(bg, old); err == nil && strings.Contains(string(data), "ada") {
		a.t.Error("logged in under the old id")
	}
}

// TestW38HooksThatCallBack: from any code of the application that core calls, what would
// wait for that call is an error, and nothing hangs or changes.
func TestW38HooksThatCallBack(t *testing.T) {
	for _, code := range []string{"Event", "Logger", "Valid", "BeforeSave", "Error", "TTLFunc"} {
		for request, r := range hookedRequests {
			for moment, meanwhile := range hookedMoments {
				t.Run(fmt.Sprintf("W38 %s, %s, %s", code, request, moment), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						u := &userCode{name: code, known: map[core.ID]bool{}, left: 1000}
						o := renewingOptions()
						if code == "TTLFunc" {
							o = core.KoaCompat()
						}
						a := newAppOn(t, newMemory(t), u.options(o))
						a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
							must(t, visits.Set(s, 1))
							must(t, core.Key[int]("once").Set(s, 1))
						}))
						old := core.ID(a.value())
						if moment == "a renewal is due" {
							meanwhile(a)
						}
						u.in = func(ctx context.Context, s *core.Session) {
							if s == nil {
								if s, _ = core.From(ctx); s == nil {
									return
								}
							}
							in := u.in
							u.in = nil
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
							u.in = in
						}
						jar := a.browser.Jar("/")
						a.hooked(jar, true, func(s *core.Session) error {
							in := u.in
							if u.in = nil; meanwhile != nil && moment != "a renewal is due" {
								meanwhile(a)
							}
							u.in = in
							return r.h(s)
						})
						u.in = nil
						a.store.Before(nil)
						a.browser.Take("/", jar.SetCookies...)
						a.agrees(u.known, old, request, moment)
					})
				})
			}
		}
	}
}
