package adaptertest

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
)

// injections are what could break a line of the response, or add an attribute to a
// cookie.
var injections = []string{
	"\r\nX-Injected: yes", "\nX-Injected: yes", "\rX-Injected: yes", "\r\n\r\n<html>", "\r\n X-Injected: yes", "\x00\r\nX-Injected: yes",
	"%0d%0aX-Injected: yes", "\u010d\u010aX-Injected: yes", // which some cut down to CR and LF
	"\x00", "\x01", "\t", "\x0b", "\x0c", "\x1b[31m", "\x7f", "\x80", "\u0085", "\u2028", "\xff", "\u00e4",
	"; domain=evil.example", "; path=/evil", ", other=1", "\"", "\\", "=", " ", ";", `\r\n`, "\r", "\n", "\n\n", strings.Repeat("\r\n", 100),
}

// setCookie is a line that the core writes, and nothing else.
var setCookie = regexp.MustCompile(`^koa\.sid(\.next|\.late)?(\.sig)?=[A-Za-z0-9_-]*(; path=/[!-:<-~]*)?(; expires=[A-Za-z0-9 ,:]+ GMT)?(; domain=[a-z.]+)?` +
	`(; priority=(low|medium|high))?(; samesite=(lax|strict|none))?(; secure)?(; httponly)?(; partitioned)?$`)

// exchangeRaw sends a request as it is, and checks each byte of the answer's head.
func (a *app) exchangeRaw(what, path string, fields ...string) {
	a.t.Helper()
	conn, err := net.Dial("tcp", a.addr)
	if err != nil {
		a.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // fails a hanging test, asserts nothing
	_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: example.com\r\n%s\r\nConnection: close\r\n\r\n", path, strings.Join(fields, "\r\n"))
	answer, err := io.ReadAll(conn)
	if err != nil && len(answer) == 0 {
		return // the server has refused the request
	}
	for rest := string(answer); rest != ""; {
		head, body, ok := strings.Cut(rest, "\r\n\r\n")
		if !ok {
			a.t.Errorf("%s: no end of the head: %q", what, head)
		}
		for i, line := range strings.Split(head, "\r\n") {
			name, value, _ := strings.Cut(line, ": ")
			switch {
			case strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r >= 0x7f }):
				a.t.Errorf("%s: the answer has the line %q", what, line)
			case i > 0 && strings.EqualFold(name, "X-Injected"), strings.HasPrefix(body, "<html>"):
				a.t.Errorf("%s: injected: %q", what, answer)
			case strings.EqualFold(name, "Set-Cookie") && !setCookie.MatchString(value):
				a.t.Errorf("%s: the cookie %q", what, value)
			}
		}
		if rest = ""; strings.HasPrefix(body, "HTTP/1.1 ") {
			rest = body
		}
	}
}

// injectionRules are those of a response that somebody tries to write into.
var injectionRules = []rule{
	{"T16 R30 nothing of a request breaks the response", func(t *testing.T, s *suite) {
		signed := s.app(core.Options{}, routes)
		u := signed.user()
		u.want("/", 200, "1")
		unsigned := s.app(core.Options{Cookie: core.CookieOptions{Signed: core.Off}, ResetUnknown: true, Keys: core.Keyring{}}, routes)
		carrier := s.app(core.Options{Carrier: core.Header("X-Session-Id")}, routes)
		o := core.KoaCompat()
		o.Keys = core.Keyring{[]byte("keys")}
		o.Koa.ValidID = func(string) bool { return true }
		koa := s.app(*o, routes)
		for i, evil := range injections {
			what := fmt.Sprintf("injection %d", i)
			for _, a := range []*app{signed, unsigned, carrier, koa} {
				for _, path := range []string{"/", "/destroy"} {
					a.exchangeRaw(what, path, "Cookie: koa.sid="+evil)
					a.exchangeRaw(what, path, "Cookie: koa.sid=0123456789abcdef"+evil+"; koa.sid.sig=x"+evil)
					a.exchangeRaw(what, path, "Cookie: koa.sid"+evil+"=0123456789abcdef; koa.sid.next=a"+evil+"; koa.sid.late=a"+evil)
					a.exchangeRaw(what, path, "Cookie: "+u.browser.Cookie("/")+evil)
					a.exchangeRaw(what, path, "X-Session-Id: 0123456789abcdef"+evil)
					a.exchangeRaw(what, path, "Cookie: koa.sid=k"+evil+"; koa.sid.sig="+keygrip("koa.sid=k"+evil))
				}
			}
		}
	}},
	{"T16 R30 nothing of a record breaks the response", func(t *testing.T, s *suite) {
		o := core.KoaCompat()
		o.Keys = core.Keyring{[]byte("keys")}
		a := s.app(*o, routes)
		const id = "a-record-of-somebody-else"
		for i, evil := range injections {
			for _, option := range []string{"path", "domain", "sameSite", "priority", "expires", "maxAge", "secure", "httpOnly", "x" + evil} {
				for _, value := range []string{evil, "/" + evil, "example.com" + evil, "lax" + evil} {
					cookie, err := json.Marshal(map[string]any{option: value})
					if err != nil {
						t.Fatal(err)
					}
					if err := a.memory.Set(context.Background(), "koa:sess:"+id, fmt.Appendf(nil, `{"cookie":%s,"n":1}`, cookie), time.Hour); err != nil {
						t.Fatal(err)
					}
					a.exchangeRaw(fmt.Sprintf("injection %d in %s", i, option), "/", "Cookie: koa.sid="+id+"; koa.sid.sig="+keygrip("koa.sid="+id))
				}
			}
		}
	}},
	{"T16 R30 nothing of an option breaks the response", func(t *testing.T, s *suite) {
		evil := ""
		refused := errors.New("refused")
		a := s.app(core.Options{NewID: func(context.Context) (string, error) { return "0123456789abcdef" + evil, nil }}, func(x *Exchange) error {
			session, err := x.From()
			if err != nil {
				return err
			}
			c := session.Cookie()
			switch x.URL.Path {
			case "/path":
				c.Path = "/" + evil
			case "/domain":
				c.Domain = "example.com" + evil
			}
			if err := session.SetCookie(c); err != nil {
				return errors.Join(refused, err)
			}
			return errors.Join(session.Set("a", evil), session.Save(x.Ctx))
		})
		for i := range injections {
			evil = injections[i]
			for _, path := range []string{"/id", "/path", "/domain"} {
				a.exchangeRaw(fmt.Sprintf("injection %d in %s", i, path), path)
			}
			for what, o := range map[string]core.Options{
				"Name": {Name: "koa.sid" + evil}, "Path": {Cookie: core.CookieOptions{Path: "/" + evil}}, "Domain": {Cookie: core.CookieOptions{Domain: "example.com" + evil}},
			} {
				o.Keys = Keys
				m, err := core.New(a.store, &o)
				if err == nil {
					m.Close()
				}
				if err == nil && strings.ContainsFunc(evil, func(r rune) bool { return r < ' ' || r >= 0x7f || r == ';' }) {
					t.Errorf("%s with injection %d is accepted", what, i)
				}
			}
		}
	}},
}

// keygrip is the signature of the original.
func keygrip(text string) string {
	m := hmac.New(sha1.New, []byte("keys"))
	m.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}
