package fasthttpsession_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/url"
	"testing"

	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"

	fasthttpsession "github.com/gensession/gensession/adapters/fasthttp"
	"github.com/gensession/gensession/adapters/internal/adaptertest"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// fasthttp's clock of the Date field runs until the program ends, and
		// the cleaner of a worker pool sleeps for ten seconds before it looks
		// whether its server is still there. So does the cache of SendFile.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*inMemoryCacheManager).handleCleanCache"))
}

// serve runs a server with h until the test ends. A panic is answered 500.
func serve(t *testing.T, l net.Listener, s *fasthttp.Server, h fasthttp.RequestHandler) {
	s.Handler = func(ctx *fasthttp.RequestCtx) {
		defer func() {
			if recover() != nil {
				ctx.Error("panic", fasthttp.StatusInternalServerError)
			}
		}()
		h(ctx)
	}
	s.ReadBufferSize = 32 << 10
	s.Logger = log.New(io.Discard, "", 0)
	served := make(chan struct{})
	go func() {
		_ = s.Serve(l)
		close(served)
	}()
	t.Cleanup(func() { // not Shutdown, which looks around every 100 ms
		_ = l.Close()
		<-served
	})
}

func TestJar(t *testing.T) {
	for name, server := range map[string]func() *fasthttp.Server{
		"default":       func() *fasthttp.Server { return &fasthttp.Server{} },
		"names as sent": func() *fasthttp.Server { return &fasthttp.Server{DisableHeaderNamesNormalizing: true} },
		"less memory":   func() *fasthttp.Server { return &fasthttp.Server{ReduceMemoryUsage: true} },
		"no default fields": func() *fasthttp.Server {
			return &fasthttp.Server{NoDefaultContentType: true, NoDefaultDate: true, NoDefaultServerHeader: true}
		},
	} {
		t.Run(name, func(t *testing.T) {
			jartest.Run(t, func(t *testing.T, l net.Listener, handle func(jartest.Exchange)) {
				serve(t, l, server(), func(ctx *fasthttp.RequestCtx) {
					handle(jartest.Exchange{
						Jar:          fasthttpsession.NewJar(ctx, ctx.IsTLS()),
						ParseCookies: func() { ctx.Request.Header.Cookie("a") },
						AddHeader:    ctx.Response.Header.Add,
					})
				})
			})
		})
	}
}

// adapter is what the suite drives.
var adapter = jartest.Adapter{
	Serve: func(t *testing.T, l net.Listener, h jartest.Handler, managers ...*core.Manager) {
		handler := func(ctx *fasthttp.RequestCtx) { handle(ctx, h) }
		for i := len(managers) - 1; i >= 0; i-- {
			handler = fasthttpsession.New(managers[i], nil)(handler)
		}
		serve(t, l, &fasthttp.Server{}, handler)
	},
}

func TestRules(t *testing.T) { adaptertest.Run(t, adapter) }

func TestGolden(t *testing.T) { adaptertest.Golden(t, adapter) }

func handle(ctx *fasthttp.RequestCtx, h jartest.Handler) {
	if err := call(ctx, h); err != nil {
		status, text := core.Status(err), err.Error()
		if !errors.Is(err, jartest.ErrHandler) {
			text = fasthttp.StatusMessage(status)
		}
		ctx.SetStatusCode(status)
		ctx.SetBodyString(text)
	}
}

func call(ctx *fasthttp.RequestCtx, h jartest.Handler) error {
	target, err := url.ParseRequestURI(string(ctx.RequestURI()))
	if err != nil {
		return err
	}
	return h(&jartest.Request{
		Ctx:         background(ctx),
		URL:         target,
		From:        func() (*core.Session, error) { return fasthttpsession.From(ctx) },
		FromManager: func(m *core.Manager) (*core.Session, error) { return fasthttpsession.FromManager(ctx, m) },
		Visit:       func() (*core.Visit, error) { return fasthttpsession.Visit(ctx) },
		Guard: func(h jartest.Handler) (err error) {
			fasthttpsession.Guard(func(ctx *fasthttp.RequestCtx) { err = call(ctx, h) })(ctx)
			return err
		},
		SetHeader: ctx.Response.Header.Set,
		Status:    ctx.SetStatusCode,
		Reset:     ctx.Response.Header.Reset,
		Write:     func(body string) { _, _ = ctx.WriteString(body) },
		Stream:    func(f func(func(string))) { stream(ctx, f) },
		Hijack: func(f func(io.ReadWriter)) {
			ctx.Hijack(func(c net.Conn) { f(c) })
		},
	})
}

func background(ctx *fasthttp.RequestCtx) context.Context {
	if c, err := fasthttpsession.Context(ctx); err == nil {
		return c
	}
	return context.Background()
}

// stream writes a body piece by piece, the first when somebody reads it: that
// is when the response is sent. (SetBodyStreamWriter would begin at once.)
func stream(ctx *fasthttp.RequestCtx, f func(func(string))) {
	ctx.Response.ImmediateHeaderFlush = true
	ctx.SetBodyStream(&lazy{f: f}, -1)
}

type lazy struct {
	f func(func(string))
	r io.ReadCloser
}

func (l *lazy) Read(b []byte) (int, error) {
	if l.r == nil {
		l.r = fasthttp.NewStreamReader(func(w *bufio.Writer) {
			l.f(func(s string) {
				_, _ = w.WriteString(s)
				_ = w.Flush()
			})
		})
	}
	return l.r.Read(b)
}

func (l *lazy) Close() error {
	if l.r == nil {
		return nil
	}
	return l.r.Close()
}
