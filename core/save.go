package core

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

// How a session reaches the store. Everything here holds Session.op, so that a
// request does one thing at a time to the store, and calls hooks and the store
// without holding Session.mu.

// Save stores the session now, if it has changed or SetSaveMode forces it, and
// sends its cookie (generic-session's saveSession). What is changed
// afterwards is saved at the end of the request. It is ErrGone if the session
// was destroyed meanwhile, and ErrConflict as Options.OnConflict says.
func (s *Session) Save(ctx context.Context) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.op.Unlock()
	if s.broken != nil {
		return s.broken
	}
	return s.visit.save(ctx, false)
}

// enter takes op, unless the store can't be changed now.
func (s *Session) enter() error {
	if err := s.mayStore(); err != nil {
		return err
	}
	s.op.Lock()
	err := s.mayStore() // the commit may have come first
	if err != nil {
		s.op.Unlock()
	}
	return err
}

var errFromHook = errors.New("session: Save, Renew, Reset and Destroy can't be called from a hook")

// mayStore says why the store can't be changed now.
func (s *Session) mayStore() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.sealed.Load():
		return ErrCommitted
	case s.saving:
		return errFromHook
	}
	return nil
}

// storeKey is where the store keeps s. op is held.
func (s *Session) storeKey() string {
	if s.key == "" {
		s.key = s.visit.manager.key(s.id)
	}
	return s.key
}

func (s *Session) seal() {
	if s.sealed.Load() {
		return
	}
	s.mu.Lock()
	s.sealed.Store(true)
	s.mu.Unlock()
}

// take makes s what the store has under key.
func (s *Session) take(id ID, key string, stored record, version Version) {
	if s.visit.manager.o.koa {
		stored.created = time.Now().UnixMilli() // the original does not tell
	}
	s.id, s.key, s.state, s.stored, s.version = id, key, live, stored, version
	s.own = stored.own
}

// save stores the session if there is a reason to. last means the end of the
// request. op is held.
func (v *Visit) save(ctx context.Context, last bool) error {
	s, m := v.session, v.manager
	if err := v.whole(ctx); err != nil {
		return err
	}
	if _, err := v.settle(ctx); err != nil {
		return v.unsaved(ctx, err, last)
	}
	s.mu.Lock()
	why, err := s.reason(last)
	unchanged := why <= reissue || why == renewal && m.toucher != nil
	if unchanged && last {
		s.sealed.Store(true) // no change may slip in between this look and the end
	}
	s.mu.Unlock()
	if why == renewal && !m.rolls(s) {
		if why = nothing; v.reissue {
			why = reissue
		}
	}
	switch {
	case err != nil:
		return m.report(ctx, OpSet, err)
	case why == nothing:
		return nil
	}
	ctx = withoutCancel(ctx) // DESIGN: time limits
	if why == reissue {
		// A response with an id that is dead by now must not replace the
		// cookie of the one that came after it.
		r, _, err := v.reread(ctx, s.storeKey())
		if err != nil {
			m.debug(ctx, "session id is not sent again", slog.Any("error", err))
			return nil
		}
		s.choose(&r)
		return v.send(ctx)
	}
	if err := v.sendable(); err != nil {
		return m.report(ctx, OpCarrier, err)
	}
	if unchanged {
		return v.touch(ctx)
	}
	if err := v.beforeSave(ctx); err != nil {
		return m.report(ctx, OpBeforeSave, err)
	}
	if err := v.whole(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	c, err := s.takeChange()
	if last {
		s.sealed.Store(true)
	}
	s.mu.Unlock()
	if err != nil {
		return m.report(ctx, OpSet, err)
	}
	c.why = why
	return v.write(ctx, c, last)
}

// whole returns the error of a call that failed and has not been made good:
// then nothing is saved, whatever Hooks.Error says of it. What no call has
// reported yet, a value that can't be encoded, is reported here.
func (v *Visit) whole(ctx context.Context) error {
	return v.insistOn(ctx, func(failedCall) bool { return true })
}

// encodable is whole for the values alone.
func (v *Visit) encodable(ctx context.Context) error {
	return v.insistOn(ctx, func(f failedCall) bool { return f.call == callSet || f.call == callReplace })
}

func (v *Visit) insistOn(ctx context.Context, which func(failedCall) bool) error {
	s := v.session
	s.mu.Lock()
	err := s.unhealed(which)
	s.mu.Unlock()
	if err == nil {
		return nil
	}
	if _, reported := errors.AsType[*Error](err); reported {
		return err
	}
	return v.manager.insist(ctx, OpSet, err)
}

// beforeSave runs the hook (K23).
func (v *Visit) beforeSave(ctx context.Context) error {
	hook := v.manager.o.Hooks.BeforeSave
	if hook == nil {
		return nil
	}
	_, err := v.ask(func() (bool, error) { return true, hook(ctx, v.jar, v.session) })
	return err
}

const (
	saveTries = 40                     // before a conflict is given up
	saveTime  = 10                     // OpTimeouts that one save may take in all
	firstRest = 250 * time.Microsecond // before the second try
	longRest  = 16 * time.Millisecond
)

// Errors that write and renew tell apart.
var (
	errNewID   = errors.New("no new id")
	errExpired = errors.New("the session's time is over")
)

// write stores the session with its changes and sends the cookie. Another
// request's write in between is met as OnConflict says; what is gone is not
// brought back (K23, DESIGN: versions).
func (v *Visit) write(ctx context.Context, c changeSet, last bool) error {
	s, m := v.session, v.manager
	before := s.doubt
	err := v.store(ctx, &c)
	if s.doubt != before && s.doubt != nil && m.again(ctx, err) {
		err = v.storeAgain(ctx, &c)
	}
	if err != nil {
		return v.unsaved(ctx, err, last)
	}
	return v.send(ctx)
}

// unsaved is what follows from the error of a save.
func (v *Visit) unsaved(ctx context.Context, err error, last bool) error {
	m := v.manager
	switch {
	case errors.Is(err, errExpired): // K37
		return v.destroy(ctx, false)
	case errors.Is(err, ErrGone):
		v.gone()
		m.debug(ctx, "session is gone, nothing was saved", slog.Any("session", v.session.id))
		if last {
			return m.mention(ctx, OpSet, err)
		}
	case errors.Is(err, errNewID):
		return m.report(ctx, OpID, err)
	}
	return m.report(ctx, OpSet, err)
}

// storeAgain is store after an outage that left the first try in doubt.
func (v *Visit) storeAgain(ctx context.Context, c *changeSet) error {
	if applied, err := v.settle(ctx); applied || err != nil {
		return err
	}
	return v.store(ctx, c)
}

// gone notes that the store has the session no more. Its id is one of those
// that a request carries in vain.
func (v *Visit) gone() {
	v.withdraw()
	s := v.session
	s.mu.Lock()
	if s.state == live {
		s.stale = s.storeKey()
	}
	s.state = destroyed
	s.mu.Unlock()
}

// store is write without its consequences.
func (v *Visit) store(ctx context.Context, c *changeSet) error {
	s, m := v.session, v.manager
	if s.state == fresh {
		return v.create(ctx, c)
	}
	key := s.storeKey()
	base, version := s.base()
	// again: base is not what the changes were made on.
	again := s.unknown || version == 0 && m.swapper != nil
	var end time.Time
	for try := 0; ; try++ {
		if again {
			var err error
			base, version, err = v.reread(ctx, key)
			if errors.Is(err, ErrGone) && s.unknown {
				return v.createInstead(ctx, c)
			}
			if err != nil {
				return err
			}
			if v.refuses(&base) {
				return ErrConflict
			}
		}
		r, err := v.merged(c, base, key, again)
		if err != nil {
			return err
		}
		if again && c.why == change && !s.unknown && sameRecord(&r, &base) {
			v.saved(c, r, version) // the other request did the same
			return nil
		}
		version, err = v.put(ctx, key, &r, version)
		switch {
		case err == nil:
			v.saved(c, r, version)
			return nil
		case err == errExpired && !again && m.swapper != nil:
			again = true // another request may have prolonged it
			continue
		case errors.Is(err, ErrNotFound):
			return ErrGone
		case errors.Is(err, ErrOutcomeUnknown):
			s.doubt = &doubt{*c, r}
			return err
		case errors.Is(err, ErrConflict) && c.why == renewal:
			r, _, err := v.reread(ctx, key)
			if err == nil { // renewed by the other request, too
				s.choose(&r)
			}
			return err
		case !errors.Is(err, ErrConflict):
			return err
		case s.doubt != nil && c.updates():
			return errOvertaken
		case try == saveTries:
			return fmt.Errorf("%w, %d times in a row", ErrConflict, try)
		}
		again = true
		m.debug(ctx, "session was saved by another request, trying again", slog.Any("session", s.id), slog.Int("try", try+1))
		if end.IsZero() { // not at try 0: an expired record may have taken that one
			end = m.lastTry()
		}
		if err := rest(try, end); err != nil {
			return err
		}
	}
}

// refuses reports whether ConflictRefuse forbids to go on with base, which is
// not what the session was made from.
func (v *Visit) refuses(base *record) bool {
	s := v.session
	if v.manager.o.OnConflict != ConflictRefuse || s.unknown {
		return false
	}
	stored, _ := s.base()
	return !sameRecord(base, &stored)
}

// merged is the record to write under key: the changes over base. again means
// that base is another request's.
func (v *Visit) merged(c *changeSet, base record, key string, again bool) (record, error) {
	s := v.session
	if again && !s.unknown && c.why != renewal && v.manager.o.OnConflict == ConflictLastWriteWins {
		base, _ = s.base()
		again = false
	}
	return c.applied(base, key, again && !s.unknown)
}

// put encodes r and writes it under key, if key still has version.
func (v *Visit) put(ctx context.Context, key string, r *record, version Version) (Version, error) {
	m := v.manager
	ttl, over := m.ttl(v.session, r.own.over(m.config), r.created, v.now())
	if over {
		return 0, errExpired
	}
	text, err := r.encode(key, m)
	if err != nil {
		return 0, err
	}
	version, err = m.set(ctx, key, text, ttl, version)
	if err == nil && m.touched != nil {
		m.touched.renewed(key)
	}
	return version, err
}

// now is the time of a write, from which the cookie that is sent for it counts,
// too.
func (v *Visit) now() time.Time {
	now := time.Now()
	v.session.wrote = now.UnixNano()
	return now
}

// create stores a new session, never over one that is there.
func (v *Visit) create(ctx context.Context, c *changeSet) error {
	s, m := v.session, v.manager
	if s.stale != "" && m.marked(ctx, s.stale) {
		return ErrGone // the browser has another session by now
	}
	id, err := s.needID()
	if err != nil {
		return fmt.Errorf("%w: %w", errNewID, err)
	}
	key := s.storeKey()
	r, err := c.applied(record{created: s.stored.created, own: m.blank}, key, false)
	if err != nil {
		return err
	}
	version, err := v.put(ctx, key, &r, 0)
	switch {
	case errors.Is(err, ErrConflict) && s.doubt != nil:
		return errOvertaken
	case errors.Is(err, ErrConflict):
		return fmt.Errorf("%w: the id is in use already, the generator repeats itself", errNewID)
	case errors.Is(err, ErrOutcomeUnknown):
		s.doubt = &doubt{*c, r}
		return err
	case err != nil:
		return err
	}
	m.debug(ctx, "session created", slog.Any("session", id))
	v.saved(c, r, version)
	return nil
}

// createInstead stores a session that was replaced without being loaded under
// an id that the store turned out not to know: that id is not adopted (K48).
func (v *Visit) createInstead(ctx context.Context, c *changeSet) error {
	s := v.session
	stale := s.storeKey()
	s.mu.Lock()
	s.id, s.key, s.state, s.unknown, s.stale = "", "", fresh, false, stale
	s.mu.Unlock()
	return v.create(ctx, c)
}

// A doubt is a save that had no answer.
type doubt struct {
	changes changeSet
	wrote   record
}

// errOvertaken is the outcome when nobody can tell whether a save without an
// answer is in what the store has.
var errOvertaken = fmt.Errorf("%w: an earlier save of this request had no answer, and the session has been saved since", ErrOutcomeUnknown)

// settle finds out what became of a save without an answer, before anything
// else is saved, or an update in it could be applied twice. One that is not
// there may still come, so the doubt stays until another save has come through.
func (v *Visit) settle(ctx context.Context) (applied bool, err error) {
	s := v.session
	d := s.doubt
	if d == nil || s.state == destroyed {
		return false, nil
	}
	r, version, err := v.reread(withoutCancel(ctx), s.storeKey())
	switch {
	case errors.Is(err, ErrGone) && s.state == fresh:
	case errors.Is(err, ErrGone):
		return false, err
	case err != nil: // it is still not known whether that save came through
		return false, fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	case sameRecord(&r, &d.wrote) && (s.state == fresh || r.fence == d.wrote.fence): // KoaCompat keeps no fence
		v.saved(&d.changes, r, version)
		v.reissue = true // it has sent no cookie
		return true, nil
	case s.state == fresh || version != s.version:
		return false, errOvertaken
	}
	return false, nil
}

// reread gets the record as another request left it.
func (v *Visit) reread(ctx context.Context, key string) (record, Version, error) {
	data, version, err := v.manager.get(ctx, key)
	if errors.Is(err, ErrNotFound) || err == nil && isTombstone(data) {
		return record{}, 0, ErrGone
	}
	if err != nil {
		return record{}, 0, err
	}
	r, err := parseRecord(data, key, v.manager.o.koa)
	return r, version, err
}

// saved makes what was written the new base of the session. What the handler
// changed meanwhile stays a change: an update of that time, also of a value that
// was not among the changes, counts from what was written.
func (v *Visit) saved(c *changeSet, r record, version Version) {
	s := v.session
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored, s.version, s.state, s.unknown, s.doubt = r, version, live, false, nil
	find := func(name string) []byte {
		raw, _ := s.stored.find(name) // it was read or written just now
		return raw
	}
	s.bases++
	if s.clears == c.clears {
		s.cleared = false
	}
	if s.chosen == c.chosen {
		s.ownSet = false
		s.own = r.own
	}
	for _, was := range c.values {
		switch e := was.edit; {
		case e.turn == was.turn:
			e.own, e.assigned, e.raw, e.updates = false, false, nil, nil
			if e.held != nil && !bytes.Equal(e.from, find(was.name)) {
				e.held = nil // an update was computed again: Get must show its result
			}
		case e.assigns == was.assigns:
			e.assigned, e.updates = false, e.updates[was.steps:]
		}
	}
	if s.sealed.Load() {
		return
	}
	for _, e := range s.edits {
		if !e.own || e.assigned {
			continue
		}
		if raw, err := updated(find(e.name), e.updates); err == nil {
			e.raw, e.held = raw, nil
		}
	}
}

// lastTry is when a save gives up.
func (m *Manager) lastTry() time.Time { return time.Now().Add(saveTime * m.o.OpTimeout) }

// rest waits before the next try: longer each time, and by chance, so that
// requests that met do not meet again.
func rest(try int, end time.Time) error {
	time.Sleep(time.Duration(rand.Int64N(int64(min(firstRest<<min(try, 10), longRest)))))
	if time.Now().After(end) {
		return fmt.Errorf("%w, and there was no quiet moment to save in", ErrConflict)
	}
	return nil
}

// touch begins the ttl of an unchanged session anew (K24). Another request may
// have saved the session meanwhile and chosen another life for it, which a
// touch from here must not take back: stores compare versions only when they
// write, so we look afterwards, and give it the life that it should have.
func (v *Visit) touch(ctx context.Context) error {
	s, m := v.session, v.manager
	key := s.storeKey()
	ttl, over := m.ttl(s, s.Cookie(), s.stored.created, v.now())
	version := s.version
	var err error
	if over && m.swapper != nil { // another request may have prolonged it
		var r record
		if r, version, err = v.reread(ctx, key); err == nil {
			ttl, over = m.ttlOf(s.id, key, r)
			s.choose(&r)
		}
	}
	for try := 0; err == nil; try++ {
		if over {
			return v.destroy(ctx, false)
		}
		if err = m.touch(ctx, key, ttl); err != nil || m.swapper == nil || try == saveTries {
			break
		}
		r, now, lookErr := v.reread(ctx, key)
		if errors.Is(lookErr, ErrGone) {
			err = lookErr
		}
		if lookErr != nil || now == version {
			break
		}
		version = now
		ttl, over = m.ttlOf(s.id, key, r)
		s.choose(&r)
	}
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrGone):
		v.gone()
		return m.mention(ctx, OpSet, ErrGone)
	case err != nil:
		return m.report(ctx, OpSet, err)
	}
	if m.touched != nil {
		m.touched.renewed(key)
	}
	return v.send(ctx)
}

// choose takes the cookie options over that another request chose, so that the
// cookie sent now is not an older one. This one has chosen none, and is sealed.
func (s *Session) choose(r *record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.own = r.own
}

// sendable says before anything is stored whether its cookie could be sent
// (K8, K30).
func (v *Visit) sendable() error {
	if v.jar.Begun() {
		return ErrCommitted
	}
	if c := v.manager.cookie; c != nil {
		o := v.session.Cookie()
		return c.ready(v.jar, &o)
	}
	return nil
}

// send sends the id: only after the store has the session.
func (v *Visit) send(ctx context.Context) error {
	if v.jar.Begun() {
		return v.manager.report(ctx, OpCarrier, ErrCommitted)
	}
	if err := v.manager.carrier.Set(v.jar, v.session); err != nil {
		return v.manager.report(ctx, OpCarrier, err)
	}
	v.reissue, v.sent = false, true
	return nil
}

// withdraw takes an id that is dead by now out of the response: the browser may
// have got another one meanwhile. A Carrier of the user's can't do that.
func (v *Visit) withdraw() {
	if !v.sent {
		return
	}
	v.sent = false
	switch c := v.manager.carrier.(type) {
	case *signedCookie:
		v.jar.DropCookies(c.name)
		v.jar.DropCookies(c.sigName)
	case header:
		v.jar.SetResponseHeader(string(c), "")
	}
}

// sendReset makes the browser forget the id.
func (v *Visit) sendReset(ctx context.Context) error {
	if v.jar.Begun() {
		return v.manager.report(ctx, OpCarrier, ErrCommitted)
	}
	if err := v.manager.carrier.Reset(v.jar, v.session); err != nil {
		return v.manager.report(ctx, OpCarrier, err)
	}
	v.sent = false
	return nil
}
