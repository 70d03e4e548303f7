package memorystore_test

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
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

			keys := someKeys(n)
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
	runtime.GC() // what was in a pool, or had a cleanup, goes at the second time
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Half of the sessions expire at once, and are swept out while another caller
// goes on reading. What a Get then takes is compared with one beside a goroutine
// that keeps a processor as busy but leaves the store alone, before and after
// the pass: how far apart these two are is what the machine does by itself.
//
// The longest Get of some hundred thousand says little of the sweeper: a virtual
// machine takes a processor away for many milliseconds, and a thread that has
// slept for a lock, however short, may wait for the kernel's next tick. So the
// sweeper and a reader take turns on one processor, too, and µs-sweep-turn is the
// longest turn in that one of the rounds where it was shortest: what the machine
// does comes at random, and what the sweeper does in each round.
func BenchmarkSweep(b *testing.B) {
	for _, n := range counts[2:] {
		b.Run(fmt.Sprintf("sessions=%d", n), func(b *testing.B) {
			var passes time.Duration
			turn := time.Hour
			all := map[string][]float64{} // of each round
			for b.Loop() {
				b.StopTimer()
				s := open(b, nil)
				grow(b, s, 0, n/2, 0)
				grow(b, s, n/2, n, time.Nanosecond)
				runtime.GC()
				before := beside(b, s, n/2)
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
				during := read(b, s, n/2, swept)
				passes += time.Since(begun)
				b.StopTimer()
				if s.Len() != n/2 {
					b.Fatal("not swept")
				}
				after := beside(b, s, n/2)

				grow(b, s, n/2, n, time.Nanosecond)
				turn = min(turn, longestTurn(b, s, n/2))
				if s.Len() != n/2 {
					b.Fatal("not swept by turns")
				}
				x, y := before.at(0.999), after.at(0.999)
				for name, v := range map[string]float64{
					"µs-sweep-p99.9": during.at(0.999), "µs-beside-p99.9": (x + y) / 2, "µs-apart-p99.9": max(x, y) - min(x, y),
					"µs-sweep-max": during.at(1), "µs-beside-max": max(before.at(1), after.at(1)),
				} {
					all[name] = append(all[name], v)
				}
				b.StartTimer()
			}
			b.ReportMetric(passes.Seconds()*1000/float64(b.N), "ms/pass")
			b.ReportMetric(float64(turn.Nanoseconds())/1000, "µs-sweep-turn")
			for name, v := range all {
				slices.Sort(v)
				b.ReportMetric(v[len(v)/2], name)
			}
		})
	}
}

// beside reads while a goroutine spins.
func beside(b *testing.B, s *memorystore.Store, n int) waits {
	done := make(chan struct{})
	time.AfterFunc(100*time.Millisecond, func() { close(done) })
	go spin(done)
	return read(b, s, n, done)
}

// longestTurn lets a pass and a reader take turns on one processor: the sweeper
// goes on until it lets others have its lock. It returns how long a Get had to
// wait at most.
func longestTurn(b *testing.B, s *memorystore.Store, n int) (longest time.Duration) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	keys := someKeys(n)
	swept := make(chan struct{})
	go func() {
		s.Pass()
		close(swept)
	}()
	for i := 0; ; i++ {
		begun := time.Now()
		runtime.Gosched()
		if _, err := s.Get(context.Background(), keys[i%len(keys)]); err != nil {
			b.Fatal(err)
		}
		longest = max(longest, time.Since(begun))
		select {
		case <-swept:
			return longest
		default:
		}
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
func read(b *testing.B, s *memorystore.Store, n int, done <-chan struct{}) (w waits) {
	keys := someKeys(n)
	for i := 0; ; i++ {
		select {
		case <-done:
			return w
		default:
		}
		begun := time.Now()
		if _, err := s.Get(context.Background(), keys[i%len(keys)]); err != nil {
			b.Fatal(err)
		}
		w = append(w, time.Since(begun))
	}
}

// someKeys are of the first n sessions, from all over the store.
func someKeys(n int) []string {
	keys := make([]string, 1<<14)
	for i := range keys {
		keys[i] = key(i * 7919 % n)
	}
	return keys
}

// at returns the quantile in microseconds.
func (w waits) at(q float64) float64 {
	slices.Sort(w)
	return float64(w[int(q*float64(len(w)-1))].Nanoseconds()) / 1000
}
