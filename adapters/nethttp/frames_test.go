package httpsession_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

// Other people's frames around a handler, as they come.

// A visitor is a browser before a server.
type visitor struct {
	t       *testing.T
	url     string
	browser jartest.Browser
}

// get asks for a path and keeps the cookies.
func (v *visitor) get(path string) (*http.Response, string) {
	v.t.Helper()
	req, err := http.NewRequest("GET", v.url+path, nil)
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header.Set("Cookie", v.browser.Cookie("/"))
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	v.browser.Take("/", res.Header.Values("Set-Cookie")...)
	return res, string(body)
}

func (v *visitor) want(path string, status int, body string) *http.Response {
	v.t.Helper()
	res, got := v.get(path)
	if res.StatusCode != status || strings.TrimSpace(got) != body {
		v.t.Errorf("%s: %d %q, want %d %q", path, res.StatusCode, got, status, body)
	}
	return res
}

// frames begin the header of a response anew, or what stands in it.
var frames = map[string]func(t *testing.T, next http.Handler) http.Handler{
	"TimeoutHandler, and a cookie of the handler's own": func(_ *testing.T, next http.Handler) http.Handler {
		return http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.SetCookie(w, &http.Cookie{Name: "theirs", Value: "1"})
			next.ServeHTTP(w, r)
		}), time.Minute, "")
	},
	"Set-Cookie is set": func(_ *testing.T, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			w.Header().Set("Set-Cookie", "theirs=1; Path=/")
		})
	},
	"Set-Cookie is deleted": func(_ *testing.T, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			w.Header().Del("Set-Cookie")
			http.SetCookie(w, &http.Cookie{Name: "theirs", Value: "1"})
		})
	},
	"all fields are deleted, and it flushes": func(_ *testing.T, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			clear(w.Header())
			http.SetCookie(w, &http.Cookie{Name: "theirs", Value: "1"})
			w.(http.Flusher).Flush()
		})
	},
	"http.Error": func(_ *testing.T, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			clear(w.Header())
			http.SetCookie(w, &http.Cookie{Name: "theirs", Value: "1"})
			http.Error(w, "", 200)
		})
	},
	"a file that is not there": func(_ *testing.T, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			http.SetCookie(w, &http.Cookie{Name: "theirs", Value: "1"})
			http.ServeContent(w, r, "x", time.Time{}, strings.NewReader(""))
		})
	},
	"ReverseProxy: 103 Early Hints, and the upstream's own cookies": func(t *testing.T, next http.Handler) http.Handler {
		upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</x.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			http.SetCookie(w, &http.Cookie{Name: "theirs", Value: "1"})
			w.Header().Set("Cache-Control", "public, max-age=60")
		}))
		t.Cleanup(upstream.Close)
		target, err := url.Parse(upstream.URL)
		if err != nil {
			t.Fatal(err)
		}
		transport := new(http.Transport)
		t.Cleanup(transport.CloseIdleConnections)
		proxy := &httputil.ReverseProxy{
			Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
			Transport: transport,
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			proxy.ServeHTTP(w, r)
		})
	},
}

func TestW5Frames(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	for name, frame := range frames {
		t.Run(name, func(t *testing.T) {
			m, _ := newManager(t, core.Options{})
			handler := frame(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				s, err := httpsession.From(r)
				if err != nil {
					t.Error(err)
					return
				}
				switch r.URL.Path {
				case "/save":
					_, err = count.Update(s, func(n int) int { return n + 1 })
					if err == nil {
						err = s.Save(r.Context())
					}
				case "/renew":
					err = s.Renew(r.Context())
				case "/destroy":
					err = s.Destroy(r.Context())
				}
				if err != nil {
					t.Errorf("%s: %v", r.URL, err)
				}
			}))
			mux := http.NewServeMux()
			mux.Handle("/", handler)
			mux.HandleFunc("/read", func(w http.ResponseWriter, r *http.Request) {
				s, _ := httpsession.From(r)
				fmt.Fprint(w, count.Get(s))
			})
			v := &visitor{t: t, url: server(t, m, nil, mux.ServeHTTP).URL}
			for _, step := range []struct{ path, read string }{{"/save", "1"}, {"/save", "2"}, {"/renew", "2"}, {"/destroy", "0"}} {
				res := v.want(step.path, 200, "")
				lines := res.Header.Values("Set-Cookie")
				ours, theirs := 0, 0
				for _, l := range lines {
					switch name, _, _ := strings.Cut(l, "="); name {
					case "koa.sid", "koa.sid.sig":
						ours++
					case "theirs":
						theirs++
					}
				}
				if ours != 2 || theirs != 1 {
					t.Errorf("%s: %d lines of ours, %d of theirs", step.path, ours, theirs)
				}
				if c := res.Header.Get("Cache-Control"); c != "no-store" && c != "private, max-age=60" {
					t.Errorf("%s: Cache-Control %q", step.path, c)
				}
				v.want("/read", 200, step.read)
			}
		})
	}
}

const cart core.Key[map[string]int] = "cart"

// endless writes into the cart until the test ends.
func endless(end <-chan struct{}, held map[string]int) {
	for i := 0; ; i++ {
		select {
		case <-end:
			return
		default:
			held[fmt.Sprint(i%10)] = i
		}
	}
}

// patience is how long the handler of r may take: for ever, but for the one that
// never returns.
func patience(r *http.Request) time.Duration {
	if r.URL.Path == "/endless" {
		return 20 * time.Millisecond
	}
	return time.Hour
}

// entered is the context key of a channel that the endless handler closes.
type entered struct{}

// timeouts are the ways to answer in place of a handler that takes too long.
var timeouts = map[string]func(next http.Handler) http.Handler{
	"http.TimeoutHandler": func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.TimeoutHandler(next, patience(r), "too slow").ServeHTTP(w, r)
		})
	},
	"a goroutine": func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), patience(r))
			defer cancel()
			inside, done := make(chan struct{}), make(chan struct{})
			go func() {
				next.ServeHTTP(w, r.WithContext(context.WithValue(ctx, entered{}, inside)))
				close(done)
			}()
			select {
			case <-done:
			case <-ctx.Done():
				<-inside // it has nothing more to do with w, which it shares with us
				http.Error(w, "too slow", http.StatusServiceUnavailable)
			}
		})
	},
}

func TestW11TimeoutHandler(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	for how, timeout := range timeouts {
		for name, guarded := range map[string]bool{"guarded": true, "a HandlerFunc": true, "bare": false} {
			t.Run(how+", "+name, func(t *testing.T) {
				var log lockedLog
				end := make(chan struct{})
				var running sync.WaitGroup
				m, store := newManager(t, core.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
				handler := func(w http.ResponseWriter, r *http.Request, s *core.Session) error {
					switch r.URL.Path {
					case "/fill":
						return cart.Set(s, map[string]int{"tea": 1})
					case "/cart":
						fmt.Fprint(w, cart.Get(s), count.Get(s))
						return nil
					case "/own": // its deadline runs out, and it answers
						cart.Get(s)["tea"] = 2
						w.WriteHeader(504)
						return nil
					}
					running.Add(1)
					defer running.Done()
					if err := count.Set(s, 1); err != nil {
						t.Error(err)
					}
					held := cart.Get(s)
					if inside, ok := r.Context().Value(entered{}).(chan struct{}); ok {
						close(inside)
					}
					endless(end, held)
					return nil
				}
				var h http.Handler = httpsession.HandlerFunc(handler)
				if name != "a HandlerFunc" {
					h = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						s, err := httpsession.From(r)
						if err == nil {
							err = handler(w, r, s)
						}
						if err != nil {
							t.Error(err)
						}
					})
				}
				if name == "guarded" {
					h = httpsession.Guard(h)
				}
				v := &visitor{t: t, url: server(t, m, nil, timeout(h).ServeHTTP).URL}
				t.Cleanup(func() { // before the server stops
					close(end)
					running.Wait()
				})
				v.want("/fill", 200, "")
				writes := store.Calls(storetest.OpSetVersion)
				res := v.want("/endless", 503, "too slow")
				switch n := store.Calls(storetest.OpSetVersion) - writes; {
				case guarded && (n != 0 || len(res.Cookies()) != 0):
					t.Errorf("W12: %d writes, %d cookies", n, len(res.Cookies()))
				case !guarded && !strings.Contains(log.String(), "level=WARN msg=\"session unchecked\""):
					t.Errorf("P21: told %q", &log)
				}
				if guarded {
					v.want("/cart", 200, "map[tea:1] 0")
					v.want("/own", 504, "")
					v.want("/cart", 200, "map[tea:2] 0")
				} else {
					v.want("/cart", 200, "map[tea:1] 1")
				}
			})
		}
	}
}

// P21: contexts with a timeout, as middleware makes them. The handler goes on, or
// answers when its time is over.
func TestP21Contexts(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	chi := func(d time.Duration) func(next http.Handler) http.Handler { // as chi's middleware.Timeout
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ctx, cancel := context.WithTimeout(r.Context(), d)
				defer func() {
					cancel()
					if ctx.Err() == context.DeadlineExceeded {
						w.WriteHeader(http.StatusGatewayTimeout)
					}
				}()
				next.ServeHTTP(w, r.WithContext(ctx))
			})
		}
	}
	for name, c := range map[string]struct {
		d      time.Duration
		guard  bool
		answer bool // the handler writes
		cart   string
	}{
		"its time is not over":                     {time.Minute, false, true, "map[tea:2]"},
		"its time is not over, and it is silent":   {time.Minute, false, false, "map[tea:2]"},
		"its time is over, guarded":                {time.Nanosecond, true, true, "map[tea:2]"},
		"its time is over, guarded, it is silent":  {time.Nanosecond, true, false, "map[tea:2]"},
		"its time is over, and nobody knows":       {time.Nanosecond, false, true, "map[tea:1]"},
		"its time is over, and nobody, and silent": {time.Nanosecond, false, false, "map[tea:1]"},
	} {
		t.Run(name, func(t *testing.T) {
			m, _ := newManager(t, core.Options{})
			var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				s, err := httpsession.From(r)
				if err != nil {
					t.Error(err)
					return
				}
				if c.d < time.Minute {
					<-r.Context().Done()
				}
				cart.Get(s)["tea"] = 2
				if err := count.Set(s, 1); err != nil {
					t.Error(err)
				}
				if c.answer {
					w.WriteHeader(http.StatusGatewayTimeout)
				}
			})
			if c.guard {
				h = httpsession.Guard(h)
			}
			mux := http.NewServeMux()
			mux.Handle("/", chi(c.d)(h))
			mux.Handle("/fill", httpsession.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request, s *core.Session) error {
				return cart.Set(s, map[string]int{"tea": 1})
			}))
			mux.Handle("/cart", httpsession.HandlerFunc(func(w http.ResponseWriter, _ *http.Request, s *core.Session) error {
				_, err := fmt.Fprint(w, cart.Get(s), count.Get(s))
				return err
			}))
			v := &visitor{t: t, url: server(t, m, nil, mux.ServeHTTP).URL}
			v.want("/fill", 200, "")
			v.get("/")
			v.want("/cart", 200, c.cart+" 1") // what it has Set is always saved
		})
	}
}

// http.TimeoutHandler further out than the session: the handler runs on, and what it
// saves is saved, but its cookie is lost. The documents say so.
func TestTimeoutHandlerOutside(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	m, _ := newManager(t, core.Options{})
	end, ended := make(chan struct{}), make(chan struct{})
	inner := httpsession.New(m, nil)(httpsession.Guard(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		defer close(ended)
		s, err := httpsession.From(r)
		if err == nil {
			err = cart.Set(s, map[string]int{})
		}
		if err != nil {
			t.Error(err)
			return
		}
		endless(end, cart.Get(s))
	})))
	s := httptest.NewServer(http.TimeoutHandler(inner, 20*time.Millisecond, "too slow"))
	t.Cleanup(s.Close)
	v := &visitor{t: t, url: s.URL}
	if res := v.want("/", 503, "too slow"); len(res.Cookies()) != 0 {
		t.Errorf("%d cookies", len(res.Cookies()))
	}
	close(end)
	<-ended
}

// W13, P22: recovery inside of the session middleware, as chi's Recoverer and many others
// do it. Without a guard it is a success like any other.
func TestW13Recoverer(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	recoverer := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() {
				if recover() != nil {
					w.WriteHeader(500)
				}
			}()
			next.ServeHTTP(w, r)
		})
	}
	panics := func(_ http.ResponseWriter, _ *http.Request, s *core.Session) error {
		if err := count.Set(s, 1); err != nil {
			return err
		}
		panic("boom")
	}
	bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := httpsession.From(r)
		_ = panics(w, r, s)
	})
	for name, c := range map[string]struct {
		handler http.Handler
		saved   int
	}{
		"guarded":             {recoverer(httpsession.Guard(bare)), 0},
		"twice":               {recoverer(httpsession.Guard(httpsession.Guard(bare))), 0},
		"a HandlerFunc":       {recoverer(httpsession.HandlerFunc(panics)), 0},
		"a guard further out": {httpsession.Guard(recoverer(bare)), 1}, // it must be innermost
		"TimeoutHandler, which panics in its place": {recoverer(http.TimeoutHandler(httpsession.Guard(bare), time.Minute, "")), 0},
	} {
		t.Run(name, func(t *testing.T) {
			m, store := newManager(t, core.Options{})
			v := &visitor{t: t, url: server(t, m, nil, c.handler.ServeHTTP).URL}
			res := v.want("/", 500, "")
			if n := store.Calls(storetest.OpSetVersion); n != c.saved || len(res.Cookies()) != 2*c.saved {
				t.Errorf("%d writes, %d cookies", n, len(res.Cookies()))
			}
		})
	}
	t.Run("the answer goes through the guard's own writer", func(t *testing.T) {
		for _, c := range []struct {
			panics bool
			saved  int
		}{{true, 0}, {false, 1}} {
			m, store := newManager(t, core.Options{})
			keeps := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer func() {
					_ = recover()
					w.WriteHeader(500) // as echo does, after a panic and after an error
				}()
				httpsession.Guard(http.HandlerFunc(func(inner http.ResponseWriter, r *http.Request) {
					w = inner
					s, _ := httpsession.From(r)
					_ = count.Set(s, 1)
					if c.panics {
						panic("boom")
					}
				})).ServeHTTP(w, r)
			})
			v := &visitor{t: t, url: server(t, m, nil, keeps).URL}
			res := v.want("/", 500, "")
			if n := store.Calls(storetest.OpSetVersion); n != c.saved || len(res.Cookies()) != 2*c.saved {
				t.Errorf("panics %t: %d writes, %d cookies", c.panics, n, len(res.Cookies()))
			}
		}
	})
	t.Run("after the response has begun it is saved", func(t *testing.T) {
		m, store := newManager(t, core.Options{})
		v := &visitor{t: t, url: server(t, m, nil, recoverer(httpsession.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s, _ := httpsession.From(r)
			_ = count.Set(s, 1)
			_, _ = io.WriteString(w, "begun")
			panic("boom")
		}))).ServeHTTP).URL}
		v.want("/", 200, "begun")
		if n := store.Calls(storetest.OpSetVersion); n != 1 {
			t.Errorf("%d writes", n)
		}
	})
}

// A guard takes no ability from a writer, and begins nothing before the handler does.
func TestGuard(t *testing.T) {
	for name, begin := range firstBytes {
		t.Run("K30 committed before "+name, func(t *testing.T) {
			m, store := newManager(t, core.Options{})
			done := make(chan error, 1)
			s := server(t, m, nil, httpsession.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				session, err := httpsession.From(r)
				if err == nil {
					err = count.Set(session, 1)
				}
				if err == nil {
					err = begin(w, r)
				}
				done <- err
			})).ServeHTTP)
			res, _ := get(t, s.URL)
			if err := <-done; err != nil {
				t.Error(err)
			}
			if n := store.Calls(storetest.OpSetVersion); n != 1 || len(res.Header.Values("Set-Cookie")) != 2 && name != "Hijack" {
				t.Errorf("stored %d times, %d cookies", n, len(res.Header.Values("Set-Cookie")))
			}
		})
	}
	t.Run("without the middleware it does nothing", func(t *testing.T) {
		w := httptest.NewRecorder()
		httpsession.Guard(http.HandlerFunc(func(got http.ResponseWriter, _ *http.Request) {
			if got != http.ResponseWriter(w) {
				t.Error("another writer")
			}
		})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	})
	t.Run("1xx passes by, and what the original can't do is ErrNotSupported", func(t *testing.T) {
		m, _ := newManager(t, core.Options{})
		w := httptest.NewRecorder()
		httpsession.New(m, nil)(httpsession.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			s, err := httpsession.From(r)
			if err == nil {
				err = count.Set(s, 1)
			}
			if err != nil {
				t.Error(err)
			}
			for what, err := range map[string]error{
				"Push": w.(http.Pusher).Push("/x", nil), "deadline": http.NewResponseController(w).SetReadDeadline(time.Time{}),
			} {
				if err == nil {
					t.Errorf("%s: no error", what)
				}
			}
			if w.(interface{ CloseNotify() <-chan bool }).CloseNotify() == nil {
				t.Error("no CloseNotify")
			}
		}))).ServeHTTP(plain{w}, httptest.NewRequest("GET", "/", nil))
		if len(w.Header().Values("Set-Cookie")) != 2 {
			t.Error("no cookie")
		}
	})
}

type lockedLog struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
