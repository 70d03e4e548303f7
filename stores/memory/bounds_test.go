package memorystore_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

func fill(t *testing.T, s *memorystore.Store, n int, ttl time.Duration) {
	t.Helper()
	for i := range n {
		if err := s.Set(t.Context(), "k"+strconv.Itoa(i), []byte("x"), ttl); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAFullStoreRefusesNewSessionsOnly(t *testing.T) {
	s := open(t, &memorystore.Options{MaxEntries: 100})
	fill(t, s, 100, time.Hour)
	for range 3 {
		err := s.Set(t.Context(), "new", []byte("x"), time.Hour)
		if !errors.Is(err, core.ErrRefused) || !strings.Contains(err.Error(), "MaxEntries") {
			t.Fatalf("Set: %v", err)
		}
		if _, err := s.SetVersion(t.Context(), "new", []byte("x"), time.Hour, 0); !errors.Is(err, core.ErrRefused) {
			t.Fatalf("SetVersion: %v", err)
		}
	}
	for i := range 100 {
		key := "k" + strconv.Itoa(i)
		if _, err := s.Get(t.Context(), key); err != nil {
			t.Fatalf("a live session was dropped: %v", err)
		}
		if err := s.Set(t.Context(), key, []byte("much longer than before"), time.Hour); err != nil {
			t.Fatalf("an old session can't be saved: %v", err)
		}
	}
	s.Destroy(t.Context(), "k1")
	s.Destroy(t.Context(), "k1")
	if err := s.Set(t.Context(), "new", []byte("x"), time.Hour); err != nil {
		t.Errorf("after a Destroy: %v", err)
	}
	if err := s.Set(t.Context(), "k1", []byte("x"), time.Hour); !errors.Is(err, core.ErrRefused) {
		t.Errorf("a second Destroy of the same key made room, too: %v", err)
	}
}

func TestExpiredSessionsMakeRoomAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, &memorystore.Options{MaxEntries: 1000})
		fill(t, s, 1000, time.Second)
		time.Sleep(time.Second) // before any sweep
		for i := range 1000 {
			if err := s.Set(t.Context(), "new"+strconv.Itoa(i), []byte("x"), time.Hour); err != nil {
				t.Fatalf("session %d: %v", i, err)
			}
		}
		if err := s.Set(t.Context(), "one more", nil, time.Hour); !errors.Is(err, core.ErrRefused) {
			t.Error("with 1000 live ones:", err)
		}
		if n := s.Len(); n != 1000 {
			t.Errorf("%d sessions", n)
		}
	})
}

func TestTheLastExpiredSessionIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, &memorystore.Options{MaxEntries: 1000})
		fill(t, s, 1000, time.Second)
		for i := range 1000 {
			if i != 777 { // the others live on, so that what the shards know is out of date
				s.Touch(t.Context(), "k"+strconv.Itoa(i), time.Hour)
			}
		}
		time.Sleep(time.Second)
		if err := s.Set(t.Context(), "new", nil, time.Hour); err != nil {
			t.Error(err)
		}
		if err := s.Set(t.Context(), "new too", nil, time.Hour); !errors.Is(err, core.ErrRefused) {
			t.Error(err)
		}
	})
}

func TestBytesAreBounded(t *testing.T) {
	const each = 128 + 2 + 1000 // what the documentation says
	s := open(t, &memorystore.Options{MaxBytes: 3 * each})
	ctx, data := t.Context(), make([]byte, 1000)
	for _, key := range []string{"k1", "k2", "k3"} {
		if err := s.Set(ctx, key, data, time.Hour); err != nil {
			t.Fatal(key, err)
		}
	}
	if err := s.Set(ctx, "k4", nil, time.Hour); !errors.Is(err, core.ErrRefused) {
		t.Error("a new session in a full store:", err)
	}
	if err := s.Set(ctx, "k1", make([]byte, 1001), time.Hour); !errors.Is(err, core.ErrRefused) {
		t.Error("a larger payload in a full store:", err)
	}
	if got, err := s.Get(ctx, "k1"); err != nil || len(got) != 1000 {
		t.Errorf("the old payload is gone: %d bytes, %v", len(got), err)
	}
	if err := s.Set(ctx, "k1", data[:872], time.Hour); err != nil {
		t.Error("a smaller payload:", err)
	}
	if err := s.Set(ctx, "k2", make([]byte, 1128), time.Hour); err != nil {
		t.Error("a larger payload where another shrank:", err)
	}
	if err := s.Set(ctx, "k1", make([]byte, 3*each), time.Hour); !errors.Is(err, core.ErrTooLarge) {
		t.Error("a payload that never fits:", err)
	}
	s.Destroy(ctx, "k2")
	if err := s.Set(ctx, "k5", make([]byte, 1128), time.Hour); err != nil {
		t.Error("after a Destroy:", err)
	}
}

func TestRoomForOneLargeSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, &memorystore.Options{MaxBytes: 100_000})
		fill(t, s, 700, time.Second)
		time.Sleep(time.Second)
		if err := s.Set(t.Context(), "new", make([]byte, 99_000), time.Hour); err != nil {
			t.Error("many expired ones have to go for it:", err)
		}
	})
}

func TestTheBoundHoldsUnderLoad(t *testing.T) {
	const limit, callers = 64, 8
	s := open(t, &memorystore.Options{MaxEntries: limit})
	var stored, refused atomic.Int64
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for k := range limit {
				key := strconv.Itoa(i) + "-" + strconv.Itoa(k)
				switch err := s.Set(context.Background(), key, nil, time.Hour); {
				case err == nil:
					stored.Add(1)
				case errors.Is(err, core.ErrRefused):
					refused.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if stored.Load() != limit || refused.Load() != limit*(callers-1) || s.Len() != limit {
		t.Errorf("%d stored, %d refused, %d there", stored.Load(), refused.Load(), s.Len())
	}
}

func TestACancelledCallDoesNotWaitForRoom(t *testing.T) {
	s := open(t, &memorystore.Options{MaxEntries: 10})
	fill(t, s, 10, time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Set(ctx, "new", nil, time.Hour); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestNegativeBoundsAreNone(t *testing.T) {
	s := open(t, &memorystore.Options{MaxEntries: -1, MaxBytes: -1})
	fill(t, s, 10, time.Hour)
}
