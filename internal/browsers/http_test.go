package browsers_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/soak"
)

// A site is the pages of the model on net/http.
type site struct {
	*httptest.Server
	manager *core.Manager
	far     bool                                            // posts and their answers travel for up to two milliseconds each
	plant   func() func(name, line string) (string, string) // what changes the Set-Cookie lines of a far answer
}

func newSite(t *testing.T, store core.Store, o core.Options) *site {
	s := &site{manager: newManager(t, store, o)}
	mux := http.NewServeMux()
	page := func(pattern string, h httpsession.HandlerFunc) { mux.Handle(pattern, h) }
	page("GET /", func(w http.ResponseWriter, _ *http.Request, s *core.Session) error {
		_, err := io.WriteString(w, user.Get(s))
		return err
	})
	page("GET /form", func(w http.ResponseWriter, _ *http.Request, s *core.Session) error {
		if token.Get(s) == "" {
			if err := token.Set(s, fmt.Sprintf("token of %p", s)); err != nil {
				return err
			}
		}
		_, err := io.WriteString(w, token.Get(s))
		return err
	})
	page("POST /login", func(w http.ResponseWriter, r *http.Request, s *core.Session) error {
		if want := r.FormValue("token"); want != "none" && (want == "" || want != token.Get(s)) {
			http.Error(w, "wrong token", http.StatusForbidden)
			return nil
		}
		if err := s.Login(core.LoginOptions{}); err != nil {
			return err
		}
		if err := user.Set(s, r.FormValue("user")); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	})
	page("POST /change", func(w http.ResponseWriter, _ *http.Request, s *core.Session) error {
		_, err := visits.Update(s, func(n int) int { return n + 1 })
		return err
	})
	page("POST /logout", func(w http.ResponseWriter, r *http.Request, s *core.Session) error { return s.Destroy(r.Context()) })
	page("POST /role", func(w http.ResponseWriter, r *http.Request, s *core.Session) error {
		if user.Get(s) == "" {
			return nil
		}
		return s.Renew(r.Context())
	})
	h := httpsession.New(s.manager, nil)(mux)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.far || r.Method != "POST" {
			h.ServeHTTP(w, r)
			return
		}
		d := &distant{ResponseWriter: w}
		if s.plant != nil {
			d.change = s.plant()
		}
		d.travel()
		if h.ServeHTTP(d, r); !d.begun {
			d.WriteHeader(http.StatusOK)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// A distant answer travels before it comes.
type distant struct {
	http.ResponseWriter
	change func(name, line string) (string, string)
	begun  bool
}

func (*distant) travel() { time.Sleep(rand.N(2 * time.Millisecond)) }

func (w *distant) WriteHeader(status int) {
	lines := w.Header()["Set-Cookie"]
	for i, line := range lines {
		if w.change != nil {
			name, _, _ := strings.Cut(line, "=")
			_, lines[i] = w.change(name, line)
		}
	}
	w.travel()
	w.begun = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *distant) Write(p []byte) (int, error) {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

// newClient is a browser of s.
func (s *site) newClient(t *testing.T) *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Jar: jar, Transport: transport}
}

func (s *site) send(t *testing.T, c *http.Client, method, path string, form url.Values) (status int, body string) {
	t.Helper()
	r, err := http.NewRequest(method, s.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w, err := c.Do(r)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	if err != nil {
		t.Error(err)
	}
	return w.StatusCode, string(text)
}

func (s *site) login(t *testing.T, c *http.Client, name, tok string) {
	t.Helper()
	if status, body := s.send(t, c, "POST", "/login", url.Values{"user": {name}, "token": {tok}}); status != http.StatusNoContent {
		t.Errorf("login: %d %s", status, body)
	}
}

// Requests that really run at once, over connections.
func TestHTTP(t *testing.T) {
	t.Parallel()
	options := map[string]core.Options{"default": {}, "Defer": {Defer: true}, "IdleTimeout": {IdleTimeout: core.DefaultMaxAge, TouchEvery: 1}}
	for _, kind := range stores[:2] {
		for name, o := range options {
			t.Run(kind.name+"/"+name, func(t *testing.T) {
				s := newSite(t, kind.open(t), o)
				requests := map[string][]string{
					"login and login":            {"/login", "/login"},
					"logins and changes":         {"/login", "/change", "/login", "/change", "/change"},
					"logout and login":           {"/logout", "/login"},
					"logins and logouts":         {"/login", "/logout", "/login", "/logout"},
					"login and two changes":      {"/login", "/change", "/change"},
					"role and login":             {"/role", "/login"},
					"roles, logins and a change": {"/role", "/login", "/role", "/login", "/change"},
				}
				for what, beside := range requests {
					t.Run(what, func(t *testing.T) {
						for range soak.Rounds(2*len(options)*len(requests), 10, 4000) {
							who, c := s.round(t, beside, strings.Contains(what, "role"))
							if logout := strings.Contains(what, "logout"); who != "ada" && !logout {
								t.Errorf("%q is logged in", who)
							}
							s.again(t, c)
						}
					})
				}
			})
		}
	}
}

// A login beside many requests that store, all of whose answers come in any order: it
// stands. If what late requests store went to where the copy of the new id is, or if
// there were no copy, it would not.
func TestHTTPLoginBesideMany(t *testing.T) {
	t.Parallel()
	many := []string{"/change", "/change", "/login", "/change", "/change", "/change", "/change"}
	for name, plant := range map[string]func() func(name, line string) (string, string){
		"": nil,
		"what a late request stores goes to where the copy is": renamed("koa.sid.late", "koa.sid.next"),
		"no copy of the id for an answer from before":          without("koa.sid.next"),
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, newMemory(t), core.Options{})
			s.far, s.plant = true, plant
			lost, n := 0, 0
			for range soak.Rounds(3, 60, 20_000) {
				if n++; plant != nil && lost > 0 {
					break
				}
				who, c := s.round(t, many, false)
				if who != "ada" {
					lost++
				}
				s.again(t, c)
			}
			if (lost > 0) != (plant != nil) {
				t.Errorf("%d of %d rounds end logged out", lost, n)
			}
		})
	}
}

// round sends requests of one browser beside each other, and returns who is logged
// in then. Somebody who has planted the cookie is not.
func (s *site) round(t *testing.T, beside []string, role bool) (who string, c *http.Client) {
	c, other := s.newClient(t), s.newClient(t)
	defer other.CloseIdleConnections()
	_, tok := s.send(t, c, "GET", "/form", nil)
	at, _ := url.Parse(s.URL)
	other.Jar.SetCookies(at, c.Jar.Cookies(at))
	if role {
		s.login(t, c, "ada", tok)
	}
	var wg sync.WaitGroup
	for _, path := range beside {
		wg.Go(func() {
			switch status, body := s.send(t, c, "POST", path, url.Values{"user": {"ada"}, "token": {"none"}}); {
			case status < 300, path == "/role" && status == http.StatusConflict:
			default:
				t.Errorf("%s: %d %s", path, status, body)
			}
		})
	}
	wg.Wait()
	_, who = s.send(t, c, "GET", "/", nil)
	if _, planted := s.send(t, other, "GET", "/", nil); planted != "" {
		t.Errorf("who planted the cookie is %q", planted)
	}
	return who, c
}

// again is what works whatever was before: the form, the login and the logout.
func (s *site) again(t *testing.T, c *http.Client) {
	defer c.CloseIdleConnections()
	_, tok := s.send(t, c, "GET", "/form", nil)
	s.login(t, c, "ada", tok)
	if _, who := s.send(t, c, "GET", "/", nil); who != "ada" {
		t.Errorf("after form and login %q is logged in", who)
	}
	s.send(t, c, "POST", "/logout", nil)
	if _, who := s.send(t, c, "GET", "/", nil); who != "" {
		t.Errorf("after the logout %q is logged in", who)
	}
}
