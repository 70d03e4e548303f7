package core

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// tombstone is what renew leaves under an old id until it is removed: a JSON
// value that says "no session", also to koa-generic-session. Blanks after it
// tell those of two requests apart.
const tombstone = "null"

// tombstoneTTL is how long it stays if its removal fails.
const tombstoneTTL = time.Minute

func newTombstone() []byte {
	text := []byte(tombstone)
	for n := rand.Uint32(); len(text) < len(tombstone)+32; n >>= 1 {
		text = append(text, " \t"[n&1])
	}
	return text
}

// isTombstone reports whether data stands for no session; an empty payload
// does, too.
func isTombstone(data []byte) bool {
	if len(data) == 0 {
		return true
	}
	if data[0] != tombstone[0] {
		return false // a record, as nearly always
	}
	return string(bytes.TrimRight(data, " \t")) == tombstone
}

// deleteIfVersion removes key if it still has version: in two steps, since stores can
// compare versions only when they write. A store without versions just removes
// it.
func (m *Manager) deleteIfVersion(ctx context.Context, key string, version Version) error {
	if m.swapper == nil {
		return m.destroy(ctx, key)
	}
	text := newTombstone()
	if _, err := m.set(ctx, key, append([]byte(key), text...), tombstoneTTL, version); err != nil {
		if !errors.Is(err, ErrOutcomeUnknown) {
			return err
		}
		// Was it written? Only then the old id is dead by our hand. It may
		// still come: see fence.
		if data, _, lookErr := m.get(ctx, key); lookErr != nil || !bytes.Equal(data, text) {
			return err
		}
	}
	_ = m.destroy(ctx, key) // the tombstone is as good, and passes by itself
	return nil
}
