package fiberv3session_test

import (
	"bufio"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v3"
	"github.com/valyala/fasthttp"

	fiberv3session "github.com/gensession/gensession/adapters/fiberv3"
	"github.com/gensession/gensession/adapters/internal/adaptertest"
	"github.com/gensession/gensession/core"
)

func longCookie(tb testing.TB) func(request string) func() {
	m, _ := newManager(tb, core.Options{})
	app := fiber.New(quiet)
	app.Use(fiberv3session.New(m, nil))
	app.Get("/", func(c fiber.Ctx) error {
		_, err := fiberv3session.From(c)
		return err
	})
	h := app.Handler()
	return func(request string) func() {
		ctx := new(fasthttp.RequestCtx)
		ctx.Init(new(fasthttp.Request), nil, nil)
		if err := ctx.Request.Read(bufio.NewReaderSize(strings.NewReader(request), 2<<20)); err != nil {
			tb.Fatal(err)
		}
		return func() {
			ctx.ResetUserValues() // a new request
			if h(ctx); ctx.Response.StatusCode() != 200 {
				tb.Errorf("answered %d", ctx.Response.StatusCode())
			}
		}
	}
}

func TestW19LongCookie(t *testing.T) { adaptertest.LongCookieCosts(t, longCookie(t)) }

func BenchmarkLongCookie(b *testing.B) { adaptertest.BenchmarkLongCookie(b, longCookie(b)) }
