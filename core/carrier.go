package core

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// A Carrier transports the id between browser and server (generic-session's
// sessionIdStore). The default is the signed cookie; Options.Carrier replaces it
// entirely.
//
// Anyone who knows an id can use the session. Never put an id into a URL: URLs
// appear in logs, histories and Referer fields.
//
// A Carrier must not call methods of the session that reach the store.
type Carrier interface {
	// Get returns the id that the request carries, "" if there is no id or it
	// can't be trusted. If reissue is true, the id is sent again even if nothing
	// is saved, since it came in an outdated form. An error fails the request;
	// an invalid id is not an error.
	Get(jar Jar) (id ID, reissue bool, err error)
	// Set sends s.ID() with the response. It is called only after the session
	// was stored.
	Set(jar Jar, s *Session) error
	// Reset makes the browser remove the id.
	Reset(jar Jar, s *Session) error
}

// A sender is the part of a Carrier that sends. The default carrier is read by way of
// signedCookie.read, which tells more than an id.
type sender interface {
	Set(jar Jar, s *Session) error
	Reset(jar Jar, s *Session) error
}

// Header returns a Carrier for non-browser clients. It transports the id unsigned
// in the request and response header field of that name. A response carries the
// id if the session was saved.
func Header(name string) Carrier { return header(name) }

type header string

func (h header) Get(jar Jar) (ID, bool, error) { return ID(jar.RequestHeader(string(h))), false, nil }

func (h header) Set(jar Jar, s *Session) error {
	jar.SetResponseHeader(string(h), string(s.ID()))
	return nil
}

func (h header) Reset(jar Jar, _ *Session) error {
	jar.SetResponseHeader(string(h), "")
	return nil
}

// free reports whether the field has no other meaning to proxies, browsers or
// this package.
func (h header) free() bool {
	return !slices.ContainsFunc([]string{
		"Cookie", "Set-Cookie", "Cache-Control", "Vary", "Host", "Content-Length", "Content-Type", "Content-Encoding",
		"Connection", "Transfer-Encoding", "Trailer", "Upgrade", "Date", "TE", "Keep-Alive", "Expect", "Origin", "Referer", "User-Agent",
		"Authorization", "Proxy-Authorization", "WWW-Authenticate", "Proxy-Authenticate", "Authentication-Info",
		"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Location", "Set-Cookie2", "Clear-Site-Data",
	}, func(taken string) bool { return strings.EqualFold(string(h), taken) })
}

// errPlainHTTP is the error of K8.
var errPlainHTTP = errors.New("the cookie is Secure, but the request did not come over TLS: serve TLS; behind a proxy that ends TLS set TrustedProxies of the adapter, or InsecureAllowHTTP where the proxy does not announce it; for work on your machine set Cookie.Secure to core.Default, and a Name without __Host- or __Secure-")

// A place is one of the cookies that a browser can have an id in. They are read in
// this order, and each only where those before it lead to no session.
type place uint8

const (
	// atName is the cookie NAME.
	atName place = iota
	// atNext is NAME.next, a copy of an id that a session got by Login, Renew or
	// Reset in place of another one. A response that saved the session under the old
	// id may reach the browser after the one with the new id. Then NAME leads
	// nowhere, and the copy counts, however long the browser waits with its next
	// request. Nothing else is sent there, but the same copy anew where the session
	// chooses to end with the browser, which the copy would outlive.
	atNext
	// atLate is NAME.late. A request that carries an id which was given up may
	// belong to a browser that has got another id by now, or to one that has never
	// got the answer. What such a request stores goes there, and so takes no session
	// away from either of them. So does the copy of an id that the session got of
	// itself: any request may do that, also one beside a login.
	atLate
	places
)

// suffixes are what follows NAME.
var suffixes = [places]string{"", ".next", ".late"}

// namesOf are the names of the cookies, and those of their signatures.
func namesOf(name string) (cookies, sigs [places]string) {
	for at, suffix := range suffixes {
		cookies[at] = name + suffix
		sigs[at] = cookies[at] + sigSuffix
	}
	return cookies, sigs
}

// signedCookie is the default way of the id: the cookie NAME and those beside it, each
// with NAME.sig unless unsigned.
type signedCookie struct {
	name      string
	cookies   [places]string // the names of all
	sigs      [places]string // and those of their signatures
	signed    bool
	shaped    func(ID) bool // reports whether something has the form of an id
	allowHTTP bool
	koa       bool            // a line replaces those of every scope, and a signature that none of the keys made is removed
	names     []*formerName   // that it had before
	domains   []string        // see Options.Domains
	former    []CookieOptions // whose scopes the cookie had before
	// formerOfNames are those that only a cookie of a former name can have had: one of
	// __Host- has no domain.
	formerOfNames []CookieOptions
	options       CookieOptions // the configuration, complete
	keys          atomic.Pointer[keyring]
	verified      *verified       // nil if unsigned
	scratches     sync.Pool       // see scratch
	key           func(ID) string // returns the store's key of an id
}

// A reading is what a request carries. Its ids are different and genuine: with
// the signature if the first key made it, and with the store key if that is
// known.
type reading struct {
	only    *signedID
	several []*signedID // if there is more than one, in the order sent: a sibling domain, a deeper path or a former scope of the cookie can add some
	reissue bool        // an older key has signed the only one
	more    bool        // there may be others, which are not looked at
	forged  bool        // there are signatures by none of the keys, and no others
	odd     bool        // there is one that has not the form of an id
	long    bool        // the Cookie field is longer than what is looked at
	refused string      // why there is none, if the request carries session cookies
}

// tooLong is that of a Cookie field that nothing is looked for in.
var tooLong = reading{more: true, long: true, refused: "the Cookie field is longer than 16 KiB"}

// read returns what the request carries (K10 to K13).
func (c *signedCookie) read(jar Jar) (r reading) {
	keys := c.keys.Load()
	if a, ok := jar.(bufferJar); ok && c.signed {
		var long bool
		if r.only, long = c.lookupBuffered(a, keys); r.only != nil {
			return r
		}
		if long {
			return tooLong
		}
	}
	field := jar.Cookie()
	ids, sigs := parseCookies(field, c.name)
	switch {
	case len(field) > maxCookieField:
		return tooLong
	case ids.more:
		return reading{more: true, refused: "more cookies than a browser sends"}
	}
	if r.only = c.lookup(&ids, &sigs, keys); r.only != nil {
		return r
	}
	found, reissue, forged := c.genuine(keys, c.name, &ids, &sigs)
	switch {
	case len(found) == 1:
		r.only, r.reissue = found[0], reissue
	case len(found) > 1:
		r.several = found
	case forged:
		r.forged = true
		r.refused = "a signature by none of the keys"
	case c.koa && c.signedOdd(keys, &ids, &sigs):
		r.odd = true
		r.refused = "an id of other characters or of another length: see Options.Koa.ValidID"
	case ids.n > 0:
		r.refused = "no signature, or no id"
	}
	return r
}

// signedOdd reports whether one of our keys has signed something that has not the
// form of an id: the Koa app takes it for one.
func (c *signedCookie) signedOdd(keys *keyring, ids, sigs *values) bool {
	for _, value := range ids.all[:ids.n] {
		if value == "" || c.shaped(ID(value)) {
			continue
		}
		if !c.signed {
			return true
		}
		if _, key := verify(keys, c.name, value, sigs); key >= 0 {
			return true
		}
	}
	return false
}

// genuine are the different ids with a signature, for the cookie name. reissue
// means that an older key has signed the only one; forged, that there are
// signatures by none of the keys, and no others.
func (c *signedCookie) genuine(keys *keyring, name string, ids, sigs *values) (found []*signedID, reissue, forged bool) {
	for i, value := range ids.all[:ids.n] {
		if !c.shaped(ID(value)) || seen(ids.all[:i], value) {
			continue
		}
		p, key := &signedID{id: ID(value)}, 0
		if c.signed {
			var text string
			if text, key = verify(keys, name, value, sigs); key < 0 {
				forged = forged || text != ""
				continue
			}
			if key == 0 {
				p.signature, p.by = text, keys
				if name == c.name {
					c.verified.add(value, text, keys, c.key)
				}
			}
		}
		found = append(found, p)
		reissue = key > 0
	}
	return found, reissue && len(found) == 1, forged && len(found) == 0
}

// besides are the ids that a request carries beside the first cookie, genuine and
// other than its own: "" where there is none, or more than one.
type besides struct {
	ids     [places]ID
	reissue [places]bool // as in reading
	several []ID         // of places where there is more than one: they count for nothing, but can be ended
}

// any reports whether there is one.
func (b *besides) any() bool { return b.ids != [places]ID{} || b.several != nil }

// beside returns those that are other than own.
func (c *signedCookie) beside(jar Jar, own ID) (b besides) {
	if a, ok := jar.(bufferJar); ok {
		scratch := c.scratch()
		field := a.AppendCookie((*scratch)[:0])
		// #nosec G103 -- nothing of it is kept
		found := c.mayCarry(unsafe.String(unsafe.SliceData(field), len(field)), own)
		if c.putScratch(scratch, field); !found {
			return b
		}
	}
	field := jar.Cookie()
	if !c.mayCarry(field, own) {
		return b
	}
	for at := atNext; at < places; at++ {
		ids, sigs := parseCookies(field, c.cookies[at])
		found, reissue, _ := c.genuine(c.keys.Load(), c.cookies[at], &ids, &sigs)
		for i := 0; i < len(c.names) && len(found) == 0; i++ {
			former := c.names[i]
			ids, sigs := parseCookies(field, former.cookies[at])
			found, _, _ = c.genuine(former.keys.Load(), former.cookies[at], &ids, &sigs)
			reissue = true
		}
		found = slices.DeleteFunc(found, func(p *signedID) bool { return p.id == own })
		if len(found) == 1 {
			b.ids[at], b.reissue[at] = found[0].id, reissue
			continue
		}
		for _, p := range found {
			b.several = append(b.several, p.id)
		}
	}
	return b
}

// carries reports whether a request has something under the name of that cookie.
func (c *signedCookie) carries(jar Jar, at place) bool {
	a, ok := jar.(bufferJar)
	if !ok {
		return strings.Contains(jar.Cookie(), c.cookies[at])
	}
	scratch := c.scratch()
	field := a.AppendCookie((*scratch)[:0])
	// #nosec G103 -- nothing of it is kept
	has := strings.Contains(unsafe.String(unsafe.SliceData(field), len(field)), c.cookies[at])
	c.putScratch(scratch, field)
	return has
}

// copied reports whether the request of s has a copy of its id in that cookie.
func (c *signedCookie) copied(s *Session, at place) bool {
	if c.koa || s.carries == nil || !c.carries(s.visit.jar, at) {
		return false
	}
	ids, _ := parseCookies(s.visit.jar.Cookie(), c.cookies[at])
	return slices.Contains(ids.all[:ids.n], string(s.carries.id))
}

// mayCarry reports whether a Cookie field has a cookie beside the first one with
// another value than own. Mostly there is none, or a copy.
func (c *signedCookie) mayCarry(field string, own ID) bool {
	for at := atNext; at < places; at++ {
		if other(field, c.cookies[at], own) {
			return true
		}
		for _, former := range c.names {
			if other(field, former.cookies[at], own) {
				return true
			}
		}
	}
	return false
}

// other reports whether a Cookie field has a cookie of that name with another value
// than own.
func other(field, name string, own ID) bool {
	if !strings.Contains(field, name) {
		return false
	}
	ids, _ := parseCookies(field, name)
	return ids.n > 1 || ids.n == 1 && ids.all[0] != string(own)
}

// refuseSignature removes a signature that none of the keys made, in KoaCompat
// (K13). By default it is left alone: another application on this host, or a
// newer process of this one, may have made it.
func (c *signedCookie) refuseSignature(jar Jar) {
	if c.koa {
		c.resetSignature(jar)
	}
}

// lookup returns the verified entry of the cookies ids and sigs, nil if there is
// none.
func (c *signedCookie) lookup(ids, sigs *values, keys *keyring) *signedID {
	if !c.signed || ids.n != 1 || sigs.n != 1 {
		return nil
	}
	return c.verified.lookup(ids.all[0], sigs.all[0], keys)
}

// lookupBuffered is lookup on the Cookie field of jar. It does not allocate, and
// its result does not refer to the buffers of jar. long means that the field is longer
// than what is looked at.
func (c *signedCookie) lookupBuffered(jar bufferJar, keys *keyring) (p *signedID, long bool) {
	scratch := c.scratch()
	field := jar.AppendCookie((*scratch)[:0])
	// #nosec G103 -- lookup copies what it returns before the buffer is given back
	ids, sigs := parseCookies(unsafe.String(unsafe.SliceData(field), len(field)), c.name)
	p, long = c.lookup(&ids, &sigs, keys), len(field) > maxCookieField
	c.putScratch(scratch, field)
	return p, long
}

// scratch returns a reusable buffer. The caller gives it back with putScratch.
func (c *signedCookie) scratch() *[]byte {
	if scratch, ok := c.scratches.Get().(*[]byte); ok {
		return scratch
	}
	scratch := make([]byte, 0, 512)
	return &scratch
}

// putScratch clears what was written into a buffer of scratch and gives the
// buffer back.
func (c *signedCookie) putScratch(scratch *[]byte, written []byte) {
	clear(written) // leaves no id in memory
	if cap(written) <= maxCookieField {
		*scratch = written
	}
	c.scratches.Put(scratch)
}

func seen(before []string, value string) bool {
	for _, b := range before {
		if b == value {
			return true
		}
	}
	return false
}

// verify returns the signature of value and the index of the key that made it.
// If none verifies, key is -1 and text is a signature that was tried, "" if
// there was none.
func verify(keys *keyring, name, value string, sigs *values) (text string, key int) {
	for _, sig := range sigs.all[:sigs.n] {
		if sig == "" {
			continue
		}
		text = sig
		if key := keys.verify(name, value, sig); key >= 0 {
			return sig, key
		}
	}
	return text, -1
}

// ready returns an error if the cookie can't be sent. It is called before the
// session is stored.
func (c *signedCookie) ready(jar Jar, o *CookieOptions) error {
	if o.Secure == On && !c.allowHTTP && !jar.Secure() {
		return errPlainHTTP
	}
	return nil
}

// Set sends the cookie and its signature with the attributes of the session (K4,
// K7, K25), and a copy if the id has changed.
func (c *signedCookie) Set(jar Jar, s *Session) error {
	s.mu.Lock()
	id, o, at := s.id, s.cookieOptions(), s.place
	ends := s.expiry(&o)
	closes := ends.IsZero() && s.cookieRev > 0
	s.mu.Unlock()
	c.at(s.visit.jar, &o)
	if err := c.ready(jar, &o); err != nil {
		return err
	}
	clean, copies := len(jar.ResponseCookies()) == 0, s.visit.copies
	if c.koa {
		copies = atName
	}
	if at != atName {
		c.send(jar, c.cookies[at], &o, signedID{id: id}, ends, clean)
		return nil // without a copy: that is where a login's may be by now
	}
	for _, gone := range c.removals(s, &o, false) {
		c.send(jar, c.name, &gone, signedID{}, time.Unix(0, 0), clean)
		if copies != atName && c.carries(s.visit.jar, copies) {
			c.send(jar, c.cookies[copies], &gone, signedID{}, time.Unix(0, 0), clean)
		}
	}
	c.dropFormer(jar, s, &o)
	p := s.signedID(c, id)
	if c.signed && p.by == nil && s.visit.expires {
		key := s.key
		if s.stored.Next != "" { // it is that of another id
			key = c.key(id)
		}
		p = *c.verified.made(id, c.keys.Load(), c.name, key)
	}
	c.send(jar, c.name, &o, p, ends, clean)
	if copies != atName {
		c.send(jar, c.cookies[copies], &o, signedID{id: id}, ends, clean)
	}
	if copies == atNext && c.carries(s.visit.jar, atLate) {
		c.send(jar, c.cookies[atLate], &o, signedID{}, time.Unix(0, 0), clean)
	}
	if closes {
		// Copies from before this was chosen would outlive the browser.
		for at := atNext; at < places; at++ {
			if at != copies && copies != atNext && c.copied(s, at) {
				c.send(jar, c.cookies[at], &o, signedID{id: id}, ends, clean)
			}
		}
	}
	return nil
}

// expiry is when the cookie of s with the options o ends, zero for when the
// browser is closed: together with what the store has. op and mu are held.
func (s *Session) expiry(o *CookieOptions) time.Time {
	m, wrote := s.visit.manager, time.Unix(0, s.wrote)
	if s.wrote == 0 {
		wrote = time.Now()
	}
	if m.o.koa {
		return o.expiry(wrote)
	}
	if m.limits(*o, s.own).closes {
		return time.Time{}
	}
	lasts := s.lasts
	if s.wrote == 0 { // another request has written it
		lasts, _ = m.ttl(nil, *o, s.own, s.stored.Began(), wrote)
	}
	if lasts == 0 {
		return time.Time{} // for ever
	}
	return wrote.Add(lasts)
}

// Reset sends the cookie, those beside it that the request carries, and their
// signatures in expired form, with the attributes by which browsers distinguish
// cookies (K6).
func (c *signedCookie) Reset(jar Jar, s *Session) error {
	o := s.visit.cookieHere()
	scopes := append(c.removals(s, &o, true), o)
	c.dropFormer(jar, s, &o)
	for at, name := range c.cookies {
		if place(at) != atName && (c.koa || !c.carries(s.visit.jar, place(at))) {
			continue
		}
		for _, gone := range scopes {
			c.send(jar, name, &gone, signedID{}, time.Unix(0, 0), false)
		}
	}
	return nil
}

// signedID returns id, with the signature from the request if that is still
// current.
func (s *Session) signedID(c *signedCookie, id ID) signedID {
	if p := s.carries; p != nil && p.id == id && p.by == c.keys.Load() {
		return *p
	}
	return signedID{id: id}
}

func (c *signedCookie) resetSignature(jar Jar) {
	o := c.options
	var buf [512]byte
	line := append(append(buf[:0], c.sigs[atName]...), '=')
	jar.SetCookie(c.sigs[atName], string(o.appendAttributes(line, time.Unix(0, 0), c.secure(jar, &o))), true)
}

// send sends the cookie of that name and its signature, which has the same
// attributes (K4). clean means that there is no line that it could replace.
func (c *signedCookie) send(jar Jar, name string, o *CookieOptions, p signedID, expires time.Time, clean bool) {
	var sigName string
	if at := slices.Index(c.cookies[:], name); at >= 0 {
		sigName = c.sigs[at]
	} else { // a former name
		sigName = name + sigSuffix
	}
	scratch := c.scratch()
	lines := o.appendCookie((*scratch)[:0], name, string(p.id), expires, c.secure(jar, o))
	first := len(lines)
	if c.signed {
		attributes := lines[len(name)+1+len(p.id):]
		lines = append(append(lines, sigName...), '=')
		if p.by != nil {
			lines = append(lines, p.signature...)
		} else {
			lines = c.keys.Load().sign(lines, name, string(p.id))
		}
		lines = append(lines, attributes...)
	}
	if o.Overwrite != Off && !clean {
		c.clearScope(jar, name, o.scope())
		c.clearScope(jar, sigName, o.scope())
	}
	if b, ok := jar.(bufferJar); ok {
		b.SetCookieBytes(name, lines[:first], false)
		if c.signed {
			b.SetCookieBytes(sigName, lines[first:], false)
		}
	} else {
		text := string(lines) // both in one string, so that it is one allocation
		jar.SetCookie(name, text[:first], false)
		if c.signed {
			jar.SetCookie(sigName, text[first:], false)
		}
	}
	c.putScratch(scratch, lines)
}

// secure returns the secure attribute: the option if it is set, else whether the
// request came over TLS (K8).
func (c *signedCookie) secure(jar Jar, o *CookieOptions) bool {
	return o.Secure == On || o.Secure == Default && jar.Secure()
}

// vary adds field to the Vary field of the response.
func vary(jar Jar, field string) {
	if jar.DefaultResponseHeader("Vary", field) {
		return
	}
	vary := jar.ResponseHeader("Vary")
	for rest := vary; rest != ""; {
		var token string
		token, rest, _ = strings.Cut(rest, ",")
		if token = strings.Trim(token, " \t"); token == "*" || strings.EqualFold(token, field) {
			return
		}
	}
	jar.SetResponseHeader("Vary", vary+", "+field)
}
