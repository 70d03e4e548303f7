package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gensession/gensession/core"
)

var concurrentCases = []Case{{
	Name: "concurrent calls",
	Rule: "all methods are safe for concurrent use, and each returns a complete payload of its own key",
	test: func(c *check) {
		const keys, rounds = 4, 50
		c.together(8, func(i int) error {
			r := rand.New(rand.NewPCG(uint64(i), 1)) // #nosec G404 -- test data
			for range rounds {
				name := "k" + strconv.Itoa(r.IntN(keys))
				data := strings.Repeat(name, 1+r.IntN(200))
				calls := c.calls(name, data)
				call := calls[r.IntN(len(calls))]
				if err := call.do(c.ctx, time.Hour); err != nil && !errors.Is(err, core.ErrNotFound) && !errors.Is(err, core.ErrConflict) {
					return fmt.Errorf("%s failed: %w", call.name, err)
				}
				got, err := c.store.Get(c.ctx, c.key(name))
				if err != nil && !errors.Is(err, core.ErrNotFound) {
					return fmt.Errorf("Get failed: %w", err)
				}
				if strings.Trim(string(got), name) != "" || len(got)%len(name) != 0 {
					return errors.New("Get returned a payload that was never stored under this key")
				}
			}
			return nil
		})
	},
}, {
	Name: "concurrent creates",
	Rule: "of several concurrent SetVersion with version zero, exactly one creates the key, and the others return ErrConflict",
	test: func(c *check) {
		s := c.swapper()
		for round := range 10 {
			name := strconv.Itoa(round)
			var winner atomic.Pointer[string]
			c.together(8, func(i int) error {
				data := fmt.Sprint("by ", i)
				switch _, err := s.SetVersion(c.ctx, c.key(name), []byte(data), time.Hour, 0); {
				case err == nil && !winner.CompareAndSwap(nil, &data):
					return errors.New("two calls created the same key")
				case err != nil && !errors.Is(err, core.ErrConflict):
					return fmt.Errorf("SetVersion returned %w", err)
				}
				return nil
			})
			if winner.Load() == nil {
				c.broken("no call created the key")
			}
			c.holds(name, *winner.Load())
		}
	},
}, {
	Name: "concurrent swaps",
	Rule: "of several concurrent SetVersion with the same version, exactly one writes, and the others return ErrConflict: comparison and write are one atomic step",
	test: func(c *check) {
		s := c.swapper()
		c.set("a", "begin", time.Hour)
		for round := range 10 {
			v := c.version("a")
			var winner atomic.Pointer[string]
			c.together(8, func(i int) error {
				data := fmt.Sprint("round ", round, " by ", i)
				switch _, err := s.SetVersion(c.ctx, c.key("a"), []byte(data), time.Hour, v); {
				case err == nil && !winner.CompareAndSwap(nil, &data):
					return errors.New("two calls wrote with the same version")
				case err != nil && !errors.Is(err, core.ErrConflict):
					return fmt.Errorf("SetVersion returned %w", err)
				}
				return nil
			})
			if winner.Load() == nil {
				c.broken("no call wrote")
			}
			c.holds("a", *winner.Load())
		}
	},
}, {
	Name: "no lost update",
	Rule: "a caller that reads with GetVersion, writes with SetVersion and retries after ErrConflict loses no update",
	test: func(c *check) {
		s := c.swapper()
		const goroutines, each = 8, 15
		c.set("n", "0", time.Hour)
		c.together(goroutines, func(int) error {
			for done := 0; done < each; {
				data, v, err := s.GetVersion(c.ctx, c.key("n"))
				if err != nil {
					return fmt.Errorf("GetVersion failed: %w", err)
				}
				n, err := strconv.Atoi(string(data))
				if err != nil {
					return errors.New("GetVersion returned a payload that was never stored")
				}
				switch _, err := s.SetVersion(c.ctx, c.key("n"), []byte(strconv.Itoa(n+1)), time.Hour, v); {
				case err == nil:
					done++
				case !errors.Is(err, core.ErrConflict):
					return fmt.Errorf("SetVersion returned %w", err)
				}
			}
			return nil
		})
		c.holds("n", strconv.Itoa(goroutines*each))
	},
}, {
	Name: "Destroy wins",
	Rule: "a key is missing once Destroy has returned, and no concurrent SetVersion or Touch restores it",
	test: func(c *check) {
		s := c.swapper()
		t, canTouch := core.As[core.Toucher](c.store)
		for round := range 10 {
			name := strconv.Itoa(round)
			v, _ := c.swap(name, "x", time.Hour, 0)
			c.together(6, func(i int) error {
				var err error
				switch {
				case i == 0:
					return c.store.Destroy(c.ctx, c.key(name))
				case i == 1 && canTouch:
					err = t.Touch(c.ctx, c.key(name), time.Hour)
				default:
					_, err = s.SetVersion(c.ctx, c.key(name), []byte("y"), time.Hour, v)
				}
				if errors.Is(err, core.ErrNotFound) || errors.Is(err, core.ErrConflict) {
					return nil
				}
				return err
			})
			c.misses(name)
		}
	},
}}

// together runs f in n goroutines that begin at the same time, and fails the run
// if one returns an error.
func (c *check) together(n int, f func(i int) error) {
	c.Helper()
	start := make(chan struct{})
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			c.broken("with %d concurrent callers: %v", n, err)
		}
	}
}
