package core

import (
	"context"
	"errors"
	"fmt"
)

// The errors of this package and of every store, for errors.Is. They come
// wrapped: by the store with what its server said, by the core in an [*Error]
// with the operation. No message contains an id, a cookie, a key or a payload.
var (
	// ErrNotFound: the store has no such key, or its ttl is over.
	ErrNotFound = errors.New("not found")
	// ErrConflict: another write came first. [Status] 409.
	ErrConflict = errors.New("another write came first")
	// ErrGone: the session was destroyed, renewed or has expired while the
	// request ran. Nothing was written and no cookie sent. [Status] 409.
	ErrGone = errors.New("session is gone")
	// ErrUnavailable: the store can't be reached, or its shutdown has begun.
	// [Status] 503.
	ErrUnavailable = errors.New("session store is unavailable")
	// ErrTimeout: the store did not answer in time. It is also an
	// ErrUnavailable.
	ErrTimeout = fmt.Errorf("%w: it did not answer in time", ErrUnavailable)
	// ErrOutcomeUnknown: a write that may or may not have been applied, since
	// the connection was lost or the time over before the answer. [Status] 503.
	ErrOutcomeUnknown = errors.New("outcome of the write is unknown")
	// ErrRefused: the store answered, and said no: out of memory, read-only,
	// no permission. [Status] 503.
	ErrRefused = errors.New("session store refused")
	// ErrCorrupt: what the store holds is no session record, or belongs to
	// another key. [Status] 500.
	ErrCorrupt = errors.New("stored session is corrupt")
	// ErrTooLarge: the session is larger than Options.MaxSize or the store
	// allows. What was stored before is still there. [Status] 500.
	ErrTooLarge = errors.New("session is too large")
	// ErrCommitted: the session was changed after it had been saved for this
	// response, or the response had begun. [Status] 500.
	ErrCommitted = errors.New("session is committed already")
	// ErrNoSession: the request has no session here, since the middleware is
	// missing or the path lies outside the cookie's. [Status] 500.
	ErrNoSession = errors.New("no session for this request")
)

// An Op names the operation that an [Error] happened in. The first three are
// generic-session's types of its errorHandler.
type Op string

// The operations.
const (
	OpGet        Op = "get"         // reading from the store
	OpSet        Op = "set"         // writing to it, touching included
	OpDestroy    Op = "destroy"     // removing from it
	OpWait       Op = "wait"        // waiting for the store to come back
	OpID         Op = "id"          // making a new id
	OpValid      Op = "valid"       // Hooks.Valid
	OpBeforeSave Op = "before save" // Hooks.BeforeSave
	OpCarrier    Op = "carrier"     // reading or sending the id
	OpDecode     Op = "decode"      // a stored value that is not of the type asked for
)

// An Error tells which operation failed and why. Err is never nil.
type Error struct {
	Op  Op
	Err error
}

// Error says both in one line.
func (e *Error) Error() string { return "session " + string(e.Op) + ": " + e.Err.Error() }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Status is the HTTP status that fits err: 503 when the store can't be used
// now, 409 when another request came first, else 500, and 200 for nil. The
// adapters answer with it.
func Status(err error) int {
	switch {
	case err == nil:
		return 200
	case errors.Is(err, ErrUnavailable), errors.Is(err, ErrOutcomeUnknown), errors.Is(err, ErrRefused),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return 503
	case errors.Is(err, ErrConflict), errors.Is(err, ErrGone):
		return 409
	default:
		return 500
	}
}
