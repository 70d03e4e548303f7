package storetest_test

import (
	"context"
	"flag"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
)

func BenchmarkModel(b *testing.B) {
	storetest.Bench(b, func(*testing.B) core.Store { return newModel() })
}

func TestBenchFailsAStoreThatDoesNotDoTheWork(t *testing.T) {
	const flagName = "test.benchtime"
	was := flag.Lookup(flagName).Value.String()
	t.Cleanup(func() { flag.Set(flagName, was) })
	flag.Set(flagName, "3x")

	for name, plant := range map[string]func(b *broken){
		"": func(*broken) {},
		"no payload": func(b *broken) {
			b.reads(func([]byte) []byte { return nil })
		},
		"a miss is no error": func(b *broken) {
			b.get = func(ctx context.Context, key string) ([]byte, error) {
				data, _ := b.model.Get(ctx, key)
				return data, nil
			}
		},
		"all writes fail": func(b *broken) {
			b.set = func(context.Context, string, []byte, time.Duration) error { return errTest }
		},
		"Destroy does nothing": func(b *broken) {
			b.destroy = func(context.Context, string) error { return nil }
		},
		"a swap does nothing": func(b *broken) {
			b.setVersion = func(context.Context, string, []byte, time.Duration, core.Version) (core.Version, error) {
				return 1, nil
			}
		},
		"Touch is an error": func(b *broken) {
			b.touch = func(context.Context, string, time.Duration) error { return core.ErrNotFound }
		},
	} {
		failed := false
		testing.Benchmark(func(b *testing.B) {
			storetest.Bench(b, func(*testing.B) core.Store { return newBroken(plant) })
			failed = b.Failed()
		})
		if want := name != ""; failed != want {
			t.Errorf("%q: failed is %v", name, failed)
		}
	}
	testing.Benchmark(func(b *testing.B) {
		storetest.Bench(b, func(*testing.B) core.Store { return plain{newModel()} })
		if b.Failed() {
			t.Error("a store of three methods failed")
		}
	})
}
