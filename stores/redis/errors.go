package redisstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/redis/rueidis"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/stores/internal/storekey"
)

// The errors that are everyday things are made once. They name no key.
var (
	errNotFound = fmt.Errorf("redisstore: %w", core.ErrNotFound)
	errConflict = fmt.Errorf("redisstore: %w", core.ErrConflict)
	errClosed   = fmt.Errorf("redisstore: %w: it is closed", core.ErrUnavailable)
	errDown     = fmt.Errorf("redisstore: %w: there has been no connection yet", core.ErrUnavailable)
	errNegative = fmt.Errorf("redisstore: %w: a negative ttl", core.ErrRefused)
	errKey      = fmt.Errorf("redisstore: %w: %s", core.ErrRefused, storekey.Rule)
	errTooLarge = fmt.Errorf("redisstore: %w for Options.MaxSize", core.ErrTooLarge)
	errReply    = fmt.Errorf("redisstore: %w: the reply is of another type", core.ErrCorrupt)
	errFIPS     = fmt.Errorf("redisstore: %w with GODEBUG=fips140=only: Redis names scripts by their SHA-1, and versions of records are SHA-1 in them", errors.ErrUnsupported)
	errState    = errors.New("the cluster's state is not ok")
)

// A kind is what an error says of the server.
type kind uint8

const (
	answered kind = iota // it answered, and said no
	lost                 // it is not there, or not ready
	late                 // it did not answer in time
	left                 // the caller did not wait
)

// codes are the classes of the errors that a server begins with a word for.
// The others are core.ErrRefused.
var codes = map[string]error{
	"WRONGTYPE":   core.ErrCorrupt,
	"LOADING":     core.ErrUnavailable,
	"CLUSTERDOWN": core.ErrUnavailable,
	"MASTERDOWN":  core.ErrUnavailable,
	"TRYAGAIN":    core.ErrUnavailable,
	"MOVED":       core.ErrUnavailable, // more often than the client follows
	"ASK":         core.ErrUnavailable,
	"BUSY":        core.ErrUnavailable, // a script runs
}

// classify returns what err says of the server and of the call.
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

// classifyReply classifies the text of a server, which the client gives without an ERR
// before it.
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
	case code == "READONLY":
		return lost, core.ErrRefused // a failover, perhaps
	}
	return answered, core.ErrRefused
}

// timedOut reports whether time was over: that of the call, or that which the
// client gives to a connection.
func timedOut(err error) bool {
	var e net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &e) && e.Timeout()
}

// undialed reports whether there was no connection to send anything on.
func undialed(err error) bool {
	var e *net.OpError
	return errors.As(err, &e) && e.Op == "dial" || errors.Is(err, rueidis.ErrNoSlot)
}

// broken reports whether a connection ended that there had been.
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

// describe wraps an error with its class, unless that is nil. Servers quote
// what they do not understand: what is left of their text has neither key nor
// payload, and an error whose text was cut is not wrapped itself.
func describe(err, class error, r request) error {
	if server, ok := rueidis.IsRedisErr(err); ok {
		whole := server.Error()
		if text := redact(whole, r); text != whole {
			return fmt.Errorf("redisstore: %w: %s", class, text)
		}
	}
	if class == nil {
		return fmt.Errorf("redisstore: %w", err)
	}
	return fmt.Errorf("redisstore: %w: %w", class, err)
}

// redact returns what may be told of the text of a server: all that follows a
// code, if it does not quote; the name of an unknown command; of other texts
// what comes before anything that may be a quotation.
func redact(text string, r request) string {
	code, _, _ := strings.Cut(text, " ")
	coded := code != "" && strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
	if !coded {
		if strings.HasPrefix(text, "unknown command") {
			text, _, _ = strings.Cut(text, ", with args")
		} else if i := strings.IndexAny(text, ":\"'`{[(<"); i >= 0 {
			text = text[:i]
		}
	}
	switch {
	case len(text) <= 200 && (r.key == "" || !strings.Contains(text, r.key)) && (r.data == "" || !strings.Contains(text, r.data[:min(len(r.data), 8)])):
		return text
	case coded:
		return code
	default:
		return "an error that is not told"
	}
}
