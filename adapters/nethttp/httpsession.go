// Package httpsession brings sessions to net/http and to everything that is
// built on it: chi, gorilla/mux, echo, gin.
//
//	sessions, err := core.New(memorystore.New(nil), &core.Options{Keys: keys})
//	…
//	handler := httpsession.New(sessions, nil)(mux)
//
// The session is saved before the first byte of the response goes out, whatever
// sends it: Write, WriteHeader, Flush, Hijack, ReadFrom, or the end of the
// handler. So change the session first and answer then. A later change is
// [core.ErrCommitted]. Informational answers such as 103 Early Hints don't
// count: the session is still open after them.
//
// If it can't be saved, the handler's response is dropped and the client gets
// an error; see [Options]. A handler that panics saves nothing, and the panic
// goes on.
//
// Mount http.TimeoutHandler below the session, not around it: a handler whose
// time is over would go on and save a session whose cookie goes nowhere. What a
// handler sends through a writer that it has unwrapped by hand passes the
// session by.
package httpsession

import (
	"net/http"

	"github.com/gensession/gensession/core"
)

// Options are the choices of [New]. nil and the zero Options are fine.
type Options struct {
	// Secure reports whether the browser's request came over TLS. The default
	// is r.TLS != nil. Behind a proxy that ends TLS look at the field that this
	// proxy sets, and only if the request can't have come past the proxy:
	//
	//	Secure: func(r *http.Request) bool { return r.Header.Get("X-Forwarded-Proto") == "https" }
	Secure func(r *http.Request) bool

	// Error answers a request whose session could not be loaded or saved, in
	// place of the handler's response, of which nothing was sent. [core.Status]
	// gives the status for err. Of the handler's header only what does not
	// describe its body is left. The default answers with the status and its
	// text, and nothing of err, which tells about the inside of the server;
	// log it in [core.Hooks].
	Error func(w http.ResponseWriter, r *http.Request, err error)
}

// New returns the middleware that gives the requests below it a session of m.
// Mounted twice with the same manager, the outer one works and the inner one
// does nothing; managers with different cookies live side by side.
func New(m *core.Manager, o *Options) func(http.Handler) http.Handler {
	if o == nil {
		o = new(Options)
	}
	mw := middleware{manager: m, secure: o.Secure, answer: o.Error}
	if mw.secure == nil {
		mw.secure = overTLS
	}
	if mw.answer == nil {
		mw.answer = answer
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { mw.serve(w, r, next) })
	}
}

// From returns the session of r, the innermost if several managers are
// mounted. It is [core.ErrNoSession] if the middleware is missing or r lies
// outside the cookie's path.
func From(r *http.Request) (*core.Session, error) { return core.From(r.Context()) }

// FromManager is [From] for one of several managers.
func FromManager(r *http.Request, m *core.Manager) (*core.Session, error) {
	return m.From(r.Context())
}

// Visit returns what stands behind the session of r, to destroy or replace one
// that is not loaded yet.
func Visit(r *http.Request) (*core.Visit, error) { return core.VisitFrom(r.Context()) }

type middleware struct {
	manager *core.Manager
	secure  func(*http.Request) bool
	answer  func(http.ResponseWriter, *http.Request, error)
}

func (mw *middleware) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	ctx := r.Context()
	outer, _ := core.VisitFrom(ctx) // nil if this is the outermost
	// Not from a pool: a handler's goroutine can hold the writer for ever.
	x, visit, ok := core.NewVisitOf[exchange](mw.manager, outer)
	if !ok {
		next.ServeHTTP(w, r)
		return
	}
	x.w, x.r, x.mw, x.visit, x.encoding = w, r, mw, visit, joined(w.Header()["Content-Encoding"], ", ")
	// After Commit these do nothing. Before it they mean a panic or Goexit.
	defer x.end()
	defer visit.Abandon()
	if err := visit.Begin(ctx); err != nil {
		x.fail(err)
		return
	}
	next.ServeHTTP(x, r.WithContext(core.NewContext(ctx, visit)))
	_ = x.commit() // the error is answered, and nobody is left to return it to
}

func overTLS(r *http.Request) bool { return r.TLS != nil }

func answer(w http.ResponseWriter, _ *http.Request, err error) {
	status := core.Status(err)
	http.Error(w, http.StatusText(status), status)
}
