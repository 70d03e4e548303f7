package ginsession_test

import (
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"testing"

	"github.com/gin-gonic/gin"
	"go.uber.org/goleak"

	ginsession "github.com/gensession/gensession/adapters/gin"
	"github.com/gensession/gensession/adapters/internal/adaptertest"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.TestMode)
	gin.DefaultWriter, gin.DefaultErrorWriter = io.Discard, io.Discard
	goleak.VerifyTestMain(m)
}

func serve(t *testing.T, l net.Listener, h http.Handler) {
	s := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
}

func TestJar(t *testing.T) {
	jartest.Run(t, func(t *testing.T, l net.Listener, handle func(jartest.Exchange)) {
		m, _ := newManager(t, core.Options{Defer: true})
		r := gin.New()
		r.NoRoute(ginsession.New(m, nil), func(c *gin.Context) {
			c.Status(http.StatusOK)
			v, err := ginsession.Visit(c)
			if err != nil {
				t.Error(err)
				return
			}
			handle(jartest.Exchange{
				Jar:          v.Jar(),
				ParseCookies: func() { _, _ = c.Cookie("a") },
				AddHeader:    c.Writer.Header().Add,
			})
			c.Writer.WriteHeaderNow() // or gin would answer that there is no route
		})
		serve(t, l, r)
	})
}

// adapter is what the suite drives.
var adapter = jartest.Adapter{
	CtxEnds: true,
	Serve: func(t *testing.T, l net.Listener, h jartest.Handler, managers ...*core.Manager) {
		r := gin.Default()
		for _, m := range managers {
			r.Use(ginsession.New(m, nil))
		}
		r.NoRoute(func(c *gin.Context) {
			c.Status(http.StatusOK)
			if err := call(c, h); err != nil {
				_ = c.Error(err)
				status, text := core.Status(err), err.Error()
				if !errors.Is(err, jartest.ErrHandler) {
					text = http.StatusText(status)
				}
				c.String(status, "%s", text)
			}
			c.Writer.WriteHeaderNow()
		})
		serve(t, l, r)
	},
}

func TestRules(t *testing.T) { adaptertest.Run(t, adapter) }

func TestGolden(t *testing.T) { adaptertest.Golden(t, adapter) }

// call calls h, and streams what it wants to be streamed.
func call(c *gin.Context, h jartest.Handler) error {
	var stream func(func(string))
	w := c.Writer
	err := h(&jartest.Request{
		Ctx:         c.Request.Context(),
		URL:         c.Request.URL,
		From:        func() (*core.Session, error) { return ginsession.From(c) },
		FromManager: func(m *core.Manager) (*core.Session, error) { return ginsession.FromManager(c, m) },
		Visit:       func() (*core.Visit, error) { return ginsession.Visit(c) },
		Guard: func(h jartest.Handler) error {
			c := c.Copy() // since h may run beside what answers in its place
			c.Writer = w
			return ginsession.Guarded(c, func() error { return call(c, h) })
		},
		SetHeader: c.Header,
		Status:    c.Status,
		Reset:     func() { clear(c.Writer.Header()) },
		Write:     func(body string) { c.String(c.Writer.Status(), "%s", body) },
		Stream:    func(f func(func(string))) { stream = f },
		Hijack: func(f func(io.ReadWriter)) {
			conn, _, err := c.Writer.Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			f(conn)
		},
	})
	if err == nil && stream != nil {
		c.Writer.Flush() // before the first byte: the session is committed here
		stream(func(s string) {
			if _, err := c.Writer.WriteString(s); err == nil {
				c.Writer.Flush()
			}
		})
	}
	return err
}
