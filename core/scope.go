package core

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"
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
	for l := v.left; l != nil; l = l.before {
		all = append(all, l.was)
	}
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

// A leftScope is one that the session's cookie had until this request.
type leftScope struct {
	was    CookieOptions
	before *leftScope // the one that it had before that, if any
}

// A formerName is a name that the cookie had before, or will have.
type formerName struct {
	name    string
	cookies [places]string
	keys    atomic.Pointer[keyring] // as those of signedCookie, for that name
}

const maxFormerNames = 4

// formerNames takes Options.FormerNames over into c.
func (m *Manager) formerNames(c *signedCookie) error {
	var errs []error
	names := m.o.FormerNames
	switch {
	case len(names) > 0 && m.o.koa:
		errs = append(errs, errors.New("Options.FormerNames is not available with KoaCompat"))
	case len(names) > maxFormerNames:
		errs = append(errs, fmt.Errorf("Options.FormerNames has %d names, at most %d are allowed: drop the oldest", len(names), maxFormerNames))
	}
	for i, name := range names {
		if err := checkName(name); err != nil {
			errs = append(errs, fmt.Errorf("Options.FormerNames[%d]: %w", i, err))
		}
		if name == "" || name == c.name || slices.Contains(names[:i], name) {
			errs = append(errs, fmt.Errorf("Options.FormerNames[%d] is empty, Options.Name, or there twice: remove it", i))
		}
		former := &formerName{name: name}
		former.cookies, _ = namesOf(name)
		c.names = append(c.names, former)
	}
	return errors.Join(errs...)
}

// domains takes Options.Domains over into c.
func (m *Manager) domains(c *signedCookie) error {
	var errs []error
	if len(m.o.Domains) > 0 {
		switch {
		case m.o.koa:
			errs = append(errs, errors.New("Options.Domains is not available with KoaCompat"))
		case m.config.Domain != "":
			errs = append(errs, errors.New("Options has both Domains and Cookie.Domain: remove one"))
		case hasPrefixFold(c.name, "__Host-"):
			errs = append(errs, fmt.Errorf("the cookie name %q allows no domain: remove Options.Domains, or choose another name", c.name))
		}
	}
	for i, d := range m.o.Domains {
		if d = strings.ToLower(strings.TrimPrefix(d, ".")); d == "" || !domain(d) {
			errs = append(errs, fmt.Errorf("Options.Domains[%d] is no host name, such as example.com", i))
		}
		c.domains = append(c.domains, d)
	}
	return errors.Join(errs...)
}

// withFormer is r, read of jar, and what the request carries under former names.
// Where both carry an id, the store decides as among several.
func (c *signedCookie) withFormer(jar Jar, r reading) reading {
	if len(c.names) == 0 || r.more {
		return r
	}
	all := r.several
	if r.only != nil {
		all = append(all, r.only)
	}
	now := len(all)
	field := jar.Cookie()
	for _, former := range c.names {
		ids, sigs := parseCookies(field, former.name)
		found, _, _ := c.genuine(former.keys.Load(), former.name, &ids, &sigs)
		for _, p := range found {
			if !slices.ContainsFunc(all, func(q *signedID) bool { return q.id == p.id }) {
				all = append(all, p)
			}
		}
	}
	switch {
	case len(all) == now:
		return r
	case len(all) == 1:
		return reading{only: all[0], reissue: true}
	}
	return reading{several: all[:min(len(all), maxSameName)]}
}

// dropFormer removes the cookies of former names that the request carries, in every
// scope that is known.
func (c *signedCookie) dropFormer(jar Jar, s *Session, o *CookieOptions) {
	if len(c.names) == 0 {
		return
	}
	field := s.visit.jar.Cookie()
	for _, name := range c.formerNamesIn(field) {
		seen := map[scope]bool{}
		for _, in := range slices.Concat([]CookieOptions{*o, c.options}, c.former, c.formerOfNames) {
			gone := *o
			gone.Domain, gone.Path, gone.Partitioned = in.Domain, in.Path, in.Partitioned
			switch { // browsers take no line of such a name that has other attributes
			case hasPrefixFold(name, "__Host-"):
				gone.Secure, gone.Domain, gone.Path = On, "", "/"
			case hasPrefixFold(name, "__"):
				gone.Secure = On
			}
			if seen[gone.scope()] {
				continue
			}
			seen[gone.scope()] = true
			c.send(jar, name, &gone, signedID{}, time.Unix(0, 0), false)
		}
	}
}

// formerNamesIn are the former names of cookies that a Cookie field has, with or
// without a signature.
func (c *signedCookie) formerNamesIn(field string) (names []string) {
	for _, former := range c.names {
		for _, name := range former.cookies {
			if strings.Contains(field, name+"=") || strings.Contains(field, name+sigSuffix+"=") {
				names = append(names, name)
			}
		}
	}
	return names
}

// at gives o the domain of the request's host, where Options.Domains has it and the
// session has chosen none.
func (c *signedCookie) at(jar Jar, o *CookieOptions) {
	if len(c.domains) == 0 || o.Domain != "" {
		return
	}
	host := strings.ToLower(jar.RequestHeader("Host"))
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	for _, d := range c.domains {
		if host == d || strings.HasSuffix(host, "."+d) {
			o.Domain = d
			return
		}
	}
}

// cookieHere are the session's cookie options as they are sent in this response.
func (v *Visit) cookieHere() CookieOptions {
	o := v.session.Cookie()
	if c := v.manager.cookie; c != nil {
		c.at(v.jar, &o)
	}
	return o
}
