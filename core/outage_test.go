package core_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// Requests that use the store at the moment it goes away: like those that come
// a moment later, they wait until it is back (K43).

// breaks makes the next call of op fail with err, before it reaches the store
// or after. The store notices so much later that it is down, and is back after
// so long.
type breaks struct {
	op      storetest.Op
	err     error
	applied bool
	notices time.Duration // negative: never
	lasts   time.Duration
}

func (b breaks) on(a *app) {
	var done atomic.Bool
	hook := func(_ context.Context, op storetest.Op, _ string) error {
		if op != b.op || !done.CompareAndSwap(false, true) {
			return nil
		}
		if b.notices >= 0 {
			go func() {
				time.Sleep(b.notices)
				a.store.Down()
				time.Sleep(b.lasts)
				a.store.Up()
			}()
		}
		return b.err
	}
	if b.applied {
		a.store.After(hook)
	} else {
		a.store.Before(hook)
	}
}

func TestK43InFlight(t *testing.T) {
	type scene struct {
		name   string
		fault  breaks
		h      func(t *testing.T) handler
		fresh  bool  // the browser has no session yet
		want   error // of the request; nil: it works
		visits int   // afterwards
		takes  time.Duration
	}
	read := func(*testing.T) handler { return nil }
	destroy := func(t *testing.T) handler {
		return func(_ *core.Visit, s *core.Session) {
			if err := s.Destroy(bg); err != nil {
				t.Errorf("Destroy: %v", err)
			}
		}
	}
	const (
		get, set, away = storetest.OpGetVersion, storetest.OpSetVersion, 3 * time.Second
		soon           = 100 * time.Millisecond
	)
	for _, sc := range []scene{
		{"a read", breaks{get, core.ErrUnavailable, false, soon, away}, read, false, nil, 1, soon + away},
		{"a read without an answer", breaks{get, core.ErrTimeout, false, soon, away}, read, false, nil, 1, soon + away},
		{"an outage too short to notice", breaks{get, core.ErrUnavailable, false, -1, 0}, read, false, nil, 1, 1250 * time.Millisecond},
		{"a store that is only slow", breaks{get, core.ErrTimeout, false, -1, 0}, read, false, core.ErrTimeout, 1, 750 * time.Millisecond},
		{"a store that said no", breaks{get, core.ErrRefused, false, -1, 0}, read, false, core.ErrRefused, 1, 0},
		{"an outage that lasts too long", breaks{get, core.ErrUnavailable, false, 0, 11 * time.Second}, read, false, core.ErrUnavailable, 1, 10 * time.Second},
		{"a write that was not sent", breaks{set, core.ErrUnavailable, false, soon, away}, count, false, nil, 2, soon + away},
		{"a write that got lost", breaks{set, core.ErrOutcomeUnknown, false, soon, away}, count, false, nil, 2, soon + away},
		{"a write whose answer got lost", breaks{set, core.ErrOutcomeUnknown, true, soon, away}, count, false, nil, 2, soon + away},
		{"a slow write", breaks{set, core.ErrOutcomeUnknown, true, -1, 0}, count, false, core.ErrOutcomeUnknown, 2, 1250 * time.Millisecond},
		{"a new session that was not sent", breaks{set, core.ErrUnavailable, false, soon, away}, count, true, nil, 1, soon + away},
		{"a new session that got lost", breaks{set, core.ErrOutcomeUnknown, false, soon, away}, count, true, nil, 1, soon + away},
		{"a new session whose answer got lost", breaks{set, core.ErrOutcomeUnknown, true, soon, away}, count, true, nil, 1, soon + away},
		{"a logout that was not sent", breaks{storetest.OpBatch, core.ErrUnavailable, false, soon, away}, destroy, false, nil, 0, soon + away},
		{"a logout whose answer got lost", breaks{storetest.OpBatch, core.ErrOutcomeUnknown, true, soon, away}, destroy, false, nil, 0, soon + away},
	} {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := newApp(t, nil)
				if !sc.fresh {
					a.ok(a.get("/", count(t)))
				}
				sc.fault.on(a)
				begin := time.Now()
				err := a.get("/", sc.h(t)).err()
				if sc.want == nil && err != nil || !errors.Is(err, sc.want) {
					t.Errorf("the request ended with %v, want %v", err, sc.want)
				}
				if took := time.Since(begin); took != sc.takes {
					t.Errorf("it took %v, want %v", took, sc.takes)
				}
				a.store.Before(nil)
				a.store.After(nil)
				time.Sleep(20 * time.Second)
				a.wantVisits(sc.visits)
			})
		})
	}
	t.Run("touch", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, &core.Options{IdleTimeout: core.DefaultMaxAge, TouchEvery: 1})
			a.ok(a.get("/", count(t)))
			time.Sleep(23 * time.Hour)
			breaks{storetest.OpSetVersion, core.ErrUnavailable, false, soon, away}.on(a)
			a.ok(a.get("/", nil)).wantCookies(t, pair)
			time.Sleep(23 * time.Hour)
			a.wantVisits(1)
		})
	})
	for _, lost := range []error{core.ErrUnavailable, core.ErrOutcomeUnknown} {
		t.Run("a Renew that holds the session: "+lost.Error(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := newApp(t, nil)
				a.ok(a.get("/", count(t)))
				writer := a.browser.Jar("/")
				a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
					a.ok(a.send(writer, count(t))) // which it meets
					breaks{storetest.OpAppend, lost, lost == core.ErrOutcomeUnknown, soon, away}.on(a)
					begin := time.Now()
					must(t, s.Renew(bg))
					if took := time.Since(begin); took < away || a.store.Calls(storetest.OpAppend) == 0 {
						t.Errorf("it took %v: nothing was held, or the outage was not met", took)
					}
				}))
				a.wantVisits(2)
			})
		})
	}
	t.Run("FailFast", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, &core.Options{FailFast: true})
			a.ok(a.get("/", count(t)))
			breaks{get, core.ErrUnavailable, false, 0, time.Second}.on(a)
			begin := time.Now()
			wantIs(t, a.get("/", nil).begin, core.ErrUnavailable)
			if d := time.Since(begin); d != 0 {
				t.Errorf("it waited for %v", d)
			}
			time.Sleep(2 * time.Second)
		})
	})
	t.Run("MaxWaiters", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, &core.Options{MaxWaiters: 1})
			a.ok(a.get("/", count(t)))
			a.store.Before(failing(get, core.ErrUnavailable))
			go a.send(a.browser.Jar("/"), nil)
			synctest.Wait()
			begin := time.Now()
			wantIs(t, a.send(a.browser.Jar("/"), nil).begin, core.ErrUnavailable)
			if d := time.Since(begin); d != 0 {
				t.Errorf("it waited for %v", d)
			}
			time.Sleep(5 * time.Second)
		})
	})
	t.Run("the browser hangs up", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, nil)
			a.ok(a.get("/", count(t)))
			breaks{get, core.ErrUnavailable, false, 0, 5 * time.Second}.on(a)
			ctx, cancel := context.WithTimeout(bg, time.Second)
			defer cancel()
			v, _ := a.manager.NewVisit(a.browser.Jar("/"), nil)
			begin := time.Now()
			if _, err := v.Session(ctx); err == nil || time.Since(begin) != time.Second {
				t.Errorf("%v after %v", err, time.Since(begin))
			}
			time.Sleep(10 * time.Second)
		})
	})
	t.Run("Close", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, nil)
			a.ok(a.get("/", count(t)))
			a.store.Before(failing(get, core.ErrUnavailable))
			go func() {
				time.Sleep(200 * time.Millisecond)
				a.manager.Close()
			}()
			begin := time.Now()
			wantIs(t, a.get("/", nil).begin, core.ErrUnavailable)
			if d := time.Since(begin); d != 200*time.Millisecond {
				t.Errorf("it waited for %v", d)
			}
		})
	})
	t.Run("one at a time after the outage", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			a := newApp(t, nil)
			a.ok(a.get("/", count(t)))
			a.store.Down()
			var most, now atomic.Int32
			a.store.Before(func(context.Context, storetest.Op, string) error {
				for n := now.Add(1); ; {
					if m := most.Load(); m >= n || most.CompareAndSwap(m, n) {
						break
					}
				}
				time.Sleep(time.Millisecond)
				now.Add(-1)
				return nil
			})
			for range 1000 {
				go a.send(a.browser.Jar("/"), nil)
			}
			synctest.Wait()
			a.store.Up()
			time.Sleep(time.Second)
			if n := most.Load(); n == 0 || n > 64 {
				t.Errorf("%d requests met the server at once when it was back", n)
			}
		})
	})
}

// A session whose save had no answer may be in the store: it ends with
// Reset, too.
func TestResetAfterSaveOfUnknownOutcome(t *testing.T) {
	a := newApp(t, &core.Options{FailFast: true})
	var id core.ID
	a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
		must(t, visits.Set(s, 1))
		a.store.After(failing(storetest.OpSetVersion, core.ErrOutcomeUnknown))
		wantIs(t, s.Save(bg), core.ErrOutcomeUnknown)
		a.store.After(nil)
		id = s.ID()
		must(t, s.Reset(bg))
	}))
	_, err := a.manager.GetByID(bg, id)
	wantIs(t, err, core.ErrNotFound)
}

// A new session whose only save has an unknown outcome and that expires before the
// next save is destroyed without sending a cookie: the browser has not got its id,
// and may have got another session meanwhile (K37).
func TestExpiredNewSessionOfUnknownOutcomeKeepsTheCookie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp(t, &core.Options{FailFast: true, AbsoluteTimeout: time.Hour})
		var id core.ID
		a.ok(a.send(a.browser.Jar("/"), func(v *core.Visit, s *core.Session) {
			count(t)(v, s)
			a.store.After(failing(storetest.OpSetVersion, core.ErrOutcomeUnknown))
			wantIs(t, s.Save(bg), core.ErrOutcomeUnknown)
			a.store.After(nil)
			id = s.ID()
			time.Sleep(2 * time.Hour)
			a.ok(a.get("/", count(t)))
		})).wantCookies(t, "")
		_, err := a.manager.GetByID(bg, id)
		wantIs(t, err, core.ErrNotFound)
		a.wantVisits(1)
	})
}

// A session that has ended while a save of it was in doubt is gone like any
// other: nothing of it is sent, also not the id of an earlier save (K23).
func TestSessionDestroyedDuringSaveOfUnknownOutcomeIsGone(t *testing.T) {
	for name, last := range map[string]handler{
		"at the commit": nil,
		"by Save":       func(_ *core.Visit, s *core.Session) { wantIs(t, s.Save(bg), core.ErrGone) },
		"by Renew":      func(_ *core.Visit, s *core.Session) { wantIs(t, s.Renew(bg), core.ErrGone) },
	} {
		t.Run(name, func(t *testing.T) {
			a := newApp(t, &core.Options{FailFast: true})
			a.ok(a.get("/", count(t)))
			first, second := a.browser.Jar("/"), a.browser.Jar("/")
			e := a.send(first, func(v *core.Visit, s *core.Session) {
				count(t)(v, s)
				must(t, s.Save(bg))
				count(t)(v, s)
				a.store.Before(failing(storetest.OpSetVersion, core.ErrOutcomeUnknown))
				wantIs(t, s.Save(bg), core.ErrOutcomeUnknown)
				a.store.Before(nil)
				a.ok(a.send(second, func(_ *core.Visit, s *core.Session) { must(t, s.Renew(bg)) }))
				if last != nil {
					last(v, s)
					wantIs(t, visits.Set(s, 7), core.ErrGone)
				}
			})
			must(t, e.begin)
			if name == "by Renew" {
				wantIs(t, e.commit, core.ErrGone)
			} else {
				must(t, e.commit)
			}
			e.wantCookies(t, "")
		})
	}
}

// Two requests that add one to the same number write the same value. If the answer to
// the first was lost and the stored value is that of the second, the first must not
// mistake it for its own: it would confirm a lost update.
func TestUpdateOfUnknownOutcomeIsNotMistakenForAnother(t *testing.T) {
	koa := core.KoaCompat()
	koa.Keys = [][]byte{testKey}
	for _, sc := range []struct {
		name string
		o    core.Options
		h    func(t *testing.T) handler
	}{
		{"at the commit", core.Options{}, count},
		{"at the commit/KoaCompat", *koa, count},
		{"by Save", core.Options{}, func(t *testing.T) handler {
			return func(v *core.Visit, s *core.Session) {
				count(t)(v, s)
				wantIs(t, s.Save(bg), core.ErrOutcomeUnknown)
			}
		}},
	} {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := newApp(t, &sc.o)
				a.ok(a.get("/", count(t)))
				first, second := a.browser.Jar("/"), a.browser.Jar("/")
				var lost atomic.Bool
				a.store.Before(func(_ context.Context, op storetest.Op, _ string) error {
					if op != storetest.OpSetVersion || !lost.CompareAndSwap(false, true) {
						return nil
					}
					a.ok(a.send(second, count(t)))
					go func() {
						a.store.Down()
						time.Sleep(time.Second)
						a.store.Up()
					}()
					return core.ErrOutcomeUnknown
				})
				wantIs(t, a.send(first, sc.h(t)).err(), core.ErrOutcomeUnknown)
				time.Sleep(10 * time.Second)
				a.wantVisits(2)
			})
		})
	}
}

// Nobody else knows the id of a new session: what is there is its own, also
// where a record has no place for a mark.
func TestNewSessionOfUnknownOutcomeIsRecognized(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		koa := core.KoaCompat()
		koa.Keys = [][]byte{testKey}
		a := newApp(t, koa)
		breaks{storetest.OpSetVersion, core.ErrOutcomeUnknown, true, 0, time.Second}.on(a)
		a.ok(a.get("/", count(t)))
		a.wantVisits(1)
	})
}

// A write that had no answer comes to the store when it has been found not to
// be there, before it is made again: it must not count twice.
func TestLateUpdateOfUnknownOutcomeCountsOnce(t *testing.T) {
	for _, fresh := range []bool{false, true} {
		t.Run(fmt.Sprintf("fresh=%v", fresh), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &overtaken{Store: newMemory(t)}
				a := newAppOn(t, store, nil)
				if !fresh {
					a.ok(a.get("/", count(t)))
				}
				store.next.Store(true)
				go func() {
					time.Sleep(100 * time.Millisecond)
					a.store.Down()
					time.Sleep(time.Second)
					a.store.Up()
				}()
				wantIs(t, a.get("/", count(t)).err(), core.ErrOutcomeUnknown)
				time.Sleep(10 * time.Second)
				if !fresh {
					a.wantVisits(2)
				}
			})
		})
	}
}

// An overtaken store is a memory store whose next write has no answer and comes
// with the one after it, just before that.
type overtaken struct {
	*memorystore.Store
	next atomic.Bool
	late func() // carries it out
}

func (o *overtaken) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	if o.next.CompareAndSwap(true, false) {
		data = bytes.Clone(data)
		o.late = func() { _, _ = o.Store.SetVersion(bg, key, data, ttl, v) }
		return 0, core.ErrOutcomeUnknown
	}
	if o.late != nil {
		o.late()
		o.late = nil
	}
	return o.Store.SetVersion(ctx, key, data, ttl, v)
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
	t.Run("the hook ignores the error, then the session is destroyed", func(t *testing.T) {
		a := newApp(t, &core.Options{FailFast: true, Hooks: core.Hooks{Error: func(context.Context, *core.Error) error { return nil }}})
		a.ok(a.get("/", count(t)))
		a.store.Down()
		a.ok(a.get("/", func(_ *core.Visit, s *core.Session) {
			a.store.Up()
			must(t, s.Destroy(bg))
		})).wantCookies(t, "-koa.sid -koa.sid.sig")
		if a.store.Calls(storetest.OpBatch) != 1 {
			t.Error("the session was not revoked")
		}
	})
}
