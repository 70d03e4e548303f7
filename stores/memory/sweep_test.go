package memorystore_test

import (
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

func TestExpiredSessionsAreSweptOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, nil)
		fill(t, s, 20_000, time.Second)
		for i := range 100 {
			s.Set(t.Context(), "long"+strconv.Itoa(i), nil, time.Hour)
			s.Set(t.Context(), "kept"+strconv.Itoa(i), nil, 0)
		}
		time.Sleep(2 * time.Minute)
		if n := s.Len(); n != 200 {
			t.Errorf("after the short ttl: %d sessions", n)
		}
		time.Sleep(time.Hour)
		if n := s.Len(); n != 100 {
			t.Errorf("after the long ttl: %d sessions", n)
		}
		for i := range 100 {
			if _, err := s.Get(t.Context(), "kept"+strconv.Itoa(i)); err != nil {
				t.Fatal(err)
			}
		}
		// Again, now that the sweeper has been at rest.
		fill(t, s, 100, time.Second)
		time.Sleep(2 * time.Minute)
		if n := s.Len(); n != 100 {
			t.Errorf("the second time: %d sessions", n)
		}
	})
}

func TestATouchedSessionIsNotSweptOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, nil)
		s.Set(t.Context(), "k", nil, time.Second)
		s.Touch(t.Context(), "k", time.Hour)
		s.Set(t.Context(), "short", nil, 0)
		s.Touch(t.Context(), "short", time.Second)
		time.Sleep(time.Hour - 1)
		if _, err := s.Get(t.Context(), "k"); err != nil {
			t.Error(err)
		}
		if n := s.Len(); n != 1 {
			t.Errorf("%d sessions", n)
		}
	})
}

// The sweeper gives its lock away in the middle of a map. What others do to
// the map then must neither be lost nor come back.
func TestSweepingWhileOthersWrite(t *testing.T) {
	s := open(t, &memorystore.Options{MaxEntries: 30_000})
	fill(t, s, 30_000, time.Nanosecond) // so that each new session has to look for room
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 5_000 {
				key := strconv.Itoa(i) + "-" + strconv.Itoa(n)
				if err := s.Set(t.Context(), key, []byte(key), time.Hour); err != nil {
					t.Errorf("Set: %v", err)
					return
				}
				if n%3 == 0 {
					s.Destroy(t.Context(), key)
				}
			}
		})
	}
	wg.Wait()
	for i := range 4 {
		for n := range 5_000 {
			key := strconv.Itoa(i) + "-" + strconv.Itoa(n)
			data, err := s.Get(t.Context(), key)
			if gone := errors.Is(err, core.ErrNotFound); gone != (n%3 == 0) || !gone && string(data) != key {
				t.Fatalf("session %d of writer %d: %q, %v", n, i, data, err)
			}
		}
	}
}

func TestAForgottenStoreHasNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memorystore.New(nil) // never closed: the bubble would not end if anything waited
		s.Set(t.Context(), "k", nil, time.Hour)
	})
}
