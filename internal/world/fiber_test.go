//go:build !386 && !arm

package world_test

import (
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/adaptor"
	"github.com/gofiber/fiber/v2/middleware/cache"
	"github.com/gofiber/fiber/v2/middleware/compress"
	"github.com/gofiber/fiber/v2/middleware/cors"
	"github.com/gofiber/fiber/v2/middleware/csrf"
	"github.com/gofiber/fiber/v2/middleware/encryptcookie"
	"github.com/gofiber/fiber/v2/middleware/etag"
	"github.com/gofiber/fiber/v2/middleware/helmet"
	"github.com/gofiber/fiber/v2/middleware/idempotency"
	"github.com/gofiber/fiber/v2/middleware/limiter"
	"github.com/gofiber/fiber/v2/middleware/recover"
	"github.com/gofiber/fiber/v2/middleware/requestid"
	"github.com/gofiber/fiber/v2/middleware/timeout"
	"github.com/valyala/fasthttp"

	fibersession "github.com/gensession/gensession/adapters/fiber"
	"github.com/gensession/gensession/core"
)

// cookieNames are the session's, which encryptcookie must leave alone.
var cookieNames = []string{"koa.sid", "koa.sid.sig", "koa.sid.next", "koa.sid.next.sig", "koa.sid.late", "koa.sid.late.sig"}

var fiberPrograms = []program{
	{name: "Fiber v2", start: func(t *testing.T, m *core.Manager) string {
		app := newFiber()
		app.Use(recover.New(), fibersession.New(m, nil))
		return listenFiber(t, fiberRoutes(app))
	}},
	{name: "Fiber v2 with all its middleware outside", start: func(t *testing.T, m *core.Manager) string {
		app := newFiber()
		app.Use(fiberCrowd()...)
		app.Use(fibersession.New(m, nil))
		return listenFiber(t, fiberRoutes(app))
	}},
	{name: "Fiber v2 with all its middleware inside", start: func(t *testing.T, m *core.Manager) string {
		app := newFiber()
		app.Use(fibersession.New(m, nil))
		app.Use(fiberCrowd()...)
		app.Use(fibersession.Guard)
		return listenFiber(t, fiberRoutes(app))
	}},
	{name: "Fiber v2, mounted", start: func(t *testing.T, m *core.Manager) string {
		sub := newFiber()
		sub.Use(fibersession.New(m, nil))
		fiberRoutes(sub)
		app := newFiber()
		app.Use(recover.New())
		app.Mount("/", sub)
		return listenFiber(t, app)
	}},
	{name: "Fiber v2 with timeouts", start: func(t *testing.T, m *core.Manager) string {
		app := newFiber()
		app.Use(fibersession.New(m, nil))
		for _, x := range routes {
			app.Add(x.method, x.path, timeout.NewWithContext(fiberShop(x.path), time.Minute))
		}
		app.Get("/public", fiberPublic)
		return listenFiber(t, app)
	}},
	{name: "Fiber v2 with handlers of net/http", start: func(t *testing.T, m *core.Manager) string {
		app := newFiber()
		app.Use(fibersession.New(m, nil), adaptor.HTTPHandler(mux()))
		return listenFiber(t, app)
	}},
	{name: "Fiber v2 in net/http", start: func(t *testing.T, m *core.Manager) string {
		app := newFiber()
		app.Use(fibersession.New(m, nil))
		return serve(t, adaptor.FiberApp(fiberRoutes(app)))
	}},
}

func newFiber() *fiber.App {
	return fiber.New(fiber.Config{DisableStartupMessage: true})
}

func fiberCrowd() []any {
	return []any{
		recover.New(), requestid.New(), helmet.New(), cors.New(), compress.New(), etag.New(), idempotency.New(),
		limiter.New(limiter.Config{Max: 10000}),
		encryptcookie.New(encryptcookie.Config{Key: encryptcookie.GenerateKey(), Except: append([]string{"csrf_"}, cookieNames...)}),
		csrf.New(),
		// It obeys nothing that a response says.
		cache.New(cache.Config{Next: func(c *fiber.Ctx) bool { return c.Path() != "/public" }}),
	}
}

func fiberPublic(c *fiber.Ctx) error { return c.SendString("public") }

func fiberRoutes(app *fiber.App) *fiber.App {
	for _, x := range routes {
		app.Add(x.method, x.path, fiberShop(x.path))
	}
	app.Get("/public", fiberPublic)
	return app
}

func fiberShop(path string) fiber.Handler {
	return fibersession.Handler(func(c *fiber.Ctx, s *core.Session) error {
		to, body, err := act(c.UserContext(), s, path, func(name string) string { return c.Query(name) })
		switch {
		case err != nil:
			return err
		case to != "":
			return c.Redirect(to, http.StatusSeeOther)
		}
		return c.SendString(body)
	})
}

func listenFiber(t *testing.T, app *fiber.App) string {
	return listen(t, func(l net.Listener) error { return app.Listener(l) })
}

func serveFasthttp(t *testing.T, h fasthttp.RequestHandler) string {
	return listen(t, (&fasthttp.Server{Handler: h}).Serve)
}

func listen(t *testing.T, serve func(net.Listener) error) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		_ = serve(l)
		close(served)
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-served
	})
	return "http://" + l.Addr().String()
}
