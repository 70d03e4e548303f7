package faults_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/faultproxy"
	"github.com/gensession/gensession/internal/servers"
	"github.com/gensession/gensession/internal/soak"
	redisstore "github.com/gensession/gensession/stores/redis"
)

// A failover is a master that becomes a replica, while another server becomes the
// master, and the way that leads to it.
type failover struct {
	store   *redisstore.Store
	promote func()     // when it returns, the new master takes writes, and only it
	move    func()     // makes the name lead to the new master
	dials   func() int // connections that were asked for so far; 0 if they are not counted
}

// ways are the ways in which a store finds a master.
var ways = []struct {
	name  string
	quick bool
	make  func(t *testing.T) failover
}{
	{"one address", true, func(t *testing.T) failover {
		old, replica := replicated(t)
		proxy := faultproxy.New(t, old.Addr())
		f := promoted(old, replica)
		f.store = openRedis(t, rueidis.ClientOption{InitAddress: []string{proxy.Addr()}})
		f.move = func() { proxy.Move(replica.Addr()) }
		f.dials = func() int { return proxy.Stats().Accepted }
		return f
	}},
	{"one name", true, func(t *testing.T) failover {
		old, replica := replicated(t)
		f := promoted(old, replica)
		var resolved atomic.Pointer[string]
		var dials atomic.Int64
		point := func(to *servers.RedisServer) { addr := to.Addr(); resolved.Store(&addr) }
		point(old)
		f.store = openRedis(t, rueidis.ClientOption{
			InitAddress: []string{"redis.test:6379"},
			DialCtxFn: func(ctx context.Context, _ string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
				dials.Add(1)
				return d.DialContext(ctx, "tcp", *resolved.Load())
			},
		})
		f.move = func() { point(replica) }
		f.dials = func() int { return int(dials.Load()) }
		return f
	}},
	{"Sentinel", false, func(t *testing.T) failover {
		s := servers.RedisSentinel(t, 3)
		return failover{
			store:   openRedis(t, rueidis.ClientOption{InitAddress: s.Addrs(), Sentinel: rueidis.SentinelOption{MasterSet: servers.MasterSet}}),
			promote: s.Failover,
			move:    func() {},
			dials:   func() int { return 0 },
		}
	}},
}

func replicated(t *testing.T) (old, replica *servers.RedisServer) {
	t.Helper()
	args := []string{"--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0"}
	old, replica = servers.Redis(t, args...), servers.Redis(t, args...)
	replica.Do("REPLICAOF", "127.0.0.1", strconv.Itoa(old.Port()))
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		info, _ := replica.Do("INFO", "replication").(string)
		if strings.Contains(info, "master_link_status:up") {
			return old, replica
		}
		if time.Now().After(end) {
			t.Fatal("the replica does not follow")
		}
	}
}

func promoted(old, replica *servers.RedisServer) failover {
	return failover{promote: func() {
		replica.Do("REPLICAOF", "NO", "ONE")
		old.Do("REPLICAOF", "127.0.0.1", strconv.Itoa(replica.Port()))
	}}
}

func openRedis(t *testing.T, o rueidis.ClientOption) *redisstore.Store {
	t.Helper()
	s, err := redisstore.OpenOption(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// A tally is what one visitor has been told of his counter, by requests that come one
// after the other.
type tally struct {
	v       *visitor
	sent    int   // requests that may have counted
	acked   []int // what the new master has confirmed
	lost    int   // what the old master had confirmed, and the new one does not have
	failed  int   // requests
	settled int   // of them, those that began after the store was back
}

// W23: a failover under 200 requests a second. They wait for it, and none is
// failed that began after the store was back. What the new master has confirmed is
// there, once.
func TestW23FailoverUnderLoad(t *testing.T) {
	const visitors, each = 40, 5 // requests a second
	for _, way := range ways {
		if !way.quick && !soak.On {
			continue
		}
		t.Run(way.name, func(t *testing.T) {
			f := way.make(t)
			var e ear
			t.Cleanup(f.store.Notify(e.hear))
			a := start(t, "nethttp", f.store, core.Options{OpTimeout: 3 * opTimeout}, visit) // a busy machine takes its time
			var stop sync.WaitGroup
			var over, after, back atomic.Bool
			all := make([]*tally, visitors)
			for i := range all {
				all[i] = &tally{v: &visitor{app: a, name: "old"}}
				stop.Go(func() { all[i].run(t, time.Second/each, &over, &after, &back) })
			}
			time.Sleep(soak.Longer(500*time.Millisecond, 3*time.Second))
			if told := len(e.all()); told != 0 {
				t.Fatalf("the store has told %d times before anything has happened", told)
			}
			f.promote()
			after.Store(true)
			promoted := time.Now()
			time.Sleep(soak.Longer(300*time.Millisecond, 2*time.Second)) // the name is late
			before := f.dials()
			f.move()
			moved := time.Now()
			if f.dials() > 0 {
				e.next(t, 0)
				was := e.next(t, 1)
				if !was.up {
					t.Fatal("down twice")
				}
				t.Logf("up again %v after the name has moved, %v after the promotion", was.at.Sub(moved).Round(time.Millisecond), was.at.Sub(promoted).Round(time.Millisecond))
				// Each try to find the master takes one connection.
				if n := f.dials() - before; n > 6 {
					t.Errorf("it took %d connections", n)
				}
				if took := was.at.Sub(moved); took > 2*time.Second+slack {
					t.Errorf("the new master was found after %v", took)
				}
			} else {
				time.Sleep(2*time.Second + slack) // the client is told by Sentinel
			}
			back.Store(true)
			time.Sleep(soak.Longer(time.Second, 5*time.Second))
			over.Store(true)
			stop.Wait()

			var sent, acked, lost, failed, settled int
			for i, one := range all {
				sent, acked, lost, failed, settled = sent+one.sent, acked+len(one.acked), lost+one.lost, failed+one.failed, settled+one.settled
				if !rises(one.acked) {
					t.Errorf("visitor %d: an increment that was confirmed is lost: %v", i, one.acked)
				}
				r, err := one.v.get("/read")
				n, _ := strconv.Atoi(r.body)
				if err != nil || r.status != 200 || len(one.acked) == 0 || n < one.acked[len(one.acked)-1] {
					t.Errorf("visitor %d: the counter is %v, %v; confirmed was %v", i, r, err, one.acked)
				}
				if n > one.sent {
					t.Errorf("visitor %d: %d increments of %d requests", i, n, one.sent)
				}
			}
			t.Logf("%d requests, %d confirmed by the new master, %d failed; %d confirmed by the old one were not copied", sent, acked, failed, lost)
			t.Log("errors:", a.reported())
			if settled > 0 {
				t.Errorf("%d requests failed that began when the store was back", settled)
			}
			if failed > sent/10 {
				t.Errorf("%d of %d requests failed, though they can wait", failed, sent)
			}
			if told := e.all(); f.dials() > 0 && len(told) != 2 {
				t.Errorf("the store has told %d times", len(told))
			}
		})
	}
}

func rises(numbers []int) bool {
	for i := 1; i < len(numbers); i++ {
		if numbers[i] <= numbers[i-1] {
			return false
		}
	}
	return true
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// run counts at the rate until it is over.
func (c *tally) run(t *testing.T, gap time.Duration, over, after, back *atomic.Bool) {
	tick := time.NewTicker(gap)
	defer tick.Stop()
	last := 0
	for ; !over.Load(); <-tick.C {
		surely, settled := after.Load(), back.Load() // before it is sent
		c.sent++
		r, err := c.v.get("/")
		if err != nil {
			t.Error(err)
			return
		}
		if r.status != 200 {
			c.failed++
			c.settled += boolInt(settled)
			continue
		}
		n, err := strconv.Atoi(r.body)
		if err != nil {
			t.Error(err)
			return
		}
		switch {
		case surely:
			c.acked = append(c.acked, n)
		case n <= last:
			c.lost += last + 1 - n
		}
		last = n
	}
}

// W24: many visitors come at once to a memcached that allows fewer connections than
// the store would open, and then it is quiet.
func TestW24ABurstAtTheLimitOfConnections(t *testing.T) {
	for _, byNew := range []bool{false, true} {
		if byNew && !soak.On {
			continue
		}
		quick := 500
		if raceDetector {
			quick = 100
		}
		for _, visitors := range soak.Longer([]int{quick}, []int{100, 500}) {
			t.Run(fmt.Sprintf("New=%v, %d visitors", byNew, visitors), func(t *testing.T) {
				r := newRigBy(t, startServer(t, "memcache", "-c", "60"), false, byNew)
				a := start(t, "fasthttp", r.store, core.Options{OpTimeout: 3 * opTimeout}, visit)
				notifier, _ := core.As[core.Notifier](r.store)
				var e ear
				t.Cleanup(notifier.Notify(e.hear))
				all := make([]*visitor, visitors)
				var failed atomic.Int64
				burst := func(requests int) int64 {
					failed.Store(0)
					var wg sync.WaitGroup
					for i := range all {
						wg.Go(func() {
							if all[i] == nil {
								all[i] = &visitor{app: a, name: "old"}
							}
							for range requests {
								if r, err := all[i].get("/"); err != nil || r.status != 200 {
									failed.Add(1)
								}
							}
						})
					}
					wg.Wait()
					return failed.Load()
				}
				n := burst(5)
				t.Logf("%d of %d requests failed in the burst: %s", n, 5*visitors, a.reported())
				time.Sleep(time.Second)
				for range soak.Longer(2, 10) {
					for part := range slices.Chunk(all, 40) {
						var wg sync.WaitGroup
						for _, v := range part {
							wg.Go(func() {
								if r, err := v.get("/"); err != nil || r.status != 200 {
									t.Errorf("after the burst: %v, %v, %s", r, err, a.reported())
								}
							})
						}
						wg.Wait()
					}
					time.Sleep(soak.Longer(100*time.Millisecond, 2*time.Second))
				}
				if told := e.all(); len(told) > 0 && !told[len(told)-1].up {
					t.Error("the store is down")
				}
			})
		}
	}
}
