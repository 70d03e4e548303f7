// Command scs is an application that has moved from alexedwards/scs to this library:
// docs/coming-from-scs.md. It needs a Redis on this machine.
//
//	go run . before
//	go run . after
package main

import (
	"crypto/rand"
	"log"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gensession/gensession/core"
	redisstore "github.com/gensession/gensession/stores/redis"
)

func main() {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379"})
	program := before(client)
	if len(os.Args) > 1 && os.Args[1] == "after" {
		store, err := redisstore.Open("redis://127.0.0.1:6379/0", nil)
		if err != nil {
			log.Fatal(err)
		}
		key := make([]byte, 32) // keep yours: with a new one all are logged out
		rand.Read(key)
		o, err := options(core.Keyring{key}, client, time.Now())
		if err != nil {
			log.Fatal(err)
		}
		o.Logger = slog.Default()
		sessions, err := core.New(store, o)
		if err != nil {
			log.Fatal(err)
		}
		program = after(sessions)
	}
	log.Fatal(http.ListenAndServe("localhost:3000", program))
}
