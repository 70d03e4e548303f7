package core_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// TestW45BeforeSaveAtRenewals: the hook runs at each renewal that is due, and not
// more often, on every store; what it changes is saved.
func TestW45BeforeSaveAtRenewals(t *testing.T) {
	t.Parallel()
	const lastSeen core.Key[int64] = "lastSeen"
	for _, koa := range []bool{false, true} {
		for name, wrap := range map[string]func(core.Store) core.Store{
			"memory":  func(s core.Store) core.Store { return s },
			"swapper": func(s core.Store) core.Store { return stepwise(s) },
			"plain":   func(s core.Store) core.Store { return plainStore{s} },
		} {
			for _, changes := range []bool{true, false} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						store := memorystore.New(nil)
						defer store.Close()
						o := &core.Options{TTL: time.Hour}
						if koa {
							o = core.KoaCompat()
							o.TTL = time.Hour
						}
						o.Rolling = true
						ran := 0
						var fail error
						o.Hooks.BeforeSave = func(_ context.Context, _ core.Jar, s *core.Session) error {
							ran++
							if changes {
								return errors.Join(fail, lastSeen.Set(s, time.Now().UnixMilli()))
							}
							return fail
						}
						a := newAppOn(t, wrap(store), o)
						a.ok(a.get("/", count(t)))
						if ran != 1 {
							t.Fatalf("at the first save it ran %d times", ran)
						}
						var saved int64
						read := func(_ *core.Visit, s *core.Session) { saved = lastSeen.Get(s) }
						for range 3 {
							time.Sleep(30 * time.Minute) // a renewal is due, and the session ends without it
							ran = 0
							seen := time.Now().UnixMilli()
							a.ok(a.get("/", nil))
							if ran != 1 {
								t.Errorf("koa %v: at a renewal that was due it ran %d times", koa, ran)
							}
							a.ok(a.get("/", read))
							if want := map[bool]int64{true: seen, false: 0}[changes]; saved != want {
								t.Errorf("koa %v: its change is %d, want %d", koa, saved, want)
							}
							if want := map[bool]int{true: 2, false: 1}[koa]; ran != want { // by default a second one is not due at once
								t.Errorf("koa %v: at the next request it had run %d times, want %d", koa, ran, want)
							}
						}
						// The error of the hook ends the renewal, as it does a save.
						time.Sleep(30 * time.Minute)
						fail = errors.New("refused by the hook")
						e := a.get("/", nil)
						if !errors.Is(e.commit, fail) {
							t.Errorf("the commit's error is %v", e.commit)
						}
						e.wantCookies(t, "")
					})
				})
			}
		}
	}
	t.Run("a hook that changes nothing costs a touch", func(t *testing.T) {
		t.Parallel()
		o := &core.Options{Rolling: true, TouchEvery: 1}
		o.Hooks.BeforeSave = func(context.Context, core.Jar, *core.Session) error { return nil }
		a := newAppOn(t, stepwise(newMemory(t)), o)
		a.ok(a.get("/", count(t)))
		a.wantCalls(map[storetest.Op]int{storetest.OpSetVersion: 1})
		a.ok(a.get("/", nil))
		a.wantCalls(map[storetest.Op]int{storetest.OpSetVersion: 1, storetest.OpGetVersion: 2, storetest.OpTouch: 1})
	})
}
