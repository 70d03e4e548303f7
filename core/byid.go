package core

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gensession/gensession/core/internal/record"
)

// Sessions by their id, with prefix and encoding taken care of (K35): for
// sessions of other browsers, such as ending one from an admin page.

// GetByID returns the values of the session of id as a JSON object that the
// caller owns; ErrNotFound if there is no such session.
func (m *Manager) GetByID(ctx context.Context, id ID) ([]byte, error) {
	ctx = requestless(ctx)
	now, err := m.seeByID(ctx, id, nil)
	r := now.record
	if err != nil {
		return nil, quietly(OpGet, err)
	}
	if _, err := r.All(); err != nil {
		return nil, quietly(OpGet, err)
	}
	return append(r.AppendTo([]byte{'{'}), '}'), nil
}

// SetByID gives the session of id the values, as [Session.Replace] would, and
// ttl, a second or more; a ttl of zero means that of the Options. A session that does not exist
// is made: id must then have the shape that Options.NewID has to give. One that
// ends meanwhile, or was given another id lately, is not brought back: ErrGone.
func (m *Manager) SetByID(ctx context.Context, id ID, values any, ttl time.Duration) error {
	ctx = requestless(ctx)
	members, err := membersOf(values)
	if err != nil {
		return err
	}
	if err := unmeant("the ttl", ttl); ttl > 0 && err != nil {
		return misused("session: SetByID: %w", err)
	}
	tries := tries{manager: m}
	existed := false
	for {
		key := m.key(id)
		now, err := m.seeByID(ctx, id, &tries)
		r := now.record
		if errors.Is(err, ErrNotFound) {
			if existed || now.version != 0 { // a tombstone has a version, unlike what never was
				return quietly(OpSet, ErrGone)
			}
			r, err = record.Record{Created: time.Now().UnixMilli(), Cookie: m.blank}, m.checkNew(id)
		} else {
			existed = true
		}
		if err != nil {
			return quietly(OpSet, err)
		}
		if existed {
			key = now.at
		}
		r.Fields = record.Listed(members)
		text, err := m.encode(&r, key)
		if err != nil {
			return quietly(OpSet, err)
		}
		life, over := ttl, ttl < 0
		if ttl == 0 {
			life, over = m.ttlOf(&entry{id: id}, &r, time.Now())
		}
		if over {
			return m.DestroyByID(ctx, id)
		}
		_, err = m.setRecord(ctx, key, text, life, now.version, &r)
		if err == nil {
			kind := EventSaved
			if !existed {
				kind = EventCreated
			}
			m.tell(ctx, nil, id, Event{Kind: kind})
			return nil
		}
		if !errors.Is(err, ErrConflict) && !errors.Is(err, ErrNotFound) {
			return quietly(OpSet, err)
		}
		if err := tries.next(); err != nil {
			return quietly(OpSet, err)
		}
	}
}

// VisitByID calls f with the session of id and saves what f has changed, as
// [Session.Save] would. It is for code that outlives its request, such as a
// WebSocket or an event stream: to read the session as it is now, and to change it
// in short steps, beside which other requests may save the session. With a nil f
// it only looks whether the session lives.
//
// It returns [ErrGone] if there is no such session: it has ended, or has another id
// since a login or, by Options.RenewAfter, since RenewGrace has passed. If f returns an
// error, or panics, nothing is saved, and the error is returned as it is. Looking does
// not prolong the life of a session, and no browser gets a cookie: in f, Login, Renew
// and Reset fail, after which nothing is saved, while Destroy ends the session. f must
// not keep the session.
func (m *Manager) VisitByID(ctx context.Context, id ID, f func(s *Session) error) error {
	ctx = requestless(ctx)
	now, err := m.seeByID(ctx, id, nil)
	switch {
	case errors.Is(err, ErrNotFound):
		return quietly(OpGet, ErrGone)
	case err != nil:
		return quietly(OpGet, err)
	case f == nil:
		return nil
	}
	v := &Visit{manager: m, jar: nowhere{}}
	s := v.needSession()
	s.ctx = ctx
	s.take(id, now.at, &now)
	v.stage.Store(loaded)
	returned := false
	defer func() {
		if s.seal(); !returned {
			v.Abandon()
		}
	}()
	if err = f(s); err == nil {
		err = s.Save(ctx)
	}
	returned = true
	return err
}

// nowhere is the Jar of a visit without an exchange.
type nowhere struct{}

func (nowhere) Cookie() string                            { return "" }
func (nowhere) Path() string                              { return "/" }
func (nowhere) Secure() bool                              { return true } // no cookie is sent at all
func (nowhere) RequestHeader(string) string               { return "" }
func (nowhere) SetCookie(string, string, bool)            {}
func (nowhere) ResponseCookies() []string                 { return nil }
func (nowhere) DropCookies(string)                        {}
func (nowhere) ResponseHeader(string) string              { return "" }
func (nowhere) SetResponseHeader(string, string)          {}
func (nowhere) DefaultResponseHeader(string, string) bool { return false }
func (nowhere) Begun() bool                               { return false }

// errNowhere is why a session that is visited by its id can't get another one.
var errNowhere = fmt.Errorf("no response can carry a new id: %w", ErrCommitted)

// isNowhere reports whether v has no exchange.
func (v *Visit) isNowhere() bool {
	_, is := v.jar.(nowhere)
	return is
}

// DestroyByID ends the session of id, also under a new id that another request has
// given it within the last minute: requests that run meanwhile can't bring it
// back. A missing session is no error; an id that no session can have is, an
// [ErrNotFound].
func (m *Manager) DestroyByID(ctx context.Context, id ID) error {
	ctx = requestless(ctx)
	if !m.shaped(id) {
		return quietly(OpDestroy, errOddID)
	}
	_, found, err := m.end(ctx, m.both(id)...)
	if err != nil {
		e := &Error{OpDestroy, err}
		m.tell(ctx, nil, id, Event{Kind: EventNotRevoked, Err: e})
		return e
	}
	if len(found) > 0 {
		m.tell(ctx, nil, id, Event{Kind: EventEnded, Why: "DestroyByID"})
	} else {
		m.tell(ctx, nil, id, Event{Kind: EventUnknownID})
	}
	return nil
}

var errOddID = fmt.Errorf("%w: an id has other characters or another length", ErrNotFound)

// seeByID looks, for a write if there are tries, which waits for a request that
// holds the session.
func (m *Manager) seeByID(ctx context.Context, id ID, t *tries) (s lookup, err error) {
	if !m.shaped(id) {
		return s, errOddID
	}
	if t == nil {
		s, err = m.findOf(ctx, id, m.key(id))
	} else {
		if s, err = m.findOf(ctx, id, m.key(id)); err == nil && s.held != "" {
			s, err = m.lookToWrite(ctx, s.at, "", t)
		}
	}
	if err == nil && m.tooOld(&s.record) {
		err = ErrNotFound
	}
	if errors.Is(err, ErrGone) {
		err = ErrNotFound
	}
	return s, err
}
