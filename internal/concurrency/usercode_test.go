package concurrency_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/soak"
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
			open := func(t *testing.T) usercode.Open {
				return func(o *core.Options) (*core.Manager, *storetest.Faulty) {
					faulty := storetest.NewFaulty(store)
					m, err := core.New(faulty, o)
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { m.Close() })
					return m, faulty
				}
			}
			const renew = 1100 * time.Millisecond
			played := 0
			for some := range shares(len(stores)-1, soak.Longer(40*kind.share+1, 9)) { // odd, so that a share has all moments
				var due []usercode.Row // played together, for time has to pass
				for row := range usercode.Rows() {
					if !some.next() {
						continue
					}
					if played++; row.Moment == usercode.Due {
						due = append(due, row)
						continue
					}
					t.Run(row.String(), func(t *testing.T) {
						for left, reached := 1, true; reached && left < 30; left++ {
							for _, commits := range []bool{false, true} {
								w := usercode.NewWorld(t, row, renew, from, open(t))
								if reached = w.Play(left, commits); t.Failed() {
									t.Fatalf("call %d, committed %t", left, commits)
								}
							}
						}
					})
				}
				for left := 1; len(due) > 0 && left < 30; left++ {
					t.Run(fmt.Sprintf("%d rows where a renewal is due, call %d", len(due), left), func(t *testing.T) {
						worlds := make([][2]*usercode.World, len(due))
						for i, row := range due {
							for commits := range 2 {
								worlds[i][commits] = usercode.NewWorld(t, row, renew, from, open(t))
							}
						}
						var next []usercode.Row
						for i, row := range due {
							reached := false
							for commits, w := range worlds[i] {
								if reached = w.Play(left, commits == 1); t.Failed() {
									t.Fatalf("%v, call %d, committed %t", row, left, commits == 1)
								}
							}
							if reached {
								next = append(next, row)
							}
						}
						due = next
					})
					if t.Failed() {
						return
					}
				}
			}
			if played == 0 {
				t.Error("no row was played")
			}
		})
	}
}
