package faults_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/redis/rueidis"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/faultproxy"
	"github.com/gensession/gensession/internal/servers"
	memcachestore "github.com/gensession/gensession/stores/memcache"
	memorystore "github.com/gensession/gensession/stores/memory"
	redisstore "github.com/gensession/gensession/stores/redis"
)

// A server is a running Redis or memcached, or nothing for the memory store.
type server struct {
	redis     *servers.RedisServer // with a cluster, its first node
	cluster   *servers.Cluster
	memcached *servers.MemcachedServer
}

func startServer(t testing.TB, store string, args ...string) server {
	t.Helper()
	switch store {
	case "redis":
		if slices.Equal(args, clustered) {
			c := servers.RedisCluster(t, 2, 0)
			return server{redis: c.Nodes()[0], cluster: c}
		}
		return server{redis: servers.Redis(t, args...)}
	case "memcache":
		return server{memcached: servers.Memcached(t, args...)}
	}
	return server{}
}

// clustered are the arguments of a cluster of two masters.
var clustered = []string{"cluster"}

// node is the server that has a key.
func (s server) node(key string) *servers.RedisServer {
	if s.cluster != nil {
		return s.cluster.Master(s.cluster.Slot(key))
	}
	return s.redis
}

// A process is what both kinds of servers suffer.
type process interface {
	Addr() string
	Kill()
	Start()
	Pause()
	Resume()
	Restart()
}

func (s server) process() process {
	if s.redis != nil {
		return s.redis
	}
	return s.memcached
}

// A closer is a store that has to be closed.
type closer interface {
	core.Store
	Close() error
}

// A rig is a store with its server, and with direct ways to both.
type rig struct {
	t testing.TB
	server
	proxy  *faultproxy.Proxy // between store and server, nil without one
	noDNS  atomic.Bool       // names can't be resolved
	store  closer
	memory *memorystore.Store
	faulty *storetest.Faulty // before the store; it knows the keys

	mu   sync.Mutex
	keys []string // in the order in which they were first used
	undo []func()
}

// largest is the size of a payload that no store of a rig takes.
const largest = 1 << 20

// newRig makes a store on the server, through a proxy if asked, by Open.
func newRig(t testing.TB, s server, throughProxy bool) *rig {
	t.Helper()
	return newRigBy(t, s, throughProxy, false)
}

// newRigBy is newRig, by New with a client of the user's if asked.
func newRigBy(t testing.TB, s server, throughProxy, byNew bool) *rig {
	t.Helper()
	r := &rig{t: t, server: s}
	var err error
	switch {
	case s.redis != nil:
		addr := r.address(throughProxy)
		r.store, err = redisstore.Open("redis://"+addr, &redisstore.Options{MaxSize: largest})
	case s.memcached != nil:
		r.store, err = memcachestore.Open([]string{r.address(throughProxy)}, &memcachestore.Options{
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				if r.noDNS.Load() {
					return nil, &net.DNSError{Err: "no such host", Name: "memcached.invalid", IsNotFound: true}
				}
				return new(net.Dialer).DialContext(ctx, network, address)
			},
		})
	default:
		r.memory = memorystore.New(&memorystore.Options{MaxEntries: 100, MaxBytes: largest})
		r.store = r.memory
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.store.Close() })
	if byNew {
		r.borrow()
	}
	r.faulty = storetest.NewFaulty(r.store)
	r.faulty.Before(func(_ context.Context, _ storetest.Op, key string) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, k := range r.keys {
			if k == key {
				return nil
			}
		}
		r.keys = append(r.keys, key)
		return nil
	})
	return r
}

// borrow puts a store in the place of r's own that uses a client of the user's,
// made with no setting but the address.
func (r *rig) borrow() {
	t := r.t
	t.Helper()
	_ = r.store.Close()
	addr := r.process().Addr()
	if r.proxy != nil {
		addr = r.proxy.Addr()
	}
	var err error
	if r.redis != nil {
		client, dialErr := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}})
		if dialErr != nil {
			t.Fatal(dialErr)
		}
		t.Cleanup(client.Close)
		r.store, err = redisstore.New(client, &redisstore.Options{MaxSize: largest})
	} else {
		client := memcache.New(addr)
		t.Cleanup(func() { _ = client.Close() })
		r.store, err = memcachestore.New(client, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.store.Close() })
}

func (r *rig) address(throughProxy bool) string {
	addr := r.process().Addr()
	if throughProxy {
		r.proxy = faultproxy.New(r.t, addr)
		addr = r.proxy.Addr()
	}
	return addr
}

// known are the keys that were used so far.
func (r *rig) known() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.keys...)
}

// later keeps what takes the fault back.
func (r *rig) later(f func()) { r.undo = append(r.undo, f) }

// heal takes the fault back and waits until the store works again.
func (r *rig) heal() {
	r.t.Helper()
	for _, f := range r.undo {
		f()
	}
	r.undo = nil
	if r.noDNS.Store(false); r.proxy != nil {
		r.proxy.Clear()
	}
}

// settle waits until the store answers, and what was late has arrived.
func (r *rig) settle() {
	r.t.Helper()
	if r.memory != nil {
		return
	}
	end := time.Now().Add(30 * time.Second)
	for {
		err := r.ask()
		if !errors.Is(err, core.ErrUnavailable) {
			break
		}
		if time.Now().After(end) {
			r.t.Fatalf("the store does not work again: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(30 * time.Millisecond)
}

// ask reads, so that connections are found out to be dead. A store may have
// several to one server, and choose among them by the key.
func (r *rig) ask() (err error) {
	for i := range 16 {
		ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
		_, err = r.store.Get(ctx, "faults:settle:"+itoa(i))
		cancel()
		if errors.Is(err, core.ErrUnavailable) {
			break
		}
	}
	return err
}

// read returns what the server has under key, over a connection of its own.
func (r *rig) read(key string) (data string, ok bool) {
	r.t.Helper()
	switch {
	case r.redis != nil:
		v, err := r.node(key).Try("GET", key)
		if err != nil {
			return "server: " + err.Error(), true
		}
		data, ok = v.(string)
		return data, ok
	case r.memcached != nil:
		_, rest, ok := strings.Cut(r.memcached.Do("get "+key+"\r\n"), "\r\n")
		data, ends := strings.CutSuffix(rest, "\r\nEND\r\n")
		return data, ok && ends
	}
	raw, err := r.memory.Get(context.Background(), key)
	return string(raw), err == nil
}

// overwrite puts data under key, whatever is there.
func (r *rig) overwrite(key, data string) {
	r.t.Helper()
	switch {
	case r.redis != nil:
		r.node(key).Do("SET", key, data)
	case r.memcached != nil:
		if got := r.memcached.Do("set " + key + " 0 0 " + itoa(len(data)) + "\r\n" + data + "\r\n"); got != "STORED\r\n" {
			r.t.Errorf("set: %q", got)
		}
	default:
		if err := r.memory.Set(context.Background(), key, []byte(data), 0); err != nil {
			r.t.Error(err)
		}
	}
}

// remove takes key away.
func (r *rig) remove(key string) {
	r.t.Helper()
	switch {
	case r.redis != nil:
		r.node(key).Do("DEL", key)
	case r.memcached != nil:
		r.memcached.Do("delete " + key + "\r\n")
	default:
		_ = r.memory.Destroy(context.Background(), key)
	}
}
