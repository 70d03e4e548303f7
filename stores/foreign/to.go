package foreignstore

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/stores/internal/duration"
	"github.com/gensession/gensession/stores/internal/storekey"
)

// StorageOptions configure a [Storage]. The zero value has the defaults.
type StorageOptions struct {
	// Prefix is the prefix of the store's keys, at most 200 bytes. It must be
	// another one than that of the sessions, and a different one for each
	// middleware. Default "fiber:".
	Prefix string
	// Timeout is the timeout of each call. Default 500 ms.
	Timeout time.Duration
}

// A Storage is a storage of Fiber v2 and v3 on a [core.Store], for Fiber's csrf,
// limiter, cache, idempotency and others. It is safe for concurrent use.
//
// Sessions need none: mount the middleware of this library.
type Storage struct {
	store   core.Store
	prefix  string
	timeout time.Duration
}

// ToFiber returns a storage of Fiber on store, which the caller closes.
func ToFiber(store core.Store, o *StorageOptions) (*Storage, error) {
	if o == nil {
		o = new(StorageOptions)
	}
	s := &Storage{store, o.Prefix, o.Timeout}
	if err := duration.Check("foreignstore: ToFiber: the Timeout", o.Timeout, 24*time.Hour); err != nil {
		return nil, err
	}
	if s.prefix == "" {
		s.prefix = "fiber:"
	}
	if s.timeout == 0 {
		s.timeout = 500 * time.Millisecond
	}
	switch {
	case isNil(store):
		return nil, errors.New("foreignstore: ToFiber: the store is nil")
	case len(s.prefix) > 200 || !storekey.Valid(s.prefix):
		return nil, errors.New("foreignstore: ToFiber: the Prefix must be at most 200 bytes of printable ASCII without blanks")
	}
	return s, nil
}

// key is where the store has what Fiber calls key. That is any text, of any length,
// often in memory that Fiber uses again, and for csrf a secret: so it is hashed.
func (s *Storage) key(key string) string {
	hash := sha256.Sum256([]byte(key))
	return s.prefix + base64.RawURLEncoding.EncodeToString(hash[:])
}

// Get is [Storage.GetWithContext] without a context.
func (s *Storage) Get(key string) ([]byte, error) {
	return s.GetWithContext(context.Background(), key)
}

// GetWithContext returns the value of key, which the caller owns; nil, and no error,
// if there is none.
func (s *Storage) GetWithContext(ctx context.Context, key string) ([]byte, error) {
	if key == "" {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	data, err := s.store.Get(ctx, s.key(key))
	if errors.Is(err, core.ErrNotFound) || err == nil && len(data) == 0 {
		return nil, nil
	}
	return data, err
}

// Set is [Storage.SetWithContext] without a context.
func (s *Storage) Set(key string, val []byte, exp time.Duration) error {
	return s.SetWithContext(context.Background(), key, val, exp)
}

// SetWithContext stores a copy of val for exp, zero meaning no end. An empty key or
// value is ignored, as Fiber's storages do. A negative exp is over: key is removed.
func (s *Storage) SetWithContext(ctx context.Context, key string, val []byte, exp time.Duration) error {
	switch {
	case key == "" || len(val) == 0:
		return nil
	case exp < 0:
		return s.DeleteWithContext(ctx, key)
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return s.store.Set(ctx, s.key(key), val, exp)
}

// Delete is [Storage.DeleteWithContext] without a context.
func (s *Storage) Delete(key string) error {
	return s.DeleteWithContext(context.Background(), key)
}

// DeleteWithContext removes key. That there was none is no error.
func (s *Storage) DeleteWithContext(ctx context.Context, key string) error {
	if key == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if err := s.store.Destroy(ctx, s.key(key)); !errors.Is(err, core.ErrNotFound) {
		return err
	}
	return nil
}

var errReset = fmt.Errorf("foreignstore: Reset: %w: a core.Store can't list its keys", errors.ErrUnsupported)

// Reset is errors.ErrUnsupported: a store can't list its keys.
func (s *Storage) Reset() error { return errReset }

// ResetWithContext is [Storage.Reset].
func (s *Storage) ResetWithContext(context.Context) error { return errReset }

// Close does nothing: the store is the caller's, and may have sessions.
func (s *Storage) Close() error { return nil }
