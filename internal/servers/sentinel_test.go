package servers_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gensession/gensession/internal/servers"
)

func TestRedisSentinelPromotesTheReplica(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a failover takes seconds")
	}
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			started := time.Now()
			s := servers.RedisSentinel(t, n)
			t.Logf("%d sentinels in %v", n, time.Since(started))
			if len(s.Addrs()) != n || s.Master() != s.Servers()[0] {
				t.Fatal("the master is not the first server")
			}
			s.Master().Do("SET", "k", "v")
			s.Master().Do("WAIT", "1", "1000")
			if n == 3 {
				s.Sentinels()[0].Kill()
			}
			started = time.Now()
			dead := s.KillMaster()
			s.WaitFailover(dead)
			t.Logf("promoted in %v", time.Since(started))
			if got := s.Master().Do("GET", "k"); s.Master() == dead || got != "v" {
				t.Errorf("GET = %v", got)
			}
			s.Master().Do("SET", "k", "w")
		})
	}
}

func TestRedisSentinelHandsOver(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a failover takes seconds")
	}
	s := servers.RedisSentinel(t, 1)
	started := time.Now()
	s.Failover()
	t.Logf("handed over in %v", time.Since(started))
	if s.Master() != s.Servers()[1] {
		t.Error("the master has not changed")
	}
}
