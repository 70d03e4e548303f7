package main

import (
	"fmt"
	"html"
	"net/http"

	"github.com/boj/redistore"
	"github.com/gorilla/sessions"
)

// begin before

// before is the application as it was, with a store of gorilla/sessions on Redis.
func before(store *redistore.RediStore) http.Handler { return routes(store) }

// end before
// begin routes

// routes stay as they are: they know the interface alone.
func routes(store sessions.Store) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		s, _ := store.Get(r, "app")
		n, _ := s.Values["visits"].(int)
		s.Values["visits"] = n + 1
		if err := s.Save(r, w); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		user, _ := s.Values["user"].(string)
		fmt.Fprintf(w, "%s: %d", html.EscapeString(user), n+1) // #nosec G705 -- it is escaped
	})
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		s, _ := store.Get(r, "app")
		s.Values["user"] = r.URL.Query().Get("name")
		if err := s.Save(r, w); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		s, _ := store.Get(r, "app")
		s.Options.MaxAge = -1
		if err := s.Save(r, w); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	return mux
}

// end routes
