package memcachestore_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"go.uber.org/goleak"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/servers"
	"github.com/gensession/gensession/internal/stall"
	memcachestore "github.com/gensession/gensession/stores/memcache"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(servers.Main(m)) }

// open makes a store that is closed at the end of the test.
func open(t testing.TB, o *memcachestore.Options, addrs ...string) *memcachestore.Store {
	t.Helper()
	s, err := memcachestore.Open(addrs, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// borrow makes a store on a client of its own, for up to 64 calls at once.
func borrow(t testing.TB, o *memcachestore.Options, addrs ...string) *memcachestore.Store {
	t.Helper()
	client := memcache.New(addrs...)
	client.MaxIdleConns = 64
	if o != nil {
		client.Timeout = o.Timeout
	}
	t.Cleanup(func() { client.Close() })
	s, err := memcachestore.New(client, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// kinds are the two ways to make a store.
var kinds = map[string]func(t testing.TB, o *memcachestore.Options, addrs ...string) *memcachestore.Store{
	"Open": open,
	"New":  borrow,
}

// each runs a test with both kinds of store. Many limit the time of a call.
func each(t *testing.T, test func(t testing.TB, open func(t testing.TB, o *memcachestore.Options, addrs ...string) *memcachestore.Store)) {
	for name, open := range kinds {
		t.Run(name, func(t *testing.T) { stall.Retry(t, func(t testing.TB) { test(t, open) }) })
	}
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// set prepares a test. A busy machine may need more than the time of one call.
func set(t testing.TB, s core.Store, key, data string) {
	t.Helper()
	var err error
	for range 20 {
		err = s.Set(t.Context(), key, []byte(data), time.Hour)
		if !errors.Is(err, core.ErrUnavailable) && !errors.Is(err, core.ErrOutcomeUnknown) {
			break
		}
	}
	if err != nil {
		t.Fatal("Set:", err)
	}
}

func holds(t testing.TB, s core.Store, key, want string) {
	t.Helper()
	if data, err := s.Get(t.Context(), key); err != nil || string(data) != want {
		t.Errorf("Get: %d bytes, %v; want %d", len(data), err, len(want))
	}
}

// is fails the test unless err is all of the sentinels.
func is(t testing.TB, call string, err error, sentinels ...error) {
	t.Helper()
	for _, sentinel := range sentinels {
		if !errors.Is(err, sentinel) {
			t.Errorf("%s: %v, want %q", call, err, sentinel)
		}
	}
}

// patient is for tests whose subject is not the time: the machine may be busy.
func patient() *memcachestore.Options { return &memcachestore.Options{Timeout: 10 * time.Second} }

func TestStore(t *testing.T) {
	addr := servers.SharedMemcached(t).Addr()
	var all sync.WaitGroup
	all.Go(func() { t.Run("three servers", testThreeServers) })
	all.Go(func() {
		t.Run("observed", func(t *testing.T) { // W41
			storetest.Run(t, func(t *testing.T) core.Store {
				return core.Observe(open(t, patient(), addr), func(ctx context.Context, _ string) (context.Context, func(error)) { return ctx, nil })
			})
		})
	})
	for name, open := range kinds {
		all.Go(func() {
			t.Run(name, func(t *testing.T) {
				storetest.Run(t, func(t *testing.T) core.Store { return open(t, patient(), addr) })
			})
		})
	}
	all.Wait()
}

func testThreeServers(t *testing.T) {
	addrs := []string{servers.Memcached(t).Addr(), servers.Memcached(t).Addr(), servers.Memcached(t).Addr()}
	var all sync.WaitGroup
	for _, c := range storetest.Cases() {
		switch c.Name {
		case "create after expiry", "swap after expiry", "Touch of an expired key", "ttl of Batch", "Batch after expiry":
			continue // they tell by another key that this one is gone, and each server's clock ticks when it likes
		}
		all.Go(func() {
			t.Run(c.Name, func(t *testing.T) { c.Run(t, open(t, patient(), addrs...)) })
		})
	}
	all.Wait()
}

func TestOptionsThatDoNotFit(t *testing.T) {
	for name, addrs := range map[string][]string{
		"no list": nil, "no port": {"127.0.0.1"}, "an empty port": {"127.0.0.1:"}, "no name": {""}, "a list in one": {"a:1,b:2"},
		"a URL": {"memcache://127.0.0.1:11211"}, "a URL of a socket": {"unix:/run/memcached.sock"}, "a path after a port": {"127.0.0.1:11211/0"},
		"a port too high": {"127.0.0.1:65536"}, "port 0": {"127.0.0.1:0"}, "a port below 0": {"127.0.0.1:-1"}, "no such port": {"127.0.0.1:port"},
		"a blank before": {" 127.0.0.1:11211"}, "a blank after": {"127.0.0.1:11211 "}, "a line": {"127.0.0.1\n:11211"},
		"the second": {"127.0.0.1:11211", "127.0.0.1"},
	} {
		if s, err := memcachestore.Open(addrs, nil); err == nil {
			s.Close()
			t.Error(name)
		}
	}
	for _, o := range []*memcachestore.Options{{Timeout: -1}, {Timeout: 500}, {Timeout: 1<<63 - 1}, {MaxConns: -1}, {MaxPayload: -1}} {
		if s, err := memcachestore.Open([]string{"127.0.0.1:11211"}, o); err == nil {
			s.Close()
			t.Errorf("%+v", o)
		}
	}
	if _, err := memcachestore.New(nil, nil); err == nil {
		t.Error("no client")
	}
}

func TestAKeyThatTheContractForbidsIsRefused(t *testing.T) {
	each(t, func(t testing.TB, open func(testing.TB, *memcachestore.Options, ...string) *memcachestore.Store) {
		s := open(t, patient(), servers.SharedMemcached(t).Addr())
		for _, key := range []string{"", strings.Repeat("k", 251), "a b", "a\tb", "a\r\n", "a\x00", "a\x7f", "ä"} {
			for call, err := range calls(s, t.Context(), key) {
				is(t, call, err, core.ErrRefused)
			}
		}
	})
}

// calls makes all calls of a store, one after the other.
func calls(s *memcachestore.Store, ctx context.Context, key string) map[string]error {
	_, get := s.Get(ctx, key)
	_, _, version := s.GetVersion(ctx, key)
	_, create := s.SetVersion(ctx, key, []byte("x"), time.Hour, 0)
	_, swap := s.SetVersion(ctx, key, []byte("x"), time.Hour, 1)
	_, batch := s.Batch(ctx, core.Write{Key: key, Data: []byte("x"), TTL: time.Hour, Version: 1})
	_, removal := s.Batch(ctx, core.Write{Key: key, Version: 1})
	_, _, add := s.Append(ctx, key, []byte("x"))
	return map[string]error{
		"Get":        get,
		"GetVersion": version,
		"Set":        s.Set(ctx, key, []byte("x"), time.Hour),
		"create":     create,
		"swap":       swap,
		"Batch":      batch,
		"removal":    removal,
		"Append":     add,
		"Touch":      s.Touch(ctx, key, time.Hour),
		"Destroy":    s.Destroy(ctx, key),
	}
}

func TestAClosedStore(t *testing.T) {
	each(t, func(t testing.TB, open func(testing.TB, *memcachestore.Options, ...string) *memcachestore.Store) {
		s := open(t, patient(), servers.SharedMemcached(t).Addr())
		set(t, s, t.Name(), "x")
		var told []bool
		s.Notify(func(up bool) { told = append(told, up) })
		for range 2 {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		if len(told) != 1 || told[0] {
			t.Errorf("told %v", told)
		}
		for call, err := range calls(s, t.Context(), t.Name()) {
			is(t, call, err, core.ErrUnavailable)
		}
	})
}

// Close lets calls under way come to their end, and only turns away new ones.
func TestK52CloseDuringCalls(t *testing.T) {
	each(t, func(t testing.TB, open func(testing.TB, *memcachestore.Options, ...string) *memcachestore.Store) {
		s := open(t, patient(), servers.SharedMemcached(t).Addr())
		set(t, s, t.Name(), "x")
		var once sync.Once
		together(200, func(i int) {
			for n := 0; ; n++ {
				if n == 20 {
					once.Do(func() { go s.Close() })
				}
				_, err := s.Get(t.Context(), t.Name())
				if i%2 > 0 {
					err = s.Set(t.Context(), t.Name(), []byte("x"), time.Hour)
				}
				if err == nil {
					continue
				}
				if is(t, "a call", err, core.ErrUnavailable); errors.Is(err, core.ErrOutcomeUnknown) || !strings.Contains(err.Error(), "it is closed") {
					t.Error(err)
				}
				return
			}
		})
		s.Close()
	})
}

func TestTheClientStaysTheUsers(t *testing.T) {
	client := memcache.New(servers.SharedMemcached(t).Addr())
	defer client.Close()
	s, err := memcachestore.New(client, nil)
	if err != nil {
		t.Fatal(err)
	}
	set(t, s, t.Name(), "x")
	s.Close()
	if it, err := client.Get(t.Name()); err != nil || string(it.Value) != "x" {
		t.Error(err)
	}
}

// Keys are where gomemcache looks for them.
func TestOtherClientsFindTheKeys(t *testing.T) {
	addrs := []string{servers.Memcached(t).Addr(), servers.Memcached(t).Addr(), servers.Memcached(t).Addr()}
	s := open(t, patient(), addrs...)
	client := memcache.New(addrs...)
	defer client.Close()
	for _, key := range []string{"a", "b", "c", "d", "e", "f", strings.Repeat("k", 250)} {
		set(t, s, key, "under "+key)
		if it, err := client.Get(key); err != nil || string(it.Value) != "under "+key {
			t.Error(err)
		}
	}
}
