package core

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// A session with an idle limit is in use for as long as its request runs: an upload
// may take longer than the limit. So it is prolonged when half of that time is
// over, by the load or by a timer. What is gone is not brought back.

// keep prolongs the session that was loaded if half of its life is over, as far as
// this process knows, and sees to it that it is prolonged while the request runs.
// Nobody else has it yet.
func (v *Visit) keep(ctx context.Context) {
	s, m := v.session, v.manager
	if s.state != live || !s.rolls() || m.toucher == nil && m.batcher == nil {
		return
	}
	now := time.Now()
	next := m.half(&s.entry, now)
	if next == 0 {
		return
	}
	if since, known := m.recently().since(m.storeKey(&s.entry), now); known && since < next {
		next -= since
	} else if v.isMade() { // which is only looked at
		return
	} else if other, err := m.prolongUsed(withoutCancel(ctx), &s.entry); err == nil {
		if other {
			s.setOwn(s.stored.Cookie, nil)
		}
		v.resend = true // the cookie has to live longer, too
	} else if errors.Is(err, ErrGone) {
		return // the commit finds out
	}
	s.op.Lock()
	v.running = time.AfterFunc(next, v.runs)
	s.op.Unlock()
}

// runs prolongs the session of a request that runs for long. Where code of the user
// panics, such as TTLFunc, it does so no more: the commit calls it once more, on the
// goroutine of the request.
func (v *Visit) runs() { v.manager.alone(v.prolongRunning) }

// prolongRunning does not touch what the handler has of the session.
func (v *Visit) prolongRunning() {
	s, m := v.session, v.manager
	ctx := context.Background() // that of the request is the handler's
	s.op.Lock()
	defer s.op.Unlock()
	s.mu.Lock()
	over := s.sealed.Load() || s.state != live || s.save == SaveNever
	s.mu.Unlock()
	if over || s.ctx.Err() != nil { // nobody waits for it any more
		return
	}
	e := s.snapshot()
	other, err := m.prolongUsed(ctx, &e)
	if err != nil {
		m.debug(ctx, "session is not prolonged while its request runs", slog.Any("session", s.id), slog.Any("error", err))
		if errors.Is(err, ErrGone) || errors.Is(err, errExpired) {
			return
		}
	} else {
		s.mu.Lock()
		switch {
		case !other: // else the save meets it
			s.version = e.version
		case e.key != s.key: // it has another id of itself, and the rest of this one may be shorter than the request
			s.key, s.aged, s.version = e.key, e.aged, 0
		}
		s.wrote, s.lasts = e.wrote, e.lasts
		s.mu.Unlock()
		v.resend = true
	}
	next := m.half(&e, time.Now())
	if err != nil {
		next /= 4 // some tries before it has ended
	}
	if next > 0 {
		v.running.Reset(next)
	}
}

// prolongUsed is prolong before the end of the request. Hooks.BeforeSave has not run
// for it: where there is one, the commit renews the session once more.
func (m *Manager) prolongUsed(ctx context.Context, e *entry) (other bool, err error) {
	other, err = m.prolong(ctx, e)
	if err == nil && m.o.Hooks.BeforeSave != nil {
		m.dueAgain(m.storeKey(e), e.lasts)
	}
	return other, err
}

// half is half of the time that e lives if it is not used, zero if no use can
// prolong it: for ever, or until another limit that is nearer.
func (m *Manager) half(e *entry, now time.Time) time.Duration {
	ttl, over := m.ttlOf(e, &e.stored, now)
	if later, _ := m.ttlOf(e, &e.stored, now.Add(ttl/2)); over || later < ttl {
		return 0
	}
	return ttl / 2
}

// stops ends that. It is no error if it comes late: the session is sealed.
func (v *Visit) stops() {
	if v.running != nil {
		v.running.Stop()
	}
}
