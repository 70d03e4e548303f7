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

	"github.com/gensession/gensession/core/internal/record"
)

// How an id is given up for another one, so that there are never two usable ids
// after success, nor none after an error.
//
// Requests that save the session meanwhile can't hinder it: after the first
// conflict it holds the session, which keeps their saves back for a moment. Of
// several requests that give up one id, one succeeds.

// A lookup is what the store has under a key.
type lookup struct {
	record    record.Record
	version   Version
	held      string     // not "" while a request is about to give the id up: see hold
	tombstone *tombstone // in place of a record
	corrupt   bool       // something that is no record

	at string     // where it is, and
	by *tombstone // by way of which, if it was found under a key that leads there: see find
}

// nothing reports whether err is that of a look that found no trace of a session: it may
// be in the old place.
func (s *lookup) nothing(err error) bool {
	return errors.Is(err, ErrGone) && s.tombstone == nil && (s.version == 0 || s.record.Old == record.Left)
}

// look reads key: ErrGone if there is no session.
func (m *Manager) look(ctx context.Context, key string) (s lookup, err error) {
	err = m.lookInto(ctx, &s, key)
	return s, err
}

// lookInto is look for s, which is zero. A lookup is large, and read in every
// request.
func (m *Manager) lookInto(ctx context.Context, s *lookup, key string) error {
	data, version, err := m.get(ctx, key)
	return m.seeInto(s, key, data, version, err)
}

// see is what data, version and err say, with which a store has answered.
func (m *Manager) see(key string, data []byte, version Version, err error) (s lookup, _ error) {
	err = m.seeInto(&s, key, data, version, err)
	return s, err
}

func (m *Manager) seeInto(s *lookup, key string, data []byte, version Version, err error) error {
	s.at, s.version = key, version
	switch {
	case err == nil && string(data) == leftText:
		s.record.Old = record.Left
		return ErrGone
	case err == nil && isTombstone(data):
		if t := m.parseTombstone(key, data, version); len(t.successors) > 0 { // else it was a removal
			s.tombstone = t
		}
		return ErrGone
	case err == nil:
		s.held = heldBy(data)
		err = m.decode(&s.record, data, key)
		s.corrupt = err != nil
	case errors.Is(err, ErrNotFound):
		return ErrGone
	}
	return err
}

// hold makes that nobody else saves the session under key for a moment, and
// returns it: everybody's version is outdated by the blanks that it appends, and
// who reads them waits. To generic-session they say nothing. Nobody has to take
// them away: they hold for holdFor, and any write replaces them.
//
// A store that can't append is only read. The blanks are mine: another request
// has held the session since if they are not those of s.
func (m *Manager) hold(ctx context.Context, key string) (s lookup, mine string, err error) {
	if m.batcher == nil {
		s, err = m.findAgain(ctx, key)
		return s, "", err
	}
	suffix := appendBlanks(make([]byte, 0, blanks))
	data, version, err := m.append(ctx, key, suffix)
	if errors.Is(err, ErrOutcomeUnknown) {
		s, err = m.look(ctx, key) // which tells
	} else {
		s, err = m.see(key, data, version, err)
	}
	if err == nil && s.record.Moved || errors.Is(err, ErrGone) && s.tombstone.leads(true) {
		s, err = m.findAgain(ctx, key)
		return s, "", err // it is not held there
	}
	return s, string(suffix), err
}

// release ends a hold that did not lead to anything, as well as it goes. Else those
// that wait go on after holdFor.
func (m *Manager) release(ctx context.Context, e *entry, key, mine string, err error) {
	if mine == "" || err == nil || errors.Is(err, ErrGone) {
		return
	}
	if now, err := m.look(ctx, key); err == nil && now.held == mine {
		f := *e
		_, _ = m.put(ctx, &f, key, &now.record, now.version)
	}
}

// holdFor is how long a hold is respected by a request that sees it. It counts
// by the clock of that request alone.
func (m *Manager) holdFor() time.Duration { return 3 * m.o.OpTimeout }

// heldBy are the blanks that hold appended last, "" if there are none.
func heldBy(data []byte) string {
	if n := len(data) - blanks; n > 0 && (data[n] == ' ' || data[n] == '\t') && len(bytes.TrimRight(data[n:], " \t")) == 0 {
		return string(data[n:])
	}
	return ""
}

// lookToWrite is look for a request that is about to write: it waits while
// somebody else holds the session. A hold with the blanks mine is its own.
func (m *Manager) lookToWrite(ctx context.Context, key string, mine string, t *tries) (lookup, error) {
	for {
		s, err := m.findAgain(ctx, key)
		if err != nil || s.held == "" || s.held == mine {
			return s, err
		}
		if t.held != s.held {
			t.held, t.since = s.held, time.Now()
		}
		if time.Since(t.since) > m.holdFor() {
			return s, nil // whoever held it does not come any more
		}
		if err := t.rest(); err != nil {
			return s, err
		}
	}
}

// changeID moves e with the changes c to a new id: the record comes under an id
// that nobody knows yet, and a tombstone in place of the old one. It is ErrGone
// if another request has ended the session or given it another id. admit, if it is not
// nil, is that of a login.
func (m *Manager) changeID(ctx context.Context, e *entry, c *changeSet, admit *admission) (err error) {
	if err := m.dropOther(ctx, e); err != nil {
		return err
	}
	oldKey := m.storeKey(e)
	now := lookup{record: e.stored, version: e.version}
	reread := e.notLoaded || e.version == 0 && m.swapper != nil
	mine, held := "", false
	defer func() { m.release(ctx, e, oldKey, mine, err) }()
	for tries := (tries{manager: m}); ; {
		if reread && !held {
			if now, err = m.lookToWrite(ctx, oldKey, mine, &tries); err != nil {
				return err
			}
			e.moved(now)
			oldKey = now.at
		}
		r, err := c.applied(now.record, oldKey, reread && !c.blind)
		if err != nil {
			return err
		}
		old := former{key: oldKey, version: now.version, list: m.listOf(&now.record), login: c.login != 0, admit: admit}
		if admit != nil {
			old.serial = ownerOf(now.record.Owned).Serial
		}
		err = m.exchange(ctx, e, old, &r)
		switch {
		case err == nil:
			return nil
		case err == errExpired && !reread && m.swapper != nil:
			reread = true // another request may have prolonged it
			continue
		case errors.Is(err, ErrNotFound):
			return ErrGone
		case !errors.Is(err, ErrConflict) || errors.Is(err, errNewID):
			return err
		case e.unknownWrite != nil && c.updates():
			return errOvertaken
		}
		if met, ok := errors.AsType[*Conflict](err); ok && isTombstone(met.Data) && !m.parseTombstone(oldKey, met.Data, 0).leads(true) {
			return ErrGone
		}
		e.met = true
		if err := tries.next(); err != nil {
			return err
		}
		// If it was held, another request has held it since. That one is waited
		// for: what it leaves says how it ended.
		reread, held = true, false
		if mine == "" {
			if now, mine, err = m.hold(ctx, oldKey); err != nil {
				return err
			}
			e.moved(now)
			oldKey, held = now.at, now.held == mine
		}
	}
}

// A former is the session whose id is given up.
type former struct {
	key     string
	version Version
	list    string     // of its owner
	login   bool       // by a login
	admit   *admission // asks whether another one may come in its place; nil if nobody does
	serial  string     // its own, for that
}

// exchange makes r the session of a new id, in place of the former one.
func (m *Manager) exchange(ctx context.Context, e *entry, old former, r *record.Record) error {
	for n := 0; ; n++ {
		id, err := m.newID(ctx)
		if err != nil {
			return fmt.Errorf("%w: %w", errNewID, err)
		}
		key := m.key(id)
		r.Next, r.Moved, r.Since, r.Old = "", false, 0, 0
		if m.limits(m.dialect.withOwn(m.config, r.Cookie), r.Cookie).renew > 0 {
			r.Since = time.Now().UnixMilli()
		}
		text, ttl, err := m.prepare(e, key, r)
		if err != nil {
			return err
		}
		w := Write{Key: key, Data: text, TTL: ttl, Owner: m.listOf(r)}
		now, err := m.inOneStep(ctx, e, old, w)
		if errors.Is(err, errors.ErrUnsupported) {
			now, err = m.inTwoSteps(ctx, e, old, w, r)
		}
		if err == errOvertakenByEnd && n < overtaken {
			continue
		}
		if err != nil {
			return err
		}
		e.id, e.key, e.aged = id, key, false
		e.written(*r, now)
		m.prolonged(key, r, ttl)
		return nil
	}
}

// inOneStep is errors.ErrUnsupported where the store can't do that.
func (m *Manager) inOneStep(ctx context.Context, e *entry, from former, w Write) (Version, error) {
	if m.batcher == nil || from.version == 0 || from.admit != nil {
		return 0, errors.ErrUnsupported
	}
	old := Write{Key: from.key, Version: from.version, Owner: from.list}
	if m.dialect.marks() {
		old.Data, old.TTL, old.Note = m.newTombstone(from.key, w.Key), m.tombstoneTTL(), true
	}
	versions, err := m.batch(ctx, w, old)
	switch conflict, _ := errors.AsType[*Conflict](err); {
	case err == nil:
		return versions[0], nil
	case conflict != nil && conflict.Write == 0:
		return 0, errIDInUse
	case errors.Is(err, ErrOutcomeUnknown):
		// The last thing that it writes tells.
		if data, now, lookErr := m.get(ctx, w.Key); lookErr == nil && bytes.Equal(data, w.Data[len(w.Key):]) {
			return now, nil
		}
		done, fenced := m.fence(ctx, e, from.key, from.version, w.Key)
		if done {
			return 0, nil // of a version that nobody has told
		}
		return 0, errors.Join(err, fenced)
	}
	return 0, err
}

// inTwoSteps creates the new session first: a crash between the steps leaves a
// copy under an id that nobody knows.
func (m *Manager) inTwoSteps(ctx context.Context, e *entry, old former, w Write, r *record.Record) (Version, error) {
	key := w.Key
	now, err := Version(0), m.unused(ctx, key)
	if err == nil {
		now, err = m.setRecord(ctx, key, w.Data, w.TTL, 0, r)
	}
	if errors.Is(err, ErrConflict) && err != errOvertakenByEnd {
		err = errIDInUse
	}
	if errors.Is(err, ErrOutcomeUnknown) { // nobody is told its id
		err = errors.Join(err, m.destroy(ctx, key))
	}
	if err != nil {
		return 0, err
	}
	if old.login && (old.admit == nil || m.apart.Load()) {
		old.list = "" // a hint that leads nowhere, for less to wait: the next look at the list takes it out
	}
	if old.admit != nil {
		made := *e
		made.key = key
		made.written(*r, now)
		err = m.admit(ctx, old.admit, &made, old.serial)
		*r, now = made.stored, made.version
	}
	if err == nil {
		err = m.bury(ctx, e, old.key, old.version, key, old.list)
	}
	if err == nil {
		return now, nil
	}
	// The old id lives on, so the new one must not.
	undone := m.destroyOwned(ctx, key, r.Owned)
	if errors.Is(err, ErrConflict) || errors.Is(err, ErrNotFound) {
		if undone != nil {
			m.debug(ctx, "an unused copy of the session may stay until its ttl is over", slog.Any("error", undone))
		}
		return 0, err
	}
	return 0, errors.Join(err, undone)
}

// bury puts a tombstone that names successor in place of the session under key,
// if it still has version, and takes it out of list. KoaCompat removes the record, where it can with that
// condition. A store without versions just writes.
func (m *Manager) bury(ctx context.Context, e *entry, key string, version Version, successor, list string) error {
	tombstone := m.newTombstone(key, successor)
	switch {
	case m.swapper == nil && !m.dialect.marks():
		return m.destroy(ctx, key)
	case m.batcher != nil && !m.dialect.marks():
		_, err := m.batch(ctx, Write{Key: key, Version: version})
		return m.buried(ctx, e, key, version, nil, successor, err)
	}
	err := m.setTombstone(ctx, key, tombstone, m.tombstoneTTL(), version, list)
	if err = m.buried(ctx, e, key, version, tombstone[len(key):], successor, err); err == nil && !m.dialect.marks() {
		_ = m.destroy(ctx, key) // the tombstone is as good, and passes by itself
	}
	return err
}

// buried looks what became of a bury without an answer: the id is dead by our hand
// if a tombstone names successor, also one to which another login has added its
// own, or in KoaCompat if it is ours, or the record is gone.
func (m *Manager) buried(ctx context.Context, e *entry, key string, version Version, tombstone []byte, successor string, err error) error {
	if !errors.Is(err, ErrOutcomeUnknown) {
		return err
	}
	data, _, lookErr := m.get(ctx, key)
	switch {
	case errors.Is(lookErr, ErrNotFound) && tombstone == nil:
		return nil
	case lookErr != nil || !isTombstone(data):
	case !m.dialect.marks() && bytes.Equal(data, tombstone), slices.Contains(m.parseTombstone(key, data, 0).successors, successor):
		return nil
	}
	done, fenced := m.fence(ctx, e, key, version, successor)
	if done {
		return nil
	}
	return errors.Join(err, fenced)
}

// retireID gives the id of e up for that of successor, which is not stored yet.
// Two Resets, or a Reset and a Renew, can't both succeed: ErrGone. If nobody knew
// whether e is stored, and it is not, that is no error; left is what stands
// there then. A store without versions just writes, and KoaCompat removes the
// record, as the original does.
func (m *Manager) retireID(ctx context.Context, e *entry, successor string) (left *tombstone, err error) {
	if err := m.dropOther(ctx, e); err != nil {
		return nil, err
	}
	key, version, list := m.storeKey(e), e.version, m.listOf(&e.stored)
	if !m.dialect.marks() {
		return nil, m.destroy(ctx, key)
	}
	known := e.state == live && !e.notLoaded
	mine := ""
	defer func() { m.release(ctx, e, key, mine, err) }()
	for tries := (tries{manager: m}); ; {
		var now lookup
		if err = nil; version == 0 && (m.swapper != nil || !known) {
			now, err = m.lookToWrite(ctx, key, mine, &tries)
			if version = now.version; err == nil {
				e.moved(now)
				key, list = now.at, m.listOf(&now.record)
			}
		}
		if err == nil {
			err = m.bury(ctx, e, key, version, successor, list)
		}
		switch {
		case errors.Is(err, ErrCorrupt): // something else that stands there
			return nil, m.destroy(ctx, key)
		case errors.Is(err, ErrNotFound), errors.Is(err, ErrGone):
			if known {
				return nil, ErrGone
			}
			return now.tombstone, nil
		case !errors.Is(err, ErrConflict):
			return nil, err
		}
		if err = tries.next(); err != nil {
			return nil, err
		}
		if version = 0; mine == "" {
			if now, mine, err = m.hold(ctx, key); err == nil {
				e.moved(now)
				if key = now.at; now.held == mine {
					version = now.version
				}
			}
		}
	}
}

// fence makes sure that a write to key at version which had no answer does not
// come late and kill the session after all: a record written anew has another
// version. It can do no more than try. done means that the write has come through: what
// stands there names successor.
func (m *Manager) fence(ctx context.Context, e *entry, key string, version Version, successor string) (done bool, err error) {
	now, err := m.look(ctx, key)
	if errors.Is(err, ErrGone) && now.tombstone.names(successor) {
		return true, nil
	}
	if err != nil || version != 0 && now.version != version {
		return false, err
	}
	// #nosec G404 -- two that differ by chance; it keeps no secret
	now.record.Fence = rand.Uint32() | 1 // for stores whose version is a digest
	f := *e
	_, err = m.put(ctx, &f, key, &now.record, now.version)
	if errors.Is(err, ErrConflict) {
		return false, nil // another request wrote it anew
	}
	return false, err
}
