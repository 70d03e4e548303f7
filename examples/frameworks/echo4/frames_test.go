package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/examples/frameworks/internal/try"
)

func TestFrames(t *testing.T) {
	type handler = func(*core.Session, *http.Request) error
	app := func(inner []echo.MiddlewareFunc, fails echo.HTTPErrorHandler) try.Frame {
		return func(sessions *core.Manager, h handler) http.Handler {
			e := echo.New()
			e.Logger.SetOutput(io.Discard) // of what Recover tells
			if fails != nil {
				e.HTTPErrorHandler = fails
			}
			e.Use(echo.WrapMiddleware(httpsession.New(sessions, nil)))
			e.Use(inner...)
			e.GET("/*", func(c echo.Context) error {
				s, err := httpsession.From(c.Request())
				if err == nil {
					err = h(s, c.Request())
				}
				if err != nil {
					return err
				}
				return c.String(200, fmt.Sprint(visits.Get(s)))
			})
			return e
		}
	}
	guard := echo.WrapMiddleware(httpsession.Guard)
	anew := func(_ error, c echo.Context) { // begins the header anew, if nothing was sent
		if !c.Response().Committed {
			clear(c.Response().Header())
			_ = c.String(500, "anew")
		}
	}
	// The error handler comes after the save. One like this is called inside, as
	// docs/middleware.md has it.
	inside := func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if err := next(c); err != nil {
				c.Error(err)
			}
			return nil
		}
	}
	try.Frames(t, map[string]try.Frame{
		"Recover, Guard":                      app([]echo.MiddlewareFunc{middleware.Recover(), guard}, nil),
		"Recover, Guard, an error handler":    app([]echo.MiddlewareFunc{inside, middleware.Recover(), guard}, anew),
		"Recover, Guard, a logger":            app([]echo.MiddlewareFunc{middleware.Recover(), middleware.RequestID(), middleware.Gzip(), guard}, nil),
		"Recover, Guard, a context's timeout": app([]echo.MiddlewareFunc{middleware.Recover(), middleware.ContextTimeout(time.Minute), guard}, nil),
	}, errors.New("no"))
}
