package core_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

var bg = context.Background()

func TestK1Defaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp(t, nil)
		e := a.ok(a.get("/", count(t)))
		e.wantCookies(t, pair)
		line := e.jar.SetCookies[0]
		_, attrs, _ := strings.Cut(line, ";")
		if want := " path=/; expires=Sun, 02 Jan 2000 00:00:00 GMT; samesite=lax; httponly"; attrs != want {
			t.Errorf("attributes %q, want %q", attrs, want)
		}
		if got := a.value(); len(got) != 32 {
			t.Errorf("K15: the id has %d characters, want 32", len(got))
		}
	})
}

func TestVaryAndNoStore(t *testing.T) {
	a := newApp(t, nil)
	e := a.ok(a.get("/", count(t)))
	if v, c := e.jar.Response.Get("Vary"), e.jar.Response.Get("Cache-Control"); v != "Cookie" || c != "no-store" {
		t.Errorf("Vary %q, Cache-Control %q, want Cookie and no-store", v, c)
	}
	e = a.ok(a.get("/", nil))
	if v, c := e.jar.Response.Get("Vary"), e.jar.Response.Get("Cache-Control"); v != "Cookie" || c != "" {
		t.Errorf("read only: Vary %q, Cache-Control %q, want Cookie and none", v, c)
	}
	jar := a.browser.Jar("/")
	a.ok(a.send(jar, func(_ *core.Visit, s *core.Session) {
		jar.SetResponseHeader("Cache-Control", "private")
		jar.SetResponseHeader("Vary", "Accept, cookie")
		must(t, visits.Set(s, 9))
	}))
	if v, c := jar.Response.Get("Vary"), jar.Response.Get("Cache-Control"); v != "Accept, cookie" || c != "private" {
		t.Errorf("the handler's own are changed: Vary %q, Cache-Control %q", v, c)
	}
}

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

func TestK12OldKey(t *testing.T) {
	other := []byte("another key, also long enough....")
	a := newApp(t, nil)
	a.ok(a.get("/", count(t)))
	must(t, a.manager.RotateKeys([][]byte{other, testKey}))
	e := a.ok(a.get("/", nil))
	e.wantCookies(t, pair)
	if !strings.Contains(e.jar.SetCookies[1], "; expires=") || !strings.Contains(e.jar.SetCookies[1], "; httponly") {
		t.Errorf("not all attributes: %q", e.jar.SetCookies[1])
	}
	a.ok(a.get("/", nil)).wantCookies(t, "")
	a.wantVisits(1)
	must(t, a.manager.RotateKeys([][]byte{other}))
	a.wantVisits(1)
	must(t, a.manager.RotateKeys([][]byte{testKey}))
	a.wantVisits(0)
}

func TestK13Forged(t *testing.T) {
	a := newApp(t, nil)
	a.ok(a.get("/", count(t)))
	before := a.store.Calls(storetest.OpGetVersion)
	jar := &jartest.Jar{Cookies: []string{"koa.sid=" + a.value() + "; koa.sid.sig=" + strings.Repeat("A", 43)}}
	e := a.ok(a.send(jar, nil))
	e.wantCookies(t, "-koa.sid.sig")
	if a.store.Calls(storetest.OpGetVersion) != before {
		t.Error("the store was asked")
	}
	jar.SetCookies = nil
	a.ok(a.send(jar, count(t))).wantCookies(t, pair)
}

func TestRequirement32SeveralCookies(t *testing.T) {
	a, b := newApp(t, nil), newApp(t, nil)
	a.ok(a.get("/", count(t)))
	mine := a.browser.Cookie("/")
	b.manager, b.store = a.manager, a.store
	b.ok(b.get("/", count(t)))
	theirs := b.browser.Cookie("/")
	for name, c := range map[string]struct {
		field string
		want  int
	}{
		"twice the same":          {mine + "; " + mine, 1},
		"two that verify":         {mine + "; " + theirs, 0},
		"an unsigned one before":  {"koa.sid=" + strings.Repeat("a", 32) + "; " + mine, 1},
		"an unsigned one after":   {mine + "; koa.sid=" + strings.Repeat("a", 32), 1},
		"four false ones before":  {strings.Repeat("koa.sid=x; ", 4) + mine, 0},
		"signatures out of order": {"koa.sid.sig=" + strings.Repeat("A", 43) + "; " + mine, 1},
		"blanks and quotes":       {"koa.sid = \"" + a.value() + "\" ;" + strings.TrimPrefix(mine, "koa.sid="+a.value()+";"), 1},
	} {
		t.Run(name, func(t *testing.T) {
			serve(t, a.manager, &jartest.Jar{Cookies: []string{c.field}}, func(_ *core.Visit, s *core.Session) {
				if got := visits.Get(s); got != c.want {
					t.Errorf("visits = %d, want %d", got, c.want)
				}
			})
		})
	}
}

func TestK15OwnGenerator(t *testing.T) {
	for name, c := range map[string]struct {
		id   string
		err  error
		fail bool
	}{
		"good":      {id: "a-good_id-0123456789"},
		"empty":     {fail: true},
		"short":     {id: "abc", fail: true},
		"malformed": {id: "has a blank 0123456789", fail: true},
		"path":      {id: "../../../../etc/passwd", fail: true},
		"long":      {id: strings.Repeat("a", 129), fail: true},
		"error":     {err: errors.New("no randomness"), fail: true},
	} {
		t.Run(name, func(t *testing.T) {
			var seen core.Op
			a := newApp(t, &core.Options{
				NewID: func(context.Context) (string, error) { return c.id, c.err },
				Hooks: core.Hooks{Error: func(_ context.Context, e *core.Error) error { seen = e.Op; return e }},
			})
			e := a.get("/", count(t))
			if c.fail != (e.commit != nil) {
				t.Errorf("commit: %v, want failure %v", e.commit, c.fail)
			}
			if c.fail && (seen != core.OpID || e.cookies() != "" || a.store.Calls(storetest.OpSetVersion) != 0) {
				t.Errorf("op %q, cookies %q, %d writes", seen, e.cookies(), a.store.Calls(storetest.OpSetVersion))
			}
		})
	}
	t.Run("repeated", func(t *testing.T) {
		a := newApp(t, &core.Options{NewID: func(context.Context) (string, error) { return "always-the-same-id", nil }})
		a.ok(a.get("/", count(t)))
		a.browser = &jartest.Browser{}
		e := a.get("/", func(_ *core.Visit, s *core.Session) { must(t, visits.Set(s, 77)) })
		if e.commit == nil || e.cookies() != "" {
			t.Errorf("a repeated id was used: %v, %q", e.commit, e.cookies())
		}
	})
	t.Run("made only when needed", func(t *testing.T) {
		made := 0
		a := newApp(t, &core.Options{NewID: func(context.Context) (string, error) { made++; return "0123456789abcdef", nil }})
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { visits.Get(s) }))
		if made != 0 {
			t.Errorf("%d ids made for a request that needs none", made)
		}
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			if first := s.ID(); first == "" || s.ID() != first {
				t.Error("no id, or another one at each call")
			}
		}))
		if made != 1 {
			t.Errorf("%d ids made, want 1", made)
		}
	})
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

func TestK20Destroy(t *testing.T) {
	t.Run("existing", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		e := a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			must(t, s.Destroy(bg))
			if a.store.Calls(storetest.OpDestroy) != 1 {
				t.Error("the store is not reached at once")
			}
			if visits.Get(s) != 0 {
				t.Error("the values are still there")
			}
			wantIs(t, visits.Set(s, 1), core.ErrGone)
			must(t, s.Destroy(bg))
		}))
		e.wantCookies(t, "-koa.sid -koa.sid.sig")
		if a.value() != "" {
			t.Error("the browser still has the cookie")
		}
		a.wantVisits(0)
	})
	t.Run("new", func(t *testing.T) {
		a := newApp(t, nil)
		e := a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			must(t, visits.Set(s, 1))
			must(t, s.Destroy(bg))
		}))
		e.wantCookies(t, "")
		a.wantCalls(nil)
	})
	t.Run("then regenerated", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		old := a.value()
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			must(t, s.Destroy(bg))
			must(t, s.Reset(bg))
			must(t, visits.Set(s, 5))
		})).wantCookies(t, pair)
		if a.value() == old {
			t.Error("the id is the old one")
		}
		a.wantVisits(5)
	})
}

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

type profile struct {
	Name string            `json:"name"`
	Tags []string          `json:"tags"`
	More map[string]string `json:"more"`
}

func TestK22Changes(t *testing.T) {
	const (
		list    core.Key[[]int]          = "list"
		dict    core.Key[map[string]any] = "dict"
		pointer core.Key[*profile]       = "pointer"
		value   core.Key[profile]        = "value"
	)
	fill := func(_ *core.Visit, s *core.Session) {
		must(t, visits.Set(s, 1))
		must(t, list.Set(s, []int{1, 2, 3}))
		must(t, dict.Set(s, map[string]any{"a": 1.0, "b": map[string]any{"c": []any{1.0}}}))
		must(t, pointer.Set(s, &profile{Name: "ada", Tags: []string{"x"}, More: map[string]string{"k": "v"}}))
		must(t, value.Set(s, profile{Name: "ada", Tags: []string{"x"}}))
		must(t, s.Set("null", nil))
	}
	for name, c := range map[string]struct {
		changes bool
		h       func(s *core.Session)
	}{
		"nothing": {false, func(s *core.Session) {}},
		"everything read": {false, func(s *core.Session) {
			list.Get(s)
			dict.Get(s)
			pointer.Get(s)
			value.Get(s)
			s.Names()
			s.JSON()
		}},
		"read untyped":                 {false, func(s *core.Session) { s.Get("list"); s.Get("dict"); s.Get("pointer"); s.Get("visits") }},
		"equal number":                 {false, func(s *core.Session) { visits.Set(s, 1) }},
		"equal number of another type": {false, func(s *core.Session) { s.Set("visits", 1.0) }},
		"equal list":                   {false, func(s *core.Session) { list.Set(s, []int{1, 2, 3}) }},
		"equal in another order": {false, func(s *core.Session) {
			s.Set("value", map[string]any{"tags": []string{"x"}, "more": nil, "name": "ada"})
		}},
		"changed and changed back": {false, func(s *core.Session) { visits.Set(s, 2); visits.Set(s, 1) }},
		"missing one deleted":      {false, func(s *core.Session) { s.Delete("missing") }},
		"equal update":             {false, func(s *core.Session) { visits.Update(s, func(n int) int { return n }) }},
		"equal replace":            {false, func(s *core.Session) { b, _ := s.JSON(); s.Replace(raw(b)) }},
		"equal cookie":             {false, func(s *core.Session) { s.SetCookie(s.Cookie()) }},
		"number":                   {true, func(s *core.Session) { visits.Set(s, 2) }},
		"deleted":                  {true, func(s *core.Session) { visits.Delete(s) }},
		"null deleted":             {true, func(s *core.Session) { s.Delete("null") }},
		"new null":                 {true, func(s *core.Session) { s.Set("null2", nil) }},
		"list in place":            {true, func(s *core.Session) { list.Get(s)[1] = 9 }},
		"map in place":             {true, func(s *core.Session) { dict.Get(s)["new"] = true }},
		"map in place, deep":       {true, func(s *core.Session) { dict.Get(s)["b"].(map[string]any)["c"].([]any)[0] = 2.0 }},
		"pointer in place":         {true, func(s *core.Session) { pointer.Get(s).Name = "bob" }},
		"inside a struct value":    {true, func(s *core.Session) { value.Get(s).Tags[0] = "y" }},
		"untyped in place":         {true, func(s *core.Session) { s.Get("list").([]any)[0] = 7.0 }},
		"after set": {true, func(s *core.Session) {
			m := map[string]any{"a": 1.0, "b": map[string]any{"c": []any{1.0}}}
			dict.Set(s, m)
			m["z"] = 1
		}},
		"replaced": {true, func(s *core.Session) { s.Replace(map[string]int{"visits": 1}) }},
		"cookie":   {true, func(s *core.Session) { c := s.Cookie(); c.MaxAge = time.Hour; s.SetCookie(c) }},
		"plumless to buckeroo": {true, func(s *core.Session) { // one CRC-32
			list.Set(s, nil)
			s.Set("word", "buckeroo")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			a := newApp(t, nil)
			a.ok(a.get("/", fill))
			before := a.store.Calls(storetest.OpSetVersion)
			var want []byte
			e := a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
				c.h(s)
				var err error
				want, err = s.JSON()
				must(t, err)
			}))
			if stored := a.store.Calls(storetest.OpSetVersion) > before; stored != c.changes {
				t.Errorf("stored: %v, want %v", stored, c.changes)
			}
			if sent := e.cookies() == pair; sent != c.changes {
				t.Errorf("cookies: %q, want sent %v", e.cookies(), c.changes)
			}
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
				if got, _ := s.JSON(); !sameText(got, want) {
					t.Errorf("next request reads\n%s, want\n%s", got, want)
				}
			}))
		})
	}
}

// sameText compares JSON objects without the order of their members.
func sameText(a, b []byte) bool {
	var va, vb any
	return json.Unmarshal(a, &va) == nil && json.Unmarshal(b, &vb) == nil && reflect.DeepEqual(va, vb)
}

// raw is JSON that encodes as it is.
type raw []byte

func (r raw) MarshalJSON() ([]byte, error) { return r, nil }

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
		a := newApp(t, &core.Options{Rolling: true})
		a.ok(a.get("/", nil)).wantCookies(t, "")
		a.ok(a.get("/", count(t))).wantCookies(t, pair)
		for range 5 {
			time.Sleep(20 * time.Hour)
			a.ok(a.get("/", nil)).wantCookies(t, pair)
		}
		a.wantCalls(map[storetest.Op]int{storetest.OpSetVersion: 1, storetest.OpGetVersion: 10, storetest.OpTouch: 5})
		a.wantVisits(1)
		time.Sleep(25 * time.Hour)
		a.wantVisits(0)
	})
	t.Run("without touch it is written again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newAppOn(t, plainStore{newMemory(t)}, &core.Options{Rolling: true})
			a.ok(a.get("/", count(t)))
			time.Sleep(20 * time.Hour)
			a.ok(a.get("/", nil)).wantCookies(t, pair)
			time.Sleep(20 * time.Hour)
			a.wantVisits(1)
		})
	})
	t.Run("TouchEvery", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, &core.Options{Rolling: true, TouchEvery: time.Hour})
			a.ok(a.get("/", count(t)))
			time.Sleep(59 * time.Minute)
			a.ok(a.get("/", nil)).wantCookies(t, "")
			time.Sleep(2 * time.Minute)
			a.ok(a.get("/", nil)).wantCookies(t, pair)
			a.ok(a.get("/", nil)).wantCookies(t, "")
		})
	})
	t.Run("spaced out by default", func(t *testing.T) {
		for name, test := range map[string]struct {
			o     core.Options
			every time.Duration
		}{
			"a day":              {core.Options{}, time.Minute},
			"a tenth":            {core.Options{TTL: 100 * time.Second}, 10 * time.Second},
			"half of a life":     {core.Options{TTL: 100 * time.Second, TouchEvery: 90 * time.Second}, 50 * time.Second},
			"KoaCompat: at once": {*core.KoaCompat(), 0},
			"chosen: at once":    {core.Options{TouchEvery: 1}, 0},
		} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					o := test.o
					o.Rolling, o.Keys = true, [][]byte{testKey}
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
	t.Run("a short session of its own is not forgotten", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, &core.Options{Rolling: true, TouchEvery: time.Hour})
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
	t.Run("does not take back the life that another request chose", func(t *testing.T) {
		for name, life := range map[string]time.Duration{"longer": 90 * 24 * time.Hour, "shorter": time.Hour} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a := newApp(t, &core.Options{Rolling: true, TouchEvery: 1})
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
		a := newApp(t, &core.Options{Rolling: true, TouchEvery: 1})
		a.ok(a.get("/", count(t)))
		id := a.value()
		e := a.ok(a.get("/", func(*core.Visit, *core.Session) { must(t, a.manager.DestroyByID(bg, core.ID(id))) }))
		e.wantCookies(t, "")
		a.wantVisits(0)
	})
}

func TestK26SetSave(t *testing.T) {
	always := func(_ *core.Visit, s *core.Session) { s.SetSaveMode(core.SaveAlways) }
	a := newApp(t, nil)
	a.ok(a.get("/", always)).wantCookies(t, pair) // new and empty
	a.ok(a.get("/", always)).wantCookies(t, pair)
	a.wantCalls(map[storetest.Op]int{storetest.OpSetVersion: 2, storetest.OpGetVersion: 1})
	a.ok(a.get("/", count(t)))
	id := a.value()
	for name, h := range map[string]func(s *core.Session) error{
		"change":     func(s *core.Session) error { return visits.Set(s, 99) },
		"save":       func(s *core.Session) error { visits.Set(s, 99); return s.Save(bg) },
		"destroy":    func(s *core.Session) error { return s.Destroy(bg) },
		"regenerate": func(s *core.Session) error { must(t, s.Reset(bg)); return visits.Set(s, 99) },
		"renew":      func(s *core.Session) error { return s.Renew(bg) },
	} {
		t.Run("never: "+name, func(t *testing.T) {
			e := a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
				s.SetSaveMode(core.SaveNever)
				must(t, h(s))
			}))
			e.wantCookies(t, "")
			if a.value() != id {
				t.Error("the browser's id changed")
			}
			a.wantVisits(1)
		})
	}
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		s.SetSaveMode(core.SaveAlways)
		must(t, s.Destroy(bg))
	})).wantCookies(t, "-koa.sid -koa.sid.sig")
	a.wantVisits(0)
}

func TestK28Reset(t *testing.T) {
	t.Run("empties", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		old := a.value()
		e := a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			must(t, s.Reset(bg))
			if visits.Get(s) != 0 || string(s.ID()) == old || !s.IsNew() {
				t.Error("not a new empty session")
			}
			must(t, s.Set("data", "foo"))
		}))
		e.wantCookies(t, pair)
		if _, err := a.manager.GetByID(bg, core.ID(old)); !errors.Is(err, core.ErrNotFound) {
			t.Errorf("the old session lives: %v", err)
		}
	})
	t.Run("no change: nothing stored, the removal stays", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Reset(bg)) })).wantCookies(t, "-koa.sid -koa.sid.sig")
	})
	t.Run("copied content is stored", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			n := visits.Get(s)
			must(t, s.Reset(bg))
			must(t, visits.Set(s, n))
		})).wantCookies(t, pair)
		a.wantVisits(1)
	})
	t.Run("store error", func(t *testing.T) {
		for _, quiet := range []bool{false, true} {
			o := &core.Options{}
			if quiet {
				o.Hooks.Error = func(context.Context, *core.Error) error { return nil }
			}
			a := newApp(t, o)
			a.ok(a.get("/", count(t)))
			old := a.value()
			a.fails(core.ErrRefused, a.get("/", func(_ *core.Visit, s *core.Session) {
				a.store.Before(func(context.Context, storetest.Op, string) error { return core.ErrRefused })
				wantIs(t, s.Reset(bg), core.ErrRefused)
				a.store.Before(nil)
				if visits.Get(s) != 1 || string(s.ID()) != old {
					t.Error("the old session is not usable")
				}
				must(t, visits.Set(s, 2)) // which is not saved: see W1
			})).wantCookies(t, "")
			a.wantVisits(1)
		}
	})
}

// failing is a hook that fails one operation.
func failing(op storetest.Op, err error) storetest.Hook {
	return func(_ context.Context, o storetest.Op, _ string) error {
		if o == op {
			return err
		}
		return nil
	}
}

func TestK28Renew(t *testing.T) {
	t.Run("keeps values, pending changes too", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		old := a.value()
		e := a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			must(t, s.Set("user", "ada"))
			must(t, s.Renew(bg))
			if string(s.ID()) == old || visits.Get(s) != 1 || s.Get("user") != "ada" {
				t.Error("id kept, or values lost")
			}
			if _, err := a.manager.GetByID(bg, core.ID(old)); !errors.Is(err, core.ErrNotFound) {
				t.Errorf("the old id lives: %v", err)
			}
			if got, err := a.manager.GetByID(bg, s.ID()); err != nil || string(got) != `{"visits":1,"user":"ada"}` {
				t.Errorf("not stored at once: %s, %v", got, err)
			}
		}))
		e.wantCookies(t, pair)
		a.wantVisits(1)
	})
	t.Run("new session", func(t *testing.T) {
		a := newApp(t, nil)
		var first core.ID
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			must(t, visits.Set(s, 3))
			first = s.ID()
			must(t, s.Renew(bg))
		})).wantCookies(t, pair)
		if a.value() == string(first) {
			t.Error("the id is the same")
		}
		a.wantVisits(3)
	})
	t.Run("created stays", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, &core.Options{AbsoluteTimeout: time.Hour})
			a.ok(a.get("/", count(t)))
			time.Sleep(40 * time.Minute)
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Renew(bg)) }))
			time.Sleep(19 * time.Minute)
			a.wantVisits(1)
			time.Sleep(time.Minute)
			a.wantVisits(0)
		})
	})
	for _, op := range []storetest.Op{storetest.OpSetVersion} {
		for n := 1; n <= 2; n++ {
			t.Run("store error", func(t *testing.T) {
				a := newApp(t, nil)
				a.ok(a.get("/", count(t)))
				old := a.value()
				left := n
				a.store.Before(func(_ context.Context, o storetest.Op, key string) error {
					if o == op && !strings.HasSuffix(key, ".old") { // the mark is made as well as it goes
						if left--; left == 0 {
							return core.ErrRefused
						}
					}
					return nil
				})
				a.fails(core.ErrRefused, a.get("/", func(_ *core.Visit, s *core.Session) {
					wantIs(t, s.Renew(bg), core.ErrRefused)
					if string(s.ID()) != old || visits.Get(s) != 1 {
						t.Error("the old session is not as it was")
					}
				})).wantCookies(t, "")
				a.store.Before(nil)
				a.wantVisits(1)
			})
		}
	}
	t.Run("another request's change is kept", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		jar := a.browser.Jar("/")
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			a.ok(a.send(jar, func(_ *core.Visit, s *core.Session) { must(t, s.Set("cart", "book")) }))
			must(t, s.Set("user", "ada"))
			must(t, s.Renew(bg))
		}))
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			if s.Get("cart") != "book" || s.Get("user") != "ada" {
				got, _ := s.JSON()
				t.Errorf("lost update: %s", got)
			}
		}))
	})
	t.Run("gone meanwhile", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		id := core.ID(a.value())
		a.get("/", func(_ *core.Visit, s *core.Session) {
			must(t, a.manager.DestroyByID(bg, id))
			wantIs(t, s.Renew(bg), core.ErrGone)
		}).wantCookies(t, "")
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

	t.Run("what was handed out stays the same value", func(t *testing.T) {
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

func TestK31IDFromElsewhere(t *testing.T) {
	var id core.ID
	a := newApp(t, &core.Options{InsecureIDFrom: func(context.Context, core.Jar) core.ID { return id }})
	must(t, a.manager.SetByID(bg, "forced-id-0123456789", map[string]int{"visits": 6}, 0))
	id = "forced-id-0123456789"
	a.ok(a.get("/", count(t))).wantCookies(t, pair)
	if a.value() != string(id) {
		t.Error("a known id is not adopted")
	}
	id = ""
	a.wantVisits(7)
	id = "unknown-id-0123456789"
	a.ok(a.get("/", count(t))).wantCookies(t, pair)
	if a.value() == string(id) {
		t.Error("an unknown id is adopted")
	}
	id = "bad id"
	a.ok(a.get("/", nil))
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

func TestK34Carrier(t *testing.T) {
	a := newApp(t, &core.Options{Carrier: core.Header("X-Session")})
	e := a.ok(a.get("/", count(t)))
	id := e.jar.Response.Get("X-Session")
	if len(e.jar.SetCookies) != 0 || len(id) != 32 {
		t.Fatalf("cookies %q, header %q", e.jar.SetCookies, id)
	}
	with := func(id string, h handler) *exchange {
		return a.ok(a.send(&jartest.Jar{Request: map[string][]string{"X-Session": {id}}}, h))
	}
	with(id, count(t))
	e = with(id, func(_ *core.Visit, s *core.Session) {
		if visits.Get(s) != 2 {
			t.Error("the session is not found")
		}
		must(t, s.Destroy(bg))
	})
	if e.jar.Response.Get("X-Session") != "" || e.jar.Response.Get("Vary") != "X-Session" {
		t.Errorf("after Destroy: %v", e.jar.Response)
	}
	before := a.store.Calls(storetest.OpGetVersion)
	with("../../../etc/passwd-and-more", nil)
	if a.store.Calls(storetest.OpGetVersion) != before {
		t.Error("an id of the wrong shape reached the store")
	}
}

func TestK35ByID(t *testing.T) {
	a := newApp(t, nil)
	a.ok(a.get("/", count(t)))
	id := core.ID(a.value())
	got, err := a.manager.GetByID(bg, id)
	if err != nil || string(got) != `{"visits":1}` {
		t.Errorf("Get: %s, %v", got, err)
	}
	must(t, a.manager.SetByID(bg, id, map[string]any{"visits": 5}, time.Hour))
	a.wantVisits(5)
	if a.manager.SetByID(bg, "short", map[string]any{}, 0) == nil {
		t.Error("an id that no generator may make is taken")
	}
	if a.manager.SetByID(bg, id, []int{1}, 0) == nil || a.manager.SetByID(bg, id, map[string]int{"cookie": 1}, 0) == nil {
		t.Error("values that are no session are taken")
	}
	must(t, a.manager.DestroyByID(bg, id))
	must(t, a.manager.DestroyByID(bg, id))
	must(t, a.manager.DestroyByID(bg, "no id at all"))
	_, err = a.manager.GetByID(bg, id)
	wantIs(t, err, core.ErrNotFound)
	_, err = a.manager.GetByID(bg, "no id at all")
	wantIs(t, err, core.ErrNotFound)
	a.wantVisits(0)
	must(t, a.manager.SetByID(bg, "an-id-of-our-own-making", map[string]int{"visits": 3}, -time.Second))
	_, err = a.manager.GetByID(bg, "an-id-of-our-own-making")
	wantIs(t, err, core.ErrNotFound)
}

// JSON has no other names than UTF-8: a value under any other would come back
// under a name that nobody asked for.
func TestNamesAreUTF8(t *testing.T) {
	t.Parallel()
	a := newApp(t, nil)
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		odd := core.Key[int]("\xff")
		_, updated := odd.Update(s, func(n int) int { return n + 1 })
		for what, err := range map[string]error{"Set": odd.Set(s, 1), "Update": updated, "by name": s.Set("a\xc3", 1)} {
			if err == nil || !strings.Contains(err.Error(), "UTF-8") {
				t.Errorf("%s: %v", what, err)
			}
		}
		if err := odd.Delete(s); err != nil || len(s.Names()) != 0 {
			t.Errorf("%v, %q", err, s.Names())
		}
		for _, name := range []string{"", "\x00", "é", "\u2028", "\ufffd", `"`, "__proto__"} {
			if err := s.Set(name, name); err != nil {
				t.Errorf("%q: %v", name, err)
			}
		}
	}))
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		for _, name := range []string{"", "\x00", "é", "\u2028", "\ufffd", `"`, "__proto__"} {
			if s.Get(name) != name {
				t.Errorf("%q is lost", name)
			}
		}
	}))
}

// Requirements 32 and 34 want what a cookie is refused for to be counted: it is
// an event of the Logger, once a request, without the cookie.
func TestARefusedCookieIsToldToTheLogger(t *testing.T) {
	var log bytes.Buffer
	a := newApp(t, &core.Options{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	a.ok(a.get("/", count(t)))
	mine := a.browser.Jar("/").Cookies[0]
	var other jartest.Browser
	e := a.send(other.Jar("/"), count(t))
	other.Take("/", e.jar.SetCookies...)
	theirs := other.Jar("/").Cookies[0]
	for name, test := range map[string]struct{ field, want string }{
		"valid":         {mine, ""},
		"none of ours":  {"a=b; c=d", ""},
		"two":           {mine + "; " + theirs, "several cookies with a valid signature"},
		"a bomb":        {mine + strings.Repeat("; a=b", 200), "more cookies than a browser sends"},
		"16 KiB":        {mine + "; a=" + strings.Repeat("b", 16<<10), "more cookies than a browser sends"},
		"five":          {strings.Repeat(mine+"; ", 5), "more cookies than a browser sends"},
		"forged":        {strings.Replace(mine, ".sig=", ".sig=x", 1), "a signature by none of the keys"},
		"unsigned":      {"koa.sid=" + a.value(), "no signature, or no id"},
		"no id":         {"koa.sid=a!; koa.sid.sig=b", "no signature, or no id"},
		"one signature": {"koa.sid.sig=" + strings.Repeat("x", 43), ""},
	} {
		for range 3 { // also when it is known
			log.Reset()
			a.send(&jartest.Jar{Cookies: []string{test.field}}, nil)
			if n := strings.Count(log.String(), "session cookie refused"); n != min(1, len(test.want)) || !strings.Contains(log.String(), test.want) {
				t.Errorf("%s: the log says %q, want %q", name, &log, test.want)
			}
			if strings.Contains(log.String(), a.value()) {
				t.Errorf("%s: the id is in the log", name)
			}
		}
	}
}
