package core

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// A Switch is a choice with a default.
type Switch uint8

// The positions of a [Switch].
const (
	Default Switch = iota
	On
	Off
)

// SameSite tells browsers whether requests from other sites carry the cookie.
type SameSite uint8

// The values of the samesite attribute.
const (
	SameSiteDefault SameSite = iota // Lax; in [KoaCompat] no attribute
	SameSiteLax
	SameSiteStrict
	SameSiteNone  // only with Secure: On
	SameSiteUnset // no attribute: each browser has its own default
)

// Priority is the priority attribute that Chromium evicts cookies by.
type Priority uint8

// The values of the priority attribute. The zero value leaves it out.
const (
	PriorityUnset Priority = iota
	PriorityLow
	PriorityMedium
	PriorityHigh
)

// DefaultMaxAge is the life of a session and its cookie where nothing else is
// said, and the longest life of one whose cookie has no expiry.
const DefaultMaxAge = 24 * time.Hour

// maxCookieAge is where browsers cut a cookie's life (RFC 6265bis).
const maxCookieAge = 400 * 24 * time.Hour

// CookieOptions are the attributes of the session cookie. Zero fields mean
// generic-session's defaults and SameSite=Lax.
//
// In [Options] they are the configuration; [Session.SetCookie] gives one
// session options of its own, which are stored with it.
type CookieOptions struct {
	// Path is where the session is valid; outside there is none. Default "/".
	Path string
	// Domain makes subdomains send the cookie too. Default: only this host.
	Domain string
	// MaxAge is how long browser and store keep the session, counted from each
	// save. Default [DefaultMaxAge], at most 400 days, at least a millisecond.
	// It beats Expires in the cookie.
	MaxAge time.Duration
	// NoMaxAge leaves MaxAge out: the cookie has the expiry Expires, or none,
	// and then lives until the browser is closed.
	NoMaxAge bool
	// Expires is a fixed end, used when NoMaxAge is set. To the millisecond.
	Expires time.Time
	// HTTPOnly hides the cookie from scripts. Default On.
	HTTPOnly Switch
	// Secure makes browsers send the cookie over TLS only. Default: On for
	// requests that came over TLS. On over plain HTTP is an error.
	Secure Switch
	// SameSite is Lax by default.
	SameSite SameSite
	// Priority is left out by default.
	Priority Priority
	// Partitioned gives embedded pages a jar of their own (CHIPS). It needs
	// Secure: On.
	Partitioned bool
	// Overwrite drops earlier Set-Cookie lines of the same name in a response
	// before one is added. Default On.
	Overwrite Switch
	// Signed adds the cookie NAME.sig and demands it. Default On. Only the
	// configuration decides what is demanded, never a stored session.
	Signed Switch
}

// or returns c with its zero fields taken from d, whose fields are all set.
func (c CookieOptions) or(d CookieOptions) CookieOptions {
	if c.Path == "" {
		c.Path = d.Path
	}
	if c.Domain == "" {
		c.Domain = d.Domain
	}
	if c.MaxAge == 0 && !c.NoMaxAge {
		c.MaxAge, c.NoMaxAge = d.MaxAge, d.NoMaxAge
	}
	if c.Expires.IsZero() {
		c.Expires = d.Expires
	}
	c.Expires = wholeMillis(c.Expires)
	if c.HTTPOnly == Default {
		c.HTTPOnly = d.HTTPOnly
	}
	if c.Secure == Default {
		c.Secure = d.Secure
	}
	if c.SameSite == SameSiteDefault {
		c.SameSite = d.SameSite
	}
	if c.Priority == PriorityUnset {
		c.Priority = d.Priority
	}
	c.Partitioned = c.Partitioned || d.Partitioned
	if c.Overwrite == Default {
		c.Overwrite = d.Overwrite
	}
	if c.Signed == Default {
		c.Signed = d.Signed
	}
	return c
}

// wholeMillis makes times comparable by ==: UTC, to the millisecond, as stored.
func wholeMillis(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.UnixMilli(t.UnixMilli()).UTC()
}

// check finds attributes that would break the line, or that browsers would
// throw the cookie away for. Nothing is repaired.
func (c *CookieOptions) check(name string) error {
	switch {
	case !strings.HasPrefix(c.Path, "/") || !attribute(c.Path):
		return errors.New("the cookie's Path must begin with / and have no blank, control or non-ASCII characters and none of ; ? # \" < > ^ ` { } \\, which the path of a request never has, and at most 1024 bytes")
	case !domain(c.Domain):
		return errors.New("the cookie's Domain must be a host name, such as example.com")
	case c.MaxAge < 0:
		return errors.New("the cookie's MaxAge is negative: to remove a session, destroy it")
	case c.MaxAge > maxCookieAge:
		return errors.New("the cookie's MaxAge is longer than 400 days, where browsers cut it: choose a shorter one and set Rolling")
	case c.MaxAge > 0 && c.MaxAge < time.Millisecond:
		return errors.New("the cookie's MaxAge is shorter than a millisecond, the unit it is stored in: choose a longer one")
	case c.NoMaxAge && c.MaxAge != 0:
		return errors.New("the cookie has both MaxAge and NoMaxAge: drop one")
	case c.HTTPOnly > Off || c.Secure > Off || c.Overwrite > Off || c.Signed > Off || c.SameSite > SameSiteUnset || c.Priority > PriorityHigh:
		return errors.New("a Switch, SameSite or Priority of the cookie has no such value: use the constants of package core")
	case !c.Expires.IsZero() && (c.Expires.Year() < 1601 || c.Expires.Year() > 9999):
		return errors.New("the cookie's Expires lies outside the years 1601 to 9999")
	case c.SameSite == SameSiteNone && c.Secure != On:
		return errors.New("SameSiteNone needs Secure: core.On, or browsers drop the cookie")
	case c.Partitioned && c.Secure != On:
		return errors.New("Partitioned needs Secure: core.On, or browsers drop the cookie")
	case hasPrefixFold(name, "__Secure-") && c.Secure != On:
		return fmt.Errorf("the cookie name %q needs Secure: core.On, or browsers drop the cookie", name)
	case (hasPrefixFold(name, "__Http-") || hasPrefixFold(name, "__Host-Http-")) && (c.Secure != On || c.HTTPOnly == Off):
		return fmt.Errorf("the cookie name %q needs Secure: core.On and HTTPOnly, or browsers drop the cookie", name)
	case hasPrefixFold(name, "__Host-") && (c.Secure != On || c.Path != "/" || c.Domain != ""):
		return fmt.Errorf("the cookie name %q needs Secure: core.On, the Path / and no Domain, or browsers drop the cookie", name)
	}
	return nil
}

// checkName allows what every server and browser reads alike.
func checkName(name string) error {
	if len(name) > 256 {
		return errors.New("the cookie name is longer than 256 bytes")
	}
	if strings.HasSuffix(name, sigSuffix) {
		return fmt.Errorf("the cookie name %q ends as that of the signature of another cookie", name)
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`;=,"\`, c) >= 0 {
			return fmt.Errorf("the cookie name %q contains a blank, a control or non-ASCII character, or one of ; = , \" \\", name)
		}
	}
	return nil
}

// attribute allows what can stand in a path of a request as browsers send it.
func attribute(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(";?#\"<>^`{}\\", c) >= 0 {
			return false
		}
	}
	return len(s) <= 1024
}

func domain(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-':
		case c == '.' && i+1 < len(s) && s[i+1] != '.':
		default:
			return false
		}
	}
	return len(s) <= 255
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// expiry is when the browser drops the cookie, zero for when it is closed (K3).
func (c *CookieOptions) expiry(now time.Time) time.Time {
	if !c.NoMaxAge {
		return now.Add(c.MaxAge)
	}
	return c.Expires
}

// appendDate appends t as the IMF-fixdate of RFC 9110, cut down to the second.
// It is time.Format with "Mon, 02 Jan 2006 15:04:05 GMT" for the years 0 to
// 9999, at a third of its cost.
func appendDate(b []byte, t time.Time) []byte {
	const days, months = "SunMonTueWedThuFriSat", "JanFebMarAprMayJunJulAugSepOctNovDec"
	two := func(b []byte, n int, after byte) []byte { return append(b, byte('0'+n/10), byte('0'+n%10), after) }
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	weekday := 3 * int(t.Weekday())
	b = append(append(b, days[weekday:weekday+3]...), ", "...)
	b = two(b, day, ' ')
	b = append(append(b, months[3*month-3:3*month]...), ' ')
	b = append(b, byte('0'+year/1000), byte('0'+year/100%10))
	b = two(b, year%100, ' ')
	b = two(b, hour, ':')
	b = two(b, minute, ':')
	return append(two(b, second, ' '), "GMT"...)
}

// appendCookie writes one Set-Cookie line.
func (c *CookieOptions) appendCookie(b []byte, name, value string, expires time.Time, secure bool) []byte {
	b = append(append(append(b, name...), '='), value...)
	return c.appendAttributes(b, expires, secure)
}

// appendAttributes writes what follows NAME=VALUE, in the order of K2.
func (c *CookieOptions) appendAttributes(b []byte, expires time.Time, secure bool) []byte {
	b = append(append(b, "; path="...), c.Path...)
	if !expires.IsZero() {
		b = append(b, "; expires="...)
		b = appendDate(b, expires)
	}
	if c.Domain != "" {
		b = append(append(b, "; domain="...), c.Domain...)
	}
	switch c.Priority {
	case PriorityLow:
		b = append(b, "; priority=low"...)
	case PriorityMedium:
		b = append(b, "; priority=medium"...)
	case PriorityHigh:
		b = append(b, "; priority=high"...)
	}
	switch c.SameSite {
	case SameSiteLax:
		b = append(b, "; samesite=lax"...)
	case SameSiteStrict:
		b = append(b, "; samesite=strict"...)
	case SameSiteNone:
		b = append(b, "; samesite=none"...)
	}
	if secure {
		b = append(b, "; secure"...)
	}
	if c.HTTPOnly != Off {
		b = append(b, "; httponly"...)
	}
	if c.Partitioned {
		b = append(b, "; partitioned"...)
	}
	return b
}

const (
	maxCookieField = 16 << 10 // bytes of a Cookie field that are looked at
	maxCookiePairs = 200      // more than browsers keep for one site
	maxSameName    = 4        // cookies of one name: with more none counts
)

// values are the values of one cookie name in a request, in the order sent.
type values struct {
	all  [maxSameName]string
	n    int
	more bool // there were more than are looked at, here or in the whole field; then n is 0
}

func (v *values) add(s string) {
	if v.n == len(v.all) {
		v.more = true
		return
	}
	v.all[v.n] = s
	v.n++
}

// parseCookies finds the cookies name and name+".sig" in a Cookie field
// (RFC 6265 section 5.4, read leniently as in K10): names are case-sensitive,
// blanks around name and value and one pair of double quotes around the value
// are dropped. A field with more in it than a browser would send has no
// cookies; nor has one with more of our name than are tried, of which the last
// could verify, too. The results are parts of field.
func parseCookies(field, name string) (ids, sigs values) {
	tooMany := values{more: true}
	if len(field) > maxCookieField {
		return tooMany, tooMany
	}
	for pairs := 0; field != ""; pairs++ {
		if pairs == maxCookiePairs {
			return tooMany, tooMany
		}
		var pair string
		pair, field, _ = strings.Cut(field, ";")
		rest, ok := strings.CutPrefix(trimLeft(pair), name)
		if !ok {
			continue
		}
		to := &ids
		if sig, ok := strings.CutPrefix(rest, sigSuffix); ok {
			rest, to = sig, &sigs
		}
		value, ok := strings.CutPrefix(trimLeft(rest), "=")
		if !ok {
			continue
		}
		value = trimRight(trimLeft(value))
		if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
			value = value[1 : len(value)-1]
		}
		if to.add(value); to.more {
			return tooMany, tooMany
		}
	}
	return ids, sigs
}

// trimLeft and trimRight drop blanks and tabs, of which there is mostly one or
// none.
func trimLeft(s string) string {
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	return s
}

func trimRight(s string) string {
	for len(s) > 0 && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// sigSuffix makes the name of the cookie that holds the signature.
const sigSuffix = ".sig"

// pathMatch is RFC 6265 section 5.1.4: a cookie of /a goes to /a and /a/b, not
// to /ab.
func pathMatch(request, cookie string) bool {
	if cookie == "/" || request == cookie {
		return true
	}
	return strings.HasPrefix(request, cookie) &&
		(cookie[len(cookie)-1] == '/' || request[len(cookie)] == '/')
}
