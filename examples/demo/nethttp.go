package main

import (
	"net/http"
	"time"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
)

func newNetHTTP(m *core.Manager, a *app) server {
	routes := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		send(w, a.respond(r.Context(), r.Method, r.URL.Path, r.URL.RawQuery))
	})
	sessions := httpsession.New(m, &httpsession.Options{
		Error: func(w http.ResponseWriter, _ *http.Request, err error) { send(w, failure(err)) },
	})
	return &http.Server{Handler: sessions(routes), ReadHeaderTimeout: 10 * time.Second}
}

func send(w http.ResponseWriter, ans answer) {
	h := w.Header()
	h.Set("Content-Type", ans.kind)
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(ans.status)
	_, _ = w.Write(ans.body)
}
