package storetest

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/gensession/gensession/core"
)

var payloadCases = []Case{{
	Name: "empty payload",
	Rule: "an empty payload is stored, and its key is not missing",
	test: func(c *check) {
		c.set("a", "", time.Hour)
		c.holds("a", "")
		c.set("a", "not empty", time.Hour)
		c.set("a", "", time.Hour)
		c.holds("a", "")
		c.destroy("a")
		c.misses("a")
	},
}, {
	Name: "nil payload",
	Rule: "a nil payload is an empty one",
	test: func(c *check) {
		c.ok("Set", c.store.Set(c.ctx, c.key("a"), nil, time.Hour))
		c.holds("a", "")
	},
}, {
	Name: "binary payload",
	Rule: "a payload is any sequence of bytes, and is returned unchanged",
	test: func(c *check) {
		var all [512]byte
		for i := range all {
			all[i] = byte(i)
		}
		for _, data := range []string{string(all[:]), "\r\n", "END\r\n", "\x00", "a\x00", "\xff\xfe", " blanks ", "\ufeff", "1", "null"} {
			c.set("a", data, time.Hour)
			c.holds("a", data)
		}
	},
}, {
	Name: "large payload",
	Rule: "a large payload is stored completely, or refused with an error that is ErrTooLarge, and then the previous payload is unchanged",
	test: func(c *check) {
		data := strings.Repeat("0123456789abcdef", 512<<10/16)
		c.set("a", "small", time.Hour)
		err := c.store.Set(c.ctx, c.key("a"), []byte(data), time.Hour)
		if err != nil {
			c.is("Set of 512 KiB", err, core.ErrTooLarge)
			data = "small"
		}
		c.holds("a", data)

		s, ok := core.As[core.Swapper](c.store)
		if !ok {
			return
		}
		c.set("b", "small", time.Hour)
		data = strings.Repeat("fedcba9876543210", 512<<10/16)
		if _, err := s.SetVersion(c.ctx, c.key("b"), []byte(data), time.Hour, c.version("b")); err != nil {
			c.is("SetVersion of 512 KiB", err, core.ErrTooLarge)
			data = "small"
		}
		c.holds("b", data)
	},
}, {
	Name: "sizes",
	Rule: "a payload of any length is returned with the same length",
	test: func(c *check) {
		r := rand.New(rand.NewPCG(1, 2)) // #nosec G404 -- test data
		data := make([]byte, 70_000)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		for _, size := range []int{1, 2, 3, 31, 255, 256, 257, 4095, 4096, 4097, 65_535, 65_536, 65_537, 70_000, 10} {
			c.set("a", string(data[:size]), time.Hour)
			c.holds("a", string(data[:size]))
		}
	},
}, {
	Name: "Set copies",
	Rule: "the store copies the slice passed to Set or SetVersion: the caller may change it afterwards",
	test: func(c *check) {
		data := []byte("what was stored")
		c.ok("Set", c.store.Set(c.ctx, c.key("a"), data, time.Hour))
		scribble(data)
		c.holds("a", "what was stored")

		s, ok := core.As[core.Swapper](c.store)
		if !ok {
			return
		}
		for _, v := range []core.Version{0, c.version("a")} {
			name := "a"
			if v == 0 {
				name = "b"
			}
			data := []byte(swappedIn)
			_, err := s.SetVersion(c.ctx, c.key(name), data, time.Hour, v)
			c.ok("SetVersion", err)
			scribble(data)
			c.holds(name, swappedIn)
		}
	},
}, {
	Name: "Set does not change the slice",
	Rule: "the slice passed to Set or SetVersion is not changed, not even beyond its length",
	test: func(c *check) {
		room := []byte("payload|the rest of the same array")
		before := bytes.Clone(room)
		c.ok("Set", c.store.Set(c.ctx, c.key("a"), room[:7], time.Hour))
		if s, ok := core.As[core.Swapper](c.store); ok {
			_, err := s.SetVersion(c.ctx, c.key("a"), room[:7], time.Hour, c.version("a"))
			c.ok("SetVersion", err)
		}
		if !bytes.Equal(room, before) {
			c.broken("the caller's array was changed")
		}
	},
}, {
	Name: "Get returns a copy",
	Rule: "the caller owns the slice that Get or GetVersion returned: the store neither keeps nor changes it",
	test: func(c *check) {
		c.set("a", "what was stored", time.Hour)
		read := func() ([]byte, error) { return c.store.Get(c.ctx, c.key("a")) }
		c.owns("Get", read)
		if s, ok := core.As[core.Swapper](c.store); ok {
			c.owns("GetVersion", func() ([]byte, error) {
				data, _, err := s.GetVersion(c.ctx, c.key("a"))
				return data, err
			})
		}
	},
}, {
	Name: "View and Keep",
	Rule: "View and Keep are GetVersion and SetVersion with strings, which do not change when the key is written again",
	test: func(c *check) {
		swapper, _ := core.As[core.Swapper](c.bare) // core.Observe may leave them out
		s, ok := swapper.(keeper)                   // as in Case.Run
		if !ok {
			c.Skip("the store has no View and Keep: the core calls the methods of core.Swapper or core.Store")
		}
		var version core.Version
		for i, payload := range []string{"payload", "", "\x00\r\n\xff"} {
			if i%2 == 0 {
				var err error
				version, err = s.Keep(c.ctx, c.key("a")+payload, len(c.key("a")), time.Hour, version)
				c.ok("Keep", err)
			} else {
				c.set("a", payload, time.Hour)
				version = c.version("a")
			}
			data, v, err := s.View(c.ctx, c.key("a"))
			c.ok("View", err)
			if data != payload {
				c.broken("View returned %s, not %s", short(data), short(payload))
			}
			if v != version || v != c.version("a") {
				c.broken("View, Keep and GetVersion returned different versions")
			}
			c.holds("a", payload)
		}
		c.set("a", "what was stored", time.Hour)
		data, _, err := s.View(c.ctx, c.key("a"))
		c.ok("View", err)
		kept := strings.Clone(data)
		c.set("a", "something else.", time.Hour) // of the same length
		c.ok("Destroy", c.store.Destroy(c.ctx, c.key("a")))
		c.set("b", "a third payload", time.Hour) // into the memory of a, if the store reuses it
		if data != kept {
			c.broken("a string that View returned changed later")
		}
	},
}}

// owns checks that what read returns, "what was stored", belongs to the caller.
func (c *check) owns(call string, read func() ([]byte, error)) {
	c.Helper()
	kept, err := read()
	c.ok(call, err)
	mine, err := read()
	c.ok(call, err)
	scribble(mine)
	_ = append(mine, "and more"...)
	c.holds("a", "what was stored")

	c.set("a", "something else.", time.Hour) // of the same length
	if string(kept) != "what was stored" {
		c.broken("a slice that %s returned changed later", call)
	}
	c.set("a", "what was stored", time.Hour)
}

func scribble(data []byte) {
	for i := range data {
		data[i] = '#'
	}
}
