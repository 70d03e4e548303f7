package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"strconv"
	"strings"
	"syscall"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/stores/internal/storekey"
)

// Frequent errors are created once. They contain no key.
var (
	errNotFound = fmt.Errorf("sqlstore: %w", core.ErrNotFound)
	errConflict = fmt.Errorf("sqlstore: %w", core.ErrConflict)
	errClosed   = fmt.Errorf("sqlstore: %w: it is closed", core.ErrUnavailable)
	errNegative = fmt.Errorf("sqlstore: %w: the ttl is negative", core.ErrRefused)
	errKey      = fmt.Errorf("sqlstore: %w: %s", core.ErrRefused, storekey.Rule)
	errTooLarge = fmt.Errorf("sqlstore: %w for Options.MaxSize", core.ErrTooLarge)
	errRemoval  = fmt.Errorf("sqlstore: %w: a removal without a version", core.ErrRefused)
	errTwice    = fmt.Errorf("sqlstore: %w: two writes of one key", core.ErrRefused)
	errReadOnly = errors.New("sqlstore: the database is read-only, as a standby is")
)

// Settings of a session with which the store does not work.
var (
	errAutocommit  = setting("autocommit is off", "autocommit=1")
	errEmptyIsNull = setting("sql_mode has EMPTY_STRING_IS_NULL", "another sql_mode")
	errUncommitted = setting("the isolation level is READ UNCOMMITTED", "another level")
)

type settingError struct{ error }

func (e settingError) Unwrap() error { return e.error }

func setting(bad, good string) error {
	return settingError{fmt.Errorf("sqlstore: %w: %s in the sessions of this pool: set %s in the DSN, or change the server's settings or its init_connect", core.ErrRefused, bad, good)}
}

// A fault is what the error of a driver tells.
type fault struct {
	class  error  // of core; nil for a caller that has cancelled
	code   string // the SQLSTATE or the number that the server has given, "" if it has given none
	text   string // what is known of the cause, in our words
	cause  error  // an error without key and payload, to be wrapped; or nil
	health verdict

	undone bool // it was certainly not carried out
	again  bool // and may go well the next time
	stale  bool // and on another connection
	drop   bool // the connection is of no use any more

	readOnly bool  // the server takes no writes
	noTable  bool  // the table is missing
	whole    error // instead of all that
}

// verdict is what a fault tells about the server.
type verdict uint8

const (
	answered verdict = iota // it replied with an error
	lost                    // it is unreachable, not ready, or read-only
	late                    // it did not reply in time
	left                    // nothing: the caller cancelled
)

// Error returns the class, the code and the cause. It never returns the text of a
// server: servers quote keys and values in theirs.
func (f *fault) error() error {
	if f == nil {
		return nil
	}
	if f.whole != nil {
		return f.whole
	}
	text := f.text
	if f.code != "" {
		if text != "" {
			text += " "
		}
		text += "(" + f.code + ")"
	}
	switch {
	case f.class == nil:
		return fmt.Errorf("sqlstore: %w", f.cause)
	case f.cause != nil && text != "":
		return fmt.Errorf("sqlstore: %w: %s: %w", f.class, text, f.cause)
	case f.cause != nil:
		return fmt.Errorf("sqlstore: %w: %w", f.class, f.cause)
	}
	return fmt.Errorf("sqlstore: %w: %s", f.class, text)
}

// unsent is the error of a ctx that ended before anything was sent.
func unsent(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("sqlstore: %w: %w", core.ErrTimeout, err)
	}
	return fmt.Errorf("sqlstore: %w", err)
}

// An unappliedError is the error of a step of a transaction before its end: the
// server carries out nothing of it.
type unappliedError struct{ error }

func (e unappliedError) Unwrap() error { return e.error }

// An appliedError is the error of a statement after the one that was carried out.
type appliedError struct{ error }

func (e appliedError) Unwrap() error { return e.error }

// A vagueError is a driver.ErrBadConn of a driver that may return it for a reply that did
// not come, too, although it means to others that nothing was sent: lib/pq does.
type vagueError struct{ error }

func (e vagueError) Unwrap() error { return e.error }

// isVague reports whether the errors of a driver are vague. Of those for PostgreSQL that is
// all but pgx: what wraps a driver, such as for traces, does not tell whether lib/pq is
// below.
func (d Dialect) isVague(of driver.Driver) bool {
	t := reflect.TypeOf(of)
	if t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return d == PostgreSQL && t != nil && !strings.HasPrefix(t.PkgPath(), "github.com/jackc/pgx/")
}

// classify returns what err tells, which a driver has returned for a statement, or
// for a connection if connecting.
func (d Dialect) classify(ctx context.Context, err error, reads, connecting bool) fault {
	if e, ok := errors.AsType[settingError](err); ok {
		return fault{whole: e.error, undone: true, health: lost, drop: true} // the next connection may have others
	}
	f := d.classifyStep(ctx, err, reads, connecting)
	if _, applied := errors.AsType[appliedError](err); applied {
		f.class, f.undone, f.again = core.ErrOutcomeUnknown, false, false
	}
	return f
}

func (d Dialect) classifyStep(ctx context.Context, err error, reads, connecting bool) fault {
	_, unapplied := errors.AsType[unappliedError](err)
	f := fault{undone: reads || unapplied || connecting}
	unknown := func(class error) error {
		if f.undone {
			return class
		}
		return core.ErrOutcomeUnknown
	}
	if code := d.codeOf(err); code != "" {
		f.code = code
		d.classifyCode(&f, err)
		switch {
		case f.class == core.ErrOutcomeUnknown:
			f.class = unknown(core.ErrUnavailable)
		default:
			f.undone = true
		}
		if f.health == lost {
			f.drop = true
		}
		return f
	}
	f.drop = true
	ended := ctx.Err()
	never := neverSent(err)
	f.undone = f.undone || never
	switch {
	case never && ended == nil: // else the driver says so since it looked at ctx before
		f.class, f.health, f.again, f.stale = core.ErrUnavailable, lost, true, true
		f.text, f.cause = "no connection", plain(err)
	case errors.Is(err, context.Canceled) || ended == context.Canceled:
		f.health, f.cause = left, context.Canceled
		f.class = unknown(nil)
	case errors.Is(err, context.DeadlineExceeded) || ended != nil || timedOut(err):
		f.health, f.cause = late, context.DeadlineExceeded
		f.class = unknown(core.ErrTimeout)
	case strings.HasPrefix(err.Error(), "packet for query is too large"): // of go-sql-driver
		f = fault{class: core.ErrTooLarge, text: "for the packets of the server", undone: true}
	default:
		f.class, f.health = unknown(core.ErrUnavailable), lost
		f.again, f.stale = f.undone && !connecting, true
		f.text, f.cause = "the connection broke", plain(err)
		if f.cause == nil { // perhaps the driver wants other settings
			f.text = fmt.Sprintf("the connection broke, or the driver has an error of its own (%T)", innermost(err))
		}
		if connecting {
			f.text = "no connection"
			if f.cause == nil { // nothing of a session can be in it
				f.cause = errors.New(strings.Join(strings.Fields(err.Error()), " "))
			}
		}
	}
	return f
}

// plain returns the part of err that is an error of the network, which contains
// addresses at most.
func plain(err error) error {
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return e
	}
	for _, e := range []error{io.ErrUnexpectedEOF, io.EOF, syscall.ECONNRESET, syscall.EPIPE, net.ErrClosed, driver.ErrBadConn, sql.ErrConnDone} {
		if errors.Is(err, e) {
			return e
		}
	}
	return nil
}

// innermost returns the error that the others wrap.
func innermost(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// neverSent reports whether nothing of a statement has left.
func neverSent(err error) bool {
	if _, vague := errors.AsType[vagueError](err); vague {
		return false
	}
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) {
		return true
	}
	var e interface{ SafeToRetry() bool } // of pgx
	return errors.As(err, &e) && e.SafeToRetry()
}

// timedOut reports whether err is a timeout of the connection.
func timedOut(err error) bool {
	var e net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &e) && e.Timeout()
}

// codeOf returns the code of an error that the server has returned, "" if it is
// none. The store imports no driver, and finds it in what all drivers of a kind
// have: a method, or a field.
func (d Dialect) codeOf(err error) string {
	switch d {
	case PostgreSQL:
		if e, ok := errors.AsType[interface {
			error
			SQLState() string
		}](err); ok {
			return e.SQLState()
		}
	case MySQL:
		if n, ok := numberIn(err, "Number"); ok && n > 0 {
			return strconv.FormatInt(n, 10)
		}
	case SQLite:
		if n, ok := numberIn(err, "ExtendedCode", "Code"); ok && n > 0 {
			return strconv.FormatInt(n, 10)
		}
	}
	return ""
}

// numberIn returns the first of the fields or methods with these names that err has, or
// an error that it wraps, and that is a number.
func numberIn(err error, names ...string) (int64, bool) {
	for err != nil {
		v := reflect.ValueOf(err)
		for _, name := range names {
			if m := method(v, name); m.IsValid() && m.Type().NumIn() == 0 && m.Type().NumOut() == 1 {
				if n, ok := number(m.Call(nil)[0]); ok {
					return n, true
				}
			}
			if s := reflect.Indirect(v); s.Kind() == reflect.Struct {
				if n, ok := number(s.FieldByName(name)); ok {
					return n, true
				}
			}
		}
		if joined, ok := err.(interface{ Unwrap() []error }); ok { // as those of ncruces/go-sqlite3
			for _, e := range joined.Unwrap() {
				if n, ok := numberIn(e, names...); ok {
					return n, true
				}
			}
			return 0, false
		}
		err = errors.Unwrap(err)
	}
	return 0, false
}

// method returns the method of v with the name. To reflect it is a constant: for one
// that it could not know, the linker would keep each exported method of the program.
func method(v reflect.Value, name string) reflect.Value {
	switch name {
	case "ExtendedCode":
		return v.MethodByName("ExtendedCode")
	case "Code":
		return v.MethodByName("Code")
	}
	return reflect.Value{}
}

func number(v reflect.Value) (int64, bool) {
	switch {
	case !v.IsValid():
		return 0, false
	case v.CanInt():
		return v.Int(), true
	case v.CanUint():
		return int64(v.Uint()), true // #nosec G115 -- a code
	}
	return 0, false
}

// classifyCode fills in what the code of a server means. Outcomes that are unknown
// are those of a statement that may have been carried out.
func (d Dialect) classifyCode(f *fault, err error) {
	f.class = core.ErrRefused
	switch d {
	case PostgreSQL:
		f.postgres()
	case MySQL:
		f.mysql()
	case SQLite:
		f.sqlite(err)
	}
}

const taken = "an index of the new table has the name of one that is there, perhaps of a table that was renamed: rename it, too"

func (f *fault) postgres() {
	switch f.code {
	case "40001", "40P01": // serialization, deadlock
		f.class, f.again = core.ErrUnavailable, true
	case "0A000": // the plan is of an older table
		f.again, f.stale = true, true
	case "26000", "42P05": // a proxy has another connection behind it
		f.again, f.stale, f.text = true, true, "the driver prepares statements, which a proxy before the server does not keep apart"
	case "55P03", "57014", "25P03", "25P04": // lock_timeout, statement_timeout, and the kin of a transaction
		f.class, f.health, f.text = core.ErrTimeout, late, "the server has a timeout of its own"
	case "25006":
		f.standby()
	case "53300", "57P03":
		f.class, f.health, f.text = core.ErrUnavailable, lost, "the server takes no connections now"
	case "57P05": // idle_session_timeout, which ends no connection that has something to do
		f.class, f.drop, f.again, f.stale, f.text = core.ErrUnavailable, true, true, true, "the server ended the connection, which was idle"
	case "57P01", "57P02", "57P04":
		f.class, f.health, f.stale = core.ErrOutcomeUnknown, lost, true
		f.again, f.text = f.undone, "the server ended the connection"
	case "53100", "53200", "53400", "54000", "58030":
		f.text = "the server is full"
	case "3F000":
		f.text = "the schema is missing"
	case "42P07":
		f.text = taken
	case "42P01", "42703":
		f.noTable = f.code == "42P01"
		f.text = "the table is missing, or has other columns: see Store.CreateTable"
	case "42501":
		f.text = "permission denied"
	case "28000", "28P01", "3D000":
		f.health, f.text = lost, "the server rejects the user, the password or the database"
	default:
		switch {
		case strings.HasPrefix(f.code, "08"):
			f.class, f.health, f.stale = core.ErrOutcomeUnknown, lost, true
			f.again, f.text = f.undone, "the connection broke"
		case strings.HasPrefix(f.code, "XX"):
			f.text = "the server reports an internal error or damaged data"
		default:
			f.text = "an error of the server"
		}
	}
}

func (f *fault) standby() {
	f.readOnly = true
	f.class, f.health, f.again, f.stale, f.text = core.ErrUnavailable, lost, true, true, "the server is read-only, as a standby is"
}

func (f *fault) mysql() {
	switch f.code {
	case "1213", "1205", "1020": // deadlock, waited too long for a lock, changed meanwhile
		f.class, f.again = core.ErrUnavailable, true
	case "1317", "1969", "3024":
		f.class, f.health, f.text = core.ErrTimeout, late, "the server has a timeout of its own"
	case "1290", "1836", "1792":
		f.standby()
	case "1040", "1047", "1203", "1226": // 1047: a node of a Galera cluster that is not in it
		f.class, f.health, f.text = core.ErrUnavailable, lost, "the server takes no connections now"
	case "1053", "1079", "1927", "1152", "1158", "1159", "1160", "1161":
		f.class, f.health, f.stale = core.ErrOutcomeUnknown, lost, true
		f.again, f.text = f.undone, "the server ended the connection"
	case "1114", "1021", "1026", "1030", "1037", "1038", "1041", "3":
		f.text = "the server is full"
	case "1153", "1406", "1118", "1301":
		f.class, f.text = core.ErrTooLarge, "for the server"
		f.drop = f.code == "1153" // the server closes it
	case "1146", "1054":
		f.noTable = f.code == "1146"
		f.text = "the table is missing, or has other columns: see Store.CreateTable"
	case "1142", "1143", "1227":
		f.text = "permission denied"
	case "1044", "1045", "1049", "1130", "1698":
		f.health, f.text = lost, "the server rejects the user, the password or the database"
	default:
		f.text = "an error of the server"
	}
}

func (f *fault) sqlite(err error) {
	code, _ := strconv.Atoi(f.code)
	switch code & 0xff {
	case 5, 6:
		f.class, f.again, f.text = core.ErrUnavailable, true, "the file is locked"
	case 7:
		f.text = "no memory is left"
	case 8:
		f.text = "the file is read-only"
	case 9:
		f.class, f.health, f.cause = core.ErrTimeout, left, context.DeadlineExceeded
	case 10:
		f.text, f.drop = "the file can't be read or written", true
	case 11, 26:
		f.text, f.drop = "the file is damaged, or no database", true
	case 13:
		f.text = "the disk is full"
	case 14:
		f.class, f.health, f.text = core.ErrUnavailable, lost, "the file can't be opened, or its folder is read-only"
	case 17:
		f.class, f.again, f.text = core.ErrUnavailable, true, "another connection has changed the schema"
	case 18:
		f.class, f.text = core.ErrTooLarge, "for SQLite"
	case 3, 23:
		f.text = "permission denied"
	case 1:
		f.text = "an error of SQLite"
		f.noTable = strings.Contains(err.Error(), "no such table")
		if strings.Contains(err.Error(), "already exists") {
			f.text = taken
		}
		if f.noTable || strings.Contains(err.Error(), "no such column") {
			f.text = "the table is missing, or has other columns: see Store.CreateTable"
		}
	default:
		f.text = "an error of SQLite"
	}
}
