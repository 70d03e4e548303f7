package main

import (
	"database/sql"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/internal/servers"
)

// A pool executes statements of a test.
type pool struct {
	t  *testing.T
	db *sql.DB
}

func poolOf(t *testing.T, url string) pool {
	t.Helper()
	a, err := (&command{store: url}).address()
	if err != nil {
		t.Fatal(err)
	}
	var db *sql.DB
	if a.scheme == "sqlite" {
		db, err = sql.Open("sqlite", a.rest)
	} else {
		db, err = a.pool()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return pool{t, db}
}

func (p pool) exec(statements ...string) {
	p.t.Helper()
	conn, err := p.db.Conn(p.t.Context()) // SET is for one connection
	if err != nil {
		p.t.Fatal(err)
	}
	defer conn.Close()
	for _, s := range statements {
		if _, err := conn.ExecContext(p.t.Context(), s); err != nil {
			p.t.Fatalf("%s: %v", s, err)
		}
	}
}

func (p pool) number(query string) (n int64) {
	p.t.Helper()
	if err := p.db.QueryRowContext(p.t.Context(), query).Scan(&n); err != nil {
		p.t.Fatalf("%s: %v", query, err)
	}
	return n
}

// A disease is a bad setup and what is found then.
type disease struct {
	name    string
	differs map[string]string
	setup   []string
	undo    []string
}

func (p pool) try(url string, healthy map[string]string, all []disease) {
	for _, d := range all {
		p.t.Run(d.name, func(t *testing.T) {
			p.exec(d.setup...)
			diagnose(t, url, healthy, d.differs)
			p.exec(d.undo...)
		})
	}
	p.t.Run("well again", func(t *testing.T) { diagnose(t, url, healthy, nil) })
}

func TestDoctorPostgres(t *testing.T) {
	t.Parallel()
	s := servers.Postgres(t, "-c", "fsync=on", "-c", "autovacuum_naptime=1h") // so that it does not interfere
	url, p := s.URL(), poolOf(t, s.URL())
	if r := findings(t, gensession(t, servers.SharedPostgres(t).URL(), "doctor", "-json").out); r["durability"] != fault { // the kit does not wait for its disk
		t.Errorf("without fsync: %v", r)
	}
	healthy := map[string]string{
		"reach": fine, "permissions": fine, "owners": fine, "version": fine, "role": fine, "durability": fine, "clock": fine, "table": fine, "columns": fine,
		"index": fine, "sweeping": fine, "vacuum": fine, "dead rows": fine, "hot": fine, "bloat": fine,
	}
	missing := map[string]string{"table": fault}
	for _, check := range []string{"columns", "permissions", "owners", "index", "sweeping", "vacuum", "dead rows", "hot", "bloat"} {
		missing[check] = ""
	}
	diagnose(t, url, healthy, missing)
	r := gensession(t, url, "schema").want(exitDone, "")
	if !strings.HasPrefix(r.out, `CREATE TABLE IF NOT EXISTS "gensession" (`) || !strings.Contains(r.out, ";\nCREATE INDEX IF NOT EXISTS") {
		t.Errorf("schema prints\n%s", r.out)
	}
	gensession(t, url, "schema", "-create").want(exitDone, "")
	diagnose(t, url, healthy, nil)

	const rows = "INSERT INTO gensession (session_key, data, version, expires_at, sweep_at) SELECT 'junk' || n, decode(repeat('00', %d), 'hex'), 1, %s, %[2]s FROM generate_series(1, %d) n"
	const later = "9000000000000"
	const flush = "SELECT pg_stat_force_next_flush()"
	p.try(url, healthy, []disease{
		{"no autovacuum", map[string]string{"vacuum": fault}, []string{"ALTER TABLE gensession SET (autovacuum_enabled = false)"}, []string{"ALTER TABLE gensession RESET (autovacuum_enabled)"}},
		{"a collation", map[string]string{"columns": fault}, []string{`ALTER TABLE gensession ALTER session_key TYPE text COLLATE "en-x-icu"`}, []string{`ALTER TABLE gensession ALTER session_key TYPE text COLLATE "C"`}},
		{"no index", map[string]string{"index": fault}, []string{"DROP INDEX gensession_sweep_at"}, []string{"CREATE INDEX gensession_sweep_at ON gensession (sweep_at)"}},
		{"no index of owners", map[string]string{"index": note}, []string{"DROP INDEX gensession_owner"}, []string{"CREATE INDEX gensession_owner ON gensession (owner)"}},
		{"nobody sweeps", map[string]string{"sweeping": fault}, []string{fmt.Sprintf(rows, 10, "1000000000000", 3)}, []string{"DELETE FROM gensession"}},
		{"no synchronous commit", map[string]string{"durability": note}, []string{"ALTER ROLE kit SET synchronous_commit = off"}, []string{"ALTER ROLE kit RESET synchronous_commit"}},
		{"read-only", map[string]string{"role": fault, "permissions": fault, "owners": ""}, []string{"ALTER ROLE kit SET default_transaction_read_only = on"}, []string{"SET default_transaction_read_only = off", "ALTER ROLE kit RESET default_transaction_read_only"}},
		{
			"dead rows", map[string]string{"dead rows": fault, "hot": note},
			[]string{fmt.Sprintf(rows, 10, later, manyDead), "UPDATE gensession SET sweep_at = sweep_at + 60000", flush, "SELECT 1"},
			[]string{"TRUNCATE gensession", "SELECT pg_stat_reset()", flush, "SELECT 1"},
		},
		{
			"bloat", map[string]string{"bloat": note},
			[]string{fmt.Sprintf(rows, 1500, later, 12_000), "DELETE FROM gensession WHERE session_key > 'junk2'", "VACUUM (ANALYZE, TRUNCATE off) gensession", flush, "SELECT 1"},
			[]string{"TRUNCATE gensession", "SELECT pg_stat_reset()", flush, "SELECT 1"},
		},
	})

	// Who may not all.
	p.exec("CREATE ROLE app LOGIN", "GRANT SELECT, INSERT, UPDATE ON gensession TO app")
	app := strings.Replace(url, "kit@", "app@", 1)
	diagnose(t, app, healthy, map[string]string{"permissions": fault, "owners": "", "bloat": fine})
	p.exec("GRANT DELETE ON gensession TO app")
	diagnose(t, app, healthy, nil)
}

func TestDoctorMariaDB(t *testing.T) {
	t.Parallel()
	s := servers.MariaDB(t, "--innodb-flush-log-at-trx-commit=1")
	url, p := s.URL(), poolOf(t, s.URL())
	admin := poolOf(t, "mysql://kit@"+s.Addr()+"/app")
	healthy := map[string]string{
		"reach": fine, "permissions": fine, "owners": fine, "version": fine, "role": fine, "durability": fine, "packet": fine, "clock": fine,
		"table": fine, "columns": fine, "engine": fine, "keys": fine, "index": fine, "sweeping": fine, "bloat": fine,
	}
	missing := map[string]string{"table": fault}
	for _, check := range []string{"columns", "permissions", "owners", "engine", "keys", "index", "sweeping", "bloat"} {
		missing[check] = ""
	}
	diagnose(t, url, healthy, missing)
	gensession(t, url, "schema", "-create").want(exitDone, "")
	diagnose(t, url, healthy, nil)

	admin.try(url, healthy, []disease{
		{"not on the disk", map[string]string{"durability": note}, []string{"SET GLOBAL innodb_flush_log_at_trx_commit = 2"}, []string{"SET GLOBAL innodb_flush_log_at_trx_commit = 1"}},
		{"limits of statements", nil, []string{"SET GLOBAL max_join_size = 1", "SET GLOBAL sql_select_limit = 1"}, []string{"SET GLOBAL max_join_size = DEFAULT", "SET GLOBAL sql_select_limit = DEFAULT"}},
		{"read-only", map[string]string{"role": fault, "permissions": fault, "owners": ""}, []string{"SET GLOBAL read_only = 1"}, []string{"SET GLOBAL read_only = 0"}},
		{"small packets", map[string]string{"packet": fault}, []string{"SET GLOBAL max_allowed_packet = 65536"}, []string{"SET GLOBAL max_allowed_packet = 16777216"}},
	})
	p.try(url, healthy, []disease{
		{"MyISAM", map[string]string{"engine": fault, "columns": fault}, []string{"ALTER TABLE gensession ENGINE=MyISAM"}, []string{"ALTER TABLE gensession ENGINE=InnoDB"}},
		{"short payloads", map[string]string{"columns": note}, []string{"ALTER TABLE gensession MODIFY data blob NOT NULL"}, []string{"ALTER TABLE gensession MODIFY data longblob NOT NULL"}},
		{"a collation", map[string]string{"keys": fault, "columns": fault}, []string{"ALTER TABLE gensession MODIFY session_key varchar(250) CHARACTER SET ascii COLLATE ascii_general_ci"}, []string{"ALTER TABLE gensession MODIFY session_key varbinary(250) NOT NULL"}},
		{"no index", map[string]string{"index": fault}, []string{"DROP INDEX gensession_sweep_at ON gensession"}, []string{"CREATE INDEX gensession_sweep_at ON gensession (sweep_at)"}},
		{"no index of owners", map[string]string{"index": note}, []string{"DROP INDEX gensession_owner ON gensession"}, []string{"CREATE INDEX gensession_owner ON gensession (owner)"}},
		{"nobody sweeps", map[string]string{"sweeping": fault}, []string{"INSERT INTO gensession (session_key, data, version, expires_at, sweep_at) VALUES ('junk', '', 1, 1000000000000, 1000000000000)"}, []string{"DELETE FROM gensession"}},
	})
	admin.exec("CREATE USER reader@'127.0.0.1'", "GRANT SELECT, INSERT, UPDATE ON app.* TO reader@'127.0.0.1'")
	diagnose(t, strings.Replace(url, "app@", "reader@", 1), healthy, map[string]string{"permissions": fault, "owners": ""})

	// Much that was removed.
	p.exec("CREATE TABLE n AS SELECT seq FROM seq_1_to_20000",
		"INSERT INTO gensession (session_key, data, version, expires_at, sweep_at) SELECT CONCAT('junk', seq), REPEAT('x', 1500), 1, 9000000000000, 9000000000000 FROM n",
		"DELETE FROM gensession")
	for range 3000 { // until it has been purged
		p.exec("ANALYZE TABLE gensession")
		if p.number("SELECT data_length + data_free > 5 * data_length FROM information_schema.tables WHERE table_schema = 'app' AND table_name = 'gensession'") == 1 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	diagnose(t, url, healthy, map[string]string{"bloat": note})
}

func TestDoctorSQLite(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "sessions of today.db")
	url := "sqlite:" + file
	gensession(t, url, "schema", "-create").want(exitDone, "")
	healthy := map[string]string{
		"version": fine, "integrity": fine, "journal": fine, "reserve": fine, "log": fine, "bloat": fine, "table": fine, "columns": fine, "index": fine, "sweeping": fine,
		"permissions": fine, "owners": fine,
	}
	if runtime.GOOS != "windows" {
		healthy["file"] = fine
	}
	diagnose(t, url, healthy, nil)
	p := poolOf(t, url)
	p.db.SetMaxOpenConns(1)
	p.try(url, healthy, []disease{
		{"no index", map[string]string{"index": fault}, []string{"DROP INDEX gensession_sweep_at"}, []string{"CREATE INDEX gensession_sweep_at ON gensession (sweep_at)"}},
		{"no index of owners", map[string]string{"index": note}, []string{"DROP INDEX gensession_owner"}, []string{"CREATE INDEX gensession_owner ON gensession (owner)"}},
		{"nobody sweeps", map[string]string{"sweeping": fault}, []string{"INSERT INTO gensession (session_key, data, version, expires_at, sweep_at) VALUES ('junk', x'', 1, 1000000000000, 1000000000000)"}, []string{"DELETE FROM gensession"}},
		{"another table", map[string]string{"table": fault, "columns": "", "index": "", "sweeping": "", "permissions": "", "owners": ""}, []string{"ALTER TABLE gensession RENAME TO other"}, []string{"ALTER TABLE other RENAME TO gensession"}},
		{
			"times as text", map[string]string{"columns": fault},
			[]string{"ALTER TABLE gensession RENAME TO other", "CREATE TABLE gensession (session_key TEXT PRIMARY KEY, data BLOB, version INTEGER, expires_at TEXT, sweep_at INTEGER, owner TEXT)", "CREATE INDEX i ON gensession (sweep_at)", "CREATE INDEX j ON gensession (owner)"},
			[]string{"DROP TABLE gensession", "ALTER TABLE other RENAME TO gensession"},
		},
		{"bloat", map[string]string{"bloat": note}, []string{
			"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000) INSERT INTO gensession (session_key, data, version, expires_at, sweep_at) SELECT 'junk' || i, zeroblob(1500), 1, 9000000000000, 9000000000000 FROM n",
			"DELETE FROM gensession", "PRAGMA wal_checkpoint(TRUNCATE)",
		}, []string{"VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"}},
	})
	p.db.Close()
	if runtime.GOOS == "windows" {
		return
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	diagnose(t, url, healthy, map[string]string{"file": fault})
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}

	// A part of it was given up.
	if err := os.Truncate(file+"-reserve", 1<<20); err != nil {
		t.Fatal(err)
	}
	diagnose(t, url, healthy, map[string]string{"reserve": fault})
	if err := os.Truncate(file+"-reserve", 2<<20); err != nil {
		t.Fatal(err)
	}

	// A log that nobody has moved into the file.
	if err := os.WriteFile(file+"-wal", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file+"-wal", 70<<20); err != nil {
		t.Fatal(err)
	}
	diagnose(t, url, healthy, map[string]string{"log": note})

	// A journal of another kind.
	other := filepath.Join(t.TempDir(), "other.db")
	o := poolOf(t, "sqlite:"+other)
	o.exec(strings.Split(gensession(t, "sqlite:"+other, "schema").out, ";\n")[0])
	o.db.Close()
	if err := os.Chmod(other, 0o600); err != nil {
		t.Fatal(err)
	}
	diagnose(t, "sqlite:"+other, healthy, map[string]string{"journal": note, "reserve": "", "index": fault})

	// Damage.
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(t.TempDir(), "damaged.db")
	for i := 4096; i < len(text); i++ {
		text[i] ^= 0xff
	}
	if err := os.WriteFile(damaged, text, 0o600); err != nil {
		t.Fatal(err)
	}
	r := findings(t, gensession(t, "sqlite:"+damaged, "doctor", "-json").want(exitFinding, "").out)
	if r["integrity"] != fault {
		t.Errorf("a damaged file: %v", r)
	}
	if err := os.WriteFile(damaged, []byte("this is no database at all, but a text that somebody has written"), 0o600); err != nil {
		t.Fatal(err)
	}
	r = findings(t, gensession(t, "sqlite:"+damaged, "doctor", "-json").want(exitFinding, "").out)
	if r["integrity"] != fault || len(maps.Clone(r)) > 3 {
		t.Errorf("a file that is none: %v", r)
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	url := "sqlite:" + filepath.Join(t.TempDir(), "sessions.db")
	gensession(t, url, "sweep").want(exitFailed, "no such file")
	poolOf(t, url).exec("CREATE TABLE other (x)")
	for _, args := range [][]string{{"sweep"}, {"list"}, {"count"}, {"end", "id:01234567"}} { // of a file of somebody else's
		gensession(t, url, args...).want(exitFailed, "gensession: ")
	}
	if n := poolOf(t, url).number("SELECT count(*) FROM sqlite_schema"); n != 1 {
		t.Errorf("the file has %d tables and indexes now", n)
	}
	gensession(t, url, "schema", "-create", "-table", "mine").want(exitDone, "")
	p := poolOf(t, url)
	p.exec("INSERT INTO mine (session_key, data, version, expires_at, sweep_at) VALUES ('old', x'', 1, 1000, 1000), ('older', x'', 1, 1000, 1000), ('new', x'', 1, 9000000000000, 9000000000000)")
	if r := gensession(t, url, "sweep", "-table", "mine").want(exitDone, ""); r.out != "removed: 2\n" {
		t.Errorf("sweep prints %q", r.out)
	}
	if r := gensession(t, url, "sweep", "-table", "mine", "-json").want(exitDone, ""); r.out != `{"removed":0}`+"\n" {
		t.Errorf("sweep prints %q", r.out)
	}
	if n := p.number("SELECT count(*) FROM mine"); n != 1 {
		t.Errorf("there are %d rows", n)
	}
}
