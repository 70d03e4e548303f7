package fasthttpsession

import (
	"github.com/valyala/fasthttp"

	"github.com/gensession/gensession/core"
)

// Handler returns a fasthttp handler that calls f with the session of its request,
// the innermost if several managers are mounted. An error of the session or of f
// is answered by [Options].Error of the middleware, in place of the response that
// f has prepared, so f returns every error for which it has no better answer. The
// session is saved also after an error.
func Handler(f func(ctx *fasthttp.RequestCtx, s *core.Session) error) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		visit, err := Visit(ctx)
		if err != nil {
			ctx.Logger().Printf("fasthttpsession: %v", err) // the middleware is missing
			fail(ctx, answer, err)
			return
		}
		if err = call(ctx, visit, f); err == nil {
			return
		}
		visit.HandlerFailed()
		jar, ok := visit.Jar().(*Jar)
		switch {
		case !ok || jar.mw == nil: // the middleware of another package
			fail(ctx, answer, err)
		case !jar.Begun(): // else a TimeoutHandler has answered the request
			if c, noContext := Context(ctx); noContext == nil && jar.mw.tells {
				visit.Tell(c, err)
			}
			fail(ctx, jar.mw.o.Error, err)
			jar.failed = true
		}
	}
}

func call(ctx *fasthttp.RequestCtx, visit *core.Visit, f func(*fasthttp.RequestCtx, *core.Session) error) error {
	c, err := Context(ctx)
	if err != nil {
		return err
	}
	s, err := visit.Session(c)
	if err != nil {
		return err
	}
	visit.Enter()
	err = f(ctx, s)
	visit.Leave() // not after a panic
	return err
}

// Guard is middleware to mount innermost, around the handlers: below whatever
// recovers panics inside of the session middleware, or runs handlers in a goroutine of
// its own.
//
//	handler := fasthttpsession.New(sessions, nil)(recovers(fasthttpsession.Guard(app)))
//
// It tells the session whether the handler has returned. If the handler has
// panicked, or is still running when the response is sent in its place, nothing of its
// session is saved. A [Handler] needs no Guard, nor does fasthttp.TimeoutHandler.
// Without the session middleware it does nothing.
func Guard(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		visit, err := Visit(ctx)
		if err != nil {
			next(ctx)
			return
		}
		visit.Enter()
		next(ctx)
		visit.Leave() // not after a panic
	}
}

// fail replaces the response by that of answer.
func fail(ctx *fasthttp.RequestCtx, answer func(*fasthttp.RequestCtx, error), err error) {
	Discard(ctx)
	answer(ctx, err)
}
