// Package mapstore is the example of docs/stores.md: a store of your own.
package mapstore

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gensession/gensession/core"
)

// A Store keeps sessions in a map. An expired one stays until its key is used
// again: a real store sweeps.
type Store struct{ m sync.Map }

type item struct {
	data []byte
	end  time.Time // zero: never
}

// Get returns a copy of what is stored under key.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	v, _ := s.m.Load(key)
	it, ok := v.(item)
	if !ok || !it.end.IsZero() && !time.Now().Before(it.end) {
		return nil, core.ErrNotFound
	}
	return bytes.Clone(it.data), ctx.Err()
}

// Set stores a copy of data under key.
func (s *Store) Set(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	if ttl < 0 {
		return errors.New("mapstore: negative ttl")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	it := item{data: bytes.Clone(data)}
	if ttl > 0 {
		it.end = time.Now().Add(ttl)
	}
	s.m.Store(key, it)
	return nil
}

// Destroy removes key.
func (s *Store) Destroy(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.m.Delete(key)
	return nil
}
