package storetest_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
)

var errTest = errors.New("made by the test")

func TestFaultyHasTheAbilitiesOfWhatItWraps(t *testing.T) {
	m := newModel()
	type swapper struct {
		core.Store
		core.Swapper
	}
	type batcher struct {
		core.Store
		core.Batcher
	}
	type touchNotifier struct {
		core.Store
		core.Toucher
		core.Notifier
	}
	for name, tc := range map[string]struct {
		store                       core.Store
		swap, batch, touch, notifer bool
	}{
		"all":              {m, true, true, true, true},
		"none":             {plain{m}, false, false, false, false},
		"swap":             {swapper{m, m}, true, false, false, false},
		"batch":            {batcher{m, m}, true, true, false, false},
		"touch and notify": {touchNotifier{m, m, m}, false, false, true, true},
		"wrapped":          {storetest.NewFaulty(m), true, true, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := storetest.NewFaulty(tc.store)
			_, swap := core.As[core.Swapper](f)
			_, touch := core.As[core.Toucher](f)
			_, notify := core.As[core.Notifier](f)
			_, batch := core.As[core.Batcher](f)
			if swap != tc.swap || batch != tc.batch || touch != tc.touch || notify != tc.notifer {
				t.Errorf("swap %v, batch %v, touch %v, notify %v", swap, batch, touch, notify)
			}
			if _, ok := core.As[*model](f); ok {
				t.Error("As leads past the hooks")
			}
		})
	}
}

// A causing is a store that is down, and knows why.
type causing struct {
	core.Store
	cause error
}

func (c causing) Notify(f func(up bool)) (stop func()) {
	f(false)
	return func() {}
}

func (c causing) Cause() error { return c.cause }

func TestFaultyTellsCauses(t *testing.T) {
	cause := errors.New("no such host")
	f := storetest.NewFaulty(causing{newModel(), cause})
	c, ok := core.As[core.Causer](f)
	if !ok || c.Cause() != cause {
		t.Error("the store's cause is hidden")
	}
	f.Down()
	if err := c.Cause(); err == nil || err == cause {
		t.Errorf("the cause of an outage that the test plays is %v", err)
	}
	f.Up()
	if c.Cause() != cause {
		t.Error("the store's cause is hidden after Up")
	}
	if _, ok := core.As[core.Causer](storetest.NewFaulty(struct{ core.Store }{newModel()})); ok {
		t.Error("a store has got a capability")
	}
}

// everyOp calls each method once and returns the errors by operation.
func everyOp(f *storetest.Faulty) map[storetest.Op]error {
	ctx := context.Background()
	swapper, _ := core.As[core.Swapper](f)
	toucher, _ := core.As[core.Toucher](f)
	errs := map[storetest.Op]error{storetest.OpSet: f.Set(ctx, "k", []byte("one"), time.Hour)}
	_, errs[storetest.OpGet] = f.Get(ctx, "k")
	_, v, err := swapper.GetVersion(ctx, "k")
	errs[storetest.OpGetVersion] = err
	_, errs[storetest.OpSetVersion] = swapper.SetVersion(ctx, "k", []byte("two"), time.Hour, v)
	batcher, _ := core.As[core.Batcher](f)
	_, errs[storetest.OpBatch] = batcher.Batch(ctx, core.Write{Key: "k", Data: []byte("three"), TTL: time.Hour, Version: v + 1})
	_, _, errs[storetest.OpAppend] = batcher.Append(ctx, "k", []byte("four"))
	errs[storetest.OpTouch] = toucher.Touch(ctx, "k", time.Hour)
	errs[storetest.OpDestroy] = f.Destroy(ctx, "k")
	return errs
}

func TestFaultyIsAsGoodAsWhatItWraps(t *testing.T) {
	f := storetest.NewFaulty(newModel())
	for op, err := range everyOp(f) {
		if err != nil {
			t.Errorf("%s: %v", op, err)
		}
		if n := f.Calls(op); n != 1 {
			t.Errorf("%s: %d calls counted, want 1", op, n)
		}
	}
}

func TestFaultyBeforeStopsTheCall(t *testing.T) {
	m := newModel()
	f := storetest.NewFaulty(m)
	f.Before(func(_ context.Context, _ storetest.Op, key string) error {
		if key != "k" {
			t.Errorf("key %q", key)
		}
		return errTest
	})
	for op, err := range everyOp(f) {
		if !errors.Is(err, errTest) {
			t.Errorf("%s: %v", op, err)
		}
		if n := f.Calls(op); n != 1 {
			t.Errorf("%s: %d calls counted, want 1", op, n)
		}
	}
	if m.version != 0 {
		t.Error("a write reached the store")
	}
	f.Before(nil)
	if err := f.Set(t.Context(), "k", nil, 0); err != nil {
		t.Error("without the hook:", err)
	}
}

func TestFaultyAfterComesTooLate(t *testing.T) {
	m := newModel()
	f := storetest.NewFaulty(m)
	if err := f.Set(t.Context(), "k", []byte("one"), 0); err != nil {
		t.Fatal(err)
	}
	f.After(func(context.Context, storetest.Op, string) error { return core.ErrOutcomeUnknown })
	if err := f.Set(t.Context(), "k", []byte("two"), 0); !errors.Is(err, core.ErrOutcomeUnknown) {
		t.Error(err)
	}
	if data, err := f.Get(t.Context(), "k"); data != nil || !errors.Is(err, core.ErrOutcomeUnknown) {
		t.Error("get:", data, err)
	}
	swapper, _ := core.As[core.Swapper](f)
	if _, err := swapper.SetVersion(t.Context(), "k", nil, 0, 77); !errors.Is(err, core.ErrConflict) {
		t.Error("an error of the store was replaced:", err)
	}
	if data, _ := m.Get(t.Context(), "k"); string(data) != "two" {
		t.Errorf("the write was not applied: %q", data)
	}
}

func TestFaultyDownFailsAllCalls(t *testing.T) {
	f := storetest.NewFaulty(newModel())
	f.Down()
	for op, err := range everyOp(f) {
		if !errors.Is(err, core.ErrUnavailable) {
			t.Errorf("%s: %v", op, err)
		}
	}
	f.Up()
	for op, err := range everyOp(f) {
		if err != nil {
			t.Errorf("%s: %v", op, err)
		}
	}
}

func TestFaultyTellsWhatTheTestAndTheStoreDo(t *testing.T) {
	m := newModel()
	f := storetest.NewFaulty(m)
	notifier, _ := core.As[core.Notifier](f)
	var told []bool
	stop := notifier.Notify(func(up bool) { told = append(told, up) })

	f.Up() // no news
	f.Down()
	m.set(false) // no news: down already
	f.Up()       // no news: the store itself is down
	m.set(true)
	m.set(false)
	m.set(true)

	f.Down()
	var late []bool
	defer notifier.Notify(func(up bool) { late = append(late, up) })()
	if !slices.Equal(late, []bool{false}) {
		t.Errorf("a listener that came while it was down was told %v", late)
	}
	stop()
	stop()
	f.Up()
	m.set(false)
	if want := []bool{false, true, false, true, false}; !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
	if want := []bool{false, true, false}; !slices.Equal(late, want) {
		t.Errorf("the late one was told %v, want %v", late, want)
	}
}

func TestFaultyHookCanBlock(t *testing.T) {
	f := storetest.NewFaulty(newModel())
	entered, release, done := make(chan bool), make(chan bool), make(chan error)
	f.Before(func(_ context.Context, op storetest.Op, _ string) error {
		if op == storetest.OpSet {
			entered <- true
			<-release
		}
		return nil
	})
	go func() { done <- f.Set(context.Background(), "k", []byte("late"), 0) }()
	<-entered
	if err := f.Destroy(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := f.Get(t.Context(), "k"); err != nil {
		t.Error("the write that was held back did not come last:", err)
	}
}

func TestFaultyPlaysAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := storetest.NewFaulty(newModel())
		storetest.Outage(t, f, f.Down, f.Up)
		m := newModel()
		storetest.Outage(t, storetest.NewFaulty(m), func() { m.set(false) }, func() { m.set(true) })
	})
}
