// Package postgres_test tests stores/sql on PostgreSQL.
package postgres_test

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"go.uber.org/goleak"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/databases/suite"
	"github.com/gensession/gensession/internal/servers"
	sqlstore "github.com/gensession/gensession/stores/sql"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(servers.Main(m)) }

func dsn(addr, more string) string {
	url := "postgres://kit@" + addr + "/postgres?sslmode=disable"
	if more != "" {
		url += "&" + more
	}
	return url
}

var postgres = suite.Kind{
	Dialect: sqlstore.PostgreSQL,
	Driver:  "pgx",
	DSN:     dsn,
	Admin:   func(addr string) string { return dsn(addr, "default_transaction_read_only=off&deadlock_timeout=20ms") },
	Shared:  func(t testing.TB) string { return servers.SharedPostgres(t).Addr() },
	Own:     func(t testing.TB) suite.Server { return servers.Postgres(t) },

	Timeout:  "statement_timeout=50",
	ReadOnly: []string{"ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"},
	Writable: []string{"ALTER SYSTEM SET default_transaction_read_only = off", "SELECT pg_reload_conf()"},
	Quoting: func(table string) []string {
		return []string{"ALTER TABLE " + table + " ADD CHECK (session_key NOT LIKE 'the-secret%')"}
	},
	Filler:    "INSERT INTO %s (session_key, data, version, expires_at, sweep_at) SELECT 'filler' || (%[3]d + i), sha256(i::text::bytea) || sha256((i + 1)::text::bytea), 1, 9e18, 9e18 FROM generate_series(1, %[2]d) i",
	Limit:     limit,
	Deadlocks: "SELECT datname, deadlocks FROM pg_stat_database WHERE datname = 'postgres'",
}

// limit keeps files from growing beyond the size of a table, once that is more than the
// log needs.
func limit(s suite.Server, db *sql.DB, table string, on bool) {
	var size int64
	if on {
		if err := db.QueryRow("SELECT pg_relation_size($1::regclass)", table).Scan(&size); err != nil || size < 5<<18 {
			return
		}
	}
	s.(*servers.PostgresServer).LimitFiles(size)
}

// P36.
func TestPostgres(t *testing.T) { suite.Run(t, postgres) }

// No statement reads the whole table, also once the server plans for arguments that it
// does not know. Asked of the server, which counts that.
func TestNoStatementReadsTheWholeTable(t *testing.T) {
	db := suite.Open(t, "pgx", dsn(servers.SharedPostgres(t).Addr(), "plan_cache_mode=force_generic_plan"))
	db.SetMaxOpenConns(1)
	table, ctx := suite.Table(), t.Context()
	s, err := sqlstore.New(db, sqlstore.PostgreSQL, &sqlstore.Options{Table: table, NoSweep: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.CreateTable(ctx); err != nil {
		t.Fatal(err)
	}
	exec := func(text string) {
		t.Helper()
		if _, err := db.Exec(text); err != nil {
			t.Fatal(err)
		}
	}
	exec("INSERT INTO " + table + " SELECT 'row-' || i, repeat('x', 300)::bytea, 1, 9e18, CASE WHEN i % 10 = 0 THEN 5 ELSE 9e18 END, 'owner-' || i % 5000 FROM generate_series(1, 20000) i")
	exec("UPDATE " + table + " SET expires_at = 5 WHERE sweep_at = 5 AND session_key LIKE '%50'")
	exec("VACUUM ANALYZE " + table)
	scans := func() (n int) {
		t.Helper()
		exec("SELECT pg_stat_force_next_flush()")
		exec("SELECT pg_stat_clear_snapshot()")
		if err := db.QueryRow("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = $1", table).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	last := scans()
	for name, call := range map[string]func() error{
		"Get":        func() error { _, _, err := s.GetVersion(ctx, "row-7"); return err },
		"Set":        func() error { return s.Set(ctx, "row-7", nil, time.Hour) },
		"SetVersion": func() error { _, err := s.SetVersion(ctx, "row-8", nil, time.Hour, 1); return err },
		"Touch":      func() error { return s.Touch(ctx, "row-9", time.Hour) },
		"Append":     func() error { _, _, err := s.Append(ctx, "row-11", []byte("x")); return err },
		"Destroy":    func() error { return s.Destroy(ctx, "row-12") },
		"Batch": func() error {
			_, err := s.Batch(ctx, core.Write{Key: "new", Data: []byte("x"), TTL: time.Hour}, core.Write{Key: "row-13", Version: 1})
			return err
		},
		"Owned":   func() error { _, err := s.Owned(ctx, "owner-14"); return err },
		"Disown":  func() error { return s.Disown(ctx, "owner-15", "row-15", "row-16") },
		"GetMany": func() error { _, err := s.GetMany(ctx, "row-17", "row-18", "row-19"); return err },
		"Sweep":   func() error { _, err := s.Sweep(ctx); return err },
	} {
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		now := scans()
		if now != last {
			t.Errorf("%s reads the whole table", name)
		}
		last = now
	}
	exec("SELECT count(data) FROM " + table)
	if scans() == last {
		t.Error("the server does not count, so this has tested nothing")
	}
}

// A touch is a HOT update: neither the index of the keys nor that of the sweeper
// grows. Asked of the server, which counts them.
func TestATouchIsHOT(t *testing.T) {
	const sessions, rounds = 300, 10
	db := suite.Open(t, "pgx", dsn(servers.SharedPostgres(t).Addr(), ""))
	table := suite.Table()
	s, err := sqlstore.New(db, sqlstore.PostgreSQL, &sqlstore.Options{Table: table, NoSweep: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.CreateTable(t.Context()); err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 500)
	for i := range data {
		data[i] = byte('a' + i%26)
	}
	for round := range rounds + 1 {
		for i := range sessions {
			key := fmt.Sprint("session-", i)
			if round == 0 {
				err = s.Set(t.Context(), key, data, time.Hour)
			} else { // longer each time, by more than the time to look is rounded
				err = s.Touch(t.Context(), key, time.Duration(round+1)*time.Hour)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	var updates, hot int
	for range 500 { // until the server has counted
		if err := db.QueryRow("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = $1", table).Scan(&updates, &hot); err != nil {
			t.Fatal(err)
		}
		if updates >= sessions*rounds {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Logf("%d of %d updates are HOT", hot, updates)
	if updates < sessions*rounds || hot*100 < updates*95 {
		t.Errorf("%d of %d updates are HOT", hot, updates)
	}
}

// Tables that somebody has made by hand: what does not fit is told.
func TestTablesThatDoNotFit(t *testing.T) {
	const key, owner = `session_key text COLLATE "C"`, `owner       text COLLATE "C"`
	for name, c := range map[string]struct {
		from, to string
		fits     bool
	}{
		"another name of the order": {key, `session_key text COLLATE "POSIX"`, true},
		"room for a key":            {key, `session_key varchar(250) COLLATE "C"`, true},
		"more columns":              {`data `, `n int GENERATED ALWAYS AS IDENTITY, made timestamptz NOT NULL DEFAULT now(), note text, data `, true},
		"a unique constraint":       {`PRIMARY KEY`, `NOT NULL UNIQUE`, true},
		"another order":             {key, `session_key text COLLATE "en-x-icu"`, false},
		"padded keys":               {key, `session_key char(250) COLLATE "C"`, false},
		"cut keys":                  {key, `session_key name COLLATE "C"`, false},
		"short keys":                {key, `session_key varchar(40) COLLATE "C"`, false},
		"binary keys":               {key, `session_key bytea`, false},
		"no primary key":            {`PRIMARY KEY`, ``, false},
		"a longer key":              {`PRIMARY KEY`, `, PRIMARY KEY (session_key, version)`, false},
		"a deferred key":            {`PRIMARY KEY`, `PRIMARY KEY DEFERRABLE`, false},
		"text":                      {`bytea `, `text `, false},
		"jsonb":                     {`bytea `, `jsonb `, false},
		"short times":               {`expires_at  bigint`, `expires_at int`, false},
		"rounded versions":          {`version     bigint`, `version double precision`, false},
		"short owners":              {owner, `owner varchar(40) COLLATE "C"`, false},
		"always an owner":           {owner, owner + ` NOT NULL`, false},
		"one more":                  {`data `, `more int NOT NULL, data `, false},
	} {
		t.Run(name, func(t *testing.T) {
			o := sqlstore.Options{Table: suite.Table(), NoSweep: true}
			schema, err := sqlstore.PostgreSQL.Schema(o.Table)
			if err != nil {
				t.Fatal(err)
			}
			made := strings.Replace(schema[0], c.from, c.to, 1)
			if made == schema[0] {
				t.Fatal("nothing is different")
			}
			postgres.Do(t, postgres.Shared(t), made)
			s, err := sqlstore.New(suite.Open(t, "pgx", dsn(postgres.Shared(t), "")), sqlstore.PostgreSQL, &o)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			err = s.CreateTable(t.Context())
			if (err == nil) != c.fits || err != nil && (!errors.Is(err, core.ErrRefused) || !strings.Contains(err.Error(), "Schema")) {
				t.Errorf("CreateTable: %v", err)
			}
		})
	}
}

// An index keeps its name when its table gets another. The new table was without.
func TestCreateTableAfterARename(t *testing.T) {
	o := sqlstore.Options{Table: suite.Table(), NoSweep: true}
	s, err := sqlstore.New(suite.Open(t, "pgx", dsn(postgres.Shared(t), "")), sqlstore.PostgreSQL, &o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.CreateTable(t.Context()); err != nil {
		t.Fatal(err)
	}
	former := suite.Table()
	postgres.Do(t, postgres.Shared(t), "ALTER TABLE "+o.Table+" RENAME TO "+former)
	for range 2 {
		if err := s.CreateTable(t.Context()); !errors.Is(err, core.ErrRefused) || !strings.Contains(err.Error(), "renamed") {
			t.Errorf("beside the indexes of the former one: %v", err)
		}
	}
	for _, column := range []string{"sweep_at", "owner"} {
		postgres.Do(t, postgres.Shared(t), fmt.Sprintf("ALTER INDEX %s_%s RENAME TO %s_%[2]s", o.Table, column, former))
	}
	if err := s.CreateTable(t.Context()); err != nil {
		t.Error(err)
	}
}

// The commit of the sweeper waits for nobody, here not for a standby that does not come;
// it did, with its rows locked. The connection keeps its setting.
func TestTheSweepersCommitDoesNotWait(t *testing.T) {
	server := servers.Postgres(t, "-c", "synchronous_standby_names=nobody")
	o := sqlstore.Options{NoSweep: true}
	local := suite.Open(t, "pgx", dsn(server.Addr(), "synchronous_commit=local"))
	setup, err := sqlstore.New(local, sqlstore.PostgreSQL, &o)
	if err != nil {
		t.Fatal(err)
	}
	defer setup.Close()
	if err := errors.Join(setup.CreateTable(t.Context()), setup.Set(t.Context(), "over", nil, time.Hour), setup.Set(t.Context(), "alive", nil, time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := local.Exec("UPDATE gensession SET sweep_at = 5, expires_at = CASE session_key WHEN 'over' THEN 5 ELSE expires_at END"); err != nil {
		t.Fatal(err)
	}
	db := suite.Open(t, "pgx", dsn(server.Addr(), ""))
	db.SetMaxOpenConns(1)
	s, err := sqlstore.New(db, sqlstore.PostgreSQL, &o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if n, err := s.Sweep(t.Context()); n != 1 || err != nil {
		t.Errorf("%d were removed: %v", n, err)
	}
	var setting string
	if err := db.QueryRow("SHOW synchronous_commit").Scan(&setting); err != nil || setting != "on" {
		t.Errorf("the connection has %q, %v", setting, err)
	}
}

func TestSettingsThatMakeNoDifference(t *testing.T) {
	postgres.Settings(t, "default_transaction_isolation=serializable", "default_query_exec_mode=exec", "default_query_exec_mode=simple_protocol", "default_query_exec_mode=cache_describe",
		"idle_in_transaction_session_timeout=50", "timezone=Asia/Tokyo", "bytea_output=escape&standard_conforming_strings=off", "client_encoding=LATIN1", "synchronous_commit=off")
}
