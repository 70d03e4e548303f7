package servers_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gensession/gensession/internal/servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(servers.Main(m)) }

func TestRedisKeepsNothingOverARestart(t *testing.T) {
	s := servers.Redis(t)
	s.Do("SET", "k", "v")
	if got := s.Do("GET", "k"); got != "v" {
		t.Fatalf("GET = %v", got)
	}
	s.Do("SAVE")
	addr := s.Addr()
	s.Restart()
	if got := s.Do("GET", "k"); got != nil || s.Addr() != addr {
		t.Fatalf("GET after a restart = %v on %s, was on %s", got, s.Addr(), addr)
	}
}

func TestRedisKeepsItsDataWhenAsked(t *testing.T) {
	for _, args := range [][]string{{"--appendonly", "yes"}, {"--save", "3600 1"}} {
		s := servers.Redis(t, args...)
		s.Do("SET", "k", "v")
		s.Restart()
		if got := s.Do("GET", "k"); got != "v" {
			t.Errorf("%v: GET after a restart = %v", args, got)
		}
	}
}

func TestRedisKillAndStart(t *testing.T) {
	s := servers.Redis(t, "--requirepass", "secret")
	s.Kill()
	if _, err := s.Try("PING"); err == nil {
		t.Error("a killed server answers")
	}
	s.Kill()
	s.Start()
	s.Do("PING")
}

func TestRedisPauseAndResume(t *testing.T) {
	s := servers.Redis(t)
	s.Pause()
	got := make(chan any, 1)
	go func() { got <- s.Do("PING") }()
	select {
	case v := <-got:
		t.Errorf("a paused server answered %v", v)
	case <-time.After(30 * time.Millisecond):
	}
	s.Resume()
	if v := <-got; v != "PONG" {
		t.Errorf("PING = %v after the pause", v)
	}
}

func TestMemcachedKillPauseRestart(t *testing.T) {
	s := servers.Memcached(t, "-m", "8")
	if got := s.Do("set k 0 0 1\r\nv\r\n"); got != "STORED\r\n" {
		t.Fatalf("set = %q", got)
	}
	if got := s.Do("get k\r\n"); got != "VALUE k 0 1\r\nv\r\nEND\r\n" {
		t.Fatalf("get = %q", got)
	}
	s.Pause()
	got := make(chan string, 1)
	go func() { got <- s.Do("mg k v\r\n") }()
	select {
	case v := <-got:
		t.Errorf("a paused server answered %q", v)
	case <-time.After(30 * time.Millisecond):
	}
	s.Resume()
	if v := <-got; v != "VA 1\r\nv\r\n" {
		t.Errorf("mg = %q after the pause", v)
	}
	s.Restart()
	if got := s.Do("get k\r\n"); got != "END\r\n" {
		t.Errorf("get after a restart = %q", got)
	}
	s.Kill()
	if _, err := s.Try("version\r\n"); err == nil {
		t.Error("a killed server answers")
	}
}

// A thread that goes on for a moment would answer what a test holds for
// unanswered.
func TestPauseReturnsWhenAllThreadsStandStill(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells")
	}
	s := servers.Memcached(t, "-t", "8")
	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 8 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_, _ = s.Try("version\r\n")
				}
			}
		})
	}
	for range 20 {
		s.Pause()
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", s.PID()))
		if err != nil || len(threads) < 8 {
			t.Errorf("%d threads, %v", len(threads), err)
		}
		for _, name := range threads {
			status, err := os.ReadFile(name)
			if err != nil || !strings.Contains(string(status), "State:\tT") {
				t.Errorf("a thread runs: %.80q, %v", status, err)
			}
		}
		s.Resume()
	}
	close(stop)
	load.Wait()
}

func TestSharedServersAreOneForAllTests(t *testing.T) {
	r, m := servers.SharedRedis(t), servers.SharedMemcached(t)
	t.Run("again", func(t *testing.T) {
		if again := servers.SharedRedis(t); again.Addr() != r.Addr() {
			t.Error("a second Redis")
		}
		if again := servers.SharedMemcached(t); again.Addr() != m.Addr() {
			t.Error("a second memcached")
		}
	})
	r.Do("PING")
	m.Do("version\r\n")
	goleak.VerifyNone(t, servers.IgnoreServers())
}
