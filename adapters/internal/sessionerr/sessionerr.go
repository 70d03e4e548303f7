// Package sessionerr tells the errors of a session from those of a handler, for
// frameworks in which handlers return both, and whose text may be sent to a client.
package sessionerr

import (
	"errors"

	"github.com/gensession/gensession/core"
)

// Is reports whether err is of the core.
func Is(err error) bool {
	var ours *core.Error
	var misuse interface{ OfSession() }
	return errors.As(err, &ours) || errors.As(err, &misuse) || late(err)
}

// late reports whether err means that the session can't be changed any more, or
// that there is none. The core does not wrap these in an Error.
func late(err error) bool {
	return errors.Is(err, core.ErrGone) || errors.Is(err, core.ErrCommitted) || errors.Is(err, core.ErrNoSession)
}
