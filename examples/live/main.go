// Command live shows an event stream that looks again and again whether its
// visitor is still logged in.
package main

import (
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"time"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

const (
	user   core.Key[string] = "user"
	events core.Key[int]    = "events"
)

// begin stream

// stream sends an event now and then, until its session ends or the browser goes.
func stream(sessions *core.Manager, every time.Duration) httpsession.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, s *core.Session) error {
		if user.Get(s) == "" {
			http.Error(w, "log in first", http.StatusUnauthorized)
			return nil
		}
		id := s.ID() // s itself stays as it is now
		w.Header().Set("Content-Type", "text/event-stream")
		again := time.NewTicker(every)
		defer again.Stop()
		for {
			var name string
			var n int
			err := sessions.VisitByID(r.Context(), id, func(s *core.Session) (err error) {
				name = user.Get(s)
				n, err = events.Update(s, func(n int) int { return n + 1 })
				return err
			})
			switch {
			case errors.Is(err, core.ErrGone): // logged out, expired, or logged in anew
				_, _ = fmt.Fprint(w, "event: end\ndata:\n\n")
				return nil
			case err != nil: // the store fails: that ends no session
			default:
				_, _ = fmt.Fprintf(w, "data: %s %d\n\n", name, n)
			}
			if err := http.NewResponseController(w).Flush(); err != nil {
				return nil // the browser has gone
			}
			select {
			case <-r.Context().Done():
				return nil
			case <-again.C:
			}
		}
	}
}

// end stream

func login(_ http.ResponseWriter, r *http.Request, s *core.Session) error {
	return errors.Join(s.Login(core.LoginOptions{}), user.Set(s, r.FormValue("user"))) // your check of the password
}

func logout(_ http.ResponseWriter, r *http.Request, s *core.Session) error {
	return s.Destroy(r.Context())
}

func rename(_ http.ResponseWriter, r *http.Request, s *core.Session) error {
	return user.Set(s, r.FormValue("user"))
}

func routes(sessions *core.Manager, every time.Duration) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /events", stream(sessions, every))
	mux.Handle("POST /login", httpsession.HandlerFunc(login))
	mux.Handle("POST /rename", httpsession.HandlerFunc(rename))
	mux.Handle("POST /logout", httpsession.HandlerFunc(logout))
	return httpsession.New(sessions, nil)(mux)
}

func main() {
	key := []byte(os.Getenv("SESSION_KEY")) // openssl rand -base64 32
	sessions, err := core.New(memorystore.New(nil), &core.Options{Keys: [][]byte{key}, Logger: slog.Default()})
	if err != nil {
		log.Fatal(err)
	}
	protect := http.NewCrossOriginProtection()
	log.Fatal(http.ListenAndServe("127.0.0.1:3000", protect.Handler(routes(sessions, 10*time.Second))))
}
