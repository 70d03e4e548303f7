package core

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/gensession/gensession/core/internal/jsontext"
)

// How a session is saved: what Visit.save does in its steps. Everything here
// holds Session.op, so that a request does one thing at a time to the store, and
// calls hooks and the store without holding Session.mu.

// Save stores the session now, if it has changed or SetSaveMode forces it, and
// sends its cookie (generic-session's saveSession). What is changed
// afterwards is saved at the end of the request. It is ErrGone if the session
// was destroyed meanwhile, and ErrConflict as Options.OnConflict says.
func (s *Session) Save(ctx context.Context) error {
	login, err := s.enter()
	if err != nil {
		return err
	}
	defer s.exit()
	switch {
	case s.loadErr != nil:
		return s.loadErr
	case s.isLost():
		return ErrGone
	}
	return s.visit.save(requestless(ctx), false, login)
}

// isLost reports whether a save has found that another request has ended the session: one
// that is tried again must not look as if it had come through.
func (s *Session) isLost() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost && s.state == destroyed
}

// enter takes op, unless the store can't be changed now, and reports whether a login is
// to be saved. exit gives op back.
func (s *Session) enter() (login bool, err error) {
	if err := s.mayStore(); err != nil {
		return false, err
	}
	s.op.Lock()
	if err := s.mayStore(); err != nil { // the commit may have come first
		s.op.Unlock()
		return false, err
	}
	return s.acts(), nil
}

// acts makes that events wait for exit: a hook that is called while a session is
// stored and its cookie is not sent yet could leave it so, by a panic. It reports
// whether a login is to be saved. op is held.
func (s *Session) acts() (login bool) {
	s.mu.Lock()
	s.acting, login = true, s.login != nil
	s.mu.Unlock()
	return login
}

// exit gives op back and tells what happened meanwhile.
func (s *Session) exit() {
	s.mu.Lock()
	first := s.untold
	s.acting, s.untold = false, nil
	s.mu.Unlock()
	s.op.Unlock()
	first.tell(s.visit)
}

var errFromHook = misused("session: a hook can't call Save, Login, Renew, Reset and Destroy, nor write the response")

// mayStore says why the store can't be changed now.
func (s *Session) mayStore() error {
	switch {
	case s.sealed.Load():
		return ErrCommitted
	case s.within("runHook"):
		return errFromHook
	}
	return nil
}

// take makes s what the store has under key.
func (s *Session) take(id ID, key string, now *lookup) {
	s.id, s.key, s.state = id, key, live
	s.aged = now.by != nil && now.by.lead.until != 0
	s.loaded(now)
	s.stored.Created = s.visit.manager.dialect.created(now.record.Created)
	s.setOwn(s.stored.Cookie, nil)
	s.since = s.stored.Since
}

func (s *Session) seal() {
	if s.sealed.Load() {
		return
	}
	s.mu.Lock()
	s.sealed.Store(true)
	s.mu.Unlock()
}

// snapshot is the session as the store has it, as a copy that nobody else uses.
func (s *Session) snapshot() entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entry
}

// A plan is what a save has to do.
type plan struct {
	why       reason
	last      bool // at the end of the request
	touch     bool // nothing has changed: the store is only to keep it longer
	changes   changeSet
	entry     entry           // what it is done to
	login     *login          // nil if it is none
	others    []target        // keys of other sessions that the request carries, which a login ends
	untrusted bool            // a login must not keep the values
	alone     bool            // done: a login without what was loaded
	former    ID              // done: the id that a login has given up
	renews    bool            // the session is to get a new id of itself
	since     int64           // of its id, when it was loaded
	renewed   bool            // done
	ctx       context.Context // does not end with the request (DESIGN: time limits)
}

// plan looks at what the request did and says in p, which is zero, what is to be done
// and why. It runs the hook, and does nothing to the store. An error is reported
// already.
func (v *Visit) plan(ctx context.Context, last bool, p *plan) error {
	s, m := v.session, v.manager
	// A renewal that is due runs the hook, too, whose changes are saved (W45).
	hooked := m.o.Hooks.BeforeSave != nil && last && v.renewalIsDue()
	s.mu.Lock()
	if err := s.blocked(last); err != nil {
		s.mu.Unlock()
		return v.failBlocked(ctx, err)
	}
	why, err := s.reason(last)
	unchanged := why <= resend || why == renewal && m.toucher != nil && !hooked
	if unchanged && last {
		s.sealed.Store(true) // no change may slip in between this look and the end
	}
	s.mu.Unlock()
	if err != nil {
		return v.lostChange(ctx, err)
	}
	if why == renewal && !hooked && !m.due(s) {
		if why = nothing; v.resend {
			why = resend
		}
	}
	if last && v.renews(ctx) {
		if p.renews, p.since = true, s.since; why < renewing {
			why = renewing
		}
	}
	p.why, p.last, p.touch = why, last, unchanged
	if why == nothing {
		return nil
	}
	p.ctx = withoutCancel(ctx)
	if why != resend {
		if err := v.sendable(p.ctx); err != nil {
			return v.failSave(p.ctx, OpCarrier, err)
		}
	}
	if !unchanged {
		if err := v.collect(p); err != nil {
			return err
		}
	}
	p.entry = s.snapshot()
	return nil
}

// collect runs the hook, and puts in p what has changed.
func (v *Visit) collect(p *plan) error {
	s := v.session
	if err := v.beforeSave(p.ctx); err != nil {
		return v.failSave(p.ctx, OpBeforeSave, err)
	}
	s.mu.Lock()
	if err := s.blocked(p.last); err != nil { // by what the hook has done
		s.mu.Unlock()
		return v.failBlocked(p.ctx, err)
	}
	err := s.collectInto(p)
	if p.last {
		s.sealed.Store(true)
	}
	s.mu.Unlock()
	if err != nil {
		return v.lostChange(p.ctx, err)
	}
	if p.why != signsIn { // which makes one
		if _, err := s.needID(); err != nil {
			return v.failSave(p.ctx, OpID, err)
		}
	}
	return nil
}

// collectInto puts in p what has changed. mu is held.
func (s *Session) collectInto(p *plan) (err error) {
	v, m := s.visit, s.visit.manager
	if p.why == renewal {
		changed, err := s.changed()
		switch {
		case err != nil:
			return err
		case changed:
			p.why = change
		default:
			p.touch = m.toucher != nil
		}
	}
	if p.changes, err = s.takeChange(); err != nil {
		return err
	}
	p.changes.why = p.why
	if p.login = s.login; p.why == signsIn {
		if m.dialect.recordsTime() {
			p.changes.login, p.changes.owned = time.Now().UnixMilli(), p.login.owned()
		}
		p.others = slices.Concat(v.others, v.targetsBeside(s.place+1)) // those before it lead nowhere
		p.untrusted = v.untrusted
	}
	if p.why == signsIn || s.state == fresh {
		v.backdate(p)
	}
	return nil
}

// failSave reports why a save has not begun, or has failed: with a login always.
func (v *Visit) failSave(ctx context.Context, op Op, err error) error {
	if s := v.session; s.signsIn() {
		return s.loginFailed(v.failAlways(ctx, op, err))
	}
	return v.report(ctx, op, err)
}

// renewalIsDue reports whether a session that has not changed would be renewed.
func (v *Visit) renewalIsDue() bool {
	s := v.session
	s.mu.Lock()
	rolls := s.state == live && s.rolls()
	s.mu.Unlock()
	return rolls && v.manager.due(s)
}

// lostChange reports why the changes of a request can't be collected. A value
// that was changed in place so that it can't be encoded fails the request like
// one that Set refuses, whatever the hook says (DESIGN: closed on failure).
func (v *Visit) lostChange(ctx context.Context, err error) error {
	if errors.Is(err, ErrCorrupt) { // what is stored, not what the request did
		return v.report(ctx, OpSet, err)
	}
	return v.failAlways(ctx, OpSet, err)
}

// carryOut does to the store what p says. It knows neither the request nor its
// hooks, and leaves in p.entry what the store has then.
func (m *Manager) carryOut(p *plan) error {
	err := m.saveAs(p)
	if p.renews && err == nil {
		was := p.entry.id
		if failed := m.renewID(p.ctx, &p.entry, p.since); failed == nil {
			p.renewed, p.former = true, was
		} else if p.why == renewing {
			return failed
		}
	}
	return err
}

func (m *Manager) saveAs(p *plan) error {
	ctx := p.ctx
	switch {
	case p.why == renewing:
		return nil
	case p.why == resend:
		// A response with an id that is dead by now must not replace the cookie
		// of the one that came after it. And its cookie must not end later than
		// the session.
		if !m.o.koa && (m.toucher != nil || m.batcher != nil) {
			_, err := m.prolong(ctx, &p.entry)
			return err
		}
		r, version, err := m.read(ctx, m.storeKey(&p.entry))
		if err == nil {
			p.entry.stored, p.entry.version = r, version
		}
		return err
	case p.touch:
		_, err := m.prolong(ctx, &p.entry)
		back, err := m.back(ctx, &p.entry, err, &tries{manager: m})
		if back {
			_, err = m.prolong(ctx, &p.entry)
		}
		return err
	case p.why == signsIn:
		return m.logIn(p)
	}
	return m.write(ctx, &p.entry, &p.changes)
}

// conclude takes over what came of p, sends the cookie, and reports what failed.
func (v *Visit) conclude(p *plan, err error) error {
	ctx, s, m := p.ctx, v.session, v.manager
	v.tellConflict(ctx, &p.entry)
	now := Event{Kind: EventSaved}
	var former ID
	switch {
	case err != nil && (p.why == resend || p.why == renewing):
		m.debug(ctx, "session id is not sent again", slog.Any("error", err))
		return nil
	case errors.Is(err, errExpired) && p.why == signsIn:
		return v.unsaved(ctx, err, p.last)
	case err != nil && p.why == signsIn:
		return s.loginFailed(v.failAlways(ctx, saveOp(err), err))
	case err != nil:
		s.mu.Lock()
		s.entry = p.entry // with what it has learned, such as a write in doubt
		s.mu.Unlock()
		return v.unsaved(ctx, err, p.last || p.touch)
	case p.touch:
		// Another request may have chosen cookie options: this one has chosen
		// none, and is sealed.
		s.mu.Lock()
		s.entry = p.entry
		s.setOwn(p.entry.stored.Cookie, nil)
		s.mu.Unlock()
		now.Kind = "" // the store has only prolonged it
	case p.why == signsIn:
		now.Kind, former = EventLoggedIn, p.former
		v.expires = true
		p.entry.place = atName
		s.saved(&p.changes, &p.entry)
		s.loggedIn(p)
		if v.carries {
			v.copies = atNext
		}
		v.others, v.untrusted = nil, false
	default:
		if s.state == fresh {
			now.Kind = EventCreated
		}
		s.saved(&p.changes, &p.entry)
	}
	if p.renewed {
		if v.expires = true; v.copies == atName {
			v.copies = atLate
		}
		v.tellFormer(ctx, p.entry.id, p.former, Event{Kind: EventRenewed, Why: "RenewAfter"})
	}
	err = v.send(ctx, p.last)
	if now.Kind != "" && v.manager.listens() {
		v.tellFormer(ctx, p.entry.id, former, now)
		v.tellOthers(ctx, p.others, "Login")
	}
	return err
}

// tellConflict tells that a save met others, once.
func (v *Visit) tellConflict(ctx context.Context, e *entry) {
	if e.met {
		e.met = false
		v.tell(ctx, e.id, Event{Kind: EventConflict})
	}
}

// expiredAtSave is why a session ends that is about to be saved.
const expiredAtSave = "TTLFunc, or its own life"

// unsaved is what follows from the error of a save.
func (v *Visit) unsaved(ctx context.Context, err error, last bool) error {
	switch {
	case errors.Is(err, errExpired): // K37
		v.tell(ctx, v.session.id, Event{Kind: EventExpired, Why: expiredAtSave})
		return v.destroy(ctx, false)
	case errors.Is(err, ErrGone):
		v.gone(ctx)
		if last {
			return v.note(ctx, OpSet, err)
		}
	}
	return v.report(ctx, saveOp(err), err)
}

// saveOp is the operation that has failed with err in a save.
func saveOp(err error) Op {
	if errors.Is(err, errNewID) {
		return OpID
	}
	return OpSet
}

// gone notes that the store has the session no more. Its id is one of those that a
// request carries in vain, and the store says whether it was given up for another
// one.
func (v *Visit) gone(ctx context.Context) {
	v.withdraw()
	s, m := v.session, v.manager
	if s.state == live {
		key := m.storeKey(&s.entry)
		now, err := m.look(ctx, key)
		if !errors.Is(err, ErrGone) { // nobody can tell
			now.tombstone = &tombstone{key: key, late: true}
		}
		s.mu.Lock()
		s.unknown(key, now.tombstone.and(s.givenUp), false)
		s.mu.Unlock()
	}
	s.mu.Lock()
	s.state, s.lost = destroyed, true
	s.mu.Unlock()
}

// blocked is the error of a call that failed and has not been made good: then nothing
// is saved, whatever Hooks.Error says of it. Save may try a login again that failed, the
// commit may not. mu is held.
func (s *Session) blocked(last bool) error {
	return s.unhealed(func(f failedCall) bool {
		switch {
		case s.login == nil:
			return true
		case f.call == callRenew:
			return false // a login gives the id up as well
		}
		return last || f.call != callLogin
	})
}

// failBlocked reports the error of such a call, if that has not been done yet: that of a
// value which can't be encoded.
func (v *Visit) failBlocked(ctx context.Context, err error) error {
	if _, reported := errors.AsType[*Error](err); reported {
		return err
	}
	return v.failAlways(ctx, OpSet, err)
}

// whole fails what would save by half, as blocked says.
func (v *Visit) whole(ctx context.Context, last bool) error {
	s := v.session
	s.mu.Lock()
	err := s.blocked(last)
	s.mu.Unlock()
	if err != nil {
		return v.failBlocked(ctx, err)
	}
	return nil
}

// encodable is whole for the values alone.
func (v *Visit) encodable(ctx context.Context) error {
	s := v.session
	s.mu.Lock()
	err := s.unhealed(func(f failedCall) bool { return f.call == callSet || f.call == callReplace })
	s.mu.Unlock()
	if err != nil {
		return v.failBlocked(ctx, err)
	}
	return nil
}

// loggedIn takes the login over that p has done. mu is not held.
func (s *Session) loggedIn(p *plan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = s.failed.drop(func(f failedCall) bool { return f.call == callLogin || f.call == callRenew })
	if s.login == p.login {
		s.login = nil
	}
	if p.alone { // what was loaded is another session's
		s.many = nil
		s.edits = slices.DeleteFunc(s.edits, func(e *edit) bool {
			if e.own || e.past == nil {
				return e.loaded || !e.own && e.held != nil
			}
			if now, err := s.stored.Find(e.name); err != nil || !bytes.Equal(e.from, now) {
				e.letGo()
			}
			return false
		})
	}
}

// resolve finds out what became of a save of this request without an answer.
func (v *Visit) resolve(ctx context.Context) error {
	s := v.session
	if s.unknownWrite == nil {
		return nil
	}
	e, changes := s.snapshot(), s.unknownWrite.changes
	applied, err := v.manager.resolve(ctx, &e)
	if applied {
		s.saved(&changes, &e)
		v.resend = true // it has sent no cookie
		v.tell(ctx, e.id, Event{Kind: EventSaved})
	}
	return err
}

// beforeSave runs the hook (K23).
func (v *Visit) beforeSave(ctx context.Context) error {
	hook := v.manager.o.Hooks.BeforeSave
	if hook == nil {
		return nil
	}
	_, err := v.runHook(func() (bool, error) { return true, hook(ctx, v.jar, v.session) })
	return err
}

// saved makes what was written the new base of the session. What the handler
// changed meanwhile stays a change: an update of that time, also of a value that
// was not among the changes, counts from what was written.
func (s *Session) saved(c *changeSet, e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entry, s.many = *e, nil
	find := func(name string) []byte {
		raw, _ := s.stored.Find(name) // it was read or written just now
		return raw
	}
	s.baseRev++
	if s.replaceRev == c.replaceRev {
		s.cleared = false
	}
	if s.cookieRev == c.cookieRev {
		s.ownSet = false
		s.setOwn(e.stored.Cookie, nil)
	}
	for _, was := range c.values {
		switch {
		case s.sealed.Load():
		case was.loaded:
			was.edit.past = nil
		default:
			was.edit.past = was.past.then(was.assigned, was.raw, was.updates)
		}
		switch edit := was.edit; {
		case edit.turn == was.turn:
			edit.own, edit.assigned, edit.raw, edit.updates = false, false, nil, nil
			if now := find(was.name); edit.held != nil && !bytes.Equal(edit.from, now) && !(was.same && jsontext.Same(edit.from, now)) {
				edit.letGo() // an update was computed again: Get must show its result
			}
		case edit.assigns == was.assigns:
			edit.assigned, edit.updates = false, edit.updates[was.steps:]
		}
	}
	if s.sealed.Load() {
		return
	}
	for _, edit := range s.edits {
		if !edit.own || edit.assigned {
			continue
		}
		if raw, err := updated(find(edit.name), edit.updates); err == nil {
			edit.raw = raw
			edit.letGo()
		}
	}
}

// sendable says before anything is stored whether its cookie could be sent
// (K8, K30).
func (v *Visit) sendable(ctx context.Context) error {
	if v.jar.Begun() {
		return ErrCommitted
	}
	c := v.manager.cookie
	if c == nil {
		return nil
	}
	o := v.session.Cookie()
	err := c.ready(v.jar, &o)
	if err != nil {
		v.checkTransport(ctx)
	}
	return err
}

// send sends the id: only after the store has the session. last means the commit,
// behind which nobody changes the header any more.
func (v *Visit) send(ctx context.Context, last bool) error {
	if v.isNowhere() {
		return nil
	}
	if v.jar.Begun() {
		return v.report(ctx, OpCarrier, ErrCommitted)
	}
	if s := v.session; v.keepsQuiet() || s.place == atNext && v.beside("").ids[atNext] == s.id {
		return nil
	}
	jar := v.jar
	if !last {
		jar = v.sends()
	}
	v.carrying = true
	v.checkTransport(ctx)
	if err := v.manager.carrier.Set(jar, v.session); err != nil {
		return v.report(ctx, OpCarrier, err)
	}
	v.resend, v.sent = false, true
	return nil
}

// withdraw takes an id that is dead by now out of the response: the browser may
// have got another one meanwhile. A Carrier of the user's can't do that.
func (v *Visit) withdraw() {
	if !v.sent {
		return
	}
	v.sent = false
	jar := v.sends()
	switch c := v.manager.carrier.(type) {
	case *signedCookie:
		o := v.cookieHere()
		for _, in := range append(c.removals(v.session, &o, false), o) {
			for _, name := range c.cookies {
				c.clearScope(jar, name, in.scope())
				c.clearScope(jar, name+sigSuffix, in.scope())
			}
		}
	case header:
		jar.SetResponseHeader(string(c), "")
	}
}

// sendReset makes the browser forget the id. Where the first cookie does not carry
// it, that and its copy may be another request's by now: they stay, unless the user
// has logged out.
func (v *Visit) sendReset(ctx context.Context, logout bool) error {
	if v.isNowhere() {
		return nil
	}
	if v.jar.Begun() {
		return v.report(ctx, OpCarrier, ErrCommitted)
	}
	v.carrying = true
	if c, s := v.manager.cookie, v.session; s.place != atName && !logout {
		if s.place == atLate {
			o := v.cookieHere()
			c.send(v.sends(), c.cookies[atLate], &o, signedID{}, time.Unix(0, 0), false)
		}
		v.sent = false
		return nil
	}
	if err := v.manager.carrier.Reset(v.sends(), v.session); err != nil {
		return v.report(ctx, OpCarrier, err)
	}
	v.sent = false
	return nil
}
