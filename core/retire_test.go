package core_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
)

// Renew with an answer that got lost: the old id is dead or alive, never both.
func TestRenewOutcomeUnknown(t *testing.T) {
	a := newAppOn(t, stepwise(newMemory(t)), nil)
	a.ok(a.get("/", count(t)))
	old := core.ID(a.value())
	writes := 0
	a.store.After(func(_ context.Context, op storetest.Op, key string) error {
		if op == storetest.OpSetVersion {
			if writes++; writes == 2 { // the tombstone
				return core.ErrOutcomeUnknown
			}
		}
		return nil
	})
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Renew(bg)) })).wantCookies(t, pair)
	a.store.After(nil)
	if _, err := a.manager.GetByID(bg, old); !errors.Is(err, core.ErrNotFound) {
		t.Error("two ids live")
	}
	a.wantVisits(1)

	old = core.ID(a.value())
	writes = 0
	a.store.Before(func(_ context.Context, op storetest.Op, key string) error {
		if op == storetest.OpSetVersion {
			if writes++; writes == 2 { // it did not get there
				return core.ErrOutcomeUnknown
			}
		}
		return nil
	})
	a.fails(core.ErrOutcomeUnknown, a.get("/", func(_ *core.Visit, s *core.Session) { wantIs(t, s.Renew(bg), core.ErrOutcomeUnknown) })).wantCookies(t, "")
	a.store.Before(nil)
	if core.ID(a.value()) != old {
		t.Error("the browser has another id")
	}
	a.wantVisits(1)
}

// A tombstone that comes late finds another version.
func TestRenewFencesALateTombstone(t *testing.T) {
	a := newAppOn(t, stepwise(newMemory(t)), nil)
	a.ok(a.get("/", count(t)))
	swapper, _ := core.As[core.Swapper](a.store)
	key := hashedKey(core.ID(a.value()))
	_, version, err := swapper.GetVersion(bg, key)
	must(t, err)
	writes := 0
	a.store.Before(func(_ context.Context, op storetest.Op, k string) error {
		if op == storetest.OpSetVersion && k == key {
			if writes++; writes == 1 {
				return core.ErrOutcomeUnknown
			}
		}
		return nil
	})
	a.fails(core.ErrOutcomeUnknown, a.get("/", func(_ *core.Visit, s *core.Session) { wantIs(t, s.Renew(bg), core.ErrOutcomeUnknown) }))
	a.store.Before(nil)
	_, err = swapper.SetVersion(bg, key, []byte("null"), time.Minute, version)
	wantIs(t, err, core.ErrConflict)
	a.wantVisits(1)
	a.ok(a.get("/", count(t)))
	a.wantVisits(2)
}

// A change of the id that loses the answer of one call, and that of another one or the
// call itself when it looks what became of the first: it succeeds and keeps the values, or
// is told to be of unknown outcome, or has changed nothing.
func TestTwoAnswersAreLost(t *testing.T) {
	for what, change := range map[string]func(s *core.Session) error{
		"Login": func(s *core.Session) error {
			if err := s.Login(core.LoginOptions{}); err != nil {
				return err
			}
			return s.Save(bg)
		},
		"Renew": func(s *core.Session) error { return s.Renew(bg) },
		"Reset": func(s *core.Session) error { return s.Reset(bg) },
	} {
		for kind, wrap := range renewingStores {
			for name, second := range map[string]func(s *storetest.Faulty, h storetest.Hook){
				"a call fails":           func(s *storetest.Faulty, h storetest.Hook) { s.Before(h) },
				"another answer is lost": nil,
			} {
				t.Run(what+", "+kind+", "+name, func(t *testing.T) {
					for first := 1; ; first++ {
						met := false
						for next := first + 1; ; next++ {
							a := newAppOn(t, wrap(newMemory(t)), &core.Options{FailFast: true})
							a.ok(a.get("/", count(t)))
							calls, began := 0, 0
							var err error
							e := a.get("/", func(_ *core.Visit, s *core.Session) {
								a.store.After(func(context.Context, storetest.Op, string) error {
									if calls++; calls == first || second == nil && calls == next {
										return core.ErrOutcomeUnknown
									}
									return nil
								})
								if second != nil {
									second(a.store, func(context.Context, storetest.Op, string) error {
										if began++; began == next {
											return core.ErrUnavailable
										}
										return nil
									})
								}
								err = change(s)
								a.store.After(nil)
								a.store.Before(nil)
								if errors.Is(err, core.ErrGone) {
									t.Errorf("answer %d and call %d: %v", first, next, err)
								}
							})
							met = met || calls >= first
							switch {
							case err == nil:
								a.ok(e)
								if what != "Reset" {
									a.wantVisits(1)
								}
							case !errors.Is(err, core.ErrOutcomeUnknown):
								a.wantVisits(1)
							}
							if max(calls, began) < next {
								break
							}
						}
						if !met {
							break
						}
					}
				})
			}
		}
	}
}
