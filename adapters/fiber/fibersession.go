// Package fibersession brings sessions to Fiber v2.
//
//	sessions, err := core.New(memorystore.New(nil), &core.Options{Keys: keys})
//	…
//	app.Use(fibersession.New(sessions, nil))
//
// The session is saved when the handlers below have returned, also when they
// returned an error, and before Fiber sends the first byte. What runs later,
// such as the app's ErrorHandler, can read the session, but a change is
// [core.ErrCommitted].
//
// A function given to SetBodyStreamWriter runs beside the handler: fasthttp
// starts it at once. What it changes while the handlers run is saved, what it
// changes later is [core.ErrCommitted], and which of the two it is can't be
// told: change the session in the handler. A reader given to SendStream is read
// after the save.
//
// Errors go to the app's ErrorHandler, which is the place to log and to shape
// them. An error of the session shows it, through errors.As, a *fiber.Error
// with the fitting status, and through errors.Is the error of the core. Its
// text is that of the status only: the default ErrorHandler sends the text to
// the client, and the error of a store tells about the inside of the server.
// An error of a handler goes on as it is, and wins over one of saving, which
// then only [core.Hooks] see.
//
// A handler that answers by fasthttp's TimeoutError leaves the session unsaved,
// since what it could not wait for may be in the middle of a change.
//
// A panic saves nothing, if it gets as far as this middleware: mount Fiber's
// recover before it.
//
// The cookies of the request are read as they came over the wire. Fiber's
// encryptcookie must leave the session's alone: put its name, and its name
// with ".sig", into Except.
package fibersession

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	fasthttpsession "github.com/gensession/gensession/adapters/fasthttp"
	"github.com/gensession/gensession/core"
)

// Options are the choices of [New]. nil and the zero Options are fine.
type Options struct {
	// Next, if it returns true, lets a request pass without a session.
	Next func(c *fiber.Ctx) bool

	// Secure reports whether the browser's request came over TLS. The default
	// believes a TLS connection, and a proxy's X-Forwarded-Proto only if the
	// app has EnableTrustedProxyCheck and the proxy among its TrustedProxies.
	// (c.Secure believes everybody who sends that field, unless the check is
	// on.)
	Secure func(c *fiber.Ctx) bool
}

// New returns the middleware that gives the requests below it a session of m.
// Stores and hooks get c.UserContext. Mounted twice with the same manager, the
// outer one works and the inner one does nothing; managers with different
// cookies live side by side.
func New(m *core.Manager, o *Options) fiber.Handler {
	mw := middleware{manager: m}
	if o != nil {
		mw.o = *o
	}
	if mw.o.Secure == nil {
		mw.o.Secure = secure()
	}
	return mw.handle
}

// From returns the session of c, the innermost if several managers are
// mounted. It is [core.ErrNoSession] if the middleware is missing or the
// request lies outside the cookie's path. A handler can return the error as it
// is.
//
// [core.From] finds the same session in c.UserContext, so code that knows no
// Fiber can use it.
func From(c *fiber.Ctx) (*core.Session, error) {
	v, err := Visit(c)
	if err != nil {
		return nil, err
	}
	return session(c, v)
}

// Handler returns a Fiber handler that calls f with the session of its request,
// the innermost if several managers are mounted. An error of the session or of f
// goes to the ErrorHandler. The session is saved also after an error.
func Handler(f func(c *fiber.Ctx, s *core.Session) error) fiber.Handler {
	return func(c *fiber.Ctx) error {
		s, err := From(c)
		if err != nil {
			return err
		}
		return f(c, s)
	}
}

// FromManager is [From] for one of several managers.
func FromManager(c *fiber.Ctx, m *core.Manager) (*core.Session, error) {
	v, err := Visit(c)
	if err != nil {
		return nil, err
	}
	if v, err = v.Of(m); err != nil {
		return nil, wrap(err)
	}
	return session(c, v)
}

// Visit returns what stands behind the session of c, to destroy or replace one
// that is not loaded yet.
func Visit(c *fiber.Ctx) (*core.Visit, error) {
	ctx := c.Context()
	if ctx == nil { // a stream's writer asks, and Fiber has taken c back
		return nil, wrap(fmt.Errorf("%w: the request is over", core.ErrNoSession))
	}
	v, err := fasthttpsession.Visit(ctx)
	return v, wrap(err)
}

func session(c *fiber.Ctx, v *core.Visit) (*core.Session, error) {
	s, err := v.Session(c.UserContext())
	return s, wrap(err)
}

type middleware struct {
	manager *core.Manager
	o       Options
}

func (mw *middleware) handle(c *fiber.Ctx) error {
	if mw.o.Next != nil && mw.o.Next(c) {
		return c.Next()
	}
	ctx, user := c.Context(), c.UserContext()
	before, _ := fasthttpsession.Context(ctx) // nil if this is the outermost
	var outer *core.Visit
	if before != nil {
		outer, _ = core.VisitFrom(before)
	}
	jar, visit, ok := core.NewVisitOf[fasthttpsession.Jar](mw.manager, outer)
	if !ok {
		return c.Next()
	}
	jar.Open(ctx, mw.o.Secure(c))
	defer jar.Close()
	// After Commit this does nothing. Before it, it means a panic or Goexit.
	defer visit.Abandon()
	if err := visit.Begin(user); err != nil {
		return wrap(err)
	}
	enter(c, core.NewContext(user, visit))
	failed := c.Next()
	if ctx.LastTimeoutErrorResponse() != nil {
		// The answer is made, and what made it may still use the session.
		return failed
	}
	// The context of an outer session comes back with user, and the ErrorHandler
	// finds this one.
	if before != nil {
		fasthttpsession.SetContext(ctx, before)
		c.SetUserContext(user)
	}
	err := visit.Commit(user) // also for a handler that failed (K27)
	switch {
	case failed != nil:
		return tidy(failed)
	case err != nil:
		fasthttpsession.Discard(ctx)
		return wrap(err)
	}
	return nil
}

// enter makes the session known to From, whatever becomes of the user context,
// and to core.From.
func enter(c *fiber.Ctx, ctx context.Context) {
	fasthttpsession.SetContext(c.Context(), ctx)
	c.SetUserContext(ctx)
}

// secure returns the default of Options.Secure.
func secure() func(*fiber.Ctx) bool {
	type choice struct {
		app    *fiber.App
		checks bool // whether it checks proxies
	}
	var last atomic.Pointer[choice] // Config makes a large copy each time
	return func(c *fiber.Ctx) bool {
		if c.Context().IsTLS() {
			return true
		}
		p := last.Load()
		if app := c.App(); p == nil || p.app != app {
			p = &choice{app, app.Config().EnableTrustedProxyCheck}
			last.Store(p)
		}
		// Without the check Fiber trusts every client as if it were a proxy.
		return p.checks && strings.EqualFold(c.Protocol(), "https")
	}
}

// A failure is an error of the session on its way to the ErrorHandler.
type failure struct {
	status *fiber.Error
	err    error
}

// Error returns the text of the status, which is all that a client may see.
func (f *failure) Error() string { return f.status.Message }

// Unwrap returns the *fiber.Error and the error of the core.
func (f *failure) Unwrap() []error { return []error{f.status, f.err} }

func wrap(err error) error {
	if err == nil {
		return nil
	}
	status := core.Status(err)
	return &failure{&fiber.Error{Code: status, Message: fasthttp.StatusMessage(status)}, err}
}

// tidy gives an error of the session that a handler has returned, such as that
// of Save, the form that the errors of this package have. The error of a
// handler itself stays as it is.
func tidy(err error) error {
	var ours *core.Error
	var theirs *fiber.Error
	if !errors.As(err, &theirs) && (errors.As(err, &ours) || late(err)) {
		return wrap(err)
	}
	return err
}

// late reports whether err says that the session can't be changed any more, or
// that there is none: these come as they are, since no operation has failed.
func late(err error) bool {
	return errors.Is(err, core.ErrGone) || errors.Is(err, core.ErrCommitted) || errors.Is(err, core.ErrNoSession)
}
