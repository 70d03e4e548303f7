package core_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
)

const flash core.Key[string] = "flash"

// take is a handler that keeps what Take returned.
func take(t *testing.T, got *[]string) handler {
	return func(_ *core.Visit, s *core.Session) {
		t.Helper()
		v, err := flash.Take(bg, s)
		must(t, err)
		*got = append(*got, v)
	}
}

// W36: a value that one request gets.
func TestW36Take(t *testing.T) {
	t.Parallel()
	t.Run("once, at once, with one more round trip", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", set(t, "flash", "hello")))
		a.ok(a.get("/", count(t)))
		a.wantCalls(map[storetest.Op]int{storetest.OpSetVersion: 2, storetest.OpGetVersion: 1})
		var got []string
		a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
			take(t, &got)(v, s)
			a.wantCalls(map[storetest.Op]int{storetest.OpSetVersion: 3, storetest.OpGetVersion: 2}) // before the commit
			take(t, &got)(v, s)
			if flash.Get(s) != "" || s.Get("visits") != 1.0 {
				t.Error("the session is not as it is stored")
			}
		})).wantCookies(t, pair)
		a.wantCalls(map[storetest.Op]int{storetest.OpSetVersion: 3, storetest.OpGetVersion: 2})
		a.ok(a.get("/", take(t, &got))).wantCookies(t, "") // and nothing is written for nothing
		a.wantCalls(map[storetest.Op]int{storetest.OpSetVersion: 3, storetest.OpGetVersion: 3})
		if !slices.Equal(got, []string{"hello", "", ""}) {
			t.Errorf("%q", got)
		}
		a.wantVisits(1)
	})
	t.Run("of this request", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", set(t, "flash", "old")))
		var got []string
		a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
			must(t, flash.Set(s, "new"))
			take(t, &got)(v, s)
			take(t, &got)(v, s)
		}))
		a.ok(a.get("/", take(t, &got)))
		a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
			must(t, s.Replace(map[string]string{"flash": "all"}))
			take(t, &got)(v, s)
		}))
		a.ok(a.get("/", take(t, &got)))
		if !slices.Equal(got, []string{"new", "", "", "all", ""}) {
			t.Errorf("%q", got)
		}
	})
	t.Run("of a new session", func(t *testing.T) {
		a := newApp(t, nil)
		var got []string
		a.ok(a.get("/", take(t, &got)))
		a.ok(a.get("/", func(v *core.Visit, s *core.Session) { must(t, flash.Set(s, "new")); take(t, &got)(v, s) })).wantCookies(t, "")
		if a.wantCalls(nil); !slices.Equal(got, []string{"", "new"}) {
			t.Errorf("%q", got)
		}
	})
	t.Run("set, saved, and taken", func(t *testing.T) {
		a := newApp(t, nil)
		var got []string
		a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
			must(t, flash.Set(s, "saved"))
			must(t, s.Save(bg))
			take(t, &got)(v, s)
		}))
		a.ok(a.get("/", take(t, &got)))
		if !slices.Equal(got, []string{"saved", ""}) {
			t.Errorf("%q", got)
		}
	})
	t.Run("updated, or changed in place, and taken", func(t *testing.T) {
		const list core.Key[[]string] = "list"
		a := newApp(t, nil)
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, list.Set(s, []string{"a"})) }))
		a.ok(a.meanwhile(func(_ *core.Visit, s *core.Session) {
			_, err := list.Update(s, func(l []string) []string { return append(l, "mine") })
			must(t, err)
		}, func(*core.Visit, *core.Session) {}))
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			_, err := list.Update(s, func(l []string) []string { return append(l, "late") })
			must(t, err)
			jar := a.browser.Jar("/")
			a.ok(a.send(jar, func(_ *core.Visit, s *core.Session) {
				_, err := list.Update(s, func(l []string) []string { return append(l, "theirs") })
				must(t, err)
			}))
			got, err := list.Take(bg, s)
			if must(t, err); !slices.Equal(got, []string{"a", "mine", "theirs", "late"}) {
				t.Errorf("%q", got)
			}
		}))
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, list.Set(s, []string{"a"})) }))
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			list.Get(s)[0] = "changed"
			got, err := list.Take(bg, s)
			if must(t, err); !slices.Equal(got, []string{"changed"}) {
				t.Errorf("%q", got)
			}
		}))
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			if got := list.Get(s); got != nil {
				t.Errorf("%q is left", got)
			}
		}))
	})
	t.Run("it saves the removal alone", func(t *testing.T) {
		hooks := 0
		a := newApp(t, &core.Options{Hooks: core.Hooks{BeforeSave: func(context.Context, core.Jar, *core.Session) error { hooks++; return nil }}})
		a.ok(a.get("/", set(t, "flash", "hello")))
		id := a.value()
		var got []string
		v, _ := a.manager.NewVisit(a.browser.Jar("/"), nil)
		s, err := v.Session(bg)
		must(t, err)
		must(t, visits.Set(s, 7))
		must(t, s.Login(core.LoginOptions{}))
		must(t, s.SetCookie(core.CookieOptions{MaxAge: time.Hour}))
		take(t, &got)(v, s)
		if s.ID() != core.ID(id) || visits.Get(s) != 7 || s.Cookie().MaxAge != time.Hour || hooks != 1 {
			t.Error("more than the removal was done, or what was to be done is forgotten")
		}
		v.Abandon() // the handler panics
		a.wantVisits(0)
		a.ok(a.get("/", take(t, &got)))
		if !slices.Equal(got, []string{"hello", ""}) {
			t.Errorf("%q", got)
		}
	})
	t.Run("and the rest is saved later", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", set(t, "flash", "hello")))
		var got []string
		a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
			count(t)(v, s)
			must(t, s.Login(core.LoginOptions{}))
			take(t, &got)(v, s)
			must(t, s.Set("more", true))
		}))
		a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
			if take(t, &got)(v, s); s.Get("more") != true || s.LoggedIn().IsZero() {
				t.Error("what came with it is lost")
			}
		}))
		if a.wantVisits(1); !slices.Equal(got, []string{"hello", ""}) {
			t.Errorf("%q", got)
		}
	})
	t.Run("errors", func(t *testing.T) {
		a := newApp(t, &core.Options{Hooks: core.Hooks{BeforeSave: func(ctx context.Context, _ core.Jar, s *core.Session) error {
			if _, err := flash.Take(ctx, s); err == nil {
				t.Error("a hook has taken a value")
			}
			return nil
		}}})
		a.ok(a.get("/", set(t, "flash", []string{"no string"})))
		var session *core.Session
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			session = s
			_, err := flash.Take(bg, s)
			wantIs(t, err, core.ErrType)
			if s.Get("flash") == nil {
				t.Error("it is gone")
			}
			if _, err := core.Key[string]("cookie").Take(bg, s); err == nil {
				t.Error("a reserved name")
			}
		})).wantCookies(t, "")
		_, err := flash.Take(bg, session)
		wantIs(t, err, core.ErrCommitted)
		a.ok(a.get("/", set(t, "flash", "hello")))
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			s.SetSaveMode(core.SaveNever)
			if _, err := flash.Take(bg, s); err == nil {
				t.Error("a value was taken with SaveNever")
			}
		}))
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			must(t, a.manager.DestroyByID(bg, core.ID(a.value())))
			_, err := flash.Take(bg, s)
			wantIs(t, err, core.ErrGone)
			_, err = flash.Take(bg, s)
			wantIs(t, err, core.ErrGone)
		})).wantCookies(t, "")
	})
	t.Run("without versions", func(t *testing.T) {
		a := newAppOn(t, plainStore{newMemory(t)}, nil)
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			must(t, flash.Set(s, "hello"))
			_, err := flash.Take(bg, s)
			wantIs(t, err, errors.ErrUnsupported) // also where it would work: a test finds it
		}))
	})
	bubble(t, "a hook that swallows errors", func(t *testing.T) {
		a := newApp(t, &core.Options{FailFast: true, Hooks: core.Hooks{Error: func(context.Context, *core.Error) error { return nil }}})
		a.ok(a.get("/", set(t, "flash", "hello")))
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			a.store.Before(failing(storetest.OpSetVersion, core.ErrRefused))
			_, err := flash.Take(bg, s)
			wantIs(t, err, core.ErrRefused)
			a.store.Before(nil)
			if v, err := flash.Take(bg, s); v != "hello" || err != nil { // the same request may try again
				t.Errorf("%q, %v", v, err)
			}
		}))
	})
}

// bubble runs a subtest in whose time nothing really waits.
func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// takers are the stores and options that have to agree.
func takers() map[string]func(t *testing.T) *app {
	return map[string]func(t *testing.T) *app{
		"merge":           func(t *testing.T) *app { return newApp(t, nil) },
		"step by step":    func(t *testing.T) *app { return newAppOn(t, stepwise(newMemory(t)), nil) },
		"refuse":          func(t *testing.T) *app { return newApp(t, &core.Options{OnConflict: core.ConflictRefuse}) },
		"last write wins": func(t *testing.T) *app { return newApp(t, &core.Options{OnConflict: core.ConflictLastWriteWins}) },
		"Koa": func(t *testing.T) *app {
			o := core.KoaCompat()
			o.Keys = [][]byte{testKey}
			return newApp(t, o)
		},
		"sealed": func(t *testing.T) *app {
			return newApp(t, &core.Options{Seal: core.Sealing{Keys: [][]byte{[]byte("a-key-of-these-tests-4f9c02b71de8")}}})
		},
		"idle timeout": func(t *testing.T) *app { return newApp(t, &core.Options{IdleTimeout: time.Hour, TouchEvery: 1}) },
	}
}

// P30: of many requests that take a value at the same time one gets it, whatever
// OnConflict says.
func TestP30OneOfManyGetsIt(t *testing.T) {
	t.Parallel()
	for name, open := range takers() {
		bubble(t, name, func(t *testing.T) {
			a := open(t)
			a.ok(a.get("/", set(t, "flash", "hello")))
			a.slow(time.Millisecond)
			var mu sync.Mutex
			got := map[string]int{}
			var all sync.WaitGroup
			for range 50 {
				jar := a.browser.Jar("/")
				all.Go(func() {
					a.ok(a.send(jar, func(_ *core.Visit, s *core.Session) {
						v, err := flash.Take(bg, s)
						mu.Lock()
						defer mu.Unlock()
						must(t, err)
						got[v]++
					}))
				})
			}
			all.Wait()
			if want := map[string]int{"hello": 1, "": 49}; !maps.Equal(got, want) {
				t.Errorf("%v", got)
			}
		})
	}
}

// P30, W36: of messages that some requests add and others take, each is seen once.
func TestP30NothingIsLostBetweenAddingAndTaking(t *testing.T) {
	t.Parallel()
	const list core.Key[[]string] = "list"
	synctest.Test(t, func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, list.Set(s, []string{"first"})) }))
		a.slow(time.Millisecond)
		var mu sync.Mutex
		var got []string
		takeAll := func(_ *core.Visit, s *core.Session) {
			v, err := list.Take(bg, s)
			must(t, err)
			mu.Lock()
			defer mu.Unlock()
			got = append(got, v...)
		}
		var all sync.WaitGroup
		want := []string{"first"}
		for i := range 30 {
			message := fmt.Sprintf("message %02d", i)
			want = append(want, message)
			adds, takes := a.browser.Jar("/"), a.browser.Jar("/")
			all.Go(func() {
				a.ok(a.send(adds, func(_ *core.Visit, s *core.Session) {
					_, err := list.Update(s, func(l []string) []string { return append(l, message) })
					must(t, err)
				}))
			})
			all.Go(func() { a.ok(a.send(takes, takeAll)) })
		}
		all.Wait()
		a.ok(a.get("/", takeAll))
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("taken %q", got)
		}
	})
}

// P30: after ErrOutcomeUnknown the request has not got it, and at most one other
// does, whether the removal came through or not, or comes late.
func TestP30AnAnswerIsLost(t *testing.T) {
	t.Parallel()
	for name, open := range takers() {
		for _, applied := range []bool{true, false} {
			bubble(t, fmt.Sprintf("%s, applied %v", name, applied), func(t *testing.T) {
				a := open(t)
				a.ok(a.get("/", set(t, "flash", "hello")))
				lost := func(_ context.Context, op storetest.Op, _ string) error {
					if op == storetest.OpSetVersion {
						return core.ErrOutcomeUnknown
					}
					return nil
				}
				e := a.get("/", func(_ *core.Visit, s *core.Session) {
					if applied {
						a.store.After(lost)
					} else {
						a.store.Before(lost)
					}
					v, err := flash.Take(bg, s)
					if wantIs(t, err, core.ErrOutcomeUnknown); v != "" {
						t.Error("the request has it")
					}
					a.store.After(nil)
					a.store.Before(nil)
				})
				if err := e.err(); err != nil && !errors.Is(err, core.ErrOutcomeUnknown) {
					t.Error(err)
				}
				var got []string
				a.ok(a.get("/", take(t, &got)))
				a.ok(a.get("/", take(t, &got)))
				if want := map[bool]string{true: "", false: "hello"}[applied]; strings.Join(got, "") != want {
					t.Errorf("%q", got)
				}
			})
		}
	}
	bubble(t, "tried again in the same request", func(t *testing.T) {
		for _, applied := range []bool{true, false} {
			a := newApp(t, nil)
			a.ok(a.get("/", set(t, "flash", "hello")))
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
				hook, reset := a.store.Before, a.store.Before
				if applied {
					hook, reset = a.store.After, a.store.After
				}
				hook(failing(storetest.OpSetVersion, core.ErrOutcomeUnknown))
				_, err := flash.Take(bg, s)
				wantIs(t, err, core.ErrOutcomeUnknown)
				reset(nil)
				v, err := flash.Take(bg, s)
				switch {
				case applied && (v != "" || err != nil): // it is out
					t.Errorf("%q, %v", v, err)
				case !applied && v != "" && err != nil:
					t.Errorf("%q, %v", v, err)
				}
			}))
		}
	})
	bubble(t, "of a save that has set it", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		a.get("/", func(_ *core.Visit, s *core.Session) {
			must(t, flash.Set(s, "hello"))
			a.store.Before(failing(storetest.OpSetVersion, core.ErrOutcomeUnknown))
			wantIs(t, s.Save(bg), core.ErrOutcomeUnknown)
			a.store.Before(nil)
			v, err := flash.Take(bg, s) // the save may still come, and another request have it
			if wantIs(t, err, core.ErrOutcomeUnknown); v != "" {
				t.Error("it was taken")
			}
		})
	})
}

// A session whose time TTLFunc finds over at a Take has ended, and nobody gets the value.
func TestKoaK37TakeOfASessionWithoutALife(t *testing.T) {
	o := core.KoaCompat()
	ends := false
	o.TTLFunc = func(*core.Session) time.Duration {
		if ends {
			return -1
		}
		return 0
	}
	a := newApp(t, o)
	a.ok(a.get("/", count(t)))
	a.get("/", func(_ *core.Visit, s *core.Session) {
		ends = true
		n, err := visits.Take(bg, s)
		if wantIs(t, err, core.ErrGone); n != 0 {
			t.Errorf("got %d", n)
		}
	})
	if ends = false; a.lives(a.id()) {
		t.Error("the session lives")
	}
}
