package core

import (
	"context"
	"log/slog"
	"time"
)

// A handler need not have returned when its response is sent: http.TimeoutHandler
// and the like answer in its place and leave it running, and a recovered panic has
// ended it half-way. What it may still write can't be read, not even to compare it: a
// map that is read while it is written ends the process.

// guarded is added to Visit.control by the first Enter.
const guarded = 1 << 16

// Enter notes that the handler of the request has control, and [Visit.Leave] that it
// gives it back. They are for guards, which an adapter has for its users to mount
// innermost, around the handler: Enter before the handler, Leave behind it. After a
// panic Leave must not be called. Where the handler itself sends the response, its
// guard calls Leave before each call that may commit, and Enter behind it.
//
// A commit that comes while a handler has control is not the handler's own: a
// middleware has answered in its place, because the handler takes too long or has
// panicked. Then the session is abandoned. Both methods count, for guards inside of
// guards, and also for the visits further out.
func (v *Visit) Enter() {
	for ; v != nil; v = v.outer {
		if v.control.Load() < guarded {
			v.control.CompareAndSwap(0, guarded)
		}
		v.control.Add(1)
	}
}

// Leave is the end of [Visit.Enter].
func (v *Visit) Leave() {
	for ; v != nil; v = v.outer {
		v.control.Add(-1)
	}
}

// leftRunning reports whether a guard knows of a handler that has not returned.
func (v *Visit) leftRunning() bool { return v.control.Load()&(guarded-1) != 0 }

// asked notes the deadline of a context by which the handler has got the session.
func (s *Session) asked(ctx context.Context) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return
	}
	at := max(1, int64(deadline.Sub(s.visit.manager.born)))
	for {
		before := s.deadline.Load()
		if before != 0 && before <= at || s.deadline.CompareAndSwap(before, at) {
			return
		}
	}
}

// letGone is the deadline of a session that has let go.
const letGone = -1

// letGo takes from the session what the handler holds and can change in place, if
// nobody knows whether the handler has returned and its time is over. A hook, too,
// then gets copies.
func (v *Visit) letGo(ctx context.Context) {
	s, m := v.session, v.manager
	if at := s.deadline.Load(); at <= 0 || int64(time.Since(m.born)) < at || v.control.Load() != 0 {
		return
	}
	s.mu.Lock()
	s.deadline.Store(letGone)
	held := 0
	for _, e := range s.edits {
		if e.held != nil {
			e.held = nil
			held++
		}
	}
	s.mu.Unlock()
	if held > 0 {
		m.warn(ctx, "session: the time of the request's context is over, and the handler may still be running: changes that were made in place to its maps, slices and pointers were not looked at, and are not saved. Mount the adapter's Guard around the handler.",
			slog.Int("values", held))
	}
}
