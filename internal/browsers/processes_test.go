package browsers_test

import (
	"fmt"
	"testing"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
)

// Several processes on one store, and several applications on one host.

// A fleet is processes behind a client that goes round.
type fleet struct {
	t        *testing.T
	store    core.Store
	managers []*core.Manager
	turn     int
}

func newFleet(t *testing.T, n int, keys ...[]byte) *fleet {
	f := &fleet{t: t, store: newMemory(t)}
	for range n {
		f.managers = append(f.managers, newManager(t, f.store, core.Options{Keys: keys}))
	}
	return f
}

func (f *fleet) next() *core.Manager {
	f.turn++
	return f.managers[f.turn%len(f.managers)]
}

// deploy gives one process after the other the keys, and calls use before and
// after each. A process gets them with its next start, or by RotateKeys.
func (f *fleet) deploy(use func(), keys ...[]byte) {
	f.t.Helper()
	use()
	for i := range f.managers {
		if i%2 == 0 {
			f.managers[i] = newManager(f.t, f.store, core.Options{Keys: keys})
		} else {
			must(f.t, f.managers[i].RotateKeys(keys))
		}
		use()
	}
}

// A new key in two steps: verify everywhere, then sign. Nobody is logged out, also
// who logs in meanwhile, or has a login under way.
func TestRotationInTwoSteps(t *testing.T) {
	for n := 2; n <= 3; n++ {
		t.Run(fmt.Sprint(n, " processes"), func(t *testing.T) {
			f := newFleet(t, n, keyA)
			type visitor struct {
				jartest.Browser
				name string
			}
			var all []*visitor
			var open []func()
			use := func() {
				for _, finish := range open {
					finish()
				}
				open = nil
				for range 2 {
					v := &visitor{name: fmt.Sprint("user", len(all))}
					visit(t, f.next(), &v.Browser, set(t, 1))
					visit(t, f.next(), &v.Browser, loginAs(t, v.name))
					all = append(all, v)
				}
				// A login that is under way while the next process is deployed.
				v := &visitor{name: fmt.Sprint("late", len(all))}
				visit(t, f.next(), &v.Browser, set(t, 1))
				x := begin(f.next(), v.Jar("/"))
				open = append(open, func() {
					x.run(t, loginAs(t, v.name)).commit().ok(t).to(&v.Browser)
					all = append(all, v)
				})
				for _, v := range all {
					for range len(f.managers) + 1 { // one more, so that the next one begins elsewhere
						visit(t, f.next(), &v.Browser, func(_ *core.Visit, s *core.Session) {
							if got := user.Get(s); got != v.name {
								t.Errorf("%s is %q", v.name, got)
							}
						})
					}
				}
			}
			f.deploy(use, keyA, keyB)
			f.deploy(use, keyB, keyA)
			f.deploy(use, keyB)
			use()
		})
	}
}

// In one step: who meets a process that does not know the key is anonymous there,
// and keeps the cookie (W9).
func TestRotationInOneStep(t *testing.T) {
	f := newFleet(t, 1, keyA)
	older, newer := f.managers[0], newManager(t, f.store, core.Options{Keys: [][]byte{keyB, keyA}})
	for name, h := range map[string]handler{
		"page": nil, "logout in vain": logout(t),
		"no change": func(_ *core.Visit, s *core.Session) { must(t, s.Delete("nothing")) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, first := range []*core.Manager{older, newer} {
				var b jartest.Browser
				visit(t, first, &b, set(t, 1))
				visit(t, newer, &b, loginAs(t, "ada"))
				for range 2 {
					visit(t, older, &b, h)
					wantUser(t, older, &b, "")
					wantUser(t, newer, &b, "ada")
				}
			}
		})
	}
	t.Run("one that is signed by the old key", func(t *testing.T) {
		var b jartest.Browser
		visit(t, older, &b, loginAs(t, "ada"))
		wantUser(t, older, &b, "ada")
		wantUser(t, newer, &b, "ada")
	})
	t.Run("a login at the old one replaces the cookie", func(t *testing.T) {
		var b jartest.Browser
		visit(t, newer, &b, loginAs(t, "ada"))
		visit(t, older, &b, loginAs(t, "bob"))
		wantUser(t, older, &b, "bob")
		wantUser(t, newer, &b, "bob")
	})
	t.Run("a second cookie", func(t *testing.T) {
		var b jartest.Browser
		visit(t, older, &b, set(t, 1))
		request(t, newer, &b, loginAs(t, "ada")) // the answer is lost
		visit(t, newer, &b, set(t, 2))           // in the second cookie, by the new key
		visit(t, older, &b, nil)
		visit(t, newer, &b, func(v *core.Visit, s *core.Session) {
			if visits.Get(s) != 2 {
				t.Error("the second session is lost")
			}
			loginAs(t, "ada")(v, s)
		})
		wantUser(t, newer, &b, "ada")
	})
}

// Two applications on one host with one name and other keys: looking at the one
// never logs out of the other (W8).
func TestTwoApplications(t *testing.T) {
	for name, paths := range map[string][2]string{"one path": {"/", "/"}, "two paths": {"/one", "/two"}, "one in the other": {"/", "/two"}} {
		t.Run(name, func(t *testing.T) {
			apps := []struct {
				m    *core.Manager
				path string
			}{
				{newManager(t, newMemory(t), core.Options{Cookie: core.CookieOptions{Path: paths[0]}}), paths[0]},
				{newManager(t, newMemory(t), core.Options{Keys: [][]byte{keyB}, Cookie: core.CookieOptions{Path: paths[1]}}), paths[1]},
			}
			at := func(i int, b *jartest.Browser, h handler) {
				t.Helper()
				begin(apps[i].m, b.Jar(apps[i].path)).run(t, h).commit().ok(t).to(b)
			}
			is := func(i int, b *jartest.Browser, want string) {
				t.Helper()
				at(i, b, func(_ *core.Visit, s *core.Session) {
					t.Helper()
					if got := user.Get(s); got != want {
						t.Errorf("application %d: user is %q, want %q", i+1, got, want)
					}
				})
			}
			for i := range apps {
				var b jartest.Browser
				at(i, &b, loginAs(t, "ada"))
				for range 2 {
					is(1-i, &b, "")
					at(1-i, &b, logout(t)) // of nothing
					is(i, &b, "ada")
				}
				if paths[0] == paths[1] {
					continue // who stores replaces the cookie of the other
				}
				at(1-i, &b, loginAs(t, "bob"))
				for range 2 {
					is(i, &b, "ada")
					is(1-i, &b, "bob")
				}
				at(1-i, &b, logout(t))
				is(i, &b, "ada")
				is(1-i, &b, "")
			}
		})
	}
}
