package core_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/soak"
)

// TestP20Planted: whatever somebody does with the ids of a session at any moment of a
// login, none of those that are known before, or that he gets, opens what the login
// has made. The same holds for Renew, Reset and a logout. A share of the cells runs by
// default, another one in each run; with SOAK=1 all do.
func TestP20Planted(t *testing.T) {
	ends := map[string]func(s *core.Session) error{
		"Login":   func(s *core.Session) error { return s.Login(core.LoginOptions{}) },
		"Renew":   func(s *core.Session) error { return s.Renew(bg) },
		"Reset":   func(s *core.Session) error { return s.Reset(bg) },
		"Destroy": func(s *core.Session) error { return s.Destroy(bg) },
	}
	plus := func(s *core.Session) { _, _ = visits.Update(s, func(n int) int { return n + 1 }) }
	acts := map[string]handler{
		"reads":   nil,
		"writes":  func(_ *core.Visit, s *core.Session) { plus(s) },
		"saves":   func(_ *core.Visit, s *core.Session) { plus(s); _ = s.Save(bg); plus(s) },
		"takes":   func(_ *core.Visit, s *core.Session) { _, _ = visits.Take(bg, s) },
		"logs in": func(_ *core.Visit, s *core.Session) { _ = s.Login(core.LoginOptions{}) },
		"renews":  func(_ *core.Visit, s *core.Session) { _ = s.Renew(bg) },
		"by id":   nil,
	}
	for name, wrap := range renewingStores {
		for end, f := range ends {
			for act, h := range acts {
				t.Run(strings.Join([]string{"P20", name, end, act}, " "), func(t *testing.T) {
					for _, phase := range []string{"issued", "used", "due again"} {
						for _, victim := range []bool{false, true} {
							for _, attacker := range []bool{false, true} {
								for _, inner := range []bool{false, true} {
									if !soak.On && rand.IntN(10) > 0 {
										continue
									}
									for at := 1; at < 40; at++ {
										reached := false
										synctest.Test(t, func(t *testing.T) {
											p := planted{t: t, end: end, f: f, act: act, h: h}
											reached = p.run(wrap, phase, victim, attacker, inner, at)
											if t.Failed() {
												t.Fatalf("%s, the victim has the new id %t, the attacker %t; the login comes in between %t, at call %d", phase, victim, attacker, inner, at)
											}
										})
										if !reached || t.Failed() {
											break
										}
									}
								}
							}
						}
					}
				})
			}
		}
	}
}

type planted struct {
	t        *testing.T
	end, act string
	f        func(s *core.Session) error
	h        handler
}

// run lets one of the requests begin, and the other one come at a call of its store.
func (p *planted) run(wrap func(core.Store) core.Store, phase string, victimNew, attackerNew, inner bool, at int) (reached bool) {
	t := p.t
	a := newAppOn(t, wrap(newMemory(t)), renewingOptions())
	a.ok(a.get("/", count(t)))
	old := core.ID(a.value())
	time.Sleep(renewAfter)
	a.ok(a.get("/", nil))
	next := core.ID(a.value())
	switch phase {
	case "used":
		a.ok(a.with(next, nil))
	case "due again":
		time.Sleep(renewAfter)
	}
	known := []core.ID{old, next}
	pick := func(isNew bool) core.ID {
		if isNew {
			return next
		}
		return old
	}
	done := false
	victim := func() {
		e := a.with(pick(victimNew), func(_ *core.Visit, s *core.Session) {
			if p.end == "Renew" {
				_ = user.Set(s, "ada")
			}
			err := p.f(s)
			if p.end != "Destroy" && err == nil {
				err = user.Set(s, "ada")
			}
			done = err == nil
		})
		done = done && e.err() == nil
	}
	attacker := func() {
		var e *exchange
		if p.act == "by id" {
			_ = a.manager.VisitByID(bg, pick(attackerNew), func(s *core.Session) error { return visits.Set(s, 9) })
			if p.end != "Destroy" { // after which it makes a session
				_ = a.manager.SetByID(bg, pick(attackerNew), map[string]int{"visits": 8}, 0)
			}
			return
		}
		e = a.with(pick(attackerNew), p.h)
		for _, line := range e.jar.SetCookies {
			if c, err := http.ParseSetCookie(line); err == nil && !strings.HasSuffix(c.Name, ".sig") && c.Value != "" {
				known = append(known, core.ID(c.Value))
			}
		}
	}
	first, second := victim, attacker
	if inner {
		first, second = attacker, victim
	}
	n, within := 0, false
	a.store.Before(func(context.Context, storetest.Op, string) error {
		if within {
			return nil
		}
		if n++; n == at {
			reached, within = true, true
			second()
			within = false
		}
		return nil
	})
	first()
	a.store.Before(nil)
	if !reached {
		return false
	}
	if !done && p.end != "Renew" && p.end != "Reset" {
		t.Errorf("%s fails", p.end)
	}
	// A new id that nobody has used is worthless after another renewal: then the victim
	// had no session.
	had := phase != "due again" || !victimNew || attackerNew || p.end == "Destroy"
	slices.Sort(known)
	for _, id := range slices.Compact(known) {
		data, err := a.manager.GetByID(bg, id)
		if err != nil {
			continue
		}
		if strings.Contains(string(data), "ada") {
			t.Errorf("an id opens %s", data)
		}
		if had && done && (id == old || id == next) {
			t.Errorf("an earlier id lives: old %t, %s", id == old, data)
		}
		if had && done && p.end == "Destroy" && strings.Contains(string(data), "visits") && p.act != "writes" && p.act != "saves" {
			t.Errorf("the session lives on: %s", data)
		}
	}
	for range 3 { // and nothing brings it back
		for _, id := range known {
			a.send(&jartest.Jar{Target: "/", Cookies: []string{signed(id)}}, func(_ *core.Visit, s *core.Session) {
				if user.Get(s) != "" {
					t.Error("an id opens it later")
				}
			})
		}
		time.Sleep(time.Minute)
	}
	return true
}
