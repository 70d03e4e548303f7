package bench

import (
	"os"
	"testing"

	"github.com/gensession/gensession/bench/internal/drive"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/servers"
	memcachestore "github.com/gensession/gensession/stores/memcache"
	memorystore "github.com/gensession/gensession/stores/memory"
	redisstore "github.com/gensession/gensession/stores/redis"
)

func TestMain(m *testing.M) {
	drive.Tell("redis-server", "memcached")
	os.Exit(servers.Main(m).Run())
}

// A closingStore is what all stores of this project are.
type closingStore interface {
	core.Store
	Close() error
}

// stores are the stores to compare. Those with a server start it, and skip in
// one line where it is not installed.
func stores() []struct {
	name string
	open func(b testing.TB) (closingStore, error)
} {
	return []struct {
		name string
		open func(b testing.TB) (closingStore, error)
	}{
		{"memory", func(testing.TB) (closingStore, error) { return memorystore.New(nil), nil }},
		{"redis", func(b testing.TB) (closingStore, error) {
			return redisstore.Open("redis://"+servers.SharedRedis(b).Addr(), nil)
		}},
		{"memcache", func(b testing.TB) (closingStore, error) {
			return memcachestore.Open([]string{servers.SharedMemcached(b).Addr()}, nil)
		}},
	}
}

func open(b *testing.B, f func(b testing.TB) (closingStore, error)) core.Store {
	s, err := f(b)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

// BenchmarkStore measures the stores beside each other:
// store=redis/op=get/size=256/mode=serial and so on.
func BenchmarkStore(b *testing.B) {
	for _, s := range stores() {
		b.Run("store="+s.name, func(b *testing.B) {
			storetest.Bench(b, func(b *testing.B) core.Store { return open(b, s.open) })
		})
	}
}
