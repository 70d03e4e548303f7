package fasthttpsession_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	fasthttpsession "github.com/gensession/gensession/adapters/fasthttp"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// A Handler gets the session and returns its errors.
func TestHandler(t *testing.T) {
	const visits core.Key[int] = "visits"
	errTeapot := errors.New("no coffee")
	memory := memorystore.New(nil)
	t.Cleanup(func() { memory.Close() })
	store := storetest.NewFaulty(memory)
	sessions, err := core.New(store, &core.Options{Keys: [][]byte{[]byte("0123456789abcdef0123456789abcdef")}, FailFast: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sessions.Close() })
	count := func(s *core.Session) error {
		_, err := visits.Update(s, func(n int) int { return n + 1 })
		return err
	}
	refuse := func(_ context.Context, op storetest.Op, _ string) error {
		if op == storetest.OpBatch || op == storetest.OpSetVersion {
			return core.ErrRefused
		}
		return nil
	}
	late := make(chan struct{})
	fails := fasthttpsession.Handler(func(ctx *fasthttp.RequestCtx, s *core.Session) error {
		ctx.SetContentType("image/png")
		ctx.SetBodyString("half of an image")
		return errors.Join(count(s), errTeapot)
	})
	routes := map[string]fasthttp.RequestHandler{
		"/count": fasthttpsession.Handler(func(ctx *fasthttp.RequestCtx, s *core.Session) error {
			if err := count(s); err != nil {
				return err
			}
			_, err := fmt.Fprint(ctx, visits.Get(s))
			return err
		}),
		"/fails": fails,
		"/login": fasthttpsession.Handler(func(_ *fasthttp.RequestCtx, s *core.Session) error {
			return errors.Join(visits.Set(s, 100), s.Login(core.LoginOptions{}), errTeapot)
		}),
		"/refused": func(ctx *fasthttp.RequestCtx) {
			fails(ctx)
			store.Before(refuse)
		},
		"/trailer": func(ctx *fasthttp.RequestCtx) {
			fails(ctx)
			fmt.Fprint(ctx, "the end of a page")
		},
		"/seen": func(ctx *fasthttp.RequestCtx) {
			fails(ctx)
			ctx.Response.Header.Set("X-Seen", fmt.Sprint(ctx.Response.StatusCode()))
		},
		"/gzip": func(ctx *fasthttp.RequestCtx) {
			fails(ctx)
			var packed bytes.Buffer
			w := gzip.NewWriter(&packed)
			_, _ = w.Write(ctx.Response.Body())
			w.Close()
			ctx.Response.Header.SetContentEncoding("gzip")
			ctx.SetBody(packed.Bytes())
		},
		"/timeout": fasthttp.TimeoutHandler(fasthttpsession.Handler(func(_ *fasthttp.RequestCtx, s *core.Session) error {
			<-late
			defer func() { late <- struct{}{} }()
			return errors.Join(count(s), errTeapot)
		}), time.Millisecond, "too late"),
	}
	answered := func(ctx *fasthttp.RequestCtx, err error) {
		if errors.Is(err, errTeapot) {
			ctx.Error("no coffee", fasthttp.StatusTeapot)
			return
		}
		ctx.Error(fasthttp.StatusMessage(core.Status(err)), core.Status(err))
	}
	route := func(ctx *fasthttp.RequestCtx) { routes[string(ctx.Path())](ctx) }
	handler := fasthttpsession.New(sessions, &fasthttpsession.Options{Error: answered})(route)
	var browser jartest.Browser
	want := func(path string, status int, body string) *fasthttp.Response {
		t.Helper()
		var ctx fasthttp.RequestCtx
		ctx.Init(&fasthttp.Request{}, nil, nil)
		ctx.Request.SetRequestURI(path)
		ctx.Request.Header.Set("Cookie", browser.Cookie("/"))
		ctx.Request.Header.Set("Accept-Encoding", "gzip")
		handler(&ctx)
		res := &ctx.Response
		if r := ctx.LastTimeoutErrorResponse(); r != nil {
			res = r
		}
		for _, line := range res.Header.Cookies() {
			browser.Take("/", string(line))
		}
		got, err := res.BodyUncompressed()
		if err != nil || res.StatusCode() != status || string(got) != body {
			t.Errorf("%s: %d %q %v, want %d %q", path, res.StatusCode(), got, err, status, body)
		}
		if kind := string(res.Header.ContentType()); kind == "image/png" {
			t.Errorf("%s: the error is answered as %s", path, kind)
		}
		return res
	}
	want("/count", 200, "1")
	want("/fails", 418, "no coffee") // and is saved (K27)
	want("/count", 200, "3")
	want("/trailer", 418, "no coffee") // nothing behind the answer
	want("/count", 200, "5")
	if got := string(want("/seen", 418, "no coffee").Header.Peek("X-Seen")); got != "418" {
		t.Errorf("a middleware inside sees status %s", got)
	}
	want("/count", 200, "7")
	want("/login", 418, "no coffee") // a login whose handler fails does not happen
	want("/count", 200, "8")
	want("/refused", 418, "no coffee") // the error of the handler, not that of the save
	store.Before(nil)
	want("/count", 200, "9")
	if res := want("/gzip", 418, "no coffee"); string(res.Header.ContentEncoding()) != "gzip" {
		t.Error("the answer is not compressed")
	}
	want("/timeout", fasthttp.StatusRequestTimeout, "too late")
	late <- struct{}{}
	<-late
	want("/count", 200, "11")
	store.Down()
	want("/count", 503, "Service Unavailable")
	store.Up()

	// Without the middleware there is no session, and nothing of the error.
	var ctx fasthttp.RequestCtx
	ctx.Request.SetRequestURI("/count")
	route(&ctx)
	if got := string(ctx.Response.Body()); ctx.Response.StatusCode() != 500 || got != "Internal Server Error\n" {
		t.Errorf("without the middleware: %d %q", ctx.Response.StatusCode(), got)
	}

	// Deferred, the session is loaded by the Handler.
	deferred, err := core.New(store, &core.Options{Keys: [][]byte{[]byte("0123456789abcdef0123456789abcdef")}, FailFast: true, Defer: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { deferred.Close() })
	handler = fasthttpsession.New(deferred, &fasthttpsession.Options{Error: answered})(route)
	want("/count", 200, "12")
	store.Down()
	want("/trailer", 503, "Service Unavailable")
	store.Up()
}
