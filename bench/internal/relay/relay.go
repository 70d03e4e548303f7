// Package relay stands between a client and a server on one machine: it makes a
// distance between them, and counts round trips.
package relay

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/gensession/gensession/internal/servers"
)

// A Relay passes on what a client and a server send to each other. What the
// server sends arrives later by the delay of the relay. Unlike that of
// faultproxy, this is the delay of a long line: each piece counts for itself, so
// that one connection carries any number of them at once.
type Relay struct {
	listener net.Listener
	delay    time.Duration
	wg       sync.WaitGroup

	mu      sync.Mutex
	target  string
	conns   []net.Conn
	closed  bool
	trips   int
	waiting bool // for the reply to what was sent last
}

// New starts a relay before the server at target; both end with the test. If
// target is not known yet, it may be "" until To is called.
func New(tb testing.TB, target string, delay time.Duration) *Relay {
	tb.Helper()
	l, err := servers.Listen()
	if err != nil {
		tb.Fatal(err)
	}
	r := &Relay{listener: l, delay: delay, target: target}
	r.wg.Go(r.accept)
	tb.Cleanup(r.close)
	return r
}

// Addr is where the relay listens.
func (r *Relay) Addr() string { return r.listener.Addr().String() }

// To makes target the server of new connections.
func (r *Relay) To(target string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target = target
}

// Trips is how many round trips there have been, one after the other: what is
// sent begins one unless something else has no reply yet. The keep-alive of a
// client of Redis is none.
func (r *Relay) Trips() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.trips
}

const keepAlive = "*1\r\n$4\r\nPING\r\n"

func (r *Relay) asked(data []byte) {
	if string(data) == keepAlive {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.waiting {
		r.trips++
	}
	r.waiting = true
}

func (r *Relay) answered() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = false
}

func (r *Relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		target := r.target
		r.mu.Unlock()
		server, err := net.Dial("tcp", target)
		if err != nil {
			client.Close()
			continue
		}
		if !r.keep(client, server) {
			return
		}
		r.wg.Go(func() { r.requests(server, client) })
		r.wg.Go(func() { r.replies(client, server) })
	}
}

// keep notes connections that end with r.
func (r *Relay) keep(conns ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conns = append(r.conns, conns...); !r.closed {
		return true
	}
	for _, c := range conns {
		c.Close()
	}
	return false
}

func (r *Relay) close() {
	r.listener.Close()
	r.mu.Lock()
	r.closed = true
	for _, c := range r.conns {
		c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

func (r *Relay) requests(server, client net.Conn) {
	defer server.Close()
	buf := make([]byte, 16<<10)
	for {
		n, err := client.Read(buf)
		if n > 0 {
			r.asked(buf[:n])
			if _, err := server.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// A piece is what one read gave, and when it is to be sent on.
type piece struct {
	data []byte
	due  time.Time
}

func (r *Relay) replies(client, server net.Conn) {
	defer client.Close()
	pieces := make(chan piece, 1<<12)
	r.wg.Go(func() {
		defer close(pieces)
		for {
			buf := make([]byte, 4<<10)
			n, err := server.Read(buf)
			if n > 0 {
				pieces <- piece{buf[:n], time.Now().Add(r.delay)}
			}
			if err != nil {
				return
			}
		}
	})
	for p := range pieces { // to its end, so that the reader ends
		if r.delay > 0 {
			time.Sleep(time.Until(p.due))
		}
		r.answered()
		if _, err := client.Write(p.data); err != nil {
			server.Close()
		}
	}
}
