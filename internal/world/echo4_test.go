//go:build !386 && !arm

package world_test

import (
	"net/http"
	"testing"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
)

var echo4Programs = []program{
	{name: "echo v4", start: func(t *testing.T, m *core.Manager) string {
		e := echo.New()
		e.Use(middleware.Recover(), echo.WrapMiddleware(httpsession.New(m, nil)))
		return serve(t, echo4Routes(e))
	}},
	{name: "echo v4 with gzip inside, and Guard", start: func(t *testing.T, m *core.Manager) string {
		e := echo.New()
		e.Use(echo.WrapMiddleware(httpsession.New(m, nil)))
		e.Use(middleware.Gzip(), middleware.Recover(), echo.WrapMiddleware(httpsession.Guard))
		return serve(t, echo4Routes(e))
	}},
	{name: "echo v4 with all its middleware", start: func(t *testing.T, m *core.Manager) string {
		e := echo.New()
		limiter := middleware.NewRateLimiterMemoryStore(10000)
		e.Use(middleware.Recover(), middleware.RequestID(), middleware.Gzip(), middleware.CORS(), middleware.RateLimiter(limiter))
		e.Use(echo.WrapMiddleware(httpsession.New(m, nil)))
		e.Use(middleware.Secure(), middleware.BodyLimit("1M"), middleware.CSRFWithConfig(middleware.CSRFConfig{TokenLookup: "header:X-Csrf-Token"}))
		return serve(t, echo4Routes(e))
	}},
}

func echo4Routes(e *echo.Echo) http.Handler {
	for _, x := range routes {
		e.Add(x.method, x.path, func(c echo.Context) error {
			s, err := httpsession.From(c.Request())
			if err != nil {
				return err
			}
			to, body, err := act(c.Request().Context(), s, x.path, c.QueryParam)
			switch {
			case err != nil:
				return err
			case to != "":
				return c.Redirect(http.StatusSeeOther, to)
			}
			return c.String(http.StatusOK, body)
		})
	}
	e.GET("/public", func(c echo.Context) error { return c.String(http.StatusOK, "public") })
	return e
}
