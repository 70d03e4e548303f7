// Command chi is a login with chi: httpsession as its middleware, handlers that get
// the session, and the middleware in the order that matters.
package main

import (
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

const (
	user   core.Key[string] = "user"
	visits core.Key[int]    = "visits"
)

// begin routes
func routes(sessions *core.Manager) *chi.Mux {
	r := chi.NewRouter()
	// The Recoverer comes first: a panic passes the session, which saves nothing.
	r.Use(middleware.Recoverer, httpsession.New(sessions, nil))
	r.Method("GET", "/", httpsession.HandlerFunc(home))
	r.Method("POST", "/login", httpsession.HandlerFunc(login))
	r.Method("POST", "/logout", httpsession.HandlerFunc(logout))
	return r
}

// end routes

func home(w http.ResponseWriter, _ *http.Request, s *core.Session) error {
	n, err := visits.Update(s, func(n int) int { return n + 1 })
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "visit %d of %q\n", n, user.Get(s))
	return err
}

func login(w http.ResponseWriter, r *http.Request, s *core.Session) error {
	// Check the password here.
	if err := errors.Join(s.Login(core.LoginOptions{}), user.Set(s, r.FormValue("user"))); err != nil {
		return err
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

func logout(w http.ResponseWriter, r *http.Request, s *core.Session) error {
	if err := s.Destroy(r.Context()); err != nil {
		return err
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

func main() {
	key := []byte(os.Getenv("SESSION_KEY")) // openssl rand -base64 32
	sessions, err := core.New(memorystore.New(nil), &core.Options{Keys: [][]byte{key}, Logger: slog.Default()})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:3000", routes(sessions)))
}
