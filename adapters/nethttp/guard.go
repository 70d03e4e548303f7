package httpsession

import (
	"bufio"
	"io"
	"net"
	"net/http"

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
		visit.Enter()
		next.ServeHTTP(&guard{w, visit}, r)
		visit.Leave() // not after a panic
	})
}

// A guard is the writer of a guarded handler: what goes through it is sent by the
// handler itself. Like an exchange it has all methods of a server's writer.
type guard struct {
	w     http.ResponseWriter
	visit *core.Visit
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
	g.visit.Leave()
	defer g.visit.Enter()
	g.w.WriteHeader(status)
}

func (g *guard) Write(b []byte) (int, error) {
	g.visit.Leave()
	defer g.visit.Enter()
	return g.w.Write(b)
}

func (g *guard) WriteString(s string) (int, error) {
	g.visit.Leave()
	defer g.visit.Enter()
	return io.WriteString(g.w, s)
}

func (g *guard) ReadFrom(src io.Reader) (int64, error) {
	r, ok := g.w.(io.ReaderFrom)
	if !ok { // src is the handler's
		return io.Copy(struct{ io.Writer }{g}, src)
	}
	g.visit.Leave()
	defer g.visit.Enter()
	return r.ReadFrom(src)
}

func (g *guard) Flush() { _ = g.FlushError() }

func (g *guard) FlushError() error {
	g.visit.Leave()
	defer g.visit.Enter()
	return http.NewResponseController(g.w).Flush()
}

func (g *guard) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	g.visit.Leave()
	defer g.visit.Enter()
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
