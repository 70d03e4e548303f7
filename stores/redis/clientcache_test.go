package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/faultproxy"
	"github.com/gensession/gensession/internal/servers"
	"github.com/gensession/gensession/internal/stall"
	redisstore "github.com/gensession/gensession/stores/redis"
)

// near makes a store whose copies may be so old.
func near(t testing.TB, bound time.Duration, addrs ...string) *redisstore.Store {
	t.Helper()
	return nearOption(t, bound, patiently(rueidis.ClientOption{InitAddress: addrs}))
}

func nearOption(t testing.TB, bound time.Duration, c rueidis.ClientOption) *redisstore.Store {
	t.Helper()
	s, err := redisstore.OpenOption(c, &redisstore.Options{NearCache: bound, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// read wants a value.
func read(t *testing.T, s *redisstore.Store, key, want string) {
	t.Helper()
	if data, err := s.Get(t.Context(), key); err != nil || string(data) != want {
		t.Errorf("%q, %v, not %q", data, err, want)
	}
}

func set(t *testing.T, s *redisstore.Store, key, data string) {
	t.Helper()
	if err := s.Set(t.Context(), key, []byte(data), time.Hour); err != nil {
		t.Error(err)
	}
}

// calls is how many GETs a server has seen.
func calls(s *servers.RedisServer) int {
	info, _ := s.Do("INFO", "commandstats").(string)
	for line := range strings.Lines(info) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_get:calls="); ok {
			n, _ := strconv.Atoi(rest[:strings.IndexByte(rest, ',')])
			return n
		}
	}
	return 0
}

func TestNearCacheIsAStore(t *testing.T) {
	server := servers.SharedRedis(t)
	var all sync.WaitGroup // they mostly wait for a ttl
	run := func(name string, test func(t *testing.T)) { all.Go(func() { t.Run(name, test) }) }
	for _, bound := range []time.Duration{time.Millisecond, time.Hour} {
		run(bound.String(), func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) core.Store { return connected(t, near(t, bound, server.Addr())) })
		})
	}
	run("cluster", func(t *testing.T) {
		cluster := servers.RedisCluster(t, 3, 0)
		storetest.Run(t, func(t *testing.T) core.Store { return connected(t, near(t, time.Hour, cluster.Addrs()[0])) })
	})
	run("sentinel", func(t *testing.T) {
		sentinel := servers.RedisSentinel(t, 1)
		option := rueidis.ClientOption{InitAddress: sentinel.Addrs(), Sentinel: rueidis.SentinelOption{MasterSet: servers.MasterSet}}
		storetest.Run(t, func(t *testing.T) core.Store { return connected(t, nearOption(t, time.Hour, patiently(option))) })
	})
	run("TLS and ACL", func(t *testing.T) {
		server := servers.RedisTLS(t)
		server.SetUser("app", "secret", "~storetest:*", "resetchannels", "-@all", "+get", "+set", "+del", "+pexpire", "+persist", "+exists", "+append", "+evalsha", "+eval", "+ping",
			"+time", "+zadd", "+zcard", "+zscore", "+zrem", "+zrangebyscore", "+zremrangebyscore", "+scan",
			"+client|tracking", "+pttl")
		option := rueidis.ClientOption{InitAddress: []string{server.Addr()}, TLSConfig: server.TLS(), Username: "app", Password: "secret"}
		storetest.Run(t, func(t *testing.T) core.Store { return connected(t, nearOption(t, time.Hour, patiently(option))) })
	})
	all.Wait()
}

func TestNearCacheMisfits(t *testing.T) {
	server := servers.Redis(t)
	o := &redisstore.Options{NearCache: time.Second}
	if _, err := redisstore.New(client(t, server.Addr()), o); !errors.Is(err, errors.ErrUnsupported) {
		t.Error("a client of the user's:", err)
	}
	if _, err := redisstore.Open("redis://"+server.Addr(), &redisstore.Options{NearCache: -1}); err == nil {
		t.Error("a negative bound: no error")
	}
	for _, c := range []rueidis.ClientOption{{DisableCache: true}, {AlwaysRESP2: true}, {ClientTrackingOptions: []string{"BCAST"}}} {
		c.InitAddress = []string{server.Addr()}
		if _, err := redisstore.OpenOption(c, o); err == nil || !strings.Contains(err.Error(), "NearCache") {
			t.Error(err)
		}
	}
	server.SetUser("app", "secret", "~*", "+@all", "-client|tracking")
	if _, err := redisstore.Open("redis://app:secret@"+server.Addr(), o); err == nil || !strings.Contains(err.Error(), "NearCache") {
		t.Error("without leave:", err)
	}
	// Without it there is no tracking.
	server = servers.Redis(t)
	s := patient(t, server.Addr())
	set(t, s, "k", "x")
	if list, _ := server.Do("CLIENT", "LIST").(string); strings.Contains(list, "flags=t") {
		t.Error(list)
	}
}

func TestNearCacheSparesTheServer(t *testing.T) {
	server := servers.Redis(t)
	var told atomic.Int32
	s := nearOption(t, time.Hour, patiently(rueidis.ClientOption{
		InitAddress:     []string{server.Addr()},
		OnInvalidations: func([]rueidis.RedisMessage) { told.Add(1) }, // of the user's
	}))
	set(t, s, "k", "x")
	waitFor(t, "reads without the server", func() bool {
		read(t, s, "k", "x")
		n := calls(server)
		for range 100 {
			data, v, err := s.GetVersion(t.Context(), "k")
			if err != nil || string(data) != "x" || v != redisstore.Digest(data) {
				t.Fatalf("%q, %d, %v", data, v, err)
			}
			data[0] = '#' // it is the caller's
		}
		return calls(server) == n
	})
	server.Do("SET", "k", "y")
	waitFor(t, "the news", func() bool { return told.Load() > 0 })
	s.Close()
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, core.ErrUnavailable) {
		t.Error("after Close:", err)
	}
}

// Far within the bound: a change made elsewhere arrives all the same.
func TestNearCacheHearsOfChanges(t *testing.T) {
	server := servers.Redis(t)
	here, there := near(t, time.Hour, server.Addr()), patient(t, server.Addr())
	changes := map[string]func(){
		"Set":     func() { set(t, there, "k", "new") },
		"Destroy": func() { there.Destroy(t.Context(), "k") },
		"expiry":  func() { there.Touch(t.Context(), "k", time.Millisecond) },
		"flush":   func() { server.Do("FLUSHALL") },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			for range 20 {
				set(t, there, "k", "old")
				waitFor(t, "the old record", func() bool {
					data, _ := here.Get(t.Context(), "k")
					return string(data) == "old"
				})
				change()
				waitFor(t, "the change", func() bool {
					data, _ := here.Get(t.Context(), "k")
					return string(data) != "old"
				})
			}
		})
	}
}

// Two processes, one of which is cut off, so that no news reaches it. A read
// that begins later than the bound after a change does not see what was before.
func TestNearCacheIsNeverOlderThanItsBound(t *testing.T) {
	const bound = 300 * time.Millisecond
	server := servers.Redis(t)
	p := faultproxy.New(t, server.Addr())
	here := patient(t, server.Addr())
	there := nearOption(t, bound, rueidis.ClientOption{InitAddress: []string{p.Addr()}}) // a silent connection ends soon
	var stale, fresh, failed int
	for i := range 6 {
		key := fmt.Sprint("k", i)
		set(t, here, key, "old")
		for { // so that it is a copy, and a new one, however busy the machine is
			begun := time.Now()
			read(t, there, key, "old")
			read(t, there, key, "old")
			if time.Since(begun) < bound/4 {
				break
			}
			time.Sleep(bound) // another copy
		}
		if i%2 == 0 {
			p.Hole() // all is silent
		} else {
			p.Replies(faultproxy.Fault{Hole: true})
		}
		if i < 3 {
			set(t, here, key, "new")
		} else if err := here.Destroy(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		changed := time.Now()
		for time.Since(changed) < 3*bound {
			begun := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			data, _, err := there.GetVersion(ctx, key)
			cancel()
			switch {
			case err != nil && !errors.Is(err, core.ErrNotFound):
				failed++
			case string(data) == "old":
				stale++
				if age := begun.Sub(changed); age >= bound {
					t.Errorf("a read saw the old record %v after its end", age)
				}
			default:
				fresh++
			}
		}
		p.Clear()
		waitFor(t, "the server", func() bool {
			data, err := there.Get(t.Context(), key)
			return (err == nil || errors.Is(err, core.ErrNotFound)) && string(data) != "old"
		})
	}
	t.Logf("cut off: %d reads saw the old record within the bound, %d the new one, %d failed", stale, fresh, failed)
	if stale == 0 || failed == 0 {
		t.Error("the process was not cut off, or kept no copies")
	}
}

// A browser logs out in one process and goes on in another, which no news
// reaches: it is let in within the bound only, and changes nothing.
func TestNearCacheAndALogout(t *testing.T) {
	const bound = 500 * time.Millisecond
	const user core.Key[string] = "user"
	server := servers.Redis(t)
	p := faultproxy.New(t, server.Addr())
	manager := func(s *redisstore.Store) *core.Manager {
		m, err := core.New(s, &core.Options{Keys: [][]byte{[]byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")}, ReconnectTimeout: 100 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		return m
	}
	here, there := manager(near(t, time.Hour, server.Addr())), manager(nearOption(t, bound, rueidis.ClientOption{InitAddress: []string{p.Addr()}}))
	exchange := func(m *core.Manager, b *jartest.Browser, handle func(s *core.Session)) error {
		jar := b.Jar("/")
		v, _ := m.NewVisit(jar, nil)
		if err := v.Begin(t.Context()); err != nil {
			return err
		}
		s, err := v.Session(t.Context())
		if err != nil {
			return err
		}
		handle(s)
		err = v.Commit(t.Context())
		b.Take("/", jar.SetCookies...)
		return err
	}
	ends := map[string]func(s *core.Session) error{
		"Destroy": func(s *core.Session) error { return s.Destroy(t.Context()) },
		"Reset":   func(s *core.Session) error { return s.Reset(t.Context()) },
		"Renew":   func(s *core.Session) error { return s.Renew(t.Context()) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			var b, stolen jartest.Browser
			var is string
			login := func(s *core.Session) {
				if err := user.Set(s, "alice"); err != nil {
					t.Error(err)
				}
			}
			look := func(s *core.Session) { is = user.Get(s) }
			if err := exchange(here, &b, login); err != nil {
				t.Fatal(err)
			}
			stolen.Take("/", cookies(&b)...)
			for _, m := range []*core.Manager{here, there, there} {
				if err := exchange(m, &stolen, look); err != nil || is != "alice" {
					t.Fatalf("%q, %v", is, err)
				}
			}
			p.Replies(faultproxy.Fault{Hole: true})
			if err := exchange(here, &b, func(s *core.Session) {
				if err := end(s); err != nil {
					t.Error(err)
				}
			}); err != nil {
				t.Fatal(err)
			}
			ended := time.Now()
			if err := exchange(here, &stolen, look); err != nil || is != "" {
				t.Errorf("here it does not hold at once: %q, %v", is, err)
			}
			for {
				begun := time.Now()
				if is = ""; exchange(there, &stolen, look) != nil {
					break // there was no copy any more
				}
				if is == "alice" && begun.Sub(ended) >= bound {
					t.Fatalf("let in %v after the end", begun.Sub(ended))
				}
				time.Sleep(time.Millisecond)
			}
			p.Clear()
			waitFor(t, "the end", func() bool { return exchange(there, &stolen, look) == nil && is == "" })
		})
	}
	t.Run("a change from an old copy", func(t *testing.T) {
		var b, stolen jartest.Browser
		exchange(here, &b, func(s *core.Session) { user.Set(s, "alice") })
		stolen.Take("/", cookies(&b)...)
		is := ""
		for range 2 {
			if err := exchange(there, &stolen, func(s *core.Session) { is = user.Get(s) }); err != nil || is != "alice" {
				t.Fatalf("%q, %v", is, err)
			}
		}
		// It has its copy, and saves after the end of the session elsewhere.
		exchange(there, &stolen, func(s *core.Session) {
			is = user.Get(s)
			if err := exchange(here, &b, func(s *core.Session) { s.Destroy(t.Context()) }); err != nil {
				t.Error(err)
			}
			user.Set(s, "mallory")
		})
		exchange(here, &stolen, func(s *core.Session) { is = user.Get(s) })
		if is != "" {
			t.Errorf("it came back: %q", is)
		}
	})
}

// cookies are those of a browser, as lines for another.
func cookies(b *jartest.Browser) []string { return strings.Split(b.Cookie("/"), "; ") }

// What this process has written it sees, whatever it read meanwhile and however
// the write ended.
func TestNearCacheSeesOwnWritesAtOnce(t *testing.T) {
	server := servers.Redis(t)
	s := near(t, time.Hour, server.Addr())
	other := patient(t, server.Addr())
	var stop atomic.Bool
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for !stop.Load() {
				s.Get(context.Background(), "k")
				time.Sleep(rand.N(time.Millisecond))
			}
		})
	}
	defer readers.Wait()
	defer stop.Store(true)
	v, err := s.SetVersion(t.Context(), "k", []byte("0"), time.Hour, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 500 {
		want := fmt.Sprint(i)
		if v, err = s.SetVersion(t.Context(), "k", []byte(want), time.Hour, v); err != nil {
			t.Fatal(err)
		}
		read(t, s, "k", want)
		switch i % 5 {
		case 1: // another writes, and this one meets it
			set(t, other, "k", want+" from another")
			if _, err := s.SetVersion(t.Context(), "k", []byte("lost"), time.Hour, v); !errors.Is(err, core.ErrConflict) {
				t.Fatal(err)
			}
			var data []byte
			if data, v, err = s.GetVersion(t.Context(), "k"); err != nil || string(data) != want+" from another" {
				t.Fatalf("after a conflict: %q, %v", data, err)
			}
		case 2: // the same with one that is gone
			other.Destroy(t.Context(), "k")
			if _, err := s.SetVersion(t.Context(), "k", []byte("lost"), time.Hour, v); !errors.Is(err, core.ErrNotFound) {
				t.Fatal(err)
			}
			if data, err := s.Get(t.Context(), "k"); !errors.Is(err, core.ErrNotFound) {
				t.Fatalf("after it was gone: %q, %v", data, err)
			}
			if v, err = s.SetVersion(t.Context(), "k", []byte(want), time.Hour, 0); err != nil {
				t.Fatal(err)
			}
		case 3:
			other.Destroy(t.Context(), "k")
			if err := s.Touch(t.Context(), "k", time.Hour); !errors.Is(err, core.ErrNotFound) {
				t.Fatal(err)
			}
			if _, err := s.Get(t.Context(), "k"); !errors.Is(err, core.ErrNotFound) {
				t.Fatal("after a touch that found nothing:", err)
			}
			if v, err = s.SetVersion(t.Context(), "k", []byte(want), time.Hour, 0); err != nil {
				t.Fatal(err)
			}
		case 4:
			if err := s.Destroy(t.Context(), "k"); err != nil {
				t.Fatal(err)
			}
			if data, err := s.Get(t.Context(), "k"); !errors.Is(err, core.ErrNotFound) {
				t.Fatalf("after Destroy: %q, %v", data, err)
			}
			if v, err = s.SetVersion(t.Context(), "k", []byte(want), time.Hour, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestNearCacheAsksAfterAWriteWithoutAnAnswer(t *testing.T) {
	server := servers.Redis(t)
	p := faultproxy.New(t, server.Addr())
	s := nearOption(t, time.Hour, rueidis.ClientOption{InitAddress: []string{p.Addr()}})
	for i := range 5 {
		set(t, s, "k", "old")
		read(t, s, "k", "old")
		read(t, s, "k", "old")
		p.Replies(faultproxy.Fault{Hole: true})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		var err error
		if i%2 == 0 {
			err = s.Set(ctx, "k", []byte("new"), time.Hour)
		} else {
			err = s.Destroy(ctx, "k")
		}
		if !errors.Is(err, core.ErrOutcomeUnknown) {
			t.Fatal(err)
		}
		ctx, cancelRead := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if data, err := s.Get(ctx, "k"); err == nil && string(data) == "old" {
			t.Error("a copy from before")
		}
		cancel()
		cancelRead()
		p.Clear()
		for range 20 { // again and again: the write may come late
			n := calls(server)
			data, err := s.Get(t.Context(), "k")
			if string(data) == "old" {
				t.Errorf("%q, %v", data, err)
			}
			if err == nil && calls(server) == n {
				t.Error("the server was not asked")
			}
		}
	}
}

func TestACopyDoesNotOutliveItsRecord(t *testing.T) { stall.Retry(t, copyEndsWithItsRecord) }

func copyEndsWithItsRecord(t testing.TB) {
	server := servers.Redis(t)
	s := near(t, time.Hour, server.Addr())
	if err := s.Set(t.Context(), "k", []byte("x"), 500*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	copies := 0
	for time.Since(begun) < 100*time.Millisecond {
		if _, err := s.Get(t.Context(), "k"); err == nil {
			copies++
		}
	}
	server.Pause() // it can't tell that the record has expired
	defer server.Resume()
	time.Sleep(time.Until(begun.Add(510 * time.Millisecond)))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if data, err := s.Get(ctx, "k"); err == nil || copies == 0 {
		t.Errorf("%q after its ttl, %d reads before", data, copies)
	}
}

func TestAMissIsNotKept(t *testing.T) {
	server := servers.SharedRedis(t)
	here, there := patient(t, server.Addr()), near(t, time.Hour, server.Addr())
	for i := range 100 {
		key := fmt.Sprint("near-miss-", i)
		for range 2 {
			if _, err := there.Get(t.Context(), key); !errors.Is(err, core.ErrNotFound) {
				t.Fatal(err)
			}
		}
		set(t, here, key, "x")
		read(t, there, key, "x")
	}
}

// A connection that ends takes with it what the server would have told.
func TestACopyEndsWithTheConnection(t *testing.T) {
	server := servers.Redis(t)
	p := faultproxy.New(t, server.Addr())
	here, there := patient(t, server.Addr()), near(t, time.Hour, p.Addr())
	for range 20 {
		set(t, here, "k", "old")
		waitFor(t, "the old record", func() bool {
			data, _ := there.Get(t.Context(), "k")
			return string(data) == "old"
		})
		p.CutAll(faultproxy.Reset)
		set(t, here, "k", "new")
		waitFor(t, "the new record", func() bool {
			data, _ := there.Get(t.Context(), "k")
			return string(data) == "new"
		})
	}
}

// Two processes count on one record, each from copies that may be old.
func TestNearCacheLosesNoUpdate(t *testing.T) {
	server := servers.SharedRedis(t)
	const key, each = "near-counter", 200
	both := []*redisstore.Store{near(t, time.Hour, server.Addr()), near(t, time.Hour, server.Addr())}
	set(t, both[0], key, "0")
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			s := both[i%2]
			for range each {
				for tries := 0; ; tries++ {
					data, v, err := s.GetVersion(context.Background(), key)
					if err != nil {
						t.Error(err)
						return
					}
					n, _ := strconv.Atoi(string(data))
					if _, err = s.SetVersion(context.Background(), key, fmt.Append(nil, n+1), time.Hour, v); err == nil {
						break
					} else if !errors.Is(err, core.ErrConflict) {
						t.Error(err)
						return
					} else if tries > 10000 {
						t.Error("it goes round in circles")
						return
					}
				}
			}
		})
	}
	all.Wait()
	if data, _ := patient(t, server.Addr()).Get(t.Context(), key); string(data) != fmt.Sprint(4*each) {
		t.Errorf("%s of %d", data, 4*each)
	}
}

// The memory that copies take has an end.
func TestNearCacheForgets(t *testing.T) {
	server := servers.Redis(t)
	s := near(t, time.Hour, server.Addr())
	data := make([]byte, 64<<10)
	const records = 1500 // three times what there is room for
	for i := range records {
		if err := s.Set(t.Context(), fmt.Sprint("k", i), data, time.Hour); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(t.Context(), fmt.Sprint("k", i)); err != nil {
			t.Fatal(err)
		}
	}
	n := calls(server)
	for i := range records {
		if _, err := s.Get(t.Context(), fmt.Sprint("k", i)); err != nil {
			t.Fatal(err)
		}
	}
	if asked := calls(server) - n; asked < records/2 {
		t.Errorf("the server was asked for %d of %d records", asked, records)
	}
	if kept := redisstore.NearBytes(s); kept > 32<<20 || kept < 8<<20 {
		t.Errorf("%d bytes are kept", kept)
	}
	large := make([]byte, 1<<20)
	if err := s.Set(t.Context(), "large", large, 0); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got, err := s.Get(t.Context(), "large"); err != nil || len(got) != len(large) {
			t.Error(err)
		}
	}
}
