package core_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

// R22: where the core calls a store on goroutines of its own, a panic there is one of
// the call that waits for them, as if there were none. A store for tests may also end
// the goroutine, by T.FailNow.
func TestR22AStoreThatPanicsBeside(t *testing.T) {
	ends := map[string]func(){
		"panics": func() { panic("planted") },
		"exits":  runtime.Goexit,
	}
	acts := map[string]func(a *app) error{
		"list": func(a *app) error {
			_, err := a.manager.ListByOwner(a.t.Context(), "ada", nil)
			return err
		},
		"end all": func(a *app) error { return a.manager.DestroyByOwner(a.t.Context(), "ada", nil) },
		"save": func(a *app) error {
			return a.get("/", func(_ *core.Visit, s *core.Session) { s.Set("n", time.Now().String()) }).err()
		},
	}
	reached := map[string]bool{}
	ownersOn(t, func(t *testing.T, open func(*core.Options) *app) {
		a := open(&core.Options{OwnerKeys: core.Keyring{testKey, []byte("Yk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yB")}})
		for by, end := range ends {
			for name, act := range acts {
				for _, op := range []storetest.Op{
					storetest.OpGetVersion, storetest.OpSetVersion, storetest.OpBatch, storetest.OpDestroy,
					storetest.OpOwned, storetest.OpOwn, storetest.OpDisown, storetest.OpGetMany,
				} {
					for range 3 {
						a.device().mustLogin(core.LoginOptions{Owner: "ada"})
					}
					a.store.Before(func(_ context.Context, op storetest.Op, _ string) error {
						if op == storetest.OpSetVersion {
							return core.ErrUnavailable
						}
						return nil
					})
					for range 3 { // leaves hints without a session where these are two steps
						_ = a.device().login(core.LoginOptions{Owner: "ada"})
					}
					a.store.Before(nil)
					a.mustLogin(core.LoginOptions{Owner: "ada"})
					time.Sleep(15 * time.Minute) // so that a save looks after the hint

					fired := make(chan bool, 100)
					a.store.Before(func(_ context.Context, now storetest.Op, _ string) error {
						if now == op {
							fired <- true
							end()
						}
						return nil
					})
					returned, p := false, any(nil)
					over := make(chan struct{})
					go func() {
						defer close(over)
						defer func() { p = recover() }()
						_ = act(a)
						returned = true
					}()
					<-over
					a.store.Before(nil)
					switch {
					case len(fired) == 0 && !returned:
						t.Errorf("%s: it has ended otherwise: %v", name, p)
					case len(fired) == 0:
					case returned:
						t.Errorf("%s: %s %s, and the call has returned", name, op, by)
					case by == "panics" && p != "planted", by == "exits" && p != nil:
						t.Errorf("%s: %s %s, and the call ended by %v", name, op, by, p)
					default:
						reached[name] = true
					}
					must(t, a.manager.DestroyByOwner(t.Context(), "ada", nil))
					if all := a.list("ada"); len(all) != 0 {
						t.Errorf("%s: %s %s: %d sessions live on", name, op, by, len(all))
					}
				}
			}
		}
	})
	if len(reached) != len(acts) {
		t.Errorf("reached only %v", reached)
	}
}

// R22, R10: on a goroutine on which nobody waits a panic of the store, of a hook or of
// the Logger is no more than a message, without what it says.
func TestR22PanicsWhereNobodyWaits(t *testing.T) {
	const secret = "koa:sess:the-key-of-a-session"
	plants := map[string]func(o *core.Options, s *plantedStore){
		"the touch of a running session": func(_ *core.Options, s *plantedStore) { s.touch = func() { panic(secret) } },
		"its error":                      func(_ *core.Options, s *plantedStore) { s.touch = func() { panic(errors.New(secret)) } },
		"a nil pointer":                  func(_ *core.Options, s *plantedStore) { s.touch = func() { **new(*int) = 1 } },
		"the cause of an outage":         func(_ *core.Options, s *plantedStore) { s.cause = func() { panic(secret) } },
		"the hook that hears of it": func(o *core.Options, _ *plantedStore) {
			o.Hooks.Event = func(_ context.Context, e core.Event) {
				if e.Kind == core.EventStoreDown || e.Kind == core.EventStoreUp {
					panic(secret)
				}
			}
		},
	}
	for name, plant := range plants {
		for _, logs := range []string{"a log", "a Logger that panics", "no Logger"} {
			t.Run(name+", "+logs, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					log := new(bytes.Buffer)
					o := &core.Options{IdleTimeout: time.Hour, Keys: core.Keyring{testKey}}
					s := &plantedStore{Faulty: storetest.NewFaulty(stepwise(newMemory(t)))}
					switch logs {
					case "a log":
						o.Logger = slog.New(slog.NewTextHandler(log, nil))
					case "a Logger that panics":
						o.Logger = slog.New(panickyHandler{slog.NewTextHandler(log, nil), &s.armed})
					}
					plant(o, s)
					m, err := core.New(s, o)
					must(t, err)
					defer m.Close()
					a := &app{t: t, manager: m, store: s.Faulty, browser: &jartest.Browser{}}
					a.ok(a.get("/", count(t)))
					a.ok(a.get("/", func(*core.Visit, *core.Session) {
						s.armed.Store(true)
						time.Sleep(3 * time.Hour)
						s.Down()
						synctest.Wait()
						s.Up()
						synctest.Wait()
						s.armed.Store(false)
					}))
					a.ok(a.get("/", count(t)))
					if logs == "a log" && strings.Count(log.String(), "has panicked") == 0 || strings.Contains(log.String(), secret) {
						t.Errorf("log: %s", log)
					}
					if name == "a nil map" && logs == "a log" && !strings.Contains(log.String(), "assignment to entry in nil map") {
						t.Errorf("log: %s", log)
					}
				})
			})
		}
	}
}

// A plantedStore panics where a test says.
type plantedStore struct {
	*storetest.Faulty
	armed        atomic.Bool
	touch, cause func()
}

func (s *plantedStore) Touch(ctx context.Context, key string, ttl time.Duration) error {
	if s.armed.Load() && s.touch != nil {
		s.touch()
	}
	t, ok := core.As[core.Toucher](s.Faulty)
	if !ok {
		return fmt.Errorf("no touch: %w", errors.ErrUnsupported)
	}
	return t.Touch(ctx, key, ttl)
}

func (s *plantedStore) Cause() error {
	if s.armed.Load() && s.cause != nil {
		s.cause()
	}
	return nil
}

func (s *plantedStore) Unwrap() core.Store { return s.Faulty }

// A panickyHandler panics while it is told to.
type panickyHandler struct {
	slog.Handler
	panics *atomic.Bool
}

func (h panickyHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h panickyHandler) Handle(ctx context.Context, r slog.Record) error {
	if h.panics.Load() {
		panic("the Logger")
	}
	return h.Handler.Handle(ctx, r)
}
