package core

import (
	"context"
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

// Running reports whether a guard knows of a handler that has control. An adapter asks
// where its framework begins anew with a request, within the handler.
func (v *Visit) Running() bool { return v.control.Load()&(guarded-1) != 0 }

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

// letGo takes from the session what the handler holds and can change in place, and
// returns how many values that were. From then on everybody gets copies: hooks, too,
// and the handler.
func (s *Session) letGo() (held int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline.Store(letGone)
	for _, e := range s.edits {
		if e.held != nil {
			e.letGo()
			held++
		}
	}
	return held
}

// checkDeadline lets go if nobody knows whether the handler has returned and its time
// is over.
func (v *Visit) checkDeadline(ctx context.Context) {
	at := v.session.deadline.Load()
	if at <= 0 || int64(time.Since(v.manager.born)) < at || v.control.Load() != 0 {
		return
	}
	if v.session.letGo() > 0 {
		v.tell(ctx, v.knownID(), Event{Kind: EventUnchecked, Why: unguarded})
	}
}

const unguarded = "the handler's context is past its deadline, and no guard of the adapter says whether the handler has returned"

// abandon ends the session without saving it. What was sent stays in the response.
func (v *Visit) abandon(ctx context.Context) {
	s := v.session
	s.seal()
	v.stops()
	s.letGo()
	s.putBack()
	v.finish()
	v.tell(ctx, v.knownID(), Event{Kind: EventAbandoned})
}
