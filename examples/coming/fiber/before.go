package main

import (
	"fmt"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/session"
)

// begin before

// before is the application as it was, with Fiber's session.
func before(storage fiber.Storage) *fiber.App {
	app := fiber.New()
	app.Use(session.New(session.Config{Storage: storage}))
	app.Get("/", func(c fiber.Ctx) error {
		s := session.FromContext(c)
		n, _ := s.Get("visits").(int)
		s.Set("visits", n+1)
		user, _ := s.Get("user").(string)
		return c.SendString(fmt.Sprintf("%s: %d", user, n+1))
	})
	app.Post("/login", func(c fiber.Ctx) error {
		s := session.FromContext(c)
		if err := s.Regenerate(); err != nil {
			return err
		}
		s.Set("user", c.Query("name"))
		return nil
	})
	app.Post("/logout", func(c fiber.Ctx) error {
		return session.FromContext(c).Destroy()
	})
	return app
}

// end before
