package core

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gensession/gensession/core/internal/record"
)

// Where a session was whose id was given up for another one, a tombstone stays
// for a while. It names the successors: the store keys of the sessions that the
// browser got in its place. A request that still carries the old id finds no
// session, and by the tombstone it finds out why: a logout ends the successors,
// and a new session does not take the cookie of a successor away (K17).
//
// The text is the JSON value null, which says "no session" to
// generic-session, too; blanks that tell two tombstones apart; and then, by
// default, the time and the successors, each on a line of its own. Blanks that
// somebody appends are ignored: see hold.
const (
	tombstoneText = "null"
	// tombstoneTTL is longer than any request is on its way, and short enough
	// that the tombstones of all logins of that time need little memory.
	tombstoneTTL = time.Minute
	// deferredLook is how long after its begin a request may look for its session,
	// and still finds the tombstone that stood there when it began: see longAgo.
	deferredLook = tombstoneTTL / 2
	// maxSuccessors are kept of an id, the youngest.
	maxSuccessors = 64
)

// A tombstone is what stands where a session was.
type tombstone struct {
	key        string // where it stands
	version    Version
	successors []string   // store keys
	lead       lead       // where it leads, if the id was renewed of itself
	late       bool       // a request that begins now may have been under way when the id was given up
	also       *tombstone // of another id that the request carries
}

// and is t and then those of other ids. Both may be nil.
func (t *tombstone) and(also *tombstone) *tombstone {
	if t == nil || also == nil {
		return cmp.Or(t, also)
	}
	both := *t
	both.also = t.also.and(also)
	return &both
}

// names reports whether one of them has the successor key.
func (t *tombstone) names(key string) bool {
	return t != nil && (slices.Contains(t.successors, key) || t.also.names(key))
}

// notes reports whether one of them says that an id was given up within the last minute.
// One that leads somewhere, since the session has got another id of itself, stays longer,
// and says nothing of others.
func (t *tombstone) notes() bool {
	return t != nil && (t.lead.to == "" || len(t.others()) > 0 || t.also.notes())
}

// isLate reports whether one of them is late.
func (t *tombstone) isLate() bool { return t != nil && (t.late || t.also.isLate()) }

// newTombstone is the text of one for key, which stands in front. In KoaCompat it
// names nobody.
func (m *Manager) newTombstone(key string, successors ...string) []byte {
	return m.tombstoneText(key, lead{}, successors...)
}

// tombstoneText is newTombstone of one that may lead somewhere.
func (m *Manager) tombstoneText(key string, leads lead, successors ...string) []byte {
	text := append(append(make([]byte, 0, 192), key...), tombstoneText...)
	text = appendBlanks(text)
	if !m.dialect.marks() {
		return text
	}
	text = strconv.AppendInt(append(text, '\n'), time.Now().UnixMilli(), 10)
	if leads.to != "" {
		line := leads.line()
		if m.sealer != nil {
			line = m.sealer.vouch(line, key)
		}
		text = append(append(text, '\n'), line...)
	}
	for _, s := range successors[max(0, len(successors)-maxSuccessors):] {
		text = append(append(text, '\n'), s[len(m.o.Prefix):]...)
	}
	return text
}

// tombstoneTTL is how long the store keeps a tombstone.
func (m *Manager) tombstoneTTL() time.Duration {
	if m.o.Defer {
		return tombstoneTTL + deferredLook
	}
	return tombstoneTTL
}

// setTombstone writes the text of one under key, as set does. A Batcher may limit
// the number of sessions, and this is none. It takes key out of list, if that is not
// "".
func (m *Manager) setTombstone(ctx context.Context, key string, text []byte, ttl time.Duration, version Version, list string) (err error) {
	if m.batcher != nil {
		err = m.batchOwned(ctx, Write{Key: key, Data: text, TTL: ttl, Version: version, Note: true, Owner: list})
	} else {
		_, err = m.set(ctx, key, text, ttl, version)
	}
	return err
}

const blanks = 32 // random ones, as appendBlanks makes them

// appendBlanks appends white space that says nothing and is not made twice.
func appendBlanks(b []byte) []byte {
	for n, i := rand.Uint32(), 0; i < blanks; i++ { // #nosec G404 -- two that differ by chance; it keeps no secret
		b = append(b, " \t"[n>>i&1])
	}
	return b
}

// isTombstone reports whether data stands for no session; an empty payload
// does, too.
func isTombstone(data []byte) bool {
	if len(data) == 0 {
		return true
	}
	if data[0] != tombstoneText[0] {
		return false // a record, as nearly always
	}
	first, _, _ := bytes.Cut(data, []byte{'\n'})
	return string(bytes.TrimRight(first, " \t")) == tombstoneText
}

// parseTombstone reads data, which isTombstone.
func (m *Manager) parseTombstone(key string, data []byte, version Version) *tombstone {
	t := &tombstone{key: key, version: version}
	lines := strings.Fields(string(data))
	if len(lines) < 2 {
		return t
	}
	for _, line := range lines[2:] {
		ours := true
		if m.sealer != nil && line[0] == '>' {
			line, ours = m.sealer.vouched(line, key)
		}
		if l, ok := parseLead(line); ok {
			if line = l.to; ours {
				t.lead = l
			}
		}
		t.successors = append(t.successors, m.o.Prefix+line)
	}
	if at, err := strconv.ParseInt(lines[1], 10, 64); err == nil && len(t.successors) > 0 {
		t.late = time.Since(time.UnixMilli(at)) < m.o.LateWindow
	}
	return t
}

// others are the successors but for the one that it leads to.
func (t *tombstone) others() []string {
	others := slices.Clone(t.successors)
	if t.lead.to != "" {
		others = slices.DeleteFunc(others, func(s string) bool { return strings.HasSuffix(s, t.lead.to) })
	}
	return others
}

// lasts is how long t stays from now on.
func (m *Manager) lasts(t *tombstone) time.Duration {
	if t.lead.to != "" { // for requests that have begun
		return DefaultMaxAge
	}
	return m.tombstoneTTL()
}

// addSuccessor notes successor as one of key, where no session is any more. t is
// what stood there, if that is known. It does so as well as it goes: without it, a
// logout with the id of key does not end the successor.
//
// Its tries have an end by time, and not by their number: each is lost to another login
// that was noted, and many may log in with one id.
func (m *Manager) addSuccessor(ctx context.Context, key, successor string, t *tombstone) {
	if !m.dialect.marks() {
		return
	}
	for tries := (tries{manager: m}); ; t = nil {
		if t == nil || t.version == 0 {
			data, version, err := m.get(ctx, key)
			if err != nil && !errors.Is(err, ErrNotFound) || err == nil && !isTombstone(data) {
				return
			}
			t = m.parseTombstone(key, data, version)
		}
		err := m.setTombstone(ctx, key, m.tombstoneText(key, t.lead, append(t.others(), successor)...), m.lasts(t), t.version, "")
		if !errors.Is(err, ErrConflict) && !errors.Is(err, ErrNotFound) {
			return
		}
		if tries.n++; tries.rest() != nil {
			return
		}
	}
}

// addLogin notes e, which is that of a login, as a successor of all ids that the
// request carries and that were given up.
func (m *Manager) addLogin(ctx context.Context, e *entry) {
	for t := e.givenUp; t != nil; t = t.also {
		m.addSuccessor(ctx, t.key, m.storeKey(e), t)
	}
}

// A target is where a session is to be ended. version is what it had when it was
// loaded, zero if that is unknown. id is "" if nobody has seen that it is there.
type target struct {
	key     string
	version Version
	id      ID
	list    string // of its owner, "" if that is unknown or there is none
	old     bool   // it is in the store that sessions are taken over from
	again   string // a key to look at once more after that: the session may have been taken over meanwhile
	found   bool   // there was a session, as endOne notes
}

// maxEnded is how many sessions a logout ends at most, in case somebody renews
// faster than they can be ended.
const maxEnded = 1000

// end ends the sessions at the targets for good: one that has moved to another id
// within the last minute ends there. A missing session is no error. found are the keys
// of those that there were, if anybody listens; unended the targets where it failed.
//
// That a removal by version succeeds proves that the session had not moved: then
// nothing else is read.
func (m *Manager) end(ctx context.Context, targets ...target) (unended []target, found []string, err error) {
	ctx = withoutCancel(ctx)
	ended, old := map[string]bool{}, ""
	for i := 0; i < len(targets) && i < maxEnded; i++ {
		p := targets[i]
		at, seen := m, p.key
		if p.old {
			at, seen = m.old, "the old "+p.key // no key has a blank
		}
		if ended[seen] {
			continue
		}
		ended[seen] = true
		one := p
		successors, failed := at.endOne(ctx, &one)
		switch {
		case !one.found || !m.listens():
		case p.old:
			old = p.key
		default:
			found = append(found, p.key)
		}
		if failed != nil {
			if p.version == 0 {
				failed = halfEnded(failed)
			}
			unended, err = append(unended, target{key: p.key, old: p.old, again: p.again}), errors.Join(err, failed)
		}
		if !p.old && m.copies() {
			targets = append(targets, target{key: p.key, old: true, again: p.key})
		}
		if p.again != "" {
			delete(ended, p.again)
			targets = append(targets, target{key: p.again})
		}
		for _, s := range successors {
			targets = append(targets, target{key: s})
		}
	}
	if len(found) == 0 && old != "" { // else it is a copy
		found = append(found, old)
	}
	return unended, found, err
}

// halfEnded is the error of end when a session may be gone from where it was, and
// nobody knows whether it lives on elsewhere.
func halfEnded(err error) error {
	if errors.Is(err, ErrOutcomeUnknown) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
}

// endOne removes the session at p, or returns the successors that it has, and notes in p
// whether there was one. KoaCompat just removes it, as the original does.
func (m *Manager) endOne(ctx context.Context, p *target) (successors []string, err error) {
	p.found = p.version != 0 || !m.dialect.marks()
	if !m.dialect.marks() {
		if m.old != nil && m.migrates() { // an id that was renewed of itself
			if s, _ := m.old.look(ctx, p.key); s.tombstone != nil {
				successors = s.tombstone.successors
			}
		}
		return successors, m.destroy(ctx, p.key)
	}
	for tries := (tries{manager: m}); ; {
		if p.version == 0 {
			next, ended, err := m.lookToEnd(ctx, p)
			if ended {
				return next, err
			}
			if next != nil {
				successors = next
			}
		}
		if m.swapper == nil {
			return nil, m.destroy(ctx, p.key)
		}
		if m.moves() {
			err = m.shut(ctx, p.key, p.version, p.list)
		} else {
			err = m.remove(ctx, p.key, p.version, p.list)
		}
		switch {
		case err == nil, errors.Is(err, ErrNotFound) && !m.moves():
			return successors, nil
		case !errors.Is(err, ErrConflict) && !errors.Is(err, ErrNotFound):
			return nil, err
		}
		if err := tries.next(); err != nil {
			return nil, err
		}
		if p.version == 0 || errors.Is(err, ErrNotFound) { // something has come or gone meanwhile
			p.version = 0
			continue
		}
		if next, ended, err := m.holdToEnd(ctx, p); ended {
			return next, err
		}
	}
}

// lookToEnd notes in p what stands there. ended means that endOne is over with it.
func (m *Manager) lookToEnd(ctx context.Context, p *target) (successors []string, ended bool, err error) {
	data, version, err := m.get(ctx, p.key)
	p.version = version
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, !m.moves(), nil // it may come yet
	case errors.Is(err, ErrCorrupt): // something else that stands there
		p.found = true
		return nil, true, m.destroy(ctx, p.key)
	case err != nil:
		return nil, true, err
	case string(data) == leftText: // it must not come back
		return nil, false, nil
	case isTombstone(data):
		t := m.parseTombstone(p.key, data, version)
		pointer := t.lead.to != "" && t.lead.until == 0 && m.swapper != nil
		return t.successors, !pointer, nil // in the place of a pointer nothing may come
	}
	p.found = true
	var r record.Record
	if err := m.decode(&r, data, p.key); err == nil {
		if p.list = m.listOf(&r); r.Moved {
			successors = []string{m.o.Prefix + r.Next}
		}
	}
	return successors, false, nil
}

// holdToEnd holds what stands at p, so that its end needs no more tries, however many
// requests write. It notes the version to be ended, zero if another look has to tell.
func (m *Manager) holdToEnd(ctx context.Context, p *target) (successors []string, ended bool, err error) {
	s, _, err := m.hold(ctx, p.key)
	p.version = 0
	switch {
	case err == nil && s.at != p.key: // it has another id of itself: what is left here ends, too
	case err == nil:
		p.version = s.version
	case errors.Is(err, ErrGone) && s.tombstone != nil:
		return s.tombstone.successors, true, nil
	case errors.Is(err, ErrGone) && s.version == 0 && m.moves():
	case errors.Is(err, ErrGone):
		return nil, true, nil
	case errors.Is(err, ErrRefused), errors.Is(err, ErrTooLarge), errors.Is(err, ErrCorrupt): // a full server, on which others can't write either
	default:
		return nil, true, err
	}
	return nil, false, nil
}

// remove removes key if it still has version, and takes it out of list. A Swapper that is no Batcher can
// compare versions only when it writes: there it writes a tombstone first.
func (m *Manager) remove(ctx context.Context, key string, version Version, list string) error {
	if m.batcher != nil {
		return m.batchOwned(ctx, Write{Key: key, Version: version, Owner: list})
	}
	err := m.setTombstone(ctx, key, m.newTombstone(key), m.tombstoneTTL(), version, "")
	switch {
	case err == nil:
		_ = m.destroy(ctx, key) // the tombstone is as good, and passes by itself
		return nil
	case errors.Is(err, ErrRefused), errors.Is(err, ErrOutcomeUnknown):
		// A full server refuses the tombstone, but no removal. What stands there may
		// have moved meanwhile; between this look and the removal nothing tells.
		now, lookErr := m.look(ctx, key)
		switch {
		case now.tombstone != nil:
			return ErrConflict
		case errors.Is(lookErr, ErrGone):
			return nil
		}
		return m.destroy(ctx, key)
	}
	return err
}
