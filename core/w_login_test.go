package core_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

// A login, Renew or Reset beside writers that never stop (P4, W2): on a store that
// can append it needs at most four calls, its load included.
func TestW2WritersCantHinderALogin(t *testing.T) {
	ends := map[string]handler{
		"Login":   signIn(t, "ada"),
		"Renew":   func(_ *core.Visit, s *core.Session) { must(t, s.Renew(bg)) },
		"Reset":   func(_ *core.Visit, s *core.Session) { must(t, s.Reset(bg)) },
		"Destroy": func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) },
	}
	for name, h := range ends {
		t.Run(name, func(t *testing.T) {
			for _, policy := range []core.ConflictPolicy{core.ConflictMerge, core.ConflictRefuse, core.ConflictLastWriteWins} {
				synctest.Test(t, func(t *testing.T) {
					a := newApp(t, &core.Options{OnConflict: policy})
					other, err := core.New(a.store, &core.Options{Keys: [][]byte{testKey}}) // another process
					must(t, err)
					defer other.Close()
					a.ok(a.get("/", count(t)))
					old := core.ID(a.value())
					jars := make([]*jartest.Jar, 9)
					for i := range jars {
						jars[i] = a.browser.Jar("/")
					}
					a.slow(2 * time.Millisecond)
					var wg sync.WaitGroup
					stop := make(chan struct{})
					var saved atomic.Int64
					for i, jar := range jars[:8] {
						wg.Go(func() {
							for {
								select {
								case <-stop:
									return
								default:
								}
								m := a.manager
								if i%2 == 0 {
									m = other
								}
								if e := serve(t, m, &jartest.Jar{Cookies: jar.Cookies}, set(t, "w", i)); e.err() == nil {
									saved.Add(1)
								}
							}
						})
					}
					time.Sleep(20 * time.Millisecond)
					type mine struct{}
					calls := 0
					a.store.Before(func(ctx context.Context, _ storetest.Op, _ string) error {
						if ctx.Value(mine{}) != nil {
							calls++
						}
						time.Sleep(2 * time.Millisecond)
						return nil
					})
					v, _ := a.manager.NewVisit(jars[8], nil)
					ctx := core.NewContext(context.WithValue(bg, mine{}, true), v)
					s, err := v.Session(ctx)
					must(t, err)
					if name == "Login" {
						h(v, s)
						must(t, v.Commit(ctx))
					} else {
						switch name {
						case "Renew":
							must(t, s.Renew(ctx))
						case "Reset":
							must(t, s.Reset(ctx))
						case "Destroy":
							must(t, s.Destroy(ctx))
						}
						must(t, v.Commit(ctx))
					}
					close(stop)
					wg.Wait()
					a.store.Before(nil)
					if calls > 4 {
						t.Errorf("%d calls", calls)
					}
					if a.lives(old) {
						t.Error("the old id lives")
					}
					if saved.Load() == 0 {
						t.Error("nobody has written")
					}
				})
			}
		})
	}
}

// The answer of a login gets lost: the next form and login work at once, and a late
// request that was under way does not take the new cookie away (P3, W3).
func TestW3AnAnswerIsLost(t *testing.T) {
	const csrf core.Key[string] = "csrf"
	form := func(_ *core.Visit, s *core.Session) {
		if csrf.Get(s) == "" {
			must(t, csrf.Set(s, "token"))
		}
	}
	login := func(_ *core.Visit, s *core.Session) {
		if csrf.Get(s) != "token" {
			t.Error("the token of the form is not there")
		}
		must(t, s.Login(core.LoginOptions{}))
		must(t, user.Set(s, "ada"))
	}
	for _, after := range []time.Duration{0, 500 * time.Millisecond, 2 * time.Second, 5 * time.Second, time.Minute, time.Hour} {
		for _, o := range []*core.Options{{}, {Defer: true}, {Cookie: core.CookieOptions{Signed: core.Off}}} {
			t.Run(after.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a := newApp(t, o)
					a.ok(a.get("/", form))
					late := a.browser.Jar("/")
					a.ok(a.send(a.browser.Jar("/"), login)) // the answer is lost
					time.Sleep(after)
					a.ok(a.get("/", form))
					a.ok(a.get("/", login))
					a.wantUser("ada")
					if after >= time.Minute { // it is not late any more
						return
					}
					a.ok(a.send(late, set(t, "late", true)))
					a.browser.Take("/", late.SetCookies...)
					a.wantUser("ada")
				})
			})
		}
	}
	t.Run("a request that began before the login and runs for hours", func(t *testing.T) {
		for _, o := range []*core.Options{{}, {Defer: true}} {
			synctest.Test(t, func(t *testing.T) {
				a := newApp(t, o)
				a.ok(a.get("/", count(t)))
				before := a.browser.Jar("/")
				v, _ := a.manager.NewVisit(before, nil)
				ctx := core.NewContext(bg, v)
				must(t, v.Begin(ctx))
				a.ok(a.get("/", signIn(t, "ada")))
				after := &jartest.Jar{Cookies: before.Cookies}
				w, _ := a.manager.NewVisit(after, nil)
				must(t, w.Begin(core.NewContext(bg, w)))
				_, err := w.Session(bg)
				must(t, err)
				time.Sleep(3 * time.Hour)
				for _, v := range []*core.Visit{v, w} {
					s, err := v.Session(ctx)
					must(t, err)
					must(t, s.Set("late", true))
					if err := v.Commit(ctx); err != nil && !errors.Is(err, core.ErrGone) {
						t.Error(err)
					}
				}
				a.browser.Take("/", before.SetCookies...)
				a.browser.Take("/", after.SetCookies...)
				a.wantUser("ada")
			})
		}
	})
}

// Old and new processes side by side, in every mixture of two neighbouring steps
// (W9): nobody is logged out.
func TestW9KeysAreRotatedInTwoSteps(t *testing.T) {
	a, b := []byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA"), []byte("q8Wd2LxN7vKb4Rz0Tj6Yh1Mc9Fs3Pg5E")
	steps := [][][]byte{{a}, {a, b}, {b, a}, {b}}
	store := newMemory(t)
	process := func(keys [][]byte) *core.Manager {
		m, err := core.New(store, &core.Options{Keys: keys})
		must(t, err)
		t.Cleanup(func() { m.Close() })
		return m
	}
	browser := &jartest.Browser{}
	get := func(m *core.Manager, h handler) {
		t.Helper()
		jar := browser.Jar("/")
		e := serve(t, m, jar, h)
		must(t, e.err())
		browser.Take("/", jar.SetCookies...)
	}
	get(process(steps[0]), signIn(t, "ada"))
	check := func(_ *core.Visit, s *core.Session) {
		t.Helper()
		if user.Get(s) != "ada" {
			t.Error("logged out")
		}
	}
	for i := 1; i < len(steps); i++ {
		older, newer := process(steps[i-1]), process(steps[i])
		for range 2 {
			for _, m := range []*core.Manager{older, newer, newer, older} {
				get(m, check)
				get(m, signIn(t, "ada"))
				get(m, check)
			}
		}
		if i == 2 { // every browser comes once before the old key goes
			get(newer, check)
		}
		get(newer, check)
	}
	// In one step a process that does not know the key sees nobody, and leaves the
	// cookie alone.
	old, latest := process([][]byte{a}), process([][]byte{b})
	for range 3 {
		jar := browser.Jar("/")
		e := serve(t, old, jar, func(_ *core.Visit, s *core.Session) {
			if !s.IsNew() {
				t.Error("a signature by an unknown key is accepted")
			}
		})
		must(t, e.err())
		e.wantCookies(t, "")
		get(latest, check)
	}
}

// A server that has no memory left: a logout works, by one removal or, without a
// Batcher, without its tombstone (P12).
func TestP12ALogoutWorksOnAFullServer(t *testing.T) {
	full := func(_ context.Context, op storetest.Op, _ string) error {
		if op == storetest.OpSet || op == storetest.OpSetVersion || op == storetest.OpAppend {
			return core.ErrRefused
		}
		return nil
	}
	for name, store := range map[string]core.Store{"one step": newMemory(t), "two steps": stepwise(newMemory(t)), "plain": plainStore{newMemory(t)}} {
		t.Run(name, func(t *testing.T) {
			a := newAppOn(t, store, nil)
			a.ok(a.get("/", count(t)))
			id := core.ID(a.value())
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
				a.store.Before(full)
				must(t, s.Destroy(bg))
			}))
			a.store.Before(nil)
			if a.lives(id) {
				t.Error("the session lives")
			}
			// Also where another request has saved it meanwhile, just before that.
			a.ok(a.get("/", count(t)))
			id = core.ID(a.value())
			jar := a.browser.Jar("/")
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
				a.ok(a.send(jar, count(t)))
				a.store.Before(full)
				must(t, s.Destroy(bg))
			}))
			a.store.Before(nil)
			if a.lives(id) {
				t.Error("the session that was saved meanwhile lives")
			}
		})
	}
}
