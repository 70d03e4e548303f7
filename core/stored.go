package core

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/gensession/gensession/core/internal/record"
)

// The sessions of a store, for those who operate it: they have what a log says, and
// no id. A tool on this does not have to know what a record, a tombstone or a sealed
// payload looks like.

// A Stored is what the store has of one session: see [Manager.Stored]. It contains no
// id and no key of the store.
type Stored struct {
	// Print is the fingerprint of its id, as in Event.ID and in logs.
	Print string
	// Owner, Handle and Label are as in [Device]. They are "" if the session is
	// nobody's.
	Owner, Handle, Label string
	// Created is when the session began, and LoggedIn when its last login was. They
	// are zero if the record does not say it, as with KoaCompat, or if there was no
	// login.
	Created, LoggedIn time.Time
	// LastUsed is as in [Device], and zero if the session is nobody's.
	LastUsed time.Time
	// Size is that of the payload in bytes.
	Size int
	// Note reports that this is no session but what one has left that has lately
	// got another id or gone to another store, or ended.
	Note bool
	// Err is why the payload is no session that can be read: an [ErrCorrupt], also
	// if it is sealed with none of Options.Seal.Keys, or an [ErrTooLarge].
	Err error

	*storedAt
}

// A storedAt is what of a Stored is not shown.
type storedAt struct {
	manager *Manager
	key     string
	record  record.Record
}

// Format prints the exported fields, and nothing of the key and the values.
func (s Stored) Format(f fmt.State, verb rune) {
	type stored Stored // which has no methods
	s.storedAt = nil
	fmt.Fprintf(f, fmt.FormatString(f, verb), stored(s))
}

// Stored returns all sessions of the store, in any order and some perhaps twice, for
// tools that list, count or end them. If print is not empty, these are only those of
// that fingerprint: seldom more than one, since it has 32 bits. Sessions that begin,
// end or change their id meanwhile may be missing. It reads every key of the store that
// begins with Options.Prefix, so it is nothing for a request; of those payloads that
// print does not exclude.
//
// It ends with an error, which is errors.ErrUnsupported if the store can't tell its
// keys by the method Keys of an [Indexer].
func (m *Manager) Stored(ctx context.Context, print string) iter.Seq2[*Stored, error] {
	ctx = requestless(ctx)
	return func(yield func(*Stored, error) bool) {
		lister, ok := As[lister](m.store)
		if !ok {
			yield(nil, quietly(OpGet, errNoKeys))
			return
		}
		err := lister.Keys(ctx, m.o.Prefix, func(keys []string) error {
			for some := range slices.Chunk(m.named(keys, print), manyKeys) {
				if err := m.readStored(ctx, some); err != nil {
					return err
				}
				for i := range some {
					if s := &some[i]; s.Size > 0 && !yield(s, nil) {
						return errEnough
					}
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			yield(nil, quietly(OpGet, m.classify(err, ErrTimeout)))
		}
	}
}

// named are those of keys that are of a session, and of that fingerprint if print is not
// empty.
func (m *Manager) named(keys []string, print string) (all []Stored) {
	for _, key := range keys {
		if its, ok := m.dialect.print(m.o.Prefix, key); ok && (print == "" || its == print) {
			all = append(all, Stored{storedAt: &storedAt{manager: m, key: key}, Print: its})
		}
	}
	return all
}

// A lister is a store that can tell its keys. The core finds it by its method, which
// is that of an [Indexer].
type lister interface {
	Keys(ctx context.Context, prefix string, f func(keys []string) error) error
}

var (
	errNoKeys = fmt.Errorf("%w: the store can't tell its keys", errors.ErrUnsupported)
	errEnough = errors.New("the caller wants no more")
)

// readStored reads what the store has. The Size of what is gone stays zero.
func (m *Manager) readStored(ctx context.Context, all []Stored) error {
	found := make([]Payload, len(all))
	if indexer, ok := As[Indexer](m.store); ok {
		keys := make([]string, len(all))
		for i := range all {
			keys[i] = all[i].key
		}
		var err error
		if found, err = m.getManyOf(ctx, indexer, keys); err != nil {
			return err
		}
	} else {
		for i := range all {
			data, _, err := m.get(ctx, all[i].key)
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			found[i].Data = data
		}
	}
	for i := range all {
		all[i].read(found[i].Data)
	}
	return nil
}

// read takes over what data says.
func (s *Stored) read(data []byte) {
	if s.Size = len(data); s.Size == 0 {
		return
	}
	if isTombstone(data) {
		s.Note = true
		return
	}
	if s.Err = s.manager.decode(&s.record, data, s.key); s.Err != nil {
		return
	}
	r := &s.record
	if r.Moved || r.Old == record.Announced {
		s.Note = true
		return
	}
	s.Created, s.LoggedIn = moment(r.Created), moment(r.Login)
	if owned := ownerOf(r.Owned); owned.Owner != "" {
		s.Owner, s.Handle, s.Label = owned.Owner, owned.Serial, owned.Label
		s.LastUsed = moment(max(r.Used, r.Began()))
	}
}

// moment is that of so many Unix milliseconds, zero for none.
func moment(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// Values returns the values of the session as a JSON object that the caller owns. It is
// Err if that is set, and [ErrNotFound] of a Note.
func (s *Stored) Values() ([]byte, error) {
	switch {
	case s.Err != nil:
		return nil, quietly(OpGet, s.Err)
	case s.Note:
		return nil, quietly(OpGet, ErrNotFound)
	}
	if _, err := s.record.All(); err != nil {
		return nil, quietly(OpGet, err)
	}
	return append(s.record.AppendTo([]byte{'{'}), '}'), nil
}

// Destroy ends the session, as [Manager.DestroyByID] does: also if it has got another
// id since. Of a Note it ends the sessions that came after it. That it has ended already
// is no error.
func (s *Stored) Destroy(ctx context.Context) error {
	m, ctx := s.manager, requestless(ctx)
	_, found, err := m.end(ctx, target{key: s.key})
	if err != nil {
		e := &Error{OpDestroy, err}
		m.tell(ctx, nil, "", Event{Kind: EventNotRevoked, ID: s.Print, Err: e})
		return e
	}
	e := Event{Kind: EventUnknownID, ID: s.Print}
	if len(found) > 0 {
		e.Kind, e.Why = EventEnded, "Stored.Destroy"
	}
	m.tell(ctx, nil, "", e)
	return nil
}

// print returns the fingerprint of the id whose session is under key. ok is false if
// that is the key of no session.
func (d dialect) print(prefix, key string) (print string, ok bool) {
	end, ok := strings.CutPrefix(key, prefix)
	if !ok {
		return "", false
	}
	if d.koa {
		// Others may have any key below the prefix. No store reads one that it could not have written.
		return ID(end).String(), end != "" && len(key) <= 250 && keyText(end)
	}
	sum, err := base64.RawURLEncoding.Strict().DecodeString(end)
	if err != nil || len(sum) != 32 {
		return "", false
	}
	return fingerprint(sum), true
}
