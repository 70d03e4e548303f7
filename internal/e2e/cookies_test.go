package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
)

// Stories about cookies that need options of their own. They are the same with both
// libraries, since the core writes all lines; those about a deploy are played with
// both.

func TestCookies(t *testing.T) {
	for _, story := range []struct {
		name string
		conf conf
		play func(s *scene)
	}{
		{"__Host-", conf{tls: true}, hostPrefix},
		{"__Host-, Fiber", conf{tls: true, fiber: true}, hostPrefix},
		{"Secure over plain http", conf{host: "site.test"}, secureOverHTTP},
		{"Secure over plain http, Fiber", conf{host: "site.test", fiber: true}, secureOverHTTP},
		{"the domain changes", conf{host: "www.site.test"}, newDomain},
		{"the domain changes, Fiber", conf{host: "www.site.test", fiber: true}, newDomain},
		{"the path changes", conf{host: "site.test"}, newPath},
		{"http beside https", conf{host: "site.test"}, httpBesideHTTPS},
		{"SameSite=Strict", conf{tls: true, options: strict}, strictLink},
	} {
		t.Run(story.name, func(t *testing.T) {
			if err := play(t, story.conf, story.play); err != nil {
				t.Error(err)
			}
		})
	}
}

// A sibling of the site, or a page of it over plain HTTP, can't plant a cookie with
// the prefix, and so can't log anybody out or in.
func hostPrefix(s *scene) {
	b := s.chrome().first()
	b.login("ada", false)
	s.same("cookies", names(b.cookies()), "__Host-sid __Host-sid.sig")
	sibling := &site{conf: conf{tls: true, host: "blog.site.test"}}
	sibling.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("Set-Cookie", "__Host-sid=evil; Domain=site.test; Path=/; Secure")
		w.Header().Add("Set-Cookie", "sid=evil; Domain=site.test; Path=/; Secure")
		_, _ = fmt.Fprint(w, "hello")
	}))
	s.must("the sibling", sibling.listen(s.t))
	b.open(sibling.url("/"))
	var planted []string
	for _, c := range b.cookies() {
		if c.Value == "evil" {
			planted = append(planted, c.Name)
		}
	}
	s.same("what a sibling can plant", strings.Join(planted, " "), "sid") // without the prefix
	s.same("who is logged in", b.user(), "ada")
}

// With Secure On nothing is stored over plain HTTP, and the page says that it failed.
// With InsecureAllowHTTP it is the browser that does not store the cookie.
func secureOverHTTP(s *scene) {
	s.must("another deploy", s.deploy(s.t, func(o *core.Options) { o.Cookie.Secure = core.On }))
	b := s.chrome().first()
	b.fill("ada", false)
	s.same("a login with Secure over plain HTTP", b.click(loginButton), 500)
	s.same("cookies", names(b.cookies()), "")

	s.must("another deploy", s.deploy(s.t, func(o *core.Options) { o.Cookie.Secure, o.InsecureAllowHTTP = core.On, true }))
	b.fill("ada", false)
	s.same("a login with InsecureAllowHTTP", b.click(loginButton), 200)
	s.same("who is logged in", b.shown(), "")
	s.same("cookies", names(b.cookies()), "")
}

// A deploy gives the cookie a domain. Who was logged in stays it, and the next login
// leaves one cookie.
func newDomain(s *scene) {
	b := s.chrome().first()
	b.login("ada", false)
	wide := func(o *core.Options) {
		o.Cookie.Domain = "site.test"
		o.FormerCookies = []core.CookieOptions{{Path: "/"}}
	}
	s.must("a deploy", s.deploy(s.t, wide))
	s.same("who is logged in after the deploy", b.user(), "ada")
	b.login("bob", false)
	const both = "sid sid.next sid.next.sig sid.sig" // the second is for an answer that is lost
	s.same("cookies after a login", names(b.cookies()), both)
	for _, c := range b.cookies() {
		s.same("the domain of "+c.Name, c.Domain, ".site.test")
	}
	s.same("who is logged in then", b.user(), "bob")
	narrow := func(o *core.Options) {
		o.FormerCookies = []core.CookieOptions{{Path: "/", Domain: "site.test"}}
	}
	s.must("a deploy back", s.deploy(s.t, narrow))
	s.same("who is logged in after it", b.user(), "bob")
	b.login("ada", false)
	s.same("cookies then", names(b.cookies()), both)
	for _, c := range b.cookies() {
		s.same("the domain of "+c.Name, c.Domain, "www.site.test")
	}
	b.logout()
	s.same("cookies after the logout", names(b.cookies()), "")
}

const user core.Key[string] = "user"

// small is a site of three pages below /app: who, in and out.
func small(s *scene, o *core.Options) http.Handler {
	o.Keys = core.Keyring{[]byte(secret)}
	m, err := core.New(s.store, o)
	s.must("a manager", err)
	s.t.Cleanup(func() { m.Close() })
	mux := http.NewServeMux()
	handle := func(path string, f func(r *http.Request, s *core.Session) error) {
		mux.Handle(path, httpsession.HandlerFunc(func(w http.ResponseWriter, r *http.Request, s *core.Session) error {
			w.Header().Set("Content-Type", "text/plain")
			if err := f(r, s); err != nil {
				return err
			}
			_, err := fmt.Fprintf(w, "it is %q", user.Get(s))
			return err
		}))
	}
	handle("/app/who", func(*http.Request, *core.Session) error { return nil })
	handle("/app/in", func(r *http.Request, s *core.Session) error {
		if err := s.Login(core.LoginOptions{}); err != nil {
			return err
		}
		return user.Set(s, r.FormValue("as"))
	})
	handle("/app/out", func(r *http.Request, s *core.Session) error { return s.Destroy(r.Context()) })
	return httpsession.New(m, nil)(mux)
}

// A deploy gives the cookie another path, to and fro. The browser sends both, and
// which one counts is what lives.
func newPath(s *scene) {
	b := s.chrome().first()
	at := func(path string, former ...core.CookieOptions) {
		s.serve(small(s, &core.Options{Cookie: core.CookieOptions{Path: path}, FormerCookies: former}))
	}
	is := func(page, want string) {
		b.open(s.url("/app/" + page))
		b.wantText(page, fmt.Sprintf("it is %q", want))
	}
	paths := func(want string) {
		var all []string
		for _, c := range b.cookies() {
			if c.Name == "koa.sid" {
				all = append(all, c.Path)
			}
		}
		s.same("paths of the cookies", strings.Join(all, " "), want)
	}
	at("/app")
	is("in?as=ada", "ada")
	paths("/app")
	at("/", core.CookieOptions{Path: "/app"})
	is("who", "ada")
	is("in?as=bob", "bob")
	paths("/")
	is("who", "bob")
	at("/app", core.CookieOptions{Path: "/"})
	is("who", "bob")
	is("in?as=ada", "ada")
	is("who", "ada")
	paths("/app")
	is("out", "")
	paths("")
	// Without FormerCookies the old one stays, and the one that lives counts.
	at("/")
	is("in?as=ada", "ada")
	at("/app")
	is("in?as=bob", "bob")
	is("who", "bob")
}

// A site that is reached both ways: with a name for each scheme, as the example has,
// both keep their sessions. With one name the browser protects the one over TLS, and
// a login over plain HTTP leads nowhere.
func httpBesideHTTPS(s *scene) {
	safe, err := startSite(s.t, s.app, s.store, conf{tls: true, host: "site.test", plant: s.conf.plant})
	s.must("the site over TLS", err)
	b := s.chrome().first()
	open := func(at *site) *tab { return &tab{&scene{s.t, at.conf, at}, b.ctx} }
	open(safe).login("ada", false)
	open(s.site).login("bob", false)
	s.same("who is logged in over TLS", open(safe).user(), "ada")
	s.same("who is logged in over plain HTTP", open(s.site).user(), "bob")

	one := func(o *core.Options) { o.Name, o.Cookie.Secure = "one", core.Default }
	s.must("a deploy", safe.deploy(s.t, one))
	s.must("a deploy", s.site.deploy(s.t, one))
	open(safe).login("ada", false)
	http := open(s.site)
	http.fill("bob", false)
	s.same("a login over plain HTTP", http.click(loginButton), 200)
	s.same("who it logs in", http.shown(), "")
	s.same("who is logged in over TLS then", open(safe).user(), "ada")
}

func strict(o *core.Options) { o.Cookie.SameSite = core.SameSiteStrict }

// With SameSite=Strict a link of another site brings no cookie, and the next step
// within the site does.
func strictLink(s *scene) {
	other := &site{conf: conf{tls: true, host: "evil.test"}}
	other.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, `<!doctype html><a id="link" href="%s">a link</a>`, s.url("/"))
	}))
	s.must("the other site", other.listen(s.t))
	b := s.chrome().first()
	b.login("ada", false)
	b.open(other.url("/"))
	b.click("#link")
	s.same("who follows a link", b.shown(), "")
	b.click("header a.brand")
	s.same("after a step within the site", b.shown(), "ada")
}

// Every attribute that we write is what the browser has stored.
func TestAttributes(t *testing.T) {
	if err := play(t, conf{tls: true, host: "site.test"}, attributes); err != nil {
		t.Error(err)
	}
}

func attributes(s *scene) {
	type want struct {
		domain, path     string
		session          bool
		life             time.Duration
		httpOnly, secure bool
		sameSite         network.CookieSameSite
		priority         network.CookiePriority
		partitioned      bool
	}
	plain := want{domain: "site.test", path: "/", life: 24 * time.Hour, httpOnly: true, secure: true, sameSite: network.CookieSameSiteLax, priority: network.CookiePriorityMedium}
	with := func(f func(w *want)) want { w := plain; f(&w); return w }
	cases := []struct {
		name   string
		cookie core.CookieOptions
		want   want
	}{
		{"defaults", core.CookieOptions{}, plain},
		{"path", core.CookieOptions{Path: "/app"}, with(func(w *want) { w.path = "/app" })},
		{"domain", core.CookieOptions{Domain: "site.test"}, with(func(w *want) { w.domain = ".site.test" })},
		{"a week", core.CookieOptions{MaxAge: 7 * 24 * time.Hour}, with(func(w *want) { w.life = 7 * 24 * time.Hour })},
		{"until the browser closes", core.CookieOptions{MaxAge: core.UntilBrowserCloses}, with(func(w *want) { w.session = true })},
		{"a date", core.CookieOptions{MaxAge: core.UntilBrowserCloses, Expires: time.Now().Add(48 * time.Hour)}, with(func(w *want) { w.life = 48 * time.Hour })},
		{"for scripts", core.CookieOptions{HTTPOnly: core.Off}, with(func(w *want) { w.httpOnly = false })},
		{"not secure", core.CookieOptions{Secure: core.Off}, with(func(w *want) { w.secure = false })},
		{"secure", core.CookieOptions{Secure: core.On}, plain},
		{"strict", core.CookieOptions{SameSite: core.SameSiteStrict}, with(func(w *want) { w.sameSite = network.CookieSameSiteStrict })},
		{"lax", core.CookieOptions{SameSite: core.SameSiteLax}, plain},
		{"none", core.CookieOptions{SameSite: core.SameSiteNone, Secure: core.On}, with(func(w *want) { w.sameSite = network.CookieSameSiteNone })},
		{"no samesite", core.CookieOptions{SameSite: core.SameSiteUnset}, with(func(w *want) { w.sameSite = "" })},
		{"priority low", core.CookieOptions{Priority: core.PriorityLow}, with(func(w *want) { w.priority = network.CookiePriorityLow })},
		{"priority medium", core.CookieOptions{Priority: core.PriorityMedium}, plain},
		{"priority high", core.CookieOptions{Priority: core.PriorityHigh}, with(func(w *want) { w.priority = network.CookiePriorityHigh })},
		{"partitioned", core.CookieOptions{Partitioned: true, Secure: core.On, SameSite: core.SameSiteNone}, with(func(w *want) { w.partitioned, w.sameSite = true, network.CookieSameSiteNone })},
	}
	b := s.chrome().first()
	for i, c := range cases {
		c.cookie.Signed = core.Default
		s.serve(small(s, &core.Options{Name: fmt.Sprint("c", i), Cookie: c.cookie}))
		before := time.Now()
		b.open(s.url("/app/in?as=ada"))
		stored := b.cookiesOf(s.url("/app/who"))
		if got := names(stored); got != fmt.Sprintf("c%d c%d.sig", i, i) {
			s.fail("%s: the browser stores %q", c.name, got)
		}
		for _, k := range stored {
			got := want{
				domain: k.Domain, path: k.Path, session: k.Session, httpOnly: k.HTTPOnly, secure: k.Secure,
				sameSite: k.SameSite, priority: k.Priority, partitioned: k.PartitionKey != nil, life: c.want.life,
			}
			if off := time.Unix(int64(k.Expires), 0).Sub(before.Add(c.want.life)); !k.Session && (off < -time.Minute || off > time.Minute) {
				got.life += off
			}
			s.same(c.name+": "+k.Name, got, c.want)
		}
		b.open(s.url("/app/who"))
		b.wantText(c.name, `it is "ada"`)
		b.open(s.url("/app/out"))
		s.same(c.name+": cookies after the logout", names(b.cookies()), "")
	}
}
