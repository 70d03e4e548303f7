package core

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// The calls of the store: each with a deadline of its own, with versions where
// the store has them, and with errors that have a class.

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
	return len(data) == 0 || string(bytes.TrimRight(data, " \t")) == tombstone
}

// A callContext is the context of one call of the store: with a deadline, and
// in writes without the cancellation of the request. It is a
// context.WithTimeout that starts its timer only for who waits for it; a store
// in memory never does.
type callContext struct {
	context.Context
	deadline time.Time

	mu    sync.Mutex
	timed context.Context // made by the first Done
	stop  context.CancelFunc
}

// callContext returns the context of a call, and end must be called after it.
func (m *Manager) callContext(ctx context.Context) *callContext {
	c := &callContext{Context: ctx, deadline: time.Now().Add(m.o.OpTimeout)}
	if d, ok := ctx.Deadline(); ok && d.Before(c.deadline) {
		c.deadline = d
	}
	return c
}

func (c *callContext) Deadline() (time.Time, bool) { return c.deadline, true }

func (c *callContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed == nil {
		c.timed, c.stop = context.WithDeadline(c.Context, c.deadline)
	}
	return c.timed.Done()
}

func (c *callContext) Err() error {
	c.mu.Lock()
	timed := c.timed
	c.mu.Unlock()
	if timed != nil {
		return timed.Err()
	}
	if err := c.Context.Err(); err != nil {
		return err
	}
	if !time.Now().Before(c.deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

// end frees the timer, and ends what still waits for Done.
func (c *callContext) end() {
	c.mu.Lock()
	stop := c.stop
	c.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// get reads key, with its version if the store has them.
func (m *Manager) get(ctx context.Context, key string) (data []byte, version Version, err error) {
	call := m.callContext(ctx)
	defer call.end()
	if m.swapper != nil {
		data, version, err = m.swapper.GetVersion(call, key)
	} else {
		data, err = m.store.Get(call, key)
	}
	return data, version, classify(err, ErrTimeout)
}

// set writes key if it still has version, zero meaning that it must not be
// there. Without versions it just writes.
func (m *Manager) set(ctx context.Context, key string, data []byte, ttl time.Duration, version Version) (Version, error) {
	call := m.callContext(ctx)
	defer call.end()
	if m.swapper == nil {
		return 0, classify(m.store.Set(call, key, data, ttl), ErrOutcomeUnknown)
	}
	version, err := m.swapper.SetVersion(call, key, data, ttl, version)
	return version, classify(err, ErrOutcomeUnknown)
}

func (m *Manager) touch(ctx context.Context, key string, ttl time.Duration) error {
	call := m.callContext(ctx)
	defer call.end()
	return classify(m.toucher.Touch(call, key, ttl), ErrOutcomeUnknown)
}

func (m *Manager) destroy(ctx context.Context, key string) error {
	call := m.callContext(context.WithoutCancel(ctx))
	defer call.end()
	err := m.store.Destroy(call, key)
	if errors.Is(err, ErrNotFound) {
		return nil // a strict store; what is not there is destroyed
	}
	return classify(err, ErrOutcomeUnknown)
}

// bury removes key if it still has version: in two steps, since stores can
// compare versions only when they write. A store without versions just removes
// it.
func (m *Manager) bury(ctx context.Context, key string, version Version) error {
	if m.swapper == nil {
		return m.destroy(ctx, key)
	}
	text := newTombstone()
	if _, err := m.set(ctx, key, text, tombstoneTTL, version); err != nil {
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

// An id that was given up for another one is marked for a while, under a key
// of its own. A late request that still carries it finds no session, and by
// the mark it finds out that the browser has got another one since: a session
// of its own would take that one's cookie away (K17). generic-session would not
// understand the mark, and KoaCompat makes none.
const (
	markSuffix = ".old"
	markTTL    = time.Minute
)

func (m *Manager) mark(ctx context.Context, key string) {
	if !m.o.koa {
		_, _ = m.set(ctx, key+markSuffix, []byte(tombstone), markTTL, 0) // as well as it goes
	}
}

func (m *Manager) marked(ctx context.Context, key string) bool {
	if m.o.koa {
		return false
	}
	_, _, err := m.get(ctx, key+markSuffix)
	return err == nil
}

// classify gives a store's error the class of an operation that ran out of
// time, if the store did not name one itself.
func classify(err, late error) error {
	if errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrTimeout) && !errors.Is(err, ErrOutcomeUnknown) {
		return fmt.Errorf("%w: %w", late, err)
	}
	return err
}
