package sqlstore_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	sqlstore "github.com/gensession/gensession/stores/sql"
)

const secret = "the-secret-key"

// The errors of three drivers, as far as the store looks at them. Their texts quote.
type postgresError struct{ code string }

func (e *postgresError) Error() string {
	return "ERROR: Key (session_key)=(" + secret + ") already exists"
}
func (e *postgresError) SQLState() string { return e.code }

type mysqlError struct{ Number uint16 }

func (e *mysqlError) Error() string { return "Error: Duplicate entry '" + secret + "'" }

type sqliteError struct{ code int }

func (e *sqliteError) Error() string { return "no such thing as " + secret }
func (e *sqliteError) Code() int     { return e.code }

// mattn/go-sqlite3 has fields.
type otherSQLiteError struct {
	Code         errNo
	ExtendedCode errNo
}

type errNo int

func (e otherSQLiteError) Error() string { return secret }

func TestErrorsHaveTheirClass(t *testing.T) {
	refused, unavailable, timeout, large := core.ErrRefused, core.ErrUnavailable, core.ErrTimeout, core.ErrTooLarge
	for _, c := range []struct {
		d     sqlstore.Dialect
		err   error
		read  error // its class for a read
		write error // and for a write
		code  string
	}{
		{sqlstore.PostgreSQL, &postgresError{"53100"}, refused, refused, "53100"},
		{sqlstore.PostgreSQL, &postgresError{"42P01"}, refused, refused, "CreateTable"},
		{sqlstore.PostgreSQL, &postgresError{"3F000"}, refused, refused, "schema is missing"},
		{sqlstore.PostgreSQL, &postgresError{"42501"}, refused, refused, "42501"},
		{sqlstore.PostgreSQL, &postgresError{"57014"}, timeout, timeout, "57014"},
		{sqlstore.PostgreSQL, &postgresError{"57P01"}, unavailable, core.ErrOutcomeUnknown, "57P01"},
		{sqlstore.PostgreSQL, &postgresError{"57P05"}, unavailable, unavailable, "idle"},
		{sqlstore.MySQL, &mysqlError{1047}, unavailable, unavailable, "1047"},
		{sqlstore.PostgreSQL, &postgresError{"57P03"}, unavailable, unavailable, "57P03"},
		{sqlstore.PostgreSQL, &postgresError{"53300"}, unavailable, unavailable, "53300"},
		{sqlstore.PostgreSQL, &postgresError{"08006"}, unavailable, core.ErrOutcomeUnknown, "08006"},
		{sqlstore.PostgreSQL, &postgresError{"25006"}, unavailable, unavailable, "read-only"},
		{sqlstore.PostgreSQL, &postgresError{"42P05"}, refused, refused, "prepares statements"},
		{sqlstore.PostgreSQL, &postgresError{"23514"}, refused, refused, "23514"},
		{sqlstore.PostgreSQL, fmt.Errorf("wrapped: %w", &postgresError{"XX001"}), refused, refused, "damaged"},
		{sqlstore.MySQL, &mysqlError{1114}, refused, refused, "1114"},
		{sqlstore.MySQL, &mysqlError{1146}, refused, refused, "CreateTable"},
		{sqlstore.MySQL, &mysqlError{1153}, large, large, "1153"},
		{sqlstore.MySQL, &mysqlError{1969}, timeout, timeout, "1969"},
		{sqlstore.MySQL, &mysqlError{1053}, unavailable, core.ErrOutcomeUnknown, "1053"},
		{sqlstore.MySQL, &mysqlError{1290}, unavailable, unavailable, "read-only"},
		{sqlstore.MySQL, fmt.Errorf("wrapped: %w", &mysqlError{1064}), refused, refused, "1064"},
		{sqlstore.MySQL, errors.New("packet for query is too large. Try adjusting the `Config.MaxAllowedPacket`"), large, large, ""},
		{sqlstore.SQLite, &sqliteError{8}, refused, refused, "read-only"},
		{sqlstore.SQLite, &sqliteError{13}, refused, refused, "full"},
		{sqlstore.SQLite, &sqliteError{11 | 1<<8}, refused, refused, "damaged"},
		{sqlstore.SQLite, &sqliteError{26}, refused, refused, "damaged"},
		{sqlstore.SQLite, &sqliteError{10 | 3<<8}, refused, refused, "read or written"},
		{sqlstore.SQLite, &sqliteError{14}, unavailable, unavailable, "opened"},
		{sqlstore.SQLite, otherSQLiteError{13, 13}, refused, refused, "full"},
		{sqlstore.SQLite, errors.New("something else about " + secret), unavailable, core.ErrOutcomeUnknown, "broke"},
		{sqlstore.PostgreSQL, fmt.Errorf("of the driver: %w", os.ErrInvalid), unavailable, core.ErrOutcomeUnknown, "*errors.errorString"},
		{sqlstore.PostgreSQL, io.ErrUnexpectedEOF, unavailable, core.ErrOutcomeUnknown, "EOF"},
		{sqlstore.MySQL, &net.OpError{Op: "read", Net: "tcp", Err: errors.New("reset")}, unavailable, core.ErrOutcomeUnknown, "reset"},
	} {
		for name, call := range map[string]func(s *sqlstore.Store) error{
			"read":    func(s *sqlstore.Store) error { return second(s.Get(t.Context(), secret)) },
			"write":   func(s *sqlstore.Store) error { return s.Set(t.Context(), secret, []byte(secret), hour) },
			"destroy": func(s *sqlstore.Store) error { return s.Destroy(t.Context(), secret) },
			"touch":   func(s *sqlstore.Store) error { return s.Touch(t.Context(), secret, hour) },
			"swap": func(s *sqlstore.Store) error {
				return second(s.SetVersion(t.Context(), secret, []byte(secret), hour, 1))
			},
			"removal": func(s *sqlstore.Store) error {
				return second(s.Batch(t.Context(), core.Write{Key: secret, Version: 1}))
			},
			"sweeping": func(s *sqlstore.Store) error { return second(s.Sweep(t.Context())) },
		} {
			s, f := open(t, c.d)
			for range 20 { // for tries over other connections
				f.answers = append(f.answers, answer{err: c.err})
			}
			err := call(s)
			want := c.write
			if name == "read" || name == "sweeping" && c.d != sqlstore.PostgreSQL {
				want = c.read
			}
			if !errors.Is(err, want) {
				t.Errorf("%v: %T %v: %s is %v, not %v", c.d, c.err, c.code, name, err, want)
			}
			if errors.Is(err, core.ErrOutcomeUnknown) && errors.Is(err, core.ErrUnavailable) {
				t.Errorf("%v is both", err)
			}
			if err != nil && (strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), c.code)) {
				t.Errorf("%v: the text is %q", c.d, err)
			}
			for e := err; e != nil; e = errors.Unwrap(e) {
				if strings.Contains(fmt.Sprintf("%+v", e), secret) {
					t.Errorf("%v: %T quotes", c.d, e)
				}
			}
		}
	}
}

// A driver that looks at ctx before it sends may return what it returns for a dead
// connection. That is no outage: it is nothing but the end of ctx.
func TestAContextThatEndsBeforeItIsSent(t *testing.T) {
	for _, d := range dialects {
		for end, want := range map[error]error{context.Canceled: context.Canceled, context.DeadlineExceeded: core.ErrTimeout} {
			ctx := &endingContext{Context: t.Context()}
			s, f := open(t, d, answer{err: driver.ErrBadConn, before: func() { ctx.end.Store(&end) }})
			err := s.Destroy(ctx, secret)
			if !errors.Is(err, want) || !errors.Is(err, end) || strings.Contains(err.Error(), "no connection") || errors.Is(err, core.ErrOutcomeUnknown) {
				t.Errorf("%v: %v, not %v", d, err, want)
			}
			if n := len(f.said()); n != 1 {
				t.Errorf("%v: %d tries", d, n)
			}
		}
	}
}

// An endingContext ends when it is told to.
type endingContext struct {
	context.Context
	end atomic.Pointer[error]
}

func (c *endingContext) Err() error {
	if end := c.end.Load(); end != nil {
		return *end
	}
	return c.Context.Err()
}

// What was certainly not carried out is tried again until it works or the deadline is
// over.
func TestTriedAgain(t *testing.T) {
	for _, c := range []struct {
		d   sqlstore.Dialect
		err error
	}{
		{sqlstore.PostgreSQL, &postgresError{"40001"}}, {sqlstore.PostgreSQL, &postgresError{"40P01"}}, {sqlstore.PostgreSQL, &postgresError{"0A000"}},
		{sqlstore.PostgreSQL, &postgresError{"25006"}}, {sqlstore.PostgreSQL, &postgresError{"26000"}}, {sqlstore.PostgreSQL, &postgresError{"57P05"}}, {sqlstore.PostgreSQL, &postgresError{"42P05"}},
		{sqlstore.MySQL, &mysqlError{1213}}, {sqlstore.MySQL, &mysqlError{1205}}, {sqlstore.MySQL, &mysqlError{1290}},
		{sqlstore.SQLite, &sqliteError{17}}, {sqlstore.SQLite, errors.Join(fmt.Errorf("wrapped: %w", &sqliteError{5}))},
		{sqlstore.SQLite, &sqliteError{5}}, {sqlstore.SQLite, &sqliteError{5 | 2<<8}}, {sqlstore.SQLite, otherSQLiteError{6, 6 | 1<<8}},
		{sqlstore.PostgreSQL, driver.ErrBadConn}, {sqlstore.MySQL, driver.ErrBadConn},
	} {
		s, f := open(t, c.d, answer{err: c.err}, answer{err: c.err})
		if err := s.Destroy(t.Context(), "k"); err != nil {
			t.Errorf("%v: %v: %v", c.d, c.err, err)
		}
		if n := len(f.said()); n != 3 {
			t.Errorf("%v: %v: %d tries, not 3", c.d, c.err, n)
		}
		if errors.Is(c.err, driver.ErrBadConn) && f.dialed.Load() < 3 {
			t.Errorf("%v: %d connections, not 3", c.d, f.dialed.Load())
		}
	}
	endless := make([]answer, 1000)
	for i := range endless {
		endless[i].err = &postgresError{"40P01"}
	}
	s, f := open(t, sqlstore.PostgreSQL, endless...)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Destroy(ctx, "k"); !errors.Is(err, core.ErrTimeout) || errors.Is(err, core.ErrOutcomeUnknown) || !strings.Contains(err.Error(), "40P01") {
		t.Error(err)
	}
	if n := len(f.said()); n < 3 {
		t.Errorf("%d tries", n)
	}
}

// The settings of MariaDB cost each connection two questions, and no call after that.
func TestAConnectionIsAskedForItsSettingsOnce(t *testing.T) {
	for _, d := range dialects {
		s, f := open(t, d)
		for n := range 50 {
			if n%10 == 0 { // the connection is of no use any more
				f.answers = []answer{{err: driver.ErrBadConn}}
			}
			if err := s.Touch(t.Context(), "k", hour); err != nil {
				t.Fatal(err)
			}
		}
		asked, dialed := f.asked.Load(), f.dialed.Load() // probes dial, too, at any time
		if d == sqlstore.MySQL && (asked < 6 || asked > dialed) || d != sqlstore.MySQL && asked != 0 {
			t.Errorf("%v: %d of %d connections were asked", d, asked, dialed)
		}
	}
}

// wrapping is a driver that wraps another, such as for traces.
type wrapping struct{ driver.Driver }

// What is below a driver that wraps another is not known: where lib/pq is, that nothing
// was sent is not known either, and a write must not be made twice.
func TestADriverThatWrapsAnother(t *testing.T) {
	for _, d := range dialects {
		f := &fake{driver: &wrapping{}, answers: []answer{{err: driver.ErrBadConn}}}
		db := sql.OpenDB(f)
		s, err := sqlstore.New(db, d, &sqlstore.Options{NoSweep: true})
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = s.Append(t.Context(), "k", []byte("x"))
		if d == sqlstore.PostgreSQL && (!errors.Is(err, core.ErrOutcomeUnknown) || len(f.said()) != 1) {
			t.Errorf("%v: a write: %v", d, err)
		} else if d != sqlstore.PostgreSQL && errors.Is(err, core.ErrOutcomeUnknown) {
			t.Errorf("%v: a write that was not sent: %v", d, err)
		}
		f.said()
		f.answers = []answer{{err: driver.ErrBadConn}}
		if _, err = s.Get(t.Context(), "k"); !errors.Is(err, core.ErrNotFound) || len(f.said()) != 2 {
			t.Errorf("%v: a read is not made again: %v", d, err)
		}
		s.Close()
		db.Close()
	}
}

// A transaction that broke before its end is certainly not carried out; one that broke
// at its end may be.
func TestABatchThatBreaks(t *testing.T) {
	move := []core.Write{{Key: "a", Data: []byte("x"), TTL: hour}, {Key: "b", Version: 7}}
	for at := range 4 {
		answers := make([]answer, at, 100)
		for i := range answers {
			answers[i].changed = 1
		}
		answers = append(answers, answer{err: io.EOF})
		s, f := open(t, sqlstore.MySQL, answers...)
		_, err := s.Batch(t.Context(), move...)
		if at < 3 && err != nil {
			t.Errorf("at %d: it was not made again: %v", at, err)
		}
		if at == 3 && (!errors.Is(err, core.ErrOutcomeUnknown) || len(f.said()) != 4) {
			t.Errorf("at the end: %v", err)
		}
	}
}
