package ginsession_test

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	ginsession "github.com/gensession/gensession/adapters/gin"
	"github.com/gensession/gensession/adapters/internal/adaptertest"
	"github.com/gensession/gensession/core"
)

func longCookie(tb testing.TB) func(request string) func() {
	m, _ := newManager(tb, core.Options{})
	h := gin.New()
	h.Use(ginsession.New(m, nil))
	h.GET("/", func(c *gin.Context) {
		if _, err := ginsession.From(c); err != nil {
			tb.Error(err)
		}
	})
	return func(request string) func() {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(request)))
		if err != nil {
			tb.Fatal(err)
		}
		return func() { h.ServeHTTP(httptest.NewRecorder(), r) }
	}
}

func TestW19LongCookie(t *testing.T) { adaptertest.LongCookieCosts(t, longCookie(t)) }

func BenchmarkLongCookie(b *testing.B) { adaptertest.BenchmarkLongCookie(b, longCookie(b)) }
