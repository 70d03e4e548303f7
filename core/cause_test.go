package core_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
)

// A logbook is a slog.Handler that keeps the messages above Debug.
type logbook struct {
	mu    sync.Mutex
	lines []string
	slow  time.Duration // what a message takes
}

func (l *logbook) Enabled(context.Context, slog.Level) bool { return true }
func (l *logbook) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logbook) WithGroup(string) slog.Handler            { return l }

func (l *logbook) Handle(_ context.Context, r slog.Record) error {
	if r.Level <= slog.LevelDebug {
		return nil
	}
	time.Sleep(l.slow)
	line := fmt.Sprint(r.Level, " ", r.Message)
	r.Attrs(func(a slog.Attr) bool {
		line += fmt.Sprint(" ", a)
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	return nil
}

// take waits until all is told and returns it.
func (l *logbook) take() []string {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.lines
	l.lines = nil
	return all
}

// A patient is a store that knows what is wrong with it.
type patient struct {
	core.Store
	mu    sync.Mutex
	tell  func(up bool)
	cause error
}

func (p *patient) Unwrap() core.Store { return p.Store }

func (p *patient) Notify(f func(up bool)) func() {
	p.tell = f
	return func() {}
}

func (p *patient) Cause() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cause
}

// goes tells a listener as a store does: it is told while the store holds its
// lock, so that a listener that asks the store would wait for ever.
func (p *patient) goes(up bool, cause string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if cause != "" {
		p.cause = errors.New(cause)
	}
	p.tell(up)
}

// The cause of an outage is in the errors of the requests that can't wait, and
// in the log once when it begins; its end once, with how long it was and how
// many waited.
func TestW26TheCauseIsTold(t *testing.T) {
	t.Run("an outage", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			log := new(logbook)
			store := &patient{Store: newMemory(t)}
			a := newAppOn(t, store, &core.Options{Logger: slog.New(log)})
			a.ok(a.get("/", count(t)))
			store.goes(false, "lookup no.such.host: no such host")
			for range 100 {
				go a.send(a.browser.Jar("/"), nil)
			}
			time.Sleep(4 * time.Second)
			store.goes(false, "tls: handshake failure") // and something else is wrong now
			time.Sleep(4 * time.Second)
			want := []string{"WARN session store down error=lookup no.such.host: no such host"}
			if got := log.take(); !slices.Equal(got, want) {
				t.Errorf("told %q, want %q", got, want)
			}
			store.goes(true, "")
			want = []string{"INFO session store up after=8s waited=100"}
			if got := log.take(); !slices.Equal(got, want) {
				t.Errorf("told %q, want %q", got, want)
			}
			store.goes(false, "NOAUTH")
			store.goes(true, "")
			if got := log.take(); len(got) != 2 || !strings.Contains(got[1], "after=0s waited=0") {
				t.Errorf("told %q", got)
			}
			time.Sleep(time.Second)
		})
	})
	t.Run("errors", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			store := &patient{Store: newMemory(t)}
			a := newAppOn(t, store, &core.Options{MaxWaiters: 1})
			a.ok(a.get("/", count(t)))
			store.goes(false, "no such host")
			first := make(chan error, 1)
			go func() { first <- a.send(a.browser.Jar("/"), nil).begin }()
			synctest.Wait()
			errs := []error{a.send(a.browser.Jar("/"), nil).begin} // too many
			errs = append(errs, <-first)                           // too long
			errs = append(errs, a.send(a.browser.Jar("/"), nil).begin)
			for _, err := range errs {
				wantIs(t, err, core.ErrUnavailable)
				if err == nil || !strings.HasSuffix(err.Error(), ": no such host") {
					t.Errorf("the cause is missing: %v", err)
				}
			}
		})
	})
	t.Run("the class of the cause", func(t *testing.T) { // is not that of the request
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			store := &patient{Store: newMemory(t)}
			a := newAppOn(t, store, &core.Options{FailFast: true})
			store.mu.Lock()
			store.cause = fmt.Errorf("%w: WRONGPASS", core.ErrRefused)
			store.mu.Unlock()
			store.goes(false, "")
			err := a.send(a.browser.Jar("/"), nil).begin
			wantIs(t, err, core.ErrUnavailable)
			if errors.Is(err, core.ErrRefused) || !strings.Contains(err.Error(), "WRONGPASS") {
				t.Error(err)
			}
		})
	})
	t.Run("a slow log", func(t *testing.T) { // keeps neither the store nor requests from working
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			log := &logbook{slow: time.Hour}
			store := &patient{Store: newMemory(t)}
			a := newAppOn(t, store, &core.Options{Logger: slog.New(log)})
			begin := time.Now()
			for range 3 {
				store.goes(false, "down")
				store.goes(true, "")
			}
			a.ok(a.get("/", count(t)))
			if d := time.Since(begin); d != 0 {
				t.Errorf("it took %v", d)
			}
			time.Sleep(7 * time.Hour)
			got := strings.Join(log.take(), "\n")
			if n := strings.Count(got, "WARN"); n != 3 || strings.Count(got, "INFO") != 3 {
				t.Errorf("told\n%s", got)
			}
			if !strings.HasPrefix(got, "WARN") || !strings.Contains(strings.SplitN(got, "\n", 2)[1], "INFO") {
				t.Errorf("not in order:\n%s", got)
			}
		})
	})
	t.Run("a store that tells no cause", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			log := new(logbook)
			a := newApp(t, &core.Options{Logger: slog.New(log), FailFast: true})
			a.store.Down()
			wantIs(t, a.send(a.browser.Jar("/"), nil).begin, core.ErrUnavailable)
			if got := log.take(); len(got) != 1 || !strings.HasPrefix(got[0], "WARN session store down") {
				t.Errorf("told %q", got)
			}
		})
	})
}

// One of several servers is down, and the store is up for the others: the first
// request waits for the store to notice an outage, and those after it don't.
func TestW25OneOfSeveralServersIsDown(t *testing.T) {
	const notice = 1250 * time.Millisecond
	// begin makes a request fail if its session is on the server that is down.
	begin := func(t *testing.T, a *app, want error, takes time.Duration) {
		t.Helper()
		began := time.Now()
		err := a.send(a.browser.Jar("/"), nil).begin
		if want == nil && err != nil || !errors.Is(err, want) {
			t.Errorf("the request ended with %v, want %v", err, want)
		}
		if took := time.Since(began); took != takes {
			t.Errorf("it took %v, want %v", took, takes)
		}
	}
	for _, class := range []error{core.ErrUnavailable, core.ErrTimeout} {
		t.Run(class.Error(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				log := new(logbook)
				a := newApp(t, &core.Options{Logger: slog.New(log)})
				a.ok(a.get("/", count(t)))
				a.store.Before(failing(storetest.OpGetVersion, class))
				first := notice
				if class == core.ErrTimeout {
					first -= 500 * time.Millisecond // which the call has taken, as far as the core knows
				}
				begin(t, a, class, first)
				for range 100 {
					begin(t, a, class, 0)
					time.Sleep(3 * time.Second)
				}
				if got := log.take(); len(got) != 1 || !strings.HasPrefix(got[0], "WARN session store failing") {
					t.Errorf("told %q", got)
				}
				time.Sleep(time.Minute) // it may be another fault then
				begin(t, a, class, first)
				a.store.Before(nil)
				begin(t, a, nil, 0)
			})
		})
	}
	t.Run("many at once", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, nil)
			a.ok(a.get("/", count(t)))
			a.store.Before(failing(storetest.OpGetVersion, core.ErrUnavailable))
			var all sync.WaitGroup
			for range 50 {
				all.Go(func() { begin(t, a, core.ErrUnavailable, notice) })
			}
			time.Sleep(time.Second)
			begin(t, a, core.ErrUnavailable, notice-time.Second) // the store has had its time
			all.Wait()
		})
	})
	t.Run("a fault that is over", func(t *testing.T) { // leaves nothing behind: the next one is waited for
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			log := new(logbook)
			a := newApp(t, &core.Options{Logger: slog.New(log)})
			a.ok(a.get("/", count(t)))
			breaks{storetest.OpGetVersion, core.ErrUnavailable, false, -1, 0}.on(a)
			begin(t, a, nil, notice)
			breaks{storetest.OpGetVersion, core.ErrUnavailable, false, 100 * time.Millisecond, 3 * time.Second}.on(a)
			begin(t, a, nil, 3100*time.Millisecond)
			a.store.Before(failing(storetest.OpGetVersion, core.ErrUnavailable))
			begin(t, a, core.ErrUnavailable, notice)
			a.store.Down() // and now all of them
			time.Sleep(time.Second)
			a.store.Before(nil)
			a.store.Up()
			breaks{storetest.OpGetVersion, core.ErrUnavailable, false, 100 * time.Millisecond, 3 * time.Second}.on(a)
			begin(t, a, nil, 3100*time.Millisecond)
			if got := log.take(); len(got) != 7 { // three outages, and the server that was down before
				t.Errorf("told %q", got)
			}
		})
	})
}

// An operator reads that the store is down which sessions are taken over from, in place
// of a warning for each request that needs it; after the date nobody needs it.
func TestP15AnOutageOfTheOldPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(logbook)
		var kinds []core.EventKind
		faulty := storetest.NewFaulty(newMemory(t))
		old := &patient{Store: faulty}
		o := core.Options{Keys: core.Keyring{keyA}, Logger: slog.New(log)}
		o.Hooks.Event = func(_ context.Context, e core.Event) {
			if e.Why == "Options.Migrate.From" {
				kinds = append(kinds, e.Kind)
			}
		}
		o.Migrate = core.Migration{From: old, Until: time.Now().Add(time.Hour)}
		m, err := core.New(newMemory(t), &o)
		must(t, err)
		defer m.Close()

		old.goes(false, "connection refused")
		want := []string{"WARN session store down why=Options.Migrate.From error=connection refused"}
		if got := log.take(); !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
		faulty.Down()
		cookies := signed(fixedID)
		for range 3 { // of ids that only the old store may know
			if _, err := browse(t, m, cookies, count(t)); !errors.Is(err, core.ErrUnavailable) {
				t.Errorf("a look: %v", err)
			}
		}
		if got := log.take(); len(got) != 0 {
			t.Errorf("of the requests that fail with it is told %q", got)
		}
		old.goes(true, "")
		if got := log.take(); len(got) != 1 || !strings.HasPrefix(got[0], "INFO session store up why=Options.Migrate.From after=") {
			t.Errorf("told %q", got)
		}
		if want := []core.EventKind{core.EventStoreDown, core.EventStoreUp}; !slices.Equal(kinds, want) {
			t.Errorf("the hook was told %q, want %q", kinds, want)
		}
		time.Sleep(time.Hour)
		old.goes(false, "it was switched off")
		if got := log.take(); len(got) != 0 {
			t.Errorf("after the date is told %q", got)
		}
	})
}
