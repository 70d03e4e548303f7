package faultproxy

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// link is one connection of a client and its continuation to the server.
type link struct {
	p              *Proxy
	client, server *net.TCPConn
	once           sync.Once
	gone           chan struct{} // closed when nothing goes through any more
}

func (k *link) run() {
	var wg sync.WaitGroup
	wg.Go(func() { (&pipe{link: k, side: &k.p.requests, from: k.client, to: k.server}).run() })
	wg.Go(func() { (&pipe{link: k, side: &k.p.replies, from: k.server, to: k.client}).run() })
	wg.Wait()
	k.close()
}

// end ends the connection in one of the ways, for the client to see.
func (k *link) end(how End) {
	k.once.Do(func() { close(k.gone) })
	if how == Close {
		// A close with bytes unread would reset. The pipe of the requests goes on
		// reading, and throws them away, until the client closes too.
		_ = k.client.CloseWrite()
		k.server.Close()
		return
	}
	_ = k.client.SetLinger(0)
	k.client.Close()
	k.server.Close()
}

func (k *link) close() {
	k.once.Do(func() { close(k.gone) })
	k.client.Close()
	k.server.Close()
}

// pipe is one direction of a link.
type pipe struct {
	*link
	side     *side
	from, to *net.TCPConn
	turn     int // the fault that sent counts for
	sent     int
}

func (q *pipe) run() {
	buf := make([]byte, 64<<10)
	for {
		n, err := q.from.Read(buf)
		if n > 0 {
			q.pass(buf[:n])
		}
		if err != nil {
			q.finish(err)
			return
		}
	}
}

// finish passes on the end of what came in.
func (q *pipe) finish(err error) {
	q.hold()
	switch {
	case q.ended():
	case !errors.Is(err, io.EOF):
		q.end(Reset)
	case q.from == q.server:
		q.end(Close)
	default:
		_ = q.server.CloseWrite()
	}
}

// pass sends a chunk on, with what the fault of its side does to it.
func (q *pipe) pass(chunk []byte) {
	q.delay()
	q.hold()
	if q.from == q.server {
		chunk = q.p.mixer.mix(q.link, chunk)
	}
	for len(chunk) > 0 && !q.ended() {
		f, turn, changed := q.side.get()
		if turn != q.turn {
			q.turn, q.sent = turn, 0
		}
		if f.Hole {
			q.hold()
			continue
		}
		n := len(chunk)
		if f.Drip > 0 {
			n = 1
		}
		if f.Cut != None {
			n = min(n, f.CutAt-q.sent)
		}
		if n > 0 {
			// Counted first: who has read the bytes must find them counted.
			q.side.bytes.Add(int64(n))
			wrote, err := q.to.Write(chunk[:n])
			q.side.bytes.Add(int64(wrote - n))
			if err != nil {
				return // the other pipe sees to the end
			}
			q.sent, chunk = q.sent+n, chunk[n:]
		}
		if f.Cut != None && q.sent >= f.CutAt && q.side.mayCut(turn) {
			q.end(f.Cut)
			return
		}
		if f.Drip > 0 && len(chunk) > 0 {
			q.wait(f.Drip, changed)
		}
	}
}

// delay waits for the delay of the side, or until that is changed.
func (q *pipe) delay() {
	f, _, changed := q.side.get()
	d := f.Delay
	if f.Jitter > 0 {
		d += rand.N(f.Jitter)
	}
	if d > 0 {
		q.wait(d, changed)
	}
}

// hold waits until the side has no hole.
func (q *pipe) hold() {
	for {
		f, _, changed := q.side.get()
		if !f.Hole || q.ended() {
			return
		}
		select {
		case <-changed:
		case <-q.gone:
		}
	}
}

func (q *pipe) wait(d time.Duration, changed <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-changed:
	case <-q.gone:
	}
}

func (q *pipe) ended() bool {
	select {
	case <-q.gone:
		return true
	default:
		return false
	}
}
