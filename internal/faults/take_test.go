package faults_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/internal/faultproxy"
	"github.com/gensession/gensession/internal/soak"
)

// P30: while the connections of two processes are cut, with requests and answers under
// way, at most one request gets a value by Take, and what it has got is gone.
func TestP30TakeWhileConnectionsAreCut(t *testing.T) {
	const token core.Key[string] = "token"
	for _, kind := range []string{"redis", "memcache"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, kind)
			open := func(throughProxy bool) (*rig, *core.Manager) {
				r := newRig(t, s, throughProxy)
				m, err := core.New(r.store, &core.Options{Keys: [][]byte{[]byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")}})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = m.Close() })
				return r, m
			}
			_, quiet := open(false)
			var rigs [2]*rig
			var processes [2]*core.Manager
			for i := range rigs {
				rigs[i], processes[i] = open(true)
			}
			request := func(m *core.Manager, jar *jartest.Jar, f func(s *core.Session) error) error {
				v, _ := m.NewVisit(jar, nil)
				ctx := core.NewContext(context.Background(), v)
				defer v.Abandon()
				if err := v.Begin(ctx); err != nil {
					return err
				}
				session, err := v.Session(ctx)
				if err == nil {
					err = f(session)
				}
				if failed := v.Commit(ctx); err == nil {
					err = failed
				}
				return err
			}
			const takers = 6
			var failed atomic.Int32
			var took int
			for round := range soak.Rounds(2, 6, 500) {
				browser := &jartest.Browser{}
				jar := browser.Jar("/")
				value := fmt.Sprint("token ", round)
				if err := request(quiet, jar, func(s *core.Session) error { return token.Set(s, value) }); err != nil {
					t.Fatal(err)
				}
				browser.Take("/", jar.SetCookies...)
				var got atomic.Int32
				var all sync.WaitGroup
				over := make(chan struct{})
				for i := range takers {
					mine := browser.Jar("/")
					all.Go(func() {
						err := request(processes[i%2], mine, func(s *core.Session) error {
							v, err := token.Take(context.Background(), s)
							if v != "" && (v != value || err != nil) {
								t.Errorf("got %q, %v", v, err)
							}
							if v != "" {
								got.Add(1)
							}
							return err
						})
						if err != nil {
							failed.Add(1)
						}
					})
				}
				var cuts sync.WaitGroup
				cuts.Go(func() {
					for {
						select {
						case <-over:
							return
						case <-time.After(time.Duration(rand.IntN(2000)) * time.Microsecond):
						}
						for _, r := range rigs {
							r.proxy.CutAll(faultproxy.Reset)
						}
					}
				})
				all.Wait()
				close(over)
				cuts.Wait()
				if got.Load() > 1 {
					t.Fatalf("%d requests got the value", got.Load())
				}
				took += int(got.Load())
				if err := request(quiet, browser.Jar("/"), func(s *core.Session) error {
					if v, _, err := token.Lookup(s); err != nil || v != "" && got.Load() > 0 {
						t.Errorf("afterwards %q, %v; it was taken %d times", v, err, got.Load())
					}
					return nil
				}); err != nil {
					t.Fatal(err)
				}
			}
			t.Logf("%d values were taken, %d requests failed", took, failed.Load())
			if took == 0 {
				t.Error("nothing was taken: this test proves nothing")
			}
		})
	}
}
