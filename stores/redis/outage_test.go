package redisstore_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/servers"
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
	for _, kind := range []string{"killed", "paused"} {
		for _, name := range []string{"own", "lent"} {
			t.Run(kind+"/"+name, func(t *testing.T) {
				server := servers.Redis(t)
				s := stores(t, server.Addr())[name]
				if kind == "killed" {
					storetest.Outage(t, s, server.Kill, server.Start)
				} else {
					storetest.Outage(t, s, server.Pause, server.Resume)
				}
			})
		}
	}
}

func TestAnOutageAndItsEndAreNoticedWithinASecond(t *testing.T) {
	server := servers.Redis(t)
	s := open(t, server.Addr())
	told := make(chan bool, 10)
	defer s.Notify(func(up bool) { told <- up })()
	time.Sleep(300 * time.Millisecond)
	for range 2 {
		for _, step := range []struct {
			name string
			do   func()
			up   bool
		}{{"killed", server.Kill, false}, {"started", server.Start, true}, {"paused", server.Pause, false}, {"resumed", server.Resume, true}} {
			step.do()
			begun := time.Now()
			select {
			case up := <-told:
				if up != step.up {
					t.Fatalf("%s: up is %v", step.name, up)
				}
				t.Logf("%s: noticed after %v", step.name, time.Since(begun))
			case <-time.After(time.Second + 100*time.Millisecond):
				t.Fatalf("%s: not noticed within a second", step.name)
			}
			if step.up {
				if err := s.Set(t.Context(), "k", []byte("x"), 0); err != nil {
					t.Errorf("%s: %v", step.name, err)
				}
			}
			time.Sleep(1500 * time.Millisecond)
		}
	}
}

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

func TestCloseWhileTheServerIsDown(t *testing.T) {
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

// What a restart leaves behind is connections that are dead and look alive.
func TestReadsSurviveARestart(t *testing.T) {
	for _, name := range []string{"own", "lent"} {
		t.Run(name, func(t *testing.T) {
			server := servers.Redis(t, "--appendonly", "yes")
			s := stores(t, server.Addr())[name]
			if err := s.Set(t.Context(), "k", []byte("x"), 0); err != nil {
				t.Fatal(err)
			}
			for range 5 {
				together(20, func() { s.Get(t.Context(), "k") }) // over all connections
				server.Restart()
				together(20, func() {
					if data, err := s.Get(t.Context(), "k"); err != nil || string(data) != "x" {
						t.Errorf("%q, %v", data, err)
					}
				})
			}
		})
	}
}

// A write that was given up may still be carried out. It does no harm: it is a
// swap, and swaps only what its caller has read.
func TestALateWriteIsHarmless(t *testing.T) {
	server := servers.Redis(t)
	s := open(t, server.Addr())
	v, err := s.SetVersion(t.Context(), "k", []byte("old"), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	server.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := s.SetVersion(ctx, "k", []byte("late"), 0, v); !errors.Is(err, core.ErrOutcomeUnknown) {
		t.Error(err)
	}
	server.Resume()
	if err := s.Destroy(t.Context(), "k"); err != nil {
		t.Error(err)
	}
	time.Sleep(100 * time.Millisecond)
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, core.ErrNotFound) {
		t.Error("it came back:", err)
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
