//go:build !386 && !arm

package world_test

import (
	"net/http"
	"testing"

	fiberv2 "github.com/gofiber/fiber/v2"
	cachev2 "github.com/gofiber/fiber/v2/middleware/cache"
	idempotencyv2 "github.com/gofiber/fiber/v2/middleware/idempotency"
	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/cache"
	"github.com/gofiber/fiber/v3/middleware/idempotency"

	fibersession "github.com/gensession/gensession/adapters/fiber"
	fiberv3session "github.com/gensession/gensession/adapters/fiberv3"
	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// Middleware of Fiber keeps responses and sends them again, to whoever asks with the
// same key. Mounted inside of the session it keeps no session cookie.
func TestReplays(t *testing.T) {
	const token = "0123456789abcdef0123456789abcdef0123"
	for name, start := range map[string]func(m *core.Manager) string{
		"Fiber v2": func(m *core.Manager) string {
			app := newFiber()
			app.Use(fibersession.New(m, nil), cachev2.New(cachev2.Config{StoreResponseHeaders: true, Next: func(c *fiberv2.Ctx) bool {
				return c.Method() != fiberv2.MethodGet
			}}), idempotencyv2.New())
			return listenFiber(t, fiberRoutes(app))
		},
		"Fiber v3": func(m *core.Manager) string {
			app := fiber.New()
			app.Use(fiberv3session.New(m, nil), cache.New(cache.Config{StoreResponseHeaders: true, Next: func(c fiber.Ctx) bool {
				return c.Method() != fiber.MethodGet
			}}), idempotency.New())
			return listenFiberv3(t, fiberv3Routes(app))
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := memorystore.New(nil)
			t.Cleanup(func() { _ = store.Close() })
			m, err := core.New(store, &core.Options{Keys: [][]byte{key}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = m.Close() })
			base := start(m)
			ada, eve := newBrowser(t, base), newBrowser(t, base)
			for _, b := range []*browser{ada, eve} {
				b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			}
			for _, request := range [][2]string{{"GET", "/"}, {"POST", "/login?user=ada"}} {
				replayed := false
				for _, b := range []*browser{ada, eve} {
					req, err := http.NewRequest(request[0], base+request[1], nil)
					if err != nil {
						t.Fatal(err)
					}
					req.Header.Set("X-Idempotency-Key", token)
					res, err := b.client.Do(req)
					if err != nil {
						t.Fatal(err)
					}
					_ = res.Body.Close()
					replayed = b == eve && len(res.Header["Set-Cookie"]) == 0
				}
				if !replayed {
					t.Errorf("%s is not sent again: the test shows nothing", request[1])
				}
				if ada.cookie() == "" || eve.cookie() != "" {
					t.Errorf("%s: the second browser got a session cookie", request[1])
				}
			}
		})
	}
}
