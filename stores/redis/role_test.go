package redisstore_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/faultproxy"
	"github.com/gensession/gensession/internal/servers"
	"github.com/gensession/gensession/internal/stall"
	redisstore "github.com/gensession/gensession/stores/redis"
)

// An ear hears what a store tells of its server.
type ear struct {
	mu   sync.Mutex
	told []bool
}

func (e *ear) hear(up bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.told = append(e.told, up)
}

func (e *ear) all() []bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.told)
}

// A pair is a master and its replica, and the name that leads to the master.
type pair struct {
	t        testing.TB
	old, new *servers.RedisServer
	proxy    *faultproxy.Proxy
}

func newPair(t testing.TB, args ...string) *pair {
	t.Helper()
	fast := []string{"--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0"}
	p := &pair{t: t, old: servers.Redis(t, append(fast, args...)...), new: servers.Redis(t, append(fast, args...)...)}
	p.new.Do("REPLICAOF", "127.0.0.1", fmt.Sprint(p.old.Port()))
	waitFor(t, "the replica", func() bool {
		info, _ := p.new.Do("INFO", "replication").(string)
		return strings.Contains(info, "master_link_status:up")
	})
	p.proxy = faultproxy.New(t, p.old.Addr())
	return p
}

// promote makes the replica a master, and the master a replica.
func (p *pair) promote() {
	p.new.Do("REPLICAOF", "NO", "ONE")
	p.old.Do("REPLICAOF", "127.0.0.1", fmt.Sprint(p.new.Port()))
}

// users is how many connections of the test's stores a server has.
func users(s *servers.RedisServer) (n int) {
	list, _ := s.Do("CLIENT", "LIST").(string)
	for line := range strings.Lines(list) {
		if strings.Contains(line, "user=default") && strings.Contains(line, "lib-name=rueidis") || strings.Contains(line, "resp=3") {
			n++
		}
	}
	return n
}

// The master behind one name or address becomes a replica, and another server is
// promoted. The old connections stay, and work for reading.
func TestW23ARoleThatChanges(t *testing.T) {
	var all sync.WaitGroup
	for _, by := range []string{"own", "lent", "by a dial function", "no stale data"} {
		for _, use := range []string{"writes", "reads", "nothing"} {
			all.Go(func() {
				t.Run(by+"/"+use, func(t *testing.T) {
					stall.Retry(t, func(t testing.TB) { roleThatChanges(t, by, use) }) // a dial has half a second
				})
			})
		}
	}
	all.Wait()
}

func roleThatChanges(t testing.TB, by, use string) {
	var args []string
	if by == "no stale data" { // a replica without its master answers MASTERDOWN
		args = []string{"--replica-serve-stale-data", "no"}
	}
	p := newPair(t, args...)
	var s *redisstore.Store
	move := func() { p.proxy.Move(p.new.Addr()) }
	switch by {
	case "lent":
		var err error
		if s, err = redisstore.New(client(t, p.proxy.Addr()), nil); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
	case "by a dial function": // that resolves the name itself
		var addr atomic.Pointer[string]
		point := func(to *servers.RedisServer) { a := to.Addr(); addr.Store(&a) }
		point(p.old)
		move = func() { point(p.new) }
		s = openOption(t, rueidis.ClientOption{InitAddress: []string{"redis.test:6379"}, DialCtxFn: func(ctx context.Context, name string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
			if name != "redis.test:6379" {
				t.Errorf("dials %s", name)
			}
			return d.DialContext(ctx, "tcp", *addr.Load())
		}})
	default:
		s = open(t, p.proxy.Addr())
	}
	var e ear
	defer s.Notify(e.hear)()
	if err := s.Set(t.Context(), "k", []byte("old"), 0); err != nil {
		t.Fatal(err)
	}
	together(20, func() { s.Get(t.Context(), "k") })
	waitFor(t, "the copy", func() bool { return p.new.Do("GET", "k") == "old" })

	if by == "no stale data" {
		p.new.Do("REPLICAOF", "NO", "ONE")
		p.old.Do("REPLICAOF", "127.0.0.1", "1")
	} else {
		p.promote()
	}
	p.new.Do("SET", "k", "new")
	move()
	switch use {
	case "writes":
		tries := 0
		waitFor(t, "a write", func() bool {
			tries++
			err := s.Set(t.Context(), "k", []byte("newer"), 0)
			if err != nil && !errors.Is(err, core.ErrUnavailable) && !errors.Is(err, core.ErrOutcomeUnknown) {
				t.Error(err)
			}
			return err == nil
		})
		if got := p.new.Do("GET", "k"); got != "newer" {
			t.Errorf("the new master has %v", got)
		}
		if tries > 100 { // one each 10 ms
			t.Errorf("%d tries", tries)
		}
	case "reads": // must not go on at the replica
		p.new.Do("SET", "k", "newer")
		waitFor(t, "a read", func() bool {
			data, err := s.Get(t.Context(), "k")
			return err == nil && string(data) == "newer" && users(p.old) == 0
		})
	case "nothing":
		waitFor(t, "the way back", func() bool { return len(e.all()) == 2 })
	}
	waitFor(t, "the old connections' end", func() bool {
		if use != "nothing" || by == "lent" {
			s.Get(t.Context(), "k") // an idle connection of several ends when it is used
		}
		return users(p.old) == 0
	})
	waitFor(t, "the news", func() bool { return slices.Equal(e.all(), []bool{false, true}) })
	if cause := s.Cause(); cause == nil || !strings.Contains(cause.Error(), "replica") && !strings.Contains(cause.Error(), "MASTERDOWN") {
		t.Errorf("the cause is %v", cause)
	}
	together(50, func() {
		err := s.Set(t.Context(), "k", []byte("last"), 0)
		if by == "lent" && errors.Is(err, core.ErrOutcomeUnknown) {
			err = nil // the client may not have noticed yet that a connection has ended
		}
		if err != nil {
			t.Error(err)
		}
	})
	if got := e.all(); len(got) != 2 {
		t.Errorf("told %v", got)
	}
}

// There is no master yet: the store looks again and again, and says meanwhile that it
// is down.
func TestW23ThereIsNoMasterForAWhile(t *testing.T) {
	for name, rules := range map[string][]string{
		"":      nil,
		"HELLO": {"--rename-command", "HELLO", ""},                                 // as a server before Redis 6
		"ROLE":  {"--rename-command", "HELLO", "", "--rename-command", "ROLE", ""}, // as some proxies
	} {
		t.Run("without "+name, func(t *testing.T) {
			server := servers.Redis(t, rules...)
			s := connected(t, open(t, server.Addr()))
			var e ear
			defer s.Notify(e.hear)()
			if err := s.Set(t.Context(), "k", nil, 0); err != nil {
				t.Fatal(err)
			}
			undo := server.ReadOnly()
			if name == "ROLE" { // it is known by what it refuses
				s.Set(t.Context(), "k", nil, 0)
			}
			waitFor(t, "the news", func() bool { return slices.Equal(e.all(), []bool{false}) })
			if name != "ROLE" {
				time.Sleep(time.Second)
				if got := e.all(); len(got) != 1 {
					t.Errorf("told %v", got)
				}
			}
			undo()
			waitFor(t, "a write", func() bool { return s.Set(t.Context(), "k", nil, 0) == nil })
			waitFor(t, "the news", func() bool { return slices.Equal(e.all(), []bool{false, true}) })
		})
	}
}

// A server that loads its data is down until it has.
func TestW23AServerThatLoads(t *testing.T) {
	server := servers.Redis(t, "--save", "3600 1000000", "--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")
	for i := range 500 {
		server.Do("SET", fmt.Sprint("key", i), strings.Repeat("x", 100))
	}
	server.Do("SAVE")
	server.Kill()
	for _, begins := range []string{"before", "while it loads"} {
		if begins != "before" {
			server.Kill()
		}
		started := make(chan struct{})
		go func() {
			defer close(started)
			server.Start()
		}()
		if begins != "before" {
			waitFor(t, "the server", func() bool {
				_, err := server.Try("PING")
				return err != nil && strings.Contains(err.Error(), "LOADING")
			})
		}
		s := open(t, server.Addr())
		var e ear
		stop := s.Notify(e.hear)
		loading := false
		waitFor(t, "a write", func() bool {
			err := s.Set(t.Context(), "k", nil, 0)
			if err != nil && !errors.Is(err, core.ErrUnavailable) {
				t.Error(err)
			}
			loading = loading || s.Cause() != nil && strings.Contains(s.Cause().Error(), "LOADING")
			return err == nil
		})
		if !loading {
			t.Errorf("%s: the cause was never that it loads", begins)
		}
		waitFor(t, "the news", func() bool { return slices.Equal(e.all(), []bool{false, true}) })
		stop()
		<-started
	}
}

// What is wrong is in the cause and in the errors of calls, or it is the error of
// Open.
func TestW26TheCauseIsTold(t *testing.T) {
	page := httptest.NewServer(http.NotFoundHandler())
	defer page.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // as a server without TLS that is greeted with TLS
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	plain, secure := servers.Redis(t), servers.RedisTLS(t)
	gone := servers.Redis(t)
	gone.Kill()
	unresolved := func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "no.such.host", IsNotFound: true}}
	}
	var all sync.WaitGroup
	for name, test := range map[string]struct {
		addr   string
		tls    *tls.Config
		dial   func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error)
		says   string
		atOpen bool
	}{
		"no such host":          {addr: "no.such.host:6379", dial: unresolved, says: "no such host"},
		"nobody listens":        {addr: gone.Addr(), says: "connection refused"},
		"TLS expected":          {addr: secure.Addr(), says: "expects TLS"},
		"TLS not expected":      {addr: plain.Addr(), tls: &tls.Config{}, says: "TLS handshake"},
		"no answer to TLS":      {addr: silent.Addr().String(), tls: &tls.Config{}, says: "TLS handshake"},
		"another authority":     {addr: secure.Addr(), tls: &tls.Config{}, says: "certificate", atOpen: true},
		"an HTTP server":        {addr: page.Listener.Addr().String(), says: "not valid in the protocol"},
		"an HTTP server by TLS": {addr: page.Listener.Addr().String(), tls: &tls.Config{}, says: "TLS handshake", atOpen: true},
	} {
		all.Go(func() {
			t.Run(name, func(t *testing.T) {
				var s *redisstore.Store
				var err error
				option := rueidis.ClientOption{InitAddress: []string{test.addr}, TLSConfig: test.tls, DialCtxFn: test.dial}
				waitFor(t, "the cause", func() bool { // a busy machine may be late
					if s, err = redisstore.OpenOption(option, nil); err != nil {
						return test.atOpen
					}
					defer s.Close()
					if test.atOpen {
						return false
					}
					for range 2 {
						_, err = s.Get(t.Context(), "k")
						if !errors.Is(err, core.ErrUnavailable) {
							t.Fatal(err)
						}
					}
					return s.Cause() != nil && strings.Contains(s.Cause().Error(), test.says) && strings.Contains(err.Error(), test.says)
				})
				if !strings.Contains(err.Error(), test.says) {
					t.Errorf("%v does not say %q", err, test.says)
				}
			})
		})
	}
	all.Wait()
}

// A server that comes back with another password is down, and the password is not told.
func TestW26APasswordThatHasChanged(t *testing.T) {
	server := servers.Redis(t, "--requirepass", "secret")
	s, err := redisstore.Open("redis://:secret@"+server.Addr(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var e ear
	defer s.Notify(e.hear)()
	if err := s.Set(t.Context(), "k", nil, 0); err != nil {
		t.Fatal(err)
	}
	server.Do("CONFIG", "SET", "requirepass", "other")
	server.Do("CLIENT", "KILL", "USER", "default")
	waitFor(t, "the news", func() bool { return slices.Equal(e.all(), []bool{false}) })
	waitFor(t, "the cause", func() bool { return strings.Contains(fmt.Sprint(s.Cause()), "WRONGPASS") })
	if cause := s.Cause().Error(); strings.Contains(cause, "secret") || strings.Contains(cause, "%!") {
		t.Error(cause)
	}
	server.Do("CONFIG", "SET", "requirepass", "secret")
	waitFor(t, "the news", func() bool { return slices.Equal(e.all(), []bool{false, true}) })
	if err := s.Set(t.Context(), "k", nil, 0); err != nil {
		t.Error(err)
	}
}
