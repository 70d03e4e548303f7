package adaptertest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// storeRules are about the store behind the requests, and the end of it all.
var storeRules = []rule{
	{"W1 a login that is refused leaves the planted session as it was", func(t *testing.T, s *suite) {
		user := core.Key[string]("user")
		moves := map[string]func(*core.Session, context.Context) error{"renew": (*core.Session).Renew, "reset": (*core.Session).Reset}
		var a *app
		a = s.app(core.Options{FailFast: true}, func(x *Exchange) error {
			session, err := x.From()
			if err != nil {
				return err
			}
			if x.URL.Path == "/who" {
				x.Write(user.Get(session))
				return nil
			}
			if x.URL.Path == "/plant" {
				return count.Set(session, 1)
			}
			// The login: /MOVE/first sets the user after the id changes,
			// /MOVE/last before. ?answer: the handler answers an error itself.
			move, order, _ := strings.Cut(x.URL.Path[1:], "/")
			refuse := func() error {
				a.store.Before(failing(storetest.OpSet, storetest.OpSetVersion, storetest.OpBatch, storetest.OpDestroy))
				defer a.store.Before(nil)
				return moves[move](session, x.Ctx)
			}
			if order == "last" {
				err = user.Set(session, "ada")
			}
			refused := refuse()
			if order == "first" {
				err = user.Set(session, "ada")
			}
			if err != nil || refused == nil {
				return fmt.Errorf("Set: %w, refused: %w", err, refused)
			}
			if x.URL.RawQuery == "answer" {
				return refused
			}
			x.Write("welcome") // a handler that does not look
			return nil
		})
		for move := range moves {
			for _, target := range []string{"/first", "/last", "/first?answer", "/last?answer"} {
				u := a.user()
				u.want("/plant", 200, "").pair(t, true)
				planted := u.id()
				attacker := a.user()
				attacker.browser.Take("/", "koa.sid="+planted, "koa.sid.sig="+u.sig())
				u.want("/"+move+target, 503, "Service Unavailable").noCookies(t)
				attacker.want("/who", 200, "")
				u.want("/who", 200, "")
			}
		}
	}},
	{"W40 P21 a crowd updates one session, by handlers whose own deadline is over", func(t *testing.T, s *suite) {
		const crowd = 400
		a := s.app(core.Options{}, func(x *Exchange) error {
			if x.URL.Path != "/late" {
				return routes(x)
			}
			ctx, cancel := context.WithTimeout(x.Ctx, time.Nanosecond)
			defer cancel()
			session, err := core.From(ctx)
			if err != nil {
				return err
			}
			n, err := count.Update(session, plusOne)
			x.Write(fmt.Sprint(n))
			return err
		})
		u := a.user()
		u.want("/", 200, "1")
		cookie := u.browser.Cookie("/")
		var all sync.WaitGroup
		for range crowd {
			all.Go(func() {
				req, err := http.NewRequest("GET", a.url("/late"), nil)
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Cookie", cookie)
				if r, err := a.do(req); err != nil || r.status != 200 {
					t.Errorf("%d %s, %v", r.status, r.body, err)
				}
			})
		}
		all.Wait()
		u.want("/read", 200, fmt.Sprint(1+crowd))
	}},
	{"W35 a value that can't be encoded fails the answer, and nothing is saved", func(t *testing.T, s *suite) {
		a := s.app(core.Options{}, func(x *Exchange) error {
			session, err := x.From()
			if err != nil {
				return err
			}
			if x.URL.Path == "/read" {
				x.Write(fmt.Sprint(count.Get(session)))
				return nil
			}
			_ = session.Set("bad", make(chan int))
			if err := count.Set(session, 1); err != nil {
				return err
			}
			if x.URL.Path == "/healed" {
				if err := session.Delete("bad"); err != nil {
					return err
				}
			}
			x.Write("ok")
			return nil
		})
		u := a.user()
		u.want("/", 500, "Internal Server Error").noCookies(t)
		u.want("/healed", 200, "ok").pair(t, true)
		u.want("/read", 200, "1")
	}},
	{"K35 a handler reads, writes and ends sessions by their id", func(t *testing.T, s *suite) {
		var a *app
		var id core.ID // whose session it is about
		a = s.app(core.Options{}, func(x *Exchange) error {
			switch x.URL.Path {
			case "/admin/get":
				values, err := a.manager.GetByID(x.Ctx, id)
				if errors.Is(err, core.ErrNotFound) {
					x.Write("none")
					return nil
				}
				x.Write(string(values))
				return err
			case "/admin/set":
				return a.manager.SetByID(x.Ctx, id, map[string]int{"count": 10}, time.Hour)
			case "/admin/destroy":
				return a.manager.DestroyByID(x.Ctx, id)
			}
			return routes(x)
		})
		u, admin := a.user(), a.user()
		u.want("/", 200, "1")
		id = core.ID(u.id())
		admin.want("/admin/get", 200, `{"count":1}`).noCookies(t)
		admin.want("/admin/set", 200, "").noCookies(t)
		u.want("/", 200, "11")
		admin.want("/admin/destroy", 200, "").noCookies(t)
		admin.want("/admin/get", 200, "none")
		u.want("/read", 200, "0")
	}},
	{"K3 K37 K45 cookie and session end with their time, to the second and to the millisecond", inBubble(func(t *testing.T, s *suite) {
		a := s.app(core.Options{Cookie: core.CookieOptions{MaxAge: 1500 * time.Millisecond}}, routes)
		u := a.user()
		r := u.want("/", 200, "1")
		r.pair(t, true)
		want := time.Now().Add(1500 * time.Millisecond).UTC().Format("; expires=Mon, 02 Jan 2006 15:04:05 GMT; ")
		for _, l := range r.cookies {
			if anyExpires.FindString(l) != want {
				t.Errorf("got %q, want%s", names([]string{l}), want)
			}
		}
		kept := u.browser.Cookie("/") // a browser whose clock is slow
		time.Sleep(1499 * time.Millisecond)
		if got := a.with(kept); got.body != "1" {
			t.Errorf("just before its end: %q", got.body)
		}
		time.Sleep(time.Millisecond)
		if got := a.with(kept); got.body != "0" {
			t.Errorf("after its end: %q", got.body)
		}
		time.Sleep(time.Hour)
		if n := a.memory.Len(); n != 0 {
			t.Errorf("%d records are left", n)
		}
	})},
	{"K45 a full store refuses new sessions, and drops none", func(t *testing.T, s *suite) {
		s.bounds = &memorystore.Options{MaxEntries: 1}
		a := s.app(core.Options{}, routes)
		u := a.user()
		u.want("/", 200, "1")
		r := a.user().want("/", 503, "Service Unavailable")
		r.noCookies(t)
		safeError(t, r)
		u.want("/", 200, "2")
		u.want("/destroy", 200, "ok")
		a.user().want("/", 200, "1")
	}},
	{"K45 what is done to a value after the commit does not reach the store", func(t *testing.T, s *suite) {
		const list core.Key[[]string] = "list"
		given := []string{"as it was"}
		var got []string
		u := s.app(core.Options{}, func(x *Exchange) error {
			session, err := x.From()
			if err != nil {
				return err
			}
			if x.URL.Path == "/set" {
				return list.Set(session, given)
			}
			got = list.Get(session)
			x.Write(fmt.Sprint(got))
			return nil
		}).user()
		u.want("/set", 200, "").pair(t, true)
		given[0] = "changed"
		u.want("/", 200, "[as it was]").noCookies(t)
		got[0] = "changed"
		u.want("/", 200, "[as it was]").noCookies(t)
	}},
	{"K52 Close ends the waiting at once, and requests in flight finish their commit", inBubble(func(t *testing.T, s *suite) {
		arrived, goOn := make(chan struct{}), make(chan struct{})
		a := s.app(core.Options{}, func(x *Exchange) error {
			if x.URL.Path == "/slow" {
				close(arrived)
				<-goOn
			}
			return routes(x)
		})
		send := func(u *user, target string) <-chan result {
			done := make(chan result, 1)
			go func() {
				r, err := u.send(context.Background(), "GET", target)
				if err != nil {
					t.Error(err)
				}
				done <- r
			}()
			return done
		}
		inFlight := a.user()
		inFlight.want("/", 200, "1")
		slow := send(inFlight, "/slow")
		<-arrived
		a.store.Down()
		waiting := send(a.user(), "/read")
		synctest.Wait()
		select {
		case r := <-waiting:
			t.Fatalf("answered %d while the store is down", r.status)
		default:
		}
		start := time.Now()
		for range 2 {
			if err := a.manager.Close(); err != nil {
				t.Error(err)
			}
		}
		r := <-waiting
		r.noCookies(t)
		safeError(t, r)
		if r.status != 503 || time.Since(start) != 0 {
			t.Errorf("answered %d after %v", r.status, time.Since(start))
		}
		a.store.Up()
		close(goOn)
		if r := <-slow; r.status != 200 || r.body != "2" {
			t.Errorf("the request in flight: %d %q", r.status, r.body)
		} else {
			r.pair(t, true)
		}
		if w := a.writes(); w != 2 {
			t.Errorf("%d writes", w)
		}
		a.user().want("/read", 503, "Service Unavailable").noCookies(t)
	})},
}
