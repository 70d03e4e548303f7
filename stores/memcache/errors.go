package memcachestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/stores/internal/storekey"
)

// Frequent errors are created once. They contain no key.
var (
	errNotFound = fmt.Errorf("memcachestore: %w", core.ErrNotFound)
	errConflict = fmt.Errorf("memcachestore: %w", core.ErrConflict)
	errRace     = fmt.Errorf("memcachestore: %w in each of 8 attempts", core.ErrConflict)
	errClosed   = fmt.Errorf("memcachestore: %w: it is closed", core.ErrUnavailable)
	errNegative = fmt.Errorf("memcachestore: %w: the ttl is negative", core.ErrRefused)
	errKey      = fmt.Errorf("memcachestore: %w: %s", core.ErrRefused, storekey.Rule)
	errNoCAS    = fmt.Errorf("memcachestore: %w: the server has no versions (it was started with -C)", core.ErrRefused)
	errTooLarge = fmt.Errorf("memcachestore: %w for Options.MaxPayload", core.ErrTooLarge)
)

// Errors of replies that gomemcache accepts.
var (
	errForeign = errors.New("the reply is for another key")
	errStep    = errors.New("more bytes than one reply")
	errStrange = errors.New("the reply is not valid in the protocol of memcached")
	errTooMany = errors.New("the server has too many open connections (-c)")
)

// tooMany is the reply to a new connection above the server's limit.
const tooMany = "Too many open connections"

// refusedConn reports whether err is the reply to a new connection above the server's
// limit. The command was not executed.
func refusedConn(err error) bool {
	return err != nil && strings.Contains(err.Error(), ": \"ERROR "+tooMany)
}

// unsent is the error of a request that was never sent.
type unsent struct{ err error }

func (u unsent) Error() string { return u.err.Error() }
func (u unsent) Unwrap() error { return u.err }

// neverSent reports whether the server can't execute the command, since it has
// not received all of it.
func neverSent(err error) bool {
	if _, ok := errors.AsType[unsent](err); ok {
		return true
	}
	if _, ok := errors.AsType[*memcache.ConnectTimeoutError](err); ok {
		return true
	}
	op, ok := errors.AsType[*net.OpError](err)
	return ok && (op.Op == "dial" || op.Op == "write")
}

// mayRepeat reports whether a command that failed with err can be sent once
// more: a connection was lost, and it either changes nothing or has not been
// carried out.
func (r *request) mayRepeat(err error) bool {
	switch {
	case answered(err), late(err), r.ctx.Err() != nil:
		return false
	case outOfStep(err):
		return !r.verb.writes()
	case !lost(err):
		return false
	}
	if _, ok := errors.AsType[unsent](err); ok {
		return false // no server, and there is none a moment later
	}
	return !r.verb.writes() || neverSent(err)
}

// answered reports whether err is an everyday answer.
func answered(err error) bool {
	switch err {
	case nil, memcache.ErrCacheMiss, memcache.ErrCASConflict, memcache.ErrNotStored, memcache.ErrMalformedKey:
		return true
	}
	return false
}

// late reports whether err is a time that was over.
func late(err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	if _, ok := errors.AsType[*memcache.ConnectTimeoutError](err); ok {
		return true
	}
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

// lost reports whether err is about the connection and not about the answer.
func lost(err error) bool {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, memcache.ErrNoServers) {
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	_, ok := errors.AsType[unsent](err)
	return ok
}

// broken reports whether err is a connection that was made and lost.
func broken(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// outOfStep reports whether replies on a connection may no longer belong to their
// requests.
func outOfStep(err error) bool {
	return errors.Is(err, errStep) || errors.Is(err, errForeign)
}

// class wraps err with the class that the contract of a store requires.
func (r *request) class(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, memcache.ErrCacheMiss):
		return errNotFound
	case errors.Is(err, memcache.ErrCASConflict):
		return errConflict
	case errors.Is(err, memcache.ErrNotStored):
		if r.verb == verbAdd {
			return errConflict
		}
		return errNotFound
	case err == errNoMeta:
		return err
	case errors.Is(err, memcache.ErrMalformedKey):
		return errKey
	}
	if refusal, ok := r.refusal(err); ok {
		return refusal
	}
	if !late(err) && !lost(err) && !errors.Is(err, context.Canceled) && !outOfStep(err) {
		err = errStrange // gomemcache quotes the reply, which may contain a payload
	}
	if late(err) {
		cause := r.ctx.Err()
		if cause == nil {
			cause = context.DeadlineExceeded // it was Options.Timeout
		}
		if !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", cause, err)
		}
	}
	switch {
	case r.verb.writes() && !neverSent(err):
		return fmt.Errorf("memcachestore: %w: %w", core.ErrOutcomeUnknown, err)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("memcachestore: %w", err)
	case late(err):
		return fmt.Errorf("memcachestore: %w: %w", core.ErrTimeout, err)
	case lost(err):
		return fmt.Errorf("memcachestore: %w: %w", core.ErrUnavailable, err)
	default:
		return fmt.Errorf("memcachestore: %w: %w", core.ErrCorrupt, err)
	}
}

// refusal returns the error for an error reply, and whether err is one. What the server
// says is left out if it quotes the request, as proxies may, and from the first word on
// that memcached itself would not say: a read doesn't know what payload is quoted to it.
func (r *request) refusal(err error) (error, bool) {
	text := err.Error()
	if !strings.HasPrefix(text, "memcache: unexpected") {
		return nil, false
	}
	i := strings.LastIndex(text, `: "`)
	if i < 0 {
		return nil, false
	}
	line, err := strconv.Unquote(text[i+2:])
	if err != nil {
		return nil, false
	}
	line = strings.TrimSpace(line)
	kind, what, _ := strings.Cut(line, " ")
	class := core.ErrRefused
	switch {
	case kind != "SERVER_ERROR" && kind != "CLIENT_ERROR" && kind != "ERROR":
		return nil, false
	case strings.HasPrefix(what, "object too large"):
		class = core.ErrTooLarge
	case what == tooMany:
		class = core.ErrUnavailable
	}
	for _, secret := range append([]string{r.item.Key, string(r.item.Value)}, r.keys...) {
		if secret != "" && strings.Contains(line, secret) {
			line = kind
		}
	}
	return fmt.Errorf("memcachestore: %w: %s", class, plain(line)), true
}

// plain is the beginning of an error reply that consists of words, 100 bytes at most.
func plain(line string) string {
	end := 0
	for word := range strings.FieldsSeq(line) {
		at := end + strings.Index(line[end:], word)
		if strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-.,()") != "" || at+len(word) > 100 {
			break
		}
		end = at + len(word)
	}
	return line[:end]
}
