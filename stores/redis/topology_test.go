package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/servers"
	redisstore "github.com/gensession/gensession/stores/redis"
)

func openOption(t testing.TB, c rueidis.ClientOption) *redisstore.Store {
	t.Helper()
	var o *redisstore.Options
	if c.ConnWriteTimeout > 0 { // by patiently
		o = calm
	}
	s, err := redisstore.OpenOption(c, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestTLSAndACL(t *testing.T) {
	server := servers.RedisTLS(t, "--tls-auth-clients", "yes")
	server.SetUser("app", "secret", "~storetest:*", "resetchannels", "-@all", "+get", "+set", "+del", "+pexpire", "+persist", "+exists", "+append", "+evalsha", "+eval", "+ping",
		"+time", "+pttl", "+zadd", "+zcard", "+zscore", "+zrem", "+zrangebyscore", "+zremrangebyscore", "+scan")
	option := rueidis.ClientOption{InitAddress: []string{server.Addr()}, TLSConfig: server.TLS(), Username: "app", Password: "secret"}
	storetest.Run(t, func(t *testing.T) core.Store { return connected(t, openOption(t, patiently(option))) })

	// Without the authority's certificate there is no trust, and no store.
	refused(t, "rediss://app:secret@"+server.Addr())
}

func TestUnixSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "redis") // shorter than t.TempDir: the path of a socket is
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	server := servers.Redis(t, "--unixsocket", path)
	s, err := redisstore.Open("unix://"+path+"?db=3", calm)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Set(t.Context(), "k", []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	if n := server.Do("DBSIZE"); n != int64(0) {
		t.Error("it is in database 0")
	}
	if data, err := s.Get(t.Context(), "k"); string(data) != "x" {
		t.Error(err)
	}
}

func TestCluster(t *testing.T) {
	cluster := servers.RedisCluster(t, 3, 0)
	addr := cluster.Addrs()[0] // one is enough to find the others
	t.Run("store", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) core.Store { return connected(t, patient(t, addr)) })
	})

	s := patient(t, addr)
	seen := map[*servers.RedisServer]bool{}
	for i := range 100 {
		key := fmt.Sprint("spread-", i)
		v, err := s.SetVersion(t.Context(), key, []byte(key), time.Hour, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.SetVersion(t.Context(), key, []byte(key), time.Hour, v); err != nil {
			t.Fatal(err)
		}
		seen[cluster.Master(cluster.Slot(key))] = true
	}
	if len(seen) != 3 {
		t.Errorf("the sessions are on %d of 3 nodes", len(seen))
	}

	t.Run("a slot that moves", func(t *testing.T) {
		const key = "moving"
		slot := cluster.Slot(key)
		var to *servers.RedisServer
		for node := range seen {
			if node != cluster.Master(slot) {
				to = node
			}
		}
		v, err := s.SetVersion(t.Context(), key, []byte("0"), time.Hour, 0)
		if err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				want := fmt.Sprint(n)
				data, now, err := s.GetVersion(t.Context(), key)
				if err != nil && !errors.Is(err, core.ErrUnavailable) {
					t.Error("Get:", err)
					return
				}
				if err == nil && (string(data) != want || now != v) {
					t.Errorf("Get: %q, not %q", data, want)
					return
				}
				for {
					next, err := s.SetVersion(t.Context(), key, fmt.Append(nil, n+1), time.Hour, v)
					if err == nil {
						v = next
						break
					}
					if !errors.Is(err, core.ErrUnavailable) {
						t.Error("SetVersion:", err)
						return
					}
				}
			}
		})
		time.Sleep(100 * time.Millisecond)
		cluster.MoveSlot(slot, to)
		time.Sleep(100 * time.Millisecond)
		close(stop)
		wg.Wait()
	})
}

func TestClusterThatFailsOver(t *testing.T) {
	cluster := servers.RedisCluster(t, 3, 1)
	s := openOption(t, rueidis.ClientOption{InitAddress: cluster.Addrs()})
	const key = "k"
	if err := s.Set(t.Context(), key, []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	cluster.KillMaster(cluster.Slot(key))
	cluster.WaitOK()
	begun := time.Now()
	waitFor(t, "a write", func() bool { return s.Set(t.Context(), key, []byte("y"), 0) == nil })
	if d := time.Since(begun); d > 3*time.Second {
		t.Errorf("it took %v after the cluster was well again", d)
	}
}

func TestAClusterThatIsDownAtTheStart(t *testing.T) {
	cluster := servers.RedisCluster(t, 3, 0)
	for _, node := range cluster.Nodes() {
		node.Kill()
	}
	s := openOption(t, rueidis.ClientOption{InitAddress: cluster.Addrs()})
	told := make(chan bool, 10)
	defer s.Notify(func(up bool) { told <- up })()
	if up := <-told; up {
		t.Fatal("up")
	}
	for _, node := range cluster.Nodes() {
		node.Start()
	}
	cluster.WaitOK()
	waitFor(t, "a write", func() bool { return s.Set(t.Context(), "k", nil, 0) == nil })
	waitFor(t, "the news", func() bool { return len(told) > 0 })
	if up := <-told; !up {
		t.Error("down twice")
	}
}

func TestSentinel(t *testing.T) {
	var all sync.WaitGroup
	for _, resp2 := range []bool{false, true} { // where news looks like replies
		all.Go(func() {
			t.Run(fmt.Sprintf("resp2=%v", resp2), func(t *testing.T) { sentinel(t, resp2) })
		})
	}
	all.Wait()
}

func sentinel(t *testing.T, resp2 bool) {
	sentinel := servers.RedisSentinel(t, 3)
	option := rueidis.ClientOption{InitAddress: sentinel.Addrs(), Sentinel: rueidis.SentinelOption{MasterSet: servers.MasterSet}, AlwaysRESP2: resp2}
	s := openOption(t, option)
	ctx := context.Background()
	if err := s.Set(ctx, "k", []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	old := sentinel.KillMaster()
	sentinel.WaitFailover(old)
	begun := time.Now()
	waitFor(t, "a write", func() bool { return s.Set(ctx, "k", []byte("y"), 0) == nil })
	if d := time.Since(begun); d > 5*time.Second {
		t.Errorf("it took %v after the failover", d)
	}
	t.Log("written again after", time.Since(begun))
}
