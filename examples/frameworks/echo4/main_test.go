package main

import (
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/examples/frameworks/internal/try"
)

func TestEcho4(t *testing.T) {
	try.Run(t, func(sessions *core.Manager) http.Handler {
		e := routes(sessions)
		quiet(e)
		e.POST("/panic", withSession(func(_ echo.Context, s *core.Session) error { panic(visits.Set(s, 100)) }))
		e.POST("/fails", withSession(func(_ echo.Context, s *core.Session) error {
			return errors.Join(s.Login(core.LoginOptions{}), user.Set(s, "eve"), errors.New("no"))
		}))
		return e
	})
}

func quiet(e *echo.Echo) { e.Logger.SetOutput(io.Discard) }
