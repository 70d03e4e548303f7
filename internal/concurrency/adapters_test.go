package concurrency_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	fasthttpsession "github.com/gensession/gensession/adapters/fasthttp"
	fibersession "github.com/gensession/gensession/adapters/fiber"
	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
)

// frames are the adapters.
var frames = map[string]frame{
	"net/http": func(_ testing.TB, m *core.Manager, cookie string, handler func(context.Context)) []string {
		h := httpsession.New(m, nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			handler(r.Context())
			_, _ = w.Write([]byte("the first byte is after the commit"))
		}))
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Cookie", cookie)
		h.ServeHTTP(w, r)
		return w.Result().Header.Values("Set-Cookie")
	},
	"fasthttp": func(t testing.TB, m *core.Manager, cookie string, handler func(context.Context)) []string {
		return fast(cookie, fasthttpsession.New(m, nil)(func(c *fasthttp.RequestCtx) {
			ctx, err := fasthttpsession.Context(c)
			if err != nil {
				t.Error(err)
				return
			}
			handler(ctx)
		}))
	},
	"fiber": func(_ testing.TB, m *core.Manager, cookie string, handler func(context.Context)) []string {
		app := fiber.New()
		app.Use(fibersession.New(m, nil))
		app.Get("/", func(c *fiber.Ctx) error {
			handler(c.UserContext())
			return c.SendString("after the handler")
		})
		return fast(cookie, app.Handler())
	},
}

func fast(cookie string, h fasthttp.RequestHandler) (set []string) {
	var req fasthttp.Request
	req.SetRequestURI("http://localhost/")
	req.Header.Set("Cookie", cookie)
	var c fasthttp.RequestCtx
	c.Init(&req, nil, nil)
	h(&c)
	for _, line := range c.Response.Header.Cookies() { // PeekAll joins them
		set = append(set, string(line))
	}
	return set
}
