//go:build !unix

package redisstore

import "syscall"

// peek sees nothing: there is no way to look without reading.
func peek(syscall.RawConn) (first byte, n int, gone bool) { return 0, 0, false }
