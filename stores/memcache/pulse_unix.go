//go:build unix

package memcachestore

import (
	"net"
	"syscall"
)

// A pulse tells whether an idle connection is of use, without waiting. A server
// that was restarted has closed it, and the next command would be lost; bytes
// in it that nobody has asked for would be taken for the next answer.
type pulse struct {
	raw     syscall.RawConn
	peek    func(fd uintptr) bool
	strict  bool // bytes that wait are no good either
	waiting int
	err     error
}

func (p *pulse) watch(nc net.Conn) {
	p.strict = true
	if t, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc, p.strict = t.NetConn(), false // TLS speaks unasked
	}
	c, ok := nc.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	p.raw = raw
	var b [1]byte // the descriptor does not block
	p.peek = func(fd uintptr) bool {
		p.waiting, _, p.err = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		return true
	}
}

// ok reports whether the connection is open and quiet, if that can be told.
func (p *pulse) ok() bool {
	if p.raw == nil {
		return true
	}
	if err := p.raw.Read(p.peek); err != nil {
		return false
	}
	if p.err == nil {
		return p.waiting > 0 && !p.strict
	}
	return p.err == syscall.EAGAIN || p.err == syscall.EWOULDBLOCK || p.err == syscall.EINTR
}
