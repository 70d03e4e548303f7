package core_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/allocs"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// A witness keeps the events of a manager, and its log.
type witness struct {
	t      *testing.T
	events []core.Event
	log    bytes.Buffer
}

// options are those of a manager that the witness observes.
func (w *witness) options(o core.Options) *core.Options {
	o.Hooks.Event = func(ctx context.Context, e core.Event) {
		if e.Session != nil { // a hook may read, and can't save
			e.Session.Names()
			if err := e.Session.Save(ctx); err == nil {
				w.t.Errorf("%s: the hook has saved the session", e.Kind)
			}
		}
		w.events = append(w.events, e)
	}
	o.Logger = slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	return &o
}

// take returns the events since the last time, such as "loaded, ended: Reset".
func (w *witness) take() string {
	var all []string
	for _, e := range w.events {
		text := string(e.Kind)
		if e.Why != "" {
			text += ": " + e.Why
		}
		all = append(all, text)
	}
	w.events = nil
	return strings.Join(all, ", ")
}

func (w *witness) want(want string) {
	w.t.Helper()
	if got := w.take(); got != want {
		w.t.Errorf("events %q, want %q", got, want)
	}
}

// levels are those of the messages since the last time.
func (w *witness) levels() string {
	var all []string
	for line := range strings.Lines(w.log.String()) {
		level, _, _ := strings.Cut(strings.TrimPrefix(line, "level="), " ")
		all = append(all, strings.TrimSpace(level))
	}
	w.log.Reset()
	return strings.Join(all, " ")
}

// W38: what happens to a session is an event, and the hook that hears of it changes
// nothing.
func TestW38Events(t *testing.T) {
	t.Parallel()
	// each is one request, or more, of a browser that has a session with a counter,
	// if it is not said to be new, and the events and levels that come of it.
	for name, c := range map[string]struct {
		options core.Options
		fresh   bool
		do      func(t *testing.T, a *app)
		events  string
		levels  string
	}{
		"created": {
			fresh:  true,
			do:     func(t *testing.T, a *app) { a.ok(a.get("/", count(t))) },
			events: "created", levels: "DEBUG",
		},
		"loaded": {
			do:     func(t *testing.T, a *app) { a.wantVisits(1) },
			events: "loaded", levels: "DEBUG",
		},
		"loaded, when it is asked for": {
			options: core.Options{Defer: true},
			do: func(t *testing.T, a *app) {
				a.ok(a.visit(a.browser.Jar("/"), func(*core.Visit) {}))
				a.ok(a.visit(a.browser.Jar("/"), func(v *core.Visit) {
					if _, err := core.From(core.NewContext(bg, v)); err != nil {
						t.Error(err)
					}
				}))
			},
			events: "loaded", levels: "DEBUG",
		},
		"saved": {
			do:     func(t *testing.T, a *app) { a.ok(a.get("/", count(t))) },
			events: "loaded, saved", levels: "DEBUG DEBUG",
		},
		"saved twice": {
			do: func(t *testing.T, a *app) {
				a.ok(a.get("/", func(v *core.Visit, s *core.Session) { count(t)(v, s); must(t, s.Save(bg)); count(t)(v, s) }))
			},
			events: "loaded, saved, saved", levels: "DEBUG DEBUG DEBUG",
		},
		"prolonged": {
			options: core.Options{IdleTimeout: time.Hour, TouchEvery: 1},
			do:      func(t *testing.T, a *app) { a.wantVisits(1) },
			events:  "loaded", levels: "DEBUG",
		},
		"renewed": {
			do: func(t *testing.T, a *app) {
				a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Renew(bg)) }))
			},
			events: "loaded, renewed", levels: "DEBUG INFO",
		},
		"logged in": {
			do:     func(t *testing.T, a *app) { a.ok(a.get("/", logIn(t))) },
			events: "loaded, logged in", levels: "DEBUG INFO",
		},
		"logged in, new": {
			fresh:  true,
			do:     func(t *testing.T, a *app) { a.ok(a.get("/", logIn(t))) },
			events: "logged in", levels: "INFO",
		},
		"logged out": {
			do: func(t *testing.T, a *app) {
				a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) }))
			},
			events: "loaded, logged out", levels: "DEBUG INFO",
		},
		"a new session is destroyed": {
			fresh: true,
			do: func(t *testing.T, a *app) {
				a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) }))
			},
		},
		"reset": {
			do: func(t *testing.T, a *app) {
				a.ok(a.get("/", func(v *core.Visit, s *core.Session) { must(t, s.Reset(bg)); count(t)(v, s) }))
			},
			events: "loaded, ended: Reset, created", levels: "DEBUG INFO DEBUG",
		},
		"several cookies, then a logout, twice": {
			do: func(t *testing.T, a *app) {
				one := a.browser
				a.browser = &jartest.Browser{}
				a.ok(a.get("/", count(t)))
				a.ok(a.send(both(one, a.browser), func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)); must(t, s.Destroy(bg)) }))
			},
			events: "created, cookie refused: several cookies with a valid signature, each of a living session, logged out, ended: Destroy",
			levels: "DEBUG WARN INFO INFO",
		},
		"logged out, twice": {
			do: func(t *testing.T, a *app) {
				a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)); must(t, s.Destroy(bg)) }))
			},
			events: "loaded, logged out", levels: "DEBUG INFO",
		},
		"logged out with an id that was given up, twice": {
			do: func(t *testing.T, a *app) {
				late := a.browser.Jar("/")
				a.ok(a.get("/", logIn(t)))
				a.ok(a.send(late, func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)); must(t, s.Destroy(bg)) }))
			},
			events: "loaded, logged in, unknown id: it was given up for another one, logged out", levels: "DEBUG INFO DEBUG INFO",
		},
		"logged out at the second try": {
			do: func(t *testing.T, a *app) {
				a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
					a.store.Before(failing(storetest.OpBatch, core.ErrOutcomeUnknown))
					if s.Destroy(bg) == nil {
						t.Error("no error")
					}
					a.store.Before(nil)
					must(t, a.store.Destroy(bg, hashedKey(s.ID()))) // it had come through
					must(t, s.Destroy(bg))
				}))
			},
			events: "loaded, not revoked, logged out", levels: "DEBUG WARN INFO",
		},
		"logged out of a session that has ended, not loaded": {
			options: core.Options{Defer: true},
			do: func(t *testing.T, a *app) {
				must(t, a.manager.DestroyByID(bg, core.ID(a.value())))
				a.ok(a.visit(a.browser.Jar("/"), func(v *core.Visit) { must(t, v.Destroy(bg)) }))
			},
			events: "ended: DestroyByID, unknown id", levels: "INFO DEBUG",
		},
		"logged out of a session that has ended": {
			do: func(t *testing.T, a *app) {
				must(t, a.manager.DestroyByID(bg, core.ID(a.value())))
				a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) }))
			},
			events: "ended: DestroyByID, unknown id", levels: "INFO DEBUG",
		},
		"ended by its id, twice": {
			do: func(t *testing.T, a *app) {
				must(t, a.manager.DestroyByID(bg, core.ID(a.value())))
				must(t, a.manager.DestroyByID(bg, core.ID(a.value())))
			},
			events: "ended: DestroyByID, unknown id", levels: "INFO DEBUG",
		},
		"ended by its id": {
			do:     func(t *testing.T, a *app) { must(t, a.manager.DestroyByID(bg, core.ID(a.value()))); a.wantVisits(0) },
			events: "ended: DestroyByID, unknown id", levels: "INFO DEBUG",
		},
		"set by its id": {
			do: func(t *testing.T, a *app) {
				must(t, a.manager.SetByID(bg, core.ID(a.value()), map[string]int{"visits": 4}, 0))
				must(t, a.manager.SetByID(bg, "another-id-0123456789", map[string]int{"visits": 4}, 0))
			},
			events: "saved, created", levels: "DEBUG DEBUG",
		},
		"several cookies, then a login": {
			do: func(t *testing.T, a *app) {
				one := a.browser
				a.browser = &jartest.Browser{}
				a.ok(a.get("/", count(t)))
				a.ok(a.send(both(one, a.browser), logIn(t)))
			},
			events: "created, cookie refused: several cookies with a valid signature, each of a living session, logged in, ended: Login, ended: Login",
			levels: "DEBUG WARN INFO INFO INFO",
		},
		"several cookies, then a logout": {
			do: func(t *testing.T, a *app) {
				one := a.browser
				a.browser = &jartest.Browser{}
				a.ok(a.get("/", count(t)))
				a.ok(a.send(both(one, a.browser), func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) }))
			},
			events: "created, cookie refused: several cookies with a valid signature, each of a living session, logged out, ended: Destroy",
			levels: "DEBUG WARN INFO INFO",
		},
		"an id that was given up": {
			do: func(t *testing.T, a *app) {
				late := a.browser.Jar("/")
				a.ok(a.get("/", logIn(t)))
				a.ok(a.send(late, nil))
			},
			events: "loaded, logged in, unknown id: it was given up for another one", levels: "DEBUG INFO DEBUG",
		},
		"AbsoluteTimeout": {
			options: core.Options{AbsoluteTimeout: 2 * time.Hour},
			fresh:   true,
			do: func(t *testing.T, a *app) { // of a process that had another limit
				b := newAppOn(t, a.store, nil)
				b.ok(b.get("/", count(t)))
				time.Sleep(2 * time.Hour)
				a.browser = b.browser
				a.wantVisits(0)
			},
			events: "expired: AbsoluteTimeout", levels: "INFO",
		},
		"the store's ttl": {
			do: func(t *testing.T, a *app) {
				late := a.browser.Jar("/")
				time.Sleep(24 * time.Hour)
				a.ok(a.send(late, nil))
			},
			events: "unknown id", levels: "DEBUG",
		},
		"TTLFunc": {
			options: func() core.Options {
				o := *core.KoaCompat()
				o.TTLFunc = func(s *core.Session) time.Duration {
					if visits.Get(s) > 1 {
						return -1
					}
					return time.Hour
				}
				return o
			}(),
			do:     func(t *testing.T, a *app) { a.ok(a.get("/", count(t))) },
			events: "loaded, expired: TTLFunc, or its own life", levels: "DEBUG INFO",
		},
		"Hooks.Valid": {
			options: core.Options{Hooks: core.Hooks{Valid: func(context.Context, core.Jar, *core.Session) (bool, error) { return false, nil }}},
			do:      func(t *testing.T, a *app) { a.wantVisits(0) },
			events:  "invalid", levels: "INFO",
		},
		"a forged cookie": {
			do: func(t *testing.T, a *app) {
				a.ok(a.send(&jartest.Jar{Cookies: []string{"koa.sid=" + a.value() + "; koa.sid.sig=x"}}, nil))
			},
			events: "cookie refused: a signature by none of the keys", levels: "WARN",
		},
		"an id of another shape": {
			options: core.Options{InsecureIDFrom: func(context.Context, core.Jar) core.ID { return "../x" }},
			fresh:   true,
			do:      func(t *testing.T, a *app) { a.wantVisits(0) },
			events:  "cookie refused: an id of other characters or of another length", levels: "WARN",
		},
		"a record that can't be read": {
			do: func(t *testing.T, a *app) {
				must(t, a.store.Set(bg, hashedKey(core.ID(a.value())), []byte("[1]"), time.Hour))
				a.wantVisits(0)
			},
			events: "unreadable", levels: "WARN",
		},
		"a record of another key": {
			do: func(t *testing.T, a *app) {
				data, err := a.store.Get(bg, hashedKey(core.ID(a.value())))
				must(t, err)
				b := newAppOn(t, a.store, nil)
				b.ok(b.get("/", count(t)))
				must(t, a.store.Set(bg, hashedKey(core.ID(b.value())), data, time.Hour))
				a.browser = b.browser
				wantIs(t, a.get("/", nil).begin, core.ErrCorrupt)
			},
			events: "foreign record", levels: "WARN",
		},
		"a conflict": {
			do: func(t *testing.T, a *app) {
				a.ok(a.meanwhile(count(t), count(t)))
				a.wantVisits(3)
			},
			events: "loaded, loaded, saved, conflict, saved, loaded", levels: "DEBUG DEBUG DEBUG DEBUG DEBUG DEBUG",
		},
		"gone": {
			do: func(t *testing.T, a *app) {
				id := core.ID(a.value())
				a.ok(a.get("/", func(v *core.Visit, s *core.Session) { must(t, a.manager.DestroyByID(bg, id)); count(t)(v, s) }))
			},
			events: "loaded, ended: DestroyByID, gone", levels: "DEBUG INFO DEBUG",
		},
		"a failed read": {
			do: func(t *testing.T, a *app) {
				a.store.Before(failing(storetest.OpGetVersion, core.ErrRefused))
				wantIs(t, a.get("/", nil).begin, core.ErrRefused)
			},
			events: "failed", levels: "WARN",
		},
		"a logout that fails": {
			do: func(t *testing.T, a *app) {
				a.store.Before(failing(storetest.OpBatch, core.ErrRefused))
				a.get("/", func(_ *core.Visit, s *core.Session) { wantIs(t, s.Destroy(bg), core.ErrRefused) })
			},
			events: "loaded, not revoked", levels: "DEBUG WARN",
		},
		"ending by id that fails": {
			do: func(t *testing.T, a *app) {
				a.store.Before(failing(storetest.OpGetVersion, core.ErrRefused))
				wantIs(t, a.manager.DestroyByID(bg, core.ID(a.value())), core.ErrRefused)
			},
			events: "not revoked", levels: "WARN",
		},
		"a value of another type": {
			do: func(t *testing.T, a *app) {
				a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { core.Key[string]("visits").Get(s) }))
			},
			events: "loaded, failed", levels: "DEBUG WARN",
		},
		"an outage": {
			options: core.Options{FailFast: true},
			do: func(t *testing.T, a *app) {
				a.store.Down()
				synctest.Wait() // the store does not wait for those who listen
				wantIs(t, a.get("/", nil).begin, core.ErrUnavailable)
				a.store.Up()
				synctest.Wait()
			},
			events: "store down, failed, store up", levels: "WARN DEBUG INFO",
		},
	} {
		inBubble(t, name, func(t *testing.T) {
			w := &witness{t: t}
			a := newApp(t, w.options(c.options))
			if !c.fresh {
				a.ok(a.get("/", count(t)))
				w.take()
				w.levels()
			}
			id := a.value()
			c.do(t, a)
			for _, e := range w.events {
				if wantErr := slices.Contains([]core.EventKind{core.EventFailed, core.EventGone, core.EventNotRevoked, core.EventUnreadable, core.EventForeign, core.EventStoreDown}, e.Kind); (e.Err != nil) != wantErr {
					t.Errorf("%s: Err is %v", e.Kind, e.Err)
				}
				if text := fmt.Sprintf("%+v", e); id != "" && (strings.Contains(text, id) || strings.Contains(text, hashedKey(core.ID(id)))) {
					t.Errorf("%s: the id is in the event", e.Kind)
				}
			}
			if log := w.log.String(); id != "" && (strings.Contains(log, id) || strings.Contains(log, hashedKey(core.ID(id)))) {
				t.Error("the id is in the log")
			}
			w.want(c.events)
			if got := w.levels(); got != c.levels {
				t.Errorf("levels %q, want %q", got, c.levels)
			}
		})
	}
}

// Each session that a logout ends is told with its own id, also where the request has
// another one.
func TestW38ALogoutSaysWhatItEnds(t *testing.T) {
	t.Parallel()
	var got []string
	a := newApp(t, &core.Options{Hooks: core.Hooks{Event: func(_ context.Context, e core.Event) {
		if e.Kind == core.EventLoggedOut || e.Kind == core.EventEnded {
			got = append(got, e.ID)
		}
	}}})
	destroy := func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) }
	want := func(ids ...core.ID) {
		t.Helper()
		var prints []string
		for _, id := range ids {
			prints = append(prints, id.String())
		}
		slices.Sort(prints)
		slices.Sort(got)
		if !slices.Equal(got, prints) {
			t.Errorf("ended were %q, want %q", got, prints)
		}
		got = nil
	}
	a.ok(a.get("/", count(t)))
	late := a.browser.Jar("/")
	a.ok(a.get("/", logIn(t)))
	id := core.ID(a.value())
	a.ok(a.send(late, destroy))
	want(id)

	one, two := &jartest.Browser{}, &jartest.Browser{}
	a.browser = one
	a.ok(a.get("/", count(t)))
	first := core.ID(a.value())
	a.browser = two
	a.ok(a.get("/", count(t)))
	a.ok(a.send(both(one, two), destroy))
	want(first, core.ID(a.value()))
}

func logIn(t *testing.T) handler {
	return func(_ *core.Visit, s *core.Session) {
		t.Helper()
		must(t, s.Login(core.LoginOptions{}))
		must(t, s.Set("user", "ada"))
	}
}

// What an audit needs: who, which session before and after, and when.
func TestW38AnAuditLine(t *testing.T) {
	t.Parallel()
	const user core.Key[string] = "user"
	var lines []string
	a := newApp(t, &core.Options{Hooks: core.Hooks{Event: func(_ context.Context, e core.Event) {
		switch e.Kind {
		case core.EventCreated, core.EventSaved, core.EventRenewed, core.EventLoggedIn:
			lines = append(lines, fmt.Sprintf("%s by %q: %s, was %s", e.Kind, user.Get(e.Session), e.ID, e.Former))
		}
	}}})
	var want []string
	line := func(kind, who, former string) {
		want = append(want, fmt.Sprintf("%s by %q: %s, was %s", kind, who, core.ID(a.value()), former))
	}
	a.ok(a.get("/", count(t)))
	line("created", "", "")
	former := core.ID(a.value()).String()
	a.ok(a.get("/", logIn(t)))
	line("logged in", "ada", former)
	a.ok(a.get("/", count(t)))
	line("saved", "ada", "")
	former = core.ID(a.value()).String()
	a.ok(a.get("/", func(v *core.Visit, s *core.Session) { must(t, s.Renew(bg)) }))
	line("renewed", "ada", former)
	if !slices.Equal(lines, want) {
		t.Errorf("%q, want %q", lines, want)
	}
}

// W38, W49: a hook that logs and returns what it was given decides nothing.
func TestW38AHookThatLogs(t *testing.T) {
	t.Parallel()
	told := 0
	for name, hook := range map[string]func(context.Context, *core.Error) error{
		"its argument": func(_ context.Context, e *core.Error) error { told++; return e },
		"wrapped":      func(_ context.Context, e *core.Error) error { told++; return fmt.Errorf("of request 7: %w", e) },
	} {
		o := core.Options{Hooks: core.Hooks{Error: hook}}
		t.Run(name+", a page beside a logout", func(t *testing.T) {
			a := newApp(t, &o)
			a.ok(a.get("/", count(t)))
			id := core.ID(a.value())
			a.ok(a.meanwhile(count(t), func(*core.Visit, *core.Session) { must(t, a.manager.DestroyByID(bg, id)) }))
		})
		t.Run(name+", a record that can't be read", func(t *testing.T) {
			a := newApp(t, &o)
			a.ok(a.get("/", count(t)))
			must(t, a.store.Set(bg, hashedKey(core.ID(a.value())), []byte("[1]"), time.Hour))
			a.ok(a.get("/", count(t)))
			a.wantVisits(1)
		})
		t.Run(name+", a failed write", func(t *testing.T) {
			a := newApp(t, &o)
			a.ok(a.get("/", count(t)))
			a.store.Before(failing(storetest.OpSetVersion, core.ErrRefused))
			a.fails(core.ErrRefused, a.get("/", count(t)))
		})
	}
	if told != 6 {
		t.Errorf("the hooks were told %d times", told)
	}
}

// A hook that asks for a value which it can't have is not asked about that again.
func TestW38AHookThatCannotDecode(t *testing.T) {
	t.Parallel()
	var kinds []core.EventKind
	a := newApp(t, &core.Options{Hooks: core.Hooks{Event: func(_ context.Context, e core.Event) {
		kinds = append(kinds, e.Kind)
		core.Key[string]("visits").Get(e.Session)
	}}})
	a.ok(a.get("/", count(t)))
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { core.Key[string]("visits").Get(s) }))
	if want := []core.EventKind{core.EventCreated, core.EventLoaded, core.EventFailed}; !slices.Equal(kinds, want) {
		t.Errorf("events %q, want %q", kinds, want)
	}
}

// A panic of the hook is one of the request: locks are free, and others go on.
func TestW38AHookThatPanics(t *testing.T) {
	t.Parallel()
	panics := false
	a := newApp(t, &core.Options{Hooks: core.Hooks{Event: func(_ context.Context, e core.Event) {
		if panics && e.Kind == core.EventSaved {
			panic("hook")
		}
	}}})
	a.ok(a.get("/", count(t)))
	panics = true
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		a.get("/", count(t))
	}()
	panics = false
	a.ok(a.get("/", count(t)))
	a.wantVisits(3) // the write was done before the hook was told
}

// Options.Logger alone gets what a security log needs, at Info and Warn.
func TestW38TheLoggerNeedsNoHook(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	a := newApp(t, &core.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	a.ok(a.get("/", count(t)))
	a.wantVisits(1)
	if log.Len() > 0 {
		t.Errorf("what is ordinary is logged: %s", &log)
	}
	former := core.ID(a.value())
	a.ok(a.get("/", logIn(t)))
	for _, want := range []string{"level=INFO", `msg="session logged in"`, "session=" + core.ID(a.value()).String(), "former=" + former.String()} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %s: %s", want, &log)
		}
	}
}

// When nobody listens, events cost nothing, and a hook costs the fingerprint only.
func TestW38EventsAreCheap(t *testing.T) {
	cost := func(o core.Options) float64 {
		store := memorystore.New(nil)
		defer store.Close()
		a := newAppOn(t, store, &o)
		a.ok(a.get("/", count(t)))
		jar := a.browser.Jar("/")
		return allocs.Fewest(200, func() {
			v, _ := a.manager.NewVisit(jar, nil)
			if v.Begin(bg) != nil || v.Commit(bg) != nil {
				t.Error("the request failed")
			}
		})
	}
	quiet := cost(core.Options{})
	if heard := cost(core.Options{Hooks: core.Hooks{Event: func(context.Context, core.Event) {}}}); heard > quiet+4 {
		t.Errorf("%v allocations with a hook, %v without", heard, quiet)
	}
	if logged := cost(core.Options{Logger: slog.New(slog.DiscardHandler)}); logged > quiet {
		t.Errorf("%v allocations with a Logger that drops debug messages, %v without", logged, quiet)
	}
}

// The events of the store end with the manager.
func TestW38NoEventsAfterClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &witness{t: t}
		a := newApp(t, w.options(core.Options{}))
		must(t, a.manager.Close())
		a.store.Down()
		synctest.Wait()
		w.want("")
		_, err := a.manager.GetByID(bg, "0123456789abcdef")
		if !errors.Is(err, core.ErrUnavailable) {
			t.Error(err)
		}
	})
}
