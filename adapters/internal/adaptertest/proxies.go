package adaptertest

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// A ProxyRequest is a request over plain HTTP to an adapter with these options.
type ProxyRequest struct {
	TrustedProxies []netip.Prefix
	ProxyField     string
	TrustedHops    int

	Remote netip.AddrPort // of the connection
	Fields [][2]string    // in order, some of one name
}

// Proxies tests the options for proxies of an adapter. ask runs a request with m,
// whose handler stores a session, and returns its Set-Cookie lines.
func Proxies(t *testing.T, ask func(t *testing.T, m *core.Manager, r ProxyRequest) (cookies []string)) {
	const proto = "X-Forwarded-Proto"
	private := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	mapped := []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")}
	said := func(pairs ...string) (fields [][2]string) {
		for i := 0; i < len(pairs); i += 2 {
			fields = append(fields, [2]string{pairs[i], pairs[i+1]})
		}
		return fields
	}
	for _, c := range []struct {
		name           string
		trusted        []netip.Prefix
		field          string
		hops           int
		from           string
		fields         [][2]string
		secure, warned bool
	}{
		{name: "a proxy that is trusted", trusted: private, from: "10.1.2.3:1", fields: said(proto, "https"), secure: true},
		{name: "in another case", trusted: private, from: "10.1.2.3:1", fields: said("x-forwarded-proto", "HTTPS"), secure: true},
		{name: "by IPv6", trusted: private, from: "[fd00::1]:1", fields: said(proto, "https"), secure: true},
		{name: "by an IPv4 address in IPv6", trusted: private, from: "[::ffff:10.1.2.3]:1", fields: said(proto, "https"), secure: true},
		{name: "by a prefix of IPv4 in IPv6", trusted: mapped, from: "10.1.2.3:1", fields: said(proto, "https"), secure: true},
		{name: "that says http", trusted: private, from: "10.1.2.3:1", fields: said(proto, "http")},
		{name: "that says nothing", trusted: private, from: "10.1.2.3:1"},
		{name: "behind what the client has said", trusted: private, from: "10.1.2.3:1", fields: said(proto, "https,http"), warned: true},
		{name: "in a field of its own", trusted: private, from: "10.1.2.3:1", fields: said(proto, "http", proto, "https"), secure: true},
		{name: "in a field of its own, against the client's", trusted: private, from: "10.1.2.3:1", fields: said(proto, "https", proto, "http"), warned: true},
		{name: "somebody else", trusted: private, from: "192.0.2.1:1", fields: said(proto, "https"), warned: true},
		{name: "nobody is trusted", from: "10.1.2.3:1", fields: said(proto, "https"), warned: true},
		{name: "nobody, and nobody says so", from: "10.1.2.3:1"},
		{name: "another field", trusted: private, from: "10.1.2.3:1", fields: said("X-Forwarded-Ssl", "on"), warned: true},
		{name: "a field that is named", trusted: private, field: "X-Forwarded-Ssl", from: "10.1.2.3:1", fields: said("X-Forwarded-Ssl", "on", proto, "http"), secure: true},
		{name: "Forwarded", trusted: private, field: "Forwarded", from: "10.1.2.3:1", fields: said("Forwarded", `for=192.0.2.1;proto=http, for="[2001:db8::1]";proto=https`), secure: true},
		{name: "beside Forwarded", trusted: private, field: "Forwarded", from: "10.1.2.3:1", fields: said(proto, "https"), warned: true},
		{name: "two hops", trusted: private, hops: 2, from: "10.1.2.3:1", fields: said(proto, "http, https, http"), secure: true},
		{name: "two hops and too few elements", trusted: private, hops: 2, from: "10.1.2.3:1", fields: said(proto, "https"), warned: true},
		{name: "a field of its own and too few elements", trusted: private, field: "X-Scheme", hops: 2, from: "10.1.2.3:1", fields: said("X-Scheme", "https"), warned: true},
	} {
		t.Run("P24 W21 "+c.name, func(t *testing.T) {
			warned := 0
			memory := memorystore.New(nil)
			m, err := core.New(memory, &core.Options{Keys: Keys, Hooks: core.Hooks{Event: func(_ context.Context, e core.Event) {
				if e.Kind == core.EventMisconfigured {
					warned++
				}
			}}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = m.Close(); _ = memory.Close() })
			r := ProxyRequest{c.trusted, c.field, c.hops, netip.MustParseAddrPort(c.from), c.fields}
			for range 2 {
				cookies := ask(t, m, r)
				if got := strings.Contains(strings.Join(cookies, ""), "; secure"); len(cookies) != 2 || got != c.secure {
					t.Errorf("%d cookies, secure is %t", len(cookies), got)
				}
			}
			if want := map[bool]int{true: 1}[c.warned]; warned != want {
				t.Errorf("told %d times, want %d", warned, want)
			}
		})
	}
}
