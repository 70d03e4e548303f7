package core

import (
	"strconv"
	"strings"
	"time"
)

// A response with a session cookie belongs to one browser. A shared cache that
// keeps it, as caches do that were told a lifetime, hands the cookie to the next
// visitor.

// cacheFields are fields that give orders to shared caches alone, and beat
// Cache-Control there.
var cacheFields = [...]string{
	"CDN-Cache-Control", // RFC 9213
	"Cloudflare-CDN-Cache-Control", "Vercel-CDN-Cache-Control", "Netlify-CDN-Cache-Control", "Deno-CDN-Cache-Control",
	"Fastly-Cache-Control", "Akamai-Cache-Control", "X-LiteSpeed-Cache-Control",
	"Surrogate-Control", "Edge-Control", "X-Accel-Expires",
}

// A cacheJar is a Jar that can remove all fields of the kind of cacheFields in one
// call. The core finds it by its method. Fallback without it: SetResponseHeader for
// each of those that are known.
type cacheJar interface{ DropCacheFields() }

// keepOut keeps the response out of shared caches, if the carrier has put something
// into it. It comes last, when the handler has said what it has to say. op is held.
func (v *Visit) keepOut() {
	switch {
	case !v.carrying || v.jar.Begun():
	case v.manager.o.InsecureSharedCache:
		v.jar.DefaultResponseHeader("Cache-Control", "no-store")
	default:
		keepOut(v.jar)
	}
}

func keepOut(jar Jar) {
	if c, ok := jar.(cacheJar); ok {
		c.DropCacheFields()
	} else {
		for _, name := range cacheFields {
			if jar.ResponseHeader(name) != "" {
				jar.SetResponseHeader(name, "")
			}
		}
	}
	if jar.DefaultResponseHeader("Cache-Control", "no-store") {
		return
	}
	was := jar.ResponseHeader("Cache-Control")
	if now := privateOnly(was, jar.ResponseHeader("Expires"), time.Now()); now != was {
		jar.SetResponseHeader("Cache-Control", now)
	}
}

// privateOnly returns what becomes of a Cache-Control field beside a session cookie.
// What speaks to shared caches goes. Unless the rest keeps them out already it gets
// private, if the handler has asked for a lifetime, else no-store.
func privateOnly(field, expires string, now time.Time) string {
	var kept []string
	private, noStore, changed := false, false, false
	life := false // whether a lifetime was asked for
	aged := false // whether max-age was said, which beats Expires
	for rest := field; rest != ""; {
		var directive string
		var ok bool
		if directive, rest, ok = cutDirective(rest); !ok {
			return "no-store" // nobody knows what a cache makes of it
		}
		name, value, valued := strings.Cut(directive, "=")
		name = strings.TrimRight(name, " \t")
		switch strings.ToLower(name) {
		case "":
			continue
		case "public", "s-maxage", "must-understand":
			changed = true
			continue
		case "private":
			if valued { // for some fields only
				changed = true
				continue
			}
			private = true
		case "no-store":
			noStore = true
		case "max-age":
			seconds := strings.Trim(value, " \t\"")
			n, err := strconv.ParseUint(seconds, 10, 64)
			aged, life = true, life || n > 0 && (err == nil || strings.Trim(seconds, "0123456789") == "")
		}
		kept = append(kept, directive)
	}
	if !aged {
		at, err := time.Parse("Mon, 02 Jan 2006 15:04:05 GMT", expires)
		life = err == nil && at.After(now)
	}
	switch {
	case noStore || private: // which the handler has chosen
		if !changed {
			return field
		}
	case life:
		kept = append([]string{"private"}, kept...)
	default:
		kept = append(kept, "no-store")
	}
	return strings.Join(kept, ", ")
}

// cutDirective cuts the first directive from a list with commas, which may also
// stand in a quoted value. ok is false if a quote doesn't end.
func cutDirective(list string) (directive, rest string, ok bool) {
	quoted := false
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			return strings.Trim(list[:i], " \t"), list[i+1:], true
		}
	}
	return strings.Trim(list, " \t"), "", !quoted
}
