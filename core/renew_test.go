package core_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
)

func TestK20Destroy(t *testing.T) {
	t.Run("existing", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		e := a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			must(t, s.Destroy(bg))
			if a.store.Calls(storetest.OpBatch) != 1 {
				t.Error("the store is not reached at once")
			}
			if visits.Get(s) != 0 {
				t.Error("the values are still there")
			}
			wantIs(t, visits.Set(s, 1), core.ErrGone)
			must(t, s.Destroy(bg))
		}))
		e.wantCookies(t, "-koa.sid -koa.sid.sig")
		if a.value() != "" {
			t.Error("the browser still has the cookie")
		}
		a.wantVisits(0)
	})
	t.Run("new", func(t *testing.T) {
		a := newApp(t, nil)
		e := a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			must(t, visits.Set(s, 1))
			must(t, s.Destroy(bg))
		}))
		e.wantCookies(t, "")
		a.wantCalls(nil)
	})
	t.Run("then regenerated", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		old := a.value()
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			must(t, s.Destroy(bg))
			must(t, s.Reset(bg))
			must(t, visits.Set(s, 5))
		})).wantCookies(t, pair)
		if a.value() == old {
			t.Error("the id is the old one")
		}
		a.wantVisits(5)
	})
}

func TestK28Reset(t *testing.T) {
	t.Run("empties", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		old := a.value()
		e := a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			must(t, s.Reset(bg))
			if visits.Get(s) != 0 || string(s.ID()) == old || !s.IsNew() {
				t.Error("not a new empty session")
			}
			must(t, s.Set("data", "foo"))
		}))
		e.wantCookies(t, pair)
		if _, err := a.manager.GetByID(bg, core.ID(old)); !errors.Is(err, core.ErrNotFound) {
			t.Errorf("the old session lives: %v", err)
		}
	})
	t.Run("no change: nothing stored, the removal stays", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Reset(bg)) })).wantCookies(t, "-koa.sid -koa.sid.sig")
	})
	t.Run("copied content is stored", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			n := visits.Get(s)
			must(t, s.Reset(bg))
			must(t, visits.Set(s, n))
		})).wantCookies(t, pair)
		a.wantVisits(1)
	})
	t.Run("store error", func(t *testing.T) {
		for _, quiet := range []bool{false, true} {
			o := &core.Options{}
			if quiet {
				o.Hooks.Error = func(context.Context, *core.Error) error { return nil }
			}
			a := newApp(t, o)
			a.ok(a.get("/", count(t)))
			old := a.value()
			a.fails(core.ErrRefused, a.get("/", func(_ *core.Visit, s *core.Session) {
				a.store.Before(func(context.Context, storetest.Op, string) error { return core.ErrRefused })
				wantIs(t, s.Reset(bg), core.ErrRefused)
				a.store.Before(nil)
				if visits.Get(s) != 1 || string(s.ID()) != old {
					t.Error("the old session is not usable")
				}
				must(t, visits.Set(s, 2)) // which is not saved: see W1
			})).wantCookies(t, "")
			a.wantVisits(1)
		}
	})
}

// failing is a hook that fails one operation.
func failing(op storetest.Op, err error) storetest.Hook {
	return func(_ context.Context, o storetest.Op, _ string) error {
		if o == op {
			return err
		}
		return nil
	}
}

func TestK28Renew(t *testing.T) {
	t.Run("keeps values, pending changes too", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		old := a.value()
		e := a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			must(t, s.Set("user", "ada"))
			must(t, s.Renew(bg))
			if string(s.ID()) == old || visits.Get(s) != 1 || s.Get("user") != "ada" {
				t.Error("id kept, or values lost")
			}
			if _, err := a.manager.GetByID(bg, core.ID(old)); !errors.Is(err, core.ErrNotFound) {
				t.Errorf("the old id lives: %v", err)
			}
			if got, err := a.manager.GetByID(bg, s.ID()); err != nil || string(got) != `{"visits":1,"user":"ada"}` {
				t.Errorf("not stored at once: %s, %v", got, err)
			}
		}))
		e.wantCookies(t, pair)
		a.wantVisits(1)
	})
	t.Run("new session", func(t *testing.T) {
		a := newApp(t, nil)
		var first core.ID
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			must(t, visits.Set(s, 3))
			first = s.ID()
			must(t, s.Renew(bg))
		})).wantCookies(t, pair)
		if a.value() == string(first) {
			t.Error("the id is the same")
		}
		a.wantVisits(3)
	})
	t.Run("created stays", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, &core.Options{AbsoluteTimeout: time.Hour})
			a.ok(a.get("/", count(t)))
			time.Sleep(40 * time.Minute)
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Renew(bg)) }))
			time.Sleep(19 * time.Minute)
			a.wantVisits(1)
			time.Sleep(time.Minute)
			a.wantVisits(0)
		})
	})
	for store, newStore := range map[string]func() core.Store{"one step": func() core.Store { return newMemory(t) }, "two steps": func() core.Store { return stepwise(newMemory(t)) }} {
		op, last := storetest.OpBatch, 1
		if store == "two steps" {
			op, last = storetest.OpSetVersion, 2
		}
		for n := 1; n <= last; n++ {
			t.Run("store error, "+store, func(t *testing.T) {
				a := newAppOn(t, newStore(), nil)
				a.ok(a.get("/", count(t)))
				old := a.value()
				left := n
				a.store.Before(func(_ context.Context, o storetest.Op, key string) error {
					if o == op {
						if left--; left == 0 {
							return core.ErrRefused
						}
					}
					return nil
				})
				a.fails(core.ErrRefused, a.get("/", func(_ *core.Visit, s *core.Session) {
					wantIs(t, s.Renew(bg), core.ErrRefused)
					if string(s.ID()) != old || visits.Get(s) != 1 {
						t.Error("the old session is not as it was")
					}
				})).wantCookies(t, "")
				a.store.Before(nil)
				a.wantVisits(1)
			})
		}
	}
	t.Run("another request's change is kept", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		jar := a.browser.Jar("/")
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			a.ok(a.send(jar, func(_ *core.Visit, s *core.Session) { must(t, s.Set("cart", "book")) }))
			must(t, s.Set("user", "ada"))
			must(t, s.Renew(bg))
		}))
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			if s.Get("cart") != "book" || s.Get("user") != "ada" {
				got, _ := s.JSON()
				t.Errorf("lost update: %s", got)
			}
		}))
	})
	t.Run("gone meanwhile", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		id := core.ID(a.value())
		a.get("/", func(_ *core.Visit, s *core.Session) {
			must(t, a.manager.DestroyByID(bg, id))
			wantIs(t, s.Renew(bg), core.ErrGone)
		}).wantCookies(t, "")
		a.wantVisits(0)
	})
}

func TestK42DestroyFails(t *testing.T) {
	var op core.Op
	a := newApp(t, &core.Options{FailFast: true, Hooks: core.Hooks{Error: func(_ context.Context, e *core.Error) error { op = e.Op; return e }}})
	a.ok(a.get("/", count(t)))
	a.store.Before(failing(storetest.OpBatch, core.ErrRefused))
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		wantIs(t, s.Destroy(bg), core.ErrRefused)
	})).wantCookies(t, "-koa.sid -koa.sid.sig") // requirement 15
	if op != core.OpDestroy {
		t.Errorf("op %q", op)
	}
}

// KoaCompat leaves no note of a session that a Reset and a Renew have given up.
func TestKoaNoNotes(t *testing.T) {
	o := core.KoaCompat()
	memory := newMemory(t)
	a := newAppOn(t, memory, o)
	a.ok(a.get("/", count(t)))
	a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
		must(t, s.Reset(bg))
		must(t, s.Renew(bg))
		count(t)(v, s)
	}))
	var all []string
	must(t, memory.Keys(bg, "", func(keys []string) error { all = append(all, keys...); return nil }))
	if len(all) != 1 || all[0] != "koa:sess:"+a.value() {
		t.Errorf("%d keys", len(all))
	}
}

// A session whose time TTLFunc finds over at a Renew has ended.
func TestKoaK37RenewOfASessionWithoutALife(t *testing.T) {
	ends := false
	o := core.KoaCompat()
	o.TTLFunc = func(*core.Session) time.Duration {
		if ends {
			return -1
		}
		return 0
	}
	a := newApp(t, o)
	a.ok(a.get("/", count(t)))
	id := core.ID(a.value())
	a.get("/", func(_ *core.Visit, s *core.Session) {
		ends = true
		wantIs(t, s.Renew(bg), core.ErrGone)
	})
	if ends = false; a.lives(id) {
		t.Error("the session lives")
	}
}
