package core_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

// visit runs a request in which the handler asks for the session itself.
func (a *app) visit(jar *jartest.Jar, h func(v *core.Visit)) *exchange {
	a.t.Helper()
	v, _ := a.manager.NewVisit(jar, nil)
	e := &exchange{jar: jar}
	if e.begin = v.Begin(bg); e.begin == nil {
		h(v)
		e.commit = v.Commit(bg)
	}
	a.browser.Take(jar.Path(), jar.SetCookies...)
	return e
}

func TestK46Untouched(t *testing.T) {
	a := newApp(t, &core.Options{Defer: true, IdleTimeout: core.DefaultMaxAge, TouchEvery: 1, AllowEmpty: true})
	a.ok(a.get("/", count(t)))
	before := a.store.Calls(storetest.OpGetVersion) + a.store.Calls(storetest.OpTouch)
	a.store.Down()
	e := a.ok(a.get("/", nil)) // not even in an outage
	if e.cookies() != "" || len(e.jar.Response) != 0 {
		t.Errorf("sent %q, %v", e.cookies(), e.jar.Response)
	}
	a.store.Up()
	if after := a.store.Calls(storetest.OpGetVersion) + a.store.Calls(storetest.OpTouch); after != before {
		t.Error("the store was asked")
	}
	a.ok(a.get("/", func(*core.Visit, *core.Session) {})).wantCookies(t, pair) // K49
}

func TestK47LoadedOnce(t *testing.T) {
	t.Run("by ten at once", func(t *testing.T) {
		a := newApp(t, &core.Options{Defer: true})
		a.ok(a.get("/", count(t)))
		var asking sync.WaitGroup
		asking.Add(10)
		a.store.Before(func(context.Context, storetest.Op, string) error { asking.Wait(); return nil })
		a.ok(a.visit(a.browser.Jar("/"), func(v *core.Visit) {
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() {
					asking.Done()
					s, err := v.Session(bg)
					if err != nil || visits.Get(s) != 1 {
						t.Errorf("%v", err)
					}
				})
			}
			wg.Wait()
		}))
		a.store.Before(nil)
		if n := a.store.Calls(storetest.OpGetVersion); n != 1 {
			t.Errorf("loaded %d times", n)
		}
	})
	t.Run("outside the path", func(t *testing.T) {
		a := newApp(t, &core.Options{Defer: true, Cookie: core.CookieOptions{Path: "/in"}})
		a.ok(a.visit(a.browser.Jar("/out"), func(v *core.Visit) {
			_, err := v.Session(bg)
			wantIs(t, err, core.ErrNoSession)
			wantIs(t, v.Destroy(bg), core.ErrNoSession)
			wantIs(t, v.Replace(bg, map[string]int{"a": 1}), core.ErrNoSession)
		}))
		a.wantCalls(nil)
	})
	t.Run("late", func(t *testing.T) {
		a := newApp(t, &core.Options{Defer: true})
		v, _ := a.manager.NewVisit(a.browser.Jar("/"), nil)
		must(t, v.Commit(bg))
		_, err := v.Session(bg)
		wantIs(t, err, core.ErrCommitted)
		wantIs(t, v.Destroy(bg), core.ErrCommitted)
		v, _ = a.manager.NewVisit(a.browser.Jar("/"), nil)
		v.Abandon()
		v.Abandon()
		_, err = v.Session(bg)
		wantIs(t, err, core.ErrCommitted)
		must(t, v.Commit(bg))
	})
}

func TestK48WithoutLoading(t *testing.T) {
	foo := map[string]string{"foo": "bar"}
	t.Run("destroyed", func(t *testing.T) {
		a := newApp(t, &core.Options{Defer: true})
		a.ok(a.get("/", count(t)))
		a.ok(a.visit(a.browser.Jar("/"), func(v *core.Visit) { must(t, v.Destroy(bg)) })).wantCookies(t, "-koa.sid -koa.sid.sig")
		// It is asked once, since the session may have got another id meanwhile.
		a.wantCalls(map[storetest.Op]int{storetest.OpSetVersion: 1, storetest.OpBatch: 1, storetest.OpGetVersion: 1})
		a.wantVisits(0)
		a.ok(a.visit(&jartest.Jar{}, func(v *core.Visit) { must(t, v.Destroy(bg)) })).wantCookies(t, "")
	})
	t.Run("replaced, then renewed, with an id that the store does not know", func(t *testing.T) {
		for _, login := range []bool{false, true} {
			a := newApp(t, &core.Options{Defer: true})
			a.ok(a.get("/", count(t)))
			unknown := a.value()
			must(t, a.manager.DestroyByID(bg, core.ID(unknown)))
			jar := a.browser.Jar("/")
			e := a.visit(jar, func(v *core.Visit) {
				must(t, v.Replace(bg, foo))
				s, err := v.Session(bg)
				must(t, err)
				if login {
					must(t, s.Login(core.LoginOptions{}))
				} else {
					must(t, s.Renew(bg))
				}
			})
			a.ok(e).wantCookies(t, pair)
			a.browser.Take("/", jar.SetCookies...)
			if a.value() == unknown {
				t.Error("an unknown id was adopted")
			}
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
				if s.Get("foo") != "bar" {
					t.Error("the values are lost")
				}
			}))
		}
	})
	for name, plain := range map[string]bool{"replaced": false, "replaced, plain store": true} {
		t.Run(name, func(t *testing.T) {
			var store core.Store = newMemory(t)
			if plain {
				store = plainStore{store}
			}
			a := newAppOn(t, store, &core.Options{Defer: true})
			a.ok(a.get("/", count(t)))
			id := a.value()
			a.ok(a.visit(a.browser.Jar("/"), func(v *core.Visit) { must(t, v.Replace(bg, foo)) })).wantCookies(t, pair)
			if a.value() != id {
				t.Error("a known id is not kept")
			}
			want := func() {
				t.Helper()
				a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
					if got, _ := s.JSON(); string(got) != `{"foo":"bar"}` {
						t.Errorf("stored %s", got)
					}
				}))
			}
			want()
			must(t, a.manager.DestroyByID(bg, core.ID(id)))
			a.ok(a.visit(a.browser.Jar("/"), func(v *core.Visit) { must(t, v.Replace(bg, foo)) })).wantCookies(t, pair)
			if a.value() == id {
				t.Error("an unknown id is adopted")
			}
			want()
			a.browser = &jartest.Browser{}
			a.ok(a.visit(&jartest.Jar{}, func(v *core.Visit) { must(t, v.Replace(bg, foo)) })).wantCookies(t, pair)
			if len(a.value()) != 32 {
				t.Errorf("a newcomer got the id %q", a.value())
			}
			want()
		})
	}
	t.Run("bad values change nothing", func(t *testing.T) {
		a := newApp(t, &core.Options{Defer: true})
		a.ok(a.get("/", count(t)))
		for _, values := range []any{7, make(chan int), map[string]int{"_gs": 1}} {
			e := a.visit(a.browser.Jar("/"), func(v *core.Visit) {
				if v.Replace(bg, values) == nil {
					t.Error("taken")
				}
			})
			e.wantCookies(t, "")
			if reserved, _ := values.(map[string]int); (e.commit == nil) != (reserved != nil) {
				t.Errorf("commit of %T: %v", values, e.commit)
			}
			a.wantVisits(1)
		}
	})
	t.Run("loaded already", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		a.ok(a.get("/", func(v *core.Visit, _ *core.Session) { must(t, v.Replace(bg, map[string]int{"visits": 9})) }))
		a.wantVisits(9)
		a.ok(a.get("/", func(v *core.Visit, _ *core.Session) { must(t, v.Destroy(bg)) }))
		a.wantVisits(0)
	})
}

func TestK51LoadErrorIsNoRemoval(t *testing.T) {
	a := newApp(t, &core.Options{Defer: true})
	a.ok(a.get("/", count(t)))
	a.store.Before(failing(storetest.OpGetVersion, core.ErrTimeout))
	e := a.ok(a.visit(a.browser.Jar("/"), func(v *core.Visit) {
		for range 2 {
			_, err := v.Session(bg)
			wantIs(t, err, core.ErrUnavailable)
		}
	}))
	e.wantCookies(t, "")
	a.store.Before(nil)
	a.wantVisits(1)
}

func TestPanicSavesNothing(t *testing.T) {
	a := newApp(t, nil)
	v, _ := a.manager.NewVisit(a.browser.Jar("/"), nil)
	s, err := v.Session(bg)
	must(t, err)
	must(t, visits.Set(s, 1))
	v.Abandon()
	wantIs(t, visits.Set(s, 2), core.ErrCommitted)
	if err := v.Commit(bg); err != nil {
		t.Error(err)
	}
	a.wantCalls(nil)
}

func TestCommitSurvivesTheClient(t *testing.T) {
	a := newApp(t, nil)
	a.ok(a.get("/", count(t)))
	ctx, cancel := context.WithCancel(bg)
	v, _ := a.manager.NewVisit(a.browser.Jar("/"), nil)
	s, err := v.Session(ctx)
	must(t, err)
	cancel()
	must(t, visits.Set(s, 7))
	must(t, s.Save(ctx))
	must(t, visits.Set(s, 8))
	must(t, v.Commit(ctx))
	a.wantVisits(8)
	v, _ = a.manager.NewVisit(a.browser.Jar("/"), nil)
	s, err = v.Session(bg)
	must(t, err)
	must(t, s.Destroy(ctx))
	a.wantVisits(0)

	a.ok(a.get("/", count(t)))
	v, _ = a.manager.NewVisit(a.browser.Jar("/"), nil)
	_, err = v.Session(ctx)
	if !errors.Is(err, context.Canceled) || core.Status(err) != 503 {
		t.Errorf("a load for a client that is gone: %v", err)
	}
}

// A hook that asks for the session which is just being loaded would wait for
// itself, and the request for ever.
func TestK46HooksThatAsk(t *testing.T) {
	t.Parallel()
	const name core.Key[string] = "name"
	asked := 0
	ask := func(ctx context.Context) {
		asked++
		if s, err := core.From(ctx); s != nil || !errors.Is(err, core.ErrNoSession) {
			t.Errorf("a hook got %v, %v", s, err)
		}
	}
	var o core.Options
	o.Defer = true
	o.InsecureIDFrom = func(ctx context.Context, _ core.Jar) core.ID { ask(ctx); return "" }
	o.Hooks.Valid = func(ctx context.Context, _ core.Jar, s *core.Session) (bool, error) {
		ask(ctx)
		name.Get(s) // of another type, so that the hook below runs
		return true, nil
	}
	loading := true
	o.Hooks.Error = func(ctx context.Context, e *core.Error) error {
		if loading {
			ask(ctx)
		} else if s, err := core.From(ctx); s == nil {
			t.Errorf("after the loading: %v", err)
		}
		return e
	}
	a := newApp(t, &o)
	within := func(h func(ctx context.Context, v *core.Visit)) *exchange {
		return a.visit(a.browser.Jar("/"), func(v *core.Visit) { h(core.NewContext(bg, v), v) })
	}
	a.ok(within(func(ctx context.Context, _ *core.Visit) {
		s, err := core.From(ctx)
		if err != nil || s.Set("name", 1) != nil {
			t.Error(err)
		}
	}))
	a.ok(within(func(ctx context.Context, _ *core.Visit) {
		s, err := core.From(ctx)
		if err != nil {
			t.Fatal(err)
		}
		loading = false
		name.Get(s)
		loading = true
	}))
	if asked != 4 { // who the first is; who the second is, whether it is valid, and its value
		t.Errorf("%d hooks asked", asked)
	}
	a.ok(within(func(ctx context.Context, v *core.Visit) {
		if err := v.Destroy(ctx); err != nil {
			t.Error(err)
		}
	}))
	if asked != 5 {
		t.Errorf("%d hooks asked", asked)
	}
}

// K46: an error of the handler is told where nobody has asked for the session, too.
func TestK46TellWithoutASession(t *testing.T) {
	var told []core.Event
	a := newApp(t, &core.Options{Defer: true, Hooks: core.Hooks{Event: func(_ context.Context, e core.Event) { told = append(told, e) }}})
	a.ok(a.visit(a.browser.Jar("/"), func(v *core.Visit) { v.Tell(bg, errors.New("no template")) }))
	if len(told) != 1 || told[0].Kind != core.EventFailed || told[0].Session != nil || told[0].ID != "" {
		t.Errorf("told %+v", told)
	}
}

// K48: what a cookie beside the first leads to is replaced, where that carries nothing.
func TestK48ReplaceTheSessionOfACopy(t *testing.T) {
	a := newApp(t, &core.Options{Defer: true})
	a.ok(a.get("/", signIn(t, "ada")))
	a.ok(a.get("/", signIn(t, "ada"))) // has a copy
	id := a.id()
	var copies []string
	for pair := range strings.SplitSeq(a.browser.Cookie("/"), "; ") {
		if strings.HasPrefix(pair, "koa.sid.next") {
			copies = append(copies, pair)
		}
	}
	a.ok(a.visit(&jartest.Jar{Cookies: copies}, func(v *core.Visit) { must(t, v.Replace(bg, map[string]string{"user": "eve"})) }))
	if values, err := a.manager.GetByID(bg, id); string(values) != `{"user":"eve"}` {
		t.Errorf("the session has %s, %v", values, err)
	}
}

// K48: a Carrier that fails fails what comes without loading.
func TestK48ACarrierThatFails(t *testing.T) {
	a := newApp(t, &core.Options{Defer: true, Carrier: lostCarrier{core.Header("X-Session")}})
	a.visit(&jartest.Jar{}, func(v *core.Visit) {
		for what, err := range map[string]error{"Destroy": v.Destroy(bg), "Replace": v.Replace(bg, map[string]int{})} {
			if e, ok := errors.AsType[*core.Error](err); !ok || e.Op != core.OpCarrier {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

// A lostCarrier can't read.
type lostCarrier struct{ core.Carrier }

func (lostCarrier) Get(core.Jar) (core.ID, bool, error) { return "", false, errors.New("unreadable") }
