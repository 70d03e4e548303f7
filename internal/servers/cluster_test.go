package servers_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gensession/gensession/internal/servers"
)

func TestRedisClusterMovesASlot(t *testing.T) {
	t.Parallel()
	started := time.Now()
	c := servers.RedisCluster(t, 3, 0)
	t.Logf("three masters in %v", time.Since(started))
	nodes := c.Nodes()
	slot := c.Slot("{a}")
	from := c.Master(slot)
	to := nodes[0]
	if to == from {
		to = nodes[1]
	}
	for i := range 10 {
		from.Do("SET", "{a}"+strconv.Itoa(i), "v")
	}
	if _, err := to.Try("GET", "{a}0"); err == nil || !strings.HasPrefix(err.Error(), "MOVED ") {
		t.Errorf("GET of another's key: %v", err)
	}

	m := c.StartMove(slot, to)
	if n := m.Keys(4); n != 4 {
		t.Errorf("moved %d keys", n)
	}
	asked := 0
	for i := range 10 {
		if _, err := from.Try("GET", "{a}"+strconv.Itoa(i)); err != nil && strings.HasPrefix(err.Error(), "ASK ") {
			asked++
		}
	}
	if asked != 4 {
		t.Errorf("%d keys are asked for elsewhere", asked)
	}
	m.Finish()
	if c.Master(slot) != to {
		t.Error("the slot has not moved")
	}
	for i := range 10 {
		if got := to.Do("GET", "{a}"+strconv.Itoa(i)); got != "v" {
			t.Errorf("GET = %v", got)
		}
	}
	c.MoveSlot(slot, from)
	if c.Master(slot) != from {
		t.Error("the slot has not moved back")
	}
}

func TestRedisClusterPromotesAReplica(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("an election takes seconds")
	}
	started := time.Now()
	c := servers.RedisCluster(t, 3, 1)
	t.Logf("three masters with a replica each in %v", time.Since(started))
	if n := len(c.Addrs()); n != 6 {
		t.Fatalf("%d nodes", n)
	}
	slot := c.Slot("k")
	first := c.Master(slot)
	first.Do("SET", "k", "v")
	first.Do("WAIT", "1", "1000")

	started = time.Now()
	c.Failover(slot)
	t.Logf("handed over in %v", time.Since(started))
	second := c.Master(slot)
	if second == first || second.Do("GET", "k") != "v" {
		t.Error("no replica took over")
	}

	started = time.Now()
	if dead := c.KillMaster(slot); dead != second {
		t.Error("another was killed")
	}
	c.WaitOK()
	t.Logf("promoted in %v", time.Since(started))
	if c.Master(slot) != first || first.Do("GET", "k") != "v" {
		t.Error("no replica was promoted")
	}

	second.Start()
	c.WaitOK()
	if r := c.Replicas(first); len(r) != 1 || r[0] != second {
		t.Errorf("%d replicas after the return", len(r))
	}
}

// A recorder is a test that has failed already, and hears what else fails.
type recorder struct {
	testing.TB
	mu     sync.Mutex
	errors []string
}

func (*recorder) Failed() bool { return true }

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func TestASlotMovesInATestThatHasFailed(t *testing.T) {
	t.Parallel()
	tb := &recorder{TB: t}
	c := servers.RedisCluster(tb, 3, 0)
	slot := c.Slot("k")
	from := c.Master(slot)
	to := c.Nodes()[0]
	if to == from {
		to = c.Nodes()[1]
	}
	from.Do("SET", "k", "v")
	c.MoveSlot(slot, to)
	if c.Master(slot) != to || to.Do("GET", "k") != "v" || len(tb.errors) > 0 {
		t.Errorf("the slot is half moved: %q", tb.errors)
	}
	// What keeps it from moving is told, and told once.
	m := c.StartMove(slot, from)
	from.Kill()
	m.Finish()
	if len(tb.errors) != 1 || !strings.Contains(tb.errors[0], "moving keys") {
		t.Errorf("told: %q", tb.errors)
	}
	if to.Do("GET", "k") != "v" {
		t.Error("the key is lost")
	}
}
