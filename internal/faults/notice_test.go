package faults_test

import (
	"sync"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
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
func (e *ear) next(t *testing.T, n int) told {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
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
// asks for anything.
func TestK44AnOutageAndItsEndAreNoticed(t *testing.T) {
	for _, store := range []string{"redis", "memcache"} {
		t.Run(store, func(t *testing.T) {
			s := startServer(t, store)
			r := newRig(t, s, false)
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
				for range longer(1, 20) {
					time.Sleep(300 * time.Millisecond)
					for _, turn := range []struct {
						up   bool
						what string
						do   func()
					}{{false, "the outage", outage.down}, {true, "its end", outage.up}} {
						// What takes time is starting the server; it may be
						// noticed before that is over.
						begun := time.Now()
						turn.do()
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
					}
				}
			}
		})
	}
}
