package memcachestore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/gensession/gensession/stores/internal/caught"
	"github.com/gensession/gensession/stores/internal/peek"
)

// patience is how long a call waits for a reply before it checks for
// cancellation. Most replies come in a fraction of it.
const patience = 10 * time.Millisecond

// fresh is how long a connection is assumed to be alive after a call.
const fresh = time.Millisecond

// largeWrite is the size above which a write may exceed the buffers of the
// connection and wait for the server.
const largeWrite = 16 << 10

// A conn is the connection of one connClient. It enforces the deadline of the
// current call, which gomemcache does not know, and counts the bytes of the
// reply.
type conn struct {
	net.Conn
	peeker   *peek.Peeker
	plain    bool      // no TLS, which may send unrequested bytes
	begun    time.Time // when the last call began
	deadline time.Time
	patient  bool        // reading waits until the deadline
	got      int         // bytes of the reply
	stop     func() bool // ends the watch over ctx
	ctx      context.Context
	closed   bool
}

func newConn(nc net.Conn) *conn {
	c := &conn{Conn: nc}
	c.peeker, c.plain = peek.New(nc)
	return c
}

// greet asks a new connection for a reply, which the server gives if it has accepted
// the connection.
func (c *conn) greet(r *request) error {
	if !c.begin(r) {
		return net.ErrClosed
	}
	c.extendDeadline() // TLS may still have to shake hands
	line, err := c.command("version\r\n")
	if !c.end() && err == nil { // the reply came when the time was over
		err = cmp.Or(r.ctx.Err(), net.ErrClosed)
	}
	word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
	switch {
	case err != nil && c.got == 0 && broken(err):
		return fmt.Errorf("the server closed the connection before its first reply: %w", err)
	case err != nil:
		return err
	case strings.Contains(line, tooMany):
		return errTooMany
	case word != "VERSION" && word != "ERROR" && word != "CLIENT_ERROR" && word != "SERVER_ERROR":
		return errStrange
	case len(line) != c.got:
		return errStep
	}
	return nil
}

// resume begins a call on an idle connection. It returns false if the connection
// can't be used.
//
// The check of the connection costs a system call. A read omits it if the last
// call is at most fresh ago: if the server has closed the connection since, the
// read is repeated. The check would not find a surplus reply that arrives after
// it.
func (c *conn) resume(r *request) bool {
	last := c.begun
	return c.begin(r) && (!r.verb.writes() && c.begun.Sub(last) < fresh || c.alive())
}

// alive reports whether the idle connection seems usable. A server that was
// restarted has closed it, and the next command would be lost. Surplus bytes in
// it would be taken for the next reply.
func (c *conn) alive() bool {
	_, n, gone := c.peeker.Peek()
	return !gone && (n == 0 || !c.plain)
}

// begin begins a call. It returns false if the connection is closed.
func (c *conn) begin(r *request) bool {
	c.begun = time.Now()
	soon := c.begun.Add(patience)
	c.ctx, c.deadline, c.got, c.stop = r.ctx, r.deadline, 0, nil
	c.patient = !soon.Before(r.deadline)
	if c.patient {
		soon = r.deadline
	}
	// Two deadlines: a TLS connection is unusable after a write timeout.
	return c.Conn.SetReadDeadline(soon) == nil && c.Conn.SetWriteDeadline(r.deadline) == nil
}

// end ends the call. It returns false if the connection can't be used again.
func (c *conn) end() bool {
	stop := c.stop
	c.ctx, c.stop = nil, nil
	return !c.closed && (stop == nil || stop())
}

// watch makes reads and writes of the connection fail when ctx ends.
func (c *conn) watch() {
	if c.stop == nil {
		nc := c.Conn
		c.stop = context.AfterFunc(c.ctx, func() { _ = caught.Do(func() { _ = nc.SetDeadline(time.Unix(1, 0)) }) })
	}
}

// extendDeadline extends the read deadline from patience to that of the call.
func (c *conn) extendDeadline() {
	c.patient = true
	_ = c.Conn.SetReadDeadline(c.deadline)
	c.watch()
}

// Read reads from the connection until the call has to end.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n == 0 && !c.patient && errors.Is(err, os.ErrDeadlineExceeded) && c.ctx.Err() == nil {
		c.extendDeadline()
		n, err = c.Conn.Read(b)
	}
	c.got += n
	return n, err
}

// Write writes to the connection until the call has to end.
func (c *conn) Write(b []byte) (int, error) {
	if len(b) > largeWrite {
		c.watch()
	}
	return c.Conn.Write(b)
}

// SetDeadline does nothing: gomemcache would set a new deadline for each line.
func (c *conn) SetDeadline(time.Time) error { return nil }

// Close closes the connection.
func (c *conn) Close() error {
	c.closed = true
	return c.Conn.Close()
}
