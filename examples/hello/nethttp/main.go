package main

import (
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

const visits core.Key[int] = "visits"

func main() {
	key := []byte(os.Getenv("SESSION_KEY")) // openssl rand -base64 32
	sessions, err := core.New(memorystore.New(nil), &core.Options{Keys: [][]byte{key}, Logger: slog.Default()})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:3000", hello(sessions)))
}

func hello(sessions *core.Manager) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /", httpsession.HandlerFunc(visit))
	return httpsession.New(sessions, nil)(mux)
}

// begin handler
func visit(w http.ResponseWriter, r *http.Request, s *core.Session) error {
	n, err := visits.Update(s, func(n int) int { return n + 1 })
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "visit %d\n", n)
	return err
}

// end handler
