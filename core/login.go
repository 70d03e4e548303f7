package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/gensession/gensession/core/internal/record"
)

// LoginOptions say what a login does beside giving the session a new id. The
// zero value keeps the values and forgets an earlier "remember me".
type LoginOptions struct {
	// Remember keeps the session in the browser and the store for
	// Options.RememberFor from now on ("remember me"). Without it the session
	// lives as long as the Options say, whatever an earlier login, SetLifetime or
	// SetCookie chose. What is chosen after Login holds.
	Remember bool
	// Lifetime, if it is not zero, is shorter than that: see
	// [Session.SetLifetime]. Not with KoaCompat.
	Lifetime Lifetime
	// DropValues drops the values that were in the session before this request.
	// What this request sets stays. By default they are kept, such as the cart
	// of a visitor who had not logged in yet.
	DropValues bool

	// Owner is whose session this becomes, a text that the application chooses,
	// such as the number of the user: 1 to 255 bytes of UTF-8 without control
	// characters. It stays with the session until a logout or Reset. The values of
	// a session that was another owner's are dropped, as with DropValues. Needs
	// Options.Owners. Empty: nobody's, also if the session had an owner.
	Owner string
	// Label tells the owner's sessions apart for people, such as the name of the
	// browser. It may come from a request: it is cut after 255 bytes, and control
	// characters become blanks.
	Label string
	// MaxSessions is how many sessions Owner may have, this one included: beyond
	// it the login ends those that logged in longest ago. Zero means no limit. If
	// one can't be ended the login fails, and the browser keeps what it had; of the
	// others some may have ended. It costs up to two more round trips.
	MaxSessions int
	// RefuseMore makes the login fail with [ErrTooMany] in place of that: of
	// logins at the same moment those that came last. The browser keeps what
	// it had. It costs one round trip more than that.
	RefuseMore bool
}

// A login is what the next save has to do.
type login struct {
	life       record.Life
	dropValues bool

	owner, label string // whose session it becomes, "" for nobody's, and how it is told from the others
	most         int    // how many sessions the owner may have; zero for no limit
	refuses      bool   // more than these
}

// Login notes that the user of this session has logged in: the next save, which
// is that of Save or the one at the end of the request, gives it a new id, so
// that an id that somebody planted before is worthless (session fixation;
// ASVS 7.2.4), and stores all changes of the request with it. Call it after the
// password was checked, before or after setting the user.
//
// The login succeeds whatever other requests do meanwhile. If another request
// has logged in with the same id, or has ended the session, this one gets a
// session of its own, with the values that this request sets and none that it
// has loaded. Every other session whose cookie the request carries is ended. In
// KoaCompat, TTLFunc may end the session instead, as at any save.
//
// If the save fails, nothing of this request is stored, the session is as it
// was, and the error is that of Save, or becomes the answer in place of the
// handler's. If the handler itself fails (it returns an error), the login does
// not happen. Until the save, ID, [Session.Owner] and LoggedIn are those from
// before.
//
// Login itself fails with [ErrCommitted] if the response has begun, with the
// error of loading if the session could not be loaded, and for a lifetime that the
// Options do not allow. Then nothing of this request is saved.
func (s *Session) Login(o LoginOptions) error {
	_, err := s.enter()
	if err == nil {
		defer s.exit()
	}
	switch {
	case err != nil:
	case s.visit.jar.Begun():
		err = ErrCommitted
	case s.visit.isNowhere():
		err = errNowhere
	case s.loadErr != nil:
		err = s.loadErr
	case o.Remember && s.visit.manager.o.RememberFor == 0:
		err = misused("session: Login: Remember needs Options.RememberFor, how long a session is remembered")
	}
	m := s.visit.manager
	var life record.Life
	if err == nil {
		if life, err = m.newLife(o.Lifetime, o.Remember, m.config); err != nil {
			err = misused("session: Login: %w", err)
		}
	}
	next := &login{life: life, dropValues: o.DropValues}
	if err == nil {
		if err = m.newLogin(next, &o); err != nil {
			err = misused("session: Login: %w", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.login = nil; s.outcome(callLogin, "", err) != nil {
		return err
	}
	if s.state == destroyed { // by this request, or by another one meanwhile
		s.leave()
	}
	s.login = next
	if c := s.cookieOptions(); life != (record.Life{}) || m.chosen(c, s.own) {
		s.setOwn(m.ownFor(c, life, s.own))
		s.ownSet = true
		s.cookieRev++
	}
	return nil
}

// LoggedIn is when [Session.Login] took effect last, to the millisecond; the zero
// time if it never has. KoaCompat does not store it.
func (s *Session) LoggedIn() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stored.Login == 0 {
		return time.Time{}
	}
	return time.UnixMilli(s.stored.Login)
}

// chosen reports whether a session that has c, stored as own, has chosen its life
// itself.
func (m *Manager) chosen(c CookieOptions, own *record.Cookie) bool {
	if m.dialect.recordsTime() {
		return own.LivesAlone() || own.Lives() != record.Life{}
	}
	return c.MaxAge != m.config.MaxAge || c.Expires != m.config.Expires
}

// ownFor are the options of a session that has c, stored as own, with that life.
func (m *Manager) ownFor(c CookieOptions, life record.Life, own *record.Cookie) (*record.Cookie, *CookieOptions) {
	c.MaxAge, c.Expires = m.config.MaxAge, m.config.Expires
	if m.dialect.recordsTime() {
		return withLife(m.dialect.override(m.config, c, own), life), &c
	}
	if life.Remembered {
		c.MaxAge, c.Expires = m.o.RememberFor, time.Time{}
	}
	return m.dialect.override(m.config, c, own), &c
}

// leave makes s a new session with only what this request did. mu is held.
func (s *Session) leave() {
	s.many = nil
	s.edits = slices.DeleteFunc(s.edits, func(e *edit) bool {
		switch {
		case e.own && e.loaded, !e.own && e.past == nil:
			return true
		case e.own && e.assigned:
			return false
		}
		raw, err := e.past.alone(e.updates)
		e.assign(raw)
		e.letGo()
		return err != nil
	})
	s.entry.leave(s.visit.manager)
	s.cleared = true
	if s.baseRev++; !s.ownSet {
		s.setOwn(s.visit.manager.blank, nil)
	}
}

// leave makes e a new session: the one that it was belongs to another request, or
// to nobody any more.
func (e *entry) leave(m *Manager) {
	t := e.givenUp
	if e.state == live && m.dialect.marks() { // so that a login is noted there
		t = (&tombstone{key: m.storeKey(e)}).and(t)
	}
	*e = entry{stored: record.Record{Created: time.Now().UnixMilli()}, wrote: e.wrote, lasts: e.lasts, givenUp: t, place: e.place, unended: e.unended, met: e.met}
}

// logIn does to the store what a login does: the values go to the one request
// that gives the old id up. It leaves in p.alone whether that was another one.
func (m *Manager) logIn(p *plan) error {
	ctx, e := p.ctx, &p.entry
	admit, err := m.admission(p)
	if admit == nil {
		err = m.endOthers(ctx, p.others, m.storeKey(e))
	}
	if err != nil {
		return err
	}
	options := m.blank
	switch {
	case e.state != live && p.changes.ownSet: // which this request chose
		options = p.changes.own
	case p.login.life != record.Life{}:
		options, _ = m.ownFor(m.config, p.login.life, m.blank)
	}
	if e.state != live {
		return m.logInAnew(p, options, admit)
	}
	former, changes := e.id, &p.changes
	if p.login.dropValues || p.untrusted || p.login.changesOwner(e) {
		kept, err := p.changes.alone(p.changes.own)
		if err != nil {
			return err
		}
		kept.ownSet = p.changes.ownSet
		changes, p.alone = &kept, true
	}
	err = m.changeID(ctx, e, changes, admit)
	if err == nil {
		m.addLogin(ctx, e)
	}
	if !errors.Is(err, ErrGone) && !errors.Is(err, errExpired) {
		p.former = former
		return err
	}
	m.debug(ctx, "session is gone, the login gets one of its own", slog.Any("session", e.id))
	e.leave(m)
	failed := m.logInAnew(p, options, admit)
	if failed != nil && errors.Is(err, ErrOutcomeUnknown) { // it may have been this login that ended it
		return halfEnded(failed)
	}
	return failed
}

// logInAnew makes a session for a login that has none to go on with. options are its
// cookie options.
func (m *Manager) logInAnew(p *plan, options *record.Cookie, admit *admission) error {
	ctx, e := p.ctx, &p.entry
	p.alone = true
	alone, err := p.changes.alone(options)
	if err != nil {
		return err
	}
	passed := ""
	if e.successor { // of an id that this request gave up by Reset
		passed = m.storeKey(e)
	}
	for n := 0; ; n++ {
		id, err := m.newID(ctx)
		if err != nil {
			return fmt.Errorf("%w: %w", errNewID, err)
		}
		e.id, e.key = id, ""
		if err = m.create(ctx, e, &alone); err == nil {
			break
		}
		if err == errOvertakenByEnd && n < overtaken {
			continue
		}
		if errors.Is(err, ErrOutcomeUnknown) { // nobody is told its id
			err = errors.Join(err, m.destroyOwned(ctx, m.storeKey(e), alone.owned))
		}
		return err
	}
	if admit != nil {
		if err := m.admit(ctx, admit, e, ""); err != nil {
			return errors.Join(err, m.destroyOwned(ctx, m.storeKey(e), e.stored.Owned))
		}
	}
	if passed != "" {
		m.addSuccessor(ctx, passed, m.storeKey(e), nil)
	}
	m.addLogin(ctx, e)
	return nil
}

// endOthers ends the other sessions that the request carries.
func (m *Manager) endOthers(ctx context.Context, others []target, own string) error {
	for _, other := range others {
		if err := m.endOther(ctx, other, own); err != nil {
			return err
		}
	}
	return nil
}

// endOther ends the session that is found at p, unless it is the one at own. What has
// moved on is another login's by now: only a logout follows it.
func (m *Manager) endOther(ctx context.Context, p target, own string) error {
	old := m.copies()
	for range maxTries {
		at := p
		if s, err := m.find(ctx, p.key); errors.Is(err, ErrGone) || err == nil && s.at == own {
			if !s.nothing(err) || !old {
				return nil
			}
			if _, err := m.old.endOne(ctx, &target{key: p.key}); err != nil {
				return err
			}
			old = false // and here again: it may have been taken over meanwhile
			continue
		} else if err == nil {
			at = target{key: s.at, version: s.version, list: m.listOf(&s.record)}
		}
		if moved, err := m.endOne(ctx, &at); err != nil || len(moved) == 0 {
			return err
		}
	}
	return ErrConflict
}

// signsIn reports whether the next save has a login to do. op is held.
func (s *Session) signsIn() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.login != nil
}

// loginFailed notes that a save with a login has failed with err, and returns it:
// this request saves nothing any more but by another Save that succeeds. op is
// held.
func (s *Session) loginFailed(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = s.failed.add(failedCall{call: callLogin}, err)
	return err
}

// HandlerFailed drops a login that has not been saved yet, here and in the visits
// further out, and with it everything that the request changed. An adapter calls
// it before Commit if the handler returned an error.
func (v *Visit) HandlerFailed() {
	for ; v != nil; v = v.outer {
		if v.stage.Load() != loaded {
			continue
		}
		s := v.session
		s.mu.Lock()
		if s.login != nil {
			s.login, s.save = nil, SaveNever
		}
		s.mu.Unlock()
	}
}
