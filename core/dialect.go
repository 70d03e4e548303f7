package core

import (
	"math"
	"time"

	"github.com/gensession/gensession/core/internal/jsontext"
	"github.com/gensession/gensession/core/internal/record"
)

// A dialect is all in which sessions shared with koa-generic-session differ from
// our own. New chooses it, and nothing else asks which it is.
type dialect struct {
	koa    bool
	prefix *record.Prefix // of the manager's keys; nil if that is not known
	idle   time.Duration  // Options.IdleTimeout, which KoaCompat has not
}

// key is where the store has the session of id.
func (d dialect) key(prefix string, id ID) string {
	if d.koa {
		return prefix + string(id)
	}
	return hashedKey(prefix, id)
}

// parse reads the bytes stored under key. It keeps parts of data.
func (d dialect) parse(r *record.Record, data []byte, key string) error {
	if d.koa {
		return r.ParseKoa(data)
	}
	return r.Parse(data, key, d.prefix)
}

// encode writes r behind key. It does not look at the size.
func (d dialect) encode(r *record.Record, key string) ([]byte, error) {
	if d.koa {
		return r.EncodeKoa(key), nil
	}
	return r.Encode(key, d.prefix)
}

// blank are the cookie options that a new session is stored with, and the complete
// ones. Those of Koa are made at once, since all new sessions share them.
func (d dialect) blank(given, config CookieOptions) (*record.Cookie, CookieOptions) {
	if !d.koa {
		return nil, config
	}
	own := &record.Cookie{Members: koaCookie(given, config)}
	return own, d.withOwn(config, own)
}

// withOwn returns the configuration overridden by own, which may be nil. Koa's
// cookie objects are whole: what one does not say is as if the configuration did
// not say it either (W46). Overwrite is no attribute of the cookie, and stays.
func (d dialect) withOwn(config CookieOptions, own *record.Cookie) CookieOptions {
	if own == nil {
		return config
	}
	if d.koa {
		config = CookieOptions{Path: "/", MaxAge: UntilBrowserCloses, HTTPOnly: On, SameSite: SameSiteUnset, Overwrite: config.Overwrite, Signed: config.Signed}
	}
	c := ownOptions(config, own.Members, own.Demands, d.idle)
	if old := jsontext.Find(own.Members, "maxage"); d.koa && old != nil { // its former name, which wins where it says something
		if former := c; former.setMaxAge(old) {
			c = former
		}
	}
	return c
}

// override are the cookie options of a session that wants want, and had own.
func (d dialect) override(config, want CookieOptions, own *record.Cookie) *record.Cookie {
	if d.koa && own == nil { // what is missing would be the original's defaults, not the configuration's
		own = &record.Cookie{Members: koaCookie(config, config)}
	}
	members := storeOptions(config, want, own.All(), d)
	if members == nil {
		return nil
	}
	chosen := &record.Cookie{Members: members}
	if !d.koa {
		demands := config.demands(d.idle)
		chosen.Demands = &demands
	}
	return chosen
}

// sameSite is the attribute where the configuration says nothing.
func (d dialect) sameSite() SameSite {
	if d.koa {
		return SameSiteUnset
	}
	return SameSiteLax
}

// life is a ttl in the unit in which the store counts: koa-redis counts seconds.
func (d dialect) life(ttl time.Duration) time.Duration {
	if rest := ttl % time.Second; d.koa && rest != 0 && ttl < math.MaxInt64-time.Second {
		ttl += time.Second - rest
	}
	return ttl
}

// created is when a session began whose record says so. That of Koa does not: it
// is when this request saw the session.
func (d dialect) created(recorded int64) int64 {
	if d.koa {
		return time.Now().UnixMilli()
	}
	return recorded
}

// recordsTime reports whether the record has a place for times of its own. Where
// it has none, TTL also rules a session that has chosen its life, as in the
// original.
func (d dialect) recordsTime() bool { return !d.koa }

// marks reports whether something other than a session can be stored: what tells
// late requests that an id was given up, and what holds its place.
func (d dialect) marks() bool { return !d.koa }
