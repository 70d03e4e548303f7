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

// Header returns a Carrier for non-browser clients. It transports the id unsigned
// in the request and response header field of that name. A response carries the
// id if the session was saved.
func Header(name string) Carrier { return header(name) }

type header string

func (h header) Get(jar Jar) (ID, bool, error) { return ID(jar.RequestHeader(string(h))), false, nil }

func (h header) Set(jar Jar, s *Session) error {
	jar.SetResponseHeader(string(h), string(s.ID()))
	noStore(jar)
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
		"Connection", "Transfer-Encoding", "Trailer", "Upgrade", "Date",
	}, func(taken string) bool { return strings.EqualFold(string(h), taken) })
}

// errPlainHTTP is the error of K8.
var errPlainHTTP = errors.New("the cookie is Secure, but the request did not come over TLS: serve TLS, configure the adapter to recognize TLS behind a proxy, or set InsecureAllowHTTP")

// signedCookie is the default Carrier: the cookie NAME, and NAME.sig unless
// unsigned.
type signedCookie struct {
	name      string
	sigName   string // name of the signature cookie
	signed    bool
	allowHTTP bool
	options   CookieOptions // the configuration, complete
	keys      atomic.Pointer[keyring]
	verified  *verified       // nil if unsigned
	scratches sync.Pool       // see scratch
	key       func(ID) string // returns the store's key of an id
}

// Get reads K10 to K13.
func (c *signedCookie) Get(jar Jar) (ID, bool, error) {
	p, reissue, _ := c.read(jar)
	if p == nil {
		return "", false, nil
	}
	return p.id, reissue, nil
}

// read returns the id that the request carries, nil if there is none, with its
// signature if the first key made it, and with its store key if that is known.
// refused is the reason if the request carries session cookies and none is
// accepted. A sibling domain or a deeper path can add cookies of the same name:
// an id is accepted only if no other one verifies.
func (c *signedCookie) read(jar Jar) (found *signedID, reissue bool, refused string) {
	keys := c.keys.Load()
	if a, ok := jar.(bufferJar); ok && c.signed {
		if p := c.lookupBuffered(a, keys); p != nil {
			return p, false, ""
		}
	}
	ids, sigs := parseCookies(jar.Cookie(), c.name)
	if ids.more {
		return nil, false, "more cookies than a browser sends"
	}
	if p := c.lookup(&ids, &sigs, keys); p != nil {
		return p, false, ""
	}
	forged := false
	for i, value := range ids.all[:ids.n] {
		if !ID(value).shaped() || seen(ids.all[:i], value) {
			continue
		}
		p, key := &signedID{id: ID(value)}, 0
		if c.signed {
			var text string
			if text, key = c.verify(keys, value, &sigs); key < 0 {
				forged = forged || text != ""
				continue
			}
			if key == 0 {
				p.signature, p.by = text, keys
				c.verified.add(value, text, keys, c.key)
			}
		}
		if found != nil {
			return nil, false, "several cookies with a valid signature"
		}
		found, reissue = p, key > 0
	}
	switch {
	case found != nil:
	case forged:
		c.resetSignature(jar)
		refused = "a signature by none of the keys"
	case ids.n > 0:
		refused = "no signature, or no id"
	}
	return found, reissue, refused
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
// its result does not refer to the buffers of jar.
func (c *signedCookie) lookupBuffered(jar bufferJar, keys *keyring) *signedID {
	scratch := c.scratch()
	field := jar.AppendCookie((*scratch)[:0])
	ids, sigs := parseCookies(unsafe.String(unsafe.SliceData(field), len(field)), c.name)
	p := c.lookup(&ids, &sigs, keys)
	c.putScratch(scratch, field)
	return p
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
func (c *signedCookie) verify(keys *keyring, value string, sigs *values) (text string, key int) {
	for _, sig := range sigs.all[:sigs.n] {
		if sig == "" {
			continue
		}
		text = sig
		if key := keys.verify(c.name, value, sig); key >= 0 {
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
// K7, K25).
func (c *signedCookie) Set(jar Jar, s *Session) error {
	s.mu.Lock()
	id, o := s.id, s.cookieOptions()
	s.mu.Unlock()
	if err := c.ready(jar, &o); err != nil {
		return err
	}
	now := time.Unix(0, s.wrote)
	if s.wrote == 0 {
		now = time.Now()
	}
	c.send(jar, &o, s.signedID(c, id), o.expiry(now))
	return nil
}

// Reset sends both cookies in expired form, with the attributes by which browsers
// distinguish cookies (K6).
func (c *signedCookie) Reset(jar Jar, s *Session) error {
	o := s.Cookie()
	c.send(jar, &o, signedID{}, time.Unix(0, 0))
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
	line := append(append(buf[:0], c.sigName...), '=')
	jar.SetCookie(c.sigName, string(o.appendAttributes(line, time.Unix(0, 0), c.secure(jar, &o))), true)
	noStore(jar)
}

// send sends the cookie and its signature, which has the same attributes (K4).
func (c *signedCookie) send(jar Jar, o *CookieOptions, p signedID, expires time.Time) {
	scratch := c.scratch()
	lines := o.appendCookie((*scratch)[:0], c.name, string(p.id), expires, c.secure(jar, o))
	first := len(lines)
	if c.signed {
		attributes := lines[len(c.name)+1+len(p.id):]
		lines = append(append(lines, c.sigName...), '=')
		if p.by != nil {
			lines = append(lines, p.signature...)
		} else {
			lines = c.keys.Load().sign(lines, c.name, string(p.id))
		}
		lines = append(lines, attributes...)
	}
	replace := o.Overwrite != Off
	if b, ok := jar.(bufferJar); ok {
		b.SetCookieBytes(c.name, lines[:first], replace)
		if c.signed {
			b.SetCookieBytes(c.sigName, lines[first:], replace)
		}
	} else {
		text := string(lines) // both in one string, so that it is one allocation
		jar.SetCookie(c.name, text[:first], replace)
		if c.signed {
			jar.SetCookie(c.sigName, text[first:], replace)
		}
	}
	c.putScratch(scratch, lines)
	noStore(jar)
}

// secure returns the secure attribute: the option if it is set, else whether the
// request came over TLS (K8).
func (c *signedCookie) secure(jar Jar, o *CookieOptions) bool {
	return o.Secure == On || o.Secure == Default && jar.Secure()
}

// noStore keeps a response that contains the id out of caches.
func noStore(jar Jar) { jar.DefaultResponseHeader("Cache-Control", "no-store") }

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
