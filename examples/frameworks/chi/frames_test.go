package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/examples/frameworks/internal/try"
)

func TestFrames(t *testing.T) {
	quiet := func(next http.Handler) http.Handler { // of what Recoverer prints
		return middleware.RequestLogger(&middleware.DefaultLogFormatter{Logger: log.New(io.Discard, "", 0), NoColor: true})(next)
	}
	app := func(inner ...func(http.Handler) http.Handler) try.Frame {
		return func(sessions *core.Manager, h func(*core.Session, *http.Request) error) http.Handler {
			r := chi.NewRouter()
			r.Use(quiet, httpsession.New(sessions, nil))
			r.Use(inner...)
			r.Get("/*", func(w http.ResponseWriter, r *http.Request) {
				s, err := httpsession.From(r)
				if err == nil {
					err = h(s, r)
				}
				if err != nil {
					clear(w.Header())
					http.Error(w, "oops", 500)
					return
				}
				fmt.Fprint(w, visits.Get(s))
			})
			return r
		}
	}
	try.Frames(t, map[string]try.Frame{
		"Recoverer, Guard":                     app(middleware.Recoverer, httpsession.Guard),
		"Recoverer, Timeout, Guard":            app(middleware.Recoverer, middleware.Timeout(time.Minute), httpsession.Guard),
		"Recoverer, Compress, Throttle, Guard": app(middleware.Recoverer, middleware.Compress(5), middleware.Throttle(10), httpsession.Guard),
		"Recoverer, TimeoutHandler, Guard": app(middleware.Recoverer, func(next http.Handler) http.Handler {
			return http.TimeoutHandler(next, time.Minute, "")
		}, httpsession.Guard),
	}, errors.New("no"))
}
