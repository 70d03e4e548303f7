package core_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
)

// P5: a login that fails leaves the browser what it had, at whatever call of the store
// it fails, also where it has to end other sessions for LoginOptions.MaxSessions.
func TestP5AFailedLoginLosesNothing(t *testing.T) {
	limited := core.LoginOptions{Owner: "ada", MaxSessions: 2}
	for name, begin := range map[string]func(a *app){
		"a visitor":                 func(*app) {},
		"somebody else":             func(a *app) { a.mustLogin(core.LoginOptions{Owner: "bob"}) },
		"who is logged in already":  func(a *app) { a.mustLogin(core.LoginOptions{Owner: "ada"}) },
		"the oldest of the devices": func(a *app) { a.mustLogin(core.LoginOptions{Owner: "ada"}); time.Sleep(time.Second) },
	} {
		for failure, plant := range map[string]func(s *storetest.Faulty, n int) (met func() bool){
			"one call":           func(s *storetest.Faulty, n int) func() bool { return failOn(s.Before, n, n, core.ErrUnavailable) },
			"an outage":          func(s *storetest.Faulty, n int) func() bool { return failOn(s.Before, n, 1000, core.ErrUnavailable) },
			"an answer is lost":  func(s *storetest.Faulty, n int) func() bool { return failOn(s.After, n, n, core.ErrOutcomeUnknown) },
			"one call, refused":  func(s *storetest.Faulty, n int) func() bool { return failOn(s.Before, n, n, core.ErrRefused) },
			"all calls, refused": func(s *storetest.Faulty, n int) func() bool { return failOn(s.Before, n, 1000, core.ErrRefused) },
		} {
			t.Run(name+"/"+failure, func(t *testing.T) {
				ownersOn(t, func(t *testing.T, open func(*core.Options) *app) {
					failed := 0
					for n, met := 1, true; met; n++ {
						a := open(&core.Options{FailFast: true})
						begin(a)
						a.ok(a.get("/", count(t)))
						for range 2 {
							a.device().mustLogin(core.LoginOptions{Owner: "ada"})
							time.Sleep(time.Second)
						}
						owner := a.owner()
						jar := a.browser.Jar("/")
						var over func() bool
						e := a.send(jar, func(_ *core.Visit, s *core.Session) {
							must(t, s.Login(limited))
							over = plant(a.store, n)
						})
						a.store.Before(nil)
						a.store.After(nil)
						met = over()
						a.browser.Take("/", jar.SetCookies...)
						what := fmt.Sprintf("call %d", n)
						if err := e.err(); err != nil {
							failed++
							if len(jar.SetCookies) != 0 {
								t.Errorf("%s: Set-Cookie: %q", what, jar.SetCookies)
							}
							if got := a.owner(); got != owner {
								t.Errorf("%s: after a login that failed the owner is %q, was %q: %v", what, got, owner, err)
							}
							a.wantVisits(1)
						} else if got, n := a.owner(), len(a.list("ada")); got != "ada" || n != 2 {
							t.Errorf("%s: after the login the owner is %q, and ada has %d sessions", what, got, n)
						}
						// It can be tried again, and holds the owner to so many.
						a.mustLogin(limited)
						if got, n := a.owner(), len(a.list("ada")); got != "ada" || n != 2 {
							t.Errorf("%s: after another login the owner is %q, and ada has %d sessions", what, got, n)
						}
					}
					if failed == 0 && failure != "an answer is lost" {
						t.Error("no login has failed")
					}
				})
			})
		}
	}
}

// failOn makes the calls from the n-th to the last one fail with err, and returns
// whether there were so many.
func failOn(set func(storetest.Hook), n, last int, err error) (met func() bool) {
	calls := 0
	set(func(context.Context, storetest.Op, string) error {
		if calls++; calls < n || calls > last {
			return nil
		}
		return err
	})
	return func() bool { return calls >= n }
}

// Requests that save the sessions of other devices can't hinder a login that ends them.
func TestLoginLimitBesideWriters(t *testing.T) {
	ownersOn(t, func(t *testing.T, open func(*core.Options) *app) {
		a := open(nil)
		other := a.device()
		other.mustLogin(core.LoginOptions{Owner: "ada"})
		busy, writes := false, 0
		a.store.After(func(_ context.Context, op storetest.Op, _ string) error {
			if op != storetest.OpGetMany || busy {
				return nil
			}
			busy = true // the other device saves whenever its session was looked at
			defer func() { busy = false }()
			if e := other.get("/", count(t)); e.err() != nil && !errors.Is(e.err(), core.ErrGone) {
				t.Error(e.err())
			}
			writes++
			return nil
		})
		err := a.login(core.LoginOptions{Owner: "ada", MaxSessions: 1})
		a.store.After(nil)
		if err != nil {
			t.Errorf("the login: %v", err)
		}
		if writes > 3 {
			t.Errorf("the other device has saved %d times meanwhile", writes)
		}
		if n := len(a.list("ada")); a.owner() != "ada" || other.owner() != "" || n != 1 {
			t.Errorf("ada has %d sessions", n)
		}
	})
}
