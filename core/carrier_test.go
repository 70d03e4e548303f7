package core_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

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
		for name, values := range e.jar.Response {
			if strings.Contains(strings.Join(values, " "), a.value()) {
				t.Errorf("the field %s has the id, too", name)
			}
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
	e.wantCookies(t, "") // it may be another application's (W8)
	if a.store.Calls(storetest.OpGetVersion) != before {
		t.Error("the store was asked")
	}
	jar.SetCookies = nil
	a.ok(a.send(jar, count(t))).wantCookies(t, pair)
}

// TestK13ForgedBesideAGenuineOne: that a signature of the id was verified, however
// often, says nothing about another one.
func TestK13ForgedBesideAGenuineOne(t *testing.T) {
	a := newApp(t, nil)
	a.ok(a.get("/", count(t)))
	for range 5 {
		a.ok(a.get("/", nil))
	}
	id, before := a.value(), a.store.Calls(storetest.OpGetVersion)
	genuine, _ := a.browser.Value("/", "koa.sid.sig")
	first := "A"
	if genuine[0] == 'A' {
		first = "B"
	}
	for _, rest := range []string{
		"", "; koa.sid.sig=", "; koa.sid.sig=" + genuine[:42], "; koa.sid.sig=" + genuine + "A",
		"; koa.sid.sig=" + strings.Repeat("A", 43), "; koa.sid.sig=" + first + genuine[1:], "; other.sig=" + genuine,
	} {
		a.ok(a.send(&jartest.Jar{Cookies: []string{"koa.sid=" + id + rest}}, func(_ *core.Visit, s *core.Session) {
			if !s.IsNew() {
				t.Errorf("%q opens the session", rest)
			}
		}))
	}
	if a.store.Calls(storetest.OpGetVersion) != before {
		t.Error("the store was asked")
	}
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

// TestRequirement4OnlyTheCookie: without a choice in the Options an id counts in the
// cookie alone, whatever else has it, with its signature.
func TestRequirement4OnlyTheCookie(t *testing.T) {
	a := newApp(t, nil)
	a.ok(a.get("/", count(t)))
	id, pair := a.value(), a.browser.Cookie("/")
	reads := a.store.Calls(storetest.OpGetVersion)
	_, sig, _ := strings.Cut(pair, "; ")
	_, signature, _ := strings.Cut(sig, "=")
	for _, query := range []string{"koa.sid=" + id, "koa.sid=" + id + "&" + sig, "sid=" + id, "session=" + id} {
		jar := &jartest.Jar{Target: "/?" + query, Request: map[string][]string{"Referer": {"https://example.com/?" + query}}}
		a.ok(a.send(jar, func(_ *core.Visit, s *core.Session) {
			if !s.IsNew() {
				t.Errorf("the query %q opens a session", query)
			}
		}))
	}
	for _, name := range []string{"Koa.sid", "X-Session", "X-Session-Id", "X-Session-Token", "Session", "Session-Id", "Authorization", "X-Koa.sid", "Cookie2"} {
		for _, value := range []string{id, pair, "Bearer " + id, id + "." + signature} {
			jar := &jartest.Jar{Request: map[string][]string{name: {value}}}
			a.ok(a.send(jar, func(_ *core.Visit, s *core.Session) {
				if !s.IsNew() {
					t.Errorf("the field %s opens a session", name)
				}
			}))
		}
	}
	if a.store.Calls(storetest.OpGetVersion) != reads {
		t.Error("the store was asked")
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

// Requirements 32 and 34, and W20: the reason why a cookie is refused can be counted. It is
// an event of the Logger, once per request, without the cookie.
func TestRefusedCookieIsLogged(t *testing.T) {
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
		"16 KiB":        {mine + "; a=" + strings.Repeat("b", 16<<10), "the Cookie field is longer than 16 KiB"},
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

func TestK8SecureOverHTTP(t *testing.T) {
	secure := core.CookieOptions{Secure: core.On}
	a := newApp(t, &core.Options{Cookie: secure})
	for _, h := range []handler{count(t), func(_ *core.Visit, s *core.Session) {
		must(t, visits.Set(s, 1))
		if s.Save(bg) == nil {
			t.Error("Save works")
		}
	}} {
		e := a.get("/", h)
		if e.commit == nil || !strings.Contains(e.commit.Error(), "InsecureAllowHTTP") {
			t.Errorf("commit: %v", e.commit)
		}
		e.wantCookies(t, "")
	}
	a.wantCalls(nil) // before anything is stored
	a.browser.TLS = true
	e := a.ok(a.get("/", count(t)))
	if !strings.Contains(e.jar.SetCookies[0], "; secure") {
		t.Errorf("%q", e.jar.SetCookies[0])
	}
	for tls, want := range map[bool]bool{true: true, false: false} {
		b := newApp(t, &core.Options{FailFast: true})
		b.browser.TLS = tls
		e := b.ok(b.get("/", count(t)))
		if got := strings.Contains(e.jar.SetCookies[0], "; secure"); got != want {
			t.Errorf("TLS %v: %q", tls, e.jar.SetCookies[0])
		}
		c := newApp(t, &core.Options{Cookie: core.CookieOptions{Secure: core.Off}})
		c.browser.TLS = tls
		e = c.ok(c.get("/", count(t)))
		if strings.Contains(e.jar.SetCookies[0], "; secure") {
			t.Errorf("Off, TLS %v: %q", tls, e.jar.SetCookies[0])
		}
	}
	d := newApp(t, &core.Options{Cookie: secure, InsecureAllowHTTP: true})
	if e := d.ok(d.get("/", count(t))); !strings.Contains(e.jar.SetCookies[0], "; secure") {
		t.Errorf("InsecureAllowHTTP: %q", e.jar.SetCookies[0])
	}
}

func TestK6Removal(t *testing.T) {
	o := core.CookieOptions{Path: "/app", Domain: "example.com", Secure: core.On, SameSite: core.SameSiteNone, Partitioned: true, Priority: core.PriorityHigh}
	a := newApp(t, &core.Options{Cookie: o, ResetUnknown: true})
	a.browser.TLS = true
	e := a.ok(a.get("/app", count(t)))
	if want := "; path=/app; expires="; !strings.Contains(e.jar.SetCookies[0], want) {
		t.Errorf("%q", e.jar.SetCookies[0])
	}
	e = a.ok(a.get("/app/x", func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) }))
	want := "koa.sid=; path=/app; expires=Thu, 01 Jan 1970 00:00:00 GMT; domain=example.com; priority=high; samesite=none; secure; httponly; partitioned"
	if e.jar.SetCookies[0] != want {
		t.Errorf("got  %q\nwant %q", e.jar.SetCookies[0], want)
	}
	b := newApp(t, &core.Options{Cookie: core.CookieOptions{Signed: core.Off}})
	b.ok(b.get("/", count(t))).wantCookies(t, "koa.sid")
	b.ok(b.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) })).wantCookies(t, "-koa.sid")
}

func TestK7Overwrite(t *testing.T) {
	for _, overwrite := range []core.Switch{core.On, core.Off} {
		a := newApp(t, &core.Options{FailFast: true, ResetUnknown: true, Cookie: core.CookieOptions{Overwrite: overwrite}})
		a.ok(a.get("/", count(t)))
		must(t, a.manager.DestroyByID(bg, core.ID(a.value())))
		jar := a.browser.Jar("/")
		jar.SetCookie("other", "other=1", false)
		e := a.ok(a.send(jar, count(t)))
		want := "other " + pair
		if overwrite == core.Off {
			want = "other -koa.sid -koa.sid.sig " + pair
		}
		e.wantCookies(t, want)
	}
}

// badCarrier fails in the method that the test selects.
type badCarrier struct{ get, set, reset error }

func (c *badCarrier) Get(core.Jar) (core.ID, bool, error) { return "0123456789abcdef", false, c.get }

func (c *badCarrier) Set(core.Jar, *core.Session) error { return c.set }

func (c *badCarrier) Reset(core.Jar, *core.Session) error { return c.reset }

func TestCarrierFails(t *testing.T) {
	boom := errors.New("boom")
	c := &badCarrier{}
	a := newApp(t, &core.Options{Carrier: c, NewID: func(context.Context) (string, error) { return "0123456789abcdef", nil }})
	c.get = boom
	wantIs(t, a.get("/", nil).begin, boom)
	c.get, c.set = nil, boom
	e := a.get("/", count(t))
	wantIs(t, e.commit, boom)
	var as *core.Error
	if !errors.As(e.commit, &as) || as.Op != core.OpCarrier {
		t.Errorf("%v", e.commit)
	}
	c.set, c.reset = nil, boom
	a.get("/", func(_ *core.Visit, s *core.Session) { wantIs(t, s.Destroy(bg), boom) })
	if got := a.store.Calls(storetest.OpBatch); got != 1 {
		t.Errorf("%d removals: the store comes first", got)
	}
}
