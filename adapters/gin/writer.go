package ginsession

import (
	"bufio"
	"errors"
	"net"
	"net/http"

	"github.com/gin-gonic/gin"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
)

// An exchange is one request and its response. It is the ResponseWriter that
// httpsession wraps: that of gin as it was before this middleware.
type exchange struct {
	gin.ResponseWriter
	c        *gin.Context
	mw       *middleware
	visit    *core.Visit // nil if a manager with the same cookie is mounted further out
	errors   int         // how many c.Errors there were before
	entered  bool
	early    bool // an informational response was sent
	answered bool // Options.Error has written a response
}

// Written tells httpsession whether the response has begun, so that a session whose
// cookie can't be sent is not saved.
func (x *exchange) Written() bool { return !x.early && x.ResponseWriter.Written() }

// Unwrap is for http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// next is what httpsession calls with the session.
func (x *exchange) next(_ http.ResponseWriter, r *http.Request) {
	x.entered = true
	if v, err := core.VisitFrom(r.Context()); err == nil {
		x.visit, _ = v.Of(x.mw.manager)
	}
	if x.visit == nil {
		x.c.Next()
		return
	}
	// Where the engine handles c again, the handler that has asked for it answers by
	// the new ones, and its guard's writer is gone.
	guards := 0
	for ; x.visit.Running(); guards++ {
		x.visit.Leave()
	}
	defer func() {
		for range guards {
			x.visit.Enter()
		}
	}()
	x.c.Request = r
	x.c.Writer = &writer{x.ResponseWriter, x}
	x.c.Next()
	_ = x.commit(x.Written()) // it sends the error to the client
}

// commit saves the session if it is not yet saved, and sends an error response if
// that fails. answers says that the handlers have an answer: that of a handler that
// has failed is an error.
func (x *exchange) commit(answers bool) error {
	if len(x.c.Errors) > x.errors {
		if s := x.Status(); s >= 400 || !answers && s == http.StatusOK {
			x.visit.HandlerFailed()
		}
	}
	if err := httpsession.Commit(x.visit); err != nil {
		return failure{err} // c.JSON adds it to c.Errors
	}
	return nil
}

// after returns the ResponseWriter for the middleware further out. Where an error
// is answered that is one that writes no more: a middleware that formats c.Errors
// would send a second answer.
func (x *exchange) after() gin.ResponseWriter {
	if _, inner := x.c.Writer.(sealed); inner || x.answered {
		return sealed{x.ResponseWriter}
	}
	return x.ResponseWriter
}

type sealed struct{ gin.ResponseWriter }

var errAnswered = errors.New("ginsession: an error has been answered")

func (sealed) Write([]byte) (int, error)       { return 0, errAnswered }
func (sealed) WriteString(string) (int, error) { return 0, errAnswered }
func (sealed) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, errAnswered
}

// A writer is the ResponseWriter of the handlers, which saves the session before the
// first byte. What it does not have itself sends nothing.
type writer struct {
	gin.ResponseWriter
	x *exchange
}

// WriteHeaderNow sends the status that WriteHeader has only noted.
func (w *writer) WriteHeaderNow() {
	if s := w.Status(); s < 200 && s != http.StatusSwitchingProtocols {
		w.x.early = true // informational responses do not count
	} else if w.x.commit(true) != nil {
		return
	}
	w.ResponseWriter.WriteHeaderNow()
}

func (w *writer) Write(b []byte) (int, error) {
	if err := w.x.commit(true); err != nil {
		return 0, err
	}
	return w.ResponseWriter.Write(b)
}

func (w *writer) WriteString(s string) (int, error) {
	if err := w.x.commit(true); err != nil {
		return 0, err
	}
	return w.ResponseWriter.WriteString(s)
}

func (w *writer) Flush() { _ = w.FlushError() }

// FlushError is for http.ResponseController.
func (w *writer) FlushError() error {
	if err := w.x.commit(true); err != nil {
		return err
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if err := w.x.commit(true); err != nil {
		return nil, nil, err
	}
	return w.ResponseWriter.Hijack()
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// A guarded is the ResponseWriter of handlers that have control: what goes through it
// is sent by themselves.
type guarded struct {
	gin.ResponseWriter
	c     *gin.Context
	visit *core.Visit
}

func (g *guarded) WriteHeaderNow() {
	g.visit.Leave()
	defer g.visit.Enter()
	g.ResponseWriter.WriteHeaderNow()
}

func (g *guarded) Write(b []byte) (int, error) {
	g.visit.Leave()
	defer g.visit.Enter()
	return g.ResponseWriter.Write(b)
}

func (g *guarded) WriteString(s string) (int, error) {
	g.visit.Leave()
	defer g.visit.Enter()
	return g.ResponseWriter.WriteString(s)
}

func (g *guarded) Flush() { _ = g.FlushError() }

// FlushError is for http.ResponseController.
func (g *guarded) FlushError() error {
	g.visit.Leave()
	defer g.visit.Enter()
	return http.NewResponseController(g.ResponseWriter).Flush()
}

func (g *guarded) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	g.visit.Leave()
	defer g.visit.Enter()
	return g.ResponseWriter.Hijack()
}

// Unwrap is for http.ResponseController.
func (g *guarded) Unwrap() http.ResponseWriter { return g.ResponseWriter }
