package fiberv3session_test

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v3"

	fiberv3session "github.com/gensession/gensession/adapters/fiberv3"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
)

// resets are Fiber's calls that begin a response or its header anew, or change its
// cookies. Those of fasthttp are tested with its adapter.
var resets = map[string]func(c fiber.Ctx) error{
	"Response().Reset":          func(c fiber.Ctx) error { c.Response().Reset(); return nil },
	"Response().Header.Reset":   func(c fiber.Ctx) error { c.Response().Header.Reset(); return nil },
	"RequestCtx().Error":        func(c fiber.Ctx) error { c.RequestCtx().Error("", 200); return nil },
	"RequestCtx().NotFound":     func(c fiber.Ctx) error { c.RequestCtx().NotFound(); return nil },
	"RequestCtx().TimeoutError": func(c fiber.Ctx) error { c.RequestCtx().TimeoutError(""); return nil },
	"ClearCookie":               func(c fiber.Ctx) error { c.ClearCookie(); return nil },
	"ClearCookie of one":        func(c fiber.Ctx) error { c.ClearCookie("koa.sid"); return nil },
	"Cookie": func(c fiber.Ctx) error {
		c.Cookie(&fiber.Cookie{Name: "theirs", Value: "1"})
		return nil
	},
	"Set":                     func(c fiber.Ctx) error { c.Set("Set-Cookie", "theirs=1"); return nil },
	"Redirect":                func(c fiber.Ctx) error { return c.Redirect().To("/elsewhere") },
	"SendStatus":              func(c fiber.Ctx) error { return c.SendStatus(404) },
	"SendFile":                func(c fiber.Ctx) error { return c.SendFile("/no/such/file") },
	"an error, after a reset": func(c fiber.Ctx) error { c.Response().Reset(); return fiber.ErrTeapot },
	"Response().Read, as a proxy": func(c fiber.Ctx) error {
		return c.Response().Read(bufio.NewReader(strings.NewReader("HTTP/1.1 200 OK\r\nSet-Cookie: theirs=1\r\nContent-Length: 0\r\n\r\n")))
	},
}

func TestW5Resets(t *testing.T) {
	for name, reset := range resets {
		t.Run(name, func(t *testing.T) {
			m, _ := newManager(t, core.Options{})
			app := fiber.New()
			app.Use(fiberv3session.New(m, nil))
			app.Get("/read", fiberv3session.Handler(func(c fiber.Ctx, s *core.Session) error { return c.SendString(fmt.Sprint(count.Get(s))) }))
			app.Get("/:do", fiberv3session.Handler(func(c fiber.Ctx, s *core.Session) error {
				var err error
				switch c.Params("do") {
				case "save":
					if _, err = count.Update(s, func(n int) int { return n + 1 }); err == nil {
						err = s.Save(c)
					}
				case "renew":
					err = s.Renew(c)
				case "destroy":
					err = s.Destroy(c)
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

// The ErrorHandler comes after the session middleware. One that begins the response
// anew is called inside, as docs/middleware.md has it.
func TestW5ErrorHandlerInside(t *testing.T) {
	m, _ := newManager(t, core.Options{})
	app := fiber.New(fiber.Config{ErrorHandler: func(c fiber.Ctx, err error) error {
		c.RequestCtx().Error(err.Error(), 418)
		return nil
	}})
	app.Use(fiberv3session.New(m, nil), func(c fiber.Ctx) error {
		if err := c.Next(); err != nil {
			return c.App().ErrorHandler(c, err)
		}
		return nil
	})
	app.Get("/", fiberv3session.Handler(func(c fiber.Ctx, s *core.Session) error {
		return errors.Join(count.Set(s, 1), s.Save(c), fiber.ErrTeapot)
	}))
	res := want(t, app, new(jartest.Browser), "/", 418, "I'm a teapot")
	if n := len(res.Header.Values("Set-Cookie")); n != 2 {
		t.Errorf("%d cookies", n)
	}
}
