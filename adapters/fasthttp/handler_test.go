package fasthttpsession_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	fasthttpsession "github.com/gensession/gensession/adapters/fasthttp"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

// A Handler gets the session; its errors and those of the session go to
// Options.Error.
func TestHandler(t *testing.T) {
	errTeapot := errors.New("no coffee")
	m, store := newManager(t, core.Options{FailFast: true, Defer: true})
	add := func(s *core.Session) error {
		_, err := count.Update(s, func(n int) int { return n + 1 })
		return err
	}
	refuse := func(context.Context, storetest.Op, string) error { return core.ErrRefused }
	routes := map[string]fasthttp.RequestHandler{
		"/count": fasthttpsession.Handler(func(ctx *fasthttp.RequestCtx, s *core.Session) error {
			if err := add(s); err != nil {
				return err
			}
			_, err := fmt.Fprint(ctx, count.Get(s))
			return err
		}),
		"/fails": fasthttpsession.Handler(func(ctx *fasthttp.RequestCtx, s *core.Session) error {
			ctx.SetContentType("image/png")
			ctx.SetBodyString("lost")
			return errors.Join(add(s), errTeapot)
		}),
		"/stream": fasthttpsession.Handler(func(ctx *fasthttp.RequestCtx, _ *core.Session) error {
			ctx.SetBodyStreamWriter(func(w *bufio.Writer) { _, _ = w.WriteString("lost") })
			return errTeapot
		}),
		"/hijack": fasthttpsession.Handler(func(ctx *fasthttp.RequestCtx, _ *core.Session) error {
			ctx.HijackSetNoResponse(true)
			ctx.Hijack(func(net.Conn) { t.Error("hijacked after an error") })
			return errTeapot
		}),
		"/unsaved": fasthttpsession.Handler(func(_ *fasthttp.RequestCtx, s *core.Session) error {
			store.Before(refuse)
			return errors.Join(add(s), errTeapot)
		}),
		"/login": fasthttpsession.Handler(func(ctx *fasthttp.RequestCtx, s *core.Session) error {
			store.Before(refuse)
			c, err := fasthttpsession.Context(ctx)
			if err == nil {
				err = s.Renew(c)
			}
			if err != nil {
				return err
			}
			return count.Set(s, 100)
		}),
	}
	seen := 0
	inner := func(ctx *fasthttp.RequestCtx) {
		routes[string(ctx.Path())](ctx)
		seen = ctx.Response.StatusCode()
	}
	answers := 0
	h := fasthttpsession.New(m, &fasthttpsession.Options{Error: func(ctx *fasthttp.RequestCtx, err error) {
		answers++
		status := core.Status(err)
		if errors.Is(err, errTeapot) {
			status = fasthttp.StatusTeapot
		}
		ctx.Error(fasthttp.StatusMessage(status), status)
	}})(inner)
	var browser jartest.Browser
	want := func(path string, status int, body string) {
		t.Helper()
		answers = 0
		ctx := exchange(h, func(r *fasthttp.Request) {
			r.SetRequestURI(path)
			r.Header.Set("Cookie", browser.Cookie("/"))
		})
		store.Before(nil)
		browser.Take("/", cookies(ctx)...)
		res := &ctx.Response
		if res.StatusCode() != status || string(res.Body()) != body || ctx.Hijacked() {
			t.Errorf("%s: %d %q, want %d %q", path, res.StatusCode(), res.Body(), status, body)
		}
		if seen != status {
			t.Errorf("%s: a middleware inside saw the status %d, want %d", path, seen, status)
		}
		if failed := status != 200; failed != (answers == 1) {
			t.Errorf("%s: Options.Error was called %d times", path, answers)
		}
		if kind := string(res.Header.ContentType()); kind == "image/png" {
			t.Errorf("%s: the error is answered as %s", path, kind)
		}
	}
	want("/count", 200, "1")
	want("/fails", 418, "I'm a teapot") // and is saved (K27)
	want("/count", 200, "3")
	want("/stream", 418, "I'm a teapot")
	want("/hijack", 418, "I'm a teapot")
	want("/unsaved", 418, "I'm a teapot") // the handler's error takes precedence
	want("/login", 503, "Service Unavailable")
	want("/count", 200, "4")
	store.Down()
	want("/count", 503, "Service Unavailable")
	store.Up()

	// Without the middleware there is no session, and nothing of the error.
	ctx := exchange(routes["/count"], nil)
	if ctx.Response.StatusCode() != 500 || string(ctx.Response.Body()) != "Internal Server Error\n" {
		t.Errorf("without the middleware: %v", &ctx.Response)
	}
}

// An error that comes after a TimeoutHandler has answered is not answered again.
func TestHandlerAfterTimeout(t *testing.T) {
	m, _ := newManager(t, core.Options{})
	answered, late := make(chan struct{}), make(chan struct{})
	handler := fasthttpsession.Handler(func(*fasthttp.RequestCtx, *core.Session) error {
		<-answered
		return errors.New("too late")
	})
	o := &fasthttpsession.Options{Error: func(*fasthttp.RequestCtx, error) { t.Error("answered twice") }}
	ctx := exchange(fasthttpsession.New(m, o)(fasthttp.TimeoutHandler(func(ctx *fasthttp.RequestCtx) {
		defer close(late)
		handler(ctx)
	}, time.Millisecond, "too slow")), nil)
	close(answered)
	<-late
	if r := ctx.LastTimeoutErrorResponse(); r == nil || string(r.Body()) != "too slow" {
		t.Errorf("answered %v", r)
	}
}
