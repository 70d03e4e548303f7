// Package koatest_test runs a real Koa app with koa-generic-session and
// koa-redis beside core.KoaCompat on one Redis. A session that began on one
// side must go on on the other, and whoever looks at the answers, the cookies
// and the Redis must not be able to tell the two apart.
//
// Without npm the tests skip; with REQUIRE_KOA=1 they fail.
package koatest_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/servers"
)

// buildDir is where the demo is built.
var buildDir string

func TestMain(m *testing.M) {
	var err error
	if buildDir, err = os.MkdirTemp("", "gensession-koatest-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(servers.Main(m), goleak.Cleanup(func(code int) {
		os.RemoveAll(buildDir)
		os.Exit(code)
	}))
}

// A step is a request: a POST if there is a body.
type step struct{ path, body string }

// A setup is one configuration, in the words of both sides.
type setup struct {
	name  string
	koa   string // JSON
	ours  func(*core.Options)
	flags []string // of the demo; nil if it has none for it

	cookie, prefix string // if not the default
	expiredByName  bool   // K6: ours carries all attributes
}

func setups() []setup {
	return []setup{
		{name: "defaults", flags: []string{}},
		{
			name:  "K24 rolling",
			koa:   `{"rolling":true}`,
			ours:  func(o *core.Options) { o.Rolling = true },
			flags: []string{"-rolling"},
		},
		{
			name:  "K37 ttl",
			koa:   `{"ttl":90500}`,
			ours:  func(o *core.Options) { o.TTL = 90_500 * time.Millisecond },
			flags: []string{"-ttl", "90.5s"},
		},
		{
			name:  "K46 defer",
			koa:   `{"defer":true}`,
			ours:  func(o *core.Options) { o.Defer = true },
			flags: []string{"-defer"},
		},
		{
			name:   "K1 names",
			koa:    `{"key":"koss:test_sid","prefix":"app:"}`,
			ours:   func(o *core.Options) { o.Name, o.Prefix = "koss:test_sid", "app:" },
			cookie: "koss:test_sid", prefix: "app:",
		},
		{
			name: "K2 cookie options",
			// In the order in which ours writes them.
			koa: `{"cookie":{"httpOnly":false,"maxAge":90500,"sameSite":"lax","priority":"high"}}`,
			ours: func(o *core.Options) {
				o.Cookie = core.CookieOptions{
					MaxAge: 90_500 * time.Millisecond, HTTPOnly: core.Off,
					Priority: core.PriorityHigh, SameSite: core.SameSiteLax,
				}
			},
			expiredByName: true,
		},
		{
			name: "K3 browser session",
			koa:  `{"cookie":{"maxAge":null}}`,
			ours: func(o *core.Options) { o.Cookie.MaxAge, o.InsecureNoLimit = core.UntilBrowserCloses, true },
		},
	}
}

// visit is a browser's way through the routes of the demo.
func visit() []step {
	return []step{
		{path: "/read"},
		{path: "/get"},
		{path: "/get"},
		{path: "/read"},
		{path: "/id"},
		{path: "/set?k=name&v=J%C3%BCrgen+%3Cb%3E%26%22%5C%E2%80%A8%F0%9F%98%80%00%7F"},
		{path: "/set?k=name&v=Ada"},
		{path: "/set?k=name&v=Ada"},
		{path: "/set?k=%3C%22%C3%B6%E2%80%A9&v="},
		{path: "/dump"},
		{path: "/regenerate"},
		{path: "/dump"},
		{path: "/set?k=user&v=ada"},
		{path: "/renew"}, // a login
		{path: "/id"},
		{path: "/dump"},
		{path: "/get"},
		{path: "/remove"},
		{path: "/read"},
		{path: "/get"},
		{path: "/get"},
	}
}

// detour is one through the routes that the demo does not have.
func detour() []step {
	return []step{
		{path: "/json", body: `{"numbers":[0,1.5,-3e-7,1e21,123456789012345680000,0.1,5e-324,1.7976931348623157e308],"nested":{"a":{"b":[{},[],null,true,""]},"ü":"😀"}}`},
		{path: "/get"},
		{path: "/json", body: `{"nested":{"a":{"b":[{},[],null,true,""]},"ü":"😀"}}`}, // no change
		{path: "/dump"},
		// The session's own cookie options rule its cookies and its ttl (K25).
		{path: "/cookie", body: `{"maxAge":40500}`},
		{path: "/get"},
		{path: "/cookie", body: `{"maxAge":1000000000}`},
		{path: "/get"},
		{path: "/cookie", body: `{"httpOnly":false}`},
		{path: "/get"},
		{path: "/cookie", body: `{"sameSite":"strict"}`},
		{path: "/get"},
		{path: "/get"},
		{path: "/dump"},
	}
}

// TestSideBySide lets one browser visit Koa, one us, and two both in turn.
// What is seen of all of them is the same.
func TestSideBySide(t *testing.T) {
	for _, s := range setups() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			redis := servers.SharedRedis(t)
			keys := []string{"keys", "keykeys"}
			koa := startKoa(t, redis.URL(), s.koa, keys...)
			ours := startOurs(t, openStore(t, redis), s.ours, keys...).side
			t.Run("handler", func(t *testing.T) { s.compare(t, redis, koa, ours, append(visit(), detour()...)) })
			if s.flags != nil {
				for _, adapter := range []string{"fiber", "fasthttp", "nethttp"} {
					t.Run("demo on "+adapter, func(t *testing.T) {
						s.compare(t, redis, koa, startDemo(t, redis.URL(), adapter, s.flags, keys...), visit())
					})
				}
			}
		})
	}
}

func (s *setup) compare(t *testing.T, redis *servers.RedisServer, koa, ours *side, steps []step) {
	turns := func(first, second *side) func(int) *side {
		return func(n int) *side {
			if n%2 == 0 {
				return first
			}
			return second
		}
	}
	var want []sight
	for _, way := range []struct {
		name string
		side func(int) *side
	}{
		{"koa", turns(koa, koa)}, // what the others are compared with
		{"ours", turns(ours, ours)},
		{"koa first", turns(koa, ours)},
		{"ours first", turns(ours, koa)},
	} {
		o := &observer{
			browser: newBrowser(t), redis: redis, name: "koa.sid", prefix: "koa:sess:", key: "keys",
			expiredByName: s.expiredByName,
		}
		if s.cookie != "" {
			o.name, o.prefix = s.cookie, s.prefix
		}
		for n, step := range steps {
			got, err := o.request(way.side(n), step)
			if err != nil {
				t.Fatalf("%s, step %d: %v", way.name, n+1, err)
			}
			if way.name == "koa" {
				want = append(want, got)
			} else if !got.equal(want[n]) {
				t.Errorf("%s, step %d, answered by %s:\n%s\nKoa alone:\n%s", way.name, n+1, way.side(n).name, got, want[n])
				break // what follows from it is no news
			}
		}
	}
}

// pair starts both sides with the default options.
func pair(t *testing.T) (koa *side, ours *app, redis *servers.RedisServer) {
	t.Helper()
	redis = servers.SharedRedis(t)
	koa = startKoa(t, redis.URL(), "", "keys", "keykeys")
	return koa, startOurs(t, openStore(t, redis), nil, "keys", "keykeys"), redis
}

// TestCount: 200 requests to both sides in turn count to 200.
func TestCount(t *testing.T) {
	t.Parallel()
	koa, ours, _ := pair(t)
	b := newBrowser(t)
	for n := 1; n <= 200; n += 2 {
		b.wants(koa, "/get", strconv.Itoa(n))
		b.wants(ours.side, "/get", strconv.Itoa(n+1))
	}
}

// TestLogout: a session that one side removes is gone on the other, also for
// a browser that kept its cookies.
func TestLogout(t *testing.T) {
	t.Parallel()
	koa, ours, _ := pair(t)
	for _, way := range [][2]*side{{koa, ours.side}, {ours.side, koa}} {
		t.Run(way[0].name, func(t *testing.T) {
			b := newBrowser(t)
			b.wants(way[1], "/get", "1")
			b.wants(way[0], "/get", "2")
			kept := b.copy()
			b.wants(way[0], "/remove", "removed")
			b.wants(way[1], "/read", "0")
			kept.wants(way[1], "/get", "1")
			if b.key() != "" {
				t.Error("the cookie is still there")
			}
		})
	}
}

// TestWhileWeWork: what Koa does to a session while a request of ours runs is
// neither undone nor lost. (The original undoes what we do meanwhile.)
func TestWhileWeWork(t *testing.T) {
	t.Parallel()
	koa, ours, redis := pair(t)
	held := func(t *testing.T, meanwhile func(b *browser)) (b *browser, key string) {
		b = newBrowser(t)
		b.wants(koa, "/get", "1")
		key = b.key()
		slow, done := b.copy(), make(chan error)
		go func() {
			_, _, err := slow.do(ours.side, "/hold", "")
			done <- err
		}()
		<-ours.held
		meanwhile(b)
		ours.release <- struct{}{}
		if err := <-done; err != nil {
			t.Error(err)
		}
		return b, key
	}
	t.Run("a logout", func(t *testing.T) {
		b, key := held(t, func(b *browser) { b.wants(koa, "/remove", "removed") })
		if redis.Do("GET", key) != nil {
			t.Error("the session is in Redis again")
		}
		b.wants(koa, "/read", "0")
	})
	t.Run("a login", func(t *testing.T) {
		b, key := held(t, func(b *browser) { b.get(koa, "/renew") })
		if redis.Do("GET", key) != nil {
			t.Error("the session from before the login is in Redis again")
		}
		b.wants(koa, "/read", "1")
		b.wants(ours.side, "/read", "1")
	})
	t.Run("a save", func(t *testing.T) {
		b, _ := held(t, func(b *browser) { b.wants(koa, "/get", "2") })
		b.wants(koa, "/dump", `{"count":2,"held":true}`)
	})
}

// TestK12Rotation: a session signed by the old key goes on, and its cookie is
// signed by the new one.
func TestK12Rotation(t *testing.T) {
	t.Parallel()
	redis := servers.SharedRedis(t)
	store := openStore(t, redis)
	both := [][]string{{"old"}, {"new", "old"}, {"new"}}
	var koa, ours []*side
	for _, keys := range both {
		koa = append(koa, startKoa(t, redis.URL(), "", keys...))
		ours = append(ours, startOurs(t, store, nil, keys...).side)
	}
	for _, way := range [][]*side{{koa[0], ours[1], koa[2]}, {ours[0], koa[1], ours[2]}} {
		t.Run(way[0].name, func(t *testing.T) {
			b := newBrowser(t)
			b.wants(way[0], "/get", "1")
			b.wants(way[1], "/read", "1")
			b.wants(way[2], "/get", "2")
			if got := strings.Count(b.jar.Cookie("/"), ".sig="); got != 1 {
				t.Errorf("%d signatures are left", got)
			}
		})
	}
}
