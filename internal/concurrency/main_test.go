// Package concurrency_test proves what core promises to concurrent requests
// of one session: nothing is lost, nothing revived.
//
//   - Every order of the store calls of two requests, compared with a small
//     machine that says what may come out (spec_test.go, cells_test.go).
//   - Random sequences of everything that can happen to a few browsers,
//     compared with a model (model_test.go).
//   - Histories of parallel clients, with a checker for linearizability
//     (history_test.go).
//   - Planted bugs that these tests have to find (planted_test.go).
//
// With SOAK=1 in the environment they run for long.
package concurrency_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/servers"
	memcachestore "github.com/gensession/gensession/stores/memcache"
	memorystore "github.com/gensession/gensession/stores/memory"
	redisstore "github.com/gensession/gensession/stores/redis"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(servers.Main(m)) }

var soak = os.Getenv("SOAK") == "1"

var (
	firstKey  = []byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")
	secondKey = []byte("fedcba9876543210fedcba9876543210")
)

// stores are the three kinds, opened for one test.
var stores = []struct {
	name string
	open func(t testing.TB) core.Store
}{
	{"memory", func(t testing.TB) core.Store { return newMemory(t) }},
	{"redis", func(t testing.TB) core.Store { return openRedis(t)(servers.SharedRedis(t).Addr()) }},
	{"memcached", func(t testing.TB) core.Store { return openMemcached(t)(servers.SharedMemcached(t).Addr()) }},
}

// openRedis returns what opens a store for the time of a test.
func openRedis(t testing.TB) func(addr string) core.Store {
	return func(addr string) core.Store {
		s, err := redisstore.Open("redis://"+addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
}

func openMemcached(t testing.TB) func(addr string) core.Store {
	return func(addr string) core.Store {
		s, err := memcachestore.Open([]string{addr}, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
}

func newMemory(t testing.TB) *memorystore.Store {
	s := memorystore.New(nil)
	t.Cleanup(func() { s.Close() })
	return s
}
