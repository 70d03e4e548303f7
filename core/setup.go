package core

import (
	"context"
	"sync/atomic"
)

// What requests show of the way that they come, and of the configuration: some setups
// make sessions vanish without an error anywhere. Each is told once in the life of a Manager.

// A setup is what a Manager has seen so far.
type setup struct {
	seen    atomic.Uint32 // bits
	outside atomic.Uint32 // requests that wanted a session outside of the cookie's path

	shortTTL atomic.Bool // TTLFunc has returned what nobody can mean
}

const (
	sentOverTLS uint32 = 1 << iota
	sentOverHTTP
	wasInside
	toldProxy
	toldSchemes
	toldOutside
	toldTTL
)

// has reports whether one of the bits is set.
func (s *setup) has(bits uint32) bool { return s.seen.Load()&bits != 0 }

// first sets the bit, and reports whether it was not set.
func (s *setup) first(bit uint32) bool { return !s.has(bit) && s.seen.Or(bit)&bit == 0 }

// A proxiedJar knows of a proxy that the adapter doesn't trust. The core finds it by
// its method; without it nobody is told.
type proxiedJar interface {
	// UntrustedTLS returns the name of a request field by which a proxy says that
	// the browser's request came over TLS, "" if there is none. It is only asked
	// where Secure is false.
	UntrustedTLS() string
}

// checkTransport tells what is wrong with the way of a request whose cookie is sent,
// or can't be sent.
func (v *Visit) checkTransport(ctx context.Context) {
	m := v.manager
	if m.cookie == nil || !m.listens() {
		return
	}
	if o := v.session.Cookie(); o.Secure == Off || o.Secure == On && m.o.InsecureAllowHTTP {
		return
	}
	if v.jar.Secure() {
		m.setup.first(sentOverTLS)
	} else {
		if j, ok := v.jar.(proxiedJar); ok && !m.setup.has(toldProxy) {
			if field := j.UntrustedTLS(); field != "" && m.setup.first(toldProxy) {
				v.tell(ctx, "", Event{Kind: EventMisconfigured, Why: field + " says that the browser's request came over TLS, but it is not trusted, and the cookie is not Secure: set the adapter's options TrustedProxies, ProxyField and TrustedHops to the addresses of the proxies, the field that they write and their number"})
			}
		}
		m.setup.first(sentOverHTTP)
	}
	if m.setup.has(sentOverTLS) && m.setup.has(sentOverHTTP) && m.setup.first(toldSchemes) {
		v.tell(ctx, "", Event{Kind: EventMisconfigured, Why: "the cookie goes out over TLS and over plain HTTP under one name: a browser that has the first refuses the second, and loses every session that begins over HTTP; redirect to HTTPS, or give the Manager for HTTP another Name"})
	}
}

// checkTTLFunc tells that TTLFunc returns numbers that nobody can mean. It can't be
// refused: a session may have half a second left.
func (v *Visit) checkTTLFunc(ctx context.Context) {
	m := v.manager
	if m.o.TTLFunc != nil && m.setup.shortTTL.Load() && m.setup.first(toldTTL) {
		v.tell(ctx, "", Event{Kind: EventMisconfigured, Why: "Options.TTLFunc has returned what looks like the seconds or milliseconds of another language, or more than ten years: a number without a unit counts nanoseconds, so sessions end at once; return n * time.Millisecond"})
	}
}

// manyOutside is how many requests may want a session outside of the cookie's path,
// before the first inside, without anything being wrong.
const manyOutside = 3

// askedOutside notes that somebody wanted the session of a request that has none.
func (m *Manager) askedOutside(ctx context.Context) {
	if !m.listens() || m.setup.has(wasInside|toldOutside) || m.setup.outside.Add(1) < manyOutside {
		return
	}
	if m.setup.first(toldOutside) {
		m.tell(ctx, nil, "", Event{Kind: EventMisconfigured, Why: "no request has come inside of Cookie.Path so far, and several wanted a session: if a proxy strips a prefix from the path, set Options.MountPath to that"})
	}
}
