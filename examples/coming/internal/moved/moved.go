// Package moved tests the programs of examples/coming: what a browser has begun with
// the one before goes on with the one after.
package moved

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"
)

// A site is a served program.
type site struct {
	t       *testing.T
	server  *httptest.Server
	browser *http.Client
}

func serve(t *testing.T, program http.Handler) *site {
	t.Helper()
	s := &site{t: t, server: httptest.NewServer(program)}
	s.browser = s.server.Client()
	t.Cleanup(func() {
		s.browser.CloseIdleConnections()
		s.server.Close()
	})
	return s
}

// visit sends a request, and returns the text of the response. Cookies don't tell
// ports apart, so the jar serves both programs.
func (s *site) visit(jar http.CookieJar, method, path string) string {
	s.t.Helper()
	r, err := http.NewRequest(method, s.server.URL+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.browser.Jar = jar
	res, err := s.browser.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		s.t.Fatalf("%s %s: %d, %s, %v", method, path, res.StatusCode, body, err)
	}
	return string(body)
}

// Run tests them. Both answer "NAME: N" to GET /, the number of visits, log in with
// POST /login?name=NAME and out with POST /logout.
func Run(t *testing.T, before, after http.Handler) {
	t.Helper()
	old, now := serve(t, before), serve(t, after)
	jar, _ := cookiejar.New(nil)
	wants := func(s *site, jar http.CookieJar, want string) {
		t.Helper()
		if got := s.visit(jar, "GET", "/"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	wants(old, jar, ": 1")
	old.visit(jar, "POST", "/login?name=ada")
	wants(old, jar, "ada: 2")
	kept, _ := cookiejar.New(nil) // what a thief has, or a request that is late
	home := must(http.NewRequest("GET", old.server.URL, nil)).URL
	kept.SetCookies(home, jar.Cookies(home))
	late, _ := cookiejar.New(nil)
	late.SetCookies(home, jar.Cookies(home))

	wants(now, jar, "ada: 3")
	if !strings.Contains(names(jar, home), "sig") {
		t.Errorf("the browser has only the cookies %s", names(jar, home))
	}
	wants(now, late, "ada: 4")
	wants(now, jar, "ada: 5")
	now.visit(jar, "POST", "/login?name=grace")
	wants(now, jar, "grace: 6")
	now.visit(jar, "POST", "/logout")
	wants(now, jar, ": 1")

	// What has ended is found by neither.
	for _, s := range []*site{now, old} {
		stolen, _ := cookiejar.New(nil)
		stolen.SetCookies(home, kept.Cookies(home))
		wants(s, stolen, ": 1")
	}
	fresh, _ := cookiejar.New(nil)
	wants(now, fresh, ": 1")
	wants(now, fresh, ": 2")
}

func must(r *http.Request, err error) *http.Request {
	if err != nil {
		panic(err)
	}
	return r
}

func names(jar http.CookieJar, at interface {
	String() string
}) string {
	var all []string
	for _, c := range jar.Cookies(must(http.NewRequest("GET", at.String(), nil)).URL) {
		all = append(all, c.Name)
	}
	return strings.Join(all, " ")
}
