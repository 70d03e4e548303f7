package core

import (
	"slices"
	"strings"
)

// What a visit sends before its commit is not safe in the header of the response:
// other code may begin the header anew, as http.TimeoutHandler, proxies and error
// pages do. The session would be stored under an id that nobody has been told.

// A sentJar is the Jar through which a visit sends something before its commit. It
// remembers what that was. Session.op guards it.
type sentJar struct {
	Jar
	visit  *Visit
	lines  []sentLine  // the Set-Cookie lines, in order
	fields []sentField // the other fields
}

type sentLine struct{ name, line string }

type sentField struct {
	name, value string
	fallback    bool // it counts only where the field has no value
}

// sends returns the Jar for what is sent before the commit. Nothing of what it has
// remembered is missing in the response then. op is held, or nobody has the session
// yet.
func (v *Visit) sends() Jar {
	s := v.session
	if s.sent == nil {
		s.sent = &sentJar{Jar: v.jar, visit: v}
	}
	s.sent.putBack()
	return s.sent
}

// putBack is that of the sentJar, at the end of a visit that saves nothing. op is not held.
func (s *Session) putBack() {
	s.op.Lock()
	defer s.op.Unlock()
	s.sent.putBack()
	s.visit.keepOut()
}

// putBack puts back what the response has lost. j may be nil.
func (j *sentJar) putBack() {
	if j == nil || j.Jar.Begun() {
		return
	}
	now := j.Jar.ResponseCookies()
	left, replaced := j.lines, false
	for _, line := range now {
		if len(left) > 0 && left[0].line == line {
			left = left[1:]
		}
		replaced = replaced || j.replaces(line)
	}
	if len(left) > 0 || replaced {
		// All of them, since their order counts: removals come before what lives.
		for _, l := range j.lines {
			j.Jar.DropCookies(l.name)
		}
		for _, line := range now { // of the same names, by other code
			name, _, _ := strings.Cut(line, "=")
			if j.has(func(l sentLine) bool { return l.name == name }) && !j.has(func(l sentLine) bool { return l.line == line }) && !j.replaces(line) {
				j.Jar.SetCookie(name, line, false)
			}
		}
		for _, l := range j.lines {
			j.Jar.SetCookie(l.name, l.line, false)
		}
	}
	for _, f := range j.fields {
		if f.fallback {
			j.Jar.DefaultResponseHeader(f.name, f.value)
		} else if !strings.Contains(j.Jar.ResponseHeader(f.name), f.value) {
			j.Jar.SetResponseHeader(f.name, f.value)
		}
	}
}

// replaces reports whether line is one of other code that browsers take for one of
// j, such as a removal of the session cookie by hand. What the commit sends would
// take its place, too (K7).
func (j *sentJar) replaces(line string) bool {
	c := j.visit.manager.cookie
	if c == nil || j.has(func(l sentLine) bool { return l.line == line }) {
		return false
	}
	name, _, _ := strings.Cut(line, "=")
	in := j.scope(line)
	return j.has(func(l sentLine) bool { return l.name == name && (c.koa || j.scope(l.line) == in) }) &&
		j.visit.session.Cookie().Overwrite != Off
}

// scope is that of a line in this response: without a path it has that of the
// request, up to the last slash (RFC 6265 section 5.1.4).
func (j *sentJar) scope(line string) scope {
	in := scopeOf(line)
	if !strings.HasPrefix(in.path, "/") {
		path := j.Path()
		in.path = path[:max(strings.LastIndexByte(path, '/'), 0)]
		if in.path == "" {
			in.path = "/"
		}
	}
	return in
}

func (j *sentJar) has(f func(sentLine) bool) bool { return slices.ContainsFunc(j.lines, f) }

// SetCookie is that of [Jar].
func (j *sentJar) SetCookie(name, line string, replace bool) {
	if replace {
		j.forget(name)
	}
	j.lines = append(j.lines, sentLine{name, line})
	j.Jar.SetCookie(name, line, replace)
}

// DropCookies is that of [Jar].
func (j *sentJar) DropCookies(name string) {
	j.forget(name)
	j.Jar.DropCookies(name)
}

func (j *sentJar) forget(name string) {
	j.lines = slices.DeleteFunc(j.lines, func(l sentLine) bool { return l.name == name })
}

// SetResponseHeader is that of [Jar].
func (j *sentJar) SetResponseHeader(name, value string) {
	j.note(sentField{name: name, value: value})
	j.Jar.SetResponseHeader(name, value)
}

// DefaultResponseHeader is that of [Jar].
func (j *sentJar) DefaultResponseHeader(name, value string) bool {
	j.note(sentField{name, value, true})
	return j.Jar.DefaultResponseHeader(name, value)
}

// note remembers f in place of an earlier field of its name.
func (j *sentJar) note(f sentField) {
	j.fields = slices.DeleteFunc(j.fields, func(g sentField) bool { return strings.EqualFold(f.name, g.name) })
	if f.value != "" {
		j.fields = append(j.fields, f)
	}
}
