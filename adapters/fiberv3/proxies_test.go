package fiberv3session_test

import (
	"bufio"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v3"
	"github.com/valyala/fasthttp"

	fiberv3session "github.com/gensession/gensession/adapters/fiberv3"
	"github.com/gensession/gensession/adapters/internal/adaptertest"
	"github.com/gensession/gensession/core"
)

func askFrom(t *testing.T, app *fiber.App, p adaptertest.ProxyRequest) (cookies []string) {
	t.Helper()
	raw := "GET / HTTP/1.1\r\nHost: example.com\r\n"
	for _, f := range p.Fields {
		raw += f[0] + ": " + f[1] + "\r\n"
	}
	ctx := new(fasthttp.RequestCtx)
	ctx.Init(new(fasthttp.Request), net.TCPAddrFromAddrPort(p.Remote), nil)
	if err := ctx.Request.Read(bufio.NewReader(strings.NewReader(raw + "\r\n"))); err != nil {
		t.Fatal(err)
	}
	app.Handler()(ctx)
	for _, line := range ctx.Response.Header.Cookies() {
		cookies = append(cookies, string(line))
	}
	return cookies
}

// W21, too.
func TestP24Proxies(t *testing.T) {
	adaptertest.Proxies(t, func(t *testing.T, m *core.Manager, p adaptertest.ProxyRequest) []string {
		app := fiber.New(quiet)
		app.Use(fiberv3session.New(m, &fiberv3session.Options{TrustedProxies: p.TrustedProxies, ProxyField: p.ProxyField, TrustedHops: p.TrustedHops}), add)
		return askFrom(t, app, p)
	})
}

// The proxies that the app trusts are read in the same way.
// W21, too.
func TestP24ProxiesOfTheApp(t *testing.T) {
	adaptertest.Proxies(t, func(t *testing.T, m *core.Manager, p adaptertest.ProxyRequest) []string {
		config := quiet
		config.TrustProxy = true
		for _, prefix := range p.TrustedProxies {
			if prefix.Addr().Is4In6() {
				prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
			}
			config.TrustProxyConfig.Proxies = append(config.TrustProxyConfig.Proxies, prefix.String())
		}
		app := fiber.New(config)
		app.Use(fiberv3session.New(m, &fiberv3session.Options{ProxyField: p.ProxyField, TrustedHops: p.TrustedHops}), add)
		return askFrom(t, app, p)
	})
}
