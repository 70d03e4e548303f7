package sessiontest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/sessiontest"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const user core.Key[string] = "user"

func keys() core.Keyring { return core.Keyring{[]byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")} }

// manager is one on a memory store, with the store to count its calls.
func manager(t *testing.T, o *core.Options) (*core.Manager, *storetest.Faulty) {
	t.Helper()
	memory := memorystore.New(nil)
	t.Cleanup(func() { memory.Close() })
	store := storetest.NewFaulty(memory)
	if o.Carrier == nil && o.Cookie.Signed != core.Off {
		o.Keys = keys()
	}
	m, err := core.New(store, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m, store
}

func ada(s *core.Session) error {
	return errors.Join(s.Login(core.LoginOptions{}), user.Set(s, "ada"))
}

// site has handlers like those that users test.
func site(m *core.Manager) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", httpsession.HandlerFunc(func(w http.ResponseWriter, r *http.Request, s *core.Session) error {
		_, err := fmt.Fprintf(w, "%s since %s", user.Get(s), s.LoggedIn().UTC().Format(time.DateTime))
		return err
	}))
	mux.Handle("/rename", httpsession.HandlerFunc(func(w http.ResponseWriter, r *http.Request, s *core.Session) error {
		return user.Set(s, r.FormValue("to"))
	}))
	mux.Handle("/login", httpsession.HandlerFunc(func(w http.ResponseWriter, r *http.Request, s *core.Session) error {
		return ada(s)
	}))
	mux.Handle("/logout", httpsession.HandlerFunc(func(w http.ResponseWriter, r *http.Request, s *core.Session) error {
		return s.Destroy(r.Context())
	}))
	return httpsession.New(m, nil)(mux)
}

// ask sends a request with the fields h.
func ask(m *core.Manager, target string, h http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", target, nil)
	r.Header = h.Clone()
	w := httptest.NewRecorder()
	site(m).ServeHTTP(w, r)
	return w
}

// P37: whatever the options are, a handler finds the session, and the test finds the one
// of the handler.
func TestOptions(t *testing.T) {
	for name, c := range map[string]struct {
		options core.Options
		target  string
	}{
		"defaults":     {core.Options{}, "/"},
		"deferred":     {core.Options{Defer: true}, "/"},
		"path":         {core.Options{Cookie: core.CookieOptions{Path: "/app"}}, "/app/x"},
		"mounted":      {core.Options{Cookie: core.CookieOptions{Path: "/front/app"}, MountPath: "/front"}, "/app/x"},
		"secure":       {core.Options{Name: "__Host-sid", Cookie: core.CookieOptions{Secure: core.On}}, "https://example.com/"},
		"domains":      {core.Options{Domains: []string{"example.com"}}, "/"},
		"former names": {core.Options{FormerNames: []string{"old"}}, "/"},
		"former scope": {core.Options{FormerCookies: []core.CookieOptions{{Path: "/old"}}}, "/"},
		"header":       {core.Options{Carrier: core.Header("X-Session")}, "/"},
		"carrier":      {core.Options{Carrier: bearer{}}, "/"},
		"unsigned":     {core.Options{Cookie: core.CookieOptions{Signed: core.Off}}, "/"},
		"sealed":       {core.Options{Seal: core.Sealing{Keys: core.Keyring{[]byte("pQ7cV2xN9kL4sW8dF1gH5jB3mZ6tR0yE")}}}, "/"},
		"koa":          {*core.KoaCompat(), "/"},
		"idle":         {core.Options{IdleTimeout: time.Hour, AbsoluteTimeout: 12 * time.Hour, RenewAfter: time.Hour}, "/"},
		"hardened":     {*core.Hardened(), "https://example.com/"},
	} {
		t.Run(name, func(t *testing.T) {
			m, _ := manager(t, &c.options)
			h := sessiontest.New(t, m, ada)
			if got := ask(m, c.target, h).Body.String(); !strings.HasPrefix(got, "ada since ") {
				t.Errorf("the handler sees %q", got)
			}
			if s := sessiontest.Look(t, m, h); user.Get(s) != "ada" || s.IsNew() {
				t.Errorf("the test sees %q", user.Get(s))
			}
		})
	}
}

// bearer is a Carrier of an application's own.
type bearer struct{}

func (bearer) Get(j core.Jar) (core.ID, bool, error) {
	token, _ := strings.CutPrefix(j.RequestHeader("Authorization"), "Bearer ")
	return core.ID(token), false, nil
}

func (bearer) Set(j core.Jar, s *core.Session) error {
	j.SetResponseHeader("Authorization", "Bearer "+string(s.ID()))
	return nil
}

func (bearer) Reset(j core.Jar, _ *core.Session) error {
	j.SetResponseHeader("Authorization", "")
	return nil
}

// What Look says is what the browser has after the responses.
func TestLook(t *testing.T) {
	m, _ := manager(t, &core.Options{})
	want := func(what string, s *core.Session, name string) {
		t.Helper()
		if got := user.Get(s); got != name || s.IsNew() != (name == "") {
			t.Errorf("%s the session is of %q, new %t, want %q", what, got, s.IsNew(), name)
		}
	}
	look := func(headers ...http.Header) *core.Session {
		t.Helper()
		return sessiontest.Look(t, m, headers...)
	}
	want("without a browser", look(), "")
	in := ask(m, "/login", nil).Header()
	want("after a login", look(in), "ada")
	h := sessiontest.New(t, m, ada)
	changed := ask(m, "/rename?to=bob", h).Header()
	want("after a change", look(changed), "bob")
	shown := ask(m, "/", h).Header()
	want("after a response without cookies", look(shown), "")
	want("after such a request and response", look(h, shown), "bob")
	again := ask(m, "/login", h).Header()
	want("with the id from before a login", look(h), "")
	want("after another login", look(h, again), "ada")
	var browser jartest.Browser
	browser.Take("/", again["Set-Cookie"]...)
	out := ask(m, "/logout", http.Header{"Cookie": {browser.Cookie("/")}}).Header()
	want("after a logout", look(h, again, out), "")
	want("with the id from before a logout", look(h, again), "")
	want("with a forged cookie", look(http.Header{"Cookie": {"koa.sid=" + strings.Repeat("a", 32) + "; koa.sid.sig=" + strings.Repeat("a", 43)}}), "")

	s := look(in)
	if err := user.Set(s, "eve"); !errors.Is(err, core.ErrCommitted) {
		t.Errorf("a change of what is looked at: %v", err)
	}
	if err := s.Destroy(t.Context()); !errors.Is(err, core.ErrCommitted) {
		t.Errorf("ending what is looked at: %v", err)
	}
	want("after that", look(in), "ada")

	// With ResetUnknown, which wants to remove the cookie.
	removes, _ := manager(t, &core.Options{ResetUnknown: true})
	want("with an id that the store does not have", sessiontest.Look(t, removes, in), "")

	// The cookie of a former scope is removed beside the one of the current.
	moved, _ := manager(t, &core.Options{FormerCookies: []core.CookieOptions{{Path: "/old"}}})
	want("after a login that removes another scope", sessiontest.Look(t, moved, ask(moved, "/login", sessiontest.New(t, moved, ada)).Header()), "ada")
}

// P37: looking changes nothing. What is about to expire does, and what is due to be
// renewed is not.
func TestLookChangesNothing(t *testing.T) {
	for name, o := range map[string]core.Options{
		"idle":     {IdleTimeout: time.Hour},
		"renewed":  {RenewAfter: 40 * time.Minute},
		"resigned": {},
		"deferred": {Defer: true, IdleTimeout: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, store := manager(t, &o)
				h := sessiontest.New(t, m, ada)
				if name == "resigned" {
					if err := m.RotateKeys(core.Keyring{[]byte("pQ7cV2xN9kL4sW8dF1gH5jB3mZ6tR0yE"), keys()[0]}); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(50 * time.Minute)
				writes := func() int {
					return store.Calls(storetest.OpSet) + store.Calls(storetest.OpSetVersion) + store.Calls(storetest.OpTouch) +
						store.Calls(storetest.OpBatch) + store.Calls(storetest.OpAppend) + store.Calls(storetest.OpDestroy)
				}
				before, reads := writes(), store.Calls(storetest.OpGet)+store.Calls(storetest.OpGetVersion)
				if s := sessiontest.Look(t, m, h); user.Get(s) != "ada" {
					t.Errorf("it is of %q", user.Get(s))
				}
				if n := writes() - before; n != 0 {
					t.Errorf("%d writes", n)
				}
				if n := store.Calls(storetest.OpGet) + store.Calls(storetest.OpGetVersion) - reads; n != 1 {
					t.Errorf("%d reads, want 1", n)
				}
			})
		})
	}
}

// A session that was renewed by itself can be looked at under both its ids, and
// stays as it is.
func TestLookAtARenewedOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, store := manager(t, &core.Options{RenewAfter: time.Hour})
		h := sessiontest.New(t, m, ada)
		time.Sleep(2 * time.Hour)
		res := ask(m, "/", h).Header()
		if len(res["Set-Cookie"]) == 0 {
			t.Fatal("the id was not renewed")
		}
		batches := store.Calls(storetest.OpBatch) + store.Calls(storetest.OpSetVersion)
		for what, s := range map[string]*core.Session{"old": sessiontest.Look(t, m, h), "new": sessiontest.Look(t, m, h, res)} {
			if user.Get(s) != "ada" {
				t.Errorf("under the %s id there is no session", what)
			}
		}
		if n := store.Calls(storetest.OpBatch) + store.Calls(storetest.OpSetVersion) - batches; n != 0 {
			t.Errorf("looking wrote %d times", n)
		}
	})
}

// An old session has the times of an old one, and ends when that would.
func TestAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := manager(t, &core.Options{AbsoluteTimeout: 12 * time.Hour})
		now := time.Now()
		for _, age := range []time.Duration{0, time.Hour, 12*time.Hour - time.Second} {
			in := sessiontest.NewAged(t, m, age, ada)
			out := sessiontest.NewAged(t, m, age, func(s *core.Session) error { return user.Set(s, "visitor") })
			if s := sessiontest.Look(t, m, in); !s.LoggedIn().Equal(now.Add(-age)) || !s.Created().Equal(now.Add(-age)) {
				t.Errorf("%v: logged in at %v, made at %v", age, s.LoggedIn(), s.Created())
			}
			if s := sessiontest.Look(t, m, out); !s.LoggedIn().IsZero() || !s.Created().Equal(now.Add(-age)) {
				t.Errorf("%v: without a login it logged in at %v, made at %v", age, s.LoggedIn(), s.Created())
			}
		}
		almost := sessiontest.NewAged(t, m, 11*time.Hour, ada)
		time.Sleep(time.Hour - time.Millisecond)
		if s := sessiontest.Look(t, m, almost); user.Get(s) != "ada" {
			t.Error("it ended before 12 hours")
		}
		time.Sleep(time.Millisecond)
		if s := sessiontest.Look(t, m, almost); !s.IsNew() {
			t.Error("it did not end after 12 hours")
		}
		for _, age := range []time.Duration{12 * time.Hour, 1000 * time.Hour} {
			h := sessiontest.NewAged(t, m, age, ada)
			if h.Get("Cookie") == "" {
				t.Errorf("%v: there is no cookie of a session that has ended", age)
			}
			if got := ask(m, "/", h).Body.String(); strings.HasPrefix(got, "ada") {
				t.Errorf("%v: the handler sees %q", age, got)
			}
		}
	})
	t.Run("that renews the id", func(t *testing.T) {
		m, _ := manager(t, &core.Options{RenewAfter: time.Hour})
		if got := ask(m, "/", sessiontest.NewAged(t, m, 59*time.Minute, ada)); got.Header()["Set-Cookie"] != nil {
			t.Error("renewed before its time")
		}
		if got := ask(m, "/", sessiontest.NewAged(t, m, time.Hour, ada)); got.Header()["Set-Cookie"] == nil {
			t.Error("not renewed in time")
		}
	})
	t.Run("of a remembered one", func(t *testing.T) {
		m, _ := manager(t, &core.Options{RememberFor: 30 * 24 * time.Hour, IdleTimeout: time.Hour})
		remembered := func(s *core.Session) error {
			return errors.Join(s.Login(core.LoginOptions{Remember: true}), user.Set(s, "ada"))
		}
		if s := sessiontest.Look(t, m, sessiontest.NewAged(t, m, 29*24*time.Hour, remembered)); user.Get(s) != "ada" {
			t.Error("forgotten after 29 days")
		}
		if s := sessiontest.Look(t, m, sessiontest.NewAged(t, m, 30*24*time.Hour, remembered)); !s.IsNew() {
			t.Error("remembered after 30 days")
		}
	})
}

// A session with an owner is in the list of the owner, with its age.
func TestOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := manager(t, &core.Options{Owners: true, AbsoluteTimeout: 12 * time.Hour})
		owned := func(s *core.Session) error { return s.Login(core.LoginOptions{Owner: "ada", Label: "phone"}) }
		young, old := sessiontest.New(t, m, owned), sessiontest.NewAged(t, m, 3*time.Hour, owned)
		for what, h := range map[string]http.Header{"young": young, "old": old} {
			if s := sessiontest.Look(t, m, h); s.Owner() != "ada" {
				t.Errorf("the %s one is of %q", what, s.Owner())
			}
		}
		devices, err := m.ListByOwner(t.Context(), "ada", sessiontest.Look(t, m, old))
		if err != nil || len(devices) != 2 {
			t.Fatalf("%d are listed, %v", len(devices), err)
		}
		first, last := devices[0], devices[1]
		if age := time.Since(last.Created); age != 3*time.Hour || !last.Current || last.Label != "phone" || time.Since(last.LastUsed) != 0 {
			t.Errorf("the old one began %v ago, is the asking one %t, has the label %q, was used %v ago", age, last.Current, last.Label, time.Since(last.LastUsed))
		}
		if age := time.Since(first.Created); age != 0 || first.Current {
			t.Errorf("the young one began %v ago, is the asking one %t", age, first.Current)
		}
		if err := m.DestroyByOwner(t.Context(), "ada", sessiontest.Look(t, m, young)); err != nil {
			t.Fatal(err)
		}
		if sessiontest.Look(t, m, young).IsNew() || !sessiontest.Look(t, m, old).IsNew() {
			t.Error("not all sessions but the one to keep have ended")
		}
		sessiontest.NewAged(t, m, 12*time.Hour, owned)
		if devices, err := m.ListByOwner(t.Context(), "ada", nil); err != nil || len(devices) != 1 {
			t.Errorf("with one that has ended %d are listed, %v", len(devices), err)
		}
	})
}

// A client with a jar, against a server.
func TestClient(t *testing.T) {
	m, _ := manager(t, &core.Options{})
	server := httptest.NewServer(site(m))
	defer server.Close()
	at, _ := url.Parse(server.URL)
	cookies, err := http.ParseCookie(sessiontest.New(t, m, ada).Get("Cookie"))
	if err != nil {
		t.Fatal(err)
	}
	client := server.Client()
	client.Jar, _ = cookiejar.New(nil)
	client.Jar.SetCookies(at, cookies)
	for i, want := range []string{"ada since 2", "ada since 2", " since 0001"} {
		if i == 2 {
			if res, err := client.Get(server.URL + "/logout"); err != nil {
				t.Fatal(err)
			} else {
				res.Body.Close()
			}
		}
		res, err := client.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		if res.Body.Close(); !strings.HasPrefix(string(body), want) {
			t.Errorf("%d: %q, want %q", i, body, want)
		}
	}
}

// A store of three methods is enough.
func TestStoreOfThreeMethods(t *testing.T) {
	memory := memorystore.New(nil)
	defer memory.Close()
	m, err := core.New(struct{ core.Store }{memory}, &core.Options{Keys: keys()})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if s := sessiontest.Look(t, m, sessiontest.NewAged(t, m, time.Hour, ada)); user.Get(s) != "ada" || time.Since(s.Created()) < time.Hour {
		t.Errorf("it is of %q, since %v", user.Get(s), s.Created())
	}
}

// What can't be done ends the test, with the reason.
func TestFails(t *testing.T) {
	m, store := manager(t, &core.Options{FailFast: true})
	down := func(op ...storetest.Op) {
		store.Before(func(_ context.Context, o storetest.Op, _ string) error {
			for _, p := range op {
				if o == p {
					return core.ErrRefused
				}
			}
			return nil
		})
	}
	h := sessiontest.New(t, m, ada)
	for name, c := range map[string]struct {
		call func(t testing.TB)
		says string
	}{
		"nothing set": {func(t testing.TB) { sessiontest.New(t, m, func(*core.Session) error { return nil }) }, "nothing to store"},
		"ended": {func(t testing.TB) {
			sessiontest.New(t, m, func(s *core.Session) error {
				return errors.Join(ada(s), s.Save(context.Background()), s.Destroy(context.Background()))
			})
		}, "nothing to store"},
		"error of f": {func(t testing.TB) {
			sessiontest.New(t, m, func(*core.Session) error { return errors.New("no such user") })
		}, "no such user"},
		"negative age": {func(t testing.TB) { sessiontest.NewAged(t, m, -time.Second, ada) }, "negative"},
		"no write": {func(t testing.TB) {
			down(storetest.OpSetVersion, storetest.OpBatch)
			sessiontest.New(t, m, ada)
		}, "saving"},
		"no read": {func(t testing.TB) {
			down(storetest.OpGetVersion, storetest.OpGet)
			sessiontest.Look(t, m, h)
		}, "loading"},
	} {
		t.Run(name, func(t *testing.T) {
			defer store.Before(nil)
			f := &failing{TB: t}
			done := make(chan bool)
			go func() {
				defer close(done)
				c.call(f)
			}()
			if <-done; !strings.Contains(f.said, c.says) {
				t.Errorf("it said %q", f.said)
			}
		})
	}
}

// failing is a test that may fail.
type failing struct {
	testing.TB
	said string
}

func (f *failing) Helper() {}

func (f *failing) Fatalf(format string, args ...any) {
	f.said = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (f *failing) Fatal(args ...any) { f.Fatalf("%s", fmt.Sprint(args...)) }
