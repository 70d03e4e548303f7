package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/bcrypt"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/sessiontest"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/examples/internal/openstore"
	"github.com/gensession/gensession/examples/login/app"
	"github.com/gensession/gensession/examples/login/fiberweb"
	"github.com/gensession/gensession/examples/login/web"
	"github.com/gensession/gensession/internal/servers"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // of requests that fail on purpose
	goleak.VerifyTestMain(m,
		// fasthttp's clock of the Date field runs until the program ends, and
		// the cleaner of a worker pool looks only every ten seconds whether
		// its server is still there.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		// rueidis asks at first whether the server is a cluster. That client
		// may sleep for up to a second after it was closed.
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"))
}

// A rig is one of the two sites, on a store that can fail.
type rig struct {
	*testing.T
	app      *app.App
	sessions *core.Manager
	store    *storetest.Faulty
	do       func(r *http.Request) *http.Response
}

const (
	password = "correct horse"
	secret   = "Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA"
)

// both runs a test for net/http and for Fiber, with the users ada, bob and admin.
func both(t *testing.T, test func(t *rig)) {
	bothOn(t, "memory", test)
}

// bothOn is both on the store that a URL names.
func bothOn(t *testing.T, url string, test func(t *rig)) {
	for _, name := range []string{"net/http", "Fiber"} {
		t.Run(name, func(t *testing.T) {
			users, err := app.NewUsers(bcrypt.MinCost)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"ada", "bob", "admin"} {
				if _, err := users.Add(name, password, name == "admin"); err != nil {
					t.Fatal(err)
				}
			}
			store, err := openstore.Open(url)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { store.Close() })
			r := &rig{T: t, app: app.New(users), store: storetest.NewFaulty(store)}
			o := r.app.Options([]byte(secret), false)
			o.FailFast = true
			if r.sessions, err = core.New(r.store, o); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { r.sessions.Close() })
			if name == "Fiber" {
				site := fiberweb.New(r.app, r.sessions)
				r.do = func(req *http.Request) *http.Response {
					res, err := site.Test(req, -1)
					if err != nil {
						t.Fatal(err)
					}
					return res
				}
			} else {
				site := web.New(r.app, r.sessions)
				r.do = func(req *http.Request) *http.Response {
					w := httptest.NewRecorder()
					site.ServeHTTP(w, req)
					return w.Result()
				}
			}
			test(r)
		})
	}
}

// A browser keeps cookies, and says which browser it is.
type browser struct {
	*rig
	cookies jartest.Browser
	name    string
}

const firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

func (t *rig) browser() *browser { return &browser{rig: t, name: firefox} }

// in is a browser in which somebody is logged in.
func (t *rig) in(name string) *browser {
	t.Helper()
	b := t.browser()
	h := sessiontest.New(t, t.sessions, func(s *core.Session) error {
		return s.Login(core.LoginOptions{Owner: name, Label: "Safari on iPhone"})
	})
	for pair := range strings.SplitSeq(h.Get("Cookie"), "; ") {
		b.cookies.Take("/", pair)
	}
	return b
}

func (b *browser) field() http.Header { return http.Header{"Cookie": {b.cookies.Cookie("/")}} }

// session is the one that the browser has.
func (b *browser) session() *core.Session {
	b.Helper()
	return sessiontest.Look(b, b.sessions, b.field())
}

type page struct {
	*rig
	what   string
	status int
	header http.Header
	body   string
}

func (b *browser) send(method, path string, form url.Values, fields ...string) *page {
	b.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(form.Encode()))
	r.Header = b.field()
	r.Header.Set("User-Agent", b.name)
	if method == "POST" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	res := b.do(r)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.Fatal(err)
	}
	b.cookies.Take(path, res.Header["Set-Cookie"]...)
	return &page{b.rig, method + " " + path, res.StatusCode, res.Header, string(body)}
}

func (b *browser) get(path string) *page { b.Helper(); return b.send("GET", path, nil) }

// post sends a form of names and values.
func (b *browser) post(path string, form ...string) *page {
	b.Helper()
	v := url.Values{}
	for i := 0; i < len(form); i += 2 {
		v.Set(form[i], form[i+1])
	}
	return b.send("POST", path, v)
}

func (p *page) want(status int, text string) {
	p.Helper()
	if p.status != status || !strings.Contains(p.body, text) {
		p.Errorf("%s: %d, want %d and %q in\n%s", p.what, p.status, status, text, p.body)
	}
}

func (p *page) goesTo(path string) {
	p.Helper()
	if p.status != http.StatusSeeOther || p.header.Get("Location") != path {
		p.Errorf("%s: %d to %q, want %s", p.what, p.status, p.header.Get("Location"), path)
	}
}

func (b *browser) wantUser(name string) {
	b.Helper()
	if got := b.session().Owner(); got != name {
		b.Errorf("%q is logged in, want %q", got, name)
	}
}

func TestSignup(t *testing.T) {
	both(t, func(t *rig) {
		b := t.browser()
		b.get("/").want(200, `href="/signup"`)
		b.post("/signup", "name", "ada", "password", password).want(422, "This name is taken.")
		b.post("/signup", "name", "a b", "password", password).want(422, "A name has")
		b.post("/signup", "name", "eve", "password", "short").want(422, "A password has")
		b.post("/signup", "name", `"><script>`, "password", "x").want(422, `value="&#34;&gt;&lt;script&gt;"`)
		if b.wantUser(""); b.cookies.Cookie("/") != "" {
			t.Error("a visitor has a session")
		}
		b.post("/signup", "name", " Eve ", "password", password).goesTo("/")
		b.get("/").want(200, "Your account is ready, eve.")
		b.wantUser("eve")
		t.browser().post("/login", "name", "eve", "password", password).goesTo("/")
	})
}

func TestLogin(t *testing.T) {
	both(t, func(t *rig) {
		b := t.browser()
		b.post("/login", "name", "ada", "password", "wrong").want(401, `role="alert"`)
		b.post("/login", "name", "nobody", "password", password).want(401, "The name or the password is wrong.")
		b.wantUser("")
		b.post("/login", "name", "Ada", "password", password, "remember", "yes").goesTo("/")
		b.wantUser("ada")
		if life := b.session().Lifetime(); life.AbsoluteTimeout != 30*24*time.Hour {
			t.Errorf("remembered for %v", life.AbsoluteTimeout)
		}
		b.get("/").want(200, "Hello, ada.")
		if page := b.get("/"); strings.Contains(page.body, "Hello, ada.") || !strings.Contains(page.body, "<strong>ada</strong>") {
			t.Errorf("the message is shown twice, or the name is not: %s", page.body)
		}
		before := b.field()
		b.post("/login", "name", "ada", "password", password).goesTo("/")
		if life := b.session().Lifetime(); life.AbsoluteTimeout != 12*time.Hour || life.IdleTimeout != time.Hour {
			t.Errorf("without the box it lives for %v", life)
		}
		if !sessiontest.Look(t, t.sessions, before).IsNew() {
			t.Error("the id from before the login is good")
		}
	})
}

func TestLogout(t *testing.T) {
	both(t, func(t *rig) {
		b := t.in("ada")
		before := b.field()
		page := b.post("/logout")
		page.goesTo("/login?bye")
		if page.header.Get("Clear-Site-Data") != `"cache"` {
			t.Error("the browser keeps pages")
		}
		b.get("/login?bye").want(200, "You are logged out.")
		if !sessiontest.Look(t, t.sessions, before).IsNew() || b.cookies.Cookie("/") != "" {
			t.Error("the session or its cookie is still there")
		}
		if page := b.get("/logout"); page.status != 404 && page.status != 405 {
			t.Errorf("a link logs out: %d", page.status)
		}
	})
}

// Pages of users are for users, and no cache keeps them.
func TestPages(t *testing.T) {
	both(t, func(t *rig) {
		out, in := t.browser(), t.in("ada")
		for _, path := range []string{"/password", "/devices", "/admin"} {
			out.get(path).goesTo("/login")
		}
		for _, path := range []string{"/password", "/devices/end", "/devices/end-others", "/admin/end"} {
			out.post(path).goesTo("/login")
		}
		for path, title := range map[string]string{"/": "Welcome", "/password": "Change the password", "/devices": "My devices", "/login": "Log in", "/signup": "Sign up"} {
			page := in.get(path)
			page.want(200, "<h1>"+title+"</h1>")
			for name, want := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Content-Type": "text/html; charset=utf-8"} {
				if got := page.header.Get(name); got != want {
					t.Errorf("%s: %s is %q, want %q", path, name, got, want)
				}
			}
			if csp := page.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") {
				t.Errorf("%s: Content-Security-Policy is %q", path, csp)
			}
		}
		in.get("/nothing").want(404, "There is no such page.")
		style := in.get("/static/style.css")
		if style.want(200, "light-dark("); style.header.Get("Set-Cookie") != "" || !strings.HasPrefix(style.header.Get("Content-Type"), "text/css") {
			t.Errorf("the style sheet has the header %v", style.header)
		}
	})
}

func TestPassword(t *testing.T) {
	both(t, func(t *rig) {
		b, other, bob := t.in("ada"), t.in("ada"), t.in("bob")
		b.post("/password", "old", "wrong", "new", "battery staple").want(401, `role="alert"`)
		b.post("/password", "old", password, "new", "short").want(422, "A password has")
		other.wantUser("ada")
		before := b.field()
		b.post("/password", "old", password, "new", "battery staple").goesTo("/")
		b.get("/").want(200, "The password is changed")
		b.wantUser("ada")
		other.wantUser("")
		bob.wantUser("bob")
		if !sessiontest.Look(t, t.sessions, before).IsNew() {
			t.Error("the session has the same id")
		}
		t.browser().post("/login", "name", "ada", "password", password).want(401, "")
		t.browser().post("/login", "name", "ada", "password", "battery staple").goesTo("/")
	})
}

func TestDevices(t *testing.T) {
	both(t, func(t *rig) {
		handle := regexp.MustCompile(`name="device" value="([^"]+)"`)
		phone, bob := t.in("ada"), t.in("bob")
		b := t.browser()
		b.post("/login", "name", "ada", "password", password)
		page := b.get("/devices")
		page.want(200, "Firefox on Linux")
		page.want(200, "Safari on iPhone")
		handles := handle.FindAllStringSubmatch(page.body, -1)
		if strings.Count(page.body, "this device</span>") != 1 || len(handles) != 1 {
			t.Fatalf("the list is\n%s", page.body)
		}
		bob.post("/devices/end", "device", handles[0][1]) // it is not bob's
		phone.wantUser("ada")
		b.post("/devices/end", "device", handles[0][1]).goesTo("/devices")
		b.get("/devices").want(200, "The device is logged out.")
		b.post("/devices/end", "device", handles[0][1]).goesTo("/devices") // twice is no fault
		phone.wantUser("")
		phone.get("/devices").goesTo("/login")
		b.wantUser("ada")

		one, two := t.in("ada"), t.in("ada")
		b.get("/devices").want(200, "Log out all other devices")
		b.post("/devices/end-others").goesTo("/devices")
		one.wantUser("")
		two.wantUser("")
		b.wantUser("ada")
		bob.wantUser("bob")
	})
}

func TestAdmin(t *testing.T) {
	both(t, func(t *rig) {
		admin, other, ada, bob := t.in("admin"), t.in("admin"), t.in("ada"), t.in("bob")
		ada.get("/admin").want(404, "There is no such page.")
		ada.post("/admin/end", "name", "bob").want(404, "")
		bob.wantUser("bob")
		page := admin.get("/admin")
		page.want(200, `Log out bob everywhere`)
		if names := regexp.MustCompile(`name="name" value="(\w+)"`).FindAllStringSubmatch(page.body, -1); len(names) != 3 {
			t.Errorf("the page lists %q", names)
		}
		admin.post("/admin/end", "name", "bob").goesTo("/admin")
		admin.get("/admin").want(200, "bob is logged out.")
		bob.wantUser("")
		ada.wantUser("ada")
		admin.post("/admin/end", "name", "admin").goesTo("/admin")
		admin.wantUser("admin")
		other.wantUser("")
	})
}

// Pages of other sites change nothing.
func TestOtherSites(t *testing.T) {
	both(t, func(t *rig) {
		b := t.in("ada")
		for _, fields := range [][]string{
			{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"},
			{"Sec-Fetch-Site", "", "Origin", "https://evil.example"}, {"Sec-Fetch-Site", "", "Origin", "null"},
		} {
			b.send("POST", "/logout", nil, fields...).want(403, "came from another site")
			b.wantUser("ada")
			out := t.browser()
			out.send("POST", "/login", url.Values{"name": {"bob"}, "password": {password}}, fields...).want(403, "")
			out.wantUser("")
		}
		b.send("POST", "/logout", nil, "Sec-Fetch-Site", "", "Origin", "http://example.com").goesTo("/login?bye")
	})
}

func TestLimits(t *testing.T) {
	both(t, func(t *rig) {
		b := t.browser()
		for range 5 {
			b.post("/login", "name", "ada", "password", "wrong").want(401, "")
		}
		page := b.post("/login", "name", "ADA", "password", password)
		page.want(429, "Too many tries.")
		if n, err := strconv.Atoi(page.header.Get("Retry-After")); err != nil || n < 1 || n > 60 {
			t.Errorf("Retry-After is %q", page.header.Get("Retry-After"))
		}
		b.wantUser("")
		b.post("/login", "name", "bob", "password", password).goesTo("/") // from the same address
		for i := range 14 {
			b.post("/login", "name", "somebody"+strconv.Itoa(i), "password", "x")
		}
		b.post("/login", "name", "admin", "password", password).want(429, "") // too many from here
	})
}

// A client has a whole network of addresses of IPv6.
func TestNetworks(t *testing.T) {
	users, err := app.NewUsers(bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	a := app.New(users)
	a.Names.Burst = 2
	try := func(address string) bool {
		_, err := a.CheckPassword("ada", "x", address)
		return errors.Is(err, app.ErrWrong)
	}
	if !try("2001:db8::1") || !try("2001:db8::2") || try("2001:db8::3") || !try("2001:db8:0:1::1") {
		t.Error("a network of IPv6 is not one client")
	}
	for i, want := range []bool{true, true, false} {
		if try("192.0.2.1") != want {
			t.Errorf("try %d of an address of IPv4 is allowed: %t", i+1, !want)
		}
	}
	if !try("192.0.2.2") {
		t.Error("addresses of IPv4 are not clients of their own")
	}
}

// What bcrypt would ignore is not ignored.
func TestLongPasswords(t *testing.T) {
	both(t, func(t *rig) {
		long := strings.Repeat("correct ", 9) // 72 bytes
		b := t.browser()
		b.post("/signup", "name", "eve", "password", long+"x").want(422, "at most 72 bytes")
		b.post("/signup", "name", "eve", "password", long).goesTo("/")
		t.browser().post("/login", "name", "eve", "password", long+"x").want(401, "")
		t.browser().post("/login", "name", "eve", "password", long).goesTo("/")
	})
}

func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := app.Limit{Burst: 3, Every: time.Minute}
		tries := func() (n int) {
			for l.Wait("x") == 0 {
				n++
			}
			return n
		}
		if n := tries(); n != 3 {
			t.Errorf("%d tries at once", n)
		}
		if w := l.Wait("x"); w != time.Minute {
			t.Errorf("then one has to wait for %v", w)
		}
		if l.Wait("y") != 0 {
			t.Error("others have to wait, too")
		}
		time.Sleep(time.Minute)
		if n := tries(); n != 1 {
			t.Errorf("%d tries after a minute", n)
		}
		time.Sleep(time.Hour)
		if n := tries(); n != 3 {
			t.Errorf("%d tries after an hour", n)
		}
	})
}

// A login that the store refuses is answered as an error, and nobody is in.
func TestStoreIsDown(t *testing.T) {
	both(t, func(t *rig) {
		b, in := t.browser(), t.in("ada")
		t.store.Before(func(_ context.Context, op storetest.Op, _ string) error {
			if op == storetest.OpGetVersion || op == storetest.OpGet {
				return nil
			}
			return core.ErrUnavailable
		})
		b.post("/login", "name", "ada", "password", password).want(503, "Please try again")
		before := in.field()
		in.post("/logout").want(503, "Please try again") // the browser has forgotten it, the store has not
		t.store.Before(nil)
		if b.wantUser(""); b.cookies.Cookie("/") != "" {
			t.Error("there is a cookie")
		}
		if got := sessiontest.Look(t, t.sessions, before).Owner(); got != "ada" {
			t.Errorf("the session that could not be ended is of %q", got)
		}
	})
}

// Devices are listed and ended with every store.
func TestStores(t *testing.T) {
	for name, url := range map[string]string{
		"redis":     "redis://" + servers.Redis(t).Addr() + "/0",
		"memcached": "memcached://" + servers.Memcached(t).Addr(),
		"sqlite":    "sqlite:" + filepath.Join(t.TempDir(), "sessions.db"),
		"postgres":  servers.Postgres(t).URL(),
	} {
		t.Run(name, func(t *testing.T) {
			bothOn(t, url, func(t *rig) {
				phone, tablet, bob, b := t.in("ada"), t.in("ada"), t.in("bob"), t.browser()
				b.post("/login", "name", "ada", "password", password, "remember", "yes").goesTo("/")
				page := b.get("/devices")
				handles := regexp.MustCompile(`name="device" value="([^"]+)"`).FindAllStringSubmatch(page.body, -1)
				if len(handles) != 2 {
					t.Fatalf("the list is\n%s", page.body)
				}
				b.post("/devices/end", "device", handles[0][1]).goesTo("/devices")
				if one, two := phone.session().Owner(), tablet.session().Owner(); one+two != "ada" {
					t.Errorf("%q and %q are logged in, want one ada", one, two)
				}
				b.post("/password", "old", password, "new", "battery staple").goesTo("/")
				b.wantUser("ada")
				phone.wantUser("")
				tablet.wantUser("")
				bob.wantUser("bob")
				t.in("admin").post("/admin/end", "name", "ada").goesTo("/admin")
				b.wantUser("")
				bob.post("/logout").goesTo("/login?bye")
			})
		})
	}
}

// The sessions of an account that was closed are nobody's.
func TestClosedAccount(t *testing.T) {
	both(t, func(t *rig) {
		b := t.in("somebody else")
		b.get("/devices").goesTo("/login")
	})
}

func TestBrowserNames(t *testing.T) {
	for field, want := range map[string]string{
		firefox: "Firefox on Linux",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1": "Safari on iPhone",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0":           "Edge on Windows",
		"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36":                         "Chrome on Android",
		"curl/8.5.0": "curl",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)": "A browser on Mac",
		"": "An unknown browser",
	} {
		if got := app.Browser(field); got != want {
			t.Errorf("%q is %q, want %q", field, got, want)
		}
	}
}

// The program begins and ends, with each library and store.
func TestRun(t *testing.T) {
	t.Setenv("ADMIN_PASSWORD", password)
	t.Setenv("SESSION_KEY", secret)
	var out bytes.Buffer
	log.SetOutput(&out)
	defer log.SetOutput(io.Discard)
	ended, end := context.WithCancel(t.Context())
	end()
	for _, args := range [][]string{{}, {"-fiber"}} {
		out.Reset()
		if err := run(ended, append(args, "-addr", "127.0.0.1:0")); err != nil || !strings.Contains(out.String(), "listening on http://127.0.0.1:") {
			t.Errorf("%q: %v, and it said %q", args, err, &out)
		}
		if strings.Contains(out.String(), password) || strings.Contains(out.String(), secret) {
			t.Errorf("the log has a secret: %q", &out)
		}
	}
	for _, args := range [][]string{{"-store", "tape://"}, {"-addr", "nowhere"}, {"-cert", "missing.pem"}} {
		if run(ended, append([]string{"-addr", "127.0.0.1:0"}, args...)) == nil {
			t.Errorf("%q: no error", args)
		}
	}
	os.Setenv("ADMIN_PASSWORD", "short")
	if err := run(ended, nil); !errors.Is(err, app.ErrPassword) {
		t.Errorf("a short password of the admin: %v", err)
	}
}
