package servers

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Slots is the number of slots of a cluster.
const Slots = 16384

// clusterTime bounds what a cluster does on its own: meet, elect, recover.
const clusterTime = 20 * time.Second

// Cluster is a Redis Cluster of a test.
type Cluster struct {
	tb    testing.TB
	nodes []*RedisServer
	ids   []string // of the nodes, in their order
}

// RedisCluster starts a Redis Cluster with so many masters, the slots spread
// evenly over them, and so many replicas for each of them. It waits until all
// nodes agree. The arguments are those of redis-server, for each node; a node
// counts as failed after a second unless "--cluster-node-timeout" says
// otherwise.
func RedisCluster(tb testing.TB, masters, replicas int, args ...string) *Cluster {
	tb.Helper()
	path := lookup(tb, "redis-server", "redis-server")
	args = append([]string{
		"--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf",
		"--cluster-node-timeout", "1000", "--cluster-replica-validity-factor", "0",
		"--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0",
	}, args...)
	c := &Cluster{tb: tb}
	var all []*daemon
	for range masters * (1 + replicas) {
		s := newRedis(path, args)
		s.handle = attach(tb, s.daemon)
		c.nodes, all = append(c.nodes, s), append(all, s.daemon)
	}
	bootAll(tb, all...)
	if err := c.join(masters); err != nil {
		tb.Fatal(err)
	}
	return c
}

// join makes one cluster of the nodes, the first of them masters.
func (c *Cluster) join(masters int) error {
	for i, s := range c.nodes {
		c.ids = append(c.ids, fmt.Sprint(s.Do("CLUSTER", "MYID")))
		s.Do("CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
		if i < masters {
			add := []string{"CLUSTER", "ADDSLOTS"}
			for slot := i * Slots / masters; slot < (i+1)*Slots/masters; slot++ {
				add = append(add, strconv.Itoa(slot))
			}
			s.Do(add...)
		}
		for _, other := range c.nodes[:i] {
			s.Do("CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(other.port))
		}
	}
	for i, s := range c.nodes[masters:] {
		err := poll(clusterTime, func() error {
			_, err := s.Try("CLUSTER", "REPLICATE", c.ids[i%masters])
			return err // until the nodes know each other
		})
		if err != nil {
			return err
		}
	}
	// On a busy machine a node may give up a handshake, and does not try again.
	met := time.Now()
	return poll(clusterTime, func() error {
		err := c.ok()
		if err != nil && time.Since(met) > 3*time.Second {
			met = time.Now()
			for i, s := range c.nodes {
				for _, other := range c.nodes[:i] {
					s.Do("CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(other.port))
				}
			}
		}
		return err
	})
}

// Nodes returns the nodes: first those that began as masters, in the order of
// their slots, then those that began as their replicas.
func (c *Cluster) Nodes() []*RedisServer { return slices.Clone(c.nodes) }

// Addrs returns the addresses of all nodes.
func (c *Cluster) Addrs() []string {
	all := make([]string, len(c.nodes))
	for i, s := range c.nodes {
		all[i] = s.Addr()
	}
	return all
}

// Slot returns the slot of a key.
func (c *Cluster) Slot(key string) int {
	c.tb.Helper()
	for _, s := range c.nodes {
		if v, err := s.Try("CLUSTER", "KEYSLOT", key); err == nil {
			n, _ := v.(int64)
			return int(n)
		}
	}
	c.tb.Error("servers: no node of the cluster answers")
	return -1
}

// Master returns the node that has a slot, as most of the running nodes see
// it; nil when none has.
func (c *Cluster) Master(slot int) *RedisServer {
	votes := make([]int, len(c.nodes))
	for _, view := range c.views() {
		for i := range c.nodes {
			if l := view[c.ids[i]]; l.has(slot) {
				votes[i]++
			}
		}
	}
	most := slices.Max(votes)
	if most == 0 {
		return nil
	}
	return c.nodes[slices.Index(votes, most)]
}

// Replicas returns the running replicas of a node.
func (c *Cluster) Replicas(of *RedisServer) []*RedisServer {
	var all []*RedisServer
	id := c.id(of)
	for i, s := range c.nodes {
		view, err := s.view()
		if err == nil && view[c.ids[i]].master == id {
			all = append(all, s)
		}
	}
	return all
}

// KillMaster kills the master of a slot and returns it. With a replica, the
// cluster elects that within a few seconds; see [Cluster.WaitOK].
func (c *Cluster) KillMaster(slot int) *RedisServer {
	c.tb.Helper()
	s := c.Master(slot)
	if s == nil {
		c.tb.Errorf("servers: slot %d has no master", slot)
		return nil
	}
	s.Kill()
	return s
}

// Failover promotes a replica of the master of a slot in an orderly way and
// waits until all nodes agree.
func (c *Cluster) Failover(slot int) {
	c.tb.Helper()
	old := c.Master(slot)
	if old == nil {
		c.tb.Errorf("servers: slot %d has no master", slot)
		return
	}
	replicas := c.Replicas(old)
	if len(replicas) == 0 {
		c.tb.Errorf("servers: the master of slot %d has no replica", slot)
		return
	}
	replicas[0].Do("CLUSTER", "FAILOVER")
	err := poll(clusterTime, func() error {
		if c.Master(slot) == old {
			return errors.New("no other master yet")
		}
		return nil
	})
	old.check(err)
	c.WaitOK()
}

// WaitOK waits until all running nodes see every slot served by a running
// master, the same one, and every running replica is in step with its master.
func (c *Cluster) WaitOK() {
	c.tb.Helper()
	if err := c.agree(); err != nil {
		c.tb.Error(err)
	}
}

func (c *Cluster) agree() error { return poll(clusterTime, c.ok) }

func (c *Cluster) ok() error {
	var first nodeView
	for i, s := range c.nodes {
		if !s.Alive() {
			continue
		}
		info, err := s.Try("CLUSTER", "INFO")
		if err != nil {
			return err
		}
		if !strings.Contains(info.(string), "cluster_state:ok") {
			return fmt.Errorf("server %s: the cluster is not ok", s.Addr())
		}
		view, err := s.view()
		if err != nil {
			return err
		}
		if first == nil {
			first = view
		}
		if err := c.complete(view, first); err != nil {
			return fmt.Errorf("server %s: %w", s.Addr(), err)
		}
		if view[c.ids[i]].master != "-" {
			if err := s.wantInfo("replication", "master_link_status", "up"); err != nil {
				return err
			}
		}
	}
	return nil
}

// complete compares what one node knows with the truth and with another.
func (c *Cluster) complete(view, other nodeView) error {
	served := 0
	for i, s := range c.nodes {
		l, known := view[c.ids[i]]
		if !known {
			return fmt.Errorf("node %s is not known", s.Addr())
		}
		if s.Alive() && l.failed {
			return fmt.Errorf("node %s counts as failed", s.Addr())
		}
		if s.Alive() {
			served += l.count()
		}
		if o := other[c.ids[i]]; o.master != l.master || !slices.Equal(o.slots, l.slots) {
			return fmt.Errorf("node %s is seen in two ways", s.Addr())
		}
	}
	if served != Slots {
		return fmt.Errorf("%d slots are served", served)
	}
	return nil
}

func (c *Cluster) views() []nodeView {
	var all []nodeView
	for _, s := range c.nodes {
		if v, err := s.view(); err == nil {
			all = append(all, v)
		}
	}
	return all
}

func (c *Cluster) id(s *RedisServer) string { return c.ids[slices.Index(c.nodes, s)] }

// nodeView is what one node knows of all nodes, by their ids.
type nodeView map[string]nodeLine

type nodeLine struct {
	failed bool
	master string // the id of a replica's master, else "-"
	slots  [][2]int
}

func (l nodeLine) has(slot int) bool {
	return slices.ContainsFunc(l.slots, func(r [2]int) bool { return r[0] <= slot && slot <= r[1] })
}

func (l nodeLine) count() int {
	n := 0
	for _, r := range l.slots {
		n += r[1] - r[0] + 1
	}
	return n
}

func (s *RedisServer) view() (nodeView, error) {
	if !s.Alive() {
		return nil, errors.New("servers: the server is not running")
	}
	v, err := s.Try("CLUSTER", "NODES")
	if err != nil {
		return nil, err
	}
	text, _ := v.(string)
	view := nodeView{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line) // id addr flags master ping pong epoch link slots…
		if len(f) < 8 {
			return nil, fmt.Errorf("servers: strange line %q", line)
		}
		l := nodeLine{master: f[3], failed: strings.Contains(f[2], "fail") || strings.Contains(f[2], "handshake")}
		for _, r := range f[8:] {
			if strings.HasPrefix(r, "[") {
				continue // a slot on the move
			}
			from, to, ranged := strings.Cut(r, "-")
			if !ranged {
				to = from
			}
			a, errA := strconv.Atoi(from)
			b, errB := strconv.Atoi(to)
			if err := errors.Join(errA, errB); err != nil {
				return nil, err
			}
			l.slots = append(l.slots, [2]int{a, b})
		}
		view[f[0]] = l
	}
	return view, nil
}
