package jartest

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Browser stores the cookies of one host by the rules of RFC 6265: a cookie is
// identified by its name, domain and path, expires, and is sent to the paths
// below its own. Pass it the Set-Cookie lines of each response, and get the
// Cookie field of the next request from it.
//
// It uses time.Now, and so the time of a testing/synctest bubble. The zero Browser
// is ready to use and has plain HTTP. It is safe for concurrent use.
type Browser struct {
	// TLS means that requests go over TLS. Without it the browser neither stores
	// nor sends a cookie with the secure attribute.
	TLS bool

	mu      sync.Mutex
	cookies []cookie // in order of their creation
}

type cookie struct {
	name, value  string
	domain, path string
	secure       bool
	expires      time.Time // zero: when the browser is closed
}

// Jar returns a [Jar] for a request of this browser. After the exchange pass its
// SetCookies to [Browser.Take].
func (b *Browser) Jar(target string) *Jar {
	j := &Jar{Target: target, TLS: b.TLS}
	if field := b.Cookie(j.Path()); field != "" {
		j.Cookies = []string{field}
	}
	return j
}

// Take stores the cookies of a response to a request with path.
func (b *Browser) Take(path string, setCookies ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	for _, line := range setCookies {
		if c, ok := parse(line, path, now); ok && (b.TLS || !c.secure) {
			b.keep(c, now)
		}
	}
}

func (b *Browser) keep(c cookie, now time.Time) {
	i := slices.IndexFunc(b.cookies, func(o cookie) bool {
		return o.name == c.name && o.domain == c.domain && o.path == c.path
	})
	switch gone := over(c, now); {
	case i < 0 && !gone:
		b.cookies = append(b.cookies, c)
	case i >= 0 && gone:
		b.cookies = slices.Delete(b.cookies, i, i+1)
	case i >= 0:
		b.cookies[i] = c // it keeps its position
	}
}

// Cookie returns the Cookie field for a request with path, "" if there is none.
// Cookies with longer paths come first, then older cookies.
func (b *Browser) Cookie(path string) string {
	var pairs []string
	for _, c := range b.sent(path) {
		pairs = append(pairs, c.name+"="+c.value)
	}
	return strings.Join(pairs, "; ")
}

// Value returns the value of the first cookie of that name in a request with
// path.
func (b *Browser) Value(path, name string) (value string, ok bool) {
	for _, c := range b.sent(path) {
		if c.name == name {
			return c.value, true
		}
	}
	return "", false
}

func (b *Browser) sent(path string) []cookie {
	b.mu.Lock()
	defer b.mu.Unlock()
	path, _, _ = strings.Cut(path, "?")
	now := time.Now()
	var cs []cookie
	for _, c := range b.cookies {
		if !over(c, now) && under(path, c.path) && (b.TLS || !c.secure) {
			cs = append(cs, c)
		}
	}
	slices.SortStableFunc(cs, func(x, y cookie) int { return len(y.path) - len(x.path) })
	return cs
}

func over(c cookie, now time.Time) bool { return !c.expires.IsZero() && !c.expires.After(now) }

// under implements RFC 6265 section 5.1.4.
func under(path, of string) bool {
	rest, ok := strings.CutPrefix(path, of)
	return ok && (rest == "" || strings.HasSuffix(of, "/") || rest[0] == '/')
}

// parse implements RFC 6265 section 5.2.
func parse(line, path string, now time.Time) (cookie, bool) {
	pair, rest, _ := strings.Cut(line, ";")
	name, value, ok := strings.Cut(pair, "=")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	if !ok || name == "" {
		return cookie{}, false
	}
	path, _, _ = strings.Cut(path, "?")
	c := cookie{name: name, value: value, path: "/"}
	if i := strings.LastIndexByte(path, '/'); i > 0 && path[0] == '/' {
		c.path = path[:i]
	}
	aged := false
	for rest != "" {
		var attr string
		attr, rest, _ = strings.Cut(rest, ";")
		key, val, _ := strings.Cut(attr, "=")
		val = strings.TrimSpace(val)
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "path":
			if strings.HasPrefix(val, "/") {
				c.path = val
			}
		case "domain":
			c.domain = strings.ToLower(strings.TrimPrefix(val, "."))
		case "secure":
			c.secure = true
		case "max-age":
			if n, err := strconv.Atoi(val); err == nil {
				c.expires, aged = now.Add(time.Duration(n)*time.Second), true
			}
		case "expires":
			if t, err := time.Parse("Mon, 02 Jan 2006 15:04:05 GMT", val); err == nil && !aged {
				c.expires = t
			}
		}
	}
	return c, true
}
