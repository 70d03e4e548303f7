package core_test

import (
	"context"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
)

// A requestCtx is a request that is a context itself, and is used again for
// another one afterwards.
type requestCtx struct {
	values map[any]any
	over   bool
	t      *testing.T
}

func (r *requestCtx) Deadline() (time.Time, bool) { r.used(); return time.Time{}, false }
func (r *requestCtx) Done() <-chan struct{}       { r.used(); return nil }
func (r *requestCtx) Err() error                  { r.used(); return nil }
func (r *requestCtx) Value(key any) any           { r.used(); return r.values[key] }

func (r *requestCtx) used() {
	if r.over {
		r.t.Error("the request is used after its end")
	}
}

// A request that is a context itself leads to its session, and never reaches the
// store.
func TestW17RequestAsContext(t *testing.T) {
	type mark struct{}
	for _, deferred := range []bool{false, true} {
		a := newApp(t, &core.Options{Defer: deferred})
		var kept []context.Context
		a.store.Before(func(ctx context.Context, _ storetest.Op, _ string) error {
			if ctx.Value(mark{}) != "kept" {
				t.Error("the store got another context than the kept one")
			}
			kept = append(kept, ctx)
			return nil
		})
		request := func(h func(r *requestCtx, s *core.Session)) {
			t.Helper()
			r := &requestCtx{values: make(map[any]any), t: t}
			if _, err := core.From(r); err == nil {
				t.Error("a session without the middleware")
			}
			jar := a.browser.Jar("/")
			v, _ := a.manager.NewVisit(jar, nil)
			around := core.NewContext(context.WithValue(bg, mark{}, "kept"), v)
			r.values[core.ContextKey()] = around
			must(t, v.Begin(around))
			// Also from what is derived from it.
			s, err := core.From(context.WithValue(r, mark{}, "the request's"))
			if err != nil {
				t.Fatal(err)
			}
			if same, err := a.manager.From(r); same != s || err != nil {
				t.Errorf("Manager.From: %v", err)
			}
			h(r, s)
			must(t, v.Commit(around))
			a.browser.Take("/", jar.SetCookies...)
			r.over = true
			for _, ctx := range kept { // as a store that goes on in the background
				_, _ = ctx.Deadline()
				_ = ctx.Value(mark{})
				_ = ctx.Err()
			}
		}
		request(func(r *requestCtx, s *core.Session) {
			must(t, visits.Set(s, 1))
			must(t, s.Save(r))
		})
		request(func(r *requestCtx, s *core.Session) { must(t, s.Renew(r)) })
		request(func(r *requestCtx, s *core.Session) {
			if _, err := a.manager.GetByID(r, s.ID()); err != nil {
				t.Error(err)
			}
			must(t, a.manager.SetByID(r, s.ID(), map[string]any{"visits": 2}, 0))
		})
		request(func(r *requestCtx, s *core.Session) {
			if n := visits.Get(s); n != 2 {
				t.Errorf("visits %d", n)
			}
			must(t, s.Reset(r))
		})
		request(func(r *requestCtx, s *core.Session) { must(t, visits.Set(s, 1)) })
		request(func(r *requestCtx, s *core.Session) { must(t, s.Destroy(r)) })
		request(func(r *requestCtx, s *core.Session) { must(t, a.manager.DestroyByID(r, s.ID())) })
	}
}
