package core_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/internal/golden"
)

// Rules of KoaCompat beyond what the golden test sees.

// koaID is a session's id in these tests, and koaKey where its record lies.
const (
	koaID  = "seeded"
	koaKey = "koa:sess:" + koaID
)

// A koaApp is a manager with the options of KoaCompat, the key "keys", and
// what a test adds to them.
type koaApp struct {
	ledger  *golden.Ledger
	manager *core.Manager
	name    string
}

func newKoaApp(t *testing.T, change func(o *core.Options)) *koaApp {
	t.Helper()
	a := &koaApp{ledger: golden.NewLedger()}
	t.Cleanup(func() { a.ledger.Close() })
	o := core.KoaCompat()
	o.Name = "koa.sid"
	o.Keys = [][]byte{[]byte("keys")}
	o.NewID = func(context.Context) (string, error) { return "a-new-id-of-these-tests", nil }
	if change != nil {
		change(o)
	}
	var err error
	if a.manager, err = core.New(a.ledger, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.manager.Close() })
	a.name = o.Name
	return a
}

// stored puts a record under koaKey.
func (a *koaApp) stored(t *testing.T, record string) {
	t.Helper()
	if err := a.ledger.Set(context.Background(), koaKey, []byte(record), 500*time.Second); err != nil {
		t.Fatal(err)
	}
}

// keygrip is what the original signs cookies with.
func keygrip(key, name, value string) string {
	h := hmac.New(sha1.New, []byte(key))
	h.Write([]byte(name + "=" + value))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// request makes one with the signed cookie of id, none for "", and returns the
// Set-Cookie lines.
func (a *koaApp) request(id string, handler func(v *core.Visit, s *core.Session) error) ([]string, error) {
	jar := &jartest.Jar{}
	if id != "" {
		jar.Cookies = []string{fmt.Sprintf("%s=%s; %s.sig=%s", a.name, id, a.name, keygrip("keys", a.name, id))}
	}
	ctx := context.Background()
	v, ok := a.manager.NewVisit(jar, nil)
	if !ok {
		return nil, errors.New("no visit")
	}
	if err := v.Begin(ctx); err != nil {
		return jar.SetCookies, err
	}
	var err error
	if handler != nil {
		s, sessionErr := v.Session(ctx)
		if sessionErr != nil {
			return nil, sessionErr
		}
		err = handler(v, s)
	}
	return jar.SetCookies, errors.Join(err, v.Commit(ctx))
}

func countUp(_ *core.Visit, s *core.Session) error {
	_, err := golden.Count.Update(s, func(n int) int { return n + 1 })
	return err
}

// inBubble runs f as a subtest at the recording's frozen time, and 999 ms.
func inBubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		lateInASecond(t, f)
	})
}

// lateInASecond runs f in a bubble, at a time at which a second is nearly over.
func lateInASecond(t *testing.T, f func(t *testing.T)) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.UnixMilli(1767225600999)))
		f(t)
	})
}

// attributes cuts NAME=VALUE off.
func attributes(line string) string {
	_, rest, _ := strings.Cut(line, "; ")
	return rest
}

// wantPair checks that both cookies are sent with the same attributes.
func wantPair(t *testing.T, lines []string, want string) {
	t.Helper()
	if len(lines) != 2 {
		t.Fatalf("Set-Cookie: %q, want a pair", lines)
	}
	for _, line := range lines {
		if got := attributes(line); got != want {
			t.Errorf("the attributes are\n%s, want\n%s", got, want)
		}
	}
}

func (a *koaApp) wantStored(t *testing.T, key, want string) {
	t.Helper()
	if got := a.ledger.Value(key); got != want {
		t.Errorf("%s is\n%s, want\n%s", key, got, want)
	}
}

// K3: the expiry of the cookie.
func TestKoaK3Expires(t *testing.T) {
	t.Parallel()
	end := time.UnixMilli(1767225690000)
	for _, c := range []struct {
		name   string
		cookie core.CookieOptions
		want   string
	}{
		{"default", core.CookieOptions{}, "path=/; expires=Fri, 02 Jan 2026 00:00:00 GMT; httponly"},
		{"cut down to the second", core.CookieOptions{MaxAge: 1500 * time.Millisecond}, "path=/; expires=Thu, 01 Jan 2026 00:00:02 GMT; httponly"},
		{"a second", core.CookieOptions{MaxAge: time.Second}, "path=/; expires=Thu, 01 Jan 2026 00:00:01 GMT; httponly"},
		{"none", core.CookieOptions{MaxAge: core.UntilBrowserCloses}, "path=/; httponly"},
		{"expires", core.CookieOptions{MaxAge: core.UntilBrowserCloses, Expires: end}, "path=/; expires=Thu, 01 Jan 2026 00:01:30 GMT; httponly"},
		{"maxAge beats expires", core.CookieOptions{MaxAge: time.Hour, Expires: end}, "path=/; expires=Thu, 01 Jan 2026 01:00:00 GMT; httponly"},
	} {
		inBubble(t, c.name, func(t *testing.T) {
			a := newKoaApp(t, func(o *core.Options) { o.Cookie = c.cookie })
			lines, err := a.request("", countUp)
			if err != nil {
				t.Fatal(err)
			}
			wantPair(t, lines, c.want)
		})
	}
}

// K2: all attributes in their order.
func TestKoaK2Attributes(t *testing.T) {
	t.Parallel()
	inBubble(t, "all", func(t *testing.T) {
		a := newKoaApp(t, func(o *core.Options) {
			o.InsecureAllowHTTP = true
			o.Cookie = core.CookieOptions{
				Domain: "example.com", Secure: core.On, SameSite: core.SameSiteNone,
				Priority: core.PriorityMedium, Partitioned: true,
			}
		})
		lines, err := a.request("", countUp)
		if err != nil {
			t.Fatal(err)
		}
		wantPair(t, lines, "path=/; expires=Fri, 02 Jan 2026 00:00:00 GMT; domain=example.com; priority=medium; samesite=none; secure; httponly; partitioned")
	})
	inBubble(t, "none", func(t *testing.T) {
		a := newKoaApp(t, func(o *core.Options) {
			o.Cookie = core.CookieOptions{MaxAge: core.UntilBrowserCloses, HTTPOnly: core.Off, SameSite: core.SameSiteUnset}
		})
		lines, err := a.request("", countUp)
		if err != nil {
			t.Fatal(err)
		}
		wantPair(t, lines, "path=/")
	})
}

// K5: the signature, on the way out and in.
func TestKoaK5Signature(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/keygrip.json")
	if err != nil {
		t.Fatal(err)
	}
	type vector struct {
		Keys                   []string
		Name, Value, Signature string
		Index                  int
	}
	var file struct{ Vectors []vector }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	file.Vectors = append(file.Vectors, vector{
		Keys: []string{"keys"}, Name: "koa.sid", Value: koaID, Signature: "34Caw-ta-vPGVbrG5wkOhvc1U_4",
	})
	for _, v := range file.Vectors {
		if strings.ContainsAny(v.Name, `,"\`) {
			t.Fatalf("%q is no cookie name", v.Name)
		}
		inBubble(t, v.Name, func(t *testing.T) {
			read := func(sig string, keys ...string) bool {
				a := newKoaApp(t, func(o *core.Options) {
					o.Name, o.Keys = v.Name, nil
					for _, k := range keys {
						o.Keys = append(o.Keys, []byte(k))
					}
				})
				if err := a.ledger.Set(context.Background(), "koa:sess:"+v.Value, []byte(`{"cookie":{},"count":1}`), 0); err != nil {
					t.Fatal(err)
				}
				jar := &jartest.Jar{Cookies: []string{v.Name + "=" + v.Value + "; " + v.Name + ".sig=" + sig}}
				visit, _ := a.manager.NewVisit(jar, nil)
				s, err := visit.Session(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				return !s.IsNew() && string(s.ID()) == v.Value
			}
			if !read(v.Signature, v.Keys...) {
				t.Error("keygrip's signature is not accepted")
			}
			if read(v.Signature, "another key") {
				t.Error("another key's signature is accepted")
			}
			for _, sig := range []string{
				v.Signature[:26], v.Signature + "=", v.Signature + "A", strings.ToLower(v.Signature),
				"A" + v.Signature[1:], v.Signature[:26] + "%",
			} {
				if sig != v.Signature && read(sig, v.Keys...) {
					t.Errorf("the signature %q is accepted for %q", sig, v.Signature)
				}
			}
			if len(v.Value) < 16 {
				return // no id that we would make
			}
			a := newKoaApp(t, func(o *core.Options) {
				o.Name, o.Keys = v.Name, [][]byte{[]byte(v.Keys[v.Index])}
				o.NewID = func(context.Context) (string, error) { return v.Value, nil }
			})
			lines, err := a.request("", countUp)
			if err != nil {
				t.Fatal(err)
			}
			if want := v.Name + ".sig=" + v.Signature + "; "; len(lines) != 2 || !strings.HasPrefix(lines[1], want) {
				t.Errorf("Set-Cookie: %q, want %q", lines, want)
			}
		})
	}
}

// K19: the cookie object of a new session.
func TestKoaK19CookieObject(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		cookie core.CookieOptions
		want   string
	}{
		{"nothing", core.CookieOptions{}, `{"httpOnly":true,"path":"/","overwrite":true,"signed":true,"maxAge":86400000}`},
		{"maxAge", core.CookieOptions{MaxAge: time.Hour}, `{"maxAge":3600000,"httpOnly":true,"path":"/","overwrite":true,"signed":true}`},
		{"no maxAge", core.CookieOptions{MaxAge: core.UntilBrowserCloses}, `{"maxAge":null,"httpOnly":true,"path":"/","overwrite":true,"signed":true}`},
		{"httpOnly", core.CookieOptions{HTTPOnly: core.Off}, `{"httpOnly":false,"path":"/","overwrite":true,"signed":true,"maxAge":86400000}`},
		{"a default given", core.CookieOptions{Signed: core.On}, `{"signed":true,"httpOnly":true,"path":"/","overwrite":true,"maxAge":86400000}`},
		{"sameSite", core.CookieOptions{SameSite: core.SameSiteLax}, `{"sameSite":"lax","httpOnly":true,"path":"/","overwrite":true,"signed":true,"maxAge":86400000}`},
		{"sameSite false", core.CookieOptions{SameSite: core.SameSiteUnset}, `{"sameSite":false,"httpOnly":true,"path":"/","overwrite":true,"signed":true,"maxAge":86400000}`},
		{"path and domain", core.CookieOptions{Path: "/", Domain: "example.com"}, `{"path":"/","domain":"example.com","httpOnly":true,"overwrite":true,"signed":true,"maxAge":86400000}`},
		{"expires", core.CookieOptions{MaxAge: core.UntilBrowserCloses, Expires: time.Date(2026, 2, 1, 1, 0, 0, 123456789, time.FixedZone("", 3600))},
			`{"maxAge":null,"expires":"2026-02-01T00:00:00.123Z","httpOnly":true,"path":"/","overwrite":true,"signed":true}`},
		{"secure off", core.CookieOptions{Secure: core.Off}, `{"secure":false,"httpOnly":true,"path":"/","overwrite":true,"signed":true,"maxAge":86400000}`},
		{"all", core.CookieOptions{
			Path: "/", Domain: "example.com", MaxAge: time.Minute, Expires: time.UnixMilli(1767225690000), HTTPOnly: core.On, Secure: core.On,
			SameSite: core.SameSiteNone, Priority: core.PriorityHigh, Partitioned: true, Overwrite: core.On, Signed: core.On,
		}, `{"path":"/","httpOnly":true,"maxAge":60000,"overwrite":true,"signed":true,"domain":"example.com","secure":true,"sameSite":"none","priority":"high","partitioned":true,"expires":"2026-01-01T00:01:30.000Z"}`},
	} {
		inBubble(t, c.name, func(t *testing.T) {
			a := newKoaApp(t, func(o *core.Options) {
				o.Cookie = c.cookie
				o.InsecureAllowHTTP = true
			})
			if _, err := a.request("", countUp); err != nil {
				t.Fatal(err)
			}
			a.wantStored(t, "koa:sess:a-new-id-of-these-tests", `{"cookie":`+c.want+`,"count":1}`)
		})
	}
}

// K25: the options stored with a session rule its cookies, and every member of
// them is kept.
func TestKoaK25StoredCookie(t *testing.T) {
	t.Parallel()
	const (
		day  = "expires=Fri, 02 Jan 2026 00:00:00 GMT"
		rest = `"path":"/","overwrite":true,"signed":true,"maxAge":86400000`
	)
	for _, c := range []struct{ name, cookie, want string }{
		{"complete", `{"httpOnly":true,` + rest + `}`, "path=/; " + day + "; httponly"},
		{"httpOnly off", `{"httpOnly":false,` + rest + `}`, "path=/; " + day},
		{"sameSite true", `{"sameSite":true,` + rest + `}`, "path=/; " + day + "; samesite=strict; httponly"},
		{"sameSite false", `{"sameSite":false,` + rest + `}`, "path=/; " + day + "; httponly"},
		{"sameSite in capitals", `{"sameSite":"Lax",` + rest + `}`, "path=/; " + day + "; samesite=lax; httponly"},
		{"sameSite shouting", `{"sameSite":"STRICT",` + rest + `}`, "path=/; " + day + "; samesite=strict; httponly"},
		{"priority in capitals", `{"priority":"High",` + rest + `}`, "path=/; " + day + "; priority=high; httponly"},
		{"path and domain", `{"path":"/p","domain":"example.com","maxAge":86400000}`, "path=/p; " + day + "; domain=example.com; httponly"},
		{"maxAge with a fraction", `{"maxAge":60000.5}`, "path=/; expires=Thu, 01 Jan 2026 00:01:00 GMT; httponly"},
		{"maxAge null", `{"maxAge":null}`, "path=/; httponly"},
		{"maxAge 0", `{"maxAge":0}`, "path=/; httponly"},
		{"expires", `{"maxAge":null,"expires":"2026-01-01T00:01:30.000Z"}`, "path=/; expires=Thu, 01 Jan 2026 00:01:30 GMT; httponly"},
		{"expires null", `{"maxAge":null,"expires":null}`, "path=/; httponly"},
		{"expires in another zone", `{"maxAge":null,"expires":"2026-01-01T02:01:30+02:00"}`, "path=/; expires=Thu, 01 Jan 2026 00:01:30 GMT; httponly"},
		{"empty (W46)", `{}`, "path=/; httponly"},
		{"no maxAge (W46)", `{"httpOnly":true,"path":"/"}`, "path=/; httponly"},
		{"expires alone (W46)", `{"expires":"2026-01-01T00:01:30.000Z"}`, "path=/; expires=Thu, 01 Jan 2026 00:01:30 GMT; httponly"},
		{"express-session (W46)", `{"originalMaxAge":60000,"expires":"2026-01-01T00:01:00.000Z","httpOnly":true,"path":"/"}`, "path=/; expires=Thu, 01 Jan 2026 00:01:00 GMT; httponly"},
		{"express-session, until the browser closes (W46)", `{"originalMaxAge":null,"expires":null,"httpOnly":true,"path":"/"}`, "path=/; httponly"},
		{"maxAge is no number (W46)", `{"maxAge":"60000"}`, "path=/; httponly"},
		{"maxage (W46)", `{"maxage":60000}`, "path=/; expires=Thu, 01 Jan 2026 00:01:00 GMT; httponly"},
		{"maxage first (W46)", `{"maxage":60000,"maxAge":120000}`, "path=/; expires=Thu, 01 Jan 2026 00:01:00 GMT; httponly"},
		{"maxage 0 (W46)", `{"maxage":0,"maxAge":60000}`, "path=/; expires=Thu, 01 Jan 2026 00:01:00 GMT; httponly"},
		{"unknown members", `{"httpOnly":true,"x":{"b":1,"a":[1.0,"<"]},` + rest + `,"y":null}`, "path=/; " + day + "; httponly"},
	} {
		inBubble(t, c.name, func(t *testing.T) {
			a := newKoaApp(t, nil)
			a.stored(t, `{"cookie":`+c.cookie+`,"count":1}`)
			lines, err := a.request(koaID, nil)
			if err != nil || len(lines) > 0 {
				t.Fatalf("an untouched session sends %q, %v", lines, err)
			}
			if lines, err = a.request(koaID, countUp); err != nil {
				t.Fatal(err)
			}
			wantPair(t, lines, c.want)
			a.wantStored(t, koaKey, `{"cookie":`+c.cookie+`,"count":2}`)
		})
	}
	inBubble(t, "no cookie member", func(t *testing.T) {
		a := newKoaApp(t, nil)
		a.stored(t, `{"count":1}`)
		lines, err := a.request(koaID, countUp)
		if err != nil {
			t.Fatal(err)
		}
		wantPair(t, lines, "path=/; "+day+"; httponly")
		a.wantStored(t, koaKey, `{"count":2}`)
	})
	inBubble(t, "SetCookie changes its member and keeps the others", func(t *testing.T) {
		a := newKoaApp(t, nil)
		a.stored(t, `{"cookie":{"x":"y","sameSite":"Lax","maxAge":60000,"path":"/"},"count":1}`)
		lines, err := a.request(koaID, func(_ *core.Visit, s *core.Session) error {
			c := s.Cookie()
			c.MaxAge, c.Priority = time.Hour, core.PriorityLow
			return s.SetCookie(c)
		})
		if err != nil {
			t.Fatal(err)
		}
		wantPair(t, lines, "path=/; expires=Thu, 01 Jan 2026 01:00:00 GMT; priority=low; samesite=lax; httponly")
		a.wantStored(t, koaKey, `{"cookie":{"x":"y","sameSite":"Lax","maxAge":3600000,"path":"/","priority":"low"},"count":1}`)
	})
	inBubble(t, "SetCookie to what it is changes nothing", func(t *testing.T) {
		a := newKoaApp(t, nil)
		a.stored(t, `{"cookie":{"sameSite":"Lax"},"count":1}`)
		lines, err := a.request(koaID, func(_ *core.Visit, s *core.Session) error { return s.SetCookie(s.Cookie()) })
		if err != nil || len(lines) > 0 {
			t.Errorf("%q, %v", lines, err)
		}
	})
	inBubble(t, "secure over plain HTTP is an error before anything is stored", func(t *testing.T) {
		a := newKoaApp(t, nil)
		const record = `{"cookie":{"secure":true},"count":1}`
		a.stored(t, record)
		if lines, err := a.request(koaID, countUp); err == nil || len(lines) > 0 {
			t.Errorf("%q, %v", lines, err)
		}
		a.wantStored(t, koaKey, record)
	})
	inBubble(t, "K6: the removal has the path that the cookie has", func(t *testing.T) {
		a := newKoaApp(t, nil)
		a.stored(t, `{"cookie":{"path":"/p","domain":"example.com"},"count":1}`)
		lines, err := a.request(koaID, func(_ *core.Visit, s *core.Session) error { return s.Destroy(context.Background()) })
		if err != nil {
			t.Fatal(err)
		}
		wantPair(t, lines, "path=/p; expires=Thu, 01 Jan 1970 00:00:00 GMT; domain=example.com; httponly")
	})
}

// K36 and K37: where a session is stored, and for how long.
func TestKoaK37TTL(t *testing.T) {
	t.Parallel()
	const day = 86400
	expires := func(at time.Duration) core.CookieOptions {
		return core.CookieOptions{MaxAge: core.UntilBrowserCloses, Expires: time.UnixMilli(1767225600999).Add(at)}
	}
	for _, c := range []struct {
		name   string
		change func(o *core.Options)
		want   int64 // seconds; 0: not stored
	}{
		{"default", func(*core.Options) {}, day},
		{"maxAge", func(o *core.Options) { o.Cookie.MaxAge = 90 * time.Second }, 90},
		{"1500 ms are 2 s", func(o *core.Options) { o.Cookie.MaxAge = 1500 * time.Millisecond }, 2},
		{"1001 ms are 2 s", func(o *core.Options) { o.Cookie.MaxAge = 1001 * time.Millisecond }, 2},
		{"2000 ms are 2 s", func(o *core.Options) { o.Cookie.MaxAge = 2 * time.Second }, 2},
		{"TTL beats maxAge", func(o *core.Options) { o.TTL, o.Cookie.MaxAge = 5*time.Second, time.Hour }, 5},
		{"TTL beats expires", func(o *core.Options) { o.TTL, o.Cookie = 5*time.Second, expires(time.Hour) }, 5},
		{"TTL is rounded up", func(o *core.Options) { o.TTL = 4001 * time.Millisecond }, 5},
		{"TTLFunc", func(o *core.Options) {
			o.TTLFunc = func(s *core.Session) time.Duration { return time.Duration(golden.Count.Get(s)) * 10 * time.Second }
		}, 10},
		{"TTLFunc that says nothing", func(o *core.Options) {
			o.TTLFunc, o.TTL = func(*core.Session) time.Duration { return 0 }, 7*time.Second
		}, 7},
		{"TTLFunc below zero", func(o *core.Options) { o.TTLFunc = func(*core.Session) time.Duration { return -1 } }, 0},
		{"expires", func(o *core.Options) { o.Cookie = expires(time.Minute) }, 60},
		{"expires beats maxAge", func(o *core.Options) {
			o.Cookie = expires(time.Minute)
			o.Cookie.MaxAge = time.Hour
		}, 60},
		{"expires is over", func(o *core.Options) { o.Cookie = expires(-time.Second) }, 0},
		{"expires is now", func(o *core.Options) { o.Cookie = expires(0) }, 0},
		{"neither", func(o *core.Options) { o.Cookie.MaxAge = core.UntilBrowserCloses }, day},
		{"for ever", func(o *core.Options) { o.Cookie.MaxAge, o.InsecureNoLimit = core.UntilBrowserCloses, true }, -1},
	} {
		inBubble(t, c.name, func(t *testing.T) {
			a := newKoaApp(t, c.change)
			lines, err := a.request("", countUp)
			if err != nil {
				t.Fatal(err)
			}
			keys := a.ledger.Records()
			if c.want == 0 {
				if len(keys) > 0 || len(lines) > 0 {
					t.Errorf("stored %+v and sent %q, want nothing", keys, lines)
				}
				return
			}
			want := max(c.want*1000, -1)
			if len(keys) != 1 || keys[0].Key != "koa:sess:a-new-id-of-these-tests" || keys[0].PTTL != want {
				t.Errorf("stored %+v, want a ttl of %d ms", keys, want)
			}
		})
	}
	inBubble(t, "a session whose time is over is destroyed", func(t *testing.T) {
		a := newKoaApp(t, nil)
		a.stored(t, `{"cookie":{"path":"/"},"count":1}`)
		lines, err := a.request(koaID, func(_ *core.Visit, s *core.Session) error {
			return s.SetCookie(core.CookieOptions{MaxAge: core.UntilBrowserCloses, Expires: time.Now().Add(-time.Hour)})
		})
		if err != nil {
			t.Fatal(err)
		}
		wantPair(t, lines, "path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT; httponly")
		if keys := a.ledger.Records(); len(keys) > 0 {
			t.Errorf("stored %+v", keys)
		}
	})
}

// K38: the stored text.
func TestKoaK38JSON(t *testing.T) {
	t.Parallel()
	const cookie = `"cookie":{"httpOnly":true,"path":"/","overwrite":true,"signed":true,"maxAge":86400000}`
	for _, c := range []struct {
		name  string
		value any
		want  string
	}{
		{"plain", "abc", `"abc"`},
		{"HTML", `<a href="x">&amp;</a>`, `"<a href=\"x\">&amp;</a>"`},
		{"separators", "\u2028\u2029", "\"\u2028\u2029\""},
		{"separators as text", `\u2028`, `"\\u2028"`},
		{"control characters", "\x00\x01\b\t\n\v\f\r\x1f\x7f", `"\u0000\u0001\b\t\n\u000b\f\r\u001f` + "\x7f\""},
		{"beyond the BMP", "😀", `"😀"`},
		{"in a map", map[string]any{"b<": "\u2028&", "a": "\b\f\x01"}, `{"a":"\b\f\u0001","b<":"` + "\u2028" + `&"}`},
		{"whole", 1.0, `1`},
		{"negative zero", json.Number("-0"), `-0`},
		{"1e21", 1e21, `1e+21`},
		{"1e20", 1e20, `100000000000000000000`},
		{"1e-7", 1e-7, `1e-7`},
		{"1e-6", 1e-6, `0.000001`},
		{"tenth", 0.1, `0.1`},
		{"2^53-1", int64(1<<53 - 1), `9007199254740991`},
		{"null", nil, `null`},
		{"bool", false, `false`},
		{"time", time.UnixMilli(1767225690123).UTC(), `"2026-01-01T00:01:30.123Z"`},
		{"nothing in it", map[string]any{}, `{}`},
		{"slices", [][]any{{}, {nil}}, `[[],[null]]`},
		{"struct", struct {
			B int    `json:"b"`
			A string `json:"a"`
		}{1, ">"}, `{"b":1,"a":">"}`},
	} {
		inBubble(t, c.name, func(t *testing.T) {
			a := newKoaApp(t, nil)
			if _, err := a.request("", func(_ *core.Visit, s *core.Session) error {
				return errors.Join(s.Set("z", 1), s.Set("v", c.value), s.Set("a", 2))
			}); err != nil {
				t.Fatal(err)
			}
			a.wantStored(t, "koa:sess:a-new-id-of-these-tests", `{`+cookie+`,"z":1,"v":`+c.want+`,"a":2}`)
		})
	}
	inBubble(t, "what nobody touched stays as it was read", func(t *testing.T) {
		a := newKoaApp(t, nil)
		const others = `"n":1.50e3,"s":"\u0041\ud800","o":{"b" : 1,"a":2,"b":3},"_gs":"no name of ours","__proto__":[ ]`
		a.stored(t, `{`+cookie+`,`+others+`,"count":1}`)
		if _, err := a.request(koaID, countUp); err != nil {
			t.Fatal(err)
		}
		a.wantStored(t, koaKey, `{`+cookie+`,`+others+`,"count":2}`)
	})
	inBubble(t, "cookie comes first, and a changed member stays in its place", func(t *testing.T) {
		a := newKoaApp(t, nil)
		a.stored(t, `{"a":1,"count":1,"cookie":{"maxAge":60000},"b":2}`)
		if _, err := a.request(koaID, countUp); err != nil {
			t.Fatal(err)
		}
		a.wantStored(t, koaKey, `{"cookie":{"maxAge":60000},"a":1,"count":2,"b":2}`)
	})
	inBubble(t, "K22: another layout is no change", func(t *testing.T) {
		a := newKoaApp(t, nil)
		record := "{\n  \"count\": 1.0,\r\n \"" + `cookie": {"path":"/", "x" :{"b":1,"a":2}} }`
		a.stored(t, record)
		lines, err := a.request(koaID, func(_ *core.Visit, s *core.Session) error { return s.Set("count", 1) })
		if err != nil || len(lines) > 0 {
			t.Errorf("%q, %v", lines, err)
		}
		a.wantStored(t, koaKey, record)
	})
}

// K39: what can't be read counts as no session, stays where it is, and is told
// to the hook.
func TestKoaK39Unreadable(t *testing.T) {
	t.Parallel()
	corrupt := []string{
		`{"count":`, `{"count":1}}`, `{"count":1,}`, `{count:1}`, `[]`, `[{"cookie":{}}]`, `7`, `"text"`, `true`, ` `,
		`{"cookie":"text","count":1}`, `{"cookie":[],"count":1}`, `{"cookie":7}`, "{\"a\":\"\x01\"}", "\x00", `(a list)x`,
	}
	for _, record := range corrupt {
		inBubble(t, record, func(t *testing.T) { unreadable(t, record, core.ErrCorrupt) })
	}
	for _, record := range []string{``, `null`} { // no session to the original either, and nothing wrong with it
		inBubble(t, "nothing "+record, func(t *testing.T) { unreadable(t, record, nil) })
	}
}

func unreadable(t *testing.T, record string, want error) {
	var told []error
	var answer error
	hook := func(_ context.Context, e *core.Error) error {
		told = append(told, e)
		if e.Op != core.OpGet {
			t.Errorf("the hook is told of %q", e.Op)
		}
		return answer
	}
	for _, hook := range []func(context.Context, *core.Error) error{nil, hook} {
		a := newKoaApp(t, func(o *core.Options) { o.Hooks.Error = hook })
		a.stored(t, record)
		lines, err := a.request(koaID, nil)
		if err != nil {
			t.Fatal(err)
		}
		wantPair(t, lines, "path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT; httponly") // K17
		lines, err = a.request(koaID, countUp)
		if err != nil {
			t.Fatal(err)
		}
		if len(lines) != 2 || !strings.HasPrefix(lines[0], "koa.sid=a-new-id-of-these-tests; ") {
			t.Errorf("Set-Cookie: %q, want a new id", lines)
		}
		a.wantStored(t, koaKey, record)
	}
	if want == nil {
		if len(told) > 0 {
			t.Errorf("the hook is told %v", told)
		}
		return
	}
	if len(told) != 2 {
		t.Fatalf("the hook is told %v", told)
	}
	for _, err := range told {
		if !errors.Is(err, want) {
			t.Errorf("the hook is told %v", err)
		}
	}
	answer = errors.New("not with me")
	a := newKoaApp(t, func(o *core.Options) { o.Hooks.Error = hook })
	a.stored(t, record)
	if lines, err := a.request(koaID, nil); !errors.Is(err, answer) || len(lines) > 0 {
		t.Errorf("with a hook that refuses: %q, %v", lines, err)
	}
}

// K48: a session that is replaced or destroyed without being loaded.
func TestKoaK48Unloaded(t *testing.T) {
	t.Parallel()
	const cookie = `"cookie":{"httpOnly":true,"path":"/","overwrite":true,"signed":true,"maxAge":86400000}`
	replace := func(v *core.Visit) error {
		return v.Replace(context.Background(), struct {
			Foo string `json:"foo"`
		}{"bar"})
	}
	deferred := func(o *core.Options) { o.Defer = true }
	// visit is request without asking for the session.
	visit := func(t *testing.T, a *koaApp, id string, f func(v *core.Visit) error) []string {
		t.Helper()
		jar := &jartest.Jar{}
		if id != "" {
			jar.Cookies = []string{"koa.sid=" + id + "; koa.sid.sig=" + keygrip("keys", "koa.sid", id)}
		}
		v, _ := a.manager.NewVisit(jar, nil)
		if err := errors.Join(v.Begin(context.Background()), f(v), v.Commit(context.Background())); err != nil {
			t.Fatal(err)
		}
		return jar.SetCookies
	}
	inBubble(t, "replaced", func(t *testing.T) {
		a := newKoaApp(t, deferred)
		a.stored(t, `{"cookie":{"maxAge":60000},"count":1}`)
		lines := visit(t, a, koaID, replace)
		if len(lines) != 2 || !strings.HasPrefix(lines[0], "koa.sid=seeded; path=/; expires=Thu, 01 Jan 2026 00:01:00 GMT; ") {
			t.Errorf("Set-Cookie: %q", lines)
		}
		a.wantStored(t, koaKey, `{"cookie":{"maxAge":60000},"foo":"bar"}`)
	})
	for _, id := range []string{"", "unknown"} {
		inBubble(t, "replaced, id "+id, func(t *testing.T) {
			a := newKoaApp(t, deferred)
			lines := visit(t, a, id, replace)
			if len(lines) != 2 || !strings.HasPrefix(lines[0], "koa.sid=a-new-id-of-these-tests; ") {
				t.Errorf("Set-Cookie: %q", lines)
			}
			a.wantStored(t, "koa:sess:a-new-id-of-these-tests", `{`+cookie+`,"foo":"bar"}`)
			if keys := a.ledger.Records(); len(keys) != 1 {
				t.Errorf("stored %+v", keys)
			}
		})
	}
	for _, id := range []string{koaID, "unknown"} {
		inBubble(t, "destroyed, id "+id, func(t *testing.T) {
			a := newKoaApp(t, deferred)
			a.stored(t, `{"cookie":{},"count":1}`)
			lines := visit(t, a, id, func(v *core.Visit) error { return v.Destroy(context.Background()) })
			wantPair(t, lines, "path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT; httponly")
			if keys := a.ledger.Records(); (len(keys) == 0) != (id == koaID) {
				t.Errorf("stored %+v", keys)
			}
		})
	}
	inBubble(t, "destroyed without a cookie", func(t *testing.T) {
		a := newKoaApp(t, deferred)
		if lines := visit(t, a, "", func(v *core.Visit) error { return v.Destroy(context.Background()) }); len(lines) > 0 {
			t.Errorf("Set-Cookie: %q", lines)
		}
	})
}

// setCookieLine is K2: nothing else may come out, whatever is stored.
var setCookieLine = regexp.MustCompile(`^koa\.sid(\.sig)?=[A-Za-z0-9_-]*; path=/[!-:<-~]*` +
	`(; expires=[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT)?` +
	`(; domain=[A-Za-z0-9.-]+)?(; priority=(low|medium|high))?(; samesite=(lax|strict|none))?` +
	`(; secure)?(; httponly)?(; partitioned)?$`)

// FuzzStoredCookie: whatever the store holds as a session's cookie options, it
// does not break a Set-Cookie line, does not keep a session for ever, and is
// kept.
func FuzzStoredCookie(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"httpOnly":true,"path":"/","overwrite":true,"signed":true,"maxAge":86400000}`,
		`{"path":"/; domain=evil.example"}`, `{"path":"/\r\nSet-Cookie: a=b"}`, `{"path":"\u0000"}`, `{"path":"x"}`, `{"path":""}`, `{"path":7}`, `{"path":null}`, `{"path":"/ä"}`,
		`{"domain":"a.example; path=/"}`, `{"domain":"a b"}`, `{"domain":".example.com"}`, `{"domain":""}`, `{"domain":["a"]}`, `{"domain":"a..b"}`,
		`{"maxAge":"60000"}`, `{"maxAge":-1}`, `{"maxAge":-1e300}`, `{"maxAge":1e300}`, `{"maxAge":1e999}`, `{"maxAge":9223372036854775807}`, `{"maxAge":4611686018427}`, `{"maxAge":1e-10}`, `{"maxAge":0.9999}`, `{"maxAge":0}`, `{"maxAge":null}`, `{"maxAge":true}`, `{"maxAge":{}}`,
		`{"expires":"2026-01-01T00:01:30.000Z"}`, `{"maxAge":null,"expires":"9999-12-31T23:59:59.999Z"}`, `{"maxAge":null,"expires":"0001-01-01T00:00:00Z"}`, `{"maxAge":null,"expires":"1601-01-01T00:00:00+14:00"}`, `{"maxAge":null,"expires":"9999-12-31T23:59:59-14:00"}`, `{"maxAge":null,"expires":"+010000-01-01T00:00:00.000Z"}`, `{"maxAge":null,"expires":"Invalid Date"}`, `{"expires":1767225690000}`, `{"expires":null}`,
		`{"sameSite":"none"}`, `{"sameSite":"None; secure"}`, `{"sameSite":7}`, `{"sameSite":true}`, `{"priority":"high; x"}`, `{"priority":false}`,
		`{"secure":true}`, `{"secure":"auto"}`, `{"secure":false,"sameSite":"none","partitioned":true}`, `{"signed":false}`, `{"signed":null,"overwrite":0,"httpOnly":"no"}`,
		`{"path":"/","path":"/b"}`, `{"__proto__":{"path":"/;"}}`, `{"x":"\u2028"}`, `null`, `[]`, `"text"`, `7`,
	} {
		f.Add(seed, false)
		f.Add(seed, true)
	}
	f.Fuzz(func(t *testing.T, cookie string, destroy bool) {
		a := newKoaApp(t, nil)
		record := `{"cookie":` + cookie + `,"count":1}`
		a.stored(t, record)
		lines, err := a.request(koaID, func(_ *core.Visit, s *core.Session) error {
			_ = s.SetCookie(s.Cookie()) // changes nothing, or refuses what is stored
			if destroy {
				return s.Destroy(context.Background())
			}
			return countUp(nil, s)
		})
		for _, line := range lines {
			if !setCookieLine.MatchString(line) {
				t.Errorf("Set-Cookie: %q", line)
			}
		}
		if names := strings.Join(lines, "\n"); strings.Count(names, "koa.sid=") > 1 || strings.Count(names, "koa.sid.sig=") > 1 {
			t.Errorf("Set-Cookie: %q", lines)
		}
		keys := a.ledger.Records()
		for _, k := range keys {
			if k.PTTL < 0 {
				t.Errorf("%+v is kept for ever", k)
			}
		}
		if err != nil {
			// Secure over plain HTTP is the one thing that can be wrong.
			if len(lines) > 0 || a.ledger.Value(koaKey) != record {
				t.Errorf("after %v: sent %q, stored %+v", err, lines, keys)
			}
			return
		}
		i := slices.IndexFunc(keys, func(k golden.Record) bool { return k.Key == koaKey })
		if i < 0 || keys[i].Value == record {
			return // it was destroyed, or was no record
		}
		var before, after struct {
			Cookie map[string]json.RawMessage
			Count  int
		}
		if json.Unmarshal([]byte(record), &before) != nil {
			return
		}
		if err := json.Unmarshal([]byte(keys[i].Value), &after); err != nil {
			t.Fatalf("stored %+v: %v", keys[i].Value, err)
		}
		if after.Count != before.Count+1 {
			t.Errorf("stored %+v, was %q", keys[i].Value, record)
		}
		for name, value := range before.Cookie {
			if !bytes.Equal(after.Cookie[name], value) {
				t.Errorf("%q was %s, is %s", name, value, after.Cookie[name])
			}
		}
	})
}

// The original does not store when a session began.
func TestKoaCreatedIsTheTimeOfTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newKoaApp(t, nil)
		a.stored(t, `{"cookie":{},"n":1}`)
		time.Sleep(time.Minute)
		jar := &jartest.Jar{Cookies: []string{"koa.sid=" + koaID + "; koa.sid.sig=34Caw-ta-vPGVbrG5wkOhvc1U_4"}}
		v, _ := a.manager.NewVisit(jar, nil)
		s, err := v.Session(context.Background())
		if err != nil || s.IsNew() {
			t.Fatal("the session was not found: ", err)
		}
		if !s.Created().Equal(time.Now()) {
			t.Errorf("Created is %v, want %v", s.Created(), time.Now())
		}
	})
}
