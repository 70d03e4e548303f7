package core

import (
	"context"
	"errors"
	"fmt"

	"github.com/gensession/gensession/core/internal/record"
)

// The errors of this package and of every store, for errors.Is. Stores wrap them
// with the cause, and the core wraps them in an [*Error] with the operation. No
// message contains an id, a cookie, a key or a payload: where a store quotes a key all
// the same, [key] stands in its place, and [value] in that of eight bytes or more of what
// it should store.
var (
	// ErrNotFound: the store has no such key, or its ttl has expired.
	ErrNotFound = errors.New("not found")
	// ErrConflict: another write came first. [Status] 409.
	ErrConflict = errors.New("another write came first")
	// ErrGone: the session was destroyed, renewed or expired while the request
	// ran. Nothing was written, and no cookie is sent. [Status] 409.
	ErrGone = errors.New("session is gone")
	// ErrTooMany: the owner has as many sessions as LoginOptions.MaxSessions
	// allows. [Status] 409.
	ErrTooMany = errors.New("too many sessions of one owner")
	// ErrUnavailable: the store can't be reached, or its shutdown has begun.
	// [Status] 503.
	ErrUnavailable = errors.New("session store is unavailable")
	// ErrTimeout: the store did not answer in time. It is also an
	// ErrUnavailable.
	ErrTimeout = fmt.Errorf("%w: it did not answer in time", ErrUnavailable)
	// ErrOutcomeUnknown: a write may or may not have been applied, since the
	// connection broke or the deadline passed before the reply. [Status] 503.
	ErrOutcomeUnknown = errors.New("outcome of the write is unknown")
	// ErrRefused: the store rejected the operation, for example because it is
	// out of memory, read-only or denies permission. [Status] 503.
	ErrRefused = errors.New("session store refused")
	// ErrCorrupt: the stored data is not a session record, or belongs to another
	// key. [Status] 500.
	ErrCorrupt = record.ErrCorrupt
	// ErrTooLarge: the session exceeds Options.MaxSize or a limit of the store.
	// The previously stored session is unchanged. A stored session that exceeds
	// MaxSize is not read. [Status] 500.
	ErrTooLarge = errors.New("session is too large")
	// ErrType: a stored value does not decode into the type of its [Key], as after
	// a deployment that has changed the type. [Status] 500.
	ErrType = errors.New("stored value is of another type")
	// ErrCommitted: a change came after the session was saved for this response
	// or after the response had begun. [Status] 500.
	ErrCommitted = errors.New("session is already committed: change it before you write the response")
	// ErrNoSession: the request has no session, since the middleware is missing
	// or the request path is outside the cookie's path. [Status] 500.
	ErrNoSession = errors.New("no session for this request")
)

// An Op names the operation that failed with an [Error]. The first three are the
// types of generic-session's errorHandler.
type Op string

// The operations.
const (
	OpGet        Op = "get"         // reading from the store
	OpSet        Op = "set"         // writing to the store, or touching
	OpDestroy    Op = "destroy"     // removing from the store
	OpWait       Op = "wait"        // waiting for the store to come back
	OpID         Op = "id"          // making a new id
	OpValid      Op = "valid"       // Hooks.Valid
	OpBeforeSave Op = "before save" // Hooks.BeforeSave
	OpCarrier    Op = "carrier"     // reading or sending the id
	OpHandler    Op = "handler"     // a handler's own error, for Visit.Tell
	OpDecode     Op = "decode"      // decoding a stored value into the type of its Key
)

// An Error is a failed operation and its cause. Err is never nil.
type Error struct {
	Op  Op
	Err error
}

// Error returns the operation and the text of Err.
func (e *Error) Error() string { return "session " + string(e.Op) + ": " + e.Err.Error() }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// A misuse is an error about what the program did with a session, such as a value
// that can't be encoded. It may name what the client should not see. Adapters find
// it by its method.
type misuse struct{ error }

func misused(format string, a ...any) error { return misuse{fmt.Errorf(format, a...)} }

func (m misuse) Unwrap() error { return m.error }

// OfSession tells an adapter that the error is of a session, and not of a handler.
func (m misuse) OfSession() {}

// Status returns the HTTP status for err: 503 if the store can't be used now,
// 409 if another request came first, 200 for nil, otherwise 500. The adapters
// respond with it.
func Status(err error) int {
	switch {
	case err == nil:
		return 200
	case errors.Is(err, ErrUnavailable), errors.Is(err, ErrOutcomeUnknown), errors.Is(err, ErrRefused),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return 503
	case errors.Is(err, ErrConflict), errors.Is(err, ErrGone), errors.Is(err, ErrTooMany):
		return 409
	default:
		return 500
	}
}
