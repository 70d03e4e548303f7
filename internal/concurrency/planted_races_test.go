package concurrency_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/gensession/gensession/core"
)

// A carelessStore breaks one of the promises that versions are made of.
type carelessStore struct {
	memory
	blind  bool // writes whatever version is there
	revive bool // writes what is not there any more
	keep   bool // a removal now and then does nothing
	stale  bool // a read now and then has what was there before
	calls  atomic.Int64
	last   atomic.Pointer[answer]
}

// An answer is one to a read.
type answer struct {
	key  string
	data []byte
	v    core.Version
}

func (s *carelessStore) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	if s.keep && bytes.HasPrefix(data, []byte("null")) && s.calls.Add(1)%2 == 1 {
		return v + 1<<40, nil // the tombstone of a removal, or of a Renew
	}
	now, err := s.memory.SetVersion(ctx, key, data, ttl, v)
	if s.blind && errors.Is(err, core.ErrConflict) && v != 0 {
		if _, is, getErr := s.memory.GetVersion(ctx, key); getErr == nil {
			return s.memory.SetVersion(ctx, key, data, ttl, is)
		}
	}
	if s.revive && errors.Is(err, core.ErrNotFound) {
		return s.memory.SetVersion(ctx, key, data, ttl, 0)
	}
	return now, err
}

func (s *carelessStore) Destroy(ctx context.Context, key string) error {
	if s.keep {
		return nil
	}
	return s.memory.Destroy(ctx, key)
}

func (s *carelessStore) GetVersion(ctx context.Context, key string) ([]byte, core.Version, error) {
	if was := s.last.Load(); s.stale && was != nil && was.key == key && s.calls.Add(1)%2 == 0 {
		return was.data, was.v, nil
	}
	data, v, err := s.memory.GetVersion(ctx, key)
	if err == nil {
		s.last.Store(&answer{key, data, v})
	}
	return data, v, err
}

// A deaf test only notes that something is wrong.
type deaf struct {
	testing.TB
	wrong atomic.Bool
}

func (d *deaf) Error(...any)          { d.wrong.Store(true) }
func (d *deaf) Errorf(string, ...any) { d.wrong.Store(true) }

// What plays all orders and what checks histories find a store whose versions
// are worth nothing, whichever way, and nothing in one without a fault.
func TestPlantedRaces(t *testing.T) {
	for name, plant := range map[string]func(*carelessStore){
		"none":                    func(*carelessStore) {},
		"a version not compared":  func(s *carelessStore) { s.blind = true },
		"a write that revives":    func(s *carelessStore) { s.revive = true },
		"a removal that is none":  func(s *carelessStore) { s.keep = true },
		"a read of what has been": func(s *carelessStore) { s.stale = true },
	} {
		want := name != "none"
		t.Run("orders, "+name, func(t *testing.T) {
			store := &carelessStore{memory: newMemory(t)}
			d := &deaf{TB: t}
			s := newStage(t, store, core.Options{})
			s.t = d
			for _, other := range []program{one(update), one(destroy), one(renew)} {
				pair := [2]program{one(update), other}
				all := allowed(rules{}, pair)
				plant(store)
				s.orders(pair, func(o outcome, _ []choice) {
					if !all[o.String()] {
						d.Error()
					}
				})
			}
			if d.wrong.Load() != want {
				t.Errorf("something is wrong: %v, want %v", d.wrong.Load(), want)
			}
		})
		t.Run("histories, "+name, func(t *testing.T) {
			for seed := range uint64(60) {
				store := &carelessStore{memory: newMemory(t)}
				plant(store)
				switch r := record(t, slow{store}, histPlan{clients: 5, requests: 60}, seed); r.linear() {
				case porcupine.Illegal:
					if !want {
						t.Fatal("not linearizable")
					}
					return
				case porcupine.Unknown:
					t.Log("too hard")
				}
				if !want && seed == 5 {
					return
				}
			}
			t.Error("not found")
		})
	}
}

// Each third of the cells finds them, as they are played on servers.
func TestPlantedRacesInAShare(t *testing.T) {
	for name, plant := range map[string]func(*carelessStore){
		"a version not compared":  func(s *carelessStore) { s.blind = true },
		"a write that revives":    func(s *carelessStore) { s.revive = true },
		"a removal that is none":  func(s *carelessStore) { s.keep = true },
		"a read of what has been": func(s *carelessStore) { s.stale = true },
	} {
		t.Run(name, func(t *testing.T) {
			cells := tables[0].cells(t)
			for turn := range 3 {
				store := &carelessStore{memory: newMemory(t)}
				d := &deaf{TB: t}
				s := newStage(t, store, core.Options{})
				s.t, s.most = d, stores[2].most()
				plant(store)
				some := &share{of: 3, turn: turn}
				for i, first := range programs {
					for _, second := range programs[i:] {
						if !some.next() || d.wrong.Load() {
							continue
						}
						want := cells[first.name+" | "+second.name]
						s.orders([2]program{first, second}, func(o outcome, _ []choice) {
							if !slices.Contains(want, o.String()) {
								d.Error()
							}
						})
					}
				}
				if !d.wrong.Load() {
					t.Errorf("not found in the cells of turn %d", turn)
				}
			}
		})
	}
}

// slow lets other requests in between the calls.
type slow struct{ *carelessStore }

func (s slow) GetVersion(ctx context.Context, key string) ([]byte, core.Version, error) {
	data, v, err := s.carelessStore.GetVersion(ctx, key)
	time.Sleep(50 * time.Microsecond)
	return data, v, err
}
