package core_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

// The three cookies that a browser can have an id in: NAME, NAME.next and NAME.late.

// A flight is a request whose answer has not come yet.
type flight struct {
	name string
	*exchange
}

// orders calls f with the flights in every order.
func orders(flights []flight, f func(order []flight)) {
	var next func(done, left []flight)
	next = func(done, left []flight) {
		if len(left) == 0 {
			f(done)
		}
		for i := range left {
			next(append(slices.Clone(done), left[i]), slices.Delete(slices.Clone(left), i, i+1))
		}
	}
	next(nil, flights)
}

// cookiesOf is a browser with the same cookies.
func cookiesOf(b *jartest.Browser) *jartest.Browser {
	other := &jartest.Browser{}
	for pair := range strings.SplitSeq(b.Cookie("/"), "; ") {
		if pair != "" {
			other.Take("/", pair+"; path=/")
		}
	}
	return other
}

// states are what a browser can hold that has a session, or has had one lately.
var states = map[string]func(t *testing.T, a *app){
	"a session": func(t *testing.T, a *app) { a.ok(a.get("/", count(t))) },
	"a session and a copy of its id": func(t *testing.T, a *app) {
		a.ok(a.get("/", count(t)))
		a.ok(a.get("/", renewNow(t)))
	},
	"the copy alone": func(t *testing.T, a *app) {
		a.ok(a.get("/", count(t)))
		before := a.ok(a.send(a.browser.Jar("/"), count(t)))
		a.ok(a.get("/", renewNow(t)))
		a.browser.Take("/", before.jar.SetCookies...)
	},
	"the copy of a later id": func(t *testing.T, a *app) {
		a.ok(a.get("/", count(t)))
		before := a.ok(a.send(a.browser.Jar("/"), count(t)))
		a.ok(a.get("/", renewNow(t)))
		a.ok(a.get("/", renewNow(t)))
		a.browser.Take("/", before.jar.SetCookies...)
	},
	"that of a late request": func(t *testing.T, a *app) {
		a.ok(a.get("/", count(t)))
		a.ok(a.send(a.browser.Jar("/"), signIn(t, "ada"))) // the answer is lost
		a.ok(a.get("/", count(t)))
	},
	"that of a late request, behind a dead copy": func(t *testing.T, a *app) {
		a.ok(a.get("/", count(t)))
		a.ok(a.get("/", renewNow(t)))
		a.ok(a.send(a.browser.Jar("/"), signIn(t, "ada"))) // the answer is lost
		a.ok(a.get("/", count(t)))
	},
	"that of a late request with a new id": func(t *testing.T, a *app) {
		a.ok(a.get("/", count(t)))
		a.ok(a.send(a.browser.Jar("/"), signIn(t, "ada"))) // the answer is lost
		a.ok(a.get("/", count(t)))
		a.ok(a.get("/", renewNow(t)))
	},
	"an id that was given up": func(t *testing.T, a *app) {
		a.ok(a.get("/", count(t)))
		a.ok(a.send(a.browser.Jar("/"), signIn(t, "ada"))) // the answer is lost
	},
}

// TestW3ALoginStands: who has got the answer of a login is logged in, whatever
// requests stored something beside it, and in whatever order all the answers come;
// and who has got a new id has the session.
func TestW3ALoginStands(t *testing.T) {
	changes := map[string]handler{
		"Login": signIn(t, "ada"),
		"Renew": func(_ *core.Visit, s *core.Session) { must(t, user.Set(s, "ada")); must(t, s.Renew(bg)) },
		"Reset": func(_ *core.Visit, s *core.Session) { must(t, s.Reset(bg)); must(t, user.Set(s, "ada")) },
	}
	for state, begin := range states {
		for change, h := range changes {
			for _, twice := range []bool{false, true} {
				late := strings.HasPrefix(state, "that of a late request") || state == "an id that was given up"
				if change != "Login" && (twice || late) { // see TestALateRenewTakesNoLoginAway
					continue
				}
				name := fmt.Sprintf("%s/%s/twice %t", state, change, twice)
				t.Run(name, func(t *testing.T) {
					a := newApp(t, nil)
					begin(t, a)
					has := cookiesOf(a.browser)
					send := func(name string, h handler) flight {
						return flight{name, a.ok(a.send(has.Jar("/"), h))}
					}
					flights := []flight{send("in time", count(t)), send("a read in time", nil)}
					flights = append(flights, send("login", h))
					if twice {
						flights = append(flights, send("login", h))
					}
					flights = append(flights, send("late", count(t)), send("late", count(t)))
					orders(flights, func(order []flight) {
						b, names, in := cookiesOf(has), "", false
						for _, f := range order {
							b.Take("/", f.jar.SetCookies...)
							in = in || f.name == "login"
							names += ", " + f.name
							if got := a.who(b); in && got != "ada" {
								t.Errorf("after the answers%s: user is %q", names[1:], got)
							}
						}
					})
				})
			}
		}
	}
}

// A late request can renew the session of NAME.late, but sends no copy of its new id:
// that would replace the one of a login. So what protects other new ids does not
// protect that one, which nobody has logged in to; the next login works.
func TestALateRenewTakesNoLoginAway(t *testing.T) {
	a := newApp(t, nil)
	a.ok(a.get("/", count(t)))
	jar := a.browser.Jar("/")
	a.ok(a.get("/", signIn(t, "ada")))
	without := cookiesOf(a.browser)
	a.browser.Take("/", a.ok(a.send(jar, count(t))).jar.SetCookies...) // left over in NAME.late
	has := cookiesOf(a.browser)
	send := func(name string, b *jartest.Browser, h handler) flight {
		return flight{name, a.ok(a.send(b.Jar("/"), h))}
	}
	// What renews was on its way before the browser had that cookie: else it ends the
	// session there, and the second one is ErrGone.
	flights := []flight{send("in time", has, count(t)), send("renewed", without, renewNow(t)), send("late", has, renewNow(t)), send("late", has, count(t))}
	flights[2].wantCookies(t, latePair)
	orders(flights, func(order []flight) {
		b, in := cookiesOf(has), false
		for _, f := range order {
			b.Take("/", f.jar.SetCookies...)
			if in = in || f.name == "renewed"; in && a.who(b) != "ada" {
				t.Errorf("after the answer of %q nobody is logged in", f.name)
			}
		}
	})

	lost := newApp(t, nil)
	states["that of a late request"](t, lost)
	before := lost.ok(lost.send(lost.browser.Jar("/"), count(t)))
	lost.ok(lost.get("/", renewNow(t))).wantCookies(t, latePair)
	lost.browser.Take("/", before.jar.SetCookies...)
	lost.wantVisits(0)
	lost.ok(lost.get("/", signIn(t, "ada")))
	lost.wantUser("ada")
}

// TestW3ALoginStandsBesideRenewAfter: also beside requests in whose responses the
// session gets a new id of itself, used or not.
func TestW3ALoginStandsBesideRenewAfter(t *testing.T) {
	for _, used := range []bool{false, true} {
		t.Run(fmt.Sprintf("used %t", used), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newApp(t, &core.Options{RenewAfter: time.Minute, RenewGrace: time.Second})
				a.ok(a.get("/", count(t)))
				has := cookiesOf(a.browser)
				send := func(name string, h handler) flight { return flight{name, a.ok(a.send(has.Jar("/"), h))} }
				flights := []flight{send("in time", count(t))}
				time.Sleep(2 * time.Minute)
				renewing := send("a read that renews", nil)
				renewing.wantCookies(t, pair)
				if v := renewing.values(); v["koa.sid.late"] != v["koa.sid"] || v["koa.sid.next"] != "" {
					t.Error("its copy is not in NAME.late")
				}
				flights = append(flights, renewing)
				if used {
					b := cookiesOf(has)
					b.Take("/", renewing.jar.SetCookies...)
					a.ok(a.send(b.Jar("/"), count(t)))
				}
				flights = append(flights, send("login", signIn(t, "ada")), send("late", count(t)))
				orders(flights, func(order []flight) {
					b, names, in := cookiesOf(has), "", false
					for _, f := range order {
						b.Take("/", f.jar.SetCookies...)
						in = in || f.name == "login"
						names += ", " + f.name
						if got := a.who(b); in && got != "ada" {
							t.Errorf("after the answers%s: user is %q", names[1:], got)
						}
					}
				})
				// And however long the browser waits.
				time.Sleep(20 * time.Hour)
				orders(flights, func(order []flight) {
					b := cookiesOf(has)
					for _, f := range order {
						b.Take("/", f.jar.SetCookies...)
					}
					if got := a.who(b); got != "ada" {
						t.Errorf("the next day user is %q", got)
					}
				})
			})
		})
	}
}

// who is logged in with the cookies of b, which gets no answer.
func (a *app) who(b *jartest.Browser) (name string) {
	a.t.Helper()
	a.ok(a.send(b.Jar("/"), func(_ *core.Visit, s *core.Session) { name = user.Get(s) }))
	return name
}

// TestW3AfterTheLogin: a browser in whose first cookie an old id is back goes on with
// the copy, however long it waits, and has its session in the first cookie again.
func TestW3AfterTheLogin(t *testing.T) {
	for _, waits := range []time.Duration{0, 30 * time.Second, 61 * time.Second, 20 * time.Hour} {
		for name, o := range map[string]core.Options{"": {}, "deferred": {Defer: true}} {
			t.Run(fmt.Sprint(waits, name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a := newApp(t, &o)
					a.ok(a.get("/", count(t)))
					before := a.ok(a.send(a.browser.Jar("/"), count(t)))
					a.ok(a.get("/", signIn(t, "ada")))
					id := a.value()
					a.browser.Take("/", before.jar.SetCookies...)
					time.Sleep(waits)
					a.wantUser("ada")
					if a.value() != id {
						t.Error("the first cookie is not put back")
					}
					a.ok(a.get("/", count(t))).wantCookies(t, pair)
				})
			})
		}
	}
	t.Run("nothing but a new id is sent to NAME.next", func(t *testing.T) {
		a := newApp(t, nil)
		states["the copy of a later id"](t, a)
		a.wantVisits(2)
		a.ok(a.get("/", count(t))).wantCookies(t, "") // a late request, which proves nothing
		a.wantVisits(3)
		a.ok(a.get("/", renewNow(t))).wantCookies(t, "koa.sid.next koa.sid.next.sig")
		a.wantVisits(3)
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			must(t, s.Destroy(bg))
			must(t, s.Reset(bg))
			must(t, visits.Set(s, 7))
		}))
		a.wantVisits(7)
	})
	t.Run("a session that nothing names is not trusted with its past", func(t *testing.T) {
		for _, waits := range []time.Duration{0, 61 * time.Second} {
			synctest.Test(t, func(t *testing.T) {
				a := newApp(t, nil)
				states["the copy of a later id"](t, a)
				time.Sleep(waits)
				a.ok(a.get("/", signIn(t, "ada")))
				a.wantUser("ada")
				a.wantVisits(0)
			})
		}
	})
}

// TestW6EndsWhatEachCookieHas: a login and a logout end every session that the
// cookies lead to, and remove the cookies; so do Renew and Reset, whose response takes
// them from the browser.
func TestW6EndsWhatEachCookieHas(t *testing.T) {
	// all is a browser with a session in each of the three.
	all := func(t *testing.T, a *app) (ids []core.ID) {
		states["that of a late request"](t, a)
		late := cookiesOf(a.browser)
		a.browser = &jartest.Browser{}
		states["the copy alone"](t, a)
		next := cookiesOf(a.browser)
		a.browser = &jartest.Browser{}
		a.ok(a.get("/", count(t)))
		for name, from := range map[string]*jartest.Browser{"koa.sid.next": next, "koa.sid.late": late} {
			for _, name := range []string{name, name + ".sig"} {
				v, _ := from.Value("/", name)
				a.browser.Take("/", name+"="+v+"; path=/")
			}
		}
		for _, name := range []string{"koa.sid", "koa.sid.next", "koa.sid.late"} {
			v, _ := a.browser.Value("/", name)
			if ids = append(ids, core.ID(v)); !a.lives(core.ID(v)) {
				t.Fatalf("%s leads nowhere", name)
			}
		}
		return ids
	}
	for name, o := range map[string]core.Options{"": {}, "deferred": {Defer: true}} {
		t.Run("login"+name, func(t *testing.T) {
			a := newApp(t, &o)
			ids := all(t, a)
			a.ok(a.get("/", signIn(t, "ada"))).wantCookies(t, pair+" -koa.sid.late -koa.sid.late.sig")
			a.wantUser("ada")
			for i, id := range ids {
				if a.lives(id) {
					t.Errorf("that of the cookie number %d lives", i)
				}
			}
		})
		for call, h := range map[string]func(s *core.Session) error{
			"Renew": func(s *core.Session) error { return s.Renew(bg) },
			"Reset": func(s *core.Session) error { return s.Reset(bg) },
		} {
			t.Run(call+name, func(t *testing.T) {
				a := newApp(t, &o)
				ids := all(t, a)
				// Whoever has kept the cookies has them afterwards.
				kept := cookiesOf(a.browser)
				a.send(a.browser.Jar("/"), func(_ *core.Visit, s *core.Session) {
					a.store.Before(func(_ context.Context, op storetest.Op, _ string) error {
						if op == storetest.OpGetVersion {
							return core.ErrUnavailable
						}
						return nil
					})
					wantIs(t, h(s), core.ErrUnavailable)
				})
				a.store.Before(nil)
				if !a.lives(ids[0]) {
					t.Error("after an error the session is not as it was")
				}
				a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, h(s)); s.Set("user", "ada") }))
				a.wantUser("ada")
				for i, id := range ids {
					if a.lives(id) {
						t.Errorf("that of the cookie number %d lives", i)
					}
				}
				if who := a.who(kept); who != "" {
					t.Errorf("the cookies from before open a session of %q", who)
				}
			})
		}
		for logout, h := range map[string]func(v *core.Visit) error{
			"Session.Destroy": func(v *core.Visit) error {
				s, err := v.Session(bg)
				if err != nil {
					return err
				}
				return s.Destroy(bg)
			},
			"Visit.Destroy": func(v *core.Visit) error { return v.Destroy(bg) },
		} {
			t.Run(logout+name, func(t *testing.T) {
				a := newApp(t, &o)
				ids := all(t, a)
				jar := a.browser.Jar("/")
				a.ok(a.visit(jar, func(v *core.Visit) { must(t, h(v)) }))
				a.browser.Take("/", jar.SetCookies...)
				if left := a.browser.Cookie("/"); left != "" {
					t.Errorf("cookies are left: %d bytes", len(left))
				}
				for i, id := range ids {
					if a.lives(id) {
						t.Errorf("that of the cookie number %d lives", i)
					}
				}
			})
		}
	}
}

// TestCallsOfTheOtherCookies: those behind a cookie that leads to a session are not
// asked for.
func TestCallsOfTheOtherCookies(t *testing.T) {
	for state, want := range map[string]int{
		"a session":                                  1,
		"a session and a copy of its id":             1,
		"the copy of a later id":                     2,
		"that of a late request":                     2,
		"that of a late request, behind a dead copy": 2, // which is a copy of the first, and not asked for again
		"an id that was given up":                    1,
	} {
		t.Run(state, func(t *testing.T) {
			a := newApp(t, nil)
			states[state](t, a)
			before := a.store.Calls(storetest.OpGetVersion)
			a.ok(a.get("/", nil))
			if got := a.store.Calls(storetest.OpGetVersion) - before; got != want {
				t.Errorf("%d calls, want %d", got, want)
			}
		})
	}
	t.Run("no cookie", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", nil))
		a.wantCalls(nil)
	})
}

// TestW7OtherCookiesOfFormerNames: the cookies beside the first one move along with
// its name and its scope.
func TestW7OtherCookiesOfFormerNames(t *testing.T) {
	for state, n := range map[string]int{"the copy alone": 2, "the copy of a later id": 2, "that of a late request": 1} {
		t.Run(state, func(t *testing.T) {
			store := newMemory(t)
			old := newAppOn(t, store, &core.Options{Keys: core.Keyring{testKey}})
			states[state](t, old)
			now := newAppOn(t, store, &core.Options{Name: "sid", FormerNames: []string{"koa.sid"}, Keys: core.Keyring{otherKey, testKey}})
			now.browser = old.browser
			now.wantVisits(n)
			now.ok(now.get("/", count(t)))
			now.ok(now.get("/", count(t)))
			now.wantVisits(n + 2)
			now.ok(now.get("/", signIn(t, "ada")))
			now.wantUser("ada")
			if left := now.browser.Cookie("/"); strings.Contains(left, "koa.sid") {
				t.Error("cookies of the former name are left")
			}
		})
	}
	t.Run("the copy in a former scope", func(t *testing.T) {
		store := newMemory(t)
		old := newAppOn(t, store, &core.Options{Cookie: core.CookieOptions{Path: "/app"}})
		old.ok(old.get("/app", count(t)))
		old.ok(old.get("/app", renewNow(t)))
		now := newAppOn(t, store, &core.Options{FormerCookies: []core.CookieOptions{{Path: "/app"}}})
		now.browser = old.browser
		before := now.ok(now.send(now.browser.Jar("/app"), count(t)))
		now.ok(now.get("/app", signIn(t, "ada")))
		now.browser.Take("/app", before.jar.SetCookies...)
		now.ok(now.get("/app", func(_ *core.Visit, s *core.Session) {
			if got := user.Get(s); got != "ada" {
				t.Errorf("user is %q", got)
			}
			must(t, s.Destroy(bg))
		}))
		if left := now.browser.Cookie("/app"); left != "" {
			t.Error("a logout leaves cookies")
		}
	})
}

// A session that a hook refuses leaves the request as late as it was, in each place.
func TestARefusedSessionLeavesTheRequestLate(t *testing.T) {
	for _, state := range []string{"the copy alone", "the copy of a later id", "that of a late request"} {
		t.Run(state, func(t *testing.T) {
			valid := true
			a := newApp(t, &core.Options{Hooks: core.Hooks{
				Valid: func(context.Context, core.Jar, *core.Session) (bool, error) { return valid, nil },
			}})
			states[state](t, a)
			valid = false
			a.ok(a.get("/", count(t))).wantCookies(t, latePair)
		})
	}
}

func TestOtherCookiesNames(t *testing.T) {
	for _, suffix := range []string{".sig", ".next", ".late"} {
		if _, err := core.New(newMemory(t), &core.Options{Name: "sid" + suffix, Keys: core.Keyring{testKey}}); err == nil {
			t.Errorf("a name that ends with %s is accepted", suffix)
		}
	}
}

// A request that chooses "until the browser closes" sends the copies of its id anew,
// which would outlive the browser. That is the one other thing that is sent to
// NAME.next: so its answer must not come after that of a login beside it, as that of a
// Renew must not (docs/concurrency.md). Nobody but such a request does so, once for each
// choice, and only if the browser has a copy; the next login works.
func TestUntilTheBrowserClosesBesideALogin(t *testing.T) {
	closes := func(_ *core.Visit, s *core.Session) { must(t, s.SetLifetime(core.Lifetime{UntilBrowserCloses: true})) }
	for state, copied := range map[string]bool{"a session": false, "a session and a copy of its id": true} {
		t.Run(state, func(t *testing.T) {
			a := newApp(t, &core.Options{IdleTimeout: time.Hour})
			states[state](t, a)
			has := cookiesOf(a.browser)
			send := func(name string, h handler) flight { return flight{name, a.ok(a.send(has.Jar("/"), h))} }
			flights := []flight{send("chosen", closes), send("chosen again", closes), send("stores", count(t)), send("logs in", signIn(t, "ada"))}
			for i, want := range []bool{copied, false, false, true} {
				if got := strings.Contains(fmt.Sprint(flights[i].jar.SetCookies), "koa.sid.next="); got != want {
					t.Errorf("the answer of %q sends NAME.next: %t", flights[i].name, got)
				}
			}
			orders(flights, func(order []flight) {
				b, in, lost := cookiesOf(has), false, false
				for _, f := range order {
					b.Take("/", f.jar.SetCookies...)
					in = in || f.name == "logs in"
					lost = lost || in && f.name == "chosen" && copied
					if want := map[bool]string{true: "ada"}[in && !lost]; a.who(b) != want {
						t.Errorf("after the answer of %q: %q, want %q", f.name, a.who(b), want)
					}
				}
				if lost {
					again := *a
					again.browser = b
					again.ok(again.get("/", signIn(t, "bob")))
					again.wantUser("bob")
				}
			})
		})
	}
}
