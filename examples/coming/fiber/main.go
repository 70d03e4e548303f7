// Command fiber is an application that has moved from the session middleware of Fiber v3 to
// this library:
// docs/coming-from-fiber.md. It needs a Redis on this machine.
//
//	go run . before
//	go run . after
package main

import (
	"crypto/rand"
	"log"
	"log/slog"
	"os"
	"time"

	"github.com/gofiber/storage/redis/v3"

	"github.com/gensession/gensession/core"
	redisstore "github.com/gensession/gensession/stores/redis"
)

func main() {
	storage := redis.New()
	app := before(storage)
	if len(os.Args) > 1 && os.Args[1] == "after" {
		store, err := redisstore.Open("redis://127.0.0.1:6379/0", nil)
		if err != nil {
			log.Fatal(err)
		}
		key := make([]byte, 32) // keep yours: with a new one all are logged out
		rand.Read(key)
		o, err := options(core.Keyring{key}, storage, time.Now())
		if err != nil {
			log.Fatal(err)
		}
		o.Logger = slog.Default()
		sessions, err := core.New(store, o)
		if err != nil {
			log.Fatal(err)
		}
		if app, err = after(sessions, store); err != nil {
			log.Fatal(err)
		}
	}
	log.Fatal(app.Listen("localhost:3000"))
}
