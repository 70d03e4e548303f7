package storetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
)

// A Server is the set of functions by which [Faults] controls the server of a
// store. The server must be a real one and must belong to the test alone. The
// functions report their failures as errors of the test, and are called only from
// the goroutine of the test. If a function is nil, its cases are skipped.
type Server struct {
	// Stop stops the server, so that connections are refused, and Start starts
	// it again at the same address. It may lose its data.
	Stop, Start func()

	// Pause stops all replies of the server, as SIGSTOP does, and returns when
	// it has stopped. Resume makes it continue with the commands that it was
	// sent meanwhile.
	Pause, Resume func()

	// Cut closes all connections to the server, which stays up. It may use a
	// proxy.
	Cut func()

	// Fill fills the memory of the server and disables eviction, so that the
	// server refuses to store more. undo undoes that.
	Fill func() (undo func())

	// ReadOnly makes the server refuse all writes, including removals. undo
	// undoes that.
	ReadOnly func() (undo func())

	// Spoil stores invalid data under key on the server directly, such as a value
	// of another type.
	Spoil func(key string)

	// TooLarge is a size of a payload that the store or the server refuses. Zero
	// skips the case.
	TooLarge int
}

// Faults tests a store while its server fails. It checks that
//
//   - each call ends in time, with an error of the right class;
//   - a failed write was not applied, unless the error is
//     [core.ErrOutcomeUnknown], and was never applied in part, nor was a Batch;
//   - no error contains a key or a payload;
//   - all calls work after the fault, without errors caused by old connections;
//   - no goroutine is left for abandoned calls.
//
// Each fault is a subtest with a store from newStore. end closes that store and
// everything it uses, such as a client. No other test may run meanwhile
// (t.Parallel), since Faults counts goroutines. Faults takes about ten seconds.
// Its time limits are generous, for busy machines.
//
//	func TestFaults(t *testing.T) {
//		server := startServer(t)
//		storetest.Faults(t, storetest.Server{
//			Stop: server.Kill, Start: server.Start,
//			Pause: server.Pause, Resume: server.Resume,
//		}, func(t testing.TB) (core.Store, func()) {
//			s := mystore.New(server.Addr())
//			return s, func() { s.Close() }
//		})
//	}
func Faults(t *testing.T, server Server, newStore func(t testing.TB) (s core.Store, end func())) {
	t.Helper()
	for _, f := range faultCases {
		t.Run(f.name, func(t *testing.T) { f.run(t, server, newStore) })
	}
}

const (
	faultLimit = 200 * time.Millisecond // timeout of a call
	faultSlack = 2 * time.Second        // how late it may return on a busy machine
	crowdSlack = 15 * time.Second       // the same for thousands of concurrent calls
	crowdSize  = 2000
	backLimit  = 30 * time.Second // until all calls work again
)

// A faultCase is one fault, with the rule for a store.
type faultCase struct {
	name, rule string
	missing    func(s Server) string // the name of the field that the case needs and that is not set
	test       func(c *check, s Server)
}

func (f faultCase) run(t testing.TB, server Server, newStore func(t testing.TB) (core.Store, func())) {
	t.Helper()
	if field := f.missing(server); field != "" {
		t.Skipf("Server.%s is not set: this fault is not tested", field)
	}
	before, _ := goroutines()
	store, end := newStore(t)
	ended := sync.OnceFunc(end)
	defer ended()
	// With a deadline, since a store may have a short timeout for a context without one.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, secrets := newCheck(t, f.rule, ctx, store)
	f.test(c, server)
	ended()
	secrets.kept(c)

	c.rule = "after the store is closed, no goroutine of its calls is left"
	left, stacks := goroutines()
	for begun := time.Now(); left > before && time.Since(begun) < backLimit; left, stacks = goroutines() {
		time.Sleep(step)
	}
	if left > before {
		c.Logf("%s", stacks)
		c.broken("%d goroutines are running, %d before the case", left, before)
	}
}

// goroutines returns the number of goroutines and their stacks. NumGoroutine may
// count one that has ended.
func goroutines() (n int, stacks string) {
	all := make([]byte, 1<<20)
	stacks = string(all[:runtime.Stack(all, true)])
	return strings.Count("\n"+stacks, "\ngoroutine "), stacks
}

var faultCases = []faultCase{{
	name:    "stopped",
	rule:    "while the server is unreachable, a read is ErrUnavailable, and a write is too unless it may have been applied; no error looks like an answer of the server; a write that found no server is ErrUnavailable, since the core repeats it; all calls work again when the server is back",
	missing: func(s Server) string { return unset("Stop and Server.Start", s.Stop == nil || s.Start == nil) },
	test: func(c *check, s Server) {
		writes := c.prepare()
		c.warmUp()
		s.Stop()
		started := sync.OnceFunc(s.Start)
		defer started()
		c.failing(writes)
		// The first calls may have used connections that were still open.
		time.Sleep(10 * step)
		fresh := c.writes(nil)
		c.failing(fresh)
		for _, w := range fresh {
			if errors.Is(w.err, core.ErrOutcomeUnknown) {
				c.broken("%s returned %q although no connection can be opened", w.name, w.err)
			}
		}
		started()
		c.back()
		c.states(writes, true)
		c.states(fresh, true)
		c.works()
	},
}, {
	name:    "restarted",
	rule:    "after a restart of the server during which there were no calls, no read fails because of old connections",
	missing: func(s Server) string { return unset("Stop and Server.Start", s.Stop == nil || s.Start == nil) },
	test: func(c *check, s Server) {
		for range 2 {
			c.warmUp()
			s.Stop()
			s.Start()
			c.waitUntilUp()
			c.reads()
		}
		c.works()
	},
}, {
	name:    "paused",
	rule:    "if the server does not answer, a call returns at its deadline; a read is ErrUnavailable, a write is ErrOutcomeUnknown unless it is certain that it will never be applied; all calls work again when the server continues",
	missing: func(s Server) string { return unset("Pause and Server.Resume", s.Pause == nil || s.Resume == nil) },
	test: func(c *check, s Server) {
		writes := c.prepare()
		c.warmUp()
		s.Pause()
		resumed := sync.OnceFunc(s.Resume)
		defer resumed()
		c.failing(writes)
		resumed()
		c.back()
		c.states(writes, false)
		c.waitUntilUp()
		c.reads()
		c.works()
	},
}, {
	name:    "cancelled while paused",
	rule:    "a call returns when its context is cancelled, whatever the server does; a write that may be applied is then ErrOutcomeUnknown too",
	missing: func(s Server) string { return unset("Pause and Server.Resume", s.Pause == nil || s.Resume == nil) },
	test: func(c *check, s Server) {
		writes := c.prepare()
		s.Pause()
		resumed := sync.OnceFunc(s.Resume)
		defer resumed()
		for _, r := range c.readers("unused") {
			ctx, cancel := context.WithCancel(c.ctx)
			time.AfterFunc(10*step, cancel)
			err := c.within(r.name, faultLimit+faultSlack, func() error { return r.do(ctx) })
			if !errors.Is(err, context.Canceled) && !errors.Is(err, core.ErrUnavailable) {
				c.broken("%s returned %s", r.name, said(err))
			}
		}
		for _, w := range writes {
			ctx, cancel := context.WithCancel(c.ctx)
			time.AfterFunc(10*step, cancel)
			w.err = c.within(w.name, faultLimit+faultSlack, func() error { return w.do(ctx) })
			if !errors.Is(w.err, context.Canceled) && !errors.Is(w.err, core.ErrUnavailable) && !errors.Is(w.err, core.ErrOutcomeUnknown) {
				c.broken("%s returned %s", w.name, said(w.err))
			}
		}
		resumed()
		c.back()
		c.states(writes, false)
	},
}, {
	name:    "thousands of calls while paused",
	rule:    "each of thousands of concurrent calls to a server that does not answer returns at its own deadline, with an error of the same class as a single call",
	missing: func(s Server) string { return unset("Pause and Server.Resume", s.Pause == nil || s.Resume == nil) },
	test: func(c *check, s Server) {
		c.set("a", "old", time.Hour)
		c.warmUp()
		s.Pause()
		resumed := sync.OnceFunc(s.Resume)
		defer resumed()
		type answer struct {
			call string
			err  error
		}
		answers := make(chan answer, crowdSize)
		for i := range crowdSize {
			go func() {
				ctx, cancel := context.WithTimeout(c.ctx, faultLimit)
				defer cancel()
				if i%2 == 0 {
					_, err := c.store.Get(ctx, c.key("a"))
					answers <- answer{"Get", err}
				} else {
					answers <- answer{"Set", c.store.Set(ctx, c.key("a"), []byte("new"), time.Hour)}
				}
			}()
		}
		left := faultLimit + crowdSlack
		for i := range crowdSize {
			a, ok := soon(answers, &left)
			if !ok {
				c.broken("%d of %d calls did not return within %v", crowdSize-i, crowdSize, faultLimit+crowdSlack)
			}
			c.down(a.call, a.err, a.call == "Set")
		}
		resumed()
		c.back()
		c.works()
	},
}, {
	name:    "late write",
	rule:    "a write that its caller gave up, and that the server carries out later, stores the payload it was given; a SetVersion is still a swap: it does not bring back a key that was destroyed meanwhile, and a caller that read before it gets ErrConflict",
	missing: func(s Server) string { return unset("Pause and Server.Resume", s.Pause == nil || s.Resume == nil) },
	test: func(c *check, s Server) {
		w, swaps := core.As[core.Swapper](c.store)
		versions := map[string]core.Version{}
		for _, name := range []string{"a", "destroyed"} {
			if c.set(name, "old", time.Hour); swaps {
				versions[name] = c.version(name)
			}
		}
		swap := func(name, data string) func(ctx context.Context) error {
			return func(ctx context.Context) error {
				_, err := w.SetVersion(ctx, c.key(name), []byte(data), time.Hour, versions[name])
				return err
			}
		}
		c.warmUp()
		s.Pause()
		resumed := sync.OnceFunc(s.Resume)
		defer resumed()
		// Several at once, so that some wait in a pipeline, if there is one. The
		// race detector finds a read of what is not the store's, too.
		const callers = 50
		c.together(callers, func(i int) error {
			ctx, cancel := context.WithTimeout(c.ctx, faultLimit)
			defer cancel()
			data := []byte(newPayload)
			_ = c.store.Set(ctx, c.key(fmt.Sprint("late", i)), data, time.Hour) // the class is another case
			scribble(data)
			return nil
		})
		gaveUp := map[string]error{}
		for name := range versions {
			gaveUp[name] = c.limited("SetVersion", swap(name, "late"))
			c.down("SetVersion", gaveUp[name], true)
		}
		resumed()
		// At once, so that it runs beside the late write.
		for end := time.Now().Add(backLimit); swaps; time.Sleep(step) {
			err := c.prompt("Destroy", func(ctx context.Context) error { return c.store.Destroy(ctx, c.key("destroyed")) })
			if err == nil {
				break
			}
			if time.Now().After(end) {
				c.broken("Destroy returns %s, %v after the server is back", said(err), backLimit)
			}
		}
		c.back()
		for i := range callers {
			data, err := c.store.Get(c.ctx, c.key(fmt.Sprint("late", i)))
			if !errors.Is(err, core.ErrNotFound) && (err != nil || string(data) != newPayload) {
				c.broken("Get returned %s and %s, which is not what a late Set had been given", short(string(data)), said(err))
			}
		}
		if !swaps { // the last write wins, even over a removal
			return
		}
		c.misses("destroyed")
		data, err := c.store.Get(c.ctx, c.key("a"))
		c.ok("Get", err)
		switch got := string(data); {
		case got == "late" && errors.Is(gaveUp["a"], core.ErrOutcomeUnknown):
			c.is("SetVersion with the version from before the late write", swap("a", "new")(c.ctx), core.ErrConflict)
			c.holds("a", "late")
		case got != "old":
			c.broken("after SetVersion, which returned %s, the payload is %s", said(gaveUp["a"]), short(got))
		}
	},
}, {
	name:    "connections closed",
	rule:    "after its connections were closed, a store opens new ones: no read fails, and a write that fails was not applied or is ErrOutcomeUnknown",
	missing: func(s Server) string { return unset("Cut", s.Cut == nil) },
	test: func(c *check, s Server) {
		c.warmUp()
		s.Cut()
		c.waitUntilUp()
		c.reads()
		writes := c.prepare()
		for _, w := range writes {
			c.warmUp()
			s.Cut()
			c.waitUntilUp()
			if w.err = c.prompt(w.name, w.do); w.err != nil {
				c.down(w.name, w.err, true)
			}
		}
		c.back()
		c.states(writes, false)
		c.works()
	},
}, {
	name:    "connections closed during calls",
	rule:    "a call whose connection is closed meanwhile succeeds or is ErrUnavailable; a write that may have been applied is ErrOutcomeUnknown",
	missing: func(s Server) string { return unset("Cut", s.Cut == nil) },
	test: func(c *check, s Server) {
		const callers = 8
		stop := make(chan struct{})
		problems := make(chan string, callers)
		for i := range callers {
			go func() { problems <- c.writeOn(fmt.Sprint("cut", i), stop) }()
		}
		for range 10 {
			time.Sleep(2 * step)
			s.Cut()
		}
		close(stop)
		late := time.After(faultLimit + crowdSlack)
		for range callers {
			select {
			case problem := <-problems:
				if problem != "" {
					c.broken("%s", problem)
				}
			case <-late:
				c.broken("a call did not return")
			}
		}
		c.back()
		c.works()
	},
}, {
	name:    "full",
	rule:    "a write to a full server is ErrRefused, and leaves the previous payload and its version; reads and removals continue to work",
	missing: func(s Server) string { return unset("Fill", s.Fill == nil) },
	test: func(c *check, s Server) {
		writes := c.prepare()
		undo := sync.OnceFunc(s.Fill())
		defer undo()
		var err error
		for i := 0; i < 100 && err == nil; i++ {
			err = c.prompt("Set", func(ctx context.Context) error {
				return c.store.Set(ctx, c.key(fmt.Sprint("more", i)), make([]byte, len(newPayload)), time.Hour)
			})
		}
		if err == nil {
			c.broken("100 new keys were stored in a full server")
		}
		c.is("Set of a new key", err, core.ErrRefused)
		for _, w := range writes {
			w.err = c.prompt(w.name, w.do)
			switch {
			case w.err != nil && w.removes():
				c.broken("%s failed, so nobody can log out: %v", w.name, w.err)
			case w.err != nil:
				c.is(w.name, w.err, core.ErrRefused)
			}
		}
		c.states(writes, false)
		undo()
		c.works()
	},
}, {
	name:    "read-only",
	rule:    "a write to a read-only server is ErrRefused, or ErrUnavailable if the store looks for another server, and changes nothing, including a removal; reads continue to work, or are ErrUnavailable",
	missing: func(s Server) string { return unset("ReadOnly", s.ReadOnly == nil) },
	test: func(c *check, s Server) {
		writes := c.prepare()
		undo := sync.OnceFunc(s.ReadOnly())
		defer undo()
		for _, w := range writes {
			w.err = c.prompt(w.name, w.do)
			if !errors.Is(w.err, core.ErrUnavailable) {
				c.is(w.name, w.err, core.ErrRefused)
			}
		}
		for _, w := range writes {
			if data, err := c.store.Get(c.ctx, c.key(w.key)); err == nil && string(data) == w.new && w.new != w.old {
				c.broken("%s, which returned %q, has changed the payload", w.name, w.err)
			}
		}
		undo()
		c.back()
		c.states(writes, false)
		c.works()
	},
}, {
	name:    "too large",
	rule:    "a payload that is too large is ErrTooLarge, and leaves the previous one and its version",
	missing: func(s Server) string { return unset("TooLarge", s.TooLarge <= 0) },
	test: func(c *check, s Server) {
		large := make([]byte, s.TooLarge)
		c.set("a", "old", time.Hour)
		set := func(name string) {
			err := c.within("Set", backLimit, func() error { return c.store.Set(c.ctx, c.key(name), large, time.Hour) })
			c.is("Set", err, core.ErrTooLarge)
		}
		set("a")
		set("b")
		c.holds("a", "old")
		c.misses("b")
		if w, ok := core.As[core.Swapper](c.store); ok {
			v := c.version("a")
			_, err := w.SetVersion(c.ctx, c.key("a"), large, time.Hour, v)
			c.is("SetVersion", err, core.ErrTooLarge)
			_, err = w.SetVersion(c.ctx, c.key("b"), large, time.Hour, 0)
			c.is("SetVersion that creates", err, core.ErrTooLarge)
			c.holds("a", "old")
			c.misses("b")
			if b, ok := core.As[core.Batcher](c.store); ok {
				_, err = b.Batch(c.ctx, core.Write{Key: c.key("a"), Data: large, TTL: time.Hour, Version: v})
				c.is("Batch", err, core.ErrTooLarge)
				_, _, err = b.Append(c.ctx, c.key("a"), large)
				c.is("Append", err, core.ErrTooLarge)
				c.holds("a", "old")
			}
			c.swap("a", "new", time.Hour, v)
		}
	},
}, {
	name:    "invalid data",
	rule:    "invalid data is ErrCorrupt, never a payload and never a missing key; SetVersion does not overwrite it with the version read before; it can be removed",
	missing: func(s Server) string { return unset("Spoil", s.Spoil == nil) },
	test: func(c *check, s Server) {
		c.set("a", "old", time.Hour)
		w, swaps := core.As[core.Swapper](c.store)
		var v core.Version
		if swaps {
			v = c.version("a")
		}
		s.Spoil(c.key("a"))
		for _, r := range c.readers("a") {
			c.is(r.name, c.prompt(r.name, r.do), core.ErrCorrupt)
		}
		if swaps {
			err := c.prompt("SetVersion", func(ctx context.Context) error {
				_, err := w.SetVersion(ctx, c.key("a"), []byte("new"), time.Hour, v)
				return err
			})
			if !errors.Is(err, core.ErrConflict) && !errors.Is(err, core.ErrCorrupt) {
				c.broken("SetVersion with the version read before returned %s", said(err))
			}
		}
		if b, ok := core.As[core.Batcher](c.store); ok {
			_, err := b.Batch(c.ctx, core.Write{Key: c.key("a"), Data: []byte("new"), TTL: time.Hour, Version: v})
			if !errors.Is(err, core.ErrConflict) && !errors.Is(err, core.ErrCorrupt) {
				c.broken("Batch with the version of before returned %s", said(err))
			}
			if _, _, err := b.Append(c.ctx, c.key("a"), []byte("new")); err == nil {
				c.broken("Append returned no error")
			}
		}
		c.destroy("a")
		c.misses("a")
		c.set("a", "again", time.Hour)
		c.holds("a", "again")
	},
}}

func unset(field string, missing bool) string {
	if missing {
		return field
	}
	return ""
}

// Payloads of which a part is recognizable as incomplete.
var (
	oldPayload = "old:" + strings.Repeat("o", 3000) + ":end"
	newPayload = "new:" + strings.Repeat("n", 3000) + ":end"
	appended   = "appended:" + strings.Repeat("a", 100) + ":end"
)

// A faultWrite is a write to its own key, and its result.
type faultWrite struct {
	name string
	key  string // its name
	do   func(ctx context.Context) error
	old  string // the payload before the write; empty if the key is missing
	new  string // the payload after the write; empty if the key is missing
	to   string // the name of the key that a Batch moves newPayload to, if it is one
	err  error

	version core.Version // of what is there before, 0 if it is not known
}

// prepare returns writes of all kinds, and stores the payloads that they need.
func (c *check) prepare() []*faultWrite {
	c.Helper()
	if b, ok := core.As[core.Batcher](c.store); ok {
		c.moves = c.supportsSeveral(b)
	}
	versions := map[string]core.Version{}
	all := c.writes(versions)
	for _, w := range all {
		if w.old == "" {
			continue
		}
		c.set(w.key, w.old, time.Hour)
		if _, ok := core.As[core.Swapper](c.store); ok {
			w.version = c.version(w.key)
			versions[w.key] = w.version
		}
	}
	return all
}

// writes returns writes of all kinds. If versions is nil, they write to keys that
// need not exist.
func (c *check) writes(versions map[string]core.Version) []*faultWrite {
	key := func(name string) string { return c.key(name) }
	old, unique := oldPayload, ""
	if versions == nil {
		old, unique = "", "fresh "
	}
	all := []*faultWrite{
		{name: "Set of a new key", new: newPayload, do: func(ctx context.Context) error {
			return c.store.Set(ctx, key(slug(unique+"Set of a new key")), []byte(newPayload), time.Hour)
		}},
		{name: "Set", old: old, new: newPayload, do: func(ctx context.Context) error {
			return c.store.Set(ctx, key(slug(unique+"Set")), []byte(newPayload), time.Hour)
		}},
		{name: "Destroy", old: old, do: func(ctx context.Context) error {
			return c.store.Destroy(ctx, key(slug(unique+"Destroy")))
		}},
	}
	if s, ok := core.As[core.Swapper](c.store); ok {
		all = append(all, &faultWrite{name: "SetVersion that creates", new: newPayload, do: func(ctx context.Context) error {
			_, err := s.SetVersion(ctx, key(slug(unique+"SetVersion that creates")), []byte(newPayload), time.Hour, 0)
			return err
		}}, &faultWrite{name: "SetVersion that swaps", old: old, new: newPayload, do: func(ctx context.Context) error {
			name := slug(unique + "SetVersion that swaps")
			v := versions[name]
			if versions == nil {
				v = 1
			}
			_, err := s.SetVersion(ctx, key(name), []byte(newPayload), time.Hour, v)
			return err
		}})
	}
	if s, ok := core.As[core.Batcher](c.store); ok {
		version := func(name string) core.Version {
			if versions == nil {
				return 1
			}
			return versions[name]
		}
		all = append(all, &faultWrite{name: "Batch that swaps", old: old, new: newPayload, do: func(ctx context.Context) error {
			name := slug(unique + "Batch that swaps")
			_, err := s.Batch(ctx, core.Write{Key: key(name), Data: []byte(newPayload), TTL: time.Hour, Version: version(name)})
			return err
		}}, &faultWrite{name: "Batch that removes", old: old, do: func(ctx context.Context) error {
			name := slug(unique + "Batch that removes")
			_, err := s.Batch(ctx, core.Write{Key: key(name), Version: version(name)})
			return err
		}}, &faultWrite{name: "Append", old: old, new: old + appended, do: func(ctx context.Context) error {
			_, _, err := s.Append(ctx, key(slug(unique+"Append")), []byte(appended))
			return err
		}})
		if c.moves {
			from, to := sameSlot+slug(unique+"Batch that moves"), sameSlot+slug(unique+"moved")
			all = append(all, &faultWrite{name: "Batch that moves", key: from, to: to, old: old, do: func(ctx context.Context) error {
				_, err := s.Batch(ctx,
					core.Write{Key: key(to), Data: []byte(newPayload), TTL: time.Hour},
					core.Write{Key: key(from), Version: version(from)})
				return err
			}})
		}
	}
	if t, ok := core.As[core.Toucher](c.store); ok {
		all = append(all, &faultWrite{name: "Touch", old: old, new: old, do: func(ctx context.Context) error {
			return t.Touch(ctx, key(slug(unique+"Touch")), time.Hour)
		}})
	}
	for _, w := range all {
		if w.key == "" {
			w.key = slug(unique + w.name)
		}
	}
	return all
}

// removes reports whether the write only removes, so that it must work on a server
// that has no memory left.
func (w *faultWrite) removes() bool { return w.new == "" && w.to == "" }

func slug(name string) string { return strings.ReplaceAll(name, " ", "-") }

// A reader is a call that changes nothing.
type reader struct {
	name string
	do   func(ctx context.Context) error
}

func (c *check) readers(name string) []reader {
	key := c.key(name)
	all := []reader{{"Get", func(ctx context.Context) error {
		_, err := c.store.Get(ctx, key)
		return err
	}}}
	if s, ok := core.As[core.Swapper](c.store); ok {
		all = append(all, reader{"GetVersion", func(ctx context.Context) error {
			_, _, err := s.GetVersion(ctx, key)
			return err
		}})
	}
	return all
}

// within fails the run if a call does not return in time.
func (c *check) within(name string, limit time.Duration, do func() error) error {
	c.Helper()
	done := make(chan error, 1)
	go func() { done <- do() }()
	left := limit
	err, ok := soon(done, &left)
	if !ok {
		c.broken("%s did not return within %v", name, limit)
	}
	return err
}

// soon receives from all while there is time left. The time does not count in which
// the machine stands still: each of many waits counts as long as it should take.
func soon[T any](all <-chan T, left *time.Duration) (one T, ok bool) {
	for {
		select {
		case one = <-all:
			return one, true
		case <-time.After(step):
		}
		if *left -= step; *left <= 0 {
			return one, false
		}
	}
}

// limited makes a call with a deadline, and fails the run if it returns much later.
func (c *check) limited(name string, do func(ctx context.Context) error) error {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, faultLimit)
	defer cancel()
	return c.within(name, faultLimit+faultSlack, func() error { return do(ctx) })
}

// prompt makes a call to a server that answers, on a machine that may be busy.
func (c *check) prompt(name string, do func(ctx context.Context) error) error {
	c.Helper()
	return c.within(name, backLimit, func() error { return do(c.ctx) })
}

// failing makes all calls while the server can't answer.
func (c *check) failing(writes []*faultWrite) {
	c.Helper()
	for _, r := range c.readers("unused") {
		c.down(r.name, c.limited(r.name, r.do), false)
	}
	for _, w := range writes {
		w.err = c.limited(w.name, w.do)
		c.down(w.name, w.err, true)
	}
}

// down fails the run unless err has the class for an unreachable server.
func (c *check) down(call string, err error, write bool) {
	c.Helper()
	unknown := errors.Is(err, core.ErrOutcomeUnknown)
	switch {
	case errors.Is(err, core.ErrNotFound), errors.Is(err, core.ErrConflict):
		c.broken("%s returned %q, as if the server had answered", call, err)
	case unknown && !write:
		c.broken("%s, which changes nothing, returned %q", call, err)
	case unknown && errors.Is(err, core.ErrUnavailable):
		c.broken("%s returned %q, which is both ErrOutcomeUnknown (it may be applied) and ErrUnavailable (it is not applied)", call, err)
	case !unknown && !errors.Is(err, core.ErrUnavailable):
		c.broken("%s returned %s, an error of the wrong class", call, said(err))
	}
}

// waitUntilUp waits as the core does: if the store reports that it is down, until
// it reports that it is up.
func (c *check) waitUntilUp() {
	c.Helper()
	n, ok := core.As[core.Notifier](c.store)
	if !ok {
		return
	}
	var told news
	stop := n.Notify(told.add)
	defer stop()
	for end := time.Now().Add(backLimit); ; time.Sleep(step) {
		all := told.all()
		if len(all) == 0 || all[len(all)-1] {
			return
		}
		if time.Now().After(end) {
			c.broken("the store still reports that it is down, %v after the server is back", backLimit)
		}
	}
}

// back waits until reads succeed again and the server has received all delayed
// commands.
func (c *check) back() {
	c.Helper()
	for end := time.Now().Add(backLimit); ; time.Sleep(step) {
		c.waitUntilUp()
		err := c.limited("Get", func(ctx context.Context) error {
			_, err := c.store.Get(ctx, c.key("unused"))
			return err
		})
		if errors.Is(err, core.ErrNotFound) {
			break
		}
		if time.Now().After(end) {
			c.broken("Get returns %s, %v after the server is back", said(err), backLimit)
		}
	}
	time.Sleep(20 * step)
}

// states checks the payloads after the writes. If lost, the server may have lost its
// data.
func (c *check) states(writes []*faultWrite, lost bool) {
	c.Helper()
	for _, w := range writes {
		data, err := c.store.Get(c.ctx, c.key(w.key))
		if err != nil && !errors.Is(err, core.ErrNotFound) {
			c.broken("Get after %s failed: %v", w.name, err)
		}
		got := string(data)
		if w.to != "" {
			c.whole(w, got, lost)
			continue
		}
		done := w.err == nil || errors.Is(w.err, core.ErrOutcomeUnknown)
		switch {
		case err != nil && lost: // the server has lost its data
		case got == w.old && w.err != nil:
			if w.version == 0 || done || lost {
				break
			}
			if v := c.version(w.key); v != w.version {
				c.broken("%s, which returned %q, changed the version", w.name, w.err)
			}
		case got == w.new && done:
		case got == w.new:
			c.broken("%s was applied although it returned %q", w.name, w.err)
		default:
			c.broken("after %s, which returned %s, the payload is %s", w.name, said(w.err), short(got))
		}
	}
}

// whole is states for a Batch that moves a key, whose old payload is now from.
func (c *check) whole(w *faultWrite, from string, lost bool) {
	c.Helper()
	data, err := c.store.Get(c.ctx, c.key(w.to))
	if err != nil && !errors.Is(err, core.ErrNotFound) {
		c.broken("Get after %s failed: %v", w.name, err)
	}
	to := string(data)
	done := w.err == nil || errors.Is(w.err, core.ErrOutcomeUnknown)
	switch {
	case lost && from == "" && to == "": // with its server
	case from == w.old && to == "" && w.err != nil:
	case from == "" && to == newPayload && done:
	case from == "" && to == newPayload:
		c.broken("%s was applied, and had returned %q", w.name, w.err)
	default:
		c.broken("%s, which returned %s, was applied in part: the old key has %s and the new one %s", w.name, said(w.err), short(from), short(to))
	}
}

// warmUp makes a store with several connections open them.
func (c *check) warmUp() {
	c.Helper()
	c.together(20, func(int) error {
		_, err := c.store.Get(c.ctx, c.key("unused"))
		if errors.Is(err, core.ErrNotFound) {
			err = nil
		}
		return err
	})
}

// reads reads over all connections, and fails the run if a read fails.
func (c *check) reads() {
	c.Helper()
	for range 3 {
		c.warmUp()
	}
}

// works fails the run unless all calls work as before the fault. Reads go first,
// since a write may detect a dead connection for them.
func (c *check) works() {
	c.Helper()
	c.waitUntilUp()
	c.reads()
	for _, w := range c.prepareAgain() {
		w.err = w.do(c.ctx)
		c.ok(w.name+" after the fault", w.err)
		c.states([]*faultWrite{w}, false)
	}
}

// prepareAgain is prepare with other keys.
func (c *check) prepareAgain() []*faultWrite {
	c.Helper()
	c.prefix += "again:"
	return c.prepare()
}

// writeOn repeatedly sets and reads a key until stop is closed. It returns the
// violation of the rule, if any.
func (c *check) writeOn(name string, stop <-chan struct{}) string {
	last := ""
	unknown := map[string]bool{} // payloads whose writes may be applied, even after the last one
	for n := 0; ; n++ {
		select {
		case <-stop:
			return ""
		default:
		}
		ctx, cancel := context.WithTimeout(c.ctx, faultLimit)
		payload := fmt.Sprint(n, newPayload)
		err := c.store.Set(ctx, c.key(name), []byte(payload), time.Hour)
		cancel()
		switch {
		case err == nil:
			last = payload
		case errors.Is(err, core.ErrOutcomeUnknown):
			unknown[payload] = true
		case !errors.Is(err, core.ErrUnavailable):
			return fmt.Sprintf("Set returned %q", err)
		}
		ctx, cancel = context.WithTimeout(c.ctx, faultLimit)
		data, err := c.store.Get(ctx, c.key(name))
		cancel()
		switch {
		case errors.Is(err, core.ErrUnavailable):
		case err != nil && !errors.Is(err, core.ErrNotFound):
			return fmt.Sprintf("Get returned %q", err)
		case string(data) != last && !unknown[string(data)]:
			return fmt.Sprintf("Get returned %s, which no write can have stored", short(string(data)))
		}
	}
}
