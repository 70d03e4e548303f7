// Package ginsession is the session middleware for gin.
//
//	sessions, err := core.New(memorystore.New(nil), &core.Options{Keys: keys})
//	…
//	r := gin.Default()
//	r.Use(ginsession.New(sessions, nil))
//
// The session is saved before the first byte of the response is sent, by a Write,
// WriteHeaderNow, Flush, Hijack or the end of the handlers. So change the session
// before you write the response: a later change fails with [core.ErrCommitted].
// c.Status and c.Header send nothing, and c.AbortWithStatus does.
//
// If the session can't be saved, the response of the handler is discarded and the
// client gets an error; see [Options]. Then nothing else is sent, whatever the
// handlers, or middleware mounted before this one, write to c.Writer.
//
// If a panic reaches this middleware, nothing is saved: mount gin.Recovery before
// it, where gin.Default has it. For a recovery inside there is [Guard].
//
// The session is saved also after a handler that has called c.Error. But if such a
// handler has answered with a status of 400 or more, or leaves the answer to a
// middleware that formats c.Errors, then a [core.Session.Login] that is not saved
// yet does not happen.
//
// c itself is a context with the session only if the engine has
// ContextWithFallback; c.Request.Context always is. Code that runs after the
// handlers uses c.Copy, as always with gin: it can read the session, not change
// it.
//
// Everything else is as with the package httpsession of adapters/nethttp, on which
// this one is built.
package ginsession

import (
	"net/http"
	"net/netip"

	"github.com/gin-gonic/gin"

	"github.com/gensession/gensession/adapters/internal/sessionerr"
	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
)

// Options configure [New]. Nil and the zero value are valid.
type Options struct {
	// TrustedProxies are the addresses of the proxies in front of this server
	// that end TLS, such as netip.MustParsePrefix("10.0.0.0/8"). Where a
	// connection comes from one of them, ProxyField says whether the browser's
	// request came over TLS. What other clients send is not believed. Default:
	// none, and only the connection itself counts.
	TrustedProxies []netip.Prefix
	// ProxyField is the one request field that these proxies write, each by
	// itself or behind what the field contains already. No other field is read.
	// Default "X-Forwarded-Proto"; others are "Forwarded" and "X-Forwarded-Ssl".
	ProxyField string
	// TrustedHops is the number of trusted proxies between the browser and this
	// server that append to ProxyField: its element counts that is so far from
	// the right. If there are fewer elements, the request did not come over TLS.
	// Default 1, which is also right for a proxy that replaces the field.
	TrustedHops int
	// Secure, if set, reports in place of all that whether the browser's request
	// came over TLS, such as for a proxy that has no address since it uses a Unix
	// socket. It must not believe what any client can send.
	Secure func(r *http.Request) bool

	// Error writes the response if the session could not be loaded or saved, or
	// a [Handler] returned an error. No byte of the handler's response was sent;
	// its header fields stay, except those that describe the body. The remaining
	// handlers of the request are not called. [core.Status] returns the status
	// for err.
	//
	// The text of an error of the session is only that of the status, since
	// the other reveals internals of the server; errors.Is finds the error of the
	// core. An error of a Handler is passed on unchanged.
	//
	// The default sends the status and its text, and adds err to c.Errors, where
	// a log finds it. If Error writes nothing, a middleware that is mounted before
	// this one can answer:
	//
	//	Error: func(c *gin.Context, err error) { _ = c.Error(err) }
	Error func(c *gin.Context, err error)
}

// New returns middleware that gives each request a session of m. If it is mounted
// twice with the same manager, the inner one does nothing. Managers with
// different cookies can be combined.
func New(m *core.Manager, o *Options) gin.HandlerFunc {
	if o == nil {
		o = new(Options)
	}
	mw := &middleware{manager: m, answer: o.Error}
	if mw.answer == nil {
		mw.answer = answer
	}
	mw.around = httpsession.New(m, &httpsession.Options{
		TrustedProxies: o.TrustedProxies, ProxyField: o.ProxyField, TrustedHops: o.TrustedHops, Secure: o.Secure,
		Error: mw.fail,
	})
	return mw.handle
}

// From returns the session of c, that of the innermost middleware if there are
// several. The error is [core.ErrNoSession] if the middleware is missing or the
// request path is outside the cookie's path.
//
// [core.From] returns the same session from c.Request.Context, for code that does
// not depend on gin.
func From(c *gin.Context) (*core.Session, error) { return httpsession.From(c.Request) }

// FromManager returns the session of c that m manages. Its errors are those of
// [From].
func FromManager(c *gin.Context, m *core.Manager) (*core.Session, error) {
	return httpsession.FromManager(c.Request, m)
}

// Visit returns the [core.Visit] of c, with which a handler can destroy or replace
// a session that is not loaded.
func Visit(c *gin.Context) (*core.Visit, error) { return httpsession.Visit(c.Request) }

// Handler returns a gin handler that calls f with the session of its request, the
// innermost if several managers are mounted. An error of the session or of f is
// answered by [Options].Error of the middleware, so f returns every error for which
// it has no better answer; the remaining handlers of the request are not called. The
// session is saved also after an error, but a [core.Session.Login] that is not saved
// yet does not happen. An error that is returned after the response has begun
// changes nothing: log it before. Only that of a change of the session that came too
// late ([core.ErrCommitted]) is a [core.EventFailed].
func Handler(f func(c *gin.Context, s *core.Session) error) gin.HandlerFunc {
	return func(c *gin.Context) {
		w := &handled{ResponseWriter: c.Writer, c: c}
		done := false
		httpsession.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request, s *core.Session) error {
			w.called = true
			err := guard(c, func() error { return f(c, s) }) // HandlerFunc calls Enter and Leave
			done = err == nil
			return err
		}).ServeHTTP(w, c.Request)
		if !done {
			c.Abort()
		}
	}
}

// Guard is middleware to mount innermost, before the handlers: after whatever
// recovers panics inside of the session middleware, or runs handlers in a goroutine of
// its own.
//
//	r.Use(ginsession.New(sessions, nil), gin.Recovery(), ginsession.Guard)
//
// It tells the session whether the handlers have returned. If one has panicked, or
// is still running when the response is sent in its place, nothing of its session is
// saved. A [Handler] needs no Guard. Without the session middleware it does nothing.
func Guard(c *gin.Context) {
	_ = enter(c, func() error { c.Next(); return nil })
}

// enter runs handlers behind a guard.
func enter(c *gin.Context, handlers func() error) error {
	v, err := Visit(c)
	if err != nil {
		return handlers()
	}
	v.Enter()
	err = guard(c, handlers)
	v.Leave() // not after a panic
	return err
}

// guard runs handlers that have control, so that what they send is known to be
// theirs.
func guard(c *gin.Context, handlers func() error) error {
	v, err := Visit(c)
	if err != nil {
		return handlers()
	}
	w := c.Writer
	c.Writer = &guarded{w, c, v}
	defer func() { c.Writer = w }() // what answers a panic is not theirs
	return handlers()
}

// A handled is the writer for a Handler's error, which knows where it belongs.
type handled struct {
	gin.ResponseWriter
	c      *gin.Context
	called bool // the error may be the handler's own
}

type middleware struct {
	manager *core.Manager
	around  func(http.Handler) http.Handler
	answer  func(*gin.Context, error)
}

func (mw *middleware) handle(c *gin.Context) {
	// The mark is gone, and c.Writer the engine's, if the engine handles c again
	// (HandleContext).
	if _, mounted := c.Get(mw.manager); mounted {
		return
	}
	x := &exchange{ResponseWriter: c.Writer, c: c, mw: mw, errors: len(c.Errors)}
	c.Set(mw.manager, x)
	_, outermost := core.VisitFrom(c.Request.Context())
	defer func(r *http.Request) {
		c.Writer = x.after()  // also for a gin.Recovery further out
		if outermost == nil { // From is the session further out again
			c.Request = r
		}
	}(c.Request)
	mw.around(http.HandlerFunc(x.next)).ServeHTTP(x, c.Request)
	if !x.entered {
		c.Abort()
	}
}

// fail answers an error of the session, or of a Handler.
func (mw *middleware) fail(w http.ResponseWriter, _ *http.Request, err error) {
	var c *gin.Context
	switch w := w.(type) {
	case *exchange:
		// c.Writer would try to save the session first, which has failed.
		c = w.c
		defer func(handler gin.ResponseWriter) { c.Writer = handler }(c.Writer)
		c.Writer, err = w.ResponseWriter, failure{err}
	case *handled:
		if c = w.c; w.called {
			err = tidy(err)
		} else {
			err = failure{err}
		}
	case *writer: // of a httpsession.HandlerFunc by gin.WrapH
		c, err = w.x.c, tidy(err)
	case *guarded:
		c, err = w.c, tidy(err)
	default:
		status := core.Status(err)
		http.Error(w, http.StatusText(status), status)
		return
	}
	mw.answer(c, err)
	if x, ok := c.Get(mw.manager); ok {
		x.(*exchange).answered = c.Writer.Written()
	}
	if !c.Writer.Written() && c.Writer.Status() == http.StatusOK {
		c.Status(core.Status(err)) // unless somebody answers
	}
	c.Abort()
}

func answer(c *gin.Context, err error) {
	_ = c.Error(err)
	status := core.Status(err)
	http.Error(c.Writer, http.StatusText(status), status)
}

// A failure is an error of the session.
type failure struct{ err error }

// Error returns the text of the status, which may be sent to the client.
func (f failure) Error() string { return http.StatusText(core.Status(f.err)) }

// Unwrap returns the error of the core.
func (f failure) Unwrap() error { return f.err }

// tidy makes a failure of an error of the session. Other errors stay unchanged.
func tidy(err error) error {
	if sessionerr.Is(err) {
		return failure{err}
	}
	return err
}
