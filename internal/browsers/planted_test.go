package browsers_test

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
)

// The schedules find faults that are planted: in the server's own handlers, which
// use the API wrongly, or in what stands under tombstones in the store.
func TestPlanted(t *testing.T) {
	for name, c := range map[string]struct {
		faults  faults
		letters string // of the messages that are expected, one of them
	}{
		// Without a tombstone a late request begins a session in the first cookie.
		"a late answer replaces the login's cookie": {faults{store: edited(func(core.Write) (core.Write, bool) { return core.Write{}, true })}, "a"},
		// A tombstone that names nobody lets the successor of a late logout live.
		"a logout is undone by a Renew": {faults{store: edited(func(w core.Write) (core.Write, bool) {
			w.Data = w.Data[:bytes.IndexByte(w.Data, '\n')]
			return w, false
		})}, "d"},
		"a login that gives up where others write":                  {faults{renews: true}, "c"},
		"a long request decides at its end that it is not late":     {faults{looksLate: true}, "a"},
		"a login that keeps the old id":                             {faults{keepsID: true}, "g"},
		"an id that was given up lives on":                          {faults{store: keeping}, "ehg"},
		"a tombstone that passes before requests that it is for do": {faults{store: edited(func(w core.Write) (core.Write, bool) { w.TTL = time.Second; return w, false })}, "ad"},
	} {
		t.Run(name, func(t *testing.T) {
			const most = 1500
			for seed := range uint64(most) {
				problems, _ := schedule(t, "memory", seed, c.faults)
				if slices.ContainsFunc(problems, func(p string) bool { return bytes.IndexByte([]byte(c.letters), p[0]) >= 0 && p[1] == ':' }) {
					t.Logf("seed %d: %s", seed, problems[0])
					return
				}
			}
			t.Errorf("not found in %d schedules", most)
		})
	}
}

// A batcher changes the batches of a store.
type batcher struct {
	core.Store
	core.Batcher
	core.Toucher
	batch func(b core.Batcher, ctx context.Context, writes []core.Write) ([]core.Version, error)
}

func (b batcher) Batch(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
	return b.batch(b.Batcher, ctx, writes)
}

func newBatcher(s core.Store, batch func(b core.Batcher, ctx context.Context, writes []core.Write) ([]core.Version, error)) core.Store {
	inner, _ := core.As[core.Batcher](s)
	toucher, _ := core.As[core.Toucher](s)
	return batcher{s, inner, toucher, batch}
}

// edited wraps a store so that f changes each tombstone, or has it removed.
func edited(f func(w core.Write) (_ core.Write, remove bool)) func(core.Store) core.Store {
	return func(s core.Store) core.Store {
		return newBatcher(s, func(b core.Batcher, ctx context.Context, writes []core.Write) ([]core.Version, error) {
			writes = slices.Clone(writes)
			for i, w := range writes {
				if !w.Note {
					continue
				}
				changed, remove := f(w)
				if remove {
					changed = core.Write{Key: w.Key, Version: w.Version}
				}
				writes[i] = changed
			}
			return b.Batch(ctx, writes...)
		})
	}
}

// keeping wraps a store so that it writes no tombstones, and the old session stays.
func keeping(s core.Store) core.Store {
	return newBatcher(s, func(b core.Batcher, ctx context.Context, writes []core.Write) ([]core.Version, error) {
		kept := slices.DeleteFunc(slices.Clone(writes), func(w core.Write) bool { return w.Note })
		versions, err := b.Batch(ctx, kept...)
		for len(versions) < len(writes) && err == nil {
			versions = append(versions, 1)
		}
		return versions, err
	})
}
