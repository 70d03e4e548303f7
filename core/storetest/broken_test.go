package storetest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
)

// A recorder is the T of a run that is meant to fail.
type recorder struct {
	testing.TB // for what is not overridden here; the methods of it that end a test are

	mu      sync.Mutex
	failure string
	skipped string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.mu.Lock()
	r.failure = fmt.Sprintf(format, args...)
	r.mu.Unlock()
	runtime.Goexit()
}

func (r *recorder) skip(why string) {
	r.mu.Lock()
	r.skipped = why
	r.mu.Unlock()
	runtime.Goexit()
}

func (r *recorder) Skip(args ...any)                 { r.skip(fmt.Sprint(args...)) }
func (r *recorder) Skipf(format string, args ...any) { r.skip(fmt.Sprintf(format, args...)) }

// outcome tells how a case failed or why it was skipped.
func outcome(t *testing.T, c storetest.Case, newStore func() core.Store) (failure, skipped string) {
	return observe(t, func(t testing.TB) { c.Run(t, newStore()) })
}

// observe runs a test in a bubble, where waiting is free, and tells how it
// failed or why it was skipped.
func observe(t *testing.T, test func(t testing.TB)) (failure, skipped string) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{TB: t}
		var run sync.WaitGroup
		run.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					r.failure = fmt.Sprint("panic: ", p)
				}
			}()
			test(r)
		})
		run.Wait()
		failure, skipped = r.failure, r.skipped
		time.Sleep(time.Hour) // for what a bug has left behind
	})
	return failure, skipped
}

func TestARightStorePassesAllCases(t *testing.T) {
	names := map[string]bool{}
	for _, c := range storetest.Cases() {
		if names[c.Name] || c.Rule == "" {
			t.Errorf("case %q has a name that another one has, or no rule", c.Name)
		}
		names[c.Name] = true
		t.Run(c.Name, func(t *testing.T) {
			for kind, newStore := range map[string]func() core.Store{
				"model":   func() core.Store { return newModel() },
				"faulty":  func() core.Store { return storetest.NewFaulty(newModel()) },
				"wrapped": func() core.Store { return wrapper{newModel()} },
				"seconds": func() core.Store { return &seconds{model: newModel()} },
				"silent":  func() core.Store { return silent{newModel()} },
				"single":  func() core.Store { return single{newModel()} },
				"apart":   func() core.Store { return listsApart{newModel()} },
				"column":  func() core.Store { return newColumn() },
				"strict": func() core.Store {
					return newBroken(func(b *broken) { b.keys(strict) })
				},
			} {
				failure, skipped := outcome(t, c, newStore)
				if kind == "faulty" && c.Name == "View and Keep" {
					// A Faulty lets nobody go past its GetVersion.
					if failure == "" && skipped != "" {
						continue
					}
				}
				if kind == "single" && failure == "" && strings.Contains(skipped, "several keys") {
					continue
				}
				if kind == "apart" && failure == "" && (strings.Contains(skipped, "an Owner") || strings.Contains(skipped, "tell its keys")) {
					continue
				}
				if failure != "" || skipped != "" {
					t.Errorf("%s: %s%s", kind, failure, skipped)
				}
			}
		})
	}
}

func TestAStoreOfThreeMethodsPasses(t *testing.T) {
	skips := 0
	for _, c := range storetest.Cases() {
		failure, skipped := outcome(t, c, func() core.Store { return plain{newModel()} })
		if failure != "" {
			t.Errorf("%s: %s", c.Name, failure)
		}
		if skipped != "" {
			skips++
			if !strings.Contains(skipped, "core.") {
				t.Errorf("%s is skipped for no ability: %s", c.Name, skipped)
			}
		}
	}
	if n := len(storetest.Cases()); n-skips < 25 {
		t.Errorf("only %d of %d cases are for such a store", n-skips, n)
	}
}

// Run itself, in real time: the cases that wait have to wait together.
func TestRunTakesSeconds(t *testing.T) {
	begun := time.Now()
	storetest.Run(t, func(*testing.T) core.Store { return &seconds{model: newModel()} })
	if d := time.Since(begun); d > 45*time.Second { // one after the other, they take minutes
		t.Errorf("it took %v", d)
	}
}

// A wrapper that it is harmless to go past.
type wrapper struct{ inner core.Store }

func (w wrapper) Unwrap() core.Store { return w.inner }
func (w wrapper) Get(ctx context.Context, key string) ([]byte, error) {
	return w.inner.Get(ctx, key)
}
func (w wrapper) Set(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	return w.inner.Set(ctx, key, data, ttl)
}
func (w wrapper) Destroy(ctx context.Context, key string) error { return w.inner.Destroy(ctx, key) }

// A seconds store counts like memcached: whole seconds of a clock that ticks
// once in one, so that it must add one to be never early. It refuses payloads
// of 512 KiB.
type seconds struct {
	*model
	start time.Time
}

func (s *seconds) round(ttl time.Duration) time.Duration {
	if ttl <= 0 || ttl > 1<<62 {
		return ttl
	}
	now := time.Since(s.start) % time.Second
	return (ttl+time.Second-1)/time.Second*time.Second + time.Second - now
}

func (s *seconds) Set(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	if len(data) >= 512<<10 {
		return fmt.Errorf("seconds: %w", core.ErrTooLarge)
	}
	return s.model.Set(ctx, key, data, s.round(ttl))
}

func (s *seconds) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	if len(data) >= 512<<10 {
		return 0, fmt.Errorf("seconds: %w", core.ErrTooLarge)
	}
	return s.model.SetVersion(ctx, key, data, s.round(ttl), v)
}

func (s *seconds) Batch(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
	writes = slices.Clone(writes)
	for i, w := range writes {
		if len(w.Data) >= 512<<10 {
			return nil, fmt.Errorf("seconds: %w", core.ErrTooLarge)
		}
		writes[i].TTL = s.round(w.TTL)
	}
	return s.model.Batch(ctx, writes...)
}

func (s *seconds) Touch(ctx context.Context, key string, ttl time.Duration) error {
	return s.model.Touch(ctx, key, s.round(ttl))
}

// strict panics for a key that the contract forbids: no case may use one.
func strict(key string) string {
	if len(key) < 1 || len(key) > 250 || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		panic("a forbidden key")
	}
	return key
}

// A silent store does not tell the version of its writes.
type silent struct{ *model }

func (s silent) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	_, err := s.model.SetVersion(ctx, key, data, ttl, v)
	return 0, err
}

// A single store supports batches of one write only.
type single struct{ *model }

func (s single) Batch(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
	if len(writes) > 1 {
		return nil, fmt.Errorf("single: several keys: %w", errors.ErrUnsupported)
	}
	return s.model.Batch(ctx, writes...)
}

// broken is a model of which a bug may replace any method, calling the right
// one where it likes.
type broken struct {
	*model
	get        func(ctx context.Context, key string) ([]byte, error)
	getVersion func(ctx context.Context, key string) ([]byte, core.Version, error)
	set        func(ctx context.Context, key string, data []byte, ttl time.Duration) error
	setVersion func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error)
	destroy    func(ctx context.Context, key string) error
	touch      func(ctx context.Context, key string, ttl time.Duration) error
	notify     func(f func(bool)) func()
	view       func(ctx context.Context, key string) (string, core.Version, error)
	keep       func(ctx context.Context, text string, keyLen int, ttl time.Duration, v core.Version) (core.Version, error)
	batch      func(ctx context.Context, writes ...core.Write) ([]core.Version, error)
	append     func(ctx context.Context, key string, suffix []byte) ([]byte, core.Version, error)
}

func newBroken(bug func(b *broken)) core.Store {
	m := newModel()
	b := &broken{m, m.Get, m.GetVersion, m.Set, m.SetVersion, m.Destroy, m.Touch, m.Notify, nil, nil, m.Batch, m.Append}
	b.view = func(ctx context.Context, key string) (string, core.Version, error) {
		data, v, err := b.getVersion(ctx, key)
		return string(data), v, err
	}
	b.keep = func(ctx context.Context, text string, keyLen int, ttl time.Duration, v core.Version) (core.Version, error) {
		return b.setVersion(ctx, text[:keyLen], []byte(text[keyLen:]), ttl, v)
	}
	bug(b)
	return b
}

func (b *broken) Get(ctx context.Context, key string) ([]byte, error) { return b.get(ctx, key) }
func (b *broken) GetVersion(ctx context.Context, key string) ([]byte, core.Version, error) {
	return b.getVersion(ctx, key)
}
func (b *broken) Set(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	return b.set(ctx, key, data, ttl)
}
func (b *broken) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	return b.setVersion(ctx, key, data, ttl, v)
}
func (b *broken) Destroy(ctx context.Context, key string) error { return b.destroy(ctx, key) }
func (b *broken) Touch(ctx context.Context, key string, ttl time.Duration) error {
	return b.touch(ctx, key, ttl)
}
func (b *broken) Notify(f func(bool)) func() { return b.notify(f) }
func (b *broken) View(ctx context.Context, key string) (string, core.Version, error) {
	return b.view(ctx, key)
}
func (b *broken) Keep(ctx context.Context, text string, keyLen int, ttl time.Duration, v core.Version) (core.Version, error) {
	return b.keep(ctx, text, keyLen, ttl, v)
}
func (b *broken) Batch(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
	return b.batch(ctx, writes...)
}
func (b *broken) Append(ctx context.Context, key string, suffix []byte) ([]byte, core.Version, error) {
	return b.append(ctx, key, suffix)
}

// writes passes all writes of a Batch through f.
func (b *broken) writes(f func(w *core.Write)) {
	b.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
		writes = slices.Clone(writes)
		for i := range writes {
			f(&writes[i])
		}
		return b.model.Batch(ctx, writes...)
	}
}

// ttls passes all ttls through f.
func (b *broken) ttls(f func(ttl time.Duration) time.Duration) {
	b.set = func(ctx context.Context, key string, data []byte, ttl time.Duration) error {
		return b.model.Set(ctx, key, data, f(ttl))
	}
	b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
		return b.model.SetVersion(ctx, key, data, f(ttl), v)
	}
	b.touch = func(ctx context.Context, key string, ttl time.Duration) error {
		return b.model.Touch(ctx, key, f(ttl))
	}
	b.writes(func(w *core.Write) { w.TTL = f(w.TTL) })
}

// keys passes all keys through f.
func (b *broken) keys(f func(key string) string) {
	b.get = func(ctx context.Context, key string) ([]byte, error) { return b.model.Get(ctx, f(key)) }
	b.getVersion = func(ctx context.Context, key string) ([]byte, core.Version, error) {
		return b.model.GetVersion(ctx, f(key))
	}
	b.set = func(ctx context.Context, key string, data []byte, ttl time.Duration) error {
		return b.model.Set(ctx, f(key), data, ttl)
	}
	b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
		return b.model.SetVersion(ctx, f(key), data, ttl, v)
	}
	b.destroy = func(ctx context.Context, key string) error { return b.model.Destroy(ctx, f(key)) }
	b.touch = func(ctx context.Context, key string, ttl time.Duration) error {
		return b.model.Touch(ctx, f(key), ttl)
	}
	b.writes(func(w *core.Write) { w.Key = f(w.Key) })
	b.append = func(ctx context.Context, key string, suffix []byte) ([]byte, core.Version, error) {
		return b.model.Append(ctx, f(key), suffix)
	}
}

// reads passes all payloads read through f.
func (b *broken) reads(f func(data []byte) []byte) {
	b.get = func(ctx context.Context, key string) ([]byte, error) {
		data, err := b.model.Get(ctx, key)
		return f(data), err
	}
	b.getVersion = func(ctx context.Context, key string) ([]byte, core.Version, error) {
		data, v, err := b.model.GetVersion(ctx, key)
		return f(data), v, err
	}
}

// peek is what is stored under key, without a copy and whatever its ttl.
func (b *broken) peek(key string) (record, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, ok := b.records[key]
	return r, ok
}

func (b *broken) poke(key string, r record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.records[key] = r
}

var bg = context.Background()

// A withheld is an error that does not say what it wraps.
type withheld struct{ err error }

func (withheld) Error() string   { return "withheld" }
func (w withheld) Unwrap() error { return w.err }

// bugs are stores that are wrong in one thing, and the case that has to say so.
var bugs = []struct {
	bug    string
	caught string
	plant  func(b *broken)
}{
	{"Get returns nothing", "round trip", func(b *broken) {
		b.reads(func([]byte) []byte { return nil })
	}},
	{"reading removes", "round trip", func(b *broken) {
		b.get = func(ctx context.Context, key string) ([]byte, error) {
			defer b.model.Destroy(bg, key)
			return b.model.Get(ctx, key)
		}
	}},
	{"a miss is nil, nil", "miss", func(b *broken) {
		b.get = func(ctx context.Context, key string) ([]byte, error) {
			data, err := b.model.Get(ctx, key)
			if errors.Is(err, core.ErrNotFound) {
				err = nil
			}
			return data, err
		}
	}},
	{"a miss is an error of its own", "miss", func(b *broken) {
		b.get = func(ctx context.Context, key string) ([]byte, error) {
			data, err := b.model.Get(ctx, key)
			if errors.Is(err, core.ErrNotFound) {
				err = errTest
			}
			return data, err
		}
	}},
	{"Set does not overwrite", "overwrite", func(b *broken) {
		b.set = func(ctx context.Context, key string, data []byte, ttl time.Duration) error {
			if _, err := b.model.Get(ctx, key); err == nil {
				return nil
			}
			return b.model.Set(ctx, key, data, ttl)
		}
	}},
	{"a shorter payload keeps the tail of the old one", "overwrite", func(b *broken) {
		b.set = func(ctx context.Context, key string, data []byte, ttl time.Duration) error {
			if old, err := b.model.Get(ctx, key); err == nil && len(old) > len(data) {
				data = append(bytes.Clone(data), old[len(data):]...)
			}
			return b.model.Set(ctx, key, data, ttl)
		}
	}},
	{"Destroy does nothing", "destroy", func(b *broken) {
		b.destroy = func(context.Context, string) error { return nil }
	}},
	{"Destroy of a missing key is an error", "destroy of a missing key", func(b *broken) {
		b.destroy = func(ctx context.Context, key string) error {
			if _, err := b.model.Get(ctx, key); err != nil {
				return err
			}
			return b.model.Destroy(ctx, key)
		}
	}},
	{"Destroy removes what begins with the key", "independent keys", func(b *broken) {
		b.destroy = func(ctx context.Context, key string) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			for k := range b.records {
				if strings.HasPrefix(k, key) {
					delete(b.records, k)
				}
			}
			return ctx.Err()
		}
	}},
	{"keys are cut at 200 bytes", "long key", func(b *broken) {
		b.keys(func(key string) string { return key[:min(len(key), 200)] })
	}},
	{"keys are cut at 249 bytes", "long key", func(b *broken) {
		b.keys(func(key string) string { return key[:min(len(key), 249)] })
	}},
	{"250 bytes are too long", "long key", func(b *broken) {
		b.set = func(ctx context.Context, key string, data []byte, ttl time.Duration) error {
			if len(key) > 249 {
				return core.ErrRefused
			}
			return b.model.Set(ctx, key, data, ttl)
		}
	}},
	{"keys are cleaned as paths", "unusual key", func(b *broken) {
		b.keys(func(key string) string { return strings.ReplaceAll(strings.ReplaceAll(key, "../", ""), "/", "") })
	}},
	{"an asterisk removes all", "unusual key", func(b *broken) {
		b.destroy = func(ctx context.Context, key string) error {
			if strings.HasSuffix(key, "*") {
				clear(b.records)
			}
			return b.model.Destroy(ctx, key)
		}
	}},
	{"keys are folded to lower case", "case-sensitive keys", func(b *broken) { b.keys(strings.ToLower) }},
	{"errors name the key", "no secrets in errors", func(b *broken) {
		b.get = func(ctx context.Context, key string) ([]byte, error) {
			data, err := b.model.Get(ctx, key)
			if err != nil {
				err = fmt.Errorf("get %q: %w", key, err)
			}
			return data, err
		}
	}},
	{"a conflict names the payload", "no secrets in errors", func(b *broken) {
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			v, err := b.model.SetVersion(ctx, key, data, ttl, v)
			if errors.Is(err, core.ErrConflict) {
				err = fmt.Errorf("%s: %w", data, err)
			}
			return v, err
		}
	}},
	{"a negative ttl names the key", "no secrets in errors", func(b *broken) {
		b.touch = func(ctx context.Context, key string, ttl time.Duration) error {
			if ttl < 0 {
				return fmt.Errorf("touch %s: negative ttl", key)
			}
			return b.model.Touch(ctx, key, ttl)
		}
	}},
	{"a conflict wraps an error that names the key", "no secrets in errors", func(b *broken) {
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			v, err := b.model.SetVersion(ctx, key, data, ttl, v)
			if errors.Is(err, core.ErrConflict) {
				err = withheld{fmt.Errorf("duplicate key %s: %w", key, err)}
			}
			return v, err
		}
	}},
	{"a swap of a missing key names the key", "swap of a missing key", func(b *broken) {
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			v, err := b.model.SetVersion(ctx, key, data, ttl, v)
			if err != nil {
				err = fmt.Errorf("%s: %w", key, err)
			}
			return v, err
		}
	}},
	{"versions are of other keys", "capabilities use the same keys", func(b *broken) {
		b.getVersion = func(ctx context.Context, key string) ([]byte, core.Version, error) {
			return b.model.GetVersion(ctx, "prefix:"+key)
		}
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			return b.model.SetVersion(ctx, "prefix:"+key, data, ttl, v)
		}
	}},
	{"an empty payload is a miss", "empty payload", func(b *broken) {
		b.get = func(ctx context.Context, key string) ([]byte, error) {
			data, err := b.model.Get(ctx, key)
			if err == nil && len(data) == 0 {
				err = core.ErrNotFound
			}
			return data, err
		}
	}},
	{"an empty payload is not stored", "empty payload", func(b *broken) {
		b.set = func(ctx context.Context, key string, data []byte, ttl time.Duration) error {
			if len(data) == 0 {
				return ctx.Err()
			}
			return b.model.Set(ctx, key, data, ttl)
		}
	}},
	{"a nil payload removes", "nil payload", func(b *broken) {
		b.set = func(ctx context.Context, key string, data []byte, ttl time.Duration) error {
			if data == nil {
				return b.model.Destroy(ctx, key)
			}
			return b.model.Set(ctx, key, data, ttl)
		}
	}},
	{"line ends are changed", "binary payload", func(b *broken) {
		b.reads(func(data []byte) []byte { return bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")) })
	}},
	{"payloads end at a zero byte", "binary payload", func(b *broken) {
		b.reads(func(data []byte) []byte { data, _, _ = bytes.Cut(data, []byte{0}); return data })
	}},
	{"payloads are made UTF-8", "binary payload", func(b *broken) {
		b.reads(func(data []byte) []byte { return bytes.ToValidUTF8(data, []byte("?")) })
	}},
	{"a large payload is cut", "large payload", func(b *broken) {
		b.reads(func(data []byte) []byte { return data[:min(len(data), 100_000)] })
	}},
	{"a payload that is too large removes the old one", "large payload", func(b *broken) {
		b.set = func(ctx context.Context, key string, data []byte, ttl time.Duration) error {
			if len(data) > 100_000 {
				b.model.Destroy(ctx, key)
				return core.ErrTooLarge
			}
			return b.model.Set(ctx, key, data, ttl)
		}
	}},
	{"a payload that is too large to swap in removes the old one", "large payload", func(b *broken) {
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			if len(data) > 100_000 {
				b.model.Destroy(ctx, key)
				return 0, core.ErrTooLarge
			}
			return b.model.SetVersion(ctx, key, data, ttl, v)
		}
	}},
	{"a payload that is too large is an error of its own", "large payload", func(b *broken) {
		b.set = func(ctx context.Context, key string, data []byte, ttl time.Duration) error {
			if len(data) > 100_000 {
				return errTest
			}
			return b.model.Set(ctx, key, data, ttl)
		}
	}},
	{"65536 is 0", "sizes", func(b *broken) {
		b.reads(func(data []byte) []byte { return data[:len(data)&0xffff] })
	}},
	{"Set keeps the slice", "Set copies", func(b *broken) {
		b.set = func(ctx context.Context, key string, data []byte, ttl time.Duration) error {
			err := b.model.Set(ctx, key, data, ttl)
			if r, ok := b.peek(key); ok && err == nil {
				r.data = data
				b.poke(key, r)
			}
			return err
		}
	}},
	{"SetVersion keeps the slice", "Set copies", func(b *broken) {
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			v, err := b.model.SetVersion(ctx, key, data, ttl, v)
			if r, ok := b.peek(key); ok && err == nil {
				r.data = data
				b.poke(key, r)
			}
			return v, err
		}
	}},
	{"Set appends to the slice", "Set does not change the slice", func(b *broken) {
		b.set = func(ctx context.Context, key string, data []byte, ttl time.Duration) error {
			framed := append(data, "\r\n"...)
			return b.model.Set(ctx, key, framed[:len(data)], ttl)
		}
	}},
	{"SetVersion enciphers in place", "Set does not change the slice", func(b *broken) {
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			v, err := b.model.SetVersion(ctx, key, data, ttl, v)
			for i := range data {
				data[i] ^= 0x55
			}
			return v, err
		}
	}},
	{"Get returns the inner slice", "Get returns a copy", func(b *broken) {
		b.get = func(ctx context.Context, key string) ([]byte, error) {
			if _, err := b.model.Get(ctx, key); err != nil {
				return nil, err
			}
			r, _ := b.peek(key)
			return r.data, nil
		}
	}},
	{"GetVersion returns the inner slice", "Get returns a copy", func(b *broken) {
		b.getVersion = func(ctx context.Context, key string) ([]byte, core.Version, error) {
			if _, err := b.model.Get(ctx, key); err != nil {
				return nil, 0, err
			}
			r, _ := b.peek(key)
			return r.data, r.version, nil
		}
	}},
	{"View shows memory that is written into", "View and Keep", func(b *broken) {
		room := make([]byte, 64)
		b.view = func(ctx context.Context, key string) (string, core.Version, error) {
			data, v, err := b.model.GetVersion(ctx, key)
			return unsafe.String(&room[0], copy(room, data)), v, err
		}
		b.set = func(ctx context.Context, key string, data []byte, ttl time.Duration) error {
			copy(room, data)
			return b.model.Set(ctx, key, data, ttl)
		}
	}},
	{"View of a missing key is no error", "miss", func(b *broken) {
		b.view = func(ctx context.Context, key string) (string, core.Version, error) {
			data, v, _ := b.model.GetVersion(ctx, key)
			return string(data), v, nil
		}
	}},
	{"View tells another version", "View and Keep", func(b *broken) {
		b.view = func(ctx context.Context, key string) (string, core.Version, error) {
			data, v, err := b.model.GetVersion(ctx, key)
			return string(data), v + 1, err
		}
	}},
	{"View drops what follows a zero byte", "View and Keep", func(b *broken) {
		b.view = func(ctx context.Context, key string) (string, core.Version, error) {
			data, v, err := b.model.GetVersion(ctx, key)
			text, _, _ := strings.Cut(string(data), "\x00")
			return text, v, err
		}
	}},
	{"Keep does not look at the version", "conflict", func(b *broken) {
		b.keep = func(ctx context.Context, text string, keyLen int, ttl time.Duration, _ core.Version) (core.Version, error) {
			if err := b.model.Set(ctx, text[:keyLen], []byte(text[keyLen:]), ttl); err != nil {
				return 0, err
			}
			_, v, err := b.model.GetVersion(ctx, text[:keyLen])
			return v, err
		}
	}},
	{"Keep keeps the key in the payload", "View and Keep", func(b *broken) {
		b.keep = func(ctx context.Context, text string, keyLen int, ttl time.Duration, v core.Version) (core.Version, error) {
			return b.setVersion(ctx, text[:keyLen], []byte(text), ttl, v)
		}
	}},
	{"Keep forgets the ttl", "ttl of SetVersion", func(b *broken) {
		b.keep = func(ctx context.Context, text string, keyLen int, ttl time.Duration, v core.Version) (core.Version, error) {
			return b.setVersion(ctx, text[:keyLen], []byte(text[keyLen:]), min(ttl, 0), v)
		}
	}},
	{"Set writes into the slice that Get returned", "Get returns a copy", func(b *broken) {
		var mu sync.Mutex
		given := map[string][][]byte{}
		b.get = func(ctx context.Context, key string) ([]byte, error) {
			data, err := b.model.Get(ctx, key)
			mu.Lock()
			defer mu.Unlock()
			given[key] = append(given[key], data)
			return data, err
		}
		b.set = func(ctx context.Context, key string, data []byte, ttl time.Duration) error {
			mu.Lock()
			defer mu.Unlock()
			for _, old := range given[key] {
				copy(old, data)
			}
			return b.model.Set(ctx, key, data, ttl)
		}
	}},
	{"the ttl is ignored", "ttl", func(b *broken) {
		b.ttls(func(ttl time.Duration) time.Duration { return min(ttl, 0) })
	}},
	{"the ttl is doubled thrice", "ttl", func(b *broken) {
		b.ttls(func(ttl time.Duration) time.Duration { return min(ttl, time.Hour) * 8 })
	}},
	{"reading renews the ttl", "ttl", func(b *broken) {
		b.get = func(ctx context.Context, key string) ([]byte, error) {
			data, err := b.model.Get(ctx, key)
			if r, ok := b.peek(key); ok && !r.expires.IsZero() && err == nil {
				b.model.Touch(ctx, key, time.Second)
			}
			return data, err
		}
	}},
	{"the ttl is half", "ttl", func(b *broken) {
		b.ttls(func(ttl time.Duration) time.Duration { return ttl / 2 })
	}},
	{"the ttl is cut to whole seconds", "ttl is rounded up", func(b *broken) {
		b.ttls(func(ttl time.Duration) time.Duration {
			if ttl > time.Second {
				return ttl.Truncate(time.Second)
			}
			return ttl
		})
	}},
	{"a ttl under a second is no end", "ttl under a second", func(b *broken) {
		b.ttls(func(ttl time.Duration) time.Duration {
			if ttl > 0 && ttl < time.Second {
				return 0
			}
			return ttl
		})
	}},
	{"a ttl under a second is over at once", "ttl under a second", func(b *broken) {
		b.ttls(func(ttl time.Duration) time.Duration {
			if ttl > 0 && ttl < time.Second {
				return 1
			}
			return ttl
		})
	}},
	{"a ttl under a millisecond is refused", "ttl under a second", func(b *broken) {
		b.ttls(func(ttl time.Duration) time.Duration {
			if ttl > 0 && ttl < time.Millisecond {
				return -1
			}
			return ttl
		})
	}},
	{"a ttl of zero is over at once", "zero ttl", func(b *broken) {
		b.ttls(func(ttl time.Duration) time.Duration { return max(ttl, 1) })
	}},
	{"a ttl of zero leaves the old one", "zero ttl", func(b *broken) {
		b.set = func(ctx context.Context, key string, data []byte, ttl time.Duration) error {
			old, ok := b.peek(key)
			err := b.model.Set(ctx, key, data, ttl)
			if r, _ := b.peek(key); ok && ttl == 0 && err == nil {
				r.expires = old.expires
				b.poke(key, r)
			}
			return err
		}
	}},
	{"a negative ttl is no end", "negative ttl", func(b *broken) {
		b.ttls(func(ttl time.Duration) time.Duration { return max(ttl, 0) })
	}},
	{"a negative ttl removes", "negative ttl", func(b *broken) {
		b.set = func(ctx context.Context, key string, data []byte, ttl time.Duration) error {
			if ttl < 0 {
				b.model.Destroy(ctx, key)
			}
			return b.model.Set(ctx, key, data, ttl)
		}
	}},
	{"a ttl over 30 days is a date", "longest ttl", func(b *broken) {
		b.ttls(func(ttl time.Duration) time.Duration {
			if ttl > 30*24*time.Hour {
				return 1
			}
			return ttl
		})
	}},
	{"a very long ttl overflows", "longest ttl", func(b *broken) {
		b.set = func(ctx context.Context, key string, data []byte, ttl time.Duration) error {
			ms := (ttl + time.Millisecond - 1) / time.Millisecond
			return b.model.Set(ctx, key, data, ms*time.Millisecond)
		}
	}},
	{"the longest ttl is a short one", "longest ttl", func(b *broken) {
		b.set = func(ctx context.Context, key string, data []byte, ttl time.Duration) error {
			if ttl > 1<<62 {
				ttl = time.Millisecond
			}
			return b.model.Set(ctx, key, data, ttl)
		}
	}},
	{"Set does not renew the ttl", "Set renews the ttl", func(b *broken) {
		b.set = func(ctx context.Context, key string, data []byte, ttl time.Duration) error {
			old, ok := b.peek(key)
			err := b.model.Set(ctx, key, data, ttl)
			if r, _ := b.peek(key); ok && err == nil {
				r.expires = old.expires
				b.poke(key, r)
			}
			return err
		}
	}},
	{"Set only lengthens the ttl", "Set shortens the ttl", func(b *broken) {
		b.set = func(ctx context.Context, key string, data []byte, ttl time.Duration) error {
			old, ok := b.peek(key)
			err := b.model.Set(ctx, key, data, ttl)
			if r, _ := b.peek(key); ok && err == nil && (old.expires.IsZero() || old.expires.After(r.expires)) {
				r.expires = old.expires
				b.poke(key, r)
			}
			return err
		}
	}},
	{"an expired key can't be set again", "expired then set", func(b *broken) {
		b.set = func(ctx context.Context, key string, data []byte, ttl time.Duration) error {
			err := b.model.Set(ctx, key, data, ttl)
			if len(data) > 0 && data[0] == 'y' {
				b.model.Destroy(bg, key)
			}
			return err
		}
	}},
	{"timers of destroyed keys go off", "destroyed ttl", func(b *broken) {
		b.set = func(ctx context.Context, key string, data []byte, ttl time.Duration) error {
			err := b.model.Set(ctx, key, data, ttl)
			if ttl > 0 && ttl < time.Minute && err == nil {
				time.AfterFunc(ttl, func() { b.model.Destroy(bg, key) })
			}
			return err
		}
	}},
	{"SetVersion ignores the ttl", "ttl of SetVersion", func(b *broken) {
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			return b.model.SetVersion(ctx, key, data, min(ttl, 0), v)
		}
	}},
	{"SetVersion leaves the old ttl", "SetVersion renews the ttl", func(b *broken) {
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			old, ok := b.peek(key)
			v, err := b.model.SetVersion(ctx, key, data, ttl, v)
			if r, _ := b.peek(key); ok && err == nil {
				r.expires = old.expires
				b.poke(key, r)
			}
			return v, err
		}
	}},
	{"Touch does nothing", "Touch renews the ttl", func(b *broken) {
		b.touch = func(ctx context.Context, key string, ttl time.Duration) error {
			_, err := b.model.Get(ctx, key)
			return err
		}
	}},
	{"Touch of zero is over at once", "Touch renews the ttl", func(b *broken) {
		b.touch = func(ctx context.Context, key string, ttl time.Duration) error {
			return b.model.Touch(ctx, key, max(ttl, 1))
		}
	}},
	{"Touch only lengthens", "Touch shortens the ttl", func(b *broken) {
		b.touch = func(ctx context.Context, key string, ttl time.Duration) error {
			old, _ := b.peek(key)
			err := b.model.Touch(ctx, key, ttl)
			if r, ok := b.peek(key); ok && (old.expires.IsZero() || old.expires.After(r.expires)) {
				r.expires = old.expires
				b.poke(key, r)
			}
			return err
		}
	}},
	{"Touch of a missing key is no error", "Touch of a missing key", func(b *broken) {
		b.touch = func(ctx context.Context, key string, ttl time.Duration) error {
			if err := b.model.Touch(ctx, key, ttl); !errors.Is(err, core.ErrNotFound) {
				return err
			}
			return nil
		}
	}},
	{"Touch makes a missing key", "Touch of a missing key", func(b *broken) {
		b.touch = func(ctx context.Context, key string, ttl time.Duration) error {
			err := b.model.Touch(ctx, key, ttl)
			if errors.Is(err, core.ErrNotFound) {
				b.model.Set(ctx, key, nil, ttl)
			}
			return err
		}
	}},
	{"Touch revives an expired key", "Touch of an expired key", func(b *broken) {
		b.touch = func(ctx context.Context, key string, ttl time.Duration) error {
			if r, ok := b.peek(key); ok && ttl > 0 && ctx.Err() == nil {
				r.expires = expiry(ttl)
				b.poke(key, r)
				return nil
			}
			return b.model.Touch(ctx, key, ttl)
		}
	}},
	{"Touch empties the payload", "Touch leaves the payload", func(b *broken) {
		b.touch = func(ctx context.Context, key string, ttl time.Duration) error {
			err := b.model.Touch(ctx, key, ttl)
			if r, ok := b.peek(key); ok && err == nil {
				r.data = nil
				b.poke(key, r)
			}
			return err
		}
	}},
	{"Touch changes the version", "Touch leaves the version", func(b *broken) {
		b.touch = func(ctx context.Context, key string, ttl time.Duration) error {
			data, err := b.model.Get(ctx, key)
			if err != nil {
				return err
			}
			return b.model.Set(ctx, key, data, ttl)
		}
	}},
	{"a negative ttl of Touch removes", "Touch with a negative ttl", func(b *broken) {
		b.touch = func(ctx context.Context, key string, ttl time.Duration) error {
			if ttl < 0 {
				return b.model.Destroy(ctx, key)
			}
			return b.model.Touch(ctx, key, ttl)
		}
	}},
	{"the version is always zero", "GetVersion", func(b *broken) {
		b.getVersion = func(ctx context.Context, key string) ([]byte, core.Version, error) {
			data, _, err := b.model.GetVersion(ctx, key)
			return data, 0, err
		}
	}},
	{"GetVersion of a missing key is no error", "GetVersion", func(b *broken) {
		b.getVersion = func(ctx context.Context, key string) ([]byte, core.Version, error) {
			data, v, err := b.model.GetVersion(ctx, key)
			if errors.Is(err, core.ErrNotFound) {
				err = nil
			}
			return data, v, err
		}
	}},
	{"reading changes the version", "GetVersion", func(b *broken) {
		b.get = func(ctx context.Context, key string) ([]byte, error) {
			data, err := b.model.Get(ctx, key)
			if r, ok := b.peek(key); ok && err == nil {
				r.version += 1 << 20
				b.poke(key, r)
			}
			return data, err
		}
	}},
	{"a create overwrites", "create over an existing key", func(b *broken) {
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			if v == 0 && ttl >= 0 && ctx.Err() == nil {
				b.model.Destroy(ctx, key)
			}
			return b.model.SetVersion(ctx, key, data, ttl, v)
		}
	}},
	{"a create over an empty payload overwrites", "create over an existing key", func(b *broken) {
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			if old, err := b.model.Get(ctx, key); v == 0 && err == nil && len(old) == 0 {
				b.model.Destroy(ctx, key)
			}
			return b.model.SetVersion(ctx, key, data, ttl, v)
		}
	}},
	{"a create does nothing", "create", func(b *broken) {
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			if v == 0 {
				return 1, nil
			}
			return b.model.SetVersion(ctx, key, data, ttl, v)
		}
	}},
	{"a destroyed key can't be created", "create after Destroy", func(b *broken) {
		gone := map[string]bool{}
		b.destroy = func(ctx context.Context, key string) error {
			b.mu.Lock()
			gone[key] = true
			b.mu.Unlock()
			return b.model.Destroy(ctx, key)
		}
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			b.mu.Lock()
			was := gone[key]
			b.mu.Unlock()
			if v == 0 && was {
				return 0, core.ErrConflict
			}
			return b.model.SetVersion(ctx, key, data, ttl, v)
		}
	}},
	{"an expired key can't be created until somebody looks", "create after expiry", func(b *broken) {
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			if _, ok := b.peek(key); ok && v == 0 {
				return 0, core.ErrConflict
			}
			return b.model.SetVersion(ctx, key, data, ttl, v)
		}
	}},
	{"a swap loses the payload", "swap", func(b *broken) {
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			if v != 0 {
				data = nil
			}
			return b.model.SetVersion(ctx, key, data, ttl, v)
		}
	}},
	{"SetVersion returns the version of before", "swap again", func(b *broken) {
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			now, err := b.model.SetVersion(ctx, key, data, ttl, v)
			return now - 1, err
		}
	}},
	{"the version is ignored", "conflict", func(b *broken) {
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			if _, now, err := b.model.GetVersion(ctx, key); err == nil && v != 0 {
				v = now
			}
			return b.model.SetVersion(ctx, key, data, ttl, v)
		}
	}},
	{"a conflict is no error", "conflict", func(b *broken) {
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			now, err := b.model.SetVersion(ctx, key, data, ttl, v)
			if errors.Is(err, core.ErrConflict) {
				return v, nil
			}
			return now, err
		}
	}},
	{"a conflict is not found", "conflict", func(b *broken) {
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			now, err := b.model.SetVersion(ctx, key, data, ttl, v)
			if errors.Is(err, core.ErrConflict) {
				err = core.ErrNotFound
			}
			return now, err
		}
	}},
	{"a conflict removes the old payload", "conflict", func(b *broken) {
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			now, err := b.model.SetVersion(ctx, key, data, ttl, v)
			if errors.Is(err, core.ErrConflict) {
				b.model.Destroy(ctx, key)
			}
			return now, err
		}
	}},
	{"a conflict changes the version", "conflict", func(b *broken) {
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			now, err := b.model.SetVersion(ctx, key, data, ttl, v)
			if r, ok := b.peek(key); ok && errors.Is(err, core.ErrConflict) {
				r.version += 1 << 20
				b.poke(key, r)
			}
			return now, err
		}
	}},
	{"Set leaves the version", "conflict after Set", func(b *broken) {
		b.set = func(ctx context.Context, key string, data []byte, ttl time.Duration) error {
			old, ok := b.peek(key)
			err := b.model.Set(ctx, key, data, ttl)
			if r, _ := b.peek(key); ok && err == nil {
				r.version = old.version
				b.poke(key, r)
			}
			return err
		}
	}},
	{"a conflict renews the ttl", "conflict leaves the ttl", func(b *broken) {
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			now, err := b.model.SetVersion(ctx, key, data, ttl, v)
			if errors.Is(err, core.ErrConflict) {
				b.model.Touch(ctx, key, ttl)
			}
			return now, err
		}
	}},
	{"a later version will do", "unknown version", func(b *broken) {
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			if _, now, err := b.model.GetVersion(ctx, key); err == nil && v > now {
				v = now
			}
			return b.model.SetVersion(ctx, key, data, ttl, v)
		}
	}},
	{"versions are compared in 32 bits", "unknown version", func(b *broken) {
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			if _, now, err := b.model.GetVersion(ctx, key); err == nil && uint32(v) == uint32(now) {
				v = now
			}
			return b.model.SetVersion(ctx, key, data, ttl, v)
		}
	}},
	{"a swap makes a missing key", "swap of a missing key", func(b *broken) {
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			now, err := b.model.SetVersion(ctx, key, data, ttl, v)
			if errors.Is(err, core.ErrNotFound) {
				return b.model.SetVersion(ctx, key, data, ttl, 0)
			}
			return now, err
		}
	}},
	{"a swap of a missing key is a conflict", "swap of a missing key", func(b *broken) {
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			now, err := b.model.SetVersion(ctx, key, data, ttl, v)
			if errors.Is(err, core.ErrNotFound) {
				err = core.ErrConflict
			}
			return now, err
		}
	}},
	{"a destroyed key comes back", "swap after Destroy", func(b *broken) {
		last := map[string]core.Version{}
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			b.mu.Lock()
			known := v != 0 && last[key] == v
			b.mu.Unlock()
			now, err := b.model.SetVersion(ctx, key, data, ttl, v)
			if known && errors.Is(err, core.ErrNotFound) {
				now, err = b.model.SetVersion(ctx, key, data, ttl, 0)
			}
			b.mu.Lock()
			last[key] = now
			b.mu.Unlock()
			return now, err
		}
	}},
	{"an expired key can be swapped", "swap after expiry", func(b *broken) {
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			if r, ok := b.peek(key); ok && ttl >= 0 && r.version == v && ctx.Err() == nil {
				r.expires = time.Time{}
				b.poke(key, r)
			}
			return b.model.SetVersion(ctx, key, data, ttl, v)
		}
	}},
	{"versions count from one for each key", "swap after recreation", func(b *broken) {
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			old, ok := b.peek(key)
			now, err := b.model.SetVersion(ctx, key, data, ttl, v)
			if r, _ := b.peek(key); err == nil {
				r.version = 1
				if ok {
					r.version = old.version + 1
				}
				b.poke(key, r)
				now = r.version
			}
			return now, err
		}
	}},
	{"SetVersion takes a negative ttl for no end", "SetVersion with a negative ttl", func(b *broken) {
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			return b.model.SetVersion(ctx, key, data, max(ttl, 0), v)
		}
	}},
	{"the context is ignored by Get", "cancelled context", func(b *broken) {
		b.get = func(_ context.Context, key string) ([]byte, error) { return b.model.Get(bg, key) }
	}},
	{"the context is ignored by Destroy", "cancelled context", func(b *broken) {
		b.destroy = func(_ context.Context, key string) error { return b.model.Destroy(bg, key) }
	}},
	{"a cancelled Set writes", "cancelled context", func(b *broken) {
		b.set = func(ctx context.Context, key string, data []byte, ttl time.Duration) error {
			if err := b.model.Set(bg, key, data, ttl); err != nil {
				return err
			}
			return ctx.Err()
		}
	}},
	{"a cancelled Get is a miss", "cancelled context", func(b *broken) {
		b.get = func(ctx context.Context, key string) ([]byte, error) {
			if ctx.Err() != nil {
				return nil, core.ErrNotFound
			}
			return b.model.Get(ctx, key)
		}
	}},
	{"a cancelled call hangs", "cancelled context", func(b *broken) {
		b.touch = func(ctx context.Context, key string, ttl time.Duration) error {
			if ctx.Err() != nil {
				time.Sleep(time.Minute)
			}
			return b.model.Touch(ctx, key, ttl)
		}
	}},
	{"the deadline is ignored by Touch", "expired deadline", func(b *broken) {
		b.touch = func(_ context.Context, key string, ttl time.Duration) error { return b.model.Touch(bg, key, ttl) }
	}},
	{"the deadline is ignored by SetVersion", "expired deadline", func(b *broken) {
		b.setVersion = func(_ context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			return b.model.SetVersion(bg, key, data, ttl, v)
		}
	}},
	{"a missed deadline is an error of its own", "expired deadline", func(b *broken) {
		b.getVersion = func(ctx context.Context, key string) ([]byte, core.Version, error) {
			if ctx.Err() != nil {
				return nil, 0, errTest
			}
			return b.model.GetVersion(ctx, key)
		}
	}},
	{"a cancelled read is a miss", "cancelled read", func(b *broken) {
		b.get = func(ctx context.Context, key string) ([]byte, error) {
			select {
			case <-time.After(150 * time.Microsecond):
				return b.model.Get(ctx, key)
			case <-ctx.Done():
				return nil, core.ErrNotFound
			}
		}
	}},
	{"a reply that comes late is that of the next read", "cancelled read", func(b *broken) {
		late := make(chan []byte, 1)
		b.get = func(ctx context.Context, key string) ([]byte, error) {
			data, err := b.model.Get(bg, key)
			select {
			case <-time.After(150 * time.Microsecond):
			case <-ctx.Done():
				select {
				case late <- data:
				default:
				}
				return nil, ctx.Err()
			}
			select {
			case data = <-late:
			default:
			}
			return data, err
		}
	}},
	{"Destroy of an expired key is an error", "expired key", func(b *broken) {
		b.destroy = func(ctx context.Context, key string) error {
			_, there := b.peek(key)
			if _, err := b.model.Get(ctx, key); there && err != nil {
				return errTest
			}
			return b.model.Destroy(ctx, key)
		}
	}},
	{"an expired key can't be created until somebody reads it", "expired key", func(b *broken) {
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			if _, there := b.peek(key); there && v == 0 {
				return 0, core.ErrConflict
			}
			return b.model.SetVersion(ctx, key, data, ttl, v)
		}
	}},
	{"a record goes with the context of its Set", "context of an earlier call", func(b *broken) {
		b.set = func(ctx context.Context, key string, data []byte, ttl time.Duration) error {
			context.AfterFunc(ctx, func() { b.model.Destroy(bg, key) })
			return b.model.Set(ctx, key, data, ttl)
		}
		b.get = func(ctx context.Context, key string) ([]byte, error) {
			time.Sleep(time.Millisecond)
			return b.model.Get(ctx, key)
		}
	}},
	{"Get reads what is being written", "concurrent calls", func(b *broken) {
		b.set = func(ctx context.Context, key string, data []byte, ttl time.Duration) error {
			if err := b.model.Set(ctx, key, append(bytes.Clone(data), '.'), ttl); err != nil {
				return err
			}
			time.Sleep(time.Microsecond)
			return b.model.Set(ctx, key, data, ttl)
		}
	}},
	{"answers go to who asked last", "concurrent calls", func(b *broken) {
		var mu sync.Mutex
		var last string
		b.get = func(ctx context.Context, key string) ([]byte, error) {
			mu.Lock()
			last = key
			mu.Unlock()
			time.Sleep(time.Microsecond)
			mu.Lock()
			key = last
			mu.Unlock()
			return b.model.Get(ctx, key)
		}
	}},
	{"a create is two steps", "concurrent creates", func(b *broken) {
		b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
			_, now, err := b.model.GetVersion(ctx, key)
			if v != 0 || !errors.Is(err, core.ErrNotFound) || ttl < 0 {
				return b.model.SetVersion(ctx, key, data, ttl, v)
			}
			time.Sleep(time.Microsecond)
			return now, b.model.Set(ctx, key, data, ttl)
		}
	}},
	{"a swap is two steps", "concurrent swaps", twoSteps},
	{"a swap is two steps", "no lost update", twoSteps},
	{"a swap is two steps", "Destroy wins", twoSteps},
	{"nil removes nothing", "Batch of one", func(b *broken) {
		b.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
			versions, err := b.model.Batch(ctx, writes...)
			for _, w := range writes {
				if err == nil && w.Data == nil {
					b.poke(w.Key, record{version: 1})
				}
			}
			return versions, err
		}
	}},
	{"an empty payload removes", "Batch of one", func(b *broken) {
		b.writes(func(w *core.Write) {
			if len(w.Data) == 0 && w.Version != 0 {
				w.Data = nil
			}
		})
	}},
	{"notes are not stored", "Batch of one", func(b *broken) {
		b.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
			versions, err := b.model.Batch(ctx, writes...)
			for _, w := range writes {
				if err == nil && w.Note {
					b.model.Destroy(bg, w.Key)
				}
			}
			return versions, err
		}
	}},
	{"Batch forgets the last write", "Batch of several", func(b *broken) {
		forgets(b, func(n int) []int { return []int{n - 1} })
	}},
	{"Batch removes what begins with the key", "Batch of several", func(b *broken) {
		b.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
			versions, err := b.model.Batch(ctx, writes...)
			for _, w := range writes {
				if err == nil && w.Data == nil {
					b.mu.Lock()
					for key := range b.records {
						if strings.HasPrefix(key, w.Key[:len(w.Key)-1]) {
							delete(b.records, key)
						}
					}
					b.mu.Unlock()
				}
			}
			return versions, err
		}
	}},
	{"Batch returns the versions of before", "versions of Batch", func(b *broken) {
		b.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
			versions, err := b.model.Batch(ctx, writes...)
			for i, v := range versions {
				if v != 0 {
					versions[i] += 1 << 20
				}
			}
			return versions, err
		}
	}},
	{"Batch returns the versions in another order", "versions of Batch", func(b *broken) {
		b.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
			versions, err := b.model.Batch(ctx, writes...)
			slices.Reverse(versions)
			return versions, err
		}
	}},
	{"Batch returns no version of a removal", "versions of Batch", func(b *broken) {
		b.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
			versions, err := b.model.Batch(ctx, writes...)
			return slices.DeleteFunc(versions, func(v core.Version) bool { return v == 0 }), err
		}
	}},
	{"Batch makes no new versions", "versions of Batch", func(b *broken) {
		b.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
			versions, err := b.model.Batch(ctx, writes...)
			for i, w := range writes {
				if r, ok := b.peek(w.Key); ok && err == nil && w.Version != 0 {
					r.version, versions[i] = w.Version, w.Version
					b.poke(w.Key, r)
				}
			}
			return versions, err
		}
	}},
	{"Batch stops at a conflict", "Batch with a stale version", stopsInTheMiddle},
	{"Batch stops at a conflict", "removal with a stale version", stopsInTheMiddle},
	{"Batch stops at a conflict", "Batch over an existing key", stopsInTheMiddle},
	{"Batch stops at a missing key", "Batch with a missing key", stopsInTheMiddle},
	{"Batch stops at a negative ttl", "Batch that makes no sense", stopsInTheMiddle},
	{"Batch stops where it has to support it", "keys that a Batch can't change together", func(b *broken) {
		b.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
			if len(writes) < 3 {
				return b.model.Batch(ctx, writes...)
			}
			b.model.Batch(ctx, writes[0])
			return nil, errors.ErrUnsupported
		}
	}},
	{"a single write is not supported", "keys that a Batch can't change together", func(b *broken) {
		b.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
			return nil, errors.ErrUnsupported
		}
	}},
	{"Batch checks the first version only", "Batch with a stale version", func(b *broken) {
		checks(b, func(i int, _ core.Write) bool { return i == 0 })
	}},
	{"Batch checks all versions but the last", "Batch with a stale version", func(b *broken) {
		b.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
			writes = slices.Clone(writes)
			last := &writes[len(writes)-1]
			if _, v, err := b.model.GetVersion(ctx, last.Key); err == nil && last.Version != 0 && len(writes) > 1 {
				last.Version = v
			}
			return b.model.Batch(ctx, writes...)
		}
	}},
	{"a removal is not on condition", "removal with a stale version", func(b *broken) {
		checks(b, func(_ int, w core.Write) bool { return w.Data != nil })
	}},
	{"Batch overwrites", "Batch over an existing key", func(b *broken) {
		checks(b, func(_ int, w core.Write) bool { return w.Version != 0 })
	}},
	{"a conflict tells nothing", "Batch with a stale version", func(b *broken) {
		b.conflict(func(*core.Conflict) error { return core.ErrConflict })
	}},
	{"a conflict has no payload", "Batch with a stale version", func(b *broken) {
		b.conflict(func(c *core.Conflict) error { c.Data = nil; return c })
	}},
	{"a conflict has the version that was wanted", "Batch with a stale version", func(b *broken) {
		b.conflict(func(c *core.Conflict) error { c.Version--; return c })
	}},
	{"a conflict names the first write", "removal with a stale version", func(b *broken) {
		b.conflict(func(c *core.Conflict) error { c.Write = 0; return c })
	}},
	{"a conflict gives the stored slice away", "Batch over an existing key", func(b *broken) {
		b.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
			versions, err := b.model.Batch(ctx, writes...)
			var c *core.Conflict
			if errors.As(err, &c) {
				r, _ := b.peek(writes[c.Write].Key)
				c.Data = r.data
			}
			return versions, err
		}
	}},
	{"a conflict renews what is there", "Batch over an existing key", func(b *broken) {
		b.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
			versions, err := b.model.Batch(ctx, writes...)
			var c *core.Conflict
			if errors.As(err, &c) {
				b.model.Set(ctx, writes[c.Write].Key, c.Data, time.Hour)
			}
			return versions, err
		}
	}},
	{"Batch makes what is missing", "Batch with a missing key", func(b *broken) {
		b.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
			writes = slices.Clone(writes)
			for i, w := range writes {
				if _, err := b.model.Get(bg, w.Key); err != nil && w.Data != nil {
					writes[i].Version = 0
				}
			}
			return b.model.Batch(ctx, writes...)
		}
	}},
	{"a removal of what is gone is a success", "Batch with a missing key", func(b *broken) {
		b.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
			writes = slices.DeleteFunc(slices.Clone(writes), func(w core.Write) bool {
				_, err := b.model.Get(bg, w.Key)
				return err != nil && w.Data == nil
			})
			return b.model.Batch(ctx, writes...)
		}
	}},
	{"what is missing is a conflict", "Batch with a missing key", func(b *broken) {
		b.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
			versions, err := b.model.Batch(ctx, writes...)
			if errors.Is(err, core.ErrNotFound) {
				err = &core.Conflict{}
			}
			return versions, err
		}
	}},
	{"Batch takes a negative ttl for no end", "Batch that makes no sense", func(b *broken) {
		b.writes(func(w *core.Write) { w.TTL = max(w.TTL, 0) })
	}},
	{"a removal needs no version", "Batch that makes no sense", func(b *broken) {
		b.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
			writes = slices.Clone(writes)
			for i, w := range writes {
				if w.Data == nil && w.Version == 0 {
					_, writes[i].Version, _ = b.model.GetVersion(bg, w.Key)
				}
			}
			return b.model.Batch(ctx, writes...)
		}
	}},
	{"Batch keeps the slice", "Batch copies", func(b *broken) {
		b.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
			versions, err := b.model.Batch(ctx, writes...)
			for _, w := range writes {
				if r, ok := b.peek(w.Key); ok && err == nil {
					r.data = w.Data
					b.poke(w.Key, r)
				}
			}
			return versions, err
		}
	}},
	{"Append appends in place", "Batch copies", func(b *broken) {
		b.append = func(ctx context.Context, key string, suffix []byte) ([]byte, core.Version, error) {
			data, v, err := b.model.Append(ctx, key, suffix)
			if err == nil {
				_ = append(suffix, "over what comes behind"...)
			}
			return data, v, err
		}
	}},
	{"Append returns what it keeps", "Batch copies", func(b *broken) {
		b.append = func(ctx context.Context, key string, suffix []byte) ([]byte, core.Version, error) {
			_, v, err := b.model.Append(ctx, key, suffix)
			r, _ := b.peek(key)
			return r.data, v, err
		}
	}},
	{"the context is ignored by Batch of several", "Batch with an ended context", func(b *broken) {
		b.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
			if len(writes) > 1 {
				ctx = bg
			}
			return b.model.Batch(ctx, writes...)
		}
	}},
	{"a cancelled Batch is carried out", "Batch with an ended context", func(b *broken) {
		b.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
			versions, err := b.model.Batch(bg, writes...)
			if err == nil {
				err = ctx.Err()
			}
			return versions, err
		}
	}},
	{"the context is ignored by Append", "cancelled context", func(b *broken) {
		b.append = func(_ context.Context, key string, suffix []byte) ([]byte, core.Version, error) {
			return b.model.Append(bg, key, suffix)
		}
	}},
	{"Batch ignores the ttl", "ttl of Batch", func(b *broken) {
		b.writes(func(w *core.Write) { w.TTL = 0 })
	}},
	{"Batch gives all the first ttl", "ttl of Batch", func(b *broken) {
		b.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
			writes = slices.Clone(writes)
			for i := range writes {
				writes[i].TTL = writes[0].TTL
			}
			return b.model.Batch(ctx, writes...)
		}
	}},
	{"Batch keeps the ttl of before", "ttl of Batch", func(b *broken) {
		b.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
			old := map[string]time.Time{}
			for _, w := range writes {
				if r, ok := b.peek(w.Key); ok {
					old[w.Key] = r.expires
				}
			}
			versions, err := b.model.Batch(ctx, writes...)
			for key, expires := range old {
				if r, ok := b.peek(key); ok && err == nil {
					r.expires = expires
					b.poke(key, r)
				}
			}
			return versions, err
		}
	}},
	{"Batch finds an expired key", "Batch after expiry", func(b *broken) {
		b.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
			for _, w := range writes {
				if r, ok := b.peek(w.Key); ok {
					r.expires = time.Time{}
					b.poke(w.Key, r)
				}
			}
			return b.model.Batch(ctx, writes...)
		}
	}},
	{"Append finds an expired key", "Batch after expiry", func(b *broken) {
		b.append = func(ctx context.Context, key string, suffix []byte) ([]byte, core.Version, error) {
			if r, ok := b.peek(key); ok {
				r.expires = time.Time{}
				b.poke(key, r)
			}
			return b.model.Append(ctx, key, suffix)
		}
	}},
	{"a Batch is two steps", "one moves", batchInTwoSteps},
	{"a Batch is two steps", "moves beside updates", batchInTwoSteps},
	{"a Batch is two steps", "moves beside Destroy", batchInTwoSteps},
	{"a Batch is one write after the other", "moves beside updates", func(b *broken) {
		b.batch = func(ctx context.Context, writes ...core.Write) (versions []core.Version, err error) {
			if len(writes) == 0 {
				return nil, nil
			}
			for _, w := range writes {
				v, err := b.model.Batch(ctx, w)
				if err != nil {
					return nil, err
				}
				versions = append(versions, v...)
				time.Sleep(time.Microsecond)
			}
			return versions, nil
		}
	}},
	{"Append loses what was there", "Append", func(b *broken) {
		b.append = func(ctx context.Context, key string, suffix []byte) ([]byte, core.Version, error) {
			if r, ok := b.peek(key); ok {
				r.data = nil
				b.poke(key, r)
			}
			return b.model.Append(ctx, key, suffix)
		}
	}},
	{"Append keeps the version", "Append", func(b *broken) {
		b.append = func(ctx context.Context, key string, suffix []byte) ([]byte, core.Version, error) {
			old, _ := b.peek(key)
			data, v, err := b.model.Append(ctx, key, suffix)
			if r, ok := b.peek(key); ok && err == nil {
				r.version, v = old.version, old.version
				b.poke(key, r)
			}
			return data, v, err
		}
	}},
	{"Append returns the version of before", "Append", func(b *broken) {
		b.append = func(ctx context.Context, key string, suffix []byte) ([]byte, core.Version, error) {
			old, _ := b.peek(key)
			data, _, err := b.model.Append(ctx, key, suffix)
			return data, old.version, err
		}
	}},
	{"Append returns the suffix", "Append", func(b *broken) {
		b.append = func(ctx context.Context, key string, suffix []byte) ([]byte, core.Version, error) {
			_, v, err := b.model.Append(ctx, key, suffix)
			return suffix, v, err
		}
	}},
	{"Append makes a missing key", "Append to a missing key", func(b *broken) {
		b.append = func(ctx context.Context, key string, suffix []byte) ([]byte, core.Version, error) {
			if _, err := b.model.Get(bg, key); err != nil && ctx.Err() == nil {
				b.model.Set(bg, key, suffix, 0)
				return nil, 0, core.ErrNotFound
			}
			return b.model.Append(ctx, key, suffix)
		}
	}},
	{"Append to a missing key is a conflict", "Append to a missing key", func(b *broken) {
		b.append = func(ctx context.Context, key string, suffix []byte) ([]byte, core.Version, error) {
			data, v, err := b.model.Append(ctx, key, suffix)
			if errors.Is(err, core.ErrNotFound) {
				err = core.ErrConflict
			}
			return data, v, err
		}
	}},
	{"Append removes the ttl", "Append leaves the ttl", func(b *broken) {
		b.append = func(ctx context.Context, key string, suffix []byte) ([]byte, core.Version, error) {
			data, v, err := b.model.Append(ctx, key, suffix)
			if err == nil {
				b.model.Touch(bg, key, 0)
			}
			return data, v, err
		}
	}},
	{"Append renews the ttl", "Append leaves the ttl", func(b *broken) {
		b.append = func(ctx context.Context, key string, suffix []byte) ([]byte, core.Version, error) {
			data, v, err := b.model.Append(ctx, key, suffix)
			if r, ok := b.peek(key); ok && err == nil && !r.expires.IsZero() && time.Until(r.expires) < time.Minute {
				b.model.Touch(bg, key, 10*time.Second)
			}
			return data, v, err
		}
	}},
	{"an Append is two steps", "no lost append", func(b *broken) {
		b.append = func(ctx context.Context, key string, suffix []byte) ([]byte, core.Version, error) {
			data, err := b.model.Get(ctx, key)
			if err != nil {
				return nil, 0, err
			}
			time.Sleep(time.Microsecond)
			if err := b.model.Set(ctx, key, append(data, suffix...), time.Hour); err != nil {
				return nil, 0, err
			}
			return b.model.GetVersion(ctx, key)
		}
	}},
	{"Append gives up", "no lost append", func(b *broken) {
		b.append = func(ctx context.Context, key string, suffix []byte) ([]byte, core.Version, error) {
			data, v, err := b.model.GetVersion(ctx, key)
			if err != nil {
				return nil, 0, err
			}
			time.Sleep(time.Microsecond)
			data = append(data, suffix...)
			v, err = b.model.SetVersion(ctx, key, data, time.Hour, v)
			return data, v, err
		}
	}},
	{"a listener is called when it comes", "Notify while up", func(b *broken) {
		b.notify = func(f func(bool)) func() {
			f(true)
			return b.model.Notify(f)
		}
	}},
	{"an error of one call is taken for being down", "Notify while up", func(b *broken) {
		b.touch = func(ctx context.Context, key string, ttl time.Duration) error {
			err := b.model.Touch(ctx, key, ttl)
			if err != nil {
				b.model.set(false)
			}
			return err
		}
	}},
	{"a listener is called after stop", "Notify until stop", func(b *broken) {
		var late func(bool)
		b.notify = func(f func(bool)) func() {
			stop := b.model.Notify(f)
			return func() { stop(); late = f }
		}
		b.get = func(ctx context.Context, key string) ([]byte, error) {
			if late != nil {
				late(true)
			}
			return b.model.Get(ctx, key)
		}
	}},
	{"stop panics the second time", "Notify until stop", func(b *broken) {
		b.notify = func(f func(bool)) func() {
			done := make(chan bool)
			return func() { close(done) }
		}
	}},
}

// twoSteps plants a swap that another one can come between.
func twoSteps(b *broken) {
	b.setVersion = func(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
		_, now, err := b.model.GetVersion(ctx, key)
		if v == 0 || ttl < 0 || err != nil || now != v {
			return b.model.SetVersion(ctx, key, data, ttl, v)
		}
		time.Sleep(time.Microsecond)
		if err := b.model.Set(ctx, key, data, ttl); err != nil {
			return 0, err
		}
		return 0, nil
	}
}

// forgets plants a Batch that does not carry out some of several writes.
func forgets(b *broken, which func(n int) []int) {
	b.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if err := b.refusal(writes); err != nil {
			return nil, err
		}
		before := maps.Clone(b.records)
		versions := b.carryOut(writes)
		if len(writes) > 1 {
			for _, i := range which(len(writes)) {
				if r, ok := before[writes[i].Key]; ok {
					b.records[writes[i].Key] = r
				} else {
					delete(b.records, writes[i].Key)
				}
			}
		}
		return versions, nil
	}
}

// checks plants a Batch that checks the versions of some writes only.
func checks(b *broken, some func(i int, w core.Write) bool) {
	b.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
		writes = slices.Clone(writes)
		for i, w := range writes {
			if _, v, err := b.model.GetVersion(bg, w.Key); err == nil && !some(i, w) {
				writes[i].Version = v
			}
		}
		return b.model.Batch(ctx, writes...)
	}
}

// conflict passes the conflicts of Batch through f.
func (b *broken) conflict(f func(c *core.Conflict) error) {
	b.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
		versions, err := b.model.Batch(ctx, writes...)
		var c *core.Conflict
		if errors.As(err, &c) {
			err = f(c)
		}
		return versions, err
	}
}

// stopsInTheMiddle plants a Batch that checks each write when its turn has come.
func stopsInTheMiddle(b *broken) {
	b.batch = func(ctx context.Context, writes ...core.Write) (versions []core.Version, err error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		for i := range writes {
			if err := b.refusal(writes[i : i+1]); err != nil {
				var c *core.Conflict
				if errors.As(err, &c) {
					c.Write = i
				}
				return nil, err
			}
			versions = append(versions, b.carryOut(writes[i:i+1])...)
		}
		return versions, nil
	}
}

// batchInTwoSteps plants a Batch that another write can come between.
func batchInTwoSteps(b *broken) {
	b.batch = func(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
		b.mu.Lock()
		err := b.refusal(writes)
		b.mu.Unlock()
		if err != nil || ctx.Err() != nil {
			return nil, errors.Join(err, ctx.Err())
		}
		time.Sleep(time.Microsecond)
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.carryOut(writes), nil
	}
}

// What authors of stores stumbled over has a case that catches a store which gets it
// wrong, and the guide for authors names it.
func TestW27TheContractHasItsCases(t *testing.T) {
	guide, err := os.ReadFile("../../docs/stores.md")
	if err != nil {
		t.Fatal(err)
	}
	caught := map[string]bool{}
	for _, b := range bugs {
		caught[b.caught] = true
	}
	for _, b := range faultBugs {
		caught[b.caught] = true
	}
	for _, name := range []string{"longest ttl", "restarted", "cancelled read", "cancelled while paused", "paused", "expired key"} {
		if !caught[name] {
			t.Errorf("no bug is caught by the case %q", name)
		}
		if !strings.Contains(string(guide), "*"+name+"*") {
			t.Errorf("docs/stores.md does not name the case %q", name)
		}
	}
}

func TestABrokenStoreIsCaughtByTheNamedCase(t *testing.T) {
	cases, unproved := map[string]storetest.Case{}, map[string]bool{}
	for _, c := range storetest.Cases() {
		cases[c.Name], unproved[c.Name] = c, true
	}
	delete(unproved, "concurrent Notify") // it is the race detector's
	for _, bug := range bugs {
		t.Run(bug.bug, func(t *testing.T) {
			c, ok := cases[bug.caught]
			if !ok {
				t.Fatalf("no case %q", bug.caught)
			}
			delete(unproved, bug.caught)
			failure, skipped := outcome(t, c, func() core.Store { return newBroken(bug.plant) })
			switch {
			case failure == "":
				t.Errorf("%q let it pass %s", c.Name, skipped)
			case strings.HasPrefix(failure, "panic"), !strings.Contains(failure, c.Rule):
				t.Errorf("%q did not say the rule but %s", c.Name, failure)
			default:
				t.Log(failure)
			}
		})
	}
	for _, bug := range listBugs {
		t.Run(bug.bug, func(t *testing.T) {
			c, ok := cases[bug.caught]
			if !ok {
				t.Fatalf("no case %q", bug.caught)
			}
			delete(unproved, bug.caught)
			failure, skipped := outcome(t, c, func() core.Store { return newListing(bug.plant) })
			if failure == "" || strings.HasPrefix(failure, "panic") || !strings.Contains(failure, c.Rule) {
				t.Errorf("%q let it pass, or did not say the rule: %s%s", c.Name, failure, skipped)
			}
		})
	}
	for name := range unproved {
		t.Errorf("case %q has caught no bug: is it worth anything?", name)
	}
}

func TestOutageCatchesAWrongNotifier(t *testing.T) {
	for name, notify := range map[string]func(m *model, f func(bool)) func(){
		"never says anything": func(*model, func(bool)) func() { return func() {} },
		"says all twice": func(m *model, f func(bool)) func() {
			return m.Notify(func(up bool) { f(up); f(up) })
		},
		"says only down": func(m *model, f func(bool)) func() {
			return m.Notify(func(up bool) {
				if !up {
					f(up)
				}
			})
		},
		"says the contrary": func(m *model, f func(bool)) func() {
			return m.Notify(func(up bool) { f(!up) })
		},
		"forgets who comes late": func(m *model, f func(bool)) func() {
			if !m.isUp() {
				return func() {}
			}
			return m.Notify(f)
		},
		"does not stop": func(m *model, f func(bool)) func() {
			m.Notify(f)
			return func() {}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b *broken
			store := newBroken(func(made *broken) { b = made })
			b.notify = func(f func(bool)) func() { return notify(b.model, f) }
			outage := func(t testing.TB) {
				storetest.Outage(t, store, func() { b.model.set(false) }, func() { b.model.set(true) })
			}
			if failure, _ := observe(t, outage); !strings.Contains(failure, "rule: ") {
				t.Errorf("not caught: %s", failure)
			}
		})
	}
}
