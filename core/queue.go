package core

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// A queue lets those requests of this process write a session one after the
// other that have met another one: if all of them tried again at once, most
// would meet again. Requests of different sessions don't wait for each other.
type queue struct {
	lines atomic.Int64 // how many there are
	mu    sync.Mutex
	line  map[string]*line // by the store's key
}

// A line is the requests that wait for one session.
type line struct {
	turn chan struct{} // has a token while it is nobody's turn
	in   int           // requests that wait or have the turn; guarded by queue.mu
}

// A turn is the place of one request in a line; nil is in none.
type turn struct {
	queue *queue
	key   string
	line  *line       // never changed: the timer of away may come late
	given atomic.Bool // away let the next one go on
	left  bool
}

// errCrowd is the error of a request that waited too long, or does not wait at
// all.
var errCrowd = fmt.Errorf("%w: too many requests save one session at the same time", ErrConflict)

// waiting reports whether somebody stands in line for key.
func (q *queue) waiting(key string) bool {
	if q.lines.Load() == 0 {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.line[key] != nil
}

// enter waits for its turn until end, with at most that many others.
func (q *queue) enter(key string, end time.Time, most int) (*turn, error) {
	q.mu.Lock()
	l := q.line[key]
	if l == nil {
		l = &line{turn: make(chan struct{}, 1)}
		l.turn <- struct{}{}
		if q.line == nil {
			q.line = map[string]*line{}
		}
		q.line[key] = l
		q.lines.Add(1)
	}
	if l.in > most {
		q.mu.Unlock()
		return nil, errCrowd
	}
	l.in++
	q.mu.Unlock()
	t := &turn{queue: q, key: key, line: l}
	return t, t.wait(end)
}

// wait takes the turn, or leaves the line at the end.
func (t *turn) wait(end time.Time) error {
	t.given.Store(false)
	select {
	case <-t.line.turn:
		return nil
	default:
	}
	timer := time.NewTimer(time.Until(end))
	defer timer.Stop()
	select {
	case <-t.line.turn:
		return nil
	case <-timer.C:
		t.given.Store(true) // there is none to give
		t.leave()
		return errCrowd
	}
}

// userPatience is how long a line waits for code of the user.
const userPatience = 10 * time.Millisecond

// away runs code of the user, which may do anything: also ask this server for
// the same session, and wait for the answer. If it takes long, the next in line
// goes on meanwhile. Then t waits anew, until end.
func (t *turn) away(f func() error, end time.Time) error {
	timer := time.AfterFunc(userPatience, t.give)
	err := f() // a panic leaves by leave
	if timer.Stop() || err != nil {
		return err
	}
	t.give() // if it has begun, it may not be done
	return t.wait(end)
}

// give lets the next one go on, once.
func (t *turn) give() {
	if !t.given.Swap(true) {
		t.line.turn <- struct{}{}
	}
}

// leave gives the turn and the place in the line back.
func (t *turn) leave() {
	if t == nil || t.left {
		return
	}
	t.left = true
	t.give()
	t.queue.mu.Lock()
	defer t.queue.mu.Unlock()
	if t.line.in--; t.line.in == 0 {
		delete(t.queue.line, t.key)
		t.queue.lines.Add(-1)
	}
}
