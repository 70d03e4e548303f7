package adaptertest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
)

const count core.Key[int] = "count"

// routes is the app of most rules: the path says what to do.
func routes(x *Exchange) error {
	if x.URL.Path == "/none" {
		x.Write("ok")
		return nil
	}
	s, err := x.From()
	if err != nil {
		return err
	}
	switch x.URL.Path {
	case "/read":
		x.Write(fmt.Sprint(count.Get(s)))
		return nil
	case "/same":
		err = count.Set(s, count.Get(s))
	case "/destroy":
		err = s.Destroy(x.Ctx)
	case "/regenerate":
		err = s.Reset(x.Ctx)
	case "/regenerate-add":
		if err = s.Reset(x.Ctx); err == nil {
			err = count.Set(s, 1)
		}
	case "/renew":
		err = s.Renew(x.Ctx)
	case "/force":
		s.SetSaveMode(core.SaveAlways)
	case "/forbid":
		s.SetSaveMode(core.SaveNever)
		err = count.Set(s, 1000)
	case "/forbid-regenerate":
		s.SetSaveMode(core.SaveNever)
		err = s.Reset(x.Ctx)
	case "/save":
		if err = count.Set(s, 1); err == nil {
			err = s.Save(x.Ctx)
		}
		before := s.ID()
		if err == nil {
			err = count.Set(s, 2)
		}
		if err == nil && s.ID() != before {
			err = errors.New("the id changed under the handler")
		}
	case "/fail":
		if err = count.Set(s, 500); err == nil {
			return ErrHandler
		}
	case "/panic":
		if err = count.Set(s, 666); err == nil {
			panic("handler panicked")
		}
	case "/redirect":
		if _, err = count.Update(s, plusOne); err == nil {
			x.SetHeader("Location", "/read")
			x.Status(302)
			return nil
		}
	default:
		var n int
		if n, err = count.Update(s, plusOne); err == nil {
			x.Write(fmt.Sprint(n))
			return nil
		}
	}
	if err != nil {
		return err
	}
	x.Write("ok")
	return nil
}

func plusOne(n int) int { return n + 1 }

const (
	idPattern   = `[A-Za-z0-9_-]{32}`
	datePattern = `(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT`
)

var (
	defaultLine = regexp.MustCompile(`^koa\.sid=` + idPattern + `; path=/; expires=` + datePattern + `; samesite=lax; httponly$`)
	defaultSig  = regexp.MustCompile(`^koa\.sid\.sig=[A-Za-z0-9_-]+; path=/; expires=` + datePattern + `; samesite=lax; httponly$`)

	anyExpires = regexp.MustCompile(`; expires=` + datePattern + `; `)
)

var rules = []rule{
	{"K1 K2 K4 the default cookies, byte by byte, the signature at once behind", func(t *testing.T, s *suite) {
		r := s.app(core.Options{}, routes).user().want("/", 200, "1")
		if len(r.cookies) != 2 || !defaultLine.MatchString(r.cookies[0]) || !defaultSig.MatchString(r.cookies[1]) {
			t.Errorf("got %q", names(r.cookies))
		}
	}},
	{"K6 R16 the expired cookies carry the attributes of the live ones", func(t *testing.T, s *suite) {
		u := s.app(core.Options{Cookie: core.CookieOptions{Path: "/app", SameSite: core.SameSiteStrict}}, func(x *Exchange) error {
			x.URL.Path = strings.TrimPrefix(x.URL.Path, "/app")
			return routes(x)
		}).user()
		u.want("/app/", 200, "1")
		r := u.want("/app/destroy", 200, "ok")
		r.pair(t, false)
		for _, l := range r.cookies {
			if !strings.HasSuffix(l, "; path=/app; expires=Thu, 01 Jan 1970 00:00:00 GMT; samesite=strict; httponly") {
				t.Errorf("got %q", names([]string{l}))
			}
		}
		if c := u.browser.Cookie("/app"); c != "" {
			t.Error("the browser kept them")
		}
	}},
	{"K7 of several pairs only the last one is left", func(t *testing.T, s *suite) {
		a := s.app(core.Options{ResetUnknown: true}, routes)
		u := a.user()
		u.want("/", 200, "1")
		u.want("/regenerate-add", 200, "ok").pair(t, true)
		u.want("/save", 200, "ok").pair(t, true)
		if err := a.manager.DestroyByID(context.Background(), core.ID(u.id())); err != nil {
			t.Fatal(err)
		}
		u.want("/", 200, "1").pair(t, true)
	}},
	{"K8 R27 a secure cookie over plain HTTP is an error, and nothing is stored", func(t *testing.T, s *suite) {
		a := s.app(core.Options{Cookie: core.CookieOptions{Secure: core.On}}, routes)
		a.user().want("/", 500, "Internal Server Error").noCookies(t)
		if n := a.memory.Len(); n != 0 {
			t.Errorf("%d records", n)
		}
	}},
	{"K9 a name with a colon works in both directions", func(t *testing.T, s *suite) {
		u := s.app(core.Options{Name: "koss:test_sid"}, routes).user()
		if r := u.want("/", 200, "1"); !strings.HasPrefix(r.cookies[0], "koss:test_sid=") {
			t.Errorf("got %q", names(r.cookies))
		}
		u.want("/", 200, "2")
	}},
	{"K11 K13 without its signature a cookie is no session, and the store not asked", func(t *testing.T, s *suite) {
		a := s.app(core.Options{}, routes)
		u := a.user()
		u.want("/", 200, "1")
		thief := a.user()
		thief.browser.Take("/", "koa.sid="+u.id())
		thief.want("/read", 200, "0")
		thief.browser.Take("/", "koa.sid.sig=AAAAAAAAAAAAAAAAAAAAAAAAAAA")
		thief.want("/read", 200, "0")
		if n := a.reads(); n != 0 {
			t.Errorf("the store was asked %d times", n)
		}
	}},
	{"K12 R7 what an older key has signed is signed again at once, with all attributes", func(t *testing.T, s *suite) {
		a := s.app(core.Options{}, routes)
		u := a.user()
		u.want("/", 200, "1")
		id := u.id()
		newer := []byte("another key of 32 bytes, in front")
		if err := a.manager.RotateKeys([][]byte{newer, Keys[0]}); err != nil {
			t.Fatal(err)
		}
		r := u.want("/read", 200, "1")
		r.pair(t, true)
		if !defaultLine.MatchString(r.cookies[0]) || !defaultSig.MatchString(r.cookies[1]) || u.id() != id {
			t.Errorf("got %q", names(r.cookies))
		}
		u.want("/read", 200, "1").noCookies(t)
		if err := a.manager.RotateKeys([][]byte{newer}); err != nil {
			t.Fatal(err)
		}
		u.want("/", 200, "2")
	}},
	{"K16 with an id the store is asked on every request, without one never", func(t *testing.T, s *suite) {
		a := s.app(core.Options{}, routes)
		u := a.user()
		u.want("/none", 200, "ok").noCookies(t)
		u.want("/", 200, "1")
		if n := a.reads(); n != 0 {
			t.Errorf("without an id: asked %d times", n)
		}
		u.want("/none", 200, "ok").noCookies(t)
		u.want("/none", 200, "ok")
		if n := a.reads(); n != 2 {
			t.Errorf("two requests with an id: asked %d times", n)
		}
	}},
	{"K17 an unknown id is not adopted", func(t *testing.T, s *suite) {
		a := s.app(core.Options{}, routes)
		u := a.user()
		u.want("/", 200, "1")
		old := u.id()
		if err := a.manager.DestroyByID(context.Background(), core.ID(old)); err != nil {
			t.Fatal(err)
		}
		u.want("/read", 200, "0").noCookies(t)
		u.want("/", 200, "1").pair(t, true)
		if u.id() == old {
			t.Error("the id is the old one")
		}
	}},
	{"K18 what Valid refuses is destroyed, and a new session begins", func(t *testing.T, s *suite) {
		var hook core.Hooks
		hook.Valid = func(_ context.Context, _ core.Jar, s *core.Session) (bool, error) { return count.Get(s) < 2, nil }
		a := s.app(core.Options{Hooks: hook}, routes)
		u := a.user()
		u.want("/", 200, "1")
		u.want("/", 200, "2")
		old := u.id()
		u.want("/read", 200, "0")
		if n := a.memory.Len(); n != 0 {
			t.Errorf("%d records", n)
		}
		u.want("/", 200, "1").pair(t, true)
		if u.id() == old {
			t.Error("the id is the old one")
		}
	}},
	{"K20 destroying removes record and cookies; of a new session nothing", func(t *testing.T, s *suite) {
		a := s.app(core.Options{}, routes)
		u := a.user()
		u.want("/destroy", 200, "ok").noCookies(t)
		u.want("/", 200, "1")
		u.want("/destroy", 200, "ok").pair(t, false)
		if a.memory.Len() != 0 || u.browser.Cookie("/") != "" {
			t.Error("something is left")
		}
		u.want("/", 200, "1")
	}},
	{"K21 R21 a new session that nobody changed is neither stored nor sent", func(t *testing.T, s *suite) {
		a := s.app(core.Options{}, routes)
		a.user().want("/read", 200, "0").noCookies(t)
		if n := a.writes(); n != 0 {
			t.Errorf("%d writes", n)
		}
	}},
	{"K22 R20 a session that nobody changed is neither stored nor sent", func(t *testing.T, s *suite) {
		a := s.app(core.Options{}, routes)
		u := a.user()
		u.want("/", 200, "1")
		u.want("/read", 200, "1").noCookies(t)
		u.want("/same", 200, "ok").noCookies(t)
		if n := a.writes(); n != 1 {
			t.Errorf("%d writes", n)
		}
	}},
	{"K23 the hook may change the session, and the cookies go with every save", func(t *testing.T, s *suite) {
		var hook core.Hooks
		hook.BeforeSave = func(_ context.Context, _ core.Jar, s *core.Session) error { return count.Set(s, 10*count.Get(s)) }
		u := s.app(core.Options{Hooks: hook}, routes).user()
		u.want("/", 200, "1").pair(t, true)
		u.want("/", 200, "11").pair(t, true)
		u.want("/read", 200, "110")
	}},
	{"K24 rolling renews every session, read or not, but no new one", func(t *testing.T, s *suite) {
		a := s.app(core.Options{IdleTimeout: core.DefaultMaxAge, TouchEvery: 1}, routes)
		u := a.user()
		u.want("/none", 200, "ok").noCookies(t)
		u.want("/", 200, "1")
		u.want("/read", 200, "1").pair(t, true)
		u.want("/none", 200, "ok").pair(t, true)
		if n := a.writes(); n != 3 { // a renewal writes the record as it is
			t.Errorf("%d writes", n)
		}
	}},
	{"K26 saving can be forced and forbidden", func(t *testing.T, s *suite) {
		a := s.app(core.Options{}, routes)
		u := a.user()
		u.want("/force", 200, "ok").pair(t, true)
		u.want("/forbid", 200, "ok").noCookies(t)
		u.want("/read", 200, "0")
		u.want("/force", 200, "ok").pair(t, true)
		u.want("/forbid-regenerate", 200, "ok").noCookies(t)
		if n := a.memory.Len(); n != 1 {
			t.Errorf("%d records", n)
		}
	}},
	{"K28 regenerate ends the old session and begins an empty one", func(t *testing.T, s *suite) {
		a := s.app(core.Options{}, routes)
		u := a.user()
		u.want("/", 200, "1")
		old := u.id()
		u.want("/regenerate-add", 200, "ok").pair(t, true)
		if u.id() == old {
			t.Error("the id is the old one")
		}
		u.want("/read", 200, "1")
		u.want("/regenerate", 200, "ok").pair(t, false)
		// What is left are notes that the ids were given up, for a minute.
		if n := a.memory.Len(); n != 0 {
			t.Errorf("%d records", n)
		}
	}},
	{"K28 R11 renew gives a new id, keeps the values, and the old id is dead", func(t *testing.T, s *suite) {
		a := s.app(core.Options{}, routes)
		u, thief := a.user(), a.user()
		thief.browser.Take("/", u.want("/", 200, "1").cookies...)
		old := u.id()
		u.want("/renew", 200, "ok").pair(t, true)
		if u.id() == old {
			t.Error("the id is the old one")
		}
		u.want("/read", 200, "1")
		thief.want("/read", 200, "0")
	}},
	{"K29 a save in mid-request stores, and what is changed after it as well", func(t *testing.T, s *suite) {
		a := s.app(core.Options{}, routes)
		u := a.user()
		u.want("/save", 200, "ok").pair(t, true)
		u.want("/read", 200, "2")
		if w := a.writes(); w != 2 {
			t.Errorf("%d writes", w)
		}
	}},
	{"K33 outside the cookie's path there is no session", func(t *testing.T, s *suite) {
		a := s.app(core.Options{Cookie: core.CookieOptions{Path: "/session"}}, func(x *Exchange) error {
			session, err := x.From()
			if errors.Is(err, core.ErrNoSession) {
				x.Write("none")
				return nil
			}
			if err != nil {
				return err
			}
			n, err := count.Update(session, plusOne)
			x.Write(fmt.Sprint(n))
			return err
		})
		u := a.user()
		for target, body := range map[string]string{"/": "none", "/sessionfoo": "none", "/SESSION": "none", "/x/session": "none"} {
			u.want(target, 200, body).noCookies(t)
		}
		u.want("/session", 200, "1")
		u.want("/session/x?y", 200, "2")
		u.want("/sessionfoo", 200, "none")
	}},
	{"K34 another carrier takes the place of the cookie", func(t *testing.T, s *suite) {
		a := s.app(core.Options{Carrier: core.Header("X-Session")}, routes)
		id := ""
		for _, want := range []string{"1", "2", "3"} {
			req, err := http.NewRequest("GET", a.url("/"), nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("x-session", id)
			r, err := a.do(req)
			if err != nil {
				t.Fatal(err)
			}
			r.noCookies(t)
			if r.body != want {
				t.Fatalf("answered %q, want %q", r.body, want)
			}
			id = r.header.Get("X-Session")
		}
	}},
	{"K40 R24 a hook that swallows it gets an empty session that is not saved, and the cookie stays", func(t *testing.T, s *suite) {
		a := s.app(core.Options{Hooks: core.Hooks{Error: swallow}}, routes)
		u := a.user()
		u.want("/", 200, "1")
		a.store.Before(failing(storetest.OpGet, storetest.OpGetVersion))
		u.want("/read", 200, "0").noCookies(t)
		u.want("/none", 200, "ok").noCookies(t)
		a.store.Before(nil)
		u.want("/", 200, "2")
	}},
	{"K41 a hook that swallows it lets the response go out, without cookie", func(t *testing.T, s *suite) {
		a := s.app(core.Options{Hooks: core.Hooks{Error: swallow}}, routes)
		a.store.Before(failing(storetest.OpSet, storetest.OpSetVersion))
		a.user().want("/", 200, "1").noCookies(t)
	}},
	{"K42 R15 a record that can't be removed is an error, and the cookie goes all the same", func(t *testing.T, s *suite) {
		a := s.app(core.Options{}, routes)
		u := a.user()
		u.want("/", 200, "1")
		a.store.Before(failing(storetest.OpBatch))
		r := u.get("/destroy")
		r.pair(t, false)
		safeError(t, r)
		if r.status != 503 {
			t.Errorf("answered %d", r.status)
		}
	}},
	{"K43 while the store is down requests wait, and go on when it is back", func(t *testing.T, s *suite) {
		a := s.app(core.Options{}, routes)
		u := a.user()
		u.want("/", 200, "1")
		a.store.Down()
		done := make(chan result)
		go func() {
			r, _ := u.send(context.Background(), "GET", "/")
			done <- r
		}()
		select {
		case r := <-done:
			t.Errorf("answered %d %q while the store was down", r.status, r.body)
		case <-time.After(30 * time.Millisecond): // long enough to be answered
			a.store.Up()
			if r := <-done; r.status != 200 || r.body != "2" {
				t.Errorf("answered %d %q", r.status, r.body)
			}
		}
	}},
	{"K43 after reconnectTimeout they are answered 503, new visitors too", func(t *testing.T, s *suite) {
		a := s.app(core.Options{ReconnectTimeout: time.Millisecond}, routes)
		u := a.user()
		u.want("/", 200, "1")
		a.store.Down()
		for range 2 {
			r := u.want("/", 503, "Service Unavailable")
			r.noCookies(t)
			safeError(t, r)
			a.user().want("/read", 503, "Service Unavailable")
		}
		a.store.Up()
		u.want("/", 200, "2")
	}},
	{"K47 deferred, it is loaded once, also for several who ask at once", func(t *testing.T, s *suite) {
		a := s.app(core.Options{Defer: true}, func(x *Exchange) error {
			var wg sync.WaitGroup
			found := make([]*core.Session, 8)
			for i := range found {
				wg.Go(func() { found[i], _ = x.From() })
			}
			wg.Wait()
			for _, session := range found {
				if session == nil || session != found[0] {
					return errors.New("not the same session")
				}
			}
			return routes(x)
		})
		u := a.user()
		u.want("/", 200, "1")
		reads := a.reads()
		u.want("/", 200, "2")
		if n := a.reads() - reads; n != 1 {
			t.Errorf("%d reads", n)
		}
	}},
	{"K48 deferred, destroyed and replaced without loading", func(t *testing.T, s *suite) {
		a := s.app(core.Options{Defer: true}, func(x *Exchange) error {
			v, err := x.Visit()
			if err != nil {
				return err
			}
			switch x.URL.Path {
			case "/v-destroy":
				err = v.Destroy(x.Ctx)
			case "/v-replace":
				err = v.Replace(x.Ctx, map[string]any{"count": 50})
			default:
				return routes(x)
			}
			if err == nil {
				x.Write("ok")
			}
			return err
		})
		u := a.user()
		u.want("/", 200, "1")
		id := u.id()
		u.want("/v-replace", 200, "ok").pair(t, true)
		if u.id() != id {
			t.Error("another id")
		}
		u.want("/read", 200, "50")
		var ops []storetest.Op
		a.store.Before(func(_ context.Context, op storetest.Op, _ string) error {
			ops = append(ops, op)
			return nil
		})
		u.want("/v-destroy", 200, "ok").pair(t, false)
		a.store.Before(nil)
		// The store is asked once, whether the id was given up for another one.
		if !slices.Equal(ops, []storetest.Op{storetest.OpGetVersion, storetest.OpBatch}) {
			t.Errorf("destroyed by %v", ops)
		}
		if n := a.memory.Len(); n != 0 {
			t.Errorf("%d records", n)
		}
		a.user().want("/v-destroy", 200, "ok").noCookies(t)
		a.user().want("/v-replace", 200, "ok").pair(t, true)
	}},
	{"K49 deferred, rolling renews only requests that asked", func(t *testing.T, s *suite) {
		u := s.app(core.Options{Defer: true, IdleTimeout: core.DefaultMaxAge, TouchEvery: 1}, routes).user()
		u.want("/", 200, "1")
		u.want("/none", 200, "ok").noCookies(t)
		u.want("/read", 200, "1").pair(t, true)
	}},
	{"K50 K27 deferred, after an error of the handler the session is saved", func(t *testing.T, s *suite) {
		u := s.app(core.Options{Defer: true}, routes).user()
		u.want("/fail", 500, "handler failed").pair(t, true)
		u.want("/read", 200, "500")
	}},
	{"K51 deferred, loading that failed is never a removal", func(t *testing.T, s *suite) {
		a := s.app(core.Options{Defer: true}, func(x *Exchange) error {
			if _, err := x.From(); err != nil && x.URL.Path == "/quiet" {
				x.Write("ok")
				return nil
			}
			return routes(x)
		})
		u := a.user()
		u.want("/", 200, "1")
		a.store.Before(failing(storetest.OpGet, storetest.OpGetVersion))
		u.want("/quiet", 200, "ok").noCookies(t)
		a.store.Before(nil)
		u.want("/read", 200, "1")
	}},
	{"R35 no shared cache keeps what belongs to a session", func(t *testing.T, s *suite) {
		u := s.app(core.Options{}, func(x *Exchange) error {
			x.SetHeader("Vary", "Accept")
			return routes(x)
		}).user()
		r := u.want("/", 200, "1")
		if r.header.Get("Cache-Control") != "no-store" || strings.Join(r.header.Values("Vary"), ", ") != "Accept, Cookie" {
			t.Errorf("Cache-Control %q, Vary %q", r.header.Get("Cache-Control"), r.header.Values("Vary"))
		}
		r = u.want("/read", 200, "1")
		if r.header.Get("Cache-Control") != "" || strings.Join(r.header.Values("Vary"), ", ") != "Accept, Cookie" {
			t.Errorf("read only: Cache-Control %q, Vary %q", r.header.Get("Cache-Control"), r.header.Values("Vary"))
		}
	}},
	{"a folded Cookie field reads as everywhere", func(t *testing.T, s *suite) {
		a := s.app(core.Options{}, routes)
		u := a.user()
		u.want("/", 200, "1")
		conn, err := net.Dial("tcp", a.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		folded := strings.ReplaceAll(u.browser.Cookie("/"), "; ", ";\r\n\t ")
		_, _ = fmt.Fprintf(conn, "GET /read HTTP/1.0\r\nHost: x\r\nX-First: 1\r\nCookie: other=1;\r\n  %s\r\nX-Last: 1\r\n\r\n", folded)
		answer, err := io.ReadAll(conn)
		if err != nil || !strings.HasSuffix(string(answer), "\r\n\r\n1") {
			t.Errorf("got %q, %v", answer, err)
		}
	}},
	{"requests of several users, sent at once over one connection, keep apart", func(t *testing.T, s *suite) {
		const users, rounds = 4, 8
		var mu sync.Mutex
		var kept []*core.Session // beyond their requests, whose buffers are used again
		a := s.app(core.Options{}, func(x *Exchange) error {
			session, err := x.From()
			if err == nil {
				mu.Lock()
				kept = append(kept, session)
				mu.Unlock()
			}
			return errors.Join(err, routes(x))
		})
		var of [users]*user
		for i := range of {
			of[i] = a.user()
			for n := range i + 1 {
				of[i].want("/", 200, fmt.Sprint(n+1))
			}
		}
		kept = nil
		conn, err := net.Dial("tcp", a.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // fails a hanging test, asserts nothing
		var all strings.Builder
		for n := range users * rounds {
			cookie := of[n%users].browser.Cookie("/")
			if n/users%2 == 1 { // fields of other lengths, so that nothing lies where it did
				cookie = strings.Repeat("a=b; ", n) + cookie
			}
			version := "1.1"
			if n == users*rounds-1 {
				version = "1.0" // ends the connection
			}
			fmt.Fprintf(&all, "GET / HTTP/%s\r\nHost: x\r\nCookie: %s\r\n\r\n", version, cookie)
		}
		if _, err := io.WriteString(conn, all.String()); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(conn)
		for n := range users * rounds {
			i := n % users
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatalf("answer %d: %v", n, err)
			}
			body, err := io.ReadAll(res.Body)
			if want := fmt.Sprint(i + 1 + n/users + 1); err != nil || res.StatusCode != 200 || string(body) != want {
				t.Fatalf("answer %d: %d %q, %v, want %q", n, res.StatusCode, body, err, want)
			}
			for _, c := range res.Cookies() {
				if c.Name == "koa.sid" && c.Value != of[i].id() {
					t.Errorf("answer %d has the cookie of another user", n)
				}
			}
		}
		mu.Lock()
		defer mu.Unlock()
		for n, session := range kept {
			if i := n % users; session.ID() != core.ID(of[i].id()) || count.Get(session) != i+1+n/users+1 {
				t.Errorf("the session of request %d has changed: %d", n, count.Get(session))
			}
		}
	}},
	{"another manager than the mounted one is ErrNoSession", func(t *testing.T, s *suite) {
		other, _, _ := s.manager(core.Options{Name: "other"})
		s.app(core.Options{}, func(x *Exchange) error {
			if _, err := x.FromManager(other); !errors.Is(err, core.ErrNoSession) {
				return fmt.Errorf("got %v", err)
			}
			x.Write("none")
			return nil
		}).user().want("/", 200, "none")
	}},
}

// failing makes the calls of these methods fail as those of a server do.
func failing(ops ...storetest.Op) storetest.Hook {
	return func(_ context.Context, op storetest.Op, _ string) error {
		for _, o := range ops {
			if o == op {
				return fmt.Errorf("%w: dial secret.internal:6379", core.ErrUnavailable)
			}
		}
		return nil
	}
}

func swallow(context.Context, *core.Error) error { return nil }

// safeError asks for an error answer that tells nothing and is not sniffed.
func safeError(t *testing.T, r result) {
	t.Helper()
	if strings.Contains(r.body, "secret") || strings.Contains(r.body, "session") {
		t.Errorf("the error tells too much: %q", r.body)
	}
	if !strings.HasPrefix(r.header.Get("Content-Type"), "text/plain") || r.header.Get("Content-Encoding") != "" {
		t.Errorf("Content-Type %q", r.header.Get("Content-Type"))
	}
}
