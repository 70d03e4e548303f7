package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync/atomic"
	"time"
)

// Options configure a [Manager]. The zero value has generic-session's
// documented defaults and is safe; only Keys must be given. New copies what it
// needs.
type Options struct {
	// Keys sign the cookie: the first signs, all verify, so that a new key is
	// put in front and an old one dropped once its cookies have expired. 1 to
	// 8 keys of at least 32 random bytes.
	Keys [][]byte
	// Name of the cookie. Default "koa.sid". Over TLS, "__Host-sid" with
	// Cookie.Secure On is the safest.
	Name string
	// Cookie are the attributes of the cookie.
	Cookie CookieOptions
	// Carrier, if set, replaces the cookie as the way of the id.
	Carrier Carrier

	// Prefix of the store's keys. Default "koa:sess:".
	Prefix string
	// NoPrefix makes the prefix empty: for a store that nothing else uses.
	NoPrefix bool
	// TTL is how long the store keeps a session after each save. Default: as
	// long as its cookie lives. It is the idle timeout when Rolling is
	// set.
	TTL time.Duration
	// TTLFunc, if set, says it for each session; zero leaves it to TTL and the
	// cookie, a negative one destroys the session. It must not change s.
	TTLFunc func(s *Session) time.Duration
	// AbsoluteTimeout ends a session that long after its creation, however
	// busy it is (ASVS 7.3.2). Default: never. Renew keeps the time of
	// creation, Reset begins anew.
	AbsoluteTimeout time.Duration
	// InsecureNoLimit keeps a session for ever where neither TTL nor its
	// cookie say how long. Default: [DefaultMaxAge].
	InsecureNoLimit bool
	// Rolling renews ttl and cookie on every request that has a stored
	// session.
	Rolling bool
	// TouchEvery spaces the renewals of Rolling out: a session that this
	// process renewed less than TouchEvery ago is left alone, so that reading
	// it costs no write. Never longer than half of the session's life.
	// Default: a tenth of that, [DefaultTouchEvery] at most; with KoaCompat
	// every request renews, which 1 (a nanosecond) chooses, too.
	TouchEvery time.Duration

	// Defer loads a session only when the handler asks for it.
	Defer bool
	// AllowEmpty stores new sessions that nobody put anything into.
	AllowEmpty bool
	// NewID makes an id: 16 to 128 of A-Z a-z 0-9 - _, with at least 128 bits
	// of randomness, never the same twice. Default: 24 random bytes.
	NewID func(ctx context.Context) (string, error)
	// InsecureIDFrom, if it returns an id, beats the Carrier, unsigned.
	// Who can choose what it returns can take sessions over: never let it read
	// what a browser sends.
	InsecureIDFrom func(ctx context.Context, jar Jar) ID
	// ResetUnknown makes the browser forget an id that the store does not
	// know. By default it keeps it: a request that began before a login
	// must not delete the cookie of the session after it.
	ResetUnknown bool
	// KeepInvalid leaves a session that Hooks.Valid refused in the store
	//. By default it is destroyed.
	KeepInvalid bool
	// OnConflict says what happens when another request saved the session
	// while this one ran. Default: ConflictMerge where the store has versions.
	OnConflict ConflictPolicy
	// MaxSize is the largest record in bytes. Default 256 KiB.
	MaxSize int

	// OpTimeout is the time that one call of the store may take. Default
	// 500 ms.
	OpTimeout time.Duration
	// ReconnectTimeout is how long requests wait for a store that went down,
	// counted from when it did. Default 10 s.
	ReconnectTimeout time.Duration
	// FailFast makes them not wait at all.
	FailFast bool
	// MaxWaiters is how many requests may wait at once. Default 10,000.
	MaxWaiters int

	// Hooks are called on the way of a request.
	Hooks Hooks
	// Logger gets debug events: ids as fingerprints, never a value. Default:
	// none.
	Logger *slog.Logger

	// InsecureShortKeys allows keys of less than 32 bytes.
	InsecureShortKeys bool
	// InsecureAllowHTTP sends a cookie with Secure On over a connection that
	// does not look like TLS: for a proxy in front that can't say so.
	InsecureAllowHTTP bool

	koa bool // set by KoaCompat
}

// Hooks see sessions pass. They run on the request's goroutine and may use
// the session's values, but not its Save, Renew, Reset and Destroy. A
// hook that panics ends the request like a panic of the handler: nothing is
// saved.
type Hooks struct {
	// Valid has the last say over a session that was loaded. False: the
	// request gets a new one. An error fails the request. It is not asked
	// about new sessions.
	Valid func(ctx context.Context, jar Jar, s *Session) (bool, error)
	// BeforeSave runs once before a session is written, when it is clear that
	// it will be; its changes are written too. An error ends the save.
	BeforeSave func(ctx context.Context, jar Jar, s *Session) error
	// Error decides about every failure (generic-session's errorHandler): what
	// it returns fails the operation, nil lets the request go on. Then a
	// session that could not be read is empty, is not saved, and leaves the
	// browser's cookie alone; one that could not be saved sends no cookie.
	// Renew and Reset return their errors whatever the hook says.
	//
	// Without the hook every error fails its operation, but for three that
	// only the hook and the Logger see: a record that can't be read
	// ([ErrCorrupt] in [OpGet]; the request gets a new session, the record
	// stays), a session that was [ErrGone] when the request ended, and a value
	// that [Key.Get] found to be of another type ([OpDecode]).
	Error func(ctx context.Context, e *Error) error
}

// A ConflictPolicy says what becomes of a session that two requests changed at the
// same time. Each way but the default needs a store with versions
// ([Swapper]).
type ConflictPolicy uint8

// The policies.
const (
	// ConflictDefault is ConflictMerge with a store that has versions. With
	// one that has none the last write wins, whatever it writes over.
	ConflictDefault ConflictPolicy = iota
	// ConflictMerge lays the values that this request changed over what the
	// other one saved. Of one value that both set, the later save wins; what
	// Key.Update changed is computed again from the other one's.
	ConflictMerge
	// ConflictRefuse fails the later save with ErrConflict.
	ConflictRefuse
	// ConflictLastWriteWins replaces what the other request saved. A session
	// that was destroyed stays so.
	ConflictLastWriteWins
)

// KoaCompat returns the Options that share sessions with a running
// koa-generic-session app: its cookies (signed with HMAC-SHA-1 by any keys),
// its store keys (prefix and bare id) and its JSON. Set Keys to the app's
// keys, and what it has configured otherwise.
//
// Weaker than the default, since the original is: SHA-1, keys of any length,
// ids readable in the store, records that don't name their key, no SameSite.
// AbsoluteTimeout is not available, since the original does not store when a
// session began.
func KoaCompat() *Options {
	return &Options{
		ResetUnknown:      true,
		KeepInvalid:       true,
		InsecureShortKeys: true,
		koa:               true,
	}
}

// A Manager runs the sessions of one application: it holds the options and
// the store. It is safe for concurrent use. Make one with [New], and close it
// when the server has shut down.
type Manager struct {
	o       Options
	store   Store
	swapper Swapper // nil if the store has no versions
	keeper  keeper  // swapper, if it is one
	toucher Toucher // nil if it can't touch
	carrier Carrier
	cookie  *signedCookie // the carrier, if it is ours
	config  CookieOptions // complete
	blank   *ownCookie    // that of a new session in KoaCompat, else nil
	born    time.Time     // what the deadlines of calls count from

	sharedEnd atomic.Pointer[sharedEnd]
	health    *health
	touched   *recently // nil if renewals are not spaced out
}

// New returns a Manager that keeps sessions in store. It reports every problem
// of the options at once, with what to do about it. o may be nil only for an
// unsigned Carrier of your own, since the cookie needs Keys.
//
// The store stays the caller's to close, after the Manager.
func New(store Store, o *Options) (*Manager, error) {
	m := &Manager{store: store, born: time.Now()}
	if o != nil {
		m.o = *o
	}
	if v := reflect.ValueOf(store); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return nil, errors.New("session: New: the store is nil: pass one, such as memorystore.New(nil)")
	}
	m.swapper, _ = As[Swapper](store)
	m.keeper = keeperOf(m.swapper)
	m.toucher, _ = As[Toucher](store)

	var problems []error
	problem := func(format string, a ...any) { problems = append(problems, fmt.Errorf(format, a...)) }
	m.fillIn(problem)
	m.check(problem)
	if m.o.Carrier == nil {
		if err := m.newCookie(); err != nil {
			problem("%w", err)
		}
	} else {
		m.carrier = m.o.Carrier
		if len(m.o.Keys) > 0 {
			problem("Options has both Keys and a Carrier: the Carrier is not signed by this package, so drop the Keys")
		}
		if err := m.config.check(""); err != nil {
			problem("%w", err)
		}
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("session: New: %w", errors.Join(problems...))
	}
	m.o.Keys = nil
	if m.o.Rolling && (!m.o.koa || m.o.TouchEvery > 0) {
		m.touched = newRecently()
	}
	timeout := m.o.ReconnectTimeout
	if m.o.FailFast {
		timeout = 0
	}
	m.health = newHealth(store, timeout, m.o.MaxWaiters)
	return m, nil
}

// fillIn puts the defaults where nothing is said.
func (m *Manager) fillIn(problem func(string, ...any)) {
	o := &m.o
	if o.FailFast && o.ReconnectTimeout != 0 {
		problem("Options has both FailFast and ReconnectTimeout: drop one")
	}
	given := o.Cookie
	sameSite := SameSiteLax
	if o.koa {
		sameSite = SameSiteUnset
	}
	m.config = given.or(CookieOptions{
		Path: "/", MaxAge: DefaultMaxAge, HTTPOnly: On, SameSite: sameSite, Overwrite: On, Signed: On,
	})
	if o.koa {
		m.blank = &ownCookie{members: koaCookie(given, m.config)}
		all := m.blank.over(m.config)
		m.blank.options = &all // now, since all new sessions share it
	}
	if o.Name == "" {
		o.Name = "koa.sid"
	}
	if o.Prefix == "" && !o.NoPrefix {
		o.Prefix = "koa:sess:"
	}
	setDefault(&o.MaxSize, 256<<10)
	setDefault(&o.OpTimeout, 500*time.Millisecond)
	setDefault(&o.ReconnectTimeout, 10*time.Second)
	setDefault(&o.MaxWaiters, 10_000)
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// check looks for options that contradict each other or make no sense.
func (m *Manager) check(problem func(string, ...any)) {
	o := &m.o
	if o.NoPrefix && o.Prefix != "" {
		problem("Options has both Prefix and NoPrefix: drop one")
	}
	if len(o.Prefix) > 100 || !keyText(o.Prefix) {
		problem("Options.Prefix must be at most 100 bytes of printable ASCII without blanks")
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"TTL", o.TTL}, {"AbsoluteTimeout", o.AbsoluteTimeout}, {"TouchEvery", o.TouchEvery},
		{"OpTimeout", o.OpTimeout}, {"ReconnectTimeout", o.ReconnectTimeout},
	} {
		if d.value < 0 {
			problem("Options.%s is negative: leave it out for the default", d.name)
		}
	}
	if o.MaxSize < 0 || o.MaxWaiters < 0 {
		problem("Options.MaxSize or MaxWaiters is negative: leave it out for the default")
	}
	if o.TouchEvery > 0 && !o.Rolling {
		problem("Options.TouchEvery spaces the renewals of Rolling out: set Rolling too")
	}
	life := o.TTL
	if life == 0 && !m.config.NoMaxAge {
		life = m.config.MaxAge
	}
	if o.TouchEvery > 0 && life > 0 && o.TouchEvery >= life {
		problem("Options.TouchEvery is not shorter than the life of a session: a busy one would expire between two renewals")
	}
	if o.AbsoluteTimeout > 0 && o.koa {
		problem("Options.AbsoluteTimeout needs the time of creation, which KoaCompat does not store")
	}
	if h, ok := o.Carrier.(header); ok && !(fieldName(string(h)) && h.free()) {
		problem("core.Header needs the name of a header field that has no other meaning, such as X-Session-Id")
	}
	if o.OnConflict > ConflictLastWriteWins {
		problem("Options.OnConflict has no such value: use one of the ConflictPolicy constants")
	}
	if o.OnConflict != ConflictDefault && m.swapper == nil {
		problem("Options.OnConflict needs a store with versions (core.Swapper), which this one has not: %w", errors.ErrUnsupported)
	}
}

// newCookie makes the default carrier.
func (m *Manager) newCookie() error {
	o := &m.o
	c := &signedCookie{name: o.Name, sigName: o.Name + sigSuffix, signed: m.config.Signed == On, allowHTTP: o.InsecureAllowHTTP, options: m.config, key: m.key}
	if c.signed {
		c.verified = newVerified()
	}
	errs := []error{checkName(o.Name), m.config.check(o.Name)}
	switch {
	case c.signed && len(o.Keys) == 0:
		errs = append(errs, errors.New("Options.Keys is empty, but the cookie is signed: give at least one key of 32 random bytes, or set Cookie.Signed to core.Off"))
	case !c.signed && len(o.Keys) > 0:
		errs = append(errs, errors.New("Options has Keys, but Cookie.Signed is Off: drop one"))
	default:
		keys, err := newKeyring(o.Keys, o.koa, o.InsecureShortKeys)
		errs = append(errs, err)
		c.keys.Store(keys)
	}
	m.carrier, m.cookie = c, c
	return errors.Join(errs...)
}

// RotateKeys replaces Options.Keys for all requests from now on: the first
// signs, all verify. On an error the old keys stay.
func (m *Manager) RotateKeys(keys [][]byte) error {
	if m.cookie == nil || !m.cookie.signed {
		return errors.New("session: RotateKeys: the cookie is not signed")
	}
	if len(keys) == 0 {
		return errors.New("session: RotateKeys: no keys")
	}
	ring, err := newKeyring(keys, m.o.koa, m.o.InsecureShortKeys)
	if err != nil {
		return fmt.Errorf("session: RotateKeys: %w", err)
	}
	m.cookie.keys.Store(ring)
	return nil
}

// Close ends the waiting of requests for the store: they get ErrUnavailable at
// once. Requests that have their session finish their commit. A second Close
// does nothing. The store is not closed.
func (m *Manager) Close() error {
	m.health.close()
	return nil
}

// Guarantees tells in a line what concurrent requests of one session can rely
// on, which depends on the abilities of the store and on OnConflict.
func (m *Manager) Guarantees() string {
	switch {
	case m.swapper == nil:
		return "last write wins, also over a removal: the store has no versions"
	case m.o.OnConflict == ConflictRefuse:
		return "a save that meets another one fails with ErrConflict; a destroyed session stays destroyed"
	case m.o.OnConflict == ConflictLastWriteWins:
		return "last write wins; a destroyed session stays destroyed"
	default:
		return "no update is lost; a destroyed session stays destroyed"
	}
}

// key is where the store keeps the session of id.
func (m *Manager) key(id ID) string {
	if m.o.koa {
		return m.o.Prefix + string(id)
	}
	return hashedKey(m.o.Prefix, id)
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

// newID makes an id with the user's generator or our own (K15).
func (m *Manager) newID(ctx context.Context) (ID, error) {
	if m.o.NewID == nil {
		return newID(), nil
	}
	text, err := m.o.NewID(ctx)
	if err != nil {
		return "", err
	}
	id := ID(text)
	return id, id.checkNew()
}

// report hands a failure to the hook, which decides what becomes of it.
func (m *Manager) report(ctx context.Context, op Op, err error) error {
	e := &Error{Op: op, Err: err}
	m.debug(ctx, "session error", slog.String("op", string(op)), slog.Any("error", err))
	if m.o.Hooks.Error == nil {
		return e
	}
	return m.o.Hooks.Error(ctx, e)
}

// insist is report for what no hook can make good: a caller who goes on after
// a Renew that failed would have a login with the old id.
func (m *Manager) insist(ctx context.Context, op Op, err error) error {
	if failed := m.report(ctx, op, err); failed != nil {
		return failed
	}
	return &Error{Op: op, Err: err}
}

// mention is report for what fails nothing unless the hook wants it.
func (m *Manager) mention(ctx context.Context, op Op, err error) error {
	failed := m.report(ctx, op, err)
	if m.o.Hooks.Error == nil {
		return nil
	}
	return failed
}

func (m *Manager) debug(ctx context.Context, msg string, attrs ...slog.Attr) {
	if m.o.Logger != nil {
		m.o.Logger.LogAttrs(ctx, slog.LevelDebug, msg, attrs...)
	}
}
