package core

import (
	"context"
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/gensession/gensession/core/internal/record"
)

// ttl is how long the store keeps a session from now on (K37), which has the
// complete options c, has chosen own and began at began, in Unix milliseconds:
// until the nearest of its limits. over means that the time has passed already.
// Zero is for ever, which only InsecureNoLimit gives. s is for TTLFunc.
func (m *Manager) ttl(s *Session, c CookieOptions, own *record.Cookie, began int64, now time.Time) (ttl time.Duration, over bool) {
	if m.o.koa {
		return m.koaTTL(s, c, now)
	}
	l := m.limits(c, own)
	ttl = l.idle
	if !l.expires.IsZero() {
		left := l.expires.Sub(now)
		if left <= 0 {
			return 0, true
		}
		ttl = nearer(ttl, left)
	}
	if l.absolute > 0 {
		left := l.absolute - age(began, now)
		if left <= 0 {
			return 0, true
		}
		ttl = nearer(ttl, left)
	}
	return ttl, false
}

// age is how old something is that began at began, in Unix milliseconds. A clock
// that ran ahead must not make it younger than new.
func age(began int64, now time.Time) time.Duration {
	return max(now.Sub(time.UnixMilli(began)), 0)
}

// koaTTL is the ttl of generic-session: what TTLFunc or TTL say, else until the
// cookie expires, else its MaxAge, else a limit of ours.
func (m *Manager) koaTTL(s *Session, c CookieOptions, now time.Time) (ttl time.Duration, over bool) {
	if m.o.TTLFunc != nil {
		_, _ = s.visit.runHook(func() (bool, error) {
			ttl = m.o.TTLFunc(s)
			return true, nil
		})
		// What is left until some moment may be short, but is hardly ever round.
		if ttl > 0 && (ttl < time.Millisecond || ttl%time.Microsecond == 0) && unmeant("", ttl) != nil {
			m.setup.shortTTL.Store(true)
		}
	}
	if ttl == 0 {
		ttl = m.o.TTL
	}
	if ttl == 0 {
		switch {
		case !c.Expires.IsZero():
			if ttl = c.Expires.Sub(now); ttl <= 0 {
				return 0, true
			}
		case c.MaxAge != UntilBrowserCloses:
			ttl = c.MaxAge
		case !m.o.InsecureNoLimit:
			ttl = DefaultMaxAge
		}
	}
	if ttl < 0 {
		return 0, true
	}
	return m.dialect.life(ttl), false
}

// DefaultTouchEvery is the longest time between two prolongations of a session
// with an idle timeout that is in use, where Options.TouchEvery is not set.
const DefaultTouchEvery = time.Minute

// ttlOf is ttl for r, which e has in the store or is about to have.
func (m *Manager) ttlOf(e *entry, r *record.Record, now time.Time) (ttl time.Duration, over bool) {
	var s *Session
	if m.o.TTLFunc != nil {
		s = m.detached(e.id, r)
	}
	return m.ttl(s, m.dialect.withOwn(m.config, r.Cookie), r.Cookie, r.Began(), now)
}

// detached is the session of r for TTLFunc to look at. It belongs to no request:
// a record may be another than the request's session says, since a save lays its
// changes over what the store has by then, and SetByID has no session at all.
func (m *Manager) detached(id ID, r *record.Record) *Session {
	v := &Visit{manager: m}
	v.session = &Session{visit: v, ctx: context.Background()}
	v.session.take(id, "", &lookup{record: *r})
	v.session.sealed.Store(true)
	return v.session
}

// rolls reports whether every request prolongs s. mu is held.
func (s *Session) rolls() bool {
	m := s.visit.manager
	if s.own == nil || s.own.Life == nil {
		return m.rolling
	}
	return m.limits(s.cookieOptions(), s.own).rolls
}

// tooOld reports whether the absolute limit of r has passed.
func (m *Manager) tooOld(r *record.Record) bool {
	limit := m.o.AbsoluteTimeout
	if r.Cookie != nil && r.Cookie.Life != nil {
		limit = m.limits(m.dialect.withOwn(m.config, r.Cookie), r.Cookie).absolute
	}
	return limit > 0 && age(r.Began(), time.Now()) >= limit
}

// due reports whether an unchanged s, which rolls, is to be prolonged now: the
// last time that this process knows of is long enough ago. A session with a short
// life is prolonged more often than others. Session.op is held.
func (m *Manager) due(s *Session) bool {
	if m.o.koa && m.o.TouchEvery == 0 {
		return true
	}
	now := time.Now()
	ttl, over := m.ttl(s, s.Cookie(), s.own, s.stored.Began(), now)
	if over {
		return true
	}
	return m.recently().due(m.storeKey(&s.entry), now, m.touchEvery(ttl))
}

// touchEvery is the least time between two prolongations of a session that lives for
// ttl: so short that there are two of them before the cookie ends, in case that the
// answer of the first is lost.
func (m *Manager) touchEvery(ttl time.Duration) time.Duration {
	every, part := m.o.TouchEvery, time.Duration(3)
	if every == 0 {
		every, part = DefaultTouchEvery, 10
	}
	if ttl > 0 {
		every = min(every, ttl/part)
	}
	return every
}

// recently is the memory of renewals, made when the first session rolls.
func (m *Manager) recently() *recently {
	r := m.touched.Load()
	if r == nil {
		m.touched.CompareAndSwap(nil, newRecently())
		r = m.touched.Load()
	}
	return r
}

// recently remembers for a while which sessions were renewed, so that
// TouchEvery can space renewals out. It has a fixed size and forgets by
// overwriting: then a session is renewed once more than needed.
type recently struct {
	start time.Time
	seed  maphash.Seed
	slots [1 << 16]atomic.Uint64 // 32 bits of the key's hash, 32 of the time
}

// tick is the unit that recently counts time in: 32 bits last for 13 years.
const tick = 100 * time.Millisecond

func newRecently() *recently {
	// The start lies in the past, so that no time is zero.
	return &recently{start: time.Now().Add(-tick), seed: maphash.MakeSeed()}
}

func (r *recently) slot(key string) (slot *atomic.Uint64, tag uint64) {
	h := maphash.String(r.seed, key)
	return &r.slots[h%uint64(len(r.slots))], h >> 32
}

// renewed notes that key has its whole ttl again.
func (r *recently) renewed(key string) {
	slot, tag := r.slot(key)
	slot.Store(tag<<32 | uint64(uint32(time.Since(r.start)/tick))) // #nosec G115 -- the low half, which since compares
}

// carryOver notes for key what is noted for was.
func (r *recently) carryOver(was, key string) {
	from, _ := r.slot(was)
	slot, tag := r.slot(key)
	slot.Store(tag<<32 | from.Load()&(1<<32-1))
}

// forget makes that key is due.
func (r *recently) forget(key string) {
	slot, _ := r.slot(key)
	slot.Store(0)
}

// due reports whether key was not renewed within the time before now, as far
// as this process knows.
func (r *recently) due(key string, now time.Time, within time.Duration) bool {
	since, known := r.since(key, now)
	return !known || since >= within
}

// since is how long ago key was renewed, or a tick more, if this process knows.
func (r *recently) since(key string, now time.Time) (since time.Duration, known bool) {
	slot, tag := r.slot(key)
	v := slot.Load()
	return now.Sub(r.start) - time.Duration(uint32(v))*tick, v != 0 && v>>32 == tag // #nosec G115 -- the low half
}
