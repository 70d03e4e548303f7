package core_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
)

// K24: answers that prolong the cookie may be lost, also all that are under way at that
// moment. Whoever goes on to use the session keeps it, with pauses of up to a quarter of
// its life, also where the cookie was about to end.
func TestALostAnswerThatProlongs(t *testing.T) {
	const idle = 30 * time.Minute
	hook := core.Hooks{BeforeSave: func(context.Context, core.Jar, *core.Session) error { return nil }}
	for name, c := range map[string]struct {
		o               core.Options
		life            core.Lifetime
		logsIn, renewed bool
	}{
		"IdleTimeout":                      {o: core.Options{IdleTimeout: idle}},
		"a session of its own life":        {life: core.Lifetime{IdleTimeout: idle}},
		"with a hook":                      {o: core.Options{IdleTimeout: idle, Hooks: hook}},
		"rarely":                           {o: core.Options{IdleTimeout: idle, TouchEvery: 14 * time.Minute}},
		"since a login":                    {o: core.Options{IdleTimeout: idle}, logsIn: true},
		"at the first use of a renewed id": {o: core.Options{IdleTimeout: idle, RenewAfter: 20 * time.Minute}, renewed: true},
		"ids are renewed":                  {o: core.Options{IdleTimeout: idle, RenewAfter: 20 * time.Minute}},
		"with an end":                      {o: core.Options{IdleTimeout: idle, AbsoluteTimeout: 2 * time.Hour}},
	} {
		for act, h := range map[string]handler{"reads": nil, "saves": count(t)} {
			for kind, wrap := range renewingStores {
				t.Run(name+", "+act+", "+kind, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						for _, lostAt := range []time.Duration{8 * time.Minute, 16 * time.Minute, 23 * time.Minute, 28*time.Minute + 30*time.Second, idle - 30*time.Second, idle - time.Second} {
							for _, pause := range []time.Duration{15 * time.Second, 7 * time.Minute} {
								o := c.o
								a := newAppOn(t, wrap(newMemory(t)), &o)
								a.ok(a.get("/", func(v *core.Visit, s *core.Session) {
									if c.life != (core.Lifetime{}) {
										must(t, s.SetLifetime(c.life))
									}
									must(t, s.Set("name", "ada"))
								}))
								if c.logsIn {
									a.ok(a.get("/", func(_ *core.Visit, s *core.Session) { must(t, s.Login(core.LoginOptions{})) }))
								}
								in := func(when string) {
									t.Helper()
									a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
										if s.Get("name") == nil {
											t.Fatalf("an answer was lost after %v: logged out %s", lostAt, when)
										}
									}))
								}
								if c.renewed {
									time.Sleep(c.o.RenewAfter)
									beside := a.browser.Jar("/")
									a.ok(a.get("/", nil))
									a.ok(a.send(beside, nil))
								}
								time.Sleep(lostAt)
								a.ok(a.send(a.browser.Jar("/"), h))
								a.ok(a.send(a.browser.Jar("/"), h)) // one beside it
								time.Sleep(200 * time.Millisecond)
								in("at once")
								if pause > time.Minute {
									time.Sleep(30 * time.Second)
									in("within TouchEvery")
								}
								for until := time.Now().Add(45 * time.Minute); time.Now().Before(until); {
									time.Sleep(pause)
									in(fmt.Sprintf("while it is used every %v", pause))
								}
							}
						}
					})
				})
			}
		}
	}
}
