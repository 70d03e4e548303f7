//go:build !race

package bench

import (
	"testing"

	"github.com/gensession/gensession/bench/internal/drive"
	"github.com/gensession/gensession/bench/internal/ours"
	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// Allocations are guarded, times are not: machines are noisy, and these counts
// are not. The race detector allocates too, so it has to be off.
func TestAllocs(t *testing.T) {
	// The request itself is included. A login answers with another cookie each
	// time, which costs the driver one on net/http and three on fasthttp.
	limits := map[string]map[string]float64{
		"nethttp":  {drive.Untouched: 3, drive.Read: 4, drive.Write: 11, drive.Login: 20},
		"fasthttp": {drive.Untouched: 1, drive.Read: 1, drive.Write: 5, drive.Login: 14},
		"fiber":    {drive.Untouched: 1, drive.Read: 1, drive.Write: 5, drive.Login: 14},
	}
	for _, a := range ours.Adapters() {
		for op, limit := range limits[a.Name] {
			t.Run(a.Name+"/"+op, func(t *testing.T) { checkAllocs(t, a, drive.Values(), op, limit) })
		}
		// Reading one of two hundred values is no more work for the allocator
		// than reading one of six: the others are not decoded.
		t.Run(a.Name+"/read one of 200", func(t *testing.T) {
			checkAllocs(t, a, drive.SizedValues(200), drive.Read, limits[a.Name][drive.Read])
		})
	}
}

// Who watches costs what he asks for, and a Logger that drops what is ordinary nothing.
func TestAllocsWatched(t *testing.T) {
	a := ours.Adapters()[1]
	for by, limit := range map[string]float64{"nobody": 1, "Logger at Info": 1, "Hooks.Event": 3, "core.Observe": 2} {
		t.Run(by, func(t *testing.T) {
			memory := memorystore.New(nil)
			defer memory.Close()
			o := core.Options{Keys: ours.Keys()}
			store, counted := watchers(t)[by](memory, &o)
			m, err := core.New(store, &o)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			runs := ours.Runs(drive.Values())
			cookie, _ := a.Client(m, runs[drive.Fill])("")
			request := a.Client(m, runs[drive.Read])
			if got := testing.AllocsPerRun(1000, func() { cookie, _ = request(cookie) }); got > limit {
				t.Errorf("%v allocations for a read, at most %v are allowed", got, limit)
			}
			if counted != nil && counted() < 1000 {
				t.Errorf("only %d seen", counted())
			}
		})
	}
}

// checkAllocs holds an operation on a session with these values to a number of
// allocations.
func checkAllocs(t *testing.T, a ours.Adapter, values map[string]any, op string, limit float64) {
	runs := ours.Runs(values)
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
	if _, body := request(cookie); string(body) != map[string]string{drive.Untouched: "0", drive.Read: "1", drive.Write: "1003", drive.Login: "1"}[op] {
		t.Errorf("the last answer is %q", body)
	}
}
