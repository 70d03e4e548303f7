//go:build !386 && !arm

package world_test

import (
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/adaptor"
	"github.com/gofiber/fiber/v3/middleware/cache"
	"github.com/gofiber/fiber/v3/middleware/compress"
	"github.com/gofiber/fiber/v3/middleware/cors"
	"github.com/gofiber/fiber/v3/middleware/csrf"
	"github.com/gofiber/fiber/v3/middleware/encryptcookie"
	"github.com/gofiber/fiber/v3/middleware/etag"
	"github.com/gofiber/fiber/v3/middleware/helmet"
	"github.com/gofiber/fiber/v3/middleware/idempotency"
	"github.com/gofiber/fiber/v3/middleware/limiter"
	"github.com/gofiber/fiber/v3/middleware/recover"
	"github.com/gofiber/fiber/v3/middleware/requestid"
	"github.com/gofiber/fiber/v3/middleware/timeout"

	fiberv3session "github.com/gensession/gensession/adapters/fiberv3"
	"github.com/gensession/gensession/core"
)

var fiberv3Programs = []program{
	{name: "Fiber v3", start: func(t *testing.T, m *core.Manager) string {
		app := fiber.New()
		app.Use(recover.New(), fiberv3session.New(m, nil))
		return listenFiberv3(t, fiberv3Routes(app))
	}},
	{name: "Fiber v3 with all its middleware outside", start: func(t *testing.T, m *core.Manager) string {
		app := fiber.New()
		app.Use(fiberv3Crowd()...)
		app.Use(fiberv3session.New(m, nil))
		return listenFiberv3(t, fiberv3Routes(app))
	}},
	{name: "Fiber v3 with all its middleware inside", start: func(t *testing.T, m *core.Manager) string {
		app := fiber.New()
		app.Use(fiberv3session.New(m, nil))
		app.Use(fiberv3Crowd()...)
		app.Use(fiberv3session.Guard)
		return listenFiberv3(t, fiberv3Routes(app))
	}},
	{name: "Fiber v3, mounted", start: func(t *testing.T, m *core.Manager) string {
		sub := fiber.New()
		sub.Use(fiberv3session.New(m, nil))
		fiberv3Routes(sub)
		app := fiber.New()
		app.Use(recover.New())
		app.Use("/", sub)
		return listenFiberv3(t, app)
	}},
	{name: "Fiber v3 with timeouts", start: func(t *testing.T, m *core.Manager) string {
		app := fiber.New()
		app.Use(fiberv3session.New(m, nil))
		for _, x := range routes {
			app.Add([]string{x.method}, x.path, timeout.New(fiberv3Shop(x.path), timeout.Config{Timeout: time.Minute}))
		}
		app.Get("/public", fiberv3Public)
		return listenFiberv3(t, app)
	}},
	{name: "Fiber v3 with handlers of net/http", start: func(t *testing.T, m *core.Manager) string {
		app := fiber.New()
		app.Use(fiberv3session.New(m, nil))
		for _, x := range routes {
			app.Add([]string{x.method}, x.path, http.Handler(shop(x.path)))
		}
		app.Get("/public", public)
		return listenFiberv3(t, app)
	}},
	{name: "Fiber v3 in net/http", start: func(t *testing.T, m *core.Manager) string {
		app := fiber.New()
		app.Use(fiberv3session.New(m, nil))
		return serve(t, adaptor.FiberApp(fiberv3Routes(app)))
	}},
}

func fiberv3Crowd() []any {
	return []any{
		recover.New(), requestid.New(), helmet.New(), cors.New(), compress.New(), etag.New(), idempotency.New(),
		limiter.New(limiter.Config{Max: 10000}),
		encryptcookie.New(encryptcookie.Config{Key: encryptcookie.GenerateKey(32), Except: append([]string{"csrf_"}, cookieNames...)}),
		csrf.New(),
		// Outside of the session it keeps the pages of browsers apart, by Vary: Cookie;
		// but it shows a browser its own page again. Inside it sees no Vary.
		cache.New(cache.Config{Next: func(c fiber.Ctx) bool { return c.Path() != "/public" }}),
	}
}

func fiberv3Public(c fiber.Ctx) error { return c.SendString("public") }

func fiberv3Routes(app *fiber.App) *fiber.App {
	for _, x := range routes {
		app.Add([]string{x.method}, x.path, fiberv3Shop(x.path))
	}
	app.Get("/public", fiberv3Public)
	return app
}

func fiberv3Shop(path string) fiber.Handler {
	return fiberv3session.Handler(func(c fiber.Ctx, s *core.Session) error {
		to, body, err := act(c, s, path, func(name string) string { return c.Query(name) })
		switch {
		case err != nil:
			return err
		case to != "":
			return c.Redirect().Status(http.StatusSeeOther).To(to)
		}
		return c.SendString(body)
	})
}

func listenFiberv3(t *testing.T, app *fiber.App) string {
	return listen(t, func(l net.Listener) error {
		return app.Listener(l, fiber.ListenConfig{DisableStartupMessage: true})
	})
}
