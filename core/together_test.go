package core_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// Options and calls that are each tested alone, together.

// TestP20WithOnConflict: a request that saves in its own way over another one's does
// not take back what that one has done to the id.
func TestP20WithOnConflict(t *testing.T) {
	for _, policy := range []core.ConflictPolicy{core.ConflictMerge, core.ConflictRefuse, core.ConflictLastWriteWins} {
		for name, wrap := range renewingStores {
			for _, used := range []bool{false, true} {
				t.Run(fmt.Sprintf("P20 policy %d, %s, the new id used %t", policy, name, used), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						o := renewingOptions()
						o.OnConflict = policy
						a := newAppOn(t, wrap(newMemory(t)), o)
						a.ok(a.get("/", count(t)))
						old := core.ID(a.value())
						time.Sleep(renewAfter)
						a.ok(a.with(old, func(v *core.Visit, s *core.Session) {
							a.ok(a.get("/", nil)).wantCookies(t, pair)
							if used {
								a.wantVisits(1)
							}
							count(t)(v, s)
						}))
						a.wantVisits(2)
						time.Sleep(renewAfter)
						a.ok(a.get("/", nil))
						a.wantVisits(2)
						a.ok(a.get("/", count(t)))
						a.wantVisits(3)
					})
				})
			}
		}
	}
	for _, policy := range []core.ConflictPolicy{core.ConflictMerge, core.ConflictRefuse, core.ConflictLastWriteWins} {
		for name, wrap := range renewingStores {
			t.Run(fmt.Sprintf("P20 policy %d, %s, loaded between the renewal and the first use", policy, name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					o := renewingOptions()
					o.OnConflict = policy
					a := newAppOn(t, wrap(newMemory(t)), o)
					a.ok(a.get("/", count(t)))
					old := core.ID(a.value())
					time.Sleep(renewAfter)
					a.ok(a.get("/", nil)).wantCookies(t, pair)
					a.ok(a.with(old, func(v *core.Visit, s *core.Session) {
						a.wantVisits(1)
						count(t)(v, s)
					}))
					for range 3 {
						time.Sleep(renewAfter)
						a.ok(a.get("/", nil))
						a.wantVisits(2)
					}
				})
			})
		}
	}
}

// TestP20LoginEndsOthers: a login ends every other session whose cookie the request
// carries, also by an id that only leads there.
func TestP20LoginEndsOthers(t *testing.T) {
	for _, used := range []bool{false, true} {
		for _, byOld := range []bool{false, true} {
			t.Run(fmt.Sprintf("P20 used %t, by the old id %t", used, byOld), func(t *testing.T) {
				onRenewing(t, func(t *testing.T, a *app, old, next core.ID) {
					if used {
						a.wantVisits(1)
					}
					mine := &app{t: t, manager: a.manager, store: a.store, browser: &jartest.Browser{}}
					mine.ok(mine.get("/", count(t)))
					id := next
					if byOld {
						id = old
					}
					a.ok(a.send(&jartest.Jar{Target: "/", Cookies: []string{signed(core.ID(mine.value())), signed(id)}}, func(_ *core.Visit, s *core.Session) {
						must(t, s.Login(core.LoginOptions{}))
						must(t, user.Set(s, "ada"))
					}))
					a.wantIDs(map[core.ID]bool{old: false, next: false, core.ID(mine.value()): false})
				})
			})
		}
	}
}

// TestP20LongRequest: the new id waits for the first use as long as the session lives.
func TestP20LongRequest(t *testing.T) {
	const idle = 30 * time.Minute
	for name, wrap := range renewingStores {
		for _, used := range []bool{false, true} {
			t.Run(fmt.Sprintf("P20 %s, used %t", name, used), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					o := renewingOptions()
					o.IdleTimeout = idle
					a := newAppOn(t, wrap(newMemory(t)), o)
					a.ok(a.get("/", count(t)))
					old, began := core.ID(a.value()), time.Now()
					for range 4 {
						time.Sleep(renewAfter / 4)
						if time.Since(began) < renewAfter {
							a.ok(a.get("/", nil))
						}
					}
					a.ok(a.with(old, func(v *core.Visit, s *core.Session) { // an upload
						a.ok(a.get("/", nil)).wantCookies(t, pair) // another tab
						if used {
							a.wantVisits(1)
						}
						time.Sleep(5 * idle)
						count(t)(v, s)
					}))
					time.Sleep(idle / 2)
					a.wantVisits(2)
				})
			})
		}
	}
}

// TestW38TogetherEvents: what happened, and nothing else, is told.
func TestW38TogetherEvents(t *testing.T) {
	kinds := []core.EventKind{}
	hook := func(_ context.Context, e core.Event) { kinds = append(kinds, e.Kind) }
	want := func(t *testing.T, want ...core.EventKind) {
		t.Helper()
		if !slices.Equal(kinds, want) {
			t.Errorf("events %q, want %q", kinds, want)
		}
		kinds = nil
	}
	t.Run("W38 RenewAfter alone saves nothing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o := renewingOptions()
			o.Hooks.Event = hook
			a := newApp(t, o)
			a.ok(a.get("/", count(t)))
			want(t, core.EventCreated)
			time.Sleep(renewAfter)
			a.ok(a.get("/", nil))
			want(t, core.EventLoaded, core.EventRenewed)
			a.ok(a.get("/", nil))
			want(t, core.EventLoaded)
			time.Sleep(renewAfter)
			a.ok(a.get("/", count(t)))
			want(t, core.EventLoaded, core.EventRenewed, core.EventSaved)
		})
	})
	t.Run("W38 a cookie that is sent again saves nothing", func(t *testing.T) {
		a := newApp(t, &core.Options{Hooks: core.Hooks{Event: hook}})
		a.ok(a.get("/", count(t)))
		want(t, core.EventCreated)
		must(t, a.manager.RotateKeys([][]byte{[]byte("aE9vJ3nQ7xR2bK5tM8cL1dH6sW4fP0yG"), testKey}))
		a.ok(a.get("/", nil)).wantCookies(t, pair)
		want(t, core.EventLoaded)
	})
	t.Run("W38 a visit by id is not abandoned when it returns", func(t *testing.T) {
		a := newApp(t, &core.Options{Hooks: core.Hooks{Event: hook}})
		a.ok(a.get("/", count(t)))
		id := core.ID(a.value())
		want(t, core.EventCreated)
		must(t, a.manager.VisitByID(bg, id, func(s *core.Session) error { return visits.Set(s, 7) }))
		want(t, core.EventSaved)
		must(t, a.manager.VisitByID(bg, id, func(s *core.Session) error { return nil }))
		want(t)
		wantIs(t, a.manager.VisitByID(bg, id, func(s *core.Session) error { return core.ErrGone }), core.ErrGone)
		want(t)
	})
}

// TestP20Migrate: processes of the other form find a session that was renewed.
func TestP20Migrate(t *testing.T) {
	for _, used := range []bool{false, true} {
		t.Run(fmt.Sprint("P20 used ", used), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newMemory(t)
				until := time.Now().Add(100 * day)
				o := renewingOptions()
				o.Migrate = core.Migration{Keys: [][]byte{[]byte("koa")}, Until: until}
				ours := newAppOn(t, store, o)
				k := core.KoaCompat()
				k.Keys = [][]byte{[]byte("koa")}
				k.Migrate = core.Migration{Keys: [][]byte{testKey}, Until: until}
				koa := newAppOn(t, store, k)
				koa.browser = ours.browser
				ours.ok(ours.get("/", count(t)))
				time.Sleep(renewAfter)
				ours.ok(ours.get("/", nil))
				if used {
					ours.wantVisits(1)
				}
				koa.wantVisits(1)
				ours.wantVisits(1)
			})
		})
	}
}

// TestP20NotMovedYet: an id that could not be settled is not renewed in its turn.
func TestP20NotMovedYet(t *testing.T) {
	onRenewing(t, func(t *testing.T, a *app, old, next core.ID) {
		time.Sleep(renewAfter)
		refuse := true
		a.store.Before(func(_ context.Context, op storetest.Op, _ string) error {
			if op != storetest.OpGetVersion && refuse {
				return core.ErrRefused
			}
			return nil
		})
		a.ok(a.with(next, func(*core.Visit, *core.Session) { refuse = false })) // the answer is lost
		a.store.Before(nil)
		a.wantVisits(1)
		a.ok(a.with(next, func(_ *core.Visit, s *core.Session) {
			if visits.Get(s) != 1 {
				t.Error("lost")
			}
		}))
	})
}

// TestW33TTLFuncPanics: code of the user that panics while a request runs does so in
// that request.
func TestW33TTLFuncPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var panics atomic.Bool
		o := core.KoaCompat()
		o.Rolling = true
		o.TTLFunc = func(*core.Session) time.Duration {
			if panics.Load() {
				panic("mine")
			}
			return time.Hour
		}
		a := newApp(t, o)
		a.ok(a.get("/", count(t)))
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic in the request")
				}
			}()
			a.get("/", func(v *core.Visit, s *core.Session) {
				panics.Store(true)
				time.Sleep(2 * time.Hour)
				count(t)(v, s)
			})
		}()
	})
}

// TestP20ObserveTwice: a store that is observed twice tells both.
func TestP20ObserveTwice(t *testing.T) {
	calls := [2]int{}
	around := func(i int) func(ctx context.Context, method string) (context.Context, func(error)) {
		return func(ctx context.Context, _ string) (context.Context, func(error)) {
			calls[i]++
			return ctx, nil
		}
	}
	o := renewingOptions()
	o.Keys = [][]byte{testKey}
	m, err := core.New(core.Observe(core.Observe(newMemory(t), around(0)), around(1)), o)
	must(t, err)
	defer m.Close()
	b := &jartest.Browser{}
	for range 3 {
		e := serve(t, m, b.Jar("/"), func(v *core.Visit, s *core.Session) { count(t)(v, s); must(t, s.Login(core.LoginOptions{})) })
		must(t, e.err())
		b.Take("/", e.jar.SetCookies...)
	}
	if calls[0] != calls[1] || calls[0] != 5 {
		t.Errorf("%v", calls)
	}
}

// TestW33HeldWithoutTouch: a session that somebody holds while it is loaded, on a store
// that can't touch.
func TestW33HeldWithoutTouch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := newMemory(t)
		a := newAppOn(t, struct {
			core.Store
			core.Batcher
		}{memory, memory}, &core.Options{IdleTimeout: 30 * time.Minute})
		var key string
		a.store.Before(func(_ context.Context, _ storetest.Op, k string) error { key = k; return nil })
		a.ok(a.get("/", count(t)))
		for range 3 {
			time.Sleep(20 * time.Minute)
			_, _, err := memory.Append(bg, key, []byte("                                "))
			must(t, err)
			a.ok(a.get("/", func(*core.Visit, *core.Session) { time.Sleep(time.Hour) }))
		}
		a.wantVisits(1)
	})
}

// TestP20CookieEnds: where the session moves to its new id, its life begins anew in the
// store, and so it does in the browser.
func TestP20CookieEnds(t *testing.T) {
	for name, o := range map[string]func() *core.Options{
		"idle": func() *core.Options { return &core.Options{RenewAfter: renewAfter, IdleTimeout: 30 * time.Minute} },
		"each save": func() *core.Options {
			return &core.Options{RenewAfter: renewAfter, Cookie: core.CookieOptions{MaxAge: 30 * time.Minute}}
		},
	} {
		for kind, wrap := range renewingStores {
			t.Run("P20 "+name+", "+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a := newAppOn(t, wrap(newMemory(t)), o())
					a.ok(a.get("/", count(t)))
					old := a.value()
					for a.value() == old {
						time.Sleep(renewAfter / 6)
						a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, visits.Set(s, time.Now().Minute())) }))
					}
					time.Sleep(20 * time.Minute)
					a.ok(a.get("/", nil)) // the first use
					id := core.ID(a.value())
					time.Sleep(20 * time.Minute)
					if a.value() == "" && a.lives(id) {
						t.Error("the cookie has ended before the session")
					}
					time.Sleep(10 * time.Minute)
					if a.value() != "" || a.lives(id) {
						t.Error("the session has not ended")
					}
				})
			})
		}
	}
}

// TestP20LostBeforeTheEnd: where the answer with the new id is lost while the cookie of
// the old one is about to end, the next answer prolongs that, also within RenewGrace and
// TouchEvery. If the new id has come after all, it counts.
func TestP20LostBeforeTheEnd(t *testing.T) {
	for name, o := range map[string]core.Options{
		"idle":      {IdleTimeout: 30 * time.Minute},
		"each save": {Cookie: core.CookieOptions{MaxAge: 30 * time.Minute}},
	} {
		act := map[string]handler{"idle": nil, "each save": count(t)}[name]
		for kind, wrap := range renewingStores {
			for _, lost := range []bool{true, false} {
				t.Run(fmt.Sprintf("P20 %s, %s, lost %t", name, kind, lost), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						o := o
						o.RenewAfter = 25 * time.Minute
						a := newAppOn(t, wrap(newMemory(t)), &o)
						a.ok(a.get("/", count(t)))
						old := a.value()
						time.Sleep(30*time.Minute - 10*time.Second)
						beside := a.browser.Jar("/")
						answer := a.ok(a.send(a.browser.Jar("/"), act)).jar.SetCookies
						if !lost {
							a.browser.Take("/", answer...)
						}
						time.Sleep(5 * time.Second)
						e := a.ok(a.send(beside, act)) // it has the old id
						a.browser.Take("/", e.jar.SetCookies...)
						time.Sleep(29 * time.Minute)
						a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
							if visits.Get(s) == 0 {
								t.Error("the user is logged out")
							}
						}))
						time.Sleep(time.Minute)
						a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
							if visits.Get(s) == 0 || a.value() == old {
								t.Errorf("visits %d, by the old id: %t", visits.Get(s), a.value() == old)
							}
						}))
					})
				})
			}
		}
	}
}

// TestW38AStoreHookThatPanics: a hook that looks at the session of an event that has
// none does not end the process while the store is down.
func TestW38AStoreHookThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kinds, log := []core.EventKind{}, new(bytes.Buffer)
		a := newApp(t, &core.Options{
			Logger: slog.New(slog.NewTextHandler(log, nil)),
			Hooks: core.Hooks{Event: func(_ context.Context, e core.Event) {
				if kinds = append(kinds, e.Kind); e.Session == nil {
					panic("no session")
				}
			}},
		})
		a.store.Down()
		synctest.Wait()
		a.store.Up()
		synctest.Wait()
		a.ok(a.get("/", count(t)))
		if want := []core.EventKind{core.EventStoreDown, core.EventStoreUp, core.EventCreated}; !slices.Equal(kinds, want) {
			t.Errorf("events %q, want %q", kinds, want)
		}
		if !strings.Contains(log.String(), "panic=string") {
			t.Errorf("log: %s", log)
		}
	})
}

// TestP20FullStore: a store that is full goes on to renew the sessions that it has.
func TestP20FullStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memorystore.New(&memorystore.Options{MaxEntries: 1})
		defer store.Close()
		a := newAppOn(t, store, renewingOptions())
		a.ok(a.get("/", count(t)))
		for n := 1; n < 5; n++ {
			id := a.value()
			time.Sleep(renewAfter)
			a.ok(a.get("/", nil))
			if a.value() == id {
				t.Error("not renewed")
			}
			a.wantVisits(n)
			a.ok(a.get("/", count(t)))
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Login(core.LoginOptions{})) }))
			if store.Len() != 1 {
				t.Errorf("%d sessions", store.Len())
			}
		}
	})
}

// TestP20Carriers: a client that carries its id in a header field, or as its own
// Carrier has it, keeps the session.
func TestP20Carriers(t *testing.T) {
	for name, carrier := range map[string]core.Carrier{"Header": core.Header("X-Session"), "its own": struct{ core.Carrier }{core.Header("X-Session")}} {
		for _, mode := range []core.SaveMode{core.SaveIfChanged, core.SaveAlways} {
			for _, deferred := range []bool{false, true} {
				t.Run(fmt.Sprintf("P20 %s, mode %d, deferred %t", name, mode, deferred), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						o := renewingOptions()
						o.Carrier, o.Defer = carrier, deferred
						a := newApp(t, o)
						id := ""
						request := func(id string, h handler) string {
							t.Helper()
							jar := &jartest.Jar{Target: "/", Request: textproto.MIMEHeader{"X-Session": {id}}}
							a.ok(a.send(jar, func(v *core.Visit, s *core.Session) {
								s.SetSaveMode(mode)
								h(v, s)
							}))
							return jar.ResponseHeader("X-Session")
						}
						id = request("", count(t))
						for n := 1; n < 5; n++ {
							time.Sleep(renewAfter)
							old := id
							next := request(old, func(*core.Visit, *core.Session) {})
							if next == old || next == "" {
								t.Fatalf("not renewed")
							}
							if got := request(old, func(*core.Visit, *core.Session) {}); got != "" && got != next {
								t.Error("the old id is sent")
							}
							request(next, func(_ *core.Visit, s *core.Session) {
								if visits.Get(s) != n {
									t.Errorf("visits = %d, want %d", visits.Get(s), n)
								}
							})
							if got := request(old, count(t)); got != "" && got != next {
								t.Error("the old id is sent")
							}
							id = next
						}
						time.Sleep(grace)
						old := id
						id = request(old, func(_ *core.Visit, s *core.Session) { must(t, s.Login(core.LoginOptions{})) })
						a.wantIDs(map[core.ID]bool{core.ID(old): false, core.ID(id): true})
					})
				})
			}
		}
	}
}

// TestP20SealRotation: an id that is renewed of itself while the keys of Options.Seal
// rotate in two steps. Whenever the second step comes, nothing is lost, and after the
// next write the record needs the first key only.
func TestP20SealRotation(t *testing.T) {
	oldKey, newKey := []byte("aE9vJ3nQ7xR2bK5tM8cL1dH6sW4fP0yG"), []byte("q8Wd2LxN7vKb4Rz0Tj6Yh1Mc9Fs3Pg5E")
	for kind, wrap := range renewingStores {
		for rotated := range 4 { // before: the renewal, the first use, the write, never
			for _, used := range []bool{false, true} {
				for _, byOld := range []bool{false, true} {
					t.Run(fmt.Sprintf("P20 P28 %s, rotated before step %d, used %t, written by the old id %t", kind, rotated, used, byOld), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							o := func(keys ...[]byte) *core.Options {
								o := renewingOptions()
								o.Seal.Keys = keys
								o.Hooks.Error = func(_ context.Context, e *core.Error) error {
									t.Error(e)
									return e
								}
								return o
							}
							store := wrap(newMemory(t))
							oldOnly := o(oldKey)
							oldOnly.Hooks.Error = nil
							before, first, second, last := newAppOn(t, store, oldOnly), newAppOn(t, store, o(oldKey, newKey)), newAppOn(t, store, o(newKey, oldKey)), newAppOn(t, store, o(newKey))
							b := before.browser
							at := func(step int) *app {
								a := first
								if step >= rotated {
									a = second
								}
								a.browser = b
								return a
							}
							before.ok(before.get("/", count(t)))
							old := core.ID(before.value())
							time.Sleep(renewAfter)
							at(0).ok(at(0).get("/", nil)).wantCookies(t, pair)
							next := core.ID(before.value())
							if used {
								at(1).wantVisits(1)
							}
							by := next
							if byOld {
								by = old
							}
							at(2).ok(at(2).with(by, count(t)))
							if rotated == 3 { // it is sealed with the old key still: nothing may be removed yet
								if !before.lives(next) {
									t.Error("the old key does not open it")
								}
								return
							}
							for _, id := range []core.ID{old, next} {
								if text, err := before.manager.GetByID(bg, id); err == nil {
									t.Errorf("the old key opens it: %s", text)
								}
							}
							last.browser = b
							last.wantIDs(map[core.ID]bool{old: true, next: true})
							last.ok(last.with(old, func(_ *core.Visit, s *core.Session) {
								if visits.Get(s) != 2 {
									t.Errorf("by the old id visits = %d", visits.Get(s))
								}
							}))
							last.wantVisits(2) // which uses the new id
							time.Sleep(grace)
							last.wantIDs(map[core.ID]bool{old: false, next: true})
							time.Sleep(renewAfter)
							last.ok(last.get("/", count(t)))
							last.wantVisits(3)
							last.wantIDs(map[core.ID]bool{next: true, core.ID(last.value()): true})
						})
					})
				}
			}
		}
	}
}

// TestP18RememberedOverRenewals: what a login has asked to be remembered goes on over
// new ids, in the store and in the browser, to the end of RememberFor from the login,
// and is forgotten at the next login without it.
func TestP18RememberedOverRenewals(t *testing.T) {
	const remember = 10*renewAfter + 1500*time.Millisecond
	for kind, wrap := range renewingStores {
		for what, act := range map[string]handler{"read": nil, "written": count(t)} {
			for _, again := range []bool{false, true} {
				t.Run(fmt.Sprintf("P18 P20 %s, %s, logged in again %t", kind, what, again), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						o := &core.Options{RenewAfter: renewAfter, IdleTimeout: 30 * time.Minute, AbsoluteTimeout: 4 * renewAfter, RememberFor: remember}
						a := newAppOn(t, wrap(newMemory(t)), o)
						a.ok(a.get("/", count(t)))
						login := time.Now()
						a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
							must(t, s.Login(core.LoginOptions{Remember: true}))
							must(t, user.Set(s, "ada"))
						}))
						end := login.Add(remember)
						check := func(e *exchange, want string) {
							t.Helper()
							for _, line := range e.jar.SetCookies {
								c, err := http.ParseSetCookie(line)
								must(t, err)
								if c.Expires.Unix() > 0 && !c.Expires.Equal(end.Truncate(time.Second)) {
									t.Errorf("%s ends at %v, want %v", c.Name, c.Expires, end)
								}
							}
							a.wantUser(want)
						}
						ids := map[string]bool{}
						for i := range 9 {
							time.Sleep(renewAfter)
							if i%3 == 1 { // the answer with the new id is lost
								a.ok(a.send(a.browser.Jar("/"), act))
							}
							check(a.ok(a.get("/", act)), "ada")
							ids[a.value()] = true
						}
						if len(ids) < 5 {
							t.Errorf("%d ids", len(ids))
						}
						id := core.ID(a.value())
						if again {
							e := a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Login(core.LoginOptions{})) }))
							end, id = time.Now().Add(30*time.Minute), core.ID(a.value())
							check(e, "ada")
						}
						time.Sleep(time.Until(end) - time.Millisecond)
						if !a.lives(id) {
							t.Error("it has ended too early")
						}
						time.Sleep(time.Millisecond)
						if a.lives(id) || a.browser.Cookie("/") != "" {
							t.Errorf("in the store %t, in the browser %q after the end", a.lives(id), a.browser.Cookie("/"))
						}
					})
				})
			}
		}
	}
}

// TestP18ClosesWithCopies: a session that is to end with the browser has no copy of its
// id that stays.
func TestP18ClosesWithCopies(t *testing.T) {
	acts := map[string]handler{
		"SetLifetime": func(_ *core.Visit, s *core.Session) {
			must(t, s.SetLifetime(core.Lifetime{UntilBrowserCloses: true}))
		},
		"SetCookie": func(_ *core.Visit, s *core.Session) {
			must(t, s.SetCookie(core.CookieOptions{MaxAge: core.UntilBrowserCloses}))
		},
	}
	for what, act := range acts {
		for name, ids := range map[string]string{"a login": "l", "a renewal": "r", "both": "lr", "a login, at a renewal": "l!", "both, at a renewal": "lr!"} {
			t.Run(fmt.Sprintf("P18 %s after %s", what, name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a := newApp(t, &core.Options{RenewAfter: renewAfter})
					shut := &jartest.Browser{} // what is left when the browser is closed
					get := func(h handler) {
						t.Helper()
						e := a.ok(a.get("/", h))
						for _, line := range e.jar.SetCookies {
							if !strings.Contains(line, "; expires=") {
								line += "; expires=Thu, 01 Jan 1970 00:00:00 GMT"
							}
							shut.Take("/", line)
						}
					}
					get(count(t))
					for _, c := range ids {
						switch c {
						case 'l':
							get(func(_ *core.Visit, s *core.Session) { must(t, s.Login(core.LoginOptions{})) })
						case 'r':
							time.Sleep(renewAfter)
							get(nil)
						case '!':
							time.Sleep(renewAfter)
						}
					}
					if shut.Cookie("/") == "" {
						t.Error("nothing stays: the test shows nothing")
					}
					get(act)
					a.wantVisits(1)
					time.Sleep(grace) // an id from before a renewal
					a.browser = shut
					a.wantVisits(0)
				})
			})
		}
	}
}

// TestP20StoppedBeforeTheRest: on a store without a step for two keys, where a process
// dies between the last two steps of a renewed id, the old one ends all the same, soon
// after somebody has brought it.
func TestP20StoppedBeforeTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := renewingOptions()
		o.RenewGrace = time.Minute
		a := newAppOn(t, stepwise(newMemory(t)), o)
		a.ok(a.get("/", count(t)))
		old := cookiesOf(a.browser)
		time.Sleep(renewAfter)
		a.ok(a.get("/", nil))
		steps := 0
		a.store.Before(func(_ context.Context, op storetest.Op, _ string) error {
			if op == storetest.OpSetVersion {
				if steps++; steps == 3 {
					return core.ErrRefused
				}
			}
			return nil
		})
		a.ok(a.get("/", nil)) // brings the new id
		a.store.Before(nil)
		if steps != 3 {
			t.Fatalf("%d steps, want 3", steps)
		}
		visited := func(b *jartest.Browser) (n int) {
			a.ok(a.send(b.Jar("/"), func(_ *core.Visit, s *core.Session) { n = visits.Get(s) }))
			return n
		}
		writes := a.store.Calls(storetest.OpSetVersion)
		for range 3 {
			if visited(old) != 1 {
				t.Error("the old id does not lead to the session in its rest")
			}
		}
		if n := a.store.Calls(storetest.OpSetVersion) - writes; n != 1 {
			t.Errorf("%d writes, want that of the rest", n)
		}
		time.Sleep(o.RenewGrace + time.Second)
		if visited(old) != 0 {
			t.Error("the old id leads on")
		}
		a.wantVisits(1)
	})
}
