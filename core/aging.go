package core

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/gensession/gensession/core/internal/record"
)

// Options.RenewAfter: a session gets a new id of itself. Unlike a login, this must
// not cost anybody the session: parallel requests carry the old id, and the answer
// with the new one may be lost. So the new id is at first a pointer to the record,
// which stays where it is (renewID). The first request that brings it moves the
// record to its key, and leaves a pointer in the other direction for RenewGrace
// (settle). Both pointers are tombstones that lead somewhere: where the record has
// been replaced by a tombstone meanwhile, by a login, a Renew, a Reset or a logout,
// they lead to no session.
//
// The record names the new id's key, so that of requests that run at the same time
// one makes it, and an older pointer that nobody has used leads nowhere.

// lead is where a tombstone leads: the end of a key, and until when, in Unix
// milliseconds; zero for no end.
type lead struct {
	to    string
	until int64
}

// leads reports whether the tombstone leads to a session. For a request that has
// loaded it in time, it does so as long as it stands there.
func (t *tombstone) leads(inTime bool) bool {
	return t != nil && t.lead.to != "" && (inTime || t.lead.until == 0 || time.Now().UnixMilli() < t.lead.until)
}

// line is that of a tombstone that leads somewhere.
func (l lead) line() []byte {
	line := append([]byte{'>'}, l.to...)
	if l.until != 0 {
		line = strconv.AppendInt(append(line, '@'), l.until, 10)
	}
	return line
}

// parseLead reads that line.
func parseLead(line string) (l lead, ok bool) {
	line, ok = strings.CutPrefix(line, ">")
	to, at, ends := strings.Cut(line, "@")
	if !ok || to == "" || !keyText(to) {
		return lead{}, false
	}
	if ends {
		var err error
		if l.until, err = strconv.ParseInt(at, 10, 64); err != nil {
			return lead{}, false
		}
	}
	l.to = to
	return l, true
}

// keyEnd is what of a key follows the prefix.
func (m *Manager) keyEnd(key string) string { return key[len(m.o.Prefix):] }

// find is look, and follows an id that was renewed of itself to the place of its
// session, which is then in at.
func (m *Manager) find(ctx context.Context, key string) (lookup, error) {
	s, err := m.look(ctx, key)
	return m.follow(ctx, key, s, err, false)
}

// findOf is find for id, whose key that is, and which may have to be taken over.
func (m *Manager) findOf(ctx context.Context, id ID, key string) (s lookup, err error) {
	err = m.findInto(ctx, &s, id, key)
	return s, err
}

// findInto is findOf for s, which is zero.
func (m *Manager) findInto(ctx context.Context, s *lookup, id ID, key string) error {
	err := m.lookInto(ctx, s, key)
	if err == nil && !s.record.Moved && !s.record.Old.Comes() {
		return nil // as nearly always
	}
	*s, err = m.follow(ctx, key, *s, err, false)
	*s, err = m.orTakenOver(ctx, id, key, *s, err)
	if s.at == "" {
		s.at = key
	}
	return err
}

// findAgain is find for a request that has loaded the session. It may have got
// several ids of itself since.
func (m *Manager) findAgain(ctx context.Context, key string) (lookup, error) {
	for hops := 0; ; hops++ {
		s, err := m.look(ctx, key)
		s, err = m.follow(ctx, key, s, err, true)
		t := s.tombstone
		if !errors.Is(err, ErrGone) || !t.leads(true) || t.key == key || hops == maxSuccessors {
			return s, err
		}
		key = t.key
	}
}

// follow goes on from what look has found under key.
func (m *Manager) follow(ctx context.Context, key string, s lookup, err error, inTime bool) (lookup, error) {
	s.at = key
	switch {
	case err == nil && s.record.Moved:
		// A store without a step for both keys: it may have stopped in between.
		to := m.o.Prefix + s.record.Next
		then, err := m.look(ctx, to)
		if t := then.tombstone; errors.Is(err, ErrGone) && t.leads(inTime) && m.o.Prefix+t.lead.to == key {
			then, err = m.finish(ctx, key, s, to, t)
		} else if err == nil && then.record.Created == s.record.Created { // before the last step
			ttl, _ := m.ttlOf(&entry{}, &then.record, time.Now())
			m.layToRest(withoutCancel(ctx), key, s.version, to, ttl, &then.record)
		}
		if err == nil && then.record.Created != s.record.Created { // that one has ended: see later
			return lookup{at: key, version: s.version}, ErrGone
		}
		return led(then, to, &tombstone{key: key, lead: lead{to: s.record.Next, until: 1}}), err
	case errors.Is(err, ErrGone) && s.tombstone.leads(inTime):
		by := s.tombstone
		to := m.o.Prefix + by.lead.to
		then, err := m.look(ctx, to)
		switch {
		case errors.Is(err, ErrGone) && by.lead.until == 0 && then.tombstone.leads(true) && m.o.Prefix+then.tombstone.lead.to == key:
			then, err = m.look(ctx, key) // it was moved between the two looks
			return led(then, key, nil), err
		case errors.Is(err, ErrGone) && then.tombstone == nil:
			then.tombstone, then.version = by, by.version // at least it is known that the id had been renewed
		case err == nil && by.lead.until == 0 && m.o.Prefix+then.record.Next != key:
			return lookup{at: key, tombstone: by, version: by.version}, ErrGone // a pointer that a later one has replaced
		case err == nil && by.lead.until != 0 && m.later(&then.record, by):
			return lookup{at: key, tombstone: by, version: by.version}, ErrGone
		case err == nil && then.record.Moved: // the first request that brought the id was interrupted
			then, err = m.finish(ctx, to, then, key, by)
			return led(then, key, nil), err
		}
		return led(then, to, by), err
	}
	return s, err
}

// later reports whether r began after the session that t, which is at rest, leads to
// had moved there: SetByID has made one of that id since.
func (m *Manager) later(r *record.Record, t *tombstone) bool {
	return r.Created >= t.lead.until-m.o.RenewGrace.Milliseconds()
}

// led is s, found under at by way of by.
func led(s lookup, at string, by *tombstone) lookup {
	s.at, s.by = at, by
	return s
}

// renewable reports whether a session with the record r may ever get a new id of
// itself, as hardly any does.
func (m *Manager) renewable(r *record.Record) bool {
	return m.o.RenewAfter != 0 || r.Cookie != nil && r.Cookie.Life != nil
}

// idDue reports whether a session with the options c and the record r is to get a
// new id: not while processes of another form read sessions, which follow no pointer.
func (m *Manager) idDue(c CookieOptions, r *record.Record) bool {
	after := m.limits(c, r.Cookie).renew
	return after > 0 && m.swapper != nil && m.dialect.marks() && (!m.migrates() || m.copies()) && age(max(r.Began(), r.Since), time.Now()) >= after
}

// renews reports whether the request ends with a new id of itself: it carries the
// one that the session has, and its response can carry another. op is held.
func (v *Visit) renews(ctx context.Context) bool {
	s, m := v.session, v.manager
	if !m.renewable(&s.stored) || s.state != live || s.notLoaded || s.place != atName || s.aged || !v.carries || m.o.InsecureIDFrom != nil || v.isNowhere() {
		return false
	}
	s.mu.Lock()
	due := s.save != SaveNever && s.login == nil && s.loadErr == nil && m.idDue(s.cookieOptions(), &s.stored)
	s.mu.Unlock()
	// While the session is not at the key of the id yet, that is the next one.
	return due && m.storeKey(&s.entry) == v.keyOf(s.id) && v.sendable(ctx) == nil
}

// errNotRenewed is why a session keeps its id: another request was faster.
var errNotRenewed = errors.New("another request renews the id")

// renewID makes a new id for e, which leads to where the record is. since is that of
// the record as the request has loaded it: one that came before another renewal does
// not end what that one has made. After an error e has its old id, which is as good.
func (m *Manager) renewID(ctx context.Context, e *entry, since int64) error {
	key := m.storeKey(e)
	if e.version == 0 {
		s, err := m.look(ctx, key)
		if err != nil {
			return err
		}
		if s.held != "" || s.record.Moved {
			return errNotRenewed
		}
		e.loaded(&s)
	}
	if e.aged || e.stored.Since != since || !m.idDue(m.dialect.withOwn(m.config, e.stored.Cookie), &e.stored) {
		return errNotRenewed
	}
	id, err := m.newID(ctx)
	if err != nil {
		return err
	}
	to, r := m.key(id), e.stored
	unused := r.Next
	r.Next, r.Since = m.keyEnd(to), time.Now().UnixMilli()
	text, ttl, err := m.prepare(e, key, &r)
	if err != nil {
		return err
	}
	version, err := m.pair(ctx,
		Write{Key: to, Data: m.tombstoneText(to, lead{to: m.keyEnd(key)}), TTL: pointerTTL(ttl), Note: true},
		Write{Key: key, Data: text, TTL: ttl, Version: e.version, Owner: m.listOf(&r)}, &r)
	if err != nil {
		return err
	}
	if unused != "" { // nobody has brought it since the last time
		m.replacePointer(ctx, m.o.Prefix+unused)
	}
	e.written(r, version)
	e.id = id
	m.dueAgain(key, ttl) // the answer may be lost: the next request prolongs the cookie again
	return nil
}

// replacedTTL is how long an id that nobody has used, and that was renewed once more,
// still leads a logout to the session: so a client that never takes the new id leaves
// but some of them behind.
const replacedTTL = 24 * time.Hour

// replacePointer leaves what a logout needs of a pointer that leads nowhere any more.
func (m *Manager) replacePointer(ctx context.Context, pointer string) {
	s, err := m.look(ctx, pointer)
	if t := s.tombstone; errors.Is(err, ErrGone) && t != nil {
		_ = m.setTombstone(ctx, pointer, m.tombstoneText(pointer, t.lead, t.others()...), replacedTTL, t.version, "")
	}
}

// pointerTTL is how long a new id waits for its first use, where the session lives for
// ttl: a request with the old one may prolong that meanwhile.
func pointerTTL(ttl time.Duration) time.Duration {
	if ttl == 0 { // for ever
		return 0
	}
	return max(ttl, DefaultMaxAge)
}

// pair makes a note and writes a record, in one step if the store can: else the
// note first, which is taken back if the record can't be written. It returns the
// version of the record.
func (m *Manager) pair(ctx context.Context, note, write Write, r *record.Record) (Version, error) {
	if m.batcher != nil {
		versions, err := m.batch(ctx, note, write)
		if err == nil {
			return versions[1], nil
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			return 0, err
		}
	}
	if _, err := m.set(ctx, note.Key, note.Data, note.TTL, note.Version); err != nil {
		return 0, err
	}
	version, err := m.setRecord(ctx, write.Key, write.Data, write.TTL, write.Version, r)
	if err != nil && !errors.Is(err, ErrOutcomeUnknown) {
		_ = m.destroy(ctx, note.Key)
	}
	return version, err
}

// settle moves the session that s has found by a new id to the key of that id. It
// does so once: if something comes between, the session goes on where it is, and
// the next request tries again.
func (m *Manager) settle(ctx context.Context, key string, s lookup) lookup {
	if s.by == nil || s.by.key != key || s.by.lead.until != 0 || s.held != "" || s.version == 0 {
		return s
	}
	ctx = withoutCancel(ctx)
	moved, err := m.move(ctx, s.at, s, key, s.by)
	if err != nil {
		m.debug(ctx, "session is not moved to its new id yet", slog.Any("error", err))
		return s
	}
	return led(moved, key, nil)
}

// rest is what stays under the key of an old id whose session has moved to key, and
// lives for ttl if it is not used: requests that have begun may take as long, up to
// DefaultMaxAge. One that prolongs the session learns where it is now.
func (m *Manager) rest(old, key string, ttl time.Duration) Write {
	end := time.Now().Add(m.o.RenewGrace)
	if ttl == 0 || ttl > DefaultMaxAge {
		ttl = DefaultMaxAge
	}
	return Write{
		Key: old, Data: m.tombstoneText(old, lead{to: m.keyEnd(key), until: end.UnixMilli()}),
		TTL: max(ttl, m.o.RenewGrace+tombstoneTTL), Note: true,
	}
}

// settled is r as it stands under the new id's key, and for how long. The id is in
// use from now on: so it is renewed no sooner than after the rest of the old one.
func (m *Manager) settled(key string, r record.Record) (record.Record, []byte, time.Duration, error) {
	r.Next, r.Moved, r.Since, r.Old = "", false, time.Now().UnixMilli(), 0
	ttl, over := m.ttlOf(&entry{}, &r, time.Now())
	if over {
		return r, nil, 0, errExpired
	}
	text, err := m.encode(&r, key)
	return r, text, ttl, err
}

// move takes the record that s has found under old to key, where the tombstone t
// leads to old.
func (m *Manager) move(ctx context.Context, old string, s lookup, key string, t *tombstone) (lookup, error) {
	r, text, ttl, err := m.settled(key, s.record)
	if err != nil {
		return s, err
	}
	if m.batcher != nil {
		rest, list := m.rest(old, key, ttl), m.listOf(&r)
		rest.Version, rest.Owner = s.version, list
		versions, err := m.batch(ctx, Write{Key: key, Data: text, TTL: ttl, Version: t.version, Owner: list}, rest)
		if err == nil {
			m.prolongedFrom(old, key, &r, ttl)
			return lookup{record: r, version: versions[0]}, nil
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			return s, err
		}
	}
	// One key after the other: from the first step on nobody saves the old record
	// any more, and whoever finds it finishes.
	marked := s.record
	marked.Moved = true
	before, err := m.encode(&marked, old)
	if err != nil {
		return s, err
	}
	version, err := m.set(ctx, old, before, ttl, s.version)
	if err != nil {
		return s, err
	}
	s.record, s.version = marked, version
	return m.finish(ctx, old, s, key, t)
}

// finish goes on after the first of those steps: old has a record that is marked.
// Somebody else may do the same.
func (m *Manager) finish(ctx context.Context, old string, s lookup, key string, t *tombstone) (lookup, error) {
	ctx = withoutCancel(ctx)
	r, text, ttl, err := m.settled(key, s.record)
	if err != nil {
		return s, err
	}
	version, err := m.enter(ctx, key, text, ttl, t.version, &r)
	switch {
	case errors.Is(err, ErrConflict), errors.Is(err, ErrNotFound), errors.Is(err, ErrOutcomeUnknown):
		then, err := m.look(ctx, key)
		if err != nil {
			return then, err
		}
		r, version = then.record, then.version
	case err != nil:
		return s, err
	}
	if s.version == 0 { // the store has not told that of the mark
		if then, err := m.look(ctx, old); err == nil && then.record.Moved && then.record.Next == s.record.Next {
			s.version = then.version
		}
	}
	m.layToRest(ctx, old, s.version, key, ttl, &r)
	m.prolongedFrom(old, key, &r, ttl)
	return lookup{record: r, version: version}, nil
}

// layToRest ends the old id of r, which has moved to key and lives for ttl. The mark at
// version is as good, but has no end of its own: who finds it later does this.
func (m *Manager) layToRest(ctx context.Context, old string, version Version, key string, ttl time.Duration, r *record.Record) {
	if version == 0 {
		return
	}
	rest := m.rest(old, key, ttl)
	if _, err := m.set(ctx, old, rest.Data, rest.TTL, version); err == nil {
		m.disown(ctx, m.listOf(r), old)
	}
}

// keepsQuiet reports whether the response must not carry the session's id: the browser
// has another one, or is about to get it. That answer may be lost, so this one is sent
// all the same where the cookie would end before the session, or is to end with the
// browser from now on. Where it takes the place of the new one, that has a copy, which a
// Carrier of the user's has not. op is held.
func (v *Visit) keepsQuiet() bool {
	s, m := v.session, v.manager
	switch e := &s.entry; {
	case e.aged:
		return true
	case e.stored.Next == "" || m.o.Prefix+e.stored.Next == m.key(e.id):
		return false
	case age(e.stored.Since, time.Now()) >= m.o.RenewGrace:
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.cookieOptions()
	return m.cookie == nil || s.cookieRev == 0 && s.expiry(&o).IsZero()
}
