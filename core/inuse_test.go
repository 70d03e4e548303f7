package core_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
)

// TestW33LongRequest: a session that is in use does not end of idleness while its
// own request runs, and nothing is revived (P17).
func TestW33LongRequest(t *testing.T) {
	const idle = 30 * time.Minute
	options := map[string]func() *core.Options{
		"idle":  func() *core.Options { return &core.Options{IdleTimeout: idle} },
		"defer": func() *core.Options { return &core.Options{IdleTimeout: idle, Defer: true} },
		"koa": func() *core.Options {
			o := core.KoaCompat()
			o.Rolling, o.TTL = true, idle
			return o
		},
		"its own": func() *core.Options { return &core.Options{} },
	}
	stores := map[string]func(t *testing.T) core.Store{
		"in one step": func(t *testing.T) core.Store { return newMemory(t) },
		"touch":       func(t *testing.T) core.Store { return stepwise(newMemory(t)) },
	}
	for name, o := range options {
		for kind, open := range stores {
			t.Run(name+", "+kind, func(t *testing.T) {
				begin := func(t *testing.T) *app {
					a := newAppOn(t, open(t), o())
					a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
						count(t)(v, s)
						if name == "its own" {
							must(t, s.SetLifetime(core.Lifetime{IdleTimeout: idle}))
						}
					}))
					return a
				}
				t.Run("an upload that takes hours", func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						a := begin(t)
						time.Sleep(idle - time.Minute) // the load prolongs it
						e := a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
							time.Sleep(3 * time.Hour)
							count(t)(v, s)
						}))
						if e.cookies() != pair || !hasExpiry(e) {
							t.Errorf("Set-Cookie: %q", e.cookies())
						}
						time.Sleep(idle - time.Second)
						a.wantVisits(2)
						time.Sleep(idle)
						a.wantVisits(0)
					})
				})
				t.Run("a download that only reads", func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						a := begin(t)
						e := a.ok(a.get("/", func(*core.Visit, *core.Session) { time.Sleep(2*idle + time.Second) }))
						if !hasExpiry(e) {
							t.Error("the cookie is not prolonged")
						}
						time.Sleep(idle / 2)
						a.wantVisits(1)
					})
				})
				t.Run("what another request saves meanwhile stays, merged", func(t *testing.T) {
					if name == "koa" && kind == "in one step" {
						t.Parallel()
					}
					synctest.Test(t, func(t *testing.T) {
						a := begin(t)
						late := a.browser.Jar("/")
						a.ok(a.send(late, func(v *core.Visit, s *core.Session) {
							time.Sleep(idle * 2 / 3)
							a.ok(a.get("/", set(t, "other", true)))
							time.Sleep(2 * idle)
							count(t)(v, s)
						}))
						a.browser.Take("/", late.SetCookies...)
						a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
							if s.Get("other") != true || visits.Get(s) != 2 {
								t.Errorf("other is %v, visits %d", s.Get("other"), visits.Get(s))
							}
						}))
					})
				})
				t.Run("a logout meanwhile stays", func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						a := begin(t)
						id := core.ID(a.value())
						late := a.browser.Jar("/")
						a.send(late, func(v *core.Visit, s *core.Session) {
							time.Sleep(idle * 2 / 3)
							a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) }))
							time.Sleep(2 * idle)
							count(t)(v, s)
						})
						if a.lives(id) {
							t.Error("it has come back")
						}
					})
				})
				t.Run("nobody is prolonged after the commit, or when the browser has hung up", func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						a := begin(t)
						a.wantVisits(1)
						id := core.ID(a.value())
						time.Sleep(idle)
						if a.lives(id) {
							t.Error("it lives after its request")
						}
						a = begin(t)
						id = core.ID(a.value())
						v, _ := a.manager.NewVisit(a.browser.Jar("/"), nil)
						ctx, hangUp := context.WithCancel(core.NewContext(bg, v))
						_, err := v.Session(ctx)
						must(t, err)
						hangUp()
						time.Sleep(idle)
						if a.lives(id) {
							t.Error("it lives without anybody")
						}
						v.Abandon()
					})
				})
			})
		}
	}
	t.Run("the absolute limit holds", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, &core.Options{IdleTimeout: idle, AbsoluteTimeout: time.Hour})
			a.ok(a.get("/", count(t)))
			id := core.ID(a.value())
			a.get("/", func(v *core.Visit, s *core.Session) {
				time.Sleep(59 * time.Minute)
				if !a.lives(id) {
					t.Error("it has ended early")
				}
				time.Sleep(time.Minute)
				if a.lives(id) {
					t.Error("it lives on")
				}
			})
		})
	})
	t.Run("a request that is quick makes no call and no timer more", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, &core.Options{IdleTimeout: idle})
			a.ok(a.get("/", count(t)))
			for range 10 {
				a.wantVisits(1)
			}
			a.wantCalls(map[storetest.Op]int{storetest.OpGetVersion: 10, storetest.OpSetVersion: 1})
		})
	})
	t.Run("another process has prolonged it: the load does so again, once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			store := newMemory(t)
			a := newAppOn(t, store, &core.Options{IdleTimeout: idle})
			a.ok(a.get("/", count(t)))
			b := newAppOn(t, store, &core.Options{IdleTimeout: idle})
			b.browser = a.browser
			for range 3 {
				b.wantVisits(1)
			}
			b.wantCalls(map[storetest.Op]int{storetest.OpGetVersion: 3, storetest.OpSetVersion: 2}) // at the load, and before the cookie is sent
		})
	})
	t.Run("a store that fails meanwhile", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, &core.Options{IdleTimeout: idle})
			a.ok(a.get("/", count(t)))
			a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
				a.store.Before(failing(storetest.OpSetVersion, core.ErrRefused))
				time.Sleep(idle/2 + time.Minute)
				a.store.Before(nil)
				time.Sleep(idle)
				count(t)(v, s)
			}))
			a.wantVisits(2)
		})
	})
}
