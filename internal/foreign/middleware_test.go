package foreign_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	fiber2 "github.com/gofiber/fiber/v2"
	csrf2 "github.com/gofiber/fiber/v2/middleware/csrf"
	limiter2 "github.com/gofiber/fiber/v2/middleware/limiter"
	fiber3 "github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/extractors"
	csrf3 "github.com/gofiber/fiber/v3/middleware/csrf"
	limiter3 "github.com/gofiber/fiber/v3/middleware/limiter"

	foreignstore "github.com/gensession/gensession/stores/foreign"
	memorystore "github.com/gensession/gensession/stores/memory"
)

var (
	_ fiber2.Storage = (*foreignstore.Storage)(nil)
	_ fiber3.Storage = (*foreignstore.Storage)(nil)
)

// A process answers requests.
type process func(r *http.Request) (*http.Response, error)

// apps are the processes of an application with Fiber's limiter, of two requests a
// minute, and one with its csrf.
var apps = map[string]func(storage *foreignstore.Storage) (limited, guarded process){
	"Fiber v2": func(storage *foreignstore.Storage) (limited, guarded process) {
		a := fiber2.New(fiber2.Config{DisableStartupMessage: true})
		a.Use(limiter2.New(limiter2.Config{Max: 2, Expiration: time.Minute, Storage: storage}))
		a.All("/", func(c *fiber2.Ctx) error { return c.SendString("fine") })
		b := fiber2.New(fiber2.Config{DisableStartupMessage: true})
		b.Use(csrf2.New(csrf2.Config{KeyLookup: "header:X-Csrf-Token", CookieName: "csrf", Storage: storage, SingleUseToken: true}))
		b.All("/", func(c *fiber2.Ctx) error { return c.SendString("fine") })
		return func(r *http.Request) (*http.Response, error) { return a.Test(r, -1) }, func(r *http.Request) (*http.Response, error) { return b.Test(r, -1) }
	},
	"Fiber v3": func(storage *foreignstore.Storage) (limited, guarded process) {
		a := fiber3.New()
		a.Use(limiter3.New(limiter3.Config{Max: 2, Expiration: time.Minute, Storage: storage}))
		a.All("/", func(c fiber3.Ctx) error { return c.SendString("fine") })
		b := fiber3.New()
		b.Use(csrf3.New(csrf3.Config{Extractor: extractors.FromHeader("X-Csrf-Token"), CookieName: "csrf", Storage: storage, SingleUseToken: true}))
		b.All("/", func(c fiber3.Ctx) error { return c.SendString("fine") })
		slow := fiber3.TestConfig{Timeout: 0}
		return func(r *http.Request) (*http.Response, error) { return a.Test(r, slow) }, func(r *http.Request) (*http.Response, error) { return b.Test(r, slow) }
	},
}

// TestMiddlewareOfFiber: two processes with one store of ours count together, and
// one accepts the token that the other has made, once.
func TestMiddlewareOfFiber(t *testing.T) {
	for name, app := range apps {
		t.Run(name, func(t *testing.T) {
			m := memorystore.New(nil)
			defer m.Close()
			limits := must[*foreignstore.Storage](t)(foreignstore.ToFiber(m, &foreignstore.StorageOptions{Prefix: "limit:"}))
			tokens := must[*foreignstore.Storage](t)(foreignstore.ToFiber(m, &foreignstore.StorageOptions{Prefix: "csrf:"}))
			l1, _ := app(limits)
			l2, _ := app(limits)
			do := func(p process, r *http.Request) *http.Response {
				t.Helper()
				res, err := p(r)
				ok(t, err)
				_, err = io.Copy(io.Discard, res.Body)
				ok(t, err)
				ok(t, res.Body.Close())
				return res
			}
			for i, p := range []process{l1, l2, l1, l2} {
				want := 200
				if i >= 2 {
					want = 429
				}
				if got := do(p, httptest.NewRequest("GET", "/", nil)).StatusCode; got != want {
					t.Errorf("request %d: %d, want %d", i, got, want)
				}
			}

			_, c1 := app(tokens)
			_, c2 := app(tokens)
			var token string
			for _, c := range do(c1, httptest.NewRequest("GET", "/", nil)).Cookies() {
				if c.Name == "csrf" {
					token = c.Value
				}
			}
			post := func(p process, token string) int {
				r := httptest.NewRequest("POST", "/", nil) // whose Host is example.com
				r.Header.Set("X-Csrf-Token", token)
				r.Header.Set("Origin", "http://example.com")
				r.AddCookie(&http.Cookie{Name: "csrf", Value: token})
				return do(p, r).StatusCode
			}
			if got := post(c2, "forged-"+token); got != 403 {
				t.Errorf("a forged token: %d", got)
			}
			if got := post(c2, token); got != 200 {
				t.Errorf("the token of the other process: %d", got)
			}
			if got := post(c1, token); got != 403 {
				t.Errorf("the token a second time: %d", got)
			}
			if m.Len() == 0 {
				t.Error("nothing was in the store: this test tests nothing")
			}
		})
	}
}
