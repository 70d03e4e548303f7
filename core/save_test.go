package core_test

import (
	"context"
	"errors"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

func TestK21NewAndUnchanged(t *testing.T) {
	for name, h := range map[string]handler{
		"untouched":       nil,
		"read":            func(_ *core.Visit, s *core.Session) { visits.Get(s) },
		"set and deleted": func(_ *core.Visit, s *core.Session) { visits.Set(s, 1); visits.Delete(s) },
		"id asked for":    func(_ *core.Visit, s *core.Session) { s.ID() },
	} {
		t.Run(name, func(t *testing.T) {
			a := newApp(t, nil)
			a.ok(a.get("/", h)).wantCookies(t, "")
			a.wantCalls(nil)
			a = newApp(t, &core.Options{AllowEmpty: true})
			a.ok(a.get("/", h)).wantCookies(t, pair)
		})
	}
}

func TestK23BeforeSave(t *testing.T) {
	runs := 0
	var fail error
	a := newApp(t, &core.Options{Hooks: core.Hooks{BeforeSave: func(ctx context.Context, j core.Jar, s *core.Session) error {
		runs++
		if s2, err := core.From(ctx); err != nil || s2 != s {
			t.Error("From does not work in the hook")
		}
		if err := s.Destroy(ctx); err == nil {
			t.Error("Destroy works in a hook")
		}
		if err := s.Set("path", j.Path()); err != nil {
			return err
		}
		return fail
	}}})
	a.ok(a.get("/", nil))
	if runs != 0 {
		t.Error("runs though nothing is saved")
	}
	a.ok(a.get("/count", count(t)))
	if runs != 1 {
		t.Errorf("ran %d times for one save", runs)
	}
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		if s.Get("path") != "/count" {
			t.Error("what the hook changed is not stored")
		}
	}))
	fail = errors.New("no")
	e := a.get("/", count(t))
	wantIs(t, e.commit, fail)
	e.wantCookies(t, "")
	for name, h := range map[string]handler{
		"Renew": func(v *core.Visit, s *core.Session) { wantIs(t, s.Renew(core.NewContext(bg, v)), fail) },
		"Login": func(_ *core.Visit, s *core.Session) { must(t, s.Login(core.LoginOptions{})) },
		"Save": func(v *core.Visit, s *core.Session) {
			must(t, visits.Set(s, 9))
			wantIs(t, s.Save(core.NewContext(bg, v)), fail)
		},
	} {
		id := a.value()
		e := a.get("/", h)
		wantIs(t, e.commit, fail)
		if e.wantCookies(t, ""); a.value() != id {
			t.Errorf("%s: the hook has failed, and the browser has another id", name)
		}
	}
	fail = nil
	a.wantVisits(1)
}

func TestK23HookPanics(t *testing.T) {
	broken := true
	a := newApp(t, &core.Options{Hooks: core.Hooks{BeforeSave: func(context.Context, core.Jar, *core.Session) error {
		if broken {
			panic("hook")
		}
		return nil
	}}})
	v, _ := a.manager.NewVisit(a.browser.Jar("/"), nil)
	s, err := v.Session(bg)
	must(t, err)
	must(t, visits.Set(s, 1))
	func() {
		defer func() { recover() }()
		v.Commit(bg)
		t.Error("no panic")
	}()
	if v.Commit(bg) == nil {
		t.Error("a later Commit says that all is well")
	}
	wantIs(t, visits.Set(s, 2), core.ErrCommitted)
	a.wantCalls(nil)
}

func TestK24Rolling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp(t, &core.Options{IdleTimeout: core.DefaultMaxAge})
		a.ok(a.get("/", nil)).wantCookies(t, "")
		a.ok(a.get("/", count(t))).wantCookies(t, pair)
		for range 5 {
			time.Sleep(11 * time.Hour)
			a.ok(a.get("/", nil)).wantCookies(t, pair)
		}
		// A renewal writes the record anew, which needs no look afterwards.
		a.wantCalls(map[storetest.Op]int{storetest.OpSetVersion: 6, storetest.OpGetVersion: 5})
		a.wantVisits(1)
		time.Sleep(25 * time.Hour)
		a.wantVisits(0)
	})
	t.Run("without touch it is written again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newAppOn(t, plainStore{newMemory(t)}, &core.Options{IdleTimeout: core.DefaultMaxAge})
			a.ok(a.get("/", count(t)))
			time.Sleep(20 * time.Hour)
			a.ok(a.get("/", nil)).wantCookies(t, pair)
			time.Sleep(20 * time.Hour)
			a.wantVisits(1)
		})
	})
	t.Run("TouchEvery", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, &core.Options{IdleTimeout: core.DefaultMaxAge, TouchEvery: time.Hour})
			a.ok(a.get("/", count(t)))
			time.Sleep(59 * time.Minute)
			a.ok(a.get("/", nil)).wantCookies(t, "")
			time.Sleep(2 * time.Minute)
			a.ok(a.get("/", nil)).wantCookies(t, pair)
			a.ok(a.get("/", nil)).wantCookies(t, "")
		})
	})
	t.Run("at most once a minute by default", func(t *testing.T) {
		for name, test := range map[string]struct {
			o     core.Options
			every time.Duration
		}{
			"a day":              {core.Options{}, time.Minute},
			"a tenth":            {core.Options{IdleTimeout: 100 * time.Second}, 10 * time.Second},
			"a third of a life":  {core.Options{IdleTimeout: 90 * time.Second, TouchEvery: 80 * time.Second}, 30 * time.Second},
			"KoaCompat: at once": {*core.KoaCompat(), 0},
			"chosen: at once":    {core.Options{TouchEvery: 1}, 0},
		} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					o := test.o
					if o.Keys = [][]byte{testKey}; strings.HasPrefix(name, "Koa") {
						o.Rolling = true
					} else if o.IdleTimeout == 0 {
						o.IdleTimeout = core.DefaultMaxAge
					}
					a := newApp(t, &o)
					a.ok(a.get("/", count(t)))
					for range 3 {
						if test.every > 0 {
							time.Sleep(test.every - time.Second)
							a.ok(a.get("/", nil)).wantCookies(t, "")
						}
						time.Sleep(time.Second + 100*time.Millisecond) // how exact the memory is
						a.ok(a.get("/", nil)).wantCookies(t, pair)
					}
				})
			})
		}
	})
	t.Run("a session with its own short lifetime is renewed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, &core.Options{IdleTimeout: core.DefaultMaxAge, TouchEvery: time.Hour})
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
				must(t, visits.Set(s, 1))
				c := s.Cookie()
				c.MaxAge = 10 * time.Minute
				must(t, s.SetCookie(c))
			}))
			for range 10 {
				time.Sleep(6 * time.Minute)
				a.wantVisits(1)
			}
		})
	})
	t.Run("does not overwrite the lifetime that another request set", func(t *testing.T) {
		for name, life := range map[string]time.Duration{"longer": 90 * 24 * time.Hour, "shorter": time.Hour} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a := newApp(t, &core.Options{IdleTimeout: core.DefaultMaxAge, TouchEvery: 1})
					a.ok(a.get("/", count(t)))
					time.Sleep(time.Second)
					late := a.browser.Jar("/")
					a.ok(a.send(late, func(*core.Visit, *core.Session) {
						a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
							c := s.Cookie()
							c.MaxAge = life
							must(t, s.SetCookie(c))
						}))
					}))
					time.Sleep(life - time.Minute)
					if _, err := a.manager.GetByID(bg, core.ID(a.value())); err != nil {
						t.Errorf("a touch made the session shorter: %v", err)
					}
					time.Sleep(2 * time.Minute)
					_, err := a.manager.GetByID(bg, core.ID(a.value()))
					wantIs(t, err, core.ErrNotFound)
				})
			})
		}
	})
	t.Run("gone", func(t *testing.T) {
		a := newApp(t, &core.Options{IdleTimeout: core.DefaultMaxAge, TouchEvery: 1})
		a.ok(a.get("/", count(t)))
		id := a.value()
		e := a.ok(a.get("/", func(*core.Visit, *core.Session) { must(t, a.manager.DestroyByID(bg, core.ID(id))) }))
		e.wantCookies(t, "")
		a.wantVisits(0)
	})
}

func TestK29Save(t *testing.T) {
	a := newApp(t, nil)
	var before core.ID
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		before = s.ID()
		must(t, visits.Set(s, 1))
		must(t, s.Save(bg))
		if s.ID() != before || s.IsNew() {
			t.Error("the id changed under the handler, or the session is still new")
		}
		if got, err := a.manager.GetByID(bg, before); err != nil || string(got) != `{"visits":1}` {
			t.Errorf("not stored now: %s, %v", got, err)
		}
		must(t, s.Save(bg)) // nothing to do
		must(t, visits.Set(s, 2))
	})).wantCookies(t, pair)
	a.wantCalls(map[storetest.Op]int{storetest.OpSetVersion: 2, storetest.OpGetVersion: 1})
	a.wantVisits(2)

	t.Run("a value that Get returned stays the same value", func(t *testing.T) {
		const dict core.Key[map[string]int] = "dict"
		a := newApp(t, nil)
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			m := map[string]int{"a": 1}
			must(t, dict.Set(s, m))
			must(t, s.Save(bg))
			m["b"] = 2
			if dict.Get(s)["b"] != 2 {
				t.Error("Get returns another map after Save")
			}
		}))
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			if dict.Get(s)["b"] != 2 {
				t.Error("the change in place after Save is lost")
			}
		}))
	})
}

func TestK30ResponseBegun(t *testing.T) {
	a := newApp(t, nil)
	jar := a.browser.Jar("/")
	e := a.send(jar, func(_ *core.Visit, s *core.Session) {
		jar.Sent = true
		must(t, visits.Set(s, 1))
	})
	wantIs(t, e.commit, core.ErrCommitted)
	a.wantCalls(nil) // no orphan

	v, _ := a.manager.NewVisit(a.browser.Jar("/"), nil)
	s, err := v.Session(bg)
	must(t, err)
	must(t, visits.Set(s, 1))
	must(t, v.Commit(bg))
	for name, err := range map[string]error{
		"Set":       visits.Set(s, 2),
		"Delete":    visits.Delete(s),
		"Update":    func() error { _, err := visits.Update(s, func(n int) int { return n + 1 }); return err }(),
		"Replace":   s.Replace(map[string]int{}),
		"SetCookie": s.SetCookie(core.CookieOptions{MaxAge: time.Hour}),
		"Save":      s.Save(bg),
		"Renew":     s.Renew(bg),
		"Reset":     s.Reset(bg),
		"Destroy":   s.Destroy(bg),
	} {
		if !errors.Is(err, core.ErrCommitted) {
			t.Errorf("%s after the commit: %v, want ErrCommitted", name, err)
		}
	}
	if visits.Get(s) != 1 {
		t.Error("reading does not work after the commit")
	}
}

func TestK41SetFails(t *testing.T) {
	a := newApp(t, &core.Options{FailFast: true})
	a.ok(a.get("/", count(t)))
	for _, class := range []error{core.ErrUnavailable, core.ErrTimeout, core.ErrRefused, core.ErrOutcomeUnknown, core.ErrTooLarge, context.DeadlineExceeded} {
		a.store.Before(failing(storetest.OpSetVersion, class))
		e := a.get("/", count(t))
		wantIs(t, e.commit, class)
		e.wantCookies(t, "")
		if class == context.DeadlineExceeded {
			wantIs(t, e.commit, core.ErrOutcomeUnknown)
		}
	}
	a.store.Before(nil)
	a.wantVisits(1)

	t.Run("the hook ignores the error", func(t *testing.T) {
		a := newApp(t, &core.Options{FailFast: true, Hooks: core.Hooks{Error: func(context.Context, *core.Error) error { return nil }}})
		a.ok(a.get("/", count(t)))
		a.store.Before(failing(storetest.OpSetVersion, core.ErrRefused))
		a.ok(a.get("/", count(t))).wantCookies(t, "")
		a.store.Before(nil)
		a.wantVisits(1)
	})
}

func TestMaxSize(t *testing.T) {
	a := newApp(t, &core.Options{MaxSize: 1000})
	a.ok(a.get("/", count(t)))
	e := a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Set("big", strings.Repeat("x", 980))) }) // with the counter
	wantIs(t, e.commit, core.ErrTooLarge)
	e.wantCookies(t, "")
	a.wantVisits(1)
}

// A Save that waits for the commit of its request comes too late.
func TestSaveDuringCommit(t *testing.T) {
	a := newApp(t, nil)
	entered, release := make(chan bool), make(chan bool)
	v, _ := a.manager.NewVisit(a.browser.Jar("/"), nil)
	s, err := v.Session(bg)
	must(t, err)
	must(t, visits.Set(s, 1))
	a.store.Before(func(context.Context, storetest.Op, string) error { close(entered); <-release; return nil })
	done := make(chan error)
	go func() { done <- v.Commit(bg) }()
	<-entered
	late := make(chan error)
	go func() { late <- s.Save(bg) }()
	wantIs(t, visits.Set(s, 2), core.ErrCommitted)
	close(release)
	must(t, <-done)
	wantIs(t, <-late, core.ErrCommitted)
}

// The cookie that Save has set is removed from the response if the session has got
// another id since: this response may reach the browser last.
func TestSavedIDThatWasDestroyedIsNotSent(t *testing.T) {
	for name, o := range map[string]*core.Options{"cookie": nil, "header": {Carrier: core.Header("X-Session")}} {
		for change, other := range map[string]func(a *app, id core.ID) error{
			"renewed": func(a *app, id core.ID) error {
				jar := a.browser.Jar("/")
				if o != nil {
					jar.Request = textproto.MIMEHeader{"X-Session": {string(id)}}
				}
				return a.send(jar, func(_ *core.Visit, s *core.Session) { must(t, s.Renew(bg)) }).err()
			},
			"destroyed": func(a *app, id core.ID) error { return a.manager.DestroyByID(bg, id) },
		} {
			t.Run(name+", "+change, func(t *testing.T) {
				a := newApp(t, o)
				first := a.send(&jartest.Jar{}, count(t))
				a.browser.Take("/", first.jar.SetCookies...)
				id := first.jar.Response.Get("X-Session")
				jar := a.browser.Jar("/")
				if o != nil {
					jar.Request = textproto.MIMEHeader{"X-Session": {id}}
				}
				jar.SetCookie("theirs", "theirs=1", false)
				e := a.send(jar, func(_ *core.Visit, s *core.Session) {
					must(t, visits.Set(s, 7))
					must(t, s.Save(bg))
					if len(jar.SetCookies) < 2 && jar.Response.Get("X-Session") == "" {
						t.Fatal("Save has sent nothing: this test proves nothing")
					}
					must(t, other(a, s.ID()))
					must(t, visits.Set(s, 8))
				})
				if !slices.Equal(e.jar.SetCookies, []string{"theirs=1"}) || e.jar.Response.Get("X-Session") != "" {
					t.Errorf("the response carries %q and %q", e.jar.SetCookies, e.jar.Response.Get("X-Session"))
				}
			})
		}
	}
}

// A save that is tried again after ErrGone has not come through.
func TestASaveAfterErrGone(t *testing.T) {
	t.Parallel()
	a := newApp(t, nil)
	a.ok(a.get("/", count(t)))
	id := core.ID(a.value())
	a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
		must(t, a.manager.DestroyByID(bg, id))
		count(t)(v, s)
		for range 3 {
			wantIs(t, s.Save(bg), core.ErrGone)
		}
		must(t, s.Destroy(bg))
		must(t, s.Save(bg)) // of what the request itself has ended nothing is lost
		must(t, s.Reset(bg))
		count(t)(v, s)
		must(t, s.Save(bg))
	}))
	a.wantVisits(1)
}
