package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/faultproxy"
	"github.com/gensession/gensession/internal/servers"
	redisstore "github.com/gensession/gensession/stores/redis"
)

// create makes a record for an hour and returns its version.
func create(t testing.TB, s *redisstore.Store, key, data string) core.Version {
	t.Helper()
	v, err := s.SetVersion(t.Context(), key, []byte(data), time.Hour, 0)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// move is a batch that removes from and creates to.
func move(from string, v core.Version, to, data string) []core.Write {
	return []core.Write{{Key: from, Version: v}, {Key: to, Data: []byte(data), TTL: time.Hour}}
}

// records is what a server has, with the ttl in hours, rounded up.
func records(s *servers.RedisServer) map[string]string {
	all := map[string]string{}
	keys, _ := s.Do("KEYS", "*").([]any)
	for _, k := range keys {
		key := k.(string)
		data := s.Do("GET", key)
		ms := s.Do("PTTL", key).(int64)
		if ms > 0 {
			ms = (ms + 3599999) / 3600000
		}
		all[key] = fmt.Sprint(data, " for ", ms)
	}
	return all
}

// unchanged fails the test if the server does not have what it had.
func unchanged(t testing.TB, s *servers.RedisServer, had map[string]string) {
	t.Helper()
	if now := records(s); !maps.Equal(now, had) {
		t.Errorf("it has %v, not %v", now, had)
	}
}

// commands is how many commands of a kind a server has been sent.
func commands(s *servers.RedisServer, name string) (n int) {
	info, _ := s.Do("INFO", "commandstats").(string)
	for line := range strings.Lines(info) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_"+name+":"); ok {
			var calls, usec, rejected, failed int
			var perCall float64
			fmt.Sscanf(rest, "calls=%d,usec=%d,usec_per_call=%f,rejected_calls=%d,failed_calls=%d", &calls, &usec, &perCall, &rejected, &failed)
			n += calls + rejected
		}
	}
	return n
}

func TestBatch(t *testing.T) {
	server := servers.Redis(t)
	s := patient(t, server.Addr())
	ctx := t.Context()
	v := create(t, s, "a", "1")
	server.Do("SET", "other", "x")

	got, err := s.Batch(ctx,
		core.Write{Key: "a", Version: v},
		core.Write{Key: "b", Data: []byte("2"), TTL: 90 * time.Minute},
		core.Write{Key: "c", Data: []byte{}},
		core.Write{Key: "other", Data: []byte("y"), TTL: time.Hour, Version: redisstore.Digest([]byte("x"))})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 4 || got[0] != 0 {
		t.Errorf("versions %v", got)
	}
	for i, key := range []string{"b", "c", "other"} {
		if _, v, err := s.GetVersion(ctx, key); err != nil || v != got[i+1] {
			t.Errorf("%s has version %d, not %d: %v", key, v, got[i+1], err)
		}
	}
	had := map[string]string{"b": "2 for 2", "c": " for -1", "other": "y for 1"}
	unchanged(t, server, had)

	// A batch that does not fit says what is there, in the same round trip.
	n := commands(server, "evalsha")
	for i, writes := range [][]core.Write{
		{{Key: "b", Data: []byte("new")}, {Key: "c", Version: got[2]}},
		{{Key: "new", Data: []byte("new")}, {Key: "b", Version: 1}, {Key: "c", Version: 1}},
		{{Key: "c", Data: []byte("new"), Version: got[2]}, {Key: "new", Data: []byte("new")}, {Key: "b", Data: []byte("new"), Version: 1}},
	} {
		none, err := s.Batch(ctx, writes...)
		c, ok := errors.AsType[*core.Conflict](err)
		if !ok || !errors.Is(err, core.ErrConflict) || none != nil || c.Write != i || string(c.Data) != "2" || c.Version != got[1] {
			t.Errorf("conflict %d: %v, %+v", i, err, c)
		}
		unchanged(t, server, had)
	}
	if n = commands(server, "evalsha") - n; n != 3 {
		t.Errorf("3 conflicts took %d round trips", n)
	}
	if _, err := s.Batch(ctx, core.Write{Key: "new", Data: []byte("new")}, core.Write{Key: "a", Version: v}); !errors.Is(err, core.ErrNotFound) {
		t.Error("a key that is gone:", err)
	}
	server.Do("RPUSH", "list", "x")
	if _, err := s.Batch(ctx, core.Write{Key: "new", Data: []byte("new")}, core.Write{Key: "list", Version: 1}); !errors.Is(err, core.ErrCorrupt) {
		t.Error("a list:", err)
	}
	server.Do("DEL", "list")

	// What can't be is not sent.
	for name, writes := range map[string][]core.Write{
		"a removal without a version": {{Key: "new", Data: []byte("new")}, {Key: "b"}},
		"a key twice":                 {{Key: "b", Data: []byte("new"), Version: got[1]}, {Key: "b", Version: got[1]}},
		"a key with a blank":          {{Key: "new", Data: []byte("new")}, {Key: "a b", Version: 1}},
		"a negative ttl":              {{Key: "new", Data: []byte("new"), TTL: -1}},
	} {
		if _, err := s.Batch(ctx, writes...); !errors.Is(err, core.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.Batch(ctx, core.Write{Key: "new", Data: make([]byte, 16<<20+1)}); !errors.Is(err, core.ErrTooLarge) {
		t.Error("too large:", err)
	}
	if none, err := s.Batch(ctx); len(none) != 0 || err != nil {
		t.Error("nothing to do:", err)
	}
	unchanged(t, server, had)

	server.Do("SCRIPT", "FLUSH")
	if _, err := s.Batch(ctx, move("b", got[1], "d", "3")...); err != nil {
		t.Error("after SCRIPT FLUSH:", err)
	}
	unchanged(t, server, map[string]string{"c": " for -1", "d": "3 for 1", "other": "y for 1"})
}

// A server without memory refuses a batch before it has changed anything,
// wherever the removal is. It carries out removals.
func TestABatchWithoutMemory(t *testing.T) {
	server := servers.Redis(t)
	s := patient(t, server.Addr())
	ctx := t.Context()
	a, b := create(t, s, "a", "1"), create(t, s, "b", "2")
	had := records(server)
	undo := server.FillUp()
	for i, writes := range [][]core.Write{
		move("a", a, "new", "x"),
		{{Key: "new", Data: []byte("x")}, {Key: "a", Version: a}},
		{{Key: "a", Version: a}, {Key: "b", Data: []byte("x"), Version: b}},
		{{Key: "a", Version: a}, {Key: "b", Data: []byte("x"), Version: b}, {Key: "new", Data: []byte("x")}},
		{{Key: "a", Data: []byte("x"), Version: a}},
		{{Key: "new", Data: []byte{}}},
	} {
		if _, err := s.Batch(ctx, writes...); !errors.Is(err, core.ErrRefused) || !strings.Contains(err.Error(), "OOM") {
			t.Errorf("batch %d: %v", i, err)
		}
		unchanged(t, server, had)
	}
	if _, _, err := s.Append(ctx, "a", []byte("x")); !errors.Is(err, core.ErrRefused) {
		t.Error("Append:", err)
	}
	unchanged(t, server, had)
	if _, err := s.Batch(ctx, core.Write{Key: "a", Version: a}, core.Write{Key: "b", Version: b}); err != nil {
		t.Error("removals:", err)
	}
	unchanged(t, server, nil)
	undo()
	if _, err := s.Batch(ctx, core.Write{Key: "new", Data: []byte("x")}); err != nil {
		t.Error("with memory:", err)
	}
}

// A server that is nearly full may accept the first write only: then the script
// goes on to its end.
func TestABatchOnAServerThatBecomesFull(t *testing.T) {
	server := servers.Redis(t)
	s := patient(t, server.Addr())
	done := 0
	for i := range 200 {
		from, to := fmt.Sprint("from", i), fmt.Sprint("to", i)
		v := create(t, s, from, strings.Repeat("x", 1000))
		info, _ := server.Do("INFO", "memory").(string)
		var used int
		for line := range strings.Lines(info) {
			if rest, ok := strings.CutPrefix(line, "used_memory:"); ok {
				fmt.Sscan(rest, &used)
			}
		}
		server.Do("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", fmt.Sprint(used-100000+750*i))
		_, err := s.Batch(t.Context(), move(from, v, to, strings.Repeat("y", 10000))...)
		server.Do("CONFIG", "SET", "maxmemory", "0")
		moved := server.Do("EXISTS", to) == int64(1)
		if moved != (err == nil) || moved != (server.Do("EXISTS", from) == int64(0)) {
			t.Fatalf("moved is %v, the error %v", moved, err)
		}
		if moved {
			done++
		}
		server.Do("FLUSHALL")
	}
	t.Logf("%d of 200 batches were carried out", done)
}

// Where DEL is refused, the writes before it are undone.
func TestABatchThatFailsInTheMiddle(t *testing.T) {
	server := servers.Redis(t)
	for name, pttl := range map[string]string{"with PTTL": "+pttl", "without PTTL": "-pttl"} {
		t.Run(name, func(t *testing.T) {
			server.Do("FLUSHALL")
			server.SetUser("app", "secret", "~koa:sess:*", "-@all", "+get", "+set", "+evalsha", "+eval", "+ping", pttl)
			s, err := redisstore.Open("redis://app:secret@"+server.Addr(), calm)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			a, b, c := create(t, s, "koa:sess:a", "1"), create(t, s, "koa:sess:b", "2"), redisstore.Digest([]byte("3"))
			server.Do("SET", "koa:sess:c", "3")
			had := records(server)
			ttl := 5 * time.Hour
			if pttl == "-pttl" { // they come back with the ttl of the write
				ttl = time.Hour
			}
			const data = "another payload"
			writes := []core.Write{
				{Key: "koa:sess:a", Version: a},
				{Key: "koa:sess:b", Data: []byte(data), TTL: ttl, Version: b},
				{Key: "koa:sess:new", Data: []byte(data), TTL: ttl},
			}
			if pttl == "+pttl" {
				writes = append(writes, core.Write{Key: "koa:sess:c", Data: []byte(data), TTL: ttl, Version: c})
			}
			if _, err := s.Batch(t.Context(), writes...); !errors.Is(err, core.ErrRefused) || !strings.Contains(err.Error(), "can") {
				t.Error(err)
			}
			time.Sleep(5 * time.Millisecond) // a creation is undone by a ttl of a millisecond
			unchanged(t, server, had)
			if _, err := s.Batch(t.Context(), writes[1:]...); err != nil {
				t.Error("without the removal:", err)
			}
		})
	}
}

func TestManyMoveOneRecord(t *testing.T) {
	server := servers.Redis(t)
	s := [2]*redisstore.Store{patient(t, server.Addr()), near(t, time.Second, server.Addr())}
	for round := range 20 {
		from := fmt.Sprint("from", round)
		v := create(t, s[0], from, "x")
		var won atomic.Int32
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				_, err := s[i%2].Batch(t.Context(), move(from, v, fmt.Sprint("to", round, "-", i), "y")...)
				switch {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, core.ErrNotFound):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := won.Load(); n != 1 {
			t.Errorf("%d of 20 have moved it", n)
		}
	}
	if n := server.Do("DBSIZE"); n != int64(20) {
		t.Errorf("20 records have become %d", n)
	}
}

func TestAppend(t *testing.T) {
	server := servers.Redis(t)
	s, err := redisstore.Open("redis://"+server.Addr(), &redisstore.Options{MaxSize: 10, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := t.Context()
	old := create(t, s, "k", "abc")
	data, v, err := s.Append(ctx, "k", []byte("def"))
	if err != nil || string(data) != "abcdef" || v == old {
		t.Errorf("%q, %d, %v", data, v, err)
	}
	unchanged(t, server, map[string]string{"k": "abcdef for 1"})
	if _, now, err := s.GetVersion(ctx, "k"); err != nil || now != v {
		t.Errorf("version %d, not %d: %v", now, v, err)
	}
	if _, err := s.SetVersion(ctx, "k", []byte("x"), 0, old); !errors.Is(err, core.ErrConflict) {
		t.Error("the old version:", err)
	}
	for _, suffix := range []string{"12345", "12345678901"} {
		if _, _, err := s.Append(ctx, "k", []byte(suffix)); !errors.Is(err, core.ErrTooLarge) {
			t.Errorf("%d bytes more: %v", len(suffix), err)
		}
	}
	if data, _, err := s.Append(ctx, "k", nil); err != nil || string(data) != "abcdef" {
		t.Errorf("nothing: %q, %v", data, err)
	}
	if _, _, err := s.Append(ctx, "missing", []byte("x")); !errors.Is(err, core.ErrNotFound) {
		t.Error("a missing key:", err)
	}
	unchanged(t, server, map[string]string{"k": "abcdef for 1"})
	server.Do("RPUSH", "list", "x")
	if _, _, err := s.Append(ctx, "list", []byte("x")); !errors.Is(err, core.ErrCorrupt) {
		t.Error("a list:", err)
	}

	server.Do("SET", "empty", "")
	if data, _, err := s.Append(ctx, "empty", []byte("x")); err != nil || string(data) != "x" {
		t.Errorf("to an empty one: %q, %v", data, err)
	}
	large := patient(t, server.Addr())
	server.Do("SET", "many", "")
	together(20, func() {
		for range 20 {
			if _, _, err := large.Append(ctx, "many", []byte("x")); err != nil {
				t.Error(err)
			}
		}
	})
	if n := server.Do("STRLEN", "many"); n != int64(400) {
		t.Errorf("of 400 appended bytes there are %d", n)
	}
}

// The limit of a server may be below that of the store.
func TestAppendBeyondTheLimitOfTheServer(t *testing.T) {
	server := servers.Redis(t, "--proto-max-bulk-len", "1mb")
	s := patient(t, server.Addr())
	data := strings.Repeat("x", 1<<20)
	create(t, s, "k", data)
	if _, _, err := s.Append(t.Context(), "k", []byte("x")); !errors.Is(err, core.ErrTooLarge) {
		t.Error(err)
	}
	read(t, s, "k", data)
}

func TestBatchInACluster(t *testing.T) {
	cluster := servers.RedisCluster(t, 3, 0)
	addr := cluster.Addrs()[0]
	ctx := t.Context()
	scripts := func() (n int) {
		for _, node := range cluster.Nodes() {
			n += commands(node, "evalsha")
		}
		return n
	}
	single, err := redisstore.OpenOption(rueidis.ClientOption{InitAddress: []string{addr}, ForceSingleClient: true}, calm)
	if err != nil {
		t.Fatal(err)
	}
	defer single.Close()
	own, err := redisstore.New(client(t, addr), calm)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	stores := map[string]*redisstore.Store{"open": patient(t, addr), "near": near(t, time.Second, addr), "user's client": own}
	for name, s := range stores {
		n := scripts()
		for range 3 {
			_, err := s.Batch(ctx, move("foo", 1, "bar", "x")...)
			if !errors.Is(err, errors.ErrUnsupported) || errors.Is(err, core.ErrRefused) {
				t.Errorf("%s: two slots: %v", name, err)
			}
		}
		if n = scripts() - n; n != 0 {
			t.Errorf("%s: the cluster was sent %d scripts", name, n)
		}
		for i := range 20 { // on all nodes
			from, to := fmt.Sprintf("{%s%d}from", name[:3], i), fmt.Sprintf("{%s%d}to", name[:3], i)
			v, err := s.Batch(ctx, core.Write{Key: from, Data: []byte("x"), TTL: time.Hour})
			if err != nil {
				t.Fatalf("%s: one key: %v", name, err)
			}
			if _, err := s.Batch(ctx, move(from, v[0], to, "y")...); err != nil {
				t.Errorf("%s: one slot: %v", name, err)
			}
			if data, _, err := s.Append(ctx, to, []byte("z")); err != nil || string(data) != "yz" {
				t.Errorf("%s: Append: %q, %v", name, data, err)
			}
		}
	}

	// A client that does not know that this is a cluster.
	key := "foo"
	for n := 0; cluster.Master(cluster.Slot(key)) != cluster.Nodes()[0]; n++ {
		key = fmt.Sprint("k", n)
	}
	n := scripts()
	for i := range 3 {
		_, err := single.Batch(ctx, move(key, 1, key+"2", "x")...)
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	if n = scripts() - n; n != 1 {
		t.Errorf("the cluster was sent %d scripts", n)
	}
	v, err := single.Batch(ctx, core.Write{Key: key, Data: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := single.Batch(ctx, move(key, v[0], "{"+key+"}2", "y")...); err != nil {
		t.Error("one slot:", err)
	}
}

// While a slot moves, a batch of it is carried out or says that it was not.
func TestBatchInASlotThatMoves(t *testing.T) {
	cluster := servers.RedisCluster(t, 3, 0)
	s := patient(t, cluster.Addrs()[0])
	key := func(n int) string { return fmt.Sprint("{moving}", n) }
	slot := cluster.Slot(key(0))
	to := cluster.Nodes()[0]
	if to == cluster.Master(slot) {
		to = cluster.Nodes()[1]
	}
	v := create(t, s, key(0), "0")
	stop := make(chan struct{})
	moves := 0
	var wg sync.WaitGroup
	wg.Go(func() {
		for ; ; moves++ {
			select {
			case <-stop:
				return
			default:
			}
			for {
				next, err := s.Batch(t.Context(), move(key(moves), v, key(moves+1), fmt.Sprint(moves+1))...)
				if err == nil {
					v = next[1]
					break
				}
				if !errors.Is(err, core.ErrUnavailable) {
					t.Error(err)
					return
				}
			}
		}
	})
	time.Sleep(100 * time.Millisecond)
	cluster.MoveSlot(slot, to)
	time.Sleep(100 * time.Millisecond)
	close(stop)
	wg.Wait()
	read(t, s, key(moves), fmt.Sprint(moves))
	if _, err := s.Get(t.Context(), key(0)); !errors.Is(err, core.ErrNotFound) {
		t.Error("the first is still there:", err)
	}
	t.Log(moves, "moves")
}

// A batch whose answer is lost was carried out wholly or not at all.
func TestABatchWhoseAnswerIsLost(t *testing.T) {
	server := servers.Redis(t)
	proxy := faultproxy.New(t, server.Addr())
	s := patient(t, proxy.Addr())
	ctx := t.Context()
	if _, err := s.Batch(ctx, core.Write{Key: "first", Data: []byte("x")}); err != nil { // the server gets the script
		t.Fatal(err)
	}
	unknown, carriedOut := 0, 0
	for i := range 40 {
		from, to := fmt.Sprint("from", i), fmt.Sprint("to", i)
		server.Do("SET", from, "x")
		waitFor(t, "a connection", func() bool { _, err := s.Get(ctx, from); return err == nil })
		fault := faultproxy.Fault{Cut: faultproxy.Reset, CutAt: i % 4}
		if i%2 == 0 {
			proxy.Replies(fault)
		} else {
			fault.CutAt = 1 + 10*i // within the command, and after it
			proxy.Requests(fault)
		}
		_, err := s.Batch(ctx, move(from, redisstore.Digest([]byte("x")), to, "y")...)
		proxy.Clear()
		switch {
		case errors.Is(err, core.ErrOutcomeUnknown):
			unknown++
		case err != nil:
			t.Error(err)
		}
		var is []bool
		waitFor(t, "an end", func() bool { // the command may still be on its way
			is = []bool{server.Do("EXISTS", from) == int64(1), server.Do("EXISTS", to) == int64(1)}
			return is[0] != is[1]
		})
		if is[1] {
			carriedOut++
		}
		if err == nil && !is[1] {
			t.Error("it was not carried out")
		}
	}
	t.Logf("%d of 40 unknown, %d carried out", unknown, carriedOut)
	if unknown == 0 || carriedOut == 0 {
		t.Error("no answer was lost")
	}

	server.Do("SET", "k", "x")
	proxy.Replies(faultproxy.Fault{Hole: true})
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if _, _, err := s.Append(short, "k", []byte("y")); !errors.Is(err, core.ErrOutcomeUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error("Append:", err)
	}
	if _, err := s.Batch(short, move("k", 1, "l", "y")...); !errors.Is(err, core.ErrTimeout) {
		t.Error("a batch that was not sent:", err)
	}
	proxy.Clear()
}

// The near cache never hides what this store has written.
func TestNearCacheSeesBatches(t *testing.T) {
	server := servers.Redis(t)
	s := near(t, time.Hour, server.Addr())
	ctx := t.Context()
	v := create(t, s, "0", "0")
	create(t, s, "k", "")
	for i := range 200 {
		from, to := fmt.Sprint(i), fmt.Sprint(i+1)
		read(t, s, from, from)
		got, err := s.Batch(ctx, move(from, v, to, to)...)
		if err != nil {
			t.Fatal(err)
		}
		if v = got[1]; i%2 == 0 {
			read(t, s, to, to)
		}
		if _, err := s.Get(ctx, from); !errors.Is(err, core.ErrNotFound) {
			t.Errorf("a record that was moved: %v", err)
		}
		read(t, s, "k", strings.Repeat("x", i))
		if _, _, err := s.Append(ctx, "k", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
}
