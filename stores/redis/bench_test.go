package redisstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/servers"
	redisstore "github.com/gensession/gensession/stores/redis"
)

// The store beside the bare client: the same commands through the same kind of
// client, and nothing around them.
//
//	go test -run - -bench Store -count 10 ./stores/redis | benchstat -col /client -
func BenchmarkStore(b *testing.B) {
	server := servers.SharedRedis(b)
	option := rueidis.ClientOption{
		InitAddress: []string{server.Addr()}, DisableCache: true, DisableRetry: true,
		ConnWriteTimeout: time.Second, PipelineMultiplex: -1,
	}
	b.Run("client=bare", func(b *testing.B) {
		storetest.Bench(b, func(b *testing.B) core.Store {
			c, err := rueidis.NewClient(option)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(c.Close)
			b.SetParallelism(16)
			return &bare{c: c}
		})
	})
	b.Run("client=store", func(b *testing.B) {
		storetest.Bench(b, func(b *testing.B) core.Store {
			s, err := redisstore.OpenOption(option, nil)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { s.Close() })
			b.SetParallelism(16)
			return s
		})
	})
}

// What the store adds to a call, as a ratio to the bare client: both take turns
// of a few calls, and the medians are compared, so that what else the machine
// does is shared by both. Serial, since that is where it shows.
func BenchmarkRatio(b *testing.B) {
	server := servers.SharedRedis(b)
	option := rueidis.ClientOption{
		InitAddress: []string{server.Addr()}, DisableCache: true, DisableRetry: true,
		ConnWriteTimeout: time.Second, PipelineMultiplex: -1,
	}
	c, err := rueidis.NewClient(option)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	s, err := redisstore.OpenOption(option, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	type store interface {
		core.Store
		core.Swapper
		core.Toucher
	}
	both := []store{&bare{c: c}, s}
	ctx := context.Background()

	for _, size := range []int{256, 4096, 65536} {
		data := bytes.Repeat([]byte("x"), size)
		versions := make([]core.Version, 2)
		for _, op := range []struct {
			name string
			do   func(i int) error
		}{
			{"get", func(i int) error {
				got, err := both[i].Get(ctx, "ratio")
				if len(got) != size {
					return errors.Join(err, errors.New("not the payload"))
				}
				return err
			}},
			{"set", func(i int) error { return both[i].Set(ctx, "ratio", data, time.Hour) }},
			{"touch", func(i int) error { return both[i].Touch(ctx, "ratio", time.Hour) }},
			{"swap", func(i int) (err error) {
				versions[i], err = both[i].SetVersion(ctx, "ratio", data, time.Hour, versions[i])
				return err
			}},
		} {
			b.Run(fmt.Sprintf("op=%s/size=%d", op.name, size), func(b *testing.B) {
				const turn = 20
				if err := s.Set(ctx, "ratio", data, time.Hour); err != nil {
					b.Fatal(err)
				}
				versions[0] = redisstore.Digest(data)
				versions[1] = versions[0]
				for range 200 { // both have connections, and go at pace
					s.Get(ctx, "ratio")
				}
				var took [2][]time.Duration
				for b.Loop() {
					for i := range both {
						begun := time.Now()
						for range turn {
							if err := op.do(i); err != nil {
								b.Fatal(err)
							}
						}
						took[i] = append(took[i], time.Since(begun)/turn)
					}
				}
				for i := range took {
					slices.Sort(took[i])
				}
				bare, store := took[0][len(took[0])/2], took[1][len(took[1])/2]
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(bare.Nanoseconds())/1000, "µs-bare")
				b.ReportMetric(float64(store.Nanoseconds())/1000, "µs-store")
				b.ReportMetric(float64(store)/float64(bare), "ratio")
			})
		}
	}
}

// A bare store is a client with no care taken.
type bare struct {
	c rueidis.Client

	mu      sync.Mutex
	data    string // whose version was computed last: a benchmark writes the same again and again
	version core.Version
}

func (b *bare) Get(ctx context.Context, key string) ([]byte, error) {
	data, err := b.c.Do(ctx, b.c.B().Get().Key(key).Build()).AsBytes()
	if err == rueidis.Nil {
		return nil, core.ErrNotFound
	}
	return data, err
}

func (b *bare) Set(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	return b.c.Do(ctx, b.c.B().Set().Key(key).Value(rueidis.BinaryString(data)).PxMilliseconds(ttl.Milliseconds()).Build()).Error()
}

func (b *bare) Destroy(ctx context.Context, key string) error {
	return b.c.Do(ctx, b.c.B().Del().Key(key).Build()).Error()
}

func (b *bare) Touch(ctx context.Context, key string, ttl time.Duration) error {
	return b.c.Do(ctx, b.c.B().Pexpire().Key(key).Milliseconds(ttl.Milliseconds()).Build()).Error()
}

func (b *bare) GetVersion(ctx context.Context, key string) ([]byte, core.Version, error) {
	data, err := b.Get(ctx, key)
	return data, redisstore.Digest(data), err
}

func (b *bare) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	b.mu.Lock()
	if b.data != rueidis.BinaryString(data) {
		b.data, b.version = string(data), redisstore.Digest(data)
	}
	now := b.version
	b.mu.Unlock()
	if v == 0 {
		return now, b.Set(ctx, key, data, ttl)
	}
	reply, err := redisstore.Swap().Exec(ctx, b.c, []string{key}, []string{fmt.Sprintf("%016x", uint64(v)), rueidis.BinaryString(data), strconv.FormatInt(ttl.Milliseconds(), 10)}).ToMessage()
	if err == nil && reply.IsInt64() {
		err = errors.New("refused")
	}
	return now, err
}

// A read that a copy answers, beside one that the server answers.
//
//	go test -run - -bench NearCache ./stores/redis
func BenchmarkNearCache(b *testing.B) {
	server := servers.SharedRedis(b)
	for _, size := range []int{256, 4096} {
		data := bytes.Repeat([]byte("x"), size)
		for name, bound := range map[string]time.Duration{"server": 0, "copy": time.Hour} {
			s, err := redisstore.Open("redis://"+server.Addr(), &redisstore.Options{NearCache: bound})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			key := fmt.Sprint("bench-near-", size)
			if err := s.Set(b.Context(), key, data, time.Hour); err != nil {
				b.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond) // the server's news of that write have come
			read := func(b *testing.B) {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				if got, v, err := s.GetVersion(ctx, key); err != nil || len(got) != size || v == 0 {
					b.Fatal(err)
				}
			}
			b.Run(fmt.Sprintf("from=%s/size=%d/serial", name, size), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					read(b)
				}
			})
			b.Run(fmt.Sprintf("from=%s/size=%d/parallel", name, size), func(b *testing.B) {
				b.SetParallelism(32)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						read(b)
					}
				})
			})
		}
	}
}
