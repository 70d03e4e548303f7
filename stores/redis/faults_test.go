package redisstore_test

import (
	"testing"

	"github.com/redis/rueidis"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/faultproxy"
	"github.com/gensession/gensession/internal/servers"
	redisstore "github.com/gensession/gensession/stores/redis"
)

func TestFaults(t *testing.T) {
	const largest = 1 << 20
	server := servers.Redis(t)
	on := func(addr string) func(t testing.TB) (core.Store, func()) {
		return func(t testing.TB) (core.Store, func()) {
			s, err := redisstore.Open("redis://"+addr, &redisstore.Options{MaxSize: largest})
			if err != nil {
				t.Fatal(err)
			}
			return s, func() { s.Close() }
		}
	}
	storetest.Faults(t, storetest.Server{
		Stop: server.Kill, Start: server.Start,
		Pause: server.Pause, Resume: server.Resume,
		Fill: server.FillUp, ReadOnly: server.ReadOnly,
		Spoil: func(key string) {
			server.Do("DEL", key)
			server.Do("RPUSH", key, "x")
		},
		TooLarge: largest + 1,
	}, on(server.Addr()))

	// Through a proxy, which closes connections at any moment of a call.
	proxy := faultproxy.New(t, server.Addr())
	storetest.Faults(t, storetest.Server{Cut: func() { proxy.CutAll(faultproxy.Reset) }}, on(proxy.Addr()))

	// The connections of a client of the user's, which has no setting of ours.
	storetest.Faults(t, storetest.Server{Stop: server.Kill, Start: server.Start}, func(t testing.TB) (core.Store, func()) {
		c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr()}})
		if err != nil {
			t.Fatal(err)
		}
		s, err := redisstore.New(c, nil)
		if err != nil {
			c.Close()
			t.Fatal(err)
		}
		return s, func() { s.Close(); c.Close() }
	})
}
