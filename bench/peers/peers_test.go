package peers

import (
	"context"
	"encoding/gob"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/redis/rueidis"

	"github.com/gensession/gensession/bench/internal/drive"
	"github.com/gensession/gensession/bench/internal/ours"
	"github.com/gensession/gensession/internal/servers"
	memcachestore "github.com/gensession/gensession/stores/memcache"
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
// take at least, and our requests beside them: server=redis/op=read/callers=64/
// by=rueidis. The value is as long as the record of our session.
func BenchmarkClient(b *testing.B) {
	value := strings.Repeat("x", recordSize)
	for _, callers := range []int{1, callersMax} {
		run := func(server, op, by string, f func(b *testing.B)) {
			b.Run(fmt.Sprintf("server=%s/op=%s/callers=%d/by=%s", server, op, callers, by), f)
		}
		run("redis", drive.Read, "rueidis", func(b *testing.B) {
			c := dialRueidis(b)
			must(b, c.Do(b.Context(), c.B().Set().Key("client").Value(value).Build()).Error())
			repeat(b, callers, func() error {
				got, err := c.Do(context.Background(), c.B().Get().Key("client").Build()).AsBytes()
				return whole(got, err)
			})
		})
		for _, a := range ours.Adapters() {
			run("redis", drive.Read, a.Name, func(b *testing.B) {
				drive.Bench(b, gensessionSite(a, nil)(b, redis, drive.Values()), drive.Read, callers)
			})
		}
		run("redis", drive.Write, "rueidis", func(b *testing.B) {
			c := dialRueidis(b)
			repeat(b, callers, func() error {
				return c.Do(context.Background(), c.B().Set().Key("client").Value(value).Build()).Error()
			})
		})
		run("memcached", drive.Read, "gomemcache", func(b *testing.B) {
			c := memcache.New(servers.SharedMemcached(b).Addr())
			c.MaxIdleConns = callersMax
			b.Cleanup(func() { c.Close() })
			must(b, c.Set(&memcache.Item{Key: "client", Value: []byte(value)}))
			repeat(b, callers, func() error {
				item, err := c.Get("client")
				if err != nil {
					return err
				}
				return whole(item.Value, nil)
			})
		})
		for _, a := range ours.Adapters() {
			run("memcached", drive.Read, a.Name, func(b *testing.B) {
				s, err := memcachestore.Open([]string{servers.SharedMemcached(b).Addr()}, nil)
				must(b, err)
				b.Cleanup(func() { s.Close() })
				drive.Bench(b, a.Site(s, drive.Values()), drive.Read, callers)
			})
		}
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

func dialRueidis(b *testing.B) rueidis.Client {
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{servers.SharedRedis(b).Addr()}, DisableCache: true})
	must(b, err)
	b.Cleanup(c.Close)
	return c
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// repeat measures f, called by so many at once.
func repeat(b *testing.B, callers int, f func() error) {
	b.ReportAllocs()
	if callers == 1 {
		for b.Loop() {
			if err := f(); err != nil {
				b.Fatal(err)
			}
		}
		return
	}
	procs := runtime.GOMAXPROCS(0)
	b.SetParallelism((callers + procs - 1) / procs)
	// As in drive.Bench: the client has its connections when the time begins.
	var warm sync.WaitGroup
	for range callers {
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
