package concurrency_test

import (
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/usercode"
)

// TestW38OnServers: the table of core's TestW38StoreAndResponseAgree. Whatever code of
// the application panics: the browser holds each session that the server has, and none
// that was given up.
func TestW38OnServers(t *testing.T) {
	for _, kind := range stores[1:] {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			store, from := kind.open(t), kind.open(t)
			open := func(o *core.Options) (*core.Manager, *storetest.Faulty) {
				faulty := storetest.NewFaulty(store)
				m, err := core.New(faulty, o)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { m.Close() })
				return m, faulty
			}
			// Where a renewal is due, time has to pass: those are few, and beside each other.
			ordinary, due, played := newShare(40*kind.share), newShare(240*kind.share), 0
			for row := range usercode.Rows() {
				if s := map[bool]*share{true: due, false: ordinary}[row.Moment == usercode.Due]; !s.next() {
					continue
				}
				played++
				t.Run(row.String(), func(t *testing.T) {
					if row.Moment == usercode.Due {
						t.Parallel()
					}
					for left, reached := 1, true; reached && left < 30; left++ {
						for _, commits := range []bool{false, true} {
							w := usercode.NewWorld(t, row, 1100*time.Millisecond, from, open)
							if reached = w.Play(left, commits); t.Failed() {
								t.Fatalf("call %d, committed %t", left, commits)
							}
						}
					}
				})
			}
			if played == 0 {
				t.Error("no row was played")
			}
		})
	}
}
