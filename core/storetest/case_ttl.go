package storetest

import (
	"fmt"
	"math"
	"time"

	"github.com/gensession/gensession/core"
)

const (
	month30 = 30 * 24 * time.Hour
	forever = time.Duration(math.MaxInt64)
)

// long are ttls that some servers misinterpret: memcached treats them as a date,
// and in Redis they may overflow.
var long = []time.Duration{month30, month30 + time.Second, 400 * 24 * time.Hour, 100 * 365 * 24 * time.Hour, forever}

var ttlCases = []Case{{
	Name: "ttl",
	Rule: "a key exists until its ttl expires, to the precision of the store",
	test: func(c *check) {
		c.expires("a", c.set("a", "x", time.Second), time.Second)
		c.misses("a")
	},
	waits: true,
}, {
	Name: "ttl is rounded up",
	Rule: "a store with coarser units rounds a ttl up: no key expires too early",
	test: func(c *check) {
		const ttl = 1700 * time.Millisecond
		c.expires("a", c.set("a", "x", ttl), ttl)
	},
	waits: true,
}, {
	Name: "ttl under a second",
	Rule: "a ttl under a second is rounded up, never to zero, and does expire",
	test: func(c *check) {
		c.expires("a", c.set("a", "x", shortTTL), shortTTL)
		for _, ttl := range []time.Duration{1, time.Microsecond, time.Millisecond} {
			c.expires("b", c.set("b", "x", ttl), ttl)
		}
	},
	waits: true,
}, {
	Name: "zero ttl",
	Rule: "a ttl of zero keeps the payload until it is destroyed",
	test: func(c *check) {
		c.set("a", "x", 0)
		c.holds("a", "x")
		c.set("b", "x", shortTTL)
		c.set("b", "y", 0)
		c.outlive(shortTTL)
		c.holds("a", "x")
		c.holds("b", "y")
		c.destroy("a")
		c.misses("a")
	},
	waits: true,
}, {
	Name: "negative ttl",
	Rule: "a negative ttl is an error, and nothing is stored or changed",
	test: func(c *check) {
		for _, ttl := range []time.Duration{-1, -time.Second, math.MinInt64} {
			if err := c.store.Set(c.ctx, c.key("new"), []byte("x"), ttl); err == nil {
				c.broken("Set with ttl %v returned no error", ttl)
			}
			c.misses("new")
			c.set("old", "x", time.Hour)
			if err := c.store.Set(c.ctx, c.key("old"), []byte("y"), ttl); err == nil {
				c.broken("Set with ttl %v returned no error", ttl)
			}
			c.holds("old", "x")
		}
	},
}, {
	Name: "longest ttl",
	Rule: "a ttl may be as long as the largest time.Duration, also where the server has a smaller maximum, an end of its dates, or adds the ttl to the time: no long ttl is shortened to nothing",
	test: func(c *check) {
		for _, ttl := range long {
			c.set("a", ttl.String(), ttl)
			c.holds("a", ttl.String())
		}
		for _, ttl := range long {
			c.set(ttl.String(), "x", ttl)
		}
		c.outlive(shortTTL) // since a misinterpreted one may expire a moment later
		for _, ttl := range long {
			c.holds(ttl.String(), "x")
		}
	},
	waits: true,
}, {
	Name: "Set renews the ttl",
	Rule: "a ttl is counted from the last Set",
	test: func(c *check) {
		c.set("a", "x", shortTTL)
		c.set("a", "x", time.Hour)
		c.outlive(shortTTL)
		c.holds("a", "x")
	},
	waits: true,
}, {
	Name: "Set shortens the ttl",
	Rule: "the ttl of the last Set applies, even if the previous one was longer or zero",
	test: func(c *check) {
		c.set("a", "x", time.Hour)
		c.expires("a", c.set("a", "x", shortTTL), shortTTL)
		c.set("b", "x", 0)
		c.expires("b", c.set("b", "x", shortTTL), shortTTL)
	},
	waits: true,
}, {
	Name: "expired then set",
	Rule: "an expired key can be set again, with a new ttl",
	test: func(c *check) {
		c.expires("a", c.set("a", "x", shortTTL), shortTTL)
		c.set("a", "y", time.Hour)
		c.holds("a", "y")
	},
	waits: true,
}, {
	Name: "expired key",
	Rule: "an expired payload is there for no call, whether or not the store has removed it: nobody reads it first, and nobody else removes it",
	test: func(c *check) {
		calls := c.calls("", "new")
		for i := range calls {
			c.set(fmt.Sprint("expired", i), "old", shortTTL)
		}
		c.outlive(shortTTL)
		for i := range calls {
			call := c.calls(fmt.Sprint("expired", i), "new")[i]
			err := call.do(c.ctx, time.Hour)
			switch call.name {
			case "Set", "SetVersion that creates", "Batch that creates":
				c.ok(call.name+" of an expired key", err)
				c.holds(fmt.Sprint("expired", i), "new")
				continue
			case "Destroy":
				c.ok("Destroy of an expired key", err)
			default:
				c.is(call.name+" of an expired key", err, core.ErrNotFound)
			}
			c.misses(fmt.Sprint("expired", i))
		}
	},
	waits: true,
}, {
	Name: "destroyed ttl",
	Rule: "the ttl of a destroyed key does not affect the key when it is set again",
	test: func(c *check) {
		c.set("a", "x", shortTTL)
		c.destroy("a")
		c.set("a", "y", time.Hour)
		c.outlive(shortTTL)
		c.holds("a", "y")
	},
	waits: true,
}, {
	Name: "ttl of SetVersion",
	Rule: "SetVersion treats its ttl as Set does: the key exists until the ttl expires, and not longer",
	test: func(c *check) {
		_, w := c.swap("a", "x", shortTTL, 0)
		c.expires("a", w, shortTTL)
		v, _ := c.swap("b", "x", time.Hour, 0)
		_, w = c.swap("b", "y", shortTTL, v)
		c.expires("b", w, shortTTL)
		if _, _, err := c.swapper().GetVersion(c.ctx, c.key("b")); err == nil {
			c.broken("GetVersion found an expired key that Get did not find")
		}
	},
	waits: true,
}, {
	Name: "SetVersion renews the ttl",
	Rule: "SetVersion sets a new ttl; zero means that the key does not expire, and a long ttl is not treated as a date",
	test: func(c *check) {
		ttls := append([]time.Duration{0, time.Hour}, long...)
		for _, ttl := range ttls {
			v, w := c.swap(ttl.String(), "x", touchTTL, 0)
			_, err := c.swapper().SetVersion(c.ctx, c.key(ttl.String()), []byte("y"), ttl, v)
			c.inTime(w, touchTTL)
			c.ok("SetVersion", err)
			c.swap("new"+ttl.String(), "z", ttl, 0)
		}
		c.outlive(touchTTL)
		for _, ttl := range ttls {
			c.holds(ttl.String(), "y")
			c.holds("new"+ttl.String(), "z")
		}
	},
	waits: true,
}}

var touchCases = []Case{{
	Name: "Touch renews the ttl",
	Rule: "Touch sets a new ttl, counted from now; zero means that the key does not expire, and a long ttl is not treated as a date",
	test: func(c *check) {
		ttls := append([]time.Duration{0, time.Hour}, long...)
		for _, ttl := range ttls {
			w := c.set(ttl.String(), "x", touchTTL)
			err := c.toucher().Touch(c.ctx, c.key(ttl.String()), ttl)
			c.inTime(w, touchTTL)
			c.ok("Touch", err)
		}
		c.outlive(touchTTL)
		for _, ttl := range ttls {
			c.holds(ttl.String(), "x")
		}
	},
	waits: true,
}, {
	Name: "Touch shortens the ttl",
	Rule: "the ttl passed to Touch applies, even if the previous one was longer or zero",
	test: func(c *check) {
		c.set("a", "x", time.Hour)
		c.expires("a", c.touch("a", shortTTL), shortTTL)
		c.set("b", "x", 0)
		c.expires("b", c.touch("b", shortTTL), shortTTL)
		c.set("c", "x", time.Hour)
		c.expires("c", c.touch("c", 1), 1) // rounded up, not to zero
	},
	waits: true,
}, {
	Name: "Touch of a missing key",
	Rule: "Touch of a missing key is ErrNotFound, and does not create it",
	test: func(c *check) {
		t := c.toucher()
		c.is("Touch", t.Touch(c.ctx, c.key("never-set"), time.Hour), core.ErrNotFound)
		c.misses("never-set")
		c.set("destroyed", "x", time.Hour)
		c.destroy("destroyed")
		c.is("Touch", t.Touch(c.ctx, c.key("destroyed"), time.Hour), core.ErrNotFound)
		c.misses("destroyed")
	},
}, {
	Name: "Touch of an expired key",
	Rule: "Touch of an expired key is ErrNotFound, and never restores it",
	test: func(c *check) {
		t := c.toucher()
		c.expires("a", c.set("a", "x", shortTTL), shortTTL)
		c.is("Touch", t.Touch(c.ctx, c.key("a"), time.Hour), core.ErrNotFound)
		c.misses("a")
		// Without a Get in between, which may remove it.
		w := c.set("b", "x", shortTTL)
		time.Sleep(time.Until(w.to.Add(shortTTL)))
		c.outlive(shortTTL)
		c.is("Touch", t.Touch(c.ctx, c.key("b"), time.Hour), core.ErrNotFound)
		c.misses("b")
	},
	waits: true,
}, {
	Name: "Touch leaves the payload",
	Rule: "Touch does not change the payload",
	test: func(c *check) {
		c.toucher()
		c.set("a", "payload", time.Hour)
		c.set("empty", "", time.Hour)
		c.touch("a", 2*time.Hour)
		c.touch("empty", 2*time.Hour)
		c.holds("a", "payload")
		c.holds("empty", "")
	},
}, {
	Name: "Touch leaves the version",
	Rule: "Touch does not change the version: a SetVersion with the version from before succeeds",
	test: func(c *check) {
		c.toucher()
		c.set("a", "x", time.Hour)
		v := c.version("a")
		c.touch("a", 2*time.Hour)
		if now := c.version("a"); now != v {
			c.broken("Touch changed the version")
		}
		c.swap("a", "y", time.Hour, v)
		c.holds("a", "y")
	},
}, {
	Name: "Touch with a negative ttl",
	Rule: "a negative ttl is an error, and the key is unchanged",
	test: func(c *check) {
		t := c.toucher()
		c.set("a", "x", time.Hour)
		for _, ttl := range []time.Duration{-1, -time.Second, math.MinInt64} {
			if err := t.Touch(c.ctx, c.key("a"), ttl); err == nil {
				c.broken("Touch with ttl %v returned no error", ttl)
			}
			c.holds("a", "x")
		}
	},
}}

// inTime skips the case if the machine was so slow that the ttl that began in w may
// have expired.
func (c *check) inTime(w span, ttl time.Duration) {
	c.Helper()
	if time.Since(w.from) >= ttl {
		c.Skipf("the machine was too slow: a ttl of %v expired before the next call had returned", ttl)
	}
}
