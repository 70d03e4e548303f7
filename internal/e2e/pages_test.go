package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// A view is how somebody looks at the pages.
type view struct {
	name          string
	scheme        string
	width, height int64
}

var views = []view{
	{"light", "light", 1000, 760},
	{"dark", "dark", 1000, 760},
	{"phone", "light", 360, 740},
}

// Every page, in light and dark and on a phone: a screenshot, and what can be measured
// of how people read and use it. The console stays empty.
func TestPages(t *testing.T) {
	if err := play(t, conf{}, pages); err != nil {
		t.Error(err)
	}
}

func pages(s *scene) {
	var mu sync.Mutex
	var said []string
	b := s.chrome().first()
	s.must("listening", chromedp.Listen(b.ctx, func(ev any) {
		if e, ok := ev.(*log.EventEntryAdded); ok {
			mu.Lock()
			defer mu.Unlock()
			said = append(said, fmt.Sprint(e.Entry.Level, " ", e.Entry.Text, " ", e.Entry.URL))
		}
	}))
	_, err := chromedp.Call(b.ctx, log.Enable, cdp.Empty{})
	s.must("listening", err)

	see := func(name string) {
		for _, v := range views {
			b.scheme(v.scheme)
			b.do("the size of the window", chromedp.EmulateViewport(v.width, v.height))
			where := name + ", " + v.name
			if wide := eval[int](b, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); wide > 0 {
				s.fail("%s: the page is %d pixels too wide", where, wide)
			}
			for _, problem := range eval[[]string](b, contrast) {
				s.fail("%s: %s", where, problem)
			}
			b.shot(name + "-" + v.name)
		}
		b.readable(name)
	}
	open := func(name, path string, status int) {
		s.same(name, b.open(s.url(path)), status)
		see(name)
	}
	open("first", "/", 200)
	open("signup", "/signup", 200)
	b.do("typing", chromedp.SendKeys(chromedp.CSS("#name"), "ada"), chromedp.SendKeys(chromedp.CSS("#password"), password))
	s.same("a name that is taken", b.click(`main form button`), 422)
	see("signup-refused")
	open("login", "/login", 200)
	b.do("typing", chromedp.SendKeys(chromedp.CSS("#name"), "ada"), chromedp.SendKeys(chromedp.CSS("#password"), "wrong"))
	s.same("a wrong password", b.click(loginButton), 401)
	see("login-refused")

	for range 2 {
		other := s.chrome().first()
		other.login("admin", true)
		other.login("bob", false)
	}
	for range 2 {
		s.chrome().first().login("admin", true)
	}
	b.login("admin", false)
	see("home-after-login")
	open("home", "/", 200)
	open("devices", "/devices", 200)
	open("password", "/password", 200)
	open("admin", "/admin", 200)
	open("not-found", "/nothing", 404)
	b.open(s.url("/"))
	b.logout()
	see("login-after-logout")

	mu.Lock()
	defer mu.Unlock()
	said = slices.DeleteFunc(said, func(text string) bool { // the pages of errors that were asked for
		for _, page := range []string{"/nothing", "/login", "/signup"} {
			if strings.Contains(text, "the server responded with a status of") && strings.HasSuffix(text, page) {
				return true
			}
		}
		return strings.Contains(text, "Clear-Site-Data header on")
	})
	if len(said) > 0 {
		s.fail("the console says\n%s", strings.Join(said, "\n"))
	}
}

// contrast lists texts whose contrast with what is behind them is below 4.5, by the
// formula of WCAG 2.
const contrast = `(() => {
	const channel = c => (c /= 255) <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4
	const light = ([r, g, b]) => .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b)
	const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true})
	const rgba = color => { // in whatever notation
		canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1)
		const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data
		return [r, g, b, a / 255]
	}
	const behind = e => {
		for (; e; e = e.parentElement) {
			const c = rgba(getComputedStyle(e).backgroundColor)
			if (c[3] === 1) return c
		}
		return [255, 255, 255, 1]
	}
	const found = []
	let texts = 0
	const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
	while (walk.nextNode()) {
		const e = walk.currentNode.parentElement, style = getComputedStyle(e)
		if (!walk.currentNode.data.trim() || style.visibility !== "visible" || !e.getClientRects().length || e.closest(":disabled")) continue
		texts++
		const [a, b] = [light(rgba(style.color)), light(behind(e))]
		const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05)
		if (ratio < 4.5) found.push("\"" + walk.currentNode.data.trim() + "\" has a contrast of " + ratio.toFixed(2))
	}
	return texts < 5 ? ["only " + texts + " texts found"] : found
})()`

// readable looks at the page as a screen reader and a keyboard do: names, landmarks,
// headings, and a visible focus on everything that can have it.
func (b *tab) readable(page string) {
	ctx, end := b.limited()
	defer end()
	tree, err := chromedp.Call(ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	b.s.must("the tree of a screen reader", err)
	roles := map[string]int{}
	for _, n := range tree.Nodes {
		if n.Ignored || n.Role == nil {
			continue
		}
		role, name := text(n.Role), text(n.Name)
		roles[role]++
		switch role {
		case "textbox", "button", "link", "checkbox", "navigation", "heading", "image":
			if strings.TrimSpace(name) == "" {
				b.s.fail("%s: a %s has no name", page, role)
			}
		}
	}
	for role, want := range map[string]int{"main": 1, "banner": 1, "contentinfo": 1, "navigation": 1} {
		if roles[role] != want {
			b.s.fail("%s: %d landmarks %q, want %d", page, roles[role], role, want)
		}
	}
	b.same(page+": first headings", eval[int](b, `document.querySelectorAll("h1").length`), 1)
	b.same(page+": language", eval[string](b, `document.documentElement.lang`), "en")
	if title := eval[string](b, `document.title`); len(title) < 10 {
		b.s.fail("%s: the title is %q", page, title)
	}
	if eval[bool](b, `document.querySelector("[role=alert]") !== null`) && page != "not-found" {
		b.same(page+": fields that name the problem", eval[bool](b, `document.querySelector("[aria-invalid=true][aria-describedby~=problem]") !== null`), true)
	}

	// With the tab key one gets to everything, and sees where one is.
	want := eval[int](b, `document.activeElement?.blur(), window.scrollTo(0, 0), document.querySelectorAll("a, button:not(:disabled), input:not([type=hidden], [tabindex='-1']), [tabindex='0']").length`)
	seen := map[string]bool{}
	eval[bool](b, `document.querySelectorAll("*").forEach((e, i) => e.dataset.n = i), getSelection().setPosition(document.body, 0), true`)
	for range want + 2 {
		b.do("the tab key", chromedp.KeyEvent(kb.Tab))
		at := eval[map[string]string](b, `(() => { const e = document.activeElement, s = getComputedStyle(e); return {n: e.dataset.n ?? "", tag: e.tagName, outline: s.outlineStyle, width: s.outlineWidth} })()`)
		if at["tag"] == "BODY" || at["tag"] == "HTML" || seen[at["n"]] {
			continue // once around
		}
		if seen[at["n"]] = true; at["outline"] == "none" || at["width"] == "0px" {
			b.s.fail("%s: the focus on %s can't be seen", page, at["tag"])
		}
	}
	b.same(page+": what the tab key reaches", len(seen), want)
}

func text(v *accessibility.Value) string {
	if v == nil || len(v.Value) == 0 {
		return ""
	}
	return strings.Trim(string(v.Value), `"`)
}
