package memcachestore

import (
	"cmp"
	"context"
	"errors"
	"hash/crc32"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/gensession/gensession/stores/internal/caught"
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
	return all[crc32.ChecksumIEEE(b[:copy(b[:], key)])%uint32(len(all))] // #nosec G115 -- a list of servers
}

func (all nodes) do(r *request) error { return all.of(r.item.Key).do(r) }
func (all nodes) drop(key string)     { all.of(key).drop() }

func (all nodes) probe(ctx context.Context) error {
	answers := make(chan error, len(all))
	for _, n := range all {
		var err error
		caught.Go(func() { err = n.probe(ctx) }, func(end caught.End) { answers <- cmp.Or(end.Err(), err) })
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
		n.close(ctx.Done())
	}
}

// A node is one server with its clients, each of which has a connection.
type node struct {
	address
	dial  dialFunc
	slots slots

	dials context.Context // of the dials in progress
	stop  context.CancelFunc
	ended sync.WaitGroup // the dials in progress

	mu      sync.Mutex
	closed  bool
	idle    []*connClient // the last one is used next, the first one is unused for longest
	open    int           // connections, idle or in use
	waiting []*waiter     // for a connection, the first one gets the next
	dialing int
	refused time.Time   // when the last dial failed, zero if it did not
	why     error       // why it failed
	sweeper *time.Timer // closes idle connections; nil if there are none
}

const (
	// unused is how long a connection is kept without being used. The server
	// counts it meanwhile, and may refuse those of other processes.
	unused = 10 * time.Second

	// refusal is how long a server that has refused a connection is not asked for
	// another one while there are some: it has reached its limit.
	refusal = 100 * time.Millisecond
)

func newNode(a address, dial dialFunc, conns int) *node {
	n := &node{address: a, dial: dial, slots: newSlots(conns)}
	n.dials, n.stop = context.WithCancel(context.Background())
	return n
}

func (n *node) do(r *request) error {
	if err := n.slots.enter(r); err != nil {
		return err
	}
	defer n.slots.leave() // also if a connection of the user panics
	return n.run(r)
}

// run executes a request on an idle connection, or on a new one.
func (n *node) run(r *request) error {
	for {
		l, err := n.take(r)
		if err != nil {
			return err
		}
		if !l.conn.resume(r) {
			l.hangUp()
			n.put(l)
			continue
		}
		return n.use(l, r)
	}
}

// use executes a request on l, and takes it back: without its connection if that, which
// may be the user's, has panicked.
func (n *node) use(l *connClient, r *request) error {
	returned := false
	defer func() {
		if !returned {
			l.hangUp()
		}
		n.put(l)
		caught.Again(recover())
	}()
	err := l.do(r)
	returned = true
	return err
}

// probe needs no slot, since all may be taken. It uses a connection like any other
// request: a server at its limit would refuse one more.
func (n *node) probe(ctx context.Context) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(defaultTimeout)
	}
	r := &request{verb: verbVersion, ctx: ctx, deadline: deadline}
	err := n.run(r)
	if r.mayRepeat(err) {
		n.drop()
		err = n.run(r)
	}
	return err
}

// A waiter waits for a connection.
type waiter struct {
	client chan *connClient // nil: err says why there is none
	err    error
}

// take returns an idle client or one with a new connection, whichever comes first. A
// server that refuses a new connection may be at its limit: then take waits for one
// that comes back, as long as there are any.
func (n *node) take(r *request) (*connClient, error) {
	n.mu.Lock()
	if last := len(n.idle) - 1; last >= 0 {
		l := n.idle[last]
		n.idle[last] = nil
		n.idle = n.idle[:last]
		n.mu.Unlock()
		return l, nil
	}
	w := &waiter{client: make(chan *connClient, 1)}
	n.waiting = append(n.waiting, w)
	n.connect(r.deadline)
	n.mu.Unlock()

	timer := time.NewTimer(time.Until(r.deadline))
	defer timer.Stop()
	var err error
	select {
	case l := <-w.client:
		return l, w.err
	case <-timer.C:
		err = context.DeadlineExceeded
	case <-r.ctx.Done():
		err = r.ctx.Err()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if i := slices.Index(n.waiting, w); i >= 0 {
		n.waiting = slices.Delete(n.waiting, i, i+1)
		if n.why != nil && !late(n.why) && late(err) {
			err = n.why // what it has waited for
		}
		return nil, unsent{err}
	}
	if l := <-w.client; l != nil { // just now
		n.pass(l)
	}
	return nil, unsent{err}
}

// put takes a client back.
func (n *node) put(l *connClient) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l.conn == nil {
		n.open--
		n.connect(time.Time{})
		return
	}
	n.pass(l)
}

// pass gives a client to the first who waits for one, or keeps it. The caller holds
// mu.
func (n *node) pass(l *connClient) {
	switch {
	case n.closed:
		l.hangUp()
		n.open--
	case len(n.waiting) > 0:
		n.waiting[0].client <- l
		n.waiting = slices.Delete(n.waiting, 0, 1)
	default:
		n.idle = append(n.idle, l)
		if n.sweeper == nil {
			n.sweeper = time.AfterFunc(unused, n.sweep)
		}
	}
}

// connect opens connections for those who wait. The caller holds mu.
func (n *node) connect(deadline time.Time) {
	if n.closed {
		n.refuseAll(unsent{errShut})
	}
	if len(n.waiting) <= n.dialing {
		return
	}
	// While a server at its limit serves our other connections, one dial at a time
	// finds out whether it still is.
	limited := n.open+n.dialing > 0 && !n.refused.IsZero()
	// Others may wait for a connection when the caller has given up.
	if least := time.Now().Add(defaultTimeout); deadline.Before(least) {
		deadline = least
	}
	for len(n.waiting) > n.dialing && (!limited || n.dialing == 0 && time.Since(n.refused) > refusal) {
		n.dialing++
		n.ended.Go(func() {
			began := time.Now()
			var l *connClient
			var err error
			if panicked := caught.Do(func() { l, err = newConnClient(n, deadline) }); panicked != nil { // Options.DialContext, for all that wait
				l, err = nil, unsent{panicked}
			}
			n.opened(l, err, began, late(err) && !time.Now().Before(deadline))
		})
	}
}

// opened continues with the result of a dial that began then, which may be overdue.
func (n *node) opened(l *connClient, err error, began time.Time, overdue bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dialing--
	switch {
	case err == nil:
		n.open++
		if began.After(n.refused) { // the server is no longer at its limit
			n.refused, n.why = time.Time{}, nil
		}
		n.pass(l)
		n.connect(time.Time{})
		return
	case overdue: // those who wait know how long they can
	case n.open > 0 || n.dialing > 0 && (errors.Is(err, errTooMany) || broken(err)):
		// There is a connection, or may be one in a moment.
	default:
		n.refuseAll(err)
	}
	n.refused, n.why = time.Now(), err
	n.connect(time.Time{})
}

// refuseAll gives those who wait an error. The caller holds mu.
func (n *node) refuseAll(err error) {
	for _, w := range n.waiting {
		w.err = err
		w.client <- nil
	}
	n.waiting = nil
}

// sweep closes the connections that have not been used for a while.
func (n *node) sweep() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sweeper = nil
	old := 0
	for old < len(n.idle) && time.Since(n.idle[old].conn.begun) >= unused {
		old++
	}
	n.discard(old)
	if len(n.idle) > 0 {
		n.sweeper = time.AfterFunc(time.Until(n.idle[0].conn.begun.Add(unused)), n.sweep)
	}
}

// discard closes so many of the connections that are idle for longest. The caller
// holds mu.
func (n *node) discard(some int) {
	for _, l := range n.idle[:some] {
		l.hangUp()
	}
	n.idle = slices.Delete(n.idle, 0, some)
	n.open -= some
}

// drop closes the idle connections.
func (n *node) drop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.discard(len(n.idle))
}

// close closes the connections and waits for the dials in progress, until limit.
func (n *node) close(limit <-chan struct{}) {
	n.stop()
	n.mu.Lock()
	n.closed = true
	n.discard(len(n.idle))
	n.connect(time.Time{})
	if n.sweeper != nil {
		n.sweeper.Stop()
	}
	n.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		n.ended.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-limit:
	}
}

// A connClient is a client of gomemcache with one connection and one request at a
// time, so that the connection knows its current call.
type connClient struct {
	client *memcache.Client
	node   *node
	conn   *conn // nil: it is closed
	lent   bool  // gomemcache has the connection
}

// newConnClient opens a connection. It is not used before the server has replied on
// it: one that has too many refuses it or leaves it waiting, and a write on it would
// have an unknown outcome.
func newConnClient(n *node, deadline time.Time) (*connClient, error) {
	ctx, cancel := context.WithDeadline(n.dials, deadline)
	defer cancel()
	c, err := n.connection(ctx, deadline)
	if err != nil && broken(err) {
		c, err = n.connection(ctx, deadline) // perhaps it was made while the server restarted
	}
	if err != nil {
		return nil, unsent{err}
	}
	l := &connClient{node: n, client: memcache.NewFromSelector(&n.address), conn: c}
	l.client.MaxIdleConns = 1
	l.client.DialContext = l.lend
	return l, nil
}

// connection opens a connection and waits for a reply on it.
func (n *node) connection(ctx context.Context, deadline time.Time) (*conn, error) {
	nc, err := n.dial(ctx, n.Network(), n.String())
	if err != nil {
		return nil, err
	}
	c := newConn(nc)
	if err := c.greet(&request{ctx: ctx, deadline: deadline}); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return c, nil
}

// lend gives gomemcache the connection, which it asks for once.
func (l *connClient) lend(context.Context, string, string) (net.Conn, error) {
	if l.lent || l.conn == nil {
		return nil, unsent{net.ErrClosed}
	}
	l.lent = true
	return l.conn, nil
}

func (l *connClient) do(r *request) (err error) {
	if r.verb == verbMetaDelete {
		err = l.metaDelete(r)
	} else {
		err = r.send(l.client)
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
	if l.conn != nil {
		_ = caught.Do(func() { _ = l.conn.Close() })
	}
	l.conn = nil
}

// An address is the address of one server, and gomemcache's selector of it. Names
// are resolved whenever a connection is opened.
type address struct{ network, address string }

func (a *address) Network() string                     { return a.network }
func (a *address) String() string                      { return a.address }
func (a *address) PickServer(string) (net.Addr, error) { return a, nil }
func (a *address) Each(f func(net.Addr) error) error   { return f(a) }
