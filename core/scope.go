package core

import (
	"slices"
	"strings"
)

// A scope is what browsers tell cookies of one name apart by (RFC 6265 section
// 5.3): a line replaces another one, and a removal finds a cookie, only in the
// same scope.
type scope struct {
	domain, path string
	partitioned  bool
}

func (c *CookieOptions) scope() scope {
	return scope{strings.ToLower(strings.TrimPrefix(c.Domain, ".")), c.Path, c.Partitioned}
}

// scopeOf is the scope of a Set-Cookie line, of this package or of other code.
func scopeOf(line string) (s scope) {
	_, attributes, _ := strings.Cut(line, ";")
	for attributes != "" {
		var attribute string
		attribute, attributes, _ = strings.Cut(attributes, ";")
		name, value, _ := strings.Cut(attribute, "=")
		switch value = strings.Trim(value, " \t"); strings.ToLower(strings.Trim(name, " \t")) {
		case "path":
			s.path = value
		case "domain":
			s.domain = strings.ToLower(strings.TrimPrefix(value, "."))
		case "partitioned":
			s.partitioned = true
		}
	}
	return s
}

// clearScope removes the Set-Cookie lines of that name and scope, which a new one
// would replace in the browser. KoaCompat removes those of every scope, as the
// original does.
func (c *signedCookie) clearScope(jar Jar, name string, in scope) {
	named := func(line string) bool {
		rest, ok := strings.CutPrefix(line, name)
		return ok && strings.HasPrefix(rest, "=")
	}
	lines := jar.ResponseCookies()
	if !slices.ContainsFunc(lines, named) {
		return
	}
	var kept []string
	if !c.koa {
		for _, line := range lines {
			if named(line) && scopeOf(line) != in {
				kept = append(kept, line)
			}
		}
	}
	jar.DropCookies(name)
	for _, line := range kept {
		jar.SetCookie(name, line, false)
	}
}

// A line in a former scope is expired before the living one is sent: some browsers
// and libraries take the cookie of a host and that of its domain for one.

// removals are the scopes in which cookies of o are removed when id, which may be
// "", is sent in its own.
func (c *signedCookie) removals(s *Session, o *CookieOptions, ended bool) []CookieOptions {
	v := s.visit
	var all []CookieOptions
	if ended || v.expires {
		all = append(all, c.former...)
	}
	all = append(all, v.left...)
	if ended {
		all = append(all, c.options)
	}
	own := o.scope()
	var left []CookieOptions
	seen := map[scope]bool{own: true}
	for _, f := range all {
		if seen[f.scope()] {
			continue
		}
		seen[f.scope()] = true
		gone := *o
		gone.Domain, gone.Path, gone.Partitioned = f.Domain, f.Path, f.Partitioned
		left = append(left, gone)
	}
	return left
}
