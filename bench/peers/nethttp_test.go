package peers

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/v2"
	"github.com/boj/redistore"
	"github.com/gorilla/sessions"
	goredis "github.com/redis/go-redis/v9"

	"github.com/gensession/gensession/bench/internal/drive"
	"github.com/gensession/gensession/internal/servers"
)

func scsSite(b *testing.B, store string, values map[string]any) drive.Site {
	m := scs.New() // its store is in memory
	if addr := redisAddr(b, store); addr != "" {
		client := goredis.NewClient(&goredis.Options{Addr: addr, PoolSize: callersMax})
		b.Cleanup(func() { client.Close() })
		m.Store = goredisstore.New(client)
	}
	return func(b *testing.B, op string) func() drive.Client {
		h := m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx := r.Context()
			n := 0
			var err error
			switch op {
			case drive.Fill:
				for name, v := range values {
					m.Put(ctx, name, v)
				}
			case drive.Read:
				n = m.GetInt(ctx, "visits")
			case drive.Write:
				n = m.GetInt(ctx, "visits") + 1
				m.Put(ctx, "visits", n)
			case drive.Login:
				n = m.GetInt(ctx, "visits")
				err = m.RenewToken(ctx)
			case drive.Logout:
				n = m.GetInt(ctx, "visits")
				err = m.Destroy(ctx)
			}
			answer(w, n, err)
		}))
		return func() drive.Client { return drive.HTTP(h) }
	}
}

func gorillaSite(b *testing.B, store string, values map[string]any) drive.Site {
	key := bytes.Repeat([]byte("k"), 32)
	options := &sessions.Options{Path: "/", MaxAge: int(life.Seconds()), HttpOnly: true, SameSite: http.SameSiteLaxMode}
	var s sessions.Store
	if store == redis {
		r, err := redistore.NewRediStore(callersMax, "tcp", servers.SharedRedis(b).Addr(), "", "", key)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { r.Close() })
		r.Options = options
		s = r
	} else {
		c := sessions.NewCookieStore(key)
		c.Options = options
		s = c
	}
	return func(b *testing.B, op string) func() drive.Client {
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if op == drive.Visitor || op == drive.Untouched {
				answer(w, 0, nil)
				return
			}
			// Get would keep the session with the request, and the driver uses
			// one request again and again.
			session, err := s.New(r, "session")
			n := 0
			if err == nil {
				switch op {
				case drive.Fill:
					for name, v := range values {
						session.Values[name] = v
					}
				default:
					n, _ = session.Values["visits"].(int)
				}
				if op == drive.Write {
					n++
					session.Values["visits"] = n
				}
				if op != drive.Read {
					err = session.Save(r, w)
				}
			}
			answer(w, n, err)
		})
		return func() drive.Client { return drive.HTTP(h) }
	}
}

func answer(w http.ResponseWriter, n int, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	io.WriteString(w, strconv.Itoa(n))
}

// life is that of sessions and their cookies.
const life = 24 * time.Hour
