package memcachestore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/servers"
	"github.com/gensession/gensession/internal/stall"
	memcachestore "github.com/gensession/gensession/stores/memcache"
)

type opener = func(testing.TB, *memcachestore.Options, ...string) *memcachestore.Store

func TestOutages(t *testing.T) {
	each(t, func(t testing.TB, open opener) {
		server := servers.Memcached(t)
		s := open(t, nil, server.Addr())
		storetest.Outage(t, s, server.Kill, server.Start)
		storetest.Outage(t, s, func() { pause(server) }, server.Resume)
	})
}

// Choosing a server by the key is this store's: one of several that is down takes its own sessions with it only.
func TestOneOfTwoServersIsDown(t *testing.T) {
	each(t, func(t testing.TB, open opener) {
		a, b := servers.Memcached(t), servers.Memcached(t)
		s := open(t, nil, a.Addr(), b.Addr())
		var told news
		s.Notify(told.add)
		b.Kill()
		time.Sleep(time.Second)
		reached, lost := 0, 0
		for i := range 20 {
			switch err := s.Set(t.Context(), fmt.Sprint("key", i), []byte("x"), time.Hour); {
			case err == nil:
				reached++
			case errors.Is(err, core.ErrUnavailable):
				lost++
			default:
				t.Error(err)
			}
		}
		if reached == 0 || lost == 0 {
			t.Errorf("%d reached a server, %d did not", reached, lost)
		}
		if got := told.String(); got != "" {
			t.Errorf("told %s though one server is up", got)
		}
		a.Kill()
		told.become(t, "false")
		b.Start()
		told.become(t, "false true")
	})
}

// A paused server keeps no call from the other one (see above).
func TestOneOfTwoServersIsPaused(t *testing.T) { stall.Retry(t, oneOfTwoServersIsPaused) }

func oneOfTwoServersIsPaused(t testing.TB) {
	a, b := servers.Memcached(t), servers.Memcached(t)
	s := open(t, &memcachestore.Options{MaxConns: 4}, a.Addr(), b.Addr())
	var mine []string // the keys of a
	for i := 0; len(mine) < 10; i++ {
		key := fmt.Sprint("key", i)
		set(t, s, key, "x")
		if strings.HasPrefix(a.Do("get "+key+"\r\n"), "VALUE") {
			mine = append(mine, key)
		}
	}
	pause(b)
	defer b.Resume()
	var blocked sync.WaitGroup
	for i := range 100 {
		blocked.Go(func() { s.Get(t.Context(), fmt.Sprint("key", i)) })
	}
	time.Sleep(50 * time.Millisecond)
	begun := time.Now()
	for _, key := range mine {
		holds(t, s, key, "x")
	}
	if d := time.Since(begun); d > 200*time.Millisecond {
		t.Errorf("ten calls took %v", d)
	}
	blocked.Wait()
}

// The suite allows a timeout, as of a store that tries again for a while. Nobody
// listens on memcached's port then, which is known at once.
func TestAKilledServer(t *testing.T) {
	each(t, func(t testing.TB, open opener) {
		server := servers.Memcached(t)
		s := open(t, nil, server.Addr())
		set(t, s, "a", "x")
		server.Kill()
		for round := range 2 {
			for call, err := range calls(s, t.Context(), "a") {
				// On an old connection a write may have been the last thing that was done.
				if round == 0 && errors.Is(err, core.ErrOutcomeUnknown) {
					continue
				}
				is(t, call, err, core.ErrUnavailable)
				if errors.Is(err, core.ErrTimeout) {
					t.Errorf("%s: %v", call, err)
				}
			}
		}
	})
}

// pause stops a server, and waits until it has stopped: the signal reaches a
// thread that is busy a moment later.
func pause(server *servers.MemcachedServer) {
	_, pid, _ := strings.Cut(server.Do("stats\r\n"), "STAT pid ")
	pid, _, _ = strings.Cut(pid, "\r\n")
	server.Pause()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		threads, _ := filepath.Glob("/proc/" + pid + "/task/*/stat")
		if !slices.ContainsFunc(threads, func(thread string) bool {
			stat, err := os.ReadFile(thread)
			_, state, _ := strings.Cut(string(stat), ") ")
			return err == nil && !strings.HasPrefix(state, "T")
		}) {
			return // or there is no /proc
		}
	}
}

// The suite allows more classes, since it does not know whether a write was sent;
// here it was, also one that does not fit into a socket's buffer.
func TestAPausedServer(t *testing.T) {
	each(t, func(t testing.TB, open opener) {
		server := servers.Memcached(t)
		s := open(t, nil, server.Addr())
		// A write is sent on a connection that has been used before. On a new one the
		// store first waits for a reply.
		connected := func() {
			server.Resume()
			set(t, s, "a", "x")
			pause(server)
		}
		for call, do := range map[string]func(ctx context.Context) error{
			"Get":     func(ctx context.Context) error { _, err := s.Get(ctx, "a"); return err },
			"Set":     func(ctx context.Context) error { return s.Set(ctx, "a", []byte("y"), time.Hour) },
			"large":   func(ctx context.Context) error { return s.Set(ctx, "b", make([]byte, 1<<20-2<<10), time.Hour) },
			"Touch":   func(ctx context.Context) error { return s.Touch(ctx, "a", time.Hour) },
			"Destroy": func(ctx context.Context) error { return s.Destroy(ctx, "a") },
		} {
			want := core.ErrOutcomeUnknown
			if call == "Get" {
				want = core.ErrTimeout
			}
			err := untilSent(call, func(limit time.Duration) error {
				connected()
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				return timed(t, limit, func() error { return do(ctx) })
			})
			is(t, call, err, want, context.DeadlineExceeded)

			err = untilSent(call, func(limit time.Duration) error {
				connected()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				time.AfterFunc(limit, cancel)
				return timed(t, limit, func() error { return do(ctx) })
			})
			is(t, call, err, context.Canceled)
			if call != "Get" {
				is(t, call, err, core.ErrOutcomeUnknown)
			}
		}
		is(t, "Timeout", timed(t, 500*time.Millisecond, func() error { _, err := s.Get(t.Context(), "a"); return err }),
			core.ErrTimeout, context.DeadlineExceeded)
		server.Resume()
		if _, err := s.Get(t.Context(), "never-set"); !errors.Is(err, core.ErrNotFound) {
			t.Error("after it:", err)
		}
	})
}

// A write on a new connection is sent when the server has replied on it.
func TestAWriteOnANewConnection(t *testing.T) {
	server := servers.Memcached(t)
	s := open(t, nil, server.Addr())
	pause(server)
	for range 3 {
		is(t, "Set", s.Set(t.Context(), "a", []byte("x"), time.Hour), core.ErrTimeout)
	}
	server.Resume()
	_, err := s.Get(t.Context(), "a")
	is(t, "Get", err, core.ErrNotFound)
}

// untilSent makes a call to a server that does not answer. On a busy machine the
// time may be over before a write has left, which is another class; then it
// gets more time.
func untilSent(call string, do func(limit time.Duration) error) (err error) {
	for limit := 60 * time.Millisecond; limit < 5*time.Second; limit *= 4 {
		err = do(limit)
		if call == "Get" || errors.Is(err, core.ErrOutcomeUnknown) || !errors.Is(err, core.ErrTimeout) && !errors.Is(err, context.Canceled) {
			break
		}
	}
	return err
}

// slack is how late a call may be: 50 ms by the contract, and what a machine
// that is busy with other tests takes for itself. Without the store's own
// measures a call would be late for ever.
const slack = 2 * time.Second

func timed(t testing.TB, limit time.Duration, f func() error) error {
	t.Helper()
	begun := time.Now()
	err := f()
	if d := time.Since(begun); d > limit+slack {
		t.Errorf("a call of %v took %v", limit, d)
	}
	return err
}

// The suite has a case of this with more time. The shorter limit, and that no
// call is turned away before its deadline, is a promise of this store.
func TestThousandsOfCallsToAPausedServer(t *testing.T) {
	each(t, func(t testing.TB, open opener) {
		server := servers.Memcached(t)
		s := open(t, nil, server.Addr())
		set(t, s, "a", "x")
		pause(server)
		defer server.Resume()
		const callers, limit = 5000, 300 * time.Millisecond
		var wg sync.WaitGroup
		var mu sync.Mutex
		var worst, machine time.Duration // machine is the longest of those who only wait for their deadline
		for i := range callers {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				begun := time.Now()
				var err error
				switch {
				case i%10 == 0:
					<-ctx.Done()
				case i%2 == 0:
					_, err = s.Get(ctx, "a")
				default:
					err = s.Set(ctx, "a", []byte("y"), time.Hour)
				}
				took := time.Since(begun)
				mu.Lock()
				defer mu.Unlock()
				if i%10 == 0 {
					machine = max(machine, took)
					return
				}
				worst = max(worst, took)
				if !errors.Is(err, core.ErrTimeout) && !errors.Is(err, core.ErrOutcomeUnknown) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		t.Logf("the longest took %v; who only waits, %v", worst, machine)
		if worst > max(limit, machine)+crowdSlack {
			t.Errorf("a call took %v", worst)
		}
	})
}

// Those who have waited for the end of an outage all come at once. How many
// connections there are is an option of this store.
func TestACrowdWaitsForItsTurn(t *testing.T) {
	each(t, func(t testing.TB, open opener) {
		server := servers.Memcached(t)
		s := open(t, &memcachestore.Options{MaxConns: 4, Timeout: time.Minute}, server.Addr())
		together(1000, func(int) {
			if _, err := s.Get(t.Context(), "a"); !errors.Is(err, core.ErrNotFound) {
				t.Error(err)
			}
		})
	})
}

// The contract lets a write fail that finds out that its connection is dead. This
// store looks before it writes.
func TestARestartBeforeAWrite(t *testing.T) {
	server := servers.Memcached(t)
	s := open(t, patient(), server.Addr())
	for i := range 3 {
		together(50, func(int) { s.Get(t.Context(), "a") })
		server.Restart()
		set(t, s, "a", fmt.Sprint(i))
		holds(t, s, "a", fmt.Sprint(i))
		server.Restart()
		if err := s.Destroy(t.Context(), "a"); err != nil {
			t.Error(err)
		}
	}
}

func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

// That a full server refuses is a case of storetest. What it says in the error
// and that it still renews a ttl is memcached's own.
func TestAFullServer(t *testing.T) {
	server := servers.Memcached(t, "-m", "2", "-M")
	s := open(t, patient(), server.Addr())
	set(t, s, "a", "old")
	defer server.FillUp()()
	err := s.Set(t.Context(), "a", make([]byte, 3000), time.Hour)
	is(t, "Set", err, core.ErrRefused)
	if err != nil && !strings.Contains(err.Error(), "out of memory") {
		t.Errorf("what the server said is missing: %v", err)
	}
	if err := s.Touch(t.Context(), "a", time.Hour); err != nil {
		t.Error(err)
	}
}

// The limit is memcached's: an item with its key and its header in one page.
func TestThePayloadLimit(t *testing.T) {
	const most = 1<<20 - 2<<10
	s := open(t, patient(), servers.SharedMemcached(t).Addr())
	key := strings.Repeat("k", 250)
	for _, size := range []int{0, 1, most - 1, most} {
		if err := s.Set(t.Context(), key, make([]byte, size), time.Hour); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		holds(t, s, key, string(make([]byte, size)))
	}
	large := make([]byte, most+1)
	is(t, "Set", s.Set(t.Context(), key, large, time.Hour), core.ErrTooLarge)
	_, err := s.SetVersion(t.Context(), key, large, time.Hour, 0)
	is(t, "SetVersion", err, core.ErrTooLarge)
	holds(t, s, key, string(make([]byte, most)))
	if err := s.Destroy(t.Context(), key); err != nil {
		t.Error(err)
	}
}

// MaxPayload is an option of this store.
func TestAServerOfLargeItems(t *testing.T) {
	const size = 3 << 20
	s := open(t, &memcachestore.Options{MaxPayload: size, Timeout: 10 * time.Second}, servers.Memcached(t, "-I", "4m").Addr())
	large := strings.Repeat("x", size)
	set(t, s, "a", large)
	holds(t, s, "a", large)
}

// -C is memcached's.
func TestAServerWithoutVersions(t *testing.T) {
	s := open(t, patient(), servers.Memcached(t, "-C").Addr())
	set(t, s, "a", "x")
	holds(t, s, "a", "x")
	_, _, err := s.GetVersion(t.Context(), "a")
	is(t, "GetVersion", err, core.ErrRefused)
}

// memcached leaves connections above its -c unanswered, while others work.
func TestAServerOfFewConnections(t *testing.T) {
	each(t, func(t testing.TB, open opener) {
		server := servers.Memcached(t, "-c", "32")
		s := open(t, &memcachestore.Options{Timeout: 200 * time.Millisecond, MaxConns: 64}, server.Addr())
		var mu sync.Mutex
		good := 0
		together(64, func(int) {
			for range 20 {
				_, err := s.Get(t.Context(), "a")
				mu.Lock()
				switch {
				case errors.Is(err, core.ErrNotFound):
					good++
				case !errors.Is(err, core.ErrUnavailable):
					t.Error(err)
				}
				mu.Unlock()
			}
		})
		if good == 0 {
			t.Error("no call came through")
		}
	})
}

// news are what a listener was told.
type news struct {
	mu   sync.Mutex
	told []string
}

func (n *news) add(up bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.told = append(n.told, fmt.Sprint(up))
}

func (n *news) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.told, " ")
}

func (n *news) become(t testing.TB, want string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); n.String() != want && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	if got := n.String(); got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}
