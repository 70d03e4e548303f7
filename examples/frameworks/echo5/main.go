// Command echo5 is a login with echo v5: httpsession as its middleware, handlers that
// get the session, and echo's error handler.
package main

import (
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"

	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

const (
	user   core.Key[string] = "user"
	visits core.Key[int]    = "visits"
)

// begin routes
func routes(sessions *core.Manager) *echo.Echo {
	e := echo.New()
	// Recover comes first: a panic passes the session, which saves nothing.
	e.Use(middleware.Recover(), echo.WrapMiddleware(httpsession.New(sessions, nil)))
	e.GET("/", withSession(home))
	e.POST("/login", withSession(login))
	e.POST("/logout", withSession(logout))
	return e
}

// withSession returns a handler that calls f with the session of its request. An
// error goes to echo's error handler, after the session is saved; but a login that is
// not saved yet does not happen then.
func withSession(f func(*echo.Context, *core.Session) error) echo.HandlerFunc {
	return func(c *echo.Context) error {
		visit, err := httpsession.Visit(c.Request())
		if err != nil {
			return err // the middleware is missing
		}
		s, err := visit.Session(c.Request().Context())
		if err != nil {
			return echo.NewHTTPError(core.Status(err), http.StatusText(core.Status(err)))
		}
		if err := f(c, s); err != nil {
			visit.HandlerFailed()
			return err
		}
		return nil
	}
}

// end routes

func home(c *echo.Context, s *core.Session) error {
	n, err := visits.Update(s, func(n int) int { return n + 1 })
	if err != nil {
		return err
	}
	return c.String(http.StatusOK, fmt.Sprintf("visit %d of %q\n", n, user.Get(s)))
}

func login(c *echo.Context, s *core.Session) error {
	// Check the password here.
	if err := errors.Join(s.Login(core.LoginOptions{}), user.Set(s, c.FormValue("user"))); err != nil {
		return err
	}
	return c.Redirect(http.StatusSeeOther, "/")
}

func logout(c *echo.Context, s *core.Session) error {
	if err := s.Destroy(c.Request().Context()); err != nil {
		return err
	}
	return c.Redirect(http.StatusSeeOther, "/")
}

func main() {
	key := []byte(os.Getenv("SESSION_KEY")) // openssl rand -base64 32
	sessions, err := core.New(memorystore.New(nil), &core.Options{Keys: [][]byte{key}, Logger: slog.Default()})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(routes(sessions).Start("127.0.0.1:3000"))
}
