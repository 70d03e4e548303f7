// Package sessionotel connects gensession with OpenTelemetry: metrics and spans of
// the calls of a store, and the events of sessions.
//
//	store, err := sessionotel.Store(store, "redis", nil)
//	…
//	events, err := sessionotel.Events(nil)
//	…
//	sessions, err := core.New(store, &core.Options{Keys: keys, Hooks: core.Hooks{Event: events}})
//
// Names and units follow the semantic conventions for database clients. Nothing
// that is recorded has an id, a key of the store or a value; the events of a span
// have the fingerprint of the id ([core.Event]).
package sessionotel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/gensession/gensession/core"
)

// Options configure [Store] and [Events]. The zero value is useful.
type Options struct {
	// TracerProvider makes the spans of [Store]. Default: the global one.
	TracerProvider trace.TracerProvider
	// MeterProvider makes the metrics. Default: the global one.
	MeterProvider metric.MeterProvider
	// ServerAddress is the name or address of the store's server (server.address).
	// Default: none.
	ServerAddress string
	// ServerPort is its port (server.port), where it is not the usual one.
	ServerPort int
}

const name = "github.com/gensession/gensession/otel"

// Store returns s observed ([core.Observe]): each call is a span of the kind
// client, and a value of the histogram db.client.operation.duration in seconds.
// Operations have the names of the methods, such as "GetVersion".
//
// system is the db.system.name of the conventions: "redis", "memcached",
// "postgresql", "mysql", "mariadb", "sqlite", or a name of your own, such as
// "memory".
//
// That a key is missing ([core.ErrNotFound]), another write came first
// ([core.ErrConflict]) or keys can't be changed together
// (errors.ErrUnsupported) is an answer and no error.
func Store(s core.Store, system string, o *Options) (core.Store, error) {
	if s == nil || system == "" {
		return nil, errors.New("sessionotel: Store needs a store and its db.system.name")
	}
	if o == nil {
		o = new(Options)
	}
	duration, err := o.meter().Float64Histogram("db.client.operation.duration",
		metric.WithUnit("s"),
		metric.WithDescription("Duration of database client operations."),
		metric.WithExplicitBucketBoundaries(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10))
	if err != nil {
		return nil, fmt.Errorf("sessionotel: %w", err)
	}
	common := []attribute.KeyValue{semconv.DBSystemNameKey.String(system)}
	if o.ServerAddress != "" {
		common = append(common, semconv.ServerAddress(o.ServerAddress))
		if o.ServerPort != 0 {
			common = append(common, semconv.ServerPort(o.ServerPort))
		}
	}
	w := &watch{tracer: o.tracer(), duration: duration, common: common, fine: map[string]attributes{}}
	for _, method := range []string{"Get", "Set", "Destroy", "GetVersion", "SetVersion", "Batch", "Append", "Touch"} {
		w.fine[method] = w.attributes(method, "")
	}
	return core.Observe(s, w.call), nil
}

func (o *Options) tracer() trace.Tracer {
	p := o.TracerProvider
	if p == nil {
		p = otel.GetTracerProvider()
	}
	return p.Tracer(name, trace.WithSchemaURL(semconv.SchemaURL))
}

func (o *Options) meter() metric.Meter {
	p := o.MeterProvider
	if p == nil {
		p = otel.GetMeterProvider()
	}
	return p.Meter(name, metric.WithSchemaURL(semconv.SchemaURL))
}

// A watch measures the calls of one store.
type watch struct {
	tracer   trace.Tracer
	duration metric.Float64Histogram
	common   []attribute.KeyValue
	fine     map[string]attributes // of calls without an error, by method; read only
}

// attributes are those of a call, for its span and for its duration.
type attributes struct {
	span   trace.SpanStartOption
	record []metric.RecordOption
}

func (w *watch) attributes(method, failure string) attributes {
	all := append(w.common[:len(w.common):len(w.common)], semconv.DBOperationName(method))
	if failure != "" {
		all = append(all, semconv.ErrorTypeKey.String(failure))
	}
	return attributes{trace.WithAttributes(all...), []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(all...))}}
}

func (w *watch) call(ctx context.Context, method string) (context.Context, func(error)) {
	of, known := w.fine[method]
	if !known {
		of = w.attributes(method, "")
	}
	began := time.Now()
	ctx, span := w.tracer.Start(ctx, method, trace.WithSpanKind(trace.SpanKindClient), of.span)
	return ctx, func(err error) {
		record := of.record
		if failure := failureOf(err); failure != "" {
			span.SetStatus(codes.Error, failure) // not its text, which a store may have put a key or a value into
			span.SetAttributes(semconv.ErrorTypeKey.String(failure))
			record = w.attributes(method, failure).record
		}
		w.duration.Record(ctx, time.Since(began).Seconds(), record...)
		span.End()
	}
}

// failureOf is the error.type of err, "" if it is none.
func failureOf(err error) string {
	if err == nil || errors.Is(err, core.ErrNotFound) || errors.Is(err, core.ErrConflict) || errors.Is(err, errors.ErrUnsupported) {
		return ""
	}
	for _, class := range []struct {
		err  error
		name string
	}{
		{core.ErrOutcomeUnknown, "outcome_unknown"}, {core.ErrTimeout, "timeout"}, {core.ErrUnavailable, "unavailable"},
		{core.ErrRefused, "refused"}, {core.ErrTooLarge, "too_large"}, {core.ErrCorrupt, "corrupt"},
		{core.ErrGone, "gone"}, {context.Canceled, "canceled"}, {context.DeadlineExceeded, "timeout"},
	} {
		if errors.Is(err, class.err) {
			return class.name
		}
	}
	return "_OTHER"
}

// The attributes of events. The conventions have none: their session.* are for
// visits of a browser or an app, and the id of a session must not be there.
const (
	eventKey       = attribute.Key("gensession.event")
	whyKey         = attribute.Key("gensession.why")
	fingerprintKey = attribute.Key("gensession.fingerprint")
	formerKey      = attribute.Key("gensession.former_fingerprint")
)

// Events returns a function for [core.Hooks].Event. It counts the events in
// gensession.events, by gensession.event (the kind) and gensession.why, and adds
// each to the span of the request, if there is one, with the fingerprint of the
// session's id.
func Events(o *Options) (func(ctx context.Context, e core.Event), error) {
	if o == nil {
		o = new(Options)
	}
	count, err := o.meter().Int64Counter("gensession.events", metric.WithUnit("{event}"),
		metric.WithDescription("Number of events of sessions and of their store."))
	if err != nil {
		return nil, fmt.Errorf("sessionotel: %w", err)
	}
	return func(ctx context.Context, e core.Event) {
		all := []attribute.KeyValue{eventKey.String(string(e.Kind))}
		if e.Why != "" {
			all = append(all, whyKey.String(e.Why))
		}
		if failure := failureOf(e.Err); failure != "" {
			all = append(all, semconv.ErrorTypeKey.String(failure))
		}
		count.Add(ctx, 1, metric.WithAttributeSet(attribute.NewSet(all...)))
		span := trace.SpanFromContext(ctx)
		if !span.IsRecording() {
			return
		}
		if e.ID != "" {
			all = append(all, fingerprintKey.String(e.ID))
		}
		if e.Former != "" {
			all = append(all, formerKey.String(e.Former))
		}
		span.AddEvent("session "+string(e.Kind), trace.WithAttributes(all...))
	}, nil
}
