package foreignstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	foreignstore "github.com/gensession/gensession/stores/foreign"
	"github.com/gensession/gensession/stores/foreign/internal/strict"
	"github.com/gensession/gensession/stores/foreign/internal/strict/memcache"
	"github.com/gensession/gensession/stores/foreign/internal/strict/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// faulty is what all drivers of package strict have.
type faulty interface {
	Fail(error)
	Hang() (release func())
	Len() int
}

// drivers are all kinds, each with its driver.
var drivers = map[string]func(t testing.TB, o *foreignstore.Options) (core.Store, faulty){
	"fiber v2": func(t testing.TB, o *foreignstore.Options) (core.Store, faulty) {
		d := new(strict.Fiber)
		return must[*foreignstore.Store](t)(foreignstore.FromFiber(d, o)), d
	},
	"fiber v3": func(t testing.TB, o *foreignstore.Options) (core.Store, faulty) {
		d := new(strict.FiberV3)
		return must[*foreignstore.Store](t)(foreignstore.FromFiber(d, o)), d
	},
	"fiber on memcached": func(t testing.TB, o *foreignstore.Options) (core.Store, faulty) {
		d := memcache.New()
		return must[*foreignstore.Store](t)(foreignstore.FromFiber(d, o)), d
	},
	"scs": func(t testing.TB, o *foreignstore.Options) (core.Store, faulty) {
		d := new(strict.SCS)
		return must[*foreignstore.Store](t)(foreignstore.FromSCS(d, o)), d
	},
	"scs with contexts": func(t testing.TB, o *foreignstore.Options) (core.Store, faulty) {
		d := new(strict.SCSCtx)
		return must[*foreignstore.Store](t)(foreignstore.FromSCS(d, o)), d
	},
}

func each(t *testing.T, f func(t *testing.T, open func(t testing.TB, o *foreignstore.Options) (core.Store, faulty))) {
	for name, open := range drivers {
		t.Run(name, func(t *testing.T) { f(t, open) })
	}
}

func TestStore(t *testing.T) {
	each(t, func(t *testing.T, open func(t testing.TB, o *foreignstore.Options) (core.Store, faulty)) {
		for _, c := range storetest.Cases() {
			t.Run(c.Name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					// The clock of a bubble begins at a whole second in 2000, of which
					// nothing is cut off.
					time.Sleep(700 * time.Millisecond)
					s, _ := open(t, nil)
					c.Run(t, s)
				})
			})
		}
	})
}

// What another library has written is read as it is.
func TestOthersPayloadsAreReadAsTheyAre(t *testing.T) {
	d := new(strict.Fiber)
	s := must[*foreignstore.Store](t)(foreignstore.FromFiber(d, nil))
	for _, data := range []string{"{}", "\x0egob", "x", strings.Repeat("x", 1000)} {
		if err := d.Set("k", []byte(data), 0); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Get(t.Context(), "k"); string(got) != data || err != nil {
			t.Errorf("%q: %q, %v", data, got, err)
		}
		if err := s.Set(t.Context(), "k", []byte(data), 0); err != nil {
			t.Fatal(err)
		}
		if got, err := d.Get("k"); string(got) != data || err != nil {
			t.Errorf("the driver has %q for %q, %v", got, data, err)
		}
	}
}

func TestErrorsHaveAClassAndNoSecret(t *testing.T) {
	each(t, func(t *testing.T, open func(t testing.TB, o *foreignstore.Options) (core.Store, faulty)) {
		for name, c := range map[string]struct {
			raw         error
			read, write error
			says        string
		}{
			"unknown":            {errors.New("key secret-value"), core.ErrUnavailable, core.ErrOutcomeUnknown, "*errors.errorString"},
			"refused connection": {&net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}, core.ErrUnavailable, core.ErrUnavailable, "connection refused"},
			"broken connection":  {&net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}, core.ErrUnavailable, core.ErrOutcomeUnknown, "connection reset"},
			"full Redis":         {errors.New("OOM command not allowed, secret-value"), core.ErrRefused, core.ErrRefused, "OOM"},
			"SQL, read-only":     {sqlError("25006"), core.ErrRefused, core.ErrRefused, "SQLSTATE 25006"},
			"SQL, shutdown":      {sqlError("57P01"), core.ErrUnavailable, core.ErrOutcomeUnknown, "SQLSTATE 57P01"},
			"MySQL, too long":    {&mysqlError{1406, [5]byte{'2', '2', '0', '0', '1'}}, core.ErrRefused, core.ErrRefused, "SQLSTATE 22001"},
			"MySQL, shutdown":    {fmt.Errorf("wrapped: %w", &mysqlError{1053, [5]byte{'0', '8', 'S', '0', '1'}}), core.ErrUnavailable, core.ErrOutcomeUnknown, "SQLSTATE 08S01"},
			"MySQL, killed":      {&mysqlError{1927, [5]byte{'7', '0', '1', '0', '0'}}, core.ErrUnavailable, core.ErrOutcomeUnknown, "SQLSTATE 70100"},
			"MySQL, no state":    {&mysqlError{Number: 1045}, core.ErrUnavailable, core.ErrOutcomeUnknown, "*foreignstore_test.mysqlError"},
			"SQLite, read-only":  {fmt.Errorf("wrapped: %w", &readOnly), core.ErrRefused, core.ErrRefused, "SQLite 1032"},
			"SQLite, locked":     {errors.Join(&sqlite.Small{Value: 5, System: syscall.EAGAIN}), core.ErrRefused, core.ErrRefused, ""},
			"SQLite, full":       {sqlite.Field{Code: 13}, core.ErrRefused, core.ErrRefused, "SQLite 13"},
			"SQLite, the disk":   {sqlite.Field{Code: 10}, core.ErrUnavailable, core.ErrOutcomeUnknown, "sqlite.Field"},
			"a code of another":  {codeError(13), core.ErrUnavailable, core.ErrOutcomeUnknown, "codeError"},
			"deadline":           {context.DeadlineExceeded, core.ErrTimeout, core.ErrOutcomeUnknown, "deadline"},
		} {
			t.Run(name, func(t *testing.T) {
				var raw []error
				s, d := open(t, &foreignstore.Options{OnError: func(err error) { raw = append(raw, err) }})
				d.Fail(c.raw)
				_, readErr := s.Get(t.Context(), "secret-key")
				for op, got := range map[string]struct{ err, want error }{
					"Get":     {readErr, c.read},
					"Set":     {s.Set(t.Context(), "secret-key", []byte("secret-value"), time.Hour), c.write},
					"Destroy": {s.Destroy(t.Context(), "secret-key"), c.write},
				} {
					switch {
					case !errors.Is(got.err, got.want):
						t.Errorf("%s: %v", op, got.err)
					case strings.Contains(got.err.Error(), "secret"):
						t.Errorf("%s tells a secret", op)
					case !strings.Contains(got.err.Error(), c.says):
						t.Errorf("%s does not say %q: %v", op, c.says, got.err)
					}
				}
				if len(raw) != 3 || !errors.Is(raw[0], c.raw) {
					t.Errorf("OnError got %d errors", len(raw))
				}
			})
		}
	})
}

// SQLITE_READONLY_DBMOVED.
var readOnly = sqlite.Method(8 | 4<<8)

// A codeError has a code that is none of SQLite.
type codeError int

func (e codeError) Error() string { return "key secret-value" }
func (e codeError) Code() int     { return int(e) }

type sqlError string

func (e sqlError) Error() string    { return "secret-value is no good" }
func (e sqlError) SQLState() string { return string(e) }

// That of go-sql-driver/mysql.
type mysqlError struct {
	Number   uint16
	SQLState [5]byte
}

func (e *mysqlError) Error() string { return "Error: Duplicate entry 'secret-value'" }

func TestADriverThatHangs(t *testing.T) {
	each(t, func(t *testing.T, open func(t testing.TB, o *foreignstore.Options) (core.Store, faulty)) {
		synctest.Test(t, func(t *testing.T) {
			s, d := open(t, nil)
			limited := func() context.Context {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				t.Cleanup(cancel)
				return ctx
			}
			release := d.Hang()
			if _, err := s.Get(limited(), "k"); !errors.Is(err, core.ErrTimeout) {
				t.Errorf("Get: %v", err)
			}
			if err := s.Set(limited(), "k", []byte("late"), time.Hour); !errors.Is(err, core.ErrOutcomeUnknown) {
				t.Errorf("Set: %v", err)
			}
			// A logout must not be overtaken by the save before it.
			if err := s.Destroy(limited(), "k"); !errors.Is(err, core.ErrTimeout) {
				t.Errorf("Destroy behind it: %v", err)
			}
			destroyed := make(chan error)
			go func() { destroyed <- s.Destroy(context.Background(), "k") }()
			synctest.Wait()
			release()
			if err := <-destroyed; err != nil {
				t.Errorf("Destroy that waits: %v", err)
			}
			synctest.Wait()
			if d.Len() != 0 {
				t.Error("the save came after the logout")
			}
			if err := s.Set(limited(), "k", []byte("x"), time.Hour); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	})
}

func TestADriverThatHangsIsNotAskedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(strict.Fiber)
		s := must[*foreignstore.Store](t)(foreignstore.FromFiber(d, nil))
		release := d.Hang()
		defer release()
		ended, cancel := context.WithCancel(t.Context())
		var calls int
		for calls = range 2000 {
			ctx, stop := context.WithTimeout(ended, time.Millisecond)
			_, err := s.Get(ctx, "k")
			if stop(); !errors.Is(err, core.ErrUnavailable) {
				t.Fatal(err)
			}
		}
		cancel()
		if got := foreignstore.UnderWay(s); got >= calls {
			t.Errorf("%d calls are under way", got)
		}
	})
}

// R22: a panic of the driver is one of the call, without its text.
func TestAPanicOfADriverIsTheCallers(t *testing.T) {
	s := must[*foreignstore.Store](t)(foreignstore.FromFiber(panicking{}, nil))
	defer func() {
		if p := recover(); p == nil || fmt.Sprint(p) != "panic: string" {
			t.Errorf("the panic is %v", p)
		}
	}()
	_, _ = s.Get(t.Context(), "k")
}

// R22: a driver that ends its goroutine, as a fake does by T.FailNow, has not stored
// anything.
func TestADriverThatExitsIsNoSuccess(t *testing.T) {
	s := must[*foreignstore.Store](t)(foreignstore.FromFiber(panicking{}, nil))
	returned, over := false, make(chan struct{})
	go func() {
		defer close(over)
		_ = s.Set(t.Context(), "k", []byte("v"), time.Minute)
		returned = true
	}()
	if <-over; returned {
		t.Error("Set has returned")
	}
}

type panicking struct{ foreignstore.FiberStorage }

func (panicking) Set(string, []byte, time.Duration) error {
	runtime.Goexit()
	return nil
}

func (panicking) Get(string) ([]byte, error) { panic("the-key-of-somebody") }

// The driver may keep what it got, and change what it has given away.
func TestBytesAreNotShared(t *testing.T) {
	d := new(strict.Fiber)
	s := must[*foreignstore.Store](t)(foreignstore.FromFiber(d, nil))
	data := []byte("x")
	if err := s.Set(t.Context(), "k", data, time.Hour); err != nil {
		t.Fatal(err)
	}
	data[0] = 'y'
	got, _ := s.Get(t.Context(), "k")
	kept, _ := d.Get("k")
	kept[0] = 'z'
	if !bytes.Equal(got, []byte("x")) {
		t.Errorf("%q", got)
	}
}

// scs/mysqlstore has a column of 43 characters, in which our keys have room without
// a prefix: those of sessions and of what is noted of them.
func TestKeysHaveRoomInScsMySQL(t *testing.T) {
	d := &strict.SCS{Fiber: strict.Fiber{MaxKey: 43}}
	s := must[*foreignstore.Store](t)(foreignstore.FromSCS(d, nil))
	m := must[*core.Manager](t)(core.New(s, &core.Options{Keys: keys, NoPrefix: true}))
	defer m.Close()
	const id = "0123456789abcdef0123456789abcdef"
	if err := m.SetByID(t.Context(), id, map[string]int{"n": 1}, 0); err != nil {
		t.Fatal(err)
	}
	if data, err := m.GetByID(t.Context(), id); string(data) != `{"n":1}` || err != nil {
		t.Errorf("%s, %v", data, err)
	}
	if err := m.DestroyByID(t.Context(), id); err != nil || d.Len() != 0 {
		t.Errorf("%d are left, %v", d.Len(), err)
	}
	long := must[*core.Manager](t)(core.New(s, &core.Options{Keys: keys}))
	defer long.Close()
	if err := long.SetByID(t.Context(), id, map[string]int{"n": 1}, 0); err == nil {
		t.Error("the driver has taken a key that is too long for it: this test tests nothing")
	}
}

var keys = core.Keyring{[]byte("HxB3p0q7Zk2mVtN8wRf5yLdGsJcE9uAa")}

func TestGuaranteesNameTheBetterStore(t *testing.T) {
	for name, c := range map[string]struct {
		driver foreignstore.FiberStorage
		want   string
	}{
		"memcached": {memcache.New(), "last write wins, even over a removal: the store has no versions, unlike stores/memcache, which is for the same server"},
		"unknown":   {new(strict.Fiber), "last write wins, even over a removal: the store has no versions"},
	} {
		s := must[*foreignstore.Store](t)(foreignstore.FromFiber(c.driver, nil))
		m := must[*core.Manager](t)(core.New(s, &core.Options{Keys: keys}))
		if got := m.Guarantees(); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
		_ = m.Close()
	}
}

func TestWhatMakesNoSenseIsRefused(t *testing.T) {
	for name, err := range map[string]error{
		"nil storage":   second(foreignstore.FromFiber(nil, nil)),
		"nil store":     second(foreignstore.FromSCS((*strict.SCS)(nil), nil)),
		"short MaxTTL":  second(foreignstore.FromFiber(new(strict.Fiber), &foreignstore.Options{MaxTTL: time.Second})),
		"nil for Fiber": second(foreignstore.ToFiber(nil, nil)),
		"prefix":        second(foreignstore.ToFiber(must[*foreignstore.Store](t)(foreignstore.FromFiber(new(strict.Fiber), nil)), &foreignstore.StorageOptions{Prefix: "a b"})),
		"timeout":       second(foreignstore.ToFiber(must[*foreignstore.Store](t)(foreignstore.FromFiber(new(strict.Fiber), nil)), &foreignstore.StorageOptions{Timeout: -1})),
		"milliseconds":  second(foreignstore.ToFiber(must[*foreignstore.Store](t)(foreignstore.FromFiber(new(strict.Fiber), nil)), &foreignstore.StorageOptions{Timeout: 500})),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), "foreignstore: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }
