package core_test

import (
	"strings"
	"testing"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
)

// domains of removed and living cookies, in the order of the lines.
func scopesOf(e *exchange) string {
	var all []string
	for _, line := range e.jar.SetCookies {
		name, rest, _ := strings.Cut(line, "=")
		if name != "koa.sid" {
			continue
		}
		where := ""
		for _, a := range strings.Split(rest, "; ")[1:] {
			if p, ok := strings.CutPrefix(a, "domain="); ok {
				where += p
			}
			if p, ok := strings.CutPrefix(a, "path="); ok {
				where += p
			}
		}
		if strings.HasPrefix(rest, ";") {
			where = "-" + where
		}
		all = append(all, where)
	}
	return strings.Join(all, " ")
}

// both is a request with the cookies of two browsers.
func both(a, b *jartest.Browser) *jartest.Jar {
	return &jartest.Jar{Cookies: []string{a.Cookie("/") + "; " + b.Cookie("/")}}
}

// Several genuine cookies of one name (P7, W6, W7).
func TestSeveralCookies(t *testing.T) {
	t.Run("the one that lives counts", func(t *testing.T) {
		a := newApp(t, &core.Options{FormerCookies: []core.CookieOptions{{Domain: "example.com"}}})
		dead, alive := &jartest.Browser{}, &jartest.Browser{}
		a.browser = dead
		a.ok(a.get("/", count(t)))
		must(t, a.manager.DestroyByID(bg, core.ID(a.value())))
		a.browser = alive
		a.ok(a.get("/", count(t)))
		for _, jar := range []*jartest.Jar{both(dead, alive), both(alive, dead)} {
			e := a.ok(a.send(jar, func(_ *core.Visit, s *core.Session) {
				if visits.Get(s) != 1 {
					t.Error("the living session does not count")
				}
			}))
			if got := scopesOf(e); got != "-/example.com /" {
				t.Errorf("the former scope is not removed first: %q", got)
			}
		}
		// It is not trusted with its past.
		e := a.ok(a.send(both(dead, alive), signIn(t, "ada")))
		alive.Take("/", e.jar.SetCookies...)
		a.wantUser("ada")
		a.wantVisits(0)
	})
	t.Run("two that live: none, and a login ends both", func(t *testing.T) {
		a := newApp(t, nil)
		one, two := &jartest.Browser{}, &jartest.Browser{}
		var ids []core.ID
		for _, b := range []*jartest.Browser{one, two} {
			a.browser = b
			a.ok(a.get("/", count(t)))
			ids = append(ids, core.ID(a.value()))
		}
		e := a.ok(a.send(both(one, two), func(_ *core.Visit, s *core.Session) {
			if !s.IsNew() || visits.Get(s) != 0 {
				t.Error("one of them counts")
			}
		}))
		e.wantCookies(t, "")
		a.ok(a.send(both(one, two), signIn(t, "ada")))
		if a.lives(ids[0]) || a.lives(ids[1]) {
			t.Error("a session that the request carries outlives the login")
		}
	})
	t.Run("a logout ends them all", func(t *testing.T) {
		for _, o := range []*core.Options{{}, {Defer: true}} {
			a := newApp(t, o)
			one, two := &jartest.Browser{}, &jartest.Browser{}
			var ids []core.ID
			for _, b := range []*jartest.Browser{one, two} {
				a.browser = b
				a.ok(a.get("/", count(t)))
				ids = append(ids, core.ID(a.value()))
			}
			a.ok(a.visit(both(one, two), func(v *core.Visit) { must(t, v.Destroy(bg)) })).wantCookies(t, "-koa.sid -koa.sid.sig")
			if a.lives(ids[0]) || a.lives(ids[1]) {
				t.Error("a session lives")
			}
		}
	})
	t.Run("more than are looked at: a logout is an error and removes the cookies", func(t *testing.T) {
		a := newApp(t, &core.Options{FormerCookies: []core.CookieOptions{{Domain: "example.com"}, {Path: "/app"}}})
		a.ok(a.get("/", count(t)))
		pair := a.browser.Cookie("/")
		for _, field := range []string{strings.Repeat(pair+"; ", 5), pair + "; a=" + strings.Repeat("b", 16<<10)} {
			e := a.send(&jartest.Jar{Cookies: []string{field}}, func(_ *core.Visit, s *core.Session) {
				wantIs(t, s.Destroy(bg), core.ErrOutcomeUnknown)
			})
			must(t, e.err())
			if got := scopesOf(e); got != "-/example.com -/app -/" {
				t.Errorf("removed: %q", got)
			}
		}
	})
	t.Run("a store error for one of them is an error", func(t *testing.T) {
		a := newApp(t, &core.Options{FailFast: true})
		one, two := &jartest.Browser{}, &jartest.Browser{}
		for _, b := range []*jartest.Browser{one, two} {
			a.browser = b
			a.ok(a.get("/", count(t)))
		}
		a.store.Down()
		wantIs(t, a.send(both(one, two), nil).begin, core.ErrUnavailable)
	})
	t.Run("KoaCompat takes the first, as the original", func(t *testing.T) {
		a := newApp(t, core.KoaCompat())
		one, two := &jartest.Browser{}, &jartest.Browser{}
		for i, b := range []*jartest.Browser{one, two} {
			a.browser = b
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, visits.Set(s, i+1)) }))
		}
		a.ok(a.send(both(two, one), func(_ *core.Visit, s *core.Session) {
			if visits.Get(s) != 2 {
				t.Error("not the first")
			}
		}))
	})
}

// Lines replace each other only in one scope, and a scope that a session leaves is
// expired before the new one is sent (P8, W7).
func TestScopes(t *testing.T) {
	t.Run("SetCookie moves to another path", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		e := a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
			c := s.Cookie()
			c.Domain = "example.com"
			must(t, s.SetCookie(c))
			must(t, s.Save(bg))
			count(t)(v, s)
			must(t, s.Save(bg)) // the lines are there once
		}))
		if got := scopesOf(e); got != "-/ /example.com" {
			t.Errorf("%q", got)
		}
	})
	t.Run("a login expires former scopes", func(t *testing.T) {
		a := newApp(t, &core.Options{Cookie: core.CookieOptions{Domain: "example.com"}, FormerCookies: []core.CookieOptions{{Path: "/"}}})
		a.ok(a.get("/", count(t)))
		if got := scopesOf(a.ok(a.get("/", signIn(t, "ada")))); got != "-/ /example.com" {
			t.Errorf("%q", got)
		}
		if got := scopesOf(a.ok(a.get("/", count(t)))); got != "/example.com" {
			t.Errorf("an ordinary save: %q", got)
		}
	})
	t.Run("the copy of a former scope goes, too", func(t *testing.T) { // W3, W6, W7
		store, wide := newMemory(t), core.CookieOptions{Domain: "example.com"}
		a := newAppOn(t, store, &core.Options{Cookie: wide})
		browser := a.browser
		copies := func(what string, want int) {
			t.Helper()
			if n := strings.Count(browser.Cookie("/"), "koa.sid.next="); n != want {
				t.Errorf("%s: %d copies, want %d", what, n, want)
			}
		}
		a.ok(a.get("/", signIn(t, "ada")))
		a.ok(a.get("/", signIn(t, "ada")))
		copies("after a second login", 1)
		a = newAppOn(t, store, &core.Options{FormerCookies: []core.CookieOptions{wide}})
		a.browser = browser
		a.ok(a.get("/", signIn(t, "bob")))
		copies("after a login in another scope", 1)
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) }))
		copies("after a logout", 0)
		if got := browser.Cookie("/"); got != "" {
			t.Errorf("after a logout the browser has %q", got)
		}

		// Some are left from before that.
		a.ok(a.get("/", signIn(t, "ada")))
		a.ok(a.get("/", signIn(t, "ada")))
		old := newAppOn(t, store, &core.Options{Cookie: wide})
		old.browser = browser
		old.ok(old.get("/", signIn(t, "ada")))
		copies("in two scopes", 2)
		var ids []core.ID
		for pair := range strings.SplitSeq(browser.Cookie("/"), "; ") {
			if id, ok := strings.CutPrefix(pair, "koa.sid.next="); ok {
				ids = append(ids, core.ID(id))
			}
		}
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) }))
		copies("after a logout that finds two", 0)
		if a.lives(ids[0]) || a.lives(ids[1]) {
			t.Error("the session of a copy lives")
		}
	})
	t.Run("a line of other code in another scope stays", func(t *testing.T) {
		for _, koa := range []bool{false, true} {
			o := &core.Options{}
			if koa {
				o = core.KoaCompat()
			}
			a := newApp(t, o)
			jar := &jartest.Jar{}
			a.ok(a.send(jar, func(v *core.Visit, s *core.Session) {
				jar.SetCookie("koa.sid", "koa.sid=theirs; Path=/other", false)
				jar.SetCookie("koa.sid", "koa.sid=mine; PATH = /", false)
				count(t)(v, s)
			}))
			want := "/other /"
			if koa {
				want = "/"
			}
			e := &exchange{jar: jar}
			if got := strings.ReplaceAll(scopesOf(e), "Path", ""); len(jar.SetCookies) != map[bool]int{false: 3, true: 2}[koa] {
				t.Errorf("koa %t: %q, want %q: %q", koa, got, want, jar.SetCookies)
			}
		}
	})
	t.Run("New", func(t *testing.T) {
		for name, o := range map[string]*core.Options{
			"more than a scope":    {FormerCookies: []core.CookieOptions{{Domain: "example.com", HTTPOnly: core.Off}}},
			"the scope of now":     {FormerCookies: []core.CookieOptions{{Path: "/"}}},
			"no host name":         {FormerCookies: []core.CookieOptions{{Domain: "a b"}}},
			"with another carrier": {FormerCookies: []core.CookieOptions{{Path: "/x"}}, Carrier: core.Header("X-Session")},
		} {
			if o.Carrier == nil {
				o.Keys = [][]byte{testKey}
			}
			if _, err := core.New(newMemory(t), o); err == nil || !strings.Contains(err.Error(), "FormerCookies") {
				t.Errorf("%s: %v", name, err)
			}
		}
		koa := core.KoaCompat()
		koa.Keys, koa.FormerCookies = [][]byte{testKey}, []core.CookieOptions{{Path: "/x"}}
		if _, err := core.New(newMemory(t), koa); err == nil {
			t.Error("KoaCompat takes FormerCookies")
		}
	})
}

// Several copies of ids in one cookie count for nothing, and a logout ends their sessions.
func TestW3SeveralCopies(t *testing.T) {
	a := newApp(t, nil)
	var ids []core.ID
	var cookies []string
	for range 2 {
		b := a.device()
		b.ok(b.get("/", count(t)))
		ids = append(ids, b.id())
		cookies = append(cookies, "koa.sid.next="+b.value()+"; koa.sid.next.sig="+signatureOf("koa.sid.next", b.id()))
	}
	a.ok(a.get("/", count(t)))
	jar := a.browser.Jar("/")
	jar.Cookies = append(jar.Cookies, cookies...)
	a.ok(a.send(jar, func(_ *core.Visit, s *core.Session) {
		if visits.Get(s) != 1 {
			t.Error("the session is another one")
		}
		must(t, s.Destroy(bg))
	}))
	for i, id := range ids {
		if a.lives(id) {
			t.Errorf("the session of copy %d lives", i)
		}
	}
}
