package memorystore

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Expired records that nobody asks for again must go, and the requests of the
// others must not feel it. A pass over a million records takes some tenths of a
// second, so no lock may be held for a pass, nor for a shard, which grows too.
// The sweeper therefore ranges over the map of a shard and gives the lock away
// every few records in the middle of the loop. Go allows that: what is removed
// meanwhile does not come, what is added may or may not, nothing comes twice.
//
// Each shard knows a moment before which nothing in it expires. A pass looks
// only into those where it has come, and finds it anew for them. So a store
// full of long sessions costs a pass next to nothing, and the store can look
// for room on the spot before it refuses a new session.
const (
	sweepEvery = time.Minute // how long an expired record may lie about
	sweepSlice = 64          // records looked at under one lock: up to 20 microseconds
	shrinkAt   = 4           // a map is made anew when it holds so many times less than once
	shrinkMax  = 1024        // and no more than this, since that is done under one lock
)

// A sweeper is the timer of a store and what it has started. While nothing can
// expire it has nothing to do, and no goroutine ever waits for it.
type sweeper struct {
	at      atomic.Int64 // when the next pass begins, as an age of the store; or never
	running sync.WaitGroup
	one     sync.Mutex // one shard is swept at a time

	mu      sync.Mutex
	timer   *time.Timer
	stopped bool
}

// arm sees to it that a pass begins not later than sweepEvery after expires.
// So two passes are that far apart at least, and those that expire meanwhile
// share one.
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
		w.running.Add(1) // else it is the pass that was to come, only earlier
	}
}

// stop ends the sweeper for good, and returns when nothing of it runs.
func (w *sweeper) stop() {
	w.mu.Lock()
	w.stopped = true
	if w.timer != nil && w.timer.Stop() {
		w.running.Done()
	}
	w.mu.Unlock()
	w.running.Wait()
}

// pass sweeps all shards, and arms the timer for what is left.
func (s *Store) pass() {
	defer s.sweeper.running.Done()
	s.sweeper.at.Store(int64(never)) // first: who writes behind our back arms it
	next := never
	for i := range s.shards {
		if s.closed.Load() {
			return
		}
		_, due := s.sweep(&s.shards[i])
		next = min(next, due)
	}
	s.arm(next)
}

// sweep removes the expired records of a shard. It returns how many, and a
// moment before which no other expires.
func (s *Store) sweep(sh *shard) (removed int, due time.Duration) {
	s.sweeper.one.Lock()
	defer s.sweeper.one.Unlock()
	sh.mu.Lock()
	defer sh.mu.Unlock()

	now := s.now()
	if len(sh.records) == 0 {
		sh.records, sh.peak, sh.due = nil, 0, never
		return 0, never
	}
	if sh.due > now {
		return 0, sh.due
	}

	// From here on writes lower sh.due for what they add; due is for the rest.
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

	// A map never gets smaller by itself.
	if n := len(sh.records); n <= sh.peak/shrinkAt && n <= shrinkMax {
		smaller := make(map[string]record, n)
		for key, r := range sh.records {
			smaller[key] = r
		}
		sh.records, sh.peak = smaller, n
	}
	return removed, sh.due
}

// giveWay lets those have the locked shard who wait for it. The mutex alone
// would not: who unlocks and locks again is mostly faster than one who has to
// wake up first, slice after slice.
func (sh *shard) giveWay() {
	sh.mu.Unlock()
	runtime.Gosched()
	for begun := time.Now(); sh.waiting.Load() > 0 && time.Since(begun) < time.Millisecond; {
		runtime.Gosched() // but not for ever, if they are so many that there is always one
	}
	sh.mu.Lock()
}

// makeRoom removes expired records until there are some less, or fails if
// there are none. A record of this size is what the room is for.
func (s *Store) makeRoom(ctx context.Context, size int64) error {
	if s.quota.maxBytes > 0 && size > s.quota.maxBytes {
		return errTooLarge
	}
	for i := range s.shards {
		if removed, _ := s.sweep(&s.shards[i]); removed > 0 {
			return nil
		}
		if ctx.Err() != nil {
			return nil // the next call says it
		}
	}
	return errFull
}
