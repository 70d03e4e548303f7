package memcachestore_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/servers"
)

func BenchmarkStore(b *testing.B) {
	addr := servers.SharedMemcached(b).Addr()
	b.Run("client=Open", func(b *testing.B) {
		storetest.Bench(b, func(b *testing.B) core.Store { return open(b, nil, addr) })
	})
	b.Run("client=New", func(b *testing.B) {
		storetest.Bench(b, func(b *testing.B) core.Store { return borrow(b, nil, addr) })
	})
	b.Run("client=bare", func(b *testing.B) { bare(b, addr) })
}

// bare lets gomemcache alone do what BenchmarkStore makes the store do.
func bare(b *testing.B, addr string) {
	type op struct {
		name  string
		sizes []int
		step  func(c *memcache.Client, it *memcache.Item) error
	}
	sizes := []int{256, 4096, 65536}
	for _, op := range []op{
		{"get", sizes, func(c *memcache.Client, it *memcache.Item) error {
			got, err := c.Get(it.Key)
			if err == nil && len(got.Value) != len(it.Value) {
				err = fmt.Errorf("%d bytes", len(got.Value))
			}
			return err
		}},
		{"miss", sizes[:1], func(c *memcache.Client, it *memcache.Item) error {
			if _, err := c.Get("-" + it.Key[1:]); err != memcache.ErrCacheMiss {
				return fmt.Errorf("a hit: %w", err)
			}
			return nil
		}},
		{"set", sizes, func(c *memcache.Client, it *memcache.Item) error { return c.Replace(it) }},
		{"create+destroy", sizes, func(c *memcache.Client, it *memcache.Item) error {
			key := "+" + it.Key[1:]
			if err := c.Add(&memcache.Item{Key: key, Value: it.Value, Expiration: 3601}); err != nil {
				return err
			}
			return c.Delete(key)
		}},
		{"swap", sizes, func(c *memcache.Client, it *memcache.Item) error {
			if it.CasID == 0 {
				got, err := c.Get(it.Key)
				if err != nil {
					return err
				}
				it.CasID = got.CasID
			}
			if err := c.CompareAndSwap(it); err != nil {
				return err
			}
			got, err := c.Get(it.Key)
			if err == nil {
				it.CasID = got.CasID
			}
			return err
		}},
		{"touch", sizes[:1], func(c *memcache.Client, it *memcache.Item) error { return c.Touch(it.Key, 3601) }},
	} {
		for _, size := range op.sizes {
			prepare := func(b *testing.B, c *memcache.Client, prefix string, i int) *memcache.Item {
				it := &memcache.Item{Key: prefix + strconv.Itoa(i), Value: bytes.Repeat([]byte("x"), size), Expiration: 3601}
				if err := c.Set(it); err != nil {
					b.Fatal(err)
				}
				return it
			}
			client := func(b *testing.B) *memcache.Client {
				c := memcache.New(addr)
				c.MaxIdleConns = 64
				b.Cleanup(func() { c.Close() })
				b.ReportAllocs()
				return c
			}
			b.Run(fmt.Sprintf("op=%s/size=%d/mode=serial", op.name, size), func(b *testing.B) {
				c, prefix := client(b), "storetest:"+rand.Text()+":"
				items := make([]*memcache.Item, 512)
				for i := range items {
					items[i] = prepare(b, c, prefix, i)
				}
				n := 0
				for b.Loop() {
					if err := op.step(c, items[n%len(items)]); err != nil {
						b.Fatal(err)
					}
					n++
				}
			})
			b.Run(fmt.Sprintf("op=%s/size=%d/mode=parallel", op.name, size), func(b *testing.B) {
				c, prefix := client(b), "storetest:"+rand.Text()+":"
				var callers atomic.Int64
				b.RunParallel(func(p *testing.PB) {
					it := prepare(b, c, prefix, int(callers.Add(1)))
					for p.Next() {
						if err := op.step(c, it); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}

// The store and the bare client by turns, call by call, so that whatever else
// the machine does meets both: the medians, and the quotient of them.
func BenchmarkBesideBare(b *testing.B) {
	addr := servers.SharedMemcached(b).Addr()
	for name, open := range kinds {
		for _, size := range []int{256, 4096, 65536} {
			s, client := open(b, nil, addr), memcache.New(addr)
			b.Cleanup(func() { client.Close() })
			data, ctx, key := bytes.Repeat([]byte("x"), size), b.Context(), "beside:"+rand.Text()
			it := &memcache.Item{Key: key, Value: data, Expiration: 3601}
			if err := client.Set(it); err != nil {
				b.Fatal(err)
			}
			for _, op := range []struct {
				name        string
				store, bare func() error
			}{{
				"get",
				func() error { _, err := s.Get(ctx, key); return err },
				func() error { _, err := client.Get(key); return err },
			}, {
				"set",
				func() error { return s.Set(ctx, key, data, time.Hour) },
				func() error { return client.Replace(it) },
			}, {
				"swap",
				func() error {
					_, v, err := s.GetVersion(ctx, key)
					if err == nil {
						_, err = s.SetVersion(ctx, key, data, time.Hour, v)
					}
					return err
				},
				func() error {
					got, err := client.Get(key)
					if err == nil {
						err = client.CompareAndSwap(&memcache.Item{Key: key, Value: data, Expiration: 3601, CasID: got.CasID})
					}
					return err
				},
			}, {
				"touch",
				func() error { return s.Touch(ctx, key, time.Hour) },
				func() error { return client.Touch(key, 3601) },
			}} {
				b.Run(fmt.Sprintf("client=%s/op=%s/size=%d", name, op.name, size), func(b *testing.B) {
					var ours, bare []time.Duration
					for b.Loop() {
						first, second := op.store, op.bare
						if len(ours)%2 > 0 {
							first, second = second, first
						}
						begun := time.Now()
						err := first()
						between := time.Now()
						if secondErr := second(); err != nil || secondErr != nil {
							b.Fatal(err, secondErr)
						}
						a, z := between.Sub(begun), time.Since(between)
						if len(ours)%2 > 0 {
							a, z = z, a
						}
						ours, bare = append(ours, a), append(bare, z)
					}
					slices.Sort(ours)
					slices.Sort(bare)
					a, z := ours[len(ours)/2], bare[len(bare)/2]
					b.ReportMetric(float64(a), "ns/ours")
					b.ReportMetric(float64(z), "ns/bare")
					b.ReportMetric(float64(a)/float64(z), "ours/bare")
				})
			}
		}
	}
}
