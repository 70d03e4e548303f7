// Package faultproxy stands between a client and a server under test and
// makes the faults of a network: slow, dripping, cut, silent, mixed up.
//
//	p := faultproxy.New(t, server.Addr())
//	client := dial(p.Addr())
//	p.Replies(faultproxy.Fault{Cut: faultproxy.Reset, CutAt: 3})
//	...
//	p.Clear()
//
// A Fault holds for one direction, for the connections that there are and for
// new ones, until it is set again. All methods are safe for concurrent use.
// The proxy and its connections end with the test.
package faultproxy

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gensession/gensession/internal/servers"
)

// Fault is what happens to the bytes of one direction. The zero Fault lets
// them through. A chunk is what one read of the proxy gives, for small
// messages what the sender wrote at once.
type Fault struct {
	Delay  time.Duration // each chunk waits so long,
	Jitter time.Duration // and up to so much longer
	Drip   time.Duration // bytes go one by one, so far apart

	// Hole holds back all bytes, and the end of the connection, as a network
	// does that drops packets. Nothing is lost: when the hole is gone the bytes
	// come late, as TCP sends them again. Connections are still made.
	Hole bool

	// Cut ends each connection after so many bytes since the fault was set;
	// with Once, only the first that comes so far, and the fault is over.
	Cut   End
	CutAt int
	Once  bool
}

// End is how a connection ends.
type End int

// The ways in which a connection ends.
const (
	None  End = iota
	Close     // by FIN: the client reads what was sent, then EOF
	Reset     // by RST: "connection reset by peer"
)

// Proxy is a TCP proxy before one server.
type Proxy struct {
	tb       testing.TB
	addr     string
	requests side
	replies  side
	mixer    mixer
	wg       sync.WaitGroup
	ctx      context.Context // until the proxy is closed
	cancel   context.CancelFunc

	mu       sync.Mutex
	target   string
	listener net.Listener
	links    map[*link]struct{}
	accepted atomic.Int64
}

// New starts a proxy on a free port of 127.0.0.1 before the server at target.
// While the server is down, the proxy resets the connections it gets; see
// [Proxy.Refuse] for the error that clients without a proxy see.
func New(tb testing.TB, target string) *Proxy {
	tb.Helper()
	l, err := servers.Listen()
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{tb: tb, target: target, addr: l.Addr().String(), links: map[*link]struct{}{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.requests.set(Fault{})
	p.replies.set(Fault{})
	p.serve(l)
	tb.Cleanup(p.close)
	return p
}

// Addr returns the address of the proxy, which stays the same.
func (p *Proxy) Addr() string { return p.addr }

// Requests sets the fault of what clients send.
func (p *Proxy) Requests(f Fault) { p.requests.set(f) }

// Replies sets the fault of what the server sends.
func (p *Proxy) Replies(f Fault) { p.replies.set(f) }

// Hole holds back the bytes of both directions; see [Fault].
func (p *Proxy) Hole() { p.Requests(Fault{Hole: true}); p.Replies(Fault{Hole: true}) }

// Clear ends all faults. Connections that were cut stay so.
func (p *Proxy) Clear() {
	p.mixer.clear()
	p.Requests(Fault{})
	p.Replies(Fault{})
	p.Refuse(false)
}

// Refuse makes the proxy refuse new connections, or accept them again. Those
// that there are go on.
func (p *Proxy) Refuse(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if on && p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
	if !on && p.listener == nil {
		l, err := net.Listen("tcp", p.addr)
		if err != nil {
			p.tb.Errorf("faultproxy: %v", err)
			return
		}
		p.serveLocked(l)
	}
}

// Move makes new connections lead to the server at target, as those to a name or an
// address that moves. Those that there are stay where they are.
func (p *Proxy) Move(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// CutAll ends all connections now and returns how many there were.
func (p *Proxy) CutAll(how End) int {
	all := p.all()
	for _, k := range all {
		k.end(how)
	}
	return len(all)
}

// Stats is what a proxy has seen.
type Stats struct {
	Accepted int   // connections
	Open     int   // of them now
	Requests int64 // bytes sent on to the server
	Replies  int64 // bytes sent on to clients
	Cut      int   // connections that a [Fault] has cut
	Mixed    int   // replies that were swapped or sent twice
}

// Stats returns what the proxy has seen so far.
func (p *Proxy) Stats() Stats {
	return Stats{
		Accepted: int(p.accepted.Load()),
		Open:     len(p.all()),
		Requests: p.requests.bytes.Load(),
		Replies:  p.replies.bytes.Load(),
		Cut:      int(p.requests.cuts.Load() + p.replies.cuts.Load()),
		Mixed:    int(p.mixer.mixed.Load()),
	}
}

func (p *Proxy) serve(l net.Listener) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.serveLocked(l)
}

func (p *Proxy) serveLocked(l net.Listener) {
	p.listener = l
	p.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.accepted.Add(1)
			p.wg.Go(func() { p.connect(c.(*net.TCPConn)) })
		}
	})
}

// connect joins a client with the server. A server that is not there resets
// the connection, which the kernel has accepted already.
func (p *Proxy) connect(client *net.TCPConn) {
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	c, err := new(net.Dialer).DialContext(p.ctx, "tcp", target)
	if err != nil {
		_ = client.SetLinger(0)
		client.Close()
		return
	}
	k := &link{p: p, client: client, server: c.(*net.TCPConn), gone: make(chan struct{})}
	if p.add(k) {
		k.run()
		p.remove(k)
	}
}

func (p *Proxy) all() []*link {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*link, 0, len(p.links))
	for k := range p.links {
		all = append(all, k)
	}
	return all
}

// add reports whether the proxy is still open; if not, it ends the link.
func (p *Proxy) add(k *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		k.close()
		return false
	}
	p.links[k] = struct{}{}
	return true
}

func (p *Proxy) remove(k *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, k)
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.cancel()
	if p.listener != nil {
		p.listener.Close()
	}
	p.mu.Unlock()
	for _, k := range p.all() {
		k.close()
	}
	p.wg.Wait()
}
