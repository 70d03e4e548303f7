package e2e

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"
)

// A failure ends a story. It is a panic, so that a story that was planted to fail can
// be told from one that fails.
type failure struct{ text string }

// A scene is what a story plays in.
type scene struct {
	t    *testing.T
	conf conf
	*site
}

func (s *scene) fail(format string, args ...any) {
	panic(failure{fmt.Sprintf(format, args...)})
}

// must ends the story if err is not nil.
func (s *scene) must(what string, err error) {
	if err != nil {
		s.fail("%s: %v", what, err)
	}
}

func (s *scene) same(what string, got, want any) {
	if got != want {
		s.fail("%s: %v, want %v", what, got, want)
	}
}

// A chrome is a process of the browser, with its profile.
type chrome struct {
	s   *scene
	dir string
	ctx context.Context // of the first tab
	end func()
}

// patience ends what hangs. Nothing waits for it otherwise, but for what a planted
// fault keeps from happening.
const patience = 2 * time.Minute

// chrome starts a browser with a new profile.
func (s *scene) chrome() *chrome { return s.profile(s.t.TempDir()) }

// profile starts a browser with the profile in dir.
func (s *scene) profile(dir string) *chrome {
	flags := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(chromium),
		chromedp.UserDataDir(dir),
		chromedp.Headless, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("disable-prompt-on-repost", true), // nobody is there to answer it
		chromedp.Flag("disable-features", "HttpsUpgrades,Translate,OptimizationHints,TrackingProtection3pcd,ThirdPartyStoragePartitioning"),
		chromedp.Flag("password-store", "basic"),
		chromedp.Flag("force-color-profile", "srgb"),
		// The names of the tests lead to this machine, and no others lead anywhere.
		chromedp.Flag("host-resolver-rules", "MAP *.test 127.0.0.1, MAP localhost 127.0.0.1, MAP * ~NOTFOUND"),
		chromedp.Flag("ignore-certificate-errors-spki-list", certificate().print), // which this one then trusts
		chromedp.WindowSize(1000, 760),
	}
	if os.Geteuid() == 0 {
		flags = append(flags, chromedp.NoSandbox)
	}
	all, endAll := chromedp.NewExecAllocator(context.Background(), flags...)
	ctx, endFirst := chromedp.NewContext(all)
	c := &chrome{s: s, dir: dir, ctx: ctx}
	c.end = func() {
		if ctx.Err() == nil {
			_ = chromedp.Cancel(ctx) // closes it as a user does, so that it stores its cookies
		}
		endFirst()
		endAll()
	}
	s.t.Cleanup(c.end)
	s.must("starting the browser", chromedp.Do(ctx))
	return c
}

// restart ends the process and starts another one with the same profile.
func (c *chrome) restart() *chrome {
	c.end()
	return c.s.profile(c.dir)
}

// A tab is one of a chrome.
type tab struct {
	s   *scene
	ctx context.Context
}

// first is the tab that a browser begins with.
func (c *chrome) first() *tab { return &tab{c.s, c.ctx} }

// tab opens another one.
func (c *chrome) tab() *tab {
	ctx, end := chromedp.NewContext(c.ctx)
	c.s.t.Cleanup(end)
	c.s.must("opening a tab", chromedp.Do(ctx))
	return &tab{c.s, ctx}
}

func (b *tab) limited() (context.Context, context.CancelFunc) {
	return context.WithTimeout(b.ctx, cmp.Or(b.s.conf.patience, patience))
}

func (b *tab) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	ctx, end := b.limited()
	defer end()
	b.s.must(what, chromedp.Do(ctx, steps...))
}

// open goes to an address and returns the status of the page there.
func (b *tab) open(url string) int {
	ctx, end := b.limited()
	defer end()
	res, err := chromedp.Run(ctx, chromedp.NavigateResponse(url))
	b.s.must("opening "+url, err)
	return int(res.Status)
}

// click clicks on what leads to another page and returns the status of that.
func (b *tab) click(sel string) int {
	ctx, end := b.limited()
	defer end()
	res, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(sel)))
	b.s.must("clicking on "+sel, err)
	return int(res.Status)
}

// reload loads the page again.
func (b *tab) reload() {
	b.do("reloading", chromedp.Reload())
}

// back is the back button. The page may come from a cache or from the server.
func (b *tab) back() { b.travel("back") }

// forward is the other one.
func (b *tab) forward() { b.travel("forward") }

func (b *tab) travel(way string) {
	before := b.location()
	ctx, end := b.limited()
	defer end()
	_, _ = chromedp.Run(ctx, chromedp.Evaluate[chromedp.Void]("history."+way+"()")) // the page goes with its answer
	b.until("going "+way, func() bool { return b.location() != before && b.ready() })
}

func (b *tab) location() string {
	ctx, end := b.limited()
	defer end()
	url, err := chromedp.Run(ctx, chromedp.Location())
	b.s.must("the address", err)
	return url
}

func (b *tab) path() string {
	url := b.location()
	if _, rest, ok := strings.Cut(url, "://"); ok {
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			return rest[i:]
		}
	}
	return url
}

func (b *tab) ready() bool {
	ctx, end := b.limited()
	defer end()
	ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`document.readyState === "complete"`))
	return err == nil && ok
}

// until waits for f, which asks the page.
func (b *tab) until(what string, f func() bool) {
	for end := time.Now().Add(cmp.Or(b.s.conf.patience, patience)); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			b.s.fail("%s: it never came, the page at %s is\n%s", what, b.location(), b.text())
		}
	}
}

// eval runs JavaScript.
func eval[T any](b *tab, js string) T {
	ctx, end := b.limited()
	defer end()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](js, chromedp.EvalAwaitPromise))
	b.s.must(js, err)
	return v
}

// text is what one can read.
func (b *tab) text() string { return eval[string](b, `document.body ? document.body.innerText : ""`) }

func (b *tab) wantText(what, text string) {
	if got := b.text(); !strings.Contains(got, text) {
		b.s.fail("%s: no %q in\n%s", what, text, got)
	}
}

// user is who is logged in, by the first page.
func (b *tab) user() string {
	b.open(b.s.url("/"))
	return b.shown()
}

// shown is who is logged in, by the page that is open.
func (b *tab) shown() string {
	return eval[string](b, `document.querySelector(".lead strong")?.textContent ?? ""`)
}

// fill types a name and the password into the login page.
func (b *tab) fill(name string, remember bool) {
	b.same("the login page", b.open(b.s.url("/login")), 200)
	b.do("typing", chromedp.SendKeys(chromedp.CSS("#name"), name), chromedp.SendKeys(chromedp.CSS("#password"), password))
	if remember {
		b.do("checking the box", chromedp.Click(chromedp.CSS("#remember")))
	}
}

const loginButton = `form[action="/login"] button`

// login logs somebody in.
func (b *tab) login(name string, remember bool) {
	b.fill(name, remember)
	b.same("the page after the login", b.click(loginButton), 200)
	b.same("who is logged in", b.shown(), name)
}

// logout uses the button in the head of the page.
func (b *tab) logout() {
	b.same("the page after the logout", b.click(`header form[action="/logout"] button`), 200)
	b.wantText("after the logout", "You are logged out.")
}

func (b *tab) same(what string, got, want any) { b.s.same(what, got, want) }

// cookies are all that the browser has stored, of whatever site.
func (b *tab) cookies() []*network.Cookie {
	ctx, end := b.limited()
	defer end()
	res, err := chromedp.Call(ctx, storage.GetCookies, storage.GetCookiesParams{})
	b.s.must("the cookies", err)
	return res.Cookies
}

// cookiesOf are those that a request to url would carry.
func (b *tab) cookiesOf(url string) []*network.Cookie {
	ctx, end := b.limited()
	defer end()
	res, err := chromedp.Call(ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{url}})
	b.s.must("the cookies of "+url, err)
	return res.Cookies
}

// names are the names of cookies, in order.
func names(cookies []*network.Cookie) string {
	all := make([]string, len(cookies))
	for i, c := range cookies {
		all[i] = c.Name
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// scheme is the color scheme of the page: light or dark.
func (b *tab) scheme(name string) {
	ctx, end := b.limited()
	defer end()
	_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		// Without motion the colors are there at once.
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}, {Name: "prefers-reduced-motion", Value: "reduce"}},
	})
	b.s.must("the color scheme", err)
}

// shot keeps a screenshot of the page.
func (b *tab) shot(name string) {
	ctx, end := b.limited()
	defer end()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	b.s.must("a screenshot", err)
	b.s.must("a screenshot", os.MkdirAll(shots, 0o755))
	b.s.must("a screenshot", os.WriteFile(filepath.Join(shots, name+".png"), png, 0o644))
}
