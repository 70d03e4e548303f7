package browsers_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
)

// A scope is where a browser sends a cookie.
type scope struct{ domain, path string }

func (s scope) options() core.CookieOptions {
	return core.CookieOptions{Domain: s.domain, Path: s.path}
}

// changes of the scope, all of which are sent to /app.
var changes = map[string][2]scope{
	"a domain":         {{"", "/"}, {"example.com", "/"}},
	"no domain":        {{"example.com", "/"}, {"", "/"}},
	"another domain":   {{"example.com", "/"}, {"www.example.com", "/"}},
	"a deeper path":    {{"", "/"}, {"", "/app"}},
	"a higher path":    {{"", "/app"}, {"", "/"}},
	"domain and path":  {{"example.com", "/app"}, {"", "/"}},
	"path, and domain": {{"", "/"}, {"example.com", "/app"}},
}

// sent is a whole request to /app.
func sent(t testing.TB, m *core.Manager, b *jartest.Browser, h handler) *exchange {
	t.Helper()
	return begin(m, b.Jar("/app")).run(t, h).commit().ok(t).to(b)
}

func wantAt(t testing.TB, m *core.Manager, b *jartest.Browser, want string) {
	t.Helper()
	sent(t, m, b, func(_ *core.Visit, s *core.Session) {
		t.Helper()
		if got := user.Get(s); got != want {
			t.Errorf("user is %q, want %q", got, want)
		}
	})
}

// The scope of the cookie is changed by a deploy, or by SetCookie (W7). A login works
// and stays; a logout ends every session that the request proves to hold (W6).
func TestScopes(t *testing.T) {
	for name, c := range changes {
		for _, by := range []string{"deploy", "deploy with FormerCookies", "SetCookie"} {
			t.Run(name+", "+by, func(t *testing.T) {
				store := newMemory(t)
				older := newManager(t, store, core.Options{Cookie: c[0].options()})
				o := core.Options{Cookie: c[1].options()}
				if by == "deploy with FormerCookies" {
					o.FormerCookies = []core.CookieOptions{c[0].options()}
				}
				newer, in := newManager(t, store, o), func(h handler) handler { return h }
				if by == "SetCookie" {
					if c[0].path == "/app" || c[0].domain != "" && c[1].domain == "" {
						t.Skip("a session can't have less than the configuration")
					}
					newer, in = older, func(h handler) handler {
						return func(v *core.Visit, s *core.Session) {
							must(t, s.SetCookie(c[1].options()))
							h(v, s)
						}
					}
				}
				// What the browser has before: the old pair, the new one, or both, of
				// sessions that live, were ended, or were given up.
				alive := func(m *core.Manager, in func(handler) handler, b *jartest.Browser) { sent(t, m, b, in(set(t, 1))) }
				same := func(h handler) handler { return h }
				end := func(m *core.Manager, b *jartest.Browser) {
					begin(m, b.Jar("/app")).run(t, logout(t)).commit().ok(t)
				}
				giveUp := func(m *core.Manager, b *jartest.Browser) {
					begin(m, b.Jar("/app")).run(t, loginAs(t, "ada")).commit().ok(t)
				}
				for before, prepare := range map[string]func(b *jartest.Browser){
					"nothing":           func(*jartest.Browser) {},
					"old":               func(b *jartest.Browser) { alive(older, same, b) },
					"new":               func(b *jartest.Browser) { alive(newer, in, b) },
					"old dead":          func(b *jartest.Browser) { alive(older, same, b); end(older, b) },
					"old given up":      func(b *jartest.Browser) { alive(older, same, b); giveUp(older, b) },
					"new given up":      func(b *jartest.Browser) { alive(newer, in, b); giveUp(newer, b) },
					"old dead, new":     func(b *jartest.Browser) { alive(older, same, b); end(older, b); alive(newer, in, b) },
					"old given up, new": func(b *jartest.Browser) { alive(older, same, b); sent(t, newer, b, in(loginAs(t, "eve"))) },
					"old, new dead":     func(b *jartest.Browser) { alive(newer, in, b); end(newer, b); alive(older, same, b) },
					"both":              func(b *jartest.Browser) { both(t, older, newer, in, b) },
					"both dead": func(b *jartest.Browser) {
						both(t, older, newer, in, b)
						end(newer, b)
					},
					"both given up": func(b *jartest.Browser) {
						both(t, older, newer, in, b)
						giveUp(newer, b)
					},
				} {
					t.Run(before, func(t *testing.T) {
						var b jartest.Browser
						prepare(&b)
						sent(t, newer, &b, nil)
						if before == "both" {
							wantAt(t, newer, &b, "")
						}
						sent(t, newer, &b, in(loginAs(t, "bob")))
						pairs := func() int { return strings.Count("; "+b.Cookie("/app"), "; koa.sid=") }
						if n := pairs(); len(o.FormerCookies) > 0 && n != 1 {
							t.Errorf("%d first cookies after the login", n)
						}
						for range 3 {
							wantAt(t, newer, &b, "bob")
							sent(t, newer, &b, in(set(t, 2)))
						}
						sent(t, newer, &b, in(loginAs(t, "bob"))) // once more
						wantAt(t, newer, &b, "bob")
						has := b.Cookie("/app")
						sent(t, newer, &b, logout(t))
						if n := pairs(); len(o.FormerCookies) > 0 && n != 0 {
							t.Errorf("%d first cookies after the logout", n)
						}
						for range 2 {
							wantAt(t, newer, &b, "")
						}
						for _, m := range []*core.Manager{older, newer} {
							if x := begin(m, &jartest.Jar{Cookies: []string{has}, Target: "/app"}); x.err == nil {
								x.run(t, func(_ *core.Visit, s *core.Session) {
									if user.Get(s) != "" {
										t.Error("a session lives on")
									}
								}).visit.Abandon()
							}
						}
					})
				}
			})
		}
	}
}

// both gives b two genuine pairs of living sessions.
func both(t testing.TB, older, newer *core.Manager, in func(handler) handler, b *jartest.Browser) {
	var other jartest.Browser
	x := sent(t, newer, &other, in(set(t, 7)))
	sent(t, older, b, set(t, 1))
	x.to(b)
}

// Two living sessions: none counts. Login ends both, and so does Destroy.
func TestTwoLiving(t *testing.T) {
	for name, h := range map[string]handler{"login": loginAs(t, "ada"), "logout": logout(t)} {
		for _, deferred := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, Defer %t", name, deferred), func(t *testing.T) {
				store := newMemory(t)
				older := newManager(t, store, core.Options{})
				newer := newManager(t, store, core.Options{Cookie: core.CookieOptions{Domain: "example.com"}, Defer: deferred})
				var b jartest.Browser
				both(t, older, newer, func(h handler) handler { return h }, &b)
				var ids []core.ID
				for pair := range strings.SplitSeq(b.Cookie("/"), "; ") {
					if id, ok := strings.CutPrefix(pair, "koa.sid="); ok {
						ids = append(ids, core.ID(id))
					}
				}
				if len(ids) != 2 || !lives(t, newer, ids[0]) || !lives(t, newer, ids[1]) {
					t.Fatalf("%d ids", len(ids))
				}
				visit(t, newer, &b, func(_ *core.Visit, s *core.Session) {
					if !s.IsNew() || visits.Get(s) != 0 {
						t.Error("one of two counts")
					}
				})
				visit(t, newer, &b, h)
				if lives(t, newer, ids[0]) || lives(t, newer, ids[1]) {
					t.Error("one of the two lives")
				}
				wantUser(t, newer, &b, map[string]string{"login": "ada"}[name])
			})
		}
	}
}

// A lost login answer while the browser has two pairs: the next form and login work
// at once (P3).
func TestLostLoginWithTwoPairs(t *testing.T) {
	store := newMemory(t)
	older := newManager(t, store, core.Options{})
	m := newManager(t, store, core.Options{Cookie: core.CookieOptions{Domain: "example.com"}})
	var b jartest.Browser
	visit(t, older, &b, set(t, 1))
	visit(t, m, &b, loginAs(t, "ada"))   // the old pair is dead now, and stays
	request(t, m, &b, loginAs(t, "ada")) // the answer is lost
	visit(t, m, &b, func(_ *core.Visit, s *core.Session) { must(t, token.Set(s, "form")) })
	visit(t, m, &b, func(v *core.Visit, s *core.Session) {
		if token.Get(s) != "form" {
			t.Error("the token of the form is lost")
		}
		loginAs(t, "ada")(v, s)
	})
	wantUser(t, m, &b, "ada")
}

// More cookies than are looked at: Destroy is an error, and sends removals (W6).
func TestCrowded(t *testing.T) {
	for _, deferred := range []bool{false, true} {
		for name, fill := range map[string]func(cookie string) string{
			"five cookies": func(c string) string { return c + strings.Repeat("; koa.sid=0123456789abcdef0123456789abcdef", 4) },
			"16 KiB":       func(c string) string { return c + "; x=" + strings.Repeat("x", 16<<10) },
			"many":         func(c string) string { return strings.Repeat("a=b; ", 200) + c },
		} {
			for how, destroy := range map[string]func(v *core.Visit) error{
				"Session": func(v *core.Visit) error {
					s, err := v.Session(bg)
					if err != nil {
						return err
					}
					return s.Destroy(bg)
				},
				"Visit": func(v *core.Visit) error { return v.Destroy(bg) },
			} {
				t.Run(fmt.Sprintf("%s, %s, Defer %t", name, how, deferred), func(t *testing.T) {
					m, b := newManager(t, newMemory(t), core.Options{Defer: deferred}), &jartest.Browser{}
					visit(t, m, b, loginAs(t, "ada"))
					x := begin(m, &jartest.Jar{Cookies: []string{fill(b.Cookie("/"))}})
					if err := destroy(x.visit); err == nil || errors.Is(err, core.ErrGone) {
						t.Errorf("Destroy: %v", err)
					}
					if got := x.commit().ok(t).cookies(); got != "-koa.sid -koa.sid.sig" {
						t.Errorf("Set-Cookie %q", got)
					}
				})
			}
		}
	}
}
