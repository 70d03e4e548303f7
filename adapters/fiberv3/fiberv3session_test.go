package fiberv3session_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/encryptcookie"
	"github.com/gofiber/fiber/v3/middleware/recover"
	"github.com/gofiber/fiber/v3/middleware/timeout"
	"github.com/valyala/fasthttp"

	fiberv3session "github.com/gensession/gensession/adapters/fiberv3"
	"github.com/gensession/gensession/adapters/internal/adaptertest"
	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

const (
	count  core.Key[int]   = "count"
	things core.Key[[]int] = "things"
)

func newManager(t testing.TB, o core.Options) (*core.Manager, *storetest.Faulty) {
	t.Helper()
	memory := memorystore.New(nil)
	store := storetest.NewFaulty(memory)
	o.Keys = adaptertest.Keys
	m, err := core.New(store, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close(); _ = memory.Close() })
	return m, store
}

func add(c fiber.Ctx) error {
	s, err := fiberv3session.From(c)
	if err != nil {
		return err
	}
	n, err := count.Update(s, func(n int) int { return n + 1 })
	if err != nil {
		return err
	}
	return c.SendString(fmt.Sprint(n))
}

// ask sends a request of that browser through app.Test.
func ask(t *testing.T, app *fiber.App, b *jartest.Browser, target string, fields ...string) (*http.Response, string) {
	t.Helper()
	req := httptest.NewRequest("GET", target, nil)
	if c := b.Cookie(target); c != "" {
		req.Header.Set("Cookie", c)
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	res, err := app.Test(req, fiber.TestConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	b.Take(target, res.Header.Values("Set-Cookie")...)
	return res, string(body)
}

func want(t *testing.T, app *fiber.App, b *jartest.Browser, target string, status int, body string) *http.Response {
	t.Helper()
	res, got := ask(t, app, b, target)
	if res.StatusCode != status || got != body {
		t.Errorf("%s answered %d %q, want %d %q", target, res.StatusCode, got, status, body)
	}
	return res
}

func failing(err error, ops ...storetest.Op) storetest.Hook {
	return func(_ context.Context, op storetest.Op, _ string) error {
		for _, o := range ops {
			if o == op {
				return fmt.Errorf("%w: dial secret.internal", err)
			}
		}
		return nil
	}
}

func TestErrorHandler(t *testing.T) {
	for name, c := range map[string]struct {
		fault  error
		op     storetest.Op
		status int
		is     error
	}{
		"K40 loading failed": {core.ErrUnavailable, storetest.OpGetVersion, 503, core.ErrUnavailable},
		"K41 saving failed":  {core.ErrRefused, storetest.OpSetVersion, 503, core.ErrRefused},
		"K41 too large":      {core.ErrTooLarge, storetest.OpSetVersion, 500, core.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			m, store := newManager(t, core.Options{})
			var got error
			app := fiber.New(fiber.Config{ErrorHandler: func(ctx fiber.Ctx, err error) error {
				got = err
				if len(ctx.Response().Body()) != 0 || ctx.GetRespHeader("Etag") != "" {
					t.Error("the handler's response is still there")
				}
				var f *fiber.Error
				if !errors.As(err, &f) {
					t.Fatalf("no *fiber.Error in %v", err)
				}
				return ctx.Status(f.Code).SendString("shaped by the app")
			}})
			app.Use(fiberv3session.New(m, nil))
			app.Get("/*", func(ctx fiber.Ctx) error {
				ctx.Set("Etag", `"1"`)
				return add(ctx)
			})
			var b jartest.Browser
			want(t, app, &b, "/", 200, "1")
			store.Before(failing(c.fault, c.op))
			res := want(t, app, &b, "/", c.status, "shaped by the app")
			if !errors.Is(got, c.is) || strings.Contains(got.Error(), "secret") {
				t.Errorf("the ErrorHandler got %v", got)
			}
			var ours *core.Error
			if !errors.As(got, &ours) {
				t.Errorf("no *core.Error in %#v", got)
			}
			if n := len(res.Header.Values("Set-Cookie")); n != 0 {
				t.Errorf("%d cookies", n)
			}
			store.Before(nil)
			want(t, app, &b, "/", 200, "2")
		})
	}

	t.Run("an error of the session that a handler returns tells the client nothing", func(t *testing.T) {
		m, store := newManager(t, core.Options{})
		app := fiber.New()
		app.Use(fiberv3session.New(m, nil))
		app.Get("/", func(c fiber.Ctx) error {
			s, err := fiberv3session.From(c)
			if err != nil {
				return err
			}
			if err := count.Set(s, 1); err != nil {
				return err
			}
			return s.Save(c.Context())
		})
		store.Before(failing(core.ErrTimeout, storetest.OpSetVersion))
		want(t, app, new(jartest.Browser), "/", 503, "Service Unavailable")
	})

	t.Run("so does one of a change that comes too late", func(t *testing.T) {
		m, _ := newManager(t, core.Options{})
		app := fiber.New()
		app.Use(fiberv3session.New(m, nil))
		app.Get("/gone", func(c fiber.Ctx) error {
			s, err := fiberv3session.From(c)
			if err != nil {
				return err
			}
			if err := s.Destroy(c.Context()); err != nil {
				return err
			}
			return count.Set(s, 1)
		})
		app.Get("/other", func(c fiber.Ctx) error {
			_, err := m.From(context.Background())
			return err
		})
		want(t, app, new(jartest.Browser), "/gone", 409, "Conflict")
		want(t, app, new(jartest.Browser), "/other", 500, "Internal Server Error")
	})

	t.Run("K27 K41 the handler's error wins and stays as it is", func(t *testing.T) {
		m, store := newManager(t, core.Options{})
		mine := errors.New("mine")
		var got error
		app := fiber.New(fiber.Config{ErrorHandler: func(c fiber.Ctx, err error) error {
			got = err
			return c.Status(400).SendString("Bad Request")
		}})
		app.Use(fiberv3session.New(m, nil))
		app.Get("/", func(c fiber.Ctx) error { return errors.Join(add(c), mine) })
		app.Get("/teapot", func(c fiber.Ctx) error {
			if err := add(c); err != nil {
				return err
			}
			return fiber.ErrTeapot
		})
		store.Before(failing(core.ErrTimeout, storetest.OpSetVersion))
		want(t, app, new(jartest.Browser), "/", 400, "Bad Request")
		if !errors.Is(got, mine) {
			t.Errorf("got %v", got)
		}
		want(t, app, new(jartest.Browser), "/teapot", 400, "Bad Request")
		if got != error(fiber.ErrTeapot) {
			t.Errorf("got %v", got)
		}
	})

	t.Run("K27 a route that is not there is saved too, and the ErrorHandler can read", func(t *testing.T) {
		m, _ := newManager(t, core.Options{})
		app := fiber.New(fiber.Config{ErrorHandler: func(c fiber.Ctx, err error) error {
			s, e := fiberv3session.From(c)
			if e != nil {
				return e
			}
			late := count.Set(s, 100)
			return c.Status(404).SendString(fmt.Sprint(count.Get(s), errors.Is(late, core.ErrCommitted)))
		}})
		app.Use(fiberv3session.New(m, nil), func(c fiber.Ctx) error {
			if err := add(c); err != nil {
				return err
			}
			return c.Next()
		})
		var b jartest.Browser
		want(t, app, &b, "/nowhere", 404, "1 true")
		want(t, app, &b, "/nowhere", 404, "2 true")
	})

	t.Run("without the middleware the default answer is 500 and tells nothing", func(t *testing.T) {
		app := fiber.New()
		app.Get("/", add)
		want(t, app, new(jartest.Browser), "/", 500, "Internal Server Error")
	})
}

func TestWhereItIsMounted(t *testing.T) {
	m, store := newManager(t, core.Options{})
	session := fiberv3session.New(m, nil)
	for name, mount := range map[string]func(app *fiber.App){
		"app.Use":       func(app *fiber.App) { app.Use(session); app.Get("/a/b", add) },
		"group":         func(app *fiber.App) { app.Group("/a", session).Get("/b", add) },
		"group of two":  func(app *fiber.App) { app.Group("/a", session).Group("/", session).Get("/b", add) },
		"route":         func(app *fiber.App) { app.Get("/a/b", session, add) },
		"parameter":     func(app *fiber.App) { app.Use(session); app.Get("/:x/:y", add) },
		"sub-app":       func(app *fiber.App) { sub := fiber.New(); sub.Use(session); sub.Get("/b", add); app.Use("/a", sub) },
		"above sub-app": func(app *fiber.App) { sub := fiber.New(); sub.Get("/b", add); app.Use(session); app.Use("/a", sub) },
		"K32 above and below": func(app *fiber.App) {
			sub := fiber.New()
			sub.Use(session)
			sub.Get("/b", add)
			app.Use(session)
			app.Use("/a", sub)
		},
		"below a panic": func(app *fiber.App) {
			app.Use(recover.New(), session)
			app.Get("/a/b", add)
		},
		"a path that is rewritten": func(app *fiber.App) {
			app.Use(session)
			app.Get("/a/b", func(c fiber.Ctx) error { c.Path("/x"); return c.RestartRouting() })
			app.Get("/x", add)
		},
		"case and slash": func(app *fiber.App) { app.Use("/A", session); app.Get("/A/B/", add) },
	} {
		t.Run(name, func(t *testing.T) {
			app := fiber.New()
			mount(app)
			var b jartest.Browser
			for _, n := range []string{"1", "2", "3"} {
				before := store.Calls(storetest.OpSetVersion)
				want(t, app, &b, "/a/b", 200, n)
				if n := store.Calls(storetest.OpSetVersion) - before; n != 1 {
					t.Errorf("stored %d times", n)
				}
			}
		})
	}
}

func TestPath(t *testing.T) {
	m, _ := newManager(t, core.Options{Cookie: core.CookieOptions{Path: "/app"}})
	app := fiber.New(fiber.Config{UnescapePath: true})
	app.Use(func(c fiber.Ctx) error { c.Path("/app"); return c.Next() }, fiberv3session.New(m, nil))
	app.Use(func(c fiber.Ctx) error {
		_, err := fiberv3session.From(c)
		return c.SendString(fmt.Sprint(errors.Is(err, core.ErrNoSession)))
	})
	// K33: what the browser asked for counts, not what a handler makes of it.
	want(t, app, new(jartest.Browser), "/other", 200, "true")
	want(t, app, new(jartest.Browser), "/app/x?y", 200, "false")
	want(t, app, new(jartest.Browser), "/%61pp", 200, "true")
}

func TestOptions(t *testing.T) {
	t.Run("Next lets a request pass", func(t *testing.T) {
		m, _ := newManager(t, core.Options{})
		app := fiber.New()
		app.Use(fiberv3session.New(m, &fiberv3session.Options{Next: func(c fiber.Ctx) bool { return c.Path() == "/free" }}))
		app.Use(func(c fiber.Ctx) error {
			_, err := fiberv3session.From(c)
			return c.SendString(fmt.Sprint(errors.Is(err, core.ErrNoSession)))
		})
		want(t, app, new(jartest.Browser), "/free", 200, "true")
		want(t, app, new(jartest.Browser), "/", 200, "false")
	})

	secure := func(t *testing.T, config fiber.Config, o *fiberv3session.Options, fields ...string) bool {
		t.Helper()
		m, _ := newManager(t, core.Options{})
		app := fiber.New(config)
		app.Use(fiberv3session.New(m, o), add)
		res, _ := ask(t, app, new(jartest.Browser), "/", fields...)
		return strings.Contains(res.Header.Get("Set-Cookie"), "; secure")
	}
	https := []string{"X-Forwarded-Proto", "https"}
	trusting := func(proxy string) fiber.Config {
		return fiber.Config{TrustProxy: true, TrustProxyConfig: fiber.TrustProxyConfig{Proxies: []string{proxy}}}
	}
	for name, c := range map[string]struct {
		config fiber.Config
		o      *fiberv3session.Options
		fields []string
		want   bool
	}{
		"R27 plain":                               {},
		"R27 nobody is trusted by default":        {fields: https},
		"R27 a trusted proxy":                     {config: trusting("0.0.0.0"), fields: https, want: true},
		"R27 a trusted proxy in capitals":         {config: trusting("0.0.0.0"), fields: []string{"X-Forwarded-Proto", "HTTPS"}, want: true},
		"R27 a trusted proxy that says http":      {config: trusting("0.0.0.0"), fields: []string{"X-Forwarded-Proto", "http"}},
		"R27 a trusted proxy that says nothing":   {config: trusting("0.0.0.0")},
		"R27 somebody who is no trusted proxy":    {config: trusting("10.0.0.1"), fields: https},
		"R27 Secure decides, against the default": {o: &fiberv3session.Options{Secure: func(fiber.Ctx) bool { return true }}, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := secure(t, c.config, c.o, c.fields...); got != c.want {
				t.Errorf("secure is %t", got)
			}
		})
	}
	t.Run("R27 each app has its own say", func(t *testing.T) {
		m, _ := newManager(t, core.Options{})
		sessions := fiberv3session.New(m, nil)
		trusts, trustsNot := fiber.New(trusting("0.0.0.0")), fiber.New()
		trusts.Use(sessions, add)
		trustsNot.Use(sessions, add)
		for range 2 {
			for app, want := range map[*fiber.App]bool{trusts: true, trustsNot: false} {
				res, _ := ask(t, app, new(jartest.Browser), "/", https...)
				if got := strings.Contains(res.Header.Get("Set-Cookie"), "; secure"); got != want {
					t.Errorf("secure is %t, not %t", got, want)
				}
			}
		}
	})
}

func TestContext(t *testing.T) {
	type mark struct{}
	m, store := newManager(t, core.Options{})
	inner, _ := newManager(t, core.Options{Name: "inner"})
	store.Before(func(ctx context.Context, _ storetest.Op, _ string) error {
		if ctx.Value(mark{}) != "mine" {
			t.Error("the store got another context than c.Context")
		}
		return nil
	})
	app := fiber.New()
	app.Use(func(c fiber.Ctx) error {
		c.SetContext(context.WithValue(context.Background(), mark{}, "mine"))
		return c.Next()
	})
	app.Use(fiberv3session.New(m, nil))
	app.Use(func(c fiber.Ctx) error {
		before, err := fiberv3session.From(c)
		if err != nil {
			return err
		}
		if err := c.Next(); err != nil {
			return err
		}
		after, err := fiberv3session.From(c)
		fromContext, _ := core.From(c.Context())
		if before != after || fromContext != before {
			t.Error("above the inner middleware From is not the outer session again")
		}
		return err
	})
	app.Use(fiberv3session.New(inner, nil))
	app.Get("/", func(c fiber.Ctx) error {
		s, err := fiberv3session.From(c)
		if err != nil {
			return err
		}
		if same, err := core.From(c.Context()); same != s || err != nil {
			t.Errorf("core.From: %v", err)
		}
		outer, err := fiberv3session.FromManager(c, m)
		if err != nil || outer == s {
			t.Errorf("FromManager: %v", err)
		}
		// A middleware that replaces the context must not lose the session.
		c.SetContext(context.Background())
		if same, err := fiberv3session.From(c); same != s || err != nil {
			t.Errorf("From: %v", err)
		}
		return count.Set(outer, 1)
	})
	want(t, app, new(jartest.Browser), "/", 200, "")
}

// Fiber's c is a context, and people pass it on.
func TestW17RequestAsContext(t *testing.T) {
	for name, o := range map[string]core.Options{"": {}, "deferred": {Defer: true}} {
		t.Run("W17 c and what is made of it lead to the session, and never reach the store "+name, func(t *testing.T) {
			m, store := newManager(t, o)
			store.Before(func(ctx context.Context, _ storetest.Op, _ string) error {
				if ctx.Value("marked") != nil {
					t.Error("the store got c")
				}
				return nil
			})
			visit := func(ctx context.Context) string {
				s, err := core.From(ctx)
				if err != nil {
					return err.Error()
				}
				n, err := count.Update(s, func(n int) int { return n + 1 })
				return fmt.Sprint(n, errors.Join(err, s.Save(ctx), s.Renew(ctx)))
			}
			app := fiber.New()
			app.Use(fiberv3session.New(m, nil), func(c fiber.Ctx) error {
				c.Locals("marked", true)
				return c.Next()
			})
			app.Get("/c", func(c fiber.Ctx) error { return c.SendString(visit(c)) })
			app.Get("/derived", func(c fiber.Ctx) error {
				ctx, cancel := context.WithCancel(c)
				defer cancel()
				return c.SendString(visit(ctx))
			})
			app.Get("/context", func(c fiber.Ctx) error { return c.SendString(visit(c.Context())) })
			app.Get("/request", func(c fiber.Ctx) error { return c.SendString(visit(c.RequestCtx())) })
			app.Get("/handlerfunc", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, visit(r.Context()))
			}))
			app.Get("/func", func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, visit(r.Context()))
			})
			app.Get("/session", httpsession.HandlerFunc(func(w http.ResponseWriter, r *http.Request, _ *core.Session) error {
				_, err := io.WriteString(w, visit(r.Context()))
				return err
			}))
			app.Get("/fasthttp", fasthttp.RequestHandler(func(ctx *fasthttp.RequestCtx) { _, _ = ctx.WriteString(visit(ctx)) }))
			var b jartest.Browser
			for i, target := range []string{"/c", "/derived", "/context", "/request", "/handlerfunc", "/func", "/session", "/fasthttp"} {
				want(t, app, &b, target, 200, fmt.Sprint(i+1, " <nil>"))
			}
		})
	}
}

func TestPanics(t *testing.T) {
	panics := func(c fiber.Ctx) error {
		if err := add(c); err != nil {
			return err
		}
		panic("boom")
	}
	for name, mount := range map[string]func(app *fiber.App, session fiber.Handler){
		"R22 recover outside": func(app *fiber.App, session fiber.Handler) { app.Use(recover.New(), session, panics) },
		"P22 W13 recover inside": func(app *fiber.App, session fiber.Handler) {
			app.Use(session, recover.New(), fiberv3session.Guard, panics)
		},
		"P22 W13 the timeout middleware": func(app *fiber.App, session fiber.Handler) {
			guarded := fiberv3session.Handler(func(c fiber.Ctx, _ *core.Session) error { return panics(c) })
			app.Use(session, timeout.New(guarded, timeout.Config{Timeout: time.Hour}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, store := newManager(t, core.Options{})
			app := fiber.New()
			mount(app, fiberv3session.New(m, nil))
			res, _ := ask(t, app, new(jartest.Browser), "/")
			if res.StatusCode != 500 || len(res.Header.Values("Set-Cookie")) != 0 || store.Calls(storetest.OpSetVersion) != 0 {
				t.Errorf("answered %d, %d cookies, stored %d times",
					res.StatusCode, len(res.Header.Values("Set-Cookie")), store.Calls(storetest.OpSetVersion))
			}
		})
	}
}

// As in fasthttpsession: the response goes out without the session's cookie, so
// that saving would leave an orphan in the store.
func TestTimeoutError(t *testing.T) {
	m, store := newManager(t, core.Options{})
	app := fiber.New()
	app.Use(fiberv3session.New(m, nil))
	var kept *core.Session
	app.Get("/", func(c fiber.Ctx) error {
		if err := add(c); err != nil {
			return err
		}
		kept, _ = fiberv3session.From(c)
		c.RequestCtx().TimeoutErrorWithCode("too slow", 503)
		return nil
	})
	res := want(t, app, new(jartest.Browser), "/", 503, "too slow")
	if len(res.Header.Values("Set-Cookie")) != 0 || store.Calls(storetest.OpSetVersion) != 0 {
		t.Errorf("%d cookies, stored %d times", len(res.Header.Values("Set-Cookie")), store.Calls(storetest.OpSetVersion))
	}
	if err := count.Set(kept, 2); !errors.Is(err, core.ErrCommitted) {
		t.Errorf("afterwards: %v", err)
	}
}

// The timeout middleware answers while its handler still runs.
func TestTimeoutMiddleware(t *testing.T) {
	m, store := newManager(t, core.Options{})
	app := fiber.New()
	app.Use(fiberv3session.New(m, nil))
	answered, late := make(chan struct{}), make(chan error, 1)
	app.Get("/slow", timeout.New(func(c fiber.Ctx) error {
		s, err := fiberv3session.From(c)
		if err != nil {
			late <- err
			return err
		}
		list := []int{1}
		if err := things.Set(s, list); err != nil {
			late <- err
			return err
		}
		for i := 0; ; i++ { // changes in place, while the answer is on its way
			select {
			case <-answered:
				late <- count.Set(s, 1)
				return nil
			default:
				list[0] = i
			}
		}
	}, timeout.Config{Timeout: time.Millisecond}))
	app.Get("/", timeout.New(add, timeout.Config{Timeout: time.Hour}))
	var b jartest.Browser
	want(t, app, &b, "/", 200, "1")
	res := want(t, app, &b, "/slow", 408, "Request Timeout")
	close(answered)
	if err := <-late; !errors.Is(err, core.ErrCommitted) {
		t.Errorf("a change after the answer got %v", err)
	}
	if n := store.Calls(storetest.OpSetVersion); len(res.Header.Values("Set-Cookie")) != 0 || n != 1 {
		t.Errorf("%d cookies, stored %d times", len(res.Header.Values("Set-Cookie")), n)
	}
	want(t, app, &b, "/", 200, "2")
}

// What sends, or closes, before the handler has returned.
func TestEndAndDrop(t *testing.T) {
	m, store := newManager(t, core.Options{})
	saved := make(chan struct{}, 10) // the answer may come before
	store.After(func(_ context.Context, op storetest.Op, _ string) error {
		if op == storetest.OpSetVersion {
			saved <- struct{}{}
		}
		return nil
	})
	app := fiber.New(quiet)
	app.Use(fiberv3session.New(m, nil))
	app.Get("/", add)
	app.Get("/end", func(c fiber.Ctx) error {
		return errors.Join(add(c), c.End())
	})
	app.Get("/save-end", func(c fiber.Ctx) error {
		s, err := fiberv3session.From(c)
		if err != nil {
			return err
		}
		return errors.Join(add(c), s.Save(c), c.End())
	})
	app.Get("/drop", func(c fiber.Ctx) error { return errors.Join(add(c), c.Drop()) })
	app.Get("/hints", func(c fiber.Ctx) error {
		return errors.Join(c.SendEarlyHints([]string{"</x.css>; rel=preload"}), add(c))
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l, app)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(b *jartest.Browser, target string) (body string, cookies int, err error) {
		req, err := http.NewRequest("GET", "http://"+l.Addr().String()+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Cookie", b.Cookie("/"))
		res, err := client.Do(req)
		if err != nil {
			return "", 0, err
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		lines := res.Header.Values("Set-Cookie")
		b.Take("/", lines...)
		return string(text), len(lines), err
	}
	for _, c := range []struct {
		what, target string
		cookies      int
		then         string // what the next request counts
	}{
		{"End after a Save has the cookie", "/save-end", 2, "2"},
		{"End without one has none", "/end", 0, "1"},
		{"early hints come before", "/hints", 2, "2"},
	} {
		t.Run(c.what, func(t *testing.T) {
			var b jartest.Browser
			if body, n, err := get(&b, c.target); err != nil || body != "1" || n != c.cookies {
				t.Errorf("got %q, %d cookies, %v", body, n, err)
			}
			<-saved // also without a cookie
			if body, _, err := get(&b, "/"); err != nil || body != c.then {
				t.Errorf("then %q, %v", body, err)
			}
			<-saved
		})
	}
	t.Run("Drop answers nothing, and what was changed is stored", func(t *testing.T) {
		var b jartest.Browser
		if _, _, err := get(&b, "/"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := get(&b, "/drop"); err == nil {
			t.Error("answered")
		}
		<-saved
		<-saved
		if body, _, err := get(&b, "/"); err != nil || body != "3" {
			t.Errorf("then %q, %v", body, err)
		}
	})
}

// As in fasthttpsession: the writer runs at once, beside the handler.
func TestStreamWriter(t *testing.T) {
	m, store := newManager(t, core.Options{})
	app := fiber.New()
	committed := make(chan struct{})
	app.Use(func(c fiber.Ctx) error {
		err := c.Next()
		if c.Path() == "/after" {
			close(committed)
		}
		return err
	})
	app.Use(fiberv3session.New(m, nil))
	app.Get("/after", func(c fiber.Ctx) error {
		s, err := fiberv3session.From(c)
		if err == nil {
			_ = c.SendStreamWriter(func(w *bufio.Writer) {
				<-committed
				_, _ = fmt.Fprint(w, errors.Is(count.Set(s, 7), core.ErrCommitted), " ", count.Get(s))
			})
		}
		return err
	})
	app.Get("/before", func(c fiber.Ctx) error {
		s, err := fiberv3session.From(c)
		if err != nil {
			return err
		}
		changed := make(chan error, 1)
		_ = c.SendStreamWriter(func(w *bufio.Writer) {
			changed <- count.Set(s, 7)
			_, _ = w.WriteString("end")
		})
		return <-changed
	})
	app.Get("/read", func(c fiber.Ctx) error {
		s, err := fiberv3session.From(c)
		if err != nil {
			return err
		}
		return c.SendString(fmt.Sprint(count.Get(s)))
	})
	var browser jartest.Browser
	want(t, app, &browser, "/after", 200, "true 0")
	if n := store.Calls(storetest.OpSetVersion); n != 0 {
		t.Errorf("after the commit: stored %d times", n)
	}
	want(t, app, &browser, "/before", 200, "end")
	want(t, app, &browser, "/read", 200, "7")
	if n := store.Calls(storetest.OpSetVersion); n != 1 {
		t.Errorf("before the commit: stored %d times", n)
	}
}

func TestEncryptCookie(t *testing.T) {
	m, _ := newManager(t, core.Options{})
	app := fiber.New()
	app.Use(encryptcookie.New(encryptcookie.Config{Key: encryptcookie.GenerateKey(32), Except: []string{"koa.sid", "koa.sid.sig"}}))
	app.Use(fiberv3session.New(m, nil))
	app.Use(func(c fiber.Ctx) error {
		c.Cookie(&fiber.Cookie{Name: "other", Value: "plain"})
		return add(c)
	})
	var b jartest.Browser
	for _, n := range []string{"1", "2", "3"} {
		want(t, app, &b, "/", 200, n)
	}
	if v, ok := b.Value("/", "other"); !ok || v == "plain" {
		t.Error("the other cookie is not encrypted")
	}
}

// Fiber's own cookies and the session's leave each other alone.
func TestOtherCookies(t *testing.T) {
	m, _ := newManager(t, core.Options{})
	app := fiber.New()
	app.Use(func(c fiber.Ctx) error {
		c.Cookie(&fiber.Cookie{Name: "first", Value: "1"})
		_ = c.Cookies("koa.sid")
		return c.Next()
	})
	app.Use(fiberv3session.New(m, nil))
	app.Use(func(c fiber.Ctx) error {
		c.Cookie(&fiber.Cookie{Name: "second", Value: "2"})
		return add(c)
	})
	var b jartest.Browser
	for _, n := range []string{"1", "2", "3"} {
		res := want(t, app, &b, "/", 200, n)
		var names []string
		for _, line := range res.Header.Values("Set-Cookie") {
			name, _, _ := strings.Cut(line, "=")
			names = append(names, name)
		}
		if got := strings.Join(names, " "); got != "first second koa.sid koa.sid.sig" {
			t.Errorf("got %s", got)
		}
	}
}

// Beside what plain fasthttp makes and the path, the user context costs nothing.
func BenchmarkUntouched(b *testing.B) {
	m, _ := newManager(b, core.Options{Defer: true})
	for name, handlers := range map[string][]any{
		"adapter=none":  {func(fiber.Ctx) error { return nil }},
		"adapter=fiber": {fiberv3session.New(m, nil), func(fiber.Ctx) error { return nil }},
	} {
		b.Run(name, func(b *testing.B) {
			app := fiber.New()
			app.Use(handlers...)
			h := app.Handler()
			ctx := new(fasthttp.RequestCtx)
			ctx.Init(new(fasthttp.Request), nil, nil)
			b.ReportAllocs()
			for b.Loop() {
				h(ctx)
				ctx.ResetUserValues() // as a server does between requests
			}
		})
	}
}
