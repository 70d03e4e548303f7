// Package oteltest_test tests sessionotel against the exporters in memory of
// OpenTelemetry's own SDK, which users of sessionotel need not have.
package oteltest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	api "go.opentelemetry.io/otel/trace"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	sessionotel "github.com/gensession/gensession/otel"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// A recorder has all that was recorded.
type recorder struct {
	t       *testing.T
	spans   *tracetest.InMemoryExporter
	reader  *metric.ManualReader
	tracer  api.Tracer
	options *sessionotel.Options
}

func newRecorder(t *testing.T) *recorder {
	r := &recorder{t: t, spans: tracetest.NewInMemoryExporter(), reader: metric.NewManualReader()}
	tracers := trace.NewTracerProvider(trace.WithSyncer(r.spans))
	meters := metric.NewMeterProvider(metric.WithReader(r.reader))
	t.Cleanup(func() { _, _ = tracers.Shutdown(context.Background()), meters.Shutdown(context.Background()) })
	r.tracer = tracers.Tracer("test")
	r.options = &sessionotel.Options{TracerProvider: tracers, MeterProvider: meters, ServerAddress: "db.example.com", ServerPort: 6380}
	return r
}

func (r *recorder) metrics() map[string]metricdata.Metrics {
	r.t.Helper()
	var all metricdata.ResourceMetrics
	if err := r.reader.Collect(context.Background(), &all); err != nil {
		r.t.Fatal(err)
	}
	byName := map[string]metricdata.Metrics{}
	for _, scope := range all.ScopeMetrics {
		if !strings.HasPrefix(scope.Scope.SchemaURL, "https://opentelemetry.io/schemas/1.") {
			r.t.Errorf("schema %q", scope.Scope.SchemaURL)
		}
		for _, m := range scope.Metrics {
			byName[m.Name] = m
		}
	}
	return byName
}

// counts are the numbers of calls by their attributes.
func (r *recorder) counts() map[string]uint64 {
	r.t.Helper()
	m := r.metrics()["db.client.operation.duration"]
	h, ok := m.Data.(metricdata.Histogram[float64])
	if !ok || m.Unit != "s" || m.Description == "" {
		r.t.Fatalf("db.client.operation.duration is %T in %q", m.Data, m.Unit)
	}
	counts := map[string]uint64{}
	for _, p := range h.DataPoints {
		if !slices.Equal(p.Bounds, []float64{0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10}) {
			r.t.Errorf("buckets %v", p.Bounds)
		}
		counts[p.Attributes.Encoded(attribute.DefaultEncoder())] = p.Count
	}
	return counts
}

const common = "db.operation.name=%s,db.system.name=redis,%sserver.address=db.example.com,server.port=6380"

func of(method, failure string) string {
	if failure != "" {
		failure = "error.type=" + failure + ","
	}
	return fmt.Sprintf(common, method, failure)
}

// W41: each call is a span and a value of the histogram, with the attributes of
// the conventions.
func TestW41Calls(t *testing.T) {
	r := newRecorder(t)
	faulty := storetest.NewFaulty(memorystore.New(nil))
	s, err := sessionotel.Store(faulty, "redis", r.options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, parent := r.tracer.Start(t.Context(), "request")
	if err := s.Set(ctx, "secret-key", []byte("secret-value"), time.Hour); err != nil {
		t.Fatal(err)
	}
	_, _ = s.Get(ctx, "secret-key")
	_, _ = s.Get(ctx, "missing-secret-key") // an answer, no error
	for _, class := range []error{core.ErrTimeout, core.ErrUnavailable, core.ErrRefused, core.ErrOutcomeUnknown, core.ErrCorrupt, core.ErrTooLarge, context.Canceled, context.DeadlineExceeded, fmt.Errorf("else")} {
		faulty.Before(func(context.Context, storetest.Op, string) error { return class })
		if err := s.Destroy(ctx, "secret-key"); err == nil {
			t.Error("no error")
		}
	}
	parent.End()
	counts := r.counts()
	want := map[string]uint64{
		of("Set", ""): 1, of("Get", ""): 2,
		of("Destroy", "timeout"): 2, of("Destroy", "unavailable"): 1, of("Destroy", "refused"): 1, of("Destroy", "outcome_unknown"): 1,
		of("Destroy", "corrupt"): 1, of("Destroy", "too_large"): 1, of("Destroy", "canceled"): 1, of("Destroy", "_OTHER"): 1,
	}
	for attributes, n := range want {
		if counts[attributes] != n {
			t.Errorf("%d of %s, want %d", counts[attributes], attributes, n)
		}
	}
	if len(counts) != len(want) {
		t.Errorf("counts %v", counts)
	}
	spans := r.spans.GetSpans()
	if len(spans) != 13 {
		t.Fatalf("%d spans", len(spans))
	}
	for _, span := range spans[:12] {
		failed := span.Status.Code == codes.Error
		if span.SpanKind != api.SpanKindClient || span.Parent.SpanID() != parent.SpanContext().SpanID() || failed != (span.Name == "Destroy") {
			t.Errorf("span %s: kind %v, status %v", span.Name, span.SpanKind, span.Status)
		}
		failure := ""
		set := attribute.NewSet(span.Attributes...)
		if v, ok := set.Value("error.type"); ok {
			failure = v.AsString()
		}
		if got := set.Encoded(attribute.DefaultEncoder()); got != of(span.Name, failure) || failed != (failure != "") {
			t.Errorf("span %s has %s", span.Name, got)
		}
	}
	wantNoSecret(t, fmt.Sprintf("%+v %+v", spans, r.metrics()), "secret")
}

func wantNoSecret(t *testing.T, recorded string, secrets ...string) {
	t.Helper()
	for _, secret := range secrets {
		if secret == "" || strings.Contains(recorded, secret) {
			t.Errorf("%q was recorded", secret)
		}
	}
}

// W41: the events of sessions are counted and stand in the span of the request, and
// no id, key or value is in what was recorded.
func TestW41Events(t *testing.T) {
	r := newRecorder(t)
	memory := memorystore.New(nil)
	defer memory.Close()
	store, err := sessionotel.Store(memory, "memory", r.options)
	if err != nil {
		t.Fatal(err)
	}
	events, err := sessionotel.Events(r.options)
	if err != nil {
		t.Fatal(err)
	}
	m, err := core.New(store, &core.Options{Keys: [][]byte{[]byte("a-key-of-these-tests-4f9c02b71de8")}, Hooks: core.Hooks{Event: events}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var browser jartest.Browser
	secrets := []string{"secret-value"}
	request := func(h func(ctx context.Context, s *core.Session) error) {
		t.Helper()
		jar := browser.Jar("/")
		ctx, span := r.tracer.Start(t.Context(), "request")
		defer span.End()
		v, _ := m.NewVisit(jar, nil)
		if err := v.Begin(ctx); err != nil {
			t.Fatal(err)
		}
		s, err := v.Session(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := h(ctx, s); err != nil {
			t.Fatal(err)
		}
		if err := v.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		browser.Take("/", jar.SetCookies...)
		if id, _ := browser.Value("/", "koa.sid"); id != "" {
			secrets = append(secrets, id)
		}
	}
	request(func(_ context.Context, s *core.Session) error { return s.Set("a", "secret-value") })
	first, _ := browser.Value("/", "koa.sid")
	request(func(_ context.Context, s *core.Session) error { return s.Login(core.LoginOptions{}) })
	second, _ := browser.Value("/", "koa.sid")
	request(func(ctx context.Context, s *core.Session) error { return s.Destroy(ctx) })

	counted := map[string]int64{}
	sum, ok := r.metrics()["gensession.events"].Data.(metricdata.Sum[int64])
	if !ok || !sum.IsMonotonic {
		t.Fatal("no counter gensession.events")
	}
	for _, p := range sum.DataPoints {
		counted[p.Attributes.Encoded(attribute.DefaultEncoder())] = p.Value
	}
	if want := map[string]int64{"gensession.event=created": 1, "gensession.event=loaded": 2, "gensession.event=logged in": 1, "gensession.event=logged out": 1}; fmt.Sprint(counted) != fmt.Sprint(want) {
		t.Errorf("counted %v, want %v", counted, want)
	}
	var told []string
	spans := r.spans.GetSpans()
	for _, span := range spans {
		for _, e := range span.Events {
			if span.Name != "request" {
				t.Errorf("%s stands in the span %s", e.Name, span.Name)
			}
			set := attribute.NewSet(e.Attributes...)
			id, _ := set.Value("gensession.fingerprint")
			former, _ := set.Value("gensession.former_fingerprint")
			told = append(told, strings.TrimSpace(e.Name+" "+id.AsString()+" "+former.AsString()))
		}
	}
	one, two := core.ID(first).String(), core.ID(second).String()
	if want := []string{"session created " + one, "session loaded " + one, "session logged in " + two + " " + one, "session loaded " + two, "session logged out " + two}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
	if len(secrets) < 3 {
		t.Fatal("no ids")
	}
	wantNoSecret(t, fmt.Sprintf("%+v %+v", spans, r.metrics()), append(secrets, "koa:sess:")...)
}

// W41: the suite passes through it, on the fast path, too.
func TestW41Store(t *testing.T) {
	r := newRecorder(t)
	for _, c := range storetest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory := memorystore.New(nil)
				defer memory.Close()
				s, err := sessionotel.Store(memory, "memory", r.options)
				if err != nil {
					t.Fatal(err)
				}
				c.Run(t, s)
			})
		})
	}
	if len(r.counts()) < 8 {
		t.Errorf("%d kinds of calls", len(r.counts()))
	}
	// A store may put a payload into its error, too.
	memory := memorystore.New(nil)
	defer memory.Close()
	broken := storetest.NewFaulty(memory)
	broken.Before(func(context.Context, storetest.Op, string) error {
		return fmt.Errorf("%w: a-secret-payload", core.ErrUnavailable)
	})
	s, err := sessionotel.Store(broken, "memory", r.options)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "a-secret-key"); !errors.Is(err, core.ErrUnavailable) {
		t.Error(err)
	}
	wantNoSecret(t, fmt.Sprintf("%+v %+v", r.spans.GetSpans(), r.metrics()), "storetest:", "a-secret-key", "a-secret-payload")
}

func TestMisfits(t *testing.T) {
	for _, f := range []func() error{
		func() error { _, err := sessionotel.Store(nil, "redis", nil); return err },
		func() error { _, err := sessionotel.Store(memorystore.New(nil), "", nil); return err },
	} {
		if f() == nil {
			t.Error("no error")
		}
	}
	// Without providers it uses the global ones, which do nothing until somebody sets them.
	s, err := sessionotel.Store(memorystore.New(nil), "memory", nil)
	if err != nil || s.Set(t.Context(), "k", nil, time.Hour) != nil {
		t.Error(err)
	}
	if events, err := sessionotel.Events(nil); err != nil {
		t.Error(err)
	} else {
		events(t.Context(), core.Event{Kind: core.EventStoreDown})
	}
}

// R10: whatever fails, and whatever the browser sends, no id, cookie, key or value is
// in a span or a metric.
func TestW41Canary(t *testing.T) {
	r := newRecorder(t)
	const signing, value = "a-key-of-these-tests-4f9c02b71de8", "a-value-that-nobody-may-read"
	secrets := map[string]bool{signing: true, value: true, "forged-by-somebody-0123456789": true, "signed-by-somebody-else": true}
	memory := memorystore.New(nil)
	defer memory.Close()
	faulty := storetest.NewFaulty(memory)
	store, err := sessionotel.Store(faulty, "memory", r.options)
	if err != nil {
		t.Fatal(err)
	}
	events, err := sessionotel.Events(r.options)
	if err != nil {
		t.Fatal(err)
	}
	m, err := core.New(store, &core.Options{Keys: [][]byte{[]byte(signing)}, FailFast: true, Hooks: core.Hooks{Event: events}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	failed := 0
	request := func(browser *jartest.Browser, h func(ctx context.Context, s *core.Session) error) {
		jar := browser.Jar("/")
		ctx, span := r.tracer.Start(t.Context(), "request")
		defer span.End()
		v, _ := m.NewVisit(jar, nil)
		if v.Begin(ctx) != nil {
			failed++
			v.Abandon()
			return
		}
		s, err := v.Session(ctx)
		if err != nil {
			t.Fatal(err)
		}
		_ = h(ctx, s)
		if v.Commit(ctx) != nil {
			failed++
		}
		browser.Take("/", jar.SetCookies...)
		for _, line := range jar.SetCookies {
			pair, _, _ := strings.Cut(line, ";")
			if _, value, _ := strings.Cut(pair, "="); len(value) >= 8 {
				secrets[value] = true
			}
		}
	}
	set := func(_ context.Context, s *core.Session) error { return s.Set("a", value) }
	acts := []func(ctx context.Context, s *core.Session) error{
		set,
		func(_ context.Context, s *core.Session) error { return s.Login(core.LoginOptions{}) },
		func(ctx context.Context, s *core.Session) error { return s.Renew(ctx) },
		func(_ context.Context, s *core.Session) error { _, _, err := core.Key[int]("a").Lookup(s); return err },
		func(ctx context.Context, s *core.Session) error { return s.Destroy(ctx) },
	}
	for _, failure := range []error{nil, core.ErrRefused, core.ErrCorrupt, core.ErrOutcomeUnknown, core.ErrUnavailable, errors.New("no class")} {
		for _, act := range acts {
			for _, op := range []storetest.Op{storetest.OpGetVersion, storetest.OpSetVersion, storetest.OpBatch} {
				var user, forger jartest.Browser
				faulty.Before(nil)
				request(&user, set)
				faulty.Before(func(_ context.Context, at storetest.Op, key string) error {
					secrets[key] = true
					if at == op && failure != nil { // somebody else's store may say anything
						return fmt.Errorf("%w: %s of %q", failure, value, key)
					}
					return nil
				})
				request(&user, act)
				forger.Take("/", "koa.sid=forged-by-somebody-0123456789; path=/", "koa.sid.sig=signed-by-somebody-else; path=/")
				request(&forger, set)
			}
		}
	}
	if failed < 10 || len(secrets) < 100 {
		t.Fatalf("%d failures and %d secrets are too few", failed, len(secrets))
	}
	recorded := fmt.Sprintf("%+v %+v", r.spans.GetSpans(), r.metrics())
	for secret := range secrets {
		wantNoSecret(t, recorded, secret)
	}
	// What is planted is found, in each place.
	ctx, span := r.tracer.Start(t.Context(), "request")
	events(ctx, core.Event{Kind: core.EventFailed, ID: "planted-in-an-event"})
	events(ctx, core.Event{Kind: "planted-in-a-metric"})
	span.SetAttributes(attribute.String("key", "planted-in-a-span"))
	span.End()
	spans, metrics := fmt.Sprintf("%+v", r.spans.GetSpans()), fmt.Sprintf("%+v", r.metrics())
	for where, texts := range map[string][2]string{
		"an event": {"planted-in-an-event", spans}, "a metric": {"planted-in-a-metric", metrics},
		"a span": {"planted-in-a-span", spans},
	} {
		if !strings.Contains(texts[1], texts[0]) {
			t.Errorf("what is said in %s is not looked at", where)
		}
	}
}
