package core

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"
)

// How a session reaches the store: saved, renewed, regenerated, destroyed.
// Everything here holds Session.op, so that one request does one of them at a
// time, and calls hooks and the store without holding Session.mu.

// Save stores the session now, if it has changed or SetSave forces it, and
// sends its cookie (generic-session's saveSession, K29). What is changed
// afterwards is saved at the end of the request. It is ErrGone if the session
// was destroyed meanwhile, and ErrConflict as Options.OnConflict says.
func (s *Session) Save(ctx context.Context) error {
	if err := s.mayStore(); err != nil {
		return err
	}
	if s.broken != nil {
		return s.broken
	}
	return s.visit.save(context.WithoutCancel(ctx), false)
}

// Destroy ends the session: it is removed from the store at once, and the
// browser told to forget it (K20). Reading gives no values any more and
// changes fail with ErrGone; Regenerate begins a new session.
//
// After an error the store may still have the session: the logout has to be
// tried again. The cookie is cleared all the same.
func (s *Session) Destroy(ctx context.Context) error {
	if err := s.mayStore(); err != nil {
		return err
	}
	s.op.Lock()
	defer s.op.Unlock()
	return s.visit.destroy(context.WithoutCancel(ctx))
}

// Regenerate destroys the session and begins a new, empty one with a new id,
// which is stored if something is put into it (K28). After an error the old
// session is as it was.
func (s *Session) Regenerate(ctx context.Context) error {
	if err := s.mayStore(); err != nil {
		return err
	}
	if s.broken != nil {
		return s.broken
	}
	s.op.Lock()
	defer s.op.Unlock()
	return s.visit.regenerate(context.WithoutCancel(ctx))
}

// Renew gives the session a new id and keeps its values. Call it whenever the
// user's rights grow, as at a login: an id that somebody planted before is
// worthless then (session fixation; ASVS 7.2.4). The session is saved under
// the new id at once and the old one is dead. After an error the old session
// is as it was, and the login must be refused.
func (s *Session) Renew(ctx context.Context) error {
	if err := s.mayStore(); err != nil {
		return err
	}
	if s.broken != nil {
		return s.broken
	}
	s.op.Lock()
	defer s.op.Unlock()
	return s.visit.renew(context.WithoutCancel(ctx))
}

// mayStore says why the store can't be changed now.
func (s *Session) mayStore() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.sealed:
		return ErrCommitted
	case s.saving:
		return errors.New("core: Save, Renew, Regenerate and Destroy can't be called from a hook")
	}
	return nil
}

func (s *Session) seal() {
	s.mu.Lock()
	s.sealed = true
	s.mu.Unlock()
}

// take makes s what the store has.
func (s *Session) take(id ID, stored record, version Version) {
	s.id, s.state, s.stored, s.version = id, live, stored, version
	s.cookie, s.then, s.complete = stored.cookie, stored.stricter, false
}

// save stores the session if there is a reason to. last means the end of the
// request.
func (v *Visit) save(ctx context.Context, last bool) error {
	s, m := &v.session, v.manager
	s.op.Lock()
	defer s.op.Unlock()
	s.mu.Lock()
	why, err := s.reason(last)
	s.mu.Unlock()
	switch {
	case err != nil:
		return m.report(ctx, OpSet, err)
	case why == nothing:
		return nil
	case why == reissue:
		return v.send(ctx)
	}
	if err := v.sendable(); err != nil {
		return m.report(ctx, OpCarrier, err)
	}
	if why == renewal && m.toucher != nil {
		return v.touch(ctx)
	}
	if err := v.beforeSave(ctx); err != nil {
		return m.report(ctx, OpBeforeSave, err)
	}
	s.mu.Lock()
	c, err := s.takeChange()
	s.sealed = s.sealed || last
	s.mu.Unlock()
	if err != nil {
		return m.report(ctx, OpSet, err)
	}
	c.must = why != change
	return v.write(ctx, c, last)
}

// beforeSave runs the hook (K23).
func (v *Visit) beforeSave(ctx context.Context) error {
	hook := v.manager.o.Hooks.BeforeSave
	if hook == nil {
		return nil
	}
	_, err := v.ask(func() (bool, error) { return true, hook(ctx, v.jar, &v.session) })
	return err
}

// A reason to save.
type reason uint8

const (
	nothing reason = iota
	reissue        // the store has it all, but the id came in an old form (K12)
	renewal        // rolling: nothing has changed
	change
	demand // SaveAlways, or a new empty session with AllowEmpty
)

// reason says why s is to be saved (K21, K22, K24, K26). mu is held.
func (s *Session) reason(last bool) (reason, error) {
	m := s.visit.manager
	if s.broken != nil || s.state == destroyed || s.save == SaveNever {
		return nothing, nil
	}
	changed, err := s.changed()
	switch {
	case err != nil:
		return nothing, err
	case s.save == SaveAlways:
		return demand, nil
	case changed:
		return change, nil
	case s.state == fresh:
		if m.o.AllowEmpty && last {
			return demand, nil
		}
	case last && m.o.Rolling && (m.touched == nil || m.touched.due(m.key(s.id))):
		return renewal, nil
	case last && s.visit.reissue:
		return reissue, nil
	}
	return nothing, nil
}

// changed compares s with what is stored. mu is held.
func (s *Session) changed() (bool, error) {
	if s.unknown {
		return true, nil
	}
	if s.ownSet && !slices.EqualFunc(s.cookie, s.storedCookie(), func(a, b member) bool {
		return bytes.Equal(a.name, b.name) && sameJSON(a.raw, b.raw)
	}) {
		return true, nil
	}
	if s.cleared {
		for i := range s.stored.members {
			if e := s.edit(string(s.stored.members[i].name)); e == nil || !e.own || e.raw == nil {
				return true, nil
			}
		}
	}
	for _, e := range s.edits {
		if err := e.settle(); err != nil {
			return false, err
		}
		if e.own && !sameJSON(e.raw, find(s.stored.members, e.name)) {
			return true, nil
		}
	}
	return false, nil
}

// storedCookie is the cookie object before this request.
func (s *Session) storedCookie() []member {
	if s.state == fresh {
		return s.visit.manager.blank
	}
	return s.stored.cookie
}

// A changeSet is what a request did, so that it can be done to whatever the
// store has by then. It is a copy: the session can go on meanwhile.
type changeSet struct {
	must    bool // write even if it changes nothing
	cleared bool
	values  []valueChange
	cookie  []member
	then    *demands
	ownSet  bool
	turn    int // of the session's cleared, cookie and ownSet
}

type valueChange struct {
	name    string
	raw     []byte // nil: deleted
	updates []update
	turn    int
}

// takeChange collects what s changed since it was loaded or saved. A value set
// to what it was is no change, and does not win over another request. mu is
// held.
func (s *Session) takeChange() (changeSet, error) {
	c := changeSet{cleared: s.cleared, cookie: s.cookie, then: s.then, ownSet: s.ownSet, turn: s.turn}
	for _, e := range s.edits {
		if err := e.settle(); err != nil {
			return c, err
		}
		if e.own && (s.cleared || s.unknown || e.updates != nil || !sameJSON(e.raw, find(s.stored.members, e.name))) {
			c.values = append(c.values, valueChange{e.name, e.raw, e.updates, e.turn})
		}
	}
	return c, nil
}

// applied lays the changes over base, which is not the one they were made on
// if again is set: then updates are computed anew. base is not changed.
func (c *changeSet) applied(base record, again bool) (record, error) {
	r := base
	r.members = nil
	if !c.cleared {
		r.members = make([]member, len(base.members), len(base.members)+len(c.values))
		copy(r.members, base.members)
	}
	for _, v := range c.values {
		raw := v.raw
		if again && v.updates != nil {
			raw = find(base.members, v.name)
			for _, f := range v.updates {
				var err error
				if raw, err = f(raw); err != nil {
					return r, err
				}
			}
		}
		if raw == nil {
			r.members = drop(r.members, v.name)
		} else {
			r.members = put(r.members, v.name, raw)
		}
	}
	if c.ownSet {
		r.cookie, r.stricter = c.cookie, c.then
	}
	return r, nil
}

const (
	saveTries = 40                     // before a conflict is given up
	saveTime  = 4                      // OpTimeouts that one save may take in all
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
// brought back (K23, decision 5).
func (v *Visit) write(ctx context.Context, c changeSet, last bool) error {
	s, m := &v.session, v.manager
	ctx, cancel := context.WithTimeout(ctx, saveTime*m.o.OpTimeout)
	defer cancel()
	err := v.store(ctx, &c)
	switch {
	case err == nil:
		return v.send(ctx)
	case errors.Is(err, errExpired): // K37
		return v.destroy(ctx)
	case errors.Is(err, ErrGone):
		v.gone()
		m.debug(ctx, "session is gone, nothing was saved", slog.Any("session", s.id))
		if last {
			return m.mention(ctx, OpSet, err)
		}
	case errors.Is(err, errNewID):
		return m.report(ctx, OpID, err)
	}
	return m.report(ctx, OpSet, err)
}

// gone notes that the store has the session no more.
func (v *Visit) gone() {
	s := &v.session
	s.mu.Lock()
	s.state = destroyed
	s.mu.Unlock()
}

// store is write without its consequences.
func (v *Visit) store(ctx context.Context, c *changeSet) error {
	s, m := &v.session, v.manager
	if s.state == fresh {
		return v.create(ctx, c)
	}
	key := m.key(s.id)
	base, version := s.stored, s.version
	// again: base is not what the changes were made on.
	again := s.unknown || version == 0 && m.swapper != nil
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
		}
		r, err := v.merged(c, base, again)
		if err != nil {
			return err
		}
		if again && !c.must && !s.unknown && sameRecord(&r, &base) {
			v.saved(c, r, version) // the other request did the same
			return nil
		}
		version, err = v.put(ctx, key, &r, version)
		switch {
		case err == nil:
			v.saved(c, r, version)
			return nil
		case errors.Is(err, ErrNotFound):
			return ErrGone
		case !errors.Is(err, ErrConflict) || m.o.OnConflict == ConflictRefuse:
			return err
		case try == saveTries:
			return fmt.Errorf("%w, %d times in a row", ErrConflict, try)
		}
		again = true
		m.debug(ctx, "session was saved by another request, trying again", slog.Any("session", s.id), slog.Int("try", try+1))
		if err := rest(ctx, try); err != nil {
			return err
		}
	}
}

// merged is the record to write: the changes over base. again means that base
// is another request's.
func (v *Visit) merged(c *changeSet, base record, again bool) (record, error) {
	s := &v.session
	if again && !s.unknown && v.manager.o.OnConflict == ConflictLastWriteWins {
		base, again = s.stored, false
	}
	return c.applied(base, again && !s.unknown)
}

// put encodes r and writes it under key, if key still has version.
func (v *Visit) put(ctx context.Context, key string, r *record, version Version) (Version, error) {
	m := v.manager
	ttl, over := m.ttl(&v.session, ownOptions(m.config, r.cookie, r.stricter), r.created, time.Now())
	if over {
		return 0, errExpired
	}
	data, err := r.encode(key, m)
	if err != nil {
		return 0, err
	}
	version, err = m.set(ctx, key, data, ttl, version)
	if err == nil && m.touched != nil {
		m.touched.renewed(key)
	}
	return version, err
}

// create stores a new session, never over one that is there.
func (v *Visit) create(ctx context.Context, c *changeSet) error {
	s, m := &v.session, v.manager
	id, err := s.needID()
	if err != nil {
		return fmt.Errorf("%w: %w", errNewID, err)
	}
	r, err := c.applied(record{created: s.stored.created, cookie: m.blank}, false)
	if err != nil {
		return err
	}
	version, err := v.put(ctx, m.key(id), &r, 0)
	if errors.Is(err, ErrConflict) {
		return fmt.Errorf("%w: the id is in use already, the generator repeats itself", errNewID)
	}
	if err != nil {
		return err
	}
	m.debug(ctx, "session created", slog.Any("session", id))
	v.saved(c, r, version)
	return nil
}

// createInstead stores a session that was replaced without being loaded under
// an id that the store turned out not to know: that id is not adopted (K48).
func (v *Visit) createInstead(ctx context.Context, c *changeSet) error {
	s := &v.session
	s.mu.Lock()
	s.id, s.state, s.unknown = "", fresh, false
	s.mu.Unlock()
	return v.create(ctx, c)
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
// changed meanwhile stays a change.
func (v *Visit) saved(c *changeSet, r record, version Version) {
	s := &v.session
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored, s.version, s.state, s.unknown = r, version, live, false
	if s.turn == c.turn {
		s.cleared, s.ownSet = false, false
		s.cookie, s.then, s.complete = r.cookie, r.stricter, false
	}
	for _, was := range c.values {
		e := s.edit(was.name)
		if e == nil || e.turn != was.turn {
			continue
		}
		e.own, e.raw, e.updates = false, nil, nil
		if e.held != nil && !bytes.Equal(e.from, find(r.members, was.name)) {
			e.held = nil // an update was computed again: Get must show its result
		}
	}
}

func sameRecord(a, b *record) bool {
	same := func(x, y member) bool { return bytes.Equal(x.name, y.name) && sameJSON(x.raw, y.raw) }
	return slices.EqualFunc(a.members, b.members, same) && slices.EqualFunc(a.cookie, b.cookie, same)
}

// rest waits before the next try: longer each time, and by chance, so that
// requests that met do not meet again.
func rest(ctx context.Context, try int) error {
	limit := min(firstRest<<min(try, 10), longRest)
	t := time.NewTimer(time.Duration(rand.Int64N(int64(limit))))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: no quiet moment to save in", ErrConflict)
	}
}

// touch begins the ttl of an unchanged session anew (K24).
func (v *Visit) touch(ctx context.Context) error {
	s, m := &v.session, v.manager
	ttl, over := m.ttl(s, s.Cookie(), s.stored.created, time.Now())
	if over {
		return v.destroy(ctx)
	}
	key := m.key(s.id)
	err := m.touch(ctx, key, ttl)
	switch {
	case errors.Is(err, ErrNotFound):
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

// destroy removes the session from the store and the browser. op is held.
func (v *Visit) destroy(ctx context.Context) error {
	s, m := &v.session, v.manager
	s.mu.Lock()
	was, id := s.state, s.id
	if s.broken != nil && id != "" {
		was = live // we could not read it, but we know its id
	}
	s.state = destroyed
	s.edits, s.cleared, s.stored.members = nil, true, nil
	held := s.save == SaveNever
	s.turn++
	s.mu.Unlock()
	if held || was != live {
		return nil
	}
	err := m.destroy(ctx, m.key(id))
	if err != nil {
		err = m.report(ctx, OpDestroy, err)
	}
	return errors.Join(err, v.sendReset(ctx)) // requirement 15: the cookie goes either way
}

// regenerate begins an empty session in place of this one. op is held.
func (v *Visit) regenerate(ctx context.Context) error {
	s, m := &v.session, v.manager
	s.mu.Lock()
	was, held := s.state, s.save == SaveNever
	s.mu.Unlock()
	id, err := m.newID(ctx)
	if err != nil {
		return m.insist(ctx, OpID, err)
	}
	if !held {
		if was == live {
			if err := m.destroy(ctx, m.key(s.id)); err != nil {
				return m.insist(ctx, OpDestroy, err)
			}
		}
		if err := v.sendReset(ctx); err != nil { // with the old cookie's attributes
			return err
		}
	}
	s.mu.Lock()
	s.reset()
	s.id = id
	s.turn++
	s.mu.Unlock()
	v.reissue = false
	return nil
}

// renew moves the session to a new id. op is held.
func (v *Visit) renew(ctx context.Context) error {
	s, m := &v.session, v.manager
	s.mu.Lock()
	state, held := s.state, s.save == SaveNever
	s.mu.Unlock()
	if state == destroyed {
		return ErrGone
	}
	if state == fresh || held {
		id, err := m.newID(ctx)
		if err != nil {
			return m.insist(ctx, OpID, err)
		}
		s.mu.Lock()
		s.id = id
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
	ctx, cancel := context.WithTimeout(ctx, 2*saveTime*m.o.OpTimeout)
	defer cancel()
	err = v.move(ctx, &c)
	switch {
	case err == nil:
		return v.send(ctx)
	case errors.Is(err, errExpired):
		err = errors.Join(ErrGone, v.destroy(ctx))
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
	s, m := &v.session, v.manager
	oldKey := m.key(s.id)
	base, version := s.stored, s.version
	again := s.unknown || version == 0 && m.swapper != nil
	for try := 0; ; try++ {
		if again {
			var err error
			if base, version, err = v.reread(ctx, oldKey); err != nil {
				return err
			}
		}
		r, err := v.merged(c, base, again)
		if err != nil {
			return err
		}
		id, err := m.newID(ctx)
		if err != nil {
			return fmt.Errorf("%w: %w", errNewID, err)
		}
		newKey := m.key(id)
		newVersion, err := v.put(ctx, newKey, &r, 0)
		if errors.Is(err, ErrConflict) {
			return fmt.Errorf("%w: the id is in use already, the generator repeats itself", errNewID)
		}
		if err != nil {
			return err
		}
		err = m.bury(ctx, oldKey, version)
		if err == nil {
			s.mu.Lock()
			s.id = id
			s.mu.Unlock()
			v.saved(c, r, newVersion)
			return nil
		}
		// The old id lives on, so the new one must not.
		err = errors.Join(err, m.destroy(ctx, newKey))
		switch {
		case errors.Is(err, ErrNotFound):
			return ErrGone
		case !errors.Is(err, ErrConflict) || m.o.OnConflict == ConflictRefuse || try == saveTries:
			return err
		}
		again = true
		if err := rest(ctx, try); err != nil {
			return err
		}
	}
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
	if err := v.manager.carrier.Set(v.jar, &v.session); err != nil {
		return v.manager.report(ctx, OpCarrier, err)
	}
	v.reissue = false
	return nil
}

// sendReset makes the browser forget the id.
func (v *Visit) sendReset(ctx context.Context) error {
	if v.jar.Begun() {
		return v.manager.report(ctx, OpCarrier, ErrCommitted)
	}
	if err := v.manager.carrier.Reset(v.jar, &v.session); err != nil {
		return v.manager.report(ctx, OpCarrier, err)
	}
	return nil
}
