package koatest_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/servers"
)

// TestW46StoredCookieObjects: a cookie object that somebody else has stored means
// here what it means there.
func TestW46StoredCookieObjects(t *testing.T) {
	t.Parallel()
	redis := servers.SharedRedis(t)
	const options = `{"cookie":{"maxAge":3600000,"sameSite":"strict","domain":"localhost"}}`
	koa := startKoa(t, redis.URL(), options, "keys")
	ours := startOurs(t, openStore(t, redis), func(o *core.Options) {
		o.Cookie = core.CookieOptions{MaxAge: time.Hour, SameSite: core.SameSiteStrict, Domain: "localhost"}
	}, "keys")
	later := time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05.000Z")
	for i, cookie := range []string{
		`{}`, `{"path":"/"}`, `{"httpOnly":true,"path":"/","overwrite":true,"signed":true}`, `{"expires":"` + later + `"}`, `{"maxAge":null}`, `{"maxAge":0}`,
		`{"maxage":60000}`, `{"maxAge":60000}`, `{"originalMaxAge":60000,"expires":"` + later + `","httpOnly":true,"path":"/"}`,
		`{"originalMaxAge":null,"expires":null,"httpOnly":true,"path":"/"}`, `{"sameSite":"lax","httpOnly":false}`, `{"domain":"example.com"}`,
	} {
		var seen [2][]string
		for n, side := range []*side{koa, ours.side} {
			id := fmt.Sprintf("w46-%d-%d", i, n)
			redis.Do("SET", "koa:sess:"+id, `{"cookie":`+cookie+`,"count":1}`, "EX", "500")
			b := newBrowser(t)
			b.jar.Take("/", "koa.sid="+id, "koa.sid.sig="+sign("keys", "koa.sid="+id))
			b.wants(side, "/get", "2")
			for _, line := range b.taken { // without what differs: the id, its signature, a few seconds
				_, attributes, _ := strings.Cut(line, ";")
				if at := strings.Index(attributes, "expires="); at >= 0 && !strings.Contains(cookie, "expires\":\"") {
					attributes = attributes[:at+8] + attributes[at+37:]
				}
				seen[n] = append(seen[n], attributes)
			}
		}
		if len(seen[0]) != 2 || !slices.Equal(seen[0], seen[1]) {
			t.Errorf("%s: Koa sends %q, we send %q", cookie, seen[0], seen[1])
		}
	}
}

// TestW47OwnIDs: ids of an app's own making are sessions here if the option says
// so; else nobody is told that a logout has worked.
func TestW47OwnIDs(t *testing.T) {
	t.Parallel()
	redis := servers.SharedRedis(t)
	for _, sid := range []string{"user:42:", strings.Repeat("long-", 35), "a/b+c="} {
		koa := startKoa(t, redis.URL(), fmt.Sprintf(`{"sid":%q}`, sid), "keys")
		store := openStore(t, redis)
		valid := func(o *core.Options) {
			o.Koa.ValidID = func(text string) bool { return strings.HasPrefix(text, sid) }
			o.NewID = func(context.Context) (string, error) { return fmt.Sprintf("%s%d", sid, time.Now().UnixNano()), nil }
		}
		ours := startOurs(t, store, valid, "keys")
		b := newBrowser(t)
		b.wants(koa, "/get", "1")
		b.wants(ours.side, "/get", "2")
		b.wants(koa, "/get", "3")
		b.get(ours.side, "/renew") // an id of our generator
		b.wants(koa, "/get", "4")
		b.wants(ours.side, "/remove", "removed")
		b.wants(koa, "/read", "0")

		// Without the option.
		var events []core.Event
		strict := startOurs(t, store, func(o *core.Options) {
			o.Hooks.Event = func(_ context.Context, e core.Event) { events = append(events, e) }
		}, "keys")
		b.wants(koa, "/get", "1")
		key := b.key()
		kept := b.copy()
		res, body, err := b.do(strict.side, "/remove", "")
		if err != nil || res.StatusCode == http.StatusOK || !strings.Contains(body, "Options.Koa.ValidID") {
			t.Errorf("the logout that did nothing: %v, %v, %s", err, res, body)
		}
		if redis.Do("GET", key) == nil {
			t.Error("it is gone after all")
		}
		if !slices.ContainsFunc(events, func(e core.Event) bool {
			return e.Kind == core.EventCookieRefused && strings.Contains(e.Why, "ValidID")
		}) {
			t.Errorf("no event says so: %v", events)
		}
		kept.wants(koa, "/read", "1")
	}
}

// TestW48Keygrip: sessions are shared with an app that signs in another way.
func TestW48Keygrip(t *testing.T) {
	t.Parallel()
	redis := servers.SharedRedis(t)
	for _, g := range [][2]string{{"sha256", "hex"}, {"sha512", "base64"}, {"sha1", "hex"}} {
		koa := startKoa(t, redis.URL(), fmt.Sprintf(`{"keygrip":[%q,%q]}`, g[0], g[1]), "keys", "keykeys")
		ours := startOurs(t, openStore(t, redis), func(o *core.Options) { o.Koa.Algorithm, o.Koa.Encoding = g[0], g[1] }, "keys", "keykeys")
		b := newBrowser(t)
		for n := 1; n < 9; n += 2 {
			b.wants(koa, "/get", fmt.Sprint(n))
			b.wants(ours.side, "/get", fmt.Sprint(n+1))
		}
		b.get(ours.side, "/renew")
		b.wants(koa, "/read", "8")
		other := startOurs(t, openStore(t, redis), nil, "keys", "keykeys")
		b.wants(other.side, "/read", "0") // SHA-1 in base64
	}
}
