package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/v2"
	"github.com/redis/go-redis/v9"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	foreignstore "github.com/gensession/gensession/stores/foreign"
)

// begin options

// options take the sessions of scs over, for as long after the day of the move as
// one of them could live.
func options(keys core.Keyring, client *redis.Client, day time.Time) (*core.Options, error) {
	from, err := foreignstore.FromSCS(goredisstore.New(client), nil)
	if err != nil {
		return nil, err
	}
	return &core.Options{Keys: keys, Migrate: core.Migration{
		From:  from,
		Until: day.Add(24 * time.Hour), // scs's Lifetime
		Foreign: &core.Foreign{
			Cookie: "session", // scs's Cookie.Name
			Values: func(data []byte) (any, error) {
				_, values, err := scs.GobCodec{}.Decode(data)
				return values, err
			},
		},
	}}, nil
}

// end options
// begin after

const (
	visits core.Key[int]    = "visits"
	user   core.Key[string] = "user"
)

// after is the application as it is now.
func after(sessions *core.Manager) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /", httpsession.HandlerFunc(func(w http.ResponseWriter, r *http.Request, s *core.Session) error {
		n, err := visits.Update(s, func(n int) int { return n + 1 })
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%s: %d", user.Get(s), n)
		return err
	}))
	mux.Handle("POST /login", httpsession.HandlerFunc(func(w http.ResponseWriter, r *http.Request, s *core.Session) error {
		if err := s.Login(core.LoginOptions{}); err != nil {
			return err
		}
		return user.Set(s, r.URL.Query().Get("name"))
	}))
	mux.Handle("POST /logout", httpsession.HandlerFunc(func(w http.ResponseWriter, r *http.Request, s *core.Session) error {
		return s.Destroy(r.Context())
	}))
	return httpsession.New(sessions, nil)(mux)
}

// end after
