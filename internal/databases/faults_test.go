package databases_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/faultproxy"
	"github.com/gensession/gensession/internal/servers"
	sqlstore "github.com/gensession/gensession/stores/sql"
)

const largest = 1 << 20

// on returns what opens stores for storetest.Faults, all in one table, which is made
// while the server is well.
func on(t testing.TB, driver, dsn, direct string, d sqlstore.Dialect) func(t testing.TB) (core.Store, func()) {
	t.Helper()
	o := sqlstore.Options{Table: table(), MaxSize: largest}
	maker, err := sqlstore.New(openDB(t, driver, direct), d, &o)
	if err != nil {
		t.Fatal(err)
	}
	defer maker.Close()
	if err := maker.CreateTable(t.Context()); err != nil {
		t.Fatal(err)
	}
	return func(t testing.TB) (core.Store, func()) {
		db, err := sql.Open(driver, dsn)
		if err != nil {
			t.Fatal(err)
		}
		db.SetMaxOpenConns(50)
		db.SetMaxIdleConns(20)
		s, err := sqlstore.New(db, d, &o)
		if err != nil {
			t.Fatal(err)
		}
		return s, func() { s.Close(); db.Close() }
	}
}

// do executes a statement as an administrator.
func do(t testing.TB, driver, dsn string, statements ...string) {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func TestFaultsOnPostgres(t *testing.T) {
	server := servers.Postgres(t)
	readOnly := func(on string) {
		do(t, "pgx", server.URL(), "SET default_transaction_read_only = off", "ALTER SYSTEM SET default_transaction_read_only = "+on, "SELECT pg_reload_conf()")
		time.Sleep(100 * time.Millisecond) // until the backends have read it
	}
	storetest.Faults(t, storetest.Server{
		Stop: server.Kill, Start: server.Start,
		Pause: server.Pause, Resume: server.Resume,
		ReadOnly: func() func() {
			readOnly("on")
			return func() { readOnly("off") }
		},
		TooLarge: largest + 1,
	}, on(t, "pgx", server.URL(), server.URL(), sqlstore.PostgreSQL))

	proxy := faultproxy.New(t, server.Addr())
	storetest.Faults(t, storetest.Server{Cut: func() { proxy.CutAll(faultproxy.Reset) }},
		on(t, "pgx", server.At(proxy.Addr()), server.URL(), sqlstore.PostgreSQL))
}

func TestFaultsOnMariaDB(t *testing.T) {
	server := servers.MariaDB(t)
	storetest.Faults(t, storetest.Server{
		Stop: server.Kill, Start: server.Start,
		Pause: server.Pause, Resume: server.Resume,
		ReadOnly: func() func() {
			do(t, "mysql", server.AdminDSN(), "SET GLOBAL read_only = 1")
			return func() { do(t, "mysql", server.AdminDSN(), "SET GLOBAL read_only = 0") }
		},
		TooLarge: largest + 1,
	}, on(t, "mysql", server.DSN(), server.DSN(), sqlstore.MySQL))

	proxy := faultproxy.New(t, server.Addr())
	storetest.Faults(t, storetest.Server{Cut: func() { proxy.CutAll(faultproxy.Reset) }},
		on(t, "mysql", server.At(proxy.Addr()), server.DSN(), sqlstore.MySQL))
}
