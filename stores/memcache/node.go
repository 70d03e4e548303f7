package memcachestore

import (
	"context"
	"hash/crc32"
	"net"
	"sync"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
)

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// A backend executes requests. Its errors are those of gomemcache and of this
// package, not yet those of the core.
type backend interface {
	do(r *request) error
	drop(key string)                 // closes the idle connections to the server of key
	probe(ctx context.Context) error // nil if any server answers
	close(limit time.Duration)
}

// nodes are the servers of a store with its own connections. Each has its own
// limits, so that a server that does not reply does not block calls to others.
type nodes []*node

// of returns the server of a key, chosen as in gomemcache's ServerList: another
// client with the same list finds the same keys.
func (all nodes) of(key string) *node {
	if len(all) == 1 {
		return all[0]
	}
	var b [250]byte
	return all[crc32.ChecksumIEEE(b[:copy(b[:], key)])%uint32(len(all))]
}

func (all nodes) do(r *request) error { return all.of(r.item.Key).do(r) }
func (all nodes) drop(key string)     { all.of(key).drop() }

func (all nodes) probe(ctx context.Context) error {
	answers := make(chan error, len(all))
	for _, n := range all {
		go func() { answers <- n.probe(ctx) }()
	}
	var err error
	for range all {
		if err = <-answers; err == nil {
			break
		}
	}
	return err
}

func (all nodes) close(limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for _, n := range all {
		n.slots.close(ctx.Done())
		n.drop()
		n.probing.Lock()
		n.prober.hangUp()
		n.probing.Unlock()
	}
}

// A node is one server with its clients.
type node struct {
	address
	dial  dialFunc
	slots slots

	mu   sync.Mutex
	idle []*connClient // the last one is used next

	probing sync.Mutex
	prober  *connClient // needs no slot, since all may be taken
}

func newNode(a address, dial dialFunc, conns int) *node {
	n := &node{address: a, dial: dial, slots: newSlots(conns)}
	n.prober = newConnClient(n)
	return n
}

func (n *node) do(r *request) error {
	if err := n.slots.enter(r); err != nil {
		return err
	}
	l := n.take()
	err := l.do(r)
	n.put(l)
	n.slots.leave()
	return err
}

func (n *node) take() *connClient {
	n.mu.Lock()
	defer n.mu.Unlock()
	last := len(n.idle) - 1
	if last < 0 {
		return newConnClient(n)
	}
	l := n.idle[last]
	n.idle[last] = nil
	n.idle = n.idle[:last]
	return l
}

func (n *node) put(l *connClient) {
	if l.conn == nil {
		return // a new one will do
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-n.slots.closed:
		l.hangUp()
	default:
		n.idle = append(n.idle, l)
	}
}

// drop closes the idle connections.
func (n *node) drop() {
	n.mu.Lock()
	idle := n.idle
	n.idle = nil
	n.mu.Unlock()
	for _, l := range idle {
		l.hangUp()
	}
}

func (n *node) probe(ctx context.Context) error {
	n.probing.Lock()
	defer n.probing.Unlock()
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(defaultTimeout)
	}
	r := &request{verb: verbVersion, ctx: ctx, deadline: deadline}
	err := n.prober.do(r)
	if r.mayRepeat(err) {
		err = n.prober.do(r)
	}
	return err
}

// A connClient is a client of gomemcache with one connection and one request at a
// time, so that the connection knows its current call.
type connClient struct {
	client *memcache.Client
	node   *node
	r      *request
	conn   *conn // nil: none is open
}

func newConnClient(n *node) *connClient {
	l := &connClient{node: n, client: memcache.NewFromSelector(&n.address)}
	l.client.MaxIdleConns = 1
	l.client.DialContext = l.dial
	return l
}

func (l *connClient) do(r *request) error {
	l.r = r
	if l.conn != nil && !l.conn.resume(r) {
		l.hangUp()
	}
	var err error
	if r.verb == verbMetaDelete {
		err = l.metaDelete(r)
	} else {
		err = r.send(l.client)
	}
	l.r = nil
	if l.conn == nil {
		return err
	}
	if fits := r.fits(err, l.conn.got); !l.conn.end() || !fits {
		l.hangUp()
		if !fits {
			return errStep
		}
	}
	return err
}

// hangUp closes the connection if one is open.
func (l *connClient) hangUp() {
	l.client.Close()
	l.conn = nil
}

// dial opens the connection for the current request. It ignores the context of
// gomemcache, which has another deadline.
func (l *connClient) dial(_ context.Context, network, address string) (net.Conn, error) {
	l.conn = nil
	ctx, cancel := context.WithDeadline(l.r.ctx, l.r.deadline)
	defer cancel()
	nc, err := l.node.dial(ctx, network, address)
	if err != nil {
		return nil, unsent{err}
	}
	c := newConn(nc)
	if !c.begin(l.r) {
		nc.Close()
		return nil, unsent{net.ErrClosed}
	}
	c.extendDeadline() // TLS may still have to shake hands
	l.conn = c
	return c, nil
}

// An address is the address of one server, and gomemcache's selector of it. Names
// are resolved whenever a connection is opened.
type address struct{ network, address string }

func (a *address) Network() string                     { return a.network }
func (a *address) String() string                      { return a.address }
func (a *address) PickServer(string) (net.Addr, error) { return a, nil }
func (a *address) Each(f func(net.Addr) error) error   { return f(a) }
