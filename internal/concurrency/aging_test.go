package concurrency_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/internal/servers"
	redisstore "github.com/gensession/gensession/stores/redis"
)

// TestP20OnServers: sessions whose ids change of themselves all the time, written by
// parallel requests whose answers are often lost, lose no update and nobody.
func TestP20OnServers(t *testing.T) {
	kinds := append(stores[:len(stores):len(stores)], kind{"cluster", 1, func(t testing.TB) core.Store { // the keys of a session lie apart
		s, err := redisstore.OpenOption(rueidis.ClientOption{InitAddress: servers.RedisCluster(t, 3, 0).Addrs()}, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}})
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			m, err := core.New(kind.open(t), &core.Options{
				Keys: [][]byte{firstKey}, RenewAfter: 1100 * time.Millisecond, RenewGrace: time.Second, OpTimeout: 10 * time.Second,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			const users, tabs = 8, 3
			var all sync.WaitGroup
			var ids, lost atomic.Int64
			for range users {
				all.Go(func() {
					var b jartest.Browser
					var wrote atomic.Int64
					request := func(loses bool) {
						jar := b.Jar("/")
						first := len(jar.Cookies) == 0
						v, _ := m.NewVisit(jar, nil)
						ctx := core.NewContext(context.Background(), v)
						s, err := v.Session(ctx)
						if err != nil {
							t.Error(err)
							return
						}
						if s.IsNew() != first {
							t.Errorf("the session is lost")
						}
						if _, err = n.Update(s, func(n int) int { return n + 1 }); err == nil {
							err = v.Commit(ctx)
						}
						if err != nil {
							t.Error(err)
							return
						}
						wrote.Add(1)
						if loses && !first {
							lost.Add(1)
							return
						}
						b.Take("/", jar.SetCookies...)
					}
					request(false)
					var seen sync.Map
					var open sync.WaitGroup
					for range tabs {
						open.Go(func() {
							for end := time.Now().Add(4 * time.Second); time.Now().Before(end); {
								request(rand.IntN(3) == 0)
								time.Sleep(time.Duration(rand.IntN(40)) * time.Millisecond)
								id, _ := b.Value("/", "koa.sid")
								if _, known := seen.LoadOrStore(id, true); !known {
									ids.Add(1)
								}
							}
						})
					}
					open.Wait()
					jar := b.Jar("/")
					v, _ := m.NewVisit(jar, nil)
					s, err := v.Session(context.Background())
					if err != nil {
						t.Error(err)
					} else if got := n.Get(s); int64(got) != wrote.Load() {
						t.Errorf("%d updates are left of %d", got, wrote.Load())
					}
					v.Abandon()
				})
			}
			all.Wait()
			if ids.Load() < 2*users {
				t.Errorf("%d ids were renewed: too few to tell anything", ids.Load())
			}
			t.Logf("%d ids, %d answers lost", ids.Load(), lost.Load())
		})
	}
}
