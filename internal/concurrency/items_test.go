package concurrency_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

// The ten things that must hold, each said once more without the machine: what
// is looked at is the outcome of every interleaving of two requests, on every
// store.

// every plays two requests in every order on every store.
func every(t *testing.T, o core.Options, a, b program, look func(t *testing.T, s *stage, out outcome)) {
	t.Helper()
	for _, kind := range stores {
		t.Run(fmt.Sprintf("%s | %s, %s", a.name, b.name, kind.name), func(t *testing.T) {
			s := newStage(t, kind.open(t), o)
			s.orders([2]program{a, b}, func(out outcome, path []choice) {
				if look(t, s, out); t.Failed() {
					t.Logf("in the order %s: %v", orderOf(path), out)
				}
			})
		})
	}
}

func one(acts ...act) program {
	var names []string
	for _, a := range acts {
		names = append(names, a.String())
	}
	return program{strings.Join(names, ", "), acts}
}

// wants is an outcome in which the old id has exactly these values and both
// requests worked.
func wants(want values) func(*testing.T, *stage, outcome) {
	return func(t *testing.T, _ *stage, out outcome) {
		if !maps.Equal(out.live[old], want) || len(out.live) != 1 || out.told != [2]string{} {
			t.Errorf("want %v", want)
		}
	}
}

func TestItem1DifferentKeys(t *testing.T) {
	every(t, core.Options{}, one(setOther), one(setOther), wants(values{"x": 0, "n": 100, "a": 1, "b": 2}))
	every(t, core.Options{}, one(setOther, setSame), one(setOther, update), wants(values{"x": 1, "n": 110, "a": 1, "b": 2}))
	every(t, core.Options{}, one(update, save, setOther), one(setOther, save, setSame), wants(values{"x": 2, "n": 101, "a": 1, "b": 2}))
}

func TestItem2Updates(t *testing.T) {
	every(t, core.Options{}, one(update), one(update), wants(values{"x": 0, "n": 111}))
	every(t, core.Options{}, one(update, save, update), one(update), wants(values{"x": 0, "n": 112}))
	for _, kind := range stores {
		t.Run("forty at once, "+kind.name, func(t *testing.T) {
			const list core.Key[[]int] = "list"
			m, browser := withSession(t, kind.open(t), core.Options{OpTimeout: time.Minute})
			var all sync.WaitGroup
			for i := range 40 {
				all.Go(func() {
					_, err := within(m, browser.Jar("/"), func(s *core.Session) error {
						_, err := n.Update(s, adding(1))
						if err == nil {
							_, err = list.Update(s, func(l []int) []int { return append(slices.Clone(l), i) })
						}
						return err
					})
					if err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			_, err := within(m, browser.Jar("/"), func(s *core.Session) error {
				got := slices.Sorted(slices.Values(list.Get(s)))
				if n.Get(s) != 40 || len(got) != 40 || len(slices.Compact(got)) != 40 {
					t.Errorf("n is %d, %d in the list; want 40 of both", n.Get(s), len(got))
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestItem3OneKey(t *testing.T) {
	for _, p := range policies {
		every(t, core.Options{OnConflict: p.policy}, one(setSame), one(setSame), func(t *testing.T, _ *stage, out outcome) {
			refused := 0
			for i := range out.told {
				if out.told[i] == "conflict" {
					refused++
				}
			}
			got := out.live[old]["x"]
			switch {
			case got != 1 && got != 2, refused == 2, refused > 0 && p.policy != core.ConflictRefuse:
				t.Errorf("x is %d, %d refused", got, refused)
			case refused == 1 && out.told[got-1] != "":
				t.Error("the one that was refused has won")
			}
		})
	}
	const cart core.Key[map[string]int] = "cart"
	t.Run("one wins whole", func(t *testing.T) {
		m, browser := withSession(t, newMemory(t), core.Options{})
		second := browser.Jar("/")
		if _, err := within(m, browser.Jar("/"), func(s *core.Session) error {
			_, err := within(m, second, func(s *core.Session) error { return cart.Set(s, map[string]int{"b": 2}) })
			return errors.Join(err, cart.Set(s, map[string]int{"a": 1}))
		}); err != nil {
			t.Fatal(err)
		}
		_, _ = within(m, browser.Jar("/"), func(s *core.Session) error {
			if got := cart.Get(s); !maps.Equal(got, map[string]int{"a": 1}) {
				t.Errorf("the cart is %v: merged within a value", got)
			}
			return nil
		})
	})
	t.Run("KoaCompat meets what a Koa app wrote", func(t *testing.T) {
		store := storetest.NewFaulty(newMemory(t))
		var key string
		store.Before(func(_ context.Context, _ storetest.Op, k string) error { key = k; return nil })
		m, browser := withSession(t, store, *core.KoaCompat())
		if _, err := within(m, browser.Jar("/"), func(s *core.Session) error {
			// Koa's SETEX asks nobody.
			return errors.Join(store.Set(context.Background(), key, []byte(`{"cookie":{"httpOnly":true,"path":"/","overwrite":true,"signed":true,"maxAge":86400000},"n":5,"k":1}`), time.Hour), x.Set(s, 1))
		}); err != nil {
			t.Fatal(err)
		}
		_, _ = within(m, browser.Jar("/"), func(s *core.Session) error {
			if data, _ := s.JSON(); string(data) != `{"n":5,"k":1,"x":1}` {
				t.Errorf("%s", data)
			}
			return nil
		})
	})
}

func TestItem4Deletions(t *testing.T) {
	every(t, core.Options{}, one(deleteX), one(update), wants(values{"n": 110}))
	every(t, core.Options{}, one(deleteX), one(setOther), wants(values{"n": 100, "b": 2}))
	every(t, core.Options{}, one(deleteX), one(deleteX, setOther), wants(values{"n": 100, "b": 2}))
}

func TestItem5GoneMeanwhile(t *testing.T) {
	for _, end := range []act{destroy, regenerate, renew, expire, revoke} {
		every(t, core.Options{}, one(setOther), one(end), func(t *testing.T, _ *stage, out outcome) {
			if out.live[old] != nil {
				t.Error("the old id lives")
			}
			// It has met the end in the middle, or seen no session and begun
			// one, where the browser had none yet.
			if out.told[0] == "gone" && out.cookies[0][atName] != "" {
				t.Error("it was told that the session is gone, and sent a cookie")
			}
			if c := out.cookies[0][atName]; c != "" && c != old && out.live[c] == nil {
				t.Error("a cookie without a session")
			}
		})
	}
	t.Run("the response stands", func(t *testing.T) {
		var told error
		m, browser := withSession(t, newMemory(t), core.Options{Hooks: core.Hooks{Error: func(_ context.Context, e *core.Error) error {
			told = e
			return nil
		}}})
		jar := browser.Jar("/")
		_, err := within(m, jar, func(s *core.Session) error {
			return errors.Join(x.Set(s, 1), m.DestroyByID(context.Background(), s.ID()))
		})
		if err != nil || !errors.Is(told, core.ErrGone) || len(jar.SetCookies) > 0 {
			t.Errorf("the commit is %v, the hook was told %v, %d cookies", err, told, len(jar.SetCookies))
		}
	})
}

// The late request after each run is in TestOrders.
func TestItem6NewIDs(t *testing.T) {
	for _, first := range []act{renew, regenerate} {
		for _, second := range []act{renew, regenerate} {
			every(t, core.Options{}, one(first), one(second), func(t *testing.T, _ *stage, out outcome) {
				if len(out.live) > 1 || out.live[old] != nil {
					t.Error("two ids, or the old one")
				}
				if len(out.live) == 0 && out.told[0]+out.told[1] == "" && first == renew && second == renew {
					t.Error("none after two successes")
				}
			})
		}
	}
	every(t, core.Options{}, one(renew), one(), func(t *testing.T, _ *stage, out outcome) {
		if len(out.live) != 1 || out.live[old] != nil || out.cookies[1] != (cookies{}) {
			t.Error("a parallel reader has touched the cookie, or the id is wrong")
		}
	})
}

func TestItem7CookieOptionsAndTouches(t *testing.T) {
	every(t, core.Options{}, one(setCookie), one(setOther), wants(values{"x": 0, "n": 100, "b": 2, "cookie": 1}))
	every(t, core.Options{}, one(touch), one(setOther), wants(values{"x": 0, "n": 100, "b": 2}))
	every(t, core.Options{}, one(touch), one(destroy), func(t *testing.T, _ *stage, out outcome) {
		if len(out.live) > 0 {
			t.Error("revived")
		}
	})
	t.Run("a touch does not take back the life that another request chose", func(t *testing.T) {
		spy := &lifeSpy{memory: newMemory(t)}
		s := newStage(t, spy, core.Options{})
		s.orders([2]program{one(touch), one(setCookie)}, func(out outcome, path []choice) {
			want := core.DefaultMaxAge + 2*time.Hour
			if got := spy.life(s.oldKey); got < want-time.Minute || got > want {
				t.Errorf("in the order %s it lives for %v, want %v", orderOf(path), got, want)
			}
		})
	})
}

// A lifeSpy remembers how long a key was last given.
type lifeSpy struct {
	memory
	mu    sync.Mutex
	lives map[string]time.Duration
}

func (s *lifeSpy) life(key string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lives[key]
}

func (s *lifeSpy) note(key string, ttl time.Duration) {
	if s.lives == nil {
		s.lives = map[string]time.Duration{}
	}
	s.lives[key] = ttl
}

func (s *lifeSpy) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, err := s.memory.SetVersion(ctx, key, data, ttl, v)
	if err == nil {
		s.note(key, ttl)
	}
	return now, err
}

func (s *lifeSpy) Touch(ctx context.Context, key string, ttl time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.memory.Touch(ctx, key, ttl)
	if err == nil {
		s.note(key, ttl)
	}
	return err
}

// That a change after the commit is refused is shown in core, and by each adapter.
func TestItem8OneRequest(t *testing.T) {
	t.Run("eight goroutines", func(t *testing.T) {
		m, browser := withSession(t, newMemory(t), core.Options{})
		if _, err := within(m, browser.Jar("/"), func(s *core.Session) error {
			var all sync.WaitGroup
			errs := make([]error, 8)
			for i := range errs {
				all.Go(func() {
					for range 25 {
						_, err := n.Update(s, adding(1))
						errs[i] = errors.Join(errs[i], err, s.Set(fmt.Sprint("g", i), i), s.Save(context.Background()))
					}
				})
			}
			all.Wait()
			return errors.Join(errs...)
		}); err != nil {
			t.Fatal(err)
		}
		_, _ = within(m, browser.Jar("/"), func(s *core.Session) error {
			if n.Get(s) != 200 || len(s.Names()) != 9 {
				t.Errorf("n is %d, %d values", n.Get(s), len(s.Names()))
			}
			return nil
		})
	})
}

func TestItem9BeforeSaveAndGivingUp(t *testing.T) {
	t.Run("once for each commit", func(t *testing.T) {
		var hooks atomic.Int64
		store := storetest.NewFaulty(newMemory(t))
		m, browser := withSession(t, store, core.Options{Hooks: core.Hooks{BeforeSave: func(context.Context, core.Jar, *core.Session) error {
			hooks.Add(1)
			return nil
		}}})
		hooks.Store(0)
		lost := 0
		meddle(store, func() bool { lost++; return lost <= 5 })
		if _, err := within(m, browser.Jar("/"), func(s *core.Session) error { _, err := n.Update(s, adding(1)); return err }); err != nil {
			t.Fatal(err)
		}
		if hooks.Load() != 1 || lost < 6 {
			t.Errorf("BeforeSave ran %d times in %d tries", hooks.Load(), lost)
		}
	})
	t.Run("giving up is ErrConflict, and nothing is written", func(t *testing.T) {
		var told error
		store := storetest.NewFaulty(newMemory(t))
		m, browser := withSession(t, store, core.Options{OpTimeout: time.Minute, Hooks: core.Hooks{Error: func(_ context.Context, e *core.Error) error {
			told = e
			return e
		}}})
		tries := 0
		meddle(store, func() bool { tries++; return true })
		jar := browser.Jar("/")
		_, err := within(m, jar, func(s *core.Session) error { return errors.Join(x.Set(s, 1), n.Set(s, 1)) })
		store.Before(nil)
		if !errors.Is(err, core.ErrConflict) || !errors.Is(told, core.ErrConflict) || len(jar.SetCookies) > 0 || tries < 2 || tries > 100 {
			t.Errorf("%v, the hook was told %v, %d cookies, %d tries", err, told, len(jar.SetCookies), tries)
		}
		_, _ = within(m, browser.Jar("/"), func(s *core.Session) error {
			if data, _ := s.JSON(); string(data) != `{"n":0}` {
				t.Errorf("%s", data)
			}
			return nil
		})
	})
}

// meddle writes a session anew before each write of it, as long as more says.
func meddle(store *storetest.Faulty, more func() bool) {
	swapper, _ := core.As[core.Swapper](store)
	var inner atomic.Bool
	store.Before(func(ctx context.Context, op storetest.Op, key string) error {
		if op != storetest.OpSetVersion || inner.Load() || !more() {
			return nil
		}
		inner.Store(true)
		defer inner.Store(false)
		data, v, err := swapper.GetVersion(ctx, key)
		if err == nil {
			_, err = swapper.SetVersion(ctx, key, data, time.Hour, v)
		}
		return err
	})
}

func TestItem10ThreeMethods(t *testing.T) {
	plain := struct{ core.Store }{newMemory(t)}
	m, browser := withSession(t, plain, core.Options{})
	second := browser.Jar("/")
	if _, err := within(m, browser.Jar("/"), func(s *core.Session) error {
		_, err := within(m, second, func(s *core.Session) error { return s.Set("b", 2) })
		return errors.Join(err, s.Set("a", 1))
	}); err != nil {
		t.Fatal(err)
	}
	_, _ = within(m, browser.Jar("/"), func(s *core.Session) error {
		if data, _ := s.JSON(); string(data) != `{"n":0,"a":1}` {
			t.Errorf("%s, want what the last one wrote", data)
		}
		return nil
	})
	if g := m.Guarantees(); !strings.Contains(g, "last write wins") {
		t.Error(g)
	}
	if g := newManager(t, newMemory(t), core.Options{}).Guarantees(); !strings.Contains(g, "no update is lost") {
		t.Error(g)
	}
	if _, err := core.New(plain, &core.Options{Keys: [][]byte{firstKey}, OnConflict: core.ConflictMerge}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("New with a policy that the store can't give: %v", err)
	}
}

func newManager(t testing.TB, store core.Store, o core.Options) *core.Manager {
	o.Keys = [][]byte{firstKey}
	m, err := core.New(store, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// withSession is a manager and a browser with a session in which n is 0.
func withSession(t testing.TB, store core.Store, o core.Options) (*core.Manager, *jartest.Browser) {
	m := newManager(t, store, o)
	return m, visitor(t, m)
}

// within is one request without an HTTP library.
func within(m *core.Manager, jar *jartest.Jar, h func(*core.Session) error) (*core.Session, error) {
	ctx := context.Background()
	v, _ := m.NewVisit(jar, nil)
	s, err := v.Session(ctx)
	if err != nil {
		v.Abandon()
		return nil, err
	}
	if err := h(s); err != nil {
		v.Abandon()
		return s, err
	}
	return s, v.Commit(ctx)
}
