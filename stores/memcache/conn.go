package memcachestore

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"github.com/gensession/gensession/stores/internal/peek"
)

// patience is how long an answer may take before anybody looks whether the
// call was cancelled. Most are there in a fraction of it.
const patience = 10 * time.Millisecond

// fresh is how long a connection is taken to be as it was.
const fresh = time.Millisecond

// largeWrite is what may not go into the buffers of the connection at once, so
// that writing has to wait for the server, too.
const largeWrite = 16 << 10

// A conn is a connection of one lane. It keeps the time limit of the call that
// the lane carries out, which gomemcache knows nothing of, and counts the
// bytes of the answer.
type conn struct {
	net.Conn
	peeker   *peek.Peeker
	plain    bool      // no TLS, which speaks unasked
	begun    time.Time // when the last call began
	deadline time.Time
	patient  bool        // reading waits until the deadline
	got      int         // bytes of the answer
	stop     func() bool // ends the watch over ctx
	ctx      context.Context
	closed   bool
}

func newConn(nc net.Conn) *conn {
	c := &conn{Conn: nc}
	c.peeker, c.plain = peek.New(nc)
	return c
}

// resume takes up a call on a connection that has been idle. It reports false
// if the connection is of no use.
//
// To look costs a call of the system. A read does without when the last call is
// no more than fresh ago: if the server has gone since, the read is repeated;
// and the look would not find an answer too many that comes a moment later, when
// the command is under way.
func (c *conn) resume(r *request) bool {
	last := c.begun
	return c.begin(r) && (!r.verb.writes() && c.begun.Sub(last) < fresh || c.alive())
}

// alive reports whether the idle connection is of use, as far as that can be
// told. A server that was restarted has closed it, and the next command would
// be lost; bytes in it that nobody has asked for would be taken for the next
// answer.
func (c *conn) alive() bool {
	_, n, gone := c.peeker.Peek()
	return !gone && (n == 0 || !c.plain)
}

// begin takes up a call. It reports false if the connection is closed.
func (c *conn) begin(r *request) bool {
	c.begun = time.Now()
	soon := c.begun.Add(patience)
	c.ctx, c.deadline, c.got, c.stop = r.ctx, r.deadline, 0, nil
	c.patient = !soon.Before(r.deadline)
	if c.patient {
		soon = r.deadline
	}
	// Two deadlines: a TLS connection is lost once a write was late.
	return c.Conn.SetReadDeadline(soon) == nil && c.Conn.SetWriteDeadline(r.deadline) == nil
}

// end lays down the call, and reports false if the connection can't be used
// for another.
func (c *conn) end() bool {
	stop := c.stop
	c.ctx, c.stop = nil, nil
	return !c.closed && (stop == nil || stop())
}

// watch makes the connection end its waiting when ctx ends.
func (c *conn) watch() {
	if c.stop == nil {
		nc := c.Conn
		c.stop = context.AfterFunc(c.ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	}
}

// extendDeadline lets reading wait for as long as the call may take.
func (c *conn) extendDeadline() {
	c.patient = true
	c.Conn.SetReadDeadline(c.deadline)
	c.watch()
}

// Read is that of the connection, until the call has to end.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n == 0 && !c.patient && errors.Is(err, os.ErrDeadlineExceeded) && c.ctx.Err() == nil {
		c.extendDeadline()
		n, err = c.Conn.Read(b)
	}
	c.got += n
	return n, err
}

// Write is that of the connection, until the call has to end.
func (c *conn) Write(b []byte) (int, error) {
	if len(b) > largeWrite {
		c.watch()
	}
	return c.Conn.Write(b)
}

// SetDeadline does nothing: gomemcache would begin a new one for each line.
func (c *conn) SetDeadline(time.Time) error { return nil }

// Close closes the connection.
func (c *conn) Close() error {
	c.closed = true
	return c.Conn.Close()
}
