package jartest

import (
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"go.uber.org/goleak"

	"github.com/gensession/gensession/core"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory serves exchanges with a Jar in memory, broken by wrap.
func memory(wrap func(j *Jar, r *http.Request) core.Jar) func(*testing.T, net.Listener, func(Exchange)) {
	return func(t *testing.T, l net.Listener, handle func(Exchange)) {
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			j := &Jar{
				Cookies: r.Header["Cookie"],
				Target:  r.RequestURI,
				TLS:     r.TLS != nil,
				Request: withHost(r),
			}
			if u, err := url.Parse(r.RequestURI); err == nil && u.Host != "" && !strings.HasPrefix(r.RequestURI, "/") {
				j.Target = max(u.EscapedPath(), "/")
			}
			handle(Exchange{
				Jar:          wrap(j, r),
				ParseCookies: func() { r.Cookies() },
				AddHeader: func(name, value string) {
					if name == "Set-Cookie" {
						j.SetCookie("", value, false)
						return
					}
					if j.Response == nil {
						j.Response = make(textproto.MIMEHeader)
					}
					j.Response.Add(name, value)
				},
			})
			for name, values := range j.Response {
				w.Header()[name] = values
			}
			w.Header()["Set-Cookie"] = j.SetCookies
		})}
		go func() { _ = s.Serve(l) }()
		t.Cleanup(func() { _ = s.Close() })
	}
}

func TestMemoryJar(t *testing.T) {
	Run(t, memory(func(j *Jar, _ *http.Request) core.Jar { return j }))
}

// withHost are the fields of r, with Host, which net/http keeps elsewhere.
func withHost(r *http.Request) textproto.MIMEHeader {
	h := textproto.MIMEHeader(r.Header.Clone())
	h.Set("Host", r.Host)
	return h
}

// Each broken Jar does one thing wrong.

type broken struct {
	*Jar
	r             *http.Request
	cookie        func(b *broken) string
	path          func(b *broken) string
	secure        func(b *broken) bool
	requestHeader func(b *broken, name string) string
	setCookie     func(b *broken, name, line string, replace bool)
	response      func(b *broken, name string) string
	setResponse   func(b *broken, name, value string)
	def           func(b *broken, name, value string) bool
	dropCookies   func(b *broken, name string)
	cookies       func(b *broken) []string
	appendCookie  func(b *broken, dst []byte) []byte
	setBytes      func(b *broken, name string, line []byte, replace bool)
	begun         func(b *broken) bool
}

func (b *broken) Cookie() string {
	if b.cookie != nil {
		return b.cookie(b)
	}
	return b.Jar.Cookie()
}

func (b *broken) ResponseCookies() []string {
	if b.cookies != nil {
		return b.cookies(b)
	}
	return b.Jar.ResponseCookies()
}

func (b *broken) Path() string {
	if b.path != nil {
		return b.path(b)
	}
	return b.Jar.Path()
}

func (b *broken) Secure() bool {
	if b.secure != nil {
		return b.secure(b)
	}
	return b.Jar.Secure()
}

func (b *broken) RequestHeader(name string) string {
	if b.requestHeader != nil {
		return b.requestHeader(b, name)
	}
	return b.Jar.RequestHeader(name)
}

func (b *broken) SetCookie(name, line string, replace bool) {
	if b.setCookie != nil {
		b.setCookie(b, name, line, replace)
		return
	}
	b.Jar.SetCookie(name, line, replace)
}

func (b *broken) ResponseHeader(name string) string {
	if b.response != nil {
		return b.response(b, name)
	}
	return b.Jar.ResponseHeader(name)
}

func (b *broken) SetResponseHeader(name, value string) {
	if b.setResponse != nil {
		b.setResponse(b, name, value)
		return
	}
	b.Jar.SetResponseHeader(name, value)
}

func (b *broken) DropCookies(name string) {
	if b.dropCookies != nil {
		b.dropCookies(b, name)
		return
	}
	b.Jar.DropCookies(name)
}

func (b *broken) DefaultResponseHeader(name, value string) bool {
	if b.def != nil {
		return b.def(b, name, value)
	}
	return b.Jar.DefaultResponseHeader(name, value)
}

func (b *broken) AppendCookie(dst []byte) []byte {
	if b.appendCookie != nil {
		return b.appendCookie(b, dst)
	}
	return append(dst, b.Cookie()...)
}

func (b *broken) SetCookieBytes(name string, line []byte, replace bool) {
	if b.setBytes != nil {
		b.setBytes(b, name, line, replace)
		return
	}
	b.SetCookie(name, string(line), replace)
}

func (b *broken) Begun() bool {
	if b.begun != nil {
		return b.begun(b)
	}
	return b.Jar.Begun()
}

// drop is a replace that drops the lines for which f is true.
func drop(f func(line, name string) bool) func(*broken, string, string, bool) {
	return func(b *broken, name, line string, replace bool) {
		if replace {
			b.SetCookies = slices.DeleteFunc(b.SetCookies, func(l string) bool { return f(l, name) })
		}
		b.SetCookies = append(b.SetCookies, line)
	}
}

func TestBrokenJars(t *testing.T) {
	for name, c := range map[string]struct {
		caught string
		jar    broken
	}{
		"parses the cookies": {"Cookie", broken{cookie: func(b *broken) string {
			var pairs []string
			for _, c := range b.r.Cookies() {
				pairs = append(pairs, c.Name+"="+c.Value)
			}
			return strings.Join(pairs, "; ")
		}}},
		"trims quotes":          {"Cookie", broken{cookie: func(b *broken) string { return strings.ReplaceAll(b.Jar.Cookie(), `"`, "") }}},
		"cuts at 4096":          {"Cookie", broken{cookie: func(b *broken) string { c := b.Jar.Cookie(); return c[:min(len(c), 4096)] }}},
		"makes valid UTF-8":     {"Cookie", broken{cookie: func(b *broken) string { return strings.ToValidUTF8(b.Jar.Cookie(), "?") }}},
		"first field only":      {"Cookie/several", broken{cookie: func(b *broken) string { return b.r.Header.Get("Cookie") }}},
		"joins by comma":        {"Cookie/several", broken{cookie: func(b *broken) string { return strings.Join(b.Cookies, ", ") }}},
		"skips empty fields":    {"Cookie/several", broken{cookie: func(b *broken) string { return strings.Trim(b.Jar.Cookie(), "; ") }}},
		"a cookie from nowhere": {"Cookie/none", broken{cookie: func(b *broken) string { return max(b.Jar.Cookie(), "a=") }}},
		"decodes the path":      {"Path", broken{path: func(b *broken) string { return b.r.URL.Path }}},
		"keeps the query":       {"Path", broken{path: func(b *broken) string { return b.r.RequestURI }}},
		"cleans the path":       {"Path", broken{path: func(b *broken) string { return strings.ReplaceAll(b.Jar.Path(), "//", "/") }}},
		"always secure":         {"Secure/plain", broken{secure: func(*broken) bool { return true }}},
		"trusts anybody":        {"Secure/plain", broken{secure: func(b *broken) bool { return b.TLS || b.r.Header.Get("X-Forwarded-Proto") == "https" }}},
		"never secure":          {"Secure/TLS", broken{secure: func(*broken) bool { return false }}},
		"case-sensitive field":  {"RequestHeader", broken{requestHeader: func(b *broken, name string) string { return strings.Join(b.r.Header[name], "") }}},
		"has no host":           {"RequestHeader", broken{requestHeader: func(b *broken, name string) string { return b.r.Header.Get(name) }}},
		"joins request fields":  {"RequestHeader", broken{requestHeader: func(b *broken, name string) string { return strings.Join(b.r.Header.Values(name), ", ") }}},
		"normalizes attributes": {"SetCookie/bytes", broken{setCookie: func(b *broken, name, line string, replace bool) {
			b.Jar.SetCookie(name, strings.Replace(line, "; path=", "; Path=", 1), replace)
		}}},
		"drops bytes": {"SetCookie/bytes", broken{setCookie: func(b *broken, name, line string, replace bool) {
			b.Jar.SetCookie(name, strings.ToValidUTF8(line, ""), replace)
		}}},
		"always replaces":  {"SetCookie/order", broken{setCookie: func(b *broken, name, line string, _ bool) { b.Jar.SetCookie(name, line, true) }}},
		"puts it in front": {"SetCookie/order", broken{setCookie: func(b *broken, _, line string, _ bool) { b.SetCookies = append([]string{line}, b.SetCookies...) }}},
		"never replaces":   {"SetCookie/replace", broken{setCookie: drop(func(string, string) bool { return false })}},
		"replaces in place": {"SetCookie/replace", broken{setCookie: func(b *broken, name, line string, replace bool) {
			if i := slices.IndexFunc(b.SetCookies, func(l string) bool { return strings.HasPrefix(l, name+"=") }); replace && i >= 0 {
				b.SetCookies[i] = line
				return
			}
			b.SetCookies = append(b.SetCookies, line)
		}}},
		"drops the first only": {"SetCookie/replace", broken{setCookie: func(b *broken, name, line string, replace bool) {
			if i := slices.IndexFunc(b.SetCookies, func(l string) bool { return strings.HasPrefix(l, name+"=") }); replace && i >= 0 {
				b.SetCookies = slices.Delete(b.SetCookies, i, i+1)
			}
			b.SetCookies = append(b.SetCookies, line)
		}}},
		"fills gaps from behind": {"SetCookie/replace", broken{setCookie: func(b *broken, name, line string, replace bool) {
			for i := 0; replace && i < len(b.SetCookies); i++ {
				if last := len(b.SetCookies) - 1; strings.HasPrefix(b.SetCookies[i], name+"=") {
					b.SetCookies[i] = b.SetCookies[last]
					b.SetCookies = b.SetCookies[:last]
					i--
				}
			}
			b.SetCookies = append(b.SetCookies, line)
		}}},
		"replaces only if there": {"SetCookie/replace nothing", broken{setCookie: func(b *broken, name, line string, replace bool) {
			if !replace || slices.ContainsFunc(b.SetCookies, func(l string) bool { return strings.HasPrefix(l, name+"=") }) {
				b.Jar.SetCookie(name, line, replace)
			}
		}}},
		"prefix without =": {"SetCookie/names", broken{setCookie: drop(strings.HasPrefix)}},
		"anywhere":         {"SetCookie/names", broken{setCookie: drop(func(l, name string) bool { return strings.Contains(l, name+"=") })}},
		"case-insensitive": {"SetCookie/names", broken{setCookie: drop(func(l, name string) bool { return len(l) > len(name) && strings.EqualFold(l[:len(name)+1], name+"=") })}},
		"a blank before =": {"SetCookie/names", broken{setCookie: drop(func(l, name string) bool { return strings.HasPrefix(strings.Replace(l, " =", "=", 1), name+"=") })}},
		"forgets others":   {"SetCookie/lines of others", broken{setCookie: drop(func(string, string) bool { return true })}},
		"silent on HEAD": {"SetCookie/methods", broken{setCookie: func(b *broken, name, line string, replace bool) {
			if b.r.Method != "HEAD" {
				b.Jar.SetCookie(name, line, replace)
			}
		}}},
		"first response field":    {"ResponseHeader", broken{response: func(b *broken, name string) string { return b.Response.Get(name) }}},
		"case-sensitive response": {"ResponseHeader", broken{response: func(b *broken, name string) string { return strings.Join(b.Response[name], ", ") }}},
		"default response field":  {"ResponseHeader", broken{response: func(b *broken, name string) string { return max(b.Jar.ResponseHeader(name), "-") }}},
		"adds a field": {"SetResponseHeader", broken{setResponse: func(b *broken, name, value string) {
			if b.Response == nil {
				b.Response = make(textproto.MIMEHeader)
			}
			b.Response.Add(name, value)
		}}},
		"replaces the first field": {"SetResponseHeader", broken{setResponse: func(b *broken, name, value string) {
			if vs := b.Response.Values(name); len(vs) > 0 && value != "" {
				vs[0] = value
				return
			}
			b.Jar.SetResponseHeader(name, value)
		}}},
		"sends empty fields": {"SetResponseHeader/remove", broken{setResponse: func(b *broken, name, value string) {
			if b.Response == nil {
				b.Response = make(textproto.MIMEHeader)
			}
			b.Response.Set(name, value)
		}}},
		"cookies go with fields": {"SetResponseHeader/cookies", broken{setResponse: func(b *broken, name, value string) {
			if value == "" {
				b.SetCookies = nil
			}
			b.Jar.SetResponseHeader(name, value)
		}}},
		"default over a field": {"DefaultResponseHeader", broken{def: func(b *broken, name, value string) bool {
			b.Jar.SetResponseHeader(name, value)
			return true
		}}},
		"default for the spelling": {"DefaultResponseHeader", broken{def: func(b *broken, name, value string) bool {
			if len(b.Response[name]) > 0 {
				return false
			}
			b.Jar.SetResponseHeader(name, value)
			return true
		}}},
		"default never": {"DefaultResponseHeader", broken{def: func(*broken, string, string) bool { return false }}},
		"default says nothing": {"DefaultResponseHeader", broken{def: func(b *broken, name, value string) bool {
			b.Jar.DefaultResponseHeader(name, value)
			return true
		}}},
		"keeps the bytes": {"SetCookie/bytes", broken{setBytes: func(b *broken, name string, line []byte, replace bool) {
			b.Jar.SetCookie(name, unsafe.String(&line[0], len(line)), replace)
		}}},
		"bytes without replace": {"SetCookie/replace", broken{setBytes: func(b *broken, name string, line []byte, _ bool) {
			b.Jar.SetCookie(name, string(line), false)
		}}},
		"joins lines": {"ResponseCookies", broken{cookies: func(b *broken) []string {
			if len(b.SetCookies) == 0 {
				return nil
			}
			return []string{strings.Join(b.SetCookies, ", ")}
		}}},
		"its own lines only": {"ResponseCookies", broken{cookies: func(b *broken) []string {
			return slices.DeleteFunc(slices.Clone(b.SetCookies), func(l string) bool { return strings.HasPrefix(l, "theirs") })
		}}},
		"lines without attributes": {"ResponseCookies", broken{cookies: func(b *broken) (all []string) {
			for _, l := range b.SetCookies {
				pair, _, _ := strings.Cut(l, ";")
				all = append(all, pair)
			}
			return all
		}}},
		"no lines, but a slice": {"ResponseCookies", broken{cookies: func(b *broken) []string { return append([]string{}, b.SetCookies...) }}},
		"drops nothing":         {"DropCookies", broken{dropCookies: func(*broken, string) {}}},
		"drops the first": {"DropCookies", broken{dropCookies: func(b *broken, name string) {
			for i, l := range b.SetCookies {
				if strings.HasPrefix(l, name+"=") {
					b.SetCookies = slices.Delete(b.SetCookies, i, i+1)
					return
				}
			}
		}}},
		"drops by prefix": {"DropCookies", broken{dropCookies: func(b *broken, name string) {
			b.SetCookies = slices.DeleteFunc(b.SetCookies, func(l string) bool { return strings.HasPrefix(l, name) })
		}}},
		"appends to nothing": {"Cookie", broken{appendCookie: func(b *broken, dst []byte) []byte { return append(dst[:0], b.Cookie()...) }}},
		"appends one field":  {"Cookie/several", broken{appendCookie: func(b *broken, dst []byte) []byte { return append(dst, b.Cookies[0]...) }}},
		"begun at once":      {"Begun", broken{begun: func(*broken) bool { return true }}},
		"begun with cookies": {"Begun", broken{begun: func(b *broken) bool { return len(b.SetCookies) > 0 }}},
	} {
		t.Run(name, func(t *testing.T) {
			err := run(t, find(t, c.caught), memory(func(j *Jar, r *http.Request) core.Jar {
				b := c.jar
				b.Jar, b.r = j, r
				return &b
			}))
			if err == nil {
				t.Errorf("the case %q lets it pass", c.caught)
			}
		})
	}
}

// What goes wrong only between two exchanges, or with other code.
func TestBrokenServers(t *testing.T) {
	t.Run("reuses its buffer", func(t *testing.T) {
		var buffer []byte
		err := run(t, find(t, "Copies"), memory(func(j *Jar, r *http.Request) core.Jar {
			return &broken{Jar: j, r: r, cookie: func(b *broken) string {
				buffer = append(buffer[:0], b.Jar.Cookie()...)
				return unsafeString(buffer)
			}}
		}))
		if err == nil {
			t.Error("Copies lets it pass")
		}
	})
	t.Run("rebuilt after parsing", func(t *testing.T) {
		err := run(t, find(t, "Cookie/after parsing"), func(t *testing.T, l net.Listener, handle func(Exchange)) {
			memory(func(j *Jar, _ *http.Request) core.Jar { return j })(t, l, func(x Exchange) {
				x.ParseCookies = func() {
					j := x.Jar.(*Jar)
					j.Cookies = []string{strings.ReplaceAll(strings.Join(j.Cookies, "; "), ";;", ";")}
				}
				handle(x)
			})
		})
		if err == nil {
			t.Error("Cookie/after parsing lets it pass")
		}
	})
	t.Run("one Jar for all", func(t *testing.T) {
		one := new(Jar)
		err := run(t, find(t, "SetCookie/names"), memory(func(j *Jar, _ *http.Request) core.Jar {
			return &broken{Jar: one, setCookie: func(b *broken, name, line string, replace bool) {
				one.SetCookie(name, line, replace)
				j.SetCookies = one.SetCookies
			}}
		}))
		if err == nil {
			t.Error("SetCookie/names lets it pass")
		}
	})
}

func find(t *testing.T, name string) rule {
	t.Helper()
	i := slices.IndexFunc(cases, func(c rule) bool { return c.name == name })
	if i < 0 {
		t.Fatalf("no case %q", name)
	}
	return cases[i]
}

// unsafeString is what a careless adapter does to save a copy.
func unsafeString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
