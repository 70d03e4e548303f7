package main

import (
	"fmt"
	"log"
	"log/slog"
	"os"

	"github.com/gofiber/fiber/v2"

	fibersession "github.com/gensession/gensession/adapters/fiber"
	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// begin app
const visits core.Key[int] = "visits"

func main() {
	key := []byte(os.Getenv("SESSION_KEY")) // openssl rand -base64 32
	sessions, err := core.New(memorystore.New(nil), &core.Options{Keys: [][]byte{key}, Logger: slog.Default()})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(hello(sessions).Listen("127.0.0.1:3000"))
}

func hello(sessions *core.Manager) *fiber.App {
	app := fiber.New()
	app.Use(fibersession.New(sessions, nil))
	app.Get("/", fibersession.Handler(func(c *fiber.Ctx, s *core.Session) error {
		n, err := visits.Update(s, func(n int) int { return n + 1 })
		if err != nil {
			return err
		}
		return c.SendString(fmt.Sprintf("visit %d\n", n))
	}))
	return app
}

// end app
