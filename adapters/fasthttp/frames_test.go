package fasthttpsession_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttpadaptor"

	fasthttpsession "github.com/gensession/gensession/adapters/fasthttp"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

// A visitor is a browser before a server.
type visitor struct {
	t       *testing.T
	url     string
	browser jartest.Browser
}

// visit serves h until the test ends.
func visit(t *testing.T, h fasthttp.RequestHandler) *visitor {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l, &fasthttp.Server{}, h)
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections) // before the server stops
	return &visitor{t: t, url: "http://" + l.Addr().String()}
}

func (v *visitor) get(path string) (*http.Response, string) {
	v.t.Helper()
	req, err := http.NewRequest("GET", v.url+path, nil)
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header.Set("Cookie", v.browser.Cookie("/"))
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	v.browser.Take("/", res.Header.Values("Set-Cookie")...)
	return res, string(body)
}

func (v *visitor) want(path string, status int, body string) *http.Response {
	v.t.Helper()
	res, got := v.get(path)
	if res.StatusCode != status || got != body {
		v.t.Errorf("%s: %d %q, want %d %q", path, res.StatusCode, got, status, body)
	}
	return res
}

// resets are the calls of fasthttp that begin a response or its header anew, or take
// something from it, all of fasthttp 1.77, and some that do not.
func resets(t *testing.T) map[string]func(ctx *fasthttp.RequestCtx) {
	upstream := visit(t, func(ctx *fasthttp.RequestCtx) {
		ctx.Response.Header.Set("Set-Cookie", "theirs=1")
		ctx.Response.Header.Set("Cache-Control", "public, max-age=60")
	}).url[len("http://"):]
	theirs := func() *fasthttp.Response {
		r := new(fasthttp.Response)
		r.Header.Set("Set-Cookie", "theirs=1")
		return r
	}
	file := t.TempDir() + "/none"
	return map[string]func(ctx *fasthttp.RequestCtx){
		"Error":                   func(ctx *fasthttp.RequestCtx) { ctx.Error("", 200) },
		"NotFound":                (*fasthttp.RequestCtx).NotFound,
		"NotModified":             (*fasthttp.RequestCtx).NotModified,
		"Redirect":                func(ctx *fasthttp.RequestCtx) { ctx.Redirect("/elsewhere", 302) },
		"Success":                 func(ctx *fasthttp.RequestCtx) { ctx.Success("text/html", nil) },
		"SetStatusCode":           func(ctx *fasthttp.RequestCtx) { ctx.SetStatusCode(204) },
		"ResetBody":               (*fasthttp.RequestCtx).ResetBody,
		"Response.Reset":          func(ctx *fasthttp.RequestCtx) { ctx.Response.Reset() },
		"Response.Reset, twice":   func(ctx *fasthttp.RequestCtx) { ctx.Response.Reset(); ctx.Response.Reset() },
		"Response.ResetBody":      func(ctx *fasthttp.RequestCtx) { ctx.Response.ResetBody() },
		"Response.SkipBody":       func(ctx *fasthttp.RequestCtx) { ctx.Response.SkipBody = true; ctx.SetConnectionClose() },
		"Response.Header.Reset":   func(ctx *fasthttp.RequestCtx) { ctx.Response.Header.Reset() },
		"Response.Header.Del":     func(ctx *fasthttp.RequestCtx) { ctx.Response.Header.Del("Set-Cookie") },
		"Response.Header.Set":     func(ctx *fasthttp.RequestCtx) { ctx.Response.Header.Set("Set-Cookie", "theirs=1") },
		"Header.DelAllCookies":    func(ctx *fasthttp.RequestCtx) { ctx.Response.Header.DelAllCookies() },
		"Header.DelCookie":        func(ctx *fasthttp.RequestCtx) { ctx.Response.Header.DelCookie("koa.sid") },
		"Header.DelClientCookie":  func(ctx *fasthttp.RequestCtx) { ctx.Response.Header.DelClientCookie("koa.sid.sig") },
		"Response.CopyTo":         func(ctx *fasthttp.RequestCtx) { theirs().CopyTo(&ctx.Response) },
		"Header.CopyTo":           func(ctx *fasthttp.RequestCtx) { theirs().Header.CopyTo(&ctx.Response.Header) },
		"Response, assigned anew": func(ctx *fasthttp.RequestCtx) { ctx.Response.Header = fasthttp.ResponseHeader{} },
		"SwapBody":                func(ctx *fasthttp.RequestCtx) { ctx.Response.SwapBody(nil) },
		"SetBodyStream":           func(ctx *fasthttp.RequestCtx) { ctx.Error("", 500); ctx.SetBodyStream(strings.NewReader(""), 0) },
		"ImmediateHeaderFlush": func(ctx *fasthttp.RequestCtx) {
			ctx.Error("", 500)
			ctx.Response.ImmediateHeaderFlush = true
			ctx.SetBodyStream(strings.NewReader(""), -1)
		},
		"SendFile, which fails":      func(ctx *fasthttp.RequestCtx) { ctx.SendFile(file) },
		"TimeoutError":               func(ctx *fasthttp.RequestCtx) { ctx.TimeoutError("") },
		"TimeoutErrorWithCode":       func(ctx *fasthttp.RequestCtx) { ctx.TimeoutErrorWithCode("", 503) },
		"TimeoutErrorWithResponse":   func(ctx *fasthttp.RequestCtx) { ctx.TimeoutErrorWithResponse(theirs()) },
		"TimeoutError after a reset": func(ctx *fasthttp.RequestCtx) { ctx.Response.Reset(); ctx.TimeoutError("") },
		"Response.Read": func(ctx *fasthttp.RequestCtx) {
			if err := ctx.Response.Read(bufio.NewReader(strings.NewReader("HTTP/1.1 200 OK\r\nSet-Cookie: theirs=1\r\nContent-Length: 0\r\n\r\n"))); err != nil {
				t.Error(err)
			}
		},
		"Header.Read": func(ctx *fasthttp.RequestCtx) {
			if err := ctx.Response.Header.Read(bufio.NewReader(strings.NewReader("HTTP/1.1 200 OK\r\nSet-Cookie: theirs=1\r\nContent-Length: 0\r\n\r\n"))); err != nil {
				t.Error(err)
			}
		},
		"a proxy": func(ctx *fasthttp.RequestCtx) { // as fasthttp's clients, whose cleaners outlive a test
			conn, err := net.Dial("tcp", upstream)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			ctx.Response.Reset()
			if err := ctx.Response.ReadLimitBody(bufio.NewReader(conn), 1<<20); err != nil {
				t.Error(err)
			}
		},
		"fasthttpadaptor": func(ctx *fasthttp.RequestCtx) {
			fasthttpadaptor.NewFastHTTPHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Set-Cookie", "theirs=1")
				w.WriteHeader(200)
			}))(ctx)
		},
	}
}

func TestW5Resets(t *testing.T) {
	for name, reset := range resets(t) {
		t.Run(name, func(t *testing.T) {
			m, _ := newManager(t, core.Options{})
			v := visit(t, fasthttpsession.New(m, nil)(fasthttpsession.Handler(func(ctx *fasthttp.RequestCtx, s *core.Session) error {
				c, err := fasthttpsession.Context(ctx)
				if err != nil {
					return err
				}
				switch path := string(ctx.Path()); path {
				case "/read":
					ctx.SetBodyString(fmt.Sprint(count.Get(s)))
					return nil
				case "/save":
					if _, err = count.Update(s, func(n int) int { return n + 1 }); err == nil {
						err = s.Save(c)
					}
				case "/renew":
					err = s.Renew(c)
				case "/destroy":
					err = s.Destroy(c)
				}
				if err != nil {
					t.Error(err)
				}
				reset(ctx)
				return nil
			})))
			for _, step := range []struct{ path, read string }{{"/save", "1"}, {"/save", "2"}, {"/renew", "2"}, {"/destroy", "0"}} {
				res, _ := v.get(step.path)
				ours, theirs := 0, 0
				for _, l := range res.Header.Values("Set-Cookie") {
					switch name, rest, _ := strings.Cut(l, "="); {
					case (name == "koa.sid" || name == "koa.sid.sig") && strings.Contains(rest, "; samesite=lax; httponly"):
						ours++
					case name == "theirs":
						theirs++
					}
				}
				if ours != 2 || theirs > 1 || theirs == 0 && strings.Contains(fmt.Sprint(name), "CopyTo") {
					t.Errorf("%s: %d lines of ours, %d of theirs", step.path, ours, theirs)
				}
				if c := res.Header.Get("Cache-Control"); c != "no-store" && c != "private, max-age=60" {
					t.Errorf("%s: Cache-Control %q", step.path, c)
				}
				if vary := res.Header.Get("Vary"); vary != "Cookie" {
					t.Errorf("%s: Vary %q", step.path, vary)
				}
				v.want("/read", 200, step.read)
			}
		})
	}
}

const cart core.Key[map[string]int] = "cart"

// W11, W12: handlers that were left running, by fasthttp.TimeoutHandler and by
// goroutines of middleware.
func TestW11LeftRunning(t *testing.T) {
	type session = func(*fasthttp.RequestCtx, *core.Session) error
	type frame func(next fasthttp.RequestHandler, begun <-chan struct{}) fasthttp.RequestHandler
	goroutine := func(answer func(*fasthttp.RequestCtx)) frame {
		return func(next fasthttp.RequestHandler, begun <-chan struct{}) fasthttp.RequestHandler {
			return func(ctx *fasthttp.RequestCtx) {
				go next(ctx)
				<-begun
				answer(ctx)
			}
		}
	}
	timeoutHandler := func(next fasthttp.RequestHandler, _ <-chan struct{}) fasthttp.RequestHandler {
		return fasthttp.TimeoutHandler(next, 100*time.Millisecond, "too slow")
	}
	timeoutError := goroutine(func(ctx *fasthttp.RequestCtx) { ctx.TimeoutErrorWithCode("too slow", 408) })
	plain := goroutine(func(ctx *fasthttp.RequestCtx) {
		ctx.SetStatusCode(408)
		ctx.SetBodyString("too slow")
	})
	bare := func(f session) fasthttp.RequestHandler {
		return func(ctx *fasthttp.RequestCtx) {
			s, err := fasthttpsession.From(ctx)
			if err == nil {
				err = f(ctx, s)
			}
			if err != nil {
				t.Error(err)
			}
		}
	}
	guarded := func(f session) fasthttp.RequestHandler { return fasthttpsession.Guard(bare(f)) }
	for name, c := range map[string]struct {
		frame frame
		guard func(session) fasthttp.RequestHandler
	}{
		"TimeoutHandler":            {timeoutHandler, bare},
		"TimeoutHandler, a Handler": {timeoutHandler, fasthttpsession.Handler},
		"TimeoutError":              {timeoutError, bare},
		"TimeoutError, guarded":     {timeoutError, guarded},
		"a goroutine, a Handler":    {plain, fasthttpsession.Handler},
		"a goroutine, guarded":      {plain, guarded},
	} {
		t.Run(name, func(t *testing.T) {
			m, store := newManager(t, core.Options{})
			end, begun := make(chan struct{}), make(chan struct{}, 2)
			var running sync.WaitGroup
			var kept atomic.Pointer[core.Session]
			var renewed atomic.Bool
			endless := c.frame(c.guard(func(ctx *fasthttp.RequestCtx, s *core.Session) error {
				running.Add(1)
				defer running.Done()
				background, err := fasthttpsession.Context(ctx)
				if err == nil && string(ctx.Path()) == "/renewed" {
					err = s.Renew(background)
					renewed.Store(err == nil)
				}
				if err == nil {
					err = count.Set(s, 1)
				}
				if err != nil && !errors.Is(err, core.ErrCommitted) { // TimeoutHandler was faster
					t.Error(err)
				}
				held := cart.Get(s)
				kept.Store(s)
				begun <- struct{}{} // the ctx is not touched any more
				for i := 0; ; i++ {
					select {
					case <-end:
						return nil
					default:
						held[fmt.Sprint(i%10)] = i
					}
				}
			}), begun)
			handler := fasthttpsession.Handler(func(ctx *fasthttp.RequestCtx, s *core.Session) error {
				if string(ctx.Path()) == "/fill" {
					return cart.Set(s, map[string]int{"tea": 1})
				}
				ctx.SetBodyString(fmt.Sprint(cart.Get(s), count.Get(s)))
				return nil
			})
			v := visit(t, fasthttpsession.New(m, nil)(func(ctx *fasthttp.RequestCtx) {
				if path := string(ctx.Path()); path == "/endless" || path == "/renewed" {
					endless(ctx)
					return
				}
				handler(ctx)
			}))
			t.Cleanup(func() { // before the server stops
				close(end)
				running.Wait()
			})
			v.want("/fill", 200, "")
			writes := store.Calls(storetest.OpSetVersion)
			res := v.want("/endless", 408, "too slow")
			if s := kept.Load(); s != nil {
				if err := count.Set(s, 2); !errors.Is(err, core.ErrCommitted) {
					t.Errorf("its session can still be changed: %v", err)
				}
			}
			if n := store.Calls(storetest.OpSetVersion) - writes; n != 0 || len(res.Cookies()) != 0 {
				t.Errorf("%d writes, %d cookies", n, len(res.Cookies()))
			}
			v.want("/cart", 200, "map[tea:1] 0")
			// What it had sent before is in the answer of the other one.
			if res := v.want("/renewed", 408, "too slow"); renewed.Load() && len(res.Cookies()) == 0 {
				t.Error("no cookie after Renew")
			}
			v.want("/cart", 200, "map[tea:1] 0")
		})
	}
}

// W13: a recovery inside of the session middleware.
func TestW13Recover(t *testing.T) {
	recovers := func(next fasthttp.RequestHandler) fasthttp.RequestHandler {
		return func(ctx *fasthttp.RequestCtx) {
			defer func() {
				if recover() != nil {
					ctx.Error("recovered", 500)
				}
			}()
			next(ctx)
		}
	}
	panics := func(ctx *fasthttp.RequestCtx) {
		add(t, ctx)
		panic("boom")
	}
	for name, c := range map[string]struct {
		handler fasthttp.RequestHandler
		saved   int
	}{
		"guarded":             {recovers(fasthttpsession.Guard(panics)), 0},
		"a Handler":           {recovers(fasthttpsession.Handler(func(ctx *fasthttp.RequestCtx, _ *core.Session) error { panics(ctx); return nil })), 0},
		"a guard further out": {fasthttpsession.Guard(recovers(panics)), 1}, // it must be innermost
	} {
		t.Run(name, func(t *testing.T) {
			m, store := newManager(t, core.Options{})
			v := visit(t, fasthttpsession.New(m, nil)(c.handler))
			res := v.want("/", 500, "recovered")
			if n := store.Calls(storetest.OpSetVersion); n != c.saved || len(res.Cookies()) != 2*c.saved {
				t.Errorf("%d writes, %d cookies", n, len(res.Cookies()))
			}
		})
	}
	t.Run("without the middleware a guard does nothing", func(t *testing.T) {
		ctx := exchange(fasthttpsession.Guard(func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("ok") }), nil)
		if !bytes.Equal(ctx.Response.Body(), []byte("ok")) {
			t.Errorf("got %q", ctx.Response.Body())
		}
	})
}
