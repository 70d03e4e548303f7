package databases_test

import (
	"database/sql"
	"fmt"
	"testing"
	"time"

	sqlstore "github.com/gensession/gensession/stores/sql"
)

// A touch is a HOT update: neither the index of the keys nor that of the sweeper
// grows. Asked of the server, which counts them.
func TestATouchIsHOT(t *testing.T) {
	const sessions, rounds = 300, 10
	db := databases[0].db(t)
	o := sqlstore.Options{Table: table(), NoSweep: true}
	s := open(t, db, sqlstore.PostgreSQL, o)
	data := make([]byte, 500)
	for i := range data {
		data[i] = byte('a' + i%26)
	}
	key := func(i int) string { return fmt.Sprint("session-", i) }
	for i := range sessions {
		if err := s.Set(t.Context(), key(i), data, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	for round := range rounds {
		for i := range sessions {
			// Longer from round to round, by more than the time to look is rounded.
			if err := s.Touch(t.Context(), key(i), time.Duration(round+2)*time.Hour); err != nil {
				t.Fatal(err)
			}
		}
	}
	updates, hot := statistics(t, db, o.Table, sessions*rounds)
	t.Logf("%d of %d updates are HOT", hot, updates)
	if updates < sessions*rounds || hot*100 < updates*95 {
		t.Errorf("%d of %d updates are HOT", hot, updates)
	}
}

// statistics waits until PostgreSQL has counted so many updates of a table.
func statistics(t *testing.T, db *sql.DB, table string, least int) (updates, hot int) {
	t.Helper()
	for range 300 {
		err := db.QueryRowContext(t.Context(), "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = $1", table).Scan(&updates, &hot)
		if err != nil {
			t.Fatal(err)
		}
		if updates >= least {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return updates, hot
}
