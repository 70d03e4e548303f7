package adaptertest

import (
	"context"
	"net"
	"sync"
)

// pipes is a listener without a network.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

func newPipes() *pipes {
	p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	p.close = sync.OnceFunc(func() { close(p.closed) })
	return p
}

// Accept is that of [net.Listener].
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close is that of [net.Listener].
func (p *pipes) Close() error {
	p.close()
	return nil
}

// Addr is that of [net.Listener].
func (p *pipes) Addr() net.Addr { return p }

// Network is that of [net.Addr].
func (p *pipes) Network() string { return "pipe" }

// String is that of [net.Addr].
func (p *pipes) String() string { return "pipe" }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
