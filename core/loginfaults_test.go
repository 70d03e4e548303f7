package core_test

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
)

// beside sends a request in whose middle another one of the same browser renews,
// and returns what its response does to the browser.
func (a *app) beside(h, other handler) *exchange {
	a.t.Helper()
	return a.send(a.browser.Jar("/"), func(v *core.Visit, s *core.Session) {
		a.t.Helper()
		a.ok(a.get("/", func(v *core.Visit, s *core.Session) { other(v, s) }))
		h(v, s)
	})
}

// A login that does not get the old session has nothing of it, also not through
// an Update (P1).
func TestLoginUpdatesNothingLoaded(t *testing.T) {
	a := newApp(t, nil)
	a.ok(a.get("/", count(t)))
	a.ok(a.get("/", count(t)))
	var alone core.ID
	a.send(a.browser.Jar("/"), func(_ *core.Visit, s *core.Session) {
		_, err := visits.Update(s, func(n int) int { return n + 10 })
		must(t, err)
		must(t, s.Login(core.LoginOptions{}))
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Renew(bg)) }))
		must(t, s.Save(bg))
		alone = s.ID()
	})
	if got, err := a.manager.GetByID(bg, alone); err != nil || string(got) != `{"visits":10}` {
		t.Errorf("it has %s, %v", got, err)
	}
}

func TestLoginDropValuesDropsWhatWasUpdated(t *testing.T) {
	a := newApp(t, nil)
	a.ok(a.get("/", count(t)))
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		_, err := visits.Update(s, func(n int) int { return n + 10 })
		must(t, err)
		must(t, s.Login(core.LoginOptions{DropValues: true}))
	}))
	a.wantVisits(10)
}

// What a login keeps that goes without the loaded values is what the request would
// have made of an empty session, whether it has saved some of it before or not (P1).
func TestLoginKeepsWhatThisRequestSaved(t *testing.T) {
	const x, y core.Key[int] = "x", "y"
	const list core.Key[[]int] = "list"
	add := func(t *testing.T, k core.Key[int], s *core.Session) {
		_, err := k.Update(s, func(n int) int { return n + 1 })
		must(t, err)
	}
	push := func(t *testing.T, s *core.Session, n int) {
		_, err := list.Update(s, func(l []int) []int { return append(l, n) })
		must(t, err)
	}
	cases := map[string]struct {
		do   func(t *testing.T, a *app, s *core.Session, save func())
		want string
	}{
		"set": {func(t *testing.T, _ *app, s *core.Session, save func()) {
			must(t, x.Set(s, 5))
			save()
		}, `{"x":5}`},
		"set, update": {func(t *testing.T, _ *app, s *core.Session, save func()) {
			must(t, x.Set(s, 5))
			save()
			add(t, x, s)
		}, `{"x":6}`},
		"updates": {func(t *testing.T, _ *app, s *core.Session, save func()) {
			add(t, x, s)
			save()
			add(t, x, s)
			save()
			add(t, x, s)
		}, `{"x":3}`},
		"set to what it was": {func(t *testing.T, _ *app, s *core.Session, save func()) {
			must(t, x.Set(s, 100))
			save()
		}, `{"x":100}`},
		"update, deleted": {func(t *testing.T, _ *app, s *core.Session, save func()) {
			add(t, x, s)
			save()
			must(t, x.Delete(s))
			save()
			must(t, y.Set(s, 1))
		}, `{"y":1}`},
		"a slice": {func(t *testing.T, _ *app, s *core.Session, save func()) {
			push(t, s, 1)
			save()
			push(t, s, 2)
		}, `{"list":[1,2]}`},
		"changed in place": {func(t *testing.T, _ *app, s *core.Session, save func()) {
			mine := []int{1}
			must(t, list.Set(s, mine))
			save()
			mine[0] = 2
		}, `{"list":[2]}`},
		"replaced": {func(t *testing.T, _ *app, s *core.Session, save func()) {
			add(t, x, s)
			save()
			must(t, s.Replace(map[string]int{"y": 1}))
			save()
			add(t, y, s)
		}, `{"y":2}`},
		"another request's are not its own": {func(t *testing.T, a *app, s *core.Session, save func()) {
			must(t, x.Set(s, 5))
			save()
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, x.Set(s, 666)) }))
			must(t, y.Set(s, 1))
			save() // which takes over the other's x
		}, `{"x":5,"y":1}`},
	}
	for name, c := range cases {
		for _, saves := range []bool{true, false} {
			for ending, o := range map[string]core.LoginOptions{"another login came first": {}, "dropped": {DropValues: true}} {
				t.Run(fmt.Sprintf("%s, saves %v, %s", name, saves, ending), func(t *testing.T) {
					a := newApp(t, nil)
					a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
						must(t, s.Replace(map[string]any{"x": 100, "list": []int{0}, "z": 1}))
					}))
					var id core.ID
					a.ok(a.send(a.browser.Jar("/"), func(_ *core.Visit, s *core.Session) {
						c.do(t, a, s, func() {
							if saves {
								must(t, s.Save(bg))
							}
						})
						if !o.DropValues {
							a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Renew(bg)) }))
						}
						must(t, s.Login(o))
						must(t, s.Save(bg))
						id = s.ID()
						want := c.want
						if got, err := s.JSON(); err != nil || !sameObject(t, got, want) {
							t.Errorf("the handler sees %s, %v; want %s", got, err, want)
						}
						if l := list.Get(s); len(l) > 0 && l[0] == 0 {
							t.Errorf("the handler sees the old list: %v", l)
						}
					}))
					if got, err := a.manager.GetByID(bg, id); err != nil || !sameObject(t, got, c.want) {
						t.Errorf("it has %s, %v; want %s", got, err, c.want)
					}
				})
			}
		}
	}
}

// sameObject reports whether two objects have the same members.
func sameObject(t *testing.T, got []byte, want string) bool {
	var a, b map[string]any
	must(t, json.Unmarshal(got, &a))
	must(t, json.Unmarshal([]byte(want), &b))
	return reflect.DeepEqual(a, b)
}

// A login that finds out by an earlier Save without an answer that the session
// has ended still succeeds, or its commit says that it did not.
func TestLoginAfterASaveWithoutAnAnswer(t *testing.T) {
	for name, end := range map[string]func(*app, *core.Session){
		"renewed": func(a *app, s *core.Session) {
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Renew(bg)) }))
		},
		"revoked": func(a *app, s *core.Session) { must(t, a.manager.DestroyByID(bg, s.ID())) },
	} {
		t.Run(name, func(t *testing.T) {
			a := newApp(t, nil)
			a.ok(a.get("/", count(t)))
			late := a.browser.Jar("/")
			e := a.send(late, func(v *core.Visit, s *core.Session) {
				a.store.Before(func(context.Context, storetest.Op, string) error {
					a.store.Before(nil)
					return core.ErrOutcomeUnknown
				})
				must(t, s.Set("a", 1))
				wantIs(t, s.Save(bg), core.ErrOutcomeUnknown)
				end(a, s)
				signIn(t, "ada")(v, s)
			})
			a.ok(e)
			a.browser.Take("/", late.SetCookies...)
			a.wantUser("ada")
		})
	}
}

// A login that fails, after another one of the same request whose session has ended,
// leaves no cookie of that one in the response.
func TestALoginThatFailsSendsNoDeadID(t *testing.T) {
	a := newApp(t, nil)
	e := a.get("/", func(v *core.Visit, s *core.Session) {
		signIn(t, "ada")(v, s)
		must(t, s.Save(bg))
		must(t, s.Set("a", 1))
		a.store.Before(failing(storetest.OpSetVersion, core.ErrOutcomeUnknown))
		wantIs(t, s.Save(bg), core.ErrOutcomeUnknown)
		must(t, a.manager.DestroyByID(bg, s.ID()))
		signIn(t, "bob")(v, s)
	})
	wantIs(t, e.commit, core.ErrOutcomeUnknown)
	e.wantCookies(t, "")
}

// A logout with an id that was given up finds every session that came after it (P2).
func TestLoginIsASuccessor(t *testing.T) {
	renew := func(t *testing.T) handler {
		return func(_ *core.Visit, s *core.Session) { must(t, s.Renew(bg)) }
	}
	for name, login := range map[string]func(t *testing.T, a *app) core.ID{
		"after a Reset": func(t *testing.T, a *app) (id core.ID) {
			a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
				must(t, s.Reset(bg))
				signIn(t, "ada")(v, s)
			}))
			return core.ID(a.value())
		},
		"after a Save that was told ErrGone": func(t *testing.T, a *app) (id core.ID) {
			a.beside(func(v *core.Visit, s *core.Session) {
				must(t, s.Set("a", 1))
				wantIs(t, s.Save(bg), core.ErrGone)
				signIn(t, "ada")(v, s)
				must(t, s.Save(bg))
				id = s.ID()
			}, renew(t))
			return id
		},
		"beside a Renew": func(t *testing.T, a *app) (id core.ID) {
			a.beside(func(v *core.Visit, s *core.Session) {
				signIn(t, "ada")(v, s)
				must(t, s.Save(bg))
				id = s.ID()
			}, renew(t))
			return id
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newApp(t, nil)
			a.ok(a.get("/", count(t)))
			old := core.ID(a.value())
			id := login(t, a)
			if !a.lives(id) {
				t.Fatal("no session")
			}
			must(t, a.manager.DestroyByID(bg, old))
			if a.lives(id) {
				t.Error("a logout with the old id does not end it")
			}
		})
	}
}

// What the request that logs in chooses for the cookie counts, also if the
// session is a new one.
func TestLoginKeepsTheCookieOptionsOfItsRequest(t *testing.T) {
	for _, visited := range []bool{false, true} {
		a := newApp(t, nil)
		if visited {
			a.ok(a.get("/", count(t)))
		}
		a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
			signIn(t, "ada")(v, s)
			c := s.Cookie()
			c.MaxAge = time.Hour
			must(t, s.SetCookie(c))
		}))
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			if got := s.Cookie().MaxAge; got != time.Hour {
				t.Errorf("visited before: %t: MaxAge %v, want an hour", visited, got)
			}
		}))
	}
}

// A Renew that carries a login out, and failed, may be tried again (P6).
func TestLoginRenewTwice(t *testing.T) {
	a := newApp(t, nil)
	a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
		signIn(t, "ada")(v, s)
		a.store.Before(func(context.Context, storetest.Op, string) error { return core.ErrRefused })
		wantIs(t, s.Renew(bg), core.ErrRefused)
		a.store.Before(nil)
		must(t, s.Renew(bg))
	}))
	a.wantUser("ada")
}

// A Save with a login that failed before it reached the store saves nothing, and
// the commit does not log in either.
func TestLoginWhoseSaveFailedEarly(t *testing.T) {
	refuse := false
	a := newApp(t, &core.Options{Hooks: core.Hooks{BeforeSave: func(context.Context, core.Jar, *core.Session) error {
		if refuse {
			return core.ErrRefused
		}
		return nil
	}}})
	e := a.get("/", func(v *core.Visit, s *core.Session) {
		signIn(t, "ada")(v, s)
		refuse = true
		wantIs(t, s.Save(bg), core.ErrRefused)
		refuse = false
	})
	a.fails(core.ErrRefused, e).wantCookies(t, "")
	a.wantUser("")
}
