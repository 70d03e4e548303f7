package fasthttpsession

import (
	"bytes"

	"github.com/valyala/fasthttp"

	"github.com/gensession/gensession/core"
)

// Handler returns a fasthttp handler that calls f with the session of its request,
// the innermost if several managers are mounted:
//
//	router.POST("/login", fasthttpsession.Handler(login))
//
// An error of the session or of f is answered by [Options].Error of the
// middleware in place of what f has written, so f returns every error that it has
// no better answer for. What a middleware between the two appends to that answer
// is dropped. The session is saved also after an error, but a
// [core.Session.Login] that is not saved yet does not happen.
func Handler(f func(ctx *fasthttp.RequestCtx, s *core.Session) error) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		c, err := Context(ctx)
		if err != nil {
			Discard(ctx)
			answer(ctx, err) // the middleware is missing
			return
		}
		s, err := core.From(c)
		if err == nil {
			err = f(ctx, s)
		}
		if err != nil {
			failWith(ctx, err)
		}
	}
}

// failWith answers the error of a handler. The middleware commits after it (K27).
func failWith(ctx *fasthttp.RequestCtx, err error) {
	visit, _ := Visit(ctx)
	visit.HandlerFailed()
	Discard(ctx)
	jar, ok := visit.Jar().(*Jar)
	if !ok || jar.mw == nil { // the Jar of another adapter
		answer(ctx, err)
		return
	}
	jar.mw.o.Error(ctx, err)
	jar.answered = new(answered)
	if !ctx.Response.IsBodyStream() { // Body would read the stream
		jar.answered.body = bytes.Clone(ctx.Response.Body())
	}
}

// An answered is the answer to an error of a handler.
type answered struct{ body []byte }

// restore drops what was appended to the answer. A body that was replaced, such as
// by a compressed one, stays.
func (a *answered) restore(ctx *fasthttp.RequestCtx) {
	if ctx.Response.IsBodyStream() {
		return
	}
	if body := ctx.Response.Body(); len(body) > len(a.body) && bytes.HasPrefix(body, a.body) {
		ctx.Response.SetBody(a.body)
	}
}
