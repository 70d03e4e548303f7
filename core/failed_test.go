package core_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

const user core.Key[string] = "user"

// A login that is refused leaves the planted session as it was, in either
// order of Set and Renew, whichever step of the store failed, on stores with
// versions and without, and whatever Hooks.Error says.
func TestW1AFailedRenewSavesNothing(t *testing.T) {
	moves := map[string]func(s *core.Session) error{
		"Renew": func(s *core.Session) error { return s.Renew(bg) },
		"Reset": func(s *core.Session) error { return s.Reset(bg) },
	}
	orders := map[string]func(move func(*core.Session) error) func(s *core.Session) error{
		"Set first": func(move func(*core.Session) error) func(s *core.Session) error {
			return func(s *core.Session) error { return errors.Join(user.Set(s, "ada"), move(s)) }
		},
		"Set last": func(move func(*core.Session) error) func(s *core.Session) error {
			return func(s *core.Session) error { err := move(s); return errors.Join(err, user.Set(s, "ada")) }
		},
	}
	quiet := core.Hooks{Error: func(context.Context, *core.Error) error { return nil }}
	options := map[string]func() *core.Options{
		"default": func() *core.Options { return &core.Options{} },
		"quiet hook, Rolling, AllowEmpty": func() *core.Options {
			return &core.Options{Hooks: quiet, IdleTimeout: core.DefaultMaxAge, AllowEmpty: true, TouchEvery: 1}
		},
		"Defer": func() *core.Options { return &core.Options{Defer: true} },
		"KoaCompat": func() *core.Options {
			o := core.KoaCompat()
			o.Hooks = quiet
			return o
		},
	}
	stores := map[string]func(t *testing.T) core.Store{
		"versions": func(t *testing.T) core.Store { return newMemory(t) },
		"plain":    func(t *testing.T) core.Store { return plainStore{newMemory(t)} },
	}
	for optionsName, o := range options {
		for storeName, newStore := range stores {
			for moveName, move := range moves {
				for orderName, order := range orders {
					t.Run(strings.Join([]string{optionsName, storeName, moveName, orderName}, "/"), func(t *testing.T) {
						steps := 0
						for failing := 1; failing == 1 || failing <= steps; failing++ {
							a := newAppOn(t, newStore(t), o())
							a.ok(a.get("/", count(t)))
							planted := a.value()
							calls := 0
							refused := false
							e := a.get("/", func(_ *core.Visit, s *core.Session) {
								_ = visits.Get(s) // loaded before the store begins to fail
								a.store.Before(func(_ context.Context, op storetest.Op, key string) error {
									if calls++; calls == failing {
										return core.ErrRefused
									}
									return nil
								})
								refused = order(move)(s) != nil
								a.store.Before(nil)
							})
							must(t, e.begin)
							steps = max(steps, calls)
							if !refused { // a failure of this step is harmless
								must(t, e.commit)
								continue
							}
							if e.commit == nil {
								t.Errorf("step %d fails, the commit does not say so", failing)
							}
							if cookies := e.cookies(); cookies != "" && cookies != "-koa.sid -koa.sid.sig" {
								t.Errorf("step %d: Set-Cookie %s", failing, cookies)
							}
							if values, err := a.manager.GetByID(bg, core.ID(planted)); err == nil && strings.Contains(string(values), "ada") {
								t.Errorf("step %d: who planted the id is logged in", failing)
							}
						}
						if steps == 0 {
							t.Error("the store was never asked: nothing was tested")
						}
					})
				}
			}
		}
	}
}

// The same call clears the failure when it succeeds; other calls do not.
func TestW1TheSameCallClearsTheFailure(t *testing.T) {
	broken := func(a *app, f func() error) {
		a.t.Helper()
		a.store.Before(func(context.Context, storetest.Op, string) error { return core.ErrRefused })
		wantIs(a.t, f(), core.ErrRefused)
		a.store.Before(nil)
	}
	t.Run("Renew", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		old := core.ID(a.value())
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			broken(a, func() error { return s.Renew(bg) })
			must(t, user.Set(s, "ada"))
			wantIs(t, s.Save(bg), core.ErrRefused)
			must(t, s.Renew(bg))
			must(t, s.Save(bg))
		})).wantCookies(t, pair)
		if _, err := a.manager.GetByID(bg, old); !errors.Is(err, core.ErrNotFound) {
			t.Error("the old id lives")
		}
		a.wantVisits(1)
	})
	t.Run("Destroy works", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		old := core.ID(a.value())
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			broken(a, func() error { return s.Renew(bg) })
			must(t, s.Destroy(bg))
		})).wantCookies(t, "-koa.sid -koa.sid.sig")
		if _, err := a.manager.GetByID(bg, old); !errors.Is(err, core.ErrNotFound) {
			t.Error("the session lives")
		}
	})
	t.Run("Reset clears all failures", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			broken(a, func() error { return s.Renew(bg) })
			must(t, s.Reset(bg))
			must(t, user.Set(s, "ada"))
		})).wantCookies(t, pair)
		a.wantVisits(0)
	})
	t.Run("Renew does not clear a failed Reset", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		a.fails(core.ErrRefused, a.get("/", func(_ *core.Visit, s *core.Session) {
			broken(a, func() error { return s.Reset(bg) })
			must(t, s.Renew(bg))
			must(t, user.Set(s, "ada"))
		}))
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			if user.Get(s) != "" {
				t.Error("saved")
			}
		}))
	})
	t.Run("a panic of a hook, recovered by the handler", func(t *testing.T) {
		boom := false
		a := newApp(t, &core.Options{Hooks: core.Hooks{BeforeSave: func(context.Context, core.Jar, *core.Session) error {
			if boom {
				panic("boom")
			}
			return nil
		}}})
		a.ok(a.get("/", count(t)))
		e := a.get("/", func(_ *core.Visit, s *core.Session) {
			boom = true
			func() {
				defer func() { _ = recover() }()
				_ = s.Renew(bg)
			}()
			boom = false
			must(t, user.Set(s, "ada"))
		})
		if e.commit == nil {
			t.Error("saved")
		}
		a.wantVisits(1)
	})
	t.Run("a Renew in a hook", func(t *testing.T) {
		a := newApp(t, &core.Options{Hooks: core.Hooks{BeforeSave: func(_ context.Context, _ core.Jar, s *core.Session) error {
			_ = s.Renew(bg)
			return nil
		}}})
		if e := a.get("/", count(t)); e.commit == nil {
			t.Error("saved")
		}
	})
	t.Run("SaveNever", func(t *testing.T) {
		fail := false
		a := newApp(t, &core.Options{NewID: func(context.Context) (string, error) {
			if fail {
				return "", core.ErrRefused
			}
			return strings.Repeat("x", 20) + time.Now().Format("150405.000000000")[7:], nil
		}})
		a.ok(a.get("/", count(t)))
		fail = true
		a.fails(core.ErrRefused, a.get("/", func(_ *core.Visit, s *core.Session) {
			s.SetSaveMode(core.SaveNever)
			wantIs(t, s.Renew(bg), core.ErrRefused)
		})).wantCookies(t, "")
	})
}

// A change that can't be encoded fails the commit, which saves nothing else
// either, until a Set or Delete of its name succeeds.
func TestW35AChangeThatCantBeEncodedFailsTheCommit(t *testing.T) {
	bad := map[string]func(s *core.Session) error{
		"Set":   func(s *core.Session) error { return s.Set("x", make(chan int)) },
		"a key": func(s *core.Session) error { return core.Key[float64]("x").Set(s, math.NaN()) },
		"Update": func(s *core.Session) error {
			_, err := core.Key[any]("x").Update(s, func(any) any { return func() {} })
			return err
		},
		"Replace":   func(s *core.Session) error { return s.Replace(map[string]any{"x": make(chan int)}) },
		"no object": func(s *core.Session) error { return s.Replace(7) },
	}
	heals := map[string]func(s *core.Session) error{
		"Set":    func(s *core.Session) error { return s.Set("x", 1) },
		"Delete": func(s *core.Session) error { return s.Delete("x") },
		"Update": func(s *core.Session) error {
			_, err := core.Key[any]("x").Update(s, func(any) any { return 1 })
			return err
		},
		"Replace": func(s *core.Session) error { return s.Replace(map[string]any{"visits": 1, "y": 1}) },
	}
	quiet := core.Hooks{Error: func(context.Context, *core.Error) error { return nil }}
	for name, f := range bad {
		for _, hooks := range []core.Hooks{{}, quiet} {
			t.Run(name, func(t *testing.T) {
				a := newApp(t, &core.Options{Hooks: hooks, IdleTimeout: core.DefaultMaxAge, TouchEvery: 1})
				a.ok(a.get("/", count(t)))
				e := a.get("/", func(_ *core.Visit, s *core.Session) {
					must(t, visits.Set(s, 2))
					if f(s) == nil {
						t.Error("taken")
					}
					must(t, user.Set(s, "ada"))
					if s.Save(bg) == nil {
						t.Error("Save stores the rest")
					}
				})
				var as *core.Error
				if !errors.As(e.commit, &as) || as.Op != core.OpSet || core.Status(e.commit) != 500 {
					t.Errorf("commit: %v", e.commit)
				}
				e.wantCookies(t, "")
				a.wantVisits(1)
			})
		}
		for heal, g := range heals {
			replaced := strings.Contains("Replace no object", name)
			if replaced != (heal == "Replace") && heal != "Replace" {
				continue // one value does not clear a failed Replace
			}
			t.Run(name+" healed by "+heal, func(t *testing.T) {
				a := newApp(t, nil)
				a.ok(a.get("/", count(t)))
				a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
					_ = f(s)
					must(t, g(s))
					must(t, s.Set("y", 1))
				})).wantCookies(t, pair)
				a.wantVisits(1)
			})
		}
	}
	t.Run("another name does not clear the failure", func(t *testing.T) {
		a := newApp(t, nil)
		e := a.get("/", func(_ *core.Visit, s *core.Session) {
			_ = s.Set("x", make(chan int))
			must(t, s.Set("y", 1))
		})
		if e.commit == nil {
			t.Error("saved")
		}
		e.wantCookies(t, "")
	})
	t.Run("a change in place", func(t *testing.T) {
		a := newApp(t, &core.Options{Hooks: quiet})
		a.ok(a.get("/", set(t, "m", map[string]any{})))
		e := a.get("/", func(_ *core.Visit, s *core.Session) {
			s.Get("m").(map[string]any)["f"] = func() {}
			must(t, user.Set(s, "ada"))
		})
		if e.commit == nil {
			t.Error("saved")
		}
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			if user.Get(s) != "" {
				t.Error("saved by half")
			}
		}))
	})
	t.Run("a hook's change", func(t *testing.T) {
		a := newApp(t, &core.Options{Hooks: core.Hooks{BeforeSave: func(_ context.Context, _ core.Jar, s *core.Session) error {
			_ = s.Set("x", make(chan int))
			return nil
		}}})
		if e := a.get("/", count(t)); e.commit == nil {
			t.Error("saved")
		}
	})
	t.Run("a hook's change in Renew", func(t *testing.T) {
		bad := false
		a := newApp(t, &core.Options{Hooks: core.Hooks{BeforeSave: func(_ context.Context, _ core.Jar, s *core.Session) error {
			if bad {
				_ = s.Set("x", make(chan int))
			}
			return nil
		}}})
		a.ok(a.get("/", count(t)))
		old := a.value()
		bad = true
		e := a.get("/", func(_ *core.Visit, s *core.Session) {
			if s.Renew(bg) == nil {
				t.Error("renewed by half")
			}
		})
		if e.commit == nil || a.value() != old {
			t.Error("renewed by half")
		}
	})
	t.Run("Renew does not save the rest", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		old := a.value()
		e := a.get("/", func(_ *core.Visit, s *core.Session) {
			_ = s.Set("x", make(chan int))
			if s.Renew(bg) == nil {
				t.Error("renewed by half")
			}
		})
		if e.commit == nil || a.value() != old {
			t.Error("renewed by half")
		}
	})
	t.Run("a stored value of another type is not changed", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", set(t, "visits", "text")))
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			if _, err := visits.Update(s, func(n int) int { return n }); err == nil {
				t.Error("updated")
			}
			must(t, user.Set(s, "ada"))
		})).wantCookies(t, pair)
	})
}

// A record that expired while the request ran, was prolonged by another request, and
// is then written repeatedly by others: its save has as many tries as any other.
func TestW50ExpiredRecordHasAllTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp(t, &core.Options{Cookie: core.CookieOptions{MaxAge: time.Minute}})
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			c := s.Cookie()
			c.MaxAge, c.Expires = core.UntilBrowserCloses, time.Now().Add(10*time.Second)
			must(t, s.SetCookie(c))
			must(t, visits.Set(s, 1))
		}))
		other := a.browser.Jar("/")
		others := 0
		a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
			a.ok(a.send(other, func(_ *core.Visit, s *core.Session) {
				c := s.Cookie()
				c.Expires = time.Now().Add(time.Hour)
				must(t, s.SetCookie(c))
			}))
			time.Sleep(11 * time.Second)
			must(t, user.Set(s, "ada"))
			a.store.Before(func(_ context.Context, op storetest.Op, _ string) error {
				if op == storetest.OpSetVersion && others < 5 {
					others++ // as if another request had saved meanwhile
					return core.ErrConflict
				}
				return nil
			})
		}))
		if others == 0 {
			t.Error("there was no conflict: nothing was tested")
		}
	})
}

// Calls fail with the error of loading, where the hook has let that pass.
func TestK40CallsOfASessionThatCouldNotBeLoaded(t *testing.T) {
	o := &core.Options{FailFast: true, Hooks: core.Hooks{Error: func(context.Context, *core.Error) error { return nil }}}
	for name, call := range map[string]func(s *core.Session) error{
		"Login": func(s *core.Session) error { return s.Login(core.LoginOptions{}) },
		"Renew": func(s *core.Session) error { return s.Renew(bg) },
		"Reset": func(s *core.Session) error { return s.Reset(bg) },
		"Save":  func(s *core.Session) error { return s.Save(bg) },
		"Take":  func(s *core.Session) error { _, err := visits.Take(bg, s); return err },
	} {
		t.Run(name, func(t *testing.T) {
			a := newApp(t, o)
			a.ok(a.get("/", count(t)))
			a.store.Down()
			must(t, a.send(a.browser.Jar("/"), func(_ *core.Visit, s *core.Session) { wantIs(t, call(s), core.ErrUnavailable) }).begin)
			a.store.Up()
			a.wantVisits(1)
		})
	}
}

// K8: Renew and Reset fail before anything has happened where the cookie can't be sent.
func TestK8RenewOverHTTP(t *testing.T) {
	for name, call := range map[string]func(s *core.Session) error{
		"Renew": func(s *core.Session) error { return s.Renew(bg) },
		"Reset": func(s *core.Session) error { return s.Reset(bg) },
	} {
		t.Run(name, func(t *testing.T) {
			a := newApp(t, &core.Options{Cookie: core.CookieOptions{Secure: core.On}})
			first := &jartest.Jar{TLS: true}
			a.ok(a.send(first, count(t)))
			values := (&exchange{jar: first}).values()
			cookies := []string{"koa.sid=" + values["koa.sid"] + "; koa.sid.sig=" + values["koa.sid.sig"]}
			e := a.send(&jartest.Jar{Cookies: cookies}, func(_ *core.Visit, s *core.Session) {
				if e, ok := errors.AsType[*core.Error](call(s)); !ok || e.Op != core.OpCarrier {
					t.Errorf("%v", e)
				}
			})
			if e.commit == nil || len(e.jar.SetCookies) > 0 || !a.lives(core.ID(values["koa.sid"])) {
				t.Errorf("the commit: %v, cookies %q, alive %t", e.commit, e.jar.SetCookies, a.lives(core.ID(values["koa.sid"])))
			}
		})
	}
}

// A response that begins while the session is saved, or before it is ended, is told: the
// store has what was done.
func TestK30AResponseThatBeginsMeanwhile(t *testing.T) {
	jar := &jartest.Jar{}
	a := newApp(t, &core.Options{Hooks: core.Hooks{BeforeSave: func(context.Context, core.Jar, *core.Session) error {
		jar.Sent = true
		return nil
	}}})
	wantIs(t, a.send(jar, count(t)).commit, core.ErrCommitted)

	b := newApp(t, nil)
	b.ok(b.get("/", count(t)))
	sent := b.browser.Jar("/")
	b.send(sent, func(_ *core.Visit, s *core.Session) {
		sent.Sent = true
		wantIs(t, s.Destroy(bg), core.ErrCommitted)
	})
	if b.lives(core.ID(b.value())) {
		t.Error("the session lives")
	}
}
