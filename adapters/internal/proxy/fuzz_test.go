package proxy_test

import (
	"testing"

	"github.com/gensession/gensession/adapters/internal/proxy"
)

// Nothing that a client sends changes what the proxy says behind it.
func FuzzProxyField(f *testing.F) {
	for _, s := range []string{"", "https", "https,", `proto=https;for="x`, `for="\`, `"`, "for=1;proto=https"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, client string) {
		plain, forwarded := proxy.New(nil, "", 0), proxy.New(nil, "Forwarded", 0)
		for _, between := range []string{",", ", "} {
			if plain.TLS(client+between+"http", false) || !plain.TLS(client+between+"https", false) {
				t.Errorf("%q decides over X-Forwarded-Proto", client)
			}
			// An open quote of the client's can hide the proxy's element, but not say https.
			if forwarded.TLS(client+between+`for="[2001:db8::1]";proto=http`, false) || forwarded.TLS(client+between+"for=192.0.2.1;proto=http", false) {
				t.Errorf("%q decides over Forwarded", client)
			}
		}
	})
}
