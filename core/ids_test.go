package core_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
)

// byIDs are the kinds of id that a function by id can be called with: how an app whose
// session has the id a comes to one, and whether it leads to the session, or to none
// that SetByID may make.
var byIDs = map[string]struct {
	make  func(t *testing.T, a *app, id core.ID) core.ID
	lives bool // it leads to the session
	made  bool // SetByID makes a session of that id
}{
	"live": {func(_ *testing.T, _ *app, id core.ID) core.ID { return id }, true, false},
	"given up by Login": {func(t *testing.T, a *app, id core.ID) core.ID {
		a.ok(a.get("/", signIn(t, "ada")))
		return id
	}, false, false},
	"given up by Renew": {func(t *testing.T, a *app, id core.ID) core.ID {
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Renew(bg)) }))
		return id
	}, false, false},
	"given up by Reset": {func(t *testing.T, a *app, id core.ID) core.ID {
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Reset(bg)) }))
		return id
	}, false, false},
	"unused": {func(t *testing.T, a *app, _ core.ID) core.ID {
		renewed(t, a)
		return core.ID(a.value())
	}, true, false},
	"whose next is unused": {func(t *testing.T, a *app, id core.ID) core.ID {
		renewed(t, a)
		return id
	}, true, false},
	"at rest": {func(t *testing.T, a *app, id core.ID) core.ID {
		renewed(t, a)
		a.wantVisits(1)
		return id
	}, true, false},
	"rested": {func(t *testing.T, a *app, id core.ID) core.ID {
		renewed(t, a)
		a.wantVisits(1)
		time.Sleep(grace)
		return id
	}, false, false},
	"unused and replaced": {func(t *testing.T, a *app, id core.ID) core.ID {
		renewed(t, a)
		unused := core.ID(a.value())
		time.Sleep(renewAfter)
		a.ok(a.with(id, nil)).wantCookies(t, pair)
		return unused
	}, false, false},
	"at rest, after a logout": {func(t *testing.T, a *app, id core.ID) core.ID {
		renewed(t, a)
		a.wantVisits(1)
		logout(t, a)
		return id
	}, false, false},
	"whose next is unused, after a logout with that": {func(t *testing.T, a *app, id core.ID) core.ID {
		renewed(t, a)
		logout(t, a)
		return id
	}, false, false},
	"used, after a logout": {func(t *testing.T, a *app, id core.ID) core.ID {
		renewed(t, a)
		a.wantVisits(1)
		next := core.ID(a.value())
		logout(t, a)
		return next
	}, false, true},
	"unused, after a logout": {func(t *testing.T, a *app, id core.ID) core.ID {
		renewed(t, a)
		next := core.ID(a.value())
		logout(t, a)
		return next
	}, false, true},
	"unused, after a logout with the old id": {func(t *testing.T, a *app, id core.ID) core.ID {
		renewed(t, a)
		a.ok(a.with(id, func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) }))
		return core.ID(a.value())
	}, false, false},
	"at rest, after the end of all by id": {func(t *testing.T, a *app, id core.ID) core.ID {
		renewed(t, a)
		a.wantVisits(1)
		must(t, a.manager.DestroyByID(bg, id))
		return id
	}, false, false},
	"logged out": {func(t *testing.T, a *app, id core.ID) core.ID {
		logout(t, a)
		return id
	}, false, true}, // it is as if it had never been
	"expired": {func(t *testing.T, a *app, id core.ID) core.ID {
		time.Sleep(100 * day)
		return id
	}, false, true},
	"unknown":     {func(*testing.T, *app, core.ID) core.ID { return "Qw3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA" }, false, true},
	"of no shape": {func(*testing.T, *app, core.ID) core.ID { return "a b" }, false, false},
	"empty":       {func(*testing.T, *app, core.ID) core.ID { return "" }, false, false},
}

// renewed gives the session of a a new id of itself, which nobody has used.
func renewed(t *testing.T, a *app) {
	t.Helper()
	time.Sleep(renewAfter)
	a.ok(a.get("/", nil)).wantCookies(t, pair)
}

func logout(t *testing.T, a *app) {
	t.Helper()
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) }))
}

// TestK35EachKindOfID: what the functions by id do with each kind of id, and that none
// of them brings a session back that has ended.
func TestK35EachKindOfID(t *testing.T) {
	for kind, wrap := range renewingStores {
		for name, c := range byIDs {
			t.Run(fmt.Sprintf("K35 %s, %s", kind, name), func(t *testing.T) {
				each := func(f func(t *testing.T, a *app, id, first core.ID)) {
					t.Helper()
					synctest.Test(t, func(t *testing.T) {
						a := newAppOn(t, wrap(newMemory(t)), renewingOptions())
						a.ok(a.get("/", count(t)))
						first := core.ID(a.value())
						f(t, a, c.make(t, a, first), first)
					})
				}
				each(func(t *testing.T, a *app, id, _ core.ID) {
					data, err := a.manager.GetByID(bg, id)
					if c.lives && (err != nil || string(data) != `{"visits":1}`) || !c.lives && !errors.Is(err, core.ErrNotFound) {
						t.Errorf("GetByID: %s, %v", data, err)
					}
				})
				each(func(t *testing.T, a *app, id, _ core.ID) {
					err := a.manager.VisitByID(bg, id, func(s *core.Session) error { return visits.Set(s, 7) })
					if (err == nil) != c.lives || err != nil && !errors.Is(err, core.ErrGone) {
						t.Errorf("VisitByID: %v", err)
					}
					if c.lives {
						a.wantVisits(7)
					}
				})
				each(func(t *testing.T, a *app, id, first core.ID) {
					err := a.manager.SetByID(bg, id, map[string]int{"visits": 8}, 0)
					if (err == nil) != (c.lives || c.made) {
						t.Errorf("SetByID: %v", err)
					}
					if c.lives {
						a.wantVisits(8)
					}
					if id != first && !c.lives && a.lives(first) && name != "unused and replaced" && name != "unknown" && id != "" && id != "a b" {
						t.Error("the first id leads there")
					}
					if got := a.lives(id); got != (c.lives || c.made) {
						t.Errorf("then it lives: %t", got)
					}
				})
				each(func(t *testing.T, a *app, id, first core.ID) {
					err := a.manager.DestroyByID(bg, id)
					if shaped := id != "" && id != "a b"; (err == nil) != shaped {
						t.Errorf("DestroyByID: %v", err)
					}
					if a.lives(id) {
						t.Error("it lives on")
					}
					switch name {
					case "unknown", "of no shape", "empty":
					default: // whoever holds it, holds what it was given up for
						if a.lives(first) || a.lives(core.ID(a.value())) && name != "given up by Reset" {
							t.Errorf("the session lives on: the first id %t", a.lives(first))
						}
					}
				})
				// A logout with it ends as much.
				each(func(t *testing.T, a *app, id, first core.ID) {
					if id == "" || id == "a b" || name == "unknown" {
						return
					}
					a.ok(a.with(id, func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) }))
					if a.lives(first) || a.lives(core.ID(a.value())) {
						t.Errorf("logout: the session lives on: the first id %t", a.lives(first))
					}
				})
			})
		}
	}
}

// TestP20BackToKoa: ids that were renewed and are not used yet are found by a process
// with KoaCompat to which the application goes back, and a logout there ends them.
func TestP20BackToKoa(t *testing.T) {
	for kind, wrap := range renewingStores {
		for _, name := range []string{"live", "unused", "whose next is unused", "at rest", "unused and replaced"} {
			for _, ends := range []string{"", "logout", "by id"} {
				t.Run(fmt.Sprintf("P20 %s, %s, %s", kind, name, ends), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						store := wrap(newMemory(t))
						ours := newAppOn(t, store, renewingOptions())
						ours.ok(ours.get("/", count(t)))
						first := core.ID(ours.value())
						id := byIDs[name].make(t, ours, first)
						k := core.KoaCompat()
						k.Keys = [][]byte{[]byte("koa")}
						k.Migrate = core.Migration{Keys: [][]byte{testKey}, Until: time.Now().Add(100 * day)}
						koa := newAppOn(t, store, k)
						want := 0
						if byIDs[name].lives {
							want = 1
						}
						switch ends {
						case "logout":
							koa.ok(koa.with(id, func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) }))
						case "by id":
							must(t, koa.manager.DestroyByID(bg, id))
						default:
							koa.ok(koa.with(id, func(_ *core.Visit, s *core.Session) {
								if got := visits.Get(s); got != want {
									t.Errorf("visits = %d, want %d", got, want)
								}
							}))
							if koa.lives(id) != (want == 1) {
								t.Errorf("lives: %t", !(want == 1))
							}
							return
						}
						if koa.lives(id) || koa.lives(first) && (want == 1 || ends == "by id") {
							t.Error("it lives on")
						}
					})
				})
			}
		}
	}
}
