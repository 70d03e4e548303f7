//go:build !unix

package peek

import "syscall"

// A Peeker sees nothing here: there is no way to look without reading.
type Peeker struct{}

func newPeeker(syscall.RawConn) *Peeker { return nil }

// Peek sees nothing.
func (*Peeker) Peek() (first byte, n int, gone bool) { return 0, 0, false }
