package bench

import (
	"fmt"
	"testing"

	"github.com/gensession/gensession/bench/internal/drive"
	"github.com/gensession/gensession/bench/internal/ours"
)

// BenchmarkRequest measures requests through the real adapters, without a
// network to the browser: adapter=fiber/store=redis/op=read/callers=64.
func BenchmarkRequest(b *testing.B) {
	for _, a := range ours.Adapters() {
		b.Run("adapter="+a.Name+"/store=none/op=bare/callers=1", func(b *testing.B) {
			drive.Bench(b, a.Site(nil, nil), drive.Bare, 1)
		})
		for _, s := range stores() {
			ops := []string{drive.Visitor, drive.Untouched, drive.Read, drive.Write, drive.Login}
			for _, callers := range []int{1, 64} {
				if callers > 1 {
					ops = ops[2:] // the others never wait
				}
				for _, op := range ops {
					b.Run(fmt.Sprintf("adapter=%s/store=%s/op=%s/callers=%d", a.Name, s.name, op, callers), func(b *testing.B) {
						drive.Bench(b, a.Site(open(b, s.open), drive.Values()), op, callers)
					})
				}
			}
		}
	}
}

// BenchmarkSize measures requests that use one value of a session with many:
// op=read/values=200/size=16384.
func BenchmarkSize(b *testing.B) {
	for _, op := range []string{drive.Read, drive.Write} {
		for _, n := range drive.Sizes {
			b.Run(fmt.Sprintf("op=%s/values=%d/size=%d", op, n, drive.Size(n)), func(b *testing.B) {
				store := open(b, stores()[0].open)
				drive.Bench(b, ours.Adapters()[0].Site(store, drive.SizedValues(n)), op, 1)
			})
		}
	}
}
