package foreign_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/gin-contrib/sessions"
	"github.com/gin-gonic/gin"
	gorilla "github.com/gorilla/sessions"
	"github.com/labstack/echo-contrib/session"
	"github.com/labstack/echo/v4"
	"github.com/markbates/goth"
	"github.com/markbates/goth/gothic"
	"github.com/markbates/goth/providers/faux"

	ginsession "github.com/gensession/gensession/adapters/gin"
	gorillasession "github.com/gensession/gensession/adapters/gorilla"
	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// serve serves the handler that build makes, and returns a browser of it: each visit
// is the text of a response.
func serve(t *testing.T, build func(m *core.Manager) http.Handler) (visit func(path string) string, cookies func() []*http.Cookie) {
	memory := memorystore.New(nil)
	t.Cleanup(func() { memory.Close() })
	m := must[*core.Manager](t)(core.New(memory, &core.Options{Keys: testKeys}))
	t.Cleanup(func() { m.Close() })
	server := httptest.NewServer(build(m))
	t.Cleanup(server.Close)
	jar, _ := cookiejar.New(nil)
	browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(browser.CloseIdleConnections)
	home := must[*url.URL](t)(url.Parse(server.URL))
	visit = func(path string) string {
		t.Helper()
		res, err := browser.Get(server.URL + path)
		ok(t, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		ok(t, err)
		if at := res.Header.Get("Location"); at != "" {
			return at
		}
		return string(body)
	}
	return visit, func() []*http.Cookie { return jar.Cookies(home) }
}

// onlyOurs fails the test if the browser has any cookie but the one of this library.
func onlyOurs(t *testing.T, cookies []*http.Cookie) {
	t.Helper()
	if len(cookies) == 0 {
		t.Error("there is no cookie")
	}
	for _, c := range cookies {
		if !strings.HasPrefix(c.Name, "koa.sid") {
			t.Errorf("there is a cookie %s", c.Name)
		}
	}
}

// TestGothic is a login by goth, with its provider for tests.
func TestGothic(t *testing.T) {
	goth.UseProviders(&faux.Provider{})
	defer goth.ClearProviders()
	former := gothic.Store
	defer func() { gothic.Store = former }()
	visit, cookies := serve(t, func(m *core.Manager) http.Handler {
		gothic.Store = gorillasession.New(m)
		mux := http.NewServeMux()
		mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) { gothic.BeginAuthHandler(w, r) })
		mux.HandleFunc("GET /callback", func(w http.ResponseWriter, r *http.Request) {
			user, err := gothic.CompleteUserAuth(w, r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusUnauthorized)
				return
			}
			s, err := core.From(r.Context())
			if err == nil {
				err = s.Login(core.LoginOptions{})
			}
			if err == nil {
				err = s.Set("user", user.Provider+"/"+user.Name)
			}
			if err != nil {
				t.Error(err)
			}
		})
		mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
			s, err := core.From(r.Context())
			if err != nil {
				t.Error(err)
				return
			}
			fmt.Fprint(w, s.Get("user"))
		})
		return httpsession.New(m, nil)(mux)
	})
	to := must[*url.URL](t)(url.Parse(visit("/login?provider=faux")))
	state := to.Query().Get("state")
	if state == "" {
		t.Fatalf("no state in %s", to)
	}
	before := cookies()[0].Value
	if got := visit("/callback?provider=faux&state=forged"); !strings.Contains(got, "state token mismatch") {
		t.Errorf("a forged state: %q", got)
	}
	to = must[*url.URL](t)(url.Parse(visit("/login?provider=faux")))
	if got := visit("/callback?provider=faux&state=" + url.QueryEscape(to.Query().Get("state"))); got != "" {
		t.Errorf("the callback: %q", got)
	}
	if got := visit("/"); !strings.HasPrefix(got, "faux/") {
		t.Errorf("the user is %q", got)
	}
	if cookies()[0].Value == before {
		t.Error("the id is that from before the login")
	}
	onlyOurs(t, cookies())
}

// begin gin

// A ginStore is what gin-contrib/sessions asks for: one method more.
type ginStore struct{ *gorillasession.Store }

func (s ginStore) Options(o sessions.Options) { s.Store.Options = o.ToGorillaOptions() }

// end gin

func TestGinContrib(t *testing.T) {
	gin.SetMode(gin.TestMode)
	visit, cookies := serve(t, func(m *core.Manager) http.Handler {
		r := gin.New()
		r.Use(ginsession.New(m, nil), sessions.Sessions("mysession", ginStore{gorillasession.New(m)}))
		r.GET("/count", func(c *gin.Context) {
			s := sessions.Default(c)
			n, _ := s.Get("count").(int)
			s.Set("count", n+1)
			s.AddFlash("counted")
			if err := s.Save(); err != nil {
				t.Error(err)
			}
			c.String(200, "%d", n+1)
		})
		r.GET("/flashes", func(c *gin.Context) {
			s := sessions.Default(c)
			n := len(s.Flashes())
			if err := s.Save(); err != nil {
				t.Error(err)
			}
			c.String(200, "%d", n)
		})
		r.GET("/clear", func(c *gin.Context) {
			s := sessions.Default(c)
			s.Clear()
			s.Options(sessions.Options{Path: "/", MaxAge: -1})
			if err := s.Save(); err != nil {
				t.Error(err)
			}
		})
		return r
	})
	for _, step := range [][2]string{{"/count", "1"}, {"/count", "2"}, {"/flashes", "2"}, {"/flashes", "0"}, {"/count", "3"}, {"/clear", ""}, {"/count", "1"}} {
		if got := visit(step[0]); got != step[1] {
			t.Errorf("%s: %q, want %q", step[0], got, step[1])
		}
	}
	onlyOurs(t, cookies())
}

func TestEchoContrib(t *testing.T) {
	visit, cookies := serve(t, func(m *core.Manager) http.Handler {
		e := echo.New()
		e.Use(echo.WrapMiddleware(httpsession.New(m, nil)), session.Middleware(gorillasession.New(m)))
		e.GET("/count", func(c echo.Context) error {
			s, err := session.Get("session", c)
			if err != nil {
				return err
			}
			s.Options = &gorilla.Options{Path: "/", MaxAge: 86400 * 7, HttpOnly: true}
			n, _ := s.Values["count"].(int)
			s.Values["count"] = n + 1
			if err := s.Save(c.Request(), c.Response()); err != nil {
				return err
			}
			return c.String(200, fmt.Sprint(n+1))
		})
		return e
	})
	for want := 1; want <= 3; want++ {
		if got := visit("/count"); got != fmt.Sprint(want) {
			t.Errorf("%q, want %d", got, want)
		}
	}
	onlyOurs(t, cookies())
}
