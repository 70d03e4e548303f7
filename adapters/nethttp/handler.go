package httpsession

import (
	"log"
	"net/http"

	"github.com/gensession/gensession/core"
)

// A HandlerFunc is a handler that gets the session of its request, the innermost
// if several managers are mounted, and returns its error instead of answering
// it:
//
//	mux.Handle("POST /login", httpsession.HandlerFunc(login))
//
// An error of the session or of the function is answered by [Options].Error of
// the middleware, so a function returns every error for which it has no better
// answer. The answer is written to w, so that a middleware that has wrapped w,
// such as an access log, sees it. The session is saved also after an error, as it
// is after a handler that has written an error page. An error that is returned
// after the response has begun changes nothing: log it before. Only that of a change
// of the session that came too late ([core.ErrCommitted]) is a [core.EventFailed].
// If a middleware has wrapped w to hold the response back, return an error only
// before the first write; otherwise the answer follows what was written.
type HandlerFunc func(w http.ResponseWriter, r *http.Request, s *core.Session) error

// ServeHTTP calls f with the session of r.
func (f HandlerFunc) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	visit, err := Visit(r)
	if err != nil {
		if s, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok {
			logf := log.Printf // as net/http does without an ErrorLog
			if s.ErrorLog != nil {
				logf = s.ErrorLog.Printf
			}
			logf("httpsession: %v", err) // the middleware is missing
		}
		answer(w, r, err)
		return
	}
	encoding := joined(w.Header()["Content-Encoding"], ", ")
	s, err := visit.Session(r.Context())
	if err == nil {
		guarded(visit, w, func(w http.ResponseWriter) { err = f(w, r, s) })
	}
	if err == nil {
		return
	}
	if x, ok := visit.Jar().(*exchange); ok {
		x.failWith(w, encoding, err)
		return
	}
	visit.HandlerFailed()
	visit.Tell(r.Context(), err)
	answer(w, r, err) // a middleware of another package
}
