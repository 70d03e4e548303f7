// Command fiberv3 is a login with Fiber v3: handlers that get the session, and the
// middleware in the order that matters.
package main

import (
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/recover"

	fiberv3session "github.com/gensession/gensession/adapters/fiberv3"
	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

const (
	user   core.Key[string] = "user"
	visits core.Key[int]    = "visits"
)

// begin routes
func routes(sessions *core.Manager) *fiber.App {
	app := fiber.New()
	// recover comes first: a panic passes the session, which saves nothing.
	app.Use(recover.New(), fiberv3session.New(sessions, nil))
	app.Get("/", fiberv3session.Handler(home))
	app.Post("/login", fiberv3session.Handler(login))
	app.Post("/logout", fiberv3session.Handler(logout))
	return app
}

func home(c fiber.Ctx, s *core.Session) error {
	n, err := visits.Update(s, func(n int) int { return n + 1 })
	if err != nil {
		return err
	}
	return c.SendString(fmt.Sprintf("visit %d of %q\n", n, user.Get(s)))
}

// end routes

func login(c fiber.Ctx, s *core.Session) error {
	// Check the password here.
	if err := errors.Join(s.Login(core.LoginOptions{}), user.Set(s, c.FormValue("user"))); err != nil {
		return err
	}
	return c.Redirect().Status(http.StatusSeeOther).To("/")
}

func logout(c fiber.Ctx, s *core.Session) error {
	if err := s.Destroy(c); err != nil {
		return err
	}
	return c.Redirect().Status(http.StatusSeeOther).To("/")
}

func main() {
	key := []byte(os.Getenv("SESSION_KEY")) // openssl rand -base64 32
	sessions, err := core.New(memorystore.New(nil), &core.Options{Keys: [][]byte{key}, Logger: slog.Default()})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(routes(sessions).Listen("127.0.0.1:3000"))
}
