// Package relay puts a distance between a client and a server on one machine.
package relay

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/gensession/gensession/internal/servers"
)

// New starts a relay before the server at target, and returns its address. What
// the server sends arrives delay later. Unlike that of faultproxy, the delay is
// that of a long line: each piece counts for itself, so one connection carries
// any number of them at once. Connections end with the test.
func New(tb testing.TB, target string, delay time.Duration) (addr string) {
	tb.Helper()
	l, err := servers.Listen()
	if err != nil {
		tb.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	closed := false
	keep := func(c net.Conn) bool {
		mu.Lock()
		defer mu.Unlock()
		if closed {
			c.Close()
			return false
		}
		conns = append(conns, c)
		return true
	}
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				client.Close()
				continue
			}
			if !keep(client) || !keep(server) {
				client.Close()
				server.Close()
				return
			}
			wg.Go(func() {
				io.Copy(server, client)
				server.Close()
			})
			wg.Go(func() {
				late(client, server, delay)
				client.Close()
			})
		}
	})
	tb.Cleanup(func() {
		l.Close()
		mu.Lock()
		closed = true
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

// A piece is what one read gave, and when it is to be sent on.
type piece struct {
	data []byte
	due  time.Time
}

// late copies from one connection to the other, each piece delay later.
func late(to, from net.Conn, delay time.Duration) {
	pieces := make(chan piece, 1<<12)
	go func() {
		defer close(pieces)
		for {
			buf := make([]byte, 16<<10)
			n, err := from.Read(buf)
			if n > 0 {
				pieces <- piece{buf[:n], time.Now().Add(delay)}
			}
			if err != nil {
				return
			}
		}
	}()
	failed := false
	for p := range pieces { // to its end, so that the reader ends
		if failed {
			continue
		}
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.data); err != nil {
			failed = true
			from.Close()
		}
	}
}
