package browsers_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

// Sequences that were looked for to break a promise.

// What an Update made of a value that was loaded is not what the request set
// (P1).
func TestUpdateIsNoSet(t *testing.T) {
	update := func(_ *core.Visit, s *core.Session) {
		if _, err := visits.Update(s, func(n int) int { return n + 1 }); err != nil {
			t.Error(err)
		}
	}
	read := func(m *core.Manager, b *jartest.Browser) (n int) {
		visit(t, m, b, func(_ *core.Visit, s *core.Session) { n = visits.Get(s) })
		return n
	}
	for _, kind := range stores[:2] {
		t.Run(kind.name, func(t *testing.T) {
			t.Run("a login that lost", func(t *testing.T) {
				m, b := newManager(t, kind.open(t), core.Options{}), &jartest.Browser{}
				visit(t, m, b, set(t, 1000))
				late := begin(m, b.Jar("/")).run(t, update).run(t, loginAs(t, "ada"))
				must(t, m.DestroyByID(bg, idOf(b)))
				late.commit().ok(t).to(b)
				wantUser(t, m, b, "ada")
				if n := read(m, b); n != 1 && n != 0 {
					t.Errorf("visits = %d: of the session that was ended", n)
				}
			})
			t.Run("after a save that lost", func(t *testing.T) {
				m, b := newManager(t, kind.open(t), core.Options{}), &jartest.Browser{}
				visit(t, m, b, set(t, 1000))
				late := begin(m, b.Jar("/")).run(t, update)
				must(t, m.DestroyByID(bg, idOf(b)))
				late.run(t, func(v *core.Visit, s *core.Session) {
					if err := s.Save(bg); !errors.Is(err, core.ErrGone) {
						t.Errorf("Save: %v", err)
					}
					loginAs(t, "ada")(v, s)
				}).commit().ok(t).to(b)
				wantUser(t, m, b, "ada")
				if n := read(m, b); n != 1 && n != 0 {
					t.Errorf("visits = %d: of the session that was ended", n)
				}
			})
			t.Run("DropValues", func(t *testing.T) {
				m, b := newManager(t, kind.open(t), core.Options{}), &jartest.Browser{}
				visit(t, m, b, set(t, 1000))
				visit(t, m, b, func(v *core.Visit, s *core.Session) {
					update(v, s)
					must(t, s.Login(core.LoginOptions{DropValues: true}))
				})
				if n := read(m, b); n != 1 && n != 0 {
					t.Errorf("visits = %d: of before the login", n)
				}
			})
		})
	}
}

// A request with dead first cookie and a late one that has been given up just
// now is late: it must not take the cookie of the login away (K17).
func TestLateBySecondCookie(t *testing.T) {
	for name, pause := range map[string]time.Duration{"first tombstone there": 10 * time.Second, "first tombstone gone": 70 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, b := newManager(t, newMemory(t), core.Options{}), &jartest.Browser{}
				visit(t, m, b, set(t, 1))
				request(t, m, b, loginAs(t, "ada")) // the answer is lost
				visit(t, m, b, set(t, 2))           // the form, in NAME.late
				time.Sleep(pause)
				late := b.Jar("/")
				visit(t, m, b, loginAs(t, "ada"))
				begin(m, late).run(t, set(t, 3)).commit().ok(t).to(b)
				wantUser(t, m, b, "ada")
			})
		})
	}
}

// A session of NAME.late that is refused leaves the first id as late as it was.
func TestRefusedSecond(t *testing.T) {
	refuse := false
	m, b := newManager(t, newMemory(t), core.Options{Hooks: core.Hooks{
		Valid: func(_ context.Context, _ core.Jar, s *core.Session) (bool, error) {
			return !refuse || visits.Get(s) != 2, nil
		},
	}}), &jartest.Browser{}
	visit(t, m, b, set(t, 1))
	login := request(t, m, b, loginAs(t, "ada"))
	visit(t, m, b, set(t, 2)) // in NAME.late
	late := b.Jar("/")
	login.to(b)
	refuse = true
	begin(m, late).run(t, set(t, 3)).commit().ok(t).to(b)
	wantUser(t, m, b, "ada")
}

// A deferred request is late if it began late, however long it runs (P3).
func TestDeferredLate(t *testing.T) {
	for name, late := range map[string]func(x *exchange, wait func()){
		"asks at its end": func(x *exchange, wait func()) { wait(); x.run(t, set(t, 9)) },
		"replaces": func(x *exchange, wait func()) {
			must(t, x.visit.Replace(bg, map[string]int{"visits": 9}))
			wait()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, b := newManager(t, newMemory(t), core.Options{Defer: true}), &jartest.Browser{}
				visit(t, m, b, set(t, 1))
				jar := b.Jar("/")
				visit(t, m, b, loginAs(t, "ada"))
				x := begin(m, jar)
				late(x, func() { time.Sleep(61 * time.Second) })
				x.commit().ok(t).to(b)
				wantUser(t, m, b, "ada")
			})
		})
	}
}

// A late logout finds the session of a login, in whatever way its request got its
// id.
func TestLateLogoutFindsLogin(t *testing.T) {
	login := loginAs(t, "ada")
	for name, h := range map[string]handler{
		"login":        login,
		"login, save":  func(v *core.Visit, s *core.Session) { login(v, s); must(t, s.Save(bg)) },
		"login, login": func(v *core.Visit, s *core.Session) { login(v, s); must(t, s.Save(bg)); login(v, s) },
		"renew, login": func(v *core.Visit, s *core.Session) { must(t, s.Renew(bg)); login(v, s) },
		"login, renew": func(v *core.Visit, s *core.Session) { login(v, s); must(t, s.Renew(bg)) },
		"reset, login": func(v *core.Visit, s *core.Session) { must(t, s.Reset(bg)); login(v, s) },
		"login, reset": func(v *core.Visit, s *core.Session) { login(v, s); must(t, s.Reset(bg)); must(t, user.Set(s, "ada")) },
		"reset, renew, login": func(v *core.Visit, s *core.Session) {
			must(t, s.Reset(bg))
			must(t, s.Renew(bg))
			login(v, s)
		},
		"save, login, reset, login": func(v *core.Visit, s *core.Session) {
			must(t, visits.Set(s, 2))
			must(t, s.Save(bg))
			login(v, s)
			must(t, s.Reset(bg))
			login(v, s)
		},
	} {
		for _, kind := range stores[:2] {
			t.Run(name+"/"+kind.name, func(t *testing.T) {
				m, b := newManager(t, kind.open(t), core.Options{}), &jartest.Browser{}
				visit(t, m, b, set(t, 1))
				old := idOf(b)
				late := begin(m, b.Jar("/"))
				visit(t, m, b, h)
				wantUser(t, m, b, "ada")
				if lives(t, m, old) {
					t.Error("the old id lives")
				}
				has := copied(b)
				late.run(t, logout(t)).commit().ok(t).to(b)
				wantUser(t, m, has, "")
			})
		}
	}
}

// Two logins of one id, and then a logout with the id that both have given up.
func TestLogoutOfBoth(t *testing.T) {
	for name, lost := range map[string]handler{
		"login": loginAs(t, "ada"),
		"save, login": func(v *core.Visit, s *core.Session) {
			must(t, visits.Set(s, 3))
			if err := s.Save(bg); !errors.Is(err, core.ErrGone) {
				t.Errorf("Save: %v", err)
			}
			loginAs(t, "ada")(v, s)
		},
	} {
		for _, kind := range stores[:2] {
			t.Run(name+"/"+kind.name, func(t *testing.T) {
				m, b := newManager(t, kind.open(t), core.Options{}), &jartest.Browser{}
				visit(t, m, b, set(t, 1))
				second, bye := begin(m, b.Jar("/")), begin(m, b.Jar("/"))
				one, two := copied(b), copied(b)
				visit(t, m, one, loginAs(t, "ada"))
				second.run(t, lost).commit().ok(t).to(two)
				wantUser(t, m, one, "ada")
				wantUser(t, m, two, "ada")
				bye.run(t, logout(t)).commit().ok(t)
				wantUser(t, m, one, "")
				wantUser(t, m, two, "")
			})
		}
	}
}

// A logout with the id that came first ends the login that went over
// cookie.
func TestLogoutFindsLoginOverSecondCookie(t *testing.T) {
	m, b := newManager(t, newMemory(t), core.Options{}), &jartest.Browser{}
	visit(t, m, b, set(t, 1))
	bye := begin(m, b.Jar("/"))
	request(t, m, b, loginAs(t, "ada")) // the answer is lost
	visit(t, m, b, set(t, 2))           // the form, in NAME.late
	visit(t, m, b, loginAs(t, "ada"))
	wantUser(t, m, b, "ada")
	has := copied(b)
	bye.run(t, logout(t)).commit().ok(t)
	wantUser(t, m, has, "")
}

// A double click on the login, and a logout before the second answer comes: nothing
// leads from the one session to the other, so that answer logs in, as
// docs/concurrency.md says. A logout with the id of before ends both.
func TestDoubleLoginThenLogout(t *testing.T) {
	m, b := newManager(t, newMemory(t), core.Options{}), &jartest.Browser{}
	visit(t, m, b, set(t, 1))
	second, before := begin(m, b.Jar("/")), begin(m, b.Jar("/"))
	visit(t, m, b, loginAs(t, "ada"))
	second.run(t, loginAs(t, "ada")).commit().ok(t)
	visit(t, m, b, logout(t))
	wantUser(t, m, b, "")
	second.to(b) // older than the logout
	wantUser(t, m, b, "ada")
	before.run(t, logout(t)).commit().ok(t)
	wantUser(t, m, b, "")
}

// A login after a save without an answer happens, or is an error.
func TestLoginAfterUnknownOutcome(t *testing.T) {
	store := storetest.NewFaulty(newMemory(t))
	m, b := newManager(t, store, core.Options{FailFast: true}), &jartest.Browser{}
	visit(t, m, b, set(t, 1))
	x := begin(m, b.Jar("/")).run(t, func(v *core.Visit, s *core.Session) {
		must(t, visits.Set(s, 2))
		store.Before(failing(storetest.OpSetVersion, core.ErrOutcomeUnknown))
		if s.Save(bg) == nil {
			t.Error("Save: no error")
		}
		store.Before(nil)
		must(t, m.DestroyByID(bg, idOf(b)))
		loginAs(t, "ada")(v, s)
	}).commit()
	if x.to(b); x.err == nil {
		wantUser(t, m, b, "ada")
	}
}

// A renewal that meets a tombstone doesn't make it live as long as a session.
func TestTombstoneIsNotTouched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, b := newManager(t, newMemory(t), core.Options{IdleTimeout: core.DefaultMaxAge, TouchEvery: 1}), &jartest.Browser{}
		visit(t, m, b, set(t, 1))
		late := begin(m, b.Jar("/"))
		old := copied(b)
		time.Sleep(time.Second)
		visit(t, m, b, loginAs(t, "ada"))
		late.commit().ok(t)
		time.Sleep(2 * time.Minute)
		if got := request(t, m, old, set(t, 2)).cookies(); got != "koa.sid koa.sid.sig" {
			t.Errorf("after two minutes the old id is late still: Set-Cookie %s", got)
		}
	})
}

// A login makes good a Renew that another request's login has made fail.
func TestLoginAfterRenewThatLost(t *testing.T) {
	m, b := newManager(t, newMemory(t), core.Options{}), &jartest.Browser{}
	visit(t, m, b, set(t, 1))
	x := begin(m, b.Jar("/"))
	visit(t, m, b, loginAs(t, "ada"))
	x.run(t, func(v *core.Visit, s *core.Session) {
		if err := s.Renew(bg); !errors.Is(err, core.ErrGone) {
			t.Errorf("Renew: %v", err)
		}
		loginAs(t, "bob")(v, s)
	}).commit().ok(t).to(b)
	wantUser(t, m, b, "bob")
}

// A second login beside one that went over NAME.late does not end it: each
// login that succeeded has one living id (P2).
func TestLoginEndsNoOtherLogin(t *testing.T) {
	for name, c := range map[string]struct {
		pause time.Duration
		eve   bool
	}{
		"double click":                         {10 * time.Second, false},
		"double click, after a minute":         {70 * time.Second, false},
		"somebody who has a copy of NAME.late": {10 * time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, b := newManager(t, newMemory(t), core.Options{}), &jartest.Browser{}
				visit(t, m, b, set(t, 1))
				request(t, m, b, loginAs(t, "ada")) // the answer is lost
				visit(t, m, b, set(t, 2))           // the form, in NAME.late
				time.Sleep(c.pause)
				other := copied(b)
				if c.eve { // with a first cookie of her own
					var eve jartest.Browser
					visit(t, m, &eve, set(t, 3))
					for pair := range strings.SplitSeq(eve.Cookie("/"), "; ") {
						other.Take("/", pair+"; path=/")
					}
				}
				again := other.Jar("/")
				first := request(t, m, b, loginAs(t, "ada"))
				begin(m, again).run(t, loginAs(t, "eve")).commit().ok(t)
				first.to(b)
				wantUser(t, m, b, "ada")
			})
		})
	}
}

// DropValues keeps what this request has set, also before a Save or Renew of its own.
func TestDropValuesAfterSave(t *testing.T) {
	for name, save := range map[string]handler{
		"Save":  func(_ *core.Visit, s *core.Session) { must(t, s.Save(bg)) },
		"Renew": func(_ *core.Visit, s *core.Session) { must(t, s.Renew(bg)) },
	} {
		t.Run(name, func(t *testing.T) {
			m, b := newManager(t, newMemory(t), core.Options{}), &jartest.Browser{}
			visit(t, m, b, set(t, 1))
			visit(t, m, b, func(v *core.Visit, s *core.Session) {
				must(t, user.Set(s, "ada"))
				save(v, s)
				must(t, s.Login(core.LoginOptions{DropValues: true}))
			})
			wantUser(t, m, b, "ada")
		})
	}
}

// The same for one that began some time after the login, while the tombstone stood.
func TestDeferredLateAfterTheLogin(t *testing.T) {
	for _, began := range []time.Duration{0, 20 * time.Second, 50 * time.Second} {
		for _, asks := range []time.Duration{15 * time.Second, 45 * time.Second, 61 * time.Second} {
			t.Run(fmt.Sprint("began after ", began, ", asks after ", asks), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m, b := newManager(t, newMemory(t), core.Options{Defer: true}), &jartest.Browser{}
					visit(t, m, b, set(t, 1))
					jar := b.Jar("/")
					visit(t, m, b, loginAs(t, "ada"))
					time.Sleep(began)
					x := begin(m, jar)
					time.Sleep(asks)
					x.run(t, set(t, 9)).commit().ok(t).to(b)
					wantUser(t, m, b, "ada")
				})
			})
		}
	}
}

// The same in one browser with two logins of its own: NAME.next is that of
// the one, and the first that of the other.
func TestLoginEndsNoSibling(t *testing.T) {
	m, b := newManager(t, newMemory(t), core.Options{}), &jartest.Browser{}
	visit(t, m, b, set(t, 1))
	second := begin(m, b.Jar("/"))
	visit(t, m, b, loginAs(t, "ada"))
	change := request(t, m, b, set(t, 2)) // its answer comes late
	second.run(t, loginAs(t, "ada")).commit().ok(t).to(b)
	again := request(t, m, b, loginAs(t, "ada")) // its answer comes last
	change.to(b)
	request(t, m, b, loginAs(t, "ada")) // the answer is lost
	again.to(b)
	wantUser(t, m, b, "ada")
}

// A logout ends all successors of the first cookie's id (P2), also when the session
// is that of the copy.
func TestLogoutOverCopyEndsSiblings(t *testing.T) {
	m, b := newManager(t, newMemory(t), core.Options{}), &jartest.Browser{}
	visit(t, m, b, set(t, 1))
	change := request(t, m, b, set(t, 2)) // its answer comes late
	second := begin(m, b.Jar("/"))
	visit(t, m, b, loginAs(t, "ada"))
	one := copied(b)
	second.run(t, loginAs(t, "ada")).commit().ok(t).to(b)
	change.to(b)
	wantUser(t, m, b, "ada") // by the copy
	visit(t, m, b, logout(t))
	wantUser(t, m, one, "")
}

// A request that makes its session end with the browser, or chooses a lifetime or
// cookie options for one that does, is answered after a login beside it. The login stands,
// but where the session had a copy in NAME.next, which would outlive the browser: then
// the user logs in again, as docs/concurrency.md says.
func TestClosesBesideALogin(t *testing.T) {
	closes := core.Lifetime{UntilBrowserCloses: true}
	for name, c := range map[string]struct {
		o      core.Options
		chosen core.Lifetime
		copied bool // the session has a copy
		out    bool
	}{
		"no copy":                          {chosen: closes},
		"a copy":                           {chosen: closes, copied: true, out: true},
		"ends with the browser already":    {o: core.Options{IdleTimeout: time.Hour, Cookie: core.CookieOptions{MaxAge: core.UntilBrowserCloses}}, chosen: core.Lifetime{IdleTimeout: time.Minute}, copied: true, out: true},
		"another choice":                   {o: core.Options{IdleTimeout: time.Hour}, chosen: core.Lifetime{IdleTimeout: time.Minute}, copied: true},
		"a copy of an id that was renewed": {o: core.Options{RenewAfter: time.Minute}, chosen: closes},
		"no copy, ends with the browser":   {o: core.Options{IdleTimeout: time.Hour, Cookie: core.CookieOptions{MaxAge: core.UntilBrowserCloses}}, chosen: core.Lifetime{IdleTimeout: time.Minute}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, b := newManager(t, newMemory(t), c.o), &jartest.Browser{}
				visit(t, m, b, set(t, 1))
				if c.o.RenewAfter > 0 {
					time.Sleep(c.o.RenewAfter)
					visit(t, m, b, nil)
				}
				if c.copied {
					visit(t, m, b, loginAs(t, "ada"))
				}
				late := request(t, m, b, func(_ *core.Visit, s *core.Session) { must(t, s.SetLifetime(c.chosen)) })
				visit(t, m, b, loginAs(t, "ada"))
				late.to(b)
				want := "ada"
				if c.out {
					want = ""
				}
				wantUser(t, m, b, want)
				visit(t, m, b, loginAs(t, "ada"))
				wantUser(t, m, b, "ada")
			})
		})
	}
}

// A session gets a new id of itself beside a login, and that answer comes after that of the
// login. The copy of the login counts, and the first cookie is put back: so it is
// prolonged as long as the session is used.
func TestRenewedBesideALogin(t *testing.T) {
	for name, used := range map[string]bool{"before its first use": false, "after it": true} {
		for _, kind := range stores[:2] {
			t.Run(name+", "+kind.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m, b := newManager(t, kind.open(t), core.Options{IdleTimeout: 10 * time.Minute, RenewAfter: 5 * time.Minute}), &jartest.Browser{}
					visit(t, m, b, set(t, 1))
					time.Sleep(5 * time.Minute)
					before := request(t, m, b, set(t, 2)) // and renews, on its way
					late := before
					if used { // the answer that comes late is of a request from before the renewal
						late = request(t, m, b, set(t, 3))
						before.to(b)
						visit(t, m, b, nil)
					}
					visit(t, m, b, loginAs(t, "ada"))
					late.to(b)
					for range 20 {
						time.Sleep(2 * time.Minute)
						visit(t, m, b, nil)
					}
					wantUser(t, m, b, "ada")
				})
			})
		}
	}
}
