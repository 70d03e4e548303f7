package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// A story is what somebody does with the login example.
type story struct {
	name string
	play func(s *scene)
}

var stories = []story{
	{"what the browser stores", stored},
	{"a first visit leaves nothing in the browser", firstVisit},
	{"a login by double click", doubleClick},
	{"a login whose answer is lost", lostAnswer},
	{"the back button after a login", backAfterLogin},
	{"two tabs", twoTabs},
	{"remembered over a restart of the browser", remembered},
	{"devices of two browsers", devices},
	{"another password ends the others", newPassword},
	{"the back button after a logout", backAfterLogout},
	{"links and forms of another site", otherSite},
}

// play plays a story, and returns why it failed.
func play(t *testing.T, c conf, f func(s *scene)) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case failure:
			err = fmt.Errorf("%s", p.text)
		default:
			panic(p)
		}
	}()
	started, err := newSite(t, c)
	if err != nil {
		return err
	}
	f(&scene{t, c, started})
	return nil
}

// Each story, over http on localhost and over TLS, with net/http and with Fiber.
func TestStories(t *testing.T) {
	for _, c := range []struct {
		name string
		conf conf
	}{
		{"http", conf{}}, {"https", conf{tls: true}},
		{"Fiber/http", conf{fiber: true}}, {"Fiber/https", conf{fiber: true, tls: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, story := range stories {
				t.Run(story.name, func(t *testing.T) {
					if err := play(t, c.conf, story.play); err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
}

func firstVisit(s *scene) {
	b := s.chrome().first()
	for _, path := range []string{"/", "/login", "/signup", "/static/style.css"} {
		s.same(path, b.open(s.url(path)), 200)
	}
	s.same("the page of users", b.open(s.url("/devices")), 200) // after a redirect
	s.same("where it leads", b.path(), "/login")
	s.same("cookies", names(b.cookies()), "")
}

func doubleClick(s *scene) {
	b := s.chrome().first()
	b.login("bob", false) // so that there is an old id
	b.fill("ada", false)
	before := s.count("POST /login")
	release := s.holdLogins()
	at := eval[struct{ X, Y float64 }](b, `(() => { const r = document.querySelector('`+strings.ReplaceAll(loginButton, `"`, `\"`)+`').getBoundingClientRect(); return {X: r.x + r.width / 2, Y: r.y + r.height / 2} })()`)
	click := func(n int64) {
		b.do("clicking", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			for _, typ := range []input.DispatchMouseEventType{input.DispatchMouseEventTypeMousePressed, input.DispatchMouseEventTypeMouseReleased} {
				if _, err := cdp.Call(ctx, t, input.DispatchMouseEvent, input.DispatchMouseEventParams{
					Type: typ, X: at.X, Y: at.Y, Button: input.MouseButtonLeft, ClickCount: n,
				}); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	click(1)
	b.until("the first request", func() bool { return s.count("POST /login") == before+1 })
	click(2)
	b.until("the second request", func() bool { return s.count("POST /login") == before+2 })
	release()
	b.until("the page after the login", func() bool { return b.ready() && b.shown() == "ada" })
	s.same("who is logged in then", b.user(), "ada")
	b.open(s.url("/devices"))
	b.wantText("the devices", "this device")
	b.logout()
	s.same("who is logged in after the logout", b.user(), "")
}

func lostAnswer(s *scene) {
	b := s.chrome().first()
	b.login("bob", false)
	b.fill("ada", false)
	before := s.count("POST /login")
	s.drop("POST /login")
	ctx, end := b.limited()
	_, _ = chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(loginButton))) // it has none
	end()
	if s.count("POST /login") == before {
		s.fail("no login has come to the server")
	}
	s.drop("")
	b.login("ada", false) // at once
	s.same("who is logged in then", b.user(), "ada")
	b.reload()
	s.same("after another look", b.shown(), "ada")
	b.logout()
	s.same("who is logged in after the logout", b.user(), "")
}

func backAfterLogin(s *scene) {
	b := s.chrome().first()
	b.login("ada", false)
	b.back()
	s.same("the page before", b.path(), "/login")
	s.same("the page before was kept", eval[bool](b, `(page => page.type !== "back_forward" || page.transferSize === 0)(performance.getEntriesByType("navigation")[0])`), false)
	b.do("typing", chromedp.SetValue(chromedp.CSS("#name"), "bob"), chromedp.SetValue(chromedp.CSS("#password"), password))
	s.same("the login of somebody else", b.click(loginButton), 200)
	s.same("who is logged in", b.shown(), "bob")
	b.back()
	b.forward()
	s.same("after back and forward", b.user(), "bob")
	b.open(s.url("/devices"))
	s.same("devices of bob", eval[int](b, `document.querySelectorAll(".devices li").length`), 1)
}

func twoTabs(s *scene) {
	c := s.chrome()
	one, two := c.first(), c.tab()
	s.same("before", two.user(), "")
	one.login("ada", false)
	two.reload()
	s.same("in the other tab", two.shown(), "ada")
	s.same("the other tab's devices", two.open(s.url("/devices")), 200)
	one.open(s.url("/"))
	one.logout()
	s.same("cookies after the logout", names(one.cookies()), "")
	two.click(`header a[href="/password"]`)
	s.same("where the other tab is sent", two.path(), "/login")
}

func remembered(s *scene) {
	for _, remember := range []bool{false, true} {
		c := s.chrome()
		c.first().login("ada", remember)
		for _, cookie := range c.first().cookies() {
			days := time.Until(time.Unix(int64(cookie.Expires), 0)).Hours() / 24
			if cookie.Session == remember || remember && (days < 29 || days > 30.01) { // Chromium adds what the Date field is late
				s.fail("with the box %t: a cookie until the browser closes: %t, for %.1f days", remember, cookie.Session, days)
			}
		}
		want := ""
		if remember {
			want = "ada"
		}
		c = c.restart()
		s.same(fmt.Sprintf("with the box %t, after a restart", remember), c.first().user(), want)
	}
}

func devices(s *scene) {
	desk, phone := s.chrome(), s.chrome()
	d, p := desk.first(), phone.first()
	d.login("ada", false)
	p.login("ada", false)
	d.open(s.url("/devices"))
	s.same("devices", eval[int](d, `document.querySelectorAll(".devices li").length`), 2)
	s.same("this device", eval[int](d, `document.querySelectorAll(".devices .badge").length`), 1)
	d.wantText("the devices", "Chrome on Linux")
	s.same("logging out the other", d.click(`form[action="/devices/end"] button`), 200)
	d.wantText("after that", "The device is logged out.")
	s.same("devices then", eval[int](d, `document.querySelectorAll(".devices li").length`), 1)
	p.click(`header a[href="/devices"]`)
	s.same("where the other is sent", p.path(), "/login")
	s.same("who is logged in here", d.user(), "ada")
}

func newPassword(s *scene) {
	d, p := s.chrome().first(), s.chrome().first()
	d.login("ada", true)
	p.login("ada", true)
	d.open(s.url("/password"))
	d.do("typing", chromedp.SendKeys(chromedp.CSS("#old"), password), chromedp.SendKeys(chromedp.CSS("#new"), "battery staple"))
	s.same("the page after", d.click("main form button"), 200)
	d.wantText("after the change", "The password is changed")
	s.same("who is logged in here", d.user(), "ada")
	s.same("and there", p.user(), "")
}

func backAfterLogout(s *scene) {
	b := s.chrome().first()
	b.login("ada", false)
	b.open(s.url("/devices"))
	b.wantText("the devices", "this device")
	b.logout()
	b.back()
	if text := b.text(); strings.Contains(text, "this device") || strings.Contains(text, "Log out") {
		s.fail("the back button shows\n%s", text)
	}
	s.same("who is logged in", b.user(), "")
}

// otherSite is a link and forms of another site. The link brings the cookie along
// (Lax), the forms do not, and are refused.
func otherSite(s *scene) {
	c := s.conf
	evil := &site{conf: conf{tls: c.tls, host: "evil.test"}}
	evil.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, `<!doctype html><title>evil</title><img src="%[1]s">
			<a id="link" href="%[1]s">win a prize</a>
			<form method="post" action="%[2]s"><button id="logout">no</button></form>
			<form method="post" action="%[3]s"><input name="name" value="bob"><input name="password" value="%[4]s"><button id="login">no</button></form>
			<form method="post" action="%[5]s"><button id="others">no</button></form>`,
			s.url("/"), s.url("/logout"), s.url("/login"), password, s.url("/devices/end-others"))
	}))
	s.must("the other site", evil.listen(s.t))
	b := s.chrome().first()
	b.login("ada", false)

	b.open(evil.url("/"))
	s.same("where a picture is asked for from", s.last("GET /").from, "cross-site")
	b.click("#link")
	s.same("who follows a link", b.shown(), "ada")
	for _, button := range []string{"logout", "login", "others"} {
		b.open(evil.url("/"))
		s.same("a form of another site, "+button, b.click("#"+button), 403)
		path := map[string]string{"logout": "/logout", "login": "/login", "others": "/devices/end-others"}[button]
		if got := s.last("POST " + path); strings.Contains(got.cookie, "sid=") {
			s.fail("a form of another site brings the cookie along")
		}
		s.same("who is logged in after it", b.user(), "ada")
	}
}

// stored is what the browser stores of the login example's cookies.
func stored(s *scene) {
	b := s.chrome().first()
	b.login("ada", false)
	name := "sid"
	if s.conf.tls {
		name = "__Host-sid"
	}
	cookies := b.cookies()
	if got := names(cookies); got != name+" "+name+".sig" {
		s.fail("the browser stores %q", got)
	}
	for _, c := range cookies {
		if !c.HTTPOnly || c.Secure != s.conf.tls || c.SameSite != network.CookieSameSiteLax || c.Path != "/" || strings.HasPrefix(c.Domain, ".") || !c.Session {
			s.fail("%s: HttpOnly %t, Secure %t, SameSite %s, Path %s, of a domain %t, until the browser closes %t", c.Name, c.HTTPOnly, c.Secure, c.SameSite, c.Path, strings.HasPrefix(c.Domain, "."), c.Session)
		}
	}
	s.same("what a script sees", eval[string](b, "document.cookie"), "")
}
