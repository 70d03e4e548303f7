// Package ours is the application of the benchmarks on the sessions of this
// repository: net/http, fasthttp and Fiber, without options but a key.
package ours

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	fasthttpsession "github.com/gensession/gensession/adapters/fasthttp"
	fibersession "github.com/gensession/gensession/adapters/fiber"
	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/bench/internal/drive"
	"github.com/gensession/gensession/core"
)

const visits core.Key[int] = "visits"

// A Run is what the handler does with the session. nil does not ask for it.
type Run func(s *core.Session) (int, error)

// Runs are the operations on a session that begins with values.
func Runs(values map[string]any) map[string]Run {
	return map[string]Run{
		drive.Fill:   func(s *core.Session) (int, error) { return 0, s.Replace(values) },
		drive.Read:   func(s *core.Session) (int, error) { return visits.Get(s), nil },
		drive.Write:  func(s *core.Session) (int, error) { return visits.Update(s, func(n int) int { return n + 1 }) },
		drive.Login:  func(s *core.Session) (int, error) { return visits.Get(s), s.Login(core.LoginOptions{}) },
		drive.Logout: func(s *core.Session) (int, error) { return visits.Get(s), s.Destroy(context.Background()) },
	}
}

// Keys are those of the cookie's signature.
func Keys() [][]byte { return [][]byte{[]byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")} }

// Manager makes the sessions: signed cookie, versions, hashed ids.
func Manager(store core.Store, deferred bool) (*core.Manager, error) {
	return core.New(store, &core.Options{Keys: Keys(), Defer: deferred})
}

// SiteOf is the application on this adapter with the sessions of m.
func (a Adapter) SiteOf(m *core.Manager, values map[string]any) drive.Site {
	return func(_ *testing.B, op string) func() drive.Client { return a.open(m, Runs(values)[op]) }
}

// An Adapter is a way to mount the sessions.
type Adapter struct {
	Name string
	open func(m *core.Manager, run Run) func() drive.Client
}

// Client is a browser of an application with these sessions, run by m.
func (a Adapter) Client(m *core.Manager, run Run) drive.Client { return a.open(m, run)() }

// Adapters are those of this repository.
func Adapters() []Adapter {
	return []Adapter{
		{"nethttp", func(m *core.Manager, run Run) func() drive.Client {
			h := HTTP(m, run)
			return func() drive.Client { return drive.HTTP(h) }
		}},
		{"fasthttp", func(m *core.Manager, run Run) func() drive.Client {
			h := Fast(m, run)
			return func() drive.Client { return drive.Fast(h) }
		}},
		{"fiber", func(m *core.Manager, run Run) func() drive.Client {
			h := Fiber(m, run).Handler()
			return func() drive.Client { return drive.Fast(h) }
		}},
	}
}

// Site is the application on this adapter, with sessions in store.
func (a Adapter) Site(store core.Store, values map[string]any) drive.Site {
	return func(b *testing.B, op string) func() drive.Client {
		if op == drive.Bare {
			return a.open(nil, nil)
		}
		m, err := Manager(store, op == drive.Visitor || op == drive.Untouched)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { m.Close() })
		return a.open(m, Runs(values)[op])
	}
}

// HTTP is the application on net/http, with the sessions of m if that is not
// nil.
func HTTP(m *core.Manager, run Run) http.Handler {
	var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := 0
		if run != nil {
			s, err := httpsession.From(r)
			if err == nil {
				n, err = run(s)
			}
			if err != nil {
				http.Error(w, err.Error(), core.Status(err))
				return
			}
		}
		io.WriteString(w, strconv.Itoa(n))
	})
	if m != nil {
		h = httpsession.New(m, nil)(h)
	}
	return h
}

// Fast is the application on fasthttp.
func Fast(m *core.Manager, run Run) fasthttp.RequestHandler {
	h := func(ctx *fasthttp.RequestCtx) {
		n := 0
		if run != nil {
			s, err := fasthttpsession.From(ctx)
			if err == nil {
				n, err = run(s)
			}
			if err != nil {
				ctx.Error(err.Error(), core.Status(err))
				return
			}
		}
		ctx.SetBodyString(strconv.Itoa(n))
	}
	if m != nil {
		h = fasthttpsession.New(m, nil)(h)
	}
	return h
}

// Fiber is the application on Fiber v2.
func Fiber(m *core.Manager, run Run) *fiber.App {
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	if m != nil {
		app.Use(fibersession.New(m, nil))
	}
	app.Get("/", func(c *fiber.Ctx) error {
		n := 0
		if run != nil {
			s, err := fibersession.From(c)
			if err == nil {
				n, err = run(s)
			}
			if err != nil {
				return err
			}
		}
		return c.SendString(strconv.Itoa(n))
	})
	return app
}
