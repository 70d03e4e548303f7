// Command gorilla is an application that has moved from gorilla/sessions to this library:
// docs/coming-from-gorilla.md. It needs a Redis on this machine.
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

	"github.com/boj/redistore"

	"github.com/gensession/gensession/core"
	redisstore "github.com/gensession/gensession/stores/redis"
)

func main() {
	gorillaKey := []byte("the key that the application had")
	var program http.Handler
	if len(os.Args) > 1 && os.Args[1] == "after" {
		store, err := redisstore.Open("redis://127.0.0.1:6379/0", nil)
		if err != nil {
			log.Fatal(err)
		}
		key := make([]byte, 32) // keep yours: with a new one all are logged out
		rand.Read(key)
		// It is the same server: redistore's keys are others than ours.
		o := options(core.Keyring{key}, store, time.Now(), gorillaKey)
		o.Logger = slog.Default()
		sessions, err := core.New(store, o)
		if err != nil {
			log.Fatal(err)
		}
		program = after(sessions)
	} else {
		store, err := redistore.NewRediStore(10, "tcp", "127.0.0.1:6379", "", "", gorillaKey)
		if err != nil {
			log.Fatal(err)
		}
		program = before(store)
	}
	log.Fatal(http.ListenAndServe("localhost:3000", program))
}
