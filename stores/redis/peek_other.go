//go:build !unix

package redisstore

import "syscall"

// A peeker sees nothing: there is no way to look without reading.
type peeker struct{}

func newPeeker(syscall.RawConn) *peeker { return nil }

func (*peeker) peek() (first byte, n int, gone bool) { return 0, 0, false }
