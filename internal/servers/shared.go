package servers

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// Package wraps the tests of a package; see [Main].
type Package struct{ m interface{ Run() int } }

// Main lets the tests of a package share servers: Run runs the tests and then
// ends those that were started. It is what [goleak.VerifyTestMain] takes.
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(servers.Main(m)) }
func Main(m *testing.M) *Package { return &Package{m} }

// Run runs the tests and returns their exit code.
func (p *Package) Run() int {
	shared.mu.Lock()
	shared.open = true
	shared.mu.Unlock()
	code := p.m.Run()
	for _, d := range []*daemon{shared.redis.close(), shared.memcached.close(), shared.postgres.close(), shared.mariadb.close()} {
		if d == nil {
			continue
		}
		if code != 0 {
			fmt.Fprintf(os.Stderr, "%s, shared, printed:\n%s\n", d.path, tail(d.output()))
		}
		if err := d.discard(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	return code
}

// SharedRedis returns the Redis server of the package, started by the first
// test that asks. Tests keep apart by their keys, and do not flush or change
// it. The package needs [Main].
func SharedRedis(tb testing.TB) *RedisServer {
	tb.Helper()
	path := lookup(tb, "redis-server", "redis-server")
	s := *shared.redis.get(tb, func() (*RedisServer, *daemon) {
		s := newRedis(path, nil)
		return s, s.daemon
	})
	s.handle = handle{daemon: s.daemon, tb: tb, shared: true}
	return &s
}

// SharedMemcached returns the memcached server of the package, as
// [SharedRedis] does for Redis.
func SharedMemcached(tb testing.TB) *MemcachedServer {
	tb.Helper()
	path := lookup(tb, "memcached", "memcached")
	s := *shared.memcached.get(tb, func() (*MemcachedServer, *daemon) {
		s := newMemcached(path, nil)
		return s, s.daemon
	})
	s.handle = handle{daemon: s.daemon, tb: tb, shared: true}
	return &s
}

// IgnoreServers tells goleak that the servers still running are no leak, for
// tests that check on their own.
func IgnoreServers() goleak.Option {
	return goleak.IgnoreAnyFunction("github.com/gensession/gensession/internal/servers.(*process).run")
}

// shared holds the servers of the test binary, which are its as PATH and the
// working directory are.
var shared struct {
	mu        sync.Mutex
	open      bool
	redis     slot[RedisServer]
	memcached slot[MemcachedServer]
	postgres  slot[PostgresServer]
	mariadb   slot[MariaDBServer]
}

// slot holds a server once it is started, or why it was not.
type slot[S any] struct {
	s   *S
	d   *daemon
	err error
}

func (o *slot[S]) get(tb testing.TB, describe func() (*S, *daemon)) *S {
	tb.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if !shared.open {
		tb.Fatal("servers: to share a server, TestMain must run servers.Main(m)")
	}
	if o.d == nil {
		o.s, o.d = describe()
		o.err = o.d.boot()
	}
	if o.err != nil {
		tb.Fatal(o.err)
	}
	return o.s
}

func (o *slot[S]) close() *daemon {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	d := o.d
	*o = slot[S]{}
	return d
}
