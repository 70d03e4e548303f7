package databases_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"
)

// BenchmarkDeadline measures what a deadline costs a statement of the bare driver, and
// what a connection of its own: by turns, in a changing order. With GOMAXPROCS=1 it is
// the work alone.
func BenchmarkDeadline(b *testing.B) {
	for _, d := range databases {
		c, db, _ := d.store(b)
		free := context.Background()
		bound, cancel := context.WithTimeout(free, time.Hour)
		bare := bareOf(b, &d, c, db, "bare", make([]byte, 256), time.Hour)
		ways := []struct {
			name string
			do   func(op string) error
		}{
			{"plain", func(op string) error { return bare.do(free, op) }},
			{"deadline", func(op string) error { return bare.do(bound, op) }},
			{"conn", func(op string) error {
				c, err := db.Conn(bound)
				if err != nil {
					return err
				}
				defer c.Close()
				return bare.on(c).do(bound, op)
			}},
		}
		for _, op := range []string{"get", "touch"} {
			b.Run(fmt.Sprintf("db=%s/op=%s", d.name, op), func(b *testing.B) {
				took := make([][]time.Duration, len(ways))
				for n := 0; b.Loop(); n++ {
					for i := range ways {
						i = (i + n) % len(ways)
						begun := time.Now()
						for range 20 {
							if err := ways[i].do(op); err != nil {
								b.Fatal(err)
							}
						}
						took[i] = append(took[i], time.Since(begun)/20)
					}
				}
				b.ReportMetric(0, "ns/op")
				for i, all := range took {
					slices.Sort(all)
					b.ReportMetric(float64(all[len(all)/2]), "ns-"+ways[i].name)
				}
			})
		}
		cancel()
		d.drop(b, db)
	}
}
