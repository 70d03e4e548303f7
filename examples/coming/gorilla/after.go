package main

import (
	"bytes"
	"encoding/gob"
	"net/http"
	"time"

	"github.com/gorilla/securecookie"

	gorillasession "github.com/gensession/gensession/adapters/gorilla"
	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
)

// begin options

// options take over the sessions that redistore has in the server of from, for as
// long after the day of the move as one of them could live. gorillaKeys are the key
// pairs that redistore was made with.
func options(keys core.Keyring, from core.Store, day time.Time, gorillaKeys ...[]byte) *core.Options {
	codecs := securecookie.CodecsFromPairs(gorillaKeys...)
	return &core.Options{Keys: keys, Migrate: core.Migration{
		From:  from,
		Until: day.Add(30 * 24 * time.Hour), // redistore's MaxAge
		Foreign: &core.Foreign{
			Cookie: "app", // the name of the gorilla session
			ID: func(value string) (id string) {
				if err := securecookie.DecodeMulti("app", value, &id, codecs...); err != nil {
					return ""
				}
				return id
			},
			Key: func(id string) string { return "session_" + id },
			Values: func(data []byte) (any, error) {
				var values map[any]any
				if err := gob.NewDecoder(bytes.NewReader(data)).Decode(&values); err != nil {
					return nil, err
				}
				return gorillasession.Values("app", values)
			},
		},
	}}
}

// end options
// begin after

// after is the application as it is now: the routes are the same, on another store.
// A login and a logout are the session's, whatever the routes do to its values.
func after(sessions *core.Manager) http.Handler {
	mux := routes(gorillasession.New(sessions))
	site := http.NewServeMux()
	site.Handle("/", mux)
	site.Handle("POST /login", httpsession.HandlerFunc(func(w http.ResponseWriter, r *http.Request, s *core.Session) error {
		if err := s.Login(core.LoginOptions{}); err != nil {
			return err
		}
		mux.ServeHTTP(w, r)
		return nil
	}))
	site.Handle("POST /logout", httpsession.HandlerFunc(func(w http.ResponseWriter, r *http.Request, s *core.Session) error {
		return s.Destroy(r.Context())
	}))
	return httpsession.New(sessions, nil)(site)
}

// end after
