package fibersession_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/adaptor"
	"github.com/gofiber/fiber/v2/middleware/encryptcookie"
	"github.com/gofiber/fiber/v2/middleware/recover"
	"github.com/valyala/fasthttp"

	fibersession "github.com/gensession/gensession/adapters/fiber"
	"github.com/gensession/gensession/adapters/internal/adaptertest"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

const count core.Key[int] = "count"

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

func add(c *fiber.Ctx) error {
	s, err := fibersession.From(c)
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
	res, err := app.Test(req, -1)
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
			app := fiber.New(fiber.Config{ErrorHandler: func(ctx *fiber.Ctx, err error) error {
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
			app.Use(fibersession.New(m, nil))
			app.Get("/*", func(ctx *fiber.Ctx) error {
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
		app.Use(fibersession.New(m, nil))
		app.Get("/", func(c *fiber.Ctx) error {
			s, err := fibersession.From(c)
			if err != nil {
				return err
			}
			if err := count.Set(s, 1); err != nil {
				return err
			}
			return s.Save(c.UserContext())
		})
		store.Before(failing(core.ErrTimeout, storetest.OpSetVersion))
		want(t, app, new(jartest.Browser), "/", 503, "Service Unavailable")
	})

	t.Run("so does one of a change that comes too late", func(t *testing.T) {
		m, _ := newManager(t, core.Options{})
		app := fiber.New()
		app.Use(fibersession.New(m, nil))
		app.Get("/gone", func(c *fiber.Ctx) error {
			s, err := fibersession.From(c)
			if err != nil {
				return err
			}
			if err := s.Destroy(c.UserContext()); err != nil {
				return err
			}
			return count.Set(s, 1)
		})
		app.Get("/other", func(c *fiber.Ctx) error {
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
		app := fiber.New(fiber.Config{ErrorHandler: func(c *fiber.Ctx, err error) error {
			got = err
			return c.Status(400).SendString("Bad Request")
		}})
		app.Use(fibersession.New(m, nil))
		app.Get("/", func(c *fiber.Ctx) error { return errors.Join(add(c), mine) })
		app.Get("/teapot", func(c *fiber.Ctx) error {
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
		app := fiber.New(fiber.Config{ErrorHandler: func(c *fiber.Ctx, err error) error {
			s, e := fibersession.From(c)
			if e != nil {
				return e
			}
			late := count.Set(s, 100)
			return c.Status(404).SendString(fmt.Sprint(count.Get(s), errors.Is(late, core.ErrCommitted)))
		}})
		app.Use(fibersession.New(m, nil), func(c *fiber.Ctx) error {
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
	session := fibersession.New(m, nil)
	for name, mount := range map[string]func(app *fiber.App){
		"app.Use":       func(app *fiber.App) { app.Use(session); app.Get("/a/b", add) },
		"group":         func(app *fiber.App) { app.Group("/a", session).Get("/b", add) },
		"group of two":  func(app *fiber.App) { app.Group("/a", session).Group("/", session).Get("/b", add) },
		"route":         func(app *fiber.App) { app.Get("/a/b", session, add) },
		"parameter":     func(app *fiber.App) { app.Use(session); app.Get("/:x/:y", add) },
		"sub-app":       func(app *fiber.App) { sub := fiber.New(); sub.Use(session); sub.Get("/b", add); app.Mount("/a", sub) },
		"above sub-app": func(app *fiber.App) { sub := fiber.New(); sub.Get("/b", add); app.Use(session); app.Mount("/a", sub) },
		"K32 above and below": func(app *fiber.App) {
			sub := fiber.New()
			sub.Use(session)
			sub.Get("/b", add)
			app.Use(session)
			app.Mount("/a", sub)
		},
		"below a panic": func(app *fiber.App) {
			app.Use(recover.New(), session)
			app.Get("/a/b", add)
		},
		"a path that is rewritten": func(app *fiber.App) {
			app.Use(session)
			app.Get("/a/b", func(c *fiber.Ctx) error { c.Path("/x"); return c.RestartRouting() })
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
	app.Use(func(c *fiber.Ctx) error { c.Path("/app"); return c.Next() }, fibersession.New(m, nil))
	app.Use(func(c *fiber.Ctx) error {
		_, err := fibersession.From(c)
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
		app.Use(fibersession.New(m, &fibersession.Options{Next: func(c *fiber.Ctx) bool { return c.Path() == "/free" }}))
		app.Use(func(c *fiber.Ctx) error {
			_, err := fibersession.From(c)
			return c.SendString(fmt.Sprint(errors.Is(err, core.ErrNoSession)))
		})
		want(t, app, new(jartest.Browser), "/free", 200, "true")
		want(t, app, new(jartest.Browser), "/", 200, "false")
	})

	secure := func(t *testing.T, config fiber.Config, o *fibersession.Options, fields ...string) bool {
		t.Helper()
		m, _ := newManager(t, core.Options{})
		app := fiber.New(config)
		app.Use(fibersession.New(m, o), add)
		res, _ := ask(t, app, new(jartest.Browser), "/", fields...)
		return strings.Contains(res.Header.Get("Set-Cookie"), "; secure")
	}
	https := []string{"X-Forwarded-Proto", "https"}
	trusting := func(proxy string) fiber.Config {
		return fiber.Config{EnableTrustedProxyCheck: true, TrustedProxies: []string{proxy}}
	}
	for name, c := range map[string]struct {
		config fiber.Config
		o      *fibersession.Options
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
		"R27 Secure decides, against the default": {o: &fibersession.Options{Secure: func(*fiber.Ctx) bool { return true }}, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := secure(t, c.config, c.o, c.fields...); got != c.want {
				t.Errorf("secure is %t", got)
			}
		})
	}
	t.Run("R27 each app has its own say", func(t *testing.T) {
		m, _ := newManager(t, core.Options{})
		sessions := fibersession.New(m, nil)
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

func TestUserContext(t *testing.T) {
	type mark struct{}
	m, store := newManager(t, core.Options{})
	inner, _ := newManager(t, core.Options{Name: "inner"})
	store.Before(func(ctx context.Context, _ storetest.Op, _ string) error {
		if ctx.Value(mark{}) != "mine" {
			t.Error("the store got another context than c.UserContext")
		}
		return nil
	})
	app := fiber.New()
	app.Use(func(c *fiber.Ctx) error {
		c.SetUserContext(context.WithValue(context.Background(), mark{}, "mine"))
		return c.Next()
	})
	app.Use(fibersession.New(m, nil))
	app.Use(func(c *fiber.Ctx) error {
		before, err := fibersession.From(c)
		if err != nil {
			return err
		}
		if err := c.Next(); err != nil {
			return err
		}
		after, err := fibersession.From(c)
		fromContext, _ := core.From(c.UserContext())
		if before != after || fromContext != before {
			t.Error("above the inner middleware From is not the outer session again")
		}
		return err
	})
	app.Use(fibersession.New(inner, nil))
	app.Get("/", func(c *fiber.Ctx) error {
		s, err := fibersession.From(c)
		if err != nil {
			return err
		}
		if same, err := core.From(c.UserContext()); same != s || err != nil {
			t.Errorf("core.From: %v", err)
		}
		outer, err := fibersession.FromManager(c, m)
		if err != nil || outer == s {
			t.Errorf("FromManager: %v", err)
		}
		// A middleware that replaces the user context must not lose the session.
		c.SetUserContext(context.Background())
		if same, err := fibersession.From(c); same != s || err != nil {
			t.Errorf("From: %v", err)
		}
		return count.Set(outer, 1)
	})
	want(t, app, new(jartest.Browser), "/", 200, "")
}

// Fiber hands its fasthttp request on as a context, its adaptor, too.
func TestW17RequestAsContext(t *testing.T) {
	m, _ := newManager(t, core.Options{})
	visit := func(ctx context.Context) string {
		s, err := core.From(ctx)
		if err != nil {
			return err.Error()
		}
		n, err := count.Update(s, func(n int) int { return n + 1 })
		if err != nil {
			return err.Error()
		}
		return fmt.Sprint(n)
	}
	app := fiber.New()
	app.Use(fibersession.New(m, nil))
	app.Get("/fiber", func(c *fiber.Ctx) error { return c.SendString(visit(c.Context())) })
	app.Get("/nethttp", adaptor.HTTPHandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, visit(r.Context()))
	}))
	var b jartest.Browser
	want(t, app, &b, "/fiber", 200, "1")
	want(t, app, &b, "/nethttp", 200, "2")
}

// As in fasthttpsession: the response goes out without the session's cookie, so
// that saving would leave an orphan in the store.
func TestTimeoutError(t *testing.T) {
	m, store := newManager(t, core.Options{})
	app := fiber.New()
	app.Use(fibersession.New(m, nil))
	var kept *core.Session
	app.Get("/", func(c *fiber.Ctx) error {
		if err := add(c); err != nil {
			return err
		}
		kept, _ = fibersession.From(c)
		c.Context().TimeoutErrorWithCode("too slow", 503)
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

// As in fasthttpsession: the writer runs at once, beside the handler.
func TestStreamWriter(t *testing.T) {
	m, store := newManager(t, core.Options{})
	app := fiber.New()
	committed := make(chan struct{})
	app.Use(func(c *fiber.Ctx) error {
		err := c.Next()
		if c.Path() == "/after" {
			close(committed)
		}
		return err
	})
	app.Use(fibersession.New(m, nil))
	app.Get("/after", func(c *fiber.Ctx) error {
		s, err := fibersession.From(c)
		if err == nil {
			c.Context().SetBodyStreamWriter(func(w *bufio.Writer) {
				<-committed
				_, _ = fmt.Fprint(w, errors.Is(count.Set(s, 7), core.ErrCommitted), " ", count.Get(s))
			})
		}
		return err
	})
	app.Get("/before", func(c *fiber.Ctx) error {
		s, err := fibersession.From(c)
		if err != nil {
			return err
		}
		changed := make(chan error, 1)
		c.Context().SetBodyStreamWriter(func(w *bufio.Writer) {
			changed <- count.Set(s, 7)
			_, _ = w.WriteString("end")
		})
		return <-changed
	})
	app.Get("/read", func(c *fiber.Ctx) error {
		s, err := fibersession.From(c)
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
	app.Use(encryptcookie.New(encryptcookie.Config{Key: encryptcookie.GenerateKey(), Except: []string{"koa.sid", "koa.sid.sig"}}))
	app.Use(fibersession.New(m, nil))
	app.Use(func(c *fiber.Ctx) error {
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
	app.Use(func(c *fiber.Ctx) error {
		c.Cookie(&fiber.Cookie{Name: "first", Value: "1"})
		_ = c.Cookies("koa.sid")
		return c.Next()
	})
	app.Use(fibersession.New(m, nil))
	app.Use(func(c *fiber.Ctx) error {
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
		"adapter=none":  {func(*fiber.Ctx) error { return nil }},
		"adapter=fiber": {fibersession.New(m, nil), func(*fiber.Ctx) error { return nil }},
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
