package core_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
)

// Whoever has gone does not wait for an answer, and the store has not failed.
func TestW22TheCallerHasGone(t *testing.T) {
	type heard struct {
		told  []core.Op
		begin error
	}
	// begin loads the session of a browser that has one. during runs in the call of
	// the store, and may hang up.
	begin := func(t *testing.T, during func(hangUp func()) error) (h heard) {
		var told []core.Op
		a := newApp(t, &core.Options{Hooks: core.Hooks{Error: func(_ context.Context, e *core.Error) error {
			told = append(told, e.Op)
			return nil // let everything pass
		}}})
		a.get("/", set(t, "a", 1))
		v, _ := a.manager.NewVisit(a.browser.Jar("/"), nil)
		ctx, hangUp := context.WithCancel(core.NewContext(context.Background(), v))
		defer hangUp()
		a.store.Before(func(context.Context, storetest.Op, string) error { return during(hangUp) })
		if during == nil {
			a.store.Before(nil)
			a.store.Down()
			hangUp()
		}
		h.begin = v.Begin(ctx)
		v.Abandon()
		h.told = told
		return h
	}
	for name, during := range map[string]func(hangUp func()) error{
		"while the store is asked":       func(hangUp func()) error { hangUp(); return fmt.Errorf("store: %w", context.Canceled) },
		"while the request waits for it": nil,
	} {
		t.Run("W22 it hangs up "+name, func(t *testing.T) {
			h := begin(t, during)
			if len(h.told) != 0 || !errors.Is(h.begin, context.Canceled) {
				t.Errorf("the hook heard of %v, and Begin returned %v", h.told, h.begin)
			}
		})
	}
	for name, during := range map[string]func(hangUp func()) error{
		"a store that gives up by itself":              func(func()) error { return fmt.Errorf("store: %w", context.Canceled) },
		"a store that fails while the caller hangs up": func(hangUp func()) error { hangUp(); return core.ErrRefused },
	} {
		t.Run("W22 "+name+" is told as ever", func(t *testing.T) {
			if h := begin(t, during); len(h.told) != 1 || h.told[0] != core.OpGet || h.begin != nil {
				t.Errorf("the hook heard of %v, and Begin returned %v", h.told, h.begin)
			}
		})
	}
}
