package core_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
)

// Renew with an answer that got lost: the old id is dead or alive, never both.
func TestRenewOutcomeUnknown(t *testing.T) {
	a := newApp(t, nil)
	a.ok(a.get("/", count(t)))
	old := core.ID(a.value())
	writes := 0
	a.store.After(func(_ context.Context, op storetest.Op, key string) error {
		if op == storetest.OpSetVersion && !strings.HasSuffix(key, ".old") {
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
		if op == storetest.OpSetVersion && !strings.HasSuffix(key, ".old") {
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

// A late write of a tombstone finds another version.
func TestRenewPreventsALateTombstone(t *testing.T) {
	a := newApp(t, nil)
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
