//go:build !386 && !arm

package world_test

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/go-chi/httprate"
	"github.com/klauspost/compress/gzhttp"
	"github.com/rs/cors"
	"github.com/valyala/fasthttp"

	fasthttpsession "github.com/gensession/gensession/adapters/fasthttp"
	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
)

var nethttpPrograms = []program{
	{name: "net/http", start: func(t *testing.T, m *core.Manager) string {
		return serve(t, httpsession.New(m, nil)(mux()))
	}},
	{name: "net/http with TimeoutHandler", cancels: true, start: func(t *testing.T, m *core.Manager) string {
		return serve(t, httpsession.New(m, nil)(http.TimeoutHandler(mux(), time.Minute, "too slow")))
	}},
	{name: "net/http with gzip, CORS, a limiter and MaxBytes inside", start: func(t *testing.T, m *core.Manager) string {
		return serve(t, httpsession.New(m, nil)(crowd(t)(mux())))
	}},
	{name: "net/http with gzip, CORS, a limiter and MaxBytes outside", start: func(t *testing.T, m *core.Manager) string {
		return serve(t, crowd(t)(httpsession.New(m, nil)(mux())))
	}},
	{name: "behind ReverseProxy", start: func(t *testing.T, m *core.Manager) string {
		upstream, err := url.Parse(serve(t, httpsession.New(m, nil)(mux())))
		if err != nil {
			t.Fatal(err)
		}
		return serve(t, &httputil.ReverseProxy{
			Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
			ErrorLog: log.New(io.Discard, "", 0), // of the hang-up
		})
	}},
	{name: "around ReverseProxy", start: aroundProxy},
	{name: "chi", start: func(t *testing.T, m *core.Manager) string {
		r := chi.NewRouter()
		r.Use(middleware.RequestID, middleware.Recoverer, httpsession.New(m, nil))
		return serve(t, chiRoutes(r))
	}},
	{name: "chi with all its middleware", start: func(t *testing.T, m *core.Manager) string {
		r := chi.NewRouter()
		r.Use(middleware.Recoverer, middleware.Compress(5), middleware.Throttle(100), limitByIP(),
			cors.AllowAll().Handler, middleware.StripSlashes, middleware.GetHead)
		r.Use(httpsession.New(m, nil))
		r.Use(middleware.Compress(5), middleware.Timeout(time.Minute), middleware.NoCache, middleware.Recoverer, httpsession.Guard)
		return serve(t, chiRoutes(r))
	}},
	{name: "chi, mounted", start: func(t *testing.T, m *core.Manager) string {
		inner := chi.NewRouter()
		inner.Use(httpsession.New(m, nil))
		chiRoutes(inner)
		r := chi.NewRouter()
		r.Mount("/", inner)
		return serve(t, r)
	}},
	{name: "fasthttp", start: func(t *testing.T, m *core.Manager) string {
		return serveFasthttp(t, fasthttpsession.New(m, nil)(fasthttpShop))
	}},
	{name: "fasthttp with compression", start: func(t *testing.T, m *core.Manager) string {
		return serveFasthttp(t, fasthttp.CompressHandler(fasthttpsession.New(m, nil)(fasthttp.CompressHandler(fasthttpShop))))
	}},
}

func serve(t *testing.T, h http.Handler) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// shop is a page of the shop.
func shop(path string) httpsession.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, s *core.Session) error {
		to, body, err := act(r.Context(), s, path, r.URL.Query().Get)
		switch {
		case err != nil:
			return err
		case to != "":
			http.Redirect(w, r, to, http.StatusSeeOther)
		default:
			_, _ = io.WriteString(w, body)
		}
		return nil
	}
}

func public(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "public") }

func mux() http.Handler {
	mux := http.NewServeMux()
	for _, r := range routes {
		path := r.path
		if path == "/" {
			path = "/{$}"
		}
		mux.Handle(r.method+" "+path, shop(r.path))
	}
	mux.HandleFunc("GET /public", public)
	return mux
}

func chiRoutes(r *chi.Mux) http.Handler {
	for _, x := range routes {
		r.Method(x.method, x.path, shop(x.path))
	}
	r.Get("/public", public)
	return r
}

// crowd is what stands around a handler.
func crowd(t *testing.T) func(http.Handler) http.Handler {
	zip, err := gzhttp.NewWrapper(gzhttp.MinSize(1))
	if err != nil {
		t.Fatal(err)
	}
	limit := limitByIP()
	return func(h http.Handler) http.Handler {
		return cors.AllowAll().Handler(limit(zip(http.MaxBytesHandler(h, 1<<20))))
	}
}

func limitByIP() func(http.Handler) http.Handler {
	return httprate.LimitBy(10000, time.Minute, func(r *http.Request) (string, error) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		return host, err
	})
}

// aroundProxy is a program that has the sessions, and whose pages are made by an
// upstream with a cookie and early hints of its own.
func aroundProxy(t *testing.T, m *core.Manager) string {
	upstream, err := url.Parse(serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</x.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Add("Set-Cookie", "upstream=1; Path=/")
		w.Header().Set("Cache-Control", "public, max-age=60")
		if to := r.Header.Get("X-To"); to != "" {
			http.Redirect(w, r, to, http.StatusSeeOther)
			return
		}
		_, _ = io.WriteString(w, r.Header.Get("X-Body"))
	})))
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	mux := http.NewServeMux()
	for _, x := range routes {
		path := x.path
		if path == "/" {
			path = "/{$}"
		}
		mux.Handle(x.method+" "+path, httpsession.HandlerFunc(func(w http.ResponseWriter, r *http.Request, s *core.Session) error {
			to, body, err := act(r.Context(), s, x.path, r.URL.Query().Get)
			if err != nil {
				return err
			}
			r = r.Clone(r.Context())
			r.Header.Set("X-To", to)
			r.Header.Set("X-Body", body)
			proxy.ServeHTTP(w, r)
			return nil
		}))
	}
	mux.HandleFunc("GET /public", func(w http.ResponseWriter, r *http.Request) {
		r = r.Clone(r.Context())
		r.Header.Set("X-Body", "public")
		proxy.ServeHTTP(w, r)
	})
	return serve(t, httpsession.New(m, nil)(mux))
}

func fasthttpShop(ctx *fasthttp.RequestCtx) {
	path := string(ctx.Path())
	if path == "/public" {
		ctx.SetBodyString("public")
		return
	}
	fasthttpsession.Handler(func(ctx *fasthttp.RequestCtx, s *core.Session) error {
		to, body, err := act(ctx, s, path, func(name string) string { return string(ctx.QueryArgs().Peek(name)) })
		if err != nil {
			return err
		}
		if to != "" {
			ctx.Redirect(to, fasthttp.StatusSeeOther)
			return nil
		}
		_, err = fmt.Fprint(ctx, body)
		return err
	})(ctx)
}
