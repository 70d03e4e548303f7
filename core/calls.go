package core

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"
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
	if len(data) == 0 {
		return true
	}
	if data[0] != tombstone[0] {
		return false // a record, as nearly always
	}
	return string(bytes.TrimRight(data, " \t")) == tombstone
}

// A callContext is the context of one call of the store: with a deadline, and
// in writes without the cancellation of the request. It is a
// context.WithTimeout that starts its timer only for who waits for it.
type callContext struct {
	context.Context
	manager *Manager
	over    time.Duration                // when its time is, as an age of the manager
	timed   atomic.Pointer[timedContext] // made by the first Done
}

type timedContext struct {
	context.Context
	stop context.CancelFunc
}

// call returns the context of a call that begins now; end must be called after
// it.
func (m *Manager) call(ctx context.Context) *callContext {
	return &callContext{Context: ctx, manager: m, over: time.Since(m.born) + m.o.OpTimeout}
}

func (c *callContext) Deadline() (time.Time, bool) {
	over := c.manager.born.Add(c.over)
	if d, ok := c.Context.Deadline(); ok && d.Before(over) {
		return d, true
	}
	return over, true
}

func (c *callContext) Done() <-chan struct{} {
	if t := c.timed.Load(); t != nil {
		return t.Done()
	}
	if c.Context.Done() == nil { // nothing but time can end it
		if _, ok := c.Context.Deadline(); !ok {
			return c.manager.doneAt(c.over)
		}
	}
	t := new(timedContext)
	over, _ := c.Deadline()
	t.Context, t.stop = context.WithDeadline(c.Context, over)
	if !c.timed.CompareAndSwap(nil, t) {
		t.stop()
	}
	return c.timed.Load().Done()
}

func (c *callContext) Err() error {
	if t := c.timed.Load(); t != nil {
		return t.Err()
	}
	if err := c.Context.Err(); err != nil {
		return err
	}
	if time.Since(c.manager.born) >= c.over {
		return context.DeadlineExceeded
	}
	return nil
}

// end frees the timer of the call, and ends what still waits for its Done. A
// shared one is left: it ends when the time of the call is over.
func (c *callContext) end() {
	if t := c.timed.Load(); t != nil {
		t.stop()
	}
}

// A sharedEnd is one timer for the calls of about a millisecond: under load a
// timer of its own, and the context around it, would be a good part of what a
// call costs.
type sharedEnd struct {
	over time.Duration
	done chan struct{}
}

const endGrain = time.Millisecond

// doneAt returns what is closed when the manager is so old, or up to two
// milliseconds later.
func (m *Manager) doneAt(over time.Duration) <-chan struct{} {
	for {
		last := m.sharedEnd.Load()
		if last != nil && last.over >= over && last.over-over <= 2*endGrain {
			return last.done
		}
		next := &sharedEnd{over + endGrain, make(chan struct{})}
		if m.sharedEnd.CompareAndSwap(last, next) {
			time.AfterFunc(next.over-time.Since(m.born), func() { close(next.done) })
			return next.done
		}
	}
}

// withoutCancel is context.WithoutCancel, which allocates also for a context
// that can't be cancelled.
func withoutCancel(ctx context.Context) context.Context {
	if ctx.Done() == nil {
		if _, ok := ctx.Deadline(); !ok {
			return ctx
		}
	}
	return context.WithoutCancel(ctx)
}

// get reads key, with its version if the store has them.
func (m *Manager) get(ctx context.Context, key string) (data []byte, version Version, err error) {
	data, version, err = m.getOnce(ctx, key)
	if m.again(ctx, err) {
		data, version, err = m.getOnce(ctx, key)
	}
	return data, version, err
}

func (m *Manager) getOnce(ctx context.Context, key string) (data []byte, version Version, err error) {
	if m.keeper != nil {
		text, version, err := m.keeper.View(ctx, key)
		return viewed(text), version, classify(err, ErrTimeout)
	}
	call := m.call(ctx)
	defer call.end()
	if m.swapper != nil {
		data, version, err = m.swapper.GetVersion(call, key)
	} else {
		data, err = m.store.Get(call, key)
	}
	return data, version, classify(err, ErrTimeout)
}

// viewed is a text that nobody may change, as bytes, and kept is the way back.
// In this package nobody changes what a store has returned or was given, and
// decode gives foreign code a copy.
func viewed(text string) []byte { return unsafe.Slice(unsafe.StringData(text), len(text)) }
func kept(data []byte) string   { return unsafe.String(unsafe.SliceData(data), len(data)) }

// set writes what follows key in text, which nobody may change any more, if key
// still has version, zero meaning that it must not be there. Without versions it
// just writes.
func (m *Manager) set(ctx context.Context, key string, text []byte, ttl time.Duration, version Version) (Version, error) {
	now, err := m.setOnce(ctx, key, text, ttl, version)
	if !errors.Is(err, ErrOutcomeUnknown) && m.again(ctx, err) {
		return m.setOnce(ctx, key, text, ttl, version)
	}
	return now, err
}

func (m *Manager) setOnce(ctx context.Context, key string, text []byte, ttl time.Duration, version Version) (Version, error) {
	if m.keeper != nil {
		version, err := m.keeper.Keep(ctx, kept(text), len(key), ttl, version)
		return version, classify(err, ErrOutcomeUnknown)
	}
	data := text[len(key):]
	call := m.call(ctx)
	defer call.end()
	if m.swapper == nil {
		return 0, classify(m.store.Set(call, key, data, ttl), ErrOutcomeUnknown)
	}
	version, err := m.swapper.SetVersion(call, key, data, ttl, version)
	return version, classify(err, ErrOutcomeUnknown)
}

func (m *Manager) touch(ctx context.Context, key string, ttl time.Duration) error {
	err := m.touchOnce(ctx, key, ttl)
	if m.again(ctx, err) {
		err = m.touchOnce(ctx, key, ttl)
	}
	return err
}

func (m *Manager) touchOnce(ctx context.Context, key string, ttl time.Duration) error {
	call := m.call(ctx)
	defer call.end()
	return classify(m.toucher.Touch(call, key, ttl), ErrOutcomeUnknown)
}

func (m *Manager) destroy(ctx context.Context, key string) error {
	ctx = withoutCancel(ctx)
	err := m.destroyOnce(ctx, key)
	if m.again(ctx, err) {
		err = m.destroyOnce(ctx, key)
	}
	return err
}

func (m *Manager) destroyOnce(ctx context.Context, key string) error {
	call := m.call(ctx)
	defer call.end()
	err := m.store.Destroy(call, key)
	if errors.Is(err, ErrNotFound) {
		return nil // a strict store; what is not there is destroyed
	}
	return classify(err, ErrOutcomeUnknown)
}

// again reports whether a call that failed with err may be made once more,
// since the store went down under it and has come back: a request that came a
// moment later would have waited, too (K43). The call must be one that may be
// made twice.
func (m *Manager) again(ctx context.Context, err error) bool {
	if err == nil || !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrOutcomeUnknown) {
		return false
	}
	var taken time.Duration
	if errors.Is(err, ErrTimeout) || errors.Is(err, context.DeadlineExceeded) {
		taken = m.o.OpTimeout
	}
	return m.health.outlasts(ctx, err, taken)
}

// bury removes key if it still has version: in two steps, since stores can
// compare versions only when they write. A store without versions just removes
// it.
func (m *Manager) bury(ctx context.Context, key string, version Version) error {
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

// An id that was given up for another one is marked for a while, under a key
// of its own, with the store keys of its heirs. A late request that still
// carries the old id finds no session, and by the mark it finds out that the
// browser has got another one since: a session of its own would take that
// one's cookie away (K17). A late logout ends the heir. generic-session would
// not understand the mark, and KoaCompat makes none.
const (
	markSuffix = ".old"
	markTTL    = time.Minute
)

// mark notes heir as one of key. It does so as well as it goes: without a mark
// late requests are answered as those with any unknown id.
func (m *Manager) mark(ctx context.Context, key, heir string) {
	if m.o.koa {
		return
	}
	_, err := m.set(ctx, key+markSuffix, []byte(key+markSuffix+heir), markTTL, 0)
	if errors.Is(err, ErrConflict) {
		m.amend(ctx, key, func(heirs []string) []string { return append(heirs, heir) })
	}
}

// unmark takes back what mark noted, when heir did not become one.
func (m *Manager) unmark(ctx context.Context, key, heir string) {
	if m.o.koa {
		return
	}
	m.amend(ctx, key, func(heirs []string) []string {
		return slices.DeleteFunc(heirs, func(h string) bool { return h == heir })
	})
}

// amend changes the mark of key, which other requests may change at the same
// time. One without heirs is none.
func (m *Manager) amend(ctx context.Context, key string, f func(heirs []string) []string) {
	key += markSuffix
	end := m.lastTry()
	for try := range saveTries {
		data, version, err := m.get(ctx, key)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return
		}
		text := key + strings.Join(f(strings.Fields(string(data))), " ")
		_, err = m.set(ctx, key, []byte(text), markTTL, version)
		if !errors.Is(err, ErrConflict) && !errors.Is(err, ErrNotFound) || rest(try, end) != nil {
			return
		}
	}
}

// heirs are the store keys that key was given up for lately.
func (m *Manager) heirs(ctx context.Context, key string) ([]string, error) {
	if m.o.koa {
		return nil, nil
	}
	data, _, err := m.get(ctx, key+markSuffix)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return strings.Fields(string(data)), err
}

// marked reports whether key was given up for another one lately.
func (m *Manager) marked(ctx context.Context, key string) bool {
	heirs, _ := m.heirs(ctx, key)
	return len(heirs) > 0
}

// end destroys the session under key for good: if it moved to another id while
// somebody was about to end it, it ends there.
func (m *Manager) end(ctx context.Context, key string) error {
	if err := m.destroy(ctx, key); err != nil {
		return err
	}
	ctx = withoutCancel(ctx)
	const generations = 8 // a browser that was renewed so often in a minute is left alone
	keys := []string{key}
	for range generations {
		var next []string
		for _, key := range keys {
			heirs, err := m.heirs(ctx, key)
			if err != nil {
				return halfEnded(err)
			}
			next = append(next, heirs...)
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

// halfEnded is the error of end when the session is gone from where it was, and
// nobody knows whether it lives on elsewhere.
func halfEnded(err error) error { return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err) }

// classify gives a store's error the class of an operation that ran out of
// time, if the store did not name one itself.
func classify(err, late error) error {
	if errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrTimeout) && !errors.Is(err, ErrOutcomeUnknown) {
		return fmt.Errorf("%w: %w", late, err)
	}
	return err
}
