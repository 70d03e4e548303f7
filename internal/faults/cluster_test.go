package faults_test

import (
	"slices"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/servers"
	"github.com/gensession/gensession/internal/soak"
	redisstore "github.com/gensession/gensession/stores/redis"
)

// onCluster makes an app of many users on a cluster, where a call of the store
// has so much time.
func onCluster(t *testing.T, cluster *servers.Cluster, call time.Duration) *checker {
	t.Helper()
	store, err := redisstore.OpenOption(rueidis.ClientOption{InitAddress: cluster.Addrs()}, &redisstore.Options{Timeout: call})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	c := &checker{t: t}
	c.app = start(t, "fasthttp", store, core.Options{ReconnectTimeout: 15 * time.Second, OpTimeout: call}, c.handle)
	return c
}

// spread waits until each master has a session, and reports how many.
func spread(t *testing.T, cluster *servers.Cluster, masters int) {
	t.Helper()
	var sizes []any
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		sizes = nil
		for _, n := range cluster.Nodes()[:masters] {
			sizes = append(sizes, n.Do("DBSIZE"))
		}
		if !slices.Contains(sizes, any(int64(0))) {
			t.Logf("sessions of the masters: %v", sizes)
			return
		}
	}
	t.Errorf("a master has no session: %v", sizes)
}

// While slots move from master to master, nobody notices but by waiting.
func TestClusterSlotsMoveUnderTraffic(t *testing.T) {
	cluster := servers.RedisCluster(t, 3, 0)
	c := onCluster(t, cluster, 2*time.Second) // a busy machine alone must not make calls fail
	moved := 0
	c.users(soak.Longer(100, 300), soak.Longer(4*time.Second, soak.Time), false, func(stop <-chan struct{}) {
		time.Sleep(300 * time.Millisecond)
		spread(t, cluster, 3)
		nodes := cluster.Nodes()
		for i := 0; ; i++ {
			// Slots that have sessions are known by their keys.
			for _, n := range nodes {
				select {
				case <-stop:
					if moved > 0 { // a busy machine may have come to nothing yet
						return
					}
				default:
				}
				key, ok := n.Do("RANDOMKEY").(string)
				if !ok {
					continue
				}
				slot := cluster.Slot(key)
				from := cluster.Master(slot)
				to := nodes[i%len(nodes)]
				if from == nil || to == from {
					continue
				}
				m := cluster.StartMove(slot, to)
				time.Sleep(20 * time.Millisecond) // requests are sent to and fro by ASK
				m.Finish()
				moved++
			}
		}
	})
	t.Logf("%d slots were moved", moved)
	if moved == 0 {
		t.Error("no slot was moved")
	}
	if failed := c.failures.Load(); failed > (c.reads.Load()+c.writes.Load())/10 {
		t.Errorf("%d requests failed", failed)
	}
}

// A master dies, and a replica takes over. What the master had confirmed and
// not yet passed on is lost: that is the promise of Redis. What is there is
// right, and all works again.
func TestClusterMasterDies(t *testing.T) {
	cluster := servers.RedisCluster(t, 3, 1)
	c := onCluster(t, cluster, opTimeout)
	c.users(soak.Longer(100, 300), soak.Longer(5*time.Second, soak.Time/2), true, func(stop <-chan struct{}) {
		time.Sleep(500 * time.Millisecond)
		spread(t, cluster, 3)
		for n := 0; ; n++ {
			slot := n * servers.Slots / 3 % servers.Slots
			begun := time.Now()
			dead := cluster.KillMaster(slot)
			cluster.WaitOK()
			t.Logf("a replica has taken slot %d over after %v", slot, time.Since(begun).Round(time.Millisecond))
			if !soak.On {
				break
			}
			dead.Start()
			cluster.WaitOK()
			select {
			case <-stop:
				return
			case <-time.After(3 * time.Second):
			}
		}
		before := c.failures.Load()
		time.Sleep(2*time.Second + slack) // a call that met it is given up after two of them
		after := c.failures.Load()
		time.Sleep(500 * time.Millisecond)
		t.Logf("%d requests failed until the replica had taken over, %d in the seconds after that, %d later", before, after-before, c.failures.Load()-after)
		if now := c.failures.Load(); now > after {
			t.Errorf("%d requests failed long after the failover", now-after)
		}
	})
}
