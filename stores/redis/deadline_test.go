package redisstore_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/servers"
	"github.com/gensession/gensession/internal/soak"
)

// promise is how long after its deadline a call may return. Half of the calls
// are held to it on any machine; slack is for the others, since one that is
// busy with other tests lets a goroutine wait for its turn. Without the store's
// own measures they would wait for ten seconds and more.
const (
	promise = 50 * time.Millisecond
	slack   = 3 * time.Second
)

// The suite holds every store to its deadlines, but allows more time, since not
// each measures how late a machine is. How rueidis gives a call up depends on what
// the connection did before.
func TestDeadlinesOnAPausedServer(t *testing.T) {
	waves, callers := soak.Longer(2, 4), soak.Longer(1000, 2000) // the second wave meets what the first has left behind
	for _, warm := range []string{"new", "serial", "busy"} {
		for _, name := range []string{"own", "lent"} {
			t.Run(warm+"/"+name, func(t *testing.T) {
				server := servers.Redis(t)
				s := stores(t, server.Addr())[name]
				ctx := context.Background()
				if err := s.Set(ctx, "k", []byte("x"), 0); err != nil {
					t.Fatal(err)
				}
				for range 300 {
					if warm == "new" {
						break
					}
					if _, err := s.Get(ctx, "k"); err != nil {
						t.Fatal(err)
					}
				}
				stop := make(chan struct{})
				var load sync.WaitGroup
				if warm == "busy" {
					for range 16 {
						load.Go(func() {
							for {
								select {
								case <-stop:
									return
								default:
									s.Get(ctx, "k")
								}
							}
						})
					}
					time.Sleep(50 * time.Millisecond)
				}
				server.Pause()
				defer server.Resume()
				var mu sync.Mutex
				var lates, others []time.Duration // others only wait for their deadline
				var calls sync.WaitGroup
				for wave := range waves {
					for i := range callers {
						calls.Go(func() {
							limit := 100*time.Millisecond + rand.N(300*time.Millisecond)
							ctx, cancel := context.WithTimeout(ctx, limit)
							defer cancel()
							begun := time.Now()
							var err error
							want := error(core.ErrTimeout)
							switch i % 4 {
							case 0:
								_, err = s.Get(ctx, "k")
							case 1:
								_, err = s.SetVersion(ctx, "k", []byte("y"), 0, 7)
								want = core.ErrOutcomeUnknown
							case 2:
								err = s.Destroy(ctx, "another")
								want = core.ErrOutcomeUnknown
							case 3:
								<-ctx.Done()
							}
							late := time.Since(begun) - limit
							mu.Lock()
							defer mu.Unlock()
							if i%4 == 3 {
								others = append(others, late)
								return
							}
							lates = append(lates, late)
							// A write that waited for its place was not sent.
							if !errors.Is(err, want) && !errors.Is(err, core.ErrUnavailable) && !errors.Is(err, core.ErrOutcomeUnknown) {
								t.Errorf("wave %d: %v", wave, err)
							}
						})
					}
					time.Sleep(250 * time.Millisecond)
				}
				calls.Wait()
				close(stop)
				load.Wait()
				slices.Sort(lates)
				worst := lates[len(lates)-1]
				machine := slices.Max(others)
				t.Logf("late by %v at the median, %v at 99 %%, %v at worst; who only waits, by %v", lates[len(lates)/2], lates[len(lates)*99/100], worst, machine)
				slices.Sort(others)
				if median := lates[len(lates)/2]; median > max(others[len(others)/2], 0)+promise {
					t.Errorf("half of the calls were %v late", median)
				}
				if worst > max(machine, 0)+slack {
					t.Errorf("a call was %v late", worst)
				}
				server.Resume()
				waitFor(t, "an answer", func() bool {
					_, err := s.Get(ctx, "k")
					return err == nil
				})
			})
		}
	}
}

// A default deadline is this store's.
func TestACallWithoutADeadlineGetsOne(t *testing.T) {
	server := servers.Redis(t)
	for name, s := range stores(t, server.Addr()) {
		server.Pause()
		for range 3 {
			begun := time.Now()
			if _, err := s.Get(context.Background(), "k"); !errors.Is(err, core.ErrTimeout) {
				t.Errorf("%s: %v", name, err)
			}
			if d := time.Since(begun); d < 300*time.Millisecond || d > 500*time.Millisecond+slack {
				t.Errorf("%s: it took %v", name, d)
			}
		}
		server.Resume()
	}
}

// The suite allows a write that was not sent. Here it was, and rueidis is called in
// another way with a deadline than without one.
func TestACallThatIsCancelled(t *testing.T) {
	for name, deadline := range map[string]time.Duration{"none": 0, "far": time.Minute} {
		t.Run(name, func(t *testing.T) {
			server := servers.Redis(t)
			s := open(t, server.Addr())
			if err := s.Set(t.Context(), "k", nil, 0); err != nil {
				t.Fatal(err)
			}
			server.Pause()
			defer server.Resume()
			for i := range 4 {
				ctx, cancel := context.WithCancel(context.Background())
				if deadline > 0 {
					ctx, cancel = context.WithTimeout(ctx, deadline)
				}
				time.AfterFunc(50*time.Millisecond, cancel)
				begun := time.Now()
				var err error
				want := context.Canceled
				if i%2 == 0 {
					_, err = s.Get(ctx, "k")
				} else {
					err = s.Set(ctx, "k", nil, 0)
					want = core.ErrOutcomeUnknown
				}
				if d := time.Since(begun); d > 50*time.Millisecond+slack || !errors.Is(err, want) {
					t.Errorf("%v after %v", err, d)
				}
				cancel()
			}
		})
	}
}
