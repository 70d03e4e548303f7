package core_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/soak"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// TestP15Model: requests that look, save and end one session, at processes of both
// places of a move, each of which may begin at any call of another, whose stores may
// refuse calls or lose answers, and whose processes may die. What has ended is found no
// more, what has not is found, and no change is lost.
func TestP15Model(t *testing.T) {
	t.Parallel()
	kinds := maps.Clone(storeKinds)
	kinds["keys apart"] = keysApart
	for kind, wrap := range kinds {
		for name, way := range ways {
			for _, back := range []bool{false, true}[:1+strings.Count(name, "our sessions")] {
				if back && strings.Contains(name, "without versions") {
					continue // to it there is no way back
				}
				t.Run(fmt.Sprintf("%s, %s, processes of the old place: %v", kind, name, back), func(t *testing.T) {
					t.Parallel()
					for range soak.Rounds(2*len(kinds)*len(ways), 4, 2000) {
						lateInASecond(t, func(t *testing.T) {
							seed := rand.Uint64()
							m := &movingModel{t: t, seed: seed, random: rand.New(rand.NewPCG(seed, 15)), back: back}
							m.run(way, wrap)
						})
						if t.Failed() {
							return
						}
					}
				})
			}
		}
	}
}

type movingModel struct {
	t      *testing.T
	seed   uint64
	random *rand.Rand
	back   bool // processes of the old place run, too
	stores [2]core.Store
	move   move

	depth      int  // of operations in each other
	faults     int  // that may still come
	ends       int  // how often somebody has tried to end the session, or to give it another id
	ended      bool // and has succeeded
	least      int  // visits that were saved
	most       int  // and those that may have been
	operations int
}

func (m *movingModel) run(way func(t *testing.T, old, new core.Store) move, wrap func(core.Store) core.Store) {
	first, second := memorystore.New(nil), memorystore.New(nil)
	defer first.Close()
	defer second.Close()
	m.move = way(m.t, wrap(first), wrap(second))
	m.stores = [2]core.Store{m.move.old, m.move.new}
	m.least, m.most, m.faults = 1, 1, m.random.IntN(4)
	for range 2 + m.random.IntN(4) {
		m.operation(m.process())
		if m.random.IntN(4) == 0 {
			time.Sleep(pause)
		}
	}
	m.faults, m.depth = 0, 9
	for place := range 2 {
		if place == 0 && !m.back {
			continue
		}
		p := m.processOf(place, nil)
		switch n := seen(m.t, p, m.move.cookies); {
		case m.ended && n != 0:
			m.t.Errorf("seed %d: it has ended, and has %d visits", m.seed, n)
		case m.ends > 0 && n == 0:
		case !m.ended && (n < m.least || n > m.most):
			m.t.Errorf("seed %d: %d visits, want %d to %d", m.seed, n, m.least, m.most)
		}
		p.Close()
	}
}

// process is one of either place, with calls at which others begin, and with faults.
func (m *movingModel) process() (p *core.Manager) {
	place, dead := 1, false
	if m.back {
		place = m.random.IntN(2)
	}
	return m.processOf(place, func(after bool) error {
		switch {
		case dead:
			return core.ErrUnavailable
		case m.depth < 3 && m.operations < 12 && m.random.IntN(6) == 0:
			m.operation(m.process())
		case m.faults > 0 && m.random.IntN(10) == 0:
			m.faults--
			if dead = m.random.IntN(2) == 0; after {
				return core.ErrOutcomeUnknown
			}
			return core.ErrUnavailable
		}
		return nil
	})
}

func (m *movingModel) processOf(place int, hook func(after bool) error) *core.Manager {
	wrap := func(s core.Store) core.Store {
		if hook == nil {
			return s
		}
		f := storetest.NewFaulty(s)
		f.Before(func(context.Context, storetest.Op, string) error { return hook(false) })
		f.After(func(context.Context, storetest.Op, string) error { return hook(true) })
		return f
	}
	o := m.move.options
	o.FailFast = true
	o.Migrate.From = wrap(m.stores[1-place])
	p, err := core.New(wrap(m.stores[place]), &o)
	must(m.t, err)
	return p
}

// operation is one request, or an end from elsewhere.
func (m *movingModel) operation(p *core.Manager) {
	m.depth++
	m.operations++
	ended, before := m.ended, m.operations
	defer func() { m.depth--; p.Close() }()
	saw := false
	request := func(h handler) (cookies string, err error) {
		return browse(m.t, p, m.move.cookies, func(v *core.Visit, s *core.Session) {
			saw = !s.IsNew()
			if ended && saw {
				m.t.Errorf("seed %d: a request that began after the end finds it", m.seed)
			}
			h(v, s)
		})
	}
	switch do := m.random.IntN(10); {
	case do == 0:
		m.ends++
		if p.DestroyByID(bg, m.move.id()) == nil {
			m.ended = true
		}
	case do < 3:
		m.ends++
		which, failed := []string{"Destroy", "Renew"}[do-1], error(nil)
		ends := m.ends
		cookies, err := request(func(_ *core.Visit, s *core.Session) {
			if which == "Destroy" {
				failed = s.Destroy(bg)
			} else {
				failed = s.Renew(bg)
			}
		})
		if !saw || err != nil || failed != nil {
			break
		}
		m.ended = true
		if which == "Renew" && m.ends == ends && ends == 1 {
			last := m.processOf(1, nil)
			if n := seen(m.t, last, cookies); n < m.least || n > m.most {
				m.t.Errorf("seed %d: after a Renew %d visits, want %d to %d", m.seed, n, m.least, m.most)
			}
			last.Close()
		}
	case do < 7:
		_, err := request(func(_ *core.Visit, s *core.Session) {
			if saw {
				m.most++
				_, _ = visits.Update(s, func(n int) int { return n + 1 })
			}
		})
		if saw && err == nil && m.ends == 0 {
			m.least++
		}
	default:
		_, err := request(func(*core.Visit, *core.Session) {})
		if err == nil && !saw && m.ends == 0 && m.operations < before+2 { // two moves between three of its calls it does not see
			m.t.Errorf("seed %d: a living session is not found", m.seed)
		}
	}
}
