package main

import (
	"fmt"
	"log"
	"net/http"
	"os"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

const visits core.Key[int] = "visits"

func main() {
	key := []byte(os.Getenv("SESSION_KEY")) // openssl rand -base64 32
	sessions, err := core.New(memorystore.New(nil), &core.Options{Keys: [][]byte{key}})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:3000", hello(sessions)))
}

func hello(sessions *core.Manager) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		s, err := httpsession.From(r)
		if err != nil {
			http.Error(w, "no session", core.Status(err))
			return
		}
		n, err := visits.Update(s, func(n int) int { return n + 1 })
		if err != nil {
			http.Error(w, "not counted", core.Status(err))
			return
		}
		fmt.Fprintf(w, "visit %d\n", n)
	})
	return httpsession.New(sessions, nil)(mux)
}
