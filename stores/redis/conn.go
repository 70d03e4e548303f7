package redisstore

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/gensession/gensession/stores/internal/caught"
	"github.com/gensession/gensession/stores/internal/peek"
)

// watched returns c with a dial function whose connections are conns, and are in
// open until they are closed. crowded reports whether many calls are in flight.
func watched(c rueidis.ClientOption, open *conns, crowded func() bool) rueidis.ClientOption {
	dial := c.DialCtxFn
	if dial == nil && c.DialFn != nil {
		without := c.DialFn
		dial = func(_ context.Context, addr string, d *net.Dialer, t *tls.Config) (net.Conn, error) {
			return without(addr, d, t)
		}
	}
	if dial == nil {
		dial = dialTCP
	}
	noNoDelay := c.DisableTCPNoDelay
	subscribes := c.Sentinel.MasterSet != ""
	c.DialCtxFn = func(ctx context.Context, addr string, d *net.Dialer, t *tls.Config) (net.Conn, error) {
		var inner net.Conn
		var err error
		// The client may dial on a goroutine of its own.
		if panicked := caught.Do(func() { inner, err = dial(ctx, addr, d, t) }); panicked != nil {
			err = &net.OpError{Op: "dial", Net: "tcp", Err: panicked}
		}
		if err != nil {
			return nil, err
		}
		c := watch(inner, noNoDelay, crowded)
		c.open, c.subscribes = open, subscribes
		if !open.add(c) {
			_ = c.Close()
			return nil, &net.OpError{Op: "dial", Err: net.ErrClosed} // nothing was sent
		}
		return c, nil
	}
	return c
}

// dialTCP opens a connection, with TLS if t is not nil.
func dialTCP(ctx context.Context, addr string, d *net.Dialer, t *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout) // for the handshake, too
	defer cancel()
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil || t == nil {
		return c, err
	}
	if t.ServerName == "" {
		t = t.Clone()
		t.ServerName, _, _ = net.SplitHostPort(addr)
	}
	secure := tls.Client(c, t)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: c.RemoteAddr(), Err: fmt.Errorf("TLS handshake: %w", err)}
	}
	return secure, nil
}

// conns are the open connections of a client.
type conns struct {
	mu     sync.Mutex
	set    map[*conn]struct{}
	closed bool
}

// add reports false if no connection may be opened any more.
func (o *conns) add(c *conn) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.set == nil {
		o.set = make(map[*conn]struct{})
	}
	if !o.closed {
		o.set[c] = struct{}{}
	}
	return !o.closed
}

// close closes all connections for good. TLS is not told, which may take seconds.
func (o *conns) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for c := range o.set {
		_ = c.outer.Close()
	}
}

func (o *conns) remove(c *conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.set, c)
}

// leave lets all connections end before the next command, so that the client opens
// new ones, which may lead to another server.
func (o *conns) leave() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for c := range o.set {
		c.leaving.Store(true)
	}
}

// A conn counts the commands and the replies on a connection. rueidis does not, and
// this package needs the numbers for two purposes.
//
// The first is to know whether a command can have reached the server. It can't if
// all previous commands were answered and the server had closed the connection
// before the first byte was written, or if the call began after the connection had
// ended.
//
// The second is to detect unsolicited replies, such as those of a faulty proxy, or
// of a server that sends an error as soon as a client connects. rueidis panics on
// them, and on invalid lengths, in a goroutine of its own, where no caller can
// recover. A conn returns an error instead, which ends the connection.
type conn struct {
	net.Conn
	outer   net.Conn // below TLS
	open    *conns
	peeker  *peek.Peeker // used by the writing goroutine; nil if the connection can't be peeked
	plain   bool         // the peeked bytes are those that Read returns (no TLS)
	crowded func() bool
	hurried time.Time // used by the writing goroutine; see gather

	subscribes bool // the client listens to Sentinel

	leaving  atomic.Bool  // it ends before the next command
	over     atomic.Bool  // no more bytes are written
	sent     atomic.Int64 // commands of which at least one byte was written
	answered atomic.Int64 // replies that were read completely
	amid     atomic.Bool  // the last read ended inside a message
	resp3    atomic.Bool  // the protocol is RESP3, in which pushes differ from replies
	listens  atomic.Bool  // the protocol is RESP2 and the client has subscribed, so that messages look like replies

	requests stream // used by the writing goroutine
	replies  stream // used by the reading goroutine
}

func watch(inner net.Conn, noNoDelay bool, crowded func() bool) *conn {
	c := &conn{Conn: inner, crowded: crowded}
	c.peeker, c.plain = peek.New(inner)
	c.outer = inner
	if t, ok := inner.(*tls.Conn); ok {
		c.outer = t.NetConn()
	}
	if t, ok := c.outer.(*net.TCPConn); ok && noNoDelay {
		_ = t.SetNoDelay(false) // rueidis can't, since it gets the conn
	}
	return c
}

// An endedError ended a connection.
type endedError struct {
	error
	at     time.Time // nothing was written after this time
	unsent bool      // no command without an answer was written
}

func (e *endedError) Unwrap() error { return e.error }

// neverSent reports whether err shows that no byte of a call that began at that time
// was written.
func neverSent(err error, began time.Time) bool {
	e, ok := errors.AsType[*endedError](err)
	return ok && (e.unsent || e.at.Before(began))
}

var (
	errHungUp  = errors.New("the server has closed the connection")
	errSurplus = errors.New("an unsolicited reply")
	errGarbage = errors.New("a reply that is not valid in the protocol of Redis")
	errMute    = errors.New("the server closed the connection before its first reply, as one does that expects TLS")
)

func (c *conn) end(err error, unsent bool) error {
	c.over.Store(true) // before the time is read
	return &endedError{err, time.Now(), unsent}
}

// Close closes the connection.
func (c *conn) Close() error {
	c.open.remove(c)
	return c.Conn.Close()
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		if c.replies.begun == 0 && p[0] == '%' {
			c.resp3.Store(true) // the answer to HELLO 3
		}
		c.replies.read(p[:n])
		if c.replies.strange || c.replies.subscribed && !c.subscribes {
			return 0, c.end(errGarbage, false)
		}
		if c.replies.begun > c.sent.Load() && !c.listens.Load() {
			return 0, c.end(errSurplus, false)
		}
		c.amid.Store(c.replies.within())
		c.answered.Store(c.replies.ended)
	}
	if err != nil {
		if c.replies.begun == 0 && c.plain && c.sent.Load() > 0 && !errors.Is(err, net.ErrClosed) && !timedOut(err) {
			err = fmt.Errorf("%w: %w", errMute, err)
		}
		err = c.end(err, false)
	}
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	if c.crowded() {
		c.gather()
	}
	resp3 := c.resp3.Load()
	if c.leaving.Load() {
		c.finish()
	}
	idle := resp3 && !c.requests.strange && c.sent.Load() == c.answered.Load()
	if idle {
		if err := c.look(); err != nil {
			return 0, c.end(err, true)
		}
	}
	if c.over.Load() {
		return 0, c.end(net.ErrClosed, idle)
	}
	if c.leaving.Load() {
		return 0, c.end(errReplica, idle)
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

// rueidis writes as soon as there is one command, and then all commands that were
// queued meanwhile. If many callers share few processors, hardly any is queued,
// since the writer runs before the callers: each command would be a separate write,
// here and in the server. So gather yields the processor to the callers, which takes
// some microseconds. If it takes longer than slow, because other goroutines run, it
// is not done again for twenty times as long.
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

// finish waits for the replies of the commands that were sent, so that nobody has
// to wonder what became of them.
func (c *conn) finish() {
	for end := time.Now().Add(100 * time.Millisecond); c.answered.Load() < c.sent.Load() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

// look checks the connection for data while no reply is awaited.
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

// A stream finds the boundaries of messages in one direction of a connection. It
// parses RESP3 without storing messages. It must not find fewer than rueidis, whose
// parser takes a null and a boolean by their length, drops two bytes at the end of each
// line, and so continues after lines that are none: see strange.
type stream struct {
	begun, ended int64 // number of messages, without pushes
	strange      bool  // the data was invalid, or Redis never sends it; parsing has stopped
	subscribed   bool  // a push confirmed a subscription, for which rueidis expects a caller

	kind  byte // first byte of the current line, zero between lines
	size  int  // bytes of the line after kind
	cr    bool // the last of them is a carriage return
	minus bool // sign and value of the number in the line
	num   int64
	skip  int // remaining bytes of a string, including its line end
	left  int // remaining elements of the message
	push  bool
	word  []byte // beginning of the current element of a push
}

func (s *stream) within() bool { return s.left > 0 || s.skip > 0 || s.kind != 0 }

func (s *stream) read(p []byte) {
	for len(p) > 0 && !s.strange {
		if s.skip > 0 {
			n := min(s.skip, len(p))
			if s.push {
				s.spell(p[:min(n, max(s.skip-2, 0))])
			}
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
			if strings.IndexByte("+-:$*_#,(!=%|~>", b) < 0 {
				s.strange = true
			}
			s.kind, s.size, s.cr, s.minus, s.num = b, 0, false, false, 0
			s.word = s.word[:0]
			continue
		case b == '\n':
			s.size++
			s.line()
			continue
		case '0' <= b && b <= '9':
			if s.num < 1<<40 { // a greater number occurs only in text
				s.num = 10*s.num + int64(b-'0')
			}
		case b == '-':
			s.minus = true
		case b == '?':
			s.minus = true
			// An array or a string of unknown length, which Redis never sends.
			switch s.kind {
			case '*', '~', '>', '%', '|', '$', '=', '!':
				s.strange = true
			}
		}
		if s.push && b != '\r' {
			s.spell([]byte{b})
		}
		s.size++
		s.cr = b == '\r'
		if s.kind == '_' || s.kind == '#' {
			s.strange = s.size > s.short()
		}
	}
}

// short is the size of a line without a number or a text: _\r\n or #t\r\n.
func (s *stream) short() int {
	if s.kind == '_' {
		return 2
	}
	return 3
}

// spell notes bytes of an element of a push, as far as element needs them.
func (s *stream) spell(p []byte) {
	const longest = len("psubscribe") + 1
	if len(s.word) < longest {
		s.word = append(s.word, p[:min(len(p), longest-len(s.word))]...)
	}
}

// Limits that no valid reply exceeds: a string of Redis has at most 512 MiB, and the
// longest list is that of the slots of a cluster. rueidis makes room for a list when it
// reads its length, so that longestList is also that of all open lists together.
const (
	longestString = 1 << 30
	longestList   = 1 << 20
)

// line processes the end of a line.
func (s *stream) line() {
	if !s.cr || (s.kind == '_' || s.kind == '#') && s.size != s.short() {
		s.strange = true
		return
	}
	s.left--
	n := int(min(s.num, math.MaxInt32)) // exceeds every limit all the same
	if s.minus {
		n = -n
	}
	switch s.kind {
	case '*', '~', '>':
		s.strange = n < -1 || n > longestList || n < 0 && s.kind == '>' // -1 is a nil of RESP2
		s.left += max(n, 0)
	case '%':
		s.strange = n < 0 || n > longestList
		s.left += 2 * n
	case '|':
		s.strange = n < 0 || n > longestList
		s.left += 2*n + 1 // an attribute; its reply follows
	case '$', '=', '!':
		s.strange = n < -1 || n > longestString
		if n >= 0 {
			s.skip = n + 2
			s.word = s.word[:0]
		}
	}
	s.strange = s.strange || s.left > longestList
	s.kind = 0
	if s.skip == 0 {
		s.element()
	}
}

// element processes the end of an element, and of the message if it was the last.
func (s *stream) element() {
	if s.push {
		switch string(s.word) {
		case "subscribe", "psubscribe", "ssubscribe":
			s.subscribed = true
		}
	}
	if s.left == 0 && !s.push {
		s.ended++
	}
}
