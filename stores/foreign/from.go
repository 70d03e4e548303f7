package foreignstore

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"strings"
	"time"
)

// A FiberStorage is what [FromFiber] needs of a storage of Fiber. If it also has
// the methods with a context that Fiber v3 asks for (GetWithContext,
// SetWithContext, DeleteWithContext), these are called in their place.
type FiberStorage interface {
	// Get returns the value of key; nil, and no error, if there is none.
	Get(key string) ([]byte, error)
	// Set stores val for exp, zero meaning no end.
	Set(key string, val []byte, exp time.Duration) error
	// Delete removes key.
	Delete(key string) error
}

// An SCSStore is what [FromSCS] needs of a store of scs, which its scs.Store has.
// If it is an scs.CtxStore, the methods with a context (FindCtx, CommitCtx,
// DeleteCtx) are called in their place.
type SCSStore interface {
	// Find returns what is stored under token.
	Find(token string) (b []byte, found bool, err error)
	// Commit stores b until expiry.
	Commit(token string, b []byte, expiry time.Time) error
	// Delete removes token.
	Delete(token string) error
}

// Options configure a [Store]. The zero value has the defaults.
type Options struct {
	// MaxTTL is the longest time that the driver is asked to keep something.
	// Default: 30 days for memcached, which takes a longer one for a date that
	// has passed, and otherwise 10 years, since some drivers count in 32 bits and
	// MySQL's TIMESTAMP ends in 2038.
	MaxTTL time.Duration
	// OnError, if set, is called with each error as the driver returned it, on
	// the goroutine of its call. It must be safe for concurrent use. The text may
	// contain a key or a part of a session: do not log it where others read. The
	// errors of the Store have only its class and its type.
	OnError func(err error)
}

// FromFiber returns a Store that keeps its payloads in a storage of Fiber v2 or v3.
// The caller closes the storage, after the Manager.
func FromFiber(storage FiberStorage, o *Options) (*Store, error) {
	if isNil(storage) {
		return nil, errors.New("foreignstore: FromFiber: the storage is nil")
	}
	s, err := newStore(storage, o)
	if err != nil {
		return nil, err
	}
	get := func(_ context.Context, key string) ([]byte, error) { return storage.Get(key) }
	s.set = func(_ context.Context, key string, data []byte, ttl time.Duration) error {
		return storage.Set(key, data, s.whole(ttl))
	}
	s.delete = func(_ context.Context, key string) error { return storage.Delete(key) }
	if v3, ok := storage.(interface {
		GetWithContext(ctx context.Context, key string) ([]byte, error)
		SetWithContext(ctx context.Context, key string, val []byte, exp time.Duration) error
		DeleteWithContext(ctx context.Context, key string) error
	}); ok {
		get, s.delete = v3.GetWithContext, v3.DeleteWithContext
		s.set = func(ctx context.Context, key string, data []byte, ttl time.Duration) error {
			return v3.SetWithContext(ctx, key, data, s.whole(ttl))
		}
	}
	s.get = func(ctx context.Context, key string) ([]byte, bool, error) {
		data, err := get(ctx, key)
		return data, len(data) > 0, err // a miss is nil and no error
	}
	return s, nil
}

// FromSCS returns a Store that keeps its payloads in a store of scs. Where its keys
// have at most 43 characters, as the column of scs/mysqlstore, set
// Options.NoPrefix of the Manager. The caller stops the cleanup of the store, if it
// has one, after the Manager.
func FromSCS(store SCSStore, o *Options) (*Store, error) {
	if isNil(store) {
		return nil, errors.New("foreignstore: FromSCS: the store is nil")
	}
	s, err := newStore(store, o)
	if err != nil {
		return nil, err
	}
	s.get = func(_ context.Context, key string) ([]byte, bool, error) { return store.Find(key) }
	s.set = func(_ context.Context, key string, data []byte, ttl time.Duration) error {
		return store.Commit(key, data, s.end(ttl))
	}
	s.delete = func(_ context.Context, key string) error { return store.Delete(key) }
	if c, ok := store.(interface {
		FindCtx(ctx context.Context, token string) (b []byte, found bool, err error)
		CommitCtx(ctx context.Context, token string, b []byte, expiry time.Time) error
		DeleteCtx(ctx context.Context, token string) error
	}); ok {
		s.get, s.delete = c.FindCtx, c.DeleteCtx
		s.set = func(ctx context.Context, key string, data []byte, ttl time.Duration) error {
			return c.CommitCtx(ctx, key, data, s.end(ttl))
		}
	}
	return s, nil
}

const (
	manyYears = 10 * 365 * 24 * time.Hour
	month30   = 30 * 24 * time.Hour
)

// whole is ttl as drivers understand it that count in whole seconds and cut off the
// rest, of the ttl or of the time when it is over: so it is a second longer. Zero
// stays what it means to them as well, no end.
func (s *Store) whole(ttl time.Duration) time.Duration {
	if ttl == 0 {
		return 0
	}
	if ttl >= s.maxTTL {
		return s.maxTTL
	}
	if rest := ttl % time.Second; rest != 0 {
		ttl += time.Second - rest
	}
	return min(ttl+time.Second, s.maxTTL)
}

// end is when a ttl is over that begins now, for drivers that have no "never".
func (s *Store) end(ttl time.Duration) time.Time {
	if ttl = s.whole(ttl); ttl == 0 {
		ttl = s.maxTTL
	}
	return time.Now().Add(ttl)
}

// Drivers ignore an empty value, or take it for a miss. So it gets a zero byte in
// front, and so does what begins with one. No record of a session does, of this
// library or another: what another has written is read as it is.

// filled is data as the driver gets it: a copy, which it may keep.
func filled(data []byte) []byte {
	if len(data) > 0 && data[0] != 0 {
		return bytes.Clone(data)
	}
	return append(make([]byte, 1, 1+len(data)), data...)
}

// emptied is the way back, and a copy as well: a driver in memory may have given
// away what it keeps.
func emptied(data []byte) []byte {
	if len(data) > 0 && data[0] == 0 {
		data = data[1:]
	}
	return append(make([]byte, 0, len(data)), data...)
}

// servers tells by the name of a driver's package what it talks to, and which store
// of this library talks to the same.
var servers = []struct{ name, better string }{
	{"memcache", "stores/memcache"},
	{"redis", "stores/redis"}, {"valkey", "stores/redis"}, {"rueidis", "stores/redis"}, {"dragonfly", "stores/redis"},
	{"postgres", "stores/sql"}, {"pgx", "stores/sql"}, {"mysql", "stores/sql"}, {"mariadb", "stores/sql"}, {"sqlite", "stores/sql"},
	{"memory", "stores/memory"}, {"memstore", "stores/memory"},
}

// serverOf is the name of the server that a driver is for, and our store for it;
// both are empty if that is unknown.
func serverOf(driver any) (name, better string) {
	t := reflect.TypeOf(driver)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	path := strings.ToLower(t.PkgPath())
	for _, s := range servers {
		if strings.Contains(path, s.name) {
			return s.name, s.better
		}
	}
	return "", ""
}

func isNil(driver any) bool {
	v := reflect.ValueOf(driver)
	return !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()
}
