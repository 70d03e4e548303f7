package storetest_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math"
	"sync"
	"time"

	"github.com/gensession/gensession/core"
)

// A model is a store that is right because it is simple: one map, one lock.
// The faulty ones of broken_test.go are it with one thing changed.
type model struct {
	mu      sync.Mutex
	records map[string]record
	version core.Version
	up      bool
	tell    map[*func(bool)]struct{}
	lists   map[string]map[string]time.Time // when each key leaves; zero: never
}

type record struct {
	data    []byte
	version core.Version
	expires time.Time // zero: never
}

func newModel() *model {
	return &model{records: map[string]record{}, up: true, tell: map[*func(bool)]struct{}{}}
}

var errNegative = errors.New("model: negative ttl")

func expiry(ttl time.Duration) time.Time {
	if ttl == 0 {
		return time.Time{}
	}
	// Not later than this: time.Time keeps its monotonic part only up to here.
	return time.Now().Add(min(ttl, math.MaxInt64/4))
}

// find returns what is alive under key. The lock is held.
func (m *model) find(key string) (record, bool) {
	r, ok := m.records[key]
	if ok && !r.expires.IsZero() && time.Now().Compare(r.expires) >= 0 {
		delete(m.records, key)
		return record{}, false
	}
	return r, ok
}

func (m *model) put(key string, data []byte, ttl time.Duration) core.Version {
	m.version++
	m.records[key] = record{bytes.Clone(data), m.version, expiry(ttl)}
	return m.version
}

func (m *model) Get(ctx context.Context, key string) ([]byte, error) {
	data, _, err := m.GetVersion(ctx, key)
	return data, err
}

func (m *model) GetVersion(ctx context.Context, key string) ([]byte, core.Version, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.find(key)
	if !ok {
		return nil, 0, core.ErrNotFound
	}
	return bytes.Clone(r.data), r.version, nil
}

func (m *model) View(ctx context.Context, key string) (string, core.Version, error) {
	data, v, err := m.GetVersion(ctx, key)
	return string(data), v, err
}

func (m *model) Keep(ctx context.Context, text string, keyLen int, ttl time.Duration, v core.Version) (core.Version, error) {
	return m.SetVersion(ctx, text[:keyLen], []byte(text[keyLen:]), ttl, v)
}

func (m *model) Set(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if ttl < 0 {
		return errNegative
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(key, data, ttl)
	return nil
}

func (m *model) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if ttl < 0 {
		return 0, errNegative
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.find(key)
	switch {
	case !ok && v != 0:
		return 0, core.ErrNotFound
	case ok && v != r.version:
		return 0, core.ErrConflict
	}
	return m.put(key, data, ttl), nil
}

func (m *model) Batch(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.refusal(writes); err != nil {
		return nil, err
	}
	return m.carryOut(writes), nil
}

// refusal is why a batch must not be carried out. The lock is held.
func (m *model) refusal(writes []core.Write) error {
	for i, w := range writes {
		if w.Data == nil && w.Version == 0 {
			return errors.New("model: a removal without a version")
		}
		if w.Data != nil && w.TTL < 0 {
			return errNegative
		}
		r, ok := m.find(w.Key)
		switch {
		case !ok && w.Version != 0:
			return core.ErrNotFound
		case ok && w.Version != r.version:
			return &core.Conflict{Write: i, Data: bytes.Clone(r.data), Version: r.version}
		}
	}
	return nil
}

// carryOut carries out a batch. The lock is held.
func (m *model) carryOut(writes []core.Write) (versions []core.Version) {
	for _, w := range writes {
		m.enlist(w)
		if w.Data == nil {
			delete(m.records, w.Key)
			versions = append(versions, 0)
			continue
		}
		versions = append(versions, m.put(w.Key, w.Data, w.TTL))
	}
	return versions
}

func (m *model) Append(ctx context.Context, key string, suffix []byte) ([]byte, core.Version, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.find(key)
	if !ok {
		return nil, 0, core.ErrNotFound
	}
	m.version++
	r.data, r.version = append(bytes.Clone(r.data), suffix...), m.version
	m.records[key] = r
	return bytes.Clone(r.data), r.version, nil
}

func (m *model) Touch(ctx context.Context, key string, ttl time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if ttl < 0 {
		return errNegative
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.find(key)
	if !ok {
		return core.ErrNotFound
	}
	r.expires = expiry(ttl)
	m.records[key] = r
	return nil
}

func (m *model) Destroy(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.records, key)
	return nil
}

func (m *model) Notify(f func(up bool)) (stop func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tell[&f] = struct{}{}
	if !m.up {
		f(false)
	}
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.tell, &f)
	}
}

func (m *model) set(up bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.up == up {
		return
	}
	m.up = up
	for f := range maps.Keys(m.tell) {
		(*f)(up)
	}
}

func (m *model) isUp() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.up
}

// A plain store has the three methods and nothing else.
type plain struct{ core.Store }
