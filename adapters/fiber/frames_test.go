package fibersession_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/recover"
	"github.com/gofiber/fiber/v2/middleware/timeout"

	fibersession "github.com/gensession/gensession/adapters/fiber"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

// resets are Fiber's calls that begin a response or its header anew, or change its
// cookies. Those of fasthttp are tested with its adapter.
func resets(t *testing.T) map[string]func(c *fiber.Ctx) error {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "theirs", Value: "1"})
	}))
	t.Cleanup(upstream.Close)
	return map[string]func(c *fiber.Ctx) error{
		"Response().Reset":        func(c *fiber.Ctx) error { c.Response().Reset(); return nil },
		"Response().Header.Reset": func(c *fiber.Ctx) error { c.Response().Header.Reset(); return nil },
		"Context().Error":         func(c *fiber.Ctx) error { c.Context().Error("", 200); return nil },
		"Context().NotFound":      func(c *fiber.Ctx) error { c.Context().NotFound(); return nil },
		"Context().TimeoutError":  func(c *fiber.Ctx) error { c.Context().TimeoutError(""); return nil },
		"ClearCookie":             func(c *fiber.Ctx) error { c.ClearCookie(); return nil },
		"ClearCookie of one":      func(c *fiber.Ctx) error { c.ClearCookie("koa.sid"); return nil },
		"Cookie": func(c *fiber.Ctx) error {
			c.Cookie(&fiber.Cookie{Name: "theirs", Value: "1"})
			return nil
		},
		"Set":        func(c *fiber.Ctx) error { c.Set("Set-Cookie", "theirs=1"); return nil },
		"Redirect":   func(c *fiber.Ctx) error { return c.Redirect("/elsewhere") },
		"SendStatus": func(c *fiber.Ctx) error { return c.SendStatus(404) },
		"SendFile":   func(c *fiber.Ctx) error { return c.SendFile("/no/such/file") },
		"an error, after a reset": func(c *fiber.Ctx) error {
			c.Response().Reset()
			return fiber.ErrTeapot
		},
		"a proxy that reads the response": func(c *fiber.Ctx) error { // as middleware/proxy, whose client's cleaners outlive a test
			conn, err := net.Dial("tcp", upstream.Listener.Addr().String())
			if err != nil {
				return err
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			c.Response().Reset()
			return c.Response().Read(bufio.NewReader(conn))
		},
	}
}

func TestW5Resets(t *testing.T) {
	for name, reset := range resets(t) {
		t.Run(name, func(t *testing.T) {
			m, _ := newManager(t, core.Options{})
			app := fiber.New()
			app.Use(fibersession.New(m, nil))
			app.Get("/read", fibersession.Handler(func(c *fiber.Ctx, s *core.Session) error { return c.SendString(fmt.Sprint(count.Get(s))) }))
			app.Get("/:do", fibersession.Handler(func(c *fiber.Ctx, s *core.Session) error {
				var err error
				switch c.Params("do") {
				case "save":
					if _, err = count.Update(s, func(n int) int { return n + 1 }); err == nil {
						err = s.Save(c.UserContext())
					}
				case "renew":
					err = s.Renew(c.UserContext())
				case "destroy":
					err = s.Destroy(c.UserContext())
				}
				if err != nil {
					t.Error(err)
				}
				return reset(c)
			}))
			var b jartest.Browser
			for _, step := range []struct{ path, read string }{{"/save", "1"}, {"/save", "2"}, {"/renew", "2"}, {"/destroy", "0"}} {
				res, _ := ask(t, app, &b, step.path)
				ours := 0
				for _, l := range res.Header.Values("Set-Cookie") {
					if name, rest, _ := strings.Cut(l, "="); (name == "koa.sid" || name == "koa.sid.sig") && strings.Contains(rest, "; samesite=lax; httponly") {
						ours++
					}
				}
				if ours != 2 || res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Vary") != "Cookie" {
					t.Errorf("%s: %d lines of ours, Cache-Control %q, Vary %q", step.path, ours, res.Header.Get("Cache-Control"), res.Header.Get("Vary"))
				}
				want(t, app, &b, "/read", 200, step.read)
			}
		})
	}
}

// An ErrorHandler comes after the session middleware. What it answers by the usual
// calls keeps the cookies.
func TestW5ErrorHandler(t *testing.T) {
	for name, handler := range map[string]fiber.ErrorHandler{
		"the default": nil,
		"SendString":  func(c *fiber.Ctx, _ error) error { return c.Status(500).SendString("oops") },
		"JSON":        func(c *fiber.Ctx, _ error) error { return c.Status(500).JSON(fiber.Map{"oops": true}) },
		"Redirect":    func(c *fiber.Ctx, _ error) error { return c.Redirect("/oops") },
		"SendStatus":  func(c *fiber.Ctx, _ error) error { return c.SendStatus(500) },
		"it fails":    func(*fiber.Ctx, error) error { return errors.New("twice") },
	} {
		t.Run(name, func(t *testing.T) {
			m, _ := newManager(t, core.Options{})
			app := fiber.New(fiber.Config{ErrorHandler: handler})
			app.Use(fibersession.New(m, nil))
			app.Get("/", fibersession.Handler(func(c *fiber.Ctx, s *core.Session) error {
				return errors.Join(count.Set(s, 1), s.Save(c.UserContext()), fiber.ErrTeapot)
			}))
			app.Get("/read", fibersession.Handler(func(c *fiber.Ctx, s *core.Session) error { return c.SendString(fmt.Sprint(count.Get(s))) }))
			var b jartest.Browser
			res, _ := ask(t, app, &b, "/")
			if n := len(res.Header.Values("Set-Cookie")); n != 2 {
				t.Errorf("%d cookies", n)
			}
			want(t, app, &b, "/read", 200, "1")
		})
	}
}

// One that begins the response anew is called inside of the session middleware, as
// docs/middleware.md has it.
func TestW5ErrorHandlerInside(t *testing.T) {
	m, _ := newManager(t, core.Options{})
	app := fiber.New(fiber.Config{ErrorHandler: func(c *fiber.Ctx, err error) error {
		c.Context().Error(err.Error(), 418)
		return nil
	}})
	app.Use(fibersession.New(m, nil), func(c *fiber.Ctx) error {
		if err := c.Next(); err != nil {
			return c.App().ErrorHandler(c, err)
		}
		return nil
	})
	app.Get("/", fibersession.Handler(func(c *fiber.Ctx, s *core.Session) error {
		return errors.Join(count.Set(s, 1), s.Save(c.UserContext()), fiber.ErrTeapot)
	}))
	res := want(t, app, new(jartest.Browser), "/", 418, "I'm a teapot")
	if n := len(res.Header.Values("Set-Cookie")); n != 2 {
		t.Errorf("%d cookies", n)
	}
}

const cart core.Key[map[string]int] = "cart"

// W11, W12: the deprecated timeout.New answers in place of its handler and leaves it
// running.
func TestW11LeftRunning(t *testing.T) {
	// Fiber uses c again for the next request, so the handler is done with it before
	// its time is over, and goes on with the session alone.
	const d = 100 * time.Millisecond
	for name, guard := range map[string]func(f func(*fiber.Ctx, *core.Session) error) fiber.Handler{
		"a Handler": fibersession.Handler,
		"guarded": func(f func(*fiber.Ctx, *core.Session) error) fiber.Handler {
			return func(c *fiber.Ctx) error {
				v, err := fibersession.Visit(c)
				if err != nil {
					return err
				}
				s, err := v.Session(c.UserContext())
				if err != nil {
					return err
				}
				v.Enter() // as Guard does, which is a handler of the chain
				defer v.Leave()
				return f(c, s)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, store := newManager(t, core.Options{})
			end := make(chan struct{})
			var running sync.WaitGroup
			app := fiber.New()
			app.Use(fibersession.New(m, nil))
			app.Get("/fill", fibersession.Handler(func(_ *fiber.Ctx, s *core.Session) error { return cart.Set(s, map[string]int{"tea": 1}) }))
			app.Get("/cart", fibersession.Handler(func(c *fiber.Ctx, s *core.Session) error {
				return c.SendString(fmt.Sprint(cart.Get(s), count.Get(s)))
			}))
			//lint:ignore SA1019 applications have it: what it leaves running must not be saved
			app.Get("/endless", timeout.New(guard(func(_ *fiber.Ctx, s *core.Session) error {
				running.Add(1)
				defer running.Done()
				if err := count.Set(s, 1); err != nil && !errors.Is(err, core.ErrCommitted) {
					t.Error(err)
				}
				for held, i := cart.Get(s), 0; ; i++ {
					select {
					case <-end:
						return nil
					default:
						held[fmt.Sprint(i%10)] = i
					}
				}
			}), d))
			t.Cleanup(func() {
				close(end)
				running.Wait()
			})
			var b jartest.Browser
			want(t, app, &b, "/fill", 200, "")
			writes := store.Calls(storetest.OpSetVersion)
			res := want(t, app, &b, "/endless", 408, "Request Timeout")
			if n := store.Calls(storetest.OpSetVersion) - writes; n != 0 || len(res.Cookies()) != 0 {
				t.Errorf("%d writes, %d cookies", n, len(res.Cookies()))
			}
			want(t, app, &b, "/cart", 200, "map[tea:1] 0")
		})
	}
}

// P21: timeout.NewWithContext waits for its handler. Whatever becomes of the context,
// the handler has returned.
func TestP21Contexts(t *testing.T) {
	for name, c := range map[string]struct {
		d      time.Duration
		handle func(f func(*fiber.Ctx, *core.Session) error) fiber.Handler
		cart   string
		told   bool
	}{
		"its time is not over":         {time.Minute, bare, "map[tea:2] 1", false},
		"its time is over, guarded":    {time.Nanosecond, fibersession.Handler, "map[tea:2] 1", false},
		"its time is over, and no one": {time.Nanosecond, bare, "map[tea:1] 1", true}, // what it has Set is saved
	} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			m, _ := newManager(t, core.Options{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
			app := fiber.New()
			app.Use(fibersession.New(m, nil))
			app.Get("/fill", fibersession.Handler(func(_ *fiber.Ctx, s *core.Session) error { return cart.Set(s, map[string]int{"tea": 1}) }))
			app.Get("/cart", fibersession.Handler(func(x *fiber.Ctx, s *core.Session) error {
				return x.SendString(fmt.Sprint(cart.Get(s), count.Get(s)))
			}))
			app.Get("/", timeout.NewWithContext(c.handle(func(x *fiber.Ctx, s *core.Session) error {
				if c.d < time.Minute {
					<-x.UserContext().Done()
				}
				cart.Get(s)["tea"] = 2
				return errors.Join(count.Set(s, 1), x.UserContext().Err())
			}), c.d))
			var b jartest.Browser
			want(t, app, &b, "/fill", 200, "")
			res, _ := ask(t, app, &b, "/")
			if c.d < time.Minute != (res.StatusCode == 408) {
				t.Errorf("answered %d", res.StatusCode)
			}
			want(t, app, &b, "/cart", 200, c.cart)
			if told := strings.Contains(log.String(), "session unchecked"); told != c.told {
				t.Errorf("told %q", log.String())
			}
		})
	}
	t.Run("a middleware that cancels its context", func(t *testing.T) {
		m, _ := newManager(t, core.Options{})
		app := fiber.New()
		app.Use(fibersession.New(m, nil), func(c *fiber.Ctx) error {
			ctx, cancel := context.WithTimeout(c.UserContext(), time.Minute)
			defer cancel()
			c.SetUserContext(ctx)
			return c.Next()
		})
		app.Get("/", bare(func(c *fiber.Ctx, s *core.Session) error {
			held := cart.Get(s)
			if held == nil {
				return cart.Set(s, map[string]int{})
			}
			held["tea"]++
			return c.SendString(fmt.Sprint(held["tea"]))
		}))
		var b jartest.Browser
		want(t, app, &b, "/", 200, "")
		want(t, app, &b, "/", 200, "1")
		want(t, app, &b, "/", 200, "2")
	})
}

// bare is a handler without a guard.
func bare(f func(*fiber.Ctx, *core.Session) error) fiber.Handler {
	return func(c *fiber.Ctx) error {
		s, err := fibersession.From(c)
		if err != nil {
			return err
		}
		return f(c, s)
	}
}

// W13, P22: Fiber's recover, outside and inside of the session middleware.
func TestW13Recover(t *testing.T) {
	panics := func(c *fiber.Ctx) error {
		if err := add(c); err != nil {
			return err
		}
		panic("boom")
	}
	for name, c := range map[string]struct {
		mount func(app *fiber.App, session fiber.Handler)
		saved int
	}{
		"outside": {func(app *fiber.App, session fiber.Handler) {
			app.Use(recover.New(), session)
			app.Get("/", panics)
		}, 0},
		"inside, guarded": {func(app *fiber.App, session fiber.Handler) {
			app.Use(session, recover.New(), fibersession.Guard)
			app.Get("/", panics)
		}, 0},
		"inside, a Handler": {func(app *fiber.App, session fiber.Handler) {
			app.Use(session, recover.New())
			app.Get("/", fibersession.Handler(func(c *fiber.Ctx, _ *core.Session) error { return panics(c) }))
		}, 0},
		"in a group": {func(app *fiber.App, session fiber.Handler) {
			app.Use(session)
			app.Group("/", recover.New(), fibersession.Guard).Get("/", panics)
		}, 0},
		"a guard further out": {func(app *fiber.App, session fiber.Handler) { // it must be innermost
			app.Use(session, fibersession.Guard, recover.New())
			app.Get("/", panics)
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			m, store := newManager(t, core.Options{})
			app := fiber.New()
			c.mount(app, fibersession.New(m, nil))
			res, _ := ask(t, app, new(jartest.Browser), "/")
			if n := store.Calls(storetest.OpSetVersion); res.StatusCode != 500 || n != c.saved || len(res.Cookies()) != 2*c.saved {
				t.Errorf("answered %d, %d writes, %d cookies", res.StatusCode, n, len(res.Cookies()))
			}
		})
	}
	t.Run("without the middleware a guard does nothing", func(t *testing.T) {
		app := fiber.New()
		app.Use(fibersession.Guard)
		app.Get("/", func(c *fiber.Ctx) error { return c.SendString("ok") })
		want(t, app, new(jartest.Browser), "/", 200, "ok")
	})
}
