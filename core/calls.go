package core

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The calls of the store: each with a deadline of its own, with versions where
// the store has them, and with errors that have a class.

// tombstone is what renew leaves under an old id until it is removed: a JSON
// value that says "no session", also to koa-generic-session.
const tombstone = "null"

// tombstoneTTL is how long it stays if its removal fails.
const tombstoneTTL = time.Minute

// isTombstone reports whether data stands for no session; an empty payload
// does, too.
func isTombstone(data []byte) bool { return len(data) == 0 || string(data) == tombstone }

// get reads key, with its version if the store has them.
func (m *Manager) get(ctx context.Context, key string) (data []byte, version Version, err error) {
	ctx, cancel := context.WithTimeout(ctx, m.o.OpTimeout)
	defer cancel()
	if m.swapper != nil {
		data, version, err = m.swapper.GetVersion(ctx, key)
	} else {
		data, err = m.store.Get(ctx, key)
	}
	return data, version, classify(err, ErrTimeout)
}

// set writes key if it still has version, zero meaning that it must not be
// there. Without versions it just writes.
func (m *Manager) set(ctx context.Context, key string, data []byte, ttl time.Duration, version Version) (Version, error) {
	ctx, cancel := context.WithTimeout(ctx, m.o.OpTimeout)
	defer cancel()
	if m.swapper == nil {
		return 0, classify(m.store.Set(ctx, key, data, ttl), ErrOutcomeUnknown)
	}
	version, err := m.swapper.SetVersion(ctx, key, data, ttl, version)
	return version, classify(err, ErrOutcomeUnknown)
}

func (m *Manager) touch(ctx context.Context, key string, ttl time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, m.o.OpTimeout)
	defer cancel()
	return classify(m.toucher.Touch(ctx, key, ttl), ErrOutcomeUnknown)
}

func (m *Manager) destroy(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.o.OpTimeout)
	defer cancel()
	err := m.store.Destroy(ctx, key)
	if errors.Is(err, ErrNotFound) {
		return nil // a strict store; what is not there is destroyed
	}
	return classify(err, ErrOutcomeUnknown)
}

// bury removes key if it still has version: in two steps, since stores can
// compare versions only when they write.
func (m *Manager) bury(ctx context.Context, key string, version Version) error {
	if m.swapper != nil {
		if _, err := m.set(ctx, key, []byte(tombstone), tombstoneTTL, version); err != nil {
			if !errors.Is(err, ErrOutcomeUnknown) {
				return err
			}
			// Was it written? Only then the old id is dead already.
			if data, _, lookErr := m.get(ctx, key); lookErr != nil || !isTombstone(data) {
				return err
			}
		}
		_ = m.destroy(ctx, key) // the tombstone is as good, and passes by itself
		return nil
	}
	return m.destroy(ctx, key)
}

// classify gives a store's error the class of an operation that ran out of
// time, if the store did not name one itself.
func classify(err, late error) error {
	if errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrTimeout) && !errors.Is(err, ErrOutcomeUnknown) {
		return fmt.Errorf("%w: %w", late, err)
	}
	return err
}
