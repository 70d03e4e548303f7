package httpsession_test

import (
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"testing"

	"go.uber.org/goleak"

	"github.com/gensession/gensession/adapters/internal/adaptertest"
	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T, l net.Listener, h http.Handler) {
	// A panic is logged by the server, and is no news here.
	s := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
}

func TestJar(t *testing.T) {
	jartest.Run(t, func(t *testing.T, l net.Listener, handle func(jartest.Exchange)) {
		serve(t, l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			handle(jartest.Exchange{
				Jar:          httpsession.NewJar(w, r),
				ParseCookies: func() { r.Cookies() },
				AddHeader:    w.Header().Add,
			})
		}))
	})
}

// adapter is what the suite drives.
var adapter = jartest.Adapter{
	CtxEnds: true,
	Serve: func(t *testing.T, l net.Listener, h jartest.Handler, managers ...*core.Manager) {
		var handler http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handle(w, r, h) })
		for i := len(managers) - 1; i >= 0; i-- {
			handler = httpsession.New(managers[i], nil)(handler)
		}
		serve(t, l, handler)
	},
}

func TestRules(t *testing.T) { adaptertest.Run(t, adapter) }

func TestGolden(t *testing.T) { adaptertest.Golden(t, adapter) }

func handle(w http.ResponseWriter, r *http.Request, h jartest.Handler) {
	if err := call(w, r, h); err != nil {
		status, text := core.Status(err), err.Error()
		if !errors.Is(err, jartest.ErrHandler) {
			text = http.StatusText(status)
		}
		http.Error(w, text, status)
	}
}

// call calls h, and streams what it wants to be streamed.
func call(w http.ResponseWriter, r *http.Request, h jartest.Handler) error {
	var stream func(func(string))
	err := h(&jartest.Request{
		Ctx:         r.Context(),
		URL:         r.URL,
		From:        func() (*core.Session, error) { return httpsession.From(r) },
		FromManager: func(m *core.Manager) (*core.Session, error) { return httpsession.FromManager(r, m) },
		Visit:       func() (*core.Visit, error) { return httpsession.Visit(r) },
		Guard: func(h jartest.Handler) (err error) {
			httpsession.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { err = call(w, r, h) })).ServeHTTP(w, r)
			return err
		},
		SetHeader: w.Header().Set,
		Status:    w.WriteHeader,
		Reset:     func() { clear(w.Header()) },
		Write:     func(body string) { _, _ = io.WriteString(w, body) },
		Stream:    func(f func(func(string))) { stream = f },
		Hijack: func(f func(io.ReadWriter)) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			f(conn)
		},
	})
	if err == nil && stream != nil {
		w.(http.Flusher).Flush() // before the first byte: the session is committed here
		stream(func(s string) {
			if _, err := io.WriteString(w, s); err == nil {
				w.(http.Flusher).Flush()
			}
		})
	}
	return err
}
