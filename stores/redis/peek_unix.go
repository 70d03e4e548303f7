//go:build unix

package redisstore

import "syscall"

// peek looks at what can be read from a connection without waiting for it and
// without taking it: its first byte, if n is 1, and whether there is its end.
func peek(c syscall.RawConn) (first byte, n int, gone bool) {
	var b [1]byte
	err := c.Control(func(fd uintptr) {
		var err error
		n, _, err = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		gone = err == nil && n == 0 || err != nil && err != syscall.EAGAIN && err != syscall.EWOULDBLOCK && err != syscall.EINTR
	})
	return b[0], n, gone || err != nil
}
