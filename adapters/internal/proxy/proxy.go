// Package proxy tells whether the browser's request came over TLS to a proxy that
// is trusted, for all adapters.
package proxy

import (
	"net"
	"net/netip"
	"strings"
)

// A Trust is what an adapter's options say. The zero value trusts nobody. It is safe
// for concurrent use.
type Trust struct {
	from  []netip.Prefix
	field string
	hops  int
}

// DefaultField is the field that most proxies write.
const DefaultField = "X-Forwarded-Proto"

// New returns the Trust of the options TrustedProxies, ProxyField and TrustedHops.
func New(from []netip.Prefix, field string, hops int) *Trust {
	t := &Trust{field: field, hops: hops}
	if field == "" {
		t.field = DefaultField
	}
	if hops == 0 {
		t.hops = 1
	}
	for _, p := range from {
		if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
		t.from = append(t.from, p)
	}
	return t
}

// Field returns the one field that counts.
func (t *Trust) Field() string { return t.field }

// Trusts reports whether a connection comes from a trusted proxy.
func (t *Trust) Trusts(from netip.Addr) bool {
	from = from.Unmap().WithZone("")
	for _, p := range t.from {
		if p.Contains(from) {
			return true
		}
	}
	return false
}

// Any reports whether there are trusted proxies.
func (t *Trust) Any() bool { return len(t.from) > 0 }

// TLS reports whether value, the whole field as a trusted proxy has sent it, says
// that the browser's request came over TLS. The last element is that of the nearest
// proxy; those of a client stand further left, and don't count. overTLS is whether
// the proxy's own connection uses TLS, which counts if there are too few elements.
func (t *Trust) TLS(value string, overTLS bool) bool {
	if strings.Trim(value, " \t") == "" || t.hops < 1 {
		return overTLS
	}
	forwarded := strings.EqualFold(t.field, "Forwarded")
	var elements []string
	if !forwarded {
		elements = strings.Split(value, ",")
	} else if list, ok := split(value, ','); ok {
		elements = list
	} // else a client may have opened a quote to hide what the proxy says
	if len(elements) < t.hops {
		return overTLS
	}
	element := elements[len(elements)-t.hops]
	if forwarded {
		element = proto(element)
	}
	return https(strings.Trim(element, " \t"))
}

// Untrusted returns the name of a request field that says https, "" if none does: the
// field of the options, or another one that proxies write. It is for a warning, when
// the request is not taken for one over TLS. get returns a field by its name.
func (t *Trust) Untrusted(get func(name string) string) string {
	for _, name := range [...]string{t.field, DefaultField, "Forwarded", "X-Forwarded-Ssl"} {
		value := get(name)
		if value == "" {
			continue
		}
		for element := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(name, "Forwarded") {
				element = proto(element)
			}
			if https(strings.Trim(element, " \t")) {
				return name
			}
		}
	}
	return ""
}

// proto returns the proto of an element of Forwarded (RFC 7239).
func proto(element string) (value string) {
	pairs, _ := split(element, ';')
	for _, pair := range pairs {
		name, v, _ := strings.Cut(pair, "=")
		if strings.EqualFold(strings.Trim(name, " \t"), "proto") {
			value = strings.Trim(strings.Trim(v, " \t"), `"`)
		}
	}
	return value
}

// https reports whether s names TLS: the scheme of a page or of a WebSocket, or the
// "on" of X-Forwarded-Ssl and Front-End-Https.
func https(s string) bool {
	return strings.EqualFold(s, "https") || strings.EqualFold(s, "wss") || strings.EqualFold(s, "on")
}

// split splits s at by, but not in a quoted value. ok is false if a quote doesn't
// end.
func split(s string, by byte) (parts []string, ok bool) {
	first, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == by && !quoted:
			parts, first = append(parts, s[first:i]), i+1
		}
	}
	return append(parts, s[first:]), !quoted
}

// Addr returns the address of a connection's peer, the zero Addr if it has none, as
// that of a Unix socket.
func Addr(peer net.Addr) netip.Addr {
	switch a := peer.(type) {
	case nil:
		return netip.Addr{}
	case *net.TCPAddr:
		return a.AddrPort().Addr()
	}
	return ParseAddr(peer.String())
}

// ParseAddr is Addr for the text of an address, with a port or without.
func ParseAddr(peer string) netip.Addr {
	if ap, err := netip.ParseAddrPort(peer); err == nil {
		return ap.Addr()
	}
	a, _ := netip.ParseAddr(peer)
	return a
}
