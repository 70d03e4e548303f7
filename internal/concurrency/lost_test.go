package concurrency_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/soak"
)

// Every order again, and in each of them one call of the store goes wrong:
// it is refused, it gets lost on its way there, or its answer gets lost. The
// machine says the same as before, with one of its steps failing.
func TestOrdersWithAFault(t *testing.T) {
	kinds := []struct {
		name          string
		before, after error
	}{
		{"refused", core.ErrRefused, nil},
		{"lost", core.ErrOutcomeUnknown, nil},
		{"answer lost", nil, core.ErrOutcomeUnknown},
	}
	type cell struct {
		first, second program
		kind          string
		before, after error
	}
	var quick, others []cell
	for i, first := range loading(programs) {
		for j, second := range loading(programs) {
			for k, kind := range kinds {
				c := cell{first, second, kind.name, kind.before, kind.after}
				// Always the same are quick: where a fault leaves a hold, others wait for long.
				if long := slices.Contains(first.acts, renew) && slices.Contains(second.acts, renew); !long && (i*7+j*5+k)%11 == 0 {
					quick = append(quick, c)
				} else {
					others = append(others, c)
				}
			}
		}
	}
	rand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	cells := append(quick, others...)
	runs, played := 0, 0
	for n := range soak.Rounds(1, len(quick), len(cells)) {
		c := cells[n]
		played++
		bubble(t, c.first.name+", "+c.kind+" | "+c.second.name, func(t *testing.T) {
			s := newStage(t, newMemory(t), core.Options{OpTimeout: time.Second})
			if n >= len(quick) {
				s.most = 100
			}
			p := s.players[0]
			pair := [2]program{c.first, c.second}
			var faults []specFault
			for call := range 6 {
				faults = append(faults, specFault{0, call, false, false}, specFault{0, call, false, true}, specFault{0, call, true, false})
			}
			want := allowed(rules{oneStep: true, removes: true}, pair, faults...)
			var wrong []string
			for at, hit := 1, true; hit; at++ {
				hit = false
				p.fault = func(call int) (before, after error) {
					if call != at {
						return nil, nil
					}
					hit = true
					return c.before, c.after
				}
				runs += s.orders(pair, func(o outcome, path []choice) {
					maps.DeleteFunc(o.live, func(id string, _ values) bool { // nobody knows these
						return id != old && !slices.Contains(o.final[:], id)
					})
					if text := o.String(); !want[text] {
						wrong = append(wrong, fmt.Sprintf("call %d %s, in the order %s:\n\t%s", at, c.kind, orderOf(path), text))
					}
				})
			}
			if wrong == nil {
				return
			}
			t.Errorf("%s\nmust not come out, but\n\t%s", strings.Join(wrong, "\n"), strings.Join(slices.Sorted(maps.Keys(want)), "\n\t"))
		})
	}
	t.Logf("%d orders of %d cells of %d", runs, played, len(cells))
}

// What a Renew in two steps leaves behind whose first write got no answer: the old
// session as it was.
func TestRenewWithoutAnAnswer(t *testing.T) {
	s := newStage(t, twoSteps(newMemory(t)), core.Options{})
	s.players[0].fault = func(call int) (before, after error) {
		if call == 2 {
			return nil, core.ErrOutcomeUnknown
		}
		return nil, nil
	}
	o, _ := s.run([2]program{{"renew", []act{renew}}, {"read", nil}}, nil)
	if o.told[0] != "error" || o.live[old] == nil || o.cookies[0] != (cookies{}) {
		t.Errorf("%v", o)
	}
}

// bubble runs a subtest in whose time nothing really waits.
func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}
