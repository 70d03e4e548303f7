package faults_test

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/faultproxy"
	"github.com/gensession/gensession/internal/servers"
)

// durable makes a Redis that keeps its data over a restart: all that it has
// answered was handed to the system before.
var durable = []string{"--appendonly", "yes", "--appendfsync", "no"}

// faultList are the faults, each with what it is to the stores that can have
// it. The memory store has no server and no network; its time is the monotonic
// clock, which does not jump, and no call of its holds a lock for longer than
// it takes to copy a record.
var faultList = []struct {
	name   string
	stores map[string]treatment
}{
	{"kill", map[string]treatment{
		"redis":    {args: durable, strike: undone(kill), want: func(p phase) []outcome { return broken(p, down(p)) }},
		"memcache": {strike: undone(kill), want: downAndLost},
	}},
	{"restart", map[string]treatment{
		"redis":    {strike: restart, want: func(p phase) []outcome { return broken(p, lost(p)) }},
		"memcache": {strike: restart, want: lost},
	}},
	{"pause", map[string]treatment{
		"redis":    {strike: undone(pause), want: down},
		"memcache": {strike: undone(pause), want: down},
	}},
	{"slow", both(network(func(r *rig) {
		r.proxy.Replies(faultproxy.Fault{Delay: 20 * time.Millisecond, Jitter: 20 * time.Millisecond})
	}, works))},
	{"drip", both(network(func(r *rig) { r.proxy.Replies(faultproxy.Fault{Drip: opTimeout / 2}) }, down))},
	{"late write", map[string]treatment{
		"redis": network(holdRequests, late),
		// On a new connection, as the first request has, a write waits for a reply.
		// So it does if the prober has the only one that is open.
		"memcache": network(holdRequests, down),
	}},
	{"late write after a logout", both(treatment{proxy: true, want: lateAndLost, strike: func(r *rig, key string) {
		r.proxy.Requests(faultproxy.Fault{Hole: true})
		r.later(func() { r.remove(key) }) // by another process; then the write arrives
	}})},
	{"evict", map[string]treatment{
		"redis":    {strike: vanish, want: lost},
		"memcache": {strike: vanish, want: lost},
		"memory":   {strike: vanish, want: lost},
	}},
	{"full", map[string]treatment{
		"redis": {want: full, strike: undone(func(r *rig) func() { return r.redis.FillUp() })},
		"memcache": {args: []string{"-m", "2", "-M"}, strike: undone(func(r *rig) func() { return r.memcached.FillUp() }), want: func(p phase) []outcome {
			if p == regenerate { // the old one has made room for the new one, or for the tombstone alone
				return append(append(full(p), works(p)...), failed(core.ErrRefused, "-"))
			}
			return full(p)
		}},
		"memory": {strike: undone(fillMemory), want: func(p phase) []outcome {
			switch p {
			case swap, regenerate, renew, bury: // what is there has its room
				return works(p)
			}
			return full(p)
		}},
	}},
	{"corrupt", map[string]treatment{
		"redis":    {strike: scribble, want: corrupt},
		"memcache": {strike: scribble, want: corrupt},
		"memory":   {strike: scribble, want: corrupt},
	}},
	{"oversize", map[string]treatment{
		"redis":    {big: true, strike: nothing, want: tooLarge},
		"memcache": {big: true, strike: nothing, want: tooLarge},
		"memory":   {big: true, strike: nothing, want: tooLarge},
	}},
	{"cut", both(network(func(r *rig) { r.proxy.Replies(faultproxy.Fault{Cut: faultproxy.Close, CutAt: 3}) }, down))},
	{"RST", both(network(func(r *rig) { r.proxy.Replies(faultproxy.Fault{Cut: faultproxy.Reset, CutAt: 3}) }, down))},
	{"black hole", both(network(func(r *rig) { r.proxy.Hole() }, down))},
	{"refused", map[string]treatment{
		"redis": network(refuse, func(p phase) []outcome {
			if p == running {
				return broken(p, works(p))
			}
			return down(p)
		}),
		"memcache": network(refuse, down),
	}},
	{"wrong type", map[string]treatment{"redis": {want: wrongType, strike: func(r *rig, key string) {
		r.redis.Do("DEL", key)
		r.redis.Do("LPUSH", key, "x")
	}}}},
	{"MOVED", map[string]treatment{"redis": {args: clustered, strike: move, want: func(p phase) []outcome {
		if p == set {
			return nil // there is no slot to move
		}
		return works(p)
	}}}},
	{"READONLY", refusing((*servers.RedisServer).ReadOnly, demoted)},
	{"MISCONF", refusing((*servers.RedisServer).Misconf, readOnly)},
	{"NOREPLICAS", refusing((*servers.RedisServer).NoReplicas, readOnly)},
	{"NOAUTH", map[string]treatment{"redis": {want: func(p phase) []outcome {
		if p == running {
			return broken(p, works(p))
		}
		all := shut(p) // until it is noticed; then the server is down
		return append(all, failed(core.ErrUnavailable, all[0].old))
	}, strike: func(r *rig, _ string) {
		r.redis.Do("CONFIG", "SET", "requirepass", "changed")
		r.redis.Do("CLIENT", "KILL", "USER", "default")
		r.later(func() { r.redis.Do("CONFIG", "SET", "requirepass", "") })
		for range 4 {
			_ = r.ask() // the dead connections are not the subject
		}
	}}}},
	{"NOPERM", refusing(func(s *servers.RedisServer) func() {
		s.Do("ACL", "SETUSER", "default", "-@all")
		return func() { s.Do("ACL", "SETUSER", "default", "+@all") }
	}, shut)},
	{"swapped reply", map[string]treatment{"memcache": network(swapReplies, mixedUp)}},
	{"duplicate reply", map[string]treatment{"memcache": network(func(r *rig) { r.proxy.DuplicateReplies(1, nil) }, mixedUp)}},
	{"no DNS", map[string]treatment{"memcache": network(func(r *rig) {
		r.noDNS.Store(true)
		r.proxy.CutAll(faultproxy.Close)
	}, down)}},
	{"closed", map[string]treatment{"memory": {final: true, strike: func(r *rig, _ string) { _ = r.memory.Close() }, want: func(p phase) []outcome {
		if p == running {
			return downWith(swap, "-")
		}
		return downWith(p, "-")
	}}}},
}

func holdRequests(r *rig) { r.proxy.Requests(faultproxy.Fault{Hole: true}) }

// move gives the slot of the key to the other master.
func move(r *rig, key string) {
	to := r.cluster.Nodes()[0]
	if to == r.node(key) {
		to = r.cluster.Nodes()[1]
	}
	r.cluster.MoveSlot(r.cluster.Slot(key), to)
}

func refuse(r *rig) {
	r.proxy.Refuse(true)
	r.proxy.CutAll(faultproxy.Reset)
}

func both(t treatment) map[string]treatment { return map[string]treatment{"redis": t, "memcache": t} }

// fillMemory fills the memory store until it refuses.
func fillMemory(r *rig) (undo func()) {
	var full []string
	for i := 0; ; i++ {
		key := "faults:fill:" + itoa(i)
		err := r.memory.Set(context.Background(), key, nil, 0)
		if errors.Is(err, core.ErrRefused) {
			break
		}
		if err != nil {
			r.t.Error(err)
			break
		}
		full = append(full, key)
	}
	return func() {
		for _, key := range full {
			_ = r.memory.Destroy(context.Background(), key)
		}
	}
}

// swapReplies lets somebody else ask for something else at the same time, whose
// reply is exchanged for the next one that is not his.
func swapReplies(r *rig) {
	const key, value = "faults:partner", "partner"
	r.overwrite(key, value)
	r.proxy.SwapReplies(nil)
	ctx, stop := context.WithCancel(context.Background())
	var partner sync.WaitGroup
	partner.Go(func() {
		for ctx.Err() == nil {
			one, cancel := context.WithTimeout(ctx, opTimeout)
			data, err := r.store.Get(one, key)
			cancel()
			if err == nil && string(data) != value {
				r.t.Errorf("somebody else got a payload of %d bytes that is not his", len(data))
			}
		}
	})
	r.later(func() { stop(); partner.Wait() })
	time.Sleep(20 * time.Millisecond) // his reply is held by now
}
