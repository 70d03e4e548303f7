// Package peek looks at what has come on a connection, without waiting for it
// and without taking it: the end, if the server has hung up, or bytes that
// nobody has asked for.
package peek

import (
	"net"
	"syscall"
)

// New returns a Peeker for a connection, or for the one below its TLS, which
// plain tells; nil where there is nothing to see. It is for one goroutine at a
// time.
func New(nc net.Conn) (p *Peeker, plain bool) {
	plain = true
	if t, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc, plain = t.NetConn(), false
	}
	if c, ok := nc.(syscall.Conn); ok {
		if raw, err := c.SyscallConn(); err == nil {
			return newPeeker(raw), plain
		}
	}
	return nil, plain
}
