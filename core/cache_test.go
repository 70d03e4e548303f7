package core_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
)

// W52: no response with a session cookie is one that a shared cache may keep.
func TestP23SharedCaches(t *testing.T) {
	later := time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)
	for _, c := range []struct{ field, expires, want string }{
		{"", "", "no-store"},
		{"public", "", "no-store"},
		{"public, max-age=3600", "", "private, max-age=3600"},
		{"max-age=3600", "", "private, max-age=3600"},
		{"PUBLIC , Max-Age = 3600,immutable", "", "private, Max-Age = 3600, immutable"},
		{`max-age="60"`, "", `private, max-age="60"`},
		{"max-age=99999999999999999999", "", "private, max-age=99999999999999999999"},
		{"s-maxage=3600", "", "no-store"},
		{"max-age=0, s-maxage=3600", "", "max-age=0, no-store"},
		{"public, max-age=0, must-revalidate", "", "max-age=0, must-revalidate, no-store"},
		{"must-understand, no-store, max-age=60", "", "no-store, max-age=60"},
		{"no-cache", "", "no-cache, no-store"},
		{`private="Set-Cookie", max-age=60`, "", "private, max-age=60"},
		{`no-cache="Set-Cookie", public`, "", `no-cache="Set-Cookie", no-store`},
		{`x="a, public, b", max-age=1`, "", `private, x="a, public, b", max-age=1`},
		{`x="a\", public`, "", "no-store"},
		{`max-age=60, x="public`, "", "no-store"},
		{"max-age=nonsense", "", "max-age=nonsense, no-store"},
		{"stale-while-revalidate=60, proxy-revalidate", "", "stale-while-revalidate=60, proxy-revalidate, no-store"},
		{"public", later, "private"},
		{"max-age=0", later, "max-age=0, no-store"},
		{"public", "0", "no-store"},
		{"public", time.Unix(0, 0).UTC().Format(http.TimeFormat), "no-store"},
		{"private", "", "private"},
		{"private, max-age=60", "", "private, max-age=60"},
		{"private, public", "", "private"},
		{"no-store", "", "no-store"},
		{"No-Store,Private", "", "No-Store,Private"},
		{", ,", "", "no-store"},
	} {
		t.Run(fmt.Sprintf("P23 %q, Expires %q", c.field, c.expires), func(t *testing.T) {
			a := newApp(t, nil)
			e := a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
				must(t, visits.Set(s, 1))
				// A handler that calls Save before it says how long its answer is good.
				must(t, s.Save(bg))
			}))
			if got := e.jar.Response.Get("Cache-Control"); got != "no-store" {
				t.Errorf("without a field %q", got)
			}
			jar := a.browser.Jar("/")
			a.ok(a.send(jar, func(_ *core.Visit, s *core.Session) {
				must(t, s.Renew(bg))
				jar.SetResponseHeader("Cache-Control", c.field)
				jar.SetResponseHeader("Expires", c.expires)
			}))
			if got := jar.Response.Get("Cache-Control"); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// cdnFields are those by which people tell shared caches what they keep from
// browsers.
var cdnFields = []string{
	"CDN-Cache-Control", "Cloudflare-CDN-Cache-Control", "Vercel-CDN-Cache-Control", "Netlify-CDN-Cache-Control",
	"Surrogate-Control", "Edge-Control", "X-Accel-Expires", "X-LiteSpeed-Cache-Control",
}

func TestW18SharedCaches(t *testing.T) {
	public := func(jar *jartest.Jar) {
		jar.SetResponseHeader("Cache-Control", "public, s-maxage=60")
		for _, name := range cdnFields {
			jar.SetResponseHeader(name, "max-age=60")
		}
	}
	kept := func(jar *jartest.Jar) (names []string) {
		for _, name := range append([]string{"Cache-Control"}, cdnFields...) {
			if v := jar.Response.Get(name); v != "" && v != "no-store" {
				names = append(names, name)
			}
		}
		return names
	}
	change := func(t *testing.T) func(*core.Session) {
		return func(s *core.Session) { must(t, visits.Set(s, visits.Get(s)+1)) }
	}
	for name, c := range map[string]struct {
		o core.Options
		h func(s *core.Session)
	}{
		"a change":              {core.Options{}, change(t)},
		"a rolling session":     {core.Options{IdleTimeout: time.Hour, TouchEvery: 1}, func(*core.Session) {}},
		"a removal":             {core.Options{}, func(s *core.Session) { must(t, s.Destroy(bg)) }},
		"Reset":                 {core.Options{}, func(s *core.Session) { must(t, s.Reset(bg)) }},
		"an id in a header":     {core.Options{Carrier: core.Header("X-Id")}, change(t)},
		"a carrier of the user": {core.Options{Carrier: basicCarrier{}}, change(t)},
	} {
		t.Run("W18 "+name, func(t *testing.T) {
			a := newApp(t, &c.o)
			first := a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, visits.Set(s, 1)) }))
			jar := a.browser.Jar("/")
			jar.Request = map[string][]string{"X-Id": first.jar.Response.Values("X-Id")}
			a.ok(a.send(jar, func(_ *core.Visit, s *core.Session) { public(jar); c.h(s) }))
			if names := kept(jar); len(names) != 0 || jar.Response.Get("Cache-Control") != "no-store" {
				t.Errorf("kept %q, Cache-Control %q", names, jar.Response.Get("Cache-Control"))
			}
		})
	}
	t.Run("W18 an empty session that is stored", func(t *testing.T) {
		a := newApp(t, &core.Options{AllowEmpty: true})
		jar := a.browser.Jar("/")
		a.ok(a.send(jar, func(*core.Visit, *core.Session) { public(jar) }))
		if names := kept(jar); len(jar.SetCookies) == 0 || len(names) != 0 {
			t.Errorf("kept %q", names)
		}
	})
	t.Run("W18 what a handler that panics has sent", func(t *testing.T) {
		a := newApp(t, nil)
		jar := a.browser.Jar("/")
		v, _ := a.manager.NewVisit(jar, nil)
		ctx := core.NewContext(context.Background(), v)
		must(t, v.Begin(ctx))
		s, err := v.Session(ctx)
		must(t, err)
		must(t, visits.Set(s, 1))
		must(t, s.Save(ctx))
		public(jar)
		v.Abandon()
		if names := kept(jar); len(jar.SetCookies) == 0 || len(names) != 0 {
			t.Errorf("kept %q", names)
		}
	})
	t.Run("W18 a response without a session cookie stays as it is", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, visits.Set(s, 1)) }))
		jar := a.browser.Jar("/")
		a.ok(a.send(jar, func(_ *core.Visit, s *core.Session) { visits.Get(s); public(jar) }))
		if names := kept(jar); len(names) != 1+len(cdnFields) {
			t.Errorf("left are %q", names)
		}
	})
	t.Run("W18 with InsecureSharedCache it is the handler's business", func(t *testing.T) {
		a := newApp(t, &core.Options{InsecureSharedCache: true})
		jar := a.browser.Jar("/")
		a.ok(a.send(jar, func(_ *core.Visit, s *core.Session) { must(t, visits.Set(s, 1)); public(jar) }))
		if names := kept(jar); len(names) != 1+len(cdnFields) || !strings.Contains(jar.Response.Get("Cache-Control"), "public") {
			t.Errorf("left are %q", names)
		}
		bare := a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, visits.Set(s, 1)) }))
		if got := bare.jar.Response.Get("Cache-Control"); got != "no-store" {
			t.Errorf("without a word of the handler %q", got)
		}
	})
}
