package memcachestore_test

import (
	"testing"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/faultproxy"
	"github.com/gensession/gensession/internal/servers"
	memcachestore "github.com/gensession/gensession/stores/memcache"
)

func TestFaults(t *testing.T) {
	for name, open := range map[string]func(addr string, o *memcachestore.Options) (*memcachestore.Store, func(), error){
		"Open": func(addr string, o *memcachestore.Options) (*memcachestore.Store, func(), error) {
			s, err := memcachestore.Open([]string{addr}, o)
			return s, func() { s.Close() }, err
		},
		"New": func(addr string, o *memcachestore.Options) (*memcachestore.Store, func(), error) {
			client := memcache.New(addr)
			client.MaxIdleConns = 200
			if o != nil {
				client.Timeout = o.Timeout
			}
			s, err := memcachestore.New(client, o)
			return s, func() { s.Close(); client.Close() }, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			// Smaller than what the store itself refuses, so that it is the
			// server which refuses. The limit of the store: TestThePayloadLimit.
			server := servers.Memcached(t, "-m", "8", "-M", "-I", "512k")
			on := func(addr string, o *memcachestore.Options) func(t testing.TB) (core.Store, func()) {
				return func(t testing.TB) (core.Store, func()) {
					s, end, err := open(addr, o)
					if err != nil {
						t.Fatal(err)
					}
					return s, end
				}
			}
			storetest.Faults(t, storetest.Server{
				Stop: server.Kill, Start: server.Start,
				Pause: func() { pause(server) }, Resume: server.Resume,
				Fill:     server.FillUp,
				TooLarge: 700 << 10,
			}, on(server.Addr(), nil))

			// The server itself can't close connections. It answers, so that nothing
			// but a machine that stands still takes up the time of a call.
			proxy := faultproxy.New(t, server.Addr())
			storetest.Faults(t, storetest.Server{Cut: func() { proxy.CutAll(faultproxy.Reset) }}, on(proxy.Addr(), patient()))
		})
	}
}
