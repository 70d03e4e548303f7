// Package drive runs requests through handlers without a network, for the
// benchmarks of this repository and of the libraries beside it: all of them
// are driven, and checked, by the same code.
package drive

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/valyala/fasthttp"
)

// A Client is one browser: it sends a request with a Cookie field, none for "".
// It returns the field to send next, which is the same unless the response set
// a cookie, and the body, which is valid until the next call.
type Client func(cookie string) (next string, body []byte)

// A Site makes the handler of one operation, and returns what makes clients of
// it. Fill is an operation of every site.
type Site func(b *testing.B, op string) func() Client

// The operations. Each answers with a number.
const (
	Fill      = "fill"      // begins the session that the others find; not measured
	Bare      = "bare"      // no session in the program: answers 0
	Visitor   = "visitor"   // no cookie, and the handler does not ask: 0
	Untouched = "untouched" // a cookie, and the handler does not ask: 0
	Read      = "read"      // one value, which is 1
	Write     = "write"     // reads the value, adds one, saves: counts from 2
	Login     = "login"     // a new id for the session: 1
	Logout    = "logout"    // ends the session: 1. The next one wants Begin before
)

// Values are those of the session: six, about 250 bytes as JSON.
func Values() map[string]any {
	return map[string]any{
		"visits": 1,
		"user":   "ada.lovelace@example.com",
		"name":   "Ada Lovelace",
		"roles":  []string{"author", "editor"},
		"cart":   map[string]int{"book-1843": 1, "pen-12": 3},
		"csrf":   "c2VjcmV0LXRva2VuLW9mLTMyLWJ5dGVz",
	}
}

// SizedValues are visits and n values more, of 80 bytes each as JSON.
func SizedValues(n int) map[string]any {
	all := map[string]any{"visits": 1}
	for i := range n {
		name := "field" + strconv.Itoa(1000+i)
		all[name] = strings.Repeat(name, 8)[:80-len(`"":"",`)-len(name)]
	}
	return all
}

// Sizes are numbers of values for SizedValues.
var Sizes = []int{3, 12, 50, 200, 800}

// Size is about how large so many are, in bytes: from 256 to 64 Ki.
func Size(values int) int {
	size := 256
	for size < values*80 {
		size *= 2
	}
	return size
}

// Bench measures an operation, asked for by so many callers at once, each with
// a session of its own. It fails if the last answer of any is not what so many
// requests must have led to.
func Bench(b *testing.B, site Site, op string, callers int) {
	connect := Browsers(b, site, op)
	b.ReportAllocs()
	if callers == 1 {
		c := connect()
		for b.Loop() {
			c.Step()
		}
		c.Check(b)
		return
	}

	procs := runtime.GOMAXPROCS(0)
	b.SetParallelism((callers + procs - 1) / procs)
	free := make(chan *Browser, callers+procs)
	for range cap(free) {
		free <- connect()
	}
	// All at once before the time counts, so that the clients of the stores
	// have their connections.
	var warm sync.WaitGroup
	for range callers {
		c := <-free
		warm.Go(func() {
			for range 5 {
				c.Step()
			}
			free <- c
		})
	}
	warm.Wait()
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		c := <-free
		for p.Next() {
			c.Step()
		}
		if c.n > 0 {
			c.Check(b)
		}
	})
}

// A Browser repeats an operation in a session of its own.
type Browser struct {
	op      string
	begin   Client // begins a session, nil if there is none
	request Client
	cookie  string
	n       int // requests so far
	body    []byte
}

// Browsers returns what connects browsers with a site.
func Browsers(b *testing.B, site Site, op string) func() *Browser {
	var begin func() Client
	if op != Bare && op != Visitor {
		begin = site(b, Fill)
	}
	open := site(b, op)
	return func() *Browser {
		c := &Browser{op: op, request: open()}
		if begin != nil {
			c.begin = begin()
			if c.Begin(); c.cookie == "" {
				b.Error("the session began without a cookie")
			}
		}
		return c
	}
}

// Begin gives the browser a new session.
func (c *Browser) Begin() { c.cookie, _ = c.begin("") }

// Step sends one request.
func (c *Browser) Step() {
	c.cookie, c.body = c.request(c.cookie)
	c.n++
}

// Check compares the last answer with what so many requests must have led to.
func (c *Browser) Check(b *testing.B) {
	want := map[string]int{Read: 1, Login: 1, Logout: 1, Write: c.n + 1}[c.op]
	if string(c.body) != strconv.Itoa(want) {
		b.Errorf("%s: answer %q after %d requests, want %d", c.op, c.body, c.n, want)
	}
}

// Tell prints a line for each program that is not installed, since go test says
// nothing about benchmarks that skip. It says nothing while no benchmark runs.
func Tell(programs ...string) {
	flag.Parse()
	if f := flag.Lookup("test.bench"); f == nil || f.Value.String() == "" {
		return
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			fmt.Printf("not measured: what needs %s, which is not in PATH\n", p)
		}
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

// HTTP is a client of a net/http handler. It leaves the work of the server out,
// such as parsing the request, and so do all others.
func HTTP(h http.Handler) Client {
	r := httptest.NewRequest("GET", "/", nil)
	w := &responder{header: http.Header{}}
	field := []string{""}
	var pairs []byte
	return func(cookie string) (string, []byte) {
		if cookie != "" {
			field[0] = cookie
			r.Header["Cookie"] = field
		}
		clear(w.header)
		h.ServeHTTP(w, r)
		pairs = pairs[:0]
		for _, line := range w.header["Set-Cookie"] {
			pairs = appendPair(pairs, line)
		}
		return next(cookie, pairs), w.body
	}
}

// Fast is a client of a fasthttp handler. It uses one RequestCtx again and
// again, as the server does for a connection. The header is copied anew for
// each request, or its cookies would be parsed only once.
func Fast(h fasthttp.RequestHandler) Client {
	var ctx fasthttp.RequestCtx
	ctx.Init(&fasthttp.Request{}, nil, nil)
	var header fasthttp.RequestHeader
	var wire strings.Reader
	reader := bufio.NewReader(&wire) // once, as a connection has
	sent := "none yet"
	var pairs []byte
	return func(cookie string) (string, []byte) {
		if cookie != sent {
			text := "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
			if cookie != "" {
				text += "Cookie: " + cookie + "\r\n"
			}
			wire.Reset(text + "\r\n")
			reader.Reset(&wire)
			if err := header.Read(reader); err != nil {
				panic(err)
			}
			sent = cookie
		}
		header.CopyTo(&ctx.Request.Header)
		ctx.Response.Reset()
		ctx.ResetUserValues()
		h(&ctx)
		pairs = pairs[:0]
		for _, line := range ctx.Response.Header.Cookies() {
			pairs = appendPair(pairs, line)
		}
		return next(cookie, pairs), ctx.Response.Body()
	}
}

// appendPair adds the name and value of a Set-Cookie line to a Cookie field.
func appendPair[T string | []byte](field []byte, line T) []byte {
	if len(field) > 0 {
		field = append(field, "; "...)
	}
	for i := 0; i < len(line) && line[i] != ';'; i++ {
		field = append(field, line[i])
	}
	return field
}

// next is the field to send next. It allocates only when that is another one.
func next(cookie string, pairs []byte) string {
	if len(pairs) == 0 || bytes.Equal(pairs, []byte(cookie)) {
		return cookie
	}
	return string(pairs)
}
