package core_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
)

// DESIGN: time limits. each call of the store has its own deadline, and a write is not
// cancelled by the browser.
func TestDeadlines(t *testing.T) {
	untilDone := func(ctx context.Context, _ storetest.Op, _ string) error {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("a call has no deadline")
		}
		<-ctx.Done()
		return ctx.Err()
	}
	synctest.Test(t, func(t *testing.T) { // the default
		a := newApp(t, &core.Options{FailFast: true})
		a.store.Before(untilDone)
		begin := time.Now()
		wantIs(t, a.get("/", count(t)).commit, core.ErrOutcomeUnknown)
		if d := time.Since(begin); d < 500*time.Millisecond || d > 502*time.Millisecond {
			t.Errorf("a write took %v", d)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		a := newApp(t, &core.Options{OpTimeout: 300 * time.Millisecond, FailFast: true})
		a.ok(a.get("/", count(t)))
		a.store.Before(untilDone)
		begin := time.Now()
		e := a.get("/", nil)
		wantIs(t, e.begin, core.ErrTimeout)
		wantIs(t, e.begin, core.ErrUnavailable)
		// Calls share timers of a millisecond.
		onTime := func(d time.Duration) bool { return d >= 300*time.Millisecond && d <= 302*time.Millisecond }
		if d := time.Since(begin); !onTime(d) {
			t.Errorf("a read took %v", d)
		}
		a.store.Before(nil)

		ctx, hangUp := context.WithCancel(bg)
		v, _ := a.manager.NewVisit(a.browser.Jar("/"), nil)
		s, err := v.Session(ctx)
		must(t, err)
		must(t, visits.Set(s, 5))
		a.store.Before(untilDone)
		hangUp()
		begin = time.Now()
		err = v.Commit(ctx)
		wantIs(t, err, core.ErrOutcomeUnknown)
		if d := time.Since(begin); !onTime(d) || core.Status(err) != 503 {
			t.Errorf("a write took %v, status %d", d, core.Status(err))
		}

		// The caller's own deadline counts for a read, if it is earlier.
		a.store.Before(func(ctx context.Context, op storetest.Op, key string) error {
			if ctx.Err() != nil {
				t.Error("over before it began")
			}
			return untilDone(ctx, op, key)
		})
		short, cancel := context.WithTimeout(bg, 100*time.Millisecond)
		defer cancel()
		v, _ = a.manager.NewVisit(a.browser.Jar("/"), nil)
		begin = time.Now()
		_, err = v.Session(short)
		wantIs(t, err, core.ErrTimeout)
		if d := time.Since(begin); d != 100*time.Millisecond {
			t.Errorf("a read took %v", d)
		}
		a.store.Before(func(ctx context.Context, _ storetest.Op, _ string) error {
			time.Sleep(time.Second)
			return ctx.Err() // a store that only looks now and then
		})
		wantIs(t, a.get("/", nil).begin, core.ErrTimeout)
	})
}
