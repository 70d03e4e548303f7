package main

import (
	"errors"
	"net/http"
	"testing"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/adaptor"

	fiberv3session "github.com/gensession/gensession/adapters/fiberv3"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/examples/frameworks/internal/try"
)

func TestFiberV3(t *testing.T) {
	try.Run(t, func(sessions *core.Manager) http.Handler {
		app := routes(sessions)
		app.Post("/panic", func(c fiber.Ctx) error {
			s, err := core.From(c)
			if err != nil {
				return err
			}
			panic(visits.Set(s, 100))
		})
		app.Post("/fails", fiberv3session.Handler(func(_ fiber.Ctx, s *core.Session) error {
			return errors.Join(s.Login(core.LoginOptions{}), user.Set(s, "eve"), errors.New("no"))
		}))
		return adaptor.FiberApp(app)
	})
}
