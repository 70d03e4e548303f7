package core_test

import (
	"cmp"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/internal/soak"
	memorystore "github.com/gensession/gensession/stores/memory"
)

const day = 24 * time.Hour

// TestP16Limits: P16 and P18, each limit holds to the record's millisecond, in the store and in
// a browser whose clock does not matter.
func TestP16Limits(t *testing.T) {
	use := func(t *testing.T, a *app) { a.ok(a.get("/", nil)) }
	for name, test := range map[string]struct {
		o     core.Options
		begin func(s *core.Session) error
		use   func(t *testing.T, a *app) // after half of the time
		want  time.Duration
	}{
		"from the last save, read":  {o: core.Options{}, use: use, want: day},
		"from the last save, saved": {o: core.Options{}, use: func(t *testing.T, a *app) { a.ok(a.get("/", count(t))) }, want: day + day/2},
		"MaxAge":                    {o: core.Options{Cookie: core.CookieOptions{MaxAge: 90 * time.Second}}, want: 90 * time.Second},
		"idle":                      {o: core.Options{IdleTimeout: time.Hour}, want: time.Hour},
		"idle, in use":              {o: core.Options{IdleTimeout: time.Hour}, use: use, want: time.Hour + time.Hour/2},
		"absolute":                  {o: core.Options{AbsoluteTimeout: time.Hour}, want: time.Hour},
		"absolute, in use":          {o: core.Options{AbsoluteTimeout: time.Hour, IdleTimeout: 40 * time.Minute}, use: use, want: time.Hour},
		"until the browser closes":  {o: core.Options{Cookie: core.CookieOptions{MaxAge: core.UntilBrowserCloses}}, want: day},
		"closes, idle":              {o: core.Options{IdleTimeout: time.Hour, Cookie: core.CookieOptions{MaxAge: core.UntilBrowserCloses}}, want: time.Hour},
		"remembered": {
			o:     core.Options{IdleTimeout: time.Hour, AbsoluteTimeout: 12 * time.Hour, RememberFor: 30 * day},
			begin: func(s *core.Session) error { return s.Login(core.LoginOptions{Remember: true}) }, use: use, want: 30 * day,
		},
		"remembered, saved": {
			o:     core.Options{RememberFor: 30 * day},
			begin: func(s *core.Session) error { return s.Login(core.LoginOptions{Remember: true}) },
			use:   func(t *testing.T, a *app) { a.ok(a.get("/", count(t))) }, want: 30 * day,
		},
		"an idle time of its own": {
			o:     core.Options{},
			begin: func(s *core.Session) error { return s.SetLifetime(core.Lifetime{IdleTimeout: time.Hour}) }, use: use, want: time.Hour + time.Hour/2,
		},
		"an absolute time of its own": {
			o: core.Options{IdleTimeout: time.Hour},
			begin: func(s *core.Session) error {
				return s.Login(core.LoginOptions{Lifetime: core.Lifetime{AbsoluteTimeout: 50 * time.Minute}})
			}, use: use, want: 50 * time.Minute,
		},
		"both, remembered": {
			o: core.Options{IdleTimeout: time.Hour, RememberFor: 30 * day},
			begin: func(s *core.Session) error {
				return s.Login(core.LoginOptions{Remember: true, Lifetime: core.Lifetime{IdleTimeout: 10 * day}})
			}, use: func(t *testing.T, a *app) { time.Sleep(time.Hour); use(t, a) }, want: 5*day + time.Hour + 10*day,
		},
		"SetCookie over idle": {
			o:     core.Options{IdleTimeout: time.Hour},
			begin: func(s *core.Session) error { return s.SetCookie(core.CookieOptions{MaxAge: 2 * day}) }, want: 2 * day,
		},
		"SetCookie after remember": {
			o: core.Options{RememberFor: 30 * day},
			begin: func(s *core.Session) error {
				return errors.Join(s.Login(core.LoginOptions{Remember: true}), s.SetCookie(core.CookieOptions{MaxAge: time.Hour}))
			}, want: time.Hour,
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, at := range []struct {
				off   time.Duration
				lives bool
			}{{-time.Nanosecond, true}, {0, false}, {time.Millisecond, false}} {
				synctest.Test(t, func(t *testing.T) {
					a := newApp(t, &test.o)
					start := time.Now()
					a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
						count(t)(v, s)
						if test.begin != nil {
							must(t, test.begin(s))
						}
					}))
					if test.use != nil {
						life := test.want
						for _, half := range []time.Duration{day, time.Hour, 10 * day} { // what it counts from
							if life == half+half/2 || life == 5*day+time.Hour+10*day && half == 10*day {
								life = half
							}
						}
						time.Sleep(life / 2)
						test.use(t, a)
					}
					field := a.browser.Cookie("/")
					time.Sleep(time.Until(start.Add(test.want + at.off)))
					a.ok(a.send(&jartest.Jar{Target: "/", Cookies: []string{field}}, func(_ *core.Visit, s *core.Session) {
						if lives := visits.Get(s) > 0; lives != at.lives {
							t.Errorf("%v from the limit it lives: %t", at.off, lives)
						}
					}))
				})
			}
		})
	}
}

// TestW28RememberMe: W28, W29 and W32 as they were found; P18.
func TestW28RememberMe(t *testing.T) {
	month := 30 * day
	t.Run("W28 thirty days beside an idle time of half an hour", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, &core.Options{IdleTimeout: 30 * time.Minute, AbsoluteTimeout: 12 * time.Hour, RememberFor: month})
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
				must(t, s.Login(core.LoginOptions{Remember: true}))
				must(t, user.Set(s, "ada"))
			}))
			time.Sleep(29 * day)
			a.wantUser("ada")
			time.Sleep(day)
			a.wantUser("")
		})
	})
	t.Run("W28 remembered where other cookies end with the browser", func(t *testing.T) {
		a := newApp(t, &core.Options{Cookie: core.CookieOptions{MaxAge: core.UntilBrowserCloses}, IdleTimeout: 30 * time.Minute, RememberFor: month})
		for _, remember := range []bool{false, true, false} {
			e := a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Login(core.LoginOptions{Remember: remember})) }))
			if hasExpiry(e) != remember {
				t.Errorf("remembered: %v, and a cookie with an end: %v", remember, !remember)
			}
		}
	})
	t.Run("W29 a life after UntilBrowserCloses, and back", func(t *testing.T) {
		a := newApp(t, &core.Options{Cookie: core.CookieOptions{MaxAge: core.UntilBrowserCloses}})
		for _, life := range []time.Duration{month, core.UntilBrowserCloses, time.Hour} {
			e := a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
				c := s.Cookie()
				c.MaxAge = life
				must(t, s.SetCookie(c))
				must(t, user.Set(s, life.String()))
			}))
			if has := hasExpiry(e); has != (life > 0) {
				t.Errorf("%v: a cookie with an end: %t", life, has)
			}
		}
	})
	t.Run("W32 forgotten at a login without it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, &core.Options{IdleTimeout: time.Hour, RememberFor: month})
			login := func(remember bool) handler {
				return func(_ *core.Visit, s *core.Session) {
					must(t, s.Login(core.LoginOptions{Remember: remember}))
					must(t, user.Set(s, "ada"))
				}
			}
			a.ok(a.get("/", login(true)))
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Renew(bg)) })) // keeps it
			time.Sleep(2 * day)
			a.wantUser("ada")
			a.ok(a.get("/", login(false)))
			time.Sleep(time.Hour)
			a.wantUser("")
		})
	})
	t.Run("a stricter configuration wins at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			store := newMemory(t)
			a := newAppOn(t, store, &core.Options{IdleTimeout: time.Hour, RememberFor: month})
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
				must(t, s.Login(core.LoginOptions{Remember: true}))
				must(t, user.Set(s, "ada"))
			}))
			field := a.browser.Cookie("/")
			for _, test := range []struct {
				o    core.Options
				wait time.Duration
				want string
			}{
				{core.Options{RememberFor: 7 * day}, 6 * day, "ada"},
				{core.Options{RememberFor: month}, day, "ada"}, // it has not become longer or shorter for good
				{core.Options{RememberFor: 7 * day}, 0, ""},
			} {
				time.Sleep(test.wait)
				b := newAppOn(t, store, &test.o)
				b.ok(b.send(&jartest.Jar{Target: "/", Cookies: []string{field}}, func(_ *core.Visit, s *core.Session) {
					if got := user.Get(s); got != test.want {
						t.Errorf("%+v: %q, want %q", test.o.RememberFor, got, test.want)
					}
				}))
			}
		})
	})
	t.Run("a stricter idle time over a life of the session's own", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			store := newMemory(t)
			a := newAppOn(t, store, &core.Options{IdleTimeout: time.Hour, Cookie: core.CookieOptions{MaxAge: core.UntilBrowserCloses}})
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
				must(t, s.SetCookie(core.CookieOptions{MaxAge: 2 * day}))
				must(t, user.Set(s, "ada"))
			}))
			for _, test := range []struct {
				idle, want time.Duration
			}{{2 * time.Hour, 2 * day}, {10 * time.Minute, 10 * time.Minute}} {
				b := newAppOn(t, store, &core.Options{IdleTimeout: test.idle, Cookie: core.CookieOptions{MaxAge: core.UntilBrowserCloses}})
				b.browser = a.browser
				b.ok(b.get("/", func(_ *core.Visit, s *core.Session) {
					if got := s.Lifetime().IdleTimeout; got != test.want {
						t.Errorf("beside %v it lives %v, want %v", test.idle, got, test.want)
					}
				}))
			}
			b := newAppOn(t, store, &core.Options{IdleTimeout: 10 * time.Minute, Cookie: core.CookieOptions{MaxAge: core.UntilBrowserCloses}})
			b.browser = a.browser
			time.Sleep(10*time.Minute - time.Millisecond)
			b.wantUser("ada")
			time.Sleep(10 * time.Minute)
			b.wantUser("")
		})
	})
	t.Run("no longer offered: the usual limits", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			store := newMemory(t)
			a := newAppOn(t, store, &core.Options{AbsoluteTimeout: time.Hour, RememberFor: month})
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
				must(t, s.Login(core.LoginOptions{Remember: true}))
				must(t, user.Set(s, "ada"))
			}))
			time.Sleep(2 * time.Hour)
			b := newAppOn(t, store, &core.Options{AbsoluteTimeout: time.Hour})
			b.browser = a.browser
			b.wantUser("")
		})
	})
}

// hasExpiry reports whether the session cookie of the response has an end.
func hasExpiry(e *exchange) bool {
	for _, line := range e.jar.SetCookies {
		if c, err := http.ParseSetCookie(line); err == nil && c.Name == "koa.sid" {
			return !c.Expires.IsZero()
		}
	}
	return false
}

// A life of its own is within the limits of the Options (P18).
func TestSetLifetime(t *testing.T) {
	t.Run("what was chosen, and the Options", func(t *testing.T) {
		a := newApp(t, &core.Options{IdleTimeout: time.Hour, AbsoluteTimeout: 12 * time.Hour, RenewAfter: time.Hour})
		for _, test := range []struct{ set, want core.Lifetime }{
			{core.Lifetime{}, core.Lifetime{IdleTimeout: time.Hour, AbsoluteTimeout: 12 * time.Hour, RenewAfter: time.Hour}},
			{core.Lifetime{IdleTimeout: time.Minute}, core.Lifetime{IdleTimeout: time.Minute, AbsoluteTimeout: 12 * time.Hour, RenewAfter: time.Hour}},
			{core.Lifetime{AbsoluteTimeout: 2 * time.Hour, UntilBrowserCloses: true}, core.Lifetime{IdleTimeout: time.Hour, AbsoluteTimeout: 2 * time.Hour, RenewAfter: time.Hour, UntilBrowserCloses: true}},
			{core.Lifetime{RenewAfter: time.Minute}, core.Lifetime{IdleTimeout: time.Hour, AbsoluteTimeout: 12 * time.Hour, RenewAfter: time.Minute}},
			{core.Lifetime{}, core.Lifetime{IdleTimeout: time.Hour, AbsoluteTimeout: 12 * time.Hour, RenewAfter: time.Hour}},
		} {
			a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
				count(t)(v, s)
				must(t, s.SetLifetime(test.set))
			}))
			a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
				if got := s.Lifetime(); got != test.want {
					t.Errorf("%+v, want %+v", got, test.want)
				}
				must(t, s.SetLifetime(s.Lifetime())) // within the limits
				must(t, s.SetLifetime(test.set))
			}))
		}
	})
	t.Run("it keeps the cookie options, and they keep it", func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
			count(t)(v, s)
			must(t, s.SetLifetime(core.Lifetime{IdleTimeout: time.Minute}))
			c := s.Cookie()
			c.Priority = core.PriorityHigh
			must(t, s.SetCookie(c))
		}))
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			if s.Lifetime().IdleTimeout != time.Minute || s.Cookie().Priority != core.PriorityHigh {
				t.Errorf("%+v, %+v", s.Lifetime(), s.Cookie())
			}
		}))
	})
	t.Run("refused", func(t *testing.T) {
		for name, test := range map[string]struct {
			o *core.Options
			l core.Lifetime
		}{
			"negative":               {&core.Options{}, core.Lifetime{IdleTimeout: -time.Hour}},
			"seconds":                {&core.Options{}, core.Lifetime{IdleTimeout: 1800}},
			"days in milliseconds":   {&core.Options{}, core.Lifetime{AbsoluteTimeout: 30 * 86400000}},
			"over MaxAge":            {&core.Options{}, core.Lifetime{IdleTimeout: 25 * time.Hour}},
			"over IdleTimeout":       {&core.Options{IdleTimeout: time.Hour}, core.Lifetime{IdleTimeout: 2 * time.Hour}},
			"over AbsoluteTimeout":   {&core.Options{AbsoluteTimeout: time.Hour}, core.Lifetime{AbsoluteTimeout: 2 * time.Hour}},
			"over RenewAfter":        {&core.Options{RenewAfter: time.Hour}, core.Lifetime{RenewAfter: 2 * time.Hour}},
			"RenewAfter under grace": {&core.Options{}, core.Lifetime{RenewAfter: 30 * time.Second}},
			"KoaCompat":              {core.KoaCompat(), core.Lifetime{IdleTimeout: time.Hour}},
		} {
			t.Run(name, func(t *testing.T) {
				a := newApp(t, test.o)
				a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
					was := s.Lifetime()
					if s.SetLifetime(test.l) == nil || s.Lifetime() != was {
						t.Errorf("taken: %+v", s.Lifetime())
					}
					count(t)(v, s)
				}))
			})
		}
		a := newAppOn(t, plainStore{newMemory(t)}, nil)
		a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
			wantIs(t, s.SetLifetime(core.Lifetime{RenewAfter: time.Hour}), errors.ErrUnsupported)
		}))
	})
}

// TestW31WhatNobodyMeans: what New refuses as a lifetime, a session refuses as well,
// but for the life that it has: Koa may have stored that.
func TestW31WhatNobodyMeans(t *testing.T) {
	lives := map[string]struct {
		c    core.CookieOptions
		want string
	}{
		"seconds":              {core.CookieOptions{MaxAge: 86400}, "or 24h0m0s"},
		"milliseconds":         {core.CookieOptions{MaxAge: 86400000}, "or 24h0m0s"},
		"days in milliseconds": {core.CookieOptions{MaxAge: 30 * 86400000}, "30 * 24 * time.Hour"},
		"an end without end":   {core.CookieOptions{Expires: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}, "400 days"},
	}
	for name, o := range map[string]*core.Options{"default": {}, "KoaCompat": core.KoaCompat()} {
		t.Run(name, func(t *testing.T) {
			a := newApp(t, o)
			a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
				count(t)(v, s)
				was := s.Cookie()
				for name, test := range lives {
					if err := s.SetCookie(test.c); err == nil || !strings.Contains(err.Error(), test.want) || s.Cookie() != was {
						t.Errorf("SetCookie, %s: %v, it has %+v", name, err, s.Cookie())
					}
				}
			}))
			a.wantVisits(1)
			id := core.ID(a.value())
			for _, ttl := range []time.Duration{1, 86400, 86400000, 14 * 86400000} {
				if a.manager.SetByID(bg, id, map[string]int{"visits": 2}, ttl) == nil {
					t.Errorf("SetByID: %d is taken", ttl)
				}
			}
			a.wantVisits(1)
			must(t, a.manager.SetByID(bg, id, map[string]int{"visits": 2}, time.Second))
			a.wantVisits(2)
		})
	}
	t.Run("the life that it has", func(t *testing.T) {
		store := newMemory(t)
		a := newAppOn(t, store, core.KoaCompat())
		a.ok(a.get("/", count(t)))
		must(t, store.Set(bg, "koa:sess:"+a.value(), []byte(`{"visits":1,"cookie":{"path":"/","httpOnly":true,"maxAge":500}}`), time.Hour))
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			c := s.Cookie()
			if c.MaxAge != 500*time.Millisecond {
				t.Fatalf("it has %v", c.MaxAge)
			}
			c.Priority = core.PriorityHigh
			must(t, s.SetCookie(c))
		}))
	})
}

// Hardened is accepted as it is, and with each value changed alone.
func TestHardened(t *testing.T) {
	for name, change := range map[string]func(o *core.Options){
		"as it is":        func(*core.Options) {},
		"Name":            func(o *core.Options) { o.Name = "sid" },
		"Secure":          func(o *core.Options) { o.Cookie.Secure, o.Name = core.Default, "sid" },
		"MaxAge":          func(o *core.Options) { o.Cookie.MaxAge = 0 },
		"Domain":          func(o *core.Options) { o.Cookie.Domain, o.Name = "example.com", "__Secure-sid" },
		"IdleTimeout":     func(o *core.Options) { o.IdleTimeout = 0 },
		"longer idle":     func(o *core.Options) { o.IdleTimeout = 48 * time.Hour },
		"AbsoluteTimeout": func(o *core.Options) { o.AbsoluteTimeout = 0 },
		"short absolute":  func(o *core.Options) { o.AbsoluteTimeout = 10 * time.Minute },
		"RenewAfter":      func(o *core.Options) { o.RenewAfter = 0 },
		"RememberFor":     func(o *core.Options) { o.RememberFor = 30 * day },
	} {
		t.Run(name, func(t *testing.T) {
			o := core.Hardened()
			change(o)
			a := newApp(t, o)
			a.browser.TLS = true
			a.ok(a.get("/", count(t)))
			a.wantVisits(1)
		})
	}
	t.Run("twelve hours in all", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, core.Hardened())
			a.browser.TLS = true
			a.ok(a.get("/", count(t)))
			for range 12*4 - 1 { // always in use
				time.Sleep(15 * time.Minute)
				a.wantVisits(1)
			}
			time.Sleep(15 * time.Minute)
			a.wantVisits(0)
		})
	})
	t.Run("what it does", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, core.Hardened())
			if a.get("/", count(t)).commit == nil {
				t.Error("a cookie without TLS")
			}
			a.browser.TLS = true
			e := a.ok(a.get("/", count(t)))
			c, err := http.ParseSetCookie(e.jar.SetCookies[0])
			must(t, err)
			if c.Name != "__Host-sid" || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || !c.Expires.IsZero() || c.MaxAge != 0 {
				t.Errorf("the cookie is %v", c)
			}
			id := c.Value
			for range 23 { // in use
				time.Sleep(29 * time.Minute)
				a.ok(a.get("/", nil))
			}
			if now, _ := a.browser.Value("/", "__Host-sid"); now == id {
				t.Error("after hours it has the same id")
			}
			a.wantVisits(1)
			time.Sleep(12*time.Hour - 23*29*time.Minute)
			a.wantVisits(0)
			a.ok(a.get("/", count(t)))
			time.Sleep(30 * time.Minute)
			a.wantVisits(0)
		})
	})
}

// TestLifetimesAgree: for random Options that New accepts and random requests,
// the life of the cookie, that of the record, the ids that lead to it and what a
// request sees at any moment are those of a model of the three lifetimes (W30, P20),
// also where answers are lost; and with KoaCompat those of a second one, where the
// store and the cookie have each their own.
func TestLifetimesAgree(t *testing.T) {
	stores := maps.Clone(renewingStores)
	stores["no versions"] = func(s core.Store) core.Store { return plainStore{s} }
	for name, wrap := range stores {
		t.Run(name, func(t *testing.T) {
			accepted, refused, renewed, arrived := 0, 0, 0, 0
			play := func(rt *rapid.T) {
				store := memorystore.New(nil)
				defer store.Close()
				o, koa := drawLifetimes(rt)
				m, err := core.New(wrap(store), &o)
				if err != nil {
					refused++
					return
				}
				defer m.Close()
				accepted++
				l := lifetimes{T: rt, o: o, m: m, koa: koa}
				l.forget()
				l.play()
				renewed, arrived = renewed+l.renewed, arrived+l.arrived
			}
			for range soak.Rounds(len(stores), 1, 400) {
				rapid.Check(t, func(rt *rapid.T) { rapid.SyncTest(rt, play) })
			}
			t.Logf("%d configurations were accepted, %d refused, %d ids were renewed, %d arrived", accepted, refused, renewed, arrived)
			if accepted < refused/20 || accepted == 0 || arrived == 0 && name != "no versions" && !testing.Short() { // which draws less
				t.Error("too few to tell anything")
			}
		})
	}
}

// drawLifetimes draws what a user may set, some of it by mistake.
func drawLifetimes(rt *rapid.T) (o core.Options, koa bool) {
	meant := []time.Duration{0, time.Minute, 12 * time.Hour, 1234 * time.Millisecond, time.Hour, 30 * day, time.Second}
	life := func(name string) time.Duration {
		if rapid.IntRange(0, 19).Draw(rt, name+", meant") == 19 {
			return rapid.SampledFrom([]time.Duration{86400, 86400000, -1, 500 * day}).Draw(rt, name)
		}
		return meant[rapid.Uint64().Draw(rt, name)%uint64(len(meant))] // SampledFrom prefers the first
	}
	o = core.Options{RememberFor: life("RememberFor"), Keys: [][]byte{testKey}}
	switch rapid.IntRange(0, 3).Draw(rt, "what limits it") {
	case 0:
		o.IdleTimeout = life("IdleTimeout")
	case 1:
		o.Cookie.MaxAge = life("MaxAge")
	case 2:
		o.IdleTimeout, o.Cookie.MaxAge = life("IdleTimeout"), life("MaxAge")
	case 3:
		o.Cookie.Expires = time.Now().Add(rapid.SampledFrom([]time.Duration{1500 * time.Millisecond, time.Hour, 30 * day, 500 * day}).Draw(rt, "Expires"))
		o.IdleTimeout, o.Cookie.MaxAge = rapid.SampledFrom([]time.Duration{0, 0, time.Hour}).Draw(rt, "IdleTimeout"), rapid.SampledFrom([]time.Duration{0, 0, time.Hour}).Draw(rt, "MaxAge")
	}
	if rapid.Bool().Draw(rt, "closes") {
		o.Cookie.MaxAge = core.UntilBrowserCloses
	}
	if koa = rapid.IntRange(0, 3).Draw(rt, "koa") == 3; koa { // ttl, rolling, maxAge and expires as there
		c := core.KoaCompat()
		c.RememberFor, c.Cookie, c.Keys = o.RememberFor, o.Cookie, o.Keys
		c.TTL, c.Rolling = life("TTL"), rapid.Bool().Draw(rt, "Rolling")
		return *c, true
	}
	o.AbsoluteTimeout = life("AbsoluteTimeout")
	o.RenewAfter = rapid.SampledFrom([]time.Duration{2 * time.Second, time.Hour, 0, time.Minute, 12 * time.Hour, 86400}).Draw(rt, "RenewAfter")
	o.RenewGrace = rapid.SampledFrom([]time.Duration{time.Second, 0, time.Minute}).Draw(rt, "RenewGrace")
	if o.IdleTimeout > 0 {
		o.TouchEvery = 1 // so that it can be counted to the millisecond
	}
	return o, false
}

// A lifetimes is one session as it should be.
type lifetimes struct {
	*rapid.T
	o       core.Options
	m       *core.Manager
	browser jartest.Browser
	slow    jartest.Browser // its clock is: it keeps what it should have dropped

	began, used time.Time // zero: there is none
	remembered  bool
	own         core.Lifetime

	issued   []core.ID
	id, next core.ID               // in use, and the one after it, which no request has brought
	waits    time.Time             // until when next leads to the session
	rest     map[core.ID]time.Time // and those before id
	since    time.Time             // the age of id

	renewed, arrived int // how often

	holds  core.ID // what the browser has
	place  string  // in the cookie of that name
	ends   time.Time
	closes bool

	koa    bool
	cookie core.CookieOptions // of this session, there
}

// forget is what is left when there is no session.
func (l *lifetimes) forget() {
	l.began, l.remembered, l.own, l.cookie = time.Time{}, false, core.Lifetime{}, l.o.Cookie
}

// endOfKoa is when the session ends in the store, and its cookie in the browser, which
// are two things there.
func (l *lifetimes) endOfKoa() (end, cookie time.Time, closes bool) {
	age := l.cookie.MaxAge
	if age == 0 {
		age = core.DefaultMaxAge
	}
	cookie, closes = l.used.Add(age), age == core.UntilBrowserCloses && l.cookie.Expires.IsZero()
	if age == core.UntilBrowserCloses {
		cookie = l.cookie.Expires
	}
	end = cookie
	if closes {
		end = l.used.Add(core.DefaultMaxAge)
	}
	if !l.cookie.Expires.IsZero() {
		end = l.cookie.Expires
	}
	if l.o.TTL > 0 {
		end = l.used.Add(l.o.TTL)
	}
	return l.used.Add((end.Sub(l.used) + time.Second - 1).Truncate(time.Second)), cookie, closes
}

// end is when it ends, and whether a request prolongs it: the ten lines.
func (l *lifetimes) end() (end time.Time, rolls, closes bool) {
	if l.koa {
		end, _, closes = l.endOfKoa()
		return end, l.o.Rolling, closes
	}
	idle, absolute, rolls, closes := l.o.IdleTimeout, l.o.AbsoluteTimeout, l.o.IdleTimeout > 0, l.o.Cookie.MaxAge == core.UntilBrowserCloses
	if idle == 0 {
		if idle = l.o.Cookie.MaxAge; idle <= 0 {
			idle = core.DefaultMaxAge
		}
	}
	until := l.o.Cookie.Expires
	if !until.IsZero() {
		idle, closes = 1000*day, false
	}
	if l.remembered {
		idle, absolute, rolls, closes, until = 1000*day, l.o.RememberFor, false, false, time.Time{}
	}
	if l.own.IdleTimeout > 0 {
		idle, rolls = min(idle, l.own.IdleTimeout), true
	}
	end = l.used.Add(idle)
	for _, d := range []time.Duration{absolute, l.own.AbsoluteTimeout} {
		if at := l.began.Add(d); d > 0 && at.Before(end) {
			end = at
		}
	}
	if !until.IsZero() && until.Before(end) {
		end = until
	}
	return end, rolls, closes || l.own.UntilBrowserCloses
}

// renewAfter is the third lifetime, zero for none.
func (l *lifetimes) renewAfter() time.Duration {
	if own := l.own.RenewAfter; own > 0 && (own < l.o.RenewAfter || l.o.RenewAfter == 0) {
		return own
	}
	return l.o.RenewAfter
}

// isDue reports whether a request gets a new id. A session in the cookie of a late
// request gets none.
func (l *lifetimes) isDue() bool {
	return l.renewAfter() > 0 && time.Since(l.since) >= l.renewAfter() && l.place == "koa.sid"
}

func (l *lifetimes) grace() time.Duration { return cmp.Or(l.o.RenewGrace, 30*time.Second) }

// isNow is when id is the only one that leads to the session.
func (l *lifetimes) isNow(id core.ID) {
	l.id, l.next, l.rest, l.since = id, "", map[core.ID]time.Time{}, time.Now().Truncate(time.Millisecond)
}

// arrives is when a request has brought the new id: the old one has its rest, and the
// life of the session begins anew.
func (l *lifetimes) arrives() {
	now := time.Now()
	l.rest[l.id] = now.Truncate(time.Millisecond).Add(l.grace())
	l.id, l.next, l.since, l.used = l.next, "", now.Truncate(time.Millisecond), now
	l.arrived++
}

// isGiven is when a response has a new id beside the one in use. It waits for a day at
// least, since requests with that one may prolong the session.
func (l *lifetimes) isGiven(next core.ID) {
	now := time.Now()
	l.next, l.since, l.used = next, now.Truncate(time.Millisecond), now
	if l.waits, _, _ = l.end(); l.waits.Before(now.Add(day)) {
		l.waits = now.Add(day)
	}
	l.renewed++
}

// leads reports whether an id does.
func (l *lifetimes) leads(id core.ID) bool {
	return id == l.id || id == l.next && time.Now().Before(l.waits) || time.Now().Before(l.rest[id])
}

func (l *lifetimes) play() {
	l.Repeat(map[string]func(*rapid.T){"request": func(*rapid.T) {
		l.request(rapid.SampledFrom([]string{"read", "write", "read", "choose", "login", "remember"}).Draw(l.T, "what"))
		if !l.began.IsZero() {
			time.Sleep(l.pause())
			l.look()
		}
	}})
}

// pause is how long the browser waits with its next request.
func (l *lifetimes) pause() time.Duration {
	end, _, _ := l.end()
	left, due, grace := time.Until(end), l.renewAfter()-time.Since(l.since), l.grace()
	return max(1, rapid.SampledFrom([]time.Duration{
		due, 1, grace, left / 3, due - time.Millisecond, left - time.Millisecond, grace - time.Millisecond, left / 2,
		left, left + time.Millisecond, left - time.Second,
	}).Draw(l.T, "pass"))
}

// look compares what is there now.
func (l *lifetimes) look() {
	end, _, _ := l.end()
	lives := time.Now().Before(end)
	for _, id := range l.issued {
		if _, err := l.m.GetByID(bg, id); (err == nil) != (lives && l.leads(id)) {
			l.Fatalf("by an id, the one in use %t, the next one %t, it is %v; it should end at %v, now is %v", id == l.id, id == l.next, err, end, time.Now())
		}
	}
	_, has := l.browser.Value("/", l.place)
	if want := l.closes || time.Now().Before(l.ends.Truncate(time.Second)); has != want {
		l.Fatalf("the browser has the cookie: %t; it should end at %v, now is %v", has, l.ends, time.Now())
	}
	if !lives {
		l.forget()
	}
}

// request is one, of a browser with a slow clock, and what the model makes of it.
func (l *lifetimes) request(what string) {
	now := time.Now()
	lived := !l.began.IsZero()
	_, rolls, _ := l.end()
	if what == "read" && l.own.IdleTimeout > 0 && l.o.TouchEvery == 0 {
		what = "write" // a read prolongs it now and then only
	}
	logsIn := what == "login" || what == "remember"
	lost := lived && !logsIn && rapid.IntRange(0, 3).Draw(l.T, "answer") == 0
	if id, _ := l.slow.Value("/", l.place); lived && core.ID(id) != l.holds {
		l.Fatal("the browser has another id")
	}
	answers := what != "read" || rolls && lived // with the cookie
	if lived && l.holds == l.next {
		l.arrives()
		answers = true
	}
	due, own := l.isDue(), l.own
	jar := l.slow.Jar("/")
	v, _ := l.m.NewVisit(jar, nil)
	ctx := core.NewContext(bg, v)
	s, err := v.Session(ctx)
	if err != nil {
		l.Fatal(err)
	}
	if has := s.Get("visits") != nil; has != lived {
		l.Fatalf("a request sees it: %t", has)
	}
	switch what {
	case "choose":
		l.choose(s)
	case "login", "remember":
		if remember := what == "remember" && l.o.RememberFor > 0; s.Login(core.LoginOptions{Remember: remember}) == nil {
			l.remembered, l.own, l.cookie = remember, core.Lifetime{}, l.o.Cookie
			if remember {
				l.cookie.MaxAge, l.cookie.Expires = l.o.RememberFor, time.Time{}
			}
			l.began = now.Truncate(time.Millisecond)
		}
	}
	if what != "read" {
		if _, err := visits.Update(s, func(n int) int { return n + 1 }); err != nil {
			l.Fatal(err)
		}
		if l.began.IsZero() {
			l.began = now.Truncate(time.Millisecond)
		}
		l.used = now
	} else if rolls && lived {
		l.used = now
	}
	// What it has chosen may be over already: a Lifetime counts from the login.
	if end, _, _ := l.end(); !l.began.IsZero() && !now.Before(end) {
		l.forget()
	}
	if err := v.Commit(ctx); err != nil {
		l.Fatal(err)
	}
	if _, _, closes := l.end(); lived && closes && !logsIn && l.own == own && l.holds == l.id && l.next != "" && now.Sub(l.since) < l.grace() {
		answers = false // the one with the new id may be on its way
	}
	l.answer(jar, lived, logsIn, answers, lost, due)
}

// answer is what came back from a request of a session that was due for a new id then.
func (l *lifetimes) answer(jar *jartest.Jar, lived, logsIn, answers, lost, due bool) {
	if !lost {
		l.browser.Take("/", jar.SetCookies...)
		l.slow.Take("/", endless(jar.SetCookies)...)
	}
	if l.began.IsZero() {
		return
	}
	place, id := sentID(jar)
	if id != "" {
		l.issued = append(l.issued, id)
	}
	switch {
	case !lived, logsIn:
		l.isNow(id)
	case due && l.isDue():
		if l.isGiven(id); id == l.id {
			l.Fatal("the id was not renewed")
		}
		answers = true
	case answers && id != l.id:
		l.Fatalf("the response has another id than the one in use: %q", jar.SetCookies)
	}
	if answers != (id != "") {
		l.Fatalf("the response has an id: %t", id != "")
	}
	if lost || !answers {
		return
	}
	l.holds, l.place = id, place
	l.ends, _, l.closes = l.end()
	if l.koa {
		_, l.ends, l.closes = l.endOfKoa()
	}
}

// sentID is the session's id in a response, and the name of its cookie. It is not the
// first one if the request had an id that was given up.
func sentID(jar *jartest.Jar) (name string, id core.ID) {
	for _, line := range jar.SetCookies {
		c, err := http.ParseSetCookie(line)
		if err == nil && c.Value != "" && (c.Name == "koa.sid" || c.Name == "koa.sid.late" && name == "") {
			name, id = c.Name, core.ID(c.Value)
		}
	}
	return name, id
}

// choose is a request that chooses a life of the session's own.
func (l *lifetimes) choose(s *core.Session) {
	if l.koa {
		c := core.CookieOptions{MaxAge: rapid.SampledFrom([]time.Duration{core.UntilBrowserCloses, time.Second, time.Minute, 40 * day}).Draw(l.T, "own MaxAge")}
		if err := s.SetCookie(c); err != nil {
			l.Fatal(err)
		}
		l.cookie = c
		return
	}
	life := func(name string, of ...time.Duration) time.Duration { return rapid.SampledFrom(of).Draw(l.T, name) }
	chosen := core.Lifetime{
		IdleTimeout:        life("own idle", 0, time.Second, time.Minute, 3*time.Hour, 40*day),
		AbsoluteTimeout:    life("own absolute", 0, time.Second, time.Hour, 40*day),
		RenewAfter:         life("own renewal", 0, 0, 2*time.Second, time.Hour),
		UntilBrowserCloses: rapid.Bool().Draw(l.T, "own closes"),
	}
	if s.SetLifetime(chosen) == nil {
		l.own = chosen
	}
}

// endless are the lines for a browser whose clock is slow: without an end, but for
// removals.
func endless(lines []string) []string {
	lines = slices.Clone(lines)
	for i, line := range lines {
		if before, after, found := strings.Cut(line, "; expires="); found && !strings.HasPrefix(after, "Thu, 01 Jan 1970") {
			_, after, _ = strings.Cut(after, ";")
			lines[i] = before + ";" + after
		}
	}
	return lines
}

func TestSetLifetimeAfterTheCommit(t *testing.T) {
	var kept *core.Session
	a := newApp(t, nil)
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { kept = s }))
	wantIs(t, kept.SetLifetime(core.Lifetime{IdleTimeout: time.Hour}), core.ErrCommitted)
}
