package core_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

func renewNow(t *testing.T) handler {
	return func(_ *core.Visit, s *core.Session) { t.Helper(); must(t, s.Renew(bg)) }
}

// A logout with an id finds the login that carried it, whatever became of the note
// there meanwhile (P2).
func TestALoginIsNotedWhereItsSessionWas(t *testing.T) {
	eve := func(t *testing.T, a *app) { a.ok(a.get("/", signIn(t, "eve"))) }
	wait := func(*testing.T, *app) { time.Sleep(70 * time.Second) }
	nothing := func(*testing.T, *app) {}
	for name, c := range map[string]struct{ before, meanwhile func(t *testing.T, a *app) }{
		"of an id given up before, and the note has passed": {eve, wait},
		"of an id given up meanwhile, and the note has passed": {nothing, func(t *testing.T, a *app) {
			eve(t, a)
			wait(t, a)
		}},
		"of a session that is revoked meanwhile": {nothing, func(t *testing.T, a *app) {
			must(t, a.manager.DestroyByID(bg, core.ID(a.value())))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newApp(t, nil)
				a.ok(a.get("/", count(t)))
				jar, old := a.browser.Jar("/"), core.ID(a.value())
				c.before(t, a)
				var own core.ID
				a.ok(a.send(jar, func(v *core.Visit, s *core.Session) {
					c.meanwhile(t, a)
					signIn(t, "ada")(v, s)
					must(t, s.Save(bg))
					own = s.ID()
				}))
				must(t, a.manager.DestroyByID(bg, old))
				if a.lives(own) {
					t.Error("a logout with the old id does not end the login")
				}
			})
		})
	}
}

// A request whose first and second id are dead is late by both, and its login is
// noted under both.
func TestBothIDsGivenUp(t *testing.T) {
	// lost leaves a browser with a first id that was given up, and a second that lives.
	lost := func(t *testing.T) (a *app, first, second core.ID) {
		a = newApp(t, nil)
		a.ok(a.get("/", count(t)))
		first = core.ID(a.value())
		a.ok(a.send(a.browser.Jar("/"), signIn(t, "ada"))) // the answer is lost
		a.ok(a.get("/", count(t)))
		late, _ := a.browser.Value("/", "koa.sid.late")
		return a, first, core.ID(late)
	}
	endings := map[string]func(t *testing.T, a *app, second core.ID){
		"another login": func(t *testing.T, a *app, _ core.ID) { a.ok(a.send(a.browser.Jar("/"), signIn(t, "ada"))) },
		"a Renew":       func(t *testing.T, a *app, _ core.ID) { a.ok(a.send(a.browser.Jar("/"), renewNow(t))) },
		"a revocation":  func(t *testing.T, a *app, id core.ID) { must(t, a.manager.DestroyByID(bg, id)) },
	}
	for name, end := range endings {
		t.Run("a login beside "+name, func(t *testing.T) {
			for _, by := range []string{"first", "second"} {
				a, first, second := lost(t)
				var own core.ID
				a.ok(a.send(a.browser.Jar("/"), func(v *core.Visit, s *core.Session) {
					end(t, a, second)
					signIn(t, "ada")(v, s)
					must(t, s.Save(bg))
					own = s.ID()
				}))
				must(t, a.manager.DestroyByID(bg, map[string]core.ID{"first": first, "second": second}[by]))
				if a.lives(own) {
					t.Errorf("a logout with the %s id does not end it", by)
				}
			}
		})
		t.Run("a new session beside "+name, func(t *testing.T) {
			a, _, second := lost(t)
			e := a.ok(a.send(a.browser.Jar("/"), func(v *core.Visit, s *core.Session) {
				end(t, a, second)
				must(t, s.Set("a", 1))
				wantIs(t, s.Save(bg), core.ErrGone)
				must(t, s.Reset(bg))
				must(t, s.Set("a", 1))
			}))
			e.wantCookies(t, "koa.sid.late koa.sid.late.sig")
		})
	}
}

// Notes are no sessions for a store that counts them, also those of a second login.
func TestNotesAreNotCounted(t *testing.T) {
	m := memorystore.New(nil)
	t.Cleanup(func() { m.Close() })
	a := newAppOn(t, m, nil)
	a.ok(a.get("/", count(t)))
	jar := a.browser.Jar("/")
	a.ok(a.get("/", signIn(t, "ada")))
	a.ok(a.send(jar, signIn(t, "ada")))
	if n := m.Len(); n != 2 {
		t.Errorf("%d sessions, want those of the two logins", n)
	}
}

// After a Renew, Reset or Destroy that SaveNever has held back, nothing of the
// request is saved: the old session would live beside the new one.
func TestSaveNeverIsNotTakenBack(t *testing.T) {
	for name, call := range map[string]func(s *core.Session) error{
		"Renew":   func(s *core.Session) error { return s.Renew(bg) },
		"Reset":   func(s *core.Session) error { return s.Reset(bg) },
		"Destroy": func(s *core.Session) error { return s.Destroy(bg) },
	} {
		t.Run(name, func(t *testing.T) {
			a := newApp(t, nil)
			a.ok(a.get("/", count(t)))
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
				s.SetSaveMode(core.SaveNever)
				must(t, call(s))
				s.SetSaveMode(core.SaveAlways)
				if name != "Destroy" {
					must(t, s.Set("a", 1))
				}
			})).wantCookies(t, "")
			a.wantCalls(map[storetest.Op]int{storetest.OpGetVersion: 1, storetest.OpSetVersion: 1}) // the load, and the one before
			a.wantVisits(1)
		})
	}
	t.Run("else it is", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
			s.SetSaveMode(core.SaveNever)
			count(t)(v, s)
			s.SetSaveMode(core.SaveIfChanged)
		}))
		a.wantVisits(1)
	})
}

// A login whose session has no life ends it, as any save does (K37).
func TestKoaK37ALoginWithoutALife(t *testing.T) {
	over := false
	o := core.KoaCompat()
	o.TTLFunc = func(*core.Session) time.Duration {
		if over {
			return -1
		}
		return time.Hour
	}
	a := newApp(t, o)
	a.ok(a.get("/", count(t)))
	old := core.ID(a.value())
	over = true
	a.ok(a.get("/", signIn(t, "ada"))).wantCookies(t, "-koa.sid -koa.sid.sig")
	if over = false; a.lives(old) {
		t.Error("the old session lives")
	}
}
