package httpsession_test

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
)

// outside serves h below a session, and gives seen the request of the middleware
// further out when h has returned.
func outside(t *testing.T, h http.Handler, seen func(r *http.Request)) *httptest.Server {
	t.Helper()
	m, _ := newManager(t, core.Options{})
	inner := httpsession.New(m, nil)(h)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer seen(r)
		defer func() { _ = recover() }()
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// The server cleans up after the request that it has made, and others read that
// one, too. It must look as if the session middleware were not there.
func TestW14TheRequestOutside(t *testing.T) {
	upload := func(t *testing.T, s *httptest.Server) {
		t.Helper()
		var body bytes.Buffer
		form := multipart.NewWriter(&body)
		file, err := form.CreateFormFile("file", "x.txt")
		if err == nil {
			_, err = file.Write(make([]byte, 1<<20))
		}
		if err != nil || form.Close() != nil {
			t.Fatal(err)
		}
		res, err := s.Client().Post(s.URL, form.FormDataContentType(), &body)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		s.Close() // waits until the server has finished the request
	}
	files := func(t *testing.T, dir string) int {
		t.Helper()
		names, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	for name, then := range map[string]func(){"": func() {}, ", also after a panic that is recovered outside": func() { panic("handler") }} {
		t.Run("W14 no temporary file of an upload is left"+name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("TMPDIR", dir)
			during := 0
			s := outside(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if err := r.ParseMultipartForm(1); err != nil {
					t.Error(err)
				}
				during = files(t, dir)
				then()
			}), func(*http.Request) {})
			upload(t, s)
			if left := files(t, dir); during != 1 || left != 0 {
				t.Errorf("%d files while the handler ran, %d left", during, left)
			}
		})
	}
	t.Run("W14 the pattern and the form are seen outside", func(t *testing.T) {
		mux := http.NewServeMux()
		mux.HandleFunc("POST /item/{id}", func(_ http.ResponseWriter, r *http.Request) { _ = r.PostFormValue("a") })
		seen := make(chan string, 1)
		s := outside(t, mux, func(r *http.Request) { seen <- fmt.Sprint(r.Pattern, r.Form, r.PostForm) })
		res, err := s.Client().Post(s.URL+"/item/7?b=2", "application/x-www-form-urlencoded", strings.NewReader("a=1"))
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if got, want := <-seen, "POST /item/{id}map[a:[1] b:[2]] map[a:[1]]"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	for name, announce := range map[string]string{"announced": "Trailer: X-Sum\r\n", "that come unannounced": ""} {
		t.Run("W14 trailers "+name+" are seen inside and outside", func(t *testing.T) {
			within, without := make(chan string, 1), make(chan string, 1)
			s := outside(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				within <- fmt.Sprint(string(body), err, r.Trailer.Get("X-Sum"))
			}), func(r *http.Request) { without <- r.Trailer.Get("X-Sum") })
			conn, err := net.Dial("tcp", s.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, err = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\n%sTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 4\r\n\r\n", announce)
			if err != nil {
				t.Fatal(err)
			}
			if in, out := <-within, <-without; in != "body<nil>4" || out != "4" {
				t.Errorf("inside %q, outside %q", in, out)
			}
		})
	}
	t.Run("W14 of a handler that was left running nothing is read that it may write", func(t *testing.T) { // by the race detector
		end, ended, runs := make(chan struct{}), make(chan struct{}), make(chan struct{})
		handler := httpsession.Guard(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			defer close(ended)
			close(runs)
			for {
				r.Pattern, r.Form = "/x", nil
				_ = r.FormValue("a")
				select {
				case <-end:
					return
				default:
				}
			}
		}))
		s := outside(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			go handler.ServeHTTP(httptest.NewRecorder(), r)
			<-runs
			w.WriteHeader(503)
		}), func(*http.Request) {})
		res, _ := get(t, s.URL)
		close(end)
		<-ended
		if res.StatusCode != 503 {
			t.Errorf("answered %d", res.StatusCode)
		}
	})
	t.Run("W14 a deadline that the handler sets holds", func(t *testing.T) {
		got := make(chan error, 1)
		s := outside(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0)); err != nil { // over already
				t.Error(err)
			}
			_, err := io.ReadAll(r.Body)
			got <- err
		}), func(*http.Request) {})
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if err := <-got; !os.IsTimeout(err) {
			t.Errorf("got %v", err)
		}
	})
}

// An upstream says how long its answers are good for, and knows nothing of our
// cookies.
func TestW18Upstream(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=60")
		w.Header().Set("Surrogate-Control", "max-age=3600")
		http.SetCookie(w, &http.Cookie{Name: "theirs", Value: "1"})
	}))
	defer upstream.Close()
	to, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	m, _ := newManager(t, core.Options{AllowEmpty: true})
	s := httptest.NewServer(httpsession.New(m, nil)(httputil.NewSingleHostReverseProxy(to)))
	defer s.Close()
	res, _ := get(t, s.URL)
	if n := len(res.Header.Values("Set-Cookie")); n != 3 {
		t.Errorf("%d cookies", n)
	}
	if got := res.Header.Get("Cache-Control"); got != "private, max-age=60" || res.Header.Get("Surrogate-Control") != "" {
		t.Errorf("W18: Cache-Control %q, Surrogate-Control %q", got, res.Header.Get("Surrogate-Control"))
	}
}
