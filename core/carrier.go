package core

import (
	"errors"
	"strings"
	"sync/atomic"
	"time"
)

// A Carrier moves the id between browser and server (generic-session's
// sessionIdStore, K34). The default is the signed cookie; another one in
// Options.Carrier replaces it altogether.
//
// Whoever knows an id owns the session. Never carry it in a URL: URLs end up
// in logs, histories and Referer fields.
//
// The session's own methods that reach the store must not be called from a
// Carrier.
type Carrier interface {
	// Get returns the id that the request carries, "" if it carries none or
	// none that can be trusted. reissue asks for the id to be sent again even
	// when nothing is saved, since it came in an outdated form. An error fails
	// the request; a bad id is none.
	Get(jar Jar) (id ID, reissue bool, err error)
	// Set sends s.ID() with the response. It is called only after the store
	// has the session.
	Set(jar Jar, s *Session) error
	// Reset makes the browser forget the id.
	Reset(jar Jar, s *Session) error
}

// Header returns a Carrier for clients that are no browsers: the id travels in
// the request and response field of that name, unsigned. Each response that
// saved the session carries it.
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

// errPlainHTTP is K8.
var errPlainHTTP = errors.New("the cookie is Secure, but the request did not come over TLS: serve TLS, tell the adapter how to see it behind a proxy, or set InsecureAllowHTTP")

// signedCookie is the default Carrier: the cookie NAME, and NAME.sig unless
// unsigned.
type signedCookie struct {
	name      string
	sigName   string // of the cookie with the signature
	signed    bool
	allowHTTP bool
	options   CookieOptions // the configuration, complete
	keys      atomic.Pointer[keyring]
}

// Get reads K10 to K13. Several cookies of our name can come from a sibling
// domain or a deeper path: the id counts only if no other one verifies.
func (c *signedCookie) Get(jar Jar) (found ID, reissue bool, err error) {
	ids, sigs := parseCookies(jar.Cookie(), c.name)
	forged := false
	for i, value := range ids.all[:ids.n] {
		id := ID(value)
		if !id.shaped() || seen(ids.all[:i], value) {
			continue
		}
		key := 0
		if c.signed {
			var tried bool
			key, tried = c.verify(value, &sigs)
			forged = forged || tried && key < 0
		}
		switch {
		case key < 0:
		case found != "":
			return "", false, nil
		default:
			found, reissue = id, key > 0
		}
	}
	if found == "" && forged {
		c.resetSignature(jar)
	}
	return found, reissue, nil
}

func seen(before []string, value string) bool {
	for _, b := range before {
		if b == value {
			return true
		}
	}
	return false
}

// verify returns the index of the key that signed value, -1 for none, and
// whether there was a signature at all.
func (c *signedCookie) verify(value string, sigs *values) (key int, tried bool) {
	keys := c.keys.Load()
	for _, sig := range sigs.all[:sigs.n] {
		if sig == "" {
			continue
		}
		tried = true
		if key := keys.verify(c.name, value, sig); key >= 0 {
			return key, true
		}
	}
	return -1, tried
}

// ready says before anything is stored whether the cookie can be sent at all.
func (c *signedCookie) ready(jar Jar, o *CookieOptions) error {
	if o.Secure == On && !c.allowHTTP && !jar.Secure() {
		return errPlainHTTP
	}
	return nil
}

// Set sends the pair with the session's own attributes (K4, K7, K25).
func (c *signedCookie) Set(jar Jar, s *Session) error {
	o := s.Cookie()
	if err := c.ready(jar, &o); err != nil {
		return err
	}
	c.send(jar, &o, string(s.ID()), o.expiry(time.Now()))
	return nil
}

// Reset sends the pair in its expired form, with the attributes that browsers
// tell cookies apart by (K6).
func (c *signedCookie) Reset(jar Jar, s *Session) error {
	o := s.Cookie()
	c.send(jar, &o, "", time.Unix(0, 0))
	return nil
}

func (c *signedCookie) resetSignature(jar Jar) {
	o := c.options
	var room [512]byte
	line := append(append(room[:0], c.sigName...), '=')
	jar.SetCookie(c.sigName, string(o.appendAttributes(line, time.Unix(0, 0), c.secure(jar, &o))), true)
	noStore(jar)
}

// send sends the cookie and its signature, which has the same attributes (K4).
func (c *signedCookie) send(jar Jar, o *CookieOptions, value string, expires time.Time) {
	var room [512]byte
	line := o.appendCookie(room[:0], c.name, value, expires, c.secure(jar, o))
	attributes := line[len(c.name)+1+len(value):]
	jar.SetCookie(c.name, string(line), o.Overwrite != Off)
	if c.signed {
		var room [512]byte
		signature := append(append(room[:0], c.sigName...), '=')
		signature = c.keys.Load().sign(signature, c.name, value)
		signature = append(signature, attributes...)
		jar.SetCookie(c.sigName, string(signature), o.Overwrite != Off)
	}
	noStore(jar)
}

// secure is the attribute: as chosen, else as the request came (K8).
func (c *signedCookie) secure(jar Jar, o *CookieOptions) bool {
	return o.Secure == On || o.Secure == Default && jar.Secure()
}

// noStore keeps a response with the id out of shared caches.
func noStore(jar Jar) {
	if jar.ResponseHeader("Cache-Control") == "" {
		jar.SetResponseHeader("Cache-Control", "no-store")
	}
}

// vary tells caches that the response depends on a field of the request.
func vary(jar Jar, field string) {
	vary := jar.ResponseHeader("Vary")
	if vary == "" {
		jar.SetResponseHeader("Vary", field)
		return
	}
	for rest := vary; rest != ""; {
		var token string
		token, rest, _ = strings.Cut(rest, ",")
		if token = strings.Trim(token, " \t"); token == "*" || strings.EqualFold(token, field) {
			return
		}
	}
	jar.SetResponseHeader("Vary", vary+", "+field)
}
