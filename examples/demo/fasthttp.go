package main

import (
	"context"
	"time"

	"github.com/valyala/fasthttp"

	fasthttpsession "github.com/gensession/gensession/adapters/fasthttp"
	"github.com/gensession/gensession/core"
)

func newFastHTTP(m *core.Manager, a *app) server {
	routes := func(ctx *fasthttp.RequestCtx) {
		c, err := fasthttpsession.Context(ctx)
		if err != nil {
			sendFast(ctx, failure(err))
			return
		}
		uri := ctx.URI()
		sendFast(ctx, a.respond(c, string(ctx.Method()), string(uri.Path()), string(uri.QueryString())))
	}
	sessions := fasthttpsession.New(m, &fasthttpsession.Options{
		Error: func(ctx *fasthttp.RequestCtx, err error) { sendFast(ctx, failure(err)) },
	})
	return fastServer{&fasthttp.Server{Handler: sessions(routes), ReadTimeout: 10 * time.Second, ReadBufferSize: 16 << 10}}
}

func sendFast(ctx *fasthttp.RequestCtx, ans answer) {
	h := &ctx.Response.Header
	h.Set("Content-Type", ans.kind)
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	ctx.SetStatusCode(ans.status)
	ctx.SetBody(ans.body)
}

type fastServer struct{ *fasthttp.Server }

func (s fastServer) Shutdown(ctx context.Context) error { return s.ShutdownWithContext(ctx) }
