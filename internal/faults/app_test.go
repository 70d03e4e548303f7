package faults_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	fasthttpsession "github.com/gensession/gensession/adapters/fasthttp"
	fibersession "github.com/gensession/gensession/adapters/fiber"
	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
)

// An exchange is a request in the terms of no framework.
type exchange struct {
	ctx    context.Context
	path   string
	user   string // who asks, from a field of the request
	from   func() (*core.Session, error)
	answer func(body string)
}

// A handler answers a request. Its error is answered with core.Status of it.
type handler func(x exchange) error

// userField tells the handler who asks. It stands for what an application
// would find out by a password.
const userField = "X-User"

// adapters are the ways to serve a handler below the sessions of a manager.
var adapters = []struct {
	name  string
	serve func(l net.Listener, m *core.Manager, h handler) (stop func())
}{
	{"nethttp", func(l net.Listener, m *core.Manager, h handler) func() {
		s := &http.Server{
			ErrorLog: log.New(io.Discard, "", 0),
			Handler: httpsession.New(m, nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				err := h(exchange{
					ctx: r.Context(), path: r.URL.Path, user: r.Header.Get(userField),
					from:   func() (*core.Session, error) { return httpsession.From(r) },
					answer: func(body string) { _, _ = io.WriteString(w, body) },
				})
				if err != nil {
					http.Error(w, "failed", core.Status(err))
				}
			})),
		}
		go func() { _ = s.Serve(l) }()
		return func() { _ = s.Close() }
	}},
	{"fasthttp", func(l net.Listener, m *core.Manager, h handler) func() {
		return run(l, &fasthttp.Server{
			Logger: log.New(io.Discard, "", 0),
			Handler: fasthttpsession.New(m, nil)(func(ctx *fasthttp.RequestCtx) {
				c, err := fasthttpsession.Context(ctx)
				if err == nil {
					err = h(exchange{
						ctx: c, path: string(ctx.Path()), user: string(ctx.Request.Header.Peek(userField)),
						from:   func() (*core.Session, error) { return fasthttpsession.From(ctx) },
						answer: func(body string) { _, _ = ctx.WriteString(body) },
					})
				}
				if err != nil {
					ctx.SetStatusCode(core.Status(err))
					ctx.SetBodyString("failed")
				}
			}),
		})
	}},
	{"fiber", func(l net.Listener, m *core.Manager, h handler) func() {
		app := fiber.New(fiber.Config{DisableStartupMessage: true})
		app.Use(fibersession.New(m, nil), func(c *fiber.Ctx) error {
			return h(exchange{
				ctx: c.UserContext(), path: strings.Clone(c.Path()), user: strings.Clone(c.Get(userField)),
				from:   func() (*core.Session, error) { return fibersession.From(c) },
				answer: func(body string) { _, _ = c.WriteString(body) },
			})
		})
		app.Handler() // completes the app
		return run(l, app.Server())
	}},
}

func run(l net.Listener, s *fasthttp.Server) (stop func()) {
	served := make(chan struct{})
	go func() {
		_ = s.Serve(l)
		close(served)
	}()
	return func() { // not Shutdown, which looks around every 100 ms
		_ = l.Close()
		<-served
	}
}

// An app is a server with sessions.
type app struct {
	manager *core.Manager
	errs    *witness
	busy    atomic.Int64 // handlers that run, also for browsers that have hung up
	client  *http.Client
	url     string
}

var keys = [][]byte{[]byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")}

// start serves h on the adapter of that name. The default decisions about
// errors hold: there is no hook, and the witness reads the log.
func start(t testing.TB, adapter string, store core.Store, o core.Options, h handler) *app {
	t.Helper()
	a := &app{errs: &witness{}}
	o.Keys, o.Logger = keys, slog.New(a.errs)
	m, err := core.New(store, &o)
	if err != nil {
		t.Fatal(err)
	}
	a.manager = m
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a.url = "http://" + l.Addr().String()
	counted := func(x exchange) error {
		a.busy.Add(1)
		defer a.busy.Add(-1)
		return h(x)
	}
	var stop func()
	for _, ad := range adapters {
		if ad.name == adapter {
			stop = ad.serve(l, m, counted)
		}
	}
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 512}
	a.client = &http.Client{Transport: transport, Timeout: time.Minute} // fails a hanging test, asserts nothing
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		stop()
		_ = m.Close()
		for end := time.Now().Add(30 * time.Second); a.busy.Load() > 0 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		a.errs.mu.Lock()
		defer a.errs.mu.Unlock()
		for i, text := range a.errs.leaked[:min(len(a.errs.leaked), 3)] {
			t.Errorf("%d of %d messages with what may be a secret: %s", i+1, len(a.errs.leaked), text)
		}
	})
	return a
}

// A witness is a slog.Handler that keeps the errors of sessions: what a hook
// would see, without deciding anything.
type witness struct {
	mu     sync.Mutex
	seen   []error
	leaked []string // messages with what may be an id, a signature or a key
}

// secretShape is that of ids, signatures and hashes. No word is as long.
var secretShape = regexp.MustCompile(`[A-Za-z0-9_-]{32}`)

func (w *witness) Enabled(context.Context, slog.Level) bool { return true }
func (w *witness) WithAttrs([]slog.Attr) slog.Handler       { return w }
func (w *witness) WithGroup(string) slog.Handler            { return w }

func (w *witness) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += fmt.Sprintf(" %s=%+v", a.Key, a.Value)
		return true
	})
	if secretShape.MatchString(text) {
		w.mu.Lock()
		w.leaked = append(w.leaked, text)
		w.mu.Unlock()
	}
	if strings.HasPrefix(r.Message, "session store ") {
		return nil // about the store, and about no request
	}
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok {
			w.mu.Lock()
			w.seen = append(w.seen, err)
			w.mu.Unlock()
		}
		return true
	})
	return nil
}

// take returns the errors since the last time, joined.
func (w *witness) take() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := errors.Join(w.seen...)
	w.seen = nil
	return err
}

// A visitor is a browser before the app.
type visitor struct {
	app  *app
	name string
	jar  jartest.Browser
}

// A reply is a response, read to its end.
type reply struct {
	status  int
	body    string
	live    bool      // it sets the session's cookie
	removes bool      // it clears the session's cookie
	begun   time.Time // when it was sent
	took    time.Duration
}

// get asks for path and keeps the cookies.
func (v *visitor) get(path string) (reply, error) { return v.getUntil(context.Background(), path) }

// getUntil is get of a browser that hangs up when ctx ends.
func (v *visitor) getUntil(ctx context.Context, path string) (reply, error) {
	// A client that opens thousands of connections takes long for that.
	var wrote atomic.Pointer[time.Time]
	trace := &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) {
		now := time.Now()
		wrote.Store(&now)
	}}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), "GET", v.app.url+path, nil)
	if err != nil {
		return reply{}, err
	}
	req.Header.Set(userField, v.name)
	if c := v.jar.Cookie(path); c != "" {
		req.Header.Set("Cookie", c)
	}
	res, err := v.app.client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	lines := res.Header.Values("Set-Cookie")
	v.jar.Take(path, lines...)
	r := reply{status: res.StatusCode, body: string(body), begun: *wrote.Load()}
	r.took = time.Since(r.begun)
	for _, line := range lines {
		if value, ok := strings.CutPrefix(line, "koa.sid="); ok {
			if strings.HasPrefix(value, ";") {
				r.removes = true
			} else {
				r.live = true
			}
		}
	}
	return r, err
}

func (r reply) String() string {
	return fmt.Sprintf("%d %q, live cookie: %t, removal: %t, in %v", r.status, r.body, r.live, r.removes, r.took.Round(time.Millisecond))
}

// cookiePairs are the pairs of a Cookie field.
func cookiePairs(field string) []string { return strings.Split(field, "; ") }

// The witness notices a secret in a message, or its silence proves nothing.
func TestTheWitnessHearsSecrets(t *testing.T) {
	w := &witness{}
	l := slog.New(w)
	l.Info("session saved", "session", "id:0123456789abcdef")
	if len(w.leaked) > 0 {
		t.Errorf("a fingerprint is no secret: %q", w.leaked)
	}
	l.Debug("session saved", "err", fmt.Errorf("get koa:sess:%s: refused", "Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA"))
	if len(w.leaked) != 1 {
		t.Errorf("it has heard %q", w.leaked)
	}
}
