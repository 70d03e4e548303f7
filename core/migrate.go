package core

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/gensession/gensession/core/internal/record"
)

// A Migration lets processes with [KoaCompat] and with the default Options share
// sessions until a date, while an application moves from one to the other. Each
// accepts the cookies of both, and takes a session that has the other form over
// into its own: the values under the same id. What the session has chosen, such as
// its life, and the time of its login are not taken over: from then on it lives as
// the Options say. RenewAfter begins when it is over. Prefix, Name and Koa must be
// the same in both.
type Migration struct {
	// Keys verify the cookies of the other form: with KoaCompat the future
	// Options.Keys, else the keys of the Koa app.
	Keys Keyring
	// Until is when the other form is refused again: after the longest life of a
	// session. Zero means no migration.
	Until time.Time
}

func (g *Migration) check(o *Options, signed bool) error {
	switch {
	case g.Until.IsZero() && len(g.Keys) > 0:
		return errors.New("Options.Migrate has Keys, but does not say until when: set Until")
	case g.Until.IsZero():
		return nil
	case signed != (len(g.Keys) > 0):
		return errors.New("Options.Migrate needs Keys where the cookie is signed, and none where it is not")
	case len(o.Seal.Keys) > 0:
		return errors.New("Options has both Migrate and Seal: a process with KoaCompat could not read the sessions, so seal after the migration")
	}
	return g.Keys.check("Options.Migrate.Keys", !o.koa)
}

// migrates reports whether sessions of the other form count.
func (m *Manager) migrates() bool {
	until := m.o.Migrate.Until
	return !until.IsZero() && time.Now().Before(until)
}

// other is where the session of id is in the other form.
func (m *Manager) other(id ID) (dialect, string) {
	d := dialect{koa: !m.dialect.koa}
	return d, d.key(m.o.Prefix, id)
}

// orTakenOver goes on after a look at key, which is that of id: if there is nothing,
// the session may have the other form.
func (m *Manager) orTakenOver(ctx context.Context, id ID, key string, s lookup, err error) (lookup, error) {
	if errors.Is(err, ErrGone) && s.version == 0 && s.tombstone == nil && m.migrates() {
		return m.takeOver(ctx, id, key)
	}
	return s, err
}

// takeOver brings the session of id, which must not be under key, from where it is
// in the other form. Of several requests that do so at once, each finds it.
func (m *Manager) takeOver(ctx context.Context, id ID, key string) (lookup, error) {
	d, from := m.other(id)
	for tries := (tries{manager: m}); ; {
		data, version, err := m.get(ctx, from)
		switch {
		case errors.Is(err, ErrNotFound):
			return m.look(ctx, key) // another request may have been faster
		case err != nil:
			return lookup{}, err
		case isTombstone(data):
			return lookup{}, ErrGone
		}
		if err := m.fits(data); err != nil {
			return lookup{corrupt: true}, err
		}
		r, err := d.parse(data, from)
		if err != nil {
			return lookup{corrupt: true}, err
		}
		r = record.Record{Fields: r.Fields, Cookie: m.blank, Created: time.Now().UnixMilli()}
		text, ttl, err := m.prepare(&entry{id: id}, key, &r)
		if errors.Is(err, errExpired) {
			return lookup{}, ErrGone
		}
		if err != nil {
			return lookup{}, err
		}
		err = m.moveHere(withoutCancel(ctx), key, text, ttl, from, version)
		switch {
		case err == nil:
			m.debug(ctx, "session taken over from the other form", slog.Any("session", id))
			return m.look(ctx, key)
		case !errors.Is(err, ErrConflict) && !errors.Is(err, ErrNotFound):
			return lookup{}, err
		}
		if s, lookErr := m.look(ctx, key); !errors.Is(lookErr, ErrGone) || s.tombstone != nil {
			return s, lookErr
		}
		if err := tries.next(); err != nil {
			return lookup{}, err
		}
	}
}

// moveHere creates text under key and removes what is under from, if that still has
// version. If it fails, the session is where it was.
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

// dropOther removes what a crash may have left of the session of id in the other
// form, before the id is given up: or it would be found there again.
func (m *Manager) dropOther(ctx context.Context, id ID) error {
	if !m.migrates() {
		return nil
	}
	_, from := m.other(id)
	return m.destroy(ctx, from)
}

// both are the targets of the session of id: also where it is in the other form.
func (m *Manager) both(id ID) []target {
	targets := []target{{key: m.key(id)}}
	if m.migrates() {
		_, from := m.other(id)
		targets = append(targets, target{key: from})
	}
	return targets
}
