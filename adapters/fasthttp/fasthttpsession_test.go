package fasthttpsession_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttpadaptor"

	fasthttpsession "github.com/gensession/gensession/adapters/fasthttp"
	"github.com/gensession/gensession/adapters/internal/adaptertest"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/allocs"
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

// exchange runs h in a request that was never on a wire.
func exchange(h fasthttp.RequestHandler, set func(*fasthttp.Request)) *fasthttp.RequestCtx {
	ctx := new(fasthttp.RequestCtx)
	ctx.Init(new(fasthttp.Request), nil, nil)
	ctx.Request.Header.SetHost("example.com")
	if set != nil {
		set(&ctx.Request)
	}
	h(ctx)
	return ctx
}

func cookies(ctx *fasthttp.RequestCtx) (lines []string) {
	for _, line := range ctx.Response.Header.Cookies() {
		lines = append(lines, string(line))
	}
	return lines
}

func add(t *testing.T, ctx *fasthttp.RequestCtx) *core.Session {
	t.Helper()
	s, err := fasthttpsession.From(ctx)
	if err == nil {
		_, err = count.Update(s, func(n int) int { return n + 1 })
	}
	if err != nil {
		t.Error(err)
	}
	return s
}

func TestByHand(t *testing.T) {
	t.Run("a request without a wire gives the cookies that it has", func(t *testing.T) {
		ctx := exchange(func(*fasthttp.RequestCtx) {}, func(r *fasthttp.Request) {
			r.Header.SetCookie("a", "1")
			r.Header.SetCookie("koss:b", "2")
			r.SetRequestURI("http://example.com/x%2Fy?z")
		})
		jar := fasthttpsession.NewJar(ctx, false)
		if got := jar.Cookie(); got != "a=1; koss:b=2" {
			t.Errorf("got %q", got)
		}
		if got := jar.Path(); got != "/x%2Fy" {
			t.Errorf("path %q", got)
		}
	})
	t.Run("no cookie", func(t *testing.T) {
		if got := fasthttpsession.NewJar(exchange(func(*fasthttp.RequestCtx) {}, nil), false).Cookie(); got != "" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("a session lives through such requests", func(t *testing.T) {
		m, _ := newManager(t, core.Options{})
		h := fasthttpsession.New(m, nil)(func(ctx *fasthttp.RequestCtx) {
			n := count.Get(add(t, ctx))
			ctx.SetBodyString(fmt.Sprint(n))
		})
		var browser jartest.Browser
		for n := 1; n <= 3; n++ {
			ctx := exchange(h, func(r *fasthttp.Request) { r.Header.Set("Cookie", browser.Cookie("/")) })
			browser.Take("/", cookies(ctx)...)
			if got := string(ctx.Response.Body()); got != fmt.Sprint(n) {
				t.Errorf("got %q", got)
			}
		}
	})
}

// Code that takes a context or a net/http request finds the session, also where
// the context is ctx itself. The store never gets that.
func TestW17RequestAsContext(t *testing.T) {
	type mark struct{}
	for _, deferred := range []bool{false, true} {
		m, store := newManager(t, core.Options{Defer: deferred})
		store.Before(func(ctx context.Context, _ storetest.Op, _ string) error {
			if ctx.Value(mark{}) != "mine" {
				t.Error("the store got another context than that of the Options")
			}
			return nil
		})
		o := &fasthttpsession.Options{Context: func(*fasthttp.RequestCtx) context.Context {
			return context.WithValue(context.Background(), mark{}, "mine")
		}}
		var browser jartest.Browser
		want := func(h fasthttp.RequestHandler, body string) {
			t.Helper()
			ctx := exchange(fasthttpsession.New(m, o)(h), func(r *fasthttp.Request) {
				r.SetRequestURI("http://example.com/")
				r.Header.Set("Cookie", browser.Cookie("/"))
			})
			browser.Take("/", cookies(ctx)...)
			if got := string(ctx.Response.Body()); got != body {
				t.Errorf("got %q, want %q", got, body)
			}
		}
		visit := func(ctx context.Context, w io.Writer) {
			s, err := core.From(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			n, err := count.Update(s, func(n int) int { return n + 1 })
			if err != nil {
				t.Error(err)
			}
			if err := s.Save(ctx); err != nil {
				t.Error(err)
			}
			_, _ = fmt.Fprint(w, n)
		}
		want(func(ctx *fasthttp.RequestCtx) { visit(ctx, ctx) }, "1")
		want(func(ctx *fasthttp.RequestCtx) { visit(context.WithValue(ctx, mark{}, "another"), ctx) }, "2")
		want(fasthttpadaptor.NewFastHTTPHandlerFunc(func(w http.ResponseWriter, r *http.Request) { visit(r.Context(), w) }), "3")
	}
}

// fasthttp keeps its own cookies in a list by name: ours must neither push
// them out of it nor change their order.
func TestCookiesOfTheFramework(t *testing.T) {
	ctx := exchange(func(ctx *fasthttp.RequestCtx) {
		jar := fasthttpsession.NewJar(ctx, false)
		set := func(name, value string) {
			var c fasthttp.Cookie
			c.SetKey(name)
			c.SetValue(value)
			ctx.Response.Header.SetCookie(&c)
		}
		set("one", "1")
		set("n", "theirs")
		set("two", "2")
		jar.SetCookie("n", "n=1; path=/", true)
		set("three", "3")
		jar.SetCookie("n.sig", "n.sig=1; path=/", true)
		jar.SetCookie("n", "n=2; path=/", true)
		set("one", "again")
	}, nil)
	if got := strings.Join(cookies(ctx), "|"); got != "one=again|two=2|three=3|n.sig=1; path=/|n=2; path=/" {
		t.Errorf("got %q", got)
	}
}

// DESIGN: copies at the border. fasthttp uses its RequestCtx again for other
// requests, and a store must not be left with one.
func TestContext(t *testing.T) {
	type mark struct{}
	m, store := newManager(t, core.Options{})
	o := &fasthttpsession.Options{Context: func(*fasthttp.RequestCtx) context.Context {
		return context.WithValue(context.Background(), mark{}, "mine")
	}}
	calls := 0
	store.Before(func(ctx context.Context, _ storetest.Op, _ string) error {
		calls++
		if ctx.Value(mark{}) != "mine" || ctx.Value("user") != nil {
			t.Error("the store got another context")
		}
		return nil
	})
	ctx := exchange(fasthttpsession.New(m, o)(func(ctx *fasthttp.RequestCtx) {
		ctx.SetUserValue("user", "value")
		s := add(t, ctx)
		c, err := fasthttpsession.Context(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := core.From(c); same != s || err != nil {
			t.Errorf("core.From: %v", err)
		}
		if err := s.Save(c); err != nil {
			t.Error(err)
		}
	}), nil)
	if calls != 1 {
		t.Errorf("%d calls", calls)
	}
	if _, err := fasthttpsession.Context(ctx); !errors.Is(err, core.ErrNoSession) {
		t.Errorf("after the middleware: %v", err)
	}
}

func TestOptions(t *testing.T) {
	t.Run("R27 Secure decides", func(t *testing.T) {
		m, _ := newManager(t, core.Options{})
		for _, secure := range []bool{true, false} {
			o := &fasthttpsession.Options{Secure: func(*fasthttp.RequestCtx) bool { return secure }}
			ctx := exchange(fasthttpsession.New(m, o)(func(ctx *fasthttp.RequestCtx) { add(t, ctx) }), nil)
			if got := strings.Contains(strings.Join(cookies(ctx), ""), "; secure"); got != secure {
				t.Errorf("secure is %t", got)
			}
		}
	})
	t.Run("Error answers, and the handler's response is gone", func(t *testing.T) {
		m, store := newManager(t, core.Options{})
		store.Before(func(context.Context, storetest.Op, string) error { return core.ErrTimeout })
		o := &fasthttpsession.Options{Error: func(ctx *fasthttp.RequestCtx, err error) {
			if !errors.Is(err, core.ErrTimeout) || len(ctx.Response.Body()) != 0 || ctx.Response.IsBodyStream() || ctx.Hijacked() {
				t.Errorf("got %v, body %q", err, ctx.Response.Body())
			}
			ctx.SetStatusCode(418)
			ctx.SetBodyString("later")
		}}
		for name, answer := range map[string]func(*fasthttp.RequestCtx){
			"body":   func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("lost") },
			"raw":    func(ctx *fasthttp.RequestCtx) { ctx.Response.SetBodyRaw([]byte("lost")) },
			"stream": func(ctx *fasthttp.RequestCtx) { ctx.SetBodyStream(strings.NewReader("lost"), 4) },
			"writer": func(ctx *fasthttp.RequestCtx) {
				ctx.SetBodyStreamWriter(func(w *bufio.Writer) { _, _ = w.WriteString("lost") })
			},
			"gzip":     func(ctx *fasthttp.RequestCtx) { ctx.Response.Header.SetContentEncoding("gzip") },
			"redirect": func(ctx *fasthttp.RequestCtx) { ctx.Redirect("/elsewhere", 302) },
			"hijack": func(ctx *fasthttp.RequestCtx) {
				ctx.HijackSetNoResponse(true)
				ctx.Hijack(func(net.Conn) { t.Error("hijacked") })
			},
		} {
			ctx := exchange(fasthttpsession.New(m, o)(func(ctx *fasthttp.RequestCtx) {
				ctx.Response.Header.Set("X-Other", "stays")
				add(t, ctx)
				answer(ctx)
			}), nil)
			header := &ctx.Response.Header
			if ctx.Response.StatusCode() != 418 || string(ctx.Response.Body()) != "later" || len(cookies(ctx)) != 0 || ctx.Hijacked() ||
				string(header.Peek("X-Other")) != "stays" || len(header.Peek("Location"))+len(header.ContentEncoding()) != 0 {
				t.Errorf("%s: %v", name, &ctx.Response)
			}
		}
	})
}

// SetBodyStreamWriter lets the writer run at once, beside the handler. So what it
// changes falls before the commit, and is stored, or after it, and is refused.
func TestStreamWriter(t *testing.T) {
	t.Run("after the commit", func(t *testing.T) {
		m, store := newManager(t, core.Options{})
		committed := make(chan struct{})
		ctx := exchange(fasthttpsession.New(m, nil)(func(ctx *fasthttp.RequestCtx) {
			s, err := fasthttpsession.From(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			ctx.SetBodyStreamWriter(func(w *bufio.Writer) {
				<-committed
				_, _ = fmt.Fprint(w, errors.Is(count.Set(s, 7), core.ErrCommitted), " ", count.Get(s))
			})
		}), nil)
		close(committed)
		if got := string(ctx.Response.Body()); got != "true 0" {
			t.Errorf("got %q", got)
		}
		if n := store.Calls(storetest.OpSetVersion); n != 0 {
			t.Errorf("stored %d times", n)
		}
	})
	t.Run("before the commit", func(t *testing.T) {
		m, store := newManager(t, core.Options{})
		changed := make(chan error, 1)
		ctx := exchange(fasthttpsession.New(m, nil)(func(ctx *fasthttp.RequestCtx) {
			s := add(t, ctx)
			ctx.SetBodyStreamWriter(func(*bufio.Writer) { changed <- count.Set(s, 7) })
			if err := <-changed; err != nil {
				t.Error(err)
			}
		}), nil)
		_ = ctx.Response.Body()
		var browser jartest.Browser
		browser.Take("/", cookies(ctx)...)
		exchange(fasthttpsession.New(m, nil)(func(ctx *fasthttp.RequestCtx) {
			if s, err := fasthttpsession.From(ctx); err != nil || count.Get(s) != 7 {
				t.Errorf("the change is not there: %v", err)
			}
		}), func(r *fasthttp.Request) { r.Header.Set("Cookie", browser.Cookie("/")) })
		if n := store.Calls(storetest.OpSetVersion); n != 1 {
			t.Errorf("stored %d times", n)
		}
	})
	t.Run("at any moment", func(t *testing.T) {
		m, store := newManager(t, core.Options{})
		late := make(chan error, 1)
		ctx := exchange(fasthttpsession.New(m, nil)(func(ctx *fasthttp.RequestCtx) {
			s := add(t, ctx)
			ctx.SetBodyStreamWriter(func(w *bufio.Writer) {
				for { // until the commit
					if err := s.Set("late", 1); err != nil {
						late <- err
						_, _ = fmt.Fprint(w, "end ", count.Get(s))
						return
					}
				}
			})
		}), nil)
		if err := <-late; !errors.Is(err, core.ErrCommitted) {
			t.Errorf("got %v", err)
		}
		if got := string(ctx.Response.Body()); got != "end 1" {
			t.Errorf("got %q", got)
		}
		if n := store.Calls(storetest.OpSetVersion); n != 1 {
			t.Errorf("stored %d times", n)
		}
	})
}

// The adapter adds three allocations to those of the core: the Jar, the context
// and the path, which is a copy.
func TestAllocations(t *testing.T) {
	m, _ := newManager(t, core.Options{Defer: true})
	h := fasthttpsession.New(m, nil)(func(*fasthttp.RequestCtx) {})
	ctx := new(fasthttp.RequestCtx)
	ctx.Init(new(fasthttp.Request), nil, nil)
	jar := new(jartest.Jar)
	alone := allocs.Fewest(100, func() {
		v, _ := m.NewVisit(jar, nil)
		_ = v.Begin(context.Background())
		_ = v.Commit(context.Background())
	})
	if n := allocs.Fewest(100, func() { h(ctx) }); n > alone+3 {
		t.Errorf("%v allocations, of which the core makes %v", n, alone)
	}
}

func BenchmarkUntouched(b *testing.B) {
	m, _ := newManager(b, core.Options{Defer: true})
	h := fasthttpsession.New(m, nil)(func(*fasthttp.RequestCtx) {})
	ctx := new(fasthttp.RequestCtx)
	ctx.Init(new(fasthttp.Request), nil, nil)
	b.ReportAllocs()
	for b.Loop() {
		h(ctx)
	}
}
