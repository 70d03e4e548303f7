package proxy_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/gensession/gensession/adapters/internal/proxy"
)

func TestP24TheFieldOfAProxy(t *testing.T) {
	for _, c := range []struct {
		field   string
		hops    int
		value   string
		want    bool
		overTLS bool
	}{
		{"", 0, "https", true, false},
		{"", 0, "HTTPS", true, false},
		{"", 0, " https ", true, false},
		{"", 0, "wss", true, false},
		{"", 0, "http", false, false},
		{"", 0, "", false, false},
		{"", 0, "https,http", false, false}, // the client has said https
		{"", 0, "http, https", true, false},
		{"", 0, "https,", false, false},
		{"", 0, "httpsx", false, false},
		{"", 0, `"https", "http`, false, false},
		{"", 1, "http,https", true, false},
		{"", 2, "https,http", true, false},
		{"", 2, "http,https", false, false},
		{"", 2, "https", false, false}, // too few
		{"", 3, "https, https", false, false},
		{"", 3, "http,https,http,https", true, false},
		{"", -1, "https", false, false},
		{"X-Forwarded-Ssl", 0, "on", true, false},
		{"X-Forwarded-Ssl", 0, "off", false, false},
		{"Forwarded", 0, "for=192.0.2.60;proto=https;by=203.0.113.43", true, false},
		{"forwarded", 0, `for="[2001:db8::1]:80" ; Proto = "HTTPS"`, true, false},
		{"Forwarded", 0, "for=1;proto=https, for=2;proto=http", false, false},
		{"Forwarded", 0, "for=1;proto=http, for=2;proto=https", true, false},
		{"Forwarded", 2, "for=1;proto=https, for=2;proto=http", true, false},
		{"Forwarded", 0, "for=1;proto=https, for=2", false, false},
		{"Forwarded", 0, `for="a,proto=https"`, false, false},
		{"Forwarded", 0, `for="a;proto=https"`, false, false},
		{"Forwarded", 0, `for="\"";proto=https`, true, false},
		{"Forwarded", 0, `proto=https;for="x, for="[::1]";proto=http`, false, false}, // a quote that hides the proxy's element
		{"Forwarded", 0, "https", false, false},
		{"", 0, "", true, true},      // the proxy says nothing, over TLS
		{"", 2, "http", true, true},  // or not enough
		{"", 0, "http", false, true}, // or it says that the browser came without
		{"", 0, "https", true, true},
	} {
		if got := proxy.New(nil, c.field, c.hops).TLS(c.value, c.overTLS); got != c.want {
			t.Errorf("%s with %d hops: %q over TLS %t is %t", c.field, c.hops, c.value, c.overTLS, got)
		}
	}
}

func TestP24Addresses(t *testing.T) {
	for _, c := range []struct {
		prefix, from string
		want         bool
	}{
		{"10.0.0.0/8", "10.1.2.3:4", true},
		{"10.0.0.0/8", "11.1.2.3:4", false},
		{"10.0.0.0/8", "[::ffff:10.1.2.3]:4", true},
		{"::ffff:10.0.0.0/104", "10.1.2.3:4", true},
		{"::ffff:10.0.0.0/104", "[::ffff:10.1.2.3]:4", true},
		{"::ffff:10.0.0.0/104", "11.1.2.3:4", false},
		{"127.0.0.1/32", "127.0.0.1:80", true},
		{"127.0.0.1/32", "127.0.0.1", true},
		{"fe80::/10", "[fe80::1%eth0]:80", true},
		{"fd00::/8", "[fd12::1]:80", true},
		{"::/0", "10.1.2.3:4", false},
		{"0.0.0.0/0", "[2001:db8::1]:4", false},
		{"10.0.0.0/8", "@", false},
		{"10.0.0.0/8", "", false},
	} {
		trust := proxy.New([]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix(c.prefix)}, "", 0)
		if got := trust.Trusts(proxy.ParseAddr(c.from)); got != c.want {
			t.Errorf("%s in %s is %t", c.from, c.prefix, got)
		}
		if tcp, err := net.ResolveTCPAddr("tcp", c.from); err == nil && tcp.Port != 0 {
			if got := trust.Trusts(proxy.Addr(tcp)); got != c.want {
				t.Errorf("the connection of %s in %s is %t", c.from, c.prefix, got)
			}
		}
	}
	nobody := proxy.New([]netip.Prefix{{}}, "", 0) // what a mistake leaves behind
	if nobody.Trusts(netip.MustParseAddr("10.0.0.1")) || nobody.Trusts(netip.Addr{}) || proxy.New(nil, "", 0).Trusts(proxy.Addr(nil)) {
		t.Error("somebody is trusted")
	}
	if a := proxy.Addr(&net.UnixAddr{Name: "@", Net: "unix"}); a.IsValid() {
		t.Errorf("a Unix socket has the address %v", a)
	}
}
