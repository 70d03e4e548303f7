package main

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"time"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/limiter"

	fiberv3session "github.com/gensession/gensession/adapters/fiberv3"
	"github.com/gensession/gensession/core"
	foreignstore "github.com/gensession/gensession/stores/foreign"
)

// begin options

// options take the sessions of Fiber over, for as long after the day of the move as
// one of them could live.
func options(keys core.Keyring, storage fiber.Storage, day time.Time) (*core.Options, error) {
	from, err := foreignstore.FromFiber(storage, nil)
	if err != nil {
		return nil, err
	}
	return &core.Options{Keys: keys, IdleTimeout: 30 * time.Minute, Migrate: core.Migration{
		From:  from,
		Until: day.Add(24 * time.Hour), // Fiber's AbsoluteTimeout, or what was agreed on
		Foreign: &core.Foreign{
			Cookie: "session_id",
			Values: fiberValues,
		},
	}}, nil
}

// fiberValues decodes a session of Fiber v3. One of v2 is a map[string]any. Register
// with gob the types that it was registered with.
func fiberValues(data []byte) (any, error) {
	var all map[any]any
	if err := gob.NewDecoder(bytes.NewReader(data)).Decode(&all); err != nil {
		return nil, err
	}
	values := map[string]any{}
	for name, v := range all {
		if name, ok := name.(string); ok { // Fiber has a key of its own
			values[name] = v
		}
	}
	return values, nil
}

// end options
// begin after

const (
	visits core.Key[int]    = "visits"
	user   core.Key[string] = "user"
)

// after is the application as it is now. Fiber's limiter counts in the store of the
// sessions.
func after(sessions *core.Manager, store core.Store) (*fiber.App, error) {
	limits, err := foreignstore.ToFiber(store, &foreignstore.StorageOptions{Prefix: "limit:"})
	if err != nil {
		return nil, err
	}
	app := fiber.New()
	app.Use(limiter.New(limiter.Config{Max: 1000, Storage: limits}), fiberv3session.New(sessions, nil))
	app.Get("/", fiberv3session.Handler(func(c fiber.Ctx, s *core.Session) error {
		n, err := visits.Update(s, func(n int) int { return n + 1 })
		if err != nil {
			return err
		}
		return c.SendString(fmt.Sprintf("%s: %d", user.Get(s), n))
	}))
	app.Post("/login", fiberv3session.Handler(func(c fiber.Ctx, s *core.Session) error {
		if err := s.Login(core.LoginOptions{}); err != nil {
			return err
		}
		return user.Set(s, c.Query("name"))
	}))
	app.Post("/logout", fiberv3session.Handler(func(c fiber.Ctx, s *core.Session) error {
		return s.Destroy(c)
	}))
	return app, nil
}

// end after
