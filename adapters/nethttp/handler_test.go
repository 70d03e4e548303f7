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
	sessions, err := core.New(store, &core.Options{Keys: [][]byte{[]byte("0123456789abcdef0123456789abcdef")}, FailFast: true})
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

// A middleware between the session middleware and a HandlerFunc sees the status of
// an error, and its writer gets the answer.
func TestHandlerFuncInsideOfOtherMiddleware(t *testing.T) {
	memory := memorystore.New(nil)
	t.Cleanup(func() { memory.Close() })
	store := storetest.NewFaulty(memory)
	sessions, err := core.New(store, &core.Options{Keys: [][]byte{[]byte("0123456789abcdef0123456789abcdef")}, FailFast: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sessions.Close() })
	fails := httpsession.HandlerFunc(func(w http.ResponseWriter, _ *http.Request, s *core.Session) error {
		if w.Header().Get("Content-Encoding") == "" {
			w.Header().Set("Content-Encoding", "br") // the handler's own
		}
		return errors.Join(s.Set("failed", true), core.ErrUnavailable)
	})
	refused := httpsession.HandlerFunc(func(w http.ResponseWriter, r *http.Request, s *core.Session) error {
		store.Down()
		return errors.Join(s.Set("failed", true), core.ErrConflict)
	})
	status := 0
	recording := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := &recorder{ResponseWriter: w}
			next.ServeHTTP(rec, r)
			status = rec.status
		})
	}
	compressing := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			packed := gzip.NewWriter(w)
			next.ServeHTTP(&compressor{w, packed}, r)
			packed.Close()
		})
	}
	limited := func(next http.Handler) http.Handler {
		return http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "a beginning that is held back")
			next.ServeHTTP(w, r)
		}), time.Minute, "")
	}
	for _, c := range []struct {
		name   string
		h      http.Handler
		status int
		seen   int
		cookie bool
	}{
		{"status", recording(fails), 503, 503, true},
		{"compressed", recording(compressing(fails)), 503, 503, true},
		{"compressed, status inside", compressing(recording(fails)), 503, 503, true},
		{"held back", limited(fails), 503, 0, true},
		{"the save fails, too", recording(refused), 409, 409, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer store.Up()
			status = 0
			w := httptest.NewRecorder()
			httpsession.New(sessions, nil)(c.h).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
			res := w.Result()
			var body io.Reader = res.Body
			switch encoding := res.Header.Get("Content-Encoding"); encoding {
			case "":
			case "gzip":
				if body, err = gzip.NewReader(res.Body); err != nil {
					t.Fatal(err)
				}
			default:
				t.Errorf("Content-Encoding is %s", encoding)
			}
			text, err := io.ReadAll(body)
			if want := http.StatusText(c.status) + "\n"; err != nil || res.StatusCode != c.status || string(text) != want {
				t.Errorf("%d %q %v", res.StatusCode, text, err)
			}
			if status != c.seen {
				t.Errorf("the middleware saw %d, want %d", status, c.seen)
			}
			if got := len(res.Cookies()) > 0; got != c.cookie {
				t.Errorf("a cookie: %t", got)
			}
			if got := res.Header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control is %q", got)
			}
		})
	}
}

// A recorder is what most logging middleware is.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

type compressor struct {
	http.ResponseWriter
	packed *gzip.Writer
}

func (c *compressor) Write(b []byte) (int, error) { return c.packed.Write(b) }

// trailing sends something after the handler, as a compressing middleware does.
func trailing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		_, _ = w.Write([]byte("the end of a stream"))
	})
}
