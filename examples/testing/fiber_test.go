package shop_test

import (
	"errors"
	"io"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/gofiber/fiber/v2"

	fibersession "github.com/gensession/gensession/adapters/fiber"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/sessiontest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

func fiberShop(sessions *core.Manager) *fiber.App {
	app := fiber.New()
	app.Use(fibersession.New(sessions, nil))
	app.Post("/login", fibersession.Handler(func(c *fiber.Ctx, s *core.Session) error {
		return errors.Join(s.Login(core.LoginOptions{DropValues: true}), user.Set(s, c.Query("user")))
	}))
	return app
}

// begin tls
func TestOverTLS(t *testing.T) {
	sessions := hardened(t)
	app := fiber.New()
	app.Use(fibersession.New(sessions, &fibersession.Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}))
	app.Get("/", fibersession.Handler(func(c *fiber.Ctx, s *core.Session) error { return c.SendString(user.Get(s)) }))

	r := httptest.NewRequest("GET", "/", nil)
	r.Header = sessiontest.New(t, sessions, func(s *core.Session) error { return user.Set(s, "ada") })
	r.Header.Set("X-Forwarded-Proto", "https")
	res, err := app.Test(r)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(res.Body); string(body) != "ada" {
		t.Errorf("%d: %q", res.StatusCode, body)
	}
}

// end tls

func hardened(t *testing.T) *core.Manager {
	store := memorystore.New(nil)
	t.Cleanup(func() { store.Close() })
	o := core.Hardened()
	o.Keys = core.Keyring{[]byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")}
	sessions, err := core.New(store, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sessions.Close() })
	return sessions
}

// begin fiber
func TestLogin(t *testing.T) {
	sessions := manager(t)
	r := httptest.NewRequest("POST", "/login?user=ada", nil)
	r.Header = sessiontest.New(t, sessions, func(s *core.Session) error {
		return cart.Set(s, []string{"milk"}) // of a visitor
	})
	res, err := fiberShop(sessions).Test(r)
	if err != nil {
		t.Fatal(err)
	}
	s := sessiontest.Look(t, sessions, res.Header)
	if user.Get(s) != "ada" || s.LoggedIn().IsZero() || len(cart.Get(s)) > 0 {
		t.Errorf("%d: %q, with the cart %q", res.StatusCode, user.Get(s), cart.Get(s))
	}
	if s := sessiontest.Look(t, sessions, r.Header); !s.IsNew() {
		t.Error("the id from before the login is still good")
	}
}

// end fiber
