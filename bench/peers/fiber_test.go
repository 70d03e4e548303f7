package peers

import (
	"net"
	"strconv"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/session"
	fiber3 "github.com/gofiber/fiber/v3"
	session3 "github.com/gofiber/fiber/v3/middleware/session"
	redisstorage "github.com/gofiber/storage/redis/v3"

	"github.com/gensession/gensession/bench/internal/drive"
)

// fiberStorage is the storage of Fiber's sessions on Redis, v2 and v3.
func fiberStorage(b *testing.B, addr string) *redisstorage.Storage {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		b.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		b.Fatal(err)
	}
	s := redisstorage.New(redisstorage.Config{Host: host, Port: n, PoolSize: callersMax})
	b.Cleanup(func() { s.Close() })
	return s
}

func fiber2Site(b *testing.B, store string, values map[string]any) drive.Site {
	config := session.Config{Expiration: life, CookiePath: "/", CookieHTTPOnly: true, CookieSameSite: "Lax"}
	if addr := redisAddr(b, store); addr != "" {
		config.Storage = fiberStorage(b, addr)
	}
	sessions := session.New(config)
	return func(b *testing.B, op string) func() drive.Client {
		app := fiber.New(fiber.Config{DisableStartupMessage: true})
		app.Get("/", func(c *fiber.Ctx) error {
			if op == drive.Visitor || op == drive.Untouched {
				return c.SendString("0")
			}
			s, err := sessions.Get(c)
			if err != nil {
				return err
			}
			if op == drive.Fill {
				for name, v := range values {
					s.Set(name, v)
				}
				return s.Save()
			}
			n, _ := s.Get("visits").(int)
			switch op {
			case drive.Write:
				n++
				s.Set("visits", n)
				err = s.Save()
			case drive.Login:
				if err = s.Regenerate(); err == nil {
					err = s.Save()
				}
			case drive.Logout:
				err = s.Destroy()
			}
			if err != nil {
				return err
			}
			return c.SendString(strconv.Itoa(n))
		})
		h := app.Handler()
		return func() drive.Client { return drive.Fast(h) }
	}
}

// fiber3Site gets the session where it is wanted. The middleware would save it
// with every request, also when nothing has changed.
func fiber3Site(b *testing.B, store string, values map[string]any) drive.Site {
	config := session3.Config{IdleTimeout: life, CookiePath: "/", CookieHTTPOnly: true, CookieSameSite: "Lax"}
	if addr := redisAddr(b, store); addr != "" {
		config.Storage = fiberStorage(b, addr)
	}
	sessions := session3.NewStore(config)
	return func(b *testing.B, op string) func() drive.Client {
		app := fiber3.New()
		app.Get("/", func(c fiber3.Ctx) error {
			if op == drive.Visitor || op == drive.Untouched {
				return c.SendString("0")
			}
			s, err := sessions.Get(c)
			if err != nil {
				return err
			}
			defer s.Release()
			if op == drive.Fill {
				for name, v := range values {
					s.Set(name, v)
				}
				return s.Save()
			}
			n, _ := s.Get("visits").(int)
			switch op {
			case drive.Write:
				n++
				s.Set("visits", n)
				err = s.Save()
			case drive.Login:
				if err = s.Regenerate(); err == nil {
					err = s.Save()
				}
			case drive.Logout:
				err = s.Destroy()
			}
			if err != nil {
				return err
			}
			return c.SendString(strconv.Itoa(n))
		})
		h := app.Handler()
		return func() drive.Client { return drive.Fast(h) }
	}
}

// bareFiber3 has no sessions. The other HTTP libraries without are in ours.
func bareFiber3(*testing.B, string) func() drive.Client {
	app := fiber3.New()
	app.Get("/", func(c fiber3.Ctx) error { return c.SendString("0") })
	h := app.Handler()
	return func() drive.Client { return drive.Fast(h) }
}
