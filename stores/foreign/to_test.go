package foreignstore_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	foreignstore "github.com/gensession/gensession/stores/foreign"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// The method sets that Fiber v2 and v3 ask for.
var (
	_ interface {
		Get(key string) ([]byte, error)
		Set(key string, val []byte, exp time.Duration) error
		Delete(key string) error
		Reset() error
		Close() error
	} = (*foreignstore.Storage)(nil)
	_ interface {
		GetWithContext(ctx context.Context, key string) ([]byte, error)
		Get(key string) ([]byte, error)
		SetWithContext(ctx context.Context, key string, val []byte, exp time.Duration) error
		Set(key string, val []byte, exp time.Duration) error
		DeleteWithContext(ctx context.Context, key string) error
		Delete(key string) error
		ResetWithContext(ctx context.Context) error
		Reset() error
		Close() error
	} = (*foreignstore.Storage)(nil)
)

func TestToFiber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memorystore.New(nil)
		defer m.Close()
		s := must[*foreignstore.Storage](t)(foreignstore.ToFiber(m, nil))
		is := func(key, want string) {
			t.Helper()
			if got, err := s.Get(key); string(got) != want || err != nil || want == "" && got != nil {
				t.Errorf("%q has %q, not %q, %v", key, got, want, err)
			}
		}
		ok := func(err error) {
			t.Helper()
			if err != nil {
				t.Error(err)
			}
		}
		is("missing", "")
		ok(s.Delete("missing"))
		ok(s.Set("", []byte("x"), 0))
		ok(s.Set("empty", nil, 0))
		is("", "")
		is("empty", "")

		// Fiber's keys are any text, in memory that it uses again.
		buffer := []byte("192.0.2.1 ä")
		key := unsafe.String(&buffer[0], len(buffer))
		value := []byte("one")
		ok(s.Set(key, value, time.Minute))
		copy(value, "two")
		copy(buffer, "198.51.100.7")
		is("192.0.2.1 ä", "one")
		long := strings.Repeat("long ", 1000)
		ok(s.Set(long, []byte("long"), 0))
		is(long, "long")
		got, _ := s.Get(long)
		got[0] = 'w'
		is(long, "long")

		time.Sleep(time.Minute)
		is("192.0.2.1 ä", "")
		is(long, "long")
		ok(s.Set(long, []byte("over"), -1))
		is(long, "")

		if err := s.Reset(); !errors.Is(err, errors.ErrUnsupported) {
			t.Error(err)
		}
		ok(s.Set("k", []byte("x"), 0))
		ok(s.Close())
		is("k", "x")

		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.SetWithContext(ended, "k", []byte("y"), 0); err == nil {
			t.Error("the context is not asked")
		}
		is("k", "x")
	})
}

// A round trip through both: our store as theirs as ours.
func TestThereAndBack(t *testing.T) {
	m := memorystore.New(nil)
	defer m.Close()
	there := must[*foreignstore.Storage](t)(foreignstore.ToFiber(m, nil))
	back := must[*foreignstore.Store](t)(foreignstore.FromFiber(there, nil))
	for _, data := range []string{"", "x", "\x00", "\x00x"} {
		if err := back.Set(t.Context(), "k", []byte(data), time.Hour); err != nil {
			t.Fatal(err)
		}
		if got, err := back.Get(t.Context(), "k"); string(got) != data || err != nil {
			t.Errorf("%q: %q, %v", data, got, err)
		}
	}
}
