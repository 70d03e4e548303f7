package core

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"time"

	"github.com/gensession/gensession/core/internal/record"
)

// A Migration lets sessions continue, until a date, while an application moves from
// one way to keep them to another. A session is taken over when its browser comes
// back, under the same id, and removed where it was. There is one move at a time: the
// next one begins after the date of this one.
//
// From [KoaCompat] to the default Options: set Keys. Processes of both kinds may run
// beside each other, each with a Migration. A session that has the other form is
// taken over with its values alone: what it has chosen, such as its life, and the
// time of its login are not; from then on it lives as the Options say. Prefix, Name
// and Koa must be the same in both.
//
// From one store to another: set From. Sessions of this library, under the same
// Prefix, are taken over as they are. So processes with the former store may run
// beside those with the new one, if each has the other's as From. One that has no
// Migration must not: it does not find what has moved, and a logout there ends nothing.
// With Keys too the sessions are those of a Koa app, with Foreign those of another
// library, whose processes must have stopped.
//
// Login, Renew, Reset and Destroy remove the session from both places, and their
// error is that of either: what has ended is not found again, also if the process that
// was about to take it over, or to end it, stood still meanwhile or has died. A request
// that loads a session while others take it to and fro, at once and more than once, may
// miss it.
type Migration struct {
	// Keys verify the cookies of the other form: with KoaCompat the future
	// Options.Keys, else the keys of the Koa app.
	Keys Keyring
	// Until is when the former place is not looked at any more: after the longest
	// time that a session lives without being used. It is the same in all processes.
	// Zero means no migration.
	Until time.Time
	// From is the store that the sessions are in, and another place than the store of
	// the Manager: on the same server, table or file, by another connection, Login,
	// Renew and Reset of a session that is stored are refused. Until then it is asked
	// for every id that the new store does not know, and at each login and logout; an
	// outage of it fails those requests, and is told as one of the store is, with a
	// Why. What was taken over is removed there: a store that refuses that fails the
	// request, too. RenewAfter begins when it is over, but for sessions of this
	// library. The new store must have versions ([Swapper]). The caller closes From,
	// after the Manager. Default: the same store. Not with KoaCompat.
	From Store
	// Foreign says how another library keeps its sessions in From. Its processes
	// must have stopped: what they still write is lost, or found after its end.
	Foreign *Foreign
}

// A Foreign says how another library keeps its sessions, for a [Migration].
type Foreign struct {
	// Cookie is the name of its cookie, which may be that of Options.Name. It is
	// looked at if the request has no session cookie of this library, and opens
	// nothing but sessions that were taken over and have not logged in since.
	// The response then has the new cookie.
	Cookie string
	// ID returns the id in the value of that cookie, "" if there is none, such as
	// if its signature is wrong. It must have 16 to 128 characters of
	// A-Z a-z 0-9 - _, and be as hard to guess as one of this library. Default:
	// the value itself.
	ID func(value string) string
	// Key returns the key under which From has the session of id. Default: the id.
	Key func(id string) string
	// Values returns the values in what From has under that key, as
	// [Session.Replace] takes them; nil if it is no session any more, such as if
	// its time is over. After an error the record counts as one that can't be
	// read.
	Values func(data []byte) (values any, err error)
}

func (g *Migration) check(m *Manager, store Store, signed bool) error {
	switch {
	case g.Until.IsZero() && len(g.Keys) > 0:
		return errors.New("Options.Migrate has Keys, but does not say until when: set Until")
	case g.Until.IsZero() && (g.From != nil || g.Foreign != nil):
		return errors.New("Options.Migrate has From or Foreign, but does not say until when: set Until")
	case g.Until.IsZero():
		return nil
	case g.From == nil && g.Foreign != nil:
		return errors.New("Options.Migrate has Foreign, but not the store in which those sessions are: set From")
	case g.From == nil && signed != (len(g.Keys) > 0), !signed && len(g.Keys) > 0:
		return errors.New("Options.Migrate needs Keys where the cookie is signed, and none where it is not")
	case g.From == nil && len(m.o.Seal.Keys) > 0:
		return errors.New("Options has both Migrate and Seal: a process with KoaCompat could not read the sessions, so seal after the migration")
	}
	if g.From != nil {
		if err := g.checkFrom(m, store); err != nil {
			return err
		}
	}
	return g.Keys.check("Options.Migrate.Keys", !m.o.koa)
}

func (g *Migration) checkFrom(m *Manager, store Store) error {
	switch f := g.Foreign; {
	case m.o.koa:
		return errors.New("Options.Migrate.From is not available with KoaCompat: move to the default Options first, in the same store")
	case isNil(g.From):
		return errors.New("Options.Migrate.From is a nil pointer")
	case f != nil && len(g.Keys) > 0:
		return errors.New("Options.Migrate has both Keys, which are those of a Koa app, and Foreign: remove one")
	case f != nil && (f.Values == nil || f.Cookie == ""):
		return errors.New("Options.Migrate.Foreign needs Cookie and Values")
	case f != nil:
		if err := checkName(f.Cookie); err != nil {
			return fmt.Errorf("Options.Migrate.Foreign.Cookie: %w", err)
		}
	case len(g.Keys) == 0 && same(innermost(store), innermost(g.From)):
		return errors.New("Options.Migrate.From is the store itself: its sessions are there already")
	}
	if m.swapper == nil {
		return fmt.Errorf("Options.Migrate.From needs a new store with versions (core.Swapper), which this store lacks: %w", errors.ErrUnsupported)
	}
	return nil
}

// innermost is the store that the others wrap.
func innermost(s Store) Store {
	for {
		w, ok := s.(interface{ Unwrap() Store })
		if !ok {
			return s
		}
		inner := w.Unwrap()
		if inner == nil || isNil(inner) {
			return s
		}
		s = inner
	}
}

// same reports whether a and b are one store, where that can be told.
func same(a, b Store) bool {
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

// newOld is the place that sessions are taken over from, as a manager of which only
// the calls of the store are used. Where the form differs from ours it is as that of
// a Koa app: nothing but sessions lies there.
func (m *Manager) newOld(timeout time.Duration) *Manager {
	g := &m.o.Migrate
	old := &Manager{o: m.o, dialect: dialect{!m.dialect.koa, m.dialect.prefix, m.dialect.idle}, store: m.store, born: m.born, config: m.config, health: m.health}
	if g.From != nil {
		old.store = g.From
		old.health = newHealth(g.From, timeout, m.o.MaxWaiters, m.storeChanged(whyFrom))
		if old.dialect.koa = g.Foreign != nil || len(g.Keys) > 0; !old.dialect.koa {
			old.sealer = m.sealer
			old.ownerKeys.Store(m.ownerKeys.Load())
			if m.indexer != nil {
				old.indexer, _ = As[Indexer](g.From)
			}
		}
	}
	old.findAbilities()
	return old
}

// migrates reports whether sessions are taken over.
func (m *Manager) migrates() bool {
	until := m.o.Migrate.Until
	return !until.IsZero() && time.Now().Before(until)
}

// moves reports whether they are taken over from another store.
func (m *Manager) moves() bool { return m.o.Migrate.From != nil && m.migrates() }

// copies reports whether those are sessions as ours, under the same keys.
func (m *Manager) copies() bool { return m.moves() && !m.old.dialect.koa }

// oldKey is where the session of id is in the old place.
func (m *Manager) oldKey(id ID) string {
	f := m.o.Migrate.Foreign
	switch {
	case f == nil:
		return m.old.dialect.key(m.o.Prefix, id)
	case f.Key != nil:
		return f.Key(string(id))
	}
	return string(id)
}

// orTakenOver goes on after a look at key, which is that of id: if there is nothing,
// the session may be in the old place, or on its way from there.
func (m *Manager) orTakenOver(ctx context.Context, id ID, key string, s lookup, err error) (lookup, error) {
	comes, gone := err == nil && s.record.Old.Comes(), errors.Is(err, ErrGone)
	switch {
	case comes && s.record.Old == record.Announced && !m.migrates():
		return lookup{at: key, version: s.version}, ErrGone // it was not taken over in time
	case !comes && !gone, !m.migrates():
		return s, err
	case m.copies():
		return m.takeOverAll(ctx, id, key, s, err)
	case !comes && !s.nothing(err):
		return s, err
	case m.moves():
		return m.takeOver(ctx, id, key, m.oldKey(id), s)
	}
	return m.convert(ctx, id, key, m.oldKey(id))
}

// takeOverAll brings what the old place has under key: a session of ours, or what
// leads to it under another key, and then that. Each is brought as it is, so that
// the rest is as if it had always been here. s and err are what find has said.
func (m *Manager) takeOverAll(ctx context.Context, id ID, key string, s lookup, err error) (lookup, error) {
	at := key
	for range maxSuccessors {
		if s.at != at {
			s, err = m.look(ctx, at)
		}
		if s.nothing(err) || err == nil && s.record.Old.Comes() {
			s, err = m.takeOver(ctx, id, at, at, s)
		} else if errors.Is(err, ErrGone) && s.tombstone == nil { // it was ended, perhaps by a process of the old place, which knows more
			if old, err := m.old.look(ctx, at); errors.Is(err, ErrGone) && old.tombstone != nil {
				s.tombstone = old.tombstone
			}
			if at == key {
				return s, err
			}
		}
		next := ""
		switch {
		case err == nil && s.record.Moved:
			next = m.o.Prefix + s.record.Next
		case errors.Is(err, ErrGone) && s.tombstone.leads(true):
			next = m.o.Prefix + s.tombstone.lead.to
		case at == key, err != nil && !errors.Is(err, ErrGone):
			return s, err
		}
		if next == "" || next == key {
			break
		}
		at, id = next, ""
	}
	return m.find(ctx, key)
}

// fetch is what the old place has under from: its record, as one that we write,
// ErrGone if the session was ended there, and ErrNotFound.
func (m *Manager) fetch(ctx context.Context, from string) (s lookup, err error) {
	f := m.o.Migrate.Foreign
	data, version, err := m.old.get(ctx, from)
	switch {
	case err != nil:
		return s, err
	case f == nil || isTombstone(data):
		s, err = m.old.see(from, data, version, nil)
	default:
		s = lookup{at: from, version: version}
		s.record.Fields, err = m.foreign(data)
		s.corrupt = err != nil && !errors.Is(err, ErrGone)
	}
	switch s.record.Old {
	case record.Left, record.Announced: // by a process that moves sessions the other way
		return s, ErrNotFound
	}
	if m.old.dialect.koa != m.dialect.koa && err == nil {
		s.record = record.Record{Fields: s.record.Fields, Cookie: m.blank, Created: time.Now().UnixMilli()}
	}
	return s, err
}

// fetchLed is fetch for an id that was renewed of itself, and has led nobody to its
// session yet, or leads there for a while. s has found what leads there.
func (m *Manager) fetchLed(ctx context.Context, from string, s lookup) (at string, led lookup, err error) {
	by := s.tombstone.lead
	at = m.o.Prefix + by.to
	then, err := m.old.look(ctx, at)
	switch {
	case errors.Is(err, ErrGone), err == nil && by.until == 0 && m.o.Prefix+then.record.Next != from: // another one has replaced it
		return from, s, ErrGone
	case err != nil:
		return from, then, err
	}
	if led, err = m.fetch(ctx, at); errors.Is(err, ErrNotFound) {
		err = ErrGone
	}
	return at, led, err
}

// errForeignValues does not tell what the decoder says, which may quote the values.
var errForeignValues = fmt.Errorf("%w: Options.Migrate.Foreign.Values has returned an error, or what is no JSON object", ErrCorrupt)

// foreign are the values in data, which another library has written.
func (m *Manager) foreign(data []byte) (record.Fields, error) {
	if err := m.fits(data); err != nil {
		return record.Fields{}, err
	}
	values, err := m.o.Migrate.Foreign.Values(bytes.Clone(data))
	if err == nil && values == nil {
		return record.Fields{}, ErrGone
	}
	if err == nil {
		members, err := membersOf(values)
		if err == nil {
			return record.Listed(members), nil
		}
		if errors.Is(err, errReserved) {
			return record.Fields{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
	}
	return record.Fields{}, errForeignValues
}

// takeOver brings the session of id from the old store, where it is under from, to key.
// now is what was found there: nothing, or a record with a mark.
//
// Between two stores there is no step for both, so each step leaves a mark by which
// anybody can go on, and compares what the one before has left:
//
//	in the new store   in the old one   what is done
//	nothing            the session      it is announced, and looked at there once more
//	Announced          the session      it becomes OnTheWay; is removed there; the mark goes
//	OnTheWay           the session      likewise
//	OnTheWay           nothing          the mark goes
//	Announced          nothing          it has ended, and the announcement goes
//
// Nobody uses a record with a mark but to go on. What ends a session ends it in the new
// store, in the old one and in the new one again. So whoever has looked into the old one
// before that has announced it earlier still, and finds that this is gone, however long
// he stood still, and however late his write arrives (DESIGN: two places).
func (m *Manager) takeOver(ctx context.Context, id ID, key, from string, now lookup) (lookup, error) {
	work := withoutCancel(ctx)
	for tries := (tries{manager: m}); ; {
		mark := now.record.Old
		s, err := m.fetch(ctx, from)
		nothing, ended := errors.Is(err, ErrNotFound), errors.Is(err, ErrGone)
		switch {
		case err == nil && !mark.Comes():
			now, err = m.mark(work, id, key, s.record, record.Announced, now.version)
			if err == nil && now.version != 0 {
				continue
			} else if err == nil {
				err = ErrConflict
			}
		case err == nil:
			now, err = m.bring(work, id, key, from, s, now.version)
		case nothing && mark == record.OnTheWay: // whoever has brought it has stopped before the last step
			now, err = m.arrived(work, id, key, now)
		case ended && !mark.Comes() && m.copies() && s.tombstone.leads(true):
			if err = m.takeOverLead(work, key, now.version, s.tombstone); err == nil {
				return m.look(ctx, key)
			}
		case (nothing || ended) && mark.Comes():
			if err = m.shut(work, key, now.version, m.listOf(&now.record)); err == nil {
				return lookup{tombstone: s.tombstone}, ErrGone
			}
		case ended:
			return lookup{tombstone: s.tombstone}, err
		case !nothing:
			return lookup{corrupt: s.corrupt}, err
		}
		switch {
		case err == nil:
			m.debug(ctx, "session taken over", slog.Any("session", id))
			return now, nil
		case errors.Is(err, errExpired):
			return lookup{}, ErrGone
		case err != nil && !errors.Is(err, ErrConflict) && !errors.Is(err, ErrNotFound):
			return lookup{}, err
		}
		// It has met somebody, or another one was faster.
		now, err = m.look(ctx, key)
		switch {
		case err == nil && now.record.Old.Comes():
		case !now.nothing(err), nothing && !mark.Comes(): // it is here, or nowhere
			return now, err
		}
		if err := tries.next(); err != nil {
			return lookup{}, err
		}
	}
}

// mark writes r under key with that mark, if key has version. ErrConflict means that a
// look tells what is there. The version that it returns is zero if the store does not
// tell what it has written.
func (m *Manager) mark(ctx context.Context, id ID, key string, r record.Record, mark record.Old, version Version) (lookup, error) {
	r.Old = mark
	now, err := m.put(ctx, &entry{id: id}, key, &r, version)
	if errors.Is(err, ErrOutcomeUnknown) {
		err = errors.Join(err, ErrConflict)
	}
	return lookup{record: r, version: now, at: key}, err
}

// bring takes s, which the old store has under from, to key, in place of a record with a
// mark that has version.
func (m *Manager) bring(ctx context.Context, id ID, key, from string, s lookup, version Version) (lookup, error) {
	now, err := m.mark(ctx, id, key, s.record, record.OnTheWay, version)
	if err != nil {
		return now, err
	}
	err = m.old.letGo(ctx, from, s.version, m.old.listOf(&s.record))
	switch {
	case err == nil, errors.Is(err, ErrNotFound): // by somebody who goes on with ours, or ends that, too
		return m.arrived(ctx, id, key, now)
	case errors.Is(err, ErrOutcomeUnknown):
		return now, errors.Join(err, ErrConflict)
	}
	return now, err
}

// arrived takes the mark from s, which stands under key and is in the old store no
// more.
func (m *Manager) arrived(ctx context.Context, id ID, key string, s lookup) (lookup, error) {
	if s.version == 0 {
		return s, ErrConflict
	}
	mark := record.Old(0)
	if m.o.Migrate.Foreign != nil {
		mark = record.TakenOver
	}
	return m.mark(ctx, id, key, s.record, mark, s.version)
}

// leftText is a tombstone of what is elsewhere and has not ended.
const leftText = tombstoneText + "\nleft"

// letGo removes what is under key in the old store, that of m, if it still has version.
// A store that can compare versions only when it writes gets a tombstone, which says that
// the session goes on. It passes by itself: what a process of the old place has written
// over it meanwhile must not be removed.
func (m *Manager) letGo(ctx context.Context, key string, version Version, list string) error {
	switch {
	case m.swapper == nil, version == 0:
		return m.destroy(ctx, key)
	case m.batcher != nil:
		return m.remove(ctx, key, version, list)
	}
	_, err := m.set(ctx, key, []byte(key+leftText), tombstoneTTL, version)
	if errors.Is(err, ErrRefused) { // it is full
		_, now, lookErr := m.get(ctx, key)
		if lookErr != nil || now != version {
			return errors.Join(ErrConflict, lookErr)
		}
		return m.destroy(ctx, key)
	}
	return err
}

// takeOverLead brings the tombstone t, which leads to the session, to key, which must
// have version.
func (m *Manager) takeOverLead(ctx context.Context, key string, version Version, t *tombstone) error {
	err := m.setTombstone(ctx, key, m.tombstoneText(key, t.lead, t.others()...), m.lasts(t), version, "")
	if err != nil {
		return err
	}
	err = m.old.letGo(ctx, key, t.version, "")
	if errors.Is(err, ErrConflict) { // the session has come to its place meanwhile
		if s, lookErr := m.look(ctx, key); errors.Is(lookErr, ErrGone) && s.tombstone.leads(true) {
			err = errors.Join(err, m.remove(ctx, key, s.version, ""))
		}
	}
	return err
}

// convert takes over what has the other form in the same store.
func (m *Manager) convert(ctx context.Context, id ID, key, from string) (lookup, error) {
	work := withoutCancel(ctx)
	for tries := (tries{manager: m}); ; {
		s, err := m.fetch(ctx, from)
		nothing := errors.Is(err, ErrNotFound)
		at := from
		if errors.Is(err, ErrGone) && s.tombstone.leads(false) {
			at, s, err = m.fetchLed(ctx, from, s)
		}
		var text []byte
		var ttl time.Duration
		switch {
		case errors.Is(err, ErrGone):
			return lookup{tombstone: s.tombstone}, err
		case err != nil && !nothing:
			return lookup{corrupt: s.corrupt}, err
		case err == nil:
			text, ttl, err = m.prepare(&entry{id: id}, key, &s.record)
		}
		if err == nil {
			err = m.moveHere(work, key, text, ttl, at, s.version)
		}
		switch {
		case err == nil && at != from: // which leads nowhere now
			_ = m.destroy(work, from)
			fallthrough
		case err == nil:
			m.debug(ctx, "session taken over", slog.Any("session", id))
		case errors.Is(err, errExpired):
			return lookup{}, ErrGone
		case !errors.Is(err, ErrConflict) && !errors.Is(err, ErrNotFound):
			return lookup{}, err
		}
		now, err := m.look(ctx, key)
		if nothing || !now.nothing(err) { // another request may have been faster
			return now, err
		}
		if err := tries.next(); err != nil {
			return lookup{}, err
		}
	}
}

// moveHere creates text under key and removes what is under from in the same store,
// if that still has version. If it fails, the session is where it was.
func (m *Manager) moveHere(ctx context.Context, key string, text []byte, ttl time.Duration, from string, version Version) error {
	if m.batcher != nil && version != 0 {
		_, err := m.batch(ctx, Write{Key: key, Data: text, TTL: ttl}, Write{Key: from, Version: version})
		if errors.Is(err, ErrOutcomeUnknown) { // the last thing that it does tells
			if _, _, lookErr := m.get(ctx, from); errors.Is(lookErr, ErrNotFound) {
				return nil
			}
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	if _, err := m.set(ctx, key, text, ttl, 0); err != nil {
		return err
	}
	err := error(nil)
	if m.swapper == nil {
		err = m.destroy(ctx, from)
	} else {
		err = m.remove(ctx, from, version, "")
	}
	if errors.Is(err, ErrOutcomeUnknown) {
		data, _, lookErr := m.get(ctx, from)
		switch {
		case errors.Is(lookErr, ErrNotFound), lookErr == nil && isTombstone(data):
			err = nil
		case lookErr != nil: // nobody can tell: better twice than nowhere, and what gives the id up ends both
			return err
		}
	}
	if err == nil {
		return nil
	}
	return errors.Join(err, m.destroy(ctx, key))
}

// dropOther ends what may be left of the session of e in the old place, before its
// id is given up: or it would be found there again. If a process of the old place has
// taken the session there, it comes back first.
func (m *Manager) dropOther(ctx context.Context, e *entry) error {
	switch {
	case !m.migrates():
		return nil
	case !m.moves():
		return m.destroy(ctx, m.oldKey(e.id))
	case m.copies():
		if s, err := m.old.look(ctx, m.storeKey(e)); err == nil && !s.record.Old.Comes() {
			if err := m.checkPlaces(ctx); err != nil {
				return err
			}
			if _, err := m.back(ctx, e, ErrGone, &tries{manager: m}); err != nil && !errors.Is(err, ErrGone) {
				return err
			}
		}
	}
	from := m.oldKey(e.id)
	_, err := m.old.endOne(ctx, &target{key: from})
	if at := m.storeKey(e); err == nil && m.copies() && at != from { // renewed of itself
		_, err = m.old.endOne(ctx, &target{key: at})
	}
	return err
}

// errSamePlace is told where somebody would lose a session.
var errSamePlace = fmt.Errorf("%w: Options.Migrate.From is the store itself, by another connection: set the former one", ErrRefused)

// checkPlaces returns an error if the old store is the new one by another connection: what is
// here is there, too, and would be ended there as what is left behind. It writes something
// here that stands nowhere else, and looks for it there, until it once was not there. A
// store that can't be asked says so in the calls that follow.
func (m *Manager) checkPlaces(ctx context.Context) error {
	if m.twoPlaces.Load() {
		return nil
	}
	key := m.key(newID())
	if _, err := m.set(ctx, key, []byte(key+leftText), tombstoneTTL, 0); err != nil {
		return nil
	}
	data, _, err := m.old.get(ctx, key)
	_ = m.destroy(ctx, key) // or it passes by itself
	if err == nil && string(data) == leftText {
		return errSamePlace
	}
	if errors.Is(err, ErrNotFound) {
		m.twoPlaces.Store(true)
	}
	return nil
}

// both are the targets of the session of id: also where it is in the old place. Where
// that has the same keys, end looks there anyway.
func (m *Manager) both(id ID) []target {
	key := m.key(id)
	targets := []target{{key: key}}
	if m.migrates() && !m.copies() {
		targets = append(targets, target{key: m.oldKey(id), old: m.moves(), again: key})
	}
	return targets
}

// shut ends what is under key, which must have version, zero meaning nothing, and
// leaves a tombstone there: nobody who has read the session in the old place before
// brings it any more. A full server takes no tombstone, and nothing that is brought.
func (m *Manager) shut(ctx context.Context, key string, version Version, list string) error {
	err := m.setTombstone(ctx, key, m.newTombstone(key), m.tombstoneTTL(), version, list)
	switch {
	case !errors.Is(err, ErrRefused):
		return err
	case version == 0:
		return nil
	}
	return m.remove(ctx, key, version, list)
}

// foreignID is the id in the cookie of another library, "" if there is none.
func (m *Manager) foreignID(jar Jar) ID {
	f := m.o.Migrate.Foreign
	if f == nil || !m.migrates() {
		return ""
	}
	found, _ := parseCookies(jar.Cookie(), f.Cookie)
	var ids []ID
	for _, value := range found.all[:found.n] {
		if f.ID != nil {
			value = f.ID(value)
		}
		if id := ID(value); id.checkNew() == nil && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if len(ids) != 1 { // which one counts, nobody can tell
		return ""
	}
	return ids[0]
}

// findForeign is findOf for an id that came in the cookie of another library: of ours
// it opens only what was taken over, or an unsigned cookie would do for all.
func (m *Manager) findForeign(ctx context.Context, id ID, key string) (lookup, error) {
	s, err := m.findOf(ctx, id, key)
	if err == nil && s.record.Old == 0 {
		return lookup{at: key}, ErrGone
	}
	return s, err
}
