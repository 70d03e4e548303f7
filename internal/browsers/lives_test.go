package browsers_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

// Random lives of one user: requests that read, save, choose a lifetime, log in, renew and
// log out overlap for some seconds, pauses are between nothing and the whole idle time,
// ids are renewed of themselves, answers come in any order or get lost, and calls of the
// store fail, before or after they are carried out.
//
// What must hold: who has got the answer of a login is logged in at each later request,
// until a logout, a change of id whose answer was lost, or a pause that was too long: the
// idle time, or a quarter of it if answers have been lost. After a logout that succeeded no
// cookie that the browser ever had opens a session of a user, but one that a login beside
// it has made. A login never fails while the store works.
func TestLives(t *testing.T) {
	t.Parallel()
	for _, kind := range stores[:2] {
		t.Run(kind.name, func(t *testing.T) {
			seeded(t, 2, 400, 60, 300_000, func(seed uint64) (problems, log []string) { return live(t, kind.open, seed, "") })
		})
	}
}

// The lives find a session that is prolonged without the cookie, and a new id without a
// copy.
func TestLivesPlanted(t *testing.T) {
	t.Parallel()
	for name, planted := range map[string]kind{"no cookie for who reads": page, "no copy of a new id": signIn} {
		t.Run(name, func(t *testing.T) {
			const most = 1500
			for seed := range uint64(most) {
				if problems, _ := live(t, newMemory, seed, planted); len(problems) > 0 {
					t.Logf("seed %d: %s", seed, problems[0])
					return
				}
			}
			t.Errorf("not found in %d lives", most)
		})
	}
}

// A life is one schedule of TestLives.
type life struct {
	sim          // of which it uses the random numbers, the log and the problems
	planted kind // the requests whose answers lack a cookie, "" for none
	browser jartest.Browser
	idle    time.Duration
	every   time.Duration

	in        bool      // logged in, for certain
	answered  time.Time // when the last answer came
	lost      bool      // one has been lost since the last login
	changing  int       // requests that change the id
	changed   int       // how many have been begun
	logouts   int
	calm      bool // who is in stays so, and mostly reads
	closes    bool // sessions may end with the browser
	failing   bool
	managers  []*core.Manager       // the processes
	successor map[core.ID]core.ID   // of those in gone
	gone      map[core.ID]time.Time // when an id was given up for another one
}

func live(t *testing.T, open func(testing.TB) core.Store, seed uint64, planted kind) (problems, log []string) {
	synctest.Test(t, func(t *testing.T) {
		l := &life{planted: planted, gone: map[core.ID]time.Time{}, successor: map[core.ID]core.ID{}}
		l.sim = sim{r: rand.New(rand.NewPCG(seed, 3)), start: time.Now()}
		memory := open(t)
		slow := storetest.NewFaulty(memory)
		fails := l.chance(2)
		hook := func(err error) storetest.Hook {
			return func(context.Context, storetest.Op, string) error {
				l.sleep(2 * time.Millisecond)
				if fails && l.failing && l.chance(12) {
					return err
				}
				return nil
			}
		}
		slow.Before(hook(core.ErrUnavailable))
		slow.After(hook(core.ErrOutcomeUnknown))
		o := core.Options{FailFast: true, Defer: l.chance(4), RememberFor: 48 * time.Hour}
		l.idle = []time.Duration{5 * time.Minute, 30 * time.Minute, 24 * time.Hour}[l.intn(3)]
		l.closes, l.calm = l.chance(3), l.chance(2)
		if o.IdleTimeout = l.idle; l.closes && l.chance(2) {
			o.Cookie.MaxAge = core.UntilBrowserCloses
		}
		if l.every = min(l.idle/10, time.Minute); l.chance(4) {
			o.TouchEvery = l.idle / 4
			l.every = o.TouchEvery
		}
		if l.chance(2) {
			o.RenewAfter = []time.Duration{time.Minute, 3 * time.Minute, 20 * time.Minute}[l.intn(3)]
		}
		if l.chance(4) {
			o.Hooks.BeforeSave = func(_ context.Context, _ core.Jar, s *core.Session) error { return nil }
		}
		l.logf("IdleTimeout %v, TouchEvery %v, RenewAfter %v, Defer %t, closes %t, hook %t, fails %t", o.IdleTimeout, o.TouchEvery, o.RenewAfter, o.Defer, o.Cookie.MaxAge != 0, o.Hooks.BeforeSave != nil, fails)
		l.managers = []*core.Manager{newManager(t, slow, o)}
		if l.chance(3) {
			l.managers = append(l.managers, newManager(t, slow, o))
		}
		l.watcher = newManager(t, memory, o)
		l.run()
		problems, log = l.problems, l.log
	})
	return problems, log
}

func (l *life) run() {
	for range 3 + l.intn(8) {
		for range 1 + l.intn(4) {
			var wg sync.WaitGroup
			for range 1 + l.intn(5) {
				wg.Go(l.request)
				l.sleep([]time.Duration{time.Microsecond, 5 * time.Millisecond, 3 * time.Second}[l.intn(3)])
			}
			wg.Wait()
			l.sleep([]time.Duration{time.Millisecond, 10 * time.Second, time.Minute}[l.intn(3)])
		}
		l.mu.Lock()
		l.failing = !l.failing && l.chance(2)
		l.mu.Unlock()
		switch l.intn(4) {
		case 0:
			l.sleep(l.idle / 5)
		case 1:
			time.Sleep(l.idle - l.every - l.upTo(time.Minute) - 20*time.Second)
		}
	}
	l.failing = false
	l.one(signIn, 0, 0, 0, false)
	l.one(page, 0, 0, 0, false)
	if !l.in {
		l.problem("the last login: nobody is logged in")
	}
}

const (
	lifetime kind = "lifetime"
	saving   kind = "save"
	reset    kind = "reset"
)

func (l *life) request() {
	kinds := []kind{page, page, page, change, change, saving, lifetime, signIn, signIn, role, signOut}
	l.mu.Lock()
	if l.calm && l.in {
		kinds = []kind{page, page, page, page, page, change}
	}
	l.mu.Unlock()
	short := func() time.Duration {
		return l.upTo([]time.Duration{time.Millisecond, 50 * time.Millisecond, 3 * time.Second}[l.intn(3)])
	}
	l.one(kinds[l.intn(int64(len(kinds)))], short(), short(), short(), l.chance(5))
}

// one is one request. Those that change the id are made one after the other.
func (l *life) one(k kind, network, running, delay time.Duration, lost bool) {
	changes := k == signIn || k == role || k == signOut
	l.mu.Lock()
	if changes && l.changing > 0 {
		changes, k = false, page
	}
	l.n++
	n := l.n
	pause := time.Since(l.answered)
	long := pause > l.idle-l.every-15*time.Second || l.lost && (pause > l.idle/5 || len(l.managers) > 1) // each process knows what it has sent itself
	jar, main := l.browser.Jar("/"), idOf(&l.browser)
	must := l.in && l.changing == 0 && !long
	if l.in && l.changing == 0 && long {
		l.in = false
	}
	was := l.in
	before, logouts := l.changed, l.logouts
	if changes {
		l.changing++
		l.changed++
	}
	l.logf("%d %s with %s, must %t", n, k, l.browser.Cookie("/"), must)
	l.mu.Unlock()
	time.Sleep(network)

	l.mu.Lock()
	at, late := l.gone[main]
	late = late && time.Since(at) < 50*time.Second
	l.mu.Unlock()
	var gaveUp, id core.ID
	var ends []core.ID // by a logout
	var session *core.Session
	seen := core.Jar(jar)
	switch {
	case k != l.planted:
	case k == page:
		seen = lineJar{jar, without("koa.sid")()}
	default:
		seen = lineJar{jar, without("koa.sid.next")()}
	}
	x := beginWith(l.managers[l.intn(int64(len(l.managers)))], jar, seen)
	var err error
	name := ""
	if x.err == nil {
		var s *core.Session
		if s, err = x.visit.Session(x.ctx); err == nil {
			name = user.Get(s)
			l.mu.Lock()
			if must && before == l.changed-map[bool]int{true: 1}[changes] && name != "ada" {
				l.problem("%d %s: %q is logged in", n, k, name)
			}
			l.mu.Unlock()
			time.Sleep(running)
			kept := k
			if session, id = s, s.ID(); changes && !s.IsNew() {
				gaveUp = id
			}
			if s.IsNew() && (k == change || k == saving) {
				// What begins a session beside a login may take it away (docs/concurrency.md).
				k = page
			}
			if s.IsNew() && late && kept != page {
				k = kept
			}
			switch k {
			case change:
				_, err = visits.Update(s, func(n int) int { return n + 1 })
			case saving:
				if err = token.Set(s, fmt.Sprint(n)); err == nil {
					err = s.Save(bg)
				}
			case lifetime:
				if !s.IsNew() && !l.closes { // else it may take a login away (docs/concurrency.md)
					err = s.SetLifetime(core.Lifetime{IdleTimeout: l.idle - time.Duration(l.intn(3))*time.Second})
				}
			case signIn:
				o := core.LoginOptions{DropValues: l.chance(3)}
				if l.closes && l.chance(2) {
					o.Lifetime.UntilBrowserCloses = true
				}
				if err = s.Login(o); err == nil {
					err = user.Set(s, "ada")
				}
				if l.chance(3) && err == nil {
					err = s.Save(bg)
				}
			case role:
				err = s.Renew(bg)
			case signOut:
				l.mu.Lock()
				ends = l.endedBy(jar.Cookie())
				l.mu.Unlock()
				err = s.Destroy(bg)
			}
		}
		if err == nil || k != signIn { // which fails the handler
			x.commit()
		} else {
			x.visit.HandlerFailed()
			x.commit()
		}
	}
	moved := session != nil && changes && session.ID() != id // and its cookie is sent
	err = errors.Join(err, x.err)
	l.mu.Lock()
	switch {
	case k == signOut:
		l.logouts++
		if err == nil {
			l.ended(n, ends)
		}
		clear(l.gone)
	case gaveUp != "" && err == nil:
		l.gone[gaveUp], l.successor[gaveUp] = time.Now(), session.ID()
	}
	l.mu.Unlock()
	time.Sleep(delay)

	l.mu.Lock()
	defer l.mu.Unlock()
	l.logf("%d %s: %q, %s, %v, lost %t", n, k, name, x.cookies(), err, lost)
	if err != nil && !l.failing && !errors.Is(err, core.ErrGone) && !errors.Is(err, core.ErrUnavailable) && !errors.Is(err, core.ErrOutcomeUnknown) {
		l.problem("%d %s: %v", n, k, err)
	}
	if !lost {
		if x.to(&l.browser); logouts != l.logouts && !changes && x.cookies() != "" {
			l.in = false // its session has ended, and a login since had no copy (docs/concurrency.md)
		}
	}
	if lost || err != nil {
		l.lost = true
	} else {
		l.answered = time.Now()
	}
	if !changes {
		return
	}
	l.changing--
	switch {
	case k == signOut:
		l.in = false
	case moved && k == role && !lost:
	case !moved && errors.Is(err, core.ErrUnavailable) && !errors.Is(err, core.ErrOutcomeUnknown): // as it was
		l.in = was && l.in
	case lost || err != nil:
		l.in = false
	case k == signIn:
		l.in, l.lost = true, false
	}
}

// endedBy are the ids that a logout with these cookies ends: its own, and those that they
// were given up for within the last minute. mu is held.
func (l *life) endedBy(field string) (ids []core.ID) {
	for pair := range strings.SplitSeq(field, "; ") {
		name, value, _ := strings.Cut(pair, "=")
		for id := core.ID(value); slices.Contains(cookieNames, name) && id != ""; id = l.successor[id] {
			if ids = append(ids, id); time.Since(l.gone[id]) > 50*time.Second {
				break
			}
		}
	}
	return ids
}

// ended checks that they open no session. mu is held.
func (l *life) ended(n int, ids []core.ID) {
	for _, id := range ids {
		if _, ok := l.values(id); ok {
			l.problem("%d: after the logout %.4s lives", n, string(id))
		}
	}
}
