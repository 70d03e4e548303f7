package core

// A Jar gives the core access to one HTTP exchange. An adapter implements it in
// a few lines; the package [github.com/gensession/gensession/core/jartest] tests
// it. The core parses the Cookie field and formats the Set-Cookie lines itself,
// so that all adapters read and send the same bytes.
//
// The core uses a Jar from one goroutine at a time. Every string that a Jar
// returns must stay valid for ever: an adapter must copy strings out of request
// buffers.
type Jar interface {
	// Cookie returns the Cookie field as it was sent. It joins several fields
	// with "; ", and returns "" if there is none. Of more than 32 KiB it may
	// leave out what follows: the core reads no field of more than 16 KiB, and
	// no time or memory is to be spent on it.
	Cookie() string
	// Path returns the path of the request as the browser sent it,
	// percent-encoded and without the query.
	Path() string
	// Secure reports whether the browser's request came over TLS: to this
	// server, or to a proxy that the adapter was told to trust.
	Secure() bool
	// RequestHeader returns the first request field of that name, "" if there
	// is none. Names are case-insensitive. Host is the host of the request, with
	// its port if it was sent.
	RequestHeader(name string) string

	// SetCookie appends line to the Set-Cookie fields of the response. With
	// replace it first removes every Set-Cookie line that begins with name and
	// "=".
	SetCookie(name, line string, replace bool)
	// ResponseCookies returns the Set-Cookie lines of the response, nil if there
	// are none. The core does not change the slice.
	ResponseCookies() []string
	// DropCookies removes every Set-Cookie line that begins with name and "=".
	DropCookies(name string)
	// ResponseHeader returns the response field of that name as set so far. It
	// joins several fields with ", ", and returns "" if there is none.
	ResponseHeader(name string) string
	// SetResponseHeader replaces the response field of that name. An empty value
	// removes the field.
	SetResponseHeader(name, value string)
	// DefaultResponseHeader sets the response field of that name unless it
	// already has a value, and reports whether it set the field.
	DefaultResponseHeader(name, value string) (set bool)
	// Begun reports whether the header of the response was sent. Fields that are
	// set later are lost.
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
