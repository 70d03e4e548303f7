package core

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gensession/gensession/core/internal/record"
)

// Destroy, Reset and Renew, which end an id. All of them reach the store at once.
// Session.op is held throughout.

// Destroy ends the session: it is removed from the store at once, and the
// browser told to forget it. Reading gives no values any more and
// changes fail with ErrGone; Reset begins a new session.
//
// It ends every session that the request proves to hold: also one that another
// request has given a new id within the last minute (a logout wins over a login
// beside it), and those of further cookies of the same name. If the request
// carries more of these than are looked at, that is an error.
//
// After an error the store may still have a session: the logout has to be tried
// again. The cookies are cleared all the same. It works on a store that is full.
func (s *Session) Destroy(ctx context.Context) error {
	if _, err := s.enter(); err != nil {
		return err
	}
	defer s.exit()
	return s.visit.destroy(withoutCancel(requestless(ctx)), true)
}

// Reset destroys the session and begins a new, empty one with a new id,
// which is stored if something is put into it. It also ends those of the cookies beside
// the session's, NAME.next and NAME.late, which leave the browser with it. After an error the old
// session is as it was, and this request saves nothing more until Reset or
// Destroy succeeds. It is ErrGone if another request has ended the session
// meanwhile, or given it another id, which a new session of this one must not
// replace in the browser.
func (s *Session) Reset(ctx context.Context) error {
	if _, err := s.enter(); err != nil {
		return s.note(callReset, err)
	}
	defer s.exit()
	if s.visit.isNowhere() {
		return s.note(callReset, errNowhere)
	}
	return s.whole(callReset, func() error { return s.visit.beginAnew(withoutCancel(requestless(ctx))) })
}

// Renew gives the session a new id and keeps its values. Call it when the rights
// of a user grow who is logged in already (ASVS 7.2.4); for a login there is
// [Session.Login]. The session is saved under the new id at once and the old one
// is dead, as are those of the cookies beside it, NAME.next and NAME.late, which leave
// the browser with it. Requests that save it meanwhile can't hinder that. It is ErrGone if
// another request has ended the session, or given it another id.
//
// After an error the old session is as it was, and the grant must be refused:
// this request saves nothing more, whatever it sets, and its commit returns the
// error, until Renew, Reset or Destroy succeeds.
func (s *Session) Renew(ctx context.Context) error {
	login, err := s.enter()
	if err != nil {
		return s.note(callRenew, err)
	}
	defer s.exit()
	if s.visit.isNowhere() {
		return s.note(callRenew, errNowhere)
	}
	ctx = requestless(ctx)
	return s.whole(callRenew, func() error {
		// Renew saves: what can't be encoded would be missing in it.
		if err := s.visit.encodable(ctx); err != nil {
			return err
		}
		if login { // which changes the id
			_ = s.note(callRenew, nil) // it is tried again
			return s.visit.save(ctx, false, true)
		}
		return s.visit.renew(withoutCancel(ctx))
	})
}

// whole runs Renew or Reset. After one that failed or panicked the request
// saves nothing: see failedCall. op is held.
func (s *Session) whole(call string, f func() error) error {
	if s.loadErr != nil {
		return s.note(call, s.loadErr)
	}
	err := errPanicked
	defer func() { _ = s.note(call, err) }()
	err = f()
	return err
}

// note calls outcome with mu held.
func (s *Session) note(call string, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.outcome(call, "", err)
}

// destroy removes the session from the store and the browser; a logout also its
// successors and every other session that the request carries, while a session
// whose time is over has nothing to do with them. op is held.
func (v *Visit) destroy(ctx context.Context, logout bool) error {
	s, m := v.session, v.manager
	before := v.formerTargets()
	s.mu.Lock()
	id, held := s.id, s.save == SaveNever
	s.apart = s.apart || held
	unsent := s.state == fresh && !logout // no browser has its id: it may have another session by now
	targets, own := v.targetsToEnd(before, logout)
	s.state, s.login = destroyed, nil
	s.edits, s.many, s.cleared, s.stored.Fields = nil, nil, true, record.Fields{}
	s.replaceRev++
	s.failed, s.lost = nil, false
	s.mu.Unlock()
	crowded, odd := logout && v.crowded, logout && v.odd
	if held || len(targets) == 0 && !crowded && !odd {
		return nil
	}
	var err error
	var found []string
	again := s.unended != nil // what a call before this one may have ended is told now
	if logout || m.moves() {
		var left []target
		if left, found, err = m.end(ctx, targets...); logout {
			s.notEnd(left)
		}
	} else if err = m.destroy(ctx, targets[0].key); err == nil {
		m.disown(ctx, targets[0].list, targets[0].key)
	}
	if err != nil && s.loadErr != nil { // at least from where it was
		err = errors.Join(err, m.destroy(ctx, targets[0].key))
	}
	if crowded {
		err = errors.Join(err, errCrowded)
	}
	if odd {
		err = errors.Join(err, errOddCookie)
	}
	var unset error
	if !unsent { // requirement 15: the cookie goes either way
		unset = v.sendReset(ctx, logout)
	}
	switch {
	case err != nil:
		err = v.report(ctx, OpDestroy, err)
	case logout:
		v.tellLogout(ctx, id, own, found, again)
	}
	return errors.Join(err, unset)
}

// tellLogout tells that the sessions of the keys found were ended, the one of id, which
// is under own, first: "" if the session was never stored, and all are of other ids.
// certain means that it has ended, although there was none any more.
func (v *Visit) tellLogout(ctx context.Context, id ID, own string, found []string, certain bool) {
	m := v.manager
	e := Event{Kind: EventLoggedOut}
	switch {
	case own != "" && (certain || slices.Contains(found, own)):
	case len(found) > 0:
		id, own = "", found[0]
		e.ID, _ = m.dialect.print(m.o.Prefix, own)
	case own != "":
		e.Kind = EventUnknownID
	default:
		return
	}
	v.tell(ctx, id, e)
	for _, key := range found {
		if key != own {
			e := Event{Kind: EventEnded, Why: "Destroy"}
			e.ID, _ = m.dialect.print(m.o.Prefix, key)
			v.tell(ctx, "", e)
		}
	}
}

// targetsToEnd are where a Destroy looks: the session's own key first, if it has one,
// and those before it was taken over. mu is held.
func (v *Visit) targetsToEnd(before []target, logout bool) (targets []target, own string) {
	s, m := v.session, v.manager
	if s.mayBeStored() || s.loadErr != nil && s.id != "" {
		own = m.storeKey(&s.entry)
		at := target{key: own}
		if s.state == live && !s.notLoaded && s.unknownWrite == nil {
			at.version, at.list = s.version, m.listOf(&s.stored)
		}
		targets = append(append(targets, at), before...)
	}
	if !logout {
		return targets, own
	}
	targets = append(append(targets, s.notEnded()...), v.others...)
	targets = append(targets, v.targetsBeside(atNext)...)
	for t := s.givenUp; t != nil; t = t.also {
		targets = append(targets, target{key: t.key})
		for _, key := range t.successors {
			targets = append(targets, target{key: key})
		}
	}
	return targets, own
}

// formerTargets are where the session was before it was taken over. Foreign.Key is code
// of the user, which may panic: mu is not held.
func (v *Visit) formerTargets() []target {
	s, m := v.session, v.manager
	if !m.migrates() {
		return nil
	}
	s.mu.Lock()
	id := s.id
	s.mu.Unlock()
	if id == "" {
		return nil
	}
	return m.both(id)[1:]
}

// tellOthers tells that other sessions of the request were ended.
func (v *Visit) tellOthers(ctx context.Context, others []target, by string) {
	for _, other := range others {
		if other.id != "" {
			v.tell(ctx, other.id, Event{Kind: EventEnded, Why: by})
		}
	}
}

// errCrowded is the error of a logout that can't know which sessions it ends.
var errCrowded = fmt.Errorf("%w: the request carries more session cookies than are looked at: they are removed, but a session of theirs may live on", ErrOutcomeUnknown)

// errOddCookie is the error of a logout from a session that cannot be asked for.
var errOddCookie = fmt.Errorf("%w: the request carries a signed id of other characters or of another length: the session of the Koa app may live on: see Options.Koa.ValidID", ErrOutcomeUnknown)

// mayBeStored reports whether the store has the session, or may have it: a save
// may have come through, or a Destroy not. mu is held.
func (s *Session) mayBeStored() bool {
	if s.state == live || s.unknownWrite != nil {
		return true
	}
	return slices.ContainsFunc(s.notEnded(), func(t target) bool {
		return s.id != "" && t.key == s.visit.manager.storeKey(&s.entry) && !t.old
	})
}

// notEnded are those of unended.
func (e *entry) notEnded() []target {
	if e.unended == nil {
		return nil
	}
	return *e.unended
}

// notEnd notes them.
func (e *entry) notEnd(targets []target) {
	if e.unended = nil; len(targets) > 0 {
		e.unended = &targets
	}
}

// beginAnew begins an empty session in place of this one. op is held.
func (v *Visit) beginAnew(ctx context.Context) error {
	s, m := v.session, v.manager
	s.mu.Lock()
	held := s.save == SaveNever
	s.apart = s.apart || held
	stored := s.mayBeStored()
	s.mu.Unlock()
	id, err := m.newID(ctx)
	if err != nil {
		return v.failAlways(ctx, OpID, err)
	}
	if !held {
		if stored, err = v.giveUp(ctx, m.key(id), stored); err != nil {
			return err
		}
		v.passOn(ctx, id)
	}
	s.mu.Lock()
	was := s.entry
	s.reset()
	s.id, s.successor = id, (was.successor || stored) && !held
	s.givenUp, s.place = was.givenUp, was.place
	s.mu.Unlock()
	if v.resend = false; stored && !held && v.carries {
		v.copies = atNext
	}
	if stored && !held {
		v.tell(ctx, was.id, Event{Kind: EventEnded, Why: "Reset"})
	}
	return nil
}

// giveUp gives the id of a session up, if that is stored, for that of successor, and takes
// the cookie from the browser. was reports whether there was one to give up.
func (v *Visit) giveUp(ctx context.Context, successor string, stored bool) (was bool, err error) {
	s := v.session
	if err := v.sendable(ctx); err != nil {
		return false, v.failAlways(ctx, OpCarrier, err)
	}
	if stored {
		if err := v.endBeside(ctx); err != nil {
			return false, err
		}
		e := s.snapshot()
		left, err := v.manager.retireID(ctx, &e, successor)
		if err != nil {
			if errors.Is(err, ErrGone) {
				v.gone(ctx)
			}
			return false, v.failAlways(ctx, OpDestroy, err)
		}
		if left != nil { // the id had been given up already
			stored = false
			s.mu.Lock()
			s.unknown(e.key, left.and(s.givenUp), false)
			s.mu.Unlock()
		}
	}
	if stored || v.manager.o.ResetUnknown && s.place == atName {
		return stored, v.sendReset(ctx, false) // with the old cookie's attributes
	}
	return stored, nil
}

// endBeside ends the sessions of the cookies beside the first one, as a login does: the
// response of a new id replaces or removes these, and a session that no browser has any
// more would open to whoever has kept its id.
func (v *Visit) endBeside(ctx context.Context) error {
	s, m := v.session, v.manager
	for _, other := range v.targetsBeside(s.place + 1) { // those before it lead nowhere
		if err := m.endOther(ctx, other, m.storeKey(&s.entry)); err != nil {
			return v.failAlways(ctx, OpDestroy, err)
		}
	}
	return nil
}

// passOn notes id as the successor of the session's own id, if that one is a
// successor that never came to be: a late logout finds its way from one to the
// next.
func (v *Visit) passOn(ctx context.Context, id ID) {
	if s := v.session; s.successor && s.state == fresh {
		v.manager.addSuccessor(ctx, v.manager.key(s.id), v.manager.key(id), nil)
	}
}

// renew moves the session to a new id. op is held.
func (v *Visit) renew(ctx context.Context) error {
	s, m := v.session, v.manager
	if err := v.resolve(ctx); err != nil {
		if errors.Is(err, ErrGone) {
			v.gone(ctx)
		}
		return v.failAlways(ctx, OpSet, err)
	}
	if err := v.loadReplaced(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	state, held := s.state, s.save == SaveNever
	s.apart = s.apart || held
	s.mu.Unlock()
	if state == destroyed {
		return ErrGone
	}
	if state == fresh || held {
		return v.renewUnstored(ctx, held)
	}
	if err := v.sendable(ctx); err != nil {
		return v.failAlways(ctx, OpCarrier, err)
	}
	if err := v.beforeSave(ctx); err != nil {
		return v.failAlways(ctx, OpBeforeSave, err)
	}
	if err := v.encodable(ctx); err != nil { // what the hook has set
		return err
	}
	s.mu.Lock()
	c, err := s.takeChange()
	s.mu.Unlock()
	if err != nil {
		return v.failAlways(ctx, OpSet, err)
	}
	if err := v.endBeside(ctx); err != nil {
		return err
	}
	e := s.snapshot()
	former := e.id
	err = m.changeID(ctx, &e, &c, nil)
	v.tellConflict(ctx, &e)
	switch {
	case err == nil:
		s.saved(&c, &e)
		if v.expires = true; v.carries {
			v.copies = atNext
		}
		err = v.send(ctx, false)
		v.tellFormer(ctx, e.id, former, Event{Kind: EventRenewed})
		return err
	case errors.Is(err, errExpired):
		v.tell(ctx, former, Event{Kind: EventExpired, Why: expiredAtSave})
		err = errors.Join(ErrGone, v.destroy(ctx, false))
	case errors.Is(err, ErrGone):
		v.gone(ctx)
	}
	return v.failAlways(ctx, saveOp(err), err)
}

// loadReplaced loads a session that was replaced without being loaded, before a Renew. An
// id that the store does not know is not adopted (K48).
func (v *Visit) loadReplaced(ctx context.Context) error {
	s := v.session
	if s.state != live || !s.notLoaded || s.save == SaveNever {
		return nil
	}
	e := s.snapshot()
	if err := v.manager.load(ctx, &e, v.began); err != nil {
		return v.failAlways(ctx, OpGet, err)
	}
	s.mu.Lock()
	e.unended, e.wrote = s.unended, s.wrote
	s.entry = e
	s.mu.Unlock()
	return nil
}

// renewUnstored gives another id to a session that the store does not have, or
// that SaveNever keeps from it. The save will use it.
func (v *Visit) renewUnstored(ctx context.Context, held bool) error {
	s, m := v.session, v.manager
	if s.state == fresh && s.givenUp.isLate() {
		return v.failAlways(ctx, OpSet, ErrGone) // by another request's Renew, as if it ran now
	}
	id, err := m.newID(ctx)
	if err != nil {
		return v.failAlways(ctx, OpID, err)
	}
	if !held {
		v.passOn(ctx, id)
	}
	s.mu.Lock()
	s.id, s.key = id, ""
	s.mu.Unlock()
	return nil
}
