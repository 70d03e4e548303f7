// Package strict has drivers for tests that do all at once of what is wrong with any
// driver that people use, and lie in memory.
package strict

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"
)

// A Fiber is a storage of Fiber v2. It ignores empty values, counts in whole seconds
// of 32 bits and cuts off the rest, keeps and gives away slices and keeps keys
// without a copy, and quotes them in its errors. To delete what is not there is an
// error.
type Fiber struct {
	mu   sync.Mutex
	now  map[string]item
	fail error         // what every call returns
	hang chan struct{} // what every call waits for

	// MaxTTL, if set, is the longest expiration that is none in the past.
	MaxTTL time.Duration
	// MaxKey, if set, is how long a key may be.
	MaxKey int
}

type item struct {
	data []byte
	end  uint32 // in Unix seconds; zero for never
}

// Fail makes all calls fail, quoting their arguments. A nil err ends that.
func (f *Fiber) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = err
}

// Hang makes all calls wait, whatever their context says, until the function that it
// returns is called.
func (f *Fiber) Hang() (release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	hang := make(chan struct{})
	f.hang = hang
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.hang = nil
		close(hang)
	}
}

// begin locks, after waiting for a hang.
func (f *Fiber) begin(key string, val []byte) error {
	f.mu.Lock()
	hang := f.hang
	f.mu.Unlock()
	if hang != nil {
		<-hang
	}
	f.mu.Lock()
	if f.now == nil {
		f.now = map[string]item{}
	}
	if f.fail != nil {
		return fmt.Errorf("driver: key %q value %q: %w", key, val, f.fail)
	}
	return nil
}

// ErrLongKey is what a column says that is too short.
var ErrLongKey = errors.New("value too long for the column")

// Get returns the slice that it keeps; nil if there is none.
func (f *Fiber) Get(key string) ([]byte, error) {
	err := f.begin(key, nil)
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	it, ok := f.now[key]
	if !ok || it.end != 0 && int64(it.end) <= time.Now().Unix() {
		return nil, nil
	}
	return it.data, nil
}

// Set keeps val.
func (f *Fiber) Set(key string, val []byte, exp time.Duration) error {
	err := f.begin(key, val)
	defer f.mu.Unlock()
	switch {
	case err != nil:
		return err
	case key == "" || len(val) == 0:
		return nil
	case f.MaxKey > 0 && len(key) > f.MaxKey:
		return fmt.Errorf("%w: %s", ErrLongKey, key)
	}
	it := item{data: val}
	if exp != 0 {
		end := time.Now().Unix() + int64(exp/time.Second)
		if end > math.MaxUint32 {
			return fmt.Errorf("driver: %d is no date for %q", end, key)
		}
		it.end = uint32(end) // #nosec G115 -- as above
		if f.MaxTTL > 0 && exp > f.MaxTTL {
			it.end = 1 // taken for a date
		}
	}
	f.now[key] = it
	return nil
}

// Delete is an error if there is nothing.
func (f *Fiber) Delete(key string) error {
	err := f.begin(key, nil)
	defer f.mu.Unlock()
	if err != nil {
		return err
	}
	if _, ok := f.now[key]; !ok {
		return fmt.Errorf("driver: no such item %q", key)
	}
	delete(f.now, key)
	return nil
}

// Len is how much it keeps, expired or not.
func (f *Fiber) Len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.now)
}

// A FiberV3 has the methods with a context, too, and does not like the others.
type FiberV3 struct{ Fiber }

// errOld is of calls that should have been made with a context.
var errOld = errors.New("the driver was called without the context")

// Get fails.
func (f *FiberV3) Get(string) ([]byte, error) { return nil, errOld }

// Set fails.
func (f *FiberV3) Set(string, []byte, time.Duration) error { return errOld }

// Delete fails.
func (f *FiberV3) Delete(string) error { return errOld }

// GetWithContext is Fiber.Get.
func (f *FiberV3) GetWithContext(_ context.Context, key string) ([]byte, error) {
	return f.Fiber.Get(key)
}

// SetWithContext is Fiber.Set.
func (f *FiberV3) SetWithContext(_ context.Context, key string, val []byte, exp time.Duration) error {
	return f.Fiber.Set(key, val, exp)
}

// DeleteWithContext is Fiber.Delete.
func (f *FiberV3) DeleteWithContext(_ context.Context, key string) error { return f.Fiber.Delete(key) }

// An SCS is a store of scs. It cuts the end off to whole seconds and off dates that
// MySQL's TIMESTAMP does not have, takes an empty value for none, and is as bad as a
// Fiber in the rest.
type SCS struct{ Fiber }

var lastDate = time.Date(2038, time.January, 19, 3, 14, 7, 0, time.UTC)

// Find returns the slice that it keeps.
func (s *SCS) Find(token string) ([]byte, bool, error) {
	data, err := s.Fiber.Get(token)
	return data, data != nil, err
}

// Commit keeps b.
func (s *SCS) Commit(token string, b []byte, expiry time.Time) error {
	switch ttl := time.Until(expiry).Truncate(time.Second); {
	case expiry.After(lastDate):
		return fmt.Errorf("driver: incorrect datetime value %v for %q", expiry, token)
	case ttl <= 0:
		return nil
	default:
		return s.Set(token, b, ttl)
	}
}

// An SCSCtx has the methods with a context, too, and does not like the others.
type SCSCtx struct{ SCS }

// Find fails.
func (s *SCSCtx) Find(string) ([]byte, bool, error) { return nil, false, errOld }

// Commit fails.
func (s *SCSCtx) Commit(string, []byte, time.Time) error { return errOld }

// Delete fails.
func (s *SCSCtx) Delete(string) error { return errOld }

// FindCtx is SCS.Find.
func (s *SCSCtx) FindCtx(_ context.Context, token string) ([]byte, bool, error) {
	return s.SCS.Find(token)
}

// CommitCtx is SCS.Commit.
func (s *SCSCtx) CommitCtx(_ context.Context, token string, b []byte, expiry time.Time) error {
	return s.SCS.Commit(token, b, expiry)
}

// DeleteCtx is SCS.Delete.
func (s *SCSCtx) DeleteCtx(_ context.Context, token string) error { return s.Fiber.Delete(token) }
