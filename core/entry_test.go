package core_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
)

// meanwhile runs a first request of the browser in which, after it has loaded
// its session and done one thing, a second request comes and goes.
func (a *app) meanwhile(first, second handler) *exchange {
	a.t.Helper()
	jar := a.browser.Jar("/")
	return a.get("/", func(v *core.Visit, s *core.Session) {
		a.t.Helper()
		first(v, s)
		e := a.ok(a.send(jar, second))
		a.browser.Take("/", e.jar.SetCookies...)
	})
}

func set(t *testing.T, name string, v any) handler {
	return func(_ *core.Visit, s *core.Session) { t.Helper(); must(t, s.Set(name, v)) }
}

func del(t *testing.T, name string) handler {
	return func(_ *core.Visit, s *core.Session) { t.Helper(); must(t, s.Delete(name)) }
}

func replace(t *testing.T, v map[string]any) handler {
	return func(_ *core.Visit, s *core.Session) { t.Helper(); must(t, s.Replace(v)) }
}

// DESIGN: versions. Two requests of one session at the same time.
func TestConflictMerge(t *testing.T) {
	for name, c := range map[string]struct {
		first, second handler
		want          string
	}{
		"different values":          {set(t, "a", 1), set(t, "b", 2), `{"x":0,"b":2,"a":1}`},
		"the same value":            {set(t, "x", 1), set(t, "x", 2), `{"x":1}`},
		"the same new value":        {set(t, "a", 1), set(t, "a", 1), `{"x":0,"a":1}`},
		"deleted and set":           {del(t, "x"), set(t, "b", 2), `{"b":2}`},
		"set and deleted":           {set(t, "a", 1), del(t, "x"), `{"a":1}`},
		"both deleted":              {del(t, "x"), del(t, "x"), `{}`},
		"deleted and set again":     {del(t, "x"), set(t, "x", 2), `{}`},
		"set to what it was":        {set(t, "x", 0), set(t, "x", 2), `{"x":2}`},
		"only read":                 {func(_ *core.Visit, s *core.Session) { s.Get("x") }, set(t, "x", 2), `{"x":2}`},
		"replaced and set":          {replace(t, map[string]any{"r": 1}), set(t, "b", 2), `{"r":1}`},
		"set and replaced":          {set(t, "a", 1), replace(t, map[string]any{"r": 1}), `{"r":1,"a":1}`},
		"both updated":              {count(t), count(t), `{"x":0,"visits":2}`},
		"updated and set":           {count(t), set(t, "visits", 10), `{"x":0,"visits":11}`},
		"set and updated":           {set(t, "visits", 10), count(t), `{"x":0,"visits":10}`},
		"updated twice and updated": {func(v *core.Visit, s *core.Session) { count(t)(v, s); count(t)(v, s) }, count(t), `{"x":0,"visits":3}`},
		"set, updated, and updated": {func(v *core.Visit, s *core.Session) { set(t, "visits", 5)(v, s); count(t)(v, s) }, count(t), `{"x":0,"visits":6}`},
		"updated and deleted":       {count(t), del(t, "x"), `{"visits":1}`},
		"updated and replaced":      {count(t), replace(t, map[string]any{"visits": 7}), `{"visits":8}`},
		"nothing and set":           {func(*core.Visit, *core.Session) {}, set(t, "a", 1), `{"x":0,"a":1}`},
	} {
		t.Run(name, func(t *testing.T) {
			saves := 0
			a := newApp(t, &core.Options{Hooks: core.Hooks{BeforeSave: func(context.Context, core.Jar, *core.Session) error { saves++; return nil }}})
			a.ok(a.get("/", set(t, "x", 0)))
			a.ok(a.meanwhile(c.first, c.second))
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
				if got, _ := s.JSON(); string(got) != c.want {
					t.Errorf("stored %s, want %s", got, c.want)
				}
			}))
			if saves > 3 {
				t.Errorf("requirement 23: BeforeSave ran %d times for at most 3 commits", saves)
			}
		})
	}
	t.Run("cookie options", func(t *testing.T) {
		maxAge := func(d time.Duration) handler {
			return func(_ *core.Visit, s *core.Session) { c := s.Cookie(); c.MaxAge = d; must(t, s.SetCookie(c)) }
		}
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, nil)
			a.ok(a.get("/", set(t, "x", 0)))
			a.ok(a.meanwhile(set(t, "a", 1), maxAge(100*time.Hour)))
			time.Sleep(99 * time.Hour) // the ttl is the other request's too
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
				if s.Cookie().MaxAge != 100*time.Hour || s.Get("a") == nil {
					t.Errorf("MaxAge %v, a %v", s.Cookie().MaxAge, s.Get("a"))
				}
			}))
		})
	})
	t.Run("Save during the request shows the merged session", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", set(t, "x", 0)))
		a.ok(a.meanwhile(count(t), count(t)))
		jar := a.browser.Jar("/")
		a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
			count(t)(v, s)
			a.ok(a.send(jar, func(v *core.Visit, s *core.Session) { count(t)(v, s); set(t, "b", 2)(v, s) }))
			must(t, s.Save(bg))
			if visits.Get(s) != 4 || s.Get("b") != 2.0 {
				got, _ := s.JSON()
				t.Errorf("after Save the session is %s", got)
			}
			count(t)(v, s)
		}))
		a.wantVisits(5)
	})
}

func TestConflictRefuse(t *testing.T) {
	var seen error
	a := newApp(t, &core.Options{OnConflict: core.ConflictRefuse, Hooks: core.Hooks{Error: func(_ context.Context, e *core.Error) error { seen = e; return e }}})
	a.ok(a.get("/", set(t, "x", 0)))
	e := a.meanwhile(set(t, "a", 1), set(t, "b", 2))
	wantIs(t, e.commit, core.ErrConflict)
	wantIs(t, seen, core.ErrConflict)
	e.wantCookies(t, "")
	if core.Status(e.commit) != 409 {
		t.Errorf("status %d", core.Status(e.commit))
	}
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		if got, _ := s.JSON(); string(got) != `{"x":0,"b":2}` {
			t.Errorf("stored %s", got)
		}
	}))
}

func TestConflictLastWriteWins(t *testing.T) {
	a := newApp(t, &core.Options{OnConflict: core.ConflictLastWriteWins})
	a.ok(a.get("/", set(t, "x", 0)))
	a.ok(a.meanwhile(set(t, "a", 1), set(t, "b", 2)))
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		if got, _ := s.JSON(); string(got) != `{"x":0,"a":1}` {
			t.Errorf("stored %s", got)
		}
	}))
	a.meanwhile(set(t, "a", 2), func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) })
	a.wantVisits(0)
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		if !s.IsNew() {
			t.Error("the destroyed session came back")
		}
	}))
}

// A session that is destroyed while a request runs is not restored, and the response
// of that request does not change the browser's cookie.
func TestNoResurrection(t *testing.T) {
	end := map[string]handler{
		"destroyed":   func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) },
		"regenerated": func(_ *core.Visit, s *core.Session) { must(t, s.Reset(bg)); must(t, s.Set("user", "ada")) },
		"renewed":     func(_ *core.Visit, s *core.Session) { must(t, s.Set("user", "ada")); must(t, s.Renew(bg)) },
	}
	do := map[string]func(s *core.Session) error{
		"set":       func(s *core.Session) error { return s.Set("a", 1) },
		"update":    func(s *core.Session) error { _, err := visits.Update(s, func(n int) int { return n + 1 }); return err },
		"delete":    func(s *core.Session) error { return s.Delete("x") },
		"replace":   func(s *core.Session) error { return s.Replace(map[string]int{"r": 1}) },
		"cookie":    func(s *core.Session) error { return s.SetCookie(core.CookieOptions{MaxAge: time.Hour}) },
		"force":     func(s *core.Session) error { s.SetSaveMode(core.SaveAlways); return nil },
		"only read": func(s *core.Session) error { s.Get("x"); return nil },
	}
	for ended, second := range end {
		for does, first := range do {
			for _, rolling := range []bool{false, true} {
				idle, touchEvery := time.Duration(0), time.Duration(0)
				if rolling {
					idle, touchEvery = core.DefaultMaxAge, 1
				}
				t.Run(fmt.Sprintf("%s, %s, rolling %v", does, ended, rolling), func(t *testing.T) {
					var seen []error
					a := newApp(t, &core.Options{IdleTimeout: idle, TouchEvery: touchEvery, Hooks: core.Hooks{Error: func(_ context.Context, e *core.Error) error {
						seen = append(seen, e)
						return nil
					}}})
					a.ok(a.get("/", set(t, "x", 0)))
					old := core.ID(a.value())
					e := a.ok(a.meanwhile(func(_ *core.Visit, s *core.Session) { must(t, first(s)) }, second))
					e.wantCookies(t, "")
					if does != "only read" || rolling {
						if len(seen) != 1 || !errors.Is(seen[0], core.ErrGone) {
							t.Errorf("the hook saw %v, want ErrGone", seen)
						}
					}
					if _, err := a.manager.GetByID(bg, old); !errors.Is(err, core.ErrNotFound) {
						t.Errorf("the old session is back: %v", err)
					}
					if fresh := a.value(); (fresh == "") != (ended == "destroyed") || fresh == string(old) {
						t.Errorf("the browser's cookie is %q", fresh)
					}
				})
			}
		}
	}
	t.Run("on a store without anything around it", func(t *testing.T) { // which has a fast path
		m, err := core.New(newMemory(t), &core.Options{Keys: core.Keyring{testKey}})
		must(t, err)
		defer m.Close()
		for name, second := range end {
			b := &jartest.Browser{}
			request := func(jar *jartest.Jar, h handler) *exchange {
				e := serve(t, m, jar, h)
				must(t, e.begin)
				b.Take("/", jar.SetCookies...)
				return e
			}
			must(t, request(b.Jar("/"), set(t, "x", 0)).commit)
			old, _ := b.Value("/", "koa.sid")
			e := request(b.Jar("/"), func(_ *core.Visit, s *core.Session) {
				must(t, request(b.Jar("/"), second).commit)
				must(t, s.Set("a", 1))
			})
			if err := e.commit; err != nil && !errors.Is(err, core.ErrGone) {
				t.Error(err)
			}
			if _, err := m.GetByID(bg, core.ID(old)); !errors.Is(err, core.ErrNotFound) {
				t.Errorf("%s: the old session is back: %v", name, err)
			}
			e.wantCookies(t, "")
		}
	})
	t.Run("Save returns ErrGone", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		id := core.ID(a.value())
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			must(t, a.manager.DestroyByID(bg, id))
			must(t, visits.Set(s, 9))
			wantIs(t, s.Save(bg), core.ErrGone)
			wantIs(t, visits.Set(s, 10), core.ErrGone)
		})).wantCookies(t, "")
		a.wantVisits(0)
	})
	t.Run("a later request with the old id", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		late := a.browser.Jar("/")
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Renew(bg)) }))
		fresh := a.value()
		e := a.ok(a.send(late, func(_ *core.Visit, s *core.Session) {
			if !s.IsNew() || visits.Get(s) != 0 {
				t.Error("the old id leads to the new session")
			}
		}))
		a.browser.Take("/", e.jar.SetCookies...)
		if a.value() != fresh {
			t.Error("the late response changed the browser's cookie")
		}
		a.wantVisits(1)
	})
}

// N requests update one value at the same time: N updates survive.
func TestHundredUpdates(t *testing.T) {
	const requests = 100
	a := newApp(t, nil)
	const list core.Key[[]int] = "list"
	a.ok(a.get("/", count(t)))
	var wg sync.WaitGroup
	var all sync.WaitGroup
	all.Add(requests)
	for i := range requests {
		jar := a.browser.Jar("/")
		wg.Go(func() {
			e := a.send(jar, func(v *core.Visit, s *core.Session) {
				all.Done()
				all.Wait() // all have loaded the same session
				count(t)(v, s)
				if _, err := list.Update(s, func(l []int) []int { return append(l, i) }); err != nil {
					t.Error(err)
				}
				must(t, s.Set(fmt.Sprint("k", i), i))
			})
			if e.err() != nil {
				t.Errorf("request %d: %v", i, e.err())
			}
		})
	}
	wg.Wait()
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		l := list.Get(s)
		slices.Sort(l)
		if visits.Get(s) != requests+1 || len(slices.Compact(l)) != requests || len(s.Names()) != requests+2 {
			t.Errorf("visits %d, list %d, names %d", visits.Get(s), len(l), len(s.Names()))
		}
	}))
}

// cookieField is what the browser would send of the cookies set so far.
func cookieField(v *core.Visit, s *core.Session) string {
	b := &jartest.Browser{}
	jar := v.Jar().(*jartest.Jar)
	b.Take("/", jar.SetCookies...)
	return b.Cookie("/")
}

// ConflictRefuse with a store that tells no versions: one's own Save is no
// conflict, another request's is. Renew has no conflicts (P4).
func TestConflictRefuseWithoutToldVersions(t *testing.T) {
	m := newMemory(t)
	a := newAppOn(t, forgetful{m, m}, &core.Options{OnConflict: core.ConflictRefuse})
	a.ok(a.get("/", count(t)))
	a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
		count(t)(v, s)
		must(t, s.Save(bg))
		count(t)(v, s)
		must(t, s.Renew(bg))
		count(t)(v, s)
	}))
	a.wantVisits(4)
	jar := a.browser.Jar("/")
	e := a.get("/", func(v *core.Visit, s *core.Session) {
		count(t)(v, s)
		must(t, s.Save(bg))
		a.ok(a.send(jar, count(t)))
		count(t)(v, s)
		wantIs(t, s.Save(bg), core.ErrConflict)
		must(t, s.Renew(bg))
		count(t)(v, s)
	})
	must(t, e.commit)
	a.wantVisits(8)
}

func TestK37TTL(t *testing.T) {
	for name, c := range map[string]struct {
		o    core.Options
		set  func(s *core.Session)
		life time.Duration // 0: for ever
	}{
		"default":         {life: 24 * time.Hour},
		"MaxAge":          {o: core.Options{Cookie: core.CookieOptions{MaxAge: 1500 * time.Millisecond}}, life: 1500 * time.Millisecond},
		"IdleTimeout":     {o: core.Options{IdleTimeout: 5 * time.Second}, life: 5 * time.Second},
		"Expires":         {o: core.Options{Cookie: core.CookieOptions{MaxAge: core.UntilBrowserCloses, Expires: time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC)}}, life: time.Hour},
		"none: a default": {o: core.Options{Cookie: core.CookieOptions{MaxAge: core.UntilBrowserCloses}}, life: core.DefaultMaxAge},
		"none: for ever":  {o: core.Options{InsecureNoLimit: true, Cookie: core.CookieOptions{MaxAge: core.UntilBrowserCloses}}},
		"absolute":        {o: core.Options{AbsoluteTimeout: time.Minute}, life: time.Minute},
		"own cookie": {set: func(s *core.Session) {
			c := s.Cookie()
			c.MaxAge = 90 * time.Second
			s.SetCookie(c)
		}, life: 90 * time.Second},
		"past": {set: func(s *core.Session) {
			c := s.Cookie()
			c.MaxAge, c.Expires = core.UntilBrowserCloses, time.Now().Add(-time.Second)
			s.SetCookie(c)
		}, life: -1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newApp(t, &c.o)
				var id core.ID
				a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
					must(t, visits.Set(s, 1))
					if c.set != nil {
						c.set(s)
					}
					id = s.ID()
				}))
				there := func() bool {
					_, err := a.manager.GetByID(bg, id)
					return err == nil
				}
				switch {
				case c.life < 0:
					if there() {
						t.Error("stored though its time is over")
					}
				case c.life == 0:
					time.Sleep(1000 * time.Hour)
					if !there() {
						t.Error("it has expired")
					}
				default:
					time.Sleep(c.life - time.Nanosecond)
					if !there() {
						t.Error("gone too early")
					}
					time.Sleep(time.Nanosecond)
					if there() {
						t.Error("still there")
					}
				}
			})
		})
	}
	t.Run("a time in the past destroys", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			c := s.Cookie()
			c.MaxAge, c.Expires = core.UntilBrowserCloses, time.Now().Add(-time.Second)
			must(t, s.SetCookie(c))
		})).wantCookies(t, "-koa.sid -koa.sid.sig")
		a.wantVisits(0)
	})
}

func TestRequirement17AbsoluteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp(t, &core.Options{AbsoluteTimeout: time.Hour, IdleTimeout: core.DefaultMaxAge})
		a.ok(a.get("/", count(t)))
		// A store that kept the record too long does not matter.
		id := core.ID(a.value())
		key := hashedKey(id)
		data, err := a.store.Get(bg, key)
		must(t, err)
		must(t, a.store.Set(bg, key, data, 0))
		time.Sleep(time.Hour - time.Nanosecond)
		late := a.browser.Jar("/") // of a browser whose clock is slow
		a.wantVisits(1)
		must(t, a.store.Set(bg, key, data, 0))
		time.Sleep(time.Nanosecond)
		a.ok(a.send(late, func(_ *core.Visit, s *core.Session) {
			if got := visits.Get(s); got != 0 {
				t.Errorf("visits = %d", got)
			}
		}))
		if _, err := a.store.Get(bg, key); !errors.Is(err, core.ErrNotFound) {
			t.Error("the expired record is still stored")
		}
	})
}
