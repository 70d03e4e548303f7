package core

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unsafe"
)

// The calls of the store: each with a deadline of its own, with versions where
// the store has them, and with errors that have a class.

// get reads key, with its version if the store has them.
func (m *Manager) get(ctx context.Context, key string) (data []byte, version Version, err error) {
	data, version, err = m.getOnce(ctx, key)
	if m.again(ctx, err) {
		data, version, err = m.getOnce(ctx, key)
		m.health.retried(err)
	}
	return data, version, err
}

func (m *Manager) getOnce(ctx context.Context, key string) (data []byte, version Version, err error) {
	if m.keeper != nil {
		text, version, err := m.keeper.View(ctx, key)
		return viewed(text), version, m.classify(err, ErrTimeout, key)
	}
	call := m.call(ctx)
	defer call.end()
	if m.swapper != nil {
		data, version, err = m.swapper.GetVersion(call, key)
	} else {
		data, err = m.store.Get(call, key)
	}
	return data, version, m.classify(err, ErrTimeout, key)
}

// viewed is a text that nobody may change, as bytes, and kept is the way back.
// In this package nobody changes what a store has returned or was given, and
// decode gives foreign code a copy.
func viewed(text string) []byte { return unsafe.Slice(unsafe.StringData(text), len(text)) } // #nosec G103 -- as above
func kept(data []byte) string   { return unsafe.String(unsafe.SliceData(data), len(data)) } // #nosec G103 -- as above

// set writes what follows key in text, which nobody may change any more, if key
// still has version, zero meaning that it must not be there. Without versions it
// just writes.
func (m *Manager) set(ctx context.Context, key string, text []byte, ttl time.Duration, version Version) (Version, error) {
	now, err := m.setOnce(ctx, key, text, ttl, version)
	if !errors.Is(err, ErrOutcomeUnknown) && m.again(ctx, err) {
		now, err = m.setOnce(ctx, key, text, ttl, version)
		m.health.retried(err)
	}
	return now, err
}

func (m *Manager) setOnce(ctx context.Context, key string, text []byte, ttl time.Duration, version Version) (Version, error) {
	if m.keeper != nil {
		version, err := m.keeper.Keep(ctx, kept(text), len(key), ttl, version)
		return version, withholdValue(m.classify(err, ErrOutcomeUnknown, key), text[len(key):])
	}
	data := text[len(key):]
	call := m.call(ctx)
	defer call.end()
	if m.swapper == nil {
		return 0, withholdValue(m.classify(m.store.Set(call, key, data, ttl), ErrOutcomeUnknown, key), data)
	}
	version, err := m.swapper.SetVersion(call, key, data, ttl, version)
	return version, withholdValue(m.classify(err, ErrOutcomeUnknown, key), data)
}

// batch carries out writes in one step, or none of them. Each Data has its key in
// front, as the text of set. A removal is repeated after an outage: it has an
// effect once.
func (m *Manager) batch(ctx context.Context, writes ...Write) ([]Version, error) {
	versions, err := m.batchOnce(ctx, writes)
	onlyRemoves := len(writes) == 1 && writes[0].Data == nil
	if (onlyRemoves || !errors.Is(err, ErrOutcomeUnknown)) && m.again(ctx, err) {
		versions, err = m.batchOnce(ctx, writes)
		m.health.retried(err)
	}
	return versions, err
}

func (m *Manager) batchOnce(ctx context.Context, writes []Write) ([]Version, error) {
	if m.keeps != nil {
		versions, err := m.keeps.KeepBatch(ctx, writes)
		return versions, m.classifyBatch(err, writes)
	}
	all := make([]Write, len(writes))
	for i, w := range writes {
		if all[i] = w; w.Data != nil {
			all[i].Data = w.Data[len(w.Key):]
		}
	}
	call := m.call(ctx)
	defer call.end()
	versions, err := m.batcher.Batch(call, all...)
	return versions, m.classifyBatch(err, writes)
}

// append appends suffix to what is under key, which may be done twice.
func (m *Manager) append(ctx context.Context, key string, suffix []byte) (data []byte, version Version, err error) {
	data, version, err = m.appendOnce(ctx, key, suffix)
	if m.again(ctx, err) {
		data, version, err = m.appendOnce(ctx, key, suffix)
		m.health.retried(err)
	}
	return data, version, err
}

func (m *Manager) appendOnce(ctx context.Context, key string, suffix []byte) (data []byte, version Version, err error) {
	call := m.call(ctx)
	defer call.end()
	data, version, err = m.batcher.Append(call, key, suffix)
	return data, version, withholdValue(m.classify(err, ErrOutcomeUnknown, key), suffix)
}

func (m *Manager) touch(ctx context.Context, key string, ttl time.Duration) error {
	err := m.touchOnce(ctx, key, ttl)
	if m.again(ctx, err) {
		err = m.touchOnce(ctx, key, ttl)
		m.health.retried(err)
	}
	return err
}

func (m *Manager) touchOnce(ctx context.Context, key string, ttl time.Duration) error {
	call := m.call(ctx)
	defer call.end()
	return m.classify(m.toucher.Touch(call, key, ttl), ErrOutcomeUnknown, key)
}

func (m *Manager) destroy(ctx context.Context, key string) error {
	ctx = withoutCancel(ctx)
	err := m.destroyOnce(ctx, key)
	if m.again(ctx, err) {
		err = m.destroyOnce(ctx, key)
		m.health.retried(err)
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
	return m.classify(err, ErrOutcomeUnknown, key)
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

// classify gives a store's error the class of an operation that ran out of time, if
// the store did not name one itself, and withholds the keys of the call. What a call
// writes is withheld by withholdValue.
func (m *Manager) classify(err, late error, keys ...string) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrTimeout) && !errors.Is(err, ErrOutcomeUnknown) {
		err = fmt.Errorf("%w: %w", late, err)
	}
	for _, key := range keys {
		err = withhold(err, m.keyEnd(key))
	}
	return err
}

// classifyBatch is classify for a call that ends with the outcome of writes.
func (m *Manager) classifyBatch(err error, writes []Write) error {
	err = m.classify(err, ErrOutcomeUnknown)
	for _, w := range writes {
		err = withhold(err, m.keyEnd(w.Key))
		if w.Data != nil {
			err = withholdValue(err, w.Data[len(w.Key):])
		}
	}
	return err
}
