package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gensession/gensession/core"
)

// sameSlot begins the names of keys that Batch changes together: a cluster of
// Redis keeps keys with the same text in braces on one node.
const sameSlot = "{s}"

// batcher returns the ability, or skips the case.
func (c *check) batcher() core.Batcher {
	c.Helper()
	s, ok := core.As[core.Batcher](c.store)
	if !ok {
		c.Skip("no core.Batcher: the core makes the writes of a login one after the other, the new session first")
	}
	return s
}

// severalKeys returns the ability, or skips the case if Batch does not support
// several keys.
func (c *check) severalKeys() core.Batcher {
	c.Helper()
	s := c.batcher()
	if !c.supportsSeveral(s) {
		c.Skip("Batch does not support several keys: the core does without, as without a core.Batcher")
	}
	return s
}

func (c *check) supportsSeveral(s core.Batcher) bool {
	c.Helper()
	_, err := s.Batch(c.ctx, c.write("probe1", "x", 0), c.write("probe2", "x", 0))
	if errors.Is(err, errors.ErrUnsupported) {
		return false
	}
	c.ok("Batch of two new keys", err)
	c.destroy(sameSlot + "probe1")
	c.destroy(sameSlot + "probe2")
	return true
}

// write returns a write of a key that begins with sameSlot.
func (c *check) write(name, data string, v core.Version) core.Write {
	return core.Write{Key: c.key(sameSlot + name), Data: []byte(data), TTL: time.Hour, Version: v}
}

func (c *check) removal(name string, v core.Version) core.Write {
	return core.Write{Key: c.key(sameSlot + name), Version: v}
}

// batch is a Batch that must succeed.
func (c *check) batch(writes ...core.Write) ([]core.Version, span) {
	c.Helper()
	w := begin()
	versions, err := c.batcher().Batch(c.ctx, writes...)
	w = w.end()
	c.ok(fmt.Sprintf("Batch of %d writes", len(writes)), err)
	if len(versions) != len(writes) {
		c.broken("Batch of %d writes returned %d versions", len(writes), len(versions))
	}
	for i, write := range writes {
		switch v := versions[i]; {
		case v != 0 && write.Data == nil:
			c.broken("Batch returned version %d for write %d of %d, which is a removal", v, i+1, len(writes))
		case v == 0 && write.Data != nil: // the store does not tell it
			_, versions[i], err = c.batcher().GetVersion(c.ctx, write.Key)
			if write.TTL > 0 {
				c.inTime(w, write.TTL)
			}
			c.ok("GetVersion after a Batch", err)
		}
	}
	return versions, w
}

// A snapshot is what some keys have.
type snapshot map[string]versioned

type versioned struct {
	data string
	v    core.Version // zero if the key is not there
}

func (c *check) snapshot(names ...string) snapshot {
	c.Helper()
	all := snapshot{}
	for _, name := range names {
		data, v, err := c.batcher().GetVersion(c.ctx, c.key(sameSlot+name))
		switch {
		case err == nil:
			all[name] = versioned{string(data), v}
		case errors.Is(err, core.ErrNotFound):
			all[name] = versioned{}
		default:
			c.broken("GetVersion failed: %v", err)
		}
	}
	return all
}

// unchanged fails the run unless the keys have what they had.
func (c *check) unchanged(what string, before snapshot) {
	c.Helper()
	for name, old := range before {
		now := c.snapshot(name)[name]
		switch {
		case (now.v == 0) != (old.v == 0):
			c.broken("%s: a key was there: %v, and is there now: %v", what, old.v != 0, now.v != 0)
		case now.data != old.data:
			c.broken("%s changed the payload of a key to %s", what, short(now.data))
		case now.v != old.v:
			c.broken("%s changed the version of a key", what)
		}
	}
}

// spoiledBatches makes batches of 1, 2 and 3 writes that would succeed, of new
// keys, of old keys and of removals. In each position it puts the write that spoil
// returns, which must make Batch change nothing. judge gets the error.
//
// The keys have use in their names.
func (c *check) spoiledBatches(use string, spoil func(name string) core.Write, judge func(at int, name string, err error)) {
	c.Helper()
	s := c.batcher()
	for n := 1; n <= 3; n++ {
		for at := range n {
			for kind := range 3 {
				prefix := fmt.Sprint(use, n, "-", at, "-", kind, "-")
				bad := prefix + "bad"
				names := []string{bad}
				writes := make([]core.Write, n)
				for i := range writes {
					name := prefix + strconv.Itoa(i)
					switch {
					case i == at:
						writes[i] = spoil(bad)
						continue
					case (kind+i)%3 == 0:
						writes[i] = c.write(name, "new", 0)
					default:
						v, _ := c.swap(sameSlot+name, "old", time.Hour, 0)
						writes[i] = c.write(name, "new", v)
						if (kind+i)%3 == 1 {
							writes[i] = c.removal(name, v)
						}
					}
					names = append(names, name)
				}
				before := c.snapshot(names...)
				_, err := s.Batch(c.ctx, writes...)
				what := fmt.Sprintf("a refused Batch (write %d of %d)", at+1, n)
				if n > 1 && errors.Is(err, errors.ErrUnsupported) {
					c.unchanged("a Batch that is not supported", before)
					continue
				}
				c.unchanged(what, before)
				judge(at, bad, err)
			}
		}
	}
}

// conflicts checks that err is a Conflict that tells what is there.
func (c *check) conflicts(at int, name string, err error) {
	c.Helper()
	c.is("Batch", err, core.ErrConflict)
	var told *core.Conflict
	if !errors.As(err, &told) {
		c.broken("Batch returned %s, which is not a *core.Conflict", said(err))
	}
	there := c.snapshot(name)[name]
	switch {
	case told.Write != at:
		c.broken("the Conflict names write %d, not %d", told.Write, at)
	case string(told.Data) != there.data:
		c.broken("the Conflict has the payload %s, and there is %s", short(string(told.Data)), short(there.data))
	case told.Version != there.v:
		c.broken("the Conflict has another version than is there")
	}
	scribble(told.Data)
	c.holds(sameSlot+name, there.data)
	c.swap(sameSlot+name, "after the conflict", time.Hour, told.Version)
	c.holds(sameSlot+name, "after the conflict")
}

var batchCases = []Case{{
	Name: "Batch of one",
	Rule: "Batch with one write creates, swaps or removes a key on condition of its version; nil removes, an empty payload does not",
	test: func(c *check) {
		c.batcher()
		for i, note := range []bool{false, true} {
			name := fmt.Sprint("a", i)
			var v core.Version
			for _, payload := range []string{"payload", "", "\x00\r\n\xff", strings.Repeat("long", 1000), "end"} {
				w := c.write(name, payload, v)
				w.Note = note
				versions, _ := c.batch(w)
				if versions[0] == v {
					c.broken("Batch returned the version of before")
				}
				v = versions[0]
				c.holds(sameSlot+name, payload)
			}
			c.batch(c.removal(name, v))
			c.misses(sameSlot + name)
		}
	},
}, {
	Name: "Batch of several",
	Rule: "Batch carries out all of its writes: what is new comes, what is removed goes, and other keys stay",
	test: func(c *check) {
		c.severalKeys()
		c.set(sameSlot+"other", "other", time.Hour)
		var last core.Version
		last, _ = c.swap(sameSlot+"0", "0", time.Hour, 0)
		for i := range 4 {
			was, next := strconv.Itoa(i), strconv.Itoa(i+1)
			create, remove := c.write(next, next, 0), c.removal(was, last)
			var versions []core.Version
			if i%2 == 0 {
				versions, _ = c.batch(create, remove)
				last = versions[0]
			} else {
				versions, _ = c.batch(remove, create)
				last = versions[1]
			}
			c.misses(sameSlot + was)
			c.holds(sameSlot+next, next)
		}
		versions, _ := c.batch(c.write("x", "x", 0), c.write("y", "y", 0), c.write("4", "five", last))
		c.batch(c.removal("x", versions[0]), c.write("z", "", 0), c.write("y", "yy", versions[1]))
		c.misses(sameSlot + "x")
		c.holds(sameSlot+"y", "yy")
		c.holds(sameSlot+"z", "")
		c.holds(sameSlot+"4", "five")
		c.holds(sameSlot+"other", "other")
	},
}, {
	Name: "versions of Batch",
	Rule: "Batch returns the version of each write in the order of the writes, good for the next SetVersion or Batch, and zero for a removal",
	test: func(c *check) {
		c.batcher()
		all := [][]string{{"one"}}
		if c.supportsSeveral(c.batcher()) {
			all = append(all, []string{"b", "a"}, []string{"y", "z", "x"})
		}
		for _, names := range all {
			gone, _ := c.swap(sameSlot+"gone", "x", time.Hour, 0)
			writes := []core.Write{}
			for _, name := range names {
				writes = append(writes, c.write(name, name, 0))
			}
			if len(names) > 1 {
				writes = slices.Insert(writes, 1, c.removal("gone", gone))
			}
			versions, _ := c.batch(writes...)
			if len(names) > 1 {
				versions = slices.Delete(versions, 1, 2)
			} else {
				c.destroy(sameSlot + "gone")
			}
			for i, name := range names {
				if now := c.version(sameSlot + name); now != versions[i] {
					c.broken("GetVersion returned another version than the Batch before it, for write %d", i+1)
				}
				versions[i], _ = c.swap(sameSlot+name, name+"+", time.Hour, versions[i])
				c.refuses(sameSlot+name, 0, core.ErrConflict)
			}
			writes = writes[:0]
			for i, name := range names {
				writes = append(writes, c.write(name, name+"++", versions[i]))
			}
			c.batch(writes...)
			for i, name := range names {
				c.holds(sameSlot+name, name+"++")
				c.refuses(sameSlot+name, versions[i], core.ErrConflict)
			}
		}
	},
}, {
	Name: "Batch with a stale version",
	Rule: "if a key has another version, Batch changes nothing and returns a Conflict with its payload and version",
	test: func(c *check) {
		payloads := []string{"two", "", "\x00\r\n\xff"}
		i := 0
		c.spoiledBatches("", func(name string) core.Write {
			i++
			stale, _ := c.swap(sameSlot+name, "one", time.Hour, 0)
			c.swap(sameSlot+name, payloads[i%len(payloads)], time.Hour, stale)
			return c.write(name, "late", stale)
		}, c.conflicts)
	},
}, {
	Name: "removal with a stale version",
	Rule: "Batch removes no key that has another version: it changes nothing and returns a Conflict",
	test: func(c *check) {
		c.spoiledBatches("", func(name string) core.Write {
			stale, _ := c.swap(sameSlot+name, "one", time.Hour, 0)
			c.swap(sameSlot+name, "two", time.Hour, stale)
			return c.removal(name, stale)
		}, c.conflicts)
	},
}, {
	Name: "Batch over an existing key",
	Rule: "version zero in a Batch means that the key must not exist: if it does, Batch changes nothing and returns a Conflict",
	test: func(c *check) {
		c.spoiledBatches("", func(name string) core.Write {
			c.swap(sameSlot+name, "old", time.Hour, 0)
			return c.write(name, "new", 0)
		}, c.conflicts)
	},
}, {
	Name: "Batch with a missing key",
	Rule: "if a key is gone that must have a version, Batch changes nothing and returns ErrNotFound",
	test: func(c *check) {
		for _, remove := range []bool{false, true} {
			c.spoiledBatches(strconv.FormatBool(remove), func(name string) core.Write {
				gone, _ := c.swap(sameSlot+name, "old", time.Hour, 0)
				c.destroy(sameSlot + name)
				if remove {
					return c.removal(name, gone)
				}
				return c.write(name, "new", gone)
			}, func(_ int, name string, err error) {
				c.is("Batch", err, core.ErrNotFound)
				c.misses(sameSlot + name)
			})
		}
	},
}, {
	Name: "Batch that makes no sense",
	Rule: "a negative ttl, and a removal without a version, are errors of Batch, which changes nothing then",
	test: func(c *check) {
		for i, w := range []core.Write{{Data: []byte("x"), TTL: -1}, {Data: []byte("x"), TTL: -time.Hour}, {}} {
			c.spoiledBatches(fmt.Sprint(i, "-"), func(name string) core.Write {
				w.Key = c.key(sameSlot + name)
				return w
			}, func(_ int, name string, err error) {
				if err == nil {
					c.broken("Batch with ttl %v returned no error", w.TTL)
				}
				c.misses(sameSlot + name)
			})
		}
		c.set(sameSlot+"a", "old", time.Hour)
		if _, err := c.batcher().Batch(c.ctx, c.removal("a", 0)); err == nil {
			c.broken("a removal without a version returned no error")
		}
		c.holds(sameSlot+"a", "old")
	},
}, {
	Name: "keys that a Batch can't change together",
	Rule: "if Batch returns errors.ErrUnsupported for some keys, it does nothing, and never returns it for a single write",
	test: func(c *check) {
		s := c.batcher()
		for round := range 5 { // several keys, which a cluster keeps on several nodes
			var writes []core.Write
			for i := range 3 {
				name := fmt.Sprint(round, "-", i)
				v := core.Version(0)
				if i > 0 {
					v, _ = c.swap(name, "old", time.Hour, 0)
				}
				writes = append(writes, core.Write{Key: c.key(name), Data: []byte("new"), TTL: time.Hour, Version: v})
			}
			writes[2].Data = nil
			_, err := s.Batch(c.ctx, writes...)
			switch {
			case err == nil:
				c.holds(fmt.Sprint(round, "-", 0), "new")
				c.holds(fmt.Sprint(round, "-", 1), "new")
				c.misses(fmt.Sprint(round, "-", 2))
			case errors.Is(err, errors.ErrUnsupported):
				c.misses(fmt.Sprint(round, "-", 0))
				for i := 1; i < 3; i++ {
					c.holds(fmt.Sprint(round, "-", i), "old")
					if now := c.version(fmt.Sprint(round, "-", i)); now != writes[i].Version {
						c.broken("a Batch that is not supported changed a version")
					}
				}
				for _, w := range writes {
					_, err := s.Batch(c.ctx, w)
					c.ok("Batch of one write", err)
				}
			default:
				c.broken("Batch failed: %v", err)
			}
		}
	},
}, {
	Name: "Batch copies",
	Rule: "the store copies the slices given to Batch and Append and leaves them alone, and what it returns is the caller's",
	test: func(c *check) {
		s := c.batcher()
		room := []byte("payload|what comes behind it in the same array")
		before := bytes.Clone(room)
		w := c.write("a", "", 0)
		w.Data = room[:7]
		versions, _ := c.batch(w)
		_, _, err := s.Append(c.ctx, w.Key, room[:7])
		c.ok("Append", err)
		if !bytes.Equal(room, before) {
			c.broken("the caller's array was changed")
		}
		scribble(room)
		c.holds(sameSlot+"a", "payloadpayload")
		w.Version = c.version(sameSlot + "a")
		if w.Version == versions[0] {
			c.broken("Append did not change the version")
		}
		w.Data = []byte(swappedIn)
		c.batch(w)
		scribble(w.Data)
		c.holds(sameSlot+"a", swappedIn)
		suffix := []byte(" and more")
		got, _, err := s.Append(c.ctx, w.Key, suffix)
		c.ok("Append", err)
		scribble(suffix)
		scribble(got)
		_ = append(got, "and more"...)
		c.holds(sameSlot+"a", "what was swapped in and more")
		got, _, err = s.Append(c.ctx, w.Key, nil)
		c.ok("Append of nothing", err)
		_, _, err = s.Append(c.ctx, w.Key, []byte("!"))
		c.ok("Append", err)
		if string(got) != "what was swapped in and more" {
			c.broken("a slice that Append had returned changed later")
		}
		c.holds(sameSlot+"a", "what was swapped in and more!")
	},
}, {
	Name: "Batch with an ended context",
	Rule: "with a context that has ended already, a Batch of several writes fails and changes nothing",
	test: func(c *check) {
		s := c.severalKeys()
		v, _ := c.swap(sameSlot+"a", "old", time.Hour, 0)
		before := c.snapshot("a", "b")
		for _, ctx := range []context.Context{cancelled(), overdue()} {
			if _, err := s.Batch(ctx, c.write("b", "new", 0), c.removal("a", v)); err == nil {
				c.broken("Batch returned no error")
			} else if errors.Is(err, core.ErrNotFound) || errors.Is(err, core.ErrConflict) {
				c.broken("Batch returned %q, as if the store had answered", err)
			}
			c.unchanged("a Batch with an ended context", before)
		}
	},
}, {
	Name: "ttl of Batch",
	Rule: "each write of a Batch has its own ttl, which means what it means to Set",
	test: func(c *check) {
		ttls := []time.Duration{shortTTL, time.Hour, 0, forever}
		timed := func(name string, ttl time.Duration, v core.Version) core.Write {
			w := c.write(name, "x", v)
			w.TTL = ttl
			return w
		}
		for i, ttl := range ttls {
			name := fmt.Sprint("one", i)
			versions, _ := c.batch(timed(name, time.Hour, 0))
			c.batch(timed(name, ttl, versions[0]))
			c.batch(timed("new"+name, ttl, 0))
		}
		several := c.supportsSeveral(c.batcher())
		if several {
			var w span
			for i := range ttls { // in each position
				var writes []core.Write
				for k := range ttls {
					at := (i + k) % len(ttls)
					writes = append(writes, timed(fmt.Sprint(i, "-", at), ttls[at], 0))
				}
				_, w = c.batch(writes...)
			}
			c.expires(sameSlot+"3-0", w, shortTTL)
		}
		c.outlive(shortTTL)
		for i := range ttls {
			names := []string{fmt.Sprint("one", i), fmt.Sprint("newone", i)}
			if several {
				for k := range ttls {
					names = append(names, fmt.Sprint(k, "-", i))
				}
			}
			for _, name := range names {
				if i == 0 {
					c.misses(sameSlot + name)
				} else {
					c.holds(sameSlot+name, "x")
				}
			}
		}
	},
	waits: true,
}, {
	Name: "Batch after expiry",
	Rule: "to Batch and Append a key whose ttl is over is not there, also before anybody has looked",
	test: func(c *check) {
		s := c.batcher()
		v, _ := c.swap(sameSlot+"a", "old", shortTTL, 0)
		w, _ := c.swap(sameSlot+"b", "old", shortTTL, 0)
		for _, name := range []string{"c", "d"} {
			c.swap(sameSlot+name, "old", shortTTL, 0)
		}
		c.outlive(shortTTL)
		_, err := s.Batch(c.ctx, c.write("a", "late", v))
		c.is("Batch", err, core.ErrNotFound)
		_, err = s.Batch(c.ctx, c.removal("b", w))
		c.is("Batch", err, core.ErrNotFound)
		c.batch(c.write("c", "new", 0))
		c.holds(sameSlot+"c", "new")
		_, _, err = s.Append(c.ctx, c.key(sameSlot+"d"), []byte("late"))
		c.is("Append", err, core.ErrNotFound)
		for _, name := range []string{"a", "b", "d"} {
			c.misses(sameSlot + name)
		}
	},
	waits: true,
}, {
	Name: "one moves",
	Rule: "of many Batches that move one key to keys of their own, exactly one succeeds, and there is one copy afterwards",
	test: func(c *check) {
		s := c.severalKeys()
		const callers = 8
		for round := range 10 {
			from := fmt.Sprint(round, "from")
			v, _ := c.swap(sameSlot+from, "x", time.Hour, 0)
			var winner atomic.Int64
			c.together(callers, func(i int) error {
				_, err := s.Batch(c.ctx, c.write(fmt.Sprint(round, "to", i), "x", 0), c.removal(from, v))
				switch {
				case err == nil && !winner.CompareAndSwap(0, int64(i+1)):
					return errors.New("two Batches moved the same key")
				case err != nil && !errors.Is(err, core.ErrNotFound) && !errors.Is(err, core.ErrConflict):
					return fmt.Errorf("Batch returned %w", err)
				}
				return nil
			})
			if winner.Load() == 0 {
				c.broken("no Batch moved the key")
			}
			c.misses(sameSlot + from)
			for i := range callers {
				name := sameSlot + fmt.Sprint(round, "to", i)
				if int64(i+1) == winner.Load() {
					c.holds(name, "x")
				} else {
					c.misses(name)
				}
			}
		}
	},
}, {
	Name: "moves beside updates",
	Rule: "beside Batches that move a key no SetVersion is lost, and the key is at one place",
	test: func(c *check) {
		s := c.severalKeys()
		const movers, updaters, each, places = 3, 3, 10, 4
		place := func(i int) string { return sameSlot + strconv.Itoa(i%places) }
		c.swap(place(0), "0", time.Hour, 0)
		find := func(i int) (at int, data []byte, v core.Version, err error) {
			for n := range 1000 * places { // it may move while it is looked for
				at = (i + n) % places
				data, v, err = s.GetVersion(c.ctx, c.key(place(at)))
				if !errors.Is(err, core.ErrNotFound) {
					return at, data, v, err
				}
			}
			return 0, nil, 0, errors.New("the key is nowhere")
		}
		c.together(movers+updaters, func(i int) error {
			for done, tries := 0, 0; done < each; tries++ {
				if tries == 10_000 {
					return errors.New("nothing succeeds any more")
				}
				at, data, v, err := find(i)
				if err != nil {
					return err
				}
				if i < movers {
					_, err = s.Batch(c.ctx,
						core.Write{Key: c.key(place(at + 1 + i)), Data: data, TTL: time.Hour},
						core.Write{Key: c.key(place(at)), Version: v})
				} else {
					n, notNumber := strconv.Atoi(string(data))
					if notNumber != nil {
						return errors.New("GetVersion returned what was never stored")
					}
					_, err = s.SetVersion(c.ctx, c.key(place(at)), []byte(strconv.Itoa(n+1)), time.Hour, v)
				}
				switch {
				case err == nil:
					done++
				case !errors.Is(err, core.ErrConflict) && !errors.Is(err, core.ErrNotFound):
					return err
				}
			}
			return nil
		})
		copies := 0
		for i := range places {
			data, err := c.store.Get(c.ctx, c.key(place(i)))
			if errors.Is(err, core.ErrNotFound) {
				continue
			}
			c.ok("Get", err)
			copies++
			if want := strconv.Itoa(updaters * each); string(data) != want {
				c.broken("the key counts %s updates, and %s were made", data, want)
			}
		}
		if copies != 1 {
			c.broken("there are %d copies of the key", copies)
		}
	},
}, {
	Name: "moves beside Destroy",
	Rule: "a Batch that moves a key beside a Destroy of it either comes first, and leaves one copy, or does nothing",
	test: func(c *check) {
		s := c.severalKeys()
		for round := range 10 {
			from := fmt.Sprint(round, "from")
			v, _ := c.swap(sameSlot+from, "x", time.Hour, 0)
			const movers = 4
			var moved atomic.Int64
			c.together(movers+2, func(i int) error {
				var err error
				switch i = (i + round) % (movers + 2); i {
				case movers:
					return c.store.Destroy(c.ctx, c.key(sameSlot+from))
				case movers + 1:
					_, err = s.SetVersion(c.ctx, c.key(sameSlot+from), []byte("y"), time.Hour, v)
				default:
					_, err = s.Batch(c.ctx, c.removal(from, v), c.write(fmt.Sprint(round, "to", i), "x", 0))
					if err == nil {
						moved.Add(1)
					}
				}
				if errors.Is(err, core.ErrNotFound) || errors.Is(err, core.ErrConflict) {
					return nil
				}
				return err
			})
			c.misses(sameSlot + from)
			copies := int64(0)
			for i := range movers {
				switch _, err := c.store.Get(c.ctx, c.key(sameSlot+fmt.Sprint(round, "to", i))); {
				case err == nil:
					copies++
				case !errors.Is(err, core.ErrNotFound):
					c.broken("Get failed: %v", err)
				}
			}
			if copies != moved.Load() || copies > 1 {
				c.broken("there are %d copies, and %d Batches succeeded", copies, moved.Load())
			}
		}
	},
}}

var appendCases = []Case{{
	Name: "Append",
	Rule: "Append appends to the payload, whatever its version is, and returns the payload and its new version",
	test: func(c *check) {
		s := c.batcher()
		for _, begin := range []string{"", "payload", "\x00\r\n\xff"} {
			c.set("a", begin, time.Hour)
			stale := c.version("a")
			want := begin
			for _, suffix := range []string{"+one", "\xff\x00", strings.Repeat("long", 1000)} {
				want += suffix
				data, v, err := s.Append(c.ctx, c.key("a"), []byte(suffix))
				c.ok("Append", err)
				switch {
				case string(data) != want:
					c.broken("Append returned %s, not %s", short(string(data)), short(want))
				case v != c.version("a"):
					c.broken("Append returned another version than GetVersion")
				case v == stale:
					c.broken("Append did not change the version")
				}
				c.holds("a", want)
				c.refuses("a", stale, core.ErrConflict)
				stale = v
			}
			c.swap("a", "after it", time.Hour, stale)
			c.holds("a", "after it")
		}
		// After one of a Batch, also of a note.
		for i, note := range []bool{false, true} {
			w := c.write(fmt.Sprint("b", i), "of a Batch", 0)
			w.Note = note
			c.batch(w)
			_, v, err := s.Append(c.ctx, w.Key, []byte("+"))
			c.ok("Append", err)
			c.holds(sameSlot+fmt.Sprint("b", i), "of a Batch+")
			c.batch(c.removal(fmt.Sprint("b", i), v))
		}
	},
}, {
	Name: "Append to a missing key",
	Rule: "Append to a key that is not there is ErrNotFound, and does not make it",
	test: func(c *check) {
		s := c.batcher()
		c.set("destroyed", "x", time.Hour)
		c.destroy("destroyed")
		for _, name := range []string{"never-set", "destroyed"} {
			_, _, err := s.Append(c.ctx, c.key(name), []byte("x"))
			c.is("Append", err, core.ErrNotFound)
			c.misses(name)
			c.swap(name, "new", time.Hour, 0)
		}
	},
}, {
	Name: "Append leaves the ttl",
	Rule: "Append neither renews nor removes the ttl",
	test: func(c *check) {
		s := c.batcher()
		w := c.set("a", "x", touchTTL)
		c.set("no-end", "x", 0)
		c.set("long", "x", time.Hour)
		time.Sleep(touchTTL / 4)
		for _, name := range []string{"a", "no-end", "long"} {
			_, _, err := s.Append(c.ctx, c.key(name), []byte("+"))
			if name == "a" {
				c.inTime(w, touchTTL)
			}
			c.ok("Append", err)
		}
		c.expires("a", w, touchTTL)
		c.outlive(touchTTL)
		c.holds("no-end", "x+")
		c.holds("long", "x+")
	},
	waits: true,
}, {
	Name: "no lost append",
	Rule: "Append succeeds while the key lives, whatever others write, and neither an Append nor a SetVersion beside it is lost",
	test: func(c *check) {
		s := c.batcher()
		const appenders, updaters, each = 4, 2, 10
		c.set("a", "", time.Hour)
		c.together(appenders+updaters, func(i int) error {
			for done, tries := 0, 0; done < each; tries++ {
				if tries == 10_000 {
					return errors.New("nothing succeeds any more")
				}
				if i < appenders {
					data, v, err := s.Append(c.ctx, c.key("a"), []byte("a"))
					if err != nil {
						return fmt.Errorf("Append failed: %w", err)
					}
					if v == 0 || len(data) == 0 {
						return errors.New("Append returned no version or no payload")
					}
					done++
					continue
				}
				data, v, err := s.GetVersion(c.ctx, c.key("a"))
				if err != nil {
					return fmt.Errorf("GetVersion failed: %w", err)
				}
				switch _, err := s.SetVersion(c.ctx, c.key("a"), append([]byte("s"), data...), time.Hour, v); {
				case err == nil:
					done++
				case !errors.Is(err, core.ErrConflict):
					return fmt.Errorf("SetVersion returned %w", err)
				}
			}
			return nil
		})
		c.holds("a", strings.Repeat("s", updaters*each)+strings.Repeat("a", appenders*each))
	},
}}
