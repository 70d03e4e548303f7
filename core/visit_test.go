package core_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

func TestK16AskedForUsableIDsOnly(t *testing.T) {
	a := newApp(t, nil)
	a.ok(a.get("/", nil))
	a.wantCalls(nil)
	a.ok(a.get("/", count(t)))
	a.ok(a.get("/", nil)) // not even read
	a.wantCalls(map[storetest.Op]int{storetest.OpSetVersion: 1, storetest.OpGetVersion: 1})
	for _, field := range []string{"koa.sid=x", "koa.sid=" + a.value(), "koa.sid=" + a.value() + "; koa.sid.sig=", "koa.sid=; koa.sid.sig=x"} {
		e := a.ok(a.send(&jartest.Jar{Cookies: []string{field}}, nil))
		if len(e.jar.SetCookies) != 0 {
			t.Errorf("K11: %q: sent %q", field, e.jar.SetCookies)
		}
	}
	a.wantCalls(map[storetest.Op]int{storetest.OpSetVersion: 1, storetest.OpGetVersion: 1})
}

// TestRequirement5TheFormOfAnID: what has not the form of an id reaches no store and no
// log, also if a genuine signature comes with it, or by another way than the cookie.
func TestRequirement5TheFormOfAnID(t *testing.T) {
	odd := []core.ID{
		"../../etc/passwd-0123", "a{slot}0123456789abcdef", "koa:sess:0123456789abcdef", "0123456789abcdef.",
		"0123456789abcdef/x", "0123456789abcd%0d%0a", "0123456789abcdef\x7f", "0123456789\xc3\xa9abcdef", "with blank 0123456789", core.ID(strings.Repeat("a", 129)),
	}
	var from core.ID
	for name, c := range map[string]struct {
		o   core.Options
		jar func(id core.ID) *jartest.Jar
	}{
		"cookie": {core.Options{}, func(id core.ID) *jartest.Jar { return &jartest.Jar{Cookies: []string{signed(id)}} }},
		"unsigned": {core.Options{Cookie: core.CookieOptions{Signed: core.Off}}, func(id core.ID) *jartest.Jar {
			return &jartest.Jar{Cookies: []string{"koa.sid=" + string(id)}}
		}},
		"header": {core.Options{Carrier: core.Header("X-Session")}, func(id core.ID) *jartest.Jar {
			return &jartest.Jar{Request: map[string][]string{"X-Session": {string(id)}}}
		}},
		"InsecureIDFrom": {core.Options{InsecureIDFrom: func(context.Context, core.Jar) core.ID { return from }}, func(id core.ID) *jartest.Jar {
			from = id
			return &jartest.Jar{}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			o := c.o
			o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			a := newApp(t, &o)
			for _, id := range odd {
				log.Reset()
				a.ok(a.send(c.jar(id), func(_ *core.Visit, s *core.Session) {
					if !s.IsNew() {
						t.Errorf("%q opens a session", string(id))
					}
				}))
				for _, form := range []string{string(id), strings.Trim(strconv.Quote(string(id)), `"`), strings.Trim(strconv.QuoteToASCII(string(id)), `"`)} {
					if strings.Contains(log.String(), form) {
						t.Errorf("%q is in the log", string(id))
					}
				}
			}
			a.wantCalls(nil)
		})
	}
}

func TestK17UnknownID(t *testing.T) {
	for _, reset := range []bool{false, true} {
		a := newApp(t, &core.Options{ResetUnknown: reset})
		a.ok(a.get("/", count(t)))
		old := a.value()
		must(t, a.manager.DestroyByID(bg, core.ID(old)))
		e := a.ok(a.send(a.browser.Jar("/"), nil))
		want := ""
		if reset {
			want = "-koa.sid -koa.sid.sig"
		}
		e.wantCookies(t, want)
		a.ok(a.get("/", count(t))).wantCookies(t, pair)
		if a.value() == old {
			t.Error("the client's id was adopted")
		}
	}
	t.Run("Visit.Replace", func(t *testing.T) { // which does not look before
		a := newApp(t, &core.Options{Defer: true})
		a.ok(a.get("/", count(t)))
		old := a.value()
		must(t, a.manager.DestroyByID(bg, core.ID(old)))
		e := a.ok(a.visit(a.browser.Jar("/"), func(v *core.Visit) { must(t, v.Replace(bg, map[string]int{"visits": 1})) }))
		e.wantCookies(t, pair)
		a.browser.Take("/", e.jar.SetCookies...)
		if a.value() == old {
			t.Error("the client's id was adopted")
		}
	})
}

func TestK18Valid(t *testing.T) {
	for _, keep := range []bool{false, true} {
		valid, asked := true, 0
		a := newApp(t, &core.Options{KeepInvalid: keep, Hooks: core.Hooks{
			Valid: func(_ context.Context, _ core.Jar, s *core.Session) (bool, error) {
				asked++
				if s.ID() == "" || visits.Get(s) == 0 {
					t.Error("the hook does not see the session")
				}
				if err := s.Save(bg); err == nil {
					t.Error("Save works in a hook")
				}
				return valid, nil
			},
		}})
		a.ok(a.get("/", count(t)))
		if asked != 0 {
			t.Error("asked about a new session")
		}
		a.wantVisits(1)
		valid = false
		a.ok(a.send(a.browser.Jar("/"), func(_ *core.Visit, s *core.Session) {
			if visits.Get(s) != 0 || !s.IsNew() {
				t.Error("an invalid session is shown")
			}
		}))
		valid = true
		if keep {
			a.wantVisits(1)
		} else {
			a.wantVisits(0)
		}
	}
	t.Run("error", func(t *testing.T) {
		boom := errors.New("boom")
		a := newApp(t, &core.Options{Hooks: core.Hooks{Valid: func(context.Context, core.Jar, *core.Session) (bool, error) { return false, boom }}})
		a.ok(a.get("/", count(t)))
		e := a.get("/", nil)
		wantIs(t, e.begin, boom)
		e.wantCookies(t, "")
	})
	t.Run("panic", func(t *testing.T) {
		broken := false
		a := newApp(t, &core.Options{Hooks: core.Hooks{Valid: func(context.Context, core.Jar, *core.Session) (bool, error) {
			if broken {
				panic("hook")
			}
			return true, nil
		}}})
		a.ok(a.get("/", count(t)))
		broken = true
		func() {
			defer func() { recover() }()
			a.get("/", nil)
			t.Error("no panic")
		}()
		broken = false
		a.wantVisits(1)
	})
}

func TestK32Mounted(t *testing.T) {
	a := newApp(t, nil)
	second, err := core.New(a.store, &core.Options{Name: "second.sid", Prefix: "second:", Keys: [][]byte{testKey}})
	must(t, err)
	same, err := core.New(a.store, &core.Options{Prefix: "same:", Keys: [][]byte{testKey}})
	must(t, err)
	jar := a.browser.Jar("/")
	v, _ := a.manager.NewVisit(jar, nil)
	if _, ok := a.manager.NewVisit(jar, v); ok {
		t.Error("one manager works twice")
	}
	if _, ok := same.NewVisit(jar, v); ok {
		t.Error("two managers of one cookie name both work")
	}
	w, ok := second.NewVisit(jar, v)
	if !ok {
		t.Fatal("two managers of different names do not work together")
	}
	ctx := core.NewContext(core.NewContext(bg, v), w)
	inner, err := core.From(ctx)
	must(t, err)
	one, err := a.manager.From(ctx)
	must(t, err)
	two, err := second.From(ctx)
	must(t, err)
	if inner != two || one == two {
		t.Error("From does not give the nearest session")
	}
	_, err = same.From(ctx)
	wantIs(t, err, core.ErrNoSession)
	must(t, one.Set("a", 1))
	must(t, two.Set("b", 2))
	must(t, w.Commit(ctx))
	must(t, v.Commit(ctx))
	if got := (&exchange{jar: jar}).cookies(); got != "second.sid second.sid.sig "+pair {
		t.Errorf("cookies %q", got)
	}
	_, err = core.From(bg)
	wantIs(t, err, core.ErrNoSession)
	_, err = a.manager.From(bg)
	wantIs(t, err, core.ErrNoSession)
}

func TestK33Path(t *testing.T) {
	a := newApp(t, &core.Options{Cookie: core.CookieOptions{Path: "/session"}})
	for target, in := range map[string]bool{"/session": true, "/session/x?y": true, "/sessionfoo": false, "/": false, "/other": false} {
		v, _ := a.manager.NewVisit(a.browser.Jar(target), nil)
		must(t, v.Begin(bg))
		_, err := v.Session(bg)
		if in && err != nil || !in && !errors.Is(err, core.ErrNoSession) {
			t.Errorf("%s: %v", target, err)
		}
		must(t, v.Commit(bg))
		wantIs(t, func() error {
			if in {
				return core.ErrNoSession
			}
			return v.Destroy(bg)
		}(), core.ErrNoSession)
	}
}

func TestK39Corrupt(t *testing.T) {
	for name, payload := range map[string]string{
		"broken":         `{"count":`,
		"array":          `[1]`,
		"string":         `"x"`,
		"no metadata":    `{"visits":1}`,
		"other format":   `{"_gs":{"v":2,"k":"x","c":1}}`,
		"metadata false": `{"_gs":false}`,
		"cookie false":   `{"cookie":false,"_gs":{"v":1}}`,
		"binary":         "\x00\xff\xfe",
	} {
		t.Run(name, func(t *testing.T) {
			var seen []error
			var answer error
			a := newApp(t, &core.Options{Hooks: core.Hooks{Error: func(_ context.Context, e *core.Error) error {
				seen = append(seen, e)
				return answer
			}}})
			a.ok(a.get("/", count(t)))
			key := hashedKey(core.ID(a.value()))
			must(t, a.store.Set(bg, key, []byte(payload), time.Hour))
			a.ok(a.send(a.browser.Jar("/"), func(_ *core.Visit, s *core.Session) {
				if !s.IsNew() || visits.Get(s) != 0 {
					t.Error("not a new session")
				}
			})).wantCookies(t, "")
			if len(seen) != 1 || !errors.Is(seen[0], core.ErrCorrupt) {
				t.Errorf("the hook saw %v", seen)
			}
			if data, err := a.store.Get(bg, key); err != nil || string(data) != payload {
				t.Error("the record is not kept")
			}
			answer = errors.New("fail it")
			e := a.send(a.browser.Jar("/"), nil)
			wantIs(t, e.begin, answer)
			e.wantCookies(t, "")

			b := newAppOn(t, a.store, nil) // without a hook: a new session
			b.browser = a.browser
			b.ok(b.get("/", count(t))).wantCookies(t, pair)
			b.wantVisits(1)
		})
	}
	t.Run("empty and null: no session, nothing to report", func(t *testing.T) {
		for _, payload := range []string{"", "null"} {
			a := newApp(t, &core.Options{Hooks: core.Hooks{Error: func(_ context.Context, e *core.Error) error { t.Error(e); return e }}})
			a.ok(a.get("/", count(t)))
			must(t, a.store.Set(bg, hashedKey(core.ID(a.value())), []byte(payload), time.Hour))
			a.wantVisits(0)
		}
	})
}

func TestRequirement42ForeignRecord(t *testing.T) {
	var told []core.EventKind
	a := newApp(t, &core.Options{Hooks: core.Hooks{Event: func(_ context.Context, e core.Event) { told = append(told, e.Kind) }}})
	a.ok(a.get("/", count(t)))
	mine := hashedKey(core.ID(a.value()))
	b := newAppOn(t, a.store, nil)
	b.ok(b.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Set("secret", "of b")) }))
	theirs, err := a.store.Get(bg, hashedKey(core.ID(b.value())))
	must(t, err)
	must(t, a.store.Set(bg, mine, theirs, time.Hour))
	told = nil
	e := a.get("/", func(_ *core.Visit, s *core.Session) { t.Error("the handler ran") })
	wantIs(t, e.begin, core.ErrCorrupt)
	e.wantCookies(t, "")
	if !slices.Equal(told, []core.EventKind{core.EventForeign}) {
		t.Errorf("told %q", told)
	}
	if core.Status(e.begin) != 500 {
		t.Errorf("status %d", core.Status(e.begin))
	}
}

func TestK40GetFails(t *testing.T) {
	t.Run("the request fails", func(t *testing.T) {
		a := newApp(t, &core.Options{FailFast: true})
		a.ok(a.get("/", count(t)))
		a.store.Before(failing(storetest.OpGetVersion, core.ErrUnavailable))
		e := a.get("/", nil)
		wantIs(t, e.begin, core.ErrUnavailable)
		e.wantCookies(t, "")
		var as *core.Error
		if !errors.As(e.begin, &as) || as.Op != core.OpGet || core.Status(e.begin) != 503 {
			t.Errorf("%v, status %d", e.begin, core.Status(e.begin))
		}
		a.store.Before(nil)
		a.wantVisits(1)
	})
	t.Run("the hook ignores the error: nobody is logged out", func(t *testing.T) {
		var op core.Op
		a := newApp(t, &core.Options{FailFast: true, ResetUnknown: true, AllowEmpty: true, IdleTimeout: core.DefaultMaxAge, Hooks: core.Hooks{Error: func(_ context.Context, e *core.Error) error { op = e.Op; return nil }}})
		a.ok(a.get("/", count(t)))
		writes := a.store.Calls(storetest.OpSetVersion)
		a.store.Before(failing(storetest.OpGetVersion, core.ErrUnavailable))
		// The commit fails only since Renew and Reset did: see below.
		a.fails(core.ErrUnavailable, a.get("/", func(_ *core.Visit, s *core.Session) {
			if visits.Get(s) != 0 || s.ID() != "" && false {
				t.Error("not empty")
			}
			must(t, visits.Set(s, 50))
			for name, err := range map[string]error{"Save": s.Save(bg), "Renew": s.Renew(bg), "Reset": s.Reset(bg)} {
				if !errors.Is(err, core.ErrUnavailable) {
					t.Errorf("%s: %v", name, err)
				}
			}
		})).wantCookies(t, "")
		if op != core.OpGet || a.store.Calls(storetest.OpSetVersion) != writes {
			t.Errorf("op %q, %d writes", op, a.store.Calls(storetest.OpSetVersion)-writes)
		}
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			must(t, visits.Set(s, 50))
			wantIs(t, s.Save(bg), core.ErrUnavailable)
		})).wantCookies(t, "")
		a.store.Before(nil)
		a.wantVisits(1)

		a.store.Before(failing(storetest.OpGetVersion, core.ErrUnavailable))
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) })).wantCookies(t, "-koa.sid -koa.sid.sig")
		a.store.Before(nil)
		if _, err := a.store.Get(bg, "nothing"); !errors.Is(err, core.ErrNotFound) {
			t.Error(err)
		}
		if a.store.Calls(storetest.OpDestroy) != 1 {
			t.Error("a logout during the outage did not reach the store")
		}
	})
}

func TestInvalidSessionThatCannotBeDestroyed(t *testing.T) {
	valid := true
	a := newApp(t, &core.Options{Hooks: core.Hooks{Valid: func(context.Context, core.Jar, *core.Session) (bool, error) { return valid, nil }}})
	a.ok(a.get("/", count(t)))
	valid = false
	a.store.Before(failing(storetest.OpDestroy, core.ErrRefused))
	e := a.get("/", nil)
	wantIs(t, e.begin, core.ErrRefused)
	e.wantCookies(t, "")
}
