package core

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/gensession/gensession/core/internal/record"
)

// An entry is a session as the store has it, as far as this request knows. The
// steps that reach the store work on a copy: they change it as they learn more,
// and the session takes the copy over afterwards.
type entry struct {
	id      ID
	key     string        // of id in the store, "" if not made yet
	givenUp *tombstone    // of the ids that came with the request and were given up for another
	stored  record.Record // as it was loaded or last saved
	version Version       // of stored; zero if unknown
	wrote   int64         // when the store was written last, in Unix nanoseconds
	lasts   time.Duration // how long it keeps that; zero for ever, or if wrote is zero

	unknownWrite *unknownWrite // a save that had no answer

	unended *[]target // whose end the store has not confirmed; nil for none, as mostly

	state     state
	place     place // the cookie that carries the id; of a late request not the first, which may be another one's by now
	aged      bool  // id has only its rest, since the session has another one of itself: it is not sent any more
	notLoaded bool  // what is stored has not been read: Visit.Replace or Visit.Destroy
	successor bool  // an id was given up for this one, which is not stored yet
	met       bool  // a save has met that of another request, which nobody has told yet
}

type state uint8

const (
	fresh state = iota // not in the store
	live               // in the store, as far as we know
	destroyed
)

// An unknownWrite is a save that had no answer.
type unknownWrite struct {
	changes changeSet
	record  record.Record
}

// storeKey is where the store keeps e.
func (m *Manager) storeKey(e *entry) string {
	if e.key == "" {
		e.key = m.key(e.id)
	}
	return e.key
}

// written makes e what was written.
func (e *entry) written(r record.Record, version Version) {
	e.stored, e.version, e.state, e.notLoaded, e.unknownWrite = r, version, live, false, nil
}

// moved notes where the session of e was found, which may have got another id of
// itself meanwhile.
func (e *entry) moved(s lookup) {
	if s.at != "" && s.at != e.key {
		e.key, e.aged = s.at, s.by != nil && s.by.lead.until != 0
	}
}

const (
	maxTries  = 40                     // before a conflict is given up
	triesTime = 10                     // OpTimeouts that all tries may take together
	firstRest = 250 * time.Microsecond // before the second try
	longRest  = 16 * time.Millisecond
)

// Errors that the steps tell apart.
var (
	errNewID   = errors.New("no new id")
	errExpired = errors.New("the session's time is over")

	// errOvertaken is the outcome when nobody can tell whether a save without an
	// answer is in what the store has.
	errOvertaken = fmt.Errorf("%w: an earlier save of this request had no answer, and the session has been saved since", ErrOutcomeUnknown)
)

// tries bounds how often a write is tried that meets others, in number and in
// time. The time counts from the first conflict.
type tries struct {
	manager *Manager
	n       int
	end     time.Time

	held  string    // who holds the session, as far as this request has seen
	since time.Time // when it saw that first
}

// until is when the time for all tries is over.
func (t *tries) until() time.Time {
	if t.end.IsZero() {
		t.end = time.Now().Add(triesTime * t.manager.o.OpTimeout)
	}
	return t.end
}

// next counts one more try, and waits before it: longer each time, and by chance,
// so that requests that met do not meet again. It is an ErrConflict when there
// have been enough.
func (t *tries) next() error {
	if t.n == maxTries {
		return fmt.Errorf("%w, %d times in a row", ErrConflict, t.n)
	}
	t.n++
	if t.n == 1 { // the least rest would take longer than the call
		t.until()
		return nil
	}
	return t.rest()
}

// rest waits as long as belongs before a next look.
func (t *tries) rest() error {
	t.until()
	time.Sleep(time.Duration(rand.Int64N(int64(min(firstRest<<min(t.n, 10), longRest))))) // #nosec G404 -- only apart from the others
	if time.Now().After(t.end) {
		return fmt.Errorf("%w, and there was no quiet moment to save in", ErrConflict)
	}
	return nil
}

// read gets the record under key: ErrGone if there is none.
func (m *Manager) read(ctx context.Context, key string) (record.Record, Version, error) {
	s, err := m.look(ctx, key)
	return s.record, s.version, err
}

// write stores e with the changes c. A write of another request in between is
// met as OnConflict says; what is gone is not brought back (K23, DESIGN:
// versions). A write without an answer that met an outage is looked into when
// the store is back, and made again if it did not come through.
func (m *Manager) write(ctx context.Context, e *entry, c *changeSet) error {
	before := e.unknownWrite
	err := m.writeOnce(ctx, e, c)
	tries := tries{manager: m}
	for back := false; ; err = m.writeOnce(ctx, e, c) {
		if back, err = m.back(ctx, e, err, &tries); !back {
			break
		}
	}
	if e.unknownWrite != before && e.unknownWrite != nil && m.again(ctx, err) {
		var applied bool
		if applied, err = m.resolve(ctx, e); !applied && err == nil {
			err = m.writeOnce(ctx, e, c)
		}
	}
	return err
}

// back looks again for the session of e where err is ErrGone: it reports whether it is
// there, since a process of the old place had taken it there. Else it returns err, or why
// nobody can tell.
func (m *Manager) back(ctx context.Context, e *entry, err error, t *tries) (bool, error) {
	if !errors.Is(err, ErrGone) || e.state != live || m.swapper == nil || !m.migrates() {
		return false, err
	}
	s, err := m.findOf(ctx, e.id, m.storeKey(e))
	if err == nil {
		err = t.next()
	}
	if err != nil {
		return false, err
	}
	e.moved(s)
	e.version = 0 // somebody may have changed it there
	return true, nil
}

func (m *Manager) writeOnce(ctx context.Context, e *entry, c *changeSet) error {
	if e.notLoaded {
		if err := m.load(ctx, e, c.began); err != nil {
			return err
		}
	}
	if e.state == fresh {
		if m.cookie == nil && e.givenUp.isLate() {
			return ErrGone // the browser has a session by now, whose id this one's would replace
		}
		return m.create(ctx, e, c)
	}
	return m.overwrite(ctx, e, c)
}

// overwrite stores e, which the store has already.
func (m *Manager) overwrite(ctx context.Context, e *entry, c *changeSet) error {
	key := m.storeKey(e)
	reread := e.version == 0 && m.swapper != nil // what is stored may be another request's
	tries := tries{manager: m}
	var turn *turn
	defer func() { turn.leave() }()
	if m.queue.waiting(key) { // this request would meet those that wait
		var err error
		if turn, err = m.queue.enter(key, tries.until(), m.o.MaxWaiters); err != nil {
			return err
		}
		reread = true
	}
	for {
		base, version, err := m.base(ctx, e, c, key, reread, &tries)
		if err != nil {
			return err
		}
		key = m.storeKey(e)
		d, err := m.draft(e, c, base, key, reread, turn, &tries)
		if d.same && err == nil {
			e.written(d.record, version)
			return nil
		}
		if err == nil {
			version, err = m.setRecord(ctx, key, d.text, d.ttl, version, &d.record)
		}
		switch {
		case err == nil:
			m.prolonged(key, &d.record, d.ttl)
			e.written(d.record, version)
			return nil
		case err == errExpired && !reread && m.swapper != nil:
			reread = true // another request may have prolonged it
			continue
		case !errors.Is(err, ErrConflict), errors.Is(err, errCrowd):
			return e.failed(c, d.record, err)
		case c.why == renewal:
			return m.prolongedByAnother(ctx, e, key)
		case e.unknownWrite != nil && c.updates():
			return errOvertaken
		}
		reread, e.met = true, true
		if err := tries.next(); err != nil {
			return err
		}
		if turn == nil {
			if turn, err = m.queue.enter(key, tries.until(), m.o.MaxWaiters); err != nil {
				return err
			}
		}
	}
}

// A draft is what a save is about to write.
type draft struct {
	record record.Record
	text   []byte
	ttl    time.Duration
	same   bool // another request has written it already
}

// draft makes the draft of c over base. Code of the user runs without the turn.
func (m *Manager) draft(e *entry, c *changeSet, base record.Record, key string, reread bool, turn *turn, t *tries) (d draft, err error) {
	if turn == nil || !c.updates() && m.o.TTLFunc == nil {
		return m.drafted(e, c, base, key, reread)
	}
	err = turn.away(func() (err error) {
		d, err = m.drafted(e, c, base, key, reread)
		return err
	}, t.until())
	return d, err
}

func (m *Manager) drafted(e *entry, c *changeSet, base record.Record, key string, reread bool) (d draft, err error) {
	if d.record, err = m.rebase(e, c, base, key, reread); err != nil {
		return d, err
	}
	if d.same = reread && (c.why == change || c.why == taking) && record.Same(&d.record, &base); d.same {
		return d, nil
	}
	d.text, d.ttl, err = m.prepare(e, key, &d.record)
	return d, err
}

// base is what the changes c are laid over: what e was made from, or with reread
// what the store has by now, unless ConflictRefuse forbids to go on with it.
func (m *Manager) base(ctx context.Context, e *entry, c *changeSet, key string, reread bool, t *tries) (record.Record, Version, error) {
	if !reread {
		return e.stored, e.version, nil
	}
	s, err := m.lookToWrite(ctx, key, "", t)
	switch {
	case err != nil:
	case s.record.Old.Comes(): // it was taken away, and comes back: see Manager.back
		err = ErrGone
	default:
		if e.moved(s); m.refuses(e, c, &s.record) {
			err = ErrConflict
		}
	}
	return s.record, s.version, err
}

// failed is the error of a write of r that was no conflict.
func (e *entry) failed(c *changeSet, r record.Record, err error) error {
	switch {
	case errors.Is(err, ErrNotFound):
		return ErrGone
	case errors.Is(err, ErrOutcomeUnknown):
		e.unknownWrite = &unknownWrite{*c, r}
	}
	return err
}

// load reads what is stored under the id of a session that was replaced without
// being loaded. An id that the store turns out not to know is not adopted: the
// session becomes a new one (K48). began is when the request did, as an age of the
// manager.
func (m *Manager) load(ctx context.Context, e *entry, began time.Duration) error {
	key := m.storeKey(e)
	s, err := m.findOf(ctx, e.id, key)
	switch {
	case errors.Is(err, ErrGone):
		id, err := m.newID(ctx)
		if err != nil {
			return fmt.Errorf("%w: %w", errNewID, err)
		}
		*e = entry{id: id, stored: record.Record{Created: time.Now().UnixMilli()}}
		e.unknown(key, s.tombstone, m.longAgo(began))
		return nil
	case err != nil:
		return err
	}
	e.loaded(&s)
	e.moved(s)
	e.notLoaded = false
	return nil
}

// unknown notes that key leads to no session, and what stands there, and under other
// ids of the request. If that is nothing, but the request began so long ago that a
// tombstone may have passed since, the id may have been given up.
func (e *entry) unknown(key string, t *tombstone, longAgo bool) {
	if t == nil && longAgo {
		t = &tombstone{key: key, late: true}
	}
	if e.givenUp, e.place = t, atName; t != nil {
		e.place = atLate
	}
}

// longAgo reports whether a tombstone that stood there at that age of the manager
// may have passed by now.
func (m *Manager) longAgo(began time.Duration) bool { return time.Since(m.born)-began > deferredLook }

// loaded makes e what was found. A version that is held is none to write with.
func (e *entry) loaded(s *lookup) {
	if e.stored, e.version = s.record, s.version; s.held != "" {
		e.version = 0
	}
}

// prolongedByAnother ends a renewal that met a write of another request: the
// session has its whole life again.
func (m *Manager) prolongedByAnother(ctx context.Context, e *entry, key string) error {
	s, err := m.findAgain(ctx, key)
	if err == nil {
		e.moved(s)
		e.written(s.record, s.version)
		e.wrote, e.lasts = 0, 0 // the cookie lives as long as what the other has chosen
	}
	return err
}

// refuses reports whether ConflictRefuse forbids to go on with base, which is
// not what the session was made from.
func (m *Manager) refuses(e *entry, c *changeSet, base *record.Record) bool {
	if m.o.OnConflict != ConflictRefuse || c.blind || c.why == taking {
		return false
	}
	stored := e.stored
	return !record.Same(base, &stored)
}

// rebase is the record to write under key: the changes over base. reread means
// that base is another request's.
func (m *Manager) rebase(e *entry, c *changeSet, base record.Record, key string, reread bool) (record.Record, error) {
	if reread && !c.blind && c.why != renewal && c.why != taking && m.o.OnConflict == ConflictLastWriteWins {
		id := base // what became of it meanwhile
		base, reread = e.stored, false
		base.Next, base.Moved, base.Since = id.Next, id.Moved, id.Since
	}
	return c.applied(base, key, reread)
}

// prepare is the text of r under key, and how long the store keeps it: errExpired
// if its time is over.
func (m *Manager) prepare(e *entry, key string, r *record.Record) (text []byte, ttl time.Duration, err error) {
	now := time.Now()
	ttl, over := m.ttlOf(e, r, now)
	e.wrote, e.lasts = now.UnixNano(), ttl // for the cookie that is sent for it
	if over {
		return nil, 0, errExpired
	}
	if r.Owned != nil {
		r.Used = now.UnixMilli()
	}
	text, err = m.encode(r, key)
	return text, ttl, err
}

// put encodes r and writes it under key, if key still has version.
func (m *Manager) put(ctx context.Context, e *entry, key string, r *record.Record, version Version) (Version, error) {
	text, ttl, err := m.prepare(e, key, r)
	if err != nil {
		return 0, err
	}
	if version, err = m.setRecord(ctx, key, text, ttl, version, r); err == nil {
		m.prolonged(key, r, ttl)
	}
	return version, err
}

// encode returns the bytes to store, behind the key, if they are within MaxSize.
// Nobody writes into them any more: a keeper has them for good, and another
// store may be late with them.
func (m *Manager) encode(r *record.Record, key string) (text []byte, err error) {
	if text, err = m.dialect.encode(r, key); err != nil {
		return nil, err
	}
	if m.sealer != nil {
		if text, err = m.sealer.seal(text, key); err != nil {
			return nil, err
		}
	}
	if size := len(text) - len(key); size > m.o.MaxSize {
		return nil, fmt.Errorf("%w: %d bytes, Options.MaxSize is %d", ErrTooLarge, size, m.o.MaxSize)
	}
	return text, nil
}

// fits is ErrTooLarge if data, without the blanks of holds, exceeds MaxSize.
func (m *Manager) fits(data []byte) error {
	if len(data) > m.o.MaxSize && len(bytes.TrimRight(data, " \t")) > m.o.MaxSize {
		return fmt.Errorf("%w: %d bytes, Options.MaxSize is %d", ErrTooLarge, len(data), m.o.MaxSize)
	}
	return nil
}

// decode makes r what the bytes say that the store has under key. It keeps
// parts of data. One that is too large is not looked at, whoever wrote it (W44):
// it would be copied and gone through for each request.
func (m *Manager) decode(r *record.Record, data []byte, key string) (err error) {
	if err := m.fits(data); err != nil {
		return err
	}
	if m.sealer != nil {
		if data, err = m.sealer.open(data, key); err != nil {
			return err
		}
	} else if len(data) > 0 && data[0] == sealMark {
		return errSealed
	}
	return m.dialect.parse(r, data, key)
}

// prolonged notes that key, which has r, has its whole life again, which is ttl. The answer
// may be lost, and the browser's cookie ends when the life before would have. Where that is
// near, what was noted before stays until then, so that the next answers prolong the cookie
// as well: whoever has it afterwards has got one of them.
func (m *Manager) prolonged(key string, r *record.Record, ttl time.Duration) {
	m.prolongedFrom(key, key, r, ttl)
}

// prolongedFrom is prolonged for a session that was under the key was.
func (m *Manager) prolongedFrom(was, key string, r *record.Record, ttl time.Duration) {
	seen := m.touched.Load()
	if m.rolling || r.Cookie.Lives().Idle > 0 {
		seen = m.recently()
	}
	if seen == nil {
		return
	}
	if since, known := seen.since(was, time.Now()); known && since < ttl && ttl-since < ttl/4+m.touchEvery(ttl) &&
		!m.limits(m.dialect.withOwn(m.config, r.Cookie), r.Cookie).closes {
		seen.carryOver(was, key)
		return
	}
	seen.renewed(key)
}

// dueAgain makes that the next request prolongs key, which lives for ttl.
func (m *Manager) dueAgain(key string, ttl time.Duration) {
	if seen := m.touched.Load(); seen != nil && !seen.due(key, time.Now(), m.touchEvery(ttl)) {
		seen.forget(key)
	}
}

// create stores a new session, never over one that is there.
func (m *Manager) create(ctx context.Context, e *entry, c *changeSet) error {
	key := m.storeKey(e)
	r, err := c.applied(record.Record{Created: e.stored.Created, Cookie: m.blank}, key, false)
	if err != nil {
		return err
	}
	version, err := Version(0), m.unused(ctx, key)
	if err == nil {
		version, err = m.put(ctx, e, key, &r, 0)
	}
	switch {
	case err == nil:
		e.written(r, version)
		return nil
	case errors.Is(err, ErrConflict) && e.unknownWrite != nil:
		return errOvertaken
	case err == errOvertakenByEnd:
		return err
	case errors.Is(err, ErrConflict):
		return errIDInUse
	}
	return e.failed(c, r, err)
}

// unused is ErrConflict if there is something under the key of a new id. Where the
// store has versions, writing finds that out; the default generator does not repeat
// itself (W10).
func (m *Manager) unused(ctx context.Context, key string) error {
	if m.swapper != nil || m.o.NewID == nil {
		return nil
	}
	switch _, _, err := m.get(ctx, key); {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil && !errors.Is(err, ErrCorrupt):
		return err
	}
	return ErrConflict
}

var errIDInUse = fmt.Errorf("%w: the id is in use already, the generator repeats itself", errNewID)

// resolve finds out what became of a save without an answer, before anything
// else is saved, or an update in it could be applied twice. One that is not
// there may still come, so the doubt stays until another save has come through.
func (m *Manager) resolve(ctx context.Context, e *entry) (applied bool, err error) {
	d := e.unknownWrite
	if d == nil || e.state == destroyed {
		return false, nil
	}
	s, err := m.findAgain(withoutCancel(ctx), m.storeKey(e))
	r, version := s.record, s.version
	if err == nil {
		e.moved(s)
	}
	switch {
	case errors.Is(err, ErrGone) && e.state == fresh:
	case errors.Is(err, ErrGone):
		return false, err
	case err != nil: // it is still not known whether that save came through
		return false, fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	case record.Same(&r, &d.record) && (e.state == fresh || r.Fence == d.record.Fence): // KoaCompat keeps no fence
		e.written(r, version)
		return true, nil
	case e.state == fresh || version != e.version:
		return false, errOvertaken
	}
	return false, nil
}

// prolong begins the ttl of an unchanged session anew (K24). Another request may
// have saved the session meanwhile and chosen another life for it, which a
// touch from here must not take back. A Batcher writes the record as it is, if it
// still has its version. A touch compares no version: there we look afterwards, and
// give the session the life that it should have. errExpired means that its time is
// over; other, that e is what another request has saved.
func (m *Manager) prolong(ctx context.Context, e *entry) (other bool, err error) {
	over := m.lives(e)
	// Another request may have prolonged it, or hold it.
	reread := m.swapper != nil && (over || e.version == 0 && m.toucher == nil)
	tries := tries{manager: m}
	for range maxTries {
		if reread {
			if err := m.reload(ctx, e, &tries); err != nil {
				return other, err
			}
			other, over = true, m.lives(e)
		}
		if over {
			return other, errExpired
		}
		if m.batcher != nil && e.version != 0 {
			err = m.writeAsItIs(ctx, e)
			if reread = errors.Is(err, ErrConflict); reread {
				continue
			}
			if err != nil {
				return other, err
			}
			break
		}
		key := m.storeKey(e)
		met, err := m.touchAndLook(ctx, e)
		if err != nil {
			return other, err
		}
		if !met {
			break
		}
		other, over, reread = true, m.lives(e), false
		if e.version == 0 && e.key == key { // its id is about to be given up
			break
		}
	}
	m.prolonged(m.storeKey(e), &e.stored, e.lasts)
	return other, nil
}

// lives begins the life of e anew, and reports whether its time is over.
func (m *Manager) lives(e *entry) (over bool) {
	now := time.Now()
	ttl, over := m.ttlOf(e, &e.stored, now)
	e.wrote, e.lasts = now.UnixNano(), ttl
	return over
}

// reload makes e what the store has by now.
func (m *Manager) reload(ctx context.Context, e *entry, t *tries) error {
	s, err := m.findAgain(ctx, m.storeKey(e))
	if err == nil && s.held != "" && m.toucher == nil { // it can only be written
		if s, err = m.lookToWrite(ctx, s.at, "", t); err == nil {
			s.held = ""
		}
	}
	if err != nil {
		return err
	}
	e.loaded(&s)
	e.moved(s)
	return nil
}

// writeAsItIs stores e for its life, if it still has its version.
func (m *Manager) writeAsItIs(ctx context.Context, e *entry) error {
	if e.stored.Owned != nil {
		e.stored.Used = time.Unix(0, e.wrote).UnixMilli()
	}
	key := m.storeKey(e)
	text, err := m.encode(&e.stored, key)
	if err != nil {
		return err
	}
	version, err := m.setRecord(ctx, key, text, e.lasts, e.version, &e.stored)
	switch {
	case errors.Is(err, ErrNotFound):
		return ErrGone
	case err != nil:
		return err
	}
	e.version = version
	return nil
}

// touchAndLook touches e, and looks what that was, if the store has versions. met means
// that another request has saved the session, or that it has another id of itself: e is
// that now.
func (m *Manager) touchAndLook(ctx context.Context, e *entry) (met bool, err error) {
	key := m.storeKey(e)
	switch err := m.touch(ctx, key, e.lasts); {
	case errors.Is(err, ErrNotFound):
		return false, ErrGone
	case err != nil:
		return false, err
	}
	m.prolongHint(ctx, key, &e.stored, e.lasts)
	if m.swapper == nil {
		return false, nil
	}
	s, err := m.findAgain(ctx, key)
	for _, t := range []*tombstone{s.tombstone, s.by} { // which the touch has given the life of a session
		if t != nil && t.key == key && t.version != 0 {
			_ = m.setTombstone(ctx, key, m.tombstoneText(key, t.lead, t.others()...), m.lasts(t), t.version, "")
		}
	}
	switch {
	case errors.Is(err, ErrGone):
		return false, err
	case err != nil, s.at == key && s.version == e.version:
		return false, nil
	}
	e.moved(s)
	e.loaded(&s)
	return true, nil
}
