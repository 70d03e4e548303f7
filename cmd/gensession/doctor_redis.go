package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

func (p *patient) redis(ctx context.Context, a address) error {
	s, err := p.c.open()
	if err != nil {
		return err
	}
	defer s.Close()
	down := p.reach(ctx, s)
	option, err := rueidis.ParseURL(a.whole)
	if err != nil {
		return errURL
	}
	option.DisableCache = true
	client, err := rueidis.NewClient(option)
	if err != nil {
		if down == nil { // the error may quote the password
			down = errors.New("a second connection to the server was refused")
		}
		return down
	}
	defer client.Close()
	if down != nil {
		p.find("reach", fault, "a read fails: "+down.Error(), "")
	} else {
		p.use(ctx, s, "The package documentation of stores/redis lists the commands that an ACL must allow")
	}
	p.either("password", option.Password != "" || option.AuthCredentialsFn != nil || loopback(option.InitAddress),
		"the server is on this machine, or asks for a password", fault,
		"the server asks for no password", "Whoever reaches it can read and end all sessions: set one, or an ACL")

	nodes := client.Nodes()
	for _, addr := range slices.Sorted(maps.Keys(nodes)) {
		if len(nodes) > 1 {
			p.server = addr
		}
		ctx, cancel := context.WithTimeout(ctx, p.c.timeout)
		p.redisNode(ctx, nodes[addr], client.Mode() == rueidis.ClientModeCluster) // in a cluster these are the masters
		cancel()
	}
	return nil
}

// loopback reports whether all addresses are on this machine.
func loopback(addrs []string) bool {
	return !slices.ContainsFunc(addrs, func(a string) bool {
		return !strings.HasPrefix(a, "127.") && !strings.HasPrefix(a, "localhost:") && !strings.HasPrefix(a, "[::1]") && !strings.HasPrefix(a, "/")
	})
}

func (p *patient) redisNode(ctx context.Context, node rueidis.Client, cluster bool) {
	text, err := node.Do(ctx, node.B().Info().Build()).ToString()
	if err != nil {
		p.find("server", unknown, "INFO is refused", "Run doctor as a user who may use INFO, CONFIG GET and TIME")
		return
	}
	info := fieldsOf(text)
	p.redisInfo(info)

	if info["role"] == "master" {
		p.redisPersistence(ctx, node, info)
	}
	began := time.Now()
	if at, err := node.Do(ctx, node.B().Time().Build()).AsStrSlice(); err != nil || len(at) != 2 {
		p.find("clock", unknown, "TIME is refused", "")
	} else {
		p.clock(time.Unix(number(at[0]), 1000*number(at[1])), began, time.Now())
	}
	if cluster {
		p.redisSlots(ctx, node)
	}
}

// fieldsOf reads what INFO and CLUSTER INFO answer.
func fieldsOf(text string) map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(strings.TrimPrefix(text, "txt:")) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields
}

// redisInfo looks at what INFO tells.
func (p *patient) redisInfo(info map[string]string) {
	name, version := "Redis", info["redis_version"]
	if v := info["valkey_version"]; v != "" {
		name, version = "Valkey", v
	}
	p.either("version", number(version[:max(strings.IndexByte(version, '.'), 0)]) >= 6, name+" "+version, fault, name+" "+version+" is too old", "Use Redis 6 or newer")

	replicas := number(info["connected_slaves"])
	behind := 0
	for i := range replicas {
		if !strings.Contains(info[fmt.Sprint("slave", i)], "state=online") {
			behind++
		}
	}
	if info["role"] != "master" {
		p.find("role", fault, "this is a replica", "Give the application the address of the master, or those of Sentinel")
	} else {
		p.either("role", behind == 0, fmt.Sprintf("master, with %d replicas", replicas), fault,
			fmt.Sprintf("master, and %d of its %d replicas are not in sync", behind, replicas), "A failover to one of them would bring old sessions back")
	}
	p.either("loading", info["loading"] != "1", "the data are loaded", fault, "the server is loading its data", "Requests fail until it is done")

	used, most, policy := number(info["used_memory"]), number(info["maxmemory"]), info["maxmemory_policy"]
	p.either("eviction", policy == "noeviction", "maxmemory-policy is noeviction", fault, "maxmemory-policy is "+policy,
		"A full server then removes sessions of people who are logged in: set it to noeviction, on a server that is no cache")
	p.either("evicted", info["evicted_keys"] == "0", "no key was evicted since the server started", fault, info["evicted_keys"]+" keys were evicted since the server started",
		"Sessions among them are lost: give the server more memory, and noeviction")
	if most == 0 {
		p.find("memory", note, size(used)+" used, without a limit", "Set maxmemory, or the system may end the server when memory runs out")
	} else {
		p.either("memory", used <= most/10*9, fmt.Sprintf("%s used of %s", size(used), size(most)), fault,
			fmt.Sprintf("%s used of %s", size(used), size(most)), "The server is nearly full: it will refuse new sessions, or evict")
	}
	p.either("clients", info["rejected_connections"] == "0", "no connection was refused since the server started", fault,
		info["rejected_connections"]+" connections were refused since the server started", "Raise maxclients")
}

func (p *patient) redisPersistence(ctx context.Context, node rueidis.Client, info map[string]string) {
	config, err := node.Do(ctx, node.B().ConfigGet().Parameter("save").Build()).AsStrMap()
	aof := info["aof_enabled"] == "1"
	const remedy = "A restart logs everybody out: set appendonly yes"
	switch {
	case info["rdb_last_bgsave_status"] == "err":
		p.find("persistence", fault, "the last snapshot has failed", "The server may refuse all writes until one succeeds: look at its log and its disk")
	case aof && (info["aof_last_write_status"] == "err" || info["aof_last_bgrewrite_status"] == "err"):
		p.find("persistence", fault, "the last write of the append-only file has failed", "Look at the server's log and its disk")
	case aof:
		p.find("persistence", fine, "appendonly is on", "")
	case err != nil:
		p.find("persistence", unknown, "appendonly is off, and CONFIG GET is refused", remedy)
	case config["save"] == "":
		p.find("persistence", fault, "neither appendonly nor save is set", remedy)
	default:
		p.find("persistence", note, "snapshots only (save "+config["save"]+")", "A restart or a crash loses what came after the last one, also logouts: set appendonly yes")
	}
}

func (p *patient) redisSlots(ctx context.Context, node rueidis.Client) {
	text, err := node.Do(ctx, node.B().ClusterInfo().Build()).ToString()
	if err != nil {
		p.find("slots", unknown, "CLUSTER INFO is refused", "")
		return
	}
	info := fieldsOf(text)
	p.either("slots", info["cluster_state"] == "ok" && info["cluster_slots_ok"] == "16384", "the cluster has all 16384 slots", fault,
		fmt.Sprintf("the cluster is %s, %s of 16384 slots are served", info["cluster_state"], info["cluster_slots_ok"]), "Sessions in the other slots can't be used: see redis-cli --cluster check")
}
