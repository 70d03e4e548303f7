package peers

import (
	"bytes"
	"cmp"
	"context"
	"encoding/gob"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/redis/rueidis"

	"github.com/gensession/gensession/bench/internal/drive"
	"github.com/gensession/gensession/bench/internal/ours"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/servers"
	memcachestore "github.com/gensession/gensession/stores/memcache"
	redisstore "github.com/gensession/gensession/stores/redis"
)

func TestMain(m *testing.M) {
	drive.Tell("redis-server", "memcached")
	// What the sessions hold, for the libraries that keep it as gob.
	for _, v := range drive.Values() {
		gob.Register(v)
	}
	os.Exit(servers.Main(m).Run())
}

// BenchmarkBare measures the HTTP libraries without sessions, on the same
// driver: http=fiber-v2.
func BenchmarkBare(b *testing.B) {
	sites := map[string]drive.Site{"fiber-v3": bareFiber3}
	for i, http := range []string{"nethttp", "fasthttp", "fiber-v2"} {
		sites[http] = ours.Adapters()[i].Site(nil, nil)
	}
	for _, http := range []string{"nethttp", "fasthttp", "fiber-v2", "fiber-v3"} {
		b.Run("http="+http, func(b *testing.B) { drive.Bench(b, sites[http], drive.Bare, 1) })
	}
}

// BenchmarkPeers measures the same requests through all libraries:
// store=redis/op=read/callers=64/http=nethttp/lib=scs. Those to be compared run
// one after the other.
func BenchmarkPeers(b *testing.B) {
	for _, store := range []string{memory, cookie, redis} {
		for _, op := range []string{drive.Visitor, drive.Untouched, drive.Read, drive.Write, drive.Login} {
			callers := []int{1}
			if store == redis {
				callers = []int{1, callersMax}
			}
			if store == redis && (op == drive.Visitor || op == drive.Untouched) {
				continue // as in memory, but for scs, which asks Redis all the same
			}
			for _, n := range callers {
				for _, l := range libs() {
					if !slices.Contains(l.stores, store) || !slices.Contains(l.ops, op) {
						continue
					}
					name := fmt.Sprintf("store=%s/op=%s/callers=%d/http=%s/lib=%s", store, op, n, l.http, l.name)
					b.Run(name, func(b *testing.B) { drive.Bench(b, l.site(b, store, drive.Values()), op, n) })
				}
			}
		}
	}
}

// BenchmarkSize measures reading one value of a session with many, in memory:
// values=200/size=16384/http=nethttp/lib=scs.
func BenchmarkSize(b *testing.B) {
	for _, n := range drive.Sizes {
		for _, l := range libs() {
			if slices.Contains(l.stores, memory) {
				b.Run(fmt.Sprintf("values=%d/size=%d/http=%s/lib=%s", n, drive.Size(n), l.http, l.name), func(b *testing.B) {
					drive.Bench(b, l.site(b, memory, drive.SizedValues(n)), drive.Read, 1)
				})
			}
		}
	}
}

// BenchmarkClient measures what the client libraries of Redis and memcached
// take at least, and our requests beside them. The value is as long as the
// record of our session. A write of the bare client is a GET and a SET.
//
// With one caller all are in one benchmark, server=redis/op=read/callers=1,
// which reports the time of each, such as ns-rueidis. In loops of their own
// they could not be compared: nearly all of a call is waiting for the server,
// and how fast the system wakes the two up depends on some µs between calls.
// The bare client gets up to 20 µs slower, or faster, with a pause of 4.
//
// With many callers each is by itself: server=redis/op=read/callers=64/
// by=rueidis.
func BenchmarkClient(b *testing.B) {
	for _, op := range []string{drive.Read, drive.Write} {
		b.Run("server=redis/op="+op+"/callers=1", func(b *testing.B) {
			s, err := redisstore.Open("redis://"+servers.SharedRedis(b).Addr(), nil)
			must(b, err)
			b.Cleanup(func() { s.Close() })
			beside(b, op, newRueidis(b), s)
		})
		b.Run("server=memcached/op="+op+"/callers=1", func(b *testing.B) {
			// One thread: which of several has a connection makes 10 µs, too.
			addr := servers.Memcached(b, "-t", "1").Addr()
			s, err := memcachestore.Open([]string{addr}, nil)
			must(b, err)
			b.Cleanup(func() { s.Close() })
			beside(b, op, newGomemcache(b, addr), s)
		})
	}

	run := func(server, op, by string, f func(b *testing.B)) {
		b.Run(fmt.Sprintf("server=%s/op=%s/callers=%d/by=%s", server, op, callersMax, by), f)
	}
	run(redis, drive.Read, "rueidis", func(b *testing.B) { repeat(b, newRueidis(b).get) })
	for _, a := range ours.Adapters() {
		run(redis, drive.Read, a.Name, func(b *testing.B) {
			drive.Bench(b, gensessionSite(a, nil)(b, redis, drive.Values()), drive.Read, callersMax)
		})
	}
	run(redis, drive.Write, "rueidis", func(b *testing.B) { repeat(b, newRueidis(b).set) })
	run("memcached", drive.Read, "gomemcache", func(b *testing.B) {
		repeat(b, newGomemcache(b, servers.SharedMemcached(b).Addr()).get)
	})
	for _, a := range ours.Adapters() {
		run("memcached", drive.Read, a.Name, func(b *testing.B) {
			s, err := memcachestore.Open([]string{servers.SharedMemcached(b).Addr()}, nil)
			must(b, err)
			b.Cleanup(func() { s.Close() })
			drive.Bench(b, a.Site(s, drive.Values()), drive.Read, callersMax)
		})
	}
}

// A client is a bare one, with a value in the server.
type client struct {
	name     string
	get, set func() error
}

func newRueidis(b *testing.B) client {
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{servers.SharedRedis(b).Addr()}, DisableCache: true})
	must(b, err)
	b.Cleanup(c.Close)
	value := strings.Repeat("x", recordSize)
	set := func() error {
		return c.Do(context.Background(), c.B().Set().Key("client").Value(value).Build()).Error()
	}
	must(b, set())
	return client{"rueidis", func() error {
		got, err := c.Do(context.Background(), c.B().Get().Key("client").Build()).AsBytes()
		return whole(got, err)
	}, set}
}

func newGomemcache(b *testing.B, addr string) client {
	c := memcache.New(addr)
	c.MaxIdleConns = callersMax
	b.Cleanup(func() { c.Close() })
	value := bytes.Repeat([]byte("x"), recordSize)
	set := func() error { return c.Set(&memcache.Item{Key: "client", Value: value}) }
	must(b, set())
	return client{"gomemcache", func() error {
		item, err := c.Get("client")
		if err != nil {
			return err
		}
		return whole(item.Value, nil)
	}, set}
}

// beside calls the bare client and requests with sessions in s by turns, in
// another order each time, and reports the middle one of the times of each.
func beside(b *testing.B, op string, bare client, s core.Store) {
	type caller struct {
		name  string
		call  func() error
		times []time.Duration
	}
	callers := []*caller{{name: bare.name, call: bare.get}}
	if op == drive.Write {
		callers[0].call = func() error { return cmp.Or(bare.get(), bare.set()) }
	}
	for _, a := range ours.Adapters() {
		c := drive.Browsers(b, a.Site(s, drive.Values()), op)()
		callers = append(callers, &caller{name: a.Name, call: func() error { c.Step(); return nil }})
		defer c.Check(b)
	}
	for b.Loop() {
		rand.Shuffle(len(callers), func(i, j int) { callers[i], callers[j] = callers[j], callers[i] })
		for _, c := range callers {
			begun := time.Now()
			err := c.call()
			c.times = append(c.times, time.Since(begun))
			must(b, err)
		}
	}
	for _, c := range callers {
		slices.Sort(c.times)
		b.ReportMetric(float64(c.times[len(c.times)/2].Nanoseconds()), "ns-"+c.name)
	}
}

// recordSize is about that of our record of drive.Values.
const recordSize = 300

func whole(got []byte, err error) error {
	if err == nil && len(got) != recordSize {
		err = fmt.Errorf("%d bytes", len(got))
	}
	return err
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// repeat measures f, called by many at once.
func repeat(b *testing.B, f func() error) {
	b.ReportAllocs()
	procs := runtime.GOMAXPROCS(0)
	b.SetParallelism((callersMax + procs - 1) / procs)
	// As in drive.Bench: the client has its connections when the time begins.
	var warm sync.WaitGroup
	for range callersMax {
		warm.Go(func() {
			for range 5 {
				if err := f(); err != nil {
					b.Error(err)
				}
			}
		})
	}
	warm.Wait()
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if err := f(); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
