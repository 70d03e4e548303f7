package memorystore_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

func BenchmarkStore(b *testing.B) {
	storetest.Bench(b, func(b *testing.B) core.Store { return open(b, nil) })
}

var counts = []int{1e3, 1e4, 1e5, 1e6}

func key(i int) string { return fmt.Sprintf("koa:sess:%043d", i) }

// grow stores sessions first to last, each of a few hundred bytes.
func grow(b *testing.B, s *memorystore.Store, first, last int, ttl time.Duration) (bytes int) {
	b.Helper()
	for i := first; i < last; i++ {
		key, data := key(i), make([]byte, 256)
		bytes += len(key) + len(data)
		if err := s.Set(b.Context(), key, data, ttl); err != nil {
			b.Fatal(err)
		}
	}
	return bytes
}

// What a Get costs must not depend on the number of sessions, but for the
// processor's caches. B/session is what each takes beside key and payload.
func BenchmarkSessions(b *testing.B) {
	for _, n := range counts {
		b.Run(fmt.Sprintf("op=get/sessions=%d", n), func(b *testing.B) {
			before := heap()
			s := open(b, nil)
			used := grow(b, s, 0, n, time.Hour)
			extra := float64(heap()-before-uint64(used)) / float64(n)

			keys := make([]string, 1<<14)
			for i := range keys {
				keys[i] = key(i * 7919 % n)
			}
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				data, err := s.Get(b.Context(), keys[i%len(keys)])
				if err != nil || len(data) != 256 {
					b.Fatal(err)
				}
				i++
			}
			b.ReportMetric(extra, "B/session")
			begun := time.Now()
			runtime.GC()
			b.ReportMetric(float64(time.Since(begun).Microseconds())/1000, "ms/GC")
		})
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Half of the sessions expire at once, and are swept out while another caller
// goes on reading: what one Get had to wait then, against one beside a
// goroutine that keeps a processor as busy but leaves the store alone.
func BenchmarkSweep(b *testing.B) {
	for _, n := range counts[2:] {
		b.Run(fmt.Sprintf("sessions=%d", n), func(b *testing.B) {
			var beside, during waits
			var passes time.Duration
			rounds := 0
			for b.Loop() {
				b.StopTimer()
				s := open(b, nil)
				grow(b, s, 0, n/2, 0)
				grow(b, s, n/2, n, time.Nanosecond)
				runtime.GC()
				done := make(chan struct{})
				time.AfterFunc(200*time.Millisecond, func() { close(done) })
				go spin(done)
				beside.read(b, s, n/2, done)
				if s.Len() != n {
					b.Fatal("swept before its time")
				}

				b.StartTimer()
				swept := make(chan struct{})
				begun := time.Now()
				go func() {
					s.Pass()
					close(swept)
				}()
				during.read(b, s, n/2, swept)
				passes += time.Since(begun)
				rounds++
				if s.Len() != n/2 {
					b.Fatal("not swept")
				}
			}
			b.ReportMetric(float64(passes.Milliseconds())/float64(rounds), "ms/pass")
			b.ReportMetric(beside.at(0.999), "µs-beside-p99.9")
			b.ReportMetric(during.at(0.999), "µs-sweep-p99.9")
			b.ReportMetric(beside.at(0.9999), "µs-beside-p99.99")
			b.ReportMetric(during.at(0.9999), "µs-sweep-p99.99")
			b.ReportMetric(beside.at(1), "µs-beside-max")
			b.ReportMetric(during.at(1), "µs-sweep-max")
		})
	}
}

func spin(done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		default:
			runtime.Gosched()
		}
	}
}

// waits are how long calls took.
type waits []time.Duration

// read reads the first n sessions again and again until done.
func (w *waits) read(b *testing.B, s *memorystore.Store, n int, done <-chan struct{}) {
	keys := make([]string, 1<<14)
	for i := range keys {
		keys[i] = key(i * 7919 % n)
	}
	for i := 0; ; i++ {
		select {
		case <-done:
			return
		default:
		}
		begun := time.Now()
		if _, err := s.Get(context.Background(), keys[i%len(keys)]); err != nil {
			b.Fatal(err)
		}
		*w = append(*w, time.Since(begun))
	}
}

// at returns the quantile in microseconds.
func (w waits) at(q float64) float64 {
	slices.Sort(w)
	return float64(w[int(q*float64(len(w)-1))].Nanoseconds()) / 1000
}
