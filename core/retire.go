package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"

	"github.com/gensession/gensession/core/internal/record"
)

// How an id is given up for another one, so that there are never two usable ids
// after success, nor none after an error.

// changeID moves e with the changes c to a new id: the record is created under
// an id that nobody knows yet; then the old one is exchanged for a tombstone,
// which fails if another request saved meanwhile, and is tried again with that
// one's changes taken over. Only then is the new id used.
func (m *Manager) changeID(ctx context.Context, e *entry, c *changeSet) error {
	oldKey := m.storeKey(e)
	reread := e.notLoaded || e.version == 0 && m.swapper != nil
	for tries := (tries{manager: m}); ; {
		base, version, err := m.base(ctx, e, c, oldKey, reread)
		if err != nil {
			return err
		}
		r, err := m.rebase(e, c, base, oldKey, reread && !c.blind)
		if err != nil {
			return err
		}
		id, newKey, newVersion, err := m.copyTo(ctx, e, &r)
		if err == errExpired && !reread && m.swapper != nil {
			reread = true // another request may have prolonged it
			continue
		}
		if err != nil {
			return err
		}
		m.recordSuccessor(ctx, oldKey, newKey) // before anybody can find the id dead
		err = m.deleteIfVersion(ctx, oldKey, version)
		if err == nil {
			e.id, e.key = id, newKey
			e.written(r, newVersion)
			return nil
		}
		// The old id lives on, so the new one must not.
		undone := m.destroy(ctx, newKey)
		m.removeSuccessor(ctx, oldKey, newKey)
		switch {
		case errors.Is(err, ErrOutcomeUnknown):
			return errors.Join(err, undone, m.fence(ctx, e, oldKey))
		case errors.Is(err, ErrNotFound):
			return ErrGone
		case errors.Is(err, ErrConflict) && e.unknownWrite != nil && c.updates():
			return errors.Join(errOvertaken, undone)
		case !errors.Is(err, ErrConflict):
			return errors.Join(err, undone)
		case undone != nil:
			m.debug(ctx, "an unused copy of the session may stay until its ttl is over", slog.Any("error", undone))
		}
		reread = true
		if err := tries.next(); err != nil {
			return errors.Join(err, undone)
		}
	}
}

// copyTo creates r under a new id.
func (m *Manager) copyTo(ctx context.Context, e *entry, r *record.Record) (ID, string, Version, error) {
	id, err := m.newID(ctx)
	if err != nil {
		return "", "", 0, fmt.Errorf("%w: %w", errNewID, err)
	}
	key := m.key(id)
	version, err := m.put(ctx, e, key, r, 0)
	if errors.Is(err, ErrConflict) {
		err = errIDInUse
	}
	return id, key, version, err
}

// retireID gives the id of e up for that of successor. As in changeID the record
// is exchanged for a tombstone, so that of two requests that give it up only one
// comes through. generic-session just removes it, and so does KoaCompat.
func (m *Manager) retireID(ctx context.Context, e *entry, successor string) (err error) {
	key, version := m.storeKey(e), e.version
	m.recordSuccessor(ctx, key, successor)
	defer func() {
		if err != nil {
			m.removeSuccessor(ctx, key, successor)
		}
	}()
	if m.swapper == nil || !m.dialect.marks() {
		return m.destroy(ctx, key)
	}
	tries := tries{manager: m}
	for {
		if version == 0 {
			var data []byte
			if data, version, err = m.get(ctx, key); err == nil && isTombstone(data) {
				err = ErrNotFound
			}
		}
		if err == nil {
			err = m.deleteIfVersion(ctx, key, version)
		}
		switch {
		case errors.Is(err, ErrCorrupt): // something else that stands there
			return m.destroy(ctx, key)
		case errors.Is(err, ErrNotFound):
			if e.state != live || e.notLoaded {
				return nil // nobody knew whether there was one
			}
			return ErrGone
		case errors.Is(err, ErrOutcomeUnknown):
			return errors.Join(err, m.fence(ctx, e, key))
		case !errors.Is(err, ErrConflict):
			return err
		}
		if err = tries.next(); err != nil {
			return err
		}
		version = 0
	}
}

// fence makes sure that a tombstone which had no answer does not come late and
// kill the session after all: a record written anew has another version. It
// can do no more than try.
func (m *Manager) fence(ctx context.Context, e *entry, key string) error {
	r, version, err := m.read(ctx, key)
	if err != nil {
		return err
	}
	r.Fence = rand.Uint32() | 1 // for stores whose version is a digest
	_, err = m.put(ctx, e, key, &r, version)
	if errors.Is(err, ErrConflict) {
		return nil // another request wrote it anew
	}
	return err
}
