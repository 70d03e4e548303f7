package fiberv3session_test

import (
	"bufio"
	"io"
	"net"
	"net/url"
	"testing"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/log"
	"github.com/gofiber/fiber/v3/middleware/recover"
	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"

	fasthttpsession "github.com/gensession/gensession/adapters/fasthttp"
	fiberv3session "github.com/gensession/gensession/adapters/fiberv3"
	"github.com/gensession/gensession/adapters/internal/adaptertest"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // the panics that the timeout middleware recovers
	goleak.VerifyTestMain(m,
		// fasthttp's clock of the Date field runs until the program ends, and
		// the cleaner of a worker pool sleeps for ten seconds before it looks
		// whether its server is still there.
		// So does that of the files which Static has open.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*inMemoryCacheManager).handleCleanCache"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

var quiet = fiber.Config{ReadBufferSize: 32 << 10}

func serve(t *testing.T, l net.Listener, app *fiber.App) {
	served := make(chan struct{})
	go func() {
		_ = app.Listener(l, fiber.ListenConfig{DisableStartupMessage: true})
		close(served)
	}()
	t.Cleanup(func() { // not Shutdown, which looks around every 100 ms
		_ = l.Close()
		<-served
	})
}

func TestJar(t *testing.T) {
	jartest.Run(t, func(t *testing.T, l net.Listener, handle func(jartest.Exchange)) {
		app := fiber.New(quiet)
		app.Use(func(c fiber.Ctx) error {
			jar := new(fasthttpsession.Jar)
			jar.Open(c.RequestCtx(), fiberv3session.Secure(c))
			handle(jartest.Exchange{
				Jar:          jar,
				ParseCookies: func() { c.Cookies("a") },
				AddHeader:    c.RequestCtx().Response.Header.Add,
			})
			return nil
		})
		serve(t, l, app)
	})
}

// adapter is what the suite drives.
var adapter = jartest.Adapter{
	HandlerErrors: true,
	Serve: func(t *testing.T, l net.Listener, h jartest.Handler, managers ...*core.Manager) {
		app := fiber.New(quiet)
		app.Use(recover.New())
		for _, m := range managers {
			app.Use(fiberv3session.New(m, nil))
		}
		app.Use(func(c fiber.Ctx) error { return handle(c, h) })
		serve(t, l, app)
	},
}

func TestRules(t *testing.T) { adaptertest.Run(t, adapter) }

func TestGolden(t *testing.T) { adaptertest.Golden(t, adapter) }

func handle(c fiber.Ctx, h jartest.Handler) error {
	target, err := url.ParseRequestURI(c.OriginalURL())
	if err != nil {
		return fiber.ErrBadRequest
	}
	return h(&jartest.Request{
		Ctx:         c.Context(),
		URL:         target,
		From:        func() (*core.Session, error) { return fiberv3session.From(c) },
		FromManager: func(m *core.Manager) (*core.Session, error) { return fiberv3session.FromManager(c, m) },
		Visit:       func() (*core.Visit, error) { return fiberv3session.Visit(c) },
		Guard: func(h jartest.Handler) error {
			return fiberv3session.Handler(func(c fiber.Ctx, _ *core.Session) error { return handle(c, h) })(c)
		},
		SetHeader: c.Set,
		Status:    func(code int) { c.Status(code) },
		Reset:     c.Response().Header.Reset,
		Write:     func(body string) { _, _ = c.WriteString(body) },
		Stream:    func(f func(func(string))) { stream(c, f) },
		Hijack: func(f func(io.ReadWriter)) {
			c.RequestCtx().Hijack(func(conn net.Conn) { f(conn) })
		},
	})
}

// stream writes a body piece by piece, the first when somebody reads it: that
// is when the response is sent. (SetBodyStreamWriter would begin at once.)
func stream(c fiber.Ctx, f func(func(string))) {
	c.Response().ImmediateHeaderFlush = true
	c.RequestCtx().SetBodyStream(&lazy{f: f}, -1)
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
