package memorystore_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
)

// What the core calls in a request, among few sessions and among many. The
// keys are those of BenchmarkSessions.
func BenchmarkCore(b *testing.B) {
	for _, n := range []int{1e3, 1e6} {
		s := open(b, nil)
		grow(b, s, 0, n, time.Hour)
		keys := make([]string, 1<<14)
		versions := make([]core.Version, min(n, len(keys))) // after which the keys repeat
		for i := range keys {
			keys[i] = key(i * 7919 % n)
		}
		data := make([]byte, 256)
		var err error

		for _, op := range []struct {
			name string
			call func(i int) error
		}{
			{"view", func(i int) error {
				_, versions[i%len(versions)], err = s.View(b.Context(), keys[i])
				return err
			}},
			{"touch", func(i int) error {
				return s.Touch(b.Context(), keys[i], time.Hour)
			}},
			{"swap", func(i int) error {
				v := &versions[i%len(versions)]
				*v, err = s.SetVersion(b.Context(), keys[i], data, time.Hour, *v)
				return err
			}},
		} {
			b.Run(fmt.Sprintf("op=%s/sessions=%d", op.name, n), func(b *testing.B) {
				b.ReportAllocs()
				for i := range keys {
					if _, versions[i%len(versions)], err = s.View(b.Context(), keys[i]); err != nil {
						b.Fatal(err)
					}
				}
				i := 0
				for b.Loop() {
					if err := op.call(i % len(keys)); err != nil {
						b.Fatal(err)
					}
					i++
				}
			})
		}
	}
}
