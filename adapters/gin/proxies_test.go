package ginsession_test

import (
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"

	ginsession "github.com/gensession/gensession/adapters/gin"
	"github.com/gensession/gensession/adapters/internal/adaptertest"
	"github.com/gensession/gensession/core"
)

// W21, too.
func TestP24Proxies(t *testing.T) {
	adaptertest.Proxies(t, func(t *testing.T, m *core.Manager, p adaptertest.ProxyRequest) []string {
		r := gin.New()
		r.Use(ginsession.New(m, &ginsession.Options{TrustedProxies: p.TrustedProxies, ProxyField: p.ProxyField, TrustedHops: p.TrustedHops}))
		r.GET("/", ginsession.Handler(func(_ *gin.Context, s *core.Session) error { return count.Set(s, 1) }))
		req, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
		req.RemoteAddr = p.Remote.String()
		for _, f := range p.Fields {
			req.Header.Add(f[0], f[1])
		}
		r.ServeHTTP(w, req)
		return w.Header().Values("Set-Cookie")
	})
}
