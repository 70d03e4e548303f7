package core

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// An id that was given up for another one is marked for a while, under a key
// of its own, with the store keys of its successors. A late request that still
// carries the old id finds no session, and by the mark it finds out that the
// browser has got another one since: a session of its own would take that
// one's cookie away (K17). A late logout ends the successor. generic-session would
// not understand the mark, and KoaCompat makes none.
const (
	markSuffix = ".old"
	markTTL    = time.Minute
)

// recordSuccessor notes successor as one of key. It does so as well as it goes: without a mark
// late requests are answered as those with any unknown id.
func (m *Manager) recordSuccessor(ctx context.Context, key, successor string) {
	if !m.dialect.marks() {
		return
	}
	_, err := m.set(ctx, key+markSuffix, []byte(key+markSuffix+successor), markTTL, 0)
	if errors.Is(err, ErrConflict) {
		m.updateSuccessors(ctx, key, func(successors []string) []string { return append(successors, successor) })
	}
}

// removeSuccessor takes back what recordSuccessor noted, when successor did not become one.
func (m *Manager) removeSuccessor(ctx context.Context, key, successor string) {
	if !m.dialect.marks() {
		return
	}
	m.updateSuccessors(ctx, key, func(successors []string) []string {
		return slices.DeleteFunc(successors, func(h string) bool { return h == successor })
	})
}

// updateSuccessors changes the mark of key, which other requests may change at the same
// time. One without successors is none.
func (m *Manager) updateSuccessors(ctx context.Context, key string, f func(successors []string) []string) {
	key += markSuffix
	tries := tries{manager: m}
	for {
		data, version, err := m.get(ctx, key)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return
		}
		text := key + strings.Join(f(strings.Fields(string(data))), " ")
		_, err = m.set(ctx, key, []byte(text), markTTL, version)
		if !errors.Is(err, ErrConflict) && !errors.Is(err, ErrNotFound) || tries.next() != nil {
			return
		}
	}
}

// successors are the store keys that key was given up for lately.
func (m *Manager) successors(ctx context.Context, key string) ([]string, error) {
	if !m.dialect.marks() {
		return nil, nil
	}
	data, _, err := m.get(ctx, key+markSuffix)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return strings.Fields(string(data)), err
}

// hasSuccessors reports whether key was given up for another one lately.
func (m *Manager) hasSuccessors(ctx context.Context, key string) bool {
	successors, _ := m.successors(ctx, key)
	return len(successors) > 0
}

// destroyWithSuccessors destroys the session under key for good: if it moved to another id while
// somebody was about to end it, it ends there.
func (m *Manager) destroyWithSuccessors(ctx context.Context, key string) error {
	if err := m.destroy(ctx, key); err != nil {
		return err
	}
	ctx = withoutCancel(ctx)
	const generations = 8 // a browser that was renewed so often in a minute is left alone
	keys := []string{key}
	for range generations {
		var next []string
		for _, key := range keys {
			successors, err := m.successors(ctx, key)
			if err != nil {
				return halfEnded(err)
			}
			next = append(next, successors...)
		}
		if len(next) == 0 {
			break
		}
		for _, key := range next {
			if err := m.destroy(ctx, key); err != nil {
				return halfEnded(err)
			}
		}
		keys = next
	}
	return nil
}

// halfEnded is the error of destroyWithSuccessors when the session is gone from where it was, and
// nobody knows whether it lives on elsewhere.
func halfEnded(err error) error { return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err) }
