package shop_test

import (
	"errors"
	"net/http/httptest"
	"testing"

	"github.com/gofiber/fiber/v2"

	fibersession "github.com/gensession/gensession/adapters/fiber"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/sessiontest"
)

func fiberShop(sessions *core.Manager) *fiber.App {
	app := fiber.New()
	app.Use(fibersession.New(sessions, nil))
	app.Post("/login", fibersession.Handler(func(c *fiber.Ctx, s *core.Session) error {
		return errors.Join(s.Login(core.LoginOptions{DropValues: true}), user.Set(s, c.Query("user")))
	}))
	return app
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
