// Package fasthttpsession is the session middleware for fasthttp. For Fiber use
// fibersession, which is built on this package.
//
//	sessions, err := core.New(memorystore.New(nil), &core.Options{Keys: keys})
//	…
//	handler := fasthttpsession.New(sessions, nil)(fasthttpsession.Handler(app))
//
// The session is saved after the handler has returned, before fasthttp sends the
// first byte and before a function passed to Hijack runs. Later code can read the
// session, but a change fails with [core.ErrCommitted].
//
// fasthttp runs a function passed to SetBodyStreamWriter concurrently with the
// handler. Its changes are saved if they come before the handler returns, and
// fail with [core.ErrCommitted] afterwards; since that is a race, change the
// session in the handler. A reader passed to SetBodyStream is read after the
// save.
//
// If the session can't be saved, the response of the handler is discarded and the
// client gets an error; see [Options]. If the handler panics, nothing is saved,
// and the panic continues.
//
// Mount fasthttp.TimeoutHandler inside the session middleware, not around it:
// otherwise a handler that has timed out would continue and save a session whose
// cookie is never sent. If it is mounted inside, the session of such a handler is
// not saved, since the handler may be in the middle of a change. [Guard] does the
// same for other middleware that answers in place of a handler.
//
// Handlers of net/http below fasthttpadaptor find the session by
// httpsession.From(r) and [core.From].
//
// # For adapters
//
// [Jar], [SetContext] and [Discard] are for adapters of frameworks that are built
// on fasthttp, such as fibersession. Applications do not need them.
package fasthttpsession

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/valyala/fasthttp"

	"github.com/gensession/gensession/adapters/internal/fields"
	"github.com/gensession/gensession/adapters/internal/proxy"
	"github.com/gensession/gensession/core"
)

// Options configure [New]. Nil and the zero value are valid.
type Options struct {
	// TrustedProxies are the addresses of the proxies in front of this server
	// that end TLS, such as netip.MustParsePrefix("10.0.0.0/8"). Where a
	// connection comes from one of them, ProxyField says whether the browser's
	// request came over TLS. What other clients send is not believed. Default:
	// none, and only the connection itself counts.
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
	Secure func(ctx *fasthttp.RequestCtx) bool

	// Context returns the context for stores and hooks. It must not be ctx or
	// derived from it, since fasthttp reuses ctx for other requests. The default
	// is context.Background; calls of stores have their own deadlines.
	Context func(ctx *fasthttp.RequestCtx) context.Context

	// Error writes the response if the session could not be loaded or saved, or
	// a [Handler] returned an error. The response of the handler is already
	// discarded; see [Discard].
	// [core.Status] returns the status for err. The default sends the status
	// and its text, and not the text of err, which reveals internals of the
	// server: that is a [core.EventFailed], for core.Options.Logger and
	// core.Hooks.
	Error func(ctx *fasthttp.RequestCtx, err error)
}

// New returns middleware that gives each request a session of m. If it is mounted
// twice with the same manager, the inner one does nothing. Managers with
// different cookies can be combined.
func New(m *core.Manager, o *Options) func(fasthttp.RequestHandler) fasthttp.RequestHandler {
	mw := middleware{manager: m}
	if o != nil {
		mw.o = *o
	}
	if mw.o.Secure == nil {
		mw.proxies = proxy.New(mw.o.TrustedProxies, mw.o.ProxyField, mw.o.TrustedHops)
		mw.o.Secure = overTLS(mw.proxies)
	}
	if mw.o.Context == nil {
		mw.o.Context = func(*fasthttp.RequestCtx) context.Context { return context.Background() }
	}
	if mw.o.Error == nil {
		mw.o.Error, mw.tells = answer, true
	}
	return func(next fasthttp.RequestHandler) fasthttp.RequestHandler {
		return func(ctx *fasthttp.RequestCtx) { mw.serve(ctx, next) }
	}
}

// From returns the session of ctx, that of the innermost middleware if there are
// several. The error is [core.ErrNoSession] if the middleware is missing or the
// request path is outside the cookie's path.
func From(ctx *fasthttp.RequestCtx) (*core.Session, error) {
	c, err := Context(ctx)
	if err != nil {
		return nil, err
	}
	return core.From(c)
}

// FromManager returns the session of ctx that m manages. Its errors are those of
// [From].
func FromManager(ctx *fasthttp.RequestCtx, m *core.Manager) (*core.Session, error) {
	c, err := Context(ctx)
	if err != nil {
		return nil, err
	}
	return m.From(c)
}

// Visit returns the [core.Visit] of ctx, with which a handler can destroy or
// replace a session that is not loaded.
func Visit(ctx *fasthttp.RequestCtx) (*core.Visit, error) {
	c, err := Context(ctx)
	if err != nil {
		return nil, err
	}
	return core.VisitFrom(c)
}

// contextKey is the key of the user value that holds the context. By it core.From
// finds the session in a RequestCtx.
var contextKey = core.ContextKey()

// Context returns a context from which [core.From] returns the session, for code
// that does not depend on fasthttp. Unlike ctx, from which core.From returns it,
// too, it may be kept. The error is [core.ErrNoSession] if the middleware is
// missing.
func Context(ctx *fasthttp.RequestCtx) (context.Context, error) {
	if c, ok := ctx.UserValue(contextKey).(context.Context); ok {
		return c, nil
	}
	return nil, errMissing
}

// errMissing is created once, since every outermost middleware gets it.
var errMissing = fmt.Errorf("%w: the middleware is missing", core.ErrNoSession)

// SetContext sets the result of [Context] to c, which [core.NewContext] has
// returned, or removes it if c is nil. It is for adapters of frameworks that are
// built on fasthttp.
func SetContext(ctx *fasthttp.RequestCtx, c context.Context) { ctx.SetUserValue(contextKey, c) }

type middleware struct {
	manager *core.Manager
	o       Options
	proxies *proxy.Trust // nil if the user decides what is secure
	tells   bool         // Error tells nobody the cause
}

// overTLS returns the default of Options.Secure.
func overTLS(proxies *proxy.Trust) func(*fasthttp.RequestCtx) bool {
	if !proxies.Any() {
		return (*fasthttp.RequestCtx).IsTLS
	}
	return func(ctx *fasthttp.RequestCtx) bool {
		if !proxies.Trusts(proxy.Addr(ctx.RemoteAddr())) {
			return ctx.IsTLS()
		}
		return proxies.TLS(requestField(ctx, proxies.Field()), ctx.IsTLS())
	}
}

func (mw *middleware) serve(ctx *fasthttp.RequestCtx, next fasthttp.RequestHandler) {
	before, _ := Context(ctx) // nil if this is the outermost
	var outer *core.Visit
	if before != nil {
		outer, _ = core.VisitFrom(before)
	}
	jar, visit, ok := core.NewVisitOf[Jar](mw.manager, outer)
	if !ok {
		next(ctx)
		return
	}
	jar.Open(ctx, mw.o.Secure(ctx))
	jar.mw = mw
	defer jar.Close()
	// After Commit this does nothing. Before it, it means a panic or Goexit.
	defer visit.Abandon()
	base := before
	if base == nil {
		base = mw.o.Context(ctx)
	}
	if err := visit.Begin(base); err != nil {
		fail(ctx, mw.o.Error, err)
		return
	}
	SetContext(ctx, core.NewContext(base, visit))
	next(ctx)
	if jar.TimedOut() { // and the handler still runs with this ctx
		return
	}
	if before != nil || !ctx.Response.IsBodyStream() && !ctx.Hijacked() {
		// A net/http handler below fasthttpadaptor that streams its body still runs,
		// and may ask for its session.
		SetContext(ctx, before)
	}
	err := visit.Commit(base) // also for a handler that failed (K27)
	if err != nil && !jar.failed {
		fail(ctx, mw.o.Error, err)
	}
}

func answer(ctx *fasthttp.RequestCtx, err error) {
	status := core.Status(err)
	ctx.SetStatusCode(status)
	ctx.SetContentType("text/plain; charset=utf-8")
	ctx.Response.Header.Set("X-Content-Type-Options", "nosniff")
	ctx.SetBodyString(fasthttp.StatusMessage(status) + "\n")
}

// Discard prepares the response for an error. It removes the body or the stream,
// the header fields that describe the body, and the function passed to Hijack.
// Cookies and other fields stay, such as those of outer middleware. Discard is
// for adapters of frameworks that are built on fasthttp.
func Discard(ctx *fasthttp.RequestCtx) {
	ctx.Hijack(nil)
	ctx.HijackSetNoResponse(false)
	ctx.Response.ResetBody()
	ctx.Response.SkipBody = false
	ctx.Response.ImmediateHeaderFlush = false
	for _, name := range fields.OfBody() {
		ctx.Response.Header.Del(name)
	}
	dropCacheFields(&ctx.Response.Header)
	ctx.Response.Header.Set("Cache-Control", "no-store")
}
