package servers

import (
	"net"
	"sync"
	"testing"
)

// Fake is a server of the test's own: it calls serve with each connection, in a
// goroutine, and closes the connection when serve returns. At the end of the test it
// closes all that are left, and waits for serve.
func Fake(tb testing.TB, serve func(c net.Conn)) (addr string) {
	tb.Helper()
	l, err := net.Listen("tcp", loopback(0))
	if err != nil {
		tb.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{} // nil when the test is over
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			if open == nil {
				_ = c.Close()
			} else {
				open[c] = true
			}
			mu.Unlock()
			all.Go(func() {
				serve(c)
				_ = c.Close()
				mu.Lock()
				delete(open, c)
				mu.Unlock()
			})
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		open = nil
		mu.Unlock()
		all.Wait()
	})
	return l.Addr().String()
}
