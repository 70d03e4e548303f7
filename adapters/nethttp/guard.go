package httpsession

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/gensession/gensession/core"
)

// Guard is middleware to mount innermost, around the handlers: below whatever
// recovers panics, answers in place of a slow handler or runs handlers in a goroutine
// of its own, wherever that is inside of the session middleware.
//
//	r := chi.NewRouter()
//	r.Use(httpsession.New(sessions, nil), middleware.Recoverer, httpsession.Guard)
//
//	http.TimeoutHandler(httpsession.Guard(mux), 5*time.Second, "too slow")
//
// It tells the session whether the handler has returned. If the handler has
// panicked, or is still running when the response is sent in its place, nothing of its
// session is saved. A [HandlerFunc] needs no Guard. Without the session middleware
// it does nothing.
func Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		visit, err := Visit(r)
		if err != nil {
			next.ServeHTTP(w, r)
			return
		}
		guarded(visit, w, func(w http.ResponseWriter) { next.ServeHTTP(w, r) })
	})
}

// guarded calls a handler as Guard does, with the writer that it gets.
func guarded(visit *core.Visit, w http.ResponseWriter, handler func(w http.ResponseWriter)) {
	g := &guard{w: w, visit: visit}
	defer g.over.Store(true)
	visit.Enter()
	handler(g)
	visit.Leave() // not after a panic
}

// A guard is the writer of a guarded handler: what goes through it is sent by the
// handler itself, until that has ended. A framework may use it afterwards, to answer
// an error or a panic. Like an exchange it has all methods of a server's writer.
type guard struct {
	w     http.ResponseWriter
	visit *core.Visit
	over  atomic.Bool // the handler has returned or panicked
}

// send gives back control while the handler sends something, and returns what ends
// that.
func (g *guard) send() (sent func()) {
	if g.over.Load() {
		return func() {}
	}
	g.visit.Leave()
	return g.visit.Enter
}

var (
	_ http.Flusher    = (*guard)(nil)
	_ http.Hijacker   = (*guard)(nil)
	_ http.Pusher     = (*guard)(nil)
	_ io.ReaderFrom   = (*guard)(nil)
	_ io.StringWriter = (*guard)(nil)
)

// Unwrap returns the original writer, for http.ResponseController.
func (g *guard) Unwrap() http.ResponseWriter { return g.w }

func (g *guard) Header() http.Header { return g.w.Header() }

func (g *guard) WriteHeader(status int) {
	defer g.send()()
	g.w.WriteHeader(status)
}

func (g *guard) Write(b []byte) (int, error) {
	defer g.send()()
	return g.w.Write(b)
}

func (g *guard) WriteString(s string) (int, error) {
	defer g.send()()
	return io.WriteString(g.w, s)
}

func (g *guard) ReadFrom(src io.Reader) (int64, error) {
	r, ok := g.w.(io.ReaderFrom)
	if !ok { // src is the handler's
		return io.Copy(struct{ io.Writer }{g}, src)
	}
	defer g.send()()
	return r.ReadFrom(src)
}

func (g *guard) Flush() { _ = g.FlushError() }

func (g *guard) FlushError() error {
	defer g.send()()
	return http.NewResponseController(g.w).Flush()
}

func (g *guard) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	defer g.send()()
	return http.NewResponseController(g.w).Hijack()
}

func (g *guard) Push(path string, o *http.PushOptions) error {
	if p, ok := g.w.(http.Pusher); ok {
		return p.Push(path, o)
	}
	return http.ErrNotSupported
}

// CloseNotify is deprecated, but gin's Stream panics without it.
func (g *guard) CloseNotify() <-chan bool {
	if n, ok := g.w.(interface{ CloseNotify() <-chan bool }); ok {
		return n.CloseNotify()
	}
	return make(chan bool) // never
}
