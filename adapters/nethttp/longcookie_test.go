package httpsession_test

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gensession/gensession/adapters/internal/adaptertest"
	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
)

func longCookie(tb testing.TB) func(request string) func() {
	m, _ := newManager(tb, core.Options{})
	h := httpsession.New(m, nil)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, err := httpsession.From(r); err != nil {
			tb.Error(err)
		}
	}))
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
