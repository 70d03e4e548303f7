package core_test

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
)

// TestW7FormerNames: a cookie gets another name, scope and key in two steps, while
// old and new processes run side by side, and nobody is logged out.
func TestW7FormerNames(t *testing.T) {
	t.Run("W7 W9 name, path and key in two steps", func(t *testing.T) {
		store := newMemory(t)
		process := func(o core.Options) *app { return newAppOn(t, store, &o) }
		old := process(core.Options{Name: "a", Keys: core.Keyring{testKey}})
		first := process(core.Options{Name: "a", FormerNames: []string{"b"}, Keys: core.Keyring{testKey, otherKey}})
		second := process(core.Options{Name: "b", FormerNames: []string{"a"}, Keys: core.Keyring{otherKey, testKey}})
		last := process(core.Options{Name: "b", Keys: core.Keyring{otherKey}})
		browser := &jartest.Browser{}
		want := 0
		for _, a := range []*app{old, first, old, first, second, first, second, second, last, last} {
			a.browser = browser
			a.wantVisits(want)
			a.ok(a.get("/", count(t)))
			want++
		}
		if _, ok := browser.Value("/", "a"); ok {
			t.Error("the former cookie is still there")
		}
		if _, ok := browser.Value("/", "a.sig"); ok {
			t.Error("the former signature is still there")
		}
	})
	t.Run("a read alone replaces it", func(t *testing.T) {
		store := newMemory(t)
		a := newAppOn(t, store, &core.Options{Name: "a"})
		a.ok(a.get("/", count(t)))
		b := newAppOn(t, store, &core.Options{Name: "b", FormerNames: []string{"a"}})
		b.browser = a.browser
		b.ok(b.get("/", nil)).wantCookies(t, "-a -a.sig b b.sig")
		b.ok(b.get("/", nil)).wantCookies(t, "")
		b.wantVisits(1)
	})
	// The cookie of a domain becomes one of __Host-, which has none, and back: each is
	// removed where it is, with the attributes without which browsers ignore the line.
	t.Run("W7 W9 from a domain to __Host- and back", func(t *testing.T) {
		store := newMemory(t)
		inDomain := core.CookieOptions{Domain: "example.com"}
		old := newAppOn(t, store, &core.Options{Name: "a", Cookie: inDomain, FormerNames: []string{"__Host-b"}})
		new := newAppOn(t, store, &core.Options{Name: "__Host-b", Cookie: core.CookieOptions{Secure: core.On}, FormerNames: []string{"a"}, FormerCookies: []core.CookieOptions{inDomain}})
		for from, to := range map[*app]*app{old: new, new: old} {
			from.browser = &jartest.Browser{TLS: true}
			from.ok(from.get("/", count(t)))
			to.browser = from.browser
			removed := false
			for _, line := range to.ok(to.get("/", nil)).jar.SetCookies {
				cookie, err := http.ParseSetCookie(line)
				must(t, err)
				host := strings.HasPrefix(cookie.Name, "__Host-")
				if host && (cookie.Domain != "" || !cookie.Secure || cookie.Path != "/") {
					t.Errorf("browsers ignore %s", line)
				}
				removed = removed || cookie.Value == "" && (host || cookie.Domain == "example.com")
			}
			if !removed {
				t.Error("the former cookie is not removed where it is")
			}
		}
	})
	t.Run("a logout removes every name in every scope", func(t *testing.T) {
		store := newMemory(t)
		a := newAppOn(t, store, &core.Options{Name: "a", Cookie: core.CookieOptions{Path: "/app"}})
		a.ok(a.get("/app", count(t)))
		id, _ := a.browser.Value("/app", "a")
		b := newAppOn(t, store, &core.Options{Name: "b", FormerNames: []string{"a"}, FormerCookies: []core.CookieOptions{{Path: "/app"}}})
		b.browser = a.browser
		e := b.ok(b.get("/app", func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) }))
		gone := map[string]bool{}
		for _, line := range e.jar.SetCookies {
			c, err := http.ParseSetCookie(line)
			must(t, err)
			gone[c.Name+" "+c.Path] = c.Value == ""
		}
		for _, line := range []string{"a /", "a /app", "b /", "b /app"} {
			if !gone[line] {
				t.Errorf("%s is not removed: %v", line, gone)
			}
		}
		if b.lives(core.ID(id)) || b.browser.Cookie("/app") != "" {
			t.Error("it lives on")
		}
	})
	t.Run("two names, two sessions", func(t *testing.T) {
		for _, dead := range []bool{false, true} {
			store := newMemory(t)
			a, b := newAppOn(t, store, &core.Options{Name: "a"}), newAppOn(t, store, &core.Options{Name: "b", FormerNames: []string{"a"}})
			b.ok(b.get("/", count(t)))
			id, _ := b.browser.Value("/", "b")
			a.ok(a.get("/", count(t)))
			a.ok(a.get("/", count(t)))
			for _, name := range []string{"a", "a.sig"} {
				v, _ := a.browser.Value("/", name)
				b.browser.Take("/", name+"="+v+"; path=/")
			}
			want := 0 // two that live are none
			if dead {
				must(t, b.manager.DestroyByID(bg, core.ID(id)))
				want = 2
			}
			b.ok(b.send(b.browser.Jar("/"), func(_ *core.Visit, s *core.Session) {
				if got := visits.Get(s); got != want {
					t.Errorf("visits = %d, want %d", got, want)
				}
			}))
		}
	})
	t.Run("another application's cookie is left alone", func(t *testing.T) {
		other := newApp(t, &core.Options{Name: "a", Keys: core.Keyring{otherKey}})
		other.ok(other.get("/", count(t)))
		b := newApp(t, &core.Options{Name: "b", FormerNames: []string{"a"}})
		b.browser = other.browser
		b.ok(b.get("/", func(_ *core.Visit, s *core.Session) {
			if !s.IsNew() {
				t.Error("it is taken for ours")
			}
		})).wantCookies(t, "")
		other.wantVisits(1)
	})
	t.Run("RotateKeys holds for former names, too", func(t *testing.T) {
		store := newMemory(t)
		a := newAppOn(t, store, &core.Options{Name: "a", Keys: core.Keyring{otherKey}})
		a.ok(a.get("/", count(t)))
		b := newAppOn(t, store, &core.Options{Name: "b", FormerNames: []string{"a"}})
		must(t, b.manager.RotateKeys(core.Keyring{testKey, otherKey}))
		b.browser = a.browser
		b.wantVisits(1)
	})
}

// TestP19Domains: the cookie has the configured domain that the request's host lies
// in, and nothing that a browser sends.
func TestP19Domains(t *testing.T) {
	a := newApp(t, &core.Options{Domains: []string{"example.com", "Shop.Example.org", "example.org"}})
	for host, want := range map[string]string{
		"example.com": "example.com", "www.example.com": "example.com", "WWW.EXAMPLE.COM:8443": "example.com",
		"example.org": "example.org", "shop.example.org": "shop.example.org", "a.shop.example.org": "shop.example.org",
		"": "", "notexample.com": "", "example.com.evil": "", "evil; domain=example.net": "", "[::1]:80": "", "com": "",
	} {
		t.Run(host, func(t *testing.T) {
			jar := &jartest.Jar{Target: "/", Request: textproto.MIMEHeader{"Host": {host}}}
			e := a.ok(a.send(jar, count(t)))
			domainOf := func(line string) string {
				for part := range strings.SplitSeq(line, "; ") {
					if d, ok := strings.CutPrefix(part, "domain="); ok {
						return d
					}
				}
				return ""
			}
			for _, line := range e.jar.SetCookies {
				if got := domainOf(line); got != want {
					t.Errorf("%q, want the domain %q", line, want)
				}
			}
			var sent []string
			for _, line := range e.jar.SetCookies {
				pair, _, _ := strings.Cut(line, ";")
				sent = append(sent, pair)
			}
			back := &jartest.Jar{Target: "/", Request: textproto.MIMEHeader{"Host": {host}}, Cookies: []string{strings.Join(sent, "; ")}}
			e = a.ok(a.send(back, func(_ *core.Visit, s *core.Session) {
				if visits.Get(s) != 1 {
					t.Error("no session")
				}
				must(t, s.Destroy(bg))
			}))
			if !slices.ContainsFunc(e.jar.SetCookies, func(line string) bool {
				return strings.HasPrefix(line, "koa.sid=;") && domainOf(line) == want
			}) {
				t.Errorf("not removed there: %q", e.jar.SetCookies)
			}
		})
	}
	t.Run("a session's own domain", func(t *testing.T) {
		jar := &jartest.Jar{Target: "/", Request: textproto.MIMEHeader{"Host": {"www.example.com"}}}
		e := a.ok(a.send(jar, func(v *core.Visit, s *core.Session) {
			count(t)(v, s)
			must(t, s.SetCookie(core.CookieOptions{Domain: "www.example.com"}))
		}))
		if !strings.Contains(e.jar.SetCookies[0], "; domain=www.example.com") {
			t.Errorf("%q", e.jar.SetCookies)
		}
	})
	t.Run("after host-only cookies", func(t *testing.T) {
		newApp(t, &core.Options{Domains: []string{"example.com"}, FormerCookies: []core.CookieOptions{{}}})
	})
}
