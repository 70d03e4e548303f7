package redisstore_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/goleak"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/servers"
	redisstore "github.com/gensession/gensession/stores/redis"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(servers.Main(m),
		// A cluster client of rueidis that was closed may still sleep for up to
		// a second before it finds no map of the slots to refresh, and for five
		// before it closes a connection to a node that has left or was moved.
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"),
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*clusterClient)._refresh.func2"),
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*clusterClient).redirectOrNew.func1"))
}

// open makes a store on a server that is closed at the end of the test.
func open(t testing.TB, addr string) *redisstore.Store {
	t.Helper()
	s, err := redisstore.Open("redis://"+addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// calm are options for a machine that stands still now and then: no call without a
// deadline fails by that.
var calm = &redisstore.Options{Timeout: time.Minute}

// patiently is an option of a client whose connections and dials don't fail by that
// either, nor, for that long, by a server that is silent.
func patiently(c rueidis.ClientOption) rueidis.ClientOption {
	c.ConnWriteTimeout = time.Minute
	c.Dialer.Timeout = time.Minute
	return c
}

// patient is open for tests of what a server answers, and not of when.
func patient(t testing.TB, addr string) *redisstore.Store {
	t.Helper()
	s, err := redisstore.OpenOption(patiently(rueidis.ClientOption{InitAddress: []string{addr}}), calm)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// connected waits until s has a connection: a busy machine may not get that far
// in the time that a dial has.
func connected(t testing.TB, s *redisstore.Store) *redisstore.Store {
	t.Helper()
	waitFor(t, "a connection", func() bool {
		_, err := s.Get(t.Context(), "storetest:nothing")
		return !errors.Is(err, core.ErrUnavailable)
	})
	return s
}

// refused is the error of Open. On a busy machine there may be no connection
// yet, which is none; but a store that can't have one never works.
func refused(t testing.TB, url string) (err error) {
	t.Helper()
	waitFor(t, "a refusal", func() bool {
		var s *redisstore.Store
		if s, err = redisstore.Open(url, nil); err == nil {
			if _, err := s.Get(t.Context(), "k"); !errors.Is(err, core.ErrUnavailable) {
				t.Errorf("a store that should have no connection has one: %v", err)
			}
			s.Close()
		}
		return err != nil
	})
	return err
}

// client makes a client with the settings that it has by itself.
func client(t testing.TB, addr string) rueidis.Client {
	t.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestStore(t *testing.T) {
	server := servers.SharedRedis(t)
	storetest.Run(t, func(t *testing.T) core.Store { return connected(t, patient(t, server.Addr())) })
}

func TestStoreOnTheUsersClient(t *testing.T) {
	c := client(t, servers.SharedRedis(t).Addr())
	storetest.Run(t, func(t *testing.T) core.Store {
		s, err := redisstore.New(c, &redisstore.Options{Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return core.Observe(s, func(ctx context.Context, _ string) (context.Context, func(error)) { return ctx, nil }) // W41
	})
	// The stores are closed, and it lives.
	if err := c.Do(t.Context(), c.B().Ping().Build()).Error(); err != nil {
		t.Error(err)
	}
}

func TestMisfitsAreFoundAtOnce(t *testing.T) {
	if _, err := redisstore.New(nil, nil); err == nil {
		t.Error("no client, no error")
	}
	for _, o := range []redisstore.Options{{Timeout: -1}, {MaxSize: -1}} {
		if _, err := redisstore.Open("redis://127.0.0.1:1", &o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
	for want, o := range map[string]redisstore.Options{
		"redisstore: Options.Timeout of 500ns is shorter":  {Timeout: 500},
		"redisstore: Options.NearCache of 1µs is shorter":  {NearCache: 1000},
		"redisstore: Options.Timeout of 2400h0m0s is long": {Timeout: 100 * 24 * time.Hour},
	} {
		if _, err := redisstore.Open("redis://127.0.0.1:1", &o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	for _, url := range []string{"", "localhost:6379", "http://localhost", "redis://localhost/zero", "redis://user:top-secret@%zz", "redis://user:top-secret@127.0.0.1:99999"} {
		_, err := redisstore.Open(url, nil)
		if err == nil {
			t.Errorf("%q: no error", url)
		} else if strings.Contains(err.Error(), "top-secret") {
			t.Error("the password is in the error")
		}
	}
	if _, err := redisstore.OpenOption(rueidis.ClientOption{}, nil); err == nil {
		t.Error("no address, no error")
	}
}

// What a Koa application writes is a record with a version, and what is
// written here is what it reads.
func TestAKoaApplicationWritesTheSameKeys(t *testing.T) {
	server := servers.SharedRedis(t)
	s := patient(t, server.Addr())
	const key, old = "koa:sess:abc", `{"cookie":{"httpOnly":true},"n":1}`
	server.Do("SETEX", key, "100", old)
	data, v, err := s.GetVersion(t.Context(), key)
	if err != nil || string(data) != old || v == 0 {
		t.Fatalf("%s, %d, %v", data, v, err)
	}
	now, err := s.SetVersion(t.Context(), key, []byte(`{"n":2}`), 1500*time.Millisecond, v)
	if err != nil {
		t.Fatal(err)
	}
	if got := server.Do("GET", key); got != `{"n":2}` {
		t.Error("GET:", got)
	}
	if ms := server.Do("PTTL", key).(int64); ms > 1500 || ms < 1000 {
		t.Error("PTTL:", ms)
	}
	server.Do("SETEX", key, "100", old)
	if _, err := s.SetVersion(t.Context(), key, nil, 0, now); !errors.Is(err, core.ErrConflict) {
		t.Error("its write was not noticed:", err)
	}
}

func TestATTLIsExactToTheMillisecond(t *testing.T) {
	server := servers.SharedRedis(t)
	s := patient(t, server.Addr())
	const key = "ttl"
	pttl := func() int64 { return server.Do("PTTL", key).(int64) }
	// Rounded up: less than a millisecond is one, and never "for ever".
	for _, write := range []func() error{
		func() error { return s.Set(t.Context(), key, []byte("x"), time.Nanosecond) },
		func() error {
			_, err := s.SetVersion(t.Context(), key, []byte("x"), time.Nanosecond, 0)
			return err
		},
		func() error {
			if err := s.Set(t.Context(), key, []byte("x"), time.Hour); err != nil {
				return err
			}
			return s.Touch(t.Context(), key, time.Nanosecond)
		},
	} {
		err := write()
		if ms := pttl(); err != nil || ms != -2 && ms != 0 && ms != 1 {
			t.Errorf("a ttl of a nanosecond: %d ms, %v", ms, err)
		}
		_ = s.Destroy(t.Context(), key)
	}
	for _, ttl := range []time.Duration{0, time.Hour, time.Hour + 1, time.Hour + time.Millisecond - 1, 1<<63 - 1} {
		want := int64((ttl + min(time.Millisecond-1, 1<<63-1-ttl)) / time.Millisecond)
		if ttl == 0 {
			want = -1
		} else if ttl == 1<<63-1 {
			want = int64(ttl/time.Millisecond) + 1
		}
		writes := map[string]func() error{
			"Set":   func() error { return s.Set(t.Context(), key, []byte("x"), ttl) },
			"Touch": func() error { return s.Touch(t.Context(), key, ttl) },
			"SetVersion": func() error {
				_, v, _ := s.GetVersion(t.Context(), key)
				_, err := s.SetVersion(t.Context(), key, []byte("x"), ttl, v)
				return err
			},
			"creating": func() error {
				s.Destroy(t.Context(), key)
				_, err := s.SetVersion(t.Context(), key, []byte("x"), ttl, 0)
				return err
			},
		}
		for _, name := range []string{"Set", "Touch", "SetVersion", "creating"} {
			if err := writes[name](); err != nil {
				t.Fatal(name, ttl, err)
			}
			if got := pttl(); got > want || got < want-500 {
				t.Errorf("%s %v: %d ms, not %d", name, ttl, got, want)
			}
		}
	}
}

func TestTheSwapSurvivesAServerThatForgotIt(t *testing.T) {
	server := servers.Redis(t)
	s := patient(t, server.Addr())
	v, err := s.SetVersion(t.Context(), "k", []byte("1"), 0, 0)
	for range 3 {
		if err != nil {
			t.Fatal(err)
		}
		server.Do("SCRIPT", "FLUSH")
		v, err = s.SetVersion(t.Context(), "k", []byte("2"), 0, v)
	}
}

func TestAKeyThatTheContractForbidsIsRefused(t *testing.T) {
	s := patient(t, servers.SharedRedis(t).Addr())
	for _, key := range []string{"", strings.Repeat("k", 251), "a b", "a\r\n", "a\x00", "ä", "a\xff"} {
		if err := s.Set(t.Context(), key, nil, 0); !errors.Is(err, core.ErrRefused) {
			t.Errorf("Set with a key of %d bytes: %v", len(key), err)
		}
	}
}

func TestClose(t *testing.T) {
	server := servers.SharedRedis(t)
	c := client(t, server.Addr())
	lent, err := redisstore.New(c, calm)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*redisstore.Store{patient(t, server.Addr()), lent} {
		var told []bool
		s.Notify(func(up bool) { told = append(told, up) })
		for range 2 {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		if len(told) != 1 || told[0] {
			t.Errorf("the listener was told %v", told)
		}
		ctx := context.Background()
		_, getErr := s.Get(ctx, "k")
		_, _, getVersionErr := s.GetVersion(ctx, "k")
		_, setVersionErr := s.SetVersion(ctx, "k", nil, time.Hour, 0)
		_, batchErr := s.Batch(ctx, core.Write{Key: "k", Data: []byte("x")})
		_, _, appendErr := s.Append(ctx, "k", nil)
		for call, err := range map[string]error{
			"Get": getErr, "GetVersion": getVersionErr, "SetVersion": setVersionErr, "Batch": batchErr, "Append": appendErr,
			"Set": s.Set(ctx, "k", nil, time.Hour), "Touch": s.Touch(ctx, "k", time.Hour), "Destroy": s.Destroy(ctx, "k"),
		} {
			if !errors.Is(err, core.ErrUnavailable) {
				t.Errorf("%s after Close: %v", call, err)
			}
		}
	}
	if err := c.Do(t.Context(), c.B().Ping().Build()).Error(); err != nil {
		t.Error("the user's client was closed:", err)
	}
}
