package core_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
)

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
		must(t, s.Set("words", map[string]string{"a": "plumless"}))
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
		"replaced":                      {true, func(s *core.Session) { s.Replace(map[string]int{"visits": 1}) }},
		"cookie":                        {true, func(s *core.Session) { c := s.Cookie(); c.MaxAge = time.Hour; s.SetCookie(c) }},
		"plumless to buckeroo in place": {true, func(s *core.Session) { s.Get("words").(map[string]any)["a"] = "buckeroo" }},
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

// Names in JSON are UTF-8: a value with any other name would be stored under a
// different name.
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

func TestK25OwnCookie(t *testing.T) {
	store := newMemory(t)
	lax := &core.Options{Keys: [][]byte{testKey}}
	a := newAppOn(t, store, lax)
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		c := s.Cookie()
		c.MaxAge, c.HTTPOnly, c.SameSite = 48*time.Hour, core.Off, core.SameSiteUnset
		must(t, s.SetCookie(c))
	}))
	set := func(o *core.Options) string {
		b := newAppOn(t, store, o)
		b.browser = a.browser
		line := ""
		e := b.ok(b.send(b.browser.Jar("/"), func(_ *core.Visit, s *core.Session) { s.SetSaveMode(core.SaveAlways) }))
		if len(e.jar.SetCookies) > 0 {
			_, line, _ = strings.Cut(e.jar.SetCookies[0], "; ")
		}
		return line
	}
	expires := func(d time.Duration) string {
		return "path=/; expires=" + time.Now().Add(d).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
	}
	for name, c := range map[string]struct {
		o     *core.Options
		want  func() string
		exact bool
	}{
		"kept":             {&core.Options{}, func() string { return expires(48 * time.Hour) }, true},
		"samesite strict":  {&core.Options{Cookie: core.CookieOptions{SameSite: core.SameSiteStrict}}, func() string { return expires(48*time.Hour) + "; samesite=strict" }, true},
		"shorter life":     {&core.Options{Cookie: core.CookieOptions{MaxAge: time.Hour}}, func() string { return expires(time.Hour) }, true},
		"a longer one not": {&core.Options{Cookie: core.CookieOptions{MaxAge: 72 * time.Hour}}, func() string { return expires(48 * time.Hour) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			for range 3 { // the second may pass between the two clocks
				before, got, after := c.want(), set(c.o), c.want()
				if got == before || got == after {
					return
				}
				if before == after {
					t.Fatalf("got  %q\nwant %q", got, after)
				}
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			before := s.Cookie()
			for _, c := range []core.CookieOptions{
				{Path: "no slash"}, {Path: "/;x"}, {Path: "/\r\nX: y"}, {Domain: "a b"}, {MaxAge: -1}, {MaxAge: 401 * 24 * time.Hour},
				{SameSite: core.SameSiteNone}, {Partitioned: true}, {HTTPOnly: 9}, {MaxAge: -2 * time.Hour},
			} {
				if s.SetCookie(c) == nil {
					t.Errorf("%+v is taken", c)
				}
			}
			if s.Cookie() != before {
				t.Error("a refused cookie changed something")
			}
		})).wantCookies(t, "")
	})
}

// A session of thousands of values costs no more than their number.
func TestManyValues(t *testing.T) {
	a := newApp(t, &core.Options{MaxSize: 1 << 22})
	many := map[string]int{}
	for i := range 20000 {
		many[fmt.Sprintf("name-%d", i)] = i
	}
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Replace(many)) })).wantCookies(t, pair)
	many["name-7"] = -1
	delete(many, "name-9")
	many["another"] = 1
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		must(t, s.Set("name-7", -1))
		must(t, s.Delete("name-9"))
		must(t, s.Set("another", 1))
	})).wantCookies(t, pair)
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Replace(many)) })).wantCookies(t, "")
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		if n := len(s.Names()); n != 20000 || s.Get("name-7") != -1.0 || s.Get("name-9") != nil {
			t.Errorf("%d values", n)
		}
	}))
}

func TestCreatedAndPrinting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp(t, nil)
		begin := time.Now()
		a.ok(a.get("/", count(t)))
		time.Sleep(time.Hour)
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			if !s.Created().Equal(begin) {
				t.Errorf("Created is %v, want %v", s.Created(), begin)
			}
			if s.String() != "session" || s.GoString() != "session" || s.LogValue().String() != "session" {
				t.Error("a session prints more than its kind")
			}
		}))
	})
}

// Many goroutines of one request use its session.
func TestSessionIsSafeForConcurrentUse(t *testing.T) {
	a := newApp(t, nil)
	a.ok(a.get("/", count(t)))
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		var wg sync.WaitGroup
		// Each alone: a lock that another method takes would hide that one takes none.
		for _, read := range []func(){
			func() { s.ID() }, func() { s.IsNew() }, func() { s.Created() }, func() { s.LoggedIn() },
			func() { s.Owner() }, func() { s.Lifetime() }, func() { s.Cookie() }, func() { s.Names() },
		} {
			wg.Go(func() {
				for range 100 {
					read()
				}
			})
		}
		for i := range 8 {
			wg.Go(func() {
				for j := range 20 {
					if _, err := visits.Update(s, func(n int) int { return n + 1 }); err != nil {
						t.Error(err)
					}
					must(t, s.Set(fmt.Sprint(i), j))
					s.Get(fmt.Sprint(i))
					s.Names()
					s.JSON()
					s.ID()
					s.Cookie()
					must(t, s.SetCookie(core.CookieOptions{MaxAge: time.Duration(1+j) * time.Hour}))
					s.SetSaveMode(core.SaveIfChanged)
					if j%7 == 0 {
						must(t, s.Save(bg))
					}
					if i == 0 && j == 10 {
						must(t, s.Renew(bg))
					}
				}
			})
		}
		wg.Wait()
	}))
	a.wantVisits(161)
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		if len(s.Names()) != 9 {
			t.Errorf("names %v", s.Names())
		}
	}))
}

// Commit and the last changes of a handler's goroutine: each change is either
// saved or fails with ErrCommitted.
func TestLateGoroutine(t *testing.T) {
	for range 200 {
		a := newApp(t, nil)
		done := make(chan int)
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			must(t, visits.Set(s, 1))
			go func() {
				n := 1
				for {
					if _, err := visits.Update(s, func(n int) int { return n + 1 }); err != nil {
						wantIs(t, err, core.ErrCommitted)
						break
					}
					n++
				}
				done <- n
			}()
		}))
		a.wantVisits(<-done)
	}
}
