package core_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

func TestK36Keys(t *testing.T) {
	keys := map[string]bool{}
	a := newApp(t, nil)
	a.store.Before(func(_ context.Context, _ storetest.Op, key string) error { keys[key] = true; return nil })
	a.ok(a.get("/", count(t)))
	sum := sha256.Sum256([]byte(a.value()))
	want := "koa:sess:" + base64.RawURLEncoding.EncodeToString(sum[:])
	if len(keys) != 1 || !keys[want] {
		t.Errorf("keys %v, want %s", keys, want)
	}
	data, err := a.store.Get(bg, want)
	must(t, err)
	if bytes.Contains(data, []byte(a.value())) {
		t.Error("requirement 9: the record holds the id")
	}
}

func TestK37TTL(t *testing.T) {
	for name, c := range map[string]struct {
		o    core.Options
		set  func(s *core.Session)
		life time.Duration // 0: for ever
	}{
		"default":              {life: 24 * time.Hour},
		"MaxAge":               {o: core.Options{Cookie: core.CookieOptions{MaxAge: 1500 * time.Millisecond}}, life: 1500 * time.Millisecond},
		"TTL":                  {o: core.Options{TTL: 5 * time.Second}, life: 5 * time.Second},
		"TTLFunc":              {o: core.Options{TTL: time.Hour, TTLFunc: func(s *core.Session) time.Duration { return time.Duration(visits.Get(s)) * 7 * time.Second }}, life: 7 * time.Second},
		"TTLFunc says nothing": {o: core.Options{TTL: time.Hour, TTLFunc: func(s *core.Session) time.Duration { return 0 }}, life: time.Hour},
		"Expires":              {o: core.Options{Cookie: core.CookieOptions{NoMaxAge: true, Expires: time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC)}}, life: time.Hour},
		"none: a default":      {o: core.Options{Cookie: core.CookieOptions{NoMaxAge: true}}, life: core.DefaultMaxAge},
		"none: for ever":       {o: core.Options{InsecureNoLimit: true, Cookie: core.CookieOptions{NoMaxAge: true}}},
		"absolute":             {o: core.Options{AbsoluteTimeout: time.Minute}, life: time.Minute},
		"own cookie": {set: func(s *core.Session) {
			c := s.Cookie()
			c.MaxAge = 90 * time.Second
			s.SetCookie(c)
		}, life: 90 * time.Second},
		"past": {set: func(s *core.Session) {
			c := s.Cookie()
			c.MaxAge, c.NoMaxAge, c.Expires = 0, true, time.Now().Add(-time.Second)
			s.SetCookie(c)
		}, life: -1},
		"TTLFunc in the past": {o: core.Options{TTLFunc: func(s *core.Session) time.Duration { return -1 }}, life: -1},
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
			c.MaxAge, c.NoMaxAge, c.Expires = 0, true, time.Now().Add(-time.Second)
			must(t, s.SetCookie(c))
		})).wantCookies(t, "-koa.sid -koa.sid.sig")
		a.wantVisits(0)
	})
}

func TestRequirement17AbsoluteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp(t, &core.Options{AbsoluteTimeout: time.Hour, Rolling: true})
		a.ok(a.get("/", count(t)))
		// A store that kept the record too long does not matter.
		id := core.ID(a.value())
		key := hashedKey(id)
		data, err := a.store.Get(bg, key)
		must(t, err)
		must(t, a.store.Set(bg, key, data, 0))
		time.Sleep(time.Hour - time.Nanosecond)
		a.wantVisits(1)
		must(t, a.store.Set(bg, key, data, 0))
		time.Sleep(time.Nanosecond)
		a.wantVisits(0)
		if _, err := a.store.Get(bg, key); !errors.Is(err, core.ErrNotFound) {
			t.Error("the expired record is still stored")
		}
	})
}

func hashedKey(id core.ID) string {
	sum := sha256.Sum256([]byte(id))
	return "koa:sess:" + base64.RawURLEncoding.EncodeToString(sum[:])
}

func TestK39Corrupt(t *testing.T) {
	for name, payload := range map[string]string{
		"broken":         `{"count":`,
		"array":          `[1]`,
		"string":         `"x"`,
		"no metadata":    `{"visits":1}`,
		"other format":   `{"_gs":{"v":2,"k":"x","c":1}}`,
		"metadata false": `{"_gs":false}`,
		"cookie false":   `{"cookie":false,"_gs":{"v":1}}`,
		"binary":         "\x00\xff\xfe",
	} {
		t.Run(name, func(t *testing.T) {
			var seen []error
			var answer error
			a := newApp(t, &core.Options{Hooks: core.Hooks{Error: func(_ context.Context, e *core.Error) error {
				seen = append(seen, e)
				return answer
			}}})
			a.ok(a.get("/", count(t)))
			key := hashedKey(core.ID(a.value()))
			must(t, a.store.Set(bg, key, []byte(payload), time.Hour))
			a.ok(a.send(a.browser.Jar("/"), func(_ *core.Visit, s *core.Session) {
				if !s.IsNew() || visits.Get(s) != 0 {
					t.Error("not a new session")
				}
			})).wantCookies(t, "")
			if len(seen) != 1 || !errors.Is(seen[0], core.ErrCorrupt) {
				t.Errorf("the hook saw %v", seen)
			}
			if data, err := a.store.Get(bg, key); err != nil || string(data) != payload {
				t.Error("the record is not kept")
			}
			answer = errors.New("fail it")
			e := a.send(a.browser.Jar("/"), nil)
			wantIs(t, e.begin, answer)
			e.wantCookies(t, "")

			b := newAppOn(t, a.store, nil) // without a hook: a new session
			b.browser = a.browser
			b.ok(b.get("/", count(t))).wantCookies(t, pair)
			b.wantVisits(1)
		})
	}
	t.Run("empty and null: no session, nothing to report", func(t *testing.T) {
		for _, payload := range []string{"", "null"} {
			a := newApp(t, &core.Options{Hooks: core.Hooks{Error: func(_ context.Context, e *core.Error) error { t.Error(e); return e }}})
			a.ok(a.get("/", count(t)))
			must(t, a.store.Set(bg, hashedKey(core.ID(a.value())), []byte(payload), time.Hour))
			a.wantVisits(0)
		}
	})
}

func TestRequirement42ForeignRecord(t *testing.T) {
	a := newApp(t, nil)
	a.ok(a.get("/", count(t)))
	mine := hashedKey(core.ID(a.value()))
	b := newAppOn(t, a.store, nil)
	b.ok(b.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Set("secret", "of b")) }))
	theirs, err := a.store.Get(bg, hashedKey(core.ID(b.value())))
	must(t, err)
	must(t, a.store.Set(bg, mine, theirs, time.Hour))
	e := a.get("/", func(_ *core.Visit, s *core.Session) { t.Error("the handler ran") })
	wantIs(t, e.begin, core.ErrCorrupt)
	e.wantCookies(t, "")
	if core.Status(e.begin) != 500 {
		t.Errorf("status %d", core.Status(e.begin))
	}
}

func TestK40GetFails(t *testing.T) {
	t.Run("the request fails", func(t *testing.T) {
		a := newApp(t, &core.Options{FailFast: true})
		a.ok(a.get("/", count(t)))
		a.store.Before(failing(storetest.OpGetVersion, core.ErrUnavailable))
		e := a.get("/", nil)
		wantIs(t, e.begin, core.ErrUnavailable)
		e.wantCookies(t, "")
		var as *core.Error
		if !errors.As(e.begin, &as) || as.Op != core.OpGet || core.Status(e.begin) != 503 {
			t.Errorf("%v, status %d", e.begin, core.Status(e.begin))
		}
		a.store.Before(nil)
		a.wantVisits(1)
	})
	t.Run("swallowed: nobody is logged out", func(t *testing.T) {
		var op core.Op
		a := newApp(t, &core.Options{FailFast: true, ResetUnknown: true, AllowEmpty: true, Rolling: true, Hooks: core.Hooks{Error: func(_ context.Context, e *core.Error) error { op = e.Op; return nil }}})
		a.ok(a.get("/", count(t)))
		writes := a.store.Calls(storetest.OpSetVersion)
		a.store.Before(failing(storetest.OpGetVersion, core.ErrUnavailable))
		// The commit fails only since Renew and Reset did: see below.
		a.fails(core.ErrUnavailable, a.get("/", func(_ *core.Visit, s *core.Session) {
			if visits.Get(s) != 0 || s.ID() != "" && false {
				t.Error("not empty")
			}
			must(t, visits.Set(s, 50))
			for name, err := range map[string]error{"Save": s.Save(bg), "Renew": s.Renew(bg), "Reset": s.Reset(bg)} {
				if !errors.Is(err, core.ErrUnavailable) {
					t.Errorf("%s: %v", name, err)
				}
			}
		})).wantCookies(t, "")
		if op != core.OpGet || a.store.Calls(storetest.OpSetVersion) != writes {
			t.Errorf("op %q, %d writes", op, a.store.Calls(storetest.OpSetVersion)-writes)
		}
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			must(t, visits.Set(s, 50))
			wantIs(t, s.Save(bg), core.ErrUnavailable)
		})).wantCookies(t, "")
		a.store.Before(nil)
		a.wantVisits(1)

		a.store.Before(failing(storetest.OpGetVersion, core.ErrUnavailable))
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) })).wantCookies(t, "-koa.sid -koa.sid.sig")
		a.store.Before(nil)
		if _, err := a.store.Get(bg, "nothing"); !errors.Is(err, core.ErrNotFound) {
			t.Error(err)
		}
		if a.store.Calls(storetest.OpDestroy) != 1 {
			t.Error("a logout during the outage did not reach the store")
		}
	})
}

func TestK41SetFails(t *testing.T) {
	a := newApp(t, &core.Options{FailFast: true})
	a.ok(a.get("/", count(t)))
	for _, class := range []error{core.ErrUnavailable, core.ErrTimeout, core.ErrRefused, core.ErrOutcomeUnknown, core.ErrTooLarge, context.DeadlineExceeded} {
		a.store.Before(failing(storetest.OpSetVersion, class))
		e := a.get("/", count(t))
		wantIs(t, e.commit, class)
		e.wantCookies(t, "")
		if class == context.DeadlineExceeded {
			wantIs(t, e.commit, core.ErrOutcomeUnknown)
		}
	}
	a.store.Before(nil)
	a.wantVisits(1)

	t.Run("swallowed", func(t *testing.T) {
		a := newApp(t, &core.Options{FailFast: true, Hooks: core.Hooks{Error: func(context.Context, *core.Error) error { return nil }}})
		a.ok(a.get("/", count(t)))
		a.store.Before(failing(storetest.OpSetVersion, core.ErrRefused))
		a.ok(a.get("/", count(t))).wantCookies(t, "")
		a.store.Before(nil)
		a.wantVisits(1)
	})
}

func TestK42DestroyFails(t *testing.T) {
	var op core.Op
	a := newApp(t, &core.Options{FailFast: true, Hooks: core.Hooks{Error: func(_ context.Context, e *core.Error) error { op = e.Op; return e }}})
	a.ok(a.get("/", count(t)))
	a.store.Before(failing(storetest.OpDestroy, core.ErrRefused))
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		wantIs(t, s.Destroy(bg), core.ErrRefused)
	})).wantCookies(t, "-koa.sid -koa.sid.sig") // requirement 15
	if op != core.OpDestroy {
		t.Errorf("op %q", op)
	}
}

func TestK43Waiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp(t, nil)
		a.ok(a.get("/", count(t)))
		begin := time.Now()
		a.store.Down()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { // one with a session, and a newcomer
				a.ok(a.send(a.browser.Jar("/"), nil))
				a.ok(a.send(&jartest.Jar{}, nil))
			})
		}
		time.Sleep(3 * time.Second)
		a.store.Up()
		wg.Wait()
		if d := time.Since(begin); d != 3*time.Second {
			t.Errorf("waited %v, want 3s", d)
		}
		a.store.Down()
		time.Sleep(4 * time.Second)
		begin = time.Now()
		e := a.get("/", nil) // the window began at the disconnect
		wantIs(t, e.begin, core.ErrUnavailable)
		if d := time.Since(begin); d != 6*time.Second {
			t.Errorf("waited %v, want 6s", d)
		}
		e = a.send(&jartest.Jar{}, nil)
		wantIs(t, e.begin, core.ErrUnavailable)
		if d := time.Since(begin); d != 6*time.Second {
			t.Error("after the window it does not fail at once")
		}
		var as *core.Error
		if !errors.As(e.begin, &as) || as.Op != core.OpWait || core.Status(e.begin) != 503 {
			t.Errorf("%v", e.begin)
		}
		time.Sleep(time.Hour) // nobody waits, nothing happens
		a.store.Up()
		a.wantVisits(1)
	})
	t.Run("swallowed, then destroyed", func(t *testing.T) {
		a := newApp(t, &core.Options{FailFast: true, Hooks: core.Hooks{Error: func(context.Context, *core.Error) error { return nil }}})
		a.ok(a.get("/", count(t)))
		a.store.Down()
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			a.store.Up()
			must(t, s.Destroy(bg))
		})).wantCookies(t, "-koa.sid -koa.sid.sig")
		if a.store.Calls(storetest.OpDestroy) != 1 {
			t.Error("the session was not revoked")
		}
	})
}

func TestK52Close(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp(t, &core.Options{FailFast: true})
		a.ok(a.get("/", count(t)))
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			must(t, a.manager.Close())
			must(t, visits.Set(s, 2)) // a request in flight finishes its commit
		})).wantCookies(t, pair)
		must(t, a.manager.Close())
		b := newAppOn(t, a.store, nil)
		a.store.Down()
		done := make(chan error)
		go func() { done <- b.send(&jartest.Jar{}, nil).begin }()
		time.Sleep(time.Second)
		must(t, b.manager.Close())
		wantIs(t, <-done, core.ErrUnavailable)
		a.store.Up()
	})
}

func TestMaxSize(t *testing.T) {
	a := newApp(t, &core.Options{MaxSize: 1000})
	a.ok(a.get("/", count(t)))
	e := a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Set("big", strings.Repeat("x", 1000))) })
	wantIs(t, e.commit, core.ErrTooLarge)
	e.wantCookies(t, "")
	a.wantVisits(1)
}

func TestK8SecureOverHTTP(t *testing.T) {
	secure := core.CookieOptions{Secure: core.On}
	a := newApp(t, &core.Options{Cookie: secure})
	for _, h := range []handler{count(t), func(_ *core.Visit, s *core.Session) {
		must(t, visits.Set(s, 1))
		if s.Save(bg) == nil {
			t.Error("Save works")
		}
	}} {
		e := a.get("/", h)
		if e.commit == nil || !strings.Contains(e.commit.Error(), "InsecureAllowHTTP") {
			t.Errorf("commit: %v", e.commit)
		}
		e.wantCookies(t, "")
	}
	a.wantCalls(nil) // before anything is stored
	a.browser.TLS = true
	e := a.ok(a.get("/", count(t)))
	if !strings.Contains(e.jar.SetCookies[0], "; secure") {
		t.Errorf("%q", e.jar.SetCookies[0])
	}
	for tls, want := range map[bool]bool{true: true, false: false} {
		b := newApp(t, &core.Options{FailFast: true})
		b.browser.TLS = tls
		e := b.ok(b.get("/", count(t)))
		if got := strings.Contains(e.jar.SetCookies[0], "; secure"); got != want {
			t.Errorf("TLS %v: %q", tls, e.jar.SetCookies[0])
		}
		c := newApp(t, &core.Options{Cookie: core.CookieOptions{Secure: core.Off}})
		c.browser.TLS = tls
		e = c.ok(c.get("/", count(t)))
		if strings.Contains(e.jar.SetCookies[0], "; secure") {
			t.Errorf("Off, TLS %v: %q", tls, e.jar.SetCookies[0])
		}
	}
	d := newApp(t, &core.Options{Cookie: secure, InsecureAllowHTTP: true})
	if e := d.ok(d.get("/", count(t))); !strings.Contains(e.jar.SetCookies[0], "; secure") {
		t.Errorf("InsecureAllowHTTP: %q", e.jar.SetCookies[0])
	}
}

func TestK6Removal(t *testing.T) {
	o := core.CookieOptions{Path: "/app", Domain: "example.com", Secure: core.On, SameSite: core.SameSiteNone, Partitioned: true, Priority: core.PriorityHigh}
	a := newApp(t, &core.Options{Cookie: o, ResetUnknown: true})
	a.browser.TLS = true
	e := a.ok(a.get("/app", count(t)))
	if want := "; path=/app; expires="; !strings.Contains(e.jar.SetCookies[0], want) {
		t.Errorf("%q", e.jar.SetCookies[0])
	}
	e = a.ok(a.get("/app/x", func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) }))
	want := "koa.sid=; path=/app; expires=Thu, 01 Jan 1970 00:00:00 GMT; domain=example.com; priority=high; samesite=none; secure; httponly; partitioned"
	if e.jar.SetCookies[0] != want {
		t.Errorf("got  %q\nwant %q", e.jar.SetCookies[0], want)
	}
	b := newApp(t, &core.Options{Cookie: core.CookieOptions{Signed: core.Off}})
	b.ok(b.get("/", count(t))).wantCookies(t, "koa.sid")
	b.ok(b.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Destroy(bg)) })).wantCookies(t, "-koa.sid")
}

func TestK7Overwrite(t *testing.T) {
	for _, overwrite := range []core.Switch{core.On, core.Off} {
		a := newApp(t, &core.Options{FailFast: true, ResetUnknown: true, Cookie: core.CookieOptions{Overwrite: overwrite}})
		a.ok(a.get("/", count(t)))
		must(t, a.manager.DestroyByID(bg, core.ID(a.value())))
		jar := a.browser.Jar("/")
		jar.SetCookie("other", "other=1", false)
		e := a.ok(a.send(jar, count(t)))
		want := "other " + pair
		if overwrite == core.Off {
			want = "other -koa.sid -koa.sid.sig " + pair
		}
		e.wantCookies(t, want)
	}
}

func TestK25OwnCookie(t *testing.T) {
	store := newMemory(t)
	lax := &core.Options{Keys: [][]byte{testKey}}
	a := newAppOn(t, store, lax)
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		c := s.Cookie()
		c.MaxAge, c.HTTPOnly, c.SameSite = 48*time.Hour, core.Off, core.SameSiteUnset
		must(t, s.SetCookie(c))
	}))
	set := func(o *core.Options) string {
		b := newAppOn(t, store, o)
		b.browser = a.browser
		line := ""
		e := b.ok(b.send(b.browser.Jar("/"), func(_ *core.Visit, s *core.Session) { s.SetSaveMode(core.SaveAlways) }))
		if len(e.jar.SetCookies) > 0 {
			_, line, _ = strings.Cut(e.jar.SetCookies[0], "; ")
		}
		return line
	}
	expires := func(d time.Duration) string {
		return "path=/; expires=" + time.Now().Add(d).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
	}
	for name, c := range map[string]struct {
		o     *core.Options
		want  func() string
		exact bool
	}{
		"kept":             {&core.Options{}, func() string { return expires(48 * time.Hour) }, true},
		"samesite strict":  {&core.Options{Cookie: core.CookieOptions{SameSite: core.SameSiteStrict}}, func() string { return expires(48*time.Hour) + "; samesite=strict" }, true},
		"shorter life":     {&core.Options{Cookie: core.CookieOptions{MaxAge: time.Hour}}, func() string { return expires(time.Hour) }, true},
		"a longer one not": {&core.Options{Cookie: core.CookieOptions{MaxAge: 72 * time.Hour}}, func() string { return expires(48 * time.Hour) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			for range 3 { // the second may pass between the two clocks
				before, got, after := c.want(), set(c.o), c.want()
				if got == before || got == after {
					return
				}
				if before == after {
					t.Fatalf("got  %q\nwant %q", got, after)
				}
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			before := s.Cookie()
			for _, c := range []core.CookieOptions{
				{Path: "no slash"}, {Path: "/;x"}, {Path: "/\r\nX: y"}, {Domain: "a b"}, {MaxAge: -1}, {MaxAge: 401 * 24 * time.Hour},
				{SameSite: core.SameSiteNone}, {Partitioned: true}, {HTTPOnly: 9}, {MaxAge: 1, NoMaxAge: true},
			} {
				if s.SetCookie(c) == nil {
					t.Errorf("%+v is taken", c)
				}
			}
			if s.Cookie() != before {
				t.Error("a refused cookie changed something")
			}
		})).wantCookies(t, "")
	})
}

func TestErrorsAndLogsTellNoSecrets(t *testing.T) {
	var log bytes.Buffer
	var reported []string
	a := newApp(t, &core.Options{
		FailFast: true,
		Rolling:  true,
		Logger:   slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Hooks: core.Hooks{Error: func(_ context.Context, e *core.Error) error {
			reported = append(reported, e.Error())
			return e
		}},
	})
	ids := map[string]bool{}
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Set("secret", "payload-canary")) }))
	ids[a.value()] = true
	for _, op := range []storetest.Op{storetest.OpGetVersion, storetest.OpSetVersion, storetest.OpTouch, storetest.OpDestroy} {
		for _, err := range []error{core.ErrNotFound, core.ErrConflict, core.ErrRefused, core.ErrCorrupt, context.DeadlineExceeded} {
			a.store.Before(failing(op, err))
			for _, h := range []handler{
				func(_ *core.Visit, s *core.Session) {}, count(t),
				func(_ *core.Visit, s *core.Session) { s.Renew(bg) },
				func(_ *core.Visit, s *core.Session) { core.Key[int]("secret").Get(s) },
				func(_ *core.Visit, s *core.Session) { s.Destroy(bg) },
			} {
				if e := a.send(a.browser.Jar("/"), h); e.err() != nil {
					reported = append(reported, e.err().Error())
				}
			}
			a.store.Before(nil)
		}
	}
	all := log.String() + strings.Join(reported, "\n")
	if len(reported) < 20 || log.Len() == 0 {
		t.Fatalf("the test saw too little: %d errors", len(reported))
	}
	for id := range ids {
		if strings.Contains(all, id) || strings.Contains(all, hashedKey(core.ID(id))) {
			t.Error("an id or a key is in an error or a log line")
		}
	}
	if strings.Contains(all, "canary") {
		t.Error("a value is in an error or a log line")
	}
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		if text := fmt.Sprintf("%v %+v %#v %s %q %d %x", s, s, s, s, s, s, s); strings.Contains(text, a.value()) || strings.Contains(text, "canary") {
			t.Errorf("a printed session tells %q", text)
		}
	}))
}

func TestDecodeFault(t *testing.T) {
	var ops []core.Op
	a := newApp(t, &core.Options{Hooks: core.Hooks{Error: func(_ context.Context, e *core.Error) error { ops = append(ops, e.Op); return e }}})
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Set("visits", "secret words")) }))
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		if visits.Get(s) != 0 {
			t.Error("not zero")
		}
		if _, ok, err := visits.Lookup(s); err == nil || !ok || strings.Contains(err.Error(), "secret") {
			t.Errorf("Lookup: %v, %v", ok, err)
		}
		if _, err := visits.Update(s, func(int) int { t.Error("f runs"); return 1 }); err == nil {
			t.Error("Update works")
		}
	})).wantCookies(t, "") // and the value is left alone
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		if s.Get("visits") != "secret words" {
			t.Error("the value is lost")
		}
		must(t, visits.Set(s, 3))
	}))
	a.wantVisits(3)
	if len(ops) != 1 || ops[0] != core.OpDecode {
		t.Errorf("reported %v", ops)
	}
}

// A session of thousands of values costs no more than their number.
func TestManyValues(t *testing.T) {
	a := newApp(t, &core.Options{MaxSize: 1 << 22})
	many := map[string]int{}
	for i := range 20000 {
		many[fmt.Sprintf("name-%d", i)] = i
	}
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Replace(many)) })).wantCookies(t, pair)
	many["name-7"] = -1
	delete(many, "name-9")
	many["another"] = 1
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		must(t, s.Set("name-7", -1))
		must(t, s.Delete("name-9"))
		must(t, s.Set("another", 1))
	})).wantCookies(t, pair)
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Replace(many)) })).wantCookies(t, "")
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		if n := len(s.Names()); n != 20000 || s.Get("name-7") != -1.0 || s.Get("name-9") != nil {
			t.Errorf("%d values", n)
		}
	}))
}

func TestNewFindsMoreMisfits(t *testing.T) {
	for want, o := range map[string]*core.Options{
		"core.Header": {Carrier: core.Header("a b")},
		"FailFast":    {FailFast: true, ReconnectTimeout: time.Second, Keys: [][]byte{testKey}},
		"TouchEvery":  {Rolling: true, TouchEvery: 48 * time.Hour, Keys: [][]byte{testKey}},
		"Path":        {Cookie: core.CookieOptions{Path: "/a?b"}, Keys: [][]byte{testKey}},
	} {
		if _, err := core.New(newMemory(t), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// DESIGN: time limits. each call of the store has its own deadline, and a write is not
// cancelled by the browser.
func TestDeadlinesDeadlines(t *testing.T) {
	untilDone := func(ctx context.Context, _ storetest.Op, _ string) error {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("a call has no deadline")
		}
		<-ctx.Done()
		return ctx.Err()
	}
	synctest.Test(t, func(t *testing.T) {
		a := newApp(t, &core.Options{OpTimeout: 300 * time.Millisecond, FailFast: true})
		a.ok(a.get("/", count(t)))
		a.store.Before(untilDone)
		begin := time.Now()
		e := a.get("/", nil)
		wantIs(t, e.begin, core.ErrTimeout)
		wantIs(t, e.begin, core.ErrUnavailable)
		// Calls share timers of a millisecond.
		onTime := func(d time.Duration) bool { return d >= 300*time.Millisecond && d <= 302*time.Millisecond }
		if d := time.Since(begin); !onTime(d) {
			t.Errorf("a read took %v", d)
		}
		a.store.Before(nil)

		ctx, hangUp := context.WithCancel(bg)
		v, _ := a.manager.NewVisit(a.browser.Jar("/"), nil)
		s, err := v.Session(ctx)
		must(t, err)
		must(t, visits.Set(s, 5))
		a.store.Before(untilDone)
		hangUp()
		begin = time.Now()
		err = v.Commit(ctx)
		wantIs(t, err, core.ErrOutcomeUnknown)
		if d := time.Since(begin); !onTime(d) || core.Status(err) != 503 {
			t.Errorf("a write took %v, status %d", d, core.Status(err))
		}

		// The caller's own deadline counts for a read, if it is earlier.
		a.store.Before(func(ctx context.Context, op storetest.Op, key string) error {
			if ctx.Err() != nil {
				t.Error("over before it began")
			}
			return untilDone(ctx, op, key)
		})
		short, cancel := context.WithTimeout(bg, 100*time.Millisecond)
		defer cancel()
		v, _ = a.manager.NewVisit(a.browser.Jar("/"), nil)
		begin = time.Now()
		_, err = v.Session(short)
		wantIs(t, err, core.ErrTimeout)
		if d := time.Since(begin); d != 100*time.Millisecond {
			t.Errorf("a read took %v", d)
		}
		a.store.Before(func(ctx context.Context, _ storetest.Op, _ string) error {
			time.Sleep(time.Second)
			return ctx.Err() // a store that only looks now and then
		})
		wantIs(t, a.get("/", nil).begin, core.ErrTimeout)
	})
}

func TestInvalidThatCannotBeDestroyed(t *testing.T) {
	valid := true
	a := newApp(t, &core.Options{Hooks: core.Hooks{Valid: func(context.Context, core.Jar, *core.Session) (bool, error) { return valid, nil }}})
	a.ok(a.get("/", count(t)))
	valid = false
	a.store.Before(failing(storetest.OpDestroy, core.ErrRefused))
	e := a.get("/", nil)
	wantIs(t, e.begin, core.ErrRefused)
	e.wantCookies(t, "")
}

func TestCreatedAndPrinting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp(t, nil)
		begin := time.Now()
		a.ok(a.get("/", count(t)))
		time.Sleep(time.Hour)
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			if !s.Created().Equal(begin) {
				t.Errorf("Created is %v, want %v", s.Created(), begin)
			}
			if s.String() != "session" || s.GoString() != "session" || s.LogValue().String() != "session" {
				t.Error("a session prints more than its kind")
			}
		}))
	})
}

// badCarrier fails where the test wants it to.
type badCarrier struct{ get, set, reset error }

func (c *badCarrier) Get(core.Jar) (core.ID, bool, error) { return "0123456789abcdef", false, c.get }
func (c *badCarrier) Set(core.Jar, *core.Session) error   { return c.set }
func (c *badCarrier) Reset(core.Jar, *core.Session) error { return c.reset }

func TestCarrierFails(t *testing.T) {
	boom := errors.New("boom")
	c := &badCarrier{}
	a := newApp(t, &core.Options{Carrier: c, NewID: func(context.Context) (string, error) { return "0123456789abcdef", nil }})
	c.get = boom
	wantIs(t, a.get("/", nil).begin, boom)
	c.get, c.set = nil, boom
	e := a.get("/", count(t))
	wantIs(t, e.commit, boom)
	var as *core.Error
	if !errors.As(e.commit, &as) || as.Op != core.OpCarrier {
		t.Errorf("%v", e.commit)
	}
	c.set, c.reset = nil, boom
	a.get("/", func(_ *core.Visit, s *core.Session) { wantIs(t, s.Destroy(bg), boom) })
	if got := a.store.Calls(storetest.OpDestroy); got != 1 {
		t.Errorf("%d calls of destroy: the store comes first", got)
	}
}
