package core_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
)

// A WebSocket or an event stream outlives its request: it visits the session by
// its id.
func TestK35VisitByID(t *testing.T) {
	plus := func(s *core.Session) error {
		_, err := visits.Update(s, func(n int) int { return n + 1 })
		return err
	}
	begin := func(t *testing.T, o *core.Options) (*app, core.ID) {
		a := newApp(t, o)
		a.ok(a.get("/", count(t)))
		return a, core.ID(a.value())
	}
	t.Run("K35 it reads what other requests have saved, and they what it has", func(t *testing.T) {
		a, id := begin(t, nil)
		a.ok(a.get("/", count(t)))
		must(t, a.manager.VisitByID(bg, id, func(s *core.Session) error {
			if s.ID() != id || s.IsNew() || visits.Get(s) != 2 {
				t.Errorf("visits %d, new %t", visits.Get(s), s.IsNew())
			}
			return plus(s)
		}))
		a.wantVisits(3)
	})
	t.Run("K35 steps beside each other are all counted", func(t *testing.T) {
		a, id := begin(t, nil)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if err := a.manager.VisitByID(bg, id, plus); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		a.wantVisits(51)
	})
	t.Run("K35 looking does not write, also not for a rolling session", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, id := begin(t, &core.Options{IdleTimeout: time.Hour, TouchEvery: time.Nanosecond})
			time.Sleep(59 * time.Minute)
			writes := writesOf(a)
			must(t, a.manager.VisitByID(bg, id, nil))
			must(t, a.manager.VisitByID(bg, id, func(s *core.Session) error { visits.Get(s); return nil }))
			if n := writesOf(a) - writes; n != 0 {
				t.Errorf("%d writes", n)
			}
			time.Sleep(time.Minute)
			wantIs(t, a.manager.VisitByID(bg, id, nil), core.ErrGone)
		})
	})
	for name, end := range map[string]handler{
		"a logout": func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) },
		"a login":  func(_ *core.Visit, s *core.Session) { must(t, s.Login(core.LoginOptions{})) },
		"Renew":    func(_ *core.Visit, s *core.Session) { must(t, s.Renew(bg)) },
		"Reset":    func(_ *core.Visit, s *core.Session) { must(t, s.Reset(bg)) },
	} {
		t.Run("K35 after "+name+" it is ErrGone", func(t *testing.T) {
			a, id := begin(t, nil)
			must(t, a.manager.VisitByID(bg, id, nil))
			a.ok(a.get("/", end))
			wantIs(t, a.manager.VisitByID(bg, id, nil), core.ErrGone)
			wantIs(t, a.manager.VisitByID(bg, id, func(*core.Session) error { t.Error("visited"); return nil }), core.ErrGone)
		})
		t.Run("K35 "+name+" while it is visited is ErrGone, and the change is not saved", func(t *testing.T) {
			a, id := begin(t, nil)
			wantIs(t, a.manager.VisitByID(bg, id, func(s *core.Session) error {
				a.ok(a.get("/", end))
				return plus(s)
			}), core.ErrGone)
		})
	}
	t.Run("K35 after AbsoluteTimeout it is ErrGone, and the other ways by id agree", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, id := begin(t, nil)
			stricter, err := core.New(a.store, &core.Options{Keys: [][]byte{testKey}, AbsoluteTimeout: time.Hour})
			must(t, err)
			defer stricter.Close()
			time.Sleep(time.Hour)
			must(t, a.manager.VisitByID(bg, id, nil))
			wantIs(t, stricter.VisitByID(bg, id, nil), core.ErrGone)
			_, err = stricter.GetByID(bg, id)
			wantIs(t, err, core.ErrNotFound)
			wantIs(t, stricter.SetByID(bg, id, map[string]int{}, 0), core.ErrGone)
		})
	})
	t.Run("K35 an error or a panic of the function saves nothing", func(t *testing.T) {
		a, id := begin(t, nil)
		mine := errors.New("mine")
		if err := a.manager.VisitByID(bg, id, func(s *core.Session) error { return errors.Join(plus(s), mine) }); !errors.Is(err, mine) {
			t.Errorf("got %v", err)
		}
		var kept *core.Session
		func() {
			defer func() { _ = recover() }()
			_ = a.manager.VisitByID(bg, id, func(s *core.Session) error {
				kept = s
				must(t, plus(s))
				panic("mine")
			})
		}()
		wantIs(t, plus(kept), core.ErrCommitted)
		a.wantVisits(1)
	})
	for name, change := range map[string]func(s *core.Session) error{
		"Login": func(s *core.Session) error { return s.Login(core.LoginOptions{}) },
		"Renew": func(s *core.Session) error { return s.Renew(bg) },
		"Reset": func(s *core.Session) error { return s.Reset(bg) },
	} {
		t.Run("K35 "+name+" has no response to send the new id with", func(t *testing.T) {
			a, id := begin(t, nil)
			writes := writesOf(a)
			err := a.manager.VisitByID(bg, id, func(s *core.Session) error {
				must(t, plus(s))
				wantIs(t, change(s), core.ErrCommitted)
				return nil
			})
			wantIs(t, err, core.ErrCommitted) // closed on failure
			if n := writesOf(a) - writes; n != 0 {
				t.Errorf("%d writes", n)
			}
			a.wantVisits(1)
		})
	}
	t.Run("K35 Destroy ends the session", func(t *testing.T) {
		a, id := begin(t, nil)
		must(t, a.manager.VisitByID(bg, id, func(s *core.Session) error { return s.Destroy(bg) }))
		wantIs(t, a.manager.VisitByID(bg, id, nil), core.ErrGone)
		a.wantVisits(0)
	})
	t.Run("K35 a store that fails is no end", func(t *testing.T) {
		a, id := begin(t, nil)
		a.store.Before(func(context.Context, storetest.Op, string) error { return core.ErrUnavailable })
		err := a.manager.VisitByID(bg, id, nil)
		wantIs(t, err, core.ErrUnavailable)
		if errors.Is(err, core.ErrGone) {
			t.Error("it counts as one")
		}
	})
	t.Run("K35 a session that was never stored is ErrGone", func(t *testing.T) {
		a := newApp(t, nil)
		for _, id := range []core.ID{"", "short", "an-id-of-our-own-making"} {
			wantIs(t, a.manager.VisitByID(bg, id, nil), core.ErrGone)
		}
	})
	t.Run("K35 a Carrier is not asked to send anything", func(t *testing.T) {
		a := newApp(t, &core.Options{Carrier: core.Header("X-Session")})
		var id core.ID
		a.ok(a.get("/", func(v *core.Visit, s *core.Session) { must(t, visits.Set(s, 1)); id = s.ID() }))
		must(t, a.manager.VisitByID(bg, id, plus))
	})
}

func writesOf(a *app) (n int) {
	for _, op := range []storetest.Op{storetest.OpSet, storetest.OpSetVersion, storetest.OpTouch, storetest.OpBatch, storetest.OpAppend, storetest.OpDestroy} {
		n += a.store.Calls(op)
	}
	return n
}
