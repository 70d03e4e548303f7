package golden

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// A Ledger is a memory store that can tell all its keys with their ttl, as
// Redis can. It is for one call at a time.
type Ledger struct {
	*memorystore.Store
	ends map[string]time.Time // zero: never
}

// NewLedger returns an empty one, for the caller to close.
func NewLedger() *Ledger { return &Ledger{memorystore.New(nil), map[string]time.Time{}} }

// A Record is what is stored under a key.
type Record struct {
	Key   string
	Value string
	PTTL  int64 // ms, -1 for none
}

func (l *Ledger) note(key string, ttl time.Duration, err error) error {
	if err == nil {
		l.ends[key] = time.Time{}
		if ttl != 0 {
			l.ends[key] = time.Now().Add(ttl)
		}
	}
	return err
}

// Set is that of [core.Store].
func (l *Ledger) Set(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	return l.note(key, ttl, l.Store.Set(ctx, key, data, ttl))
}

// SetVersion is that of [core.Swapper].
func (l *Ledger) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	v, err := l.Store.SetVersion(ctx, key, data, ttl, v)
	return v, l.note(key, ttl, err)
}

// Touch is that of [core.Toucher].
func (l *Ledger) Touch(ctx context.Context, key string, ttl time.Duration) error {
	return l.note(key, ttl, l.Store.Touch(ctx, key, ttl))
}

// Destroy is that of [core.Store].
func (l *Ledger) Destroy(ctx context.Context, key string) error {
	err := l.Store.Destroy(ctx, key)
	if err == nil {
		delete(l.ends, key)
	}
	return err
}

// Value returns what is stored under key, "" for nothing.
func (l *Ledger) Value(key string) string {
	data, err := l.Get(context.Background(), key)
	if err != nil && !errors.Is(err, core.ErrNotFound) {
		panic(err)
	}
	return string(data)
}

// Records returns all that is stored, sorted by key.
func (l *Ledger) Records() []Record {
	var all []Record
	for key, end := range l.ends {
		data, err := l.Get(context.Background(), key)
		if errors.Is(err, core.ErrNotFound) {
			continue
		}
		if err != nil {
			panic(err)
		}
		r := Record{key, string(data), -1}
		if !end.IsZero() {
			r.PTTL = time.Until(end).Milliseconds()
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b Record) int { return strings.Compare(a.Key, b.Key) })
	return all
}
