package core

import (
	"context"
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/gensession/gensession/core/internal/record"
)

// ttl is how long the store keeps s from now on (K37): what TTLFunc or TTL
// say, else until its cookie c expires, else the cookie's MaxAge, else a day;
// and never past the absolute limit, which counts from created, in Unix milliseconds. over means
// that the time has passed already. Zero is for ever, which only
// InsecureNoLimit gives.
func (m *Manager) ttl(s *Session, c CookieOptions, created int64, now time.Time) (ttl time.Duration, over bool) {
	if m.o.TTLFunc != nil {
		ttl = m.o.TTLFunc(s)
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
		case !c.NoMaxAge:
			ttl = c.MaxAge
		case !m.o.InsecureNoLimit:
			ttl = DefaultMaxAge
		}
	}
	if ttl < 0 {
		return 0, true
	}
	if m.o.AbsoluteTimeout > 0 {
		// A clock that ran ahead must not make the session younger than new.
		left := m.o.AbsoluteTimeout - max(now.Sub(time.UnixMilli(created)), 0)
		if left <= 0 {
			return 0, true
		}
		if ttl == 0 || ttl > left {
			ttl = left
		}
	}
	return m.dialect.life(ttl), false
}

// DefaultTouchEvery is the longest time between two renewals of a rolling
// session that is in use, where Options.TouchEvery is not set.
const DefaultTouchEvery = time.Minute

// ttlOf is ttl for r, which e has in the store or is about to have.
func (m *Manager) ttlOf(e *entry, r *record.Record, now time.Time) (ttl time.Duration, over bool) {
	var s *Session
	if m.o.TTLFunc != nil {
		s = m.detached(e.id, r)
	}
	return m.ttl(s, withOwn(m.config, r.Cookie), r.Created, now)
}

// detached is the session of r for TTLFunc to look at. It belongs to no request:
// a record may be another than the request's session says, since a save lays its
// changes over what the store has by then, and SetByID has no session at all.
func (m *Manager) detached(id ID, r *record.Record) *Session {
	v := &Visit{manager: m}
	v.session = &Session{visit: v, ctx: context.Background()}
	v.session.take(id, "", *r, 0)
	v.session.sealed.Store(true)
	return v.session
}

// rolls reports whether an unchanged s is to be renewed now: the last renewal
// that this process knows of is long enough ago. A session with a short life
// is renewed more often than others. Session.op is held.
func (m *Manager) rolls(s *Session) bool {
	if m.touched == nil {
		return true
	}
	now := time.Now()
	ttl, over := m.ttl(s, s.Cookie(), s.stored.Created, now)
	if over {
		return true
	}
	every, part := m.o.TouchEvery, time.Duration(2)
	if every == 0 {
		every, part = DefaultTouchEvery, 10
	}
	if ttl > 0 {
		every = min(every, ttl/part)
	}
	return m.touched.due(m.storeKey(&s.entry), now, every)
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
	slot.Store(tag<<32 | uint64(uint32(time.Since(r.start)/tick)))
}

// due reports whether key was not renewed within the time before now, as far
// as this process knows.
func (r *recently) due(key string, now time.Time, within time.Duration) bool {
	slot, tag := r.slot(key)
	v := slot.Load()
	if v == 0 || v>>32 != tag {
		return true
	}
	return now.Sub(r.start)-time.Duration(uint32(v))*tick >= within
}
