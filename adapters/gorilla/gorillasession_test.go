package gorillasession_test

import (
	"encoding/gob"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/sessions"

	gorillasession "github.com/gensession/gensession/adapters/gorilla"
	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

var testKeys = core.Keyring{[]byte("HxB3p0q7Zk2mVtN8wRf5yLdGsJcE9uAa")}

type profile struct{ Name string }

func init() { gob.Register(profile{}) }

// A site serves one handler, with or without the middleware, to one browser.
type site struct {
	t       *testing.T
	store   *gorillasession.Store
	memory  *memorystore.Store
	handler http.Handler
	browser http.CookieJar
	run     func(w http.ResponseWriter, r *http.Request)
}

func newSite(t *testing.T) *site {
	m := memorystore.New(nil)
	t.Cleanup(func() { m.Close() })
	manager, err := core.New(m, &core.Options{Keys: testKeys})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { manager.Close() })
	s := &site{t: t, store: gorillasession.New(manager), memory: m}
	s.browser, _ = cookiejar.New(nil)
	s.handler = httpsession.New(manager, nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.run(w, r) }))
	return s
}

// get runs h in a request of the browser, and returns the response.
func (s *site) get(h func(w http.ResponseWriter, r *http.Request)) *http.Response {
	s.t.Helper()
	r := httptest.NewRequest("GET", "http://example.com/", nil)
	for _, c := range s.browser.Cookies(r.URL) {
		r.AddCookie(c)
	}
	s.run = h
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	s.browser.SetCookies(r.URL, w.Result().Cookies())
	return w.Result()
}

// values reads the gorilla session of that name.
func (s *site) values(name string) (values map[any]any, isNew bool) {
	s.t.Helper()
	s.get(func(w http.ResponseWriter, r *http.Request) {
		g, err := s.store.Get(r, name)
		if err != nil {
			s.t.Error(err)
		}
		values, isNew = g.Values, g.IsNew
	})
	return values, isNew
}

func (s *site) save(name string, change func(g *sessions.Session)) *http.Response {
	s.t.Helper()
	return s.get(func(w http.ResponseWriter, r *http.Request) {
		g, err := s.store.Get(r, name)
		if err != nil {
			s.t.Error(err)
		}
		change(g)
		if err := g.Save(r, w); err != nil {
			s.t.Error(err)
		}
	})
}

func TestValuesKeepTheirTypes(t *testing.T) {
	s := newSite(t)
	want := map[any]any{"n": 1, 2: "two", "p": profile{"ada"}, "list": []any{int64(1), "x"}, "b": []byte{0, 255}, "t": true}
	res := s.save("a", func(g *sessions.Session) {
		if !g.IsNew || len(g.Values) != 0 {
			t.Errorf("a new one is new %v with %d values", g.IsNew, len(g.Values))
		}
		for k, v := range want {
			g.Values[k] = v
		}
	})
	for _, c := range res.Cookies() {
		if !strings.HasPrefix(c.Name, "koa.sid") {
			t.Errorf("there is a cookie %s", c.Name)
		}
	}
	if got, isNew := s.values("a"); isNew || !reflect.DeepEqual(got, want) {
		t.Errorf("new %v, %v", isNew, got)
	}
	if got, isNew := s.values("b"); !isNew || len(got) != 0 {
		t.Errorf("another one: new %v, %v", isNew, got)
	}
}

// As gothic does it: New for each value, and Save behind each.
func TestNewSeesWhatThisRequestHasSaved(t *testing.T) {
	s := newSite(t)
	s.get(func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"first", "second"} {
			g, err := s.store.New(r, "auth")
			if err != nil {
				t.Error(err)
			}
			g.Values[name] = name
			if err := g.Save(r, w); err != nil {
				t.Error(err)
			}
		}
	})
	if got, _ := s.values("auth"); len(got) != 2 {
		t.Errorf("%v", got)
	}
}

func TestFlashes(t *testing.T) {
	s := newSite(t)
	s.save("a", func(g *sessions.Session) { g.AddFlash("hello") })
	for _, want := range []int{1, 0} {
		s.save("a", func(g *sessions.Session) {
			if got := g.Flashes(); len(got) != want {
				t.Errorf("%v, want %d", got, want)
			}
		})
	}
	if n := s.memory.Len(); n != 1 {
		t.Errorf("%d sessions", n)
	}
}

func TestMaxAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.store.MaxAge(60)
		s.save("short", func(g *sessions.Session) { g.Values["x"] = 1 })
		s.save("long", func(g *sessions.Session) { g.Values["x"], g.Options.MaxAge = 1, 0 })
		s.save("forever", func(g *sessions.Session) { g.Values["x"], g.Options.MaxAge = 1, math.MaxInt })
		if values, _ := s.values("forever"); values["x"] != 1 {
			t.Error("one with the longest MaxAge is over at once")
		}
		s.save("ended", func(g *sessions.Session) { g.Values["x"] = 1 })
		s.save("forever", func(g *sessions.Session) { g.Values["x"], g.Options.MaxAge = 1, math.MaxInt })
		if values, _ := s.values("forever"); values["x"] != 1 {
			t.Error("one with the longest MaxAge is over at once")
		}
		s.save("ended", func(g *sessions.Session) { g.Options.MaxAge = -1 })
		time.Sleep(time.Minute - time.Millisecond)
		for name, there := range map[string]bool{"short": true, "long": true, "ended": false} {
			if got, _ := s.values(name); (len(got) == 1) != there {
				t.Errorf("%s: %v", name, got)
			}
		}
		time.Sleep(time.Millisecond)
		for name, there := range map[string]bool{"short": false, "long": true} {
			if got, isNew := s.values(name); (len(got) == 1) != there || isNew == there {
				t.Errorf("%s, a minute later: new %v, %v", name, isNew, got)
			}
		}
	})
}

func TestErrors(t *testing.T) {
	s := newSite(t)
	r := httptest.NewRequest("GET", "/", nil)
	g, err := s.store.Get(r, "a")
	if g == nil || !g.IsNew || !errors.Is(err, core.ErrNoSession) {
		t.Errorf("without the middleware: %v, %v", g, err)
	}
	if err := g.Save(r, nil); !errors.Is(err, core.ErrNoSession) {
		t.Errorf("Save without the middleware: %v", err)
	}
	type unknown struct{ X int }
	s.get(func(w http.ResponseWriter, r *http.Request) {
		g, _ := s.store.Get(r, "a")
		g.Values["x"] = unknown{1}
		if err := g.Save(r, w); err == nil {
			t.Error("a type that gob does not know is saved")
		}
		g.Values["x"] = 1
		_, _ = io.WriteString(w, "begun")
		if err := g.Save(r, w); !errors.Is(err, core.ErrCommitted) {
			t.Errorf("after the response has begun: %v", err)
		}
	})
	s.get(func(w http.ResponseWriter, r *http.Request) {
		session, err := core.From(r.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := session.Set("gorilla:a", map[string]string{"v": "AAAA"}); err != nil {
			t.Error(err)
		}
		if g, err := s.store.Get(r, "a"); g == nil || !g.IsNew || !errors.Is(err, core.ErrType) {
			t.Errorf("what can't be decoded: %v, %v", g, err)
		}
	})
}

// The login changes the id and keeps the gorilla sessions, and a logout ends them.
func TestLoginAndLogout(t *testing.T) {
	s := newSite(t)
	s.save("a", func(g *sessions.Session) { g.Values["x"] = 1 })
	before := s.browser.Cookies(httptest.NewRequest("GET", "http://example.com/", nil).URL)[0].Value
	s.get(func(w http.ResponseWriter, r *http.Request) {
		session, _ := core.From(r.Context())
		if err := session.Login(core.LoginOptions{}); err != nil {
			t.Error(err)
		}
	})
	after := s.browser.Cookies(httptest.NewRequest("GET", "http://example.com/", nil).URL)[0].Value
	if got, _ := s.values("a"); len(got) != 1 || before == after {
		t.Errorf("%v, the same id: %v", got, before == after)
	}
	s.get(func(w http.ResponseWriter, r *http.Request) {
		session, _ := core.From(r.Context())
		if err := session.Destroy(r.Context()); err != nil {
			t.Error(err)
		}
	})
	if got, isNew := s.values("a"); len(got) != 0 || !isNew {
		t.Errorf("after the logout: %v", got)
	}
}

// Without values there is nothing to store.
func TestNothingIsStoredForNothing(t *testing.T) {
	s := newSite(t)
	res := s.save("a", func(*sessions.Session) {})
	if s.memory.Len() != 0 || len(res.Cookies()) != 0 {
		t.Errorf("%d sessions, %d cookies", s.memory.Len(), len(res.Cookies()))
	}
}
