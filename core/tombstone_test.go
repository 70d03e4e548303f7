package core_test

import (
	"context"
	"net/textproto"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

// Late requests with an id that was given up for another one (W3).

const latePair = "koa.sid.late koa.sid.late.sig"

func TestReplacedID(t *testing.T) {
	renew := func(_ *core.Visit, s *core.Session) { must(t, s.Renew(bg)) }
	regenerate := func(_ *core.Visit, s *core.Session) { must(t, s.Reset(bg)); must(t, visits.Set(s, 1)) }
	destroy := func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) }

	t.Run("a logout that began before the renewal destroys the new session", func(t *testing.T) {
		for name, giveUp := range map[string]handler{"renewed": renew, "regenerated": regenerate} {
			t.Run(name, func(t *testing.T) {
				a := newApp(t, nil)
				a.ok(a.get("/", count(t)))
				late := a.browser.Jar("/")
				a.ok(a.send(late, func(v *core.Visit, s *core.Session) {
					a.ok(a.get("/", giveUp))
					a.wantVisits(1)
					destroy(v, s)
				})).wantCookies(t, "-koa.sid -koa.sid.sig")
				a.wantVisits(0)
			})
		}
	})
	t.Run("a logout that began after several renewals destroys the last session", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		late := a.browser.Jar("/")
		for range 3 {
			a.ok(a.get("/", renew))
		}
		a.wantVisits(1)
		a.ok(a.send(late, destroy)).wantCookies(t, "-koa.sid -koa.sid.sig")
		a.wantVisits(0)
	})
	t.Run("ByID.Destroy", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		old := core.ID(a.value())
		a.ok(a.get("/", renew))
		must(t, a.manager.DestroyByID(bg, old))
		a.wantVisits(0)
	})
	t.Run("a logout that failed can be tried again", func(t *testing.T) {
		a := newApp(t, &core.Options{FailFast: true})
		a.ok(a.get("/", count(t)))
		e := a.get("/", func(_ *core.Visit, s *core.Session) {
			a.store.Before(failing(storetest.OpBatch, core.ErrUnavailable))
			wantIs(t, s.Destroy(bg), core.ErrUnavailable)
			a.store.Before(nil)
			must(t, s.Destroy(bg))
		})
		a.ok(e)
		a.wantVisits(0)
	})
	t.Run("a late logout that can't read the mark fails, and can be repeated", func(t *testing.T) {
		a := newApp(t, &core.Options{FailFast: true})
		a.ok(a.get("/", count(t)))
		late := a.browser.Jar("/")
		a.ok(a.get("/", renew))
		a.ok(a.send(late, func(_ *core.Visit, s *core.Session) {
			a.store.Before(failing(storetest.OpGetVersion, core.ErrUnavailable))
			wantIs(t, s.Destroy(bg), core.ErrOutcomeUnknown)
			a.store.Before(nil)
			must(t, s.Destroy(bg))
		}))
		a.wantVisits(0)
	})
	t.Run("the expiry of a late session is no logout", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		late := a.browser.Jar("/")
		a.ok(a.get("/", renew))
		a.ok(a.send(late, func(v *core.Visit, s *core.Session) {
			count(t)(v, s)
			must(t, s.SetCookie(core.CookieOptions{Expires: time.Now().Add(-time.Hour)}))
		})).wantCookies(t, "")
		a.wantVisits(1)
	})
	for name, h := range map[string]handler{
		"set":        func(_ *core.Visit, s *core.Session) { must(t, visits.Set(s, 7)) },
		"regenerate": func(_ *core.Visit, s *core.Session) { must(t, s.Reset(bg)); _ = visits.Set(s, 7) },
	} {
		t.Run("what its request stores goes into a cookie of its own: "+name, func(t *testing.T) {
			a := newApp(t, nil)
			var lost jartest.Browser // which does not get the answer of the Renew
			lost.Take("/", a.ok(a.get("/", count(t))).jar.SetCookies...)
			late := a.browser.Jar("/")
			a.ok(a.get("/", renew))
			e := a.ok(a.send(late, h))
			e.wantCookies(t, latePair)
			a.browser.Take("/", late.SetCookies...)
			a.wantVisits(1) // the first one lives, so that does not count
			a.browser = &lost
			a.browser.Take("/", late.SetCookies...)
			a.wantVisits(7) // it leads nowhere, so that counts
			a.ok(a.get("/", count(t))).wantCookies(t, latePair)
			a.wantVisits(8)
			// One of two sessions is not trusted with its past.
			e = a.ok(a.get("/", signIn(t, "ada")))
			e.wantCookies(t, pair+" -koa.sid.late -koa.sid.late.sig")
			if !e.spare() {
				t.Errorf("no copy of the new id: %q", e.jar.SetCookies)
			}
			a.wantUser("ada")
			a.wantVisits(0)
		})
	}
	for name, h := range map[string]handler{
		"login": signIn(t, "ada"),
		"renew": func(_ *core.Visit, s *core.Session) { must(t, user.Set(s, "ada")); must(t, s.Renew(bg)) },
		"reset": func(_ *core.Visit, s *core.Session) { must(t, s.Reset(bg)); must(t, user.Set(s, "ada")) },
	} {
		t.Run("a response from before, which saved under the old id, arrives last: "+name, func(t *testing.T) {
			a := newApp(t, nil)
			a.ok(a.get("/", count(t)))
			before, another := a.browser.Jar("/"), a.browser.Jar("/")
			a.ok(a.send(before, count(t))).wantCookies(t, pair)
			a.ok(a.send(another, count(t)))
			a.ok(a.get("/", h))
			fresh := a.value()
			a.browser.Take("/", before.SetCookies...)
			if a.value() == fresh {
				t.Fatal("it sends no cookie: nothing is tested")
			}
			a.wantUser("ada")
			if a.value() != fresh {
				t.Error("the first cookie is not put back")
			}
			a.browser.Take("/", another.SetCookies...)
			a.ok(a.get("/", set(t, "more", 1)))
			if a.value() != fresh {
				t.Error("a save does not put the first cookie back")
			}
			a.wantUser("ada")
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) }))
			a.wantUser("")
			if v, _ := a.browser.Value("/", "koa.sid.next"); v != "" || a.value() != "" {
				t.Error("a logout leaves a cookie")
			}
		})
	}
	t.Run("its request can't renew", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		late := a.browser.Jar("/")
		a.ok(a.get("/", renew))
		e := a.send(late, func(_ *core.Visit, s *core.Session) { wantIs(t, s.Renew(bg), core.ErrGone); _ = visits.Set(s, 7) })
		wantIs(t, e.commit, core.ErrGone) // of its Renew
		e.wantCookies(t, "")
		a.wantVisits(1)
	})
	t.Run("its request keeps the fresh cookie: replaced without loading", func(t *testing.T) {
		a := newApp(t, &core.Options{Defer: true})
		a.ok(a.get("/", count(t)))
		late := a.browser.Jar("/")
		a.ok(a.get("/", renew))
		a.ok(a.visit(late, func(v *core.Visit) { must(t, v.Replace(bg, map[string]int{"visits": 9})) })).wantCookies(t, latePair)
		a.browser.Take("/", late.SetCookies...)
		a.wantVisits(1)
	})
	t.Run("its request that only reads sends nothing", func(t *testing.T) {
		a := newApp(t, &core.Options{ResetUnknown: true})
		a.ok(a.get("/", count(t)))
		late := a.browser.Jar("/")
		a.ok(a.get("/", renew))
		a.ok(a.send(late, nil)).wantCookies(t, "")
	})
	t.Run("another carrier: it can store nothing for LateWindow, but log in", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, &core.Options{Carrier: core.Header("X-Session"), LateWindow: 5 * time.Second})
			with := func(id string) *jartest.Jar { return &jartest.Jar{Request: textproto.MIMEHeader{"X-Session": {id}}} }
			first := a.ok(a.send(with(""), count(t))).jar.Response.Get("X-Session")
			second := a.ok(a.send(with(first), renew)).jar.Response.Get("X-Session")
			e := a.ok(a.send(with(first), count(t)))
			if got := e.jar.Response.Get("X-Session"); got != "" || second == "" {
				t.Errorf("it sends %q", got)
			}
			if third := a.ok(a.send(with(first), signIn(t, "ada"))).jar.Response.Get("X-Session"); third == "" || third == second {
				t.Error("it can't log in")
			}
			time.Sleep(5 * time.Second)
			if a.ok(a.send(with(first), count(t))).jar.Response.Get("X-Session") == "" {
				t.Error("it can't begin a session after LateWindow")
			}
		})
	})
	t.Run("a Renew that failed gives nothing up", func(t *testing.T) {
		for name, fault := range map[string]func(a *app){
			"the session was ended": func(a *app) { must(t, a.manager.DestroyByID(bg, core.ID(a.value()))) },
			"the store said no":     func(a *app) { a.store.Before(failing(storetest.OpBatch, core.ErrRefused)) },
		} {
			t.Run(name, func(t *testing.T) {
				a := newApp(t, nil)
				a.ok(a.get("/", count(t)))
				id := core.ID(a.value())
				a.get("/", func(_ *core.Visit, s *core.Session) {
					fault(a)
					if s.Renew(bg) == nil {
						t.Error("Renew: no error")
					}
					a.store.Before(nil)
				})
				must(t, a.manager.DestroyByID(bg, id))
				a.ok(a.get("/", count(t))).wantCookies(t, pair) // a new session, at once
			})
		}
	})
	for name, change := range map[string]handler{
		"regenerate, renew":      func(_ *core.Visit, s *core.Session) { must(t, s.Reset(bg)); must(t, s.Renew(bg)) },
		"regenerate, regenerate": func(_ *core.Visit, s *core.Session) { must(t, s.Reset(bg)); must(t, s.Reset(bg)) },
		"regenerate, renew, renew": func(_ *core.Visit, s *core.Session) {
			must(t, s.Reset(bg))
			must(t, s.Renew(bg))
			must(t, s.Renew(bg))
		},
		"renew, regenerate, renew": func(_ *core.Visit, s *core.Session) {
			must(t, s.Renew(bg))
			must(t, s.Reset(bg))
			must(t, s.Renew(bg))
		},
		"regenerate, save, renew": func(_ *core.Visit, s *core.Session) {
			must(t, s.Reset(bg))
			must(t, visits.Set(s, 1))
			must(t, s.Save(bg))
			must(t, s.Renew(bg))
		},
		"regenerate, save, regenerate": func(_ *core.Visit, s *core.Session) {
			must(t, s.Reset(bg))
			must(t, visits.Set(s, 1))
			must(t, s.Save(bg))
			must(t, s.Reset(bg))
		},
	} {
		t.Run("a late logout destroys the last of several successors: "+name, func(t *testing.T) {
			a := newApp(t, nil)
			a.ok(a.get("/", count(t)))
			late := a.browser.Jar("/")
			a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
				change(v, s)
				must(t, visits.Set(s, 5))
			}))
			a.wantVisits(5)
			a.ok(a.send(late, func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) }))
			a.wantVisits(0)
		})
	}
	t.Run("two Renews, one of which fails, keep the mark", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		late, second := a.browser.Jar("/"), a.browser.Jar("/")
		a.send(second, func(_ *core.Visit, s *core.Session) {
			a.ok(a.get("/", renew))
			wantIs(t, s.Renew(bg), core.ErrGone)
		})
		a.ok(a.send(late, count(t))).wantCookies(t, latePair)
		a.wantVisits(1)
	})
	t.Run("KoaCompat has no marks", func(t *testing.T) {
		a := newApp(t, core.KoaCompat())
		a.ok(a.get("/", count(t)))
		late := a.browser.Jar("/")
		a.ok(a.get("/", renew))
		a.ok(a.send(late, destroy))
		a.wantVisits(1)
	})
	t.Run("an unknown id that was never replaced does not prevent a new session", func(t *testing.T) {
		a, b := newApp(t, nil), newApp(t, nil)
		a.ok(a.get("/", count(t)))
		b.ok(b.send(a.browser.Jar("/"), func(_ *core.Visit, s *core.Session) {
			must(t, s.Renew(bg))
			must(t, visits.Set(s, 1))
		})).wantCookies(t, pair)
	})
}

// P2: a login that gets a session of its own is noted under the id that it came with,
// whatever number of others are noted there meanwhile: a late logout ends it.
func TestP2ALoginAmongMany(t *testing.T) {
	for name, wrap := range map[string]func(core.Store) core.Store{"in one step": func(s core.Store) core.Store { return s }, "in two steps": stepwise} {
		bubble(t, name, func(t *testing.T) {
			a := newAppOn(t, wrap(newMemory(t)), nil)
			a.ok(a.get("/", count(t)))
			old := core.ID(a.value())
			var at string // the store's key of old
			var own core.ID
			a.store.Before(func(_ context.Context, _ storetest.Op, key string) error { at = key; return nil })
			others, stored := 0, false
			a.ok(a.send(a.browser.Jar("/"), func(v *core.Visit, s *core.Session) {
				signIn(t, "ada")(v, s)
				a.store.Before(nil)
				a.ok(a.get("/", signIn(t, "ada")))
				a.store.Before(func(_ context.Context, op storetest.Op, key string) error {
					switch {
					case op == storetest.OpSetVersion && key != at:
						stored = true
					case op == storetest.OpSetVersion || op == storetest.OpBatch:
						if stored && others < 200 {
							others++
							return core.ErrConflict
						}
					}
					return nil
				})
				must(t, s.Save(bg))
				a.store.Before(nil)
				own = s.ID()
			}))
			must(t, a.manager.DestroyByID(bg, old))
			if a.lives(own) || others != 200 {
				t.Errorf("it lives: %t, after %d others", a.lives(own), others)
			}
		})
	}
}
