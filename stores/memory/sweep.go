package memorystore

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// The sweeper removes expired records without delaying requests. A pass over a
// million records takes some tenths of a second, so no lock may be held for a
// whole pass or a whole shard. The sweeper ranges over the map of a shard and
// releases the lock after every few records. Go allows that: a record removed
// meanwhile is not visited, an added one may be, and none is visited twice.
//
// Each shard has a time before which no record expires. A pass visits only the
// shards where that time has come, and computes it again. So a pass over
// sessions that do not expire costs almost nothing, and the store can look for
// expired records before it refuses a new session.
const (
	sweepEvery = time.Minute // how long an expired record may stay
	sweepSlice = 64          // records visited under one lock: up to 20 microseconds
	shrinkAt   = 4           // a map is replaced if it holds at most 1/shrinkAt of its peak
	shrinkMax  = 1024        // and at most that many records, since the lock is held
)

// A sweeper is the timer of a store. It is stopped while nothing can expire, and
// no goroutine waits for it.
type sweeper struct {
	at      atomic.Int64 // when the next pass begins, as time since start; or never
	running sync.WaitGroup
	one     sync.Mutex // held while a shard is swept

	mu      sync.Mutex
	timer   *time.Timer
	stopped bool
}

// arm makes a pass begin at the latest sweepEvery after expires. So passes are at
// least sweepEvery apart, and records that expire meanwhile share one.
func (s *Store) arm(expires time.Duration) {
	w := &s.sweeper
	late := func() bool { return expires < time.Duration(w.at.Load())-sweepEvery }
	if !late() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped || !late() {
		return
	}
	w.at.Store(int64(expires + sweepEvery))
	in := expires + sweepEvery - s.now()
	switch {
	case w.timer == nil:
		w.running.Add(1)
		w.timer = time.AfterFunc(in, s.pass)
	case !w.timer.Reset(in):
		w.running.Add(1) // otherwise the pending pass only begins earlier
	}
}

// stop stops the sweeper for ever, and waits for a running pass.
func (w *sweeper) stop() {
	w.mu.Lock()
	w.stopped = true
	if w.timer != nil && w.timer.Stop() {
		w.running.Done()
	}
	w.mu.Unlock()
	w.running.Wait()
}

// pass sweeps all shards, and arms the timer for the remaining records.
func (s *Store) pass() {
	defer s.sweeper.running.Done()
	s.sweeper.at.Store(int64(never)) // first, so that a concurrent write arms the timer
	next := never
	for i := range s.shards {
		if s.closed.Load() {
			return
		}
		_, due := s.sweep(&s.shards[i])
		next = min(next, due, s.sweepLists(&s.lists[i]))
	}
	s.arm(next)
}

// sweep removes the expired records of a shard. It returns the number of sessions
// among them, and a time before which no other record expires.
func (s *Store) sweep(sh *shard) (removed int, due time.Duration) {
	s.sweeper.one.Lock()
	defer s.sweeper.one.Unlock()
	sh.mu.Lock()
	defer sh.mu.Unlock()

	now := s.now()
	removed, due = s.sweepSessions(sh, now)
	return removed, min(due, s.sweepNotes(sh, now))
}

func (s *Store) sweepSessions(sh *shard, now time.Duration) (removed int, due time.Duration) {
	if len(sh.records) == 0 {
		sh.records, sh.peak, sh.due = nil, 0, never
		return 0, never
	}
	if sh.due > now {
		return 0, sh.due
	}

	// From here on writes lower sh.due for the records that they add; due is for
	// the others.
	sh.due, due = never, never
	seen := 0
	for key, r := range sh.records {
		if r.expires <= now {
			s.drop(sh, key, r)
			removed++
		} else {
			due = min(due, r.expires)
		}
		if seen++; seen%sweepSlice == 0 {
			sh.giveWay()
			if s.closed.Load() {
				return removed, never
			}
		}
	}
	sh.due = min(sh.due, due)

	// A map never shrinks.
	if n := len(sh.records); n <= sh.peak/shrinkAt && n <= shrinkMax {
		smaller := make(map[string]record, n)
		for key, r := range sh.records {
			smaller[key] = r
		}
		sh.records, sh.peak = smaller, n
	}
	return removed, sh.due
}

// sweepNotes is apart from sweepSessions, since notes live shortly: the sessions
// must not be visited because of them.
func (s *Store) sweepNotes(sh *shard, now time.Duration) (due time.Duration) {
	all := sh.notes
	if all == nil {
		return never
	}
	if all.due > now {
		return all.due
	}
	all.due, due = never, never // as in sweepSessions
	seen := 0
	for key, n := range all.byKey {
		if n.expires <= now {
			all.remove(key)
		} else {
			due = min(due, n.expires)
		}
		if seen++; seen%sweepSlice == 0 {
			sh.giveWay()
			if s.closed.Load() {
				return never
			}
		}
	}
	all.due = min(all.due, due)
	if len(all.byKey) == 0 {
		sh.notes = nil
	}
	return all.due
}

// giveWay lets waiting calls lock the shard. The mutex alone would not: the
// goroutine that unlocks and locks again is mostly faster than one that has to
// wake up first.
func (sh *shard) giveWay() {
	sh.mu.Unlock()
	runtime.Gosched()
	for begun := time.Now(); sh.waiting.Load() > 0 && time.Since(begun) < time.Millisecond; {
		runtime.Gosched() // at most a millisecond, since there may always be a waiter
	}
	sh.mu.Lock()
}

// makeRoom removes the expired records of one shard, for a new record of size. It
// fails if no record has expired.
func (s *Store) makeRoom(ctx context.Context, size int64) error {
	if s.quota.maxBytes > 0 && size > s.quota.maxBytes {
		return errTooLarge
	}
	for i := range s.shards {
		if removed, _ := s.sweep(&s.shards[i]); removed > 0 {
			return nil
		}
		if ctx.Err() != nil {
			return nil // the next call returns the error
		}
	}
	return errFull
}
