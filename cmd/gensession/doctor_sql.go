package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	sqlstore "github.com/gensession/gensession/stores/sql"
)

// A clinic asks one database.
type clinic struct {
	*patient
	db      *sql.DB
	dialect sqlstore.Dialect
	schema  string // "" for that of the connection
	table   string
}

func (c *command) tableName() (schema, table string) {
	schema, table, ok := strings.Cut(c.table, ".")
	if !ok {
		schema, table = "", c.table
	}
	if table == "" {
		table = "gensession"
	}
	return schema, table
}

// ask returns the columns of the one row that a query has, as text; none if it has
// none. Where the database refuses, it finds that nobody knows.
func (p *clinic) ask(ctx context.Context, check, query string, args ...any) (row []string) {
	ctx, cancel := context.WithTimeout(ctx, p.c.timeout)
	defer cancel()
	rows, err := p.db.QueryContext(ctx, query, args...)
	if err == nil {
		defer rows.Close()
		if rows.Next() {
			columns, _ := rows.Columns()
			cells := make([]sql.NullString, len(columns))
			into := make([]any, len(columns))
			for i := range cells {
				into[i] = &cells[i]
			}
			if err = rows.Scan(into...); err == nil {
				for _, c := range cells {
					row = append(row, c.String)
				}
			}
		}
		err = errors.Join(err, rows.Err())
	}
	if err != nil {
		p.find(check, unknown, "the database does not tell: "+err.Error(), "")
		return nil
	}
	return row
}

// value is ask for a query of one column.
func (p *clinic) value(ctx context.Context, check, query string, args ...any) (string, bool) {
	row := p.ask(ctx, check, query, args...)
	if len(row) == 0 {
		return "", false
	}
	return row[0], true
}

func (p *patient) database(ctx context.Context, a address) error {
	s, err := p.c.open()
	if err != nil {
		return err
	}
	defer s.Close()
	if err := p.reach(ctx, s); err != nil {
		return err
	}
	db, err := a.pool()
	if err != nil {
		return err
	}
	defer db.Close()
	c := &clinic{patient: p, db: db, dialect: a.dialect()}
	c.schema, c.table = p.c.tableName()
	if c.dialect == sqlstore.PostgreSQL {
		c.postgres(ctx)
	} else {
		c.mysql(ctx)
	}
	return nil
}

const (
	noTable   = "Make it: gensession schema -create"
	noSweeper = "Let the application sweep (omit NoSweep), or run gensession sweep from cron"

	// What makes it worth to look at a table.
	manyDead  = 10_000   // rows
	muchSpace = 16 << 20 // bytes
)

// inTable looks at what all databases have, once it is known whether the table is there.
func (p *clinic) inTable(ctx context.Context, there bool) bool {
	p.either("table", there, "it is there", fault, "there is no table "+p.table, noTable)
	if !there {
		return false
	}
	s, err := p.c.open()
	if err != nil {
		p.find("permissions", fault, err.Error(), "")
		return true
	}
	defer s.Close()
	p.columns(ctx)
	p.use(ctx, s, "The user needs SELECT, INSERT, UPDATE and DELETE on the table, and a server that may be written")
	return true
}

// columns looks whether somebody has made the table otherwise than the schema does. An
// application may do with less room for a payload than there is by default.
func (p *clinic) columns(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, p.c.timeout)
	defer cancel()
	const remedy = "Compare the table with the statements of gensession schema"
	for _, try := range []struct {
		maxSize int
		level   string
	}{{1, fault}, {0, note}} {
		s, err := sqlstore.New(p.db, p.dialect, &sqlstore.Options{Table: p.c.table, NoSweep: true, MaxSize: try.maxSize})
		if err == nil {
			err = s.CreateTable(ctx) // of a table that is there it only reads
			_ = s.Close()
		}
		if err != nil {
			p.find("columns", try.level, err.Error(), remedy)
			return
		}
	}
	p.find("columns", fine, "they are those of the schema", "")
}

// indexes looks for those that the schema has. query asks for a column how many indexes
// begin with it.
func (p *clinic) indexes(ctx context.Context, query string, args ...any) {
	for _, c := range []struct{ column, level, remedy string }{
		{"sweep_at", fault, "Sweeping reads the whole table"}, {"owner", note, "With Options.Owners each login and each list of devices reads the whole table"},
	} {
		if n, ok := p.value(ctx, "index", query, append(args, c.column)...); ok {
			p.either("index", n != "0", "that of "+c.column+" is there", c.level, "there is no index of "+c.column+", or none that is valid", c.remedy+": make it with the statement of gensession schema")
		}
	}
}

// sweeping finds rows that should have been removed an hour ago.
func (p *clinic) sweeping(ctx context.Context, name, now string) {
	const limit = 10_000
	n, ok := p.value(ctx, "sweeping", fmt.Sprintf("SELECT count(*) FROM (SELECT 1 FROM %s WHERE expires_at < %s - 3600000 AND sweep_at < %s - 3600000 LIMIT %d) t", name, now, now, limit))
	if !ok {
		return
	}
	many := n
	if number(n) == limit {
		many = "more than " + n
	}
	p.either("sweeping", n == "0", "no session that expired an hour ago is still there", fault, many+" sessions that expired an hour ago or earlier are still there", noSweeper)
}

func (p *clinic) postgres(ctx context.Context) {
	if v, ok := p.value(ctx, "version", "SHOW server_version"); ok {
		major, _, _ := strings.Cut(v, ".")
		p.either("version", number(major) >= 12, "PostgreSQL "+v, fault, "PostgreSQL "+v+" is too old", "Use PostgreSQL 12 or newer")
	}
	if v, ok := p.value(ctx, "role", "SELECT CASE WHEN pg_is_in_recovery() THEN 'a standby' WHEN current_setting('transaction_read_only') = 'on' THEN 'read-only' ELSE '' END"); ok {
		p.either("role", v == "", "the server may be written", fault, "the server is "+v, "Give the application the address of the primary")
	}
	if row := p.ask(ctx, "durability", "SELECT current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit')"); row != nil {
		switch {
		case row[0] != "on" || row[1] != "on":
			p.find("durability", fault, "fsync is "+row[0]+", full_page_writes is "+row[1], "When the machine fails, the database may be damaged: set both to on")
		case row[2] == "off":
			p.find("durability", note, "synchronous_commit is off", "When the machine fails, the last logins and logouts are undone")
		default:
			p.find("durability", fine, "each commit is on the disk", "")
		}
	}
	began := time.Now()
	if v, ok := p.value(ctx, "clock", "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"); ok {
		p.clock(time.UnixMilli(number(v)), began, time.Now())
	}

	name := `"` + p.table + `"`
	if p.schema != "" {
		name = `"` + p.schema + `".` + name
	}
	oid, ok := p.value(ctx, "table", "SELECT COALESCE(to_regclass($1)::oid::bigint, 0)", name)
	if !ok || !p.inTable(ctx, oid != "0") {
		return
	}
	p.indexes(ctx, `SELECT count(*) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
		WHERE i.indrelid = $1::bigint::oid AND i.indisvalid AND a.attname = $2`, oid)
	p.sweeping(ctx, name, "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint")
	if row := p.ask(ctx, "vacuum", `SELECT current_setting('autovacuum'), COALESCE(array_to_string(c.reloptions, ','), ''), COALESCE(s.n_live_tup, 0), COALESCE(s.n_dead_tup, 0),
		COALESCE(s.n_tup_upd, 0), COALESCE(s.n_tup_hot_upd, 0) FROM pg_class c LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid WHERE c.oid = $1::bigint::oid`, oid); row != nil {
		live, dead, updates, hot := number(row[2]), number(row[3]), number(row[4]), number(row[5])
		off := row[0] != "on" || strings.Contains(row[1], "autovacuum_enabled=false") || strings.Contains(row[1], "autovacuum_enabled=off")
		p.either("vacuum", !off, "autovacuum is on", fault, "autovacuum is off", "Each write of a session leaves a dead row behind: turn it on")
		p.either("dead rows", dead < manyDead || dead < live, fmt.Sprintf("%d dead rows, %d live ones", dead, live), fault, fmt.Sprintf("%d dead rows, %d live ones", dead, live),
			"Vacuum does not keep up: look for transactions that stay open, and lower autovacuum_vacuum_scale_factor of the table")
		p.either("hot", updates < manyDead || hot*2 >= updates, fmt.Sprintf("%d of %d updates needed no index", hot, updates), note, fmt.Sprintf("only %d of %d updates needed no index (HOT)", hot, updates),
			"Set fillfactor as in gensession schema, and have no index of data, version or expires_at")
	}
	if row := p.ask(ctx, "bloat", `SELECT pg_table_size($1::bigint::oid), pg_indexes_size($1::bigint::oid), COALESCE((SELECT sum(avg_width) FROM pg_stats WHERE schemaname = n.nspname AND tablename = c.relname), 0), GREATEST(c.reltuples, 0)::bigint
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::bigint::oid`, oid); row != nil {
		table, indexes, width, rows := number(row[0]), number(row[1]), number(row[2]), number(row[3])
		p.bloat(table, indexes, rows*(width+28)*10/7, "VACUUM FULL gives the space back, and locks the table meanwhile; pg_repack does not lock it")
	}
}

// bloat compares the size of the table with what its rows need.
func (p *clinic) bloat(table, indexes, needed int64, remedy string) {
	text := fmt.Sprintf("the table has %s and its indexes %s, the rows need about %s", size(table), size(indexes), size(needed))
	p.either("bloat", table < muchSpace || table < 4*needed, text, note, text, remedy)
}

func (p *clinic) mysql(ctx context.Context) {
	v, ok := p.value(ctx, "version", "SELECT @@version")
	if ok {
		var major, minor int
		_, _ = fmt.Sscanf(v, "%d.%d", &major, &minor)
		least, name := 800, "MySQL "
		if strings.Contains(v, "MariaDB") {
			least, name = 1006, "MariaDB "
		}
		p.either("version", 100*major+minor >= least, name+v, fault, name+v+" is too old", "Use MariaDB 10.6, MySQL 8 or newer")
	}
	if v, ok := p.value(ctx, "role", "SELECT @@global.read_only"); ok {
		p.either("role", v == "0", "the server may be written", fault, "the server is read-only, as a replica is", "Give the application the address of the primary")
	}
	if v, ok := p.value(ctx, "durability", "SELECT @@global.innodb_flush_log_at_trx_commit"); ok {
		p.either("durability", v == "1", "each commit is on the disk", note, "innodb_flush_log_at_trx_commit is "+v, "When the machine fails, the last logins and logouts are undone")
	}
	if v, ok := p.value(ctx, "packet", "SELECT @@global.max_allowed_packet"); ok {
		p.either("packet", number(v) >= 1<<20, "max_allowed_packet is "+size(number(v)), fault, "max_allowed_packet is "+size(number(v)), "Options.MaxSize of an application is 256 KiB by default: set it to 16M")
	}
	const now = "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(6)) DIV 1000)"
	began := time.Now()
	if v, ok := p.value(ctx, "clock", "SELECT "+now); ok {
		p.clock(time.UnixMilli(number(v)), began, time.Now())
	}
	of := "table_schema = COALESCE(NULLIF(?, ''), DATABASE()) AND table_name = ?"
	row := p.ask(ctx, "table", "SELECT engine, data_length, index_length, data_free, table_rows, avg_row_length FROM information_schema.tables WHERE "+of, p.schema, p.table)
	if !p.inTable(ctx, row != nil) {
		return
	}
	p.either("engine", strings.EqualFold(row[0], "InnoDB"), "InnoDB", fault, "the engine is "+row[0], "It has neither transactions nor locks of rows: ALTER TABLE … ENGINE=InnoDB")
	if v, ok := p.value(ctx, "keys", "SELECT CONCAT(data_type, ' ', COALESCE(collation_name, '')) FROM information_schema.columns WHERE "+of+" AND column_name = 'session_key'", p.schema, p.table); ok {
		p.either("keys", strings.HasPrefix(v, "varbinary") || strings.HasSuffix(v, "_bin"), "keys are compared byte by byte", fault, "the column session_key is "+v,
			"Keys that differ in case are one to it, and people get each other's sessions: make the table as gensession schema does")
	}
	p.indexes(ctx, "SELECT count(*) FROM information_schema.statistics WHERE "+of+" AND seq_in_index = 1 AND column_name = ?", p.schema, p.table)
	name := "`" + p.table + "`"
	if p.schema != "" {
		name = "`" + p.schema + "`." + name
	}
	p.sweeping(ctx, name, now)
	p.bloat(number(row[1])+number(row[3]), number(row[2]), number(row[1]), "OPTIMIZE TABLE gives the space back")
}

func (p *patient) sqlite(ctx context.Context, a address) error {
	file, err := filepath.Abs(a.rest)
	if err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if runtime.GOOS != "windows" {
		p.either("file", info.Mode().Perm()&0o077 == 0, "nobody but its owner can read it", fault, fmt.Sprintf("its mode is %v", info.Mode().Perm()),
			"Whoever can read it can read all sessions: chmod 600, also of the files beside it (-wal, -shm)")
	}
	// As it is, before the store opens it in its own way.
	db, err := sql.Open("sqlite", fileURL(file, "ro"))
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	c := &clinic{patient: p, db: db, dialect: sqlstore.SQLite}
	_, c.table = p.c.tableName()
	if v, ok := c.value(ctx, "version", "SELECT sqlite_version()"); ok {
		p.find("version", fine, "SQLite "+v, "")
	}
	ctxAll, cancel := context.WithTimeout(ctx, p.c.timeout)
	defer cancel()
	var answer string
	if err := db.QueryRowContext(ctxAll, "PRAGMA integrity_check(1)").Scan(&answer); err != nil {
		answer = err.Error()
	}
	p.either("integrity", answer == "ok", "the file is whole", fault, "the file is damaged: "+answer, "Stop the application, keep a copy, and try the command .recover of sqlite3, or begin with an empty file: all have to log in again")
	if answer != "ok" {
		return nil
	}
	if v, ok := c.value(ctx, "journal", "PRAGMA journal_mode"); ok {
		p.either("journal", v == "wal", "it has a write-ahead log", note, "journal_mode is "+v, "The store changes it to wal when it opens the file: so another program opens it, too, or no store has yet")
	}
	wal, _ := os.Stat(file + "-wal")
	var length int64
	if wal != nil {
		length = wal.Size()
	}
	p.either("log", length < 64<<20, "the write-ahead log has "+size(length), note, "the write-ahead log has "+size(length), "Some process reads for very long, or has stopped while it did: the log can't move into the file")
	// A store makes it when it opens the file, and shorter where the disk is full.
	if reserve, err := os.Stat(file + "-reserve"); err == nil {
		p.either("reserve", reserve.Size() >= 2<<20, "users could log out on a full disk", fault, "the disk is full, or was: of the reserve for logouts "+size(reserve.Size())+" are left",
			"No session is stored until there is room again: make some, but not by removing the reserve")
	}
	if row := c.ask(ctx, "bloat", "SELECT (SELECT page_count FROM pragma_page_count), (SELECT freelist_count FROM pragma_freelist_count), (SELECT page_size FROM pragma_page_size)"); row != nil {
		pages, free, page := number(row[0]), number(row[1]), number(row[2])
		c.bloat(pages*page, 0, (pages-free)*page, "VACUUM gives the space back, and locks the file meanwhile")
	}
	there, ok := c.value(ctx, "table", "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?", c.table)
	if !ok {
		return nil
	}
	p.either("table", there != "0", "it is there", fault, "there is no table "+c.table, noTable)
	if there == "0" {
		return nil
	}
	c.columns(ctx)
	c.indexes(ctx, "SELECT count(*) FROM pragma_index_list(?) l, pragma_index_info(l.name) i WHERE i.seqno = 0 AND i.name = ?", c.table)
	c.sweeping(ctx, `"`+c.table+`"`, "CAST(round(unixepoch('subsec') * 1000) AS INTEGER)")
	s, err := p.c.open()
	if err != nil {
		return err
	}
	defer s.Close()
	p.use(ctx, s, "The user of the application needs to write the file and its folder")
	return nil
}

// fileURL is the name of a file for the driver, which does not make it.
func fileURL(file, mode string) string {
	path := filepath.ToSlash(file)
	if !strings.HasPrefix(path, "/") { // C:/…
		path = "/" + path
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: url.Values{"mode": {mode}, "_busy_timeout": {"5000"}}.Encode()}).String()
}
