// Package fibersession is the session middleware for Fiber v2.
//
//	sessions, err := core.New(memorystore.New(nil), &core.Options{Keys: keys})
//	…
//	app.Use(fibersession.New(sessions, nil))
//
// The session is saved after the handlers have returned, even with an error, and
// before Fiber sends the first byte. Later code, such as the app's ErrorHandler,
// can read the session, but a change fails with [core.ErrCommitted].
//
// fasthttp runs a function passed to SetBodyStreamWriter concurrently with the
// handler. Its changes are saved if they come before the handlers return, and
// fail with [core.ErrCommitted] afterwards; since that is a race, change the
// session in the handler. A reader passed to SendStream is read after the save.
//
// Errors go to the app's ErrorHandler, which can log and format them. For an error
// of the session errors.As finds a *fiber.Error with the status, and errors.Is
// finds the error of the core. Its text is only that of the status, since the
// default ErrorHandler sends the text to the client, and the error of a store
// reveals internals of the server. An error of a handler is passed on unchanged,
// and takes precedence over an error of the save, which then goes only to
// [core.Hooks].
//
// The session of a handler that responds with fasthttp's TimeoutError is not
// saved, since the code that timed out may be in the middle of a change.
//
// If a panic reaches this middleware, nothing is saved: mount Fiber's recover
// before it. For a recover that stands behind it there is [Guard].
//
// The ErrorHandler runs after the save. It must not begin the response anew
// (Response().Reset, Context().Error), which throws away the cookies, also those of
// other middleware. Handlers and middleware behind this one may do so.
//
// Handlers of net/http below Fiber's adaptor find the session by
// httpsession.From(r) and [core.From]. The other way round an app below
// adaptor.FiberApp needs this middleware, since the adaptor passes no context on;
// and adaptor.HTTPMiddleware can't be used with that of net/http, which it ends
// before the handlers run.
//
// The cookies of the request are read as they were received. Exclude the session
// cookies from Fiber's encryptcookie: add the cookie name, the name with ".next" and
// with ".late", and each of these with ".sig", to Except.
package fibersession

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	fasthttpsession "github.com/gensession/gensession/adapters/fasthttp"
	"github.com/gensession/gensession/adapters/internal/proxy"
	"github.com/gensession/gensession/adapters/internal/sessionerr"
	"github.com/gensession/gensession/core"
)

// Options configure [New]. Nil and the zero value are valid.
type Options struct {
	// Next, if it returns true, skips the middleware: the request has no session.
	Next func(c *fiber.Ctx) bool

	// TrustedProxies are the addresses of the proxies in front of this server
	// that end TLS, such as netip.MustParsePrefix("10.0.0.0/8"). Where a
	// connection comes from one of them, ProxyField says whether the browser's
	// request came over TLS. What other clients send is not believed. Default:
	// none, and only the connection itself counts. The proxies that the app
	// trusts, if it has EnableTrustedProxyCheck, are trusted as well. (Without
	// that check Fiber's c.Secure believes every client.)
	TrustedProxies []netip.Prefix
	// ProxyField is the one request field that these proxies write, each by
	// itself or behind what the field contains already. No other field is read.
	// Default "X-Forwarded-Proto"; others are "Forwarded" and "X-Forwarded-Ssl".
	ProxyField string
	// TrustedHops is the number of trusted proxies between the browser and this
	// server that append to ProxyField: its element counts that is so far from
	// the right. If there are fewer elements, the request did not come over TLS.
	// Default 1, which is also right for a proxy that replaces the field.
	TrustedHops int
	// Secure, if set, reports in place of all that whether the browser's request
	// came over TLS, such as for a proxy that has no address since it uses a Unix
	// socket. It must not believe what any client can send.
	Secure func(c *fiber.Ctx) bool
}

// New returns middleware that gives each request a session of m. Stores and hooks
// get c.UserContext. If it is mounted twice with the same manager, the inner one
// does nothing. Managers with different cookies can be combined.
func New(m *core.Manager, o *Options) fiber.Handler {
	mw := middleware{manager: m}
	if o != nil {
		mw.o = *o
	}
	if mw.o.Secure == nil {
		mw.proxies = proxy.New(mw.o.TrustedProxies, mw.o.ProxyField, mw.o.TrustedHops)
		mw.o.Secure = secure(mw.proxies)
	}
	return mw.handle
}

// From returns the session of c, that of the innermost middleware if there are
// several. The error is [core.ErrNoSession] if the middleware is missing or the
// request path is outside the cookie's path. A handler can return the error
// unchanged.
//
// [core.From] returns the same session from c.UserContext and c.Context, and in
// net/http handlers from the context of the request that Fiber's adaptor makes, for
// code that does not depend on Fiber.
func From(c *fiber.Ctx) (*core.Session, error) {
	v, err := Visit(c)
	if err != nil {
		return nil, err
	}
	return session(c, v)
}

// Handler returns a Fiber handler that calls f with the session of its request,
// the innermost if several managers are mounted. An error of the session or of f
// goes to the ErrorHandler. The session is saved also after an error, but a
// [core.Session.Login] that is not saved yet does not happen.
func Handler(f func(c *fiber.Ctx, s *core.Session) error) fiber.Handler {
	return func(c *fiber.Ctx) error {
		v, err := Visit(c)
		if err != nil {
			return err
		}
		s, err := session(c, v)
		if err != nil {
			return err
		}
		v.Enter()
		err = f(c, s)
		v.Leave() // not after a panic
		return err
	}
}

// Guard is middleware to mount innermost, before the handlers: after whatever
// recovers panics inside of the session middleware, or runs handlers in a goroutine of
// its own, as the deprecated timeout.New does.
//
//	app.Use(fibersession.New(sessions, nil), recover.New(), fibersession.Guard)
//
// It tells the session whether the handlers have returned. If one has panicked, or
// is still running when the response is sent in its place, nothing of its session is
// saved. A [Handler] needs no Guard. Without the session middleware it does nothing.
func Guard(c *fiber.Ctx) error {
	v, err := Visit(c)
	if err != nil {
		return c.Next()
	}
	v.Enter()
	err = c.Next()
	v.Leave() // not after a panic
	return err
}

// FromManager returns the session of c that m manages. Its errors are those of
// [From].
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

// Visit returns the [core.Visit] of c, with which a handler can destroy or replace
// a session that is not loaded.
func Visit(c *fiber.Ctx) (*core.Visit, error) {
	ctx := c.Context()
	if ctx == nil { // called from a stream's writer after Fiber has released c
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
	proxies *proxy.Trust // nil if the user decides what is secure
}

// An exchange knows, besides, what is not trusted.
type exchange struct {
	fasthttpsession.Jar
	proxies *proxy.Trust
}

// UntrustedTLS returns the name of a field that says https although Secure is false.
func (x *exchange) UntrustedTLS() string {
	if x.proxies == nil {
		return ""
	}
	return x.proxies.Untrusted(x.RequestHeader)
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
	jar, visit, ok := core.NewVisitOf[exchange](mw.manager, outer)
	if !ok {
		return c.Next()
	}
	jar.Open(ctx, mw.o.Secure(c))
	jar.proxies = mw.proxies
	defer jar.Close()
	// After Commit this does nothing. Before it, it means a panic or Goexit.
	defer visit.Abandon()
	if err := visit.Begin(user); err != nil {
		return wrap(err)
	}
	enter(c, core.NewContext(user, visit))
	failed := c.Next()
	if jar.TimedOut() { // and the code that timed out may still use the session
		return failed
	}
	// The context of an outer session comes back with user, and the ErrorHandler
	// finds this one.
	if before != nil {
		fasthttpsession.SetContext(ctx, before)
		c.SetUserContext(user)
	}
	if failed != nil {
		visit.HandlerFailed()
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

// enter makes the session available to From, even if the user context is
// replaced, and to core.From.
func enter(c *fiber.Ctx, ctx context.Context) {
	fasthttpsession.SetContext(c.Context(), ctx)
	c.SetUserContext(ctx)
}

// secure returns the default of Options.Secure.
func secure(proxies *proxy.Trust) func(*fiber.Ctx) bool {
	type choice struct {
		app    *fiber.App
		checks bool // whether it checks proxies
	}
	var last atomic.Pointer[choice] // Config makes a large copy each time
	return func(c *fiber.Ctx) bool {
		ctx := c.Context()
		p := last.Load()
		if app := c.App(); p == nil || p.app != app {
			p = &choice{app, app.Config().EnableTrustedProxyCheck}
			last.Store(p)
		}
		// Without the check Fiber trusts every client as if it were a proxy.
		if !(p.checks && c.IsProxyTrusted()) && !(proxies.Any() && proxies.Trusts(proxy.Addr(ctx.RemoteAddr()))) {
			return ctx.IsTLS()
		}
		var said []string // by one field, or several of that name
		for name, value := range ctx.Request.Header.All() {
			if strings.EqualFold(string(name), proxies.Field()) {
				said = append(said, string(value))
			}
		}
		return proxies.TLS(strings.Join(said, ","), ctx.IsTLS())
	}
}

// A failure is an error of the session for the ErrorHandler.
type failure struct {
	status *fiber.Error
	err    error
}

// Error returns the text of the status, which may be sent to the client.
func (f *failure) Error() string { return f.status.Message }

// Unwrap returns the error of the core.
func (f *failure) Unwrap() error { return f.err }

// As finds the *fiber.Error with the status, for errors.As.
func (f *failure) As(target any) bool {
	to, ok := target.(**fiber.Error)
	if ok {
		*to = f.status
	}
	return ok
}

// Format adds the cause under %+v, for a log.
func (f *failure) Format(s fmt.State, verb rune) {
	if verb == 'v' && s.Flag('+') {
		fmt.Fprintf(s, "%s: %v", f.status.Message, f.err)
		return
	}
	fmt.Fprintf(s, fmt.FormatString(s, verb), f.Error())
}

func wrap(err error) error {
	if err == nil {
		return nil
	}
	status := core.Status(err)
	return &failure{&fiber.Error{Code: status, Message: fasthttp.StatusMessage(status)}, err}
}

// tidy wraps an error of the session that a handler has returned, such as that of
// Save, as the errors of this package. Other errors stay unchanged.
func tidy(err error) error {
	var theirs *fiber.Error
	if !errors.As(err, &theirs) && sessionerr.Is(err) {
		return wrap(err)
	}
	return err
}
