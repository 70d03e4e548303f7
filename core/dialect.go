package core

import (
	"math"
	"time"
)

// A dialect is all in which sessions shared with koa-generic-session differ from
// our own. New chooses one, and nothing else asks which it is.
type dialect interface {
	// key is where the store has the session of id.
	key(prefix string, id ID) string
	// parse reads the bytes stored under key. It keeps parts of data.
	parse(data []byte, key string) (record, error)
	// encode writes r behind key. It does not look at the size.
	encode(r *record, key string) ([]byte, error)
	// blank are the cookie options that a new session is stored with.
	blank(given, config CookieOptions) *ownCookie
	// override are the cookie options of a session that wants want, and had own.
	override(config, want CookieOptions, own *ownCookie) *ownCookie
	// keyring makes the keys that sign cookies.
	keyring(keys [][]byte, short bool) (*keyring, error)
	// sameSite is the attribute where the configuration says nothing.
	sameSite() SameSite
	// life is a ttl in the unit in which the store counts.
	life(ttl time.Duration) time.Duration
	// created is when a session began whose record says so.
	created(recorded int64) int64
	// spaced reports whether renewals have a distance where TouchEvery says
	// nothing.
	spaced() bool
	// marks reports whether something other than a session can be stored: what
	// tells late requests that an id was given up, and what holds its place.
	marks() bool
}

func dialectOf(koa bool) dialect {
	if koa {
		return koaDialect{}
	}
	return ownDialect{}
}

// ownDialect is the default.
type ownDialect struct{}

func (ownDialect) key(prefix string, id ID) string { return hashedKey(prefix, id) }

func (ownDialect) parse(data []byte, key string) (record, error) {
	return parseRecord(data, key, false)
}

func (ownDialect) encode(r *record, key string) ([]byte, error) { return r.encodeOwn(key) }

func (ownDialect) blank(_, _ CookieOptions) *ownCookie { return nil }

func (ownDialect) override(config, want CookieOptions, own *ownCookie) *ownCookie {
	members := storeOptions(config, want, own.all(), false)
	if members == nil {
		return nil
	}
	d := config.demands()
	return &ownCookie{members: members, options: &want, then: &d}
}

func (ownDialect) keyring(keys [][]byte, short bool) (*keyring, error) {
	return newKeyring(keys, false, short)
}

func (ownDialect) sameSite() SameSite                   { return SameSiteLax }
func (ownDialect) life(ttl time.Duration) time.Duration { return ttl }
func (ownDialect) created(recorded int64) int64         { return recorded }
func (ownDialect) spaced() bool                         { return true }
func (ownDialect) marks() bool                          { return true }

// koaDialect is what [KoaCompat] chooses.
type koaDialect struct{}

func (koaDialect) key(prefix string, id ID) string { return prefix + string(id) }

func (koaDialect) parse(data []byte, key string) (record, error) {
	return parseRecord(data, key, true)
}

func (koaDialect) encode(r *record, key string) ([]byte, error) { return r.encodeKoa(key), nil }

// blank is complete at once, since all new sessions share it.
func (koaDialect) blank(given, config CookieOptions) *ownCookie {
	o := &ownCookie{members: koaCookie(given, config)}
	all := o.over(config)
	o.options = &all
	return o
}

func (koaDialect) override(config, want CookieOptions, own *ownCookie) *ownCookie {
	members := storeOptions(config, want, own.all(), true)
	if members == nil {
		return nil
	}
	return &ownCookie{members: members, options: &want}
}

func (koaDialect) keyring(keys [][]byte, short bool) (*keyring, error) {
	return newKeyring(keys, true, short)
}

func (koaDialect) sameSite() SameSite { return SameSiteUnset }

// life is a whole number of seconds, in which koa-redis counts.
func (koaDialect) life(ttl time.Duration) time.Duration {
	if rest := ttl % time.Second; rest != 0 && ttl < math.MaxInt64-time.Second {
		ttl += time.Second - rest
	}
	return ttl
}

// created is when this request saw the session: the original does not tell.
func (koaDialect) created(int64) int64 { return time.Now().UnixMilli() }

func (koaDialect) spaced() bool { return false }
func (koaDialect) marks() bool  { return false }
