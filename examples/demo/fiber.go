package main

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/gofiber/fiber/v2"

	fibersession "github.com/gensession/gensession/adapters/fiber"
	"github.com/gensession/gensession/core"
)

func newFiber(m *core.Manager, a *app) server {
	f := fiber.New(fiber.Config{
		DisableStartupMessage: true,
		ReadTimeout:           10 * time.Second,
		ReadBufferSize:        16 << 10,
		ErrorHandler: func(c *fiber.Ctx, err error) error {
			if e, ok := errors.AsType[*core.Error](err); ok {
				return sendFiber(c, failure(e))
			}
			return fiber.DefaultErrorHandler(c, err)
		},
	})
	f.Use(fibersession.New(m, nil))
	f.Use(func(c *fiber.Ctx) error {
		return sendFiber(c, a.respond(c.UserContext(), c.Method(), c.Path(), string(c.Request().URI().QueryString())))
	})
	return fiberServer{f}
}

func sendFiber(c *fiber.Ctx, ans answer) error {
	sendFast(c.Context(), ans)
	return nil
}

type fiberServer struct{ app *fiber.App }

func (s fiberServer) Serve(l net.Listener) error         { return s.app.Listener(l) }
func (s fiberServer) Shutdown(ctx context.Context) error { return s.app.ShutdownWithContext(ctx) }
