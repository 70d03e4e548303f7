package httpsession_test

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// A HandlerFunc gets the session and returns its errors.
func TestHandlerFunc(t *testing.T) {
	const visits core.Key[int] = "visits"
	errTeapot := errors.New("no coffee")
	memory := memorystore.New(nil)
	t.Cleanup(func() { memory.Close() })
	store := storetest.NewFaulty(memory)
	sessions, err := core.New(store, &core.Options{Keys: [][]byte{[]byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")}, FailFast: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sessions.Close() })
	mux := http.NewServeMux()
	handle := func(path string, f httpsession.HandlerFunc) { mux.Handle(path, f) }
	count := func(s *core.Session) error {
		_, err := visits.Update(s, func(n int) int { return n + 1 })
		return err
	}
	handle("/count", func(w http.ResponseWriter, _ *http.Request, s *core.Session) error {
		if err := count(s); err != nil {
			return err
		}
		_, err := fmt.Fprint(w, visits.Get(s))
		return err
	})
	handle("/fails", func(w http.ResponseWriter, _ *http.Request, s *core.Session) error {
		w.Header().Set("Content-Type", "image/png")
		return errors.Join(count(s), errTeapot)
	})
	handle("/late", func(w http.ResponseWriter, _ *http.Request, _ *core.Session) error {
		fmt.Fprint(w, "begun")
		return errTeapot
	})
	handle("/login", func(_ http.ResponseWriter, r *http.Request, s *core.Session) error {
		store.Before(func(_ context.Context, op storetest.Op, _ string) error {
			if op == storetest.OpBatch {
				return core.ErrRefused
			}
			return nil
		})
		defer store.Before(nil)
		if err := s.Renew(r.Context()); err != nil {
			return err
		}
		return visits.Set(s, 100)
	})
	mux.Handle("/trailer", trailing(httpsession.HandlerFunc(func(http.ResponseWriter, *http.Request, *core.Session) error { return errTeapot })))
	answered := func(w http.ResponseWriter, _ *http.Request, err error) {
		status := core.Status(err)
		if errors.Is(err, errTeapot) {
			status = http.StatusTeapot
		}
		http.Error(w, http.StatusText(status), status)
	}
	server := httptest.NewServer(httpsession.New(sessions, &httpsession.Options{Error: answered})(mux))
	t.Cleanup(server.Close)
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar}
	want := func(path string, status int, body string) {
		t.Helper()
		res, err := client.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != status || string(text) != body {
			t.Errorf("%s: %d %q %v, want %d %q", path, res.StatusCode, text, err, status, body)
		}
		if kind := res.Header.Get("Content-Type"); kind == "image/png" {
			t.Errorf("%s: the error is answered as %s", path, kind)
		}
	}
	want("/count", 200, "1")
	want("/fails", 418, "I'm a teapot\n") // and is saved (K27)
	want("/count", 200, "3")
	want("/late", 200, "begun")
	want("/trailer", 418, "I'm a teapot\n") // nothing behind the answer
	want("/login", 503, "Service Unavailable\n")
	want("/count", 200, "4")
	store.Down()
	want("/count", 503, "Service Unavailable\n")
	store.Up()

	// Without the middleware there is no session, and nothing of the error.
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", "/count", nil))
	if w.Code != 500 || w.Body.String() != "Internal Server Error\n" {
		t.Errorf("without the middleware: %d %q", w.Code, w.Body)
	}
}

// The error of a HandlerFunc goes out through the writer that it was given, so that
// a middleware between it and the session middleware sees the answer.
func TestHandlerFuncWrappedWriter(t *testing.T) {
	const visits core.Key[int] = "visits"
	errTeapot := errors.New("no coffee")
	memory := memorystore.New(nil)
	t.Cleanup(func() { memory.Close() })
	store := storetest.NewFaulty(memory)
	sessions, err := core.New(store, &core.Options{Keys: [][]byte{[]byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")}, FailFast: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sessions.Close() })
	answers := 0
	session := httpsession.New(sessions, &httpsession.Options{Error: func(w http.ResponseWriter, _ *http.Request, _ error) {
		answers++
		http.Error(w, "no coffee", http.StatusTeapot)
	}})
	fails := httpsession.HandlerFunc(func(w http.ResponseWriter, _ *http.Request, s *core.Session) error {
		w.Header().Set("Content-Type", "image/png")
		w.Header().Set("Content-Encoding", "br")
		http.SetCookie(w, &http.Cookie{Name: "other", Value: "1"})
		return errors.Join(visits.Set(s, 1), errTeapot)
	})
	get := func(t *testing.T, h http.Handler) *http.Response {
		t.Helper()
		answers = 0
		w := httptest.NewRecorder()
		session(h).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if answers != 1 || w.Code != http.StatusTeapot || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%d answers, %d %s", answers, w.Code, w.Header().Get("Content-Type"))
		}
		return w.Result()
	}
	hasSession := func(res *http.Response) bool {
		return slices.ContainsFunc(res.Cookies(), func(c *http.Cookie) bool { return c.Name == "koa.sid" })
	}
	body := func(t *testing.T, r io.Reader) {
		t.Helper()
		if text, err := io.ReadAll(r); string(text) != "no coffee\n" || err != nil {
			t.Errorf("body %q, %v", text, err)
		}
	}

	t.Run("an access log sees the status", func(t *testing.T) {
		var log statusWriter
		res := get(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			log = statusWriter{ResponseWriter: w}
			fails.ServeHTTP(&log, r)
		}))
		body(t, res.Body)
		if log.status != http.StatusTeapot || !hasSession(res) || res.Header.Get("Content-Encoding") != "" {
			t.Errorf("the log has %d; a session cookie: %t; encoding %q", log.status, hasSession(res), res.Header.Get("Content-Encoding"))
		}
	})
	t.Run("also if the session can't be saved", func(t *testing.T) {
		store.Before(func(_ context.Context, op storetest.Op, _ string) error {
			if op == storetest.OpSetVersion {
				return core.ErrRefused
			}
			return nil
		})
		defer store.Before(nil)
		var log statusWriter
		res := get(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			log = statusWriter{ResponseWriter: w}
			fails.ServeHTTP(&log, r)
		}))
		body(t, res.Body)
		if log.status != http.StatusTeapot || hasSession(res) {
			t.Errorf("the log has %d; a session cookie: %t", log.status, hasSession(res))
		}
	})
	t.Run("a compressing middleware compresses the answer", func(t *testing.T) {
		res := get(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			fails.ServeHTTP(gzipWriter{w, z}, r)
			if err := z.Close(); err != nil {
				t.Error(err)
			}
		}))
		z, err := gzip.NewReader(res.Body)
		if err != nil || res.Header.Get("Content-Encoding") != "gzip" || !hasSession(res) {
			t.Fatalf("%v, encoding %q, a session cookie: %t", err, res.Header.Get("Content-Encoding"), hasSession(res))
		}
		body(t, z)
	})
	t.Run("a TimeoutHandler holds the answer back", func(t *testing.T) {
		res := get(t, http.TimeoutHandler(fails, time.Minute, ""))
		body(t, res.Body)
		if !hasSession(res) {
			t.Error("no session cookie")
		}
	})
}

// A statusWriter is the writer of an access log.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

type gzipWriter struct {
	http.ResponseWriter
	z *gzip.Writer
}

func (w gzipWriter) Write(b []byte) (int, error) { return w.z.Write(b) }

// trailing sends something after the handler, as a compressing middleware does.
func trailing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		_, _ = w.Write([]byte("the end of a stream"))
	})
}
