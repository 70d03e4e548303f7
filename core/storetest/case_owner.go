package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gensession/gensession/core"
)

// indexer returns the ability, or skips the case.
func (c *check) indexer() core.Indexer {
	c.Helper()
	s, ok := core.As[core.Indexer](c.store)
	if !ok {
		c.Skip("no core.Indexer: New refuses Options.Owners")
	}
	return s
}

// listsInOneStep returns the ability, or skips the case if a list is a step of its
// own.
func (c *check) listsInOneStep() core.Indexer {
	c.Helper()
	s := c.indexer()
	c.severalKeys()
	if !c.supportsOwner(s) {
		c.Skip("Batch does not support an Owner: the core calls Own before a session is stored, and Disown after it has ended")
	}
	return s
}

func (c *check) supportsOwner(s core.Indexer) bool {
	c.Helper()
	w := c.owned("probed", "probe", "x", 0)
	_, err := s.Batch(c.ctx, w)
	if errors.Is(err, errors.ErrUnsupported) {
		return false
	}
	c.ok("Batch of a new key with an Owner", err)
	c.destroy(sameSlot + "probe")
	return true
}

func (c *check) list(name string) string { return c.key(sameSlot + "list:" + name) }

// owned is a write of a key in a list.
func (c *check) owned(list, name, data string, v core.Version) core.Write {
	w := c.write(name, data, v)
	w.Owner = c.list(list)
	return w
}

// enter stores a new key and puts it into a list, in one step if the store can.
func (c *check) enter(list, name string, ttl time.Duration) span {
	c.Helper()
	w := c.owned(list, name, "of "+name, 0)
	w.TTL = ttl
	if c.supportsOwner(c.indexer()) {
		_, s := c.batch(w)
		return s
	}
	s := begin()
	c.ok("Own", c.indexer().Own(c.ctx, w.Owner, w.Key, ttl))
	w.Owner = ""
	c.batch(w)
	return s.end()
}

// lists fails the run unless the list has the keys of these names and no others.
func (c *check) lists(list string, names ...string) {
	c.Helper()
	got, err := c.indexer().Owned(c.ctx, c.list(list))
	c.ok("Owned", err)
	var want []string
	for _, name := range names {
		want = append(want, c.key(sameSlot+name))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		c.broken("Owned returned %d keys, want %d: %q, want %q", len(got), len(want), short(fmt.Sprint(got)), short(fmt.Sprint(want)))
	}
}

var ownerCases = []Case{{
	Name: "a list of an owner",
	Rule: "a key that was put into a list is in it once, and in no other; Disown takes it out",
	test: func(c *check) {
		s := c.indexer()
		c.lists("a")
		c.enter("a", "one", time.Hour)
		c.enter("a", "two", time.Hour)
		c.enter("b", "three", time.Hour)
		c.lists("a", "one", "two")
		c.lists("b", "three")
		c.lists("aa")
		c.ok("Own of what is in the list", s.Own(c.ctx, c.list("a"), c.key(sameSlot+"one"), time.Hour))
		c.lists("a", "one", "two")
		c.ok("Disown of no key", s.Disown(c.ctx, c.list("a")))
		c.ok("Disown of another list", s.Disown(c.ctx, c.list("b"), c.key(sameSlot+"one")))
		c.lists("a", "one", "two")
		c.ok("Disown", s.Disown(c.ctx, c.list("a"), c.key(sameSlot+"one"), c.key(sameSlot+"missing")))
		c.lists("a", "two")
		c.ok("Disown from an empty list", s.Disown(c.ctx, c.list("empty"), c.key("x")))
		c.holds(sameSlot+"one", "of one")
	},
}, {
	Name: "a list is no key",
	Rule: "the name of a list is no key, and a list stays when other methods change its keys",
	test: func(c *check) {
		s := c.indexer()
		c.enter("a", "one", time.Hour)
		v := c.version(sameSlot + "one")
		v, _ = c.swap(sameSlot+"one", "again", time.Hour, v)
		c.batch(c.write("one", "a third time", v))
		_, _, err := c.batcher().Append(c.ctx, c.key(sameSlot+"one"), []byte(" "))
		c.ok("Append", err)
		c.set(sameSlot+"one", "a fourth time", time.Hour)
		if t, ok := core.As[core.Toucher](c.store); ok {
			c.ok("Touch", t.Touch(c.ctx, c.key(sameSlot+"one"), time.Hour))
		}
		c.lists("a", "one")
		c.holds(sameSlot+"one", "a fourth time")
		c.ok("Own", s.Own(c.ctx, c.list("a"), c.key(sameSlot+"one"), time.Hour))
		c.holds(sameSlot+"one", "a fourth time")
	},
}, {
	Name: "batch with an owner",
	Rule: "a write with an Owner puts its key into the list, and a removal or a Note takes it out, in the same step as all writes of the batch",
	test: func(c *check) {
		c.listsInOneStep()
		v, _ := c.batch(c.owned("a", "one", "1", 0), c.owned("a", "two", "2", 0), c.owned("b", "three", "3", 0))
		c.lists("a", "one", "two")
		c.lists("b", "three")
		note := c.owned("a", "one", "null", v[0])
		note.Note = true
		gone := c.owned("a", "two", "", v[1])
		gone.Data = nil
		c.batch(note, gone, c.owned("a", "four", "4", 0))
		c.lists("a", "four")
		c.batch(c.owned("b", "three", "again", v[2]))
		c.lists("b", "three")
		note = c.owned("b", "five", "null", 0)
		note.Note = true
		c.batch(note)
		c.lists("b", "three")
		// A note that becomes a session, as the id that a session gets of itself.
		_, n, err := c.batcher().GetVersion(c.ctx, note.Key)
		c.ok("GetVersion", err)
		c.batch(c.owned("b", "five", "5", n))
		c.lists("b", "three", "five")
	},
}, {
	Name: "a batch with an owner that fails",
	Rule: "a Batch that fails changes no list",
	test: func(c *check) {
		s := c.listsInOneStep()
		v, _ := c.batch(c.owned("a", "one", "1", 0), c.owned("a", "two", "2", 0))
		gone := c.owned("a", "one", "", v[0])
		gone.Data = nil
		_, err := s.Batch(c.ctx, gone, c.owned("a", "three", "3", 0), c.owned("a", "two", "2", v[1]+1))
		c.is("Batch with a conflict", err, core.ErrConflict)
		c.lists("a", "one", "two")
		_, err = s.Batch(c.ctx, gone, c.owned("b", "four", "4", v[1]))
		c.is("Batch with a key that is gone", err, core.ErrNotFound)
		c.lists("a", "one", "two")
		c.lists("b")
	},
}, {
	Name: "a batch with an owner is one step",
	Rule: "a reader of a list never sees half a Batch: a key that moves within a list is always there under one of its names",
	test: func(c *check) {
		s := c.listsInOneStep()
		c.batch(c.owned("a", "0", "x", 0))
		var done atomic.Bool
		c.together(2, func(i int) error {
			if i == 1 {
				for !done.Load() {
					keys, err := s.Owned(c.ctx, c.list("a"))
					if err != nil {
						return fmt.Errorf("Owned failed: %w", err)
					}
					if len(keys) != 1 {
						return fmt.Errorf("Owned returned %d keys while one moves", len(keys))
					}
				}
				return nil
			}
			defer done.Store(true)
			for n := range 100 {
				old, now := strconv.Itoa(n), strconv.Itoa(n+1)
				_, v, err := s.GetVersion(c.ctx, c.key(sameSlot+old))
				if err != nil {
					return fmt.Errorf("GetVersion failed: %w", err)
				}
				gone := c.owned("a", old, "", v)
				gone.Data = nil
				if _, err := s.Batch(c.ctx, c.owned("a", now, "x", 0), gone); err != nil {
					return fmt.Errorf("Batch failed: %w", err)
				}
			}
			return nil
		})
	},
}, {
	Name:  "a list forgets",
	Rule:  "a key leaves a list when its ttl has expired, of those that it was given the one that ends last",
	waits: true,
	test: func(c *check) {
		c.indexer()
		w := c.enter("a", "short", shortTTL)
		c.enter("a", "long", time.Hour)
		touched := c.enter("a", "touched", touchTTL)
		if s := c.indexer(); c.supportsOwner(s) {
			_, v, err := s.GetVersion(c.ctx, c.key(sameSlot+"touched"))
			if err == nil {
				_, err = s.Batch(c.ctx, c.owned("a", "touched", "x", v))
			}
			c.inTime(touched, touchTTL)
			c.ok("Batch", err)
		} else {
			c.ok("Own", c.indexer().Own(c.ctx, c.list("a"), c.key(sameSlot+"touched"), time.Hour))
			c.ok("Own for less", c.indexer().Own(c.ctx, c.list("a"), c.key(sameSlot+"touched"), shortTTL))
		}
		for {
			asked := begin()
			keys, err := c.indexer().Owned(c.ctx, c.list("a"))
			asked = asked.end()
			c.ok("Owned", err)
			there := slices.Contains(keys, c.key(sameSlot+"short"))
			switch early, late := shortTTL-asked.to.Sub(w.from), asked.from.Sub(w.to)-shortTTL; {
			case there && late > coarse:
				c.broken("a key was in its list %v after its ttl of %v had been over", late, shortTTL)
			case !there && early > 0:
				c.broken("a key was gone from its list %v before its ttl of %v was over", early, shortTTL)
			case !there:
				c.outlive(touchTTL)
				c.lists("a", "long", "touched")
				return
			}
			time.Sleep(step)
		}
	},
}, {
	Name: "many keys of an owner",
	Rule: "a list has as many keys as an owner has sessions, ten thousand and more, and GetMany returns their payloads",
	test: func(c *check) {
		s := c.indexer()
		const n, each = 10_000, 500
		oneStep := c.supportsOwner(s)
		for from := 0; from < n; from += each {
			c.together(each/25, func(i int) error {
				for j := range 25 {
					key := c.key(sameSlot + strconv.Itoa(from+25*i+j))
					w := core.Write{Key: key, Data: []byte("x"), TTL: time.Hour, Owner: c.list("a")}
					if !oneStep {
						if err := s.Own(c.ctx, w.Owner, key, time.Hour); err != nil {
							return err
						}
						if w.Owner = ""; j > 0 { // few payloads will do
							continue
						}
					}
					if _, err := s.Batch(c.ctx, w); err != nil {
						return err
					}
				}
				return nil
			})
		}
		keys, err := s.Owned(c.ctx, c.list("a"))
		c.ok("Owned", err)
		if len(keys) != n {
			c.broken("Owned returned %d keys of %d", len(keys), n)
		}
		payloads := 0
		for some := range slices.Chunk(keys, 1000) {
			found, err := s.GetMany(c.ctx, some...)
			c.ok("GetMany", err)
			for _, p := range found {
				if p.Data == nil {
					continue
				}
				if payloads++; string(p.Data) != "x" {
					c.broken("GetMany returned %s", short(string(p.Data)))
				}
			}
			c.ok("Disown", s.Disown(c.ctx, c.list("a"), some...))
		}
		if payloads != n && (oneStep || payloads != n/25) {
			c.broken("GetMany returned %d payloads", payloads)
		}
		c.lists("a")
	},
}, {
	Name: "several payloads at once",
	Rule: "GetMany returns payload and version of each key, in order, and neither for a key that is missing",
	test: func(c *check) {
		s := c.indexer()
		c.set("one", "1", time.Hour)
		c.set("empty", "", time.Hour)
		c.set("three", "3", time.Hour)
		names := []string{"three", "missing", "empty", "one", "three"}
		var keys []string
		for _, name := range names {
			keys = append(keys, c.key(name))
		}
		found, err := s.GetMany(c.ctx, keys...)
		c.ok("GetMany", err)
		if len(found) != len(keys) {
			c.broken("GetMany returned %d payloads of %d keys", len(found), len(keys))
		}
		for i, want := range []string{"3", "", "", "1", "3"} {
			if p := found[i]; string(p.Data) != want || (p.Data == nil) != (names[i] == "missing") || (p.Version == 0) != (p.Data == nil) {
				c.broken("GetMany returned %s (nil: %v) with version %d for the key %q, want %q", short(string(p.Data)), p.Data == nil, p.Version, names[i], want)
			}
		}
		found[3].Data[0] = 'x' // the caller's own
		c.holds("one", "1")
		c.swap("one", "again", time.Hour, found[3].Version)
		none, err := s.GetMany(c.ctx)
		c.ok("GetMany of no key", err)
		if len(none) != 0 {
			c.broken("GetMany of no key returned %d payloads", len(none))
		}
	},
}, {
	Name: "all keys",
	Rule: "Keys tells all keys that begin with the prefix, and ends with the error of its function",
	test: func(c *check) {
		s := c.indexer()
		want := map[string]bool{}
		for i := range 100 {
			name := "k*?[" + strconv.Itoa(i)
			c.set(name, "x", time.Hour)
			want[c.key(name)] = true
		}
		c.set("other", "x", time.Hour)
		c.enter("a", "one", time.Hour)
		got := map[string]bool{}
		err := s.Keys(c.ctx, c.key("k*?["), func(keys []string) error {
			for _, key := range keys {
				got[key] = true
			}
			return nil
		})
		if errors.Is(err, errors.ErrUnsupported) {
			c.Skip("the store can't tell its keys: the core can't rebuild lists")
		}
		c.ok("Keys", err)
		for key := range want {
			if !got[key] {
				c.broken("Keys did not tell one of %d keys", len(want))
			}
		}
		if len(got) != len(want) {
			c.broken("Keys told %d keys, want %d", len(got), len(want))
		}
		stop := errors.New("stop")
		calls := 0
		err = s.Keys(c.ctx, c.prefix, func([]string) error { calls++; return stop })
		c.is("Keys whose function has failed", err, stop)
		if calls != 1 {
			c.broken("Keys called its function %d times although it had failed", calls)
		}
	},
}, {
	Name: "lists and a context that has ended",
	Rule: "the methods of an Indexer return when their ctx has ended",
	test: func(c *check) {
		s := c.indexer()
		ctx, cancel := context.WithCancel(c.ctx)
		cancel()
		_, owned := s.Owned(ctx, c.list("a"))
		_, many := s.GetMany(ctx, c.key("one"))
		for call, err := range map[string]error{
			"Owned": owned, "GetMany": many,
			"Own":    s.Own(ctx, c.list("a"), c.key("one"), time.Hour),
			"Disown": s.Disown(ctx, c.list("a"), c.key("one")),
			"Keys":   s.Keys(ctx, c.prefix, func([]string) error { return nil }),
		} {
			if err == nil || errors.Is(err, core.ErrNotFound) {
				c.broken("%s with a cancelled ctx returned %s", call, said(err))
			}
		}
		c.lists("a")
		if err := s.Own(c.ctx, c.list("a"), c.key("one"), -1); err == nil {
			c.broken("Own took a negative ttl")
		}
	},
}}
