package jartest

import (
	"net/textproto"
	"strings"

	"github.com/gensession/gensession/core"
)

// A Jar is a [core.Jar] in memory: an exchange without a server, for tests of code
// that uses the core. Set the fields of the request, pass the Jar to the code, and
// read the fields of the response. The zero Jar is a GET / over plain HTTP without
// cookies.
type Jar struct {
	// Cookies are the request's Cookie fields.
	Cookies []string
	// Target is the request target, "/" if empty. A query is cut off.
	Target string
	// TLS is the result of Secure.
	TLS bool
	// Request holds the other request fields, under their canonical names.
	Request textproto.MIMEHeader

	// SetCookies are the Set-Cookie lines of the response, in order.
	SetCookies []string
	// Response holds the other response fields, under their canonical names.
	Response textproto.MIMEHeader
	// Sent is the result of Begun. If it is true, lines and fields that are set
	// are lost, as on a real connection.
	Sent bool
}

var _ core.Jar = (*Jar)(nil)

// Cookie returns Cookies, joined by "; ".
func (j *Jar) Cookie() string { return strings.Join(j.Cookies, "; ") }

// Path returns Target up to its query.
func (j *Jar) Path() string {
	if j.Target == "" {
		return "/"
	}
	path, _, _ := strings.Cut(j.Target, "?")
	return path
}

// Secure returns TLS.
func (j *Jar) Secure() bool { return j.TLS }

// RequestHeader returns the first value of the field in Request.
func (j *Jar) RequestHeader(name string) string { return j.Request.Get(name) }

// SetCookie adds line to SetCookies. With replace it first removes the lines of
// the name.
func (j *Jar) SetCookie(name, line string, replace bool) {
	if j.Sent {
		return
	}
	if replace {
		j.DropCookies(name)
	}
	j.SetCookies = append(j.SetCookies, line)
}

// ResponseCookies returns SetCookies.
func (j *Jar) ResponseCookies() []string { return j.SetCookies }

// DropCookies removes the lines of the name from SetCookies.
func (j *Jar) DropCookies(name string) {
	if j.Sent {
		return
	}
	// A new slice, since a test may hold the old one.
	kept := make([]string, 0, len(j.SetCookies)+1)
	for _, l := range j.SetCookies {
		if !strings.HasPrefix(l, name+"=") {
			kept = append(kept, l)
		}
	}
	j.SetCookies = kept
}

// ResponseHeader returns the values of the field in Response, joined by ", ".
func (j *Jar) ResponseHeader(name string) string {
	return strings.Join(j.Response.Values(name), ", ")
}

// SetResponseHeader sets the field in Response, or removes it.
func (j *Jar) SetResponseHeader(name, value string) {
	if j.Sent {
		return
	}
	if value == "" {
		j.Response.Del(name)
		return
	}
	if j.Response == nil {
		j.Response = make(textproto.MIMEHeader)
	}
	j.Response.Set(name, value)
}

// DefaultResponseHeader sets the field in Response if it has no value.
func (j *Jar) DefaultResponseHeader(name, value string) bool {
	if j.Sent || j.ResponseHeader(name) != "" {
		return false
	}
	j.SetResponseHeader(name, value)
	return true
}

// Clear throws the header of the response away, as code does that begins it anew:
// http.TimeoutHandler, a proxy, an error page.
func (j *Jar) Clear() {
	if !j.Sent {
		j.SetCookies, j.Response = nil, nil
	}
}

// Begun returns Sent.
func (j *Jar) Begun() bool { return j.Sent }
