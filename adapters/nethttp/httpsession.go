// Package httpsession is the session middleware for net/http and for routers and
// frameworks built on it: chi, gorilla/mux, echo, gin.
//
//	sessions, err := core.New(memorystore.New(nil), &core.Options{Keys: keys})
//	…
//	handler := httpsession.New(sessions, nil)(mux)
//
// The session is saved before the first byte of the response is sent, by Write,
// WriteHeader, Flush, Hijack, ReadFrom or the end of the handler. So change the
// session before you write the response: a later change fails with
// [core.ErrCommitted]. Informational responses such as 103 Early Hints do not
// count; the session can be changed after them.
//
// A library that takes the connection over and writes the response 101 itself, as
// gorilla/websocket does, sends the cookie if it gets the header:
// upgrader.Upgrade(w, r, w.Header()). What outlives the request, such as a
// WebSocket or an event stream, visits its session by [core.Manager.VisitByID].
//
// If the session can't be saved, the response of the handler is discarded and the
// client gets an error; see [Options]. If the handler panics, nothing is saved,
// and the panic continues.
//
// Mount http.TimeoutHandler inside the session middleware, not around it, and
// [Guard] inside of both, around the handlers: otherwise a handler that has timed
// out would continue and save a session whose cookie is never sent. The same Guard
// stands inside of middleware that recovers panics. A handler that unwraps the ResponseWriter and writes to
// the original one bypasses the session.
//
// # For adapters
//
// [Commit] is for adapters of frameworks that are built on net/http, such as
// ginsession. Applications do not need it.
package httpsession

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/gensession/gensession/adapters/internal/proxy"
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
	// a [HandlerFunc] returned an error. No byte of the handler's response was
	// sent; its header fields stay, except those that describe the body.
	// [core.Status] returns the status for err.
	// The default sends the status and its text, and not the text of err, which
	// reveals internals of the server: that is a [core.EventFailed], for
	// core.Options.Logger and core.Hooks.
	Error func(w http.ResponseWriter, r *http.Request, err error)
}

// New returns middleware that gives each request a session of m. If it is mounted
// twice with the same manager, the inner one does nothing. Managers with
// different cookies can be combined.
func New(m *core.Manager, o *Options) func(http.Handler) http.Handler {
	if o == nil {
		o = new(Options)
	}
	mw := middleware{manager: m, secure: o.Secure, answer: o.Error}
	if mw.secure == nil {
		mw.proxies = proxy.New(o.TrustedProxies, o.ProxyField, o.TrustedHops)
		mw.secure = overTLS(mw.proxies)
	}
	if mw.answer == nil {
		mw.answer, mw.tells = answer, true
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { mw.serve(w, r, next) })
	}
}

// From returns the session of r, that of the innermost middleware if there are
// several. The error is [core.ErrNoSession] if the middleware is missing or the
// path of r is outside the cookie's path.
func From(r *http.Request) (*core.Session, error) { return core.From(r.Context()) }

// FromManager returns the session of r that m manages. Its errors are those of
// [From].
func FromManager(r *http.Request, m *core.Manager) (*core.Session, error) {
	return m.From(r.Context())
}

// Visit returns the [core.Visit] of r, with which a handler can destroy or replace
// a session that is not loaded.
func Visit(r *http.Request) (*core.Visit, error) { return core.VisitFrom(r.Context()) }

// Commit saves the session of v, a visit of this package, as the first byte of a
// response does: if that fails, it sends an error response and returns the error, and
// nothing else may be sent. It is for the writers of frameworks that send a response
// by other methods than those of net/http. [New] has to be given the writer of the
// framework. If that has a method Written, which reports whether the response has
// begun, then a session whose cookie can't be sent any more is not saved.
func Commit(v *core.Visit) error {
	x, ok := v.Jar().(*exchange)
	if !ok {
		return fmt.Errorf("%w: the visit is of another package", core.ErrNoSession)
	}
	return x.commit()
}

type middleware struct {
	manager *core.Manager
	secure  func(*http.Request) bool
	proxies *proxy.Trust // nil if the user decides what is secure
	answer  func(http.ResponseWriter, *http.Request, error)
	tells   bool // answer tells nobody the cause
}

func (mw *middleware) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	ctx := r.Context()
	outer, _ := core.VisitFrom(ctx) // nil if this is the outermost
	// Not from a pool: a goroutine of the handler may keep the writer for ever.
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
	if r.Trailer == nil && len(r.TransferEncoding) > 0 {
		// The server puts trailers that were not announced into a map of r alone,
		// unless there is one, which both requests share.
		r.Trailer = make(http.Header)
	}
	inner := r.WithContext(core.NewContext(ctx, visit))
	defer handBack(inner, r, visit)
	next.ServeHTTP(x, inner)
	_ = x.commit() // commit sends the error to the client
}

// handBack gives the original request what handlers have put into its copy, as if
// there were none: the server removes the temporary files of r.MultipartForm, and
// an access log reads r.Pattern. Of a handler that may still run it takes only what
// the server would look at, too.
func handBack(inner, r *http.Request, visit *core.Visit) {
	r.MultipartForm = inner.MultipartForm
	if !visit.Running() {
		r.Pattern, r.Form, r.PostForm, r.Trailer = inner.Pattern, inner.Form, inner.PostForm, inner.Trailer
	}
}

// overTLS returns the default of Options.Secure.
func overTLS(proxies *proxy.Trust) func(*http.Request) bool {
	if !proxies.Any() {
		return func(r *http.Request) bool { return r.TLS != nil }
	}
	return func(r *http.Request) bool {
		if !proxies.Trusts(proxy.ParseAddr(r.RemoteAddr)) {
			return r.TLS != nil
		}
		return proxies.TLS(strings.Join(r.Header.Values(proxies.Field()), ","), r.TLS != nil)
	}
}

func answer(w http.ResponseWriter, _ *http.Request, err error) {
	status := core.Status(err)
	http.Error(w, http.StatusText(status), status)
}
