package core_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gensession/gensession/core"
)

// mapStore is a store of your own: three methods on bytes. storetest.Run is its
// whole test, and examples/store has it in full.
type mapStore struct{ m sync.Map }

type mapItem struct {
	data []byte
	end  time.Time // zero: never
}

func (s *mapStore) Get(_ context.Context, key string) ([]byte, error) {
	v, ok := s.m.Load(key)
	if it, _ := v.(mapItem); ok && (it.end.IsZero() || time.Now().Before(it.end)) {
		return bytes.Clone(it.data), nil // the caller owns it
	}
	return nil, core.ErrNotFound
}

func (s *mapStore) Set(_ context.Context, key string, data []byte, ttl time.Duration) error {
	if ttl < 0 {
		return errors.New("mapstore: negative ttl")
	}
	it := mapItem{data: bytes.Clone(data)} // the caller keeps its own
	if ttl > 0 {
		it.end = time.Now().Add(ttl)
	}
	s.m.Store(key, it)
	return nil
}

func (s *mapStore) Destroy(_ context.Context, key string) error {
	s.m.Delete(key)
	return nil
}

func ExampleStore() {
	sessions, err := core.New(new(mapStore), &core.Options{Keys: [][]byte{[]byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sessions.Close()
	fmt.Println(sessions.Guarantees())
	// Output:
	// last write wins, even over a removal: the store has no versions
}
