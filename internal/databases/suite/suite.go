// Package suite tests stores/sql on a real server, which the package that runs the
// tests starts. It is apart for each database, so that these run beside each other.
package suite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	sqlstore "github.com/gensession/gensession/stores/sql"
)

// A Server is a server of a test.
type Server interface {
	Addr() string
	Kill()
	Start()
	Pause()
	Resume()
}

// A Kind is a database with its driver.
type Kind struct {
	Dialect sqlstore.Dialect
	Driver  string

	// DSN is what the driver wants for a server at addr, Admin that of a user who may
	// do everything. more is a setting of the session, such as "statement_timeout=50".
	DSN   func(addr, more string) string
	Admin func(addr string) string

	// Shared returns the address of a server of all tests, Own a server of one test.
	Shared func(t testing.TB) string
	Own    func(t testing.TB) Server

	Timeout  string   // a setting that ends each statement after some milliseconds
	ReadOnly []string // statements of an administrator, and those that undo them
	Writable []string

	// Quoting makes a table whose errors quote keys and payloads.
	Quoting func(table string) []string

	// Full, if it is not nil, returns a server whose tables can't grow without end. Filler is a statement
	// that adds rows of some hundred bytes to a table, with the number of them and a
	// beginning of their keys. Limit, if it is not nil, makes the table unable to grow,
	// or able again; it must have some size before.
	Full   func(t testing.TB) Server
	Filler string
	Limit  func(s Server, db *sql.DB, table string, on bool)

	// Deadlocks is the query that says how many there were.
	Deadlocks string
}

// Open opens a pool that is closed at the end of the test.
func Open(t testing.TB, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(60)
	db.SetMaxIdleConns(20)
	t.Cleanup(func() { db.Close() })
	return db
}

func (k *Kind) shared(t testing.TB, more string) *sql.DB {
	t.Helper()
	return Open(t, k.Driver, k.DSN(k.Shared(t), more))
}

func (k *Kind) admin(t testing.TB, addr string) *sql.DB {
	t.Helper()
	return Open(t, k.Driver, k.Admin(addr))
}

// Do executes statements as an administrator.
func (k *Kind) Do(t testing.TB, addr string, statements ...string) {
	t.Helper()
	db, err := sql.Open(k.Driver, k.Admin(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range statements {
		if _, err := db.ExecContext(context.Background(), s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
}

// Table returns a name that no other test uses.
func Table() string { return "t_" + strings.ToLower(rand.Text()[:20]) }

// store makes a store, in a table of its own if o names none.
func (k *Kind) store(t testing.TB, db *sql.DB, o sqlstore.Options) *sqlstore.Store {
	t.Helper()
	if o.Table == "" {
		o.Table = Table()
	}
	s, err := sqlstore.New(db, k.Dialect, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.CreateTable(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// Run runs all tests.
func Run(t *testing.T, k Kind) {
	t.Run("Store", func(t *testing.T) {
		db := k.shared(t, "")
		storetest.Run(t, func(t *testing.T) core.Store { return k.store(t, db, sqlstore.Options{}) })
	})
	for name, test := range map[string]func(*Kind, *testing.T){
		"Schema": (*Kind).schema, "NoTable": (*Kind).noTable, "Errors": (*Kind).errors, "Timeout": (*Kind).timeout,
		"Deadlocks": (*Kind).deadlocks, "Sweep": (*Kind).sweep, "Sweepers": (*Kind).sweepers, "Rows": (*Kind).rows,
	} {
		t.Run(name, func(t *testing.T) { test(&k, t) })
	}
	if t.Failed() {
		return
	}
	k.faults(t)
}

const hour = time.Hour
