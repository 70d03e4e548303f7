package core

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gensession/gensession/core/internal/record"
)

// Options configure a [Manager]. The zero value is safe and has the documented
// defaults of generic-session; only Keys are required. New copies the Options.
type Options struct {
	// Keys sign the cookie: 1 to 8 keys of at least 32 random bytes, such as the
	// output of openssl rand -base64 32. The first key signs, and all keys verify,
	// each through a key that is derived from it for the cookie of that Name. To
	// rotate keys, add a new key last in all processes, then put it first, and
	// remove an old key when its cookies have expired: see [Manager.RotateKeys].
	Keys Keyring
	// UnderivedUntil also accepts, until then, signatures by the Keys themselves,
	// which this library made before it derived a key for each cookie. They are
	// renewed with the next response. Zero means none. Not with KoaCompat.
	UnderivedUntil time.Time
	// Name is the name of the cookie. Default "koa.sid". Over TLS, "__Host-sid"
	// with Cookie.Secure On is safest.
	Name string
	// Cookie are the attributes of the cookie.
	Cookie CookieOptions
	// FormerCookies are the scopes that the cookie had in earlier deployments:
	// Path, Domain and Partitioned of each, nothing else. Browsers keep a cookie
	// of each scope, and send them all. One that is known here is expired when
	// its browser gets a new id, when it brings several sessions, and at a
	// logout. One that Name can't have, as a Domain with __Host-, is that of
	// FormerNames. Not with KoaCompat or a Carrier.
	FormerCookies []CookieOptions
	// MountPath is the path prefix that a proxy strips, such as "/app" where the
	// browser's /app/x arrives as /x. Cookie.Path is the browser's: without
	// MountPath no such request would lie inside of it.
	MountPath string
	// FormerNames are the names that the cookie had in earlier deployments, or will
	// have in the next one, at most four. A cookie of such a name, signed with
	// one of the Keys, counts like one of Name, and is replaced by one of Name in
	// the response. Not with KoaCompat or a Carrier.
	FormerNames []string
	// Domains, in place of Cookie.Domain, are domains of which the cookie gets the
	// first one that the host of the request lies in (the field Host), so that one
	// process serves several sites. For other hosts it has no domain. Not with
	// KoaCompat or a Carrier.
	Domains []string
	// Carrier, if set, transports the id in place of the cookie.
	Carrier Carrier

	// Prefix is the prefix of the store's keys. Default "koa:sess:".
	Prefix string
	// NoPrefix makes the prefix empty, for a store that holds only sessions.
	NoPrefix bool
	// Seal encrypts the sessions in the store. By default they are JSON text. Not
	// with KoaCompat.
	Seal Sealing
	// Owners lets a login say whose session it is (LoginOptions.Owner), so that the
	// sessions of a user can be listed and ended. Needs a store that is an
	// [Indexer]. Not with KoaCompat, nor with a Migrate without From.
	Owners bool
	// OwnerKeys hide the owners from the store, which only gets a keyed hash:
	// secret keys like Keys. The first one writes, and all search, so a key can be
	// removed after the longest life of a session, or after
	// [Manager.RebuildOwners]. Default: keys that are derived from Keys. Needed
	// where the cookie is not signed.
	OwnerKeys Keyring
	// IdleTimeout ends a session that no request has used for so long (ASVS
	// 7.3.1), in the store and in the browser: a second to 400 days. Default: a
	// session lives for Cookie.MaxAge from each save, and reading does not
	// prolong it.
	IdleTimeout time.Duration
	// AbsoluteTimeout is the maximum age of a session, whether it is used or not
	// (ASVS 7.3.2), counted from its last login, or else from its creation.
	// A second to ten years. Default: no maximum. Renew keeps both times, Reset begins
	// anew.
	AbsoluteTimeout time.Duration
	// RenewAfter gives a session a new id, of itself, when the id has been in use
	// for so long: an id that has leaked is worth less. The old id is good until
	// the browser has used the new one, and for RenewGrace from then, so that
	// parallel requests and a lost answer log nobody out; a Login, Renew, Reset or
	// Destroy ends both. Needs a store with versions. Default: never.
	RenewAfter time.Duration
	// RenewGrace is how long the old id is good after the first use of the new
	// one: a second to a day. Default 30 s.
	RenewGrace time.Duration
	// RememberFor is how long a session lives, from its login, if the login asked
	// for it (LoginOptions.Remember), in place of IdleTimeout, AbsoluteTimeout
	// and Cookie.MaxAge: a second to 400 days. Default: a login can't ask for it.
	RememberFor time.Duration
	// InsecureNoLimit keeps a session for ever if nothing else limits its
	// lifetime. The default limit is [DefaultMaxAge].
	InsecureNoLimit bool
	// TouchEvery is the minimum time between two prolongations of a session by
	// IdleTimeout in this process, so that most reads need no write. It counts at
	// most a third of the session's lifetime. Default: a tenth of the lifetime, at
	// most [DefaultTouchEvery]. Who comes back when less than a quarter of the
	// lifetime is left is prolonged by each request until it would have been over,
	// since an answer may be lost. With KoaCompat every request renews; set
	// TouchEvery to 1 (a nanosecond) to choose that without KoaCompat; else it is at
	// least a second.
	TouchEvery time.Duration

	// TTL, of KoaCompat only, is how long the store keeps a session after each
	// save (generic-session's ttl): a second to ten years. Default: the lifetime of its
	// cookie.
	TTL time.Duration
	// TTLFunc, of KoaCompat only, if set, returns the ttl of each session. If it
	// returns zero, TTL and the cookie determine the ttl; if it returns a
	// negative value, the session is destroyed. It must not change s. That it returns
	// the number of milliseconds or seconds of another language is told once, as
	// [EventMisconfigured].
	TTLFunc func(s *Session) time.Duration
	// Rolling, of KoaCompat only, renews the ttl and the cookie on every request
	// with a stored session (generic-session's rolling).
	Rolling bool

	// Defer loads a session only when the handler uses it, which has to be before the
	// response begins.
	Defer bool
	// AllowEmpty also stores new sessions without values.
	AllowEmpty bool
	// NewID returns a new id: 16 to 128 characters of A-Z a-z 0-9 - _, with at
	// least 128 random bits. It must never return the same id twice. Default:
	// 24 random bytes. It must not use the session of the request.
	NewID func(ctx context.Context) (string, error)
	// InsecureIDFrom, if it returns an id, overrides the Carrier. The id is not
	// signed. Anyone who controls its result can hijack sessions: it must not
	// read anything that a browser sends.
	InsecureIDFrom func(ctx context.Context, jar Jar) ID
	// ResetUnknown removes the browser's cookie if the store has no session of
	// its id. By default the cookie stays: a request that began before a login
	// must not remove the cookie that the login set.
	ResetUnknown bool
	// KeepInvalid keeps a session in the store that Hooks.Valid has rejected. By
	// default it is destroyed.
	KeepInvalid bool
	// LateWindow is how long after an id was given up, as at a login, a request
	// that still carries it counts as one that was under way then. Such a
	// request can log in, but its Renew fails with ErrGone; with a Carrier of
	// your own, or [Header], it can't store a session either, since its response
	// would replace the new id. Default 3 s.
	LateWindow time.Duration
	// OnConflict is the policy for a session that another request saved while
	// this request ran. Default: ConflictMerge if the store has versions.
	OnConflict ConflictPolicy
	// MaxSize is the maximum size of a stored session in bytes. A larger one is not
	// saved, and one that the store has is not read: it counts as one that can't be
	// read. Default 256 KiB.
	MaxSize int

	// OpTimeout is the timeout of each call of the store. Default 500 ms.
	OpTimeout time.Duration
	// ReconnectTimeout is how long requests wait for a store that went down,
	// counted from the moment when it went down. Default 10 s.
	ReconnectTimeout time.Duration
	// FailFast makes requests fail at once while the store is down.
	FailFast bool
	// MaxWaiters is the maximum number of waiting requests. Default 10,000.
	MaxWaiters int

	// Migrate lets sessions continue while an application moves from KoaCompat to
	// the default Options, from another store, or from another library.
	Migrate Migration
	// Koa says in what a koa-generic-session app differs from its defaults. Only
	// with KoaCompat and Migrate.
	Koa KoaOptions

	// Hooks are called while a request is handled.
	Hooks Hooks
	// Logger receives each [Event] as a message, at the level that its
	// [EventKind] has: logins, logouts and ended sessions at Info, what may be an
	// attack or a fault at Warn, the rest at Debug. Messages contain ids as
	// fingerprints, and never a value. Default: no logging.
	Logger *slog.Logger

	// InsecureShortKeys allows keys shorter than 32 bytes, and keys that are not
	// random, such as one character that is repeated.
	InsecureShortKeys bool
	// InsecureAllowHTTP sends a cookie with Secure On over a connection that is
	// not known to use TLS, for a TLS proxy that does not announce itself.
	InsecureAllowHTTP bool

	// InsecureSharedCache leaves the response as the handler has made it where it
	// has a Cache-Control field and carries the id: a cache that is shared may
	// then hand the session to somebody else. By default "public", "s-maxage" and
	// "must-understand" are removed there, and so are the fields for CDNs; the
	// rest gets private if a lifetime was asked for, else no-store.
	InsecureSharedCache bool

	koa bool // set by KoaCompat
}

// Hooks are callbacks. They run on the goroutine of the request, except for
// events of the store. They may use the values of the session, but must not call
// its Save, Login, Renew, Reset or Destroy, nor write the response, which fails from a
// hook, nor wait for another goroutine that does. A panic in a hook has the effect of a
// panic in the handler: what is not saved yet is not saved.
type Hooks struct {
	// Event is called for what happens to sessions and to the store, for audits
	// and metrics. It decides nothing, and must not change the session. It is
	// called when a Save, Login or the like is done: a session that was saved or
	// ended is so in the store and the response, also if the hook panics. What it
	// causes itself, such as by Manager.DestroyByID, it is not told.
	// Without it, and without Options.Logger, events cost nothing. For events of
	// the store it runs on a goroutine of its own, one after the other; a panic
	// there is logged and goes no further.
	Event func(ctx context.Context, e Event)
	// Valid decides whether a loaded session may be used. If it returns false,
	// the request gets a new session. If it returns an error, the request
	// fails. It is not called for new sessions, nor by Visit.Replace,
	// Visit.Destroy, and the methods of Manager by id.
	Valid func(ctx context.Context, jar Jar, s *Session) (bool, error)
	// BeforeSave is called once before a session is written or renewed by Rolling,
	// also by Renew and by a login. Its changes are written too. If it returns an error, the save
	// fails. It runs before the outcome is known, and not for Destroy. In a visit
	// by Manager.VisitByID jar is empty.
	BeforeSave func(ctx context.Context, jar Jar, s *Session) error
	// Error decides about every failure (generic-session's errorHandler). The
	// operation fails with the error that it returns. If it returns nil, the
	// request goes on: a session that could not be read is then empty, is not
	// saved, and leaves the browser's cookie unchanged; for a session that
	// could not be saved no cookie is sent. Renew and Reset return their errors
	// even if the hook returns nil.
	//
	// It is not called if the client hung up while its session was loaded: that is
	// no failure. The operation returns the error of the context then.
	//
	// A hook that returns e, or an error that wraps it, decides nothing: all is
	// as without the hook. Then every error fails its operation, except for
	// three: a record that can't be read ([ErrCorrupt] or [ErrTooLarge] in
	// [OpGet]; the request gets a new session, and the record stays), a session that was [ErrGone] at
	// the end of the request, and a stored value that [Key.Get] could not decode
	// into its type ([OpDecode]).
	Error func(ctx context.Context, e *Error) error
}

// A ConflictPolicy is the reaction to two requests that changed one session at
// the same time. All policies but ConflictDefault need a store with versions
// ([Swapper]).
type ConflictPolicy uint8

// The policies.
const (
	// ConflictDefault is ConflictMerge if the store has versions. Otherwise the
	// last write wins unconditionally.
	ConflictDefault ConflictPolicy = iota
	// ConflictMerge applies the changes of this request to the session that the
	// other request saved. If both set the same value, the later save wins.
	// The function of Key.Update runs again on the value of the other request.
	ConflictMerge
	// ConflictRefuse makes the later save fail with ErrConflict.
	ConflictRefuse
	// ConflictLastWriteWins replaces the session that the other request saved. A
	// destroyed session stays destroyed.
	ConflictLastWriteWins
)

// KoaCompat returns Options for sharing sessions with a running
// koa-generic-session app: its cookies (signed with HMAC-SHA-1 by keys of any
// length), its store keys (prefix and plain id) and its JSON. Set Keys to the
// keys of the app, and any option that the app has changed.
//
// These Options are weaker than the default, as the original is: SHA-1, keys of
// any length, ids readable in the store, records without a mark of their key,
// no SameSite. AbsoluteTimeout is not available, since the original does not
// store the time of creation.
func KoaCompat() *Options {
	return &Options{
		ResetUnknown:      true,
		KeepInvalid:       true,
		InsecureShortKeys: true,
		koa:               true,
	}
}

// Hardened returns Options for applications with much to lose, as of ASVS and
// NIST SP 800-63B: the cookie "__Host-sid", sent over TLS only and forgotten when
// the browser is closed; sessions that end after 30 minutes without a request and
// 12 hours after the login; and a new id each hour. Set Keys, and change what does
// not fit: each value stands for itself. It needs a store with versions, or
// RenewAfter zero.
//
// Over plain HTTP it stores no session. For work on your own machine:
//
//	if !tls {
//		o.Name, o.Cookie.Secure = "sid", core.Default
//	}
//
// For "remember me" set RememberFor as well.
func Hardened() *Options {
	return &Options{
		Name:            "__Host-sid",
		Cookie:          CookieOptions{Secure: On, MaxAge: UntilBrowserCloses},
		IdleTimeout:     30 * time.Minute,
		AbsoluteTimeout: 12 * time.Hour,
		RenewAfter:      time.Hour,
	}
}

// A Manager loads and saves the sessions of one application. It is safe for
// concurrent use. Create it with [New], and close it after the server has shut
// down.
type Manager struct {
	o         Options
	dialect   dialect
	store     Store
	swapper   Swapper       // nil if the store has no versions
	keeper    keeper        // swapper, if it is a keeper
	keeps     batchKeeper   // keeper, if it is one
	batcher   Batcher       // nil if the store can't change several keys in one step
	toucher   Toucher       // nil if the store can't touch
	indexer   Indexer       // nil without Options.Owners
	sealer    *sealer       // nil if sessions are stored as they are
	migrating keyring       // verifies cookies of the other form
	old       *Manager      // where sessions are taken over from; nil if there is none
	twoPlaces atomic.Bool   // a probe has shown that old is not the store itself
	carrier   sender        // Options.Carrier, or cookie
	cookie    *signedCookie // the carrier, if it is the default one
	config    CookieOptions // complete
	inside    string        // the cookie's path, as requests arrive: without Options.MountPath
	setup     setup
	rolling   bool      // requests prolong a session that has chosen nothing else
	born      time.Time // the deadlines of calls count from it

	blank        *record.Cookie // of a new session in KoaCompat, else nil
	blankOptions CookieOptions  // complete with blank

	sharedEnd atomic.Pointer[sharedEnd]
	health    *health
	touched   atomic.Pointer[recently] // nil until a session rolls
	queue     queue

	ownerKeys atomic.Pointer[keyring]
	ownKeyed  bool                     // by Options.OwnerKeys
	hinted    atomic.Pointer[recently] // nil until a list was prolonged
	apart     atomic.Bool              // a list was a step of its own
	telling   atomic.Int32             // how many calls of Hooks.Event run
}

// New returns a Manager that keeps sessions in store. Its error lists all invalid
// or conflicting options, each with the remedy. o must not be nil, since the
// cookie needs Keys.
//
// The caller closes the store, after the Manager.
func New(store Store, o *Options) (*Manager, error) {
	m := &Manager{store: store, born: time.Now()}
	if o != nil {
		m.o = *o
	}
	if isNil(store) {
		return nil, errors.New("session: New: the store is nil: pass a store, such as memorystore.New(nil)")
	}
	m.dialect = dialect{koa: m.o.koa, idle: m.o.IdleTimeout}
	m.findAbilities()

	var problems []error
	problem := func(format string, a ...any) { problems = append(problems, fmt.Errorf(format, a...)) }
	m.fillIn(problem)
	m.dialect.prefix = record.PrefixOf(m.o.Prefix)
	m.check(problem)
	m.checkOwners(problem)
	m.newCarrier(problem)
	if len(problems) == 0 {
		m.newKeys(problem)
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("session: New: %w", errors.Join(problems...))
	}
	timeout := m.o.ReconnectTimeout
	if m.o.FailFast {
		timeout = 0
	}
	m.health = newHealth(store, timeout, m.o.MaxWaiters, m.storeChanged(""))
	if m.migrates() {
		m.old = m.newOld(timeout)
		m.old.o.forgetKeys()
	} else {
		m.o.Migrate = Migration{} // it is over, also if the clock is set back
	}
	m.o.forgetKeys()
	return m, nil
}

// forgetKeys leaves no key where it is not needed.
func (o *Options) forgetKeys() {
	o.Keys, o.OwnerKeys, o.Seal.Keys, o.Migrate.Keys = nil, nil, nil, nil
}

// newCarrier makes what sends the id, and reports what does not go with it.
func (m *Manager) newCarrier(problem func(string, ...any)) {
	if m.o.Carrier == nil {
		if err := m.newCookie(); err != nil {
			problem("%w", err)
		}
		return
	}
	m.carrier = m.o.Carrier
	if len(m.o.Keys) > 0 {
		problem("Options has both Keys and a Carrier: this package does not sign the id of a Carrier, so remove the Keys")
	}
	if len(m.o.FormerCookies)+len(m.o.FormerNames)+len(m.o.Domains) > 0 {
		problem("Options has FormerCookies, FormerNames or Domains beside a Carrier: remove one")
	}
	if err := m.config.check(""); err != nil {
		problem("%w", err)
	}
}

// newKeys makes what is made of the keys beside the cookie.
func (m *Manager) newKeys(problem func(string, ...any)) {
	if len(m.o.Seal.Keys) > 0 {
		var err error
		if m.sealer, err = newSealer(&m.o.Seal); err != nil {
			problem("Options.Seal: %w", err)
		}
	}
	m.ownKeyed = len(m.o.OwnerKeys) > 0
	if keys := m.o.OwnerKeys; m.o.Owners {
		if !m.ownKeyed {
			keys = m.o.Keys
		}
		if err := m.setOwnerKeys(keys); err != nil {
			problem("Options.OwnerKeys: %w", err)
		}
	}
}

// findAbilities finds the capabilities of the store.
func (m *Manager) findAbilities() {
	m.swapper, _ = As[Swapper](m.store)
	m.keeper = keeperOf(m.swapper)
	m.keeps, _ = m.keeper.(batchKeeper)
	m.batcher, _ = As[Batcher](m.store)
	m.toucher, _ = As[Toucher](m.store)
}

// isNil reports whether s is nil, or a pointer that is.
func isNil(s Store) bool {
	v := reflect.ValueOf(s)
	return !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()
}

// fillIn sets the defaults of options that are not set.
func (m *Manager) fillIn(problem func(string, ...any)) {
	o := &m.o
	if o.FailFast && o.ReconnectTimeout != 0 {
		problem("Options has both FailFast and ReconnectTimeout: remove one")
	}
	given := o.Cookie
	m.rolling = o.Rolling || o.IdleTimeout > 0
	life := DefaultMaxAge
	if o.IdleTimeout > 0 {
		life = o.IdleTimeout
	}
	if o.koa && o.Cookie.MaxAge == 0 { // which beats Expires
		o.Cookie.MaxAge = life
	}
	m.config = o.Cookie.or(CookieOptions{
		Path: "/", MaxAge: life, HTTPOnly: On, SameSite: m.dialect.sameSite(), Overwrite: On, Signed: On,
	})
	m.blank, m.blankOptions = m.dialect.blank(given, m.config)
	if o.Name == "" {
		o.Name = "koa.sid"
	}
	if o.Prefix == "" && !o.NoPrefix {
		o.Prefix = "koa:sess:"
	}
	setDefault(&o.MaxSize, 256<<10)
	setDefault(&o.LateWindow, 3*time.Second)
	setDefault(&o.RenewGrace, 30*time.Second)
	setDefault(&o.OpTimeout, 500*time.Millisecond)
	setDefault(&o.ReconnectTimeout, 10*time.Second)
	setDefault(&o.MaxWaiters, 10_000)
	m.checkLife(given, problem)
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// longestWait is more than anybody waits, in a request or between two of them.
const longestWait = 24 * time.Hour

// check reports invalid and conflicting options.
func (m *Manager) check(problem func(string, ...any)) {
	o := &m.o
	if o.NoPrefix && o.Prefix != "" {
		problem("Options has both Prefix and NoPrefix: remove one")
	}
	if len(o.Prefix) > 100 || !keyText(o.Prefix) {
		problem("Options.Prefix must be at most 100 bytes of printable ASCII without blanks")
	}
	if o.MaxSize < 0 || o.MaxWaiters < 0 {
		problem("Options.MaxSize or MaxWaiters is negative: omit it for the default")
	}
	m.checkTimes(problem)
	m.checkMountPath(problem)
	for _, err := range []error{o.Seal.check(o), o.Koa.check(o), o.Migrate.check(m, m.store, o.Carrier == nil && m.config.Signed == On)} {
		if err != nil {
			problem("%w", err)
		}
	}
	if !o.UnderivedUntil.IsZero() {
		switch {
		case o.koa:
			problem("Options.UnderivedUntil is not available with KoaCompat, whose signatures are by the Keys themselves: remove it")
		case o.Carrier != nil || m.config.Signed != On:
			problem("Options.UnderivedUntil is about signatures, but the cookie has none: remove it")
		}
	}
	if h, ok := o.Carrier.(header); ok && !(fieldName(string(h)) && h.free()) {
		problem("core.Header needs the name of a header field that has no other meaning to browsers, proxies and servers, such as X-Session-Id")
	}
	if o.OnConflict > ConflictLastWriteWins {
		problem("Options.OnConflict has an unknown value: use a ConflictPolicy constant")
	}
	if o.OnConflict != ConflictDefault && m.swapper == nil {
		problem("Options.OnConflict needs a store with versions (core.Swapper), which this store lacks: %w", errors.ErrUnsupported)
	}
}

// checkTimes reports what is no time between two calls, or does not go with the life of a
// session.
func (m *Manager) checkTimes(problem func(string, ...any)) {
	o := &m.o
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"TouchEvery", o.TouchEvery}, {"LateWindow", o.LateWindow},
		{"OpTimeout", o.OpTimeout}, {"ReconnectTimeout", o.ReconnectTimeout}, {"RenewGrace", o.RenewGrace},
	} {
		switch {
		case d.name == "RenewGrace" && d.value < time.Second: // checkLife has told it
		case d.value < 0:
			problem("Options.%s is negative: omit it for the default", d.name)
		case d.name == "TouchEvery":
			if err := unmeant("Options.TouchEvery", d.value); d.value > 1 && err != nil { // 1 is at each request
				problem("%w; 1 prolongs at each request", err)
			}
		case d.value > longestWait:
			problem("Options.%s of %v is longer than a day: a time that was multiplied by its unit twice is so long", d.name, d.value)
		case d.value > 0 && d.value < time.Millisecond:
			problem("Options.%s of %v is shorter than a millisecond: a number without a unit counts nanoseconds; write %d * time.Millisecond or time.Second", d.name, d.value, int64(d.value))
		}
	}
	if o.TouchEvery > 0 && !m.rolling {
		problem("Options.TouchEvery is the time between two prolongations by IdleTimeout: set IdleTimeout too")
	}
	life := o.TTL
	if life == 0 && m.config.MaxAge != UntilBrowserCloses {
		life = m.config.MaxAge
	}
	if o.IdleTimeout > 0 {
		life = o.IdleTimeout
	}
	if o.TouchEvery > 0 && life > 0 && o.TouchEvery >= life {
		problem("Options.TouchEvery is not shorter than the lifetime of a session, which would expire in between: set a shorter one")
	}
}

// checkMountPath finds the part of the cookie's path that requests still have.
func (m *Manager) checkMountPath(problem func(string, ...any)) {
	m.inside = m.config.Path
	switch mount, path := m.o.MountPath, m.config.Path; {
	case mount == "":
	case mount[0] != '/' || strings.HasSuffix(mount, "/") || !attribute(mount):
		problem("Options.MountPath must begin with /, not end with it, and contain nothing that the path of a request never contains")
	case pathMatch(mount, path): // as "/" and the prefix itself do
		m.inside = "/"
	case pathMatch(path, mount):
		m.inside = path[len(mount):]
	default:
		problem("Options.MountPath %q and Cookie.Path %q have nothing in common: no request would have a session", mount, path)
	}
}

// newCookie makes the default carrier.
func (m *Manager) newCookie() error {
	o := &m.o
	c := &signedCookie{name: o.Name, signed: m.config.Signed == On, shaped: m.shaped, allowHTTP: o.InsecureAllowHTTP, options: m.config, key: m.key, koa: o.koa}
	c.cookies, c.sigs = namesOf(o.Name)
	if c.signed {
		c.verified = newVerified()
	}
	errs := []error{checkName(o.Name), m.config.check(o.Name), m.formerScopes(c)}
	switch {
	case c.signed && len(o.Keys) == 0:
		errs = append(errs, errors.New("Options.Keys is empty, but the cookie is signed: set at least one key of 32 random bytes, or set Cookie.Signed to core.Off"))
	case !c.signed && len(o.Keys) > 0:
		errs = append(errs, errors.New("Options has Keys, but Cookie.Signed is Off: remove one"))
	case c.signed:
		errs = append(errs, o.Keys.check("Options.Keys", o.InsecureShortKeys))
	}
	errs = append(errs, m.formerNames(c), m.domains(c))
	if errors.Join(errs...) == nil && c.signed {
		if until := o.Migrate.Until; !until.IsZero() && len(o.Migrate.Keys) > 0 {
			errs = append(errs, o.sign(&m.migrating, !o.koa, o.Migrate.Keys, until))
		}
		errs = append(errs, m.setKeys(c, o.Keys))
	}
	m.carrier, m.cookie = c, c
	return errors.Join(errs...)
}

// formerScopes gives c the scopes of Options.FormerCookies.
func (m *Manager) formerScopes(c *signedCookie) error {
	o := &m.o
	var errs []error
	for i, f := range o.FormerCookies {
		scope := CookieOptions{Path: f.Path, Domain: f.Domain, Partitioned: f.Partitioned}
		full := scope.or(m.config)
		full.Partitioned = f.Partitioned
		full.Domain = f.Domain
		err := full.check(o.Name)
		of := &c.former
		if err != nil && slices.ContainsFunc(o.FormerNames, func(name string) bool { return full.check(name) == nil }) {
			err, of = nil, &c.formerOfNames
		}
		switch {
		case f != scope:
			errs = append(errs, fmt.Errorf("Options.FormerCookies[%d] has more than Path, Domain and Partitioned: remove the rest", i))
		case o.koa:
			errs = append(errs, errors.New("Options.FormerCookies is not available with KoaCompat"))
		case err != nil:
			errs = append(errs, fmt.Errorf("Options.FormerCookies[%d]: %w", i, err))
		case full.scope() == m.config.scope() && len(o.Domains) == 0:
			errs = append(errs, fmt.Errorf("Options.FormerCookies[%d] is the scope that the cookie has now: remove it", i))
		default:
			*of = append(*of, full)
		}
	}
	return errors.Join(errs...)
}

// RotateKeys replaces Options.Keys for all later requests: the first key signs,
// and all verify. Where several processes share sessions, rotate in two steps, or
// one that does not know the new key refuses the cookies of another: first add
// the new key behind the old one everywhere, then put it in front. If it returns an
// error, the old keys stay in use. OwnerKeys stay as they are; without them, the
// lists of owners are written with the first of the new keys.
func (m *Manager) RotateKeys(keys Keyring) error {
	if m.cookie == nil || !m.cookie.signed {
		return errors.New("session: RotateKeys: the cookie is not signed")
	}
	if len(keys) == 0 {
		return errors.New("session: RotateKeys: no keys")
	}
	err := keys.check("Options.Keys", m.o.InsecureShortKeys)
	if err == nil {
		err = m.setKeys(m.cookie, keys)
	}
	if err == nil && m.indexer != nil && !m.ownKeyed {
		err = m.setOwnerKeys(keys)
	}
	if err != nil {
		return fmt.Errorf("session: RotateKeys: %w", err)
	}
	return nil
}

// setKeys makes c sign and verify with keys.
func (m *Manager) setKeys(c *signedCookie, keys Keyring) error {
	rings := make([]*keyring, 0, 1+len(c.names))
	for _, name := range append([]string{c.name}, m.o.FormerNames...) {
		ring, err := m.keyring(name, keys)
		if err != nil {
			return err
		}
		rings = append(rings, ring)
	}
	c.keys.Store(rings[0])
	for i, name := range c.names {
		name.keys.Store(rings[1+i])
	}
	return nil
}

// keyring makes what signs and verifies the cookie of that name with keys.
func (m *Manager) keyring(name string, keys Keyring) (*keyring, error) {
	r, o := new(keyring), m.o
	o.Name = name
	if err := o.sign(r, m.o.koa, keys, time.Time{}); err != nil {
		return nil, err
	}
	if until := m.o.UnderivedUntil; !until.IsZero() {
		if err := r.add(keys, "", signatureForm{sum: sha256.New}, until); err != nil {
			return nil, err
		}
	}
	r.macs = append(r.macs, m.migrating.macs...)
	return r, nil
}

// Format does not show what the manager has, under any verb: it holds what is derived
// from the keys.
func (m *Manager) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("session manager")) }

// Close stops all waiting for the store: requests that wait for it get
// ErrUnavailable at once. Requests that have loaded their session finish their
// commit. Close does not close the store. A second Close does nothing. The error
// is always nil.
func (m *Manager) Close() error {
	m.health.close()
	if m.old != nil {
		m.old.health.close()
	}
	return nil
}

// Guarantees returns one line about the guarantees for concurrent requests of a
// session, and with Options.Owners for the sessions of an owner. They depend on the
// capabilities of the store and on OnConflict.
func (m *Manager) Guarantees() string {
	if e, ok := As[evicter](m.store); m.indexer != nil && ok && e.Evicts() {
		return m.forOneSession() + "; ending the sessions of an owner is best effort: the server may drop a list to make room, and then misses sessions that were not used since"
	}
	if m.indexer != nil {
		return m.forOneSession() + "; ending the sessions of an owner misses none"
	}
	return m.forOneSession()
}

func (m *Manager) forOneSession() string {
	if m.swapper == nil {
		text := "last write wins, even over a removal: the store has no versions"
		if b, ok := As[bettered](m.store); ok && b.Better() != "" {
			text += ", unlike " + b.Better() + ", which is for the same server"
		}
		return text
	}
	if m.batcher == nil {
		return m.guarantees() + "; many writers can make Renew and Reset fail with ErrConflict: the store can't append (core.Batcher)"
	}
	return m.guarantees() + "; writers can't hinder a login"
}

func (m *Manager) guarantees() string {
	switch {
	case m.o.OnConflict == ConflictRefuse:
		return "a save that conflicts with another one fails with ErrConflict; a destroyed session stays destroyed"
	case m.o.OnConflict == ConflictLastWriteWins:
		return "last write wins; a destroyed session stays destroyed"
	default:
		return "no update is lost; a destroyed session stays destroyed"
	}
}

// key returns the store's key of id.
func (m *Manager) key(id ID) string {
	return m.dialect.key(m.o.Prefix, id)
}

// fieldName reports whether s can be the name of a header field (RFC 9110).
func fieldName(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// keyText reports whether s can be part of a store's key.
func keyText(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// newID returns a new id, from Options.NewID if that is set (K15).
func (m *Manager) newID(ctx context.Context) (ID, error) {
	if m.o.NewID == nil {
		return newID(), nil
	}
	text, err := m.o.NewID(ctx)
	if err != nil {
		return "", err
	}
	id := ID(text)
	return id, m.checkNew(id)
}

func (m *Manager) debug(ctx context.Context, msg string, attrs ...slog.Attr) {
	if m.o.Logger != nil {
		m.o.Logger.LogAttrs(ctx, slog.LevelDebug, msg, attrs...)
	}
}
