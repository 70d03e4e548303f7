package fasthttpsession

import (
	"bytes"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/gensession/gensession/adapters/internal/target"
	"github.com/gensession/gensession/core"
)

// NewJar returns the [core.Jar] of ctx. [New] makes its own: this one is for
// the middleware of a framework that is built on fasthttp. The Jar must not be
// used after the handler has returned. secure is what its Secure answers.
//
// The Cookie field is read as it came over the wire. A middleware that changes
// the cookies of the request, as Fiber's encryptcookie does, must leave out
// the session's: its name, and its name with ".sig".
func NewJar(ctx *fasthttp.RequestCtx, secure bool) core.Jar {
	return &jar{ctx: ctx, secure: secure}
}

// A jar copies every string: fasthttp overwrites its buffers in the next
// request of the connection, and of others.
type jar struct {
	ctx    *fasthttp.RequestCtx
	secure bool
}

func (j *jar) Cookie() string {
	header := &j.ctx.Request.Header
	raw := header.RawHeaders()
	if len(raw) == 0 { // made by hand and not read from a connection
		return joined(header.PeekAll("Cookie"), "; ")
	}
	// Not Peek: once anybody has asked for a cookie, it returns a list that is
	// put together anew, without what fasthttp did not understand.
	cookie, found := "", false
	for len(raw) > 0 {
		var name, value []byte
		name, value, raw = nextField(raw)
		switch {
		case !isNamed(name, "Cookie"):
		case found:
			cookie += "; " + string(value)
		default:
			cookie, found = string(value), true
		}
	}
	return cookie
}

// nextField cuts the first field off a header, and joins its lines if it is
// folded, as fasthttp and net/http do.
func nextField(raw []byte) (name, value, rest []byte) {
	line, rest, _ := bytes.Cut(raw, []byte("\n"))
	name, value, _ = bytes.Cut(line, []byte(":"))
	value = bytes.Trim(value, " \t\r")
	for len(rest) > 0 && (rest[0] == ' ' || rest[0] == '\t') {
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		value = bytes.Join([][]byte{value, bytes.Trim(line, " \t\r")}, []byte(" "))
	}
	return name, value, rest
}

// Path takes the request line. It stays as the browser sent it when a router
// changes the URI.
func (j *jar) Path() string { return target.Path(string(j.ctx.Request.Header.RequestURI())) }

func (j *jar) Secure() bool { return j.secure }

func (j *jar) RequestHeader(name string) string {
	header := &j.ctx.Request.Header
	raw := header.RawHeaders()
	if len(raw) == 0 || j.normalizes() {
		return string(header.Peek(name))
	}
	for len(raw) > 0 {
		var sent []byte
		if sent, _, raw = nextField(raw); isNamed(sent, name) {
			// Peek and not the value, which a middleware may have removed.
			return string(header.PeekBytes(sent))
		}
	}
	return ""
}

// normalizes reports whether fasthttp brings the names of fields into one
// form. With Server.DisableHeaderNamesNormalizing it compares them byte by
// byte, and then it does not find its own Host in small letters.
func (j *jar) normalizes() bool { return len(j.ctx.Request.Header.Peek("host")) > 0 }

func (j *jar) SetCookie(name, line string, replace bool) {
	header := &j.ctx.Response.Header
	if replace {
		j.drop(name)
	}
	// Add keeps the bytes and goes to the end; Set and SetCookie would not.
	header.Add("Set-Cookie", line)
}

// drop removes the lines of that name. DelCookie would change the order of the
// others, and goes by names that it has decoded.
func (j *jar) drop(name string) {
	header := &j.ctx.Response.Header
	var kept []string
	found := false
	for _, line := range header.Cookies() {
		if len(line) > len(name) && line[len(name)] == '=' && string(line[:len(name)]) == name {
			found = true
		} else {
			kept = append(kept, string(line))
		}
	}
	if !found {
		return
	}
	header.DelAllCookies()
	for _, line := range kept {
		header.Add("Set-Cookie", line)
	}
}

func (j *jar) ResponseHeader(name string) string {
	header := &j.ctx.Response.Header
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

func (j *jar) SetResponseHeader(name, value string) {
	header := &j.ctx.Response.Header
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
	// Set alone would replace the first of several.
	if value == "" || len(header.PeekAll(name)) > 1 {
		header.Del(name)
	}
	if value != "" {
		header.Set(name, value)
	}
}

// Begun is false: fasthttp sends nothing before the handler has returned, and
// by then the core has committed.
func (j *jar) Begun() bool { return false }

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
