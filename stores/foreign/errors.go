package foreignstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strconv"
	"strings"
	"syscall"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/stores/internal/storekey"
)

var (
	errNotFound = fmt.Errorf("foreignstore: %w", core.ErrNotFound)
	errNegative = fmt.Errorf("foreignstore: %w: the ttl is negative", core.ErrRefused)
	errKey      = fmt.Errorf("foreignstore: %w: %s", core.ErrRefused, storekey.Rule)
)

// notBegun is the error of a call that the driver has not been asked for.
func (s *Store) notBegun(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("foreignstore: %w: %w", core.ErrTimeout, err)
	}
	return fmt.Errorf("foreignstore: %w: %w", core.ErrUnavailable, err)
}

// failed gives an error of the driver its class. Drivers quote keys and values in
// their texts, so only what is known to have none is told.
func (s *Store) failed(k kind, err error) error {
	class := core.ErrUnavailable
	switch {
	case refused(err):
		class = core.ErrRefused
	case down(err):
	case k == writing:
		class = core.ErrOutcomeUnknown
	case errors.Is(err, context.DeadlineExceeded), timedOut(err):
		class = core.ErrTimeout
	}
	for _, cause := range []error{context.Canceled, context.DeadlineExceeded, io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(err, cause) {
			return fmt.Errorf("foreignstore: %w: %w", class, cause)
		}
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return fmt.Errorf("foreignstore: %w: %w", class, op)
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return fmt.Errorf("foreignstore: %w: %w", class, errno)
	}
	if code := replyCode(err); code != "" {
		return fmt.Errorf("foreignstore: %w: the server answers %s", class, code)
	}
	return fmt.Errorf("foreignstore: %w: the driver returned an error of type %T: see Options.OnError", class, innermost(err))
}

// down reports whether the server was not reached at all, so that nothing was
// written.
func down(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

func timedOut(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}

// refused reports whether the server has answered that it does not do what it was
// asked: Redis by the first word of its reply, SQL by its state, SQLite by its code. States
// of broken connections and of shutdowns are none of these, nor is an error of SQLite that
// a statement may meet at its end.
func refused(err error) bool {
	code := replyCode(err)
	switch {
	case code == "":
		return false
	case strings.HasPrefix(code, "SQLSTATE"):
		state := strings.TrimPrefix(code, "SQLSTATE ")
		return !strings.HasPrefix(state, "08") && !strings.HasPrefix(state, "57P") && state != "70100"
	}
	return true
}

// replyCode is what the server calls the error, without any of its text; "" if that
// is unknown.
func replyCode(err error) string {
	if state := stateOf(err); len(state) == 5 && upperOrDigit(state) {
		return "SQLSTATE " + state
	}
	if n := sqliteCode(err); n != 0 {
		switch n & 0xff {
		case 3, 5, 6, 7, 8, 11, 13, 14, 18, 19, 23, 26: // SQLite undoes the statement
			return "SQLite " + strconv.FormatInt(n, 10)
		}
		return ""
	}
	word, _, _ := strings.Cut(innermost(err).Error(), " ")
	switch word {
	case "OOM", "READONLY", "NOPERM", "NOAUTH", "WRONGPASS", "MISCONF", "NOREPLICAS", "LOADING", "MASTERDOWN", "CLUSTERDOWN":
		return word
	}
	return ""
}

// sqliteCode is the code of an error of a driver of SQLite, 0 if it is none. They have it
// as a method or a field, with types of their own; a Code of others means something else.
func sqliteCode(err error) int64 {
	for ; err != nil; err = errors.Unwrap(err) {
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range joined.Unwrap() {
				if n := sqliteCode(e); n != 0 {
					return n
				}
			}
			return 0
		}
		v := reflect.ValueOf(err)
		s := reflect.Indirect(v)
		if !s.IsValid() || !strings.Contains(s.Type().PkgPath(), "sqlite") {
			continue
		}
		var code reflect.Value
		if m := v.MethodByName("Code"); m.IsValid() && m.Type().NumIn() == 0 && m.Type().NumOut() == 1 {
			code = m.Call(nil)[0]
		} else if s.Kind() == reflect.Struct { // mattn/go-sqlite3
			code = s.FieldByName("Code")
		}
		switch {
		case !code.IsValid():
		case code.CanInt():
			return code.Int()
		case code.CanUint(): // ncruces/go-sqlite3
			return int64(code.Uint()) // #nosec G115 -- a code
		}
	}
	return 0
}

// stateOf is the SQLSTATE of the error: drivers of PostgreSQL have a method that returns
// it, and go-sql-driver/mysql has a field.
func stateOf(err error) string {
	if sql, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		return sql.SQLState()
	}
	v := reflect.Indirect(reflect.ValueOf(innermost(err)))
	if v.Kind() == reflect.Struct {
		if f := v.FieldByName("SQLState"); f.IsValid() && f.CanInterface() {
			if state, ok := f.Interface().([5]byte); ok {
				return string(state[:])
			}
		}
	}
	return ""
}

func upperOrDigit(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}

// innermost is the error that the others wrap.
func innermost(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}
