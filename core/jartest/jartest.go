// Package jartest is the whole test of an adapter: [RunAdapter] tests its middleware,
// and [Run] its [core.Jar], which is the part that the core uses. It also has tools
// for tests without a server: a [Jar] in memory, and a [Browser] that stores cookies
// between requests.
//
// The author of an adapter writes a function for each that starts a real server. Run
// sends it raw requests and uses the Jar in the handler:
//
//	func TestJar(t *testing.T) {
//		jartest.Run(t, func(t *testing.T, l net.Listener, handle func(jartest.Exchange)) {
//			s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
//				handle(jartest.Exchange{
//					Jar:          NewJar(w, r),
//					ParseCookies: func() { r.Cookies() },
//					AddHeader:    w.Header().Add,
//				})
//			})}
//			go s.Serve(l)
//			t.Cleanup(func() { s.Close() })
//		})
//	}
package jartest

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/gensession/gensession/core"
)

// An Exchange is one request in a handler of the tested adapter. ParseCookies and
// AddHeader do what other code of the program may do to the same request through
// the framework, without the Jar.
type Exchange struct {
	// Jar is the tested Jar of this request.
	Jar core.Jar
	// ParseCookies makes the framework parse the cookies of the request.
	ParseCookies func()
	// AddHeader adds a field to the response, even if it has one of that name.
	AddHeader func(name, value string)
}

// Run tests the Jar of an adapter, with one subtest for each rule. It calls serve
// in each subtest. serve must start a server on l that calls handle and then
// sends an empty response with status 200, accepts request headers of 16 KiB,
// keeps connections alive, so that buffers are reused, and is stopped by
// t.Cleanup. For requests over TLS l is a TLS listener. handle is safe for
// concurrent use.
func Run(t *testing.T, serve func(t *testing.T, l net.Listener, handle func(Exchange))) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if err := run(t, c, serve); err != nil {
				t.Errorf("%s\n%v", c.rule, err)
			}
		})
	}
}

// A rule is one subtest. Its test returns an error if the Jar breaks the rule, so
// that the tests of the suite can check that a broken Jar is detected.
type rule struct {
	name string // of the subtest
	rule string // in words
	tls  bool
	test func(s *server) error
}

func run(t *testing.T, c rule, serve func(*testing.T, net.Listener, func(Exchange))) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{client: client{addr: l.Addr().String(), tls: c.tls}}
	if c.tls {
		cert, err := certificate()
		if err != nil {
			t.Fatal(err)
		}
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}})
	}
	serve(t, l, s.handle)
	t.Cleanup(s.close) // before the server's own cleanup
	err = c.test(s)
	if err == nil && strings.HasPrefix(c.name, "SetCookie") && s.setBytes() {
		if err = c.test(s); err != nil {
			err = fmt.Errorf("by SetCookieBytes: %w", err)
		}
	}
	return err
}

// A bufferJar has the methods by which core finds a Jar over reused buffers.
type bufferJar interface {
	core.Jar
	AppendCookie(dst []byte) []byte
	SetCookieBytes(name string, line []byte, replace bool)
}

// A bytesJar sets cookies by SetCookieBytes and overwrites the line afterwards.
type bytesJar struct{ bufferJar }

func (j bytesJar) SetCookie(name, line string, replace bool) {
	b := append([]byte(line), "more"...)
	j.SetCookieBytes(name, b[:len(line)], replace)
	for i := range b {
		b[i] = '#'
	}
}

func h(name, value string) [2]string { return [2]string{name, value} }

// cookieFields are fields that a parser, a normalizer or a rebuilt list would
// not give back as they are.
var cookieFields = map[string]string{
	"ordinary":           "koa.sid=abc_-123; koa.sid.sig=xyz",
	"quotes":             `a="quoted"; b="half; c=x"y"`,
	"odd separators":     "=x; ;;a==b;b;  c =  d ;e=;=",
	"colon in the name":  "koss:test_sid=1; koss:test_sid.sig=2",
	"twice the name":     "a=1; a=2; A=3",
	"no blank":           "a=1;b=2,c=3",
	"tab":                "a=1;\tb=2",
	"high bytes":         "a=\xe9\xff\x80; \xc3\xa4=b",
	"percent and plus":   "a=%41+b%; b=%zz",
	"backslash, angles":  `a=\"x\"; b=<b>; c={"j":[1]}`,
	"eight kilobytes":    "a=" + strings.Repeat("x", 8000) + "; b=2",
	"many small cookies": strings.Repeat("n=v; ", 900) + "last=1",
}

// targets maps what stands on the request line to the path in it.
var targets = map[string]string{
	"/":                                   "/",
	"/a/b":                                "/a/b",
	"/a/b/":                               "/a/b/",
	"/a?x=/b":                             "/a",
	"/?":                                  "/",
	"/a?b?c":                              "/a",
	"/a%2Fb":                              "/a%2Fb",
	"/a%2fb%20c":                          "/a%2fb%20c",
	"/%C3%A9":                             "/%C3%A9",
	"//x/y":                               "//x/y",
	"/a//b":                               "/a//b",
	"/a/../b/./c":                         "/a/../b/./c",
	"/a/%2E%2E/b":                         "/a/%2E%2E/b",
	"/a;p=1,2:3@4":                        "/a;p=1,2:3@4",
	"http://example.com/absolute%20x/y?z": "/absolute%20x/y",
	"http://example.com":                  "/",
}

var cases = []rule{
	{name: "Cookie", rule: "Cookie returns the field byte by byte, as it was sent.", test: func(s *server) error {
		return each(cookieFields, func(field string) error { return s.cookie(field, h("Cookie", field)) })
	}},
	{name: "Cookie/several", rule: `Several Cookie fields are joined by "; " in their order, empty ones too.`, test: func(s *server) error {
		return first(
			s.cookie("a=1; b=2; a=3", h("Cookie", "a=1"), h("X-Between", "x"), h("cookie", "b=2; a=3")),
			s.cookie("; a=1; ", h("Cookie", ""), h("Cookie", "a=1"), h("Cookie", "")),
		)
	}},
	{name: "Cookie/none", rule: `Cookie returns "" if there is none or it is empty.`, test: func(s *server) error {
		return first(s.cookie(""), s.cookie("", h("Cookie", "")), s.cookie("", h("X-Cookie", "a=1"), h("Cookies", "b=2")))
	}},
	{name: "Cookie/field name", rule: "The name of the Cookie field is case-insensitive.", test: func(s *server) error {
		return first(s.cookie("a=1", h("cOOKIE", "a=1")), s.cookie("a=1", h("cookie", "a=1")), s.cookie("a=1", h("COOKIE", "a=1")))
	}},
	{name: "Cookie/after parsing", rule: "Cookie returns the raw field also when the framework has parsed the cookies before, and leaves the framework's view alone.", test: func(s *server) error {
		for name, field := range cookieFields {
			var got string
			if _, err := s.exchange(request{headers: [][2]string{h("Cookie", field)}}, func(x Exchange) {
				x.ParseCookies()
				got = x.Jar.Cookie()
			}); err != nil {
				return err
			}
			if err := same(name, got, field); err != nil {
				return err
			}
		}
		return nil
	}},
	{name: "Path", rule: "Path returns the path as the browser sent it: encoded, not cleaned, without the query.", test: func(s *server) error {
		for target, want := range targets {
			var got string
			if _, err := s.exchange(request{target: target}, func(x Exchange) { got = x.Jar.Path() }); err != nil {
				return err
			}
			if err := same("path of "+target, got, want); err != nil {
				return err
			}
		}
		return nil
	}},
	{name: "Secure/plain", rule: "Secure is false over plain HTTP, whatever an untrusted client says in its fields.", test: func(s *server) error {
		return s.secure(false)
	}},
	{name: "Secure/TLS", rule: "Secure is true over TLS.", tls: true, test: func(s *server) error {
		return s.secure(true)
	}},
	{name: "RequestHeader", rule: `RequestHeader returns the first field of that name, case-insensitively, "" if there is none, and the host of the request as Host.`, test: func(s *server) error {
		want := map[string]string{
			"X-Several": "one", "x-several": "one", "X-SEVERAL": "one", "X-Odd": "two words, \xe9\"", "x-odd": "two words, \xe9\"",
			"X-Empty": "", "X-Absent": "", "Authorization": "Bearer x=", "authorization": "Bearer x=",
			"Host": "example.com", "host": "example.com",
		}
		got := make(map[string]string)
		_, err := s.exchange(request{headers: [][2]string{
			h("X-Several", "one"), h("x-several", "two"), h("x-oDD", "two words, \xe9\""), h("X-Empty", ""), h("authorization", "Bearer x="),
		}}, func(x Exchange) {
			for name := range want {
				got[name] = x.Jar.RequestHeader(name)
			}
		})
		if err != nil {
			return err
		}
		for name := range want {
			if err := same(name, got[name], want[name]); err != nil {
				return err
			}
		}
		return nil
	}},
	{name: "SetCookie/bytes", rule: "A line goes out byte by byte as it was given.", test: func(s *server) error {
		lines := []string{
			"koa.sid=abc_-; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT; samesite=lax; secure; httponly; partitioned",
			"koss:test_sid=1; path=/x; domain=.example.com; priority=high",
			"A=b=c==; HTTPONLY; Path=/UPPER",
			`q="quoted value"; path=/a%20b`,
			"empty=",
			"high=\xe9\xff; path=/",
			"long=" + strings.Repeat("x", 4000),
		}
		return s.setCookies(lines, func(x Exchange) {
			for _, l := range lines {
				x.Jar.SetCookie(nameOf(l), l, false)
			}
		})
	}},
	{name: "SetCookie/order", rule: "Without replace all lines stay in order, several of one name too.", test: func(s *server) error {
		return s.setCookies([]string{"b=1", "a=1", "b=2", "b.sig=1", "a=1", "b=2"}, func(x Exchange) {
			for _, l := range []string{"b=1", "a=1", "b=2", "b.sig=1", "a=1", "b=2"} {
				x.Jar.SetCookie(nameOf(l), l, false)
			}
		})
	}},
	{name: "SetCookie/replace", rule: "With replace every line of that name goes, the new one stands last, and the others keep their order.", test: func(s *server) error {
		return s.setCookies([]string{"x=1", "y=1; path=/", "z=1", "y=2", "n=3"}, func(x Exchange) {
			for _, l := range []string{"n=1", "x=1", "y=1; path=/", "n=2; path=/x", "z=1", "n=", "y=2"} {
				x.Jar.SetCookie(nameOf(l), l, false)
			}
			x.Jar.SetCookie("n", "n=3", true)
		})
	}},
	{name: "SetCookie/replace nothing", rule: "With replace and no line of that name the line is added.", test: func(s *server) error {
		return first(
			s.setCookies([]string{"n=1"}, func(x Exchange) { x.Jar.SetCookie("n", "n=1", true) }),
			s.setCookies([]string{"a=1", "n=1"}, func(x Exchange) {
				x.Jar.SetCookie("a", "a=1", true)
				x.Jar.SetCookie("n", "n=1", true)
			}),
		)
	}},
	{name: "SetCookie/names", rule: "replace takes only lines that begin with the name and \"=\": not a longer name, not another case, no pattern.", test: func(s *server) error {
		kept := []string{
			"koa.sid.sig=1", "koa.sid2=1", "my-koa.sid=1", "koaxsid=1", "KOA.SID=1", "koa=koa.sid=x", "koa.sid", "koa.sid =1", "x=1; koa.sid=2", "koss:koa.sid=1",
		}
		return first(
			s.setCookies(append(kept[:len(kept):len(kept)], "koa.sid=new"), func(x Exchange) {
				for i, l := range kept {
					if i == 4 {
						x.Jar.SetCookie("koa.sid", "koa.sid=old; path=/", false)
					}
					x.Jar.SetCookie(nameOf(l), l, false)
				}
				x.Jar.SetCookie("koa.sid", "koa.sid=new", true)
			}),
			s.setCookies([]string{"test_sid=1", "koss:test_sid.sig=1", "koss:test_sid=2"}, func(x Exchange) {
				x.Jar.SetCookie("koss:test_sid", "koss:test_sid=1", true)
				x.Jar.SetCookie("test_sid", "test_sid=1", true)
				x.Jar.SetCookie("koss:test_sid.sig", "koss:test_sid.sig=1", true)
				x.Jar.SetCookie("koss:test_sid", "koss:test_sid=2", true)
			}),
		)
	}},
	{name: "SetCookie/lines of others", rule: "Lines that other code has set stay, unless replace names them, and those it adds later stand behind.", test: func(s *server) error {
		return s.setCookies([]string{"theirs=1; Path=/; HttpOnly", "theirs=2", "n=2; path=/", "later=1"}, func(x Exchange) {
			x.AddHeader("Set-Cookie", "theirs=1; Path=/; HttpOnly")
			x.AddHeader("Set-Cookie", "n=0; Path=/")
			x.Jar.SetCookie("n", "n=1; path=/", false)
			x.AddHeader("Set-Cookie", "theirs=2")
			x.Jar.SetCookie("n", "n=2; path=/", true)
			x.AddHeader("Set-Cookie", "later=1")
		})
	}},
	{name: "ResponseCookies", rule: "ResponseCookies returns the Set-Cookie lines, whatever code has set them, as they are and in order; nil if there are none.", test: func(s *server) error {
		var before, during, after []string
		_, err := s.exchange(request{}, func(x Exchange) {
			before = x.Jar.ResponseCookies()
			x.AddHeader("Set-Cookie", "theirs=1; Path=/x; Expires=Thu, 01 Jan 1970 00:00:00 GMT")
			x.Jar.SetCookie("n", "n=\xe9; path=/", false)
			x.Jar.SetCookie("n", "n=2", false)
			during = x.Jar.ResponseCookies()
			x.Jar.DropCookies("n")
			after = x.Jar.ResponseCookies()
		})
		if err == nil && before != nil {
			err = fmt.Errorf("without lines it returns %q", before)
		}
		return first(err,
			lines(during, []string{"theirs=1; Path=/x; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "n=\xe9; path=/", "n=2"}),
			lines(after, []string{"theirs=1; Path=/x; Expires=Thu, 01 Jan 1970 00:00:00 GMT"}))
	}},
	{name: "DropCookies", rule: "DropCookies removes every line of that name, whatever code has set it, and no other line.", test: func(s *server) error {
		return s.setCookies([]string{"aa=1", "A=2", "b=3", "a =4", "x=a=5", "a=6"}, func(x Exchange) {
			x.Jar.DropCookies("a")
			for _, line := range []string{"a=0; path=/", "aa=1", "A=2", "a=0", "b=3", "a =4", "x=a=5"} {
				x.Jar.SetCookie(line[:1], line, false)
			}
			x.AddHeader("Set-Cookie", "a=7")
			x.Jar.DropCookies("a")
			x.Jar.DropCookies("absent")
			x.Jar.SetCookie("a", "a=6", false)
		})
	}},
	{name: "SetCookie/methods", rule: "The lines go out whatever the method.", test: func(s *server) error {
		for _, method := range []string{"HEAD", "POST", "OPTIONS", "DELETE"} {
			if err := s.setCookiesOf(request{method: method}, []string{"n=1"}, func(x Exchange) { x.Jar.SetCookie("n", "n=1", true) }); err != nil {
				return fmt.Errorf("%s: %w", method, err)
			}
		}
		return nil
	}},
	{name: "ResponseHeader", rule: `ResponseHeader returns the fields of that name so far, joined by ", ", case-insensitively, "" if there is none.`, test: func(s *server) error {
		var got [4]string
		if _, err := s.exchange(request{}, func(x Exchange) {
			got[0] = x.Jar.ResponseHeader("X-Absent")
			x.AddHeader("Vary", "Accept")
			x.AddHeader("Vary", "Origin, X-Y")
			x.Jar.SetResponseHeader("X-Own", "v")
			got[1] = x.Jar.ResponseHeader("Vary")
			got[2] = x.Jar.ResponseHeader("vary")
			got[3] = x.Jar.ResponseHeader("x-own")
		}); err != nil {
			return err
		}
		return first(same("absent", got[0], ""), same("Vary", got[1], "Accept, Origin, X-Y"),
			same("vary", got[2], "Accept, Origin, X-Y"), same("x-own", got[3], "v"))
	}},
	{name: "SetResponseHeader", rule: "SetResponseHeader replaces all fields of that name, case-insensitively, and sends exactly one.", test: func(s *server) error {
		return s.fields(map[string]string{"vary": "Accept, Cookie", "cache-control": "no-store", "x-high": "\xe9;q=1"}, func(x Exchange) {
			x.AddHeader("Vary", "Accept")
			x.AddHeader("Vary", "Origin")
			x.AddHeader("Cache-Control", "private")
			x.Jar.SetResponseHeader("Vary", "Accept, Cookie")
			x.Jar.SetResponseHeader("cache-control", "no-cache")
			x.Jar.SetResponseHeader("CACHE-CONTROL", "no-store")
			x.Jar.SetResponseHeader("X-High", "\xe9;q=1")
		})
	}},
	{name: "SetResponseHeader/remove", rule: "An empty value removes the field, one that is not there too, and it can be set again.", test: func(s *server) error {
		return first(
			s.fields(map[string]string{"vary": "", "x-own": "", "x-absent": ""}, func(x Exchange) {
				x.AddHeader("Vary", "Accept")
				x.AddHeader("Vary", "Origin")
				x.Jar.SetResponseHeader("X-Own", "v")
				for _, name := range []string{"vary", "X-Own", "X-Absent"} {
					x.Jar.SetResponseHeader(name, "")
				}
			}),
			s.fields(map[string]string{"x-own": "again"}, func(x Exchange) {
				for _, v := range []string{"v", "", "again"} {
					x.Jar.SetResponseHeader("X-Own", v)
				}
			}),
		)
	}},
	{name: "SetResponseHeader/cookies", rule: "The response's other fields and its Set-Cookie lines leave each other alone.", test: func(s *server) error {
		return s.setCookies([]string{"a=1", "b=1"}, func(x Exchange) {
			x.Jar.SetCookie("a", "a=1", false)
			x.Jar.SetResponseHeader("Cookie", "a=2")
			x.Jar.SetResponseHeader("Vary", "Cookie")
			x.Jar.SetResponseHeader("Vary", "")
			x.Jar.SetCookie("b", "b=1", true)
		})
	}},
	{name: "DefaultResponseHeader", rule: "DefaultResponseHeader sets a field that has no value, of any name, and leaves one that has alone, however its name is spelt.", test: func(s *server) error {
		var got [6]bool
		err := s.fields(map[string]string{"vary": "Cookie", "cache-control": "private", "x-own": "v", "x-again": "again"}, func(x Exchange) {
			x.AddHeader("Cache-Control", "private")
			x.AddHeader("X-Two", "1")
			x.AddHeader("X-Two", "2")
			got[0] = x.Jar.DefaultResponseHeader("Vary", "Cookie")
			got[1] = x.Jar.DefaultResponseHeader("vary", "Origin")
			got[2] = x.Jar.DefaultResponseHeader("Cache-Control", "no-store")
			got[3] = x.Jar.DefaultResponseHeader("x-own", "v")
			x.Jar.SetResponseHeader("X-Again", "v")
			x.Jar.SetResponseHeader("X-Again", "")
			got[4] = x.Jar.DefaultResponseHeader("X-Again", "again")
			got[5] = x.Jar.DefaultResponseHeader("X-Two", "3")
		})
		if err == nil && got != [6]bool{true, false, false, true, true, false} {
			err = fmt.Errorf("it reported %v", got)
		}
		return err
	}},
	{name: "Begun", rule: "Begun is false as long as nothing was sent, cookies and fields set or not.", test: func(s *server) error {
		var begun bool
		_, err := s.exchange(request{}, func(x Exchange) {
			begun = x.Jar.Begun()
			x.Jar.SetCookie("a", "a=1", false)
			x.Jar.SetResponseHeader("Vary", "Cookie")
			begun = begun || x.Jar.Begun()
		})
		if err == nil && begun {
			err = fmt.Errorf("Begun is true before the first byte")
		}
		return err
	}},
	{name: "Copies", rule: "Every string that a Jar has returned keeps its bytes when the exchange is over and its buffers are used again.", test: func(s *server) error {
		return first(s.copies("Cookie"), s.copies("Cookie", "Cookie"), s.copies("X-Between", "Cookie", "cookie"))
	}},
	{name: "Parallel", rule: "Exchanges at the same time know nothing of each other.", test: func(s *server) error {
		s.during(func(x Exchange) { x.Jar.SetCookie("n", x.Jar.Cookie(), true) })
		errs := make([]error, 4)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				c := client{addr: s.addr}
				defer c.close()
				for n := 0; n < 25 && errs[i] == nil; n++ {
					line := fmt.Sprintf("n=%d-%d", i, n)
					res, err := c.send(request{headers: [][2]string{h("Cookie", line)}})
					if err == nil {
						err = lines(res.values("set-cookie"), []string{line})
					}
					errs[i] = err
				}
			})
		}
		wg.Wait()
		return first(errs...)
	}},
}

// nameOf returns what stands before the first "=" of a line.
func nameOf(line string) string {
	name, _, _ := strings.Cut(line, "=")
	return name
}

func each(m map[string]string, f func(string) error) error {
	for name, v := range m {
		if err := f(v); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func same(what, got, want string) error {
	if got != want {
		return fmt.Errorf("%s:\n got %.200q\nwant %.200q", what, got, want)
	}
	return nil
}

func lines(got, want []string) error {
	return same("Set-Cookie lines", strings.Join(got, "\n"), strings.Join(want, "\n"))
}

func (s *server) cookie(want string, headers ...[2]string) error {
	var got string
	var appended []byte
	can := false
	if _, err := s.exchange(request{headers: headers}, func(x Exchange) {
		got = x.Jar.Cookie()
		var a bufferJar
		if a, can = x.Jar.(bufferJar); can {
			appended = a.AppendCookie([]byte("before|"))
		}
	}); err != nil {
		return err
	}
	if can {
		if err := same("AppendCookie", string(appended), "before|"+want); err != nil {
			return err
		}
	}
	return same("Cookie", got, want)
}

// copies keeps the strings of an exchange whose target and fields of these
// names are filled with one byte, and lets others come after it.
func (s *server) copies(names ...string) error {
	fill := func(c string) request {
		v := strings.Repeat(c, 40)
		req := request{target: "/" + v + "?" + v, headers: [][2]string{h("X-Field", v)}}
		for _, name := range names {
			req.headers = append(req.headers, h(name, "n="+v))
		}
		return req
	}
	take := func(x Exchange) [4]string {
		x.AddHeader("X-Out", strings.Clone(x.Jar.RequestHeader("X-Field")))
		return [4]string{x.Jar.Cookie(), x.Jar.Path(), x.Jar.RequestHeader("X-Field"), x.Jar.ResponseHeader("X-Out")}
	}
	var kept, then [4]string
	if _, err := s.exchange(fill("k"), func(x Exchange) {
		kept = take(x)
		for i := range kept {
			then[i] = strings.Clone(kept[i])
		}
	}); err != nil {
		return err
	}
	for range 20 {
		if _, err := s.exchange(fill("X"), func(x Exchange) { take(x) }); err != nil {
			return err
		}
	}
	for i, what := range []string{"Cookie", "Path", "RequestHeader", "ResponseHeader"} {
		if err := same(what, kept[i], then[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) secure(want bool) error {
	var got bool
	_, err := s.exchange(request{headers: [][2]string{
		h("X-Forwarded-Proto", "https"), h("X-Forwarded-Ssl", "on"), h("X-Url-Scheme", "https"), h("Forwarded", "proto=https"),
	}}, func(x Exchange) { got = x.Jar.Secure() })
	if err == nil && got != want {
		err = fmt.Errorf("Secure is %t", got)
	}
	return err
}

func (s *server) setCookies(want []string, use func(Exchange)) error {
	return s.setCookiesOf(request{}, want, use)
}

func (s *server) setCookiesOf(req request, want []string, use func(Exchange)) error {
	res, err := s.exchange(req, use)
	if err != nil {
		return err
	}
	return lines(res.values("set-cookie"), want)
}

// fields asks for exactly one field of each name, none where want is "".
func (s *server) fields(want map[string]string, use func(Exchange)) error {
	res, err := s.exchange(request{}, use)
	if err != nil {
		return err
	}
	for name, value := range want {
		got := res.values(name)
		if len(got) > 1 || len(got) == 1 && value == "" {
			return fmt.Errorf("%s was sent %d times: %.200q", name, len(got), got)
		}
		if err := same(name, strings.Join(got, ""), value); err != nil {
			return err
		}
	}
	return nil
}
