package httpsession_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gensession/gensession/adapters/internal/adaptertest"
	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
)

// W21, too.
func TestP24Proxies(t *testing.T) {
	adaptertest.Proxies(t, func(t *testing.T, m *core.Manager, p adaptertest.ProxyRequest) []string {
		o := &httpsession.Options{TrustedProxies: p.TrustedProxies, ProxyField: p.ProxyField, TrustedHops: p.TrustedHops}
		r, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
		r.RemoteAddr = p.Remote.String()
		for _, f := range p.Fields {
			r.Header.Add(f[0], f[1])
		}
		httpsession.New(m, o)(httpsession.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request, s *core.Session) error {
			return count.Set(s, 1)
		})).ServeHTTP(w, r)
		return w.Header().Values("Set-Cookie")
	})
}
