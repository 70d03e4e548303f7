//go:build unix

package redisstore

import "syscall"

// A peeker looks at what can be read from a connection without waiting for it
// and without taking it. It is made once for a connection, since each look
// would leave garbage else.
type peeker struct {
	raw  syscall.RawConn
	see  func(fd uintptr)
	b    [1]byte
	n    int
	gone bool
}

func newPeeker(raw syscall.RawConn) *peeker {
	p := &peeker{raw: raw}
	p.see = func(fd uintptr) {
		var err error
		p.n, _, err = syscall.Recvfrom(int(fd), p.b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		p.gone = err == nil && p.n == 0 || err != nil && err != syscall.EAGAIN && err != syscall.EWOULDBLOCK && err != syscall.EINTR
	}
	return p
}

// peek returns the first byte, if n is 1, and whether there is the end.
func (p *peeker) peek() (first byte, n int, gone bool) {
	err := p.raw.Control(p.see)
	return p.b[0], p.n, p.gone || err != nil
}
