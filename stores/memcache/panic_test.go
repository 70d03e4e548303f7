package memcachestore_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/gensession/gensession/internal/servers"
	memcachestore "github.com/gensession/gensession/stores/memcache"
)

// panicOf is what f panics with.
func panicOf(f func()) (p any) {
	defer func() { p = recover() }()
	f()
	return nil
}

// A panickyConn panics while it is told to, as a connection of the user may.
type panickyConn struct {
	net.Conn
	armed *atomic.Bool
}

func (c panickyConn) Write(b []byte) (int, error) {
	if c.armed.Load() {
		panic("a write")
	}
	return c.Conn.Write(b)
}

func (c panickyConn) Close() error {
	err := c.Conn.Close()
	if c.armed.Load() {
		panic("a close")
	}
	return err
}

// R22: what the user has given to dial with, and its connections, may panic: a dial
// that does so has failed, and what a connection does is the panic of its call. None of
// it ends the process, or takes places that are never given back.
func TestR22AConnectionThatPanics(t *testing.T) {
	server := servers.Memcached(t)
	var dial, write atomic.Bool
	s := open(t, &memcachestore.Options{
		MaxConns: 4,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if dial.Load() {
				panic("koa:sess:a-key-of-somebody")
			}
			c, err := new(net.Dialer).DialContext(ctx, network, address)
			return panickyConn{c, &write}, err
		},
	}, server.Addr())
	ctx := t.Context()
	dial.Store(true)
	for range 10 {
		if err := s.Set(ctx, "k", []byte("v"), time.Minute); err == nil || !strings.Contains(err.Error(), "panic: string") {
			t.Errorf("Set while dials panic: %v", err)
		}
	}
	dial.Store(false)
	works(t, s)
	for range 10 {
		write.Store(true)
		p := panicOf(func() { _ = s.Set(ctx, "k", []byte("v"), time.Minute) })
		write.Store(false)
		if p == nil || fmt.Sprint(p) != "panic: string" {
			t.Fatalf("the panic of the call is %v", p)
		}
		works(t, s)
	}
	write.Store(true)
	down, up := make(chan struct{}, 1), make(chan struct{}, 1)
	var registered atomic.Bool // if the store is down already, the listener is first called on this goroutine
	stop := s.Notify(func(is bool) {
		told := down
		if is {
			told = up
		}
		select {
		case told <- struct{}{}:
		default:
		}
		if registered.Load() {
			panic("a listener")
		}
	})
	defer stop()
	registered.Store(true)
	<-down
	write.Store(false)
	<-up
}

// R22: so may a client of the user.
func TestR22AClientThatPanics(t *testing.T) {
	server := servers.Memcached(t)
	client := memcache.New(server.Addr())
	defer client.Close()
	var armed atomic.Bool
	client.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		return panickyConn{c, &armed}, err
	}
	s, err := memcachestore.New(client, &memcachestore.Options{MaxConns: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	works(t, s)
	for range 10 {
		armed.Store(true)
		p := panicOf(func() { _ = s.Set(t.Context(), "k", []byte("v"), time.Minute) })
		armed.Store(false)
		if p == nil || fmt.Sprint(p) != "panic: string" {
			t.Fatalf("the panic of the call is %v", p)
		}
		works(t, s)
	}
	armed.Store(true)
	down, up := make(chan error, 1), make(chan struct{}, 1)
	defer s.Notify(func(is bool) {
		if is {
			up <- struct{}{}
		} else {
			down <- s.Cause()
		}
	})()
	if cause := <-down; cause == nil || strings.Contains(cause.Error(), "a write") {
		t.Errorf("the cause is %v", cause)
	}
	armed.Store(false)
	<-up
}

func works(t testing.TB, s *memcachestore.Store) {
	t.Helper()
	for range 20 {
		if err := s.Set(t.Context(), "k", []byte("v"), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
}
