package servers

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// MasterSet is the name by which sentinels know the master.
const MasterSet = "mymaster"

// Sentinel is a Redis master with one replica and the sentinels that watch
// them.
type Sentinel struct {
	tb        testing.TB
	servers   []*RedisServer // the master and the replica, as they began
	sentinels []*RedisServer
}

// RedisSentinel starts a master, its replica and so many sentinels, and waits
// until all know each other. One sentinel decides alone and is up soonest; of
// three, one may be killed. The master counts as down after half a second.
// The arguments are those of redis-server, for the master and the replica.
func RedisSentinel(tb testing.TB, sentinels int, args ...string) *Sentinel {
	tb.Helper()
	path := lookup(tb, "redis-server", "redis-server")
	args = append([]string{"--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0"}, args...)
	s := &Sentinel{tb: tb}
	for range 2 {
		r := newRedis(path, args)
		r.handle = attach(tb, r.daemon)
		s.servers = append(s.servers, r)
	}
	bootAll(tb, s.servers[0].daemon, s.servers[1].daemon)
	s.servers[1].Do("REPLICAOF", "127.0.0.1", strconv.Itoa(s.servers[0].port))
	if err := poll(clusterTime, func() error { return s.servers[1].linked() }); err != nil {
		tb.Fatal(err)
	}
	var all []*daemon
	for range sentinels {
		r := newSentinel(path, s.servers[0].port, sentinels/2+1)
		r.handle = attach(tb, r.daemon)
		s.sentinels, all = append(s.sentinels, r), append(all, r.daemon)
	}
	bootAll(tb, all...)
	if err := poll(clusterTime, s.ok); err != nil {
		tb.Fatal(err)
	}
	return s
}

// newSentinel describes a sentinel. It keeps what it learns in its file.
func newSentinel(path string, master, quorum int) *RedisServer {
	s := newRedis(path, nil)
	s.persistent = true
	s.files = func(dir string) error {
		name := MasterSet
		text := fmt.Sprintf("dir %s\nbind 127.0.0.1\nprotected-mode no\n"+
			"user %s on >%s ~* +@all\n"+
			"sentinel monitor %s 127.0.0.1 %d %d\n"+
			"sentinel down-after-milliseconds %s 500\n"+
			"sentinel failover-timeout %s 1000\n",
			dir, kitUser, kitPassword, name, master, quorum, name, name)
		return os.WriteFile(filepath.Join(dir, "sentinel.conf"), []byte(text), 0o600)
	}
	s.args = func(port int) []string {
		return []string{filepath.Join(s.dir, "sentinel.conf"), "--sentinel", "--port", strconv.Itoa(port)}
	}
	return s
}

// Servers returns the two servers, first the one that began as the master.
func (s *Sentinel) Servers() []*RedisServer { return append([]*RedisServer(nil), s.servers...) }

// Sentinels returns the sentinels.
func (s *Sentinel) Sentinels() []*RedisServer { return append([]*RedisServer(nil), s.sentinels...) }

// Addrs returns the addresses of the sentinels.
func (s *Sentinel) Addrs() []string {
	all := make([]string, len(s.sentinels))
	for i, r := range s.sentinels {
		all[i] = r.Addr()
	}
	return all
}

// Master returns the server that the sentinels take for the master, nil when
// no sentinel answers.
func (s *Sentinel) Master() *RedisServer {
	for _, sentinel := range s.sentinels {
		if r, err := s.masterOf(sentinel); err == nil {
			return r
		}
	}
	return nil
}

func (s *Sentinel) masterOf(sentinel *RedisServer) (*RedisServer, error) {
	v, err := sentinel.Try("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MasterSet)
	if err != nil {
		return nil, err
	}
	if at, ok := v.([]any); ok && len(at) == 2 {
		addr := net.JoinHostPort(fmt.Sprint(at[0]), fmt.Sprint(at[1]))
		for _, r := range s.servers {
			if r.Addr() == addr {
				return r, nil
			}
		}
	}
	return nil, fmt.Errorf("sentinel %s: strange master %v", sentinel.Addr(), v)
}

// KillMaster kills the master and returns it. The sentinels promote the
// replica within a few seconds; see [Sentinel.WaitFailover].
func (s *Sentinel) KillMaster() *RedisServer {
	s.tb.Helper()
	old := s.Master()
	if old == nil {
		s.tb.Error("servers: no sentinel knows the master")
		return nil
	}
	old.Kill()
	return old
}

// Failover makes the sentinels promote the replica and waits until they have.
func (s *Sentinel) Failover() {
	s.tb.Helper()
	old := s.Master()
	err := poll(clusterTime, func() error {
		_, err := s.sentinels[0].Try("SENTINEL", "FAILOVER", MasterSet)
		return err // until the sentinel knows a good replica
	})
	if err != nil {
		s.tb.Error(err)
		return
	}
	s.WaitFailover(old)
}

// WaitFailover waits until all running sentinels name a master other than old
// and that one takes writes.
func (s *Sentinel) WaitFailover(old *RedisServer) {
	s.tb.Helper()
	err := poll(clusterTime, func() error {
		for _, sentinel := range s.sentinels {
			if !sentinel.Alive() {
				continue
			}
			r, err := s.masterOf(sentinel)
			if err != nil {
				return err
			}
			if r == old {
				return fmt.Errorf("sentinel %s: the master is still %s", sentinel.Addr(), old.Addr())
			}
			if err := r.wantInfo("replication", "role", "master"); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.tb.Error(err)
	}
}

// ok returns nil when each sentinel knows the replica and the other sentinels.
func (s *Sentinel) ok() error {
	for _, sentinel := range s.sentinels {
		v, err := sentinel.Try("SENTINEL", "MASTER", MasterSet)
		if err != nil {
			return err
		}
		fields, _ := v.([]any)
		known := map[string]string{}
		for i := 1; i < len(fields); i += 2 {
			known[fmt.Sprint(fields[i-1])] = fmt.Sprint(fields[i])
		}
		if known["flags"] != "master" || known["num-slaves"] != "1" ||
			known["num-other-sentinels"] != strconv.Itoa(len(s.sentinels)-1) {
			return fmt.Errorf("sentinel %s: flags %s, %s replicas, %s other sentinels", sentinel.Addr(),
				known["flags"], known["num-slaves"], known["num-other-sentinels"])
		}
	}
	return nil
}

// linked returns nil when a replica is in step with its master.
func (s *RedisServer) linked() error {
	return errors.Join(
		s.wantInfo("replication", "role", "slave"),
		s.wantInfo("replication", "master_link_status", "up"))
}
