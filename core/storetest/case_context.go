package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gensession/gensession/core"
)

// A call is one method of the store, with its arguments.
type call struct {
	name string
	do   func(ctx context.Context, ttl time.Duration) error
}

// calls returns all calls of the store, on the key of that name.
func (c *check) calls(name, data string) []call {
	key := c.key(name)
	calls := []call{
		{"Get", func(ctx context.Context, _ time.Duration) error {
			_, err := c.store.Get(ctx, key)
			return err
		}},
		{"Set", func(ctx context.Context, ttl time.Duration) error {
			return c.store.Set(ctx, key, []byte(data), ttl)
		}},
		{"Destroy", func(ctx context.Context, _ time.Duration) error {
			return c.store.Destroy(ctx, key)
		}},
	}
	if s, ok := core.As[core.Swapper](c.store); ok {
		calls = append(calls, call{"GetVersion", func(ctx context.Context, _ time.Duration) error {
			_, _, err := s.GetVersion(ctx, key)
			return err
		}}, call{"SetVersion that creates", func(ctx context.Context, ttl time.Duration) error {
			_, err := s.SetVersion(ctx, key, []byte(data), ttl, 0)
			return err
		}}, call{"SetVersion that swaps", func(ctx context.Context, ttl time.Duration) error {
			_, v, err := s.GetVersion(c.ctx, key)
			if err != nil {
				v = 1
			}
			_, err = s.SetVersion(ctx, key, []byte(data), ttl, v)
			return err
		}})
	}
	if s, ok := core.As[core.Batcher](c.store); ok {
		write := func(ctx context.Context, data []byte, ttl time.Duration, v core.Version) error {
			_, err := s.Batch(ctx, core.Write{Key: key, Data: data, TTL: ttl, Version: v})
			return err
		}
		version := func() core.Version {
			_, v, err := s.GetVersion(c.ctx, key)
			if err != nil {
				v = 1
			}
			return v
		}
		calls = append(calls, call{"Batch that creates", func(ctx context.Context, ttl time.Duration) error {
			return write(ctx, []byte(data), ttl, 0)
		}}, call{"Batch that swaps", func(ctx context.Context, ttl time.Duration) error {
			return write(ctx, []byte(data), ttl, version())
		}}, call{"Batch that removes", func(ctx context.Context, _ time.Duration) error {
			return write(ctx, nil, 0, version())
		}}, call{"Append", func(ctx context.Context, _ time.Duration) error {
			_, _, err := s.Append(ctx, key, []byte(data))
			return err
		}})
	}
	if t, ok := core.As[core.Toucher](c.store); ok {
		calls = append(calls, call{"Touch", func(ctx context.Context, ttl time.Duration) error {
			return t.Touch(ctx, key, ttl)
		}})
	}
	return calls
}

func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func overdue() context.Context {
	ctx, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	cancel() // the deadline has already passed
	return ctx
}

var contextCases = []Case{{
	Name: "cancelled context",
	Rule: "if the context is already cancelled, a call fails immediately with an error that is context.Canceled, ErrUnavailable or ErrOutcomeUnknown, and changes nothing",
	test: func(c *check) { c.ended(cancelled(), context.Canceled) },
}, {
	Name: "expired deadline",
	Rule: "if the deadline of the context has already passed, a call fails immediately with an error that is ErrTimeout, another ErrUnavailable, ErrOutcomeUnknown or context.DeadlineExceeded, and changes nothing",
	test: func(c *check) { c.ended(overdue(), context.DeadlineExceeded) },
}, {
	Name: "cancelled read",
	Rule: "a read whose context ends while it runs returns its payload, or an error that is context.Canceled or ErrUnavailable and not ErrNotFound; its reply, if it comes late, is that of no other call",
	test: func(c *check) {
		const readers, rounds = 8, 40
		payload := func(i int) string { return fmt.Sprint("payload of ", i) }
		reads := []func(ctx context.Context, key string) ([]byte, error){c.store.Get}
		if s, ok := core.As[core.Swapper](c.store); ok {
			reads = append(reads, func(ctx context.Context, key string) ([]byte, error) {
				data, _, err := s.GetVersion(ctx, key)
				return data, err
			})
		}
		for i := range readers {
			c.set(fmt.Sprint("read", i), payload(i), time.Hour)
		}
		c.together(readers, func(i int) error {
			name := fmt.Sprint("read", i)
			for n := range rounds {
				for _, read := range reads {
					ctx, cancel := context.WithCancel(c.ctx)
					timer := time.AfterFunc(time.Duration(n*10)*time.Microsecond, cancel)
					data, err := read(ctx, c.key(name))
					timer.Stop()
					cancel()
					switch {
					case err == nil && string(data) != payload(i):
						return fmt.Errorf("a read that was cancelled returned %s", short(string(data)))
					case err != nil && (errors.Is(err, core.ErrNotFound) || !errors.Is(err, context.Canceled) && !errors.Is(err, core.ErrUnavailable)):
						return fmt.Errorf("a read that was cancelled returned %q", err)
					}
				}
				if data, err := c.store.Get(c.ctx, c.key(name)); err != nil || string(data) != payload(i) {
					return fmt.Errorf("Get after a read that was cancelled returned %s and %s", short(string(data)), said(err))
				}
			}
			return nil
		})
	},
}, {
	Name: "context of an earlier call",
	Rule: "a context that ends after its call does not affect the result of the call",
	test: func(c *check) {
		ctx, cancel := context.WithCancel(c.ctx)
		c.ok("Set", c.store.Set(ctx, c.key("a"), []byte("x"), time.Hour))
		cancel()
		c.holds("a", "x")
		c.set("a", "y", time.Hour)
		c.holds("a", "y")
	},
}}

// ended checks all calls with a context that has ended.
func (c *check) ended(ctx context.Context, cause error) {
	c.Helper()
	for i, call := range c.calls("a", "new") {
		c.set("a", "old", time.Hour)
		done := make(chan error, 1)
		go func() { done <- call.do(ctx, shortTTL) }()
		left := 5 * time.Second
		err, ok := soon(done, &left)
		if !ok {
			c.broken("%s did not return", call.name)
		}
		switch {
		case err == nil:
			c.broken("%s returned no error", call.name)
		case errors.Is(err, core.ErrNotFound), errors.Is(err, core.ErrConflict):
			c.broken("%s returned %q, as if the store had answered", call.name, err)
		case !errors.Is(err, cause) && !errors.Is(err, core.ErrUnavailable) && !errors.Is(err, core.ErrOutcomeUnknown):
			c.broken("%s returned %q, an error of the wrong class", call.name, err)
		}
		c.holds("a", "old")

		fresh := c.calls("b", "new")[i]
		if err := fresh.do(ctx, time.Hour); err == nil {
			c.broken("%s of a missing key returned no error", call.name)
		}
		c.misses("b")
	}
}
