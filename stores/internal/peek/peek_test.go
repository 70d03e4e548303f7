//go:build unix

package peek_test

import (
	"net"
	"testing"
	"time"

	"github.com/gensession/gensession/stores/internal/peek"
)

func TestPeek(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	p, plain := peek.New(near)
	if !plain {
		t.Error("no TLS was used")
	}
	if _, n, gone := p.Peek(); n != 0 || gone {
		t.Errorf("an idle connection: %d bytes, gone %t", n, gone)
	}
	if _, err := far.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { b, n, gone := p.Peek(); return b == 'x' && n == 1 && !gone })
	if n, err := near.Read(make([]byte, 2)); n != 1 || err != nil {
		t.Errorf("the byte that was looked at is not there: %d, %v", n, err)
	}
	far.Close()
	eventually(t, func() bool { _, _, gone := p.Peek(); return gone })
	near.Close()
	if _, _, gone := p.Peek(); !gone {
		t.Error("a closed connection is not gone")
	}
	pipe, _ := net.Pipe()
	if p, _ := peek.New(pipe); p != nil {
		t.Error("there is something to see on a pipe")
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for range 500 {
		if ok() {
			return
		}
		time.Sleep(2 * time.Millisecond) // the kernel's loopback
	}
	t.Error("it was not seen")
}
