package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gensession/gensession/core"
)

// Fake is a server of the test's own: it calls serve with each connection, in a
// goroutine, and closes the connection when serve returns. At the end of the test it
// closes all that are left, and waits for serve.
func Fake(tb testing.TB, serve func(c net.Conn)) (addr string) {
	tb.Helper()
	l, err := net.Listen("tcp", loopback(0))
	if err != nil {
		tb.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{} // nil when the test is over
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			if open == nil {
				_ = c.Close()
			} else {
				open[c] = true
			}
			mu.Unlock()
			all.Go(func() {
				serve(c)
				_ = c.Close()
				mu.Lock()
				delete(open, c)
				mu.Unlock()
			})
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		open = nil
		mu.Unlock()
		all.Wait()
	})
	return l.Addr().String()
}

// CheckError fails the test if err, of a store's call to a [Fake], has no class that the
// contract of a store names, or if it, or what it wraps, says one of the secrets.
func CheckError(tb testing.TB, call string, err error, secrets ...string) {
	tb.Helper()
	if err == nil {
		return
	}
	if !slices.ContainsFunc([]error{
		core.ErrNotFound, core.ErrConflict, core.ErrUnavailable, core.ErrOutcomeUnknown, core.ErrRefused, core.ErrCorrupt, core.ErrTooLarge, context.DeadlineExceeded, errors.ErrUnsupported,
	}, func(class error) bool { return errors.Is(err, class) }) {
		tb.Errorf("%s: an error without a class: %v", call, err)
	}
	if text := telling(err, secrets); text != "" {
		tb.Errorf("%s: an error tells %s", call, text)
	}
}

// telling is the text of err, or of what it wraps, that has one of the secrets.
func telling(err error, secrets []string) string {
	text := fmt.Sprintf("%v %+v", err, err)
	if slices.ContainsFunc(secrets, func(secret string) bool { return strings.Contains(text, secret) }) {
		return text
	}
	var inner []error
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		inner = []error{e.Unwrap()}
	case interface{ Unwrap() []error }:
		inner = e.Unwrap()
	}
	for _, err := range inner {
		if text := telling(err, secrets); err != nil && text != "" {
			return text
		}
	}
	return ""
}
