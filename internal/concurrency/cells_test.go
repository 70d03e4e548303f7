package concurrency_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/soak"
)

var rewrite = flag.Bool("rewrite", false, "write testdata/cells.txt anew from the machine of spec_test.go")

// programs are the rows and the columns of the table.
var programs = []program{
	{"read", nil},
	{"set same", []act{setSame}},
	{"set other", []act{setOther}},
	{"update", []act{update}},
	{"delete", []act{deleteX}},
	{"replace all", []act{replaceAll}},
	{"save in mid-request", []act{update, save, update, setOther}},
	{"touch", []act{touch}},
	{"expire", []act{expire}},
	{"revoke", []act{revoke}},
	{"destroy", []act{destroy}},
	{"regenerate", []act{regenerate}},
	{"regenerate, set", []act{regenerate, setOther}},
	{"renew", []act{renew}},
	{"set, renew", []act{setOther, renew}},
	{"login", []act{login}},
	{"set, login", []act{setOther, login}},
	{"login, save", []act{login, setOther, save}},
	{"set cookie", []act{setCookie}},
	{"replace unread", []act{replaceThen}},
	{"destroy unread", []act{destroyThen}},
}

func parse(t interface{ Fatalf(string, ...any) }, data []byte) values {
	v := values{}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("a session of other values: %v", err)
	}
	return v
}

// A table is a file of testdata: the possible outcomes of each cell under some
// rules.
type table struct {
	file     string
	rules    rules
	programs []program
	options  func() *core.Options
	store    func(core.Store) core.Store
}

var tables = []table{
	{"cells", rules{}, programs, func() *core.Options { return &core.Options{} }, nil},
	{"cells", rules{}, programs, func() *core.Options { return &core.Options{} }, twoSteps},
	{"koa", rules{koa: true}, programs, core.KoaCompat, nil},
	{"plain", rules{plain: true}, loading(programs), func() *core.Options { return &core.Options{} }, func(s core.Store) core.Store {
		return struct{ core.Store }{s}
	}},
}

// twoSteps hides that a store can change several keys in one step.
func twoSteps(s core.Store) core.Store {
	swapper, _ := core.As[core.Swapper](s)
	toucher, _ := core.As[core.Toucher](s)
	return struct {
		core.Store
		core.Swapper
		core.Toucher
	}{s, swapper, toucher}
}

// loading are the programs that load the session.
func loading(all []program) []program {
	return slices.DeleteFunc(slices.Clone(all), program.unread)
}

func (tb table) stage(t testing.TB, store core.Store) *stage {
	if tb.store != nil {
		store = tb.store(store)
	}
	s := newStage(t, store, *tb.options())
	s.rules = tb.rules
	return s
}

// cells reads the file.
func (tb table) cells(t *testing.T) map[string][]string {
	file := "testdata/" + tb.file + ".txt"
	if *rewrite {
		var b strings.Builder
		b.WriteString(tableHead[tb.file] + tableLegend)
		for i, first := range tb.programs {
			for _, second := range tb.programs[i:] {
				fmt.Fprintf(&b, "\n%s | %s\n", first.name, second.name)
				for _, o := range slices.Sorted(maps.Keys(allowed(tb.rules, [2]program{first, second}))) {
					fmt.Fprintf(&b, "\t%s\n", o)
				}
			}
		}
		if err := os.WriteFile(file, []byte(b.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cells := map[string][]string{}
	cell := ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case line == "", strings.HasPrefix(line, "#"):
		case line[0] != '\t':
			cell = line
		default:
			cells[cell] = append(cells[cell], line[1:])
		}
	}
	return cells
}

var tableHead = map[string]string{
	"cells": `# What may come out when two requests of one session, A and B, meet.
`,
	"koa": `# The same as in cells.txt with core.KoaCompat: an unknown id is told to go at
# once, as in generic-session, and no mark says that a late request must not
# begin a session of its own.
`,
	"plain": `# The same as in cells.txt on a store that has get, set and destroy only: the
# last write wins, whatever it writes over, and brings back what was removed.
# What is not promised: that two changes both hold, that Update loses nothing,
# that a session stays dead, that two requests that renew leave one id.
`,
}

const tableLegend = `#
# The first line of a cell names what they do, each line below it is one
# outcome:
#
#	sessions that live then; what A and B were told; cookie if A's response
#	arrives last, or B's
#
# "old" is the id that both requests carry, "A" and "B" are ids that these made.
# Behind a cookie, + says that its session lives. "-" is no cookie. A sets
# x=1 a=1 and adds 1 to n, B sets x=2 b=2 and adds 10; before, x=0 and n=100.
# "unread" is deferred mode, and the session is not loaded.
`

// Every order of the store calls of two requests ends as an order of whole
// steps would: nothing is lost, nothing revived, and each is told the truth.
// The tables say what that is.
func TestOrders(t *testing.T) {
	for _, tb := range tables {
		t.Run(tb.file, func(t *testing.T) {
			cells := tb.cells(t)
			t.Run("the table is the machine's", func(t *testing.T) {
				for i, first := range tb.programs {
					for _, second := range tb.programs[i:] {
						cell := first.name + " | " + second.name
						want := slices.Sorted(maps.Keys(allowed(tb.rules, [2]program{first, second})))
						if !slices.Equal(cells[cell], want) {
							t.Errorf("%s: the table has\n\t%s\nthe machine\n\t%s", cell, strings.Join(cells[cell], "\n\t"), strings.Join(want, "\n\t"))
						}
					}
				}
			})
			for _, kind := range stores {
				if !soak.On && kind.name != "memory" && (tb.file != "cells" || tb.store != nil) {
					continue
				}
				t.Run(kind.name, func(t *testing.T) {
					t.Parallel() // stages share a server, and no ids
					s := tb.stage(t, kind.open(t))
					s.after = tb.rules == rules{} && (kind.name == "memory" || soak.On)
					s.most = kind.most()
					for some := range shares(len(tables)*len(stores), kind.share) {
						s.play(t, tb, cells, some)
					}
				})
			}
		})
	}
}

// play plays a share of a table.
func (s *stage) play(t *testing.T, tb table, cells map[string][]string, some *share) {
	runs, played := 0, 0
	for i, first := range tb.programs {
		for _, second := range tb.programs[i:] {
			if !some.next() {
				continue
			}
			played++
			cell := first.name + " | " + second.name
			t.Run(cell, func(t *testing.T) {
				runs += s.check(t, [2]program{first, second}, cells[cell], true)
			})
		}
	}
	t.Logf("SHARE=%d: %d orders of %d cells", some.turn, runs, played)
}

// The same through the adapters: every cell in memory, and on the servers a small
// share.
func TestOrdersThroughAdapters(t *testing.T) {
	tb := tables[0]
	cells := tb.cells(t)
	for _, kind := range stores {
		for name, frame := range frames {
			t.Run(name+", "+kind.name, func(t *testing.T) {
				t.Parallel()
				s := tb.stage(t, kind.open(t))
				s.frame, s.most = frame, kind.most()
				for some := range shares(len(stores)*len(frames), 7*kind.share-6) {
					s.play(t, tb, cells, some)
				}
			})
		}
	}
}

// policies are the ways to meet a conflict.
var policies = []struct {
	name   string
	policy core.ConflictPolicy
}{{"merge", core.ConflictMerge}, {"refuse", core.ConflictRefuse}, {"last write wins", core.ConflictLastWriteWins}}

// The same for two requests that do two things each, under every policy, and
// with a store that does not tell the version of a write: a share of the cells.
func TestOrdersOfTwoActs(t *testing.T) {
	var twice []program
	for a := range acts {
		for b := range acts {
			if a >= replaceThen || b >= replaceThen {
				continue // no handler has a session then
			}
			twice = append(twice, program{a.String() + ", " + b.String(), []act{a, b}})
		}
	}
	for _, policy := range policies {
		for _, tells := range []bool{true, false} {
			name := policy.name
			if !tells {
				name += ", versions untold"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				var store core.Store = newMemory(t)
				if !tells {
					store = forgetful{store, store.(core.Swapper), store.(core.Toucher)}
				}
				s := newStage(t, store, core.Options{OnConflict: policy.policy})
				s.most = soak.Longer(50, 500) // each conflict makes more of them: nobody sees the end of all
				runs, cells := 0, 0
				for some := range shares(2*len(policies), 211) {
					for i, first := range twice {
						for _, second := range twice[i:] {
							if !some.next() {
								continue
							}
							pair := [2]program{first, second}
							want := slices.Sorted(maps.Keys(allowed(rules{policy: policy.policy}, pair)))
							t.Run(first.name+" | "+second.name, func(t *testing.T) { runs += s.check(t, pair, want, false) })
							cells++
						}
					}
				}
				t.Logf("from SHARE=%d on: %d orders of %d cells", turn, runs, cells)
			})
		}
	}
}

// forgetful is a store that does not tell the version of a write, as
// memcached does not.
type forgetful struct {
	core.Store
	core.Swapper
	core.Toucher
}

func (f forgetful) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	_, err := f.Swapper.SetVersion(ctx, key, data, ttl, v)
	return 0, err
}

// unfair are the calls of an order in which two requests have met in forty tries, one
// after the other, which ends in a conflict. A store that does as it likes can order
// them so; in life each rests before a try, for a time by chance.
const unfair = 120

// check plays a cell in all orders. Every outcome must be one of those wanted,
// and with all, every wanted one must come out.
func (s *stage) check(t *testing.T, programs [2]program, want []string, all bool) (runs int) {
	s.t = t
	got := map[string]bool{}
	runs = s.orders(programs, func(o outcome, path []choice) {
		if len(path) > unfair {
			return
		}
		text := o.String()
		if !slices.Contains(want, text) && !got[text] {
			t.Errorf("in the order %s:\n\t%s\nwhich must not come out, but\n\t%s", orderOf(path), text, strings.Join(want, "\n\t"))
		}
		got[text] = true
		if s.rules == (rules{}) {
			s.invariants(t, programs, o)
		}
	})
	some := s.most > 0 && runs == 2*s.most
	for _, w := range want {
		if all && !some && !got[w] {
			t.Errorf("never came out:\n\t%s", w)
		}
	}
	return runs
}

// invariants hold in every outcome, whatever the machine says.
func (s *stage) invariants(t *testing.T, programs [2]program, o outcome) {
	holders := 0
	for _, v := range o.live {
		if v["n"] >= begin()["n"] {
			holders++
		}
	}
	if holders > 1 {
		t.Errorf("two ids lead to one session: %v", o)
	}
	for i, p := range programs {
		ends := slices.ContainsFunc(p.acts, func(a act) bool {
			return a == destroy || a == destroyThen || a == regenerate || a == renew || a == expire || a == login
		})
		if _, lives := o.live[old]; lives && ends && o.told[i] == "" {
			t.Errorf("%s succeeded, and the old id lives: %v", p.name, o)
		}
		ended := slices.ContainsFunc(programs[1-i].acts, func(a act) bool { return a == destroy || a == destroyThen || a == revoke }) // by a logout beside it
		if c := o.cookies[i][atName]; c != "" && c != "-" && c != old && o.live[c] == nil && !ended {
			t.Errorf("a cookie without a session: %v", o)
		}
	}
}

func orderOf(path []choice) string {
	var b strings.Builder
	for _, c := range path {
		if c.of == 1 {
			b.WriteString("·")
		} else {
			b.WriteByte("AB"[c.took])
		}
	}
	return b.String()
}
