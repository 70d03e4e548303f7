package storetest

import (
	"strings"
	"time"

	"github.com/gensession/gensession/core"
)

var basicCases = []Case{{
	Name: "round trip",
	Rule: "Get returns the payload that Set stored",
	test: func(c *check) {
		c.set("a", "payload", time.Hour)
		c.holds("a", "payload")
		c.holds("a", "payload") // a read does not remove it
	},
}, {
	Name: "miss",
	Rule: "Get of a missing key returns an error that is ErrNotFound, never a nil error",
	test: func(c *check) { c.misses("never-set") },
}, {
	Name: "overwrite",
	Rule: "Set replaces any previous payload",
	test: func(c *check) {
		c.set("a", "one, and a long one", time.Hour)
		c.set("a", "two", time.Hour)
		c.holds("a", "two")
		c.set("a", "two, and longer again", time.Hour)
		c.holds("a", "two, and longer again")
	},
}, {
	Name: "destroy",
	Rule: "Destroy removes the key, which can be set again",
	test: func(c *check) {
		c.set("a", "one", time.Hour)
		c.destroy("a")
		c.misses("a")
		c.set("a", "two", time.Hour)
		c.holds("a", "two")
	},
}, {
	Name: "destroy of a missing key",
	Rule: "Destroy of a missing key is no error",
	test: func(c *check) {
		c.destroy("never-set")
		c.set("a", "one", time.Hour)
		c.destroy("a")
		c.destroy("a")
		c.misses("a")
	},
}, {
	Name: "independent keys",
	Rule: "a call affects its own key only",
	test: func(c *check) {
		c.set("a", "one", time.Hour)
		c.set("b", "two", time.Hour)
		c.set("ab", "three", time.Hour)
		c.set("ba", "four", time.Hour)
		c.set("a", "five", time.Hour)
		c.destroy("b")
		c.holds("a", "five")
		c.misses("b")
		c.holds("ab", "three")
		c.holds("ba", "four")
	},
}, {
	Name: "long key",
	Rule: "a key may be 250 bytes long, and all bytes are significant",
	test: func(c *check) {
		long := strings.Repeat("k", 249-len(c.prefix))
		c.set(long+"1", "one", time.Hour)
		c.set(long+"2", "two", time.Hour)
		c.set(long, "shorter", time.Hour)
		c.holds(long+"1", "one")
		c.holds(long+"2", "two")
		c.destroy(long + "1")
		c.misses(long + "1")
		c.holds(long+"2", "two")
		c.holds(long, "shorter")
	},
}, {
	Name: "unusual key",
	Rule: "a key may consist of any printable ASCII bytes except blanks",
	test: func(c *check) {
		var all strings.Builder
		for b := byte('!'); b <= '~'; b++ {
			all.WriteByte(b)
		}
		odd := []string{all.String(), "", "..", "../up", "/", "*", "?", "%s%d", "{slot}", "a:b", `\r\n`, "'\";--", "%20", "$1"}
		for _, key := range odd {
			c.set(key, "under "+key, time.Hour)
		}
		for _, key := range odd {
			c.holds(key, "under "+key)
		}
		c.destroy("*")
		c.misses("*")
		c.holds("?", "under ?")
	},
}, {
	Name: "case-sensitive keys",
	Rule: "keys are case-sensitive",
	test: func(c *check) {
		c.set("key", "lower", time.Hour)
		c.misses("KEY")
		c.set("KEY", "upper", time.Hour)
		c.holds("key", "lower")
		c.destroy("KEY")
		c.holds("key", "lower")
	},
}, {
	Name: "no secrets in errors",
	Rule: "no error contains a key or a payload, nor does one that it wraps",
	// The canary of each run reads the errors. Here are those that other cases don't cause.
	test: func(c *check) {
		for _, name := range []string{secretKey, "missing-" + secretKey} {
			for _, call := range c.calls(name, secretPayload) {
				if name == secretKey {
					c.set(name, secretPayload, time.Hour)
				} else {
					c.destroy(name)
				}
				_ = call.do(c.ctx, time.Hour)
				_ = call.do(c.ctx, -time.Hour)
				_ = call.do(cancelled(), time.Hour)
				_ = call.do(overdue(), time.Hour)
			}
		}
	},
}, {
	Name: "capabilities use the same keys",
	Rule: "a capability that As finds uses the same keys and payloads as the store itself",
	test: func(c *check) {
		swapper, canSwap := core.As[core.Swapper](c.store)
		toucher, canTouch := core.As[core.Toucher](c.store)
		if !canSwap && !canTouch {
			c.Skip("no core.Swapper and no core.Toucher")
		}
		c.set("a", "one", time.Hour)
		if canTouch {
			c.ok("Touch", toucher.Touch(c.ctx, c.key("a"), 2*time.Hour))
		}
		if !canSwap {
			return
		}
		data, v, err := swapper.GetVersion(c.ctx, c.key("a"))
		c.ok("GetVersion", err)
		if string(data) != "one" {
			c.broken("GetVersion returned %s, Set had stored %s", short(string(data)), short("one"))
		}
		c.swap("a", "two", time.Hour, v)
		c.holds("a", "two")
		c.destroy("a")
		_, _, err = swapper.GetVersion(c.ctx, c.key("a"))
		c.is("GetVersion", err, core.ErrNotFound)
		c.swap("b", "three", time.Hour, 0)
		c.holds("b", "three")
	},
}}
