package fiberv3session_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/adaptor"

	fiberv3session "github.com/gensession/gensession/adapters/fiberv3"
	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

// counting answers how often its browser has come, with the session that from finds.
func counting(from func(r *http.Request) (*core.Session, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s, err := from(r)
		if err != nil {
			http.Error(w, err.Error(), core.Status(err))
			return
		}
		n, err := count.Update(s, func(n int) int { return n + 1 })
		if err != nil {
			http.Error(w, err.Error(), core.Status(err))
			return
		}
		fmt.Fprint(w, n)
	}
}

// A net/http handler that Fiber's adaptor calls gets the RequestCtx as its context.
func TestW17HandlersOfNetHTTPUnderFiber(t *testing.T) {
	for _, mode := range []struct {
		name string
		o    core.Options
	}{{"", core.Options{}}, {", deferred", core.Options{Defer: true}}} {
		t.Run("W17 the session is found"+mode.name, func(t *testing.T) {
			m, store := newManager(t, mode.o)
			store.Before(func(ctx context.Context, _ storetest.Op, _ string) error {
				if ctx.Value("marked") != nil {
					t.Error("the store got the RequestCtx")
				}
				return nil
			})
			app := fiber.New(quiet)
			app.Use(fiberv3session.New(m, nil))
			app.Use(func(c fiber.Ctx) error {
				c.Locals("marked", true) // of the RequestCtx
				return c.Next()
			})
			app.Get("/from", adaptor.HTTPHandlerFunc(counting(httpsession.From)))
			app.Get("/core", adaptor.HTTPHandlerFunc(counting(func(r *http.Request) (*core.Session, error) { return core.From(r.Context()) })))
			app.Get("/manager", adaptor.HTTPHandlerFunc(counting(func(r *http.Request) (*core.Session, error) { return httpsession.FromManager(r, m) })))
			app.Get("/func", adaptor.HTTPHandler(httpsession.HandlerFunc(func(w http.ResponseWriter, r *http.Request, s *core.Session) error {
				counting(func(*http.Request) (*core.Session, error) { return s, s.Save(r.Context()) })(w, r)
				return nil
			})))
			app.Get("/fiber", func(c fiber.Ctx) error {
				if _, err := core.From(c.RequestCtx()); err != nil {
					return err
				}
				return add(c)
			})
			b := new(jartest.Browser)
			for i, target := range []string{"/from", "/core", "/manager", "/func", "/fiber", "/from"} {
				want(t, app, b, target, 200, fmt.Sprint(i+1))
			}
		})
	}

	t.Run("W17 a login whose net/http handler fails does not happen", func(t *testing.T) {
		m, _ := newManager(t, core.Options{})
		app := fiber.New(quiet)
		app.Use(fiberv3session.New(m, nil))
		app.Get("/login", adaptor.HTTPHandler(httpsession.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request, s *core.Session) error {
			return errors.Join(s.Login(core.LoginOptions{}), count.Set(s, 7), errors.New("no"))
		})))
		app.Get("/", add)
		b := new(jartest.Browser)
		want(t, app, b, "/", 200, "1")
		if res, _ := ask(t, app, b, "/login"); res.StatusCode != 500 || len(res.Header["Set-Cookie"]) != 0 {
			t.Errorf("answered %d, %d cookies", res.StatusCode, len(res.Header["Set-Cookie"]))
		}
		want(t, app, b, "/", 200, "2")
	})

	t.Run("W17 a handler that streams asks for it again", func(t *testing.T) {
		m, _ := newManager(t, core.Options{})
		app := fiber.New(quiet)
		app.Use(fiberv3session.New(m, nil))
		app.Get("/", adaptor.HTTPHandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s, err := httpsession.From(r)
			if err == nil {
				err = count.Set(s, 5)
			}
			fmt.Fprint(w, err, ";")
			w.(http.Flusher).Flush()
			for range 20 { // under the race detector
				if again, err := httpsession.From(r); again != s || err != nil {
					t.Errorf("the stream got another session, %v", err)
				}
			}
			// Fiber sends the header when it likes: until then a change is saved.
			if err := count.Set(s, 6); err != nil && !errors.Is(err, core.ErrCommitted) {
				t.Errorf("a change got %v", err)
			}
			_, _ = io.WriteString(w, "end")
		}))
		if res := want(t, app, new(jartest.Browser), "/", 200, "<nil>;end"); len(res.Header["Set-Cookie"]) != 2 {
			t.Errorf("%d cookies", len(res.Header["Set-Cookie"]))
		}
	})
}

// A Fiber app that a net/http server calls has the session middleware of its own:
// the adaptor passes header fields on, and no context.
func TestW17FiberUnderNetHTTP(t *testing.T) {
	m, _ := newManager(t, core.Options{})
	serve := func(t *testing.T, h http.Handler, b *jartest.Browser, status int, body string) {
		t.Helper()
		r, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
		if c := b.Cookie("/"); c != "" {
			r.Header.Set("Cookie", c)
		}
		h.ServeHTTP(w, r)
		if w.Code != status || w.Body.String() != body {
			t.Errorf("answered %d %q, want %d %q", w.Code, w.Body, status, body)
		}
		b.Take("/", w.Header().Values("Set-Cookie")...)
	}
	app := fiber.New(quiet)
	app.Use(fiberv3session.New(m, nil))
	app.Get("/", add)
	inner := adaptor.FiberApp(app)
	t.Run("W17 its session is kept", func(t *testing.T) {
		b := new(jartest.Browser)
		for i := range 3 {
			serve(t, inner, b, 200, fmt.Sprint(i+1))
		}
	})
	t.Run("W17 and beside one of net/http with the same manager", func(t *testing.T) {
		b := new(jartest.Browser)
		for i := range 3 {
			serve(t, httpsession.New(m, nil)(inner), b, 200, fmt.Sprint(i+1))
		}
	})
	t.Run("W17 one of net/http outside does not reach into it, and says so", func(t *testing.T) {
		bare := fiber.New(quiet)
		bare.Get("/", func(c fiber.Ctx) error {
			if _, err := fiberv3session.From(c); !errors.Is(err, core.ErrNoSession) {
				t.Errorf("got %v", err)
			}
			return nil
		})
		serve(t, httpsession.New(m, nil)(adaptor.FiberApp(bare)), new(jartest.Browser), 200, "")
	})
	// HTTPMiddleware ends before the handlers of Fiber run.
	t.Run("W17 the middleware of net/http as one of Fiber says that it is none", func(t *testing.T) {
		app := fiber.New(quiet)
		app.Use(adaptor.HTTPMiddleware(httpsession.New(m, nil)))
		app.Get("/", func(c fiber.Ctx) error {
			if _, err := fiberv3session.From(c); !errors.Is(err, core.ErrNoSession) {
				t.Errorf("got %v", err)
			}
			return nil
		})
		want(t, app, new(jartest.Browser), "/", 200, "")
	})
}
