// Package fasthttpsession brings sessions to plain fasthttp. For Fiber there is
// fibersession, which stands on it.
//
//	sessions, err := core.New(memorystore.New(nil), &core.Options{Keys: keys})
//	…
//	handler := fasthttpsession.New(sessions, nil)(app)
//
// The session is saved when the handler has returned, before fasthttp sends
// the first byte, and before a function given to Hijack runs. What runs later
// can read the session, but a change is [core.ErrCommitted].
//
// A function given to SetBodyStreamWriter runs beside the handler: fasthttp
// starts it at once. What it changes while the handler runs is saved, what it
// changes later is [core.ErrCommitted], and which of the two it is can't be
// told: change the session in the handler. A reader given to SetBodyStream is
// read after the save.
//
// If it can't be saved, the handler's response is dropped and the client gets
// an error; see [Options]. A handler that panics saves nothing, and the panic
// goes on.
//
// Mount fasthttp.TimeoutHandler below the session, not around it: a handler
// whose time is over would go on and save a session whose cookie goes nowhere.
// Below, its session is not saved, since the handler may be in the middle of a
// change.
package fasthttpsession

import (
	"context"
	"fmt"

	"github.com/valyala/fasthttp"

	"github.com/gensession/gensession/adapters/internal/fields"
	"github.com/gensession/gensession/core"
)

// Options are the choices of [New]. nil and the zero Options are fine.
type Options struct {
	// Secure reports whether the browser's request came over TLS. The default
	// is ctx.IsTLS. Behind a proxy that ends TLS look at the field that this
	// proxy sets, and only if the request can't have come past the proxy.
	Secure func(ctx *fasthttp.RequestCtx) bool

	// Context returns the context that the stores and hooks get. It must not
	// be ctx or stem from it, since fasthttp uses ctx again for other requests.
	// The default is context.Background: stores have deadlines of their own.
	Context func(ctx *fasthttp.RequestCtx) context.Context

	// Error answers a request whose session could not be loaded or saved, in
	// place of the handler's response, which is gone by then; see [Discard].
	// [core.Status] gives the status for err. The default answers with the
	// status and its text, and nothing of err, which tells about the inside of
	// the server; log it in [core.Hooks].
	Error func(ctx *fasthttp.RequestCtx, err error)
}

// New returns the middleware that gives the requests below it a session of m.
// Mounted twice with the same manager, the outer one works and the inner one
// does nothing; managers with different cookies live side by side.
func New(m *core.Manager, o *Options) func(fasthttp.RequestHandler) fasthttp.RequestHandler {
	mw := middleware{manager: m}
	if o != nil {
		mw.o = *o
	}
	if mw.o.Secure == nil {
		mw.o.Secure = (*fasthttp.RequestCtx).IsTLS
	}
	if mw.o.Context == nil {
		mw.o.Context = func(*fasthttp.RequestCtx) context.Context { return context.Background() }
	}
	if mw.o.Error == nil {
		mw.o.Error = answer
	}
	return func(next fasthttp.RequestHandler) fasthttp.RequestHandler {
		return func(ctx *fasthttp.RequestCtx) { mw.serve(ctx, next) }
	}
}

// From returns the session of ctx, the innermost if several managers are
// mounted. It is [core.ErrNoSession] if the middleware is missing or the
// request lies outside the cookie's path.
func From(ctx *fasthttp.RequestCtx) (*core.Session, error) {
	c, err := Context(ctx)
	if err != nil {
		return nil, err
	}
	return core.From(c)
}

// FromManager is [From] for one of several managers.
func FromManager(ctx *fasthttp.RequestCtx, m *core.Manager) (*core.Session, error) {
	c, err := Context(ctx)
	if err != nil {
		return nil, err
	}
	return m.From(c)
}

// Visit returns what stands behind the session of ctx, to destroy or replace
// one that is not loaded yet.
func Visit(ctx *fasthttp.RequestCtx) (*core.Visit, error) {
	c, err := Context(ctx)
	if err != nil {
		return nil, err
	}
	return core.VisitFrom(c)
}

// contextKey is the key of the user value that holds the context.
type contextKey struct{}

// Context returns a context for [core.From], with which code that knows no
// fasthttp finds the session. Unlike ctx it can be kept. It is
// [core.ErrNoSession] if the middleware is missing.
func Context(ctx *fasthttp.RequestCtx) (context.Context, error) {
	if c, ok := ctx.UserValue(contextKey{}).(context.Context); ok {
		return c, nil
	}
	return nil, errMissing
}

// errMissing is made once: every outermost middleware asks and meets it.
var errMissing = fmt.Errorf("%w: the middleware is missing", core.ErrNoSession)

// SetContext makes c, which [core.NewContext] has returned, the context of
// ctx. [New] does it: this is for the middleware of a framework that is built
// on fasthttp. nil takes it away again.
func SetContext(ctx *fasthttp.RequestCtx, c context.Context) { ctx.SetUserValue(contextKey{}, c) }

type middleware struct {
	manager *core.Manager
	o       Options
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
	defer jar.Close()
	// After Commit this does nothing. Before it, it means a panic or Goexit.
	defer visit.Abandon()
	base := before
	if base == nil {
		base = mw.o.Context(ctx)
	}
	if err := visit.Begin(base); err != nil {
		mw.fail(ctx, err)
		return
	}
	SetContext(ctx, core.NewContext(base, visit))
	next(ctx)
	if ctx.LastTimeoutErrorResponse() != nil {
		// The answer is made, and the handler still runs, on this ctx.
		return
	}
	SetContext(ctx, before)
	if err := visit.Commit(base); err != nil {
		mw.fail(ctx, err)
	}
}

func (mw *middleware) fail(ctx *fasthttp.RequestCtx, err error) {
	Discard(ctx)
	mw.o.Error(ctx, err)
}

func answer(ctx *fasthttp.RequestCtx, err error) {
	status := core.Status(err)
	ctx.SetStatusCode(status)
	ctx.SetContentType("text/plain; charset=utf-8")
	ctx.Response.Header.Set("X-Content-Type-Options", "nosniff")
	ctx.SetBodyString(fasthttp.StatusMessage(status) + "\n")
}

// Discard makes room for an error: it drops the body of the response, also a
// stream, the fields that describe it, and what was given to Hijack. Other
// fields stay, such as those of a middleware further out, and the cookies.
func Discard(ctx *fasthttp.RequestCtx) {
	ctx.Hijack(nil)
	ctx.HijackSetNoResponse(false)
	ctx.Response.ResetBody()
	ctx.Response.SkipBody = false
	ctx.Response.ImmediateHeaderFlush = false
	for _, name := range fields.OfBody() {
		ctx.Response.Header.Del(name)
	}
	ctx.Response.Header.Set("Cache-Control", "no-store")
}
