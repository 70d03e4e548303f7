package core

// A Jar is all that the core knows of one HTTP exchange. An adapter implements
// it in a few lines; [github.com/gensession/gensession/core/jartest] is its
// whole test. The core reads the Cookie field and writes the Set-Cookie lines
// itself, so that every adapter understands and sends the same bytes.
//
// A Jar is used by one goroutine at a time. Every string that it returns must
// stay valid for ever: an adapter copies what lies in a request buffer.
type Jar interface {
	// Cookie returns the Cookie field as it was sent, the fields joined by
	// "; " if there are several, "" if there is none.
	Cookie() string
	// Path returns the path of the request as the browser sent it, still
	// percent-encoded and without the query.
	Path() string
	// Secure reports whether the browser's request came over TLS: to this
	// server, or to a proxy that the adapter was told to trust.
	Secure() bool
	// RequestHeader returns the request's field of that name, "" if there is
	// none, the first if there are several. Names are case-insensitive.
	RequestHeader(name string) string

	// SetCookie adds line as a Set-Cookie field of the response, after those
	// that are there. With replace it first drops every Set-Cookie line that
	// begins with name and "=".
	SetCookie(name, line string, replace bool)
	// DropCookies drops every Set-Cookie line that begins with name and "=".
	DropCookies(name string)
	// ResponseHeader returns the response's field of that name so far, several
	// joined by ", ", "" if there is none.
	ResponseHeader(name string) string
	// SetResponseHeader replaces the response's field of that name. An empty
	// value removes it.
	SetResponseHeader(name, value string)
	// DefaultResponseHeader sets the response's field of that name unless it has
	// a value already, and reports whether it did.
	DefaultResponseHeader(name, value string) (set bool)
	// Begun reports whether the head of the response is sent, so that nothing
	// in it can change any more. What is set then is lost.
	Begun() bool
}

// A bufferJar is a Jar over reused buffers, such as those of fasthttp. The core
// then reads and writes cookies in scratch memory of its own and allocates
// nothing. It is an internal fast path: the core finds it by its methods, and
// adapters/fasthttp has them. It is no part of the public API.
//
// Fallback without it: Cookie and SetCookie of [Jar].
type bufferJar interface {
	Jar
	// AppendCookie appends the result of Cookie to dst. It does not keep dst.
	AppendCookie(dst []byte) []byte
	// SetCookieBytes is SetCookie with a line that the Jar copies.
	SetCookieBytes(name string, line []byte, replace bool)
}
