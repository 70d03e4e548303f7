// Package databases_test tests stores/sql on servers of PostgreSQL and MariaDB, and on
// a MySQL where MYSQL_DSN names one, with the drivers that most programs have. It is
// a module of its own, so that no user of the store gets a driver with it.
package databases_test

import (
	"crypto/rand"
	"database/sql"
	"os"
	"strings"
	"testing"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"go.uber.org/goleak"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/servers"
	sqlstore "github.com/gensession/gensession/stores/sql"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(servers.Main(m)) }

// openDB opens a pool that is closed at the end of the test.
func openDB(t testing.TB, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxIdleConns(20)
	t.Cleanup(func() { db.Close() })
	return db
}

// table returns a name that no other test uses.
func table() string { return "t_" + strings.ToLower(rand.Text()[:20]) }

// open makes a store, in a table of its own if o names none.
func open(t testing.TB, db *sql.DB, d sqlstore.Dialect, o sqlstore.Options) *sqlstore.Store {
	t.Helper()
	if o.Table == "" {
		o.Table = table()
	}
	s, err := sqlstore.New(db, d, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.CreateTable(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// A database is a server with its driver.
type database struct {
	name    string
	dialect sqlstore.Dialect
	db      func(t testing.TB) *sql.DB
}

var databases = []database{
	{"postgres", sqlstore.PostgreSQL, func(t testing.TB) *sql.DB {
		return openDB(t, "pgx", servers.SharedPostgres(t).URL())
	}},
	{"mariadb", sqlstore.MySQL, func(t testing.TB) *sql.DB {
		return openDB(t, "mysql", servers.SharedMariaDB(t).DSN()+"?interpolateParams=true")
	}},
	{"mysql", sqlstore.MySQL, func(t testing.TB) *sql.DB {
		dsn := os.Getenv("MYSQL_DSN")
		if dsn == "" {
			t.Skip("MYSQL_DSN names no MySQL to test on")
		}
		return openDB(t, "mysql", dsn)
	}},
}

// eachDatabase runs a test on each database.
func eachDatabase(t *testing.T, test func(t *testing.T, d database, db *sql.DB)) {
	for _, d := range databases {
		t.Run(d.name, func(t *testing.T) { test(t, d, d.db(t)) })
	}
}

func TestStore(t *testing.T) {
	eachDatabase(t, func(t *testing.T, d database, db *sql.DB) {
		storetest.Run(t, func(t *testing.T) core.Store { return open(t, db, d.dialect, sqlstore.Options{}) })
	})
}
