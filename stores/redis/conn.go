package redisstore

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"math"
	"net"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/gensession/gensession/stores/internal/peek"
)

// watched returns c with connections that are conns. crowded says whether many
// calls are on their way.
func watched(c rueidis.ClientOption, crowded func() bool) rueidis.ClientOption {
	dial := c.DialCtxFn
	if dial == nil && c.DialFn != nil {
		without := c.DialFn
		dial = func(_ context.Context, addr string, d *net.Dialer, t *tls.Config) (net.Conn, error) {
			return without(addr, d, t)
		}
	}
	if dial == nil {
		dial = func(ctx context.Context, addr string, d *net.Dialer, t *tls.Config) (net.Conn, error) {
			if t != nil {
				return (&tls.Dialer{NetDialer: d, Config: t}).DialContext(ctx, "tcp", addr)
			}
			return d.DialContext(ctx, "tcp", addr)
		}
	}
	noNoDelay := c.DisableTCPNoDelay
	c.DialCtxFn = func(ctx context.Context, addr string, d *net.Dialer, t *tls.Config) (net.Conn, error) {
		inner, err := dial(ctx, addr, d, t)
		if err != nil {
			return nil, err
		}
		return watch(inner, noNoDelay, crowded), nil
	}
	return c
}

// A conn counts the commands and the replies that go over a connection, for
// two things that the client's package does not know.
//
// One is whether a command can have reached the server. It can't when all
// before it was answered and the server had hung up before the first byte was
// written, nor when the call began after the connection's end.
//
// The other is a reply that no command asked for, as a broken proxy may send,
// or a server that greets a client with an error. The client's package panics
// at it, and at sizes that no message has, in a goroutine where nobody can
// recover. Here they are errors that end the connection.
type conn struct {
	net.Conn
	peeker  *peek.Peeker // of the goroutine that writes; nil if there is nothing to see
	plain   bool         // what it sees is what is read
	crowded func() bool
	hurried time.Time // of the goroutine that writes; see gather

	over     atomic.Bool  // no byte is written any more
	sent     atomic.Int64 // commands of which a byte was written
	answered atomic.Int64 // replies that were read to their end
	amid     atomic.Bool  // the last read ended within a message
	resp3    atomic.Bool  // it speaks RESP3, where what is no reply can be told from one
	listens  atomic.Bool  // it speaks RESP2, and has asked for what is no reply and looks like one

	requests stream // of the goroutine that writes
	replies  stream // of the goroutine that reads
}

func watch(inner net.Conn, noNoDelay bool, crowded func() bool) *conn {
	c := &conn{Conn: inner, crowded: crowded}
	c.peeker, c.plain = peek.New(inner)
	outer := inner
	if t, ok := inner.(*tls.Conn); ok {
		outer = t.NetConn()
	}
	if t, ok := outer.(*net.TCPConn); ok && noNoDelay {
		_ = t.SetNoDelay(false) // the client's package can't reach it
	}
	return c
}

// An endedError ended a connection.
type endedError struct {
	error
	at     time.Time // nothing was written after that
	unsent bool      // no command that waits for an answer was written
}

func (e *endedError) Unwrap() error { return e.error }

// neverSent reports whether err says that nothing was written of a call that
// began then.
func neverSent(err error, began time.Time) bool {
	e, ok := errors.AsType[*endedError](err)
	return ok && (e.unsent || e.at.Before(began))
}

var (
	errHungUp  = errors.New("the server has closed the connection")
	errSurplus = errors.New("a reply that nobody asked for")
	errGarbage = errors.New("a reply that is none")
)

func (c *conn) end(err error, unsent bool) error {
	c.over.Store(true) // before the time is taken
	return &endedError{err, time.Now(), unsent}
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		if c.replies.begun == 0 && p[0] == '%' {
			c.resp3.Store(true) // the answer to HELLO 3
		}
		c.replies.read(p[:n])
		if c.replies.strange {
			return 0, c.end(errGarbage, false)
		}
		if c.replies.begun > c.sent.Load() && !c.listens.Load() {
			return 0, c.end(errSurplus, false)
		}
		c.amid.Store(c.replies.within())
		c.answered.Store(c.replies.ended)
	}
	if err != nil {
		err = c.end(err, false)
	}
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	if c.crowded() {
		c.gather()
	}
	resp3 := c.resp3.Load()
	idle := resp3 && !c.requests.strange && c.sent.Load() == c.answered.Load()
	if idle {
		if err := c.look(); err != nil {
			return 0, c.end(err, true)
		}
	}
	if c.over.Load() {
		return 0, c.end(net.ErrClosed, idle)
	}
	if !resp3 && bytes.Contains(p, []byte("SUBSCRIBE\r\n")) {
		c.listens.Store(true)
	}
	c.requests.read(p)
	c.sent.Store(c.requests.begun)
	n, err := c.Conn.Write(p)
	if err != nil {
		err = c.end(err, idle && n == 0 && c.plain)
	}
	return n, err
}

// The client's package writes as soon as there is one command, and then those
// that have come meanwhile. Where many callers share few processors as good as
// none has come, since the writer runs before them: each command would be a
// write of its own, here and in the server. So it lets them go first, which
// takes some microseconds. If it takes longer, since what runs is something
// else, that is not done for twenty times as long.
const (
	turns = 2
	slow  = 2 * time.Millisecond
)

func (c *conn) gather() {
	begun := time.Now()
	if begun.Before(c.hurried) {
		return
	}
	for range turns {
		runtime.Gosched()
		if took := time.Since(begun); took > slow {
			c.hurried = begun.Add(20 * took)
			return
		}
	}
}

// look looks at what has come while no reply was awaited.
func (c *conn) look() error {
	first, n, gone := c.peeker.Peek()
	switch {
	case gone:
		return errHungUp
	case n > 0 && c.plain && first != '>' && !c.amid.Load():
		return errSurplus
	}
	return nil
}

// A stream finds the messages in what goes in one direction. It is a reader of
// RESP3 that keeps nothing.
type stream struct {
	begun, ended int64 // messages that are no pushes
	strange      bool  // it met what can't be, or what Redis never sends, and has stopped

	kind  byte // of the line that it is in, zero before one
	minus bool // its number
	num   int64
	skip  int // bytes left of a string, with its end of line
	left  int // elements left of the message
	push  bool
}

func (s *stream) within() bool { return s.left > 0 || s.skip > 0 || s.kind != 0 }

func (s *stream) read(p []byte) {
	for len(p) > 0 && !s.strange {
		if s.skip > 0 {
			n := min(s.skip, len(p))
			p = p[n:]
			if s.skip -= n; s.skip == 0 {
				s.element()
			}
			continue
		}
		b := p[0]
		p = p[1:]
		switch {
		case s.kind == 0:
			if s.left == 0 {
				s.left = 1
				if s.push = b == '>'; !s.push {
					s.begun++
				}
			}
			s.kind, s.minus, s.num = b, false, 0
		case b == '\n':
			s.line()
		case '0' <= b && b <= '9':
			if s.num < 1<<40 { // more is in a line of text
				s.num = 10*s.num + int64(b-'0')
			}
		case b == '-':
			s.minus = true
		case b == '?':
			s.minus = true
			// An array or a string of unknown length, which Redis never sends.
			switch s.kind {
			case '*', '~', '>', '%', '|', '$':
				s.strange = true
			}
		}
	}
}

// More than these no reply has: Redis takes strings of 512 MiB, and the longest
// list is that of the slots of a cluster.
const (
	longestString = 1 << 30
	longestList   = 1 << 20
)

// line ends a line.
func (s *stream) line() {
	s.left--
	n := int(min(s.num, math.MaxInt32)) // more than any limit is more than any limit
	if s.minus {
		n = -n
	}
	switch s.kind {
	case '*', '~', '>':
		s.strange = n < -1 || n > longestList // -1 is a nil of RESP2
		s.left += max(n, 0)
	case '%':
		s.strange = n < 0 || n > longestList
		s.left += 2 * n
	case '|':
		s.strange = n < 0 || n > longestList
		s.left += 2*n + 1 // what it is about follows
	case '$', '=', '!':
		s.strange = n < -1 || n > longestString
		if n >= 0 {
			s.skip = n + 2
		}
	}
	s.kind = 0
	if s.skip == 0 {
		s.element()
	}
}

// element ends an element, and the message if it was the last.
func (s *stream) element() {
	if s.left == 0 && !s.push {
		s.ended++
	}
}
