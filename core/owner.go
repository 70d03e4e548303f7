package core

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gensession/gensession/core/internal/record"
)

// Whose sessions these are. The record says it, and is the truth; the lists of an
// Indexer are hints (DESIGN: lists are hints). So a session is put into the list of its
// owner before it is stored, or in the same step, and taken out after it has ended: a crash
// in between leaves a hint that leads nowhere, never a session that nobody can end.
//
// Where the list is another step, a login may be between the two when somebody looks
// at the list. Who then finds a key without a session puts a tombstone there before
// taking it out (dropHints). The login meets that, and begins again with another id:
// so it either was in the list in time, or began afterwards.

// A Device is a session of an owner, as [Manager.ListByOwner] returns it.
type Device struct {
	// Handle names the session for [Manager.DestroyByHandle]. It opens nothing,
	// and can be shown in a form. It stays the same until the session ends or
	// logs in again, whatever new ids it gets.
	Handle string
	// Label is what its login gave as LoginOptions.Label.
	Label string
	// Created is when it logged in, to the millisecond.
	Created time.Time
	// LastUsed is when it was saved last, or prolonged by IdleTimeout. So with an
	// IdleTimeout it is as exact as TouchEvery.
	LastUsed time.Time
	// Current reports whether it is the session that asks.
	Current bool
}

// Owner returns whose session this is, as the last login that was saved has said;
// "" if it is nobody's. It is "" after a logout and after Reset, and if the session
// was not loaded, as by Visit.Replace.
func (s *Session) Owner() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != live {
		return ""
	}
	return record.OwnerIn(s.stored.Owned)
}

// ListByOwner returns the sessions of owner, the newest first. asking is the session
// of the request, for Device.Current; it may be nil. A session that a login is about
// to store may be missing.
//
// It needs Options.Owners. The error is errors.ErrUnsupported without it.
func (m *Manager) ListByOwner(ctx context.Context, owner string, asking *Session) ([]Device, error) {
	ctx = requestless(ctx)
	all, err := m.owned(ctx, owner)
	if err != nil {
		return nil, quietly(OpGet, err)
	}
	serial := asking.serial()
	devices := make([]Device, len(all))
	for i, o := range all {
		devices[len(all)-1-i] = Device{
			Handle: o.is.Serial, Label: o.is.Label,
			Created: time.UnixMilli(o.record.Began()), LastUsed: time.UnixMilli(max(o.record.Used, o.record.Began())),
			Current: o.is.Serial == serial,
		}
	}
	return devices, nil
}

// DestroyByHandle ends one session of owner. It is [ErrNotFound] if the owner has no
// session of that handle, or has none any more. After another error the session may
// live: call it again.
func (m *Manager) DestroyByHandle(ctx context.Context, owner, handle string) error {
	ctx = requestless(ctx)
	all, err := m.owned(ctx, owner)
	if err != nil {
		return quietly(OpDestroy, err)
	}
	all = slices.DeleteFunc(all, func(o ownedSession) bool { return o.is.Serial != handle })
	if handle == "" || len(all) == 0 {
		return quietly(OpDestroy, errNoHandle)
	}
	return m.endOwned(ctx, all, "DestroyByHandle")
}

var errNoHandle = fmt.Errorf("%w: the owner has no session of that handle", ErrNotFound)

// DestroyByOwner ends all sessions of owner but keep, which may be nil: "log out
// everywhere", or "on all other devices". A session that logs in meanwhile is either
// ended, or its login counts as a later one. Requests that run in an ended session
// get [ErrGone] when they save.
//
// After an error some of them may live: call it again. It works on a store that is
// full. What memcached can promise, [Manager.Guarantees] says.
func (m *Manager) DestroyByOwner(ctx context.Context, owner string, keep *Session) error {
	ctx = requestless(ctx)
	all, err := m.owned(ctx, owner)
	if err != nil {
		err = &Error{OpDestroy, err}
		m.tell(ctx, nil, "", Event{Kind: EventNotRevoked, Err: err})
		return err
	}
	if serial := keep.serial(); serial != "" {
		all = slices.DeleteFunc(all, func(o ownedSession) bool { return o.is.Serial == serial })
	}
	return m.endOwned(ctx, all, "DestroyByOwner")
}

// RebuildOwners puts all sessions of the store into the lists of their owners, and
// returns how many these are: after the lists were lost, or after a backup was read
// back. They also heal without it, as sessions are used. It reads every session, and
// may run beside everything else. The error is errors.ErrUnsupported on a store that
// can't tell its keys, such as memcached.
func (m *Manager) RebuildOwners(ctx context.Context) (n int, err error) {
	ctx = requestless(ctx)
	if m.indexer == nil {
		return 0, quietly(OpSet, errNoOwners)
	}
	err = m.indexer.Keys(ctx, m.o.Prefix, func(keys []string) error {
		some, err := m.rebuild(ctx, keys)
		n += some
		return err
	})
	if err != nil {
		return n, quietly(OpSet, m.classify(err, ErrTimeout))
	}
	return n, nil
}

// rebuild puts those of keys that are sessions into the lists of their owners.
func (m *Manager) rebuild(ctx context.Context, keys []string) (n int, err error) {
	found, err := m.getMany(ctx, keys)
	if err != nil {
		return 0, err
	}
	for i, p := range found {
		if p.Data == nil || isTombstone(p.Data) {
			continue
		}
		var r record.Record
		if err := m.decode(&r, p.Data, keys[i]); err != nil || r.Owned == nil {
			continue // what is unreadable opens no session
		}
		ttl, over := m.ttlOf(&entry{}, &r, time.Now())
		if over {
			continue
		}
		if err := m.own(ctx, m.listOf(&r), keys[i], ttl); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

var errNoOwners = fmt.Errorf("%w: set Options.Owners", errors.ErrUnsupported)

const maxOwner = 255 // bytes, also of a label

var errOwner = fmt.Errorf("an owner is 1 to %d bytes of UTF-8 without control characters", maxOwner)

var errNoOwner = errors.New(`the owner is "": so is Session.Owner if nobody is logged in, or the login had no LoginOptions.Owner`)

// checkOwner reports an owner that is none.
func checkOwner(owner string) error {
	if owner == "" {
		return errNoOwner
	}
	if len(owner) > maxOwner || !utf8.ValidString(owner) || strings.ContainsFunc(owner, unicode.IsControl) {
		return errOwner
	}
	return nil
}

// label is what can be stored and shown of a text that may come from a browser.
func label(text string) string {
	var b strings.Builder
	for _, r := range text { // what is no UTF-8 becomes U+FFFD
		if unicode.IsControl(r) {
			r = ' '
		}
		if b.Len()+utf8.RuneLen(r) > maxOwner {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

// ownerOf reads what a record says; all is "" for nobody's.
func ownerOf(raw []byte) record.Owned {
	if raw == nil {
		return record.Owned{}
	}
	o, _ := record.ParseOwned(raw)
	return o
}

// serial is that of the session, "" if it is nil or nobody's.
func (s *Session) serial() string {
	if s == nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return ownerOf(s.stored.Owned).Serial
}

// owned is what a login stores; nil for nobody's.
func (l *login) owned() []byte {
	if l.owner == "" {
		return nil
	}
	return record.AppendOwned(nil, record.Owned{Owner: l.owner, Serial: rand.Text(), Label: l.label})
}

// changesOwner reports whether l takes e away from an owner, whose values nobody
// else gets.
func (l *login) changesOwner(e *entry) bool {
	return e.state == live && e.stored.Owned != nil && (l.owner == "" || record.OwnerIn(e.stored.Owned) != l.owner)
}

// newLogin notes the owner of o in l.
func (m *Manager) newLogin(l *login, o *LoginOptions) error {
	switch {
	case o.Owner == "" && (o.Label != "" || o.MaxSessions != 0 || o.RefuseMore):
		return errors.New("Label, MaxSessions and RefuseMore are about the sessions of an Owner: set it")
	case o.Owner == "":
		return nil
	case m.indexer == nil:
		return errors.New("Owner needs Options.Owners")
	case o.MaxSessions < 0:
		return errors.New("MaxSessions is negative: omit it for no limit")
	case o.RefuseMore && o.MaxSessions == 0:
		return errors.New("RefuseMore needs MaxSessions")
	}
	if err := checkOwner(o.Owner); err != nil {
		return fmt.Errorf("Owner: %w", err)
	}
	l.owner, l.label, l.most, l.refuses = o.Owner, label(o.Label), o.MaxSessions, o.RefuseMore
	return nil
}

// checkOwners reports what Options.Owners lacks.
func (m *Manager) checkOwners(problem func(string, ...any)) {
	o := &m.o
	if !o.Owners {
		if len(o.OwnerKeys) > 0 {
			problem("Options has OwnerKeys, but not Owners: set it, or remove the keys")
		}
		return
	}
	m.indexer, _ = As[Indexer](m.store)
	signed := o.Carrier == nil && m.config.Signed == On
	switch {
	case o.koa:
		problem("Options.Owners is not available with KoaCompat, which has no place for an owner: remove it")
	case m.indexer == nil:
		problem("Options.Owners needs a store that keeps lists (core.Indexer), which this store lacks: %w", errors.ErrUnsupported)
	case !o.Migrate.Until.IsZero() && o.Migrate.From == nil:
		problem("Options has both Owners and Migrate without From: a process with KoaCompat would lose the owner of a session, so begin when the migration is over")
	case len(o.OwnerKeys) == 0 && !signed:
		problem("Options.Owners needs a key where no cookie is signed: set OwnerKeys")
	}
	if err := o.OwnerKeys.check("Options.OwnerKeys", o.InsecureShortKeys); err != nil {
		problem("%w", err)
	}
}

// setOwnerKeys makes the names of lists with keys: the first one writes, all search.
func (m *Manager) setOwnerKeys(keys Keyring) error {
	ring := new(keyring)
	for _, key := range keys {
		key, err := derivedKey(key, "owner", m.o.Name)
		if err != nil {
			return err
		}
		ring.macs = append(ring.macs, newMAC(key, signatureForm{sum: sha256.New}, time.Time{}))
	}
	m.ownerKeys.Store(ring)
	if m.old != nil {
		m.old.ownerKeys.Store(ring)
	}
	return nil
}

// listInfix stands in the name of a list, and in no key: those have no colon behind
// the prefix.
const listInfix = "own:"

// lists are the names of the lists of owner; the first is the one to write. Prefix and
// the name of the cookie are in it, so that two environments on one server share none.
func (m *Manager) lists(owner string) []string {
	macs := m.ownerKeys.Load().macs
	names := make([]string, len(macs))
	for i, mac := range macs {
		names[i] = m.listName(mac, owner)
	}
	return names
}

func (m *Manager) listName(mac *mac, owner string) string {
	var room [160]byte
	return string(mac.append(append(append(room[:0], m.o.Prefix...), listInfix...), m.o.Prefix, owner))
}

// listOf is the list of r, "" if it is nobody's.
func (m *Manager) listOf(r *record.Record) string {
	if m.indexer == nil || r.Owned == nil {
		return ""
	}
	return m.listName(m.ownerKeys.Load().macs[0], record.OwnerIn(r.Owned))
}

// listSlack is how much longer than the session a hint stays where the list is a step
// of its own, so that not every save has to prolong it.
const listSlack = 10 * time.Minute

// own puts key into list, whose session lives for ttl.
func (m *Manager) own(ctx context.Context, list, key string, ttl time.Duration) error {
	if ttl > 0 && ttl < 1<<62 {
		ttl += listSlack
	}
	err := m.ownOnce(ctx, list, key, ttl)
	if m.again(ctx, err) {
		err = m.ownOnce(ctx, list, key, ttl)
		m.health.retried(err)
	}
	if err == nil {
		m.hints().renewed(key)
	}
	return err
}

func (m *Manager) ownOnce(ctx context.Context, list, key string, ttl time.Duration) error {
	call := m.call(ctx)
	defer call.end()
	return m.classify(m.indexer.Own(call, list, key, ttl), ErrOutcomeUnknown, key, list)
}

// hints is the memory of what own has done.
func (m *Manager) hints() *recently {
	r := m.hinted.Load()
	if r == nil {
		m.hinted.CompareAndSwap(nil, newRecently())
		r = m.hinted.Load()
	}
	return r
}

// disown takes keys out of a list, as well as it goes: what stays there leads
// nowhere.
func (m *Manager) disown(ctx context.Context, list string, keys ...string) {
	if list == "" || len(keys) == 0 {
		return
	}
	call := m.call(withoutCancel(ctx))
	defer call.end()
	if err := m.indexer.Disown(call, list, keys...); err != nil {
		m.debug(ctx, "an ended session stays in the list of its owner until somebody looks")
	}
}

// setRecord is set for r, and keeps it in the list of its owner.
func (m *Manager) setRecord(ctx context.Context, key string, text []byte, ttl time.Duration, version Version, r *record.Record) (Version, error) {
	if list := m.listOf(r); list != "" {
		return m.setOwned(ctx, Write{Key: key, Data: text, TTL: ttl, Version: version, Owner: list}, false)
	}
	return m.set(ctx, key, text, ttl, version)
}

// enter is setRecord where key has a note, and so is not in the list yet.
func (m *Manager) enter(ctx context.Context, key string, text []byte, ttl time.Duration, version Version, r *record.Record) (Version, error) {
	if list := m.listOf(r); list != "" {
		return m.setOwned(ctx, Write{Key: key, Data: text, TTL: ttl, Version: version, Owner: list}, true)
	}
	return m.set(ctx, key, text, ttl, version)
}

// setOwned writes a session and its list, in one step if the store can. entering means that
// key is not in the list yet, though something stands there.
func (m *Manager) setOwned(ctx context.Context, w Write, entering bool) (Version, error) {
	versions, err := m.batch(ctx, w)
	if err == nil {
		return versions[0], nil
	}
	if !errors.Is(err, errors.ErrUnsupported) {
		return 0, err
	}
	m.apart.Store(true)
	if w.Version == 0 {
		return m.createOwned(ctx, w)
	}
	if entering {
		if err := m.own(ctx, w.Owner, w.Key, w.TTL); err != nil {
			return 0, err
		}
	} else if m.hints().due(w.Key, time.Now(), listSlack) {
		var now Version
		atOnce(2, func(i int) {
			if i == 0 {
				_ = m.own(ctx, w.Owner, w.Key, w.TTL) // a hint; the next save tries again
			} else {
				now, err = m.set(ctx, w.Key, w.Data, w.TTL, w.Version)
			}
		})
		return now, err
	}
	return m.set(ctx, w.Key, w.Data, w.TTL, w.Version)
}

// createOwned creates a session whose list is another step.
func (m *Manager) createOwned(ctx context.Context, w Write) (Version, error) {
	began := time.Now()
	if err := m.own(ctx, w.Owner, w.Key, w.TTL); err != nil {
		return 0, err
	}
	version, err := m.set(ctx, w.Key, w.Data, w.TTL, 0)
	switch {
	case errors.Is(err, ErrConflict):
		if s, lookErr := m.look(ctx, w.Key); errors.Is(lookErr, ErrGone) && s.version != 0 {
			return 0, errOvertakenByEnd
		}
	case err == nil && time.Since(began) > tombstoneTTL/2: // the tombstone that it should have met may have passed
		err = m.own(ctx, w.Owner, w.Key, w.TTL)
	}
	return version, err
}

// errOvertakenByEnd is why a new session can't have its id: somebody has looked at the
// list between its two steps.
var errOvertakenByEnd = fmt.Errorf("%w: the sessions of its owner were ended or listed meanwhile", ErrConflict)

// overtaken is how often a login begins again because of that.
const overtaken = 8

// prolongHint is for a touch, which writes no record.
func (m *Manager) prolongHint(ctx context.Context, key string, r *record.Record, ttl time.Duration) {
	if list := m.listOf(r); list != "" {
		_ = m.own(ctx, list, key, ttl)
	}
}

// batchOwned is batch for a write that ends a session. If the list is another step, that
// comes second, and as well as it goes.
func (m *Manager) batchOwned(ctx context.Context, w Write) error {
	_, err := m.batch(ctx, w)
	if w.Owner == "" || !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	m.apart.Store(true)
	list := w.Owner
	w.Owner = ""
	if _, err = m.batch(ctx, w); err == nil || errors.Is(err, ErrNotFound) {
		m.disown(ctx, list, w.Key)
	}
	return err
}

// destroyOwned is destroy for a session that belongs to owned, and leaves its list.
func (m *Manager) destroyOwned(ctx context.Context, key string, owned []byte) error {
	err := m.destroy(ctx, key)
	if err == nil {
		m.disown(ctx, m.listOf(&record.Record{Owned: owned}), key)
	}
	return err
}

// An ownedSession is a session in the list of its owner.
type ownedSession struct {
	at      string
	version Version
	record  record.Record
	is      record.Owned
	old     bool     // it may not be here yet: see Migration
	copies  []target // of it, while its id is given up in two steps, or if that was interrupted
}

func (o *ownedSession) target(m *Manager) target {
	if o.old {
		return target{key: o.at}
	}
	return target{key: o.at, version: o.version, list: m.listOf(&o.record)}
}

// has reports whether the session, or a copy, is under key.
func (o *ownedSession) has(key string) bool {
	return o.at == key || slices.ContainsFunc(o.copies, func(c target) bool { return c.key == key })
}

// owned are the living sessions of owner, the oldest first, also those that are still
// to be taken over.
func (m *Manager) owned(ctx context.Context, owner string) ([]ownedSession, error) {
	all, err := m.ownedHere(ctx, owner)
	if err != nil || !m.copies() || m.old.indexer == nil {
		return all, err
	}
	// Here, there and here: so one that moves meanwhile is seen, in either direction.
	there, err := m.old.ownedHere(ctx, owner)
	if err != nil {
		return nil, err
	}
	again, err := m.ownedHere(ctx, owner)
	if err != nil {
		return nil, err
	}
	for _, o := range slices.Concat(there, all) {
		if !slices.ContainsFunc(again, func(a ownedSession) bool { return a.at == o.at }) {
			o.old = true
			again = append(again, o)
		}
	}
	slices.SortFunc(again, byAge)
	return again, nil
}

func byAge(a, b ownedSession) int {
	return cmp.Or(cmp.Compare(a.record.Began(), b.record.Began()), cmp.Compare(a.at, b.at))
}

// ownedHere is owned in the store of m alone. Hints that lead nowhere go; but not
// while sessions move between stores, since the tombstone would say that one has
// ended which is in the other. A login that is between its two steps then goes on, and
// its session stays in the list: it counts as a later one.
func (m *Manager) ownedHere(ctx context.Context, owner string) ([]ownedSession, error) {
	if m.indexer == nil {
		return nil, errNoOwners
	}
	if err := checkOwner(owner); err != nil {
		return nil, err
	}
	keys, in, err := m.listed(ctx, owner)
	if err != nil {
		return nil, err
	}
	look := &ownerLook{of: owner, at: map[string]bool{}, by: map[string]int{}}
	for next := keys; len(next) > 0; {
		payloads, err := m.getMany(ctx, next)
		if err != nil {
			return nil, err
		}
		var then []string
		for i, p := range payloads {
			successors, err := m.lookAt(ctx, look, next[i], p)
			if err != nil {
				return nil, err
			}
			// It had another id by the time that it was looked at, which is not
			// among the keys of a moment before.
			for _, key := range successors {
				if !look.at[key] && in[key] == nil {
					then = append(then, key)
					in[key] = []string{} // once
				}
			}
		}
		next = then
	}
	if !m.moves() {
		m.dropHints(ctx, look.gone, in)
	}
	all := look.all
	slices.SortFunc(all, byAge)
	return all, nil
}

// An ownerLook is what a look at the sessions of an owner has found.
type ownerLook struct {
	of   string
	all  []ownedSession
	at   map[string]bool // the keys of all
	by   map[string]int  // their indexes by their serials
	gone []string        // keys that lead nowhere
}

// lookAt looks what there is under a key of a list, and returns the keys of its
// successors if the session has another id.
func (m *Manager) lookAt(ctx context.Context, look *ownerLook, key string, p Payload) (successors []string, err error) {
	var missing error
	if p.Data == nil {
		missing = ErrNotFound
	}
	s, err := m.see(key, p.Data, p.Version, missing)
	if err == nil && s.record.Moved || errors.Is(err, ErrGone) && s.tombstone.leads(true) {
		s, err = m.findAgain(ctx, key)
	}
	switch {
	case errors.Is(err, ErrGone):
		look.gone = append(look.gone, key)
		if s.tombstone != nil {
			successors = s.tombstone.successors
		}
		return successors, nil
	case s.corrupt:
		return nil, nil // it opens no session, and a later version may read it
	case err != nil:
		return nil, err
	}
	is := ownerOf(s.record.Owned)
	if is.Owner != look.of {
		look.gone = append(look.gone, key)
		return nil, nil
	}
	if look.at[s.at] || m.tooOld(&s.record) || s.record.Old == record.Announced {
		return nil, nil
	}
	look.at[s.at] = true
	if i, ok := look.by[is.Serial]; ok {
		look.all[i].copies = append(look.all[i].copies, target{key: s.at, version: s.version, list: m.listOf(&s.record)})
		return nil, nil
	}
	look.by[is.Serial] = len(look.all)
	look.all = append(look.all, ownedSession{at: s.at, version: s.version, record: s.record, is: is})
	return nil, nil
}

// listed are the keys in the lists of owner, and which list each is in.
func (m *Manager) listed(ctx context.Context, owner string) (keys []string, in map[string][]string, err error) {
	names := m.lists(owner)
	all, errs := make([][]string, len(names)), make([]error, len(names))
	atOnce(len(names), func(i int) { all[i], errs[i] = m.ownedKeys(ctx, names[i]) })
	if err := errors.Join(errs...); err != nil {
		return nil, nil, err
	}
	in = map[string][]string{}
	for i, name := range names {
		for _, key := range all[i] {
			if !strings.HasPrefix(key, m.o.Prefix) {
				continue // no key of ours, whoever wrote it
			}
			if in[key] == nil {
				keys = append(keys, key)
			}
			in[key] = append(in[key], name)
		}
	}
	return keys, in, nil
}

func (m *Manager) ownedKeys(ctx context.Context, list string) (keys []string, err error) {
	ask := func() {
		call := m.call(ctx)
		defer call.end()
		keys, err = m.indexer.Owned(call, list)
		err = m.classify(err, ErrTimeout, list)
	}
	if ask(); m.again(ctx, err) {
		ask()
		m.health.retried(err)
	}
	return keys, err
}

// manyKeys are asked for in one call.
const manyKeys = 1000

func (m *Manager) getMany(ctx context.Context, keys []string) (found []Payload, err error) {
	return m.getManyOf(ctx, m.indexer, keys)
}

func (m *Manager) getManyOf(ctx context.Context, indexer Indexer, keys []string) (found []Payload, err error) {
	found = make([]Payload, 0, len(keys))
	for some := range slices.Chunk(keys, manyKeys) {
		var payloads []Payload
		ask := func() {
			call := m.call(ctx)
			defer call.end()
			payloads, err = indexer.GetMany(call, some...)
			err = m.classify(err, ErrTimeout, some...)
		}
		if ask(); m.again(ctx, err) {
			ask()
			m.health.retried(err)
		}
		if err != nil {
			return nil, err
		}
		if len(payloads) != len(some) {
			return nil, fmt.Errorf("%w: the store has returned %d payloads of %d keys", ErrCorrupt, len(payloads), len(some))
		}
		found = append(found, payloads...)
	}
	return found, nil
}

// dropHints takes out keys that have no session of the owner, in for each the lists
// that it is in.
func (m *Manager) dropHints(ctx context.Context, keys []string, in map[string][]string) {
	ctx = withoutCancel(ctx)
	dropped := make([]bool, len(keys))
	apart := m.apart.Load()
	atOnce(len(keys), func(i int) {
		key, list := keys[i], ""
		if len(in[key]) == 0 { // it is in none
			return
		}
		if !apart {
			list = in[key][0]
		}
		err := m.setTombstone(ctx, key, m.newTombstone(key), m.tombstoneTTL(), 0, list)
		if dropped[i] = err == nil; errors.Is(err, ErrConflict) {
			// What stands there may be the session that was on its way.
			s, err := m.look(ctx, key)
			dropped[i] = errors.Is(err, ErrGone) || err == nil && !slices.Contains(in[key], m.listOf(&s.record))
		}
	})
	from := map[string][]string{}
	for i, key := range keys {
		if dropped[i] { // else it stays until the next time
			for _, list := range in[key] {
				from[list] = append(from[list], key)
			}
		}
	}
	for list, keys := range from {
		m.disown(ctx, list, keys...)
	}
}

// endOwned ends all, and tells.
func (m *Manager) endOwned(ctx context.Context, all []ownedSession, by string) error {
	errs := make([]error, len(all))
	apart := m.apart.Load()
	atOnce(len(all), func(i int) {
		targets := append(all[i].copies, all[i].target(m))
		for i := range targets {
			if apart { // all leave the list together
				targets[i].list = ""
			}
		}
		_, _, errs[i] = m.end(ctx, targets...)
	})
	if apart {
		m.leave(ctx, all, errs)
	}
	for i, err := range errs {
		e := Event{Kind: EventEnded, Why: by}
		if err != nil {
			e = Event{Kind: EventNotRevoked, Err: &Error{OpDestroy, err}}
		}
		e.ID, _ = m.dialect.print(m.o.Prefix, all[i].at)
		m.tell(ctx, nil, "", e)
	}
	if err := errors.Join(errs...); err != nil {
		return &Error{OpDestroy, err}
	}
	return nil
}

// leave takes those of all out of the list that have ended.
func (m *Manager) leave(ctx context.Context, all []ownedSession, errs []error) {
	var keys []string
	list := ""
	for i := range all {
		if errs[i] == nil {
			for _, t := range append(all[i].copies, all[i].target(m)) {
				keys, list = append(keys, t.key), t.list
			}
		}
	}
	m.disown(ctx, list, keys...)
}

// An admission is what a login with MaxSessions does about the sessions of its owner; it is
// nil for any other.
type admission struct {
	login  *login
	others []target // that the request carries, which end then
	own    string   // the key that the session had
}

// admission asks whether a login with RefuseMore may take place before anything is
// stored. Mostly it is refused here.
func (m *Manager) admission(p *plan) (*admission, error) {
	if p.login.most == 0 {
		return nil, nil
	}
	a := &admission{p.login, p.others, m.storeKey(&p.entry)}
	if !p.login.refuses {
		return a, nil
	}
	serial := ""
	if p.entry.state == live {
		serial = ownerOf(p.entry.stored.Owned).Serial
	}
	return a, m.admits(p.ctx, p.login, "", serial)
}

// admit comes when the session is stored as e, and nothing has ended yet that it takes the
// place of: the session of the owner with that serial, if there is one, and others. So
// after an error the browser has what it had.
func (m *Manager) admit(ctx context.Context, a *admission, e *entry, serial string) error {
	if a.login.refuses {
		if err := m.admits(ctx, a.login, m.storeKey(e), serial); err != nil {
			return err
		}
		return m.endOthers(ctx, a.others, a.own)
	}
	if err := m.endOthers(ctx, a.others, a.own); err != nil {
		return err
	}
	return m.limit(ctx, a.login, e, serial)
}

// admits is ErrTooMany if the session at key is one too many, or, where that is "", if
// one more would be. Logins beside each other see those that were stored before they
// look, and agree who came first. Who did not gives up; who did waits for that. It waits
// in vain if the other one had looked before it was stored, or has another clock.
func (m *Manager) admits(ctx context.Context, l *login, key, serial string) error {
	room := l.most
	if key == "" {
		room--
	}
	for tries := (tries{manager: m}); ; {
		keys, _, err := m.listed(ctx, l.owner)
		if err != nil || len(keys) <= room && !m.copies() {
			return err
		}
		all, err := m.owned(ctx, l.owner)
		if err != nil {
			return err
		}
		all = slices.DeleteFunc(all, func(s ownedSession) bool { return serial != "" && s.is.Serial == serial })
		own := slices.IndexFunc(all, func(s ownedSession) bool { return s.has(key) })
		switch {
		case len(all) <= room:
			return nil
		case key == "", own >= room, tries.n == admitTries:
			return ErrTooMany
		case own < 0: // somebody has ended it since
			return nil
		}
		if err := tries.next(); err != nil {
			return err
		}
	}
}

// admitTries is how often a login looks again whether another one has given up.
const admitTries = 8

// limit holds the owner of e, which a login has just stored, to so many sessions beside
// the one with that serial. Logins beside each other do this at the same time. All agree
// who is the oldest, and a session is ended only as old as it was when it was looked at:
// so two of them never end each other.
func (m *Manager) limit(ctx context.Context, l *login, e *entry, serial string) error {
	for tries := (tries{manager: m}); ; {
		keys, _, err := m.listed(ctx, l.owner)
		if err != nil || len(keys) <= l.most && !m.copies() {
			return err
		}
		all, err := m.owned(ctx, l.owner)
		if err != nil {
			return err
		}
		all = slices.DeleteFunc(all, func(s ownedSession) bool { return serial != "" && s.is.Serial == serial })
		if len(all) <= l.most {
			return nil
		}
		own := slices.IndexFunc(all, func(s ownedSession) bool { return s.has(m.storeKey(e)) })
		switch {
		case own < 0:
			return nil // it has been ended already, by a later one
		case own < len(all)-l.most: // by the clock of another process it is not the last
			err = m.makeLast(ctx, e, &all[own], all[len(all)-1].record.Began())
		default:
			err = m.endEach(ctx, all[:len(all)-l.most])
			if err == nil {
				return nil
			}
		}
		switch {
		case errors.Is(err, ErrNotFound):
			return nil
		case err != nil && !errors.Is(err, ErrConflict):
			return err
		}
		if err := tries.next(); err != nil {
			return err
		}
	}
}

// makeLast makes e later than a login at that time.
func (m *Manager) makeLast(ctx context.Context, e *entry, now *ownedSession, than int64) error {
	r := now.record
	r.Login = than + 1
	f := *e
	version, err := m.put(ctx, &f, now.at, &r, now.version)
	if err == nil {
		e.written(r, version)
	}
	return err
}

// endEach ends all as old as they are: ErrConflict if one has become younger, or has moved.
func (m *Manager) endEach(ctx context.Context, all []ownedSession) error {
	for i := range all {
		for _, p := range append(all[i].copies, all[i].target(m)) {
			var err error
			if all[i].old {
				_, _, err = m.end(ctx, p)
			} else {
				err = m.removeAged(ctx, p, &all[i].record)
			}
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
		}
		e := Event{Kind: EventEnded, Why: "LoginOptions.MaxSessions"}
		e.ID, _ = m.dialect.print(m.o.Prefix, all[i].at)
		m.tell(ctx, nil, "", e)
	}
	return nil
}

// removeAged removes what was r when it was looked at. Requests that save it can't hinder
// that: it holds them back after the first one that it meets.
func (m *Manager) removeAged(ctx context.Context, p target, r *record.Record) error {
	err := m.remove(ctx, p.key, p.version, p.list)
	if !errors.Is(err, ErrConflict) || m.batcher == nil {
		return err
	}
	now, _, err := m.hold(ctx, p.key)
	switch {
	case errors.Is(err, ErrGone): // it has another id, or has ended
		return ErrConflict
	case err != nil:
		return err
	case now.at != p.key || now.record.Began() != r.Began():
		return ErrConflict
	}
	return m.remove(ctx, p.key, now.version, p.list)
}
