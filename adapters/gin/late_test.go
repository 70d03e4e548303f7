package ginsession_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	ginsession "github.com/gensession/gensession/adapters/gin"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// W42: a change that comes after the response has begun is lost, and the log says so.
func TestW42AChangeThatIsTooLate(t *testing.T) {
	store := memorystore.New(nil)
	defer store.Close()
	var out bytes.Buffer
	m, err := core.New(store, &core.Options{Keys: [][]byte{[]byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")}, Logger: slog.New(slog.NewTextHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	r := gin.New()
	r.Use(ginsession.New(m, nil))
	r.GET("/", ginsession.Handler(func(c *gin.Context, s *core.Session) error {
		c.String(200, "sent")
		return s.Set("n", 1)
	}))
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if n := strings.Count(out.String(), "\n"); w.Body.String() != "sent" || n != 1 || !strings.Contains(out.String(), "already committed") {
		t.Errorf("%d %q, the log is %q", w.Code, w.Body, &out)
	}
}

// W42: the client sees the status alone; gin's errors of the request have the cause.
func TestW42TheClientSeesTheStatus(t *testing.T) {
	memory := memorystore.New(nil)
	defer memory.Close()
	store := storetest.NewFaulty(memory)
	m, err := core.New(store, &core.Options{Keys: [][]byte{[]byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")}, FailFast: true})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for name, c := range map[string]struct {
		handler func(c *gin.Context, s *core.Session) error
		status  int
		body    string
	}{
		"of the handler": {func(*gin.Context, *core.Session) error { return errors.New("no such table: users") }, 500, "Internal Server Error\n"},
		"of Set":         {func(_ *gin.Context, s *core.Session) error { return s.Set("n", make(chan int)) }, 500, "Internal Server Error\n"},
		"of the commit":  {func(_ *gin.Context, s *core.Session) error { return s.Set("n", 1) }, 503, "Service Unavailable\n"},
	} {
		t.Run(name, func(t *testing.T) {
			store.Before(func(context.Context, storetest.Op, string) error {
				return fmt.Errorf("%w: the disk is full", core.ErrRefused)
			})
			var errs []error
			r := gin.New()
			r.Use(func(c *gin.Context) {
				c.Next()
				for _, e := range c.Errors {
					errs = append(errs, e.Err)
				}
			}, ginsession.New(m, nil))
			r.GET("/", ginsession.Handler(c.handler))
			w := httptest.NewRecorder()
			r.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
			if w.Code != c.status || w.Body.String() != c.body || len(errs) != 1 {
				t.Errorf("%d %q, and in gin %v", w.Code, w.Body, errs)
			}
		})
	}
}
