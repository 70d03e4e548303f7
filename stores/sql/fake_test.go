package sqlstore_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	sqlstore "github.com/gensession/gensession/stores/sql"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fake is a driver that records statements, and answers each with the next of its
// answers, and then with one row changed and none found.
type fake struct {
	mu      sync.Mutex
	sent    []sent
	answers []answer
	dialed  atomic.Int32
	asked   atomic.Int32 // for settings
	driver  driver.Driver
}

type sent struct {
	text string
	args []any
}

type answer struct {
	err     error
	panics  any    // in place of an answer
	before  func() // is called first
	changed int64
	row     []driver.Value // nil: no row
}

func (f *fake) Connect(context.Context) (driver.Conn, error) {
	f.dialed.Add(1)
	return &fakeConn{f}, nil
}

func (f *fake) Driver() driver.Driver { return f.driver }

func (f *fake) answer(text string, args []driver.NamedValue) answer {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := sent{text: text}
	for _, a := range args {
		s.args = append(s.args, a.Value)
	}
	f.sent = append(f.sent, s)
	if len(f.answers) == 0 {
		return answer{changed: 1}
	}
	a := f.answers[0]
	f.answers = f.answers[1:]
	if a.before != nil {
		a.before()
	}
	if a.panics != nil {
		panic(a.panics)
	}
	return a
}

// said returns what was sent since the last call.
func (f *fake) said() []sent {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.sent
	f.sent = nil
	return all
}

type fakeConn struct{ f *fake }

func (c *fakeConn) Prepare(string) (driver.Stmt, error) { panic("a statement was prepared") }
func (c *fakeConn) Begin() (driver.Tx, error)           { panic("a transaction of database/sql was begun") }
func (c *fakeConn) Close() error                        { return nil }

func (c *fakeConn) ExecContext(_ context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	a := c.f.answer(text, args)
	return driver.RowsAffected(a.changed), a.err
}

func (c *fakeConn) QueryContext(_ context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	if strings.HasPrefix(text, "SHOW ") { // of settings
		c.f.asked.Add(1)
		return &fakeRows{[]driver.Value{"tx_isolation", "REPEATABLE-READ"}}, nil
	}
	if !strings.Contains(text, "gensession") { // a probe, at any time
		return &fakeRows{[]driver.Value{int64(0)}}, nil
	}
	a := c.f.answer(text, args)
	if a.err != nil {
		return nil, a.err
	}
	return &fakeRows{a.row}, nil
}

type fakeRows struct{ row []driver.Value }

func (r *fakeRows) Columns() []string {
	return []string{"a", "b"}[:min(2, max(1, len(r.row)))]
}
func (r *fakeRows) Close() error { return nil }
func (r *fakeRows) Next(into []driver.Value) error {
	if r.row == nil {
		return io.EOF
	}
	copy(into, r.row)
	r.row = nil
	return nil
}

// open makes a store on a fake database.
func open(t testing.TB, d sqlstore.Dialect, answers ...answer) (*sqlstore.Store, *fake) {
	t.Helper()
	f := &fake{answers: answers}
	db := sql.OpenDB(f)
	s, err := sqlstore.New(db, d, &sqlstore.Options{NoSweep: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); db.Close() })
	return s, f
}

var dialects = []sqlstore.Dialect{sqlstore.PostgreSQL, sqlstore.MySQL, sqlstore.SQLite}

const hour = time.Hour
