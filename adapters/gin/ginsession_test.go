package ginsession_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	ginsession "github.com/gensession/gensession/adapters/gin"
	"github.com/gensession/gensession/adapters/internal/adaptertest"
	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

const count core.Key[int] = "count"

var errTeapot = errors.New("no coffee")

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

func refuse(store *storetest.Faulty) {
	store.Before(func(_ context.Context, op storetest.Op, _ string) error {
		if op == storetest.OpSetVersion || op == storetest.OpBatch {
			return fmt.Errorf("%w: dial secret.internal", core.ErrRefused)
		}
		return nil
	})
}

// add counts, and answers nothing.
func add(t *testing.T, c *gin.Context) int {
	t.Helper()
	s, err := ginsession.From(c)
	if err != nil {
		t.Error(err)
		return 0
	}
	n, err := count.Update(s, func(n int) int { return n + 1 })
	if err != nil {
		t.Error(err)
	}
	return n
}

func counting(t *testing.T) gin.HandlerFunc {
	return func(c *gin.Context) { c.String(200, "%d", add(t, c)) }
}

// ask sends a request of that browser, without a network.
func ask(h http.Handler, b *jartest.Browser, target string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", target, nil)
	if c := b.Cookie(target); c != "" {
		r.Header.Set("Cookie", c)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	b.Take(target, w.Result().Header.Values("Set-Cookie")...)
	return w
}

func want(t *testing.T, h http.Handler, b *jartest.Browser, target string, status int, body string) *httptest.ResponseRecorder {
	t.Helper()
	w := ask(h, b, target)
	if w.Code != status || strings.TrimSuffix(w.Body.String(), "\n") != body {
		t.Errorf("%s answered %d %q, want %d %q", target, w.Code, w.Body, status, body)
	}
	return w
}

// cookies is how many were sent.
func cookies(w *httptest.ResponseRecorder) int { return len(w.Result().Header.Values("Set-Cookie")) }

func TestWhereItIsMounted(t *testing.T) {
	m, store := newManager(t, core.Options{})
	session := ginsession.New(m, nil)
	through := func(c *gin.Context) { c.Next() }
	for name, mount := range map[string]func(r *gin.Engine) http.Handler{
		"engine": func(r *gin.Engine) http.Handler { r.Use(session); r.GET("/a/b", counting(t)); return r },
		"group":  func(r *gin.Engine) http.Handler { r.Group("/a", session).GET("/b", counting(t)); return r },
		"group of two": func(r *gin.Engine) http.Handler {
			r.Group("/a", session).Group("/", through, session).GET("/b", counting(t))
			return r
		},
		"route":    func(r *gin.Engine) http.Handler { r.GET("/a/b", session, counting(t)); return r },
		"no route": func(r *gin.Engine) http.Handler { r.NoRoute(session, counting(t)); return r },
		"below recovery and log": func(r *gin.Engine) http.Handler {
			r.Use(gin.Logger(), gin.Recovery(), session)
			r.GET("/a/b", counting(t))
			return r
		},
		"around the engine": func(r *gin.Engine) http.Handler {
			r.GET("/a/b", counting(t))
			return httpsession.New(m, nil)(r)
		},
		"K32 around and in the engine": func(r *gin.Engine) http.Handler {
			r.Use(session)
			r.GET("/a/b", counting(t))
			return httpsession.New(m, nil)(r)
		},
		"handled again": func(r *gin.Engine) http.Handler {
			r.Use(session)
			r.GET("/a/b", func(c *gin.Context) { c.Request.URL.Path = "/x"; r.HandleContext(c) })
			r.GET("/x", counting(t))
			return r
		},
		"as net/http handlers": func(r *gin.Engine) http.Handler {
			r.Use(session)
			r.GET("/a/b", gin.WrapH(httpsession.HandlerFunc(func(w http.ResponseWriter, _ *http.Request, s *core.Session) error {
				n, err := count.Update(s, func(n int) int { return n + 1 })
				_, _ = fmt.Fprint(w, n)
				return err
			})))
			return r
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := gin.New()
			h := mount(r)
			var b jartest.Browser
			for _, n := range []string{"1", "2", "3"} {
				before := store.Calls(storetest.OpSetVersion)
				if got := cookies(want(t, h, &b, "/a/b", 200, n)); got != 2 {
					t.Errorf("%d cookies", got)
				}
				if n := store.Calls(storetest.OpSetVersion) - before; n != 1 {
					t.Errorf("stored %d times", n)
				}
			}
		})
	}
}

// answers are the ways of gin to begin a response, and what they answer.
var answers = map[string]struct {
	answer func(c *gin.Context)
	status int
	body   string
}{
	"nothing":         {func(*gin.Context) {}, 200, ""},
	"Status":          {func(c *gin.Context) { c.Status(204) }, 204, ""},
	"AbortWithStatus": {func(c *gin.Context) { c.AbortWithStatus(403) }, 403, ""},
	"AbortWithError":  {func(c *gin.Context) { _ = c.AbortWithError(403, errTeapot) }, 403, ""},
	"AbortWithStatusJSON": {func(c *gin.Context) {
		c.AbortWithStatusJSON(403, gin.H{"a": 1})
	}, 403, `{"a":1}`},
	"JSON":           {func(c *gin.Context) { c.JSON(201, gin.H{"a": 1}) }, 201, `{"a":1}`},
	"String":         {func(c *gin.Context) { c.String(200, "x") }, 200, "x"},
	"Data":           {func(c *gin.Context) { c.Data(200, "text/plain", []byte("x")) }, 200, "x"},
	"Redirect":       {func(c *gin.Context) { c.Redirect(http.StatusNotModified-1, "/elsewhere") }, 303, `<a href="/elsewhere">See Other</a>.` + "\n\n"},
	"WriteHeaderNow": {func(c *gin.Context) { c.Writer.WriteHeaderNow() }, 200, ""},
	"Write":          {func(c *gin.Context) { _, _ = c.Writer.Write([]byte("x")) }, 200, "x"},
	"WriteString":    {func(c *gin.Context) { _, _ = c.Writer.WriteString("x") }, 200, "x"},
	"Flush":          {func(c *gin.Context) { c.Writer.Flush() }, 200, ""},
	"controller":     {func(c *gin.Context) { _ = http.NewResponseController(c.Writer).Flush() }, 200, ""},
	"ReadFrom":       {func(c *gin.Context) { _, _ = io.Copy(c.Writer, strings.NewReader("x")) }, 200, "x"},
	"ServeContent": {func(c *gin.Context) {
		http.ServeContent(c.Writer, c.Request, "x.txt", time.Time{}, strings.NewReader("x"))
	}, 200, "x"},
	"Stream": {func(c *gin.Context) {
		c.Stream(func(w io.Writer) bool { _, _ = io.WriteString(w, "x"); return false })
	}, 200, "x"},
	"SSEvent":  {func(c *gin.Context) { c.SSEvent("a", "b") }, 200, "event:a\ndata:b\n\n"},
	"Hijacked": {func(c *gin.Context) { hijack(c.Writer.Hijack()) }, 200, ""},
	"hijacked by the controller": {func(c *gin.Context) {
		hijack(http.NewResponseController(c.Writer).Hijack())
	}, 200, ""},
}

func hijack(conn net.Conn, _ *bufio.ReadWriter, err error) {
	if err == nil {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		_ = conn.Close()
	}
}

func get(t *testing.T, h http.Handler, target string) (*http.Response, string) {
	t.Helper()
	s := httptest.NewServer(h)
	defer s.Close()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	res, err := client.Get(s.URL + target)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func TestFirstByte(t *testing.T) {
	for name, a := range answers {
		for guarded, below := range map[string][]gin.HandlerFunc{"": nil, ", guarded": {ginsession.Guard}} {
			testFirstByte(t, name, guarded, below, a.answer, a.status, a.body)
		}
	}
}

func testFirstByte(t *testing.T, name, guarded string, below []gin.HandlerFunc, answer func(*gin.Context), status int, text string) {
	t.Run("K30 committed before "+name+guarded, func(t *testing.T) {
		m, store := newManager(t, core.Options{})
		r := gin.New()
		r.Use(ginsession.New(m, nil))
		r.Use(below...)
		r.GET("/", func(c *gin.Context) {
			add(t, c)
			answer(c)
			s, err := ginsession.From(c)
			if err != nil {
				t.Fatal(err)
			}
			if sends := name != "nothing" && name != "Status"; sends != errors.Is(s.Save(c), core.ErrCommitted) {
				t.Errorf("it has sent something: %t, and the session is committed: %t", sends, !sends)
			}
		})
		res, body := get(t, r, "/")
		if res.StatusCode != status || body != text {
			t.Errorf("answered %d %q", res.StatusCode, body)
		}
		if n := len(res.Header.Values("Set-Cookie")); n != 2 && !strings.Contains(strings.ToLower(name), "hijacked") {
			t.Errorf("%d cookies", n)
		}
		if n := store.Calls(storetest.OpSetVersion); n != 1 {
			t.Errorf("stored %d times", n)
		}
	})

	t.Run("K41 the error instead of "+name+guarded, func(t *testing.T) {
		m, store := newManager(t, core.Options{})
		refuse(store)
		r := gin.New()
		r.Use(ginsession.New(m, nil))
		r.Use(below...)
		r.GET("/", func(c *gin.Context) {
			add(t, c)
			c.Header("Etag", `"1"`)
			answer(c)
			if name == "nothing" || name == "Status" {
				return
			}
			if n, err := c.Writer.Write([]byte("more")); n != 0 || !errors.Is(err, core.ErrRefused) {
				t.Errorf("the handler got %d, %v", n, err)
			}
			if !c.IsAborted() || !c.Writer.Written() || c.Writer.Status() != 503 {
				t.Errorf("aborted %t, written %t, status %d", c.IsAborted(), c.Writer.Written(), c.Writer.Status())
			}
		})
		res, body := get(t, r, "/")
		if res.StatusCode != 503 || body != "Service Unavailable\n" || len(res.Header.Values("Set-Cookie")) != 0 || res.Header.Get("Etag") != "" {
			t.Errorf("answered %d %q %v", res.StatusCode, body, res.Header)
		}
	})
}

func TestInformational(t *testing.T) {
	m, _ := newManager(t, core.Options{})
	r := gin.New()
	r.Use(ginsession.New(m, nil))
	r.GET("/", func(c *gin.Context) {
		c.Header("Link", "</x.css>; rel=preload")
		c.Status(http.StatusEarlyHints)
		c.Writer.WriteHeaderNow()
		add(t, c)
		_, _ = c.Writer.WriteString("x")
	})
	var early []int
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, _ textproto.MIMEHeader) error { early = append(early, code); return nil },
	})
	s := httptest.NewServer(r)
	defer s.Close()
	req, err := http.NewRequestWithContext(ctx, "GET", s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if fmt.Sprint(early) != "[103]" || res.StatusCode != 200 || len(res.Header.Values("Set-Cookie")) != 2 {
		t.Errorf("early %v, %d, %d cookies", early, res.StatusCode, len(res.Header.Values("Set-Cookie")))
	}
}

func TestPanics(t *testing.T) {
	custom := gin.CustomRecovery(func(c *gin.Context, _ any) { c.String(500, "recovered") })
	for name, c := range map[string]struct {
		mount  func(r *gin.Engine, session gin.HandlerFunc)
		status int
		body   string
	}{
		"R22 gin.Default":         {func(r *gin.Engine, session gin.HandlerFunc) { r.Use(gin.Logger(), gin.Recovery(), session) }, 500, ""},
		"R22 CustomRecovery":      {func(r *gin.Engine, session gin.HandlerFunc) { r.Use(custom, session) }, 500, "recovered"},
		"R22 no recovery":         {func(r *gin.Engine, session gin.HandlerFunc) { r.Use(session) }, 0, ""},
		"P22 W13 Recovery inside": {func(r *gin.Engine, session gin.HandlerFunc) { r.Use(session, gin.Recovery(), ginsession.Guard) }, 500, ""},
		"P22 W13 CustomRecovery inside": {func(r *gin.Engine, session gin.HandlerFunc) {
			r.Use(session, custom, ginsession.Guard)
		}, 500, "recovered"},
		"P22 W13 and a Handler": {func(r *gin.Engine, session gin.HandlerFunc) {
			r.Use(session, custom, ginsession.Handler(func(c *gin.Context, _ *core.Session) error { c.Next(); return nil }))
		}, 500, "recovered"},
		"P22 W13 below a second one": {func(r *gin.Engine, session gin.HandlerFunc) {
			other, _ := newManager(t, core.Options{Name: "other"})
			r.Use(session, ginsession.New(other, nil), custom, ginsession.Guard, ginsession.Guard)
		}, 500, "recovered"},
		"P22 W13 handled again": {func(r *gin.Engine, session gin.HandlerFunc) {
			r.Use(session, custom, ginsession.Guard, func(c *gin.Context) {
				if c.FullPath() == "/" {
					c.Request.URL.Path = "/again"
					r.HandleContext(c)
					c.Abort()
				}
			})
		}, 500, "recovered"},
	} {
		t.Run(name, func(t *testing.T) {
			m, store := newManager(t, core.Options{})
			r := gin.New()
			c.mount(r, ginsession.New(m, nil))
			var kept *core.Session
			panics := func(c *gin.Context) {
				add(t, c)
				kept, _ = ginsession.From(c)
				panic("boom")
			}
			r.GET("/", panics)
			r.GET("/again", panics)
			w := httptest.NewRecorder()
			func() {
				defer func() {
					if p := recover(); (p != nil) != (c.status == 0) {
						t.Errorf("panicked with %v", p)
					}
				}()
				r.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
			}()
			if c.status != 0 && (w.Code != c.status || w.Body.String() != c.body) {
				t.Errorf("answered %d %q", w.Code, w.Body)
			}
			if cookies(w) != 0 || store.Calls(storetest.OpSetVersion) != 0 {
				t.Errorf("%d cookies, stored %d times", cookies(w), store.Calls(storetest.OpSetVersion))
			}
			if err := count.Set(kept, 2); !errors.Is(err, core.ErrCommitted) {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// What gin's people do with errors: collect them in c.Errors, and format them in a
// middleware.
func TestErrors(t *testing.T) {
	format := func(c *gin.Context) {
		c.Next()
		if len(c.Errors) > 0 {
			status := c.Writer.Status()
			if status == 200 {
				status = 500
			}
			c.JSON(status, gin.H{"error": c.Errors.Last().Error()})
		}
	}
	toErrors := &ginsession.Options{Error: func(c *gin.Context, err error) { _ = c.Error(err) }}

	t.Run("P5 whoever leaves the answer to a middleware has not logged in", func(t *testing.T) {
		for name, mount := range map[string]func(*gin.Engine, gin.HandlerFunc){
			"outside": func(r *gin.Engine, session gin.HandlerFunc) { r.Use(format, session) },
			"inside":  func(r *gin.Engine, session gin.HandlerFunc) { r.Use(session, format) },
		} {
			t.Run(name, func(t *testing.T) {
				m, _ := newManager(t, core.Options{})
				r := gin.New()
				mount(r, ginsession.New(m, nil))
				logIn := func(c *gin.Context) {
					s, err := ginsession.From(c)
					if err != nil {
						t.Fatal(err)
					}
					if err := s.Login(core.LoginOptions{}); err != nil {
						t.Error(err)
					}
				}
				r.GET("/", func(c *gin.Context) { add(t, c); logIn(c); _ = c.Error(errTeapot) })
				r.GET("/answered", func(c *gin.Context) { add(t, c); logIn(c); c.JSON(400, c.Error(errTeapot)) })
				r.GET("/only-noted", func(c *gin.Context) { add(t, c); logIn(c); _ = c.Error(errTeapot); c.Status(204) })
				r.GET("/although", func(c *gin.Context) { add(t, c); logIn(c); _ = c.Error(errTeapot); c.String(200, "") })
				r.GET("/plain", func(c *gin.Context) { add(t, c); _ = c.Error(errTeapot) })
				want(t, r, new(jartest.Browser), "/plain", 500, `{"error":"no coffee"}`)
				for target, loggedIn := range map[string]bool{"/": false, "/answered": false, "/only-noted": true, "/although": true, "/plain": true} {
					var b jartest.Browser
					w := ask(r, &b, target)
					if got := cookies(w) > 0; got != loggedIn {
						t.Errorf("%s: saved %t", target, got)
					}
				}
			})
		}
	})

	t.Run("an error of the session", func(t *testing.T) {
		for name, c := range map[string]struct {
			mount func(*gin.Engine, *core.Manager)
			body  string
		}{
			"is answered": {func(r *gin.Engine, m *core.Manager) {
				r.Use(format, ginsession.New(m, nil))
			}, "Service Unavailable"},
			"goes to c.Errors": {func(r *gin.Engine, m *core.Manager) {
				r.Use(format, ginsession.New(m, toErrors))
			}, `{"error":"Service Unavailable"}`},
			"of the inner one of two": {func(r *gin.Engine, m *core.Manager) {
				outer, _ := newManager(t, core.Options{Name: "outer"})
				r.Use(format, ginsession.New(outer, nil), ginsession.New(m, nil))
			}, "Service Unavailable"},
			"has its status if nobody answers it": {func(r *gin.Engine, m *core.Manager) {
				r.Use(ginsession.New(m, toErrors), format)
			}, ""},
		} {
			t.Run(name, func(t *testing.T) {
				mine := errors.New("mine")
				m, store := newManager(t, core.Options{FailFast: true, Hooks: core.Hooks{Error: func(_ context.Context, err *core.Error) error {
					return fmt.Errorf("%w: secret: %w", mine, err.Err)
				}}})
				r := gin.New()
				var errs []*gin.Error
				r.Use(func(c *gin.Context) { c.Next(); errs = c.Errors })
				c.mount(r, m)
				called := false
				r.GET("/", counting(t), func(*gin.Context) { called = true })
				var b jartest.Browser
				want(t, r, &b, "/", 200, "1")
				for _, ops := range [][]storetest.Op{{storetest.OpGetVersion}, {storetest.OpSetVersion}} {
					called = false
					store.Before(func(_ context.Context, op storetest.Op, _ string) error {
						if op == ops[0] {
							return core.ErrRefused
						}
						return nil
					})
					w := want(t, r, &b, "/", 503, c.body)
					if len(errs) == 0 || !errors.Is(errs[0], mine) || strings.Contains(errs[0].Error(), "secret") {
						t.Errorf("%v: c.Errors are %v", ops, errs)
					}
					if cookies(w) != 0 || called {
						t.Errorf("%v: %d cookies, the other handlers called: %t", ops, cookies(w), called)
					}
				}
			})
		}
	})
}

func TestHandler(t *testing.T) {
	m, store := newManager(t, core.Options{FailFast: true})
	var told error
	o := &ginsession.Options{Error: func(c *gin.Context, err error) {
		told = err
		c.JSON(http.StatusTeapot, gin.H{"path": c.Request.URL.Path})
	}}
	afterwards := false
	r := gin.New()
	r.Use(func(c *gin.Context) { afterwards = false; c.Next() })
	r.GET("/missing", ginsession.Handler(func(*gin.Context, *core.Session) error {
		t.Error("called without a session")
		return nil
	}))
	session := r.Group("/", ginsession.New(m, o))
	after := func(*gin.Context) { afterwards = true }
	session.GET("/count", ginsession.Handler(func(c *gin.Context, s *core.Session) error {
		n, err := count.Update(s, func(n int) int { return n + 1 })
		if err == nil {
			c.String(200, "%d", n)
		}
		return err
	}), after)
	session.GET("/fails", ginsession.Handler(func(c *gin.Context, s *core.Session) error {
		c.Header("Content-Type", "image/png")
		return errors.Join(count.Set(s, 10), errTeapot)
	}), after)
	session.GET("/logs-in", ginsession.Handler(func(c *gin.Context, s *core.Session) error {
		return errors.Join(s.Login(core.LoginOptions{}), count.Set(s, 100), errTeapot)
	}), after)
	session.GET("/late", ginsession.Handler(func(c *gin.Context, s *core.Session) error {
		c.String(200, "begun")
		return errTeapot
	}), after)
	session.GET("/nethttp", gin.WrapH(httpsession.HandlerFunc(func(http.ResponseWriter, *http.Request, *core.Session) error {
		return errTeapot
	})), after)
	other, _ := newManager(t, core.Options{Name: "other", Cookie: core.CookieOptions{Path: "/elsewhere"}})
	r.GET("/outside", ginsession.New(other, o), ginsession.Handler(func(*gin.Context, *core.Session) error {
		t.Error("called without a session")
		return nil
	}), after)

	var b jartest.Browser
	expect := func(target string, status int, body string, is error) {
		t.Helper()
		told = nil
		w := want(t, r, &b, target, status, body)
		if is == nil && told != nil || is != nil && !errors.Is(told, is) {
			t.Errorf("%s: Error was told %v", target, told)
		}
		if failed := is != nil || target == "/missing"; failed && afterwards && target != "/nethttp" {
			t.Errorf("%s: the handlers behind were called", target)
		} else if !failed && !afterwards && target != "/late" {
			t.Errorf("%s: the handlers behind were not called", target)
		}
		if kind := w.Header().Get("Content-Type"); kind == "image/png" {
			t.Errorf("%s: the error is answered as %s", target, kind)
		}
	}
	expect("/missing", 500, "Internal Server Error", nil)
	expect("/count", 200, "1", nil)
	expect("/fails", 418, `{"path":"/fails"}`, errTeapot)
	expect("/count", 200, "11", nil) // K27: it was saved
	expect("/logs-in", 418, `{"path":"/logs-in"}`, errTeapot)
	expect("/count", 200, "12", nil) // P5: it was not
	expect("/late", 200, "begun", nil)
	expect("/nethttp", 418, `{"path":"/nethttp"}`, errTeapot)
	expect("/outside", 418, `{"path":"/outside"}`, core.ErrNoSession)
	refuse(store)
	expect("/count", 418, `{"path":"/count"}`, core.ErrRefused)
	expect("/fails", 418, `{"path":"/fails"}`, errTeapot) // K41: the handler's error wins
	store.Before(nil)
	store.Down()
	expect("/count", 418, `{"path":"/count"}`, core.ErrUnavailable)
	store.Up()
	expect("/count", 200, "13", nil)
}

// Middleware that wraps c.Writer, inside and outside.
func TestWrappedWriter(t *testing.T) {
	upper := func(c *gin.Context) {
		before := c.Writer
		c.Writer = &upperWriter{before}
		c.Next()
		_, _ = c.Writer.WriteString(".")
		c.Writer = before
	}
	for name, mount := range map[string]func(r *gin.Engine, session gin.HandlerFunc){
		"outside": func(r *gin.Engine, session gin.HandlerFunc) { r.Use(upper, session) },
		"inside":  func(r *gin.Engine, session gin.HandlerFunc) { r.Use(session, upper) },
		"both":    func(r *gin.Engine, session gin.HandlerFunc) { r.Use(upper, session, upper) },
	} {
		t.Run(name, func(t *testing.T) {
			m, store := newManager(t, core.Options{})
			r := gin.New()
			mount(r, ginsession.New(m, nil))
			dots, inside := ".", "."
			switch name {
			case "both":
				dots = ".."
			case "outside":
				inside = ""
			}
			r.GET("/", func(c *gin.Context) { c.String(200, "n%d", add(t, c)) })
			r.GET("/fails", ginsession.Handler(func(_ *gin.Context, s *core.Session) error { return errors.Join(count.Set(s, 8), errTeapot) }))
			var b jartest.Browser
			want(t, r, &b, "/", 200, "N1"+dots)
			want(t, r, &b, "/", 200, "N2"+dots)
			// What comes from outside after an error is not sent.
			if got := ask(r, &b, "/fails").Body.String(); got != "INTERNAL SERVER ERROR\n"+inside {
				t.Errorf("a handler's error: %q", got)
			}
			want(t, r, &b, "/", 200, "N9"+dots)
			refuse(store)
			if w := ask(r, &b, "/"); w.Code != 503 || cookies(w) != 0 || !strings.HasPrefix(strings.ToLower(w.Body.String()), "service unavailable\n") {
				t.Errorf("%d %q, %d cookies", w.Code, w.Body, cookies(w))
			}
		})
	}
}

type upperWriter struct{ gin.ResponseWriter }

func (w *upperWriter) Write(b []byte) (int, error) {
	return w.ResponseWriter.Write([]byte(strings.ToUpper(string(b))))
}

func (w *upperWriter) WriteString(s string) (int, error) {
	return w.ResponseWriter.WriteString(strings.ToUpper(s))
}

// What was sent past the session can't carry its cookie. That is told, and nothing
// is stored: neither by the way that gin's people might go with httpsession, nor
// by a handler that unwraps the writer.
func TestW16SentPastTheSession(t *testing.T) {
	for name, mount := range map[string]func(m *core.Manager) gin.HandlerFunc{
		"the request swapped only": func(m *core.Manager) gin.HandlerFunc {
			around := httpsession.New(m, nil)
			return func(c *gin.Context) {
				around(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					c.Request = r
					c.Next()
				})).ServeHTTP(c.Writer, c.Request)
			}
		},
		"unwrapped": func(m *core.Manager) gin.HandlerFunc { return ginsession.New(m, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			var told []error
			m, store := newManager(t, core.Options{Hooks: core.Hooks{Error: func(_ context.Context, err *core.Error) error {
				told = append(told, err)
				return err
			}}})
			r := gin.New()
			r.Use(mount(m))
			r.GET("/", func(c *gin.Context) {
				add(t, c)
				var w http.ResponseWriter = c.Writer
				if u, ok := w.(interface{ Unwrap() http.ResponseWriter }); ok && name == "unwrapped" {
					w = u.Unwrap()
				}
				_, _ = io.WriteString(w, "past it")
			})
			w := want(t, r, new(jartest.Browser), "/", 200, "past it")
			if len(told) != 1 || !errors.Is(told[0], core.ErrCommitted) {
				t.Errorf("the hook was told %v", told)
			}
			if n := store.Calls(storetest.OpSetVersion); n != 0 || cookies(w) != 0 {
				t.Errorf("stored %d times, %d cookies", n, cookies(w))
			}
		})
	}
}

// The engine begins anew with c, whose Writer is its own again, also within a guard.
func TestHandleContext(t *testing.T) {
	for name, below := range map[string]gin.HandlerFunc{
		"": func(*gin.Context) {}, "guarded": ginsession.Guard,
		"in a Handler": ginsession.Handler(func(c *gin.Context, _ *core.Session) error { c.Next(); return nil }),
	} {
		t.Run(name, func(t *testing.T) {
			m, _ := newManager(t, core.Options{})
			r := gin.New()
			r.Use(ginsession.New(m, nil), below)
			r.GET("/", func(c *gin.Context) {
				add(t, c)
				c.Request.URL.Path = c.Query("to")
				r.HandleContext(c)
			})
			r.GET("/status", func(c *gin.Context) { add(t, c); c.Status(204) })
			r.GET("/count", counting(t))
			var b jartest.Browser
			if n := cookies(want(t, r, &b, "/?to=/status", 204, "")); n != 2 {
				t.Errorf("%d cookies", n)
			}
			want(t, r, &b, "/count", 200, "3")
			if n := cookies(want(t, r, &b, "/?to=/count", 200, "5")); n != 2 {
				t.Errorf("%d cookies", n)
			}
		})
	}
}

func TestContexts(t *testing.T) {
	m, _ := newManager(t, core.Options{})
	inner, _ := newManager(t, core.Options{Name: "inner"})
	r := gin.New()
	r.ContextWithFallback = true
	r.Use(func(c *gin.Context) {
		c.Next()
		s, err := ginsession.From(c)
		if err != nil || count.Get(s) != 1 || !errors.Is(count.Set(s, 2), core.ErrCommitted) {
			t.Errorf("further out: %v", err)
		}
	})
	r.Use(ginsession.New(m, nil), func(c *gin.Context) {
		before, err := ginsession.From(c)
		if err != nil {
			t.Fatal(err)
		}
		c.Next()
		if after, _ := ginsession.From(c); after != before {
			t.Error("above the inner middleware From is not the outer session again")
		}
		if err := count.Set(before, 1); err != nil {
			t.Error(err)
		}
	}, ginsession.New(inner, nil))
	r.GET("/", func(c *gin.Context) {
		s, err := ginsession.From(c)
		if err != nil {
			t.Fatal(err)
		}
		for name, ctx := range map[string]context.Context{"c": c, "c.Request": c.Request.Context(), "a copy": c.Copy()} {
			if same, err := core.From(ctx); same != s || err != nil {
				t.Errorf("core.From of %s: %v", name, err)
			}
		}
		outer, err := ginsession.FromManager(c, m)
		if err != nil || outer == s {
			t.Errorf("FromManager: %v", err)
		}
		if err := count.Set(s, 5); err != nil {
			t.Error(err)
		}
	})
	if n := cookies(want(t, r, new(jartest.Browser), "/", 200, "")); n != 4 {
		t.Errorf("%d cookies", n)
	}
}

func TestSecure(t *testing.T) {
	m, _ := newManager(t, core.Options{})
	for proto, secure := range map[string]bool{"https": true, "http": false} {
		r := gin.New()
		r.Use(ginsession.New(m, &ginsession.Options{Secure: func(r *http.Request) bool { return r.Header.Get("X-Forwarded-Proto") == "https" }}))
		r.GET("/", counting(t))
		req, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
		req.Header.Set("X-Forwarded-Proto", proto)
		r.ServeHTTP(w, req)
		if got := strings.Contains(w.Header().Get("Set-Cookie"), "; secure"); got != secure {
			t.Errorf("R27: secure is %t behind %s", got, proto)
		}
	}
}

func BenchmarkUntouched(b *testing.B) {
	m, _ := newManager(b, core.Options{Defer: true})
	for name, handlers := range map[string][]gin.HandlerFunc{
		"adapter=none": {func(*gin.Context) {}},
		"adapter=gin":  {ginsession.New(m, nil), func(*gin.Context) {}},
	} {
		b.Run(name, func(b *testing.B) {
			r := gin.New()
			r.GET("/", handlers...)
			w, req := nobody{make(http.Header)}, httptest.NewRequest("GET", "/", nil)
			b.ReportAllocs()
			for b.Loop() {
				r.ServeHTTP(w, req)
			}
		})
	}
}

// A nobody is a writer that costs nothing.
type nobody struct{ header http.Header }

func (n nobody) Header() http.Header         { return n.header }
func (n nobody) Write(b []byte) (int, error) { return len(b), nil }
func (n nobody) WriteHeader(int)             {}
