package core

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// A Switch is a boolean option with a default.
type Switch uint8

// The values of a [Switch].
const (
	Default Switch = iota
	On
	Off
)

// SameSite is the samesite attribute: whether browsers send the cookie with
// requests from other sites.
type SameSite uint8

// The values of the samesite attribute.
const (
	SameSiteDefault SameSite = iota // Lax; in [KoaCompat] no attribute
	SameSiteLax
	SameSiteStrict
	SameSiteNone  // only with Secure: On
	SameSiteUnset // no attribute: the default of the browser
)

// Priority is the priority attribute, by which Chromium evicts cookies.
type Priority uint8

// The values of the priority attribute. The zero value omits it.
const (
	PriorityUnset Priority = iota
	PriorityLow
	PriorityMedium
	PriorityHigh
)

// DefaultMaxAge is the default lifetime of a session and its cookie, and the
// maximum lifetime of a session whose cookie has no expiry.
const DefaultMaxAge = 24 * time.Hour

// UntilBrowserCloses, as the MaxAge of a cookie, makes the browser forget the
// session when it is closed. The store keeps it for Options.IdleTimeout, or else
// for [DefaultMaxAge] from each save.
const UntilBrowserCloses time.Duration = math.MinInt64

// maxCookieAge is where browsers cut a cookie's life (RFC 6265bis).
const maxCookieAge = 400 * 24 * time.Hour

// CookieOptions are the attributes of the session cookie. Zero fields have the
// defaults of generic-session, and SameSite=Lax.
//
// In [Options] they apply to all sessions. [Session.SetCookie] sets the options
// of one session, which are stored with it.
type CookieOptions struct {
	// Path is the path of the cookie. Requests outside it have no session.
	// Default "/".
	Path string
	// Domain makes browsers send the cookie to subdomains too. Default: this
	// host only.
	Domain string
	// MaxAge is how long the browser and the store keep the session, counted
	// from each save, or [UntilBrowserCloses]. At most 400 days. Default:
	// Options.IdleTimeout, or else [DefaultMaxAge]. It overrides Expires.
	MaxAge time.Duration
	// Expires, if MaxAge is not set, is when the session ends, for the browser
	// and the store, to the millisecond.
	Expires time.Time
	// HTTPOnly hides the cookie from scripts. Default On.
	HTTPOnly Switch
	// Secure makes browsers send the cookie over TLS only. Default: On for
	// requests over TLS, Off for others. On is an error over plain HTTP.
	Secure Switch
	// SameSite is Lax by default.
	SameSite SameSite
	// Priority is omitted by default.
	Priority Priority
	// Partitioned gives each embedding site a separate cookie (CHIPS). It needs
	// Secure: On.
	Partitioned bool
	// Overwrite replaces earlier Set-Cookie lines of the same name in the
	// response. Default On.
	Overwrite Switch
	// Signed adds the cookie NAME.sig and requires it in requests. Default On.
	// Only the Options of the Manager decide whether it is required, never the
	// options of a session.
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
	switch {
	case c.MaxAge != 0:
	case c.Expires.IsZero():
		c.MaxAge, c.Expires = d.MaxAge, d.Expires
	default:
		c.MaxAge = UntilBrowserCloses
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

// check reports attributes that would break the Set-Cookie line, or for which
// browsers would reject the cookie. It corrects nothing.
func (c *CookieOptions) check(name string) error {
	switch {
	case !strings.HasPrefix(c.Path, "/") || !attribute(c.Path):
		return errors.New("the cookie's Path must begin with /, have at most 1024 bytes, and contain no blank, control or non-ASCII character and none of ; ? # \" < > ^ ` { } \\, which the path of a request never contains")
	case !domain(c.Domain):
		return errors.New("the cookie's Domain must be a host name, such as example.com")
	case c.MaxAge < 0 && c.MaxAge != UntilBrowserCloses:
		return errors.New("the cookie's MaxAge is negative: to remove a session, destroy it")
	case c.MaxAge > maxCookieAge:
		return errors.New("the cookie's MaxAge is longer than 400 days, the maximum of browsers: choose a shorter one, or Options.IdleTimeout, which counts from each request")
	case c.MaxAge > 0 && c.MaxAge < time.Millisecond:
		return errors.New("the cookie's MaxAge is shorter than a millisecond, the unit it is stored in: choose a longer one")
	case c.HTTPOnly > Off || c.Secure > Off || c.Overwrite > Off || c.Signed > Off || c.SameSite > SameSiteUnset || c.Priority > PriorityHigh:
		return errors.New("a Switch, SameSite or Priority of the cookie has an unknown value: use the constants of package core")
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

// checkName reports names that some servers or browsers read differently.
func checkName(name string) error {
	if len(name) > 256 {
		return errors.New("the cookie name is longer than 256 bytes")
	}
	for _, suffix := range append(suffixes[atNext:], sigSuffix) {
		if strings.HasSuffix(name, suffix) {
			return fmt.Errorf("the cookie name %q ends with %s, the suffix of a cookie that belongs to the session cookie", name, suffix)
		}
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`;=,"\`, c) >= 0 {
			return fmt.Errorf("the cookie name %q contains a blank, a control or non-ASCII character, or one of ; = , \" \\", name)
		}
	}
	return nil
}

// attribute reports whether s can be a part of a request path as browsers send
// it.
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

// expiry returns when the browser removes the cookie, zero for when the browser
// is closed (K3), if the session was saved at now and nothing else ends it.
func (c *CookieOptions) expiry(now time.Time) time.Time {
	if c.MaxAge != UntilBrowserCloses {
		return now.Add(c.MaxAge)
	}
	return c.Expires
}

// appendDate appends t as the IMF-fixdate of RFC 9110, truncated to the second.
// It is time.Format with "Mon, 02 Jan 2006 15:04:05 GMT" for the years 0 to
// 9999, at a third of its cost.
func appendDate(b []byte, t time.Time) []byte {
	const days, months = "SunMonTueWedThuFriSat", "JanFebMarAprMayJunJulAugSepOctNovDec"
	two := func(b []byte, n int, after byte) []byte { return append(b, byte('0'+n/10), byte('0'+n%10), after) } // #nosec G115 -- two digits
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	weekday := 3 * int(t.Weekday())
	b = append(append(b, days[weekday:weekday+3]...), ", "...)
	b = two(b, day, ' ')
	b = append(append(b, months[3*month-3:3*month]...), ' ')
	b = append(b, byte('0'+year/1000), byte('0'+year/100%10)) // #nosec G115 -- years up to 9999
	b = two(b, year%100, ' ')
	b = two(b, hour, ':')
	b = two(b, minute, ':')
	return append(two(b, second, ' '), "GMT"...)
}

// appendCookie appends one Set-Cookie line.
func (c *CookieOptions) appendCookie(b []byte, name, value string, expires time.Time, secure bool) []byte {
	b = append(append(append(b, name...), '='), value...)
	return c.appendAttributes(b, expires, secure)
}

// appendAttributes appends the attributes that follow NAME=VALUE, in the order of
// K2.
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
	maxCookieField = 16 << 10 // maximum bytes of a Cookie field
	maxCookiePairs = 200      // maximum cookies; browsers keep fewer for one site
	maxSameName    = 4        // maximum cookies of one name
)

// values are the values of one cookie name in a request, in the order sent.
type values struct {
	all  [maxSameName]string
	n    int
	more bool // a maximum was exceeded, here or in the whole field; then n is 0
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
// are removed. It returns no cookies for a field that exceeds a maximum. That
// includes too many cookies of one name: one that is not tried could verify,
// too. The results are substrings of field.
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

// trimLeft and trimRight remove blanks and tabs. Mostly there is one or none.
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

// sigSuffix is the suffix of the name of the signature cookie.
const sigSuffix = ".sig"

// pathMatch implements RFC 6265 section 5.1.4: a cookie of /a is sent to /a and
// /a/b, not to /ab.
func pathMatch(request, cookie string) bool {
	if cookie == "/" || request == cookie {
		return true
	}
	return strings.HasPrefix(request, cookie) &&
		(cookie[len(cookie)-1] == '/' || request[len(cookie)] == '/')
}
