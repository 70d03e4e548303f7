package fasthttpsession

import (
	"bytes"
	"strings"
	"sync"

	"github.com/valyala/fasthttp"

	"github.com/gensession/gensession/adapters/internal/fields"
	"github.com/gensession/gensession/adapters/internal/target"
	"github.com/gensession/gensession/core"
)

// A Jar is the [core.Jar] of a RequestCtx. It is for adapters of frameworks that
// are built on fasthttp; [New] creates its own Jar.
//
// It copies every string, since fasthttp reuses its buffers. It reads the Cookie
// field as it was received: a middleware that changes the cookies of the request,
// such as Fiber's encryptcookie, must exclude the session cookies, whose names are
// the cookie name, the name with ".next" and with ".late", and each of these with
// ".sig".
type Jar struct {
	mu       sync.Mutex // held by every method but Secure
	ctx      *fasthttp.RequestCtx
	response *fasthttp.Response // that of ctx, or the one of a TimeoutError
	mw       *middleware        // nil in the Jar of another adapter
	secure   bool
	names    naming
	failed   bool // the error of a Handler has been answered
}

// A naming is how fasthttp treats the names of header fields.
type naming uint8

const (
	unknown naming = iota
	normalized
	asSent
)

// The core finds AppendCookie, SetCookieBytes and DropCacheFields by their names.
var _ interface {
	core.Jar
	DropCacheFields()
	AppendCookie(dst []byte) []byte
	SetCookieBytes(name string, line []byte, replace bool)
} = (*Jar)(nil)

// Open makes j, which must be new, the Jar of ctx; see [core.NewVisitOf]. The
// method Secure then returns secure.
func (j *Jar) Open(ctx *fasthttp.RequestCtx, secure bool) {
	j.ctx, j.response, j.secure = ctx, &ctx.Response, secure
}

// TimedOut reports whether the handler has answered by TimeoutError, or
// fasthttp.TimeoutHandler for it. Call it when the handler has returned: the
// response is complete then, and the handler may still run, so commit nothing, but
// abandon the visit. What the visit has sent before goes into that response. Call it
// on the goroutine that calls Close.
func (j *Jar) TimedOut() bool {
	if j.ctx == nil { // which only Close changes
		return false
	}
	answer := j.ctx.LastTimeoutErrorResponse()
	if answer == nil {
		return false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.response = answer
	return true
}

// Close detaches j from its ctx: from then on Begun returns true, and all fields
// are empty. Call it before the handler returns, since fasthttp reuses ctx.
// Otherwise a goroutine that outlives its request and still holds the session
// would access another request.
func (j *Jar) Close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ctx, j.response = nil, nil
}

// Cookie returns the Cookie field, of a very long one the beginning. For a request that was not read from a
// connection it returns the cookies that fasthttp has parsed.
func (j *Jar) Cookie() string { return string(j.AppendCookie(nil)) }

// AppendCookie appends the result of Cookie to dst.
func (j *Jar) AppendCookie(dst []byte) []byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.ctx == nil {
		return dst
	}
	header := &j.ctx.Request.Header
	raw := header.RawHeaders()
	if len(raw) == 0 {
		return append(dst, joined(header.PeekAll("Cookie"), "; ")...)
	}
	// Not Peek: after fasthttp has parsed the cookies, it returns a list of the
	// parsed ones, without those that fasthttp does not understand.
	first := len(dst)
	for found := false; len(raw) > 0 && len(dst)-first <= fields.MaxCookie; {
		if !isCookie(raw) {
			raw = nextLine(raw)
			continue
		}
		if found {
			dst = append(dst, "; "...)
		}
		dst, raw = appendValue(dst, raw[len("cookie:"):])
		found = true
	}
	return dst
}

// isCookie reports whether a Cookie field begins here.
func isCookie(raw []byte) bool {
	const name = "cookie:"
	if len(raw) < len(name) || raw[0]|0x20 != 'c' {
		return false
	}
	for i := range len(name) {
		if raw[i]|0x20 != name[i]|0x20 {
			return false
		}
	}
	return raw[len(name)-1] == ':'
}

var (
	newline, colon             = []byte("\n"), []byte(":")
	nameVary, nameCacheControl = []byte("Vary"), []byte("Cache-Control")
	nameSetCookie              = []byte("Set-Cookie")
)

// nextLine returns what follows the line.
func nextLine(raw []byte) []byte {
	_, rest, _ := bytes.Cut(raw, newline)
	return rest
}

// appendValue appends the value at the beginning of raw, in time and memory that
// grow no faster than it, and not much more of it than counts. It joins folded
// lines by a blank, as fasthttp and net/http do.
func appendValue(dst, raw []byte) (_, rest []byte) {
	line, rest, _ := bytes.Cut(raw, newline)
	first := len(dst)
	for dst = append(dst, start(trim(line))...); isFolded(rest) && len(dst)-first <= fields.MaxCookie; {
		line, rest, _ = bytes.Cut(rest, newline)
		dst = append(append(dst, ' '), start(trim(line))...)
	}
	return dst, rest
}

// start returns no more of b than is enough to see that it is too long.
func start(b []byte) []byte { return b[:min(len(b), fields.MaxCookie+1)] }

// isFolded reports whether a line goes on with the field of the line before.
func isFolded(line []byte) bool { return len(line) > 0 && (line[0] == ' ' || line[0] == '\t') }

// trim is bytes.Trim(b, " \t\r") without its table.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t' || b[0] == '\r') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t' || b[len(b)-1] == '\r') {
		b = b[:len(b)-1]
	}
	return b
}

// Path returns the path from the request line, which does not change if a router
// changes the URI.
func (j *Jar) Path() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.ctx == nil {
		return ""
	}
	return target.Path(string(j.ctx.Request.Header.RequestURI()))
}

// Secure returns what Open was given.
func (j *Jar) Secure() bool { return j.secure }

// UntrustedTLS returns the name of a field that says https although Secure is false.
func (j *Jar) UntrustedTLS() string {
	if j.mw == nil || j.mw.proxies == nil {
		return ""
	}
	return j.mw.proxies.Untrusted(j.RequestHeader)
}

// requestField returns the fields of that name, joined with commas, whatever case
// they were sent in.
func requestField(ctx *fasthttp.RequestCtx, name string) string {
	var values [][]byte
	for sent, value := range ctx.Request.Header.All() {
		if isNamed(sent, name) {
			values = append(values, value)
		}
	}
	return joined(values, ",")
}

// RequestHeader returns the field, with the changes of outer middleware.
func (j *Jar) RequestHeader(name string) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.ctx == nil {
		return ""
	}
	header := &j.ctx.Request.Header
	raw := header.RawHeaders()
	if len(raw) == 0 || j.normalizes() {
		return string(header.Peek(name))
	}
	for ; len(raw) > 0; raw = nextLine(raw) {
		line, _, _ := bytes.Cut(raw, newline)
		if sent, _, _ := bytes.Cut(line, colon); !isFolded(line) && isNamed(sent, name) {
			// Peek, since a middleware may have removed the field.
			return string(header.PeekBytes(sent))
		}
	}
	return ""
}

// normalizes reports whether fasthttp normalizes the names of fields. With
// Server.DisableHeaderNamesNormalizing it compares them byte by byte, and then
// does not find the field Host by the name host.
func (j *Jar) normalizes() bool {
	if j.names == unknown {
		j.names = asSent
		if len(j.ctx.Request.Header.Peek("host")) > 0 {
			j.names = normalized
		}
	}
	return j.names == normalized
}

// SetCookie adds line. With replace it first removes the lines of that name.
func (j *Jar) SetCookie(name, line string, replace bool) {
	j.SetCookieBytes(name, []byte(line), replace)
}

// SetCookieBytes is SetCookie with a line that it copies.
func (j *Jar) SetCookieBytes(name string, line []byte, replace bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.ctx == nil {
		return
	}
	if replace {
		j.drop(name)
	}
	// SetCanonical appends this field and keeps its bytes; SetCookie would not.
	j.response.Header.SetCanonical(nameSetCookie, line)
}

// ResponseCookies returns the Set-Cookie lines of the response.
func (j *Jar) ResponseCookies() (lines []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.ctx == nil {
		return nil
	}
	for _, line := range j.response.Header.Cookies() {
		lines = append(lines, string(line))
	}
	return lines
}

// DropCookies removes the lines of that name.
func (j *Jar) DropCookies(name string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.ctx != nil {
		j.drop(name)
	}
}

// drop removes the lines of that name. DelCookie would change the order of the
// others, and compares decoded names.
func (j *Jar) drop(name string) {
	header := &j.response.Header
	named := func(line []byte) bool {
		return len(line) > len(name) && line[len(name)] == '=' && string(line[:len(name)]) == name
	}
	found := false
	for _, line := range header.Cookies() {
		found = found || named(line)
	}
	if !found {
		return
	}
	var kept []string
	for _, line := range header.Cookies() {
		if !named(line) {
			kept = append(kept, string(line))
		}
	}
	header.DelAllCookies()
	for _, line := range kept {
		header.Add("Set-Cookie", line)
	}
}

// ResponseHeader returns the fields of the response, including those that
// fasthttp sends by default.
func (j *Jar) ResponseHeader(name string) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.ctx == nil {
		return ""
	}
	header := &j.response.Header
	if j.normalizes() {
		return joined(header.PeekAll(name), ", ")
	}
	var values [][]byte
	for sent, value := range header.All() {
		if isNamed(sent, name) {
			values = append(values, value)
		}
	}
	return joined(values, ", ")
}

// SetResponseHeader replaces the fields of the response.
func (j *Jar) SetResponseHeader(name, value string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.ctx != nil {
		j.setResponseHeader(name, value)
	}
}

// setResponseHeader is SetResponseHeader. mu is held.
func (j *Jar) setResponseHeader(name, value string) {
	header := &j.response.Header
	if !j.normalizes() {
		var spellings []string
		for sent := range header.All() {
			if isNamed(sent, name) {
				spellings = append(spellings, string(sent))
			}
		}
		for _, s := range spellings {
			header.Del(s)
		}
	}
	// Set alone would replace only the first of several.
	if value == "" || len(header.PeekAll(name)) > 1 {
		header.Del(name)
	}
	if value != "" {
		header.Set(name, value)
	}
}

// DefaultResponseHeader sets the field of the response if it has no value. A value
// that fasthttp sends by default counts.
func (j *Jar) DefaultResponseHeader(name, value string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.ctx == nil {
		return false
	}
	header := &j.response.Header
	if !j.normalizes() {
		for sent, value := range header.All() {
			if isNamed(sent, name) && len(value) > 0 {
				return false
			}
		}
		j.setResponseHeader(name, value)
		return true
	}
	// A fast path for the fields that nearly every request sets.
	var canonical []byte
	switch name {
	case "Vary":
		canonical = nameVary
	case "Cache-Control":
		canonical = nameCacheControl
	}
	if canonical != nil && header.PeekCanonical(canonical) == nil {
		header.SetCanonical(canonical, []byte(value))
		return true
	}
	if joined(header.PeekAll(name), "") != "" {
		return false
	}
	j.setResponseHeader(name, value)
	return true
}

// DropCacheFields removes the fields for shared caches.
func (j *Jar) DropCacheFields() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.ctx != nil {
		dropCacheFields(&j.response.Header)
	}
}

func dropCacheFields(header *fasthttp.ResponseHeader) {
	var names []string // mostly none
	for name := range header.All() {
		if fields.ForSharedCaches(name) {
			names = append(names, string(name))
		}
	}
	for _, name := range names {
		header.Del(name)
	}
}

// Begun reports whether j is closed. fasthttp sends nothing before the handler has
// returned.
func (j *Jar) Begun() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.ctx == nil
}

func isNamed(field []byte, name string) bool {
	return len(field) == len(name) && strings.EqualFold(string(field), name)
}

func joined(values [][]byte, by string) string {
	switch len(values) {
	case 0:
		return ""
	case 1:
		return string(values[0])
	}
	return string(bytes.Join(values, []byte(by)))
}
