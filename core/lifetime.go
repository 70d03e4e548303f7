package core

import (
	"errors"
	"fmt"
	"time"

	"github.com/gensession/gensession/core/internal/record"
)

// A Lifetime is how long one session lives, where that is less than the Options
// say. Zero fields mean the Options. It is stored with the session; if the
// Options become stricter afterwards, they win.
type Lifetime struct {
	// IdleTimeout ends the session when no request has used it for so long.
	IdleTimeout time.Duration
	// AbsoluteTimeout ends the session so long after its last login, or else
	// after its creation.
	AbsoluteTimeout time.Duration
	// RenewAfter gives the session a new id when the old one has been in use for
	// so long.
	RenewAfter time.Duration
	// UntilBrowserCloses makes the browser forget the session when it is closed.
	UntilBrowserCloses bool
}

// SetLifetime gives this session a lifetime of its own from now on, in place of
// an earlier one. It is an error, and changes nothing, if one of the times is
// under a second or longer than the Options allow: for a session that is
// remembered (LoginOptions.Remember) Options.RememberFor is the limit, for others
// what the Options say under the same name. Not with KoaCompat, where
// [Session.SetCookie] is all that Koa understands.
func (s *Session) SetLifetime(l Lifetime) error {
	m := s.visit.manager
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	life, err := m.newLife(l, s.own.Lives().Remembered, s.cookieOptions())
	if err != nil {
		return misused("session: Session.SetLifetime: %w", err)
	}
	if life != s.own.Lives() {
		s.setOwn(withLife(s.own, life), nil)
		s.ownSet = true
		s.cookieRev++
	}
	return nil
}

// Lifetime returns how long this session lives by the Options and by what was
// chosen for it; zero times are no limit. IdleTimeout is also the time from each
// save, where reading does not prolong a session.
func (s *Session) Lifetime() Lifetime {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.visit.manager.limits(s.cookieOptions(), s.own)
	return Lifetime{IdleTimeout: l.idle, AbsoluteTimeout: l.absolute, RenewAfter: l.renew, UntilBrowserCloses: l.closes}
}

// limits are how long a session may live.
type limits struct {
	idle     time.Duration // from each save, or if it rolls from each request; zero for none
	absolute time.Duration // from its login or creation; zero for none
	renew    time.Duration // of one id; zero for none
	expires  time.Time     // zero for none
	rolls    bool
	closes   bool // the cookie ends with the browser
}

// limits are those of a session with the complete options c that has chosen own.
func (m *Manager) limits(c CookieOptions, own *record.Cookie) limits {
	o, life := &m.o, own.Lives()
	l := limits{
		absolute: o.AbsoluteTimeout, renew: o.RenewAfter,
		rolls: m.rolling, closes: c.MaxAge == UntilBrowserCloses && c.Expires.IsZero(),
	}
	switch {
	case life.Remembered && o.RememberFor > 0:
		l.absolute, l.rolls, l.closes = o.RememberFor, false, false
	case c.MaxAge != UntilBrowserCloses:
		l.idle = c.MaxAge
	case !c.Expires.IsZero():
		l.expires = c.Expires
	case o.IdleTimeout > 0:
		l.idle = o.IdleTimeout
	case !o.InsecureNoLimit:
		l.idle = DefaultMaxAge
	}
	if life.Idle > 0 {
		l.idle, l.rolls = nearer(l.idle, millis(life.Idle)), true
	}
	if life.Absolute > 0 {
		l.absolute = nearer(l.absolute, millis(life.Absolute))
	}
	if life.Renew > 0 {
		l.renew = nearer(l.renew, millis(life.Renew))
	}
	l.closes = l.closes || life.Closes
	return l
}

// nearer is the shorter one of two times, of which zero is none.
func nearer(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// millis are ms milliseconds, as many as a Duration can have.
func millis(ms int64) time.Duration {
	return time.Duration(min(ms, int64(1<<63-1)/int64(time.Millisecond))) * time.Millisecond
}

// newLife is l as it is stored, or why a session with the options c can't have it.
func (m *Manager) newLife(l Lifetime, remembered bool, c CookieOptions) (record.Life, error) {
	life := record.Life{
		Idle: l.IdleTimeout.Milliseconds(), Absolute: l.AbsoluteTimeout.Milliseconds(), Renew: l.RenewAfter.Milliseconds(),
		Closes: l.UntilBrowserCloses, Remembered: remembered,
	}
	if l == (Lifetime{}) {
		return life, nil
	}
	if !m.dialect.recordsTime() {
		return life, fmt.Errorf("KoaCompat can't store a Lifetime: use SetCookie: %w", errors.ErrUnsupported)
	}
	if l.RenewAfter > 0 && m.swapper == nil {
		return life, fmt.Errorf("RenewAfter %w", errNoVersions)
	}
	most := m.limits(c, &record.Cookie{Life: &record.Life{Remembered: remembered}})
	for _, d := range []struct {
		name      string
		want, max time.Duration
	}{
		{"IdleTimeout", l.IdleTimeout, most.idle}, {"AbsoluteTimeout", l.AbsoluteTimeout, most.absolute}, {"RenewAfter", l.RenewAfter, most.renew},
	} {
		switch {
		case d.want == 0:
		case unmeant(d.name, d.want) != nil:
			return life, unmeant(d.name, d.want)
		case d.max > 0 && d.want > d.max:
			return life, fmt.Errorf("%s of %v is longer than %v, which the Options allow", d.name, d.want, d.max)
		}
	}
	if l.RenewAfter > 0 && l.RenewAfter <= m.o.RenewGrace {
		return life, errors.New("RenewAfter is not longer than Options.RenewGrace")
	}
	return life, nil
}

var errNoVersions = fmt.Errorf("needs a store with versions (core.Swapper), which this store lacks: %w", errors.ErrUnsupported)

// unmeant is why nobody can mean that lifetime, nil if one can. What looks like
// milliseconds of another language is mostly shorter than a second; days are not if
// there are twelve or more, and then no time that anybody would write.
func unmeant(name string, d time.Duration) error {
	const aDay = 24 * 60 * 60 * 1000
	switch {
	case d < time.Second:
		return tooShort(name, d)
	case d%aDay == 0 && d/aDay <= maxCookieAge/(24*time.Hour):
		return fmt.Errorf("%s of %v looks like the milliseconds of %d days: a number without a unit counts nanoseconds; write %d * 24 * time.Hour", name, d, d/aDay, d/aDay)
	case d > longestLife:
		return fmt.Errorf("%s is longer than ten years: a time that was multiplied by its unit twice overflows; for no limit omit it", name)
	}
	return nil
}

// longestLife is more than anybody sets as a limit. What overflows is mostly negative
// or beyond it.
const longestLife = 3653 * 24 * time.Hour

// tooLateEnd is why nobody can mean until as the end of a migration, nil if one can: a
// number of milliseconds given to time.Unix is an end that never comes.
func tooLateEnd(name string, until time.Time) error {
	if until.IsZero() || until.Before(time.Now().Add(longestLife)) {
		return nil
	}
	return fmt.Errorf("%s is more than ten years ahead, and so no end: time.Unix counts seconds, and time.UnixMilli milliseconds", name)
}

// tooShort is the error of a lifetime under a second. Mostly it is a number that
// another language counts in seconds or milliseconds.
func tooShort(name string, d time.Duration) error {
	switch n := int64(d); {
	case d < 0:
		return fmt.Errorf("%s is negative: omit it for the default", name)
	case n >= 1_000_000:
		return fmt.Errorf("%s of %v is shorter than a second: a number without a unit counts nanoseconds; %d milliseconds are %d * time.Millisecond, or %v", name, d, n, n, millis(n))
	case n%1000 == 0 && n >= 10_000: // a minute in milliseconds, or many hours in seconds
		return fmt.Errorf("%s of %v is shorter than a second: a number without a unit counts nanoseconds; %d milliseconds are %d * time.Millisecond, or %v, and %d seconds %v", name, d, n, n, millis(n), n, time.Duration(n)*time.Second)
	default:
		return fmt.Errorf("%s of %v is shorter than a second: a number without a unit counts nanoseconds; %d seconds are %d * time.Second, or %v", name, d, n, n, time.Duration(n)*time.Second)
	}
}

// tooFar reports an end of a cookie at which no browser keeps it any more.
func tooFar(expires time.Time) bool { return !expires.IsZero() && time.Until(expires) > maxCookieAge }

var errTooFar = errors.New("is more than 400 days ahead, the maximum of browsers: for sessions without an end there is none")

// checkLife reports a life that can't be meant, unless it is the one that a session
// has already. Koa may have stored that.
func (c *CookieOptions) checkLife(was *CookieOptions) error {
	if c.MaxAge != was.MaxAge && c.MaxAge > 0 {
		if err := unmeant("MaxAge", c.MaxAge); err != nil {
			return err
		}
	}
	if c.Expires != was.Expires && tooFar(c.Expires) {
		return fmt.Errorf("Expires %w", errTooFar)
	}
	return nil
}

// withLife are the options own with that life.
func withLife(own *record.Cookie, life record.Life) *record.Cookie {
	var c record.Cookie
	if own != nil {
		c = *own
	}
	if c.Life = nil; life != (record.Life{}) {
		c.Life = &life
	}
	if c.Members == nil && c.Life == nil {
		return nil
	}
	return &c
}

// checkLife reports lifetimes that can't be meant. given are the attributes of the
// cookie as they were given.
func (m *Manager) checkLife(given CookieOptions, problem func(string, ...any)) {
	o := &m.o
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"TTL", o.TTL}, {"IdleTimeout", o.IdleTimeout}, {"AbsoluteTimeout", o.AbsoluteTimeout},
		{"RenewAfter", o.RenewAfter}, {"RenewGrace", o.RenewGrace}, {"RememberFor", o.RememberFor},
	} {
		if err := unmeant("Options."+d.name, d.value); d.value != 0 && err != nil {
			problem("%w", err)
		}
	}
	if err := unmeant("Options.Cookie.MaxAge", given.MaxAge); given.MaxAge > 0 && err != nil {
		problem("%w", err)
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"IdleTimeout", o.IdleTimeout}, {"RememberFor", o.RememberFor}} {
		if d.value > maxCookieAge && d.value <= longestLife {
			problem("Options.%s of %v is longer than 400 days, the maximum of browsers", d.name, d.value)
		}
	}
	for _, end := range []struct {
		name string
		at   time.Time
	}{{"UnderivedUntil", o.UnderivedUntil}, {"Seal.UnsealedUntil", o.Seal.UnsealedUntil}, {"Migrate.Until", o.Migrate.Until}} {
		if err := tooLateEnd("Options."+end.name, end.at); err != nil {
			problem("%w", err)
		}
	}
	if tooFar(given.Expires) {
		problem("Options.Cookie.Expires %w", errTooFar)
	}
	if o.RenewAfter > 0 && o.RenewAfter >= time.Second && o.RenewAfter <= o.RenewGrace {
		problem("Options.RenewAfter of %v is not longer than RenewGrace, %v, for which the old id is still good: set a longer RenewAfter or a shorter RenewGrace", o.RenewAfter, o.RenewGrace)
	}
	if o.koa {
		m.checkKoaLife(problem)
		return
	}
	if o.TTL != 0 || o.TTLFunc != nil || o.Rolling {
		problem("Options.TTL, TTLFunc and Rolling are those of KoaCompat: set IdleTimeout (a life from each request) or Cookie.MaxAge (from each save), which hold for the browser and the store; for one session Session.SetLifetime")
	}
	if !given.Expires.IsZero() && (given.MaxAge > 0 || o.IdleTimeout > 0) {
		problem("Options.Cookie has Expires beside MaxAge or IdleTimeout: remove one")
	}
	if given.MaxAge > 0 && o.IdleTimeout > 0 {
		problem("Options has both IdleTimeout and Cookie.MaxAge, which are a life from each request and one from each save, for the browser and the store: remove one, or set Cookie.MaxAge to core.UntilBrowserCloses")
	}
	if least := max(given.MaxAge, o.IdleTimeout); o.RememberFor >= time.Second && o.RememberFor < least {
		problem("Options.RememberFor of %v is shorter than %v, for which an unused session lives that is not remembered: set a longer one", o.RememberFor, least)
	}
	if left := time.Until(given.Expires); !given.Expires.IsZero() && left <= 0 {
		problem("Options.Cookie.Expires has passed: no browser would keep a session; set MaxAge or IdleTimeout for a life of each session")
	}
	if o.RenewAfter > 0 && m.swapper == nil {
		problem("Options.RenewAfter %w: set it to zero", errNoVersions)
	}
}

// checkKoaLife reports what the original has no place for.
func (m *Manager) checkKoaLife(problem func(string, ...any)) {
	o := &m.o
	if o.AbsoluteTimeout > 0 {
		problem("Options.AbsoluteTimeout needs the time of creation, which KoaCompat does not store")
	}
	if o.RenewAfter > 0 {
		problem("Options.RenewAfter is not available with KoaCompat: Koa would not find the session under its new id")
	}
	if o.IdleTimeout > 0 {
		problem("Options.IdleTimeout is not available with KoaCompat: set Rolling and TTL, as in the original")
	}
}
