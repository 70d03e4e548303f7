package memcachestore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/faultproxy"
	"github.com/gensession/gensession/internal/servers"
	memcachestore "github.com/gensession/gensession/stores/memcache"
)

// version returns the version of a key, and 1 if there is none.
func version(t testing.TB, s *memcachestore.Store, key string) core.Version {
	t.Helper()
	_, v, err := s.GetVersion(t.Context(), key)
	if errors.Is(err, core.ErrNotFound) {
		return 1
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// conflicts fails the test unless err has what is there.
func conflicts(t testing.TB, call string, err error, data string, v core.Version) {
	t.Helper()
	is(t, call, err, core.ErrConflict)
	if c, ok := errors.AsType[*core.Conflict](err); !ok || c.Write != 0 || string(c.Data) != data || c.Version != v {
		t.Errorf("%s: %+v, want %q with version %d", call, c, data, v)
	}
}

func TestBatch(t *testing.T) {
	each(t, func(t testing.TB, open opener) {
		server := servers.Memcached(t)
		s := open(t, patient(), server.Addr())
		ctx := t.Context()
		batch := func(key string, data []byte, v core.Version) error {
			got, err := s.Batch(ctx, core.Write{Key: key, Data: data, TTL: time.Hour, Version: v})
			if (err == nil) != (len(got) == 1) {
				t.Errorf("%d versions, %v", len(got), err)
			}
			if err == nil && got[0] != 0 { // which memcached does not tell
				t.Errorf("version %d", got[0])
			}
			return err
		}
		is(t, "a replacement of nothing", batch("k", []byte("x"), 1), core.ErrNotFound)
		is(t, "a removal of nothing", batch("k", nil, 1), core.ErrNotFound)
		is(t, "a creation", batch("k", []byte("1"), 0), nil)
		v := version(t, s, "k")
		conflicts(t, "a creation of what is there", batch("k", []byte("x"), 0), "1", v)
		is(t, "a replacement", batch("k", []byte("2"), v), nil)
		old, v := v, version(t, s, "k")
		conflicts(t, "an old version", batch("k", []byte("x"), old), "2", v)
		conflicts(t, "a removal of an old version", batch("k", nil, old), "2", v)
		holds(t, s, "k", "2")
		is(t, "an empty payload", batch("empty", []byte{}, 0), nil)
		holds(t, s, "empty", "")

		is(t, "a removal", batch("k", nil, v), nil)
		// Nothing is left for a swap or a second removal.
		is(t, "a second removal", batch("k", nil, v), core.ErrNotFound)
		_, err := s.SetVersion(ctx, "k", []byte("x"), time.Hour, v)
		is(t, "SetVersion", err, core.ErrNotFound)
		_, err = s.Get(ctx, "k")
		is(t, "Get", err, core.ErrNotFound)
		_, _, err = s.Append(ctx, "k", []byte("x"))
		is(t, "Append", err, core.ErrNotFound)
		is(t, "Touch", s.Touch(ctx, "k", time.Hour), core.ErrNotFound)
		is(t, "a new creation", batch("k", []byte("3"), 0), nil)
		holds(t, s, "k", "3")

		is(t, "a removal without a version", batch("k", nil, 0), core.ErrRefused)
		is(t, "a payload too large", batch("k", make([]byte, 1<<20), version(t, s, "k")), core.ErrTooLarge)
		before := sent(server)
		_, err = s.Batch(ctx, core.Write{Key: "a", Data: []byte("x")}, core.Write{Key: "b", Data: []byte("x")})
		is(t, "two writes", err, errors.ErrUnsupported)
		if got, err := s.Batch(ctx); len(got) != 0 || err != nil {
			t.Error("no write:", err)
		}
		if after := sent(server); before != after {
			t.Errorf("what can't be done was sent: %s, then %s", before, after)
		}
	})
}

// sent is how many commands with keys a server has been sent.
func sent(server *servers.MemcachedServer) string {
	var counts []string
	for line := range strings.Lines(server.Do("stats\r\n")) {
		if f := strings.Fields(line); len(f) == 3 && (strings.HasPrefix(f[1], "cmd_") || strings.HasPrefix(f[1], "delete_") || strings.HasPrefix(f[1], "cas_")) {
			counts = append(counts, f[1]+"="+f[2])
		}
	}
	return strings.Join(counts, " ")
}

// misses is how many deletions have found nothing to delete.
func misses(server *servers.MemcachedServer) (n int) {
	for line := range strings.Lines(server.Do("stats\r\n")) {
		fmt.Sscanf(line, "STAT delete_misses %d", &n)
	}
	return n
}

func TestAppend(t *testing.T) {
	each(t, func(t testing.TB, open opener) {
		server := servers.Memcached(t)
		s := open(t, patient(), server.Addr())
		ctx := t.Context()
		server.Do("set k 7 1000 3\r\nabc\r\n")
		old := version(t, s, "k")
		data, v, err := s.Append(ctx, "k", []byte("def"))
		if err != nil || string(data) != "abcdef" || v == old || v != version(t, s, "k") {
			t.Errorf("%q, %d, %v", data, v, err)
		}
		var flags, ttl int
		if _, err := fmt.Sscanf(server.Do("mg k f t\r\n"), "HD f%d t%d", &flags, &ttl); err != nil || flags != 7 || ttl < 900 || ttl > 1000 {
			t.Errorf("flags %d and %d seconds are left: %v", flags, ttl, err)
		}
		_, err = s.SetVersion(ctx, "k", []byte("x"), time.Hour, old)
		is(t, "the old version", err, core.ErrConflict)
		if data, _, err := s.Append(ctx, "k", nil); err != nil || string(data) != "abcdef" {
			t.Errorf("nothing: %q, %v", data, err)
		}
		_, _, err = s.Append(ctx, "missing", []byte("x"))
		is(t, "a missing key", err, core.ErrNotFound)
		_, err = s.Get(ctx, "missing")
		is(t, "Get", err, core.ErrNotFound)

		// Too large, by itself or together.
		large := strings.Repeat("x", 900<<10)
		set(t, s, "large", large)
		for _, n := range []int{1 << 20, 200 << 10} {
			_, _, err = s.Append(ctx, "large", make([]byte, n))
			is(t, "too large", err, core.ErrTooLarge)
		}
		higher := open(t, &memcachestore.Options{Timeout: 10 * time.Second, MaxPayload: 8 << 20}, server.Addr())
		for _, n := range []int{2 << 20, 200 << 10} {
			_, _, err = higher.Append(ctx, "large", make([]byte, n))
			if !errors.Is(err, core.ErrRefused) && !errors.Is(err, core.ErrTooLarge) {
				t.Errorf("above the limit of the server: %v", err)
			}
		}
		holds(t, s, "large", large)

		set(t, s, "many", "")
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				for range 20 {
					if _, _, err := s.Append(ctx, "many", []byte("x")); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		holds(t, s, "many", strings.Repeat("x", 400))
	})
}

func TestOneBatchOfManyWins(t *testing.T) {
	each(t, func(t testing.TB, open opener) {
		s := open(t, patient(), servers.SharedMemcached(t).Addr())
		for round := range 20 {
			key := fmt.Sprint(t.Name(), round)
			set(t, s, key, "x")
			v := version(t, s, key)
			var won atomic.Int32
			var all sync.WaitGroup
			for i := range 20 {
				all.Go(func() {
					w := core.Write{Key: key, Version: v}
					if round%2 == 0 || i%2 == 0 {
						w.Data = []byte{byte(i)}
					}
					_, err := s.Batch(t.Context(), w)
					switch {
					case err == nil:
						won.Add(1)
					case !errors.Is(err, core.ErrConflict) && !errors.Is(err, core.ErrNotFound):
						t.Error(err)
					}
				})
			}
			all.Wait()
			if n := won.Load(); n != 1 {
				t.Errorf("%d of 20 have won", n)
			}
		}
	})
}

// A server that is full and evicts nothing refuses cas, also of an item that has
// expired already.
func TestBatchWithoutMemory(t *testing.T) {
	each(t, func(t testing.TB, open opener) {
		server := servers.Memcached(t, "-m", "8", "-M")
		s := open(t, patient(), server.Addr())
		ctx := t.Context()
		keys := []string{"small", "medium", "large"}
		for i, key := range keys {
			set(t, s, key, strings.Repeat("x", 100<<(5*i)))
		}
		old := version(t, s, "medium")
		set(t, s, "medium", strings.Repeat("y", 3200))
		server.FillUp()

		for _, key := range keys {
			v := version(t, s, key)
			data, _ := s.Get(ctx, key)
			_, err := s.Batch(ctx, core.Write{Key: key, Data: data, TTL: time.Hour, Version: v})
			is(t, "a replacement", err, core.ErrRefused)
			_, _, err = s.Append(ctx, key, []byte("x"))
			is(t, "Append", err, core.ErrRefused)
			if version(t, s, key) != v {
				t.Error("a refused write has changed something")
			}
		}
		_, err := s.Batch(ctx, core.Write{Key: "new", Data: []byte("x"), TTL: time.Hour})
		is(t, "a creation", err, core.ErrRefused)
		if reply := server.Do(fmt.Sprintf("cas small 0 -1 0 %d\r\n\r\n", version(t, s, "small"))); !strings.HasPrefix(reply, "SERVER_ERROR out of memory") {
			t.Errorf("the server is not full: %q", reply)
		}

		before := misses(server)
		_, err = s.Batch(ctx, core.Write{Key: "medium", Version: old})
		conflicts(t, "a removal of an old version", err, strings.Repeat("y", 3200), version(t, s, "medium"))
		// A store with its own connections lets the server compare.
		if md := misses(server) > before; md != strings.HasSuffix(t.Name(), "Open") {
			t.Errorf("the server has compared: %v", md)
		}
		_, err = s.Batch(ctx, core.Write{Key: "missing", Version: old})
		is(t, "a removal of nothing", err, core.ErrNotFound)
		_, err = s.Batch(ctx, core.Write{Key: "small", Version: version(t, s, "small")})
		is(t, "a removal", err, nil)
		_, err = s.Get(ctx, "small")
		is(t, "Get", err, core.ErrNotFound)

		// One of many wins here, too, where the store compares by md.
		v := version(t, s, "large")
		var won, lost atomic.Int32
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				switch _, err := s.Batch(ctx, core.Write{Key: "large", Version: v}); {
				case err == nil:
					won.Add(1)
				case errors.Is(err, core.ErrNotFound):
					lost.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		all.Wait()
		if won.Load() != 1 || lost.Load() != 19 {
			t.Errorf("%d have won, %d have lost", won.Load(), lost.Load())
		}
	})
}

// Without md there is gets and delete.
func TestARemovalWithoutMemoryOnAnOldServer(t *testing.T) {
	each(t, func(t testing.TB, open opener) {
		var mu sync.Mutex
		var asked []string
		server := lie(t, func(w io.Writer, verb, key string) {
			mu.Lock()
			asked = append(asked, verb)
			mu.Unlock()
			io.WriteString(w, map[string]string{
				"cas": "SERVER_ERROR out of memory storing object\r\n", "md": "ERROR\r\n",
				"gets": value(key, "x"), "delete": "DELETED\r\n",
			}[verb])
		})
		s := open(t, patient(), server.addr)
		_, err := s.Batch(t.Context(), core.Write{Key: "k", Version: 7})
		is(t, "a removal", err, nil)
		mu.Lock()
		verbs := slices.DeleteFunc(asked, func(verb string) bool { return verb == "md" })
		asked = nil
		mu.Unlock()
		if got := strings.Join(verbs, " "); got != "cas gets delete" {
			t.Error("the server was asked", got)
		}
		_, err = s.Batch(t.Context(), core.Write{Key: "k", Version: 8})
		conflicts(t, "a removal of an old version", err, "x", 7)
		mu.Lock()
		defer mu.Unlock()
		if slices.Contains(asked, "delete") {
			t.Error("the server was asked", asked)
		}
	})
}

// What md is answered is answered to nobody else.
func TestStrangeAnswersToMd(t *testing.T) {
	for reply, want := range map[string]error{
		"HD\r\nHD\r\n":              core.ErrOutcomeUnknown,
		"HD s5\r\n":                 core.ErrOutcomeUnknown,
		strings.Repeat("long", 100): core.ErrOutcomeUnknown,
		"":                          core.ErrOutcomeUnknown, // no reply
		"EX\r\n":                    core.ErrConflict,
		"NF\r\n":                    core.ErrNotFound,
	} {
		server := lie(t, func(w io.Writer, verb, key string) {
			io.WriteString(w, map[string]string{
				"cas": "SERVER_ERROR out of memory storing object\r\n", "md": reply,
				"gets": value(key, "x"),
			}[verb])
		})
		s := open(t, patient(), server.addr)
		_, err := s.Batch(within(t, 300*time.Millisecond), core.Write{Key: "k", Version: 7})
		is(t, fmt.Sprintf("%.10q", reply), err, want)
		holds(t, s, "k", "x")
	}
}

// A batch whose answer is lost was carried out or not, and the store does not
// pretend to know.
func TestABatchWhoseAnswerIsLost(t *testing.T) {
	each(t, func(t testing.TB, open opener) {
		server := servers.Memcached(t)
		proxy := faultproxy.New(t, server.Addr())
		s := open(t, patient(), proxy.Addr())
		for i, test := range []struct {
			name string
			do   func(key string, v core.Version) error
			want []string // what there may be after it
		}{
			{"a replacement", func(key string, v core.Version) error {
				_, err := s.Batch(t.Context(), core.Write{Key: key, Data: []byte("y"), TTL: time.Hour, Version: v})
				return err
			}, []string{"x", "y"}},
			{"a removal", func(key string, v core.Version) error {
				_, err := s.Batch(t.Context(), core.Write{Key: key, Version: v})
				return err
			}, []string{"x", ""}},
			{"Append", func(key string, v core.Version) error {
				_, _, err := s.Append(t.Context(), key, []byte("y"))
				return err
			}, []string{"x", "xy"}},
		} {
			for n := range 6 {
				key := fmt.Sprintf("k%d-%d", i, n)
				set(t, s, key, "x")
				v := version(t, s, key)
				proxy.Replies(faultproxy.Fault{Cut: faultproxy.Reset, CutAt: n % 3})
				err := test.do(key, v)
				proxy.Clear()
				is(t, test.name, err, core.ErrOutcomeUnknown)
				waitUntil(t, func() bool { // the last command may still be on its way
					data, err := s.Get(t.Context(), key)
					return err == nil && slices.Contains(test.want, string(data)) || errors.Is(err, core.ErrNotFound) && test.want[1] == ""
				})
			}
		}

		// The suffix is appended, and reading fails.
		set(t, s, "k", "x")
		proxy.Replies(faultproxy.Fault{Cut: faultproxy.Reset, CutAt: len("STORED\r\n") + 1})
		_, _, err := s.Append(t.Context(), "k", []byte("y"))
		proxy.Clear()
		is(t, "Append", err, core.ErrOutcomeUnknown)
		if errors.Is(err, core.ErrUnavailable) {
			t.Error("it was carried out:", err)
		}
		holds(t, s, "k", "xy")
		proxy.Replies(faultproxy.Fault{Hole: true})
		_, _, err = s.Append(within(t, 100*time.Millisecond), "k", []byte("y"))
		proxy.Clear()
		if !errors.Is(err, core.ErrTimeout) { // the prober had the only connection: it was never sent
			is(t, "Append in time", err, core.ErrOutcomeUnknown, context.DeadlineExceeded)
		}
	})
}

func waitUntil(t testing.TB, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not come")
		}
	}
}
