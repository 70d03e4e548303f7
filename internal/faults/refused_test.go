package faults_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
)

// A login that a real store refuses leaves the planted session as it was, in
// either order of Set and Renew: the server is full, or other requests write the
// session all the time. A handler that does not look at the error of Renew is
// told by its commit.
func TestW1ALoginThatAStoreRefuses(t *testing.T) {
	for _, store := range []string{"memory", "redis", "memcache"} {
		for _, fault := range []string{"full", "crowd"} {
			if store == "memory" && fault == "crowd" {
				continue // too fast to be hindered: no Renew is refused
			}
			t.Run(store+"/"+fault, func(t *testing.T) {
				var args []string
				if store == "memcache" {
					args = []string{"-m", "2", "-M"} // refuses when it is full, instead of evicting, and is soon full
				}
				r := newRig(t, startServer(t, store, args...), false)
				sessions, err := core.New(r.faulty, &core.Options{Keys: keys, FailFast: true})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = sessions.Close() })
				user, other := core.Key[string]("user"), core.Key[int]("other")
				request := func(b *jartest.Browser, h func(ctx context.Context, s *core.Session) error) error {
					jar := b.Jar("/")
					v, _ := sessions.NewVisit(jar, nil)
					defer v.Abandon()
					ctx := core.NewContext(context.Background(), v)
					s, err := v.Session(ctx)
					if err != nil {
						return err
					}
					_ = h(ctx, s) // the handler that does not look
					err = v.Commit(ctx)
					b.Take("/", jar.SetCookies...)
					return err
				}
				logins := 6
				if fault == "full" {
					logins = 2 // one for each order: to fill memcached up takes its time
				}
				refused := 0
				for i := range logins {
					victim, attacker := new(jartest.Browser), new(jartest.Browser)
					if err := request(victim, func(_ context.Context, s *core.Session) error { return other.Set(s, 1) }); err != nil {
						t.Fatal(err)
					}
					id, _ := victim.Value("/", "koa.sid")
					sig, _ := victim.Value("/", "koa.sid.sig")
					attacker.Take("/", "koa.sid="+id, "koa.sid.sig="+sig)

					stop := disturb(t, r, fault, func() {
						_ = request(attacker, func(_ context.Context, s *core.Session) error {
							_, err := other.Update(s, func(n int) int { return n + 1 })
							return err
						})
					})
					// The disturbance ends before the commit, which would be refused by
					// it as well: then nothing but the core keeps the login back.
					stop = sync.OnceFunc(stop)
					var failed error
					commit := request(victim, func(ctx context.Context, s *core.Session) error {
						if i%2 == 0 {
							failed = s.Renew(ctx)
							stop()
							return errors.Join(failed, user.Set(s, "ada"))
						}
						err := user.Set(s, "ada")
						failed = s.Renew(ctx)
						stop()
						return errors.Join(failed, err)
					})
					stop()
					if failed != nil {
						refused++
						if commit == nil {
							t.Error("the commit hides that Renew failed")
						}
					} else if commit != nil {
						t.Errorf("commit: %v", commit)
					}
					values, err := sessions.GetByID(context.Background(), core.ID(id))
					if err != nil && !errors.Is(err, core.ErrNotFound) {
						t.Errorf("the planted session: %v", err)
					}
					if strings.Contains(string(values), "ada") {
						t.Fatalf("who planted the id is logged in; Renew: %v, commit: %v", failed, commit)
					}
				}
				if store == "memory" && refused > 0 {
					t.Error("a login in memory needs a free place")
				}
				if fault == "full" && refused == 0 && store != "memory" {
					t.Error("no Renew was refused: nothing was tested")
				}
				t.Logf("%d of %d logins were refused", refused, logins)
			})
		}
	}
}

// disturb fills the store up, or lets a crowd write until stop is called. A full
// memory store has no place for the new id.
func disturb(t *testing.T, r *rig, fault string, write func()) (stop func()) {
	t.Helper()
	if fault == "crowd" {
		var over atomic.Bool
		done := make(chan struct{}, 4)
		for range 4 {
			go func() {
				for !over.Load() {
					write()
				}
				done <- struct{}{}
			}()
		}
		return func() {
			over.Store(true)
			for range 4 {
				<-done
			}
		}
	}
	switch {
	case r.redis != nil:
		return r.redis.FillUp()
	case r.memcached != nil:
		return r.memcached.FillUp()
	}
	var filled []string
	for i := 0; ; i++ {
		key := fmt.Sprintf("filled-%d", i)
		if err := r.store.Set(context.Background(), key, []byte("{}"), 0); err != nil {
			return func() {
				for _, key := range filled {
					_ = r.store.Destroy(context.Background(), key)
				}
			}
		}
		filled = append(filled, key)
	}
}
