package browsers_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
)

// A site is the pages of the model on net/http.
type site struct {
	*httptest.Server
	manager *core.Manager
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
	s.Server = httptest.NewServer(httpsession.New(s.manager, nil)(mux))
	t.Cleanup(s.Close)
	return s
}

// newClient is a browser of s.
func (s *site) newClient(t *testing.T) *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Jar: &recorder{CookieJar: jar}, Transport: transport}
}

// A recorder is a jar that knows what it got since its last reset: the ids of the
// first and the second cookie of each answer.
type recorder struct {
	http.CookieJar
	mu  sync.Mutex
	got [][2]string
}

func (r *recorder) SetCookies(u *url.URL, cookies []*http.Cookie) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ids [2]string
	for _, c := range cookies {
		switch c.Name {
		case "koa.sid":
			ids[0] = c.Value
		case "koa.sid.next":
			ids[1] = c.Value
		}
	}
	r.got = append(r.got, ids)
	r.CookieJar.SetCookies(u, cookies)
}

func (r *recorder) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = nil
}

// unlucky reports whether after the last login both came that can't be prevented: an
// answer from before it, and one of a late request that stores (docs/concurrency.md).
func (r *recorder) unlucky() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	var before, late bool
	for _, ids := range r.got {
		switch first, second := ids[0] != "", ids[1] != ""; {
		case first && second:
			before, late = false, false
		case first:
			before = true
		case second:
			late = true
		}
	}
	return before && late
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
	rounds := 10
	if soak {
		rounds = 4000
	}
	for _, kind := range stores[:2] {
		for name, o := range map[string]core.Options{"default": {}, "Defer": {Defer: true}, "IdleTimeout": {IdleTimeout: core.DefaultMaxAge, TouchEvery: 1}} {
			t.Run(kind.name+"/"+name, func(t *testing.T) {
				s := newSite(t, kind.open(t), o)
				for what, beside := range map[string][]string{
					"login and login":            {"/login", "/login"},
					"logins and changes":         {"/login", "/change", "/login", "/change", "/change"},
					"logout and login":           {"/logout", "/login"},
					"logins and logouts":         {"/login", "/logout", "/login", "/logout"},
					"login and two changes":      {"/login", "/change", "/change"},
					"role and login":             {"/role", "/login"},
					"roles, logins and a change": {"/role", "/login", "/role", "/login", "/change"},
				} {
					t.Run(what, func(t *testing.T) {
						for range rounds {
							c, other := s.newClient(t), s.newClient(t)
							_, tok := s.send(t, c, "GET", "/form", nil)
							// Somebody who has planted the cookie.
							at, _ := url.Parse(s.URL)
							other.Jar.SetCookies(at, c.Jar.Cookies(at))
							if strings.Contains(what, "role") {
								s.login(t, c, "ada", tok)
							}
							jar := c.Jar.(*recorder)
							jar.reset()
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
							logout := strings.Contains(what, "logout")
							unlucky := jar.unlucky()
							if _, who := s.send(t, c, "GET", "/", nil); who != "ada" && !logout && !strings.Contains(what, "role") && !unlucky {
								t.Errorf("%q is logged in", who)
							}
							if _, who := s.send(t, other, "GET", "/", nil); who != "" {
								t.Errorf("who planted the cookie is %q", who)
							}
							_, tok = s.send(t, c, "GET", "/form", nil)
							s.login(t, c, "ada", tok)
							if _, who := s.send(t, c, "GET", "/", nil); who != "ada" {
								t.Errorf("after form and login %q is logged in", who)
							}
							s.send(t, c, "POST", "/logout", nil)
							if _, who := s.send(t, c, "GET", "/", nil); who != "" {
								t.Errorf("after the logout %q is logged in", who)
							}
							c.CloseIdleConnections()
							other.CloseIdleConnections()
						}
					})
				}
			})
		}
	}
}
