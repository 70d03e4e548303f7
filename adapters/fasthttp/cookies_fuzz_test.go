package fasthttpsession_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
)

// asked is a store without sessions that remembers the last key.
type asked struct{ key string }

func (a *asked) Get(_ context.Context, key string) ([]byte, error) {
	a.key = key
	return nil, core.ErrNotFound
}
func (a *asked) Set(context.Context, string, []byte, time.Duration) error { return nil }
func (a *asked) Destroy(context.Context, string) error                    { return nil }

// FuzzCookieDifferential is requirement 33: what the core takes for the id in a
// Cookie field is what net/http and fasthttp take for it, where they find one, or
// nothing. A browser, a proxy or a firewall that reads another session than we do
// could be led to let one pass.
func FuzzCookieDifferential(f *testing.F) {
	const id = "0123456789abcdef"
	for _, field := range []string{
		"", "koa.sid=" + id, "koa.sid=" + id + "; a=b", "a=b; koa.sid=" + id, "a=b;koa.sid=" + id, `koa.sid="` + id + `"`, " koa.sid = " + id, "koa.sid=" + id + " ;",
		"koa.sid=" + id + "; koa.sid=" + id, "koa.sid=a; koa.sid=" + id, "Koa.Sid=" + id, "koa.sid=" + id + ", b=c", "koa.sid=" + id + "\x00", "koa.sid\t=" + id,
		"a; koa.sid=" + id, "=; koa.sid=" + id, "a=\"; koa.sid=" + id + "; b=\"", "a=\\\"; koa.sid=" + id, "koa.sid==" + id, "$Version=1; koa.sid=" + id + "; $Path=/",
		"xkoa.sid=" + id, "koa.sid.sig=" + id, "koa.sid[]=" + id, "koa%2Esid=" + id, "\xc2\xa0koa.sid=" + id, "koa.sid=" + id + "\xc2\xa0", "koa.sid;koa.sid=" + id,
		"koa.sid=" + id + "\r\n b", "koa.sid=\"" + id, "koa.sid=" + id + "\"", "koa.sid=\"\"" + id + "\"\"", strings.Repeat("a=b; ", 150) + "koa.sid=" + id,
	} {
		f.Add(field)
	}
	store := &asked{}
	o := core.KoaCompat() // whose keys show the id
	o.Cookie.Signed = core.Off
	m, err := core.New(store, o)
	if err != nil {
		f.Fatal(err)
	}
	ours := func(field string) string {
		store.key = ""
		v, _ := m.NewVisit(&jartest.Jar{Cookies: []string{field}}, nil)
		if err := v.Begin(context.Background()); err != nil {
			f.Fatal(err)
		}
		return strings.TrimPrefix(store.key, "koa:sess:")
	}
	shaped := func(s string) bool {
		return s != "" && len(s) <= 128 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == ""
	}
	f.Fuzz(func(t *testing.T, field string) {
		if len(field) > 16<<10 || strings.Count(field, ";") > 190 {
			return // which we do not read at all
		}
		if strings.ContainsFunc(field, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return // which no server lets through
		}
		got := ours(field)
		if got != "" && !strings.Contains(field, got) {
			t.Fatalf("%q is no part of %q", got, field)
		}
		var net []string
		r := http.Request{Header: http.Header{"Cookie": {field}}}
		for _, c := range r.CookiesNamed("koa.sid") {
			net = append(net, c.Value)
		}
		var fast []string
		var h fasthttp.RequestHeader
		h.Set("Cookie", field)
		for k, v := range h.Cookies() {
			if string(k) == "koa.sid" {
				fast = append(fast, string(v))
			}
		}
		several := strings.Count(field, "koa.sid") > 1
		for name, others := range map[string][]string{"net/http": net, "fasthttp": fast} {
			if len(others) == 1 && shaped(others[0]) && got != "" && got != others[0] && !several {
				t.Errorf("%q: we take %q for the id, %s takes %q", field, got, name, others[0])
			}
		}
		if len(net) == 1 && len(fast) == 1 && net[0] == fast[0] && shaped(net[0]) && got != net[0] && !several {
			t.Errorf("%q: both others find %q, we find %q", field, net[0], got)
		}
		if got != "" && !several && len(net) == 1 && len(fast) == 1 && net[0] != got && fast[0] != got {
			t.Errorf("%q: nobody else finds %q: %q and %q", field, got, net, fast)
		}
	})
}
