package bench

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	fasthttpsession "github.com/gensession/gensession/adapters/fasthttp"
	fibersession "github.com/gensession/gensession/adapters/fiber"
	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
)

// Requests through the real adapters, without a network: a session of six
// values, about 250 bytes, signed cookie, versions and hashed ids on.

const visits core.Key[int] = "visits"

// fill makes the session of all request benchmarks.
func fill(s *core.Session) error {
	return s.Replace(map[string]any{
		"visits": 1,
		"user":   "ada.lovelace@example.com",
		"name":   "Ada Lovelace",
		"roles":  []string{"author", "editor"},
		"cart":   map[string]int{"book-1843": 1, "pen-12": 3},
		"csrf":   "c2VjcmV0LXRva2VuLW9mLTMyLWJ5dGVz",
	})
}

// An op is what the handler does.
type op struct {
	name     string
	deferred bool
	run      func(s *core.Session) (int, error)
}

func ops() []op {
	read := func(s *core.Session) (int, error) { return visits.Get(s), nil }
	add := func(s *core.Session) (int, error) {
		return visits.Update(s, func(n int) int { return n + 1 })
	}
	login := func(s *core.Session) (int, error) { return visits.Get(s), s.Renew(context.Background()) }
	return []op{
		{"untouched", true, nil},
		{"read", false, read},
		{"write", false, add},
		{"login", false, login},
	}
}

// An adapter runs one request with a Cookie field, and returns the cookies to
// send next ("" for the same) and the body.
type adapter struct {
	name string
	open func(b *testing.B, m *core.Manager, run func(s *core.Session) (int, error)) func(cookie string) (next string, body []byte)
}

func adapters() []adapter {
	return []adapter{{"nethttp", openHTTP}, {"fasthttp", openFast}, {"fiber", openFiber}}
}

func BenchmarkRequest(b *testing.B) {
	for _, a := range adapters() {
		for _, s := range stores() {
			for _, o := range ops() {
				b.Run("adapter="+a.name+"/store="+s.name+"/op="+o.name, func(b *testing.B) { benchRequest(b, a, open(b, s.open), o) })
			}
		}
		b.Run("adapter="+a.name+"/store=none/op=bare", func(b *testing.B) { benchBare(b, a) })
	}
}

func benchRequest(b *testing.B, a adapter, store core.Store, o op) {
	m, err := core.New(store, &core.Options{Keys: [][]byte{bytes.Repeat([]byte("k"), 32)}, Defer: o.deferred})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	cookie, _ := a.open(b, m, func(s *core.Session) (int, error) { return 0, fill(s) })("")
	if cookie == "" {
		b.Fatal("no cookie")
	}
	request := a.open(b, m, o.run)
	b.ReportAllocs()
	n := 0
	var body []byte
	for b.Loop() {
		var next string
		next, body = request(cookie)
		if next != "" {
			cookie = next
		}
		n++
	}
	want := map[string]int{"untouched": 0, "read": 1, "login": 1, "write": n + 1}[o.name]
	if string(body) != strconv.Itoa(want) {
		b.Fatalf("answer %q after %d requests, want %d", body, n, want)
	}
}

func benchBare(b *testing.B, a adapter) {
	request := a.open(b, nil, nil)
	b.ReportAllocs()
	var body []byte
	for b.Loop() {
		_, body = request("")
	}
	if string(body) != "0" {
		b.Fatalf("answer %q", body)
	}
}

// responder is a ResponseWriter that keeps what is asked for, without the cost
// of a server.
type responder struct {
	header http.Header
	body   []byte
}

func (r *responder) Header() http.Header { return r.header }
func (r *responder) WriteHeader(int)     {}
func (r *responder) Write(p []byte) (int, error) {
	r.body = append(r.body[:0], p...)
	return len(p), nil
}

func openHTTP(b *testing.B, m *core.Manager, run func(s *core.Session) (int, error)) func(string) (string, []byte) {
	var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := 0
		if run != nil {
			s, err := httpsession.From(r)
			if err == nil {
				n, err = run(s)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		io.WriteString(w, strconv.Itoa(n))
	})
	if m != nil {
		h = httpsession.New(m, nil)(h)
	}
	r := httptest.NewRequest("GET", "/", nil)
	w := &responder{header: http.Header{}}
	return func(cookie string) (string, []byte) {
		if cookie != "" {
			r.Header["Cookie"] = []string{cookie}
		}
		clear(w.header)
		h.ServeHTTP(w, r)
		return cookiePairs(w.header["Set-Cookie"]), w.body
	}
}

// cookiePairs makes a Cookie field of Set-Cookie lines.
func cookiePairs(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	var out []byte
	for i, line := range lines {
		if i > 0 {
			out = append(out, "; "...)
		}
		for j := 0; j < len(line) && line[j] != ';'; j++ {
			out = append(out, line[j])
		}
	}
	return string(out)
}

func openFast(b *testing.B, m *core.Manager, run func(s *core.Session) (int, error)) func(string) (string, []byte) {
	h := func(ctx *fasthttp.RequestCtx) {
		n := 0
		if run != nil {
			s, err := fasthttpsession.From(ctx)
			if err == nil {
				n, err = run(s)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		ctx.SetBodyString(strconv.Itoa(n))
	}
	if m != nil {
		h = fasthttpsession.New(m, nil)(h)
	}
	return driveFast(h)
}

// driveFast calls a handler again and again with one RequestCtx, as the server
// does for one connection. The request is read from its bytes when it changes.
func driveFast(h fasthttp.RequestHandler) func(string) (string, []byte) {
	var ctx fasthttp.RequestCtx
	var sent string
	send := func(cookie string) {
		text := "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
		if cookie != "" {
			text += "Cookie: " + cookie + "\r\n"
		}
		var req fasthttp.Request
		if err := req.Read(bufio.NewReader(strings.NewReader(text + "\r\n"))); err != nil {
			panic(err)
		}
		ctx.Init(&req, nil, nil)
		if err := ctx.Request.Header.Read(bufio.NewReader(strings.NewReader(text + "\r\n"))); err != nil {
			panic(err)
		}
		sent = cookie
	}
	send("")
	return func(cookie string) (string, []byte) {
		if cookie != sent {
			send(cookie)
		}
		ctx.Response.Reset()
		ctx.ResetUserValues()
		h(&ctx)
		var lines []string
		for _, line := range ctx.Response.Header.Cookies() {
			lines = append(lines, string(line))
		}
		return cookiePairs(lines), ctx.Response.Body()
	}
}

func openFiber(b *testing.B, m *core.Manager, run func(s *core.Session) (int, error)) func(string) (string, []byte) {
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	if m != nil {
		app.Use(fibersession.New(m, nil))
	}
	app.Get("/", func(c *fiber.Ctx) error {
		n := 0
		if run != nil {
			s, err := fibersession.From(c)
			if err != nil {
				return err
			}
			if n, err = run(s); err != nil {
				return err
			}
		}
		return c.SendString(strconv.Itoa(n))
	})
	return driveFast(app.Handler())
}
