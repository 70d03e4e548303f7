package concurrency_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
)

// What the tests of core do with options together on memory, on servers with their
// own clocks.

// A traveller is one browser at processes that share a store.
type traveller struct {
	t testing.TB
	jartest.Browser
}

// get sends a request to the process of m. The browser takes the answer unless it is
// lost.
func (b *traveller) get(m *core.Manager, lost bool, h func(s *core.Session) error) []string {
	b.t.Helper()
	jar := b.Jar("/")
	v, _ := m.NewVisit(jar, nil)
	ctx := core.NewContext(context.Background(), v)
	s, err := v.Session(ctx)
	if err == nil {
		err = h(s)
	}
	if err == nil {
		err = v.Commit(ctx)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	if lost {
		return nil
	}
	b.Take("/", jar.SetCookies...)
	return jar.SetCookies
}

func (b *traveller) id() core.ID {
	id, _ := b.Value("/", "koa.sid")
	return core.ID(id)
}

func addOne(s *core.Session) error {
	_, err := n.Update(s, func(n int) int { return n + 1 })
	return err
}

// reads wants a session that was written so often.
func (b *traveller) reads(want int) func(s *core.Session) error {
	return func(s *core.Session) error {
		if got := n.Get(s); got != want {
			b.t.Errorf("%d updates are left of %d", got, want)
		}
		return nil
	}
}

const (
	shortRenew = 4 * time.Second
	shortGrace = 3 * time.Second
)

// onStore returns what makes a process with a store of that kind, and in parallel
// with it the cells that f adds.
func onStore(t *testing.T, k kind, f func(t *testing.T, process func(o core.Options) *core.Manager, cell func(name string, f func(b *traveller)))) {
	t.Run(k.name, func(t *testing.T) {
		t.Parallel()
		store := k.open(t)
		process := func(o core.Options) *core.Manager {
			o.Keys, o.RenewAfter, o.RenewGrace = [][]byte{firstKey}, shortRenew, shortGrace
			m, err := core.New(store, &o)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { m.Close() })
			return m
		}
		var all sync.WaitGroup
		defer all.Wait()
		f(t, process, func(name string, f func(b *traveller)) {
			all.Go(func() { f(&traveller{t: named{t, name}}) })
		})
	})
}

// named is a test that says which cell has failed. Cells are no tests of their own:
// they are many that mostly wait.
type named struct {
	*testing.T
	name string
}

func (t named) Errorf(format string, args ...any) {
	t.T.Helper()
	t.T.Errorf("%s: %s", t.name, fmt.Sprintf(format, args...))
}

func (t named) Fatal(args ...any) {
	t.Errorf("%s", fmt.Sprint(args...))
	runtime.Goexit()
}

// TestP20SealRotationOnServers: ids that are renewed of themselves while the keys of
// Options.Seal rotate in two steps. Nothing is lost, and after the next write the
// record needs the first key only.
func TestP20SealRotationOnServers(t *testing.T) {
	t.Parallel()
	for _, k := range stores {
		onStore(t, k, func(t *testing.T, process func(o core.Options) *core.Manager, cell func(name string, f func(b *traveller))) {
			sealed := func(keys ...[]byte) *core.Manager {
				return process(core.Options{Seal: core.Sealing{Keys: keys}})
			}
			before, first, second, last := sealed(firstKey), sealed(firstKey, secondKey), sealed(secondKey, firstKey), sealed(secondKey)
			for rotated := range 3 { // before: the renewal, the first use, the write
				for _, used := range []bool{false, true} {
					for _, byOld := range []bool{false, true} {
						cell(fmt.Sprintf("rotated before step %d, used %t, written by the old id %t", rotated, used, byOld), func(b *traveller) {
							at := func(step int) *core.Manager {
								if step >= rotated {
									return second
								}
								return first
							}
							start := time.Now()
							lines := b.get(before, false, addOne)
							old, stale := b.id(), &traveller{t: b.t}
							stale.Take("/", lines...) // a request that is under way for long
							time.Sleep(shortRenew)
							b.get(at(0), false, b.reads(1))
							next := b.id()
							if next == old {
								b.t.Errorf("not renewed")
							}
							if used {
								b.get(at(1), false, b.reads(1))
							}
							if time.Since(start) > shortRenew+shortGrace/2 { // a machine that stands still
								b.t.Logf("too slow for the grace")
								return
							}
							if byOld {
								stale.get(at(2), true, addOne)
							} else {
								b.get(at(2), false, addOne)
							}
							for _, id := range []core.ID{old, next} {
								if _, err := before.GetByID(b.t.Context(), id); err == nil {
									b.t.Errorf("the old key opens it")
								}
							}
							if !used { // where it was, the grace runs
								stale.get(last, true, stale.reads(2))
							}
							b.get(last, false, b.reads(2))
							time.Sleep(shortRenew)
							if _, err := last.GetByID(b.t.Context(), old); !errors.Is(err, core.ErrNotFound) {
								b.t.Errorf("the old id after the grace: %v", err)
							}
							b.get(last, false, addOne)
							b.get(last, false, b.reads(3))
						})
					}
				}
			}
		})
	}
}

// TestP18RememberedOnServers: what a login has asked to be remembered goes on over new
// ids, in the store and in the browser, to the end of RememberFor from the login, and
// is forgotten at the next login without it.
func TestP18RememberedOnServers(t *testing.T) {
	t.Parallel()
	const remember, idle = 10 * time.Second, 3 * time.Second
	for _, k := range stores {
		onStore(t, k, func(t *testing.T, process func(o core.Options) *core.Manager, cell func(name string, f func(b *traveller))) {
			m := process(core.Options{RememberFor: remember, IdleTimeout: idle, AbsoluteTimeout: 5 * time.Second})
			for _, writes := range []bool{false, true} {
				for _, again := range []bool{false, true} {
					cell(fmt.Sprintf("written %t, logged in again %t", writes, again), func(b *traveller) {
						b.get(m, false, addOne)
						var login time.Time
						b.get(m, false, func(s *core.Session) error { return s.Login(core.LoginOptions{Remember: true}) })
						b.get(m, false, func(s *core.Session) error { login = s.LoggedIn(); return nil })
						end := login.Add(remember)
						wrote, ids := 1, map[core.ID]bool{b.id(): true}
						for i := range 2 {
							time.Sleep(shortRenew + 100*time.Millisecond)
							act := b.reads(wrote)
							if writes {
								wrote++
								act = addOne
							}
							for _, line := range b.get(m, i == 0, act) {
								c, err := http.ParseSetCookie(line)
								if err != nil {
									b.t.Fatal(err)
								}
								if c.Expires.Unix() > 0 && (c.Expires.After(end.Add(time.Second)) || c.Expires.Before(end.Add(-2*time.Second))) {
									b.t.Errorf("%s ends at %v, want %v", c.Name, c.Expires, end)
								}
							}
							b.get(m, false, b.reads(wrote))
							ids[b.id()] = true
						}
						if len(ids) < 2 {
							b.t.Errorf("no id was renewed")
						}
						latest := end
						if again { // dated by the process somewhere in this request
							end = time.Now().Add(idle)
							b.get(m, false, func(s *core.Session) error { return s.Login(core.LoginOptions{}) })
							latest = time.Now().Add(idle)
						}
						id := b.id()
						time.Sleep(time.Until(end) - time.Second) // memcached's clock is late by up to a second
						if _, err := m.GetByID(b.t.Context(), id); err != nil && time.Now().Before(end) {
							b.t.Errorf("before the end: %v", err)
						}
						time.Sleep(time.Until(latest) + 20*time.Millisecond)
						if _, err := m.GetByID(b.t.Context(), id); !errors.Is(err, core.ErrNotFound) && !again { // an idle time alone is the cache's to end
							b.t.Errorf("after the end: %v", err)
						}
						time.Sleep(2 * time.Second) // as exact as a cache is
						if _, err := m.GetByID(b.t.Context(), id); !errors.Is(err, core.ErrNotFound) || b.id() != "" {
							b.t.Errorf("long after the end: %v, and in the browser %t", err, b.id() != "")
						}
					})
				}
			}
		})
	}
}
