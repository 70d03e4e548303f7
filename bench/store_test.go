package bench

import (
	"testing"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// BenchmarkStore measures the stores beside each other:
// store=memory/op=get/size=256/mode=serial and so on.
func BenchmarkStore(b *testing.B) {
	b.Run("store=memory", func(b *testing.B) {
		storetest.Bench(b, func(b *testing.B) core.Store {
			s := memorystore.New(nil)
			b.Cleanup(func() { s.Close() })
			return s
		})
	})
}
