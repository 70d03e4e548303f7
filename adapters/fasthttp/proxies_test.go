package fasthttpsession_test

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	fasthttpsession "github.com/gensession/gensession/adapters/fasthttp"
	"github.com/gensession/gensession/adapters/internal/adaptertest"
	"github.com/gensession/gensession/core"
)

// W21, too.
func TestP24Proxies(t *testing.T) {
	for _, asSent := range []bool{false, true} {
		t.Run(fmt.Sprintf("names as sent %t", asSent), func(t *testing.T) {
			adaptertest.Proxies(t, func(t *testing.T, m *core.Manager, p adaptertest.ProxyRequest) []string {
				o := &fasthttpsession.Options{TrustedProxies: p.TrustedProxies, ProxyField: p.ProxyField, TrustedHops: p.TrustedHops}
				raw := "GET / HTTP/1.1\r\nHost: example.com\r\n"
				for _, f := range p.Fields {
					raw += f[0] + ": " + f[1] + "\r\n"
				}
				ctx := new(fasthttp.RequestCtx)
				ctx.Init(new(fasthttp.Request), net.TCPAddrFromAddrPort(p.Remote), nil)
				if asSent {
					ctx.Request.Header.DisableNormalizing()
				}
				if err := ctx.Request.Read(bufio.NewReader(strings.NewReader(raw + "\r\n"))); err != nil {
					t.Fatal(err)
				}
				fasthttpsession.New(m, o)(func(ctx *fasthttp.RequestCtx) { add(t, ctx) })(ctx)
				return cookies(ctx)
			})
		})
	}
}
