package adaptertest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
)

// requestRules are about the other parts of a request and its response.
var requestRules = []rule{
	{"W22 browsers that hang up while their session is loaded are no failures of the store", func(t *testing.T, s *suite) {
		const browsers = 50
		var told, ran atomic.Int32
		var arrived, done sync.WaitGroup
		gone := make(chan struct{})
		a := s.app(core.Options{OpTimeout: time.Minute, Hooks: core.Hooks{Error: func(_ context.Context, e *core.Error) error {
			told.Add(1)
			return e
		}}}, func(x *Exchange) error {
			ran.Add(1)
			return routes(x)
		})
		u := a.user()
		u.want("/", 200, "1")
		ran.Store(0)
		arrived.Add(browsers)
		done.Add(browsers)
		a.store.Before(func(ctx context.Context, op storetest.Op, _ string) error {
			if op != storetest.OpGet && op != storetest.OpGetVersion {
				return nil
			}
			defer done.Done()
			arrived.Done()
			<-gone
			if s.a.CtxEnds {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		ctx, hangUp := context.WithCancel(context.Background())
		defer hangUp()
		ended := make(chan error, browsers)
		for range browsers {
			go func() {
				_, err := u.send(ctx, "GET", "/read")
				ended <- err
			}()
		}
		arrived.Wait()
		hangUp()
		for range browsers {
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("a request ended with %v", err)
			}
		}
		close(gone)
		done.Wait()
		a.store.Before(nil)
		u.want("/", 200, "2") // and the store is not taken for one that is down
		if n := told.Load(); n != 0 {
			t.Errorf("the hook heard of %d failures", n)
		}
		if n := ran.Load(); s.a.CtxEnds && n != 1 {
			t.Errorf("%d handlers ran, want that of the last request", n)
		}
	}},
}
