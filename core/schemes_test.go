package core_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

var (
	keyA, keyB, keyC = testKey, otherKey, []byte("Wm7Xc2Vb9Nq4Zs6Lk1Jh3Gf8Dd5Ta0Pr")
	koaA, koaB       = []byte("keys"), []byte("keykeys")
)

// deploys are the steps in which an application is deployed, each beside the one
// before. In each two neighbours nobody may be logged out.
func deploys(until time.Time) map[string][]core.Options {
	own := func(keys ...[]byte) core.Options { return core.Options{Keys: keys} }
	koa := func(keys ...[]byte) core.Options {
		o := *core.KoaCompat()
		o.Keys = keys
		return o
	}
	change := func(o core.Options, f func(o *core.Options)) core.Options { f(&o); return o }
	hex := func(o *core.Options) { o.Koa.Algorithm, o.Koa.Encoding = "sha256", "hex" }
	moving := func(keys ...[]byte) func(o *core.Options) {
		return func(o *core.Options) { o.Migrate = core.Migration{Keys: keys, Until: until} }
	}
	sealing := func(s core.Sealing) core.Options { return core.Options{Keys: core.Keyring{keyA}, Seal: s} }
	return map[string][]core.Options{
		"2 keys":            {own(keyA), own(keyA, keyB), own(keyB, keyA), own(keyB)},
		"3 keys":            {own(keyA, keyB), own(keyA, keyB, keyC), own(keyC, keyA, keyB), own(keyC, keyB), own(keyC)},
		"there and back":    {own(keyA), own(keyA, keyB), own(keyB, keyA), own(keyA, keyB), own(keyA)},
		"Koa, 2 keys":       {koa(koaA), koa(koaA, koaB), koa(koaB, koaA), koa(koaB)},
		"Koa, SHA-256, hex": {change(koa(koaA), hex), change(koa(koaA, koaB), hex), change(koa(koaB, koaA), hex), change(koa(koaB), hex)},
		"from Koa": {
			koa(koaA, koaB), change(koa(koaA, koaB), moving(keyA)), change(own(keyA), moving(koaA, koaB)), own(keyA),
		},
		"from Koa, with a rotation": {
			koa(koaA), change(koa(koaA), moving(keyA)), change(koa(koaA, koaB), moving(keyA, keyB)), change(own(keyA, keyB), moving(koaA, koaB)),
			change(own(keyB, keyA), moving(koaA, koaB)), change(own(keyB), moving(koaA, koaB)), own(keyB),
		},
		"from Koa, SHA-256, hex": {
			change(koa(koaA), hex), change(change(koa(koaA), hex), moving(keyA)), change(change(own(keyA), hex), moving(koaA)), own(keyA),
		},
		"back to Koa": {own(keyA), change(own(keyA), moving(koaA)), change(koa(koaA), moving(keyA)), koa(koaA)},
		"sealing": {
			sealing(core.Sealing{}), sealing(core.Sealing{Keys: core.Keyring{keyA}, OpenOnly: true, UnsealedUntil: until}),
			sealing(core.Sealing{Keys: core.Keyring{keyA}, UnsealedUntil: until}), sealing(core.Sealing{Keys: core.Keyring{keyA, keyB}}),
			sealing(core.Sealing{Keys: core.Keyring{keyB, keyA}}), sealing(core.Sealing{Keys: core.Keyring{keyB}}),
		},
	}
}

// TestT9KeysAndSchemes: every order in which a browser meets the processes of two
// neighbouring steps, on every kind of store: no visit is lost, and nobody is logged
// out.
func TestT9KeysAndSchemes(t *testing.T) {
	t.Parallel()
	for name, steps := range deploys(time.Now().Add(time.Hour)) {
		for kind, wrap := range map[string]func(core.Store) core.Store{
			"memory":  func(s core.Store) core.Store { return s },
			"swapper": func(s core.Store) core.Store { return stepwise(s) },
			"plain":   func(s core.Store) core.Store { return plainStore{s} },
		} {
			t.Run(name+", "+kind, func(t *testing.T) {
				t.Parallel()
				store := wrap(newMemory(t))
				var processes []*core.Manager
				for i := range steps {
					m, err := core.New(store, &steps[i])
					must(t, err)
					t.Cleanup(func() { m.Close() })
					processes = append(processes, m)
				}
				neighbours(t, processes)
			})
		}
	}
}

// neighbours lets a browser meet each two processes that follow each other.
func neighbours(t *testing.T, processes []*core.Manager) {
	t.Helper()
	const visitsEach = 4
	for step := 1; step < len(processes); step++ {
		for order := range 1 << visitsEach {
			a := &app{t: t, browser: &jartest.Browser{}}
			visit := func(which int, h handler) {
				t.Helper()
				jar := a.browser.Jar("/")
				e := serve(t, processes[which], jar, h)
				if err := e.err(); err != nil {
					t.Fatalf("step %d, order %b: %v", step, order, err)
				}
				a.browser.Take("/", jar.SetCookies...)
			}
			visit(step-1, signIn(t, "ada"))
			visit(step-1, count(t))
			want := 1
			for n := range visitsEach {
				visit(step-1+order>>n&1, func(v *core.Visit, s *core.Session) {
					if user.Get(s) != "ada" || visits.Get(s) != want {
						t.Fatalf("step %d, order %b, visit %d: %q has %d visits, want %d", step, order, n, user.Get(s), visits.Get(s), want)
					}
					switch (order + n) % 4 {
					case 0:
						count(t)(v, s)
						want++
					case 1:
						must(t, s.Login(core.LoginOptions{}))
					case 2:
						must(t, s.Renew(bg))
					}
				})
			}
			// The logout of either ends it for both.
			cookies := a.browser.Cookie("/")
			visit(step-1+order&1, func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) })
			for which := step - 1; which <= step; which++ {
				e := serve(t, processes[which], &jartest.Jar{Cookies: []string{cookies}}, func(_ *core.Visit, s *core.Session) {
					if !s.IsNew() {
						t.Errorf("step %d, order %b: alive after the logout", step, order)
					}
				})
				must(t, e.err())
			}
		}
	}
}

// TestT9WhatWasDropped: what a key or scheme signed that is no longer listed, or
// whose date is over, opens nothing.
func TestT9WhatWasDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		until := time.Now().Add(time.Hour)
		for name, steps := range deploys(until) {
			if name == "there and back" {
				continue
			}
			store := memorystore.New(nil)
			var processes []*core.Manager
			for i := range steps {
				m, err := core.New(store, &steps[i])
				must(t, err)
				processes = append(processes, m)
			}
			first := &jartest.Browser{}
			jar := first.Jar("/")
			must(t, serve(t, processes[0], jar, count(t)).err())
			first.Take("/", jar.SetCookies...)
			opens := func(m *core.Manager) (open bool) {
				e := serve(t, m, first.Jar("/"), func(_ *core.Visit, s *core.Session) { open = !s.IsNew() })
				if e.begin != nil && !errors.Is(e.begin, core.ErrCorrupt) {
					t.Error(e.begin)
				}
				return open
			}
			if !opens(processes[0]) || opens(processes[len(processes)-1]) {
				t.Errorf("%s: the first step's cookie opens %v there and %v in the last step", name, opens(processes[0]), opens(processes[len(processes)-1]))
			}
			if name == "from Koa" {
				jar := &jartest.Jar{Cookies: []string{"koa.sid=" + fixedID + "; koa.sid.sig=" + keygrip(string(koaA), "koa.sid", fixedID)}}
				for _, open := range []bool{true, false} {
					must(t, store.Set(bg, "koa:sess:"+fixedID, []byte(`{"cookie":{},"visits":1}`), 2*time.Hour))
					must(t, serve(t, processes[2], jar, func(_ *core.Visit, s *core.Session) {
						if s.IsNew() == open {
							t.Errorf("before the date, or else after it (%v): new %v", open, s.IsNew())
						}
						must(t, s.Destroy(bg))
					}).err())
					time.Sleep(time.Until(until))
				}
			}
			for _, m := range processes {
				m.Close()
			}
			store.Close()
		}
	})
}

// TestMigration is what T9 does not ask: races, faults, ids, and the date.
func TestMigration(t *testing.T) {
	t.Parallel()
	until := time.Now().Add(time.Hour)
	koa := core.KoaCompat()
	koa.Keys = core.Keyring{koaA}
	next := &core.Options{Keys: core.Keyring{keyA}, Migrate: core.Migration{Keys: core.Keyring{koaA}, Until: until}}
	begin := func(t *testing.T, store core.Store) (a *app, old *core.Manager, key string) {
		o := *next
		a = newAppOn(t, store, &o)
		old, err := core.New(store, koa)
		must(t, err)
		t.Cleanup(func() { old.Close() })
		jar := a.browser.Jar("/")
		must(t, serve(t, old, jar, count(t)).err())
		a.browser.Take("/", jar.SetCookies...)
		return a, old, "koa:sess:" + a.value()
	}
	t.Run("one form at a time", func(t *testing.T) {
		t.Parallel()
		store := newMemory(t)
		a, _, key := begin(t, store)
		id := a.value()
		a.wantVisits(1)
		if _, err := store.Get(bg, key); !errors.Is(err, core.ErrNotFound) {
			t.Errorf("the record of the former form: %v", err)
		}
		if data, err := store.Get(bg, hashedKey(core.ID(id))); err != nil || !strings.HasPrefix(string(data), `{"_gs":`) {
			t.Errorf("the record: %s, %v", data, err)
		}
		sig, _ := a.browser.Value("/", "koa.sid.sig")
		if len(sig) != 43 {
			t.Errorf("not signed anew: %d characters", len(sig))
		}
	})
	inBubble(t, "a signature of the app after the date", func(t *testing.T) { // also with the id of a session of ours
		until := time.Now().Add(time.Hour)
		a := newApp(t, &core.Options{Keys: core.Keyring{keyA}, Migrate: core.Migration{Keys: core.Keyring{koaA}, Until: until}})
		a.ok(a.get("/", count(t)))
		id := a.value()
		jar := &jartest.Jar{Cookies: []string{"koa.sid=" + id + "; koa.sid.sig=" + keygrip(string(koaA), "koa.sid", id)}}
		for _, opens := range []bool{true, false} {
			a.ok(a.send(jar, func(_ *core.Visit, s *core.Session) {
				if s.IsNew() == opens {
					t.Errorf("it opens a session: %v, at %v of %v", !opens, time.Now(), until)
				}
			}))
			time.Sleep(time.Until(until))
		}
	})
	t.Run("many at once", func(t *testing.T) {
		t.Parallel()
		for _, store := range []core.Store{newMemory(t), stepwise(newMemory(t))} {
			a, _, _ := begin(t, store)
			cookies := a.browser.Cookie("/")
			done := make(chan error)
			for range 20 {
				go func() {
					e := serve(t, a.manager, &jartest.Jar{Cookies: []string{cookies}}, func(_ *core.Visit, s *core.Session) {
						_, _ = visits.Update(s, func(n int) int { return n + 1 })
					})
					done <- e.err()
				}()
			}
			for range 20 {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			a.wantVisits(21)
		}
	})
	inBubble(t, "each step fails once", func(t *testing.T) {
		for k, wrap := range []func(core.Store) core.Store{func(s core.Store) core.Store { return s }, func(s core.Store) core.Store { return stepwise(s) }, func(s core.Store) core.Store { return plainStore{s} }} {
			for _, fault := range []error{core.ErrRefused, core.ErrOutcomeUnknown} {
				for after := range 2 {
					if after == 1 && fault == core.ErrRefused {
						continue // what was refused was not done
					}
					for at := 1; ; at++ {
						a, _, _ := begin(t, wrap(newMemory(t)))
						n, hit := 0, false
						hook := func(context.Context, storetest.Op, string) error {
							if n++; n == at {
								hit = true
								return fault
							}
							return nil
						}
						if after == 1 {
							a.store.After(hook)
						} else {
							a.store.Before(hook)
						}
						a.send(a.browser.Jar("/"), nil)
						a.store.Before(nil)
						a.store.After(nil)
						a.wantVisits(1) // it is where it was, or has moved, and is not lost
						if t.Failed() {
							t.Fatalf("%v: at call %d of store %d, after it %d", fault, at, k, after)
						}
						if !hit {
							break
						}
					}
				}
			}
		}
	})
	t.Run("a logout ends both", func(t *testing.T) {
		t.Parallel()
		store := newMemory(t)
		a, _, key := begin(t, store)
		record, err := store.Get(bg, key)
		must(t, err)
		a.wantVisits(1)
		for what, end := range map[string]handler{
			"Destroy": func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) },
			"login":   signIn(t, "ada"),
			"Renew":   func(_ *core.Visit, s *core.Session) { must(t, s.Renew(bg)) },
			"Reset":   func(_ *core.Visit, s *core.Session) { must(t, s.Reset(bg)) },
			"by id":   func(_ *core.Visit, s *core.Session) { must(t, a.manager.DestroyByID(bg, s.ID())) },
		} {
			a, _, key := begin(t, store)
			a.wantVisits(1)
			must(t, store.Set(bg, key, record, time.Hour)) // what a crash between two steps leaves
			a.ok(a.get("/", end))
			if _, err := store.Get(bg, key); !errors.Is(err, core.ErrNotFound) {
				t.Errorf("%s: the other form lives: %v", what, err)
			}
		}
		// Not loaded before.
		o := *next
		o.Defer = true
		a, _, key = begin(t, store)
		lazy := newAppOn(t, store, &o)
		lazy.browser = a.browser
		lazy.ok(lazy.visit(lazy.browser.Jar("/"), func(v *core.Visit) { must(t, v.Destroy(bg)) }))
		if _, err := store.Get(bg, key); !errors.Is(err, core.ErrNotFound) {
			t.Errorf("Visit.Destroy: the other form lives: %v", err)
		}
	})
	t.Run("ids of the app's own", func(t *testing.T) {
		t.Parallel()
		store := newMemory(t)
		o := *next
		o.Koa.ValidID = func(text string) bool { return strings.HasPrefix(text, "user:") }
		a := newAppOn(t, store, &o)
		long := "user:" + strings.Repeat("x", 200)
		for _, id := range []string{"user:42", long + "1", long + "2"} {
			must(t, store.Set(bg, "koa:sess:"+id, fmt.Appendf(nil, `{"cookie":{},"visits":%d}`, len(id)), time.Hour))
			a.browser = &jartest.Browser{}
			a.browser.Take("/", "koa.sid="+id, "koa.sid.sig="+keygrip(string(koaA), "koa.sid", id))
			a.wantVisits(len(id))
		}
	})
	t.Run("GetByID, SetByID", func(t *testing.T) {
		t.Parallel()
		store := newMemory(t)
		a, _, _ := begin(t, store)
		id := core.ID(a.value())
		if text, err := a.manager.GetByID(bg, id); err != nil || string(text) != `{"visits":1}` {
			t.Errorf("%s, %v", text, err)
		}
		a, _, _ = begin(t, store)
		must(t, a.manager.SetByID(bg, core.ID(a.value()), map[string]int{"visits": 5}, 0))
		a.wantVisits(5)
	})
	t.Run("a weaker cookie", func(t *testing.T) {
		t.Parallel()
		store := newMemory(t)
		o := *next
		o.Cookie = core.CookieOptions{Secure: core.On, SameSite: core.SameSiteStrict}
		o.InsecureAllowHTTP = true
		a := newAppOn(t, store, &o)
		must(t, store.Set(bg, "koa:sess:"+fixedID, []byte(`{"cookie":{"httpOnly":false,"secure":false,"path":"/x","maxAge":31536000000},"visits":1}`), time.Hour))
		e := a.ok(a.send(&jartest.Jar{Cookies: []string{"koa.sid=" + fixedID + "; koa.sid.sig=" + keygrip(string(koaA), "koa.sid", fixedID)}}, count(t)))
		if line := e.jar.SetCookies[0]; !strings.Contains(line, "; path=/;") || !strings.Contains(line, "samesite=strict; secure; httponly") {
			t.Errorf("what the record said still counts: %s", line)
		}
	})
	t.Run("a signature of the third kind", func(t *testing.T) {
		t.Parallel()
		a, _, _ := begin(t, newMemory(t))
		id := a.value()
		m := hmac.New(sha256.New, keyA)
		m.Write([]byte("koa.sid=" + id))
		for _, sig := range []string{base64.RawURLEncoding.EncodeToString(m.Sum(nil)), keygrip(string(keyA), "koa.sid", id), keygrip("other", "koa.sid", id)} {
			a.ok(a.send(&jartest.Jar{Cookies: []string{"koa.sid=" + id + "; koa.sid.sig=" + sig}}, func(_ *core.Visit, s *core.Session) {
				if !s.IsNew() {
					t.Error("accepted")
				}
			}))
		}
	})
}
