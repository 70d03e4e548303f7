package core_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
)

// signIn is the handler of a login that uses Login.
func signIn(t *testing.T, name string) handler {
	return func(_ *core.Visit, s *core.Session) {
		t.Helper()
		must(t, s.Login(core.LoginOptions{}))
		must(t, user.Set(s, name))
	}
}

// wantUser sends a request that reads who is logged in.
func (a *app) wantUser(want string) {
	a.t.Helper()
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		a.t.Helper()
		if got := user.Get(s); got != want {
			a.t.Errorf("user is %q, want %q", got, want)
		}
	}))
}

func (a *app) lives(id core.ID) bool {
	a.t.Helper()
	_, err := a.manager.GetByID(bg, id)
	if err != nil && !errors.Is(err, core.ErrNotFound) {
		a.t.Error(err)
	}
	return err == nil
}

// What a login does, and that it always does it (P1, P5, W4, W30, W32).
func TestLogin(t *testing.T) {
	options := map[string]func() *core.Options{
		"default": func() *core.Options { return &core.Options{} },
		"Defer":   func() *core.Options { return &core.Options{Defer: true} },
		"Koa":     core.KoaCompat,
		"Refuse":  func() *core.Options { return &core.Options{OnConflict: core.ConflictRefuse} },
	}
	for name, o := range options {
		t.Run(name, func(t *testing.T) {
			t.Run("a new id at the commit, values kept", func(t *testing.T) {
				a := newApp(t, o())
				a.ok(a.get("/", count(t)))
				old := core.ID(a.value())
				a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
					signIn(t, "ada")(v, s)
					if s.ID() != old || !a.lives(old) {
						t.Error("it acts before the save")
					}
				})).wantCookies(t, pair)
				if core.ID(a.value()) == old || a.lives(old) {
					t.Error("the old id lives")
				}
				a.wantVisits(1)
				a.wantUser("ada")
			})
			t.Run("at Save", func(t *testing.T) {
				a := newApp(t, o())
				a.ok(a.get("/", count(t)))
				old := core.ID(a.value())
				a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
					signIn(t, "ada")(v, s)
					must(t, s.Save(bg))
					if s.ID() == old || a.lives(old) || !a.lives(s.ID()) {
						t.Error("it does not act at Save")
					}
				})).wantCookies(t, pair)
				a.wantUser("ada")
			})
			t.Run("a new session", func(t *testing.T) {
				a := newApp(t, o())
				a.ok(a.get("/", signIn(t, "ada"))).wantCookies(t, pair)
				a.wantUser("ada")
			})
			t.Run("nothing set", func(t *testing.T) {
				a := newApp(t, o())
				a.ok(a.get("/", count(t)))
				old := core.ID(a.value())
				a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Login(core.LoginOptions{})) })).wantCookies(t, pair)
				if a.lives(old) {
					t.Error("the old id lives")
				}
				a.wantVisits(1)
			})
			t.Run("values dropped", func(t *testing.T) {
				a := newApp(t, o())
				a.ok(a.get("/", count(t)))
				a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
					count(t)(v, s)
					must(t, user.Set(s, "ada"))
					must(t, s.Login(core.LoginOptions{DropValues: true}))
					must(t, s.Save(bg))
					if got := visits.Get(s); got != 1 {
						t.Errorf("an update of this request made %d", got)
					}
				}))
				a.wantVisits(1) // counted from nothing
				a.wantUser("ada")
			})
			t.Run("no login when the handler fails", func(t *testing.T) {
				a := newApp(t, o())
				a.ok(a.get("/", count(t)))
				old := core.ID(a.value())
				a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
					signIn(t, "ada")(v, s)
					v.HandlerFailed()
				})).wantCookies(t, "")
				if !a.lives(old) {
					t.Error("the old id is dead")
				}
				a.wantUser("")
			})
			t.Run("a logout beside it: a session of its own, nothing of the old one", func(t *testing.T) {
				a := newApp(t, o())
				a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
					count(t)(v, s)
					must(t, s.Set("profile", map[string]string{"of": "eve"}))
				}))
				old := core.ID(a.value())
				a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
					inPlace := core.Key[map[string]string]("profile").Get(s)
					inPlace["changed"] = "yes"
					signIn(t, "ada")(v, s)
					must(t, a.manager.DestroyByID(bg, old))
				})).wantCookies(t, pair)
				if a.lives(old) {
					t.Error("the logout was undone")
				}
				a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
					if got, _ := s.JSON(); string(got) != `{"user":"ada"}` {
						t.Errorf("it has %s", got)
					}
				}))
			})
			t.Run("two at once: both work, the values go to one", func(t *testing.T) {
				a := newApp(t, o())
				a.ok(a.get("/", count(t)))
				old := core.ID(a.value())
				second := a.browser.Jar("/")
				var ids []core.ID
				a.ok(a.send(second, func(v *core.Visit, s *core.Session) {
					signIn(t, "ada")(v, s)
					a.ok(a.get("/", func(v *core.Visit, s *core.Session) { // the other one
						signIn(t, "ada")(v, s)
						must(t, s.Save(bg))
						ids = append(ids, s.ID())
					}))
					must(t, s.Save(bg))
					ids = append(ids, s.ID())
				})).wantCookies(t, pair)
				with := 0
				for _, id := range ids {
					got, err := a.manager.GetByID(bg, id)
					if err != nil || !strings.Contains(string(got), `"user":"ada"`) {
						t.Errorf("%s, %v", got, err)
					}
					if strings.Contains(string(got), "visits") {
						with++
					}
				}
				if with != 1 || len(ids) != 2 || ids[0] == ids[1] || a.lives(old) {
					t.Errorf("%d sessions have the old values, the old id lives: %t", with, a.lives(old))
				}
				if name == "Koa" { // it leaves no tombstone
					return
				}
				must(t, a.manager.DestroyByID(bg, old)) // a logout with the old id ends both
				if slices.ContainsFunc(ids, a.lives) {
					t.Error("a successor lives")
				}
			})
		})
	}
	t.Run("remember me, and not", func(t *testing.T) {
		for name, o := range map[string]*core.Options{
			"": {}, "idle": {IdleTimeout: 30 * time.Minute}, "absolute": {AbsoluteTimeout: 12 * time.Hour},
			"all three": {IdleTimeout: 30 * time.Minute, AbsoluteTimeout: 12 * time.Hour, RenewAfter: time.Hour},
		} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					o.RememberFor = 30 * 24 * time.Hour
					a := newApp(t, o)
					for _, long := range []bool{true, false, true} {
						a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
							must(t, s.Login(core.LoginOptions{Remember: long}))
							must(t, user.Set(s, "ada"))
						}))
						time.Sleep(29 * time.Minute)
						a.wantUser("ada")
						time.Sleep(25 * time.Hour)
						if want := map[bool]string{true: "ada"}[long]; true {
							a.wantUser(want)
						}
					}
				})
			})
		}
	})
	t.Run("out of range", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		for _, l := range []core.LoginOptions{
			{Remember: true}, {Lifetime: core.Lifetime{IdleTimeout: -1}}, {Lifetime: core.Lifetime{IdleTimeout: 1800}},
			{Lifetime: core.Lifetime{IdleTimeout: 25 * time.Hour}}, {Lifetime: core.Lifetime{AbsoluteTimeout: 999 * time.Millisecond}},
			{Lifetime: core.Lifetime{RenewAfter: time.Second}},
		} {
			e := a.get("/", func(_ *core.Visit, s *core.Session) {
				if s.Login(l) == nil {
					t.Errorf("%+v is taken", l)
				}
				must(t, user.Set(s, "ada"))
			})
			if e.commit == nil {
				t.Errorf("%+v: the commit says nothing", l)
			}
		}
		a.wantUser("")
	})
	t.Run("the time of the login", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, nil)
			a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
				if count(t)(v, s); !s.LoggedIn().IsZero() {
					t.Error("not logged in, but since when")
				}
			}))
			time.Sleep(time.Hour)
			now := time.Now()
			a.ok(a.get("/", signIn(t, "ada")))
			time.Sleep(time.Hour)
			for range 2 {
				a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
					if got := s.LoggedIn(); !got.Equal(now.Truncate(time.Millisecond)) {
						t.Errorf("logged in at %v, want %v", got, now)
					}
					count(t)(v, s)
					must(t, s.Renew(bg))
				}))
			}
		})
	})
	t.Run("begins the absolute time anew", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, &core.Options{AbsoluteTimeout: 12 * time.Hour})
			a.ok(a.get("/", count(t)))
			time.Sleep(12*time.Hour - time.Minute)
			a.ok(a.get("/", signIn(t, "ada")))
			time.Sleep(12*time.Hour - time.Minute)
			a.wantUser("ada")
			time.Sleep(2 * time.Minute)
			a.wantUser("")
		})
	})
	t.Run("every step refused: nothing is stored, and a Save may try again", func(t *testing.T) {
		for _, again := range []bool{false, true} {
			steps := 0
			for failing := 1; failing == 1 || failing <= steps; failing++ {
				a := newApp(t, &core.Options{Hooks: core.Hooks{Error: func(context.Context, *core.Error) error { return nil }}})
				a.ok(a.get("/", count(t)))
				planted := core.ID(a.value())
				calls, refused := 0, false
				e := a.get("/", func(v *core.Visit, s *core.Session) {
					signIn(t, "ada")(v, s)
					a.store.Before(func(context.Context, storetest.Op, string) error {
						if calls++; calls == failing {
							return core.ErrRefused
						}
						return nil
					})
					refused = s.Save(bg) != nil
					a.store.Before(nil)
					if again {
						must(t, s.Save(bg))
					}
				})
				steps = max(steps, calls)
				switch {
				case refused && !again:
					if e.wantCookies(t, ""); e.commit == nil {
						t.Errorf("step %d: the commit says nothing", failing)
					}
					a.wantUser("")
					a.wantVisits(1)
				default:
					a.ok(e)
					a.wantUser("ada")
					if a.lives(planted) {
						t.Error("the planted id lives")
					}
				}
			}
		}
	})
	t.Run("the response has begun", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		jar := a.browser.Jar("/")
		e := a.send(jar, func(_ *core.Visit, s *core.Session) {
			jar.Sent = true
			wantIs(t, s.Login(core.LoginOptions{}), core.ErrCommitted)
		})
		wantIs(t, e.commit, core.ErrCommitted)
	})
	t.Run("a re-login of the same user keeps the user", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", signIn(t, "ada")))
		late := a.browser.Jar("/")
		a.ok(a.send(late, func(v *core.Visit, s *core.Session) {
			signIn(t, "ada")(v, s)
			a.ok(a.get("/", signIn(t, "ada")))
		}))
		a.browser.Take("/", late.SetCookies...)
		a.wantUser("ada")
	})
}
