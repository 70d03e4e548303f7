package storetest

import (
	"math"
	"time"

	"github.com/gensession/gensession/core"
)

var versionCases = []Case{{
	Name: "GetVersion",
	Rule: "GetVersion is Get with the version of what it returns, which is not zero and stays while nobody writes",
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
	Rule: "SetVersion with version zero creates a key that is not there",
	test: func(c *check) {
		c.swap("a", "payload", time.Hour, 0)
		c.holds("a", "payload")
		c.swap("empty", "", time.Hour, 0)
		c.holds("empty", "")
	},
}, {
	Name: "create over an existing key",
	Rule: "SetVersion with version zero is ErrConflict when the key exists, and changes nothing",
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
	Rule: "a destroyed key is not there: it can be created",
	test: func(c *check) {
		c.swap("a", "one", time.Hour, 0)
		c.destroy("a")
		c.swap("a", "two", time.Hour, 0)
		c.holds("a", "two")
	},
}, {
	Name: "create after expiry",
	Rule: "a key whose ttl is over is not there: it can be created, also before anybody has looked",
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
	Rule: "the version that SetVersion returns is that of its write, good for the next one (or zero, if the server does not tell)",
	test: func(c *check) {
		v, _ := c.swap("a", "0", time.Hour, 0)
		for _, data := range []string{"one", "two", "three"} {
			if now := c.version("a"); now != v {
				c.broken("GetVersion returned another version than the SetVersion before it")
			}
			v, _ = c.swap("a", data, time.Hour, v)
			c.holds("a", data)
		}
	},
}, {
	Name: "conflict",
	Rule: "SetVersion is ErrConflict after another write of the key, and changes nothing: not the payload, not the version",
	test: func(c *check) {
		s := c.swapper()
		stale, _ := c.swap("a", "one", time.Hour, 0)
		now, _ := c.swap("a", "two", time.Hour, stale)
		for range 2 { // a refusal does not make it right
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
	Rule: "Set is a write: it gives the key another version",
	test: func(c *check) {
		stale, _ := c.swap("a", "one", time.Hour, 0)
		c.set("a", "two", time.Hour)
		c.refuses("a", stale, core.ErrConflict)
		c.holds("a", "two")
	},
}, {
	Name: "conflict leaves the ttl",
	Rule: "a refused SetVersion changes nothing: not the ttl",
	test: func(c *check) {
		stale, _ := c.swap("a", "one", time.Hour, 0)
		_, w := c.swap("a", "two", touchTTL, stale)
		c.swapper().SetVersion(c.ctx, c.key("a"), []byte("late"), time.Hour, stale)
		c.swapper().SetVersion(c.ctx, c.key("a"), []byte("late"), time.Hour, 0)
		c.expires("a", w, touchTTL)
	},
	waits: true,
}, {
	Name: "version that never was",
	Rule: "SetVersion is ErrConflict for any version but that of the key",
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
	Rule: "SetVersion with a version of a key that is not there is ErrNotFound, and does not make it",
	test: func(c *check) {
		v, _ := c.swap("other", "x", time.Hour, 0)
		for _, v := range []core.Version{v, 1, math.MaxUint64} {
			c.refuses("never-set", v, core.ErrNotFound)
			c.misses("never-set")
		}
	},
}, {
	Name: "swap after Destroy",
	Rule: "a destroyed key never comes back by a SetVersion that had read it before: it is ErrNotFound",
	test: func(c *check) {
		v, _ := c.swap("a", "one", time.Hour, 0)
		c.destroy("a")
		c.refuses("a", v, core.ErrNotFound)
		c.misses("a")
	},
}, {
	Name: "swap after expiry",
	Rule: "a key whose ttl is over never comes back by a SetVersion that had read it before: it is ErrNotFound",
	test: func(c *check) {
		v, w := c.swap("a", "one", shortTTL, 0)
		c.expires("a", w, shortTTL)
		c.refuses("a", v, core.ErrNotFound)
		c.misses("a")
		v, _ = c.swap("b", "one", touchTTL, 0)
		c.outlive(touchTTL) // without a Get of it, which may be what removes it
		c.refuses("b", v, core.ErrNotFound)
		c.misses("b")
	},
	waits: true,
}, {
	Name: "swap after a new beginning",
	Rule: "a key that was destroyed and made again is another write: the version of before is ErrConflict",
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
