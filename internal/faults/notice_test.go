package faults_test

import (
	"sync"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/soak"
	"github.com/gensession/gensession/internal/stall"
)

// An ear hears what a store tells of its server, and when.
type ear struct {
	mu   sync.Mutex
	told []told
}

type told struct {
	up bool
	at time.Time
}

func (e *ear) hear(up bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.told = append(e.told, told{up, time.Now()})
}

// next waits for the n-th news, counted from 0.
func (e *ear) next(t testing.TB, n int) told {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		e.mu.Lock()
		all := e.told
		e.mu.Unlock()
		if len(all) > n {
			return all[n]
		}
	}
	t.Fatalf("the store has told %d times, not %d", n, n+1)
	panic("unreachable")
}

// K44: an outage is noticed within a second, and so is its end, though nobody
// asks for anything. A store on a client of the user's has no connection of its
// own to watch, so that it notices in another way.
func TestK44AnOutageAndItsEndAreNoticed(t *testing.T) {
	var all sync.WaitGroup // not t.Parallel, since they mostly wait
	for _, store := range []string{"redis", "memcache"} {
		for by, byNew := range map[string]bool{"Open": false, "New": true} {
			all.Go(func() {
				t.Run(store+", "+by, func(t *testing.T) { stall.Retry(t, func(t testing.TB) { noticed(t, store, byNew) }) })
			})
		}
	}
	all.Wait()
}

func noticed(t testing.TB, store string, byNew bool) {
	s := startServer(t, store)
	r := newRigBy(t, s, false, byNew)
	notifier, ok := core.As[core.Notifier](r.store)
	if !ok {
		t.Fatal("the store does not tell")
	}
	var e ear
	defer notifier.Notify(e.hear)()
	n := 0
	for _, outage := range []struct {
		name     string
		down, up func()
	}{
		{"killed", s.process().Kill, s.process().Start},
		{"paused", s.process().Pause, s.process().Resume},
	} {
		// once is one outage. It returns whether both news were in time.
		once := func() bool {
			late := false
			for _, turn := range []struct {
				wait time.Duration // the second is so long that it no longer looks often
				up   bool
				what string
				do   func()
			}{{300 * time.Millisecond, false, "the outage", outage.down}, {1500 * time.Millisecond, true, "its end", outage.up}} {
				time.Sleep(turn.wait)
				turn.do()
				begun := time.Now() // starting the server takes time, too
				at := e.next(t, n)
				n++
				if at.up != turn.up {
					t.Fatalf("%s: the store has told up: %t", outage.name, at.up)
				}
				took := at.at.Sub(begun)
				t.Logf("%s: %s was noticed after %v", outage.name, turn.what, took.Round(time.Millisecond))
				if took > time.Second+slack {
					t.Errorf("%s: %s was noticed after %v", outage.name, turn.what, took)
				}
				late = late || took > time.Second+100*time.Millisecond
				if turn.up {
					if err := r.store.Set(t.Context(), "k", []byte("x"), 0); err != nil {
						t.Errorf("%s: Set after its end: %v", outage.name, err)
					}
				}
			}
			return !late
		}
		for range soak.Longer(1, 20) {
			// A machine that is busy with other tests may be late itself, but
			// not each time.
			soon := false
			for try := 0; try < 3 && !soon; try++ {
				soon = once()
			}
			if !soon {
				t.Errorf("%s: noticed after more than a second, three times", outage.name)
			}
		}
	}
}

// all are the news so far.
func (e *ear) all() []told {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]told(nil), e.told...)
}
