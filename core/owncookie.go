package core

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"github.com/gensession/gensession/core/internal/jsontext"
	"github.com/gensession/gensession/core/internal/record"
)

// A session may have its own cookie options (K25). They are stored in the form of
// generic-session, under "cookie" with the names of JavaScript. By default only
// those are stored that differ from the configuration, in KoaCompat all (K19).

// optionNames are the members of a stored cookie in the order in which new
// ones are written.
func optionNames() [11]string {
	return [...]string{"path", "httpOnly", "maxAge", "overwrite", "signed", "domain", "secure", "sameSite", "priority", "partitioned", "expires"}
}

const isoMillis = "2006-01-02T15:04:05.000Z"

// option returns the JSON of one option of complete options, nil if it is
// omitted.
func (c *CookieOptions) option(name string) []byte {
	text := func(s string) []byte {
		if s == "" {
			return nil
		}
		return jsontext.AppendString(nil, s)
	}
	boolean := func(b bool) []byte { return strconv.AppendBool(nil, b) }
	switch name {
	case "path":
		return text(c.Path)
	case "httpOnly":
		return boolean(c.HTTPOnly != Off)
	case "maxAge":
		if c.MaxAge == UntilBrowserCloses {
			return []byte("null")
		}
		return strconv.AppendInt(nil, c.MaxAge.Milliseconds(), 10)
	case "overwrite":
		return boolean(c.Overwrite != Off)
	case "signed":
		return boolean(c.Signed != Off)
	case "domain":
		return text(c.Domain)
	case "secure":
		if c.Secure != Default {
			return boolean(c.Secure == On)
		}
	case "sameSite":
		switch c.SameSite {
		case SameSiteLax:
			return text("lax")
		case SameSiteStrict:
			return text("strict")
		case SameSiteNone:
			return text("none")
		}
		return boolean(false)
	case "priority":
		return text([...]string{"", "low", "medium", "high"}[c.Priority])
	case "partitioned":
		if c.Partitioned {
			return boolean(true)
		}
	case "expires":
		if !c.Expires.IsZero() {
			return text(c.Expires.UTC().Format(isoMillis))
		}
	}
	return nil
}

// setOption sets an option from its JSON. It ignores invalid values: a stored
// record must not be able to break a Set-Cookie line.
func (c *CookieOptions) setOption(name string, raw []byte) {
	text, isText := "", len(raw) > 0 && raw[0] == '"'
	if isText {
		text, _ = jsontext.Decode[string](raw)
	}
	isTrue, isBool := string(raw) == "true", string(raw) == "true" || string(raw) == "false"
	flip := func(s *Switch) {
		if isBool {
			*s = map[bool]Switch{true: On, false: Off}[isTrue]
		}
	}
	switch name {
	case "path":
		if isText && len(text) > 0 && text[0] == '/' && attribute(text) {
			c.Path = text
		}
	case "httpOnly":
		flip(&c.HTTPOnly)
	case "maxAge":
		c.setMaxAge(raw)
	case "overwrite":
		flip(&c.Overwrite)
	case "signed":
		flip(&c.Signed)
	case "domain":
		if isText && domain(text) {
			c.Domain = text
		}
	case "secure":
		flip(&c.Secure)
	case "sameSite":
		switch text = strings.ToLower(text); { // the original takes any case
		case text == "lax":
			c.SameSite = SameSiteLax
		case text == "strict" || isTrue:
			c.SameSite = SameSiteStrict
		case text == "none":
			c.SameSite = SameSiteNone
		case isBool:
			c.SameSite = SameSiteUnset
		}
	case "priority":
		switch strings.ToLower(text) {
		case "low":
			c.Priority = PriorityLow
		case "medium":
			c.Priority = PriorityMedium
		case "high":
			c.Priority = PriorityHigh
		}
	case "partitioned":
		if isBool {
			c.Partitioned = isTrue
		}
	case "expires":
		if t, err := time.Parse(time.RFC3339, text); err == nil {
			if t = wholeMillis(t); t.Year() >= 1601 && t.Year() <= 9999 {
				c.Expires = t
			}
		}
	}
}

// setMaxAge sets the life from its JSON, and reports whether that says one.
func (c *CookieOptions) setMaxAge(raw []byte) bool {
	ms, err := jsontext.Decode[float64](raw)
	if err != nil {
		return false
	}
	c.MaxAge = UntilBrowserCloses
	if ms >= 1 && ms <= float64(1<<62)/float64(time.Millisecond) {
		c.MaxAge = time.Duration(ms * float64(time.Millisecond))
	}
	return c.MaxAge != UntilBrowserCloses
}

// demands are the options in which a configuration can become stricter than a
// stored session (K25). Where the cookie has no end, idle is how long a session lives,
// zero for no such demand.
func (c *CookieOptions) demands(idle time.Duration) record.Demands {
	d := record.Demands{Secure: uint8(c.Secure), HTTPOnly: uint8(c.HTTPOnly), SameSite: uint8(c.SameSite), MaxAge: idle.Milliseconds()}
	if c.MaxAge != UntilBrowserCloses {
		d.MaxAge = c.MaxAge.Milliseconds()
	}
	return d
}

// rank orders a Switch from lax to strict.
func (s Switch) rank() int { return [...]int{Default: 1, On: 2, Off: 0}[s%3] }

func (s SameSite) rank() int {
	switch s {
	case SameSiteStrict:
		return 2
	case SameSiteLax:
		return 1
	default:
		return 0
	}
}

// ownOptions returns the complete options of a session: the configuration,
// overridden by the options stored with the session, overridden in turn by every
// demand of the configuration that is stricter than then, which may be nil.
func ownOptions(config CookieOptions, own []jsontext.Member, then *record.Demands, idle time.Duration) CookieOptions {
	c := config
	for i := range own {
		c.setOption(string(own[i].Name), own[i].Raw)
	}
	if then == nil {
		return c
	}
	if r := config.Secure.rank(); r > Switch(then.Secure).rank() && r > c.Secure.rank() {
		c.Secure = config.Secure
	}
	if r := config.HTTPOnly.rank(); r > Switch(then.HTTPOnly).rank() && r > c.HTTPOnly.rank() {
		c.HTTPOnly = config.HTTPOnly
	}
	if r := config.SameSite.rank(); r > SameSite(then.SameSite).rank() && r > c.SameSite.rank() {
		c.SameSite = config.SameSite
	}
	now := config.demands(idle)
	if now.MaxAge > 0 && (then.MaxAge == 0 || now.MaxAge < then.MaxAge) {
		if c.MaxAge == UntilBrowserCloses || c.MaxAge.Milliseconds() > now.MaxAge {
			c.MaxAge = config.MaxAge
		}
		c.Expires = time.Time{} // it would rule the store's ttl (K37)
	}
	return c
}

// storeOptions returns the members to store for the options want of a session
// with the stored members own: those that differ from config, or for Koa those
// that differ from own. It does not change own.
func storeOptions(config, want CookieOptions, own []jsontext.Member, d dialect) []jsontext.Member {
	out := append([]jsontext.Member{}, own...)
	before := d.withOwn(config, &record.Cookie{Members: own})
	for _, name := range optionNames() {
		raw := want.option(name)
		switch {
		case d.koa && bytes.Equal(raw, before.option(name)):
		case raw == nil, !d.koa && bytes.Equal(raw, config.option(name)):
			out = jsontext.Drop(out, name)
		default:
			out = jsontext.Put(out, name, raw)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// koaCookie is the cookie object of a new session as generic-session makes
// it: the given options first, then the missing defaults (K19).
func koaCookie(given, config CookieOptions) []jsontext.Member {
	var out []jsontext.Member
	isGiven := map[string]bool{
		"path": given.Path != "", "httpOnly": given.HTTPOnly != Default,
		"maxAge": given.MaxAge != 0, "overwrite": given.Overwrite != Default,
		"signed": given.Signed != Default, "domain": given.Domain != "", "secure": given.Secure != Default,
		"sameSite": given.SameSite != SameSiteDefault, "priority": given.Priority != PriorityUnset,
		"partitioned": given.Partitioned, "expires": !given.Expires.IsZero(),
	}
	for _, name := range optionNames() {
		if isGiven[name] {
			out = jsontext.Put(out, name, config.option(name))
		}
	}
	for _, name := range [...]string{"httpOnly", "path", "overwrite", "signed", "maxAge"} {
		if jsontext.Index(out, name) < 0 {
			out = jsontext.Put(out, name, config.option(name))
		}
	}
	return out
}
