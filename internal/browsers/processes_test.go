package browsers_test

import (
	"fmt"
	"testing"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/internal/soak"
)

// Several processes on one store, and several applications on one host.

// A fleet is processes behind a client that goes round.
type fleet struct {
	t        *testing.T
	store    core.Store
	managers []*core.Manager
	turn     int
}

func newFleet(t *testing.T, n int, o core.Options) *fleet {
	f := &fleet{t: t, store: newMemory(t)}
	for range n {
		f.managers = append(f.managers, newManager(t, f.store, o))
	}
	return f
}

func (f *fleet) next() *core.Manager {
	f.turn++
	return f.managers[f.turn%len(f.managers)]
}

// A visitor is a browser of somebody who has logged in, and not out.
type visitor struct {
	jartest.Browser
	name string
}

// People use a fleet while it is deployed.
type people struct {
	*fleet
	all  []*visitor
	open []func() // logins that are under way, with their answers
	lost []string // who was not known to a process
}

func (p *people) at(b *visitor, h handler) {
	p.t.Helper()
	sent(p.t, p.next(), &b.Browser, h)
}

// use finishes the logins that are under way, lets some people log in, others begin
// to, and everybody use all processes: reading and writing.
func (p *people) use() {
	p.t.Helper()
	for _, finish := range p.open {
		finish()
	}
	p.open = nil
	arrive := func() *visitor {
		v := &visitor{name: fmt.Sprint("user", len(p.all)+len(p.open))}
		p.at(v, set(p.t, 1))
		return v
	}
	for range 2 {
		v := arrive()
		p.at(v, loginAs(p.t, v.name))
		p.all = append(p.all, v)
	}
	// Two logins that are under way while the next process is deployed: the
	// handler of one has run, and the other has only loaded its session.
	for _, early := range []bool{true, false} {
		v := arrive()
		x := begin(p.next(), v.Jar("/app"))
		if early {
			x.run(p.t, loginAs(p.t, v.name)).commit()
		}
		p.open = append(p.open, func() {
			if !early {
				x.run(p.t, loginAs(p.t, v.name)).commit()
			}
			x.ok(p.t).to(&v.Browser)
			p.all = append(p.all, v)
		})
	}
	for i, v := range p.all {
		h := []handler{nil, set(p.t, i), loginAs(p.t, v.name), func(_ *core.Visit, s *core.Session) { must(p.t, s.Renew(bg)) }}[i%4]
		for range len(p.managers) + 1 { // one more, so that the next one begins elsewhere
			p.at(v, func(visit *core.Visit, s *core.Session) {
				if got := user.Get(s); got != v.name {
					p.lost = append(p.lost, fmt.Sprintf("%s is %q", v.name, got))
				}
				if h != nil {
					h(visit, s)
				}
			})
		}
	}
}

// deploy starts one process after the other with o, and people use them before and
// after each. Where only the keys are new, every second one gets them by RotateKeys.
func (p *people) deploy(o core.Options, onlyKeys bool) {
	p.t.Helper()
	p.use()
	for i := range p.managers {
		if i%2 == 0 || !onlyKeys {
			p.managers[i] = newManager(p.t, p.store, o)
		} else {
			must(p.t, p.managers[i].RotateKeys(o.Keys))
		}
		p.use()
	}
}

// A new key in two steps, verify everywhere, then sign, and after or with the
// second one a new scope of the cookie. Nobody who didn't ask for it is logged out,
// also who logs in meanwhile, or has a login under way (W7, W9).
func TestDeploys(t *testing.T) {
	t.Parallel()
	played, one := 0, 5 // of so many
	if raced {
		one = 11
	}
	for n := 2; n <= 3; n++ {
		for name, c := range changes {
			for _, together := range []bool{true, false} {
				for _, o := range []core.Options{{}, {IdleTimeout: core.DefaultMaxAge, TouchEvery: 1}, {Defer: true}} {
					for _, former := range []bool{true, false} {
						if played++; !soak.On && played%one != 0 {
							continue
						}
						t.Run(fmt.Sprintf("%d processes, %s, at once %t, IdleTimeout %v, Defer %t, FormerCookies %t", n, name, together, o.IdleTimeout, o.Defer, former), func(t *testing.T) {
							o := o
							o.Keys, o.Cookie = core.Keyring{keyA}, c[0].options()
							p := &people{fleet: newFleet(t, n, o)}
							o.Keys = core.Keyring{keyA, keyB}
							p.deploy(o, true)
							o.Keys = core.Keyring{keyB, keyA}
							if !together {
								p.deploy(o, true)
							}
							o.Cookie = c[1].options()
							if former {
								o.FormerCookies = []core.CookieOptions{c[0].options()}
							}
							p.deploy(o, false)
							o.Keys = core.Keyring{keyB}
							p.deploy(o, true)
							if p.use(); len(p.lost) > 0 {
								t.Errorf("%q", p.lost)
							}
						})
					}
				}
			}
		}
	}
}

// The same people find a rotation in one step.
func TestDeploysFindWhoIsLost(t *testing.T) {
	p := &people{fleet: newFleet(t, 2, core.Options{Keys: core.Keyring{keyA}})}
	p.deploy(core.Options{Keys: core.Keyring{keyB, keyA}}, false)
	if p.use(); len(p.lost) == 0 {
		t.Error("nobody was logged out")
	}
}

// In one step: who meets a process that does not know the key is anonymous there,
// and keeps the cookie (W9).
func TestRotationInOneStep(t *testing.T) {
	f := newFleet(t, 1, core.Options{Keys: core.Keyring{keyA}})
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
	t.Run("a cookie of late requests", func(t *testing.T) {
		var b jartest.Browser
		visit(t, older, &b, set(t, 1))
		request(t, newer, &b, loginAs(t, "ada")) // the answer is lost
		visit(t, newer, &b, set(t, 2))           // in NAME.late, by the new key
		visit(t, older, &b, nil)
		visit(t, newer, &b, func(v *core.Visit, s *core.Session) {
			if visits.Get(s) != 2 {
				t.Error("its session is lost")
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
