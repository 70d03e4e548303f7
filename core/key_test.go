package core_test

import (
	"context"
	"strings"
	"testing"

	"github.com/gensession/gensession/core"
)

func TestDecodeFault(t *testing.T) {
	var ops []core.Op
	a := newApp(t, &core.Options{Hooks: core.Hooks{Error: func(_ context.Context, e *core.Error) error { ops = append(ops, e.Op); return e }}})
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Set("visits", "secret words")) }))
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		if visits.Get(s) != 0 {
			t.Error("not zero")
		}
		if _, ok, err := visits.Lookup(s); err == nil || !ok || strings.Contains(err.Error(), "secret") {
			t.Errorf("Lookup: %v, %v", ok, err)
		}
		if _, err := visits.Update(s, func(int) int { t.Error("f runs"); return 1 }); err == nil {
			t.Error("Update works")
		}
	})).wantCookies(t, "") // and the value is left alone
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		if s.Get("visits") != "secret words" {
			t.Error("the value is lost")
		}
		must(t, visits.Set(s, 3))
	}))
	a.wantVisits(3)
	if len(ops) != 1 || ops[0] != core.OpDecode {
		t.Errorf("reported %v", ops)
	}
}
