//go:build unix

package peek

import "syscall"

// A Peeker is made once for a connection, since each look would leave garbage
// else.
type Peeker struct {
	raw  syscall.RawConn
	see  func(fd uintptr)
	b    [1]byte
	n    int
	gone bool
}

func newPeeker(raw syscall.RawConn) *Peeker {
	p := &Peeker{raw: raw}
	p.see = func(fd uintptr) {
		var err error
		p.n, _, err = syscall.Recvfrom(int(fd), p.b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		p.gone = err == nil && p.n == 0 || err != nil && err != syscall.EAGAIN && err != syscall.EWOULDBLOCK && err != syscall.EINTR
	}
	return p
}

// Peek returns the first byte, if n is 1, and whether there is the end.
func (p *Peeker) Peek() (first byte, n int, gone bool) {
	if p == nil {
		return 0, 0, false
	}
	err := p.raw.Control(p.see)
	return p.b[0], max(p.n, 0), p.gone || err != nil
}
