package httpsession_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/adapters/internal/adaptertest"
	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/allocs"
	memorystore "github.com/gensession/gensession/stores/memory"
)

const count core.Key[int] = "count"

func newManager(t testing.TB, o core.Options) (*core.Manager, *storetest.Faulty) {
	t.Helper()
	memory := memorystore.New(nil)
	store := storetest.NewFaulty(memory)
	o.Keys = adaptertest.Keys
	m, err := core.New(store, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close(); _ = memory.Close() })
	return m, store
}

// server serves h below a session of m.
func server(t *testing.T, m *core.Manager, o *httpsession.Options, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(httpsession.New(m, o)(h))
	t.Cleanup(s.Close)
	return s
}

func get(t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	return res, string(body)
}

// firstBytes are the ways to begin a response.
var firstBytes = map[string]func(w http.ResponseWriter, r *http.Request) error{
	"Write":       func(w http.ResponseWriter, _ *http.Request) error { _, err := w.Write([]byte("x")); return err },
	"empty Write": func(w http.ResponseWriter, _ *http.Request) error { _, err := w.Write(nil); return err },
	"WriteString": func(w http.ResponseWriter, _ *http.Request) error { _, err := io.WriteString(w, "x"); return err },
	"WriteHeader": func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(201); return nil },
	"no content":  func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(204); return nil },
	"Flush":       func(w http.ResponseWriter, _ *http.Request) error { w.(http.Flusher).Flush(); return nil },
	"controller":  func(w http.ResponseWriter, _ *http.Request) error { return http.NewResponseController(w).Flush() },
	"ReadFrom": func(w http.ResponseWriter, _ *http.Request) error {
		_, err := io.Copy(w, io.LimitReader(strings.NewReader("x"), 1))
		return err
	},
	"ServeContent": func(w http.ResponseWriter, r *http.Request) error {
		http.ServeContent(w, r, "x.txt", time.Time{}, strings.NewReader("x"))
		return nil
	},
	"Redirect": func(w http.ResponseWriter, r *http.Request) error {
		http.Redirect(w, r, "/elsewhere", http.StatusNotModified)
		return nil
	},
	"Hijack": func(w http.ResponseWriter, _ *http.Request) error {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_, err = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			_ = conn.Close()
		}
		return err
	},
}

func TestFirstByte(t *testing.T) {
	for name, begin := range firstBytes {
		t.Run("K30 committed before "+name, func(t *testing.T) {
			m, store := newManager(t, core.Options{})
			done := make(chan error, 1) // the client is answered before the handler ends
			s := server(t, m, nil, func(w http.ResponseWriter, r *http.Request) {
				session, err := httpsession.From(r)
				if err == nil {
					err = errors.Join(count.Set(session, 1), begin(w, r))
					if late := count.Set(session, 2); !errors.Is(late, core.ErrCommitted) {
						err = errors.Join(err, fmt.Errorf("the change after it got %v", late))
					}
				}
				done <- err
			})
			res, _ := get(t, s.URL)
			if err := <-done; err != nil {
				t.Error(err)
			}
			if n := store.Calls(storetest.OpSetVersion); n != 1 {
				t.Errorf("stored %d times", n)
			}
			if n := len(res.Header.Values("Set-Cookie")); n != 2 && name != "Hijack" {
				t.Errorf("%d cookies", n)
			}
		})

		t.Run("K41 the error instead of "+name, func(t *testing.T) {
			m, store := newManager(t, core.Options{})
			store.Before(func(context.Context, storetest.Op, string) error { return core.ErrRefused })
			done := make(chan []error, 1)
			s := server(t, m, nil, func(w http.ResponseWriter, r *http.Request) {
				session, err := httpsession.From(r)
				if err == nil {
					err = count.Set(session, 1)
				}
				if err != nil {
					t.Error(err)
				}
				begun := begin(w, r)
				_, err = w.Write([]byte("more"))
				done <- []error{begun, err, http.NewResponseController(w).Flush()}
			})
			res, body := get(t, s.URL)
			if res.StatusCode != 503 || body != "Service Unavailable\n" || len(res.Header.Values("Set-Cookie")) != 0 ||
				res.Header.Get("Location") != "" || res.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("answered %d %q %v", res.StatusCode, body, res.Header)
			}
			errs := <-done
			switch name { // these have no error to return
			case "WriteHeader", "no content", "Flush", "Redirect", "ServeContent":
				errs = errs[1:]
			}
			for _, err := range errs {
				if !errors.Is(err, core.ErrRefused) {
					t.Errorf("the handler got %v", err)
				}
			}
		})
	}
}

func TestInformational(t *testing.T) {
	m, _ := newManager(t, core.Options{})
	s := server(t, m, nil, func(w http.ResponseWriter, r *http.Request) {
		session, err := httpsession.From(r)
		if err != nil {
			t.Error(err)
			return
		}
		w.Header().Set("Link", "</x.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusProcessing)
		if err := count.Set(session, 1); err != nil {
			t.Errorf("after 103: %v", err)
		}
		_, _ = io.WriteString(w, "x")
	})
	var early []int
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, _ textproto.MIMEHeader) error { early = append(early, code); return nil },
	})
	req, err := http.NewRequestWithContext(ctx, "GET", s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if fmt.Sprint(early) != "[103 102]" || len(res.Header.Values("Set-Cookie")) != 2 {
		t.Errorf("early %v, %d cookies", early, len(res.Header.Values("Set-Cookie")))
	}
}

// A plain writer can do nothing but the least.
type plain struct{ http.ResponseWriter }

func (p plain) Write(b []byte) (int, error) { return p.ResponseWriter.Write(b) }

// A reader counts what comes through ReadFrom.
type reader struct {
	http.ResponseWriter
	n int64
}

func (w *reader) ReadFrom(src io.Reader) (int64, error) {
	n, err := io.Copy(io.Discard, src)
	w.n += n
	return n, err
}

func TestWriterKeepsAbilities(t *testing.T) {
	m, _ := newManager(t, core.Options{})
	run := func(w http.ResponseWriter, h http.HandlerFunc) {
		httpsession.New(m, nil)(h).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	}
	t.Run("what the original can't do is ErrNotSupported", func(t *testing.T) {
		w := httptest.NewRecorder()
		run(plain{w}, func(w http.ResponseWriter, _ *http.Request) {
			control := http.NewResponseController(w)
			_, _, hijack := control.Hijack()
			for what, err := range map[string]error{
				"Flush": control.Flush(), "Hijack": hijack, "Push": w.(http.Pusher).Push("/x", nil), "deadline": control.SetReadDeadline(time.Time{}),
			} {
				if !errors.Is(err, http.ErrNotSupported) {
					t.Errorf("%s: %v", what, err)
				}
			}
			w.(http.Flusher).Flush()
			if n, err := io.Copy(w, strings.NewReader("copied")); n != 6 || err != nil {
				t.Errorf("copied %d, %v", n, err)
			}
		})
		if w.Body.String() != "copied" {
			t.Errorf("got %q", w.Body)
		}
	})
	t.Run("ReadFrom stays the original's, for sendfile", func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(name, []byte("from a file"), 0o600); err != nil {
			t.Fatal(err)
		}
		w := &reader{ResponseWriter: httptest.NewRecorder()}
		run(w, func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, name) })
		if w.n != 11 {
			t.Errorf("%d bytes came through ReadFrom", w.n)
		}
	})
	t.Run("deadlines and full duplex reach the connection", func(t *testing.T) {
		s := server(t, m, nil, func(w http.ResponseWriter, _ *http.Request) {
			control := http.NewResponseController(w)
			for _, err := range []error{
				control.SetReadDeadline(time.Now().Add(time.Hour)), control.SetWriteDeadline(time.Now().Add(time.Hour)), control.EnableFullDuplex(),
			} {
				if err != nil {
					t.Error(err)
				}
			}
			if w.(interface{ CloseNotify() <-chan bool }).CloseNotify() == nil {
				t.Error("no CloseNotify")
			}
		})
		get(t, s.URL)
	})
	t.Run("trailers come through", func(t *testing.T) {
		s := server(t, m, nil, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-Sum")
			_, _ = io.WriteString(w, "body")
			w.Header().Set("X-Sum", "4")
		})
		if res, body := get(t, s.URL); body != "body" || res.Trailer.Get("X-Sum") != "4" {
			t.Errorf("%q %v", body, res.Trailer)
		}
	})
	t.Run("HTTP/2", func(t *testing.T) {
		s := httptest.NewUnstartedServer(httpsession.New(m, nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, err := httpsession.From(r)
			if err != nil {
				t.Error(err)
				return
			}
			n, err := count.Update(session, func(n int) int { return n + 1 })
			if err != nil {
				t.Error(err)
			}
			w.(http.Flusher).Flush()
			if err := w.(http.Pusher).Push("/x", nil); err == nil {
				t.Error("the client takes no pushes")
			}
			fmt.Fprintf(w, "%s %d", r.Proto, n)
		})))
		s.EnableHTTP2 = true
		s.StartTLS()
		defer s.Close()
		var cookie string
		for n := 1; n <= 3; n++ {
			req, err := http.NewRequest("GET", s.URL+"/a?b", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Cookie", cookie)
			res, err := s.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if want := fmt.Sprint("HTTP/2.0 ", n); string(body) != want {
				t.Fatalf("got %q, want %q", body, want)
			}
			cookie = ""
			for _, c := range res.Cookies() {
				cookie += c.Name + "=" + c.Value + "; "
			}
		}
	})
}

func TestPath(t *testing.T) {
	m, _ := newManager(t, core.Options{Cookie: core.CookieOptions{Path: "/app"}})
	var err error
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, err = httpsession.From(r) })
	t.Run("K33 StripPrefix further out does not change it", func(t *testing.T) {
		http.StripPrefix("/app", httpsession.New(m, nil)(h)).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/app/x", nil))
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("K33 a rewritten URL does not move a request into it", func(t *testing.T) {
		r := httptest.NewRequest("GET", "/other", nil)
		r.URL.Path = "/app"
		httpsession.New(m, nil)(h).ServeHTTP(httptest.NewRecorder(), r)
		if !errors.Is(err, core.ErrNoSession) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a request made by hand has only its URL", func(t *testing.T) {
		r, e := http.NewRequest("GET", "http://x/app/y%2Fz?q", nil)
		if e != nil {
			t.Fatal(e)
		}
		if got := httpsession.NewJar(httptest.NewRecorder(), r).Path(); got != "/app/y%2Fz" {
			t.Errorf("path %q", got)
		}
		httpsession.New(m, nil)(h).ServeHTTP(httptest.NewRecorder(), r)
		if err != nil {
			t.Error(err)
		}
	})
}

func TestPanic(t *testing.T) {
	m, store := newManager(t, core.Options{})
	for name, c := range map[string]struct {
		value any
		after bool
		saved int
	}{
		"R22 a panic goes on and saves nothing": {value: "boom"},
		"R22 http.ErrAbortHandler too":          {value: http.ErrAbortHandler},
		"R22 after the first byte it is saved":  {value: "late", after: true, saved: 1},
	} {
		t.Run(name, func(t *testing.T) {
			before := store.Calls(storetest.OpSetVersion)
			w := httptest.NewRecorder()
			var session *core.Session
			defer func() {
				if got := recover(); got != c.value {
					t.Errorf("recovered %v", got)
				}
				if n := store.Calls(storetest.OpSetVersion) - before; n != c.saved {
					t.Errorf("stored %d times", n)
				}
				if n := len(w.Header().Values("Set-Cookie")); n != 2*c.saved {
					t.Errorf("%d cookies", n)
				}
				if err := count.Set(session, 3); !errors.Is(err, core.ErrCommitted) {
					t.Errorf("a change after it got %v", err)
				}
			}()
			httpsession.New(m, nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				session, _ = httpsession.From(r)
				_ = count.Set(session, 1)
				if c.after {
					_, _ = io.WriteString(w, "x")
				}
				panic(c.value)
			})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		})
	}
}

func TestOptions(t *testing.T) {
	t.Run("R27 Secure decides", func(t *testing.T) {
		m, _ := newManager(t, core.Options{})
		o := &httpsession.Options{Secure: func(r *http.Request) bool { return r.Header.Get("X-Forwarded-Proto") == "https" }}
		h := httpsession.New(m, o)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			session, _ := httpsession.From(r)
			_ = count.Set(session, 1)
		}))
		for proto, secure := range map[string]bool{"https": true, "http": false} {
			r, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
			r.Header.Set("X-Forwarded-Proto", proto)
			h.ServeHTTP(w, r)
			if got := strings.Contains(w.Header().Get("Set-Cookie"), "; secure"); got != secure {
				t.Errorf("behind %s: %t", proto, got)
			}
		}
	})
	t.Run("Error answers", func(t *testing.T) {
		m, store := newManager(t, core.Options{})
		store.Before(func(context.Context, storetest.Op, string) error { return core.ErrTimeout })
		s := server(t, m, &httpsession.Options{Error: func(w http.ResponseWriter, r *http.Request, err error) {
			if w.Header().Get("Etag") != "" {
				t.Error("the handler's Etag is left")
			}
			if !errors.Is(err, core.ErrTimeout) || r.URL.Path != "/x" {
				t.Errorf("got %v for %s", err, r.URL)
			}
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(418)
			_, _ = io.WriteString(w, "later")
		}}, func(w http.ResponseWriter, r *http.Request) {
			session, _ := httpsession.From(r)
			_ = count.Set(session, 1)
			w.Header().Set("Etag", `"1"`)
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "lost")
		})
		if res, body := get(t, s.URL+"/x"); res.StatusCode != 418 || body != "later" || res.Header.Get("Retry-After") != "1" {
			t.Errorf("answered %d %q", res.StatusCode, body)
		}
	})
	t.Run("the encoding of a middleware further out stays", func(t *testing.T) {
		m, store := newManager(t, core.Options{})
		store.Before(func(context.Context, storetest.Op, string) error { return core.ErrTimeout })
		for _, own := range []string{"", "br"} {
			w := httptest.NewRecorder()
			w.Header().Set("Content-Encoding", "gzip")
			httpsession.New(m, nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				session, _ := httpsession.From(r)
				_ = count.Set(session, 1)
				if own != "" {
					w.Header().Set("Content-Encoding", own)
				}
			})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
			if got := w.Header().Get("Content-Encoding"); got != "gzip" || w.Code != 503 {
				t.Errorf("%q %d", got, w.Code)
			}
		}
	})
}

// A goroutine that outlives its handler holds the writer and the session. It
// gets errors, and nobody else's data.
func TestAfterReturn(t *testing.T) {
	m, _ := newManager(t, core.Options{})
	returned, finished := make(chan struct{}), make(chan error, 1)
	h := httpsession.New(m, nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := httpsession.From(r)
		_ = count.Set(session, 1)
		go func() {
			<-returned
			_, _ = w.Write([]byte("late"))
			w.WriteHeader(500)
			finished <- count.Set(session, 2)
		}()
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	close(returned)
	if err := <-finished; !errors.Is(err, core.ErrCommitted) {
		t.Errorf("got %v", err)
	}
}

func TestTimeoutHandlerBelow(t *testing.T) {
	m, _ := newManager(t, core.Options{})
	late := make(chan error, 1)
	s := httptest.NewServer(httpsession.New(m, nil)(http.TimeoutHandler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		session, _ := httpsession.From(r)
		<-r.Context().Done()
		for { // until the answer is out
			err := count.Set(session, 1)
			if err != nil {
				late <- err
				return
			}
		}
	}), time.Millisecond, "too slow")))
	defer s.Close()
	res, body := get(t, s.URL)
	if res.StatusCode != 503 || body != "too slow" {
		t.Errorf("answered %d %q", res.StatusCode, body)
	}
	if err := <-late; !errors.Is(err, core.ErrCommitted) {
		t.Errorf("got %v", err)
	}
}

// A nobody is a writer that costs nothing.
type nobody struct{ header http.Header }

func (n nobody) Header() http.Header         { return n.header }
func (n nobody) Write(b []byte) (int, error) { return len(b), nil }
func (n nobody) WriteHeader(int)             {}

// The adapter adds at most four allocations to those of the core: its exchange,
// the context, and net/http's copy of the request.
func TestAllocations(t *testing.T) {
	m, _ := newManager(t, core.Options{Defer: true})
	h := httpsession.New(m, nil)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) }))
	w, r := nobody{make(http.Header)}, httptest.NewRequest("GET", "/", nil)
	jar, ctx := new(jartest.Jar), context.Background()
	alone := allocs.Fewest(100, func() {
		outer, _ := core.VisitFrom(ctx)
		v, _ := m.NewVisit(jar, outer)
		_ = v.Begin(ctx)
		_ = v.Commit(ctx)
	})
	if n := allocs.Fewest(100, func() { h.ServeHTTP(w, r) }); n > alone+4 {
		t.Errorf("%v allocations, of which the core makes %v", n, alone)
	}
}

func BenchmarkUntouched(b *testing.B) {
	m, _ := newManager(b, core.Options{Defer: true})
	h := httpsession.New(m, nil)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) }))
	w, r := nobody{make(http.Header)}, httptest.NewRequest("GET", "/", nil)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}
