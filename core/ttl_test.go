package core

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core/internal/record"
)

func TestK37TTL(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	says := func(d time.Duration) func(*Session) time.Duration {
		return func(*Session) time.Duration { return d }
	}
	type c = CookieOptions
	for _, test := range []struct {
		name    string
		options Options
		cookie  CookieOptions
		age     time.Duration
		want    time.Duration
		over    bool
	}{
		{name: "maxAge", cookie: c{MaxAge: time.Hour}, want: time.Hour},
		{name: "default", want: DefaultMaxAge},
		{name: "no expiry", cookie: c{MaxAge: UntilBrowserCloses}, want: DefaultMaxAge},
		{name: "no expiry, for ever", options: Options{InsecureNoLimit: true}, cookie: c{MaxAge: UntilBrowserCloses}, want: 0},
		{name: "for ever only without maxAge", options: Options{InsecureNoLimit: true}, cookie: c{MaxAge: time.Hour}, want: time.Hour},
		{name: "TTL", options: Options{koa: true, TTL: time.Minute}, cookie: c{MaxAge: time.Hour, Expires: now.Add(time.Second)}, want: time.Minute},
		{name: "TTLFunc", options: Options{koa: true, TTL: time.Minute, TTLFunc: says(time.Second)}, want: time.Second},
		{name: "TTLFunc leaves it", options: Options{koa: true, TTL: time.Minute, TTLFunc: says(0)}, want: time.Minute},
		{name: "TTLFunc and TTL leave it", options: Options{koa: true, TTLFunc: says(0)}, cookie: c{MaxAge: time.Hour}, want: time.Hour},
		{name: "TTLFunc ends it", options: Options{koa: true, TTLFunc: says(-1)}, over: true},
		{name: "koa, expires beats maxAge", options: Options{koa: true}, cookie: c{MaxAge: time.Hour, Expires: now.Add(time.Minute)}, want: time.Minute},
		{name: "maxAge beats expires, as in the cookie", cookie: c{MaxAge: time.Hour, Expires: now.Add(time.Minute)}, want: time.Hour},
		{name: "idle", options: Options{IdleTimeout: time.Minute}, cookie: c{MaxAge: UntilBrowserCloses}, want: time.Minute},
		{name: "expires now", cookie: c{Expires: now}, over: true},
		{name: "expires in the past", cookie: c{MaxAge: UntilBrowserCloses, Expires: now.Add(-time.Hour)}, over: true},
		{name: "expires in the past, for ever", options: Options{InsecureNoLimit: true}, cookie: c{MaxAge: UntilBrowserCloses, Expires: now.Add(-1)}, over: true},
		{name: "expires far away", cookie: c{Expires: time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)}, want: math.MaxInt64},
		{name: "absolute", options: Options{AbsoluteTimeout: 3 * time.Hour}, cookie: c{MaxAge: time.Hour}, age: time.Hour, want: time.Hour},
		{name: "absolute is nearer", options: Options{AbsoluteTimeout: 3 * time.Hour}, cookie: c{MaxAge: time.Hour}, age: 3*time.Hour - time.Second, want: time.Second},
		{name: "absolute reached", options: Options{AbsoluteTimeout: 3 * time.Hour}, age: 3 * time.Hour, over: true},
		{name: "absolute passed", options: Options{AbsoluteTimeout: 3 * time.Hour, IdleTimeout: time.Hour}, age: 300 * time.Hour, over: true},
		{name: "absolute, for ever", options: Options{AbsoluteTimeout: time.Hour, InsecureNoLimit: true}, cookie: c{MaxAge: UntilBrowserCloses}, want: time.Hour},
		{name: "absolute, born tomorrow", options: Options{AbsoluteTimeout: time.Hour, InsecureNoLimit: true}, cookie: c{MaxAge: UntilBrowserCloses}, age: -24 * time.Hour, want: time.Hour},
		{name: "absolute, born in 292 years", options: Options{AbsoluteTimeout: time.Hour}, age: -math.MaxInt64, want: time.Hour},
		{name: "koa rounds up", options: Options{koa: true}, cookie: c{MaxAge: 1500 * time.Millisecond}, want: 2 * time.Second},
		{name: "koa, below a second", options: Options{koa: true}, cookie: c{MaxAge: 1}, want: time.Second},
		{name: "koa, whole", options: Options{koa: true}, cookie: c{MaxAge: 2 * time.Second}, want: 2 * time.Second},
		{name: "koa, as long as can be", options: Options{koa: true, TTL: math.MaxInt64}, want: math.MaxInt64},
		{name: "ours does not round", cookie: c{MaxAge: 1500 * time.Millisecond}, want: 1500 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := &Manager{o: test.options, dialect: dialect{koa: test.options.koa}}
			ttl, over := m.ttl(m.detached("", new(record.Record)), complete(test.cookie), nil, now.Add(-test.age).UnixMilli(), now)
			if ttl != test.want || over != test.over {
				t.Errorf("%v, over %v; want %v, %v", ttl, over, test.want, test.over)
			}
		})
	}
}

func TestRecently(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRecently()
		due := func(key string) bool { return r.due(key, time.Now(), time.Minute) }
		if !due("a") || !due("") {
			t.Error("a key that was never renewed is not due")
		}
		r.renewed("a")
		if due("a") {
			t.Error("due at once")
		}
		if !due("b") {
			t.Error("another key is not due")
		}
		time.Sleep(time.Minute - tick)
		if due("a") {
			t.Error("due too early")
		}
		time.Sleep(tick)
		if !due("a") {
			t.Error("not due in time")
		}
		r.renewed("a")
		if due("a") {
			t.Error("due at once, the second time")
		}
		time.Sleep(20 * 365 * 24 * time.Hour) // more ticks than 32 bits hold
		if !due("a") {
			t.Error("not due after years")
		}
		r.renewed("a")
		if !due("a") { // then every request renews, which is safe
			t.Error("the time ran over and says that nothing is ever due")
		}
	})
	t.Run("forgets", func(t *testing.T) {
		t.Parallel()
		r := newRecently()
		const n = 3 * (1 << 16)
		for i := range n {
			r.renewed(fmt.Sprint(i))
		}
		due := 0
		for i := range n {
			if r.due(fmt.Sprint(i), time.Now(), time.Hour) {
				due++
			}
		}
		if due < n*2/3 || due == n {
			t.Errorf("%d of %d are due: a table of %d can't know so", due, n, 1<<16)
		}
		for i := range 1000 { // another id is rarely mistaken for one that was renewed
			if !r.due(fmt.Sprint("other", i), time.Now(), time.Hour) {
				t.Errorf("key %d was never renewed", i)
			}
		}
	})
}
