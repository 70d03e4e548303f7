package core_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// pause is how long a process stands still in these tests: longer than anything that
// a store keeps for a while.
const pause = 3 * time.Minute

// TestP15StandsStill: the process that takes a session over stands still between two
// calls while another one ends it, and then goes on for some calls more, or for good.
// No clock tells it how long that was: that of a machine that was paused does not.
func TestP15StandsStill(t *testing.T) {
	const calls = 6 // more of them take it over
	eachMove(t, func(t *testing.T, begin func() move) {
		for _, what := range []string{"Destroy", "Login"} {
			end := ends[what]
			for at, met := 1, true; met; at++ {
				for more := 0; more <= calls && met; more++ {
					m := begin()
					m.options.OpTimeout = time.Hour
					other := m.process(t, nil)
					n := 0
					met = false
					slow := m.process(t, func(after bool) error {
						if after {
							return nil
						}
						if n++; n == at {
							met = true
							if _, err := browse(t, other, m.cookies, end); err != nil {
								t.Errorf("%s before call %d: %v", what, at, err)
							}
							time.Sleep(pause)
						}
						if more < calls && n > at+more {
							return core.ErrUnavailable // it is dead
						}
						return nil
					})
					_, _ = browse(t, slow, m.cookies, func(*core.Visit, *core.Session) {})
					if met {
						m.ended(t, other, fmt.Sprintf("%s before call %d, and %d calls after that", what, at, more))
					}
				}
			}
		}
	})
}

// TestP15AnEndStandsStill: the process that ends a session stands still between two
// calls, in which others take it over.
func TestP15AnEndStandsStill(t *testing.T) {
	eachMove(t, func(t *testing.T, begin func() move) {
		all := map[string]handler{"DestroyByID": nil}
		for what, end := range ends {
			all[what] = end
		}
		for what, end := range all {
			for at, met := 1, true; met; at++ {
				for _, first := range []bool{false, true} {
					m := begin()
					m.options.OpTimeout = time.Hour
					other := m.process(t, nil)
					n := 0
					met = false
					slow := m.process(t, func(after bool) error {
						if after {
							return nil
						}
						if n++; n == at {
							met = true
							if first {
								time.Sleep(pause)
							}
							_, _ = browse(t, other, m.cookies, func(*core.Visit, *core.Session) {})
							if !first {
								time.Sleep(pause)
							}
						}
						return nil
					})
					var err error
					if end == nil {
						err = slow.DestroyByID(bg, m.id())
					} else {
						_, err = browse(t, slow, m.cookies, end)
					}
					if err != nil {
						t.Errorf("%s, before call %d: %v", what, at, err)
					}
					m.ended(t, other, fmt.Sprintf("%s, before call %d (after a pause: %v)", what, at, first))
				}
			}
		}
	})
}

// TestP15ThereAndBack: while a deploy goes in steps, processes of both kinds take one
// session to and fro. A request that is under way meanwhile loses no change, and nobody
// is logged out.
func TestP15ThereAndBack(t *testing.T) {
	t.Parallel()
	for kind, wrap := range storeKinds {
		for what, c := range map[string]struct {
			do   handler
			want int
		}{
			"a change": {count(t), 4},
			"a touch":  {func(*core.Visit, *core.Session) {}, 3},
			"Login":    {signIn(t, "ada"), 3},
			"Renew":    {func(_ *core.Visit, s *core.Session) { must(t, s.Renew(bg)) }, 3},
			"Take": {func(_ *core.Visit, s *core.Session) {
				if got, err := visits.Take(bg, s); got != 3 || err != nil {
					t.Errorf("took %d, %v", got, err)
				}
			}, 0},
		} {
			inBubble(t, kind+", "+what, func(t *testing.T) {
				first, second := memorystore.New(nil), memorystore.New(nil)
				defer first.Close()
				defer second.Close()
				o := core.Options{Keys: core.Keyring{keyA}, IdleTimeout: time.Hour}
				process := func(store, from core.Store) *core.Manager {
					o := o
					o.Migrate = core.Migration{From: from, Until: time.Now().Add(24 * time.Hour)}
					m, err := core.New(store, &o)
					must(t, err)
					t.Cleanup(func() { m.Close() })
					return m
				}
				a, b := wrap(first), wrap(second)
				before, after := process(a, b), process(b, a)
				cookies, err := browse(t, before, "", count(t))
				must(t, err)
				time.Sleep(40 * time.Minute) // a touch is due
				got, err := browse(t, after, cookies, func(v *core.Visit, s *core.Session) {
					for range 2 {
						_, err := browse(t, before, cookies, count(t))
						must(t, err)
					}
					c.do(v, s)
				})
				if err != nil {
					t.Errorf("the request fails: %v", err)
				}
				for _, p := range []*core.Manager{before, after} {
					if n := seen(t, p, got); n != c.want {
						t.Errorf("%d visits, want %d", n, c.want)
					}
				}
			})
		}
	}
}

// TestP15AHintOfALogin: with lists apart, DestroyByOwner runs between the two steps of a
// login, while sessions move: the login gets another session, which is a later one.
func TestP15AHintOfALogin(t *testing.T) {
	t.Parallel()
	for _, back := range []bool{false, true} {
		inBubble(t, fmt.Sprintf("by a process of the old place %v", back), func(t *testing.T) {
			first, second := memorystore.New(nil), memorystore.New(nil)
			defer first.Close()
			defer second.Close()
			a, b := listsApart{first}, listsApart{second}
			for at := 1; ; at++ {
				o := core.Options{Keys: core.Keyring{keyA}, Owners: true}
				process := func(store, from core.Store, hook func(key string)) *core.Manager {
					o := o
					if hook != nil {
						f := storetest.NewFaulty(store)
						f.Before(func(_ context.Context, _ storetest.Op, key string) error { hook(key); return nil })
						store = f
					}
					o.Migrate = core.Migration{From: from, Until: time.Now().Add(24 * time.Hour)}
					m, err := core.New(store, &o)
					must(t, err)
					t.Cleanup(func() { m.Close() })
					return m
				}
				other := process(b, a, nil)
				n, met := 0, false
				hook := func(string) {
					if n++; n == at {
						met = true
						must(t, other.DestroyByOwner(bg, "ada", nil))
					}
				}
				slow := process(b, a, hook)
				if back {
					slow = process(a, b, hook)
				}
				got, err := browse(t, slow, "", func(_ *core.Visit, s *core.Session) {
					must(t, s.Login(core.LoginOptions{Owner: "ada"}))
				})
				must(t, err)
				if !met {
					break
				}
				all, err := other.ListByOwner(bg, "ada", nil)
				must(t, err)
				lives := false
				_, err = browse(t, other, got, func(_ *core.Visit, s *core.Session) { lives = !s.IsNew() })
				must(t, err)
				if lives != (len(all) == 1) {
					t.Errorf("call %d: it lives: %v, but %d are listed", at, lives, len(all))
				}
				must(t, other.DestroyByOwner(bg, "ada", nil))
			}
		})
	}
}

// TestP15APointerOnItsWay: a process of the old place moves a session to its new id, or
// ends it, while one of the new place takes over what leads to it.
func TestP15APointerOnItsWay(t *testing.T) {
	t.Parallel()
	for kind, wrap := range storeKinds {
		for what, do := range map[string]handler{
			"used": count(t),
			"ended": func(_ *core.Visit, s *core.Session) {
				must(t, s.Destroy(bg))
			},
		} {
			inBubble(t, kind+", "+what, func(t *testing.T) {
				for _, after := range []bool{false, true} {
					for at, met := 1, true; met; at++ {
						old, new := memorystore.New(nil), memorystore.New(nil)
						m := move{old: wrap(old), new: wrap(new), options: core.Options{Keys: core.Keyring{keyA}, RenewAfter: time.Hour, IdleTimeout: 24 * time.Hour}}
						before, err := core.New(m.old, &m.options)
						must(t, err)
						m.cookies, err = browse(t, before, "", count(t))
						must(t, err)
						time.Sleep(time.Hour)
						next, err := browse(t, before, m.cookies, count(t))
						must(t, err)
						before.Close()
						until := time.Now().Add(24 * time.Hour)
						m.options.Migrate = core.Migration{From: m.new, Until: until}
						back, err := core.New(m.old, &m.options)
						must(t, err)
						m.options.Migrate = core.Migration{From: m.old, Until: until}
						n, over := 0, false
						met = false
						p := m.process(t, func(is bool) error {
							if is != after || over {
								return nil
							}
							if n++; n == at {
								met = true
								_, err := browse(t, back, next, do)
								must(t, err)
							}
							return nil
						})
						name := fmt.Sprintf("at call %d (after it: %v)", at, after)
						if _, err := browse(t, p, next, func(*core.Visit, *core.Session) {}); err != nil {
							t.Errorf("%s: %v", name, err)
						}
						over = true
						want := 3
						switch {
						case what == "ended":
							want = 0
						case !met:
							want = 2
						}
						for who, now := range map[string]*core.Manager{"new": p, "old": back} {
							if n := seen(t, now, next); met && n != want {
								t.Errorf("%s: a process of the %s place finds %d visits, want %d", name, who, n, want)
							}
						}
						back.Close()
						old.Close()
						new.Close()
					}
				}
			})
		}
	}
}

// TestP15AnEndInOneStore: as above, for a session that gets another form in its store,
// before each call of DestroyByID.
func TestP15AnEndInOneStore(t *testing.T) {
	t.Parallel()
	for kind, wrap := range storeKinds {
		inBubble(t, kind, func(t *testing.T) {
			for at, met := 1, true; met; at++ {
				memory := memorystore.New(nil)
				t.Cleanup(func() { memory.Close() })
				store := wrap(memory)
				must(t, store.Set(bg, "koa:sess:"+fixedID, []byte(`{"cookie":{},"visits":1}`), time.Hour))
				cookies := "koa.sid=" + fixedID + "; koa.sid.sig=" + keygrip(string(koaA), "koa.sid", fixedID)
				n := 0
				met = false
				process := func(s core.Store) *core.Manager {
					m, err := core.New(s, &core.Options{Keys: core.Keyring{keyA}, Migrate: core.Migration{Keys: core.Keyring{koaA}, Until: time.Now().Add(time.Hour)}})
					must(t, err)
					t.Cleanup(func() { m.Close() })
					return m
				}
				other, f := process(store), storetest.NewFaulty(store)
				f.Before(func(context.Context, storetest.Op, string) error {
					if n++; n == at {
						met = true
						_ = seen(t, other, cookies)
					}
					return nil
				})
				must(t, process(f).DestroyByID(bg, fixedID))
				if n := seen(t, other, cookies); n != 0 {
					t.Errorf("taken over before call %d: it lives, with %d visits", at, n)
				}
			}
		})
	}
}
