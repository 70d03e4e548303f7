package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/internal/servers"
)

// findings are the levels by check; of several the worst one.
func findings(t *testing.T, out string) map[string]string {
	t.Helper()
	rank := []string{"", fine, note, unknown, fault}
	all := map[string]string{}
	for line := range strings.Lines(out) {
		var f finding
		if err := json.Unmarshal([]byte(line), &f); err != nil || f.Check == "" || f.Found == "" {
			t.Fatalf("doctor prints %q: %v", line, err)
		}
		if slices.Index(rank, f.Level) > slices.Index(rank, all[f.Check]) {
			all[f.Check] = f.Level
		}
	}
	return all
}

// diagnose fails the test unless doctor finds what differs from all being well, and
// nothing else.
func diagnose(t *testing.T, url string, healthy map[string]string, differs map[string]string, args ...string) {
	t.Helper()
	r := gensession(t, url, append(args, "doctor", "-json")...)
	got := findings(t, r.out)
	want := maps.Clone(healthy)
	maps.Copy(want, differs)
	maps.DeleteFunc(want, func(_, level string) bool { return level == "" })
	code := exitDone
	if slices.Contains(slices.Collect(maps.Values(want)), fault) {
		code = exitFinding
	}
	if r.code != code || r.err != "" || !maps.Equal(got, want) {
		t.Errorf("it ends with %d, want %d; it says %q and has found\n%s", r.code, code, r.err, r.out)
		for check, level := range want {
			if got[check] != level {
				t.Errorf("%s is %q, want %q", check, got[check], level)
			}
		}
		for check, level := range got {
			if want[check] == "" {
				t.Errorf("%s is %q, and was not expected", check, level)
			}
		}
	}
}

// healthyRedis is what is found on a server that is started as docs/stores.md says.
var healthyRedis = map[string]string{
	"reach": fine, "permissions": fine, "owners": fine, "password": fine, "version": fine, "role": fine, "loading": fine,
	"eviction": fine, "evicted": fine, "memory": fine, "clients": fine, "persistence": fine, "clock": fine,
}

func redisServer(t *testing.T, args ...string) *servers.RedisServer {
	return servers.Redis(t, append([]string{"--maxmemory", "100mb", "--maxmemory-policy", "noeviction", "--appendonly", "yes"}, args...)...)
}

func TestDoctorRedis(t *testing.T) {
	t.Parallel()
	s := redisServer(t)
	try := func(name string, differs map[string]string, setup func() (undo func())) {
		t.Run(name, func(t *testing.T) {
			undo := setup()
			diagnose(t, s.URL(), healthyRedis, differs)
			if undo != nil {
				undo()
			}
		})
	}
	config := func(name, value string) func() func() {
		return func() func() {
			was := s.Do("CONFIG", "GET", name).([]any)[1].(string)
			s.Do("CONFIG", "SET", name, value)
			return func() { s.Do("CONFIG", "SET", name, was) }
		}
	}
	try("healthy", nil, func() func() { return nil })
	if r := gensession(t, s.URL(), "doctor"); r.code != exitDone || !strings.HasPrefix(r.out, "LEVEL    CHECK         FOUND\nok       reach         the first answer came after ") {
		t.Errorf("as a table it ends with %d:\n%s", r.code, r.out)
	}
	for _, policy := range []string{"allkeys-lru", "volatile-ttl", "volatile-lru"} {
		try(policy, map[string]string{"eviction": fault}, config("maxmemory-policy", policy))
	}
	try("no limit", map[string]string{"memory": note}, config("maxmemory", "0"))
	try("no persistence", map[string]string{"persistence": fault}, func() func() {
		s.Do("CONFIG", "SET", "save", "")
		return config("appendonly", "no")()
	})
	try("snapshots", map[string]string{"persistence": note}, func() func() {
		s.Do("CONFIG", "SET", "save", "3600 1")
		undo := config("appendonly", "no")()
		return func() { undo(); s.Do("CONFIG", "SET", "save", "") }
	})
	try("full", map[string]string{"memory": fault, "permissions": fault, "owners": ""}, s.FillUp)
	try("a failed snapshot", map[string]string{"persistence": fault, "permissions": fault, "owners": ""}, s.Misconf)
	try("well again", nil, func() func() { return nil })
	try("out of clients", map[string]string{"clients": fault}, func() func() {
		undo := config("maxclients", "10")()
		var all []net.Conn
		for range 20 {
			if c, err := net.Dial("tcp", s.Addr()); err == nil {
				all = append(all, c)
			}
		}
		_, _ = all[19].Read(make([]byte, 1)) // that it is refused
		for _, c := range all {
			c.Close()
		}
		for range 1000 { // until the server has noticed
			if _, err := s.Try("PING"); err == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		undo()
		return func() { s.Do("CONFIG", "RESETSTAT") }
	})
	try("evicted", map[string]string{"evicted": fault}, func() func() {
		s.Do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "maxmemory", "3mb")
		for i := range 40 {
			s.Do("SET", "junk"+string(rune('a'+i)), strings.Repeat("x", 100_000))
		}
		s.Do("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "100mb")
		return func() { s.Do("CONFIG", "RESETSTAT") }
	})
	try("a replica", map[string]string{"permissions": fault, "owners": "", "role": fault, "persistence": ""}, func() func() {
		s.Do("REPLICAOF", "127.0.0.1", "1")
		return func() { s.Do("REPLICAOF", "NO", "ONE") }
	})

	// What an application may do, and no more, is enough for it, and not for doctor.
	const app = "redis://app:secret@"
	rules := []string{"~koa:sess:*", "-@all", "+get", "+set", "+del", "+append", "+pexpire", "+persist", "+exists", "+evalsha", "+eval", "+ping", "+scan", "+zadd", "+zrem", "+zrangebyscore", "+zremrangebyscore", "+zcard", "+zscore", "+pttl", "+time"}
	s.SetUser("app", "secret", rules...)
	differs := map[string]string{"server": unknown}
	for check := range healthyRedis {
		differs[check] = ""
	}
	differs["reach"], differs["permissions"], differs["owners"], differs["password"] = fine, fine, fine, fine
	diagnose(t, app+s.Addr(), healthyRedis, differs)
	s.SetUser("app", "secret", append(rules, "-zadd")...)
	differs["owners"] = note
	diagnose(t, app+s.Addr(), healthyRedis, differs)
	differs["owners"] = ""
	for _, command := range []string{"-append", "-evalsha", "-pexpire", "-set"} {
		s.SetUser("app", "secret", append(rules, command)...)
		differs["permissions"] = fault
		diagnose(t, app+s.Addr(), healthyRedis, differs)
	}
	s.SetUser("app", "secret", "~other:*", "+@all")
	diagnose(t, app+s.Addr(), healthyRedis, map[string]string{"permissions": fault, "owners": ""})
	if r := gensession(t, "redis://app:"+canary+"@"+s.Addr(), "doctor"); r.code != exitFailed || strings.Contains(r.out+r.err, canary) || !strings.Contains(r.err, "WRONGPASS") {
		t.Errorf("with a wrong password it ends with %d and says %q and %q", r.code, r.out, r.err)
	}
}

func TestDoctorCluster(t *testing.T) {
	t.Parallel()
	c := servers.RedisCluster(t, 3, 0, "--maxmemory", "100mb", "--appendonly", "yes")
	healthy := maps.Clone(healthyRedis)
	healthy["slots"] = fine
	diagnose(t, "redis://"+c.Addrs()[0], healthy, nil)
	if r := gensession(t, "redis://"+c.Addrs()[0], "doctor"); strings.Count(r.out, "the cluster has all") != 3 {
		t.Errorf("of 3 masters it says\n%s", r.out)
	}
	for _, n := range c.Nodes() {
		n.Do("CONFIG", "SET", "cluster-require-full-coverage", "no") // or nothing works at all
	}
	c.Master(0).Do("CLUSTER", "DELSLOTS", "0")
	diagnose(t, "redis://"+c.Addrs()[0], healthy, map[string]string{"slots": fault})
}

// What a server says that this machine has not, or that is hard to bring about.
func TestDoctorRedisInfo(t *testing.T) {
	t.Parallel()
	healthy := map[string]string{
		"redis_version": "7.0.15", "role": "master", "connected_slaves": "1", "slave0": "ip=10.0.0.2,port=6379,state=online,offset=1,lag=0",
		"loading": "0", "used_memory": "1000000", "maxmemory": "100000000", "maxmemory_policy": "noeviction", "evicted_keys": "0", "rejected_connections": "0",
	}
	for _, c := range []struct {
		name, value, check string
	}{
		{"role", "master", ""},
		{"redis_version", "5.0.14", "version"},
		{"redis_version", "", "version"},
		{"valkey_version", "8.1.0", ""},
		{"slave0", "ip=10.0.0.2,port=6379,state=wait_bgsave,offset=0,lag=0", "role"},
		{"role", "slave", "role"},
		{"loading", "1", "loading"},
		{"used_memory", "95000000", "memory"},
	} {
		var out bytes.Buffer
		p := &patient{c: &command{out: output{w: &out, json: true}}}
		info := maps.Clone(healthy)
		info[c.name] = c.value
		p.redisInfo(info)
		for check, level := range findings(t, out.String()) {
			if (level == fault) != (check == c.check) || level == unknown {
				t.Errorf("with %s %q the %s is %s:\n%s", c.name, c.value, check, level, out.String())
			}
		}
	}
	for addr, is := range map[string]bool{"127.0.0.1:6379": true, "localhost:6379": true, "[::1]:6379": true, "/run/redis.sock": true, "10.0.0.1:6379": false, "localhost.example:6379": false} {
		if loopback([]string{addr}) != is {
			t.Errorf("%s is on this machine: %v", addr, !is)
		}
	}
}

func TestDoctorClock(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for off, level := range map[time.Duration]string{0: fine, 900 * time.Millisecond: fine, -1900 * time.Millisecond: fine, 3 * time.Second: fault, -time.Hour: fault} {
		var out bytes.Buffer
		p := &patient{c: &command{out: output{w: &out, json: true}}}
		p.clock(now.Add(off), now.Add(-10*time.Millisecond), now.Add(10*time.Millisecond))
		if got := findings(t, out.String()); got["clock"] != level || (p.faults > 0) != (level == fault) {
			t.Errorf("a clock that differs by %v: %v", off, got)
		}
	}
}

func TestDoctorMemcached(t *testing.T) {
	t.Parallel()
	healthy := map[string]string{
		"reach": fine, "permissions": fine, "owners": fine, "version": fine, "clock": fine, "eviction": fine, "evicted": fine,
		"memory": fine, "item size": fine, "clients": fine, "listing": fine,
	}
	url := func(s *servers.MemcachedServer) string { return "memcached://" + s.Addr() }
	good := servers.Memcached(t, "-M")
	diagnose(t, url(good), healthy, nil)
	diagnose(t, url(servers.Memcached(t)), healthy, map[string]string{"eviction": note})
	diagnose(t, url(servers.Memcached(t, "-M", "-I", "256k", "-o", "slab_chunk_max=256")), healthy, map[string]string{"item size": fault})
	silent := servers.Memcached(t, "-M", "-o", "no_lru_crawler")
	diagnose(t, url(silent), healthy, map[string]string{"listing": note})
	gensession(t, url(silent), "list").want(exitFailed, "memcached has refused")

	full := servers.Memcached(t, "-m", "2")
	for i := range 100 {
		full.Do("set junk" + string(rune('a'+i)) + " 0 0 100000\r\n" + strings.Repeat("x", 100_000) + "\r\n")
	}
	diagnose(t, url(full), healthy, map[string]string{"eviction": note, "evicted": fault, "memory": fault})

	// Of several each is looked at, and one that is down does not hide the others.
	other := servers.Memcached(t, "-M")
	both := url(good) + "," + other.Addr()
	diagnose(t, both, healthy, nil)
	if r := gensession(t, both, "doctor"); strings.Count(r.out, other.Addr()+": ") != 8 {
		t.Errorf("it says of the second one\n%s", r.out)
	}
}
