package fasthttpsession_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	fasthttpsession "github.com/gensession/gensession/adapters/fasthttp"
	"github.com/gensession/gensession/core"
)

// A printed logs into a buffer, for the log of a server.
type printed struct{ bytes.Buffer }

func (p *printed) Printf(format string, a ...any) { fmt.Fprintf(p, format+"\n", a...) }

// W42: the client sees the status, and the log the cause.
func TestW42TheCauseIsForTheLog(t *testing.T) {
	var out bytes.Buffer
	m, _ := newManager(t, core.Options{Logger: slog.New(slog.NewTextHandler(&out, nil))})
	own := fasthttpsession.Handler(func(*fasthttp.RequestCtx, *core.Session) error { return errors.New("no such table: users") })
	run := func(o *fasthttpsession.Options) *fasthttp.RequestCtx {
		out.Reset()
		ctx := new(fasthttp.RequestCtx)
		fasthttpsession.New(m, o)(own)(ctx)
		return ctx
	}
	ctx := run(nil)
	if body := string(ctx.Response.Body()); ctx.Response.StatusCode() != 500 || body != "Internal Server Error\n" {
		t.Errorf("%d %q", ctx.Response.StatusCode(), body)
	}
	if !strings.Contains(out.String(), `level=WARN msg="session failed" op=handler error="no such table: users"`) {
		t.Errorf("the log is %s", &out)
	}
	run(&fasthttpsession.Options{Error: func(ctx *fasthttp.RequestCtx, err error) { ctx.SetStatusCode(404) }})
	if out.Len() > 0 {
		t.Errorf("who answers the error himself has it: %s", &out)
	}
	t.Run("the middleware is missing", func(t *testing.T) {
		var server printed
		ctx := new(fasthttp.RequestCtx)
		ctx.Init(&fasthttp.Request{}, nil, &server)
		own(ctx)
		if ctx.Response.StatusCode() != 500 || !strings.Contains(server.String(), "the middleware is missing") {
			t.Errorf("%d, the log is %q", ctx.Response.StatusCode(), server.String())
		}
	})
}
