package bench

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/gensession/gensession/bench/internal/drive"
	"github.com/gensession/gensession/bench/internal/ours"
	"github.com/gensession/gensession/core"
	sessionotel "github.com/gensession/gensession/otel"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// watchers are those who want to know what happens, and what they have counted; and
// sealing, by which nobody shall know.
func watchers(b testing.TB) map[string]func(s core.Store, o *core.Options) (core.Store, func() int64) {
	return map[string]func(s core.Store, o *core.Options) (core.Store, func() int64){
		"nobody": func(s core.Store, _ *core.Options) (core.Store, func() int64) { return s, nil },
		"Logger at Info": func(s core.Store, o *core.Options) (core.Store, func() int64) {
			o.Logger = slog.New(slog.NewJSONHandler(io.Discard, nil))
			return s, nil
		},
		"Hooks.Event": func(s core.Store, o *core.Options) (core.Store, func() int64) {
			var n atomic.Int64
			o.Hooks.Event = func(context.Context, core.Event) { n.Add(1) }
			return s, n.Load
		},
		"Options.Seal": func(s core.Store, o *core.Options) (core.Store, func() int64) {
			o.Seal.Keys = core.Keyring{[]byte("pL4sD6fG0yAZk3v9QwX1rT7mB5nH2cJ8")}
			return s, nil
		},
		"core.Observe": func(s core.Store, _ *core.Options) (core.Store, func() int64) {
			var n atomic.Int64
			return core.Observe(s, func(ctx context.Context, _ string) (context.Context, func(error)) {
				return ctx, func(error) { n.Add(1) }
			}), n.Load
		},
		"OpenTelemetry, metrics": func(s core.Store, o *core.Options) (core.Store, func() int64) {
			return telemetry(b, s, o, trace.NeverSample()), nil
		},
		"OpenTelemetry, metrics and spans": func(s core.Store, o *core.Options) (core.Store, func() int64) {
			return telemetry(b, s, o, trace.AlwaysSample()), nil
		},
	}
}

func telemetry(b testing.TB, s core.Store, o *core.Options, sampler trace.Sampler) core.Store {
	options := &sessionotel.Options{
		TracerProvider: trace.NewTracerProvider(trace.WithSampler(sampler)),
		MeterProvider:  metric.NewMeterProvider(metric.WithReader(metric.NewManualReader())),
	}
	s, err := sessionotel.Store(s, "memory", options)
	if err != nil {
		b.Fatal(err)
	}
	if o.Hooks.Event, err = sessionotel.Events(options); err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkObserved measures what it costs that somebody watches, or that sessions are
// sealed, on fasthttp and the
// memory store: by=Hooks.Event/op=read.
func BenchmarkObserved(b *testing.B) {
	for by, watch := range watchers(b) {
		for _, op := range []string{drive.Read, drive.Write, drive.Login} {
			b.Run("by="+by+"/op="+op, func(b *testing.B) {
				memory := memorystore.New(nil)
				defer memory.Close()
				o := core.Options{Keys: ours.Keys()}
				store, counted := watch(memory, &o)
				m, err := core.New(store, &o)
				if err != nil {
					b.Fatal(err)
				}
				defer m.Close()
				drive.Bench(b, ours.Adapters()[1].SiteOf(m, drive.Values()), op, 1)
				if counted != nil && counted() < int64(b.N) {
					b.Errorf("%d seen of %d", counted(), b.N)
				}
			})
		}
	}
}
