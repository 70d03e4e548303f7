package core_test

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// apart hides that a store can change several keys in one step, as memcached and a
// Redis Cluster can't.
type apart struct {
	core.Store
	core.Toucher
	core.Notifier
	core.Batcher
}

func (s apart) Batch(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
	if len(writes) > 1 {
		return nil, errors.ErrUnsupported
	}
	return s.Batcher.Batch(ctx, writes...)
}

func keysApart(s core.Store) core.Store {
	b, _ := core.As[core.Batcher](s)
	toucher, _ := core.As[core.Toucher](s)
	notifier, _ := core.As[core.Notifier](s)
	return apart{Store: s, Toucher: toucher, Notifier: notifier, Batcher: b}
}

// renewingStores are those on which a session gets a new id of itself.
var renewingStores = map[string]func(core.Store) core.Store{
	"in one step":        func(s core.Store) core.Store { return s },
	"one by one":         keysApart,
	"versions and touch": stepwise,
	"versions untold":    untold,
}

// untold hides that a store tells the version of what it has written, as memcached
// does not.
func untold(s core.Store) core.Store { return silent{keysApart(s).(apart)} }

type silent struct{ apart }

func (s silent) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	_, err := s.apart.SetVersion(ctx, key, data, ttl, v)
	return 0, err
}

func (s silent) Batch(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
	versions, err := s.apart.Batch(ctx, writes...)
	clear(versions)
	return versions, err
}

const (
	renewAfter = time.Hour
	grace      = 30 * time.Second
)

func renewingOptions() *core.Options {
	return &core.Options{RenewAfter: renewAfter, Cookie: core.CookieOptions{MaxAge: core.UntilBrowserCloses}}
}

// onRenewing runs f with an app whose session has the id old, and whose browser has
// just got the next one.
func onRenewing(t *testing.T, f func(t *testing.T, a *app, old, next core.ID)) {
	for name, wrap := range renewingStores {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAppOn(t, wrap(newMemory(t)), renewingOptions())
				a.ok(a.get("/", count(t)))
				old := core.ID(a.value())
				time.Sleep(renewAfter - time.Millisecond)
				a.ok(a.get("/", nil)).wantCookies(t, "")
				time.Sleep(time.Millisecond)
				a.ok(a.get("/", nil)).wantCookies(t, pair)
				next := core.ID(a.value())
				if next == old {
					t.Fatal("the id is not renewed")
				}
				f(t, a, old, next)
			})
		})
	}
}

// with sends a request with that id and no other cookie.
func (a *app) with(id core.ID, h handler) *exchange {
	a.t.Helper()
	return a.send(&jartest.Jar{Target: "/", Cookies: []string{signed(id)}}, h)
}

// signed is the Cookie field of id.
func signed(id core.ID) string {
	return fmt.Sprintf("koa.sid=%s; koa.sid.sig=%s", string(id), signature(id))
}

// signature is that of id in the cookie koa.sid.
func signature(id core.ID) string { return signatureOf("koa.sid", id) }

// signatureOf is that of id in that cookie of the session.
func signatureOf(cookie string, id core.ID) string {
	key, err := hkdf.Key(sha256.New, testKey, nil, "gensession cookie signature\x00koa.sid", 32)
	if err != nil {
		panic(err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(cookie + "=" + string(id)))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// wantIDs checks which ids lead to the session.
func (a *app) wantIDs(want map[core.ID]bool) {
	a.t.Helper()
	for id, lives := range want {
		if got := a.lives(id); got != lives {
			a.t.Errorf("an id lives: %t, want %t", got, lives)
		}
	}
}

// TestP20RenewAfter: a session gets a new id of itself, which costs nobody the
// session.
func TestP20RenewAfter(t *testing.T) {
	t.Run("both ids until the new one is used, and then the old one for a while", func(t *testing.T) {
		onRenewing(t, func(t *testing.T, a *app, old, next core.ID) {
			time.Sleep(renewAfter / 2)
			a.wantIDs(map[core.ID]bool{old: true, next: true})
			a.ok(a.with(old, count(t)))
			a.wantVisits(2) // by the new one, for the first time
			used := time.Now()
			a.ok(a.with(old, count(t))).wantCookies(t, "") // it is not sent any more
			a.wantVisits(3)
			time.Sleep(time.Until(used.Add(grace - time.Millisecond)))
			a.wantIDs(map[core.ID]bool{old: true, next: true})
			time.Sleep(time.Millisecond)
			a.wantIDs(map[core.ID]bool{old: false, next: true})
			a.ok(a.with(old, func(_ *core.Visit, s *core.Session) {
				if !s.IsNew() {
					t.Error("the old id opens a session")
				}
			}))
			a.wantVisits(3)
		})
	})
	t.Run("the answer is lost, again and again", func(t *testing.T) {
		onRenewing(t, func(t *testing.T, a *app, old, next core.ID) {
			for range 30 {
				for range 10 {
					time.Sleep(renewAfter / 8)
					a.ok(a.with(old, count(t)))
				}
			}
			a.ok(a.with(old, func(_ *core.Visit, s *core.Session) {
				if got := visits.Get(s); got != 301 {
					t.Errorf("visits = %d", got)
				}
			}))
			a.wantIDs(map[core.ID]bool{old: true, next: false}) // one that nobody has used in an hour
		})
	})
	for name, h := range map[string]handler{
		"Login":   func(_ *core.Visit, s *core.Session) { _ = s.Login(core.LoginOptions{}) },
		"Renew":   func(_ *core.Visit, s *core.Session) { _ = s.Renew(bg) },
		"Reset":   func(_ *core.Visit, s *core.Session) { _ = s.Reset(bg); _ = visits.Set(s, 9) },
		"Destroy": func(_ *core.Visit, s *core.Session) { _ = s.Destroy(bg) },
	} {
		for _, by := range []string{"the old id", "the new id"} {
			t.Run("both die with "+name+" by "+by, func(t *testing.T) {
				for _, used := range []bool{false, true} {
					onRenewing(t, func(t *testing.T, a *app, old, next core.ID) {
						if used {
							a.wantVisits(1)
						}
						id := old
						if by == "the new id" {
							id = next
						}
						a.ok(a.with(id, h))
						a.wantIDs(map[core.ID]bool{old: false, next: false})
						a.ok(a.with(old, count(t)))
						a.ok(a.with(next, count(t)))
						a.wantIDs(map[core.ID]bool{old: false, next: false})
					})
				}
			})
		}
	}
	t.Run("DestroyByID by either", func(t *testing.T) {
		for _, byOld := range []bool{true, false} {
			for _, used := range []bool{true, false} {
				onRenewing(t, func(t *testing.T, a *app, old, next core.ID) {
					if used {
						a.wantVisits(1)
					}
					must(t, a.manager.DestroyByID(bg, map[bool]core.ID{true: old, false: next}[byOld]))
					a.wantIDs(map[core.ID]bool{old: false, next: false})
				})
			}
		}
	})
	t.Run("SetByID by either", func(t *testing.T) {
		for _, byOld := range []bool{true, false} {
			onRenewing(t, func(t *testing.T, a *app, old, next core.ID) {
				must(t, a.manager.SetByID(bg, map[bool]core.ID{true: old, false: next}[byOld], map[string]int{"visits": 7}, 0))
				a.wantVisits(7)
			})
		}
	})
	t.Run("requests with both ids, before and after the move", func(t *testing.T) {
		onRenewing(t, func(t *testing.T, a *app, old, next core.ID) {
			a.ok(a.with(old, func(v *core.Visit, s *core.Session) { // loaded before
				a.ok(a.with(old, func(v *core.Visit, s *core.Session) {
					count(t)(v, s)
					a.ok(a.get("/", count(t))) // the new id, for the first time
				})).wantCookies(t, "")
				time.Sleep(3 * grace) // its rest is over, but not for a request that had begun
				count(t)(v, s)
			})).wantCookies(t, "")
			a.wantVisits(4)
			a.wantIDs(map[core.ID]bool{old: false, next: true})
		})
	})
	for name, h := range map[string]func(s *core.Session) error{
		"Renew": func(s *core.Session) error { return s.Renew(bg) },
		"Login": func(s *core.Session) error { return s.Login(core.LoginOptions{}) },
	} {
		t.Run(name+" by a request that began before the move keeps the values", func(t *testing.T) {
			onRenewing(t, func(t *testing.T, a *app, old, next core.ID) {
				e := a.ok(a.with(old, func(v *core.Visit, s *core.Session) {
					a.ok(a.get("/", count(t)))
					must(t, h(s))
					must(t, user.Set(s, "ada"))
				}))
				a.browser.Take("/", e.jar.SetCookies...)
				a.wantVisits(2)
				a.wantUser("ada")
				a.wantIDs(map[core.ID]bool{old: false, next: false})
			})
		})
	}
	t.Run("a late response brings the old id back", func(t *testing.T) {
		for _, used := range []bool{false, true} {
			onRenewing(t, func(t *testing.T, a *app, old, next core.ID) {
				if used {
					a.wantVisits(1)
				}
				a.browser.Take("/", "koa.sid="+string(old)+"; path=/", "koa.sid.sig="+signature(old)+"; path=/")
				a.ok(a.get("/", nil)).wantCookies(t, pair)
				if core.ID(a.value()) != next {
					t.Error("the new id is not sent again")
				}
				time.Sleep(2 * grace)
				a.wantVisits(1)
			})
		}
	})
	t.Run("parallel requests are silent for a while, and then renew the old cookie", func(t *testing.T) {
		onRenewing(t, func(t *testing.T, a *app, old, next core.ID) {
			time.Sleep(grace - time.Millisecond)
			a.ok(a.with(old, count(t))).wantCookies(t, "")
			time.Sleep(time.Millisecond)
			a.ok(a.with(old, count(t))).wantCookies(t, pair)
		})
	})
	t.Run("nobody is renewed twice at once", func(t *testing.T) {
		for name, wrap := range renewingStores {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a := newAppOn(t, wrap(newMemory(t)), renewingOptions())
					a.ok(a.get("/", count(t)))
					old := core.ID(a.value())
					time.Sleep(renewAfter)
					given := 0
					var nested func(depth int) handler
					nested = func(depth int) handler {
						return func(v *core.Visit, s *core.Session) {
							if depth%2 == 0 {
								count(t)(v, s)
							}
							if depth > 0 {
								if e := a.ok(a.with(old, nested(depth-1))); len(e.jar.SetCookies) > 0 && !slices.Contains(e.jar.SetCookies, string(old)) {
									given++
								}
							}
						}
					}
					if e := a.ok(a.with(old, nested(5))); len(e.jar.SetCookies) > 0 {
						given++
					}
					if given != 1 {
						t.Errorf("%d responses had a new id", given)
					}
					a.ok(a.with(old, func(_ *core.Visit, s *core.Session) {
						if got := visits.Get(s); got != 4 {
							t.Errorf("visits = %d", got)
						}
					}))
				})
			})
		}
	})
	t.Run("not where it can't be", func(t *testing.T) {
		for name, h := range map[string]func(a *app, jar *jartest.Jar) handler{
			"the response has begun": func(a *app, jar *jartest.Jar) handler {
				return func(*core.Visit, *core.Session) { jar.Sent = true }
			},
			"SaveNever": func(*app, *jartest.Jar) handler {
				return func(_ *core.Visit, s *core.Session) { s.SetSaveMode(core.SaveNever) }
			},
			"a logout": func(*app, *jartest.Jar) handler {
				return func(_ *core.Visit, s *core.Session) { _ = s.Destroy(bg) }
			},
		} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a := newApp(t, renewingOptions())
					a.ok(a.get("/", count(t)))
					time.Sleep(renewAfter)
					jar := a.browser.Jar("/")
					e := a.ok(a.send(jar, h(a, jar)))
					if got := e.cookies(); got == pair {
						t.Errorf("Set-Cookie: %q", got)
					}
				})
			})
		}
	})
	t.Run("after a Renew the time begins anew", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, renewingOptions())
			a.ok(a.get("/", count(t)))
			time.Sleep(renewAfter / 2)
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Renew(bg)) }))
			id := a.value()
			time.Sleep(renewAfter - time.Millisecond)
			a.ok(a.get("/", nil))
			if a.value() != id {
				t.Error("renewed too early")
			}
			time.Sleep(time.Millisecond)
			a.ok(a.get("/", nil))
			if a.value() == id {
				t.Error("not renewed")
			}
		})
	})
	t.Run("its own time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, nil)
			a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
				count(t)(v, s)
				must(t, s.SetLifetime(core.Lifetime{RenewAfter: time.Minute}))
			}))
			id := a.value()
			for range 5 {
				time.Sleep(time.Minute)
				a.wantVisits(1)
				if a.value() == id {
					t.Error("not renewed")
				}
				a.wantVisits(1) // its age counts from its first use
				id = a.value()
			}
		})
	})
	t.Run("what it costs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, renewingOptions())
			a.ok(a.get("/", count(t)))
			a.ok(a.get("/", nil))
			a.wantCalls(map[storetest.Op]int{storetest.OpSetVersion: 1, storetest.OpGetVersion: 1})
			time.Sleep(renewAfter)
			a.ok(a.get("/", nil)) // renews it: one step
			a.wantCalls(map[storetest.Op]int{storetest.OpSetVersion: 1, storetest.OpGetVersion: 2, storetest.OpBatch: 1})
			a.ok(a.get("/", nil)) // the first use: the pointer, the record, one step that moves it, and the cookie again
			a.wantCalls(map[storetest.Op]int{storetest.OpSetVersion: 2, storetest.OpGetVersion: 4, storetest.OpBatch: 2})
			a.ok(a.get("/", nil))
			a.wantCalls(map[storetest.Op]int{storetest.OpSetVersion: 2, storetest.OpGetVersion: 5, storetest.OpBatch: 2})
		})
	})
	t.Run("an event", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var renewed []core.Event
			o := renewingOptions()
			o.Hooks.Event = func(_ context.Context, e core.Event) {
				if e.Kind == core.EventRenewed {
					renewed = append(renewed, e)
				}
			}
			a := newApp(t, o)
			a.ok(a.get("/", count(t)))
			old := core.ID(a.value())
			time.Sleep(renewAfter)
			a.ok(a.get("/", nil))
			a.ok(a.get("/", nil))
			if len(renewed) != 1 || renewed[0].Why != "RenewAfter" || renewed[0].Former != old.String() || renewed[0].ID != core.ID(a.value()).String() {
				t.Errorf("%+v", renewed)
			}
		})
	})
}

// TestP20Faults: whatever fails while the id is renewed or the session moves, the
// browser keeps it.
func TestP20Faults(t *testing.T) {
	faults := map[string]func(a *app, at int) (reached *bool){
		"one call is refused": func(a *app, at int) *bool {
			reached, n := new(bool), 0
			a.store.Before(func(context.Context, storetest.Op, string) error {
				if n++; n == at {
					*reached = true
					return core.ErrRefused
				}
				return nil
			})
			return reached
		},
		"one answer is lost": func(a *app, at int) *bool {
			reached, n := new(bool), 0
			a.store.After(func(_ context.Context, op storetest.Op, _ string) error {
				if n++; n == at {
					*reached = true
					if op != storetest.OpGetVersion {
						return core.ErrOutcomeUnknown
					}
				}
				return nil
			})
			return reached
		},
		"the process dies": func(a *app, at int) *bool {
			reached, n := new(bool), 0
			a.store.Before(func(context.Context, storetest.Op, string) error {
				if n++; n >= at {
					*reached = true
					return core.ErrRefused
				}
				return nil
			})
			return reached
		},
	}
	for name, wrap := range renewingStores {
		for kind, fault := range faults {
			for _, phase := range []string{"renewed", "first used"} {
				t.Run(name+", "+kind+", "+phase, func(t *testing.T) {
					for at := 1; at < 30; at++ {
						done := false
						synctest.Test(t, func(t *testing.T) {
							a := newAppOn(t, wrap(newMemory(t)), renewingOptions())
							a.ok(a.get("/", count(t)))
							old := core.ID(a.value())
							time.Sleep(renewAfter)
							if phase == "first used" {
								a.ok(a.get("/", nil))
							}
							reached := fault(a, at)
							e := a.get("/", count(t))
							a.store.Before(nil)
							a.store.After(nil)
							done = !*reached
							want := 1
							if e.err() == nil {
								want = 2
							}
							see := func(id core.ID) (got int) {
								a.ok(a.with(id, func(_ *core.Visit, s *core.Session) { got = visits.Get(s) }))
								return got
							}
							if kind == "one answer is lost" && e.err() != nil {
								want = see(core.ID(a.value())) // nobody knows
							}
							if got := see(core.ID(a.value())); got != want || got == 0 {
								t.Errorf("at call %d: %d, want %d (%v)", at, got, want, e.err())
							}
							if got := see(old); got != want {
								t.Errorf("at call %d: by the old id %d, want %d", at, got, want)
							}
							must(t, a.manager.DestroyByID(bg, old))
							a.wantIDs(map[core.ID]bool{old: false, core.ID(a.value()): false})
							a.ok(a.get("/", nil))
							a.wantIDs(map[core.ID]bool{old: false})
						})
						if done {
							return
						}
					}
					t.Error("it makes 30 calls")
				})
			}
		}
	}
}

// TestP20Model: random requests of several tabs with the ids that they have, whose
// answers come late or never, agree with a model of which ids lead to the session.
func TestP20Model(t *testing.T) {
	for name, wrap := range renewingStores {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				rapid.SyncTest(rt, func(rt *rapid.T) {
					store := memorystore.New(nil)
					defer store.Close()
					o := renewingOptions()
					o.Keys, o.Cookie.MaxAge = [][]byte{testKey}, 399*day
					m, err := core.New(wrap(store), o)
					if err != nil {
						rt.Fatal(err)
					}
					defer m.Close()
					w := renewals{T: rt, m: m, rest: map[core.ID]time.Time{}}
					w.send(w.begin(""), "write")
					rt.Repeat(map[string]func(*rapid.T){
						"begin": func(rt *rapid.T) {
							w.open = append(w.open, w.begin(rapid.SampledFrom(w.issued).Draw(rt, "id")))
						},
						"commit": func(rt *rapid.T) {
							if len(w.open) == 0 {
								rt.Skip("no request is under way")
							}
							i := rapid.IntRange(0, len(w.open)-1).Draw(rt, "request")
							r := w.open[i]
							w.open = slices.Delete(w.open, i, i+1)
							w.send(r, rapid.SampledFrom([]string{"read", "read", "write", "write", "login", "renew", "logout"}).Draw(rt, "what"))
						},
						"pass": func(rt *rapid.T) {
							time.Sleep(rapid.SampledFrom([]time.Duration{time.Second, grace - time.Second, grace, renewAfter / 2, renewAfter}).Draw(rt, "time"))
						},
						"": func(*rapid.T) { w.check() },
					})
				})
			})
		})
	}
}

// A renewals is the model: one session, and the ids that lead to it.
type renewals struct {
	*rapid.T
	m      *core.Manager
	issued []core.ID
	open   []*renewal

	now    core.ID               // "" when nobody is logged in
	next   core.ID               // that nobody has used yet
	rest   map[core.ID]time.Time // until when an older one leads there
	since  time.Time             // the age of the id
	life   int                   // counts the logins
	visits int
	saves  int
}

// A renewal is a request that has loaded its session.
type renewal struct {
	visit   *core.Visit
	session *core.Session
	jar     *jartest.Jar
	life    int // of what it has loaded, 0 for nothing
	saves   int // of the session, then
	id      core.ID
}

// leads reports whether id leads to the session.
func (w *renewals) leads(id core.ID) bool {
	return id != "" && (id == w.now || id == w.next || time.Now().Before(w.rest[id]))
}

func (w *renewals) begin(id core.ID) *renewal {
	r := &renewal{jar: &jartest.Jar{Target: "/"}, id: id}
	if id != "" {
		r.jar.Cookies = []string{signed(id)}
	}
	r.visit, _ = w.m.NewVisit(r.jar, nil)
	var err error
	if r.session, err = r.visit.Session(core.NewContext(bg, r.visit)); err != nil {
		w.Fatal(err)
	}
	if w.leads(id) {
		r.life = w.life
		defer func() { r.saves = w.saves }()
		if id == w.next { // the first use
			w.saves++
			w.rest[w.now] = time.Now().Truncate(time.Millisecond).Add(grace)
			w.now, w.next, w.since = id, "", time.Now()
		}
	}
	if got := r.session.IsNew(); got == (r.life > 0) {
		w.Fatalf("a request finds the session: %t, want %t", !got, r.life > 0)
	}
	return r
}

func (w *renewals) send(r *renewal, what string) {
	s, fine := r.session, r.life == 0 || r.life == w.life && w.now != ""
	switch what {
	case "write":
		if _, err := visits.Update(s, func(n int) int { return n + 1 }); err != nil {
			w.Fatal(err)
		}
	case "login":
		if err := s.Login(core.LoginOptions{}); err != nil {
			w.Fatal(err)
		}
	case "renew":
		if err := s.Renew(bg); (err == nil) != fine && r.life > 0 {
			w.Fatalf("Renew: %v", err)
		}
	case "logout":
		if err := s.Destroy(bg); err != nil {
			w.Fatal(err)
		}
	}
	_ = r.visit.Commit(bg) // ErrGone where it is not fine
	sent := core.ID("")
	for _, line := range r.jar.SetCookies {
		if c, err := http.ParseSetCookie(line); err == nil && c.Name == "koa.sid" {
			sent = core.ID(c.Value)
		}
	}
	if sent != "" && !slices.Contains(w.issued, sent) {
		w.issued = append(w.issued, sent)
	}
	if r.life == 0 || !fine {
		// It was nobody's, or has lost its session: what it stores is another one,
		// which is not followed any further.
		if r.life == 0 && w.life == 0 && what == "write" {
			w.life, w.now, w.visits, w.since = 1, sent, 1, time.Now()
		} else if what == "logout" { // within a minute it follows the session
			if _, err := w.m.GetByID(bg, w.now); w.now != "" && errors.Is(err, core.ErrNotFound) {
				w.end()
			}
		} else if sent != "" {
			w.issued = slices.DeleteFunc(w.issued, func(id core.ID) bool { return id == sent && !w.leads(id) })
		}
		return
	}
	saved := r.saves != w.saves
	w.saves++
	if what == "write" {
		w.visits++
	}
	switch {
	case what == "logout":
		w.end()
	case what == "login", what == "renew":
		w.life++
		w.now, w.next, w.since = sent, "", time.Now()
		clear(w.rest)
	case sent != "" && !w.leads(sent): // a new id of itself
		if age := time.Since(w.since); age < renewAfter || r.id != w.now {
			w.Fatalf("renewed after %v, by the id in use: %t", age, r.id == w.now)
		}
		w.next, w.since = sent, time.Now()
	case r.id == w.now && time.Since(w.since) >= renewAfter && !saved: // else the next request tries
		w.Fatalf("not renewed after %v", time.Since(w.since))
	}
}

func (w *renewals) end() {
	w.now, w.next = "", ""
	clear(w.rest)
}

// check compares all ids.
func (w *renewals) check() {
	for _, id := range w.issued {
		data, err := w.m.GetByID(bg, id)
		if w.leads(id) != (err == nil) {
			w.Fatalf("%v leads to the session: %v, want %t; %v is in use, %v comes next, %v rest", id, err, w.leads(id), w.now, w.next, w.rest)
		}
		if want := fmt.Sprintf(`{"visits":%d}`, w.visits); err == nil && string(data) != want {
			w.Fatalf("it has %s, want %s", data, want)
		}
	}
}

// W7, P20: two cookies with the ids of one session are one session, which is brought forward.
func TestP20BothIDsInOneRequest(t *testing.T) {
	for _, swapped := range []bool{false, true} {
		onRenewing(t, func(t *testing.T, a *app, old, next core.ID) {
			a.wantVisits(1) // by the new one, which gives the other one its rest
			cookies := []string{signed(old), signed(next)}
			if swapped {
				slices.Reverse(cookies)
			}
			e := a.ok(a.send(&jartest.Jar{Cookies: cookies}, func(_ *core.Visit, s *core.Session) {
				if visits.Get(s) != 1 || s.ID() != next {
					t.Errorf("the session has %d visits, and the new id: %t", visits.Get(s), s.ID() == next)
				}
			}))
			if e.values()["koa.sid"] != string(next) {
				t.Errorf("the new id is not sent: %q", e.cookies())
			}
		})
	}
}
