package adaptertest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

// requestRules are about the other parts of a request and its response.
var requestRules = []rule{
	{"W21 W51 P25 an event says which setup loses sessions", func(t *testing.T, s *suite) {
		for _, c := range []struct {
			name    string
			o       core.Options
			fields  []string // pairs of the request
			path    string
			overTLS bool
			status  int
			also    bool // over TLS by another server of the same Manager
			want    []string
		}{
			{name: "a proxy that is not trusted", fields: []string{"X-Forwarded-Proto", "https"}, path: "/", status: 200, want: []string{"X-Forwarded-Proto", "TrustedProxies"}},
			{name: "a proxy that is not trusted, in its own field", fields: []string{"Forwarded", "for=192.0.2.1;proto=https"}, path: "/", status: 200, want: []string{"Forwarded", "TrustedProxies"}},
			{name: "one that says http", fields: []string{"X-Forwarded-Proto", "http"}, path: "/", status: 200},
			{name: "one that says https, to a server with TLS", fields: []string{"X-Forwarded-Proto", "https"}, path: "/", overTLS: true, status: 200},
			{name: "one that says https, where nothing is stored", fields: []string{"X-Forwarded-Proto", "https"}, path: "/read", status: 200},
			{name: "HTTP beside HTTPS", path: "/", status: 200, also: true, want: []string{"one name", "redirect"}},
			{name: "HTTP alone", path: "/", status: 200},
			{name: "a prefix that is stripped", o: core.Options{Cookie: core.CookieOptions{Path: "/app"}}, path: "/", status: 500, want: []string{"Cookie.Path", "MountPath"}},
			{name: "a prefix that is stripped, with MountPath", o: core.Options{MountPath: "/app", Cookie: core.CookieOptions{Path: "/app"}}, path: "/", status: 200},
		} {
			t.Run(c.name, func(t *testing.T) {
				s := &suite{t: t, a: s.a}
				told := make(chan string, 100)
				c.o.Hooks.Event = func(_ context.Context, e core.Event) {
					if e.Kind == core.EventMisconfigured {
						told <- e.Why
					}
				}
				a := s.listen(c.o, c.overTLS, routes)
				servers := []*app{a}
				if c.also {
					secure := &app{t: t, manager: a.manager}
					s.serve(secure, true, routes, a.manager)
					servers = append(servers, secure)
				}
				for range 5 {
					for _, a := range servers {
						req, err := http.NewRequest("GET", a.url(c.path), nil)
						if err != nil {
							t.Fatal(err)
						}
						for i := 0; i < len(c.fields); i += 2 {
							req.Header.Set(c.fields[i], c.fields[i+1])
						}
						if r, err := a.do(req); err != nil || r.status != c.status {
							t.Fatalf("%d, %v", r.status, err)
						}
					}
				}
				why := []string{}
				for len(told) > 0 {
					why = append(why, <-told)
				}
				if want := min(len(c.want), 1); len(why) != want {
					t.Fatalf("told %q", why)
				}
				for _, word := range c.want {
					if !strings.Contains(why[0], word) {
						t.Errorf("%q does not say %s", why[0], word)
					}
				}
			})
		}
	}},
	{"W51 P25 behind a proxy that strips a prefix", func(t *testing.T, s *suite) {
		a := s.app(core.Options{MountPath: "/app", Cookie: core.CookieOptions{Path: "/app"}}, routes)
		browser := new(jartest.Browser)
		ask := func(path string) result { // as the proxy passes it on
			t.Helper()
			req, err := http.NewRequest("GET", a.url(strings.TrimPrefix(path, "/app")), nil)
			if err != nil {
				t.Fatal(err)
			}
			if c := browser.Cookie(path); c != "" {
				req.Header.Set("Cookie", c)
			}
			r, err := a.do(req)
			if err != nil {
				t.Fatal(err)
			}
			browser.Take(path, r.cookies...)
			return r
		}
		ask("/app/x").pair(t, true)
		if r := ask("/app/read"); r.body != "1" {
			t.Errorf("the session is lost: %q", r.body)
		}
		if c := browser.Cookie("/other"); c != "" {
			t.Error("the cookie is sent outside of /app")
		}
		ask("/app/destroy").pair(t, false)
		if r := ask("/app/read"); r.body != "0" {
			t.Errorf("after the logout %q", r.body)
		}
	}},
	{"W20 a session cookie behind many others is found, or an event says why not", func(t *testing.T, s *suite) {
		why := make(chan string, 10)
		a := s.app(core.Options{Hooks: core.Hooks{Event: func(_ context.Context, e core.Event) {
			if e.Kind == core.EventCookieRefused {
				why <- e.Why
			}
		}}}, routes)
		u := a.user()
		u.want("/", 200, "1")
		mine := u.browser.Cookie("/")
		ask := func(size int) string {
			t.Helper()
			var others strings.Builder
			for i := 0; others.Len() < size-len(mine); i++ {
				fmt.Fprintf(&others, "other%d=%s; ", i, strings.Repeat("x", min(1000, max(1, size-len(mine)-others.Len()-12))))
			}
			req, err := http.NewRequest("GET", a.url("/read"), nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Cookie", others.String()+mine)
			r, err := a.do(req)
			if err != nil || r.status != 200 {
				t.Fatalf("answered %d, %v", r.status, err)
			}
			return r.body
		}
		if got := ask(16_000); got != "1" || len(why) != 0 {
			t.Errorf("with 16,000 bytes %q, %d events", got, len(why))
		}
		if got := ask(19_637); got != "0" || len(why) != 1 || <-why != "the Cookie field is longer than 16 KiB" {
			t.Errorf("with 19,637 bytes %q", got)
		}
	}},
	{"W18 P23 no response with a session cookie may be kept by a shared cache", func(t *testing.T, s *suite) {
		for _, c := range []struct{ path, sent, want string }{
			{"/", "", "no-store"},
			{"/", "public", "no-store"},
			{"/", "public, max-age=60", "private, max-age=60"},
			{"/", "s-maxage=60", "no-store"},
			{"/", "must-understand, no-store", "no-store"},
			{"/renew", "public, max-age=60", "private, max-age=60"},
			{"/destroy", "public, max-age=60", "private, max-age=60"},
		} {
			u := s.app(core.Options{}, func(x *Exchange) error {
				if c.sent != "" {
					x.SetHeader("Cache-Control", c.sent)
				}
				for _, name := range forSharedCaches {
					x.SetHeader(name, "max-age=60")
				}
				x.SetHeader("X-Cache-Controls", "stays")
				return routes(x)
			}).user()
			u.get("/")
			r := u.get(c.path)
			if len(r.cookies) == 0 || r.header.Get("Cache-Control") != c.want || r.header.Get("X-Cache-Controls") != "stays" {
				t.Errorf("%s with %q: %d cookies, Cache-Control %q, want %q", c.path, c.sent, len(r.cookies), r.header["Cache-Control"], c.want)
			}
			for _, name := range forSharedCaches {
				if r.header.Get(name) != "" {
					t.Errorf("%s: %s is left", c.path, name)
				}
			}
			if r := u.get("/read"); c.path == "/" && (r.header.Get("Cache-Control") != c.sent || r.header.Get("Surrogate-Control") == "") {
				t.Errorf("without a cookie Cache-Control is %q", r.header.Get("Cache-Control"))
			}
		}
	}},
	{"W52 of a rolling session no response may be kept by a shared cache", func(t *testing.T, s *suite) {
		u := s.app(core.Options{IdleTimeout: time.Hour, TouchEvery: time.Nanosecond, AllowEmpty: true}, func(x *Exchange) error {
			x.SetHeader("Cache-Control", "max-age=3600")
			x.SetHeader("CDN-Cache-Control", "max-age=3600")
			x.Write("ok")
			return nil
		}).user()
		for range 3 {
			r := u.want("/", 200, "ok")
			if len(r.cookies) == 0 || r.header.Get("Cache-Control") != "private, max-age=3600" || r.header.Get("CDN-Cache-Control") != "" {
				t.Errorf("%d cookies, header %v", len(r.cookies), r.header["Cache-Control"])
			}
		}
	}},
	{"W22 browsers that hang up while their session is loaded are no failures of the store", func(t *testing.T, s *suite) {
		const browsers = 50
		var told, ran atomic.Int32
		var arrived, done sync.WaitGroup
		gone := make(chan struct{})
		a := s.app(core.Options{OpTimeout: time.Minute, Hooks: core.Hooks{Error: func(_ context.Context, e *core.Error) error {
			told.Add(1)
			return e
		}}}, func(x *Exchange) error {
			ran.Add(1)
			return routes(x)
		})
		u := a.user()
		u.want("/", 200, "1")
		ran.Store(0)
		arrived.Add(browsers)
		done.Add(browsers)
		a.store.Before(func(ctx context.Context, op storetest.Op, _ string) error {
			if op != storetest.OpGet && op != storetest.OpGetVersion {
				return nil
			}
			defer done.Done()
			arrived.Done()
			<-gone
			if s.a.CtxEnds {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		ctx, hangUp := context.WithCancel(context.Background())
		defer hangUp()
		ended := make(chan error, browsers)
		for range browsers {
			go func() {
				_, err := u.send(ctx, "GET", "/read")
				ended <- err
			}()
		}
		arrived.Wait()
		hangUp()
		for range browsers {
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("a request ended with %v", err)
			}
		}
		close(gone)
		done.Wait()
		a.store.Before(nil)
		u.want("/", 200, "2") // and the store is not taken for one that is down
		if n := told.Load(); n != 0 {
			t.Errorf("the hook heard of %d failures", n)
		}
		if n := ran.Load(); s.a.CtxEnds && n != 1 {
			t.Errorf("%d handlers ran, want that of the last request", n)
		}
	}},
}

// forSharedCaches are fields by which people tell shared caches what they don't
// tell browsers, one of them in another case and one that nobody has made yet.
var forSharedCaches = []string{
	"CDN-Cache-Control", "Cloudflare-CDN-Cache-Control", "Vercel-CDN-Cache-Control", "Netlify-CDN-Cache-Control",
	"Surrogate-Control", "Edge-Control", "X-Accel-Expires", "x-litespeed-cache-control", "Example-Cache-Control",
}
