package suite

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	sqlstore "github.com/gensession/gensession/stores/sql"
)

// Settings tests that a store works as ever on a pool of one connection with settings of
// its own: a crowd makes batches on it, none of which may wait for a second connection, and
// the table gets a column while the driver has prepared its statements.
func (k *Kind) Settings(t *testing.T, all ...string) {
	for _, more := range all {
		t.Run(more, func(t *testing.T) {
			addr := k.Shared(t)
			db := Open(t, k.Driver, k.DSN(addr, more))
			db.SetMaxOpenConns(1)
			o := sqlstore.Options{Table: Table(), NoSweep: true}
			s, err := sqlstore.New(db, k.Dialect, &o)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := s.CreateTable(ctx); err != nil {
				t.Fatal(err)
			}
			bytes := make([]byte, 256)
			for i := range bytes {
				bytes[i] = byte(i)
			}
			const key = `k'\"%_` // and K is another
			if err := errors.Join(s.Set(ctx, key, bytes, time.Hour), s.Set(ctx, strings.ToUpper(key), nil, time.Hour), s.Set(ctx, "n", []byte("0"), time.Hour)); err != nil {
				t.Fatal(err)
			}
			if got, err := s.Get(ctx, key); string(got) != string(bytes) || err != nil {
				t.Errorf("%q was stored, %v", got, err)
			}
			const crowd = 8
			var done sync.WaitGroup
			for range crowd {
				done.Go(func() {
					for {
						data, version, err := s.GetVersion(ctx, "n")
						if err != nil {
							t.Error(err)
							return
						}
						n, _ := strconv.Atoi(string(data))
						_, err = s.Batch(ctx, core.Write{Key: "n", Version: version, Data: []byte(strconv.Itoa(n + 1)), TTL: time.Hour},
							core.Write{Key: "of" + string(data), Data: data, TTL: time.Hour, Owner: "o"})
						if errors.Is(err, core.ErrConflict) {
							continue
						}
						if err != nil {
							t.Error(err)
						}
						return
					}
				})
			}
			done.Wait()
			owned, err := s.Owned(ctx, "o")
			if data, getErr := s.Get(ctx, "n"); string(data) != strconv.Itoa(crowd) || len(owned) != crowd {
				t.Errorf("%q and %d sessions, not %d: %v", data, len(owned), crowd, errors.Join(err, getErr))
			}
			if _, err := Open(t, k.Driver, k.DSN(addr, "")).Exec("ALTER TABLE " + o.Table + " ADD COLUMN more int"); err != nil {
				t.Fatal(err)
			}
			_, err = s.Get(ctx, "n")
			_, _, appendErr := s.Append(ctx, "n", []byte("!"))
			_, sweepErr := s.Sweep(ctx)
			if err := errors.Join(err, appendErr, sweepErr, s.Touch(ctx, "n", 2*time.Hour), s.Destroy(ctx, "n")); err != nil {
				t.Errorf("with one more column: %v", err)
			}
		})
	}
}
