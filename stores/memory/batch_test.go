package memorystore_test

import (
	"context"
	"errors"
	"fmt"
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

func create(t testing.TB, s *memorystore.Store, key, data string) core.Version {
	t.Helper()
	v, err := s.SetVersion(t.Context(), key, []byte(data), time.Hour, 0)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// move is what a login does: the session of from goes to another key.
func move(t testing.TB, s *memorystore.Store, from string, v core.Version, to, data string, note bool) core.Version {
	t.Helper()
	old := core.Write{Key: from, Version: v}
	if note {
		old.Data, old.TTL, old.Note = []byte("moved to "+to), time.Minute, true
	}
	got, err := s.Batch(t.Context(), core.Write{Key: to, Data: []byte(data), TTL: time.Hour}, old)
	if err != nil {
		t.Fatalf("%s to %s: %v", from, to, err)
	}
	return got[0]
}

func TestABatchNeedsNoFreePlace(t *testing.T) {
	const each = 128 + 2 + 1000
	for name, o := range map[string]memorystore.Options{
		"MaxEntries": {MaxEntries: 3},
		"MaxBytes":   {MaxBytes: 3 * each},
		"both":       {MaxEntries: 3, MaxBytes: 3 * each},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, &o)
			data := strings.Repeat("x", 1000)
			v := create(t, s, "k0", data)
			create(t, s, "ka", data)
			create(t, s, "kb", data)
			for i := range 9 {
				v = move(t, s, "k"+strconv.Itoa(i), v, "k"+strconv.Itoa(i+1), data, i%2 == 0)
			}
			if entries, bytes := s.Used(); entries != 3 || bytes != 3*each || s.Len() != 3 {
				t.Errorf("%d entries of %d bytes are counted, %d there", entries, bytes, s.Len())
			}

			_, err := s.Batch(t.Context(),
				core.Write{Key: "new", Data: []byte(data), TTL: time.Hour},
				core.Write{Key: "too", Data: []byte(data), TTL: time.Hour},
				core.Write{Key: "k9", Version: v})
			if !errors.Is(err, core.ErrRefused) {
				t.Errorf("two for one: %v", err)
			}
			if _, now, err := s.GetVersion(t.Context(), "k9"); err != nil || now != v {
				t.Errorf("the refused batch changed the session: %v", err)
			}
			if _, err := s.Batch(t.Context(), core.Write{Key: "k9", Version: v}); err != nil {
				t.Errorf("a removal: %v", err)
			}
			create(t, s, "kc", data)
			if err := s.Set(t.Context(), "kd", []byte(data), time.Hour); !errors.Is(err, core.ErrRefused) {
				t.Errorf("the bound has become another: %v", err)
			}
		})
	}
}

func TestABatchCountsItsGrowth(t *testing.T) {
	const each = 128 + 2 + 1000
	s := open(t, &memorystore.Options{MaxBytes: 2 * each})
	ctx := t.Context()
	a, b := create(t, s, "ka", strings.Repeat("x", 1000)), create(t, s, "kb", strings.Repeat("x", 1000))
	larger := core.Write{Key: "ka", Data: make([]byte, 1500), TTL: time.Hour, Version: a}
	if _, err := s.Batch(ctx, larger); !errors.Is(err, core.ErrRefused) {
		t.Errorf("a larger one: %v", err)
	}
	never := larger
	never.Data = make([]byte, 2*each)
	if _, err := s.Batch(ctx, never); !errors.Is(err, core.ErrTooLarge) {
		t.Errorf("one that never fits: %v", err)
	}
	got, err := s.Batch(ctx, larger, core.Write{Key: "kb", Data: make([]byte, 500), TTL: time.Hour, Version: b})
	if err != nil {
		t.Fatalf("a larger one for a smaller one: %v", err)
	}
	// The other way round, so that the order is not what counts.
	_, err = s.Batch(ctx,
		core.Write{Key: "kb", Data: make([]byte, 1500), TTL: time.Hour, Version: got[1]},
		core.Write{Key: "ka", Data: make([]byte, 500), TTL: time.Hour, Version: got[0]})
	if err != nil {
		t.Errorf("the other way round: %v", err)
	}
	if _, bytes := s.Used(); bytes != 2*each {
		t.Errorf("%d bytes are counted", bytes)
	}
}

func TestExpiredSessionsMakeRoomForABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, &memorystore.Options{MaxEntries: 100})
		fill(t, s, 100, time.Second)
		time.Sleep(time.Second)
		writes := make([]core.Write, 100)
		for i := range writes {
			writes[i] = core.Write{Key: "new" + strconv.Itoa(i), Data: []byte("x"), TTL: time.Hour}
		}
		if _, err := s.Batch(t.Context(), writes...); err != nil {
			t.Error(err)
		}
		if s.Len() != 100 {
			t.Error(s.Len())
		}
		if _, err := s.Batch(t.Context(), core.Write{Key: "more", Data: []byte("x"), TTL: time.Hour}); !errors.Is(err, core.ErrRefused) {
			t.Errorf("with 100 live ones: %v", err)
		}
	})
}

func TestABatchThatMakesNoSenseIsRefused(t *testing.T) {
	s := open(t, nil)
	v := create(t, s, "k", "x")
	for name, writes := range map[string][]core.Write{
		"twice":          {{Key: "k", Data: []byte("y"), Version: v}, {Key: "k", Version: v}},
		"twice new":      {{Key: "a", Data: []byte("y")}, {Key: "b", Data: []byte("y")}, {Key: "a", Data: []byte("y")}},
		"removal":        {{Key: "a"}},
		"negative ttl":   {{Key: "a", Data: []byte("y"), TTL: -1}},
		"key":            {{Key: "a b", Data: []byte("y")}},
		"key of a later": {{Key: "a", Data: []byte("y")}, {Key: "ä", Version: 1}},
	} {
		if _, err := s.Batch(t.Context(), writes...); !errors.Is(err, core.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if data, now, err := s.GetVersion(t.Context(), "k"); string(data) != "x" || now != v || err != nil || s.Len() != 1 {
		t.Errorf("something was changed: %q, %v, %d keys", data, err, s.Len())
	}
	if got, err := s.Batch(t.Context()); len(got) != 0 || err != nil {
		t.Errorf("no writes: %v, %v", got, err)
	}
}

// note writes a note.
func note(t testing.TB, s *memorystore.Store, key string, data []byte, ttl time.Duration) core.Version {
	t.Helper()
	got, err := s.Batch(t.Context(), core.Write{Key: key, Data: data, TTL: ttl, Note: true})
	if err != nil {
		t.Fatal(err)
	}
	return got[0]
}

func TestNotesAreNoSessions(t *testing.T) {
	s := open(t, &memorystore.Options{MaxEntries: 1, MaxBytes: 200})
	ctx := t.Context()
	versions := make([]core.Version, 10)
	for i := range versions {
		versions[i] = note(t, s, "n"+strconv.Itoa(i), make([]byte, 1000), time.Hour)
	}
	if n, counted, real := s.Notes(); n != 10 || counted != real || s.Len() != 0 {
		t.Errorf("%d notes of %d bytes, counted as %d, and %d sessions", n, real, counted, s.Len())
	}
	v := create(t, s, "k", "x")
	if entries, bytes := s.Used(); entries != 1 || bytes != 130 {
		t.Errorf("%d entries of %d bytes are counted", entries, bytes)
	}

	// A note that becomes a session counts from then on.
	if err := s.Set(ctx, "n0", []byte("x"), time.Hour); !errors.Is(err, core.ErrRefused) {
		t.Errorf("Set over a note in a full store: %v", err)
	}
	if _, err := s.SetVersion(ctx, "n1", []byte("x"), time.Hour, versions[1]); !errors.Is(err, core.ErrRefused) {
		t.Errorf("SetVersion over a note in a full store: %v", err)
	}
	if _, err := s.Batch(ctx, core.Write{Key: "n2", Data: []byte("x"), TTL: time.Hour, Version: versions[2]}); !errors.Is(err, core.ErrRefused) {
		t.Errorf("Batch over a note in a full store: %v", err)
	}
	if n, _, _ := s.Notes(); n != 10 {
		t.Errorf("a refused write has removed a note: %d are left", n)
	}
	s.Destroy(ctx, "k")
	if err := s.Set(ctx, "n0", []byte("xx"), time.Hour); err != nil {
		t.Error(err)
	}
	s.Destroy(ctx, "n0")
	if _, err := s.SetVersion(ctx, "n1", []byte("xx"), time.Hour, versions[1]); err != nil {
		t.Error(err)
	}
	s.Destroy(ctx, "n1")
	got, err := s.Batch(ctx, core.Write{Key: "n2", Data: []byte("xx"), TTL: time.Hour, Version: versions[2]})
	if err != nil {
		t.Fatal(err)
	}
	entries, bytes := s.Used()
	if n, counted, real := s.Notes(); n != 7 || counted != real || s.Len() != 1 || entries != 1 || bytes != 128+4 {
		t.Errorf("%d notes (%d, %d), %d sessions, %d entries of %d bytes", n, counted, real, s.Len(), entries, bytes)
	}

	// And back, and over a note, and away.
	if _, err = s.Batch(ctx, core.Write{Key: "n2", Data: []byte("note"), TTL: time.Hour, Version: got[0], Note: true},
		core.Write{Key: "n3", Data: []byte("another"), TTL: time.Hour, Version: versions[3], Note: true},
		core.Write{Key: "n4", Version: versions[4]}); err != nil {
		t.Fatal(err)
	}
	if data, err := s.Get(ctx, "n3"); string(data) != "another" {
		t.Errorf("%q, %v", data, err)
	}
	for i := 5; i < 10; i++ {
		s.Destroy(ctx, "n"+strconv.Itoa(i))
	}
	entries, bytes = s.Used()
	if n, counted, real := s.Notes(); n != 2 || counted != real || counted != 128+6+128+9 || s.Len() != 0 || entries != 0 || bytes != 0 {
		t.Errorf("%d notes (%d, %d), %d sessions, %d entries of %d bytes", n, counted, real, s.Len(), entries, bytes)
	}
	if _, err := s.Batch(ctx, core.Write{Key: "k", Version: v}); !errors.Is(err, core.ErrNotFound) {
		t.Errorf("a removal of what is gone: %v", err)
	}
}

func TestANoteExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, nil)
		fill(t, s, 1000, time.Hour)
		for i := range 5000 {
			note(t, s, "n"+strconv.Itoa(i), []byte("x"), time.Second)
		}
		note(t, s, "long", []byte("x"), 10*time.Minute)
		note(t, s, "short", []byte("x"), time.Hour)
		s.Touch(t.Context(), "n0", 3*time.Second)
		s.Touch(t.Context(), "short", time.Second)
		time.Sleep(time.Second - 1)
		if _, err := s.Get(t.Context(), "n1"); err != nil {
			t.Errorf("a nanosecond before: %v", err)
		}
		time.Sleep(time.Nanosecond)
		for _, key := range []string{"n1", "short"} {
			if _, err := s.Get(t.Context(), key); !errors.Is(err, core.ErrNotFound) {
				t.Errorf("%s at the end: %v", key, err)
			}
		}
		if _, err := s.SetVersion(t.Context(), "n2", nil, time.Second, 0); err != nil {
			t.Errorf("in place of a note that has expired: %v", err)
		}
		if _, err := s.Get(t.Context(), "n0"); err != nil {
			t.Errorf("a note that was touched: %v", err)
		}
		time.Sleep(2 * time.Minute)
		if n, counted, real := s.Notes(); n != 1 || counted != real || s.Len() != 1000 {
			t.Errorf("swept: %d notes (%d, %d) and %d sessions", n, counted, real, s.Len())
		}
		time.Sleep(time.Hour)
		if n, counted, _ := s.Notes(); n != 0 || counted != 0 || s.Len() != 0 {
			t.Errorf("in the end: %d notes (%d) and %d sessions", n, counted, s.Len())
		}
	})
}

func TestTheOldestNotesGoFirst(t *testing.T) {
	const n, size = 100, memorystore.MaxNotes / 256 / 10
	s := open(t, &memorystore.Options{MaxEntries: 10})
	fill(t, s, 10, time.Hour)
	keys := []string{"n"} // of one shard
	for i := 0; len(keys) < n; i++ {
		if key := "n" + strconv.Itoa(i); s.SameShard(key, "n") {
			keys = append(keys, key)
		}
	}
	for i, key := range keys {
		note(t, s, key, make([]byte, size-128-len(key)), time.Hour)
		if n, counted, real := s.Notes(); n != min(i+1, 10) || counted != real || counted != int64(n*size) {
			t.Fatalf("%d notes (%d, %d) after %d", n, counted, real, i+1)
		}
	}
	has := func(key string) bool {
		_, err := s.Get(t.Context(), key)
		return err == nil
	}
	for i, key := range keys {
		if has(key) != (i >= n-10) {
			t.Errorf("note %d: there is %v", i, has(key))
		}
	}
	if s.Len() != 10 {
		t.Error("sessions went")
	}

	// One that was written again is not the oldest.
	if _, _, err := s.Append(t.Context(), keys[n-10], nil); err != nil {
		t.Fatal(err)
	}
	note(t, s, keys[0], make([]byte, size-128-len(keys[0])), time.Hour)
	if !has(keys[n-10]) || has(keys[n-9]) || !has(keys[0]) {
		t.Error("not the oldest one went")
	}

	_, err := s.Batch(t.Context(), core.Write{Key: "large", Data: make([]byte, memorystore.MaxNotes/256), TTL: time.Hour, Note: true})
	if !errors.Is(err, core.ErrTooLarge) {
		t.Errorf("a note that never fits: %v", err)
	}
	if _, _, err := s.Append(t.Context(), keys[0], make([]byte, 10*size)); !errors.Is(err, core.ErrTooLarge) {
		t.Errorf("a note that grows beyond: %v", err)
	}
}

// Each login leaves a note of a minute under the id of before.
func TestTheNotesOfAMillionLogins(t *testing.T) {
	n := 1_000_000
	if testing.Short() {
		n /= 10
	}
	s := open(t, &memorystore.Options{MaxEntries: 1})
	before := heap()
	v := create(t, s, key(0), "x")
	for i := range n {
		v = move(t, s, key(i), v, key(i+1), "x", true)
	}
	notes, counted, real := s.Notes()
	t.Logf("%d notes of %d bytes, %d bytes of the heap", notes, counted, heap()-before)
	if counted != real || counted > memorystore.MaxNotes {
		t.Errorf("%d notes take %d bytes, counted as %d", notes, real, counted)
	}
	if used := int64(heap() - before); used > 100e6 {
		t.Errorf("%d bytes of the heap", used)
	}
	if entries, _ := s.Used(); entries != 1 || s.Len() != 1 {
		t.Errorf("%d sessions, counted as %d", s.Len(), entries)
	}
	for i := range 50_000 { // the newest are there
		if data, err := s.Get(t.Context(), key(n-1-i)); err != nil || string(data) != "moved to "+key(n-i) {
			t.Fatalf("note %d from the end: %q, %v", i, data, err)
		}
	}
}

func TestAppend(t *testing.T) {
	const each = 128 + 1 + 5
	s := open(t, &memorystore.Options{MaxBytes: 2 * each})
	ctx := t.Context()
	v := create(t, s, "k", "x")
	data, now, err := s.Append(ctx, "k", []byte("12345"))
	if err != nil || string(data) != "x12345" || now == v || now == 0 {
		t.Fatalf("%q, %v", data, err)
	}
	data[0] = '#'
	if data, again, err := s.GetVersion(ctx, "k"); string(data) != "x12345" || again != now || err != nil {
		t.Errorf("%q, %v", data, err)
	}
	if err := s.Set(ctx, "l", []byte("1234"), time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Append(ctx, "k", []byte("x")); !errors.Is(err, core.ErrRefused) {
		t.Errorf("in a full store: %v", err)
	}
	if _, again, _ := s.GetVersion(ctx, "k"); again != now {
		t.Error("a refused Append has changed the version")
	}
	if _, _, err := s.Append(ctx, "k", make([]byte, 2*each)); !errors.Is(err, core.ErrTooLarge) {
		t.Errorf("what never fits: %v", err)
	}
	if _, _, err := s.Append(ctx, "k", nil); err != nil {
		t.Errorf("nothing: %v", err)
	}
	s.Destroy(ctx, "l")
	if _, _, err := s.Append(ctx, "l", []byte("x")); !errors.Is(err, core.ErrNotFound) {
		t.Errorf("to nothing: %v", err)
	}
	if _, bytes := s.Used(); bytes != 128+1+6 {
		t.Errorf("%d bytes are counted", bytes)
	}

	// A note stays one.
	note(t, s, "n", []byte("x"), time.Hour)
	if data, _, err := s.Append(ctx, "n", make([]byte, 1000)); len(data) != 1001 || err != nil {
		t.Errorf("to a note: %d bytes, %v", len(data), err)
	}
	if n, counted, real := s.Notes(); n != 1 || counted != real || counted != 128+1+1001 || s.Len() != 1 {
		t.Errorf("%d notes (%d, %d), %d sessions", n, counted, real, s.Len())
	}
}

func TestBatchTellsTheClassOfItsError(t *testing.T) {
	s := memorystore.New(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := core.Write{Key: "k", Data: []byte("x")}
	_, batch := s.Batch(ctx, w)
	_, _, app := s.Append(ctx, "k", nil)
	if !errors.Is(batch, context.Canceled) || !errors.Is(app, context.Canceled) {
		t.Error("cancelled:", batch, app)
	}
	ctx, cancel = context.WithTimeout(t.Context(), -1)
	defer cancel()
	_, batch = s.Batch(ctx, w)
	_, _, app = s.Append(ctx, "k", nil)
	if !errors.Is(batch, core.ErrTimeout) || !errors.Is(app, core.ErrTimeout) {
		t.Error("deadline:", batch, app)
	}
	note(t, s, "n", []byte("x"), time.Hour)
	s.Close()
	_, batch = s.Batch(t.Context(), w)
	_, _, app = s.Append(t.Context(), "k", nil)
	if !errors.Is(batch, core.ErrUnavailable) || !errors.Is(app, core.ErrUnavailable) {
		t.Error("closed:", batch, app)
	}
	if n, _, _ := s.Notes(); n != 0 {
		t.Error("the notes are still there")
	}
}

// Each of some records has two places, and is always at one of them. Batches move
// them to and fro, several in one batch and in any order of the keys, while others
// look for a moment when a record is nowhere or twice.
func TestNoBatchIsSeenInPart(t *testing.T) {
	const pairs, rounds = 4, 3000
	s := open(t, &memorystore.Options{MaxEntries: pairs})
	place := func(pair, side int) string { return fmt.Sprintf("pair%d-%d", pair, side) }
	for p := range pairs {
		create(t, s, place(p, 0), "x")
	}
	ctx := context.Background()
	var moves atomic.Int64
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() { // a mover
			for i := range rounds {
				var writes []core.Write
				for k := range 1 + i%3 {
					p := (g + i + k*(1+2*(g%2))) % pairs // up and down
					side := i % 2
					_, v, err := s.GetVersion(ctx, place(p, side))
					if err != nil {
						side = 1 - side
						_, v, err = s.GetVersion(ctx, place(p, side))
					}
					if err != nil {
						continue // it has moved in between
					}
					from := core.Write{Key: place(p, side), Version: v}
					to := core.Write{Key: place(p, 1-side), Data: []byte("x"), TTL: time.Hour}
					writes = append(writes, to, from)
				}
				switch _, err := s.Batch(ctx, writes...); {
				case err == nil:
					moves.Add(1)
				case errors.Is(err, core.ErrConflict), errors.Is(err, core.ErrNotFound):
				default:
					t.Error(err)
					return
				}
			}
		})
		wg.Go(func() { // a watcher
			for i := range rounds {
				p := (g + i) % pairs
				a, b := place(p, i%2), place(p, 1-i%2)
				_, err := s.Batch(ctx,
					core.Write{Key: a, Data: []byte("x"), TTL: time.Hour},
					core.Write{Key: b, Data: []byte("x"), TTL: time.Hour})
				if !errors.Is(err, core.ErrConflict) {
					t.Errorf("pair %d is nowhere: %v", p, err)
					return
				}
				_, v, err := s.GetVersion(ctx, a)
				_, w, err2 := s.GetVersion(ctx, b)
				if err != nil || err2 != nil {
					continue
				}
				_, err = s.Batch(ctx, core.Write{Key: a, Data: []byte("x"), Version: v}, core.Write{Key: b, Data: []byte("x"), Version: w})
				if err == nil {
					t.Errorf("pair %d is at both places", p)
					return
				}
			}
		})
	}
	wg.Wait()
	if moves.Load() == 0 {
		t.Error("nothing has moved")
	}
	if entries, _ := s.Used(); entries != pairs || s.Len() != pairs {
		t.Errorf("%d records, counted as %d", s.Len(), entries)
	}
}

// All kinds of writes of notes and sessions under the same keys, with the sweeper:
// in the end the store counts what is there.
func TestTheCountsAreRightAfterARace(t *testing.T) {
	s := open(t, &memorystore.Options{MaxEntries: 6, MaxBytes: 6 * 200})
	ctx := context.Background()
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Go(func() {
			for i := range 4000 {
				k := func(n int) string { return "k" + strconv.Itoa((i*7+n)%10) }
				ttl := []time.Duration{time.Hour, time.Nanosecond, 10 * time.Microsecond}[i%3]
				_, v, _ := s.GetVersion(ctx, k(0))
				switch (g + i) % 7 {
				case 0:
					s.Set(ctx, k(0), make([]byte, i%100), ttl)
				case 1:
					s.Destroy(ctx, k(0))
				case 2:
					s.Append(ctx, k(0), []byte("x"))
				case 3:
					s.Touch(ctx, k(0), ttl)
				case 4:
					s.SetVersion(ctx, k(0), make([]byte, i%100), ttl, v)
				case 5:
					if v != 0 {
						s.Batch(ctx, core.Write{Key: k(1), Data: make([]byte, i%100), TTL: ttl}, core.Write{Key: k(0), Version: v})
					}
				case 6:
					s.Batch(ctx, core.Write{Key: k(0), Data: make([]byte, i%100), TTL: ttl, Version: v, Note: true})
				}
				if i%500 == 0 && g == 0 {
					s.Pass()
				}
			}
		})
	}
	wg.Wait()
	entries, _ := s.Used()
	if n, counted, real := s.Notes(); int(entries) != s.Len() || entries > 6 || counted != real || n > 10 {
		t.Errorf("%d sessions counted as %d, %d notes (%d, %d)", s.Len(), entries, n, counted, real)
	}
	for i := range 10 {
		s.Destroy(ctx, "k"+strconv.Itoa(i))
	}
	entries, bytes := s.Used()
	if n, counted, _ := s.Notes(); entries != 0 || bytes != 0 || n != 0 || counted != 0 {
		t.Errorf("of nothing: %d entries of %d bytes, %d notes of %d", entries, bytes, n, counted)
	}
}

func TestAppendNeverFailsBesideWriters(t *testing.T) {
	s := open(t, nil)
	create(t, s, "k", "")
	ctx := context.Background()
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for range 2 {
		writers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				data, v, err := s.GetVersion(ctx, "k")
				if err == nil {
					_, err = s.SetVersion(ctx, "k", data, time.Hour, v)
				}
				if err != nil && !errors.Is(err, core.ErrConflict) {
					t.Error(err)
					return
				}
			}
		})
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				if _, _, err := s.Append(ctx, "k", []byte("x")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	writers.Wait()
	if data, _ := s.Get(ctx, "k"); len(data) != 2000 {
		t.Errorf("%d appends of 2000 are there", len(data))
	}
}

// A login: a new session for an old one. With notes the old one leaves one.
func BenchmarkBatch(b *testing.B) {
	for _, bench := range []struct {
		name string
		note bool
	}{{"move", false}, {"note", true}} {
		b.Run("op="+bench.name, func(b *testing.B) {
			s := open(b, nil)
			data := make([]byte, 256)
			v, err := s.SetVersion(b.Context(), key(0), data, time.Hour, 0)
			if err != nil {
				b.Fatal(err)
			}
			keys := make([]string, 1<<16)
			for i := range keys {
				keys[i] = key(i)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				old := core.Write{Key: keys[i%len(keys)], Version: v}
				if bench.note {
					old.Data, old.TTL, old.Note = data[:64], time.Millisecond, true
				}
				i++
				got, err := s.Batch(b.Context(), core.Write{Key: keys[i%len(keys)], Data: data, TTL: time.Hour}, old)
				if err != nil {
					b.Fatal(err)
				}
				v = got[0]
			}
			notes, counted, _ := s.Notes()
			b.ReportMetric(float64(notes), "notes")
			b.ReportMetric(float64(counted), "noteB")
		})
	}
	b.Run("op=append", func(b *testing.B) {
		s := open(b, nil)
		data := make([]byte, 256)
		if err := s.Set(b.Context(), key(0), data, time.Hour); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if i%16 == 0 {
				if err := s.Set(b.Context(), key(0), data, time.Hour); err != nil {
					b.Fatal(err)
				}
			}
			if _, _, err := s.Append(b.Context(), key(0), data[:16]); err != nil {
				b.Fatal(err)
			}
		}
	})
}
