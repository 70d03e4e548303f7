package peers

import (
	"testing"
	"time"

	"github.com/gensession/gensession/bench/internal/drive"
	"github.com/gensession/gensession/bench/internal/ours"
	"github.com/gensession/gensession/bench/internal/relay"
	"github.com/gensession/gensession/internal/servers"
	memorystore "github.com/gensession/gensession/stores/memory"
	redisstore "github.com/gensession/gensession/stores/redis"
)

const (
	memory = "memory"
	redis  = "redis"
	cookie = "cookie" // no store: the browser keeps the values
	far    = "far"    // Redis a millisecond away
)

// farDelay is about a millisecond: an idle process sleeps no shorter.
const farDelay = 700 * time.Microsecond

// redisAddr is where the Redis of a store is, "" if it is another store.
func redisAddr(b *testing.B, store string) string {
	switch store {
	case redis:
		return servers.SharedRedis(b).Addr()
	case far:
		return relay.New(b, servers.SharedRedis(b).Addr(), farDelay).Addr()
	}
	return ""
}

// callersMax is how many ask at once at most. Pools of connections have as
// many.
const callersMax = 64

// A lib is a session library on one HTTP library.
type lib struct {
	name   string
	http   string
	stores []string
	ops    []string
	site   func(b *testing.B, store string, values map[string]any) drive.Site
}

func libs() []lib {
	all := []string{drive.Visitor, drive.Untouched, drive.Read, drive.Write, drive.Login}
	unrenewed := all[:4] // gorilla/sessions has no way to renew an id
	both := []string{memory, redis}
	libs := []lib{
		{"scs", "nethttp", both, all, scsSite},
		{"gorilla", "nethttp", []string{cookie, redis}, unrenewed, gorillaSite},
		{"fasthttp-session", "fasthttp", both, all, fasthttpSite},
		{"fiber-v2-session", "fiber-v2", both, all, fiber2Site},
		{"fiber-v3-session", "fiber-v3", both, all, fiber3Site},
	}
	for i, http := range []string{"nethttp", "fasthttp", "fiber-v2"} {
		a := ours.Adapters()[i]
		libs = append(libs,
			lib{"gensession", http, both, all, gensessionSite(a, nil)},
			// Not beside the others as it is: it may show a session that is a second old.
			lib{"gensession-near", http, both[1:], []string{drive.Read}, gensessionSite(a, &redisstore.Options{NearCache: time.Second})})
	}
	return libs
}

func gensessionSite(a ours.Adapter, o *redisstore.Options) func(b *testing.B, store string, values map[string]any) drive.Site {
	return func(b *testing.B, store string, values map[string]any) drive.Site {
		switch store {
		case memory:
			s := memorystore.New(nil)
			b.Cleanup(func() { s.Close() })
			return a.Site(s, values)
		case redis, far:
			s, err := redisstore.Open("redis://"+redisAddr(b, store), o)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { s.Close() })
			return a.Site(s, values)
		}
		b.Fatal(store)
		return nil
	}
}
