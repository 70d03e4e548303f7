package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
)

// The ways in which an id dies: destroyed, regenerated, renewed. All of them
// reach the store at once. Session.op is held throughout.

// Destroy ends the session: it is removed from the store at once, and the
// browser told to forget it. Reading gives no values any more and
// changes fail with ErrGone; Reset begins a new session.
//
// A logout wins over a login beside it: if another request has given the
// session a new id within the last minute, it ends there, too.
//
// After an error the store may still have the session: the logout has to be
// tried again. The cookie is cleared all the same.
func (s *Session) Destroy(ctx context.Context) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.op.Unlock()
	return s.visit.destroy(withoutCancel(ctx), true)
}

// Reset destroys the session and begins a new, empty one with a new id,
// which is stored if something is put into it. After an error the old
// session is as it was. It is ErrGone if another request has ended the session
// meanwhile, or given it another id, which a new session of this one must not
// replace in the browser.
func (s *Session) Reset(ctx context.Context) error {
	if err := s.enter(); err != nil {
		return s.note(callReset, err)
	}
	defer s.op.Unlock()
	return s.whole(callReset, func() error { return s.visit.regenerate(withoutCancel(ctx)) })
}

// Renew gives the session a new id and keeps its values. Call it whenever the
// user's rights grow, as at a login: an id that somebody planted before is
// worthless then (session fixation; ASVS 7.2.4). The session is saved under
// the new id at once and the old one is dead. After an error the old session
// is as it was, and the login must be refused.
func (s *Session) Renew(ctx context.Context) error {
	if err := s.enter(); err != nil {
		return s.note(callRenew, err)
	}
	defer s.op.Unlock()
	return s.whole(callRenew, func() error {
		// Renew saves: what can't be encoded would be missing in it.
		if err := s.visit.encodable(ctx); err != nil {
			return err
		}
		return s.visit.renew(withoutCancel(ctx))
	})
}

// whole runs Renew or Reset. After one that failed or panicked the request
// saves nothing: see failedCall. op is held.
func (s *Session) whole(call string, f func() error) error {
	if s.broken != nil {
		return s.note(call, s.broken)
	}
	_ = s.note(call, errPanicked)
	return s.note(call, f())
}

// note is outcome for who does not hold mu.
func (s *Session) note(call string, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.outcome(call, "", err)
}

// destroy removes the session from the store and the browser; a logout also its
// heirs, while a session whose time is over has nothing to do with them. op is
// held.
func (v *Visit) destroy(ctx context.Context, logout bool) error {
	s, m := v.session, v.manager
	s.mu.Lock()
	was, id, stale := s.state, s.id, s.stale
	unsent := was == fresh && !logout // no browser has its id: it may have another session by now
	if s.broken != nil && id != "" {
		was = live // we could not read it, but we know its id
	}
	if s.undead || s.doubt != nil {
		was = live // an earlier try failed, or a save may have come through
	}
	s.state = destroyed
	s.edits, s.cleared, s.stored.fields = nil, true, fields{}
	held := s.save == SaveNever
	s.clears++
	s.failed = nil
	s.mu.Unlock()
	var key string
	switch {
	case held:
		return nil
	case was == live:
		key = s.storeKey()
	case logout && stale != "":
		if heirs, err := m.heirs(ctx, stale); err == nil && len(heirs) == 0 {
			return nil
		}
		// The request carries an id that was given up, or may have been. If the
		// heirs can't be ended now, the next try has to know whose they are.
		key, s.key = stale, stale
	default:
		return nil
	}
	end := m.destroy
	if logout {
		end = m.end
	}
	err := end(ctx, key)
	s.undead = err != nil
	if err != nil {
		err = m.report(ctx, OpDestroy, err)
	}
	if unsent {
		return err
	}
	return errors.Join(err, v.sendReset(ctx)) // requirement 15: the cookie goes either way
}

// regenerate begins an empty session in place of this one. op is held.
func (v *Visit) regenerate(ctx context.Context) error {
	s, m := v.session, v.manager
	s.mu.Lock()
	was, held := s.state, s.save == SaveNever
	if s.doubt != nil || s.undead && s.key != s.stale {
		was = live // as in destroy; a late logout that failed had no session of its own
	}
	s.mu.Unlock()
	id, err := m.newID(ctx)
	if err != nil {
		return m.insist(ctx, OpID, err)
	}
	if !held {
		if err := v.sendable(); err != nil {
			return m.insist(ctx, OpCarrier, err)
		}
		if was == live {
			if err := v.leave(ctx, m.key(id)); err != nil {
				if errors.Is(err, ErrGone) {
					v.gone()
				}
				return m.insist(ctx, OpDestroy, err)
			}
		}
		if was == live || m.o.ResetUnknown {
			if err := v.sendReset(ctx); err != nil { // with the old cookie's attributes
				return err
			}
		}
	}
	if !held {
		v.passOn(ctx, id)
	}
	s.mu.Lock()
	stale, heir := s.stale, s.heir || was == live
	s.reset()
	s.id, s.stale, s.heir = id, stale, heir && !held
	s.mu.Unlock()
	v.reissue = false
	return nil
}

// passOn notes id as the heir of the session's own id, if that one is an heir
// that never came to be: a late logout finds its way from one to the next.
func (v *Visit) passOn(ctx context.Context, id ID) {
	if s := v.session; s.heir && s.state == fresh {
		v.manager.mark(ctx, v.manager.key(s.id), v.manager.key(id))
	}
}

// leave gives the id up for that of heir. As in move the record is exchanged for
// a tombstone, so that of two requests that give it up only one comes through.
// generic-session just removes it, and so does KoaCompat.
func (v *Visit) leave(ctx context.Context, heir string) (err error) {
	s, m := v.session, v.manager
	key, version := s.storeKey(), s.version
	m.mark(ctx, key, heir)
	defer func() {
		if err != nil {
			m.unmark(ctx, key, heir)
		}
	}()
	if m.swapper == nil || m.o.koa {
		return m.destroy(ctx, key)
	}
	end := m.lastTry()
	for try := 0; ; try++ {
		if version == 0 {
			var data []byte
			if data, version, err = m.get(ctx, key); err == nil && isTombstone(data) {
				err = ErrNotFound
			}
		}
		if err == nil {
			err = m.bury(ctx, key, version)
		}
		switch {
		case errors.Is(err, ErrCorrupt): // something else that stands there
			return m.destroy(ctx, key)
		case errors.Is(err, ErrNotFound):
			if s.state != live || s.unknown {
				return nil // nobody knew whether there was one
			}
			return ErrGone
		case errors.Is(err, ErrOutcomeUnknown):
			return errors.Join(err, v.fence(ctx, key))
		case !errors.Is(err, ErrConflict) || try == saveTries:
			return err
		}
		if err = rest(try, end); err != nil {
			return err
		}
		version = 0
	}
}

// renew moves the session to a new id. op is held.
func (v *Visit) renew(ctx context.Context) error {
	s, m := v.session, v.manager
	if _, err := v.settle(ctx); err != nil {
		if errors.Is(err, ErrGone) {
			v.gone()
		}
		return m.insist(ctx, OpSet, err)
	}
	s.mu.Lock()
	state, held := s.state, s.save == SaveNever
	s.mu.Unlock()
	if state == destroyed {
		return ErrGone
	}
	if state == fresh || held {
		stale := ""
		if s.stale != "" {
			heirs, err := m.heirs(ctx, s.stale)
			if len(heirs) > 0 {
				return m.insist(ctx, OpSet, ErrGone) // by another request's Renew, as if it ran now
			}
			if err != nil {
				stale = s.stale // the save will look again
			}
		}
		id, err := m.newID(ctx)
		if err != nil {
			return m.insist(ctx, OpID, err)
		}
		if !held {
			v.passOn(ctx, id)
		}
		s.mu.Lock()
		s.id, s.key, s.stale = id, "", stale
		s.mu.Unlock()
		return nil
	}
	if err := v.sendable(); err != nil {
		return m.insist(ctx, OpCarrier, err)
	}
	if err := v.beforeSave(ctx); err != nil {
		return m.insist(ctx, OpBeforeSave, err)
	}
	s.mu.Lock()
	c, err := s.takeChange()
	s.mu.Unlock()
	if err != nil {
		return m.insist(ctx, OpSet, err)
	}
	err = v.move(ctx, &c)
	switch {
	case err == nil:
		return v.send(ctx)
	case errors.Is(err, errExpired):
		err = errors.Join(ErrGone, v.destroy(ctx, false))
	case errors.Is(err, ErrGone):
		v.gone()
	case errors.Is(err, errNewID):
		return m.insist(ctx, OpID, err)
	}
	return m.insist(ctx, OpSet, err)
}

// move is renew's way through the store. Its order makes sure that there are
// never two usable ids after success, nor none after an error: the record is
// created under a new id that nobody knows yet; then the old one is exchanged
// for a tombstone, which fails if another request saved meanwhile, and is
// tried again with that one's changes taken over. Only then is the new id
// used.
func (v *Visit) move(ctx context.Context, c *changeSet) error {
	s, m := v.session, v.manager
	oldKey := s.storeKey()
	base, version := s.base()
	again := s.unknown || version == 0 && m.swapper != nil
	end := m.lastTry()
	for try := 0; ; try++ {
		if again {
			var err error
			if base, version, err = v.reread(ctx, oldKey); err != nil {
				return err
			}
			if v.refuses(&base) {
				return ErrConflict
			}
		}
		r, err := v.merged(c, base, oldKey, again)
		if err != nil {
			return err
		}
		id, err := m.newID(ctx)
		if err != nil {
			return fmt.Errorf("%w: %w", errNewID, err)
		}
		newKey := m.key(id)
		newVersion, err := v.put(ctx, newKey, &r, 0)
		if err == errExpired && !again && m.swapper != nil {
			again = true // another request may have prolonged it
			continue
		}
		if errors.Is(err, ErrConflict) {
			return fmt.Errorf("%w: the id is in use already, the generator repeats itself", errNewID)
		}
		if err != nil {
			return err
		}
		m.mark(ctx, oldKey, newKey) // before anybody can find the id dead
		err = m.bury(ctx, oldKey, version)
		if err == nil {
			s.mu.Lock()
			s.id, s.key = id, newKey
			s.mu.Unlock()
			v.saved(c, r, newVersion)
			return nil
		}
		// The old id lives on, so the new one must not.
		undone := m.destroy(ctx, newKey)
		m.unmark(ctx, oldKey, newKey)
		switch {
		case errors.Is(err, ErrOutcomeUnknown):
			return errors.Join(err, undone, v.fence(ctx, oldKey))
		case errors.Is(err, ErrNotFound):
			return ErrGone
		case errors.Is(err, ErrConflict) && s.doubt != nil && c.updates():
			return errors.Join(errOvertaken, undone)
		case !errors.Is(err, ErrConflict) || try == saveTries:
			return errors.Join(err, undone)
		case undone != nil:
			m.debug(ctx, "an unused copy of the session may stay until its ttl is over", slog.Any("error", undone))
		}
		again = true
		if err := rest(try, end); err != nil {
			return err
		}
	}
}

// fence makes sure that a tombstone which had no answer does not come late and
// kill the session after all: a record written anew has another version. It
// can do no more than try.
func (v *Visit) fence(ctx context.Context, key string) error {
	r, version, err := v.reread(ctx, key)
	if err != nil {
		return err
	}
	r.fence = rand.Uint32() | 1 // for stores whose version is a digest
	_, err = v.put(ctx, key, &r, version)
	if errors.Is(err, ErrConflict) {
		return nil // another request wrote it anew
	}
	return err
}
