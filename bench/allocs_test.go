//go:build !race

package bench

import (
	"testing"

	"github.com/gensession/gensession/bench/internal/drive"
	"github.com/gensession/gensession/bench/internal/ours"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// Allocations are guarded, times are not: machines are noisy, and these counts
// are not. The race detector allocates too, so it has to be off.
func TestAllocs(t *testing.T) {
	limits := map[string]map[string]float64{ // the request itself included
		"nethttp":  {drive.Untouched: 5, drive.Read: 11, drive.Write: 30},
		"fasthttp": {drive.Untouched: 3, drive.Read: 9, drive.Write: 26},
		"fiber":    {drive.Untouched: 3, drive.Read: 9, drive.Write: 26},
	}
	runs := ours.Runs(drive.Values())
	for _, a := range ours.Adapters() {
		for op, limit := range limits[a.Name] {
			t.Run(a.Name+"/"+op, func(t *testing.T) {
				store := memorystore.New(nil)
				defer store.Close()
				m, err := ours.Manager(store, op == drive.Untouched)
				if err != nil {
					t.Fatal(err)
				}
				defer m.Close()
				cookie, _ := a.Client(m, runs[drive.Fill])("")
				if cookie == "" {
					t.Fatal("no cookie")
				}
				request := a.Client(m, runs[op])
				got := testing.AllocsPerRun(1000, func() { cookie, _ = request(cookie) })
				if got > limit {
					t.Errorf("%v allocations a request, at most %v are allowed", got, limit)
				}
				if _, body := request(cookie); string(body) != map[string]string{drive.Untouched: "0", drive.Read: "1", drive.Write: "1003"}[op] {
					t.Errorf("the last answer is %q", body)
				}
			})
		}
	}
}
