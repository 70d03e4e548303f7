package suite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	sqlstore "github.com/gensession/gensession/stores/sql"
)

// The statements for a tool for migrations make what CreateTable makes, and both may
// come again.
func (k *Kind) schema(t *testing.T) {
	table := Table()
	statements, err := k.Dialect.Schema(table)
	if err != nil {
		t.Fatal(err)
	}
	db := k.shared(t, "")
	for range 2 {
		for _, s := range statements {
			if _, err := db.ExecContext(t.Context(), s); err != nil {
				t.Errorf("%s: %v", s, err)
			}
		}
	}
	s := k.store(t, db, sqlstore.Options{Table: table})
	if err := s.Set(t.Context(), "k", []byte("x"), hour); err != nil {
		t.Error(err)
	}
	k.store(t, db, sqlstore.Options{Table: table})
	if _, err := s.Get(t.Context(), "k"); err != nil {
		t.Error("CreateTable has changed a table that was there:", err)
	}
}

func (k *Kind) noTable(t *testing.T) {
	s, err := sqlstore.New(k.shared(t, ""), k.Dialect, &sqlstore.Options{Table: Table()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, core.ErrRefused) || !strings.Contains(err.Error(), "CreateTable") {
		t.Error(err)
	}
}

// The server quotes the key and the payload in its error, and the driver hands it on.
func (k *Kind) errors(t *testing.T) {
	const key, payload = "the-secret-key", "the-secret-payload"
	db := k.shared(t, "")
	o := sqlstore.Options{Table: Table()}
	s := k.store(t, db, o)
	k.Do(t, k.Shared(t), k.Quoting(o.Table)...)

	q, err := k.Dialect.Schema(o.Table)
	if err != nil || len(q) == 0 {
		t.Fatal(err)
	}
	_, bare := db.ExecContext(t.Context(), "INSERT INTO "+o.Table+" (session_key, data, version, expires_at, sweep_at) VALUES ('"+key+"', '"+payload+"', 1, 1, 1)")
	if bare == nil || !strings.Contains(fmt.Sprintf("%v %+v", bare, deep(bare)), key) {
		t.Fatalf("the server quotes nothing, so this tests nothing: %v", bare)
	}
	_, creating := s.SetVersion(t.Context(), key, []byte(payload), hour, 0)
	_, batch := s.Batch(t.Context(), core.Write{Key: key, Data: []byte(payload), TTL: hour}, core.Write{Key: "other", Data: []byte(payload), TTL: hour})
	for name, err := range map[string]error{"Set": s.Set(t.Context(), key, []byte(payload), hour), "SetVersion": creating, "Batch": batch} {
		if !errors.Is(err, core.ErrRefused) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for e := err; e != nil; e = errors.Unwrap(e) {
			if text := fmt.Sprintf("%v %+v", e, deep(e)); strings.Contains(text, "secret") || strings.Contains(text, fmt.Sprintf("%x", payload)) {
				t.Errorf("%s: %T quotes", name, e)
			}
		}
		if !strings.ContainsAny(err.Error(), "0123456789") {
			t.Errorf("%s has no code: %v", name, err)
		}
	}
	if _, err := s.Get(t.Context(), "other"); !errors.Is(err, core.ErrNotFound) {
		t.Error("the batch was carried out in part:", err)
	}
}

// deep is what a logger might print of an error: the fields, too.
func deep(err error) string {
	var all strings.Builder
	for ; err != nil; err = errors.Unwrap(err) {
		fmt.Fprintf(&all, "%#v ", err)
		if e, ok := err.(interface{ Unwrap() []error }); ok {
			for _, one := range e.Unwrap() {
				all.WriteString(deep(one))
			}
		}
	}
	return all.String()
}

// A statement that the server ends was not carried out.
func (k *Kind) timeout(t *testing.T) {
	o := sqlstore.Options{Table: Table()}
	s := k.store(t, k.shared(t, ""), o)
	if err := s.Set(t.Context(), "k", []byte("old"), hour); err != nil {
		t.Fatal(err)
	}
	hasty, err := sqlstore.New(k.shared(t, k.Timeout), k.Dialect, &o)
	if err != nil {
		t.Fatal(err)
	}
	defer hasty.Close()
	unlock := k.lock(t, o.Table, "k")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := hasty.Set(ctx, "k", []byte("new"), hour); !errors.Is(err, core.ErrTimeout) || errors.Is(err, core.ErrOutcomeUnknown) || ctx.Err() != nil {
		t.Errorf("the server ended it: %v", err)
	}
	unlock()
	if data, err := s.Get(ctx, "k"); string(data) != "old" {
		t.Errorf("%q, %v", data, err)
	}
}

// lock locks the row of a key in a transaction, until unlock is called.
func (k *Kind) lock(t testing.TB, table, key string) (unlock func()) {
	t.Helper()
	tx, err := k.admin(t, k.Shared(t)).BeginTx(context.WithoutCancel(t.Context()), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec("UPDATE " + table + " SET sweep_at = sweep_at + 1 WHERE session_key = '" + key + "'"); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
	}
}

// Transactions of others lock the same rows in another order. The server ends one of
// each deadlock, and nobody notices.
func (k *Kind) deadlocks(t *testing.T) {
	o := sqlstore.Options{Table: Table()}
	s := k.store(t, k.shared(t, ""), o)
	db := k.admin(t, k.Shared(t))
	before := k.deadlocked(t, db)
	if _, err := s.SetVersion(t.Context(), "a", []byte("x"), hour, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SetVersion(t.Context(), "b", []byte("x"), hour, 0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stop := make(chan bool)
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				tx, err := db.BeginTx(ctx, nil)
				if err != nil {
					t.Error(err)
					return
				}
				_, err = tx.Exec("UPDATE " + o.Table + " SET sweep_at = sweep_at + 1 WHERE session_key = 'b'")
				if err == nil {
					time.Sleep(time.Millisecond)
					_, err = tx.Exec("UPDATE " + o.Table + " SET sweep_at = sweep_at + 1 WHERE session_key = 'a'")
				}
				if err != nil {
					_ = tx.Rollback() // it was the one that the server has ended
				} else if err := tx.Commit(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	batches := 0
	for begun := time.Now(); batches < 20 || k.deadlocked(t, db) == before && time.Since(begun) < 10*time.Second; batches++ {
		_, a, err := s.GetVersion(ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		_, b, err := s.GetVersion(ctx, "b")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Batch(ctx, core.Write{Key: "a", Data: []byte("x"), TTL: hour, Version: a}, core.Write{Key: "b", Data: []byte("x"), TTL: hour, Version: b}); err != nil {
			t.Errorf("batch %d: %v", batches, err)
			break
		}
	}
	close(stop)
	all.Wait()
	n := k.deadlocked(t, db) - before
	t.Logf("%d deadlocks beside %d batches", n, batches)
	if n == 0 {
		t.Error("there was no deadlock, so this has tested nothing")
	}
}

func (k *Kind) deadlocked(t testing.TB, db *sql.DB) (n int) {
	t.Helper()
	if err := db.QueryRow(k.Deadlocks).Scan(new(string), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// The sweeper removes what has expired, and sets what was touched the time to look
// again.
func (k *Kind) sweep(t *testing.T) {
	o := sqlstore.Options{Table: Table(), NoSweep: true, SweepBatch: 7}
	s := k.store(t, k.shared(t, ""), o)
	for i := range 40 {
		if err := s.Set(t.Context(), fmt.Sprint("k", i), []byte("x"), hour); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Set(t.Context(), "for ever"[:3], []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	k.Do(t, k.Shared(t),
		"UPDATE "+o.Table+" SET expires_at = 5, sweep_at = 5 * LENGTH(session_key) WHERE session_key LIKE 'k1%'", // 11 of them
		"UPDATE "+o.Table+" SET sweep_at = 5 * LENGTH(session_key) WHERE session_key LIKE 'k2%' OR session_key = 'for'")
	n, err := s.Sweep(t.Context())
	if err != nil || n != 11 {
		t.Errorf("%d were removed: %v", n, err)
	}
	if n := k.count(t, k.Shared(t), o.Table); n != 30 {
		t.Errorf("%d are left", n)
	}
	var wrong int
	if err := k.admin(t, k.Shared(t)).QueryRow("SELECT count(*) FROM " + o.Table + " WHERE sweep_at < expires_at AND session_key <> 'for' OR sweep_at - 60000 > expires_at").Scan(&wrong); err != nil || wrong != 0 {
		t.Errorf("%d rows will be looked at too early or too late: %v", wrong, err)
	}
	if n, err := s.Sweep(t.Context()); n != 0 || err != nil {
		t.Errorf("again: %d, %v", n, err)
	}
	// By itself, in the background.
	k.Do(t, k.Shared(t), "UPDATE "+o.Table+" SET expires_at = 5, sweep_at = 5 WHERE session_key LIKE 'k2%'")
	o.NoSweep, o.SweepEvery = false, 10*time.Millisecond
	k.store(t, k.shared(t, ""), o)
	wait(t, func() (int, error) {
		if n := k.count(t, k.Shared(t), o.Table); n != 19 {
			return n, fmt.Errorf("%d are left", n)
		}
		return 0, nil
	})
}

// Sweepers of several processes share the work, and wait neither for each other nor
// for a request.
func (k *Kind) sweepers(t *testing.T) {
	const rows, sweepers = 1000, 4
	o := sqlstore.Options{Table: Table(), NoSweep: true, SweepBatch: 50}
	s := k.store(t, k.shared(t, ""), o)
	for from := 0; from < rows; from += 500 {
		var values []string
		for i := range 500 {
			values = append(values, fmt.Sprintf("('k%d', 'x', 1, 5, 5)", from+i))
		}
		k.Do(t, k.Shared(t), "INSERT INTO "+o.Table+" (session_key, data, version, expires_at, sweep_at) VALUES "+strings.Join(values, ", "))
	}
	unlock := k.lock(t, o.Table, "k7") // by a request that takes its time
	removed := make([]int, sweepers)
	var all sync.WaitGroup
	for i := range sweepers {
		all.Go(func() {
			one := k.store(t, k.shared(t, ""), o)
			// One ends when the rows of its batch are locked by others.
			for range 100 {
				n, err := one.Sweep(t.Context())
				if err != nil {
					t.Error(err)
				}
				removed[i] += n
			}
		})
	}
	all.Wait()
	unlock()
	sum := 0
	for _, n := range removed {
		sum += n
	}
	if sum != rows-1 {
		t.Errorf("%v of %d rows were removed, one was locked", removed, rows)
	}
	if n, err := s.Sweep(t.Context()); n != 1 || err != nil {
		t.Errorf("after it: %d, %v", n, err)
	}
}

// Another program may read the table: what is in it is what was stored.
func (k *Kind) rows(t *testing.T) {
	o := sqlstore.Options{Table: Table(), NoSweep: true}
	s := k.store(t, k.shared(t, ""), o)
	for _, ttl := range []time.Duration{hour, 0, 1<<63 - 1} {
		v, err := s.SetVersion(t.Context(), "k", []byte("payload"), ttl, 0)
		if err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		var key, data string
		var version, expires, sweep int64
		err = k.admin(t, k.Shared(t)).QueryRow("SELECT session_key, data, version, expires_at, sweep_at FROM "+o.Table).Scan(&key, &data, &version, &expires, &sweep)
		if err != nil || key != "k" || data != "payload" || core.Version(version) != v { // #nosec G115
			t.Errorf("%q, %q, %d, %v", key, data, version, err)
		}
		if late := expires - before.Add(ttl).UnixMilli(); ttl == hour && (late > 1000 || late < -1000) {
			t.Errorf("it expires %d ms late", late)
		}
		if ttl == 0 && expires != 1<<63-1 || ttl > hour && expires < int64(ttl/time.Millisecond) || sweep < expires {
			t.Errorf("ttl %v: it expires at %d, and is swept at %d", ttl, expires, sweep)
		}
		if err := s.Destroy(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
	}
}
