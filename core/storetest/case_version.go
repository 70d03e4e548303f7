package storetest

import (
	"math"
	"time"

	"github.com/gensession/gensession/core"
)

var versionCases = []Case{{
	Name: "GetVersion",
	Rule: "GetVersion returns the payload as Get does, with its version, which is not zero and does not change without a write",
	test: func(c *check) {
		s := c.swapper()
		if _, _, err := s.GetVersion(c.ctx, c.key("never-set")); err != nil {
			c.is("GetVersion", err, core.ErrNotFound)
		} else {
			c.broken("GetVersion of a missing key returned no error")
		}
		for _, payload := range []string{"payload", "", "\x00\r\n\xff"} {
			c.set("a", payload, time.Hour)
			data, v, err := s.GetVersion(c.ctx, c.key("a"))
			c.ok("GetVersion", err)
			if string(data) != payload {
				c.broken("GetVersion returned %s, not %s", short(string(data)), short(payload))
			}
			c.holds("a", payload)
			if again := c.version("a"); again != v {
				c.broken("the version changed without a write")
			}
		}
	},
}, {
	Name: "create",
	Rule: "SetVersion with version zero creates a missing key",
	test: func(c *check) {
		c.swap("a", "payload", time.Hour, 0)
		c.holds("a", "payload")
		c.swap("empty", "", time.Hour, 0)
		c.holds("empty", "")
	},
}, {
	Name: "create over an existing key",
	Rule: "SetVersion with version zero is ErrConflict if the key exists, and changes nothing",
	test: func(c *check) {
		c.swapper()
		c.set("a", "old", time.Hour)
		c.refuses("a", 0, core.ErrConflict)
		c.holds("a", "old")
		c.set("empty", "", time.Hour)
		c.refuses("empty", 0, core.ErrConflict)
		c.holds("empty", "")
		c.swap("b", "old", time.Hour, 0)
		c.refuses("b", 0, core.ErrConflict)
		c.holds("b", "old")
	},
}, {
	Name: "create after Destroy",
	Rule: "a destroyed key is missing: it can be created",
	test: func(c *check) {
		c.swap("a", "one", time.Hour, 0)
		c.destroy("a")
		c.swap("a", "two", time.Hour, 0)
		c.holds("a", "two")
	},
}, {
	Name: "create after expiry",
	Rule: "an expired key is missing: it can be created, even if no call has read it since",
	test: func(c *check) {
		_, w := c.swap("a", "one", shortTTL, 0)
		c.expires("a", w, shortTTL)
		c.swap("a", "two", time.Hour, 0)
		c.holds("a", "two")
		c.swap("b", "one", shortTTL, 0)
		c.outlive(shortTTL)
		c.swap("b", "two", time.Hour, 0)
		c.holds("b", "two")
	},
	waits: true,
}, {
	Name: "swap",
	Rule: "SetVersion stores the payload if the key still has the version",
	test: func(c *check) {
		c.swapper()
		c.set("a", "one", time.Hour)
		c.swap("a", "two", time.Hour, c.version("a"))
		c.holds("a", "two")
		c.swap("a", "", time.Hour, c.version("a"))
		c.holds("a", "")
		c.swap("a", "three", time.Hour, c.version("a"))
		c.holds("a", "three")
	},
}, {
	Name: "swap again",
	Rule: "SetVersion returns the version of its write, which the next SetVersion accepts (or zero, if the server does not report it)",
	test: func(c *check) {
		v, _ := c.swap("a", "0", time.Hour, 0)
		for _, data := range []string{"one", "two", "three"} {
			if now := c.version("a"); now != v {
				c.broken("GetVersion returned a different version than the SetVersion before it")
			}
			v, _ = c.swap("a", data, time.Hour, v)
			c.holds("a", data)
		}
	},
}, {
	Name: "conflict",
	Rule: "SetVersion is ErrConflict after another write of the key, and changes neither the payload nor the version",
	test: func(c *check) {
		s := c.swapper()
		stale, _ := c.swap("a", "one", time.Hour, 0)
		now, _ := c.swap("a", "two", time.Hour, stale)
		for range 2 { // a refused call does not make the version valid
			if _, err := s.SetVersion(c.ctx, c.key("a"), []byte("late"), time.Hour, stale); err == nil {
				c.broken("SetVersion with a stale version returned no error")
			} else {
				c.is("SetVersion", err, core.ErrConflict)
			}
			c.holds("a", "two")
		}
		if v := c.version("a"); v != now {
			c.broken("a refused SetVersion changed the version")
		}
		c.swap("a", "three", time.Hour, now)
		c.holds("a", "three")
	},
}, {
	Name: "conflict after Set",
	Rule: "Set is a write: it gives the key a new version",
	test: func(c *check) {
		stale, _ := c.swap("a", "one", time.Hour, 0)
		c.set("a", "two", time.Hour)
		c.refuses("a", stale, core.ErrConflict)
		c.holds("a", "two")
	},
}, {
	Name: "conflict leaves the ttl",
	Rule: "a refused SetVersion does not change the ttl",
	test: func(c *check) {
		stale, _ := c.swap("a", "one", time.Hour, 0)
		_, w := c.swap("a", "two", touchTTL, stale)
		_, _ = c.swapper().SetVersion(c.ctx, c.key("a"), []byte("late"), time.Hour, stale)
		_, _ = c.swapper().SetVersion(c.ctx, c.key("a"), []byte("late"), time.Hour, 0)
		c.inTime(w, touchTTL) // or it has created the key
		c.expires("a", w, touchTTL)
	},
	waits: true,
}, {
	Name: "unknown version",
	Rule: "SetVersion is ErrConflict for any version other than that of the key",
	test: func(c *check) {
		c.swapper()
		c.set("a", "one", time.Hour)
		v := c.version("a")
		for _, other := range []core.Version{v + 1, v - 1, ^v, v ^ 1<<63, v ^ 1<<32, 1<<63 | 1} {
			if other != 0 && other != v {
				c.refuses("a", other, core.ErrConflict)
				c.holds("a", "one")
			}
		}
	},
}, {
	Name: "swap of a missing key",
	Rule: "SetVersion of a missing key with a version is ErrNotFound, and does not create it",
	test: func(c *check) {
		v, _ := c.swap("other", "x", time.Hour, 0)
		for _, v := range []core.Version{v, 1, math.MaxUint64} {
			c.refuses("never-set", v, core.ErrNotFound)
			c.misses("never-set")
		}
	},
}, {
	Name: "swap after Destroy",
	Rule: "SetVersion with the version of a destroyed key is ErrNotFound, and never restores it",
	test: func(c *check) {
		v, _ := c.swap("a", "one", time.Hour, 0)
		c.destroy("a")
		c.refuses("a", v, core.ErrNotFound)
		c.misses("a")
	},
}, {
	Name: "swap after expiry",
	Rule: "SetVersion with the version of an expired key is ErrNotFound, and never restores it",
	test: func(c *check) {
		v, w := c.swap("a", "one", shortTTL, 0)
		c.expires("a", w, shortTTL)
		c.refuses("a", v, core.ErrNotFound)
		c.misses("a")
		v, _ = c.swap("b", "one", touchTTL, 0)
		c.outlive(touchTTL) // without a Get, which may remove it
		c.refuses("b", v, core.ErrNotFound)
		c.misses("b")
	},
	waits: true,
}, {
	Name: "swap after recreation",
	Rule: "a key that was destroyed and created again has a new version: the previous one is ErrConflict",
	test: func(c *check) {
		stale, _ := c.swap("a", "one", time.Hour, 0)
		c.destroy("a")
		c.swap("a", "two", time.Hour, 0)
		c.refuses("a", stale, core.ErrConflict)
		c.holds("a", "two")

		stale, _ = c.swap("b", "one", time.Hour, 0)
		c.destroy("b")
		c.set("b", "two", time.Hour)
		c.refuses("b", stale, core.ErrConflict)
		c.holds("b", "two")
	},
}, {
	Name: "SetVersion with a negative ttl",
	Rule: "a negative ttl is an error, and nothing is stored or changed",
	test: func(c *check) {
		s := c.swapper()
		for _, ttl := range []time.Duration{-1, -time.Second, math.MinInt64} {
			if _, err := s.SetVersion(c.ctx, c.key("new"), []byte("x"), ttl, 0); err == nil {
				c.broken("SetVersion with ttl %v returned no error", ttl)
			}
			c.misses("new")
		}
		v, _ := c.swap("old", "x", time.Hour, 0)
		if _, err := s.SetVersion(c.ctx, c.key("old"), []byte("y"), -time.Second, v); err == nil {
			c.broken("SetVersion with a negative ttl returned no error")
		}
		c.holds("old", "x")
	},
}}
