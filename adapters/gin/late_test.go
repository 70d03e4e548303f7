package ginsession_test

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	ginsession "github.com/gensession/gensession/adapters/gin"
	"github.com/gensession/gensession/core"
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
