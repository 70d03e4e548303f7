package fasthttpsession_test

import (
	"bufio"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	fasthttpsession "github.com/gensession/gensession/adapters/fasthttp"
	"github.com/gensession/gensession/adapters/internal/adaptertest"
	"github.com/gensession/gensession/core"
)

func longCookie(tb testing.TB) func(request string) func() {
	m, _ := newManager(tb, core.Options{})
	h := fasthttpsession.New(m, nil)(func(ctx *fasthttp.RequestCtx) {
		if _, err := fasthttpsession.From(ctx); err != nil {
			tb.Error(err)
		}
	})
	return func(request string) func() {
		ctx := new(fasthttp.RequestCtx)
		ctx.Init(new(fasthttp.Request), nil, nil)
		if err := ctx.Request.Read(bufio.NewReaderSize(strings.NewReader(request), 2<<20)); err != nil {
			tb.Fatal(err)
		}
		return func() { h(ctx) }
	}
}

func TestW19LongCookie(t *testing.T) { adaptertest.LongCookieCosts(t, longCookie(t)) }

func BenchmarkLongCookie(b *testing.B) { adaptertest.BenchmarkLongCookie(b, longCookie(b)) }
