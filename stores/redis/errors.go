package redisstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/redis/rueidis"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/stores/internal/storekey"
)

// Frequent errors are created once. They contain no key.
var (
	errNotFound = fmt.Errorf("redisstore: %w", core.ErrNotFound)
	errConflict = fmt.Errorf("redisstore: %w", core.ErrConflict)
	errClosed   = fmt.Errorf("redisstore: %w: it is closed", core.ErrUnavailable)
	errDown     = fmt.Errorf("redisstore: %w: there has been no connection yet", core.ErrUnavailable)
	errNegative = fmt.Errorf("redisstore: %w: the ttl is negative", core.ErrRefused)
	errKey      = fmt.Errorf("redisstore: %w: %s", core.ErrRefused, storekey.Rule)
	errTooLarge = fmt.Errorf("redisstore: %w for Options.MaxSize", core.ErrTooLarge)
	errReply    = fmt.Errorf("redisstore: %w: the reply has the wrong type", core.ErrCorrupt)
	errFIPS     = fmt.Errorf("redisstore: %w with GODEBUG=fips140=only: Redis names scripts by their SHA-1, and versions of records are SHA-1 in them", errors.ErrUnsupported)
	errReplica  = errors.New("the server is a replica")
	errState    = errors.New("the cluster's state is not ok")
)

// A kind is what an error reveals about the server.
type kind uint8

const (
	answered kind = iota // it replied with an error
	lost                 // it is unreachable, not ready, or not the master
	late                 // it did not reply in time
	left                 // nothing: the caller cancelled
)

// codes are the classes of the error codes of Redis. Other codes are
// core.ErrRefused.
var codes = map[string]error{
	"WRONGTYPE":   core.ErrCorrupt,
	"LOADING":     core.ErrUnavailable,
	"CLUSTERDOWN": core.ErrUnavailable,
	"MASTERDOWN":  core.ErrUnavailable,
	"TRYAGAIN":    core.ErrUnavailable,
	"MOVED":       core.ErrUnavailable, // after the maximum of redirections
	"ASK":         core.ErrUnavailable,
	"BUSY":        core.ErrUnavailable, // a script is running
	"READONLY":    core.ErrUnavailable, // it is a replica, perhaps after a failover
	"CROSSSLOT":   errors.ErrUnsupported,
}

// classify returns the kind of err and the class of the failed call.
func classify(err error, r request) (kind, error) {
	if server, ok := rueidis.IsRedisErr(err); ok {
		return classifyReply(server.Error())
	}
	var neverLeft *unsentError
	unsent := errors.As(err, &neverLeft) || undialed(err) || neverSent(err, r.began)
	switch {
	case errors.Is(err, context.Canceled):
		if r.op.reads() || unsent {
			return left, nil // the caller knows best
		}
		return left, core.ErrOutcomeUnknown
	case timedOut(err):
		if r.op.reads() || unsent {
			return late, core.ErrTimeout
		}
		return late, core.ErrOutcomeUnknown
	case r.op.reads() || unsent:
		return lost, core.ErrUnavailable
	default:
		return lost, core.ErrOutcomeUnknown
	}
}

// classifyReply classifies an error reply, whose prefix ERR the client has
// removed.
func classifyReply(text string) (kind, error) {
	code, _, _ := strings.Cut(text, " ")
	class, known := codes[code]
	switch {
	case class == core.ErrUnavailable:
		return lost, class
	case known:
		return answered, class
	case strings.HasPrefix(text, "Protocol error: invalid bulk length"), strings.Contains(text, "maximum allowed size"):
		return answered, core.ErrTooLarge
	case strings.HasPrefix(text, "max number of clients"):
		return lost, core.ErrUnavailable
	case code == "NOAUTH", code == "WRONGPASS":
		return lost, core.ErrRefused // another server, or one with another password
	}
	return answered, core.ErrRefused
}

// timedOut reports whether err is a timeout of the call or of the connection.
func timedOut(err error) bool {
	var e net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &e) && e.Timeout()
}

// undialed reports whether no connection could be opened.
func undialed(err error) bool {
	var e *net.OpError
	return errors.As(err, &e) && e.Op == "dial" || errors.Is(err, rueidis.ErrNoSlot)
}

// broken reports whether an open connection broke.
func broken(err error) bool {
	if undialed(err) || timedOut(err) {
		return false
	}
	if _, ok := errors.AsType[*endedError](err); ok {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
}

// describe wraps err with its class, unless that is nil. Servers quote commands in
// their errors: the result contains neither key nor payload, and an error whose
// text was shortened is not wrapped itself.
func describe(err, class error, r request) error {
	if server, ok := rueidis.IsRedisErr(err); ok {
		whole := server.Error()
		if text := redact(whole, r); text != whole && class == nil {
			return fmt.Errorf("redisstore: %s", text)
		} else if text != whole {
			return fmt.Errorf("redisstore: %w: %s", class, text)
		}
	}
	if class == nil {
		return fmt.Errorf("redisstore: %w", err)
	}
	return fmt.Errorf("redisstore: %w: %w", class, err)
}

// redact removes quotations from the error text of a server. A text with a code
// stays unless it contains the key or the payload, up to where a payload may begin that
// the call does not know. Of an unknown command the name stays. Other texts are cut
// before the first possible quotation.
func redact(text string, r request) string {
	code, _, _ := strings.Cut(text, " ")
	coded := code != "" && strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
	quotes := ":\"'`{[(<"
	if text, _, _ = strings.Cut(text, ", with args"); coded || strings.HasPrefix(text, "unknown command") {
		quotes = "\"{["
	}
	if i := strings.IndexFunc(text, func(c rune) bool { return c < ' ' || c > '~' || strings.ContainsRune(quotes, c) }); i >= 0 {
		text = strings.TrimSpace(text[:i])
	}
	switch {
	case len(text) <= 200 && !r.quotedIn(text):
		return text
	case coded:
		return code
	default:
		return "the error text is withheld"
	}
}

// quotedIn reports whether text contains a key or the beginning of a payload.
func (r *request) quotedIn(text string) bool {
	quoted := func(s string) bool { return s != "" && strings.Contains(text, s) }
	for _, key := range r.several {
		if quoted(key) {
			return true
		}
	}
	if r.batch == nil {
		return quoted(r.key) || quoted(r.data[:min(len(r.data), 8)])
	}
	for i, key := range r.batch.keys {
		if data := r.batch.args[3*i+1]; quoted(key) || quoted(data[:min(len(data), 8)]) {
			return true
		}
	}
	return slices.ContainsFunc(r.batch.lists, quoted)
}
