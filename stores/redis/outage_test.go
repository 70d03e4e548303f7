package redisstore_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/servers"
	"github.com/gensession/gensession/internal/stall"
	redisstore "github.com/gensession/gensession/stores/redis"
)

// stores are a store with a client of its own, and one on a client with the
// settings that it has by itself.
func stores(t testing.TB, addr string) map[string]*redisstore.Store {
	t.Helper()
	lent, err := redisstore.New(client(t, addr), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lent.Close() })
	return map[string]*redisstore.Store{"own": open(t, addr), "lent": lent}
}

func TestOutage(t *testing.T) {
	var all sync.WaitGroup // they mostly wait; t.Parallel is only for as many as there are processors
	for _, kind := range []string{"killed", "paused"} {
		for _, name := range []string{"own", "lent"} {
			all.Go(func() {
				t.Run(kind+"/"+name, func(t *testing.T) {
					server := servers.Redis(t)
					s := stores(t, server.Addr())[name]
					if kind == "killed" {
						storetest.Outage(t, s, server.Kill, server.Start)
					} else {
						storetest.Outage(t, s, server.Pause, server.Resume)
					}
				})
			})
		}
	}
	all.Wait()
}

// A store of the suite may be made only while its server is up: whether Open fails
// without one is the store's choice. This one opens, and says that it is down.
func TestOpenWhileTheServerIsDown(t *testing.T) {
	server := servers.Redis(t)
	server.Kill()
	s := open(t, server.Addr())
	told := make(chan bool, 10)
	defer s.Notify(func(up bool) { told <- up })()
	select {
	case up := <-told:
		if up {
			t.Fatal("up")
		}
	default:
		t.Fatal("the listener was not told before Notify returned")
	}
	for range 3 {
		if _, err := s.Get(t.Context(), "k"); !errors.Is(err, core.ErrUnavailable) || !strings.Contains(err.Error(), "connection refused") {
			t.Error(err)
		}
		if err := s.Set(t.Context(), "k", nil, 0); !errors.Is(err, core.ErrUnavailable) || errors.Is(err, core.ErrOutcomeUnknown) {
			t.Error(err)
		}
	}
	server.Start()
	if up := <-told; !up {
		t.Error("down twice")
	}
	if err := s.Set(t.Context(), "k", nil, 0); err != nil {
		t.Error(err)
	}
}

// The store closes connections that rueidis may be dialing, or that don't answer.
func TestCloseWhileTheServerIsDown(t *testing.T) { stall.Retry(t, closeWhileTheServerIsDown) }

func closeWhileTheServerIsDown(t testing.TB) {
	server := servers.Redis(t)
	for name, ill := range map[string]struct{ down, up func() }{"killed": {server.Kill, server.Start}, "paused": {server.Pause, server.Resume}} {
		ill.down()
		s := open(t, server.Addr())
		begun := time.Now()
		s.Close()
		if d := time.Since(begun); d > 2*time.Second {
			t.Errorf("%s at the start: it took %v", name, d)
		}
		ill.up()
		s = open(t, server.Addr())
		s.Notify(func(bool) {})
		if err := s.Set(t.Context(), "k", nil, 0); err != nil {
			t.Fatal(err)
		}
		ill.down()
		begun = time.Now()
		s.Close()
		if d := time.Since(begun); d > 2*time.Second {
			t.Errorf("%s: it took %v", name, d)
		}
		ill.up()
	}
}

func together(n int, f func()) {
	done := make(chan struct{})
	for range n {
		go func() {
			defer func() { done <- struct{}{} }()
			f()
		}()
	}
	for range n {
		<-done
	}
}

// How much is under way at once is this store's choice.
// What nobody waits for any more does not pile up before what somebody does:
// after an outage the server would work it off first.
func TestFewCallsAreSentThatNobodyWaitsFor(t *testing.T) {
	for _, name := range []string{"own", "lent"} {
		t.Run(name, func(t *testing.T) {
			server := servers.Redis(t)
			s := stores(t, server.Addr())[name]
			together(8, func() { s.Get(t.Context(), "k") })
			before := calls(server)
			server.Pause()
			for range 4 {
				together(1000, func() {
					ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
					defer cancel()
					s.Get(ctx, "k")
				})
			}
			server.Resume()
			waitFor(t, "an answer", func() bool {
				_, err := s.Get(t.Context(), "k")
				return errors.Is(err, core.ErrNotFound)
			})
			if n := calls(server) - before; n > 1024 {
				t.Errorf("the server had %d calls to carry out", n)
			} else {
				t.Log(n, "calls were carried out")
			}
		})
	}
}
