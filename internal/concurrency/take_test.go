package concurrency_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/soak"
)

const token core.Key[string] = "token"

// taken is what a request gets.
func taken(s *core.Session) (string, error) { return token.Take(context.Background(), s) }

// W36, P30: of requests in two processes that take a value at the same time exactly
// one gets it, on every store, and what others save meanwhile is kept.
func TestP30TakeOnServers(t *testing.T) {
	for _, kind := range stores {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			store := kind.open(t)
			processes := [2]*core.Manager{newManager(t, store, core.Options{}), newManager(t, store, core.Options{})}
			browser := visitor(t, processes[0])
			const rounds, takers, writers = 12, 6, 4
			for round := range rounds {
				value := fmt.Sprintf("token %d", round)
				if _, err := within(processes[0], browser.Jar("/"), func(s *core.Session) error { return token.Set(s, value) }); err != nil {
					t.Fatal(err)
				}
				var mu sync.Mutex
				got := 0
				var all sync.WaitGroup
				start := make(chan struct{})
				for i := range takers + writers {
					jar := browser.Jar("/")
					all.Go(func() {
						<-start
						_, err := within(processes[i%2], jar, func(s *core.Session) error {
							if i >= takers {
								_, err := n.Update(s, func(n int) int { return n + 1 })
								return err
							}
							v, err := taken(s)
							if v != "" {
								mu.Lock()
								got++
								mu.Unlock()
							}
							if v != "" && v != value {
								t.Errorf("%q was taken, want %q", v, value)
							}
							return err
						})
						if err != nil {
							t.Error(err)
						}
					})
				}
				close(start)
				all.Wait()
				if got != 1 {
					t.Fatalf("%d requests got the value", got)
				}
			}
			if _, err := within(processes[1], browser.Jar("/"), func(s *core.Session) error {
				if v, err := taken(s); v != "" || err != nil || n.Get(s) != rounds*writers {
					t.Errorf("at the end %q, %v, n is %d", v, err, n.Get(s))
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
}

// A turnsOf two requests lets them call the store one after the other, in the order
// of the bits.
type turnsOf struct {
	arrived chan int
	next    [2]chan struct{}
}

func (o *turnsOf) hook(i int) storetest.Hook {
	return func(context.Context, storetest.Op, string) error {
		o.arrived <- i
		<-o.next[i]
		return nil
	}
}

// run runs both requests, in the order of as many bits, the lowest first, and then by
// turns: one of them may wait for what the other does.
func (o *turnsOf) run(bits, many int, requests [2]func()) {
	done := make(chan int)
	for i, f := range requests {
		go func() { f(); done <- i }()
	}
	const running, waits, over = 0, 1, 2
	var state [2]int
	for state != [2]int{over, over} {
		for state[0] == running || state[1] == running {
			select {
			case i := <-o.arrived:
				state[i] = waits
			case i := <-done:
				state[i] = over
			}
		}
		i := bits & 1
		if state[i] == over {
			i = 1 - i
		} else if bits >>= 1; many > 0 {
			many--
		} else {
			bits = 1 - i
		}
		if state[i] == waits {
			state[i] = running
			o.next[i] <- struct{}{}
		}
	}
}

// P30: in every order of the store calls of two requests, at most one gets a value,
// and exactly one if the other does not end the session.
func TestP30EveryOrderOfTake(t *testing.T) {
	type act struct {
		name string
		do   func(s *core.Session) (string, error)
		ends bool // the session, with the value
	}
	acts := []act{
		{"take", taken, false},
		{"take, set", func(s *core.Session) (string, error) {
			v, err := taken(s)
			return v, errors.Join(err, n.Set(s, 1))
		}, false},
		{"set, take", func(s *core.Session) (string, error) {
			err := n.Set(s, 1)
			v, failed := taken(s)
			return v, errors.Join(err, failed)
		}, false},
		{"update", func(s *core.Session) (string, error) {
			_, err := n.Update(s, func(n int) int { return n + 1 })
			return "", err
		}, false},
		{"renew", func(s *core.Session) (string, error) { return "", s.Renew(context.Background()) }, false},
		{"login", func(s *core.Session) (string, error) { return "", s.Login(core.LoginOptions{}) }, false},
		{"take, login", func(s *core.Session) (string, error) {
			v, err := taken(s)
			return v, errors.Join(err, s.Login(core.LoginOptions{}))
		}, false},
		{"logout", func(s *core.Session) (string, error) { return "", s.Destroy(context.Background()) }, true},
	}
	bits := soak.Longer(5, 10)
	for _, policy := range []core.ConflictPolicy{core.ConflictMerge, core.ConflictLastWriteWins} {
		for i, other := range acts {
			if policy != core.ConflictMerge && i > 2 {
				continue // the policy is for saves
			}
			for k, first := range acts[:3] {
				if k > 0 && i > 0 && !soak.On {
					continue
				}
				t.Run(fmt.Sprintf("policy %d, %s | %s", policy, first.name, other.name), func(t *testing.T) {
					t.Parallel()
					orders := rand.Perm(1 << bits)
					for i := range soak.Rounds(2*3*len(acts), 1<<5, 1<<bits) {
						synctest.Test(t, func(t *testing.T) { twoRequests(t, policy, orders[i], bits, first.do, other.do, other.ends) })
					}
				})
			}
		}
	}
}

// twoRequests runs them in the order of so many bits.
func twoRequests(t *testing.T, policy core.ConflictPolicy, bits, many int, first, second func(*core.Session) (string, error), ends bool) {
	store := newMemory(t)
	browser := visitor(t, newManager(t, store, core.Options{}))
	quiet := newManager(t, store, core.Options{})
	jar := browser.Jar("/")
	if _, err := within(quiet, jar, func(s *core.Session) error { return token.Set(s, "once") }); err != nil {
		t.Fatal(err)
	}
	before := jar.SetCookies
	browser.Take("/", before...)
	order := &turnsOf{arrived: make(chan int), next: [2]chan struct{}{make(chan struct{}), make(chan struct{})}}
	var got [2]string
	var failed [2]error
	var jars [2]*jartest.Jar
	var requests [2]func()
	for i, do := range []func(*core.Session) (string, error){first, second} {
		faulty := storetest.NewFaulty(store)
		faulty.Before(order.hook(i))
		m := newManager(t, faulty, core.Options{OnConflict: policy})
		jars[i] = browser.Jar("/")
		requests[i] = func() {
			_, err := within(m, jars[i], func(s *core.Session) (err error) {
				got[i], err = do(s)
				return err
			})
			failed[i] = err
		}
	}
	order.run(bits, many, requests)
	out := 0
	for i, v := range got {
		if v != "" {
			out++
		}
		if err := failed[i]; err != nil && !errors.Is(err, core.ErrGone) {
			t.Fatalf("order %b: request %d failed: %v", bits, i, err)
		}
	}
	// What is left: in the session of either browser, whatever came last.
	left := map[string]bool{}
	for _, jar := range jars {
		b := &jartest.Browser{}
		b.Take("/", before...)
		b.Take("/", jar.SetCookies...)
		_, err := within(quiet, b.Jar("/"), func(s *core.Session) error {
			if token.Get(s) != "" {
				left[string(s.ID())] = true
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if all := out + len(left); all > 1 || all == 0 && !ends {
		t.Fatalf("order %b: %d requests got the value, and it is in %d sessions; the errors are %v", bits, out, len(left), failed)
	}
}
