package memorystore_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"go.uber.org/goleak"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open makes a store that is closed at the end of the test.
func open(t testing.TB, o *memorystore.Options) *memorystore.Store {
	s := memorystore.New(o)
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) core.Store { return open(t, nil) })
}

func TestStoreWithBounds(t *testing.T) {
	for _, c := range storetest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.Run(t, open(t, &memorystore.Options{MaxEntries: 20_000, MaxBytes: 10 << 20}))
			})
		})
	}
}

func TestStoreTellsWhenItIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, nil)
		storetest.Outage(t, s, func() { s.Close() }, nil)
	})
}

func TestAKeyThatTheContractForbidsIsRefused(t *testing.T) {
	s := open(t, nil)
	for _, key := range []string{"", strings.Repeat("k", 251), "a b", "a\tb", "a\r\n", "a\x00", "a\x7f", "ä"} {
		err := s.Set(t.Context(), key, nil, 0)
		if !errors.Is(err, core.ErrRefused) {
			t.Errorf("Set with a key of %d bytes: %v", len(key), err)
		}
		if _, err := s.SetVersion(t.Context(), key, nil, 0, 0); !errors.Is(err, core.ErrRefused) {
			t.Errorf("SetVersion with a key of %d bytes: %v", len(key), err)
		}
	}
	if s.Len() != 0 {
		t.Error("something was stored")
	}
}

func TestAnEndedContextTellsItsClass(t *testing.T) {
	s := open(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Set(ctx, "k", nil, 0); !errors.Is(err, context.Canceled) || errors.Is(err, core.ErrUnavailable) {
		t.Error("cancelled:", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), -1)
	defer cancel()
	if err := s.Set(ctx, "k", nil, 0); !errors.Is(err, core.ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error("deadline:", err)
	}
}

// A key that was made of a request's buffer, and the buffer used again.
func TestTheKeyIsCopied(t *testing.T) {
	s := open(t, nil)
	for i := range 3 { // a new key, then an old one, then one that is touched
		buffer := []byte("the-key")
		key := unsafe.String(&buffer[0], len(buffer))
		var err error
		if i < 2 {
			err = s.Set(t.Context(), key, []byte("x"), time.Hour)
		} else {
			err = s.Touch(t.Context(), key, time.Hour)
		}
		if err != nil {
			t.Fatal(err)
		}
		copy(buffer, "another")
		if _, err := s.Get(t.Context(), "the-key"); err != nil {
			t.Error(err)
		}
		if _, err := s.Get(t.Context(), "another"); !errors.Is(err, core.ErrNotFound) {
			t.Error(err)
		}
	}
}

func TestATTLIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, nil)
		for _, ttl := range []time.Duration{1, time.Millisecond, time.Hour, 400 * 24 * time.Hour} {
			s.Set(t.Context(), "k", nil, ttl)
			time.Sleep(ttl - 1)
			if _, err := s.Get(t.Context(), "k"); err != nil {
				t.Errorf("%v: a nanosecond before: %v", ttl, err)
			}
			time.Sleep(time.Nanosecond)
			if _, err := s.Get(t.Context(), "k"); !errors.Is(err, core.ErrNotFound) {
				t.Errorf("%v: at the end: %v", ttl, err)
			}
		}
	})
}

func TestNoVersionComesTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, nil)
		seen := map[core.Version]bool{}
		for i := range 100 {
			v, err := s.SetVersion(t.Context(), "k", []byte("the same"), time.Second, 0)
			if err != nil || seen[v] || v == 0 {
				t.Fatalf("version %d: %v", v, err)
			}
			seen[v] = true
			if i%2 == 0 {
				s.Destroy(t.Context(), "k")
			} else {
				time.Sleep(2 * time.Minute) // swept, with all that its shard knew
			}
		}
	})
}

func TestCloseEndsAll(t *testing.T) {
	s := memorystore.New(nil)
	var told []bool
	stopped := s.Notify(func(bool) { t.Error("a listener was called after stop") })
	s.Notify(func(up bool) { told = append(told, up) })
	stopped()
	if err := s.Set(t.Context(), "k", []byte("x"), time.Hour); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(told) != 1 || told[0] {
		t.Errorf("the listener was told %v", told)
	}
	told = nil
	s.Notify(func(up bool) { told = append(told, up) })()
	if len(told) != 1 || told[0] {
		t.Errorf("a listener that came after Close was told %v", told)
	}

	ctx := t.Context()
	_, getErr := s.Get(ctx, "k")
	_, _, getVersionErr := s.GetVersion(ctx, "k")
	_, setVersionErr := s.SetVersion(ctx, "k", nil, time.Hour, 0)
	for call, err := range map[string]error{
		"Get": getErr, "GetVersion": getVersionErr, "SetVersion": setVersionErr,
		"Set": s.Set(ctx, "k", nil, time.Hour), "Touch": s.Touch(ctx, "k", time.Hour), "Destroy": s.Destroy(ctx, "k"),
	} {
		if !errors.Is(err, core.ErrUnavailable) {
			t.Errorf("%s after Close: %v", call, err)
		}
	}
	if s.Len() != 0 {
		t.Error("the sessions are still there")
	}
}

func TestCloseWhileInUse(t *testing.T) {
	for range 20 {
		s := memorystore.New(&memorystore.Options{MaxEntries: 50})
		done := make(chan error)
		for i := range 4 {
			go func() {
				key := []string{"a", "b", "c", "d"}[i]
				for {
					err := s.Set(context.Background(), key, nil, time.Nanosecond)
					if err == nil {
						_, err = s.SetVersion(context.Background(), key+key, nil, time.Hour, 0)
					}
					if errors.Is(err, core.ErrUnavailable) {
						done <- nil
						return
					}
					if err != nil && !errors.Is(err, core.ErrConflict) {
						done <- err
						return
					}
				}
			}()
		}
		time.Sleep(time.Millisecond)
		s.Close()
		for range 4 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
}

// What BenchmarkSessions measures for other numbers of sessions.
func TestASessionTakesAtMost150BytesMore(t *testing.T) {
	s := open(t, nil)
	const n = 100_000
	data, used := make([]byte, 256), 0
	before := heap()
	for i := range n {
		key := key(i)
		used += len(key) + len(data)
		if err := s.Set(t.Context(), key, data, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	extra := (int(heap()-before) - used) / n
	t.Logf("%d bytes", extra)
	if extra > 150 {
		t.Errorf("%d bytes a session beside key and payload", extra)
	}
	if s.Len() != n {
		t.Error(s.Len())
	}
}

// A key lies in one piece with the first payload that it had. That one goes
// with the second.
func TestAnOldPayloadIsFreed(t *testing.T) {
	const large = 64 << 20 // far more than what is left of the tests before
	s := open(t, nil)
	before := heap()
	for range 2 {
		if err := s.Set(t.Context(), "k", make([]byte, large), time.Hour); err != nil {
			t.Fatal(err)
		}
		if got := heap() - before; got < large/2 {
			t.Fatalf("%d bytes are not a payload of %d", got, large)
		}
		if err := s.Set(t.Context(), "k", nil, time.Hour); err != nil {
			t.Fatal(err)
		}
		if got := int64(heap() - before); got > large/2 {
			t.Errorf("%d bytes are still in use", got)
		}
	}
}
