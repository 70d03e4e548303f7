//go:build !386 && !arm

// Middlewares of Fiber v3 that are played here (etag, compress) do not compile on 32
// bits: all files of this module have the line above.

// Package world_test is the library in other people's frames: programs with the
// frameworks, and with the middleware that people mount beside sessions, each driven
// over sockets by the same browser, with the same outcome.
package world_test

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

func TestMain(m *testing.M) {
	preforked() // does not return in a child of this test
	os.Exit(m.Run())
}

var key = []byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")

// A program starts an app with the sessions of m and returns its URL.
type program struct {
	name  string
	start func(t *testing.T, m *core.Manager) string
	// cancels says that the handler of a browser that hangs up may be left running,
	// so that nothing of it is saved: the user has to try again.
	cancels bool
}

// outcome is what the browser notes, whatever the program.
var outcome = []string{
	`first visit: 200 visit 1 of "", cart [], ""; id new`,
	`again: 200 visit 2 of "", cart [], ""; id kept`,
	`public: 200 public`,
	`login: 200 visit 3 of "ada", cart [], "welcome"; id new`,
	`the message is shown once: 200 visit 4 of "ada", cart [], ""; id kept`,
	`change: 200 visit 4 of "ada", cart [tea]; id kept`,
	`two tabs: 200 visit 4 of "ada", cart [a1 a2 a3 a4 b1 b2 b3 b4 tea]; id kept`,
	`a hang-up: 200 visit 4 of "ada", cart [a1 a2 a3 a4 b1 b2 b3 b4 late tea]; id kept`,
	`logout, while another tab is late: 200 visit 1 of "", cart [], ""; id new`,
	`after the late tab: 200 visit 1 of "", cart []; id kept`,
	`login again: 200 visit 2 of "bob", cart [], "welcome"; id new`,
	`somebody else: 200 visit 0 of "", cart []`,
	`somebody else, public: 200 public`,
	`the end: 200 visit 1 of "", cart [], ""; id new`,
}

func TestWorld(t *testing.T) {
	for _, p := range slices.Concat(nethttpPrograms, ginPrograms, echoPrograms, fiberPrograms, fiberv3Programs) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			store := memorystore.New(nil)
			t.Cleanup(func() { _ = store.Close() })
			m, err := core.New(store, &core.Options{Keys: [][]byte{key}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = m.Close() })
			drive(t, p, p.start(t, m))
		})
	}
}

// drive runs the script against the app at base, and compares.
func drive(t *testing.T, p program, base string) {
	t.Helper()
	b := newBrowser(t, base)
	var notes []string
	note := func(what, answer string) { notes = append(notes, what+": "+answer) }
	noteID := func(what, answer string) { note(what, answer+"; id "+b.id()) }

	noteID("first visit", b.get("/"))
	noteID("again", b.get("/"))
	note("public", b.get("/public"))
	noteID("login", b.post("/login?user=ada"))
	noteID("the message is shown once", b.get("/"))
	noteID("change", b.post("/change?item=tea"))

	var tabs sync.WaitGroup
	for _, tab := range []string{"a", "b"} {
		for n := 1; n <= 4; n++ {
			tabs.Go(func() { b.post(fmt.Sprint("/change?item=", tab, n)) })
		}
	}
	tabs.Wait()
	noteID("two tabs", b.get("/read"))

	gate := newGate(t)
	ctx, hangUp := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, err := b.send(ctx, "POST", "/slow?item=late&gate="+gate.url)
		gone <- err
	}()
	gate.wait(t)
	hangUp()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the browser hung up and got %v", err)
	}
	gate.open()
	if p.cancels {
		b.post("/change?item=late")
	}
	answer := b.get("/read")
	for range 1000 { // nobody tells when the handler has returned
		if strings.Contains(answer, "late") {
			break
		}
		answer = b.get("/read")
	}
	noteID("a hang-up", answer)

	gate = newGate(t)
	late := make(chan string, 1)
	go func() { late <- b.post("/slow?item=zombie&gate=" + gate.url) }()
	gate.wait(t)
	noteID("logout, while another tab is late", b.post("/logout"))
	gate.open()
	<-late // whatever it is answered
	noteID("after the late tab", b.get("/read"))
	noteID("login again", b.post("/login?user=bob"))

	other := newBrowser(t, base)
	note("somebody else", other.get("/read"))
	note("somebody else, public", other.get("/public"))
	if other.cookie() != "" {
		t.Error("somebody else got a session without one of his own")
	}
	noteID("the end", b.post("/logout"))

	for i, want := range outcome {
		if i >= len(notes) || notes[i] != want {
			t.Errorf("got  %s\nwant %s", slices.Concat(notes, make([]string, len(outcome)))[i], want)
		}
	}
}

// A browser has a jar, and whatever the middleware of a program wants of one: an
// Origin, the token of a CSRF cookie, and it understands gzip.
type browser struct {
	t      *testing.T
	base   *url.URL
	client *http.Client
	last   string // the session cookie at the last look
}

func newBrowser(t *testing.T, base string) *browser {
	t.Helper()
	at, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &browser{t: t, base: at, client: &http.Client{Jar: jar, Transport: transport}}
}

func (b *browser) get(target string) string  { return b.must("GET", target) }
func (b *browser) post(target string) string { return b.must("POST", target) }

func (b *browser) must(method, target string) string {
	answer, err := b.send(b.t.Context(), method, target)
	if err != nil {
		b.t.Errorf("%s %s: %v", method, target, err)
	}
	return answer
}

func (b *browser) send(ctx context.Context, method, target string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, b.base.String()+target, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Accept-Encoding", "gzip")
	req.Header.Set("Origin", b.base.String())
	for _, c := range b.client.Jar.Cookies(b.base) {
		if c.Name == "csrf_" || c.Name == "_csrf" {
			req.Header.Set("X-Csrf-Token", c.Value)
		}
	}
	res, err := b.client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var body io.Reader = res.Body
	if res.Header.Get("Content-Encoding") == "gzip" {
		if body, err = gzip.NewReader(res.Body); err != nil {
			return "", err
		}
	}
	text, err := io.ReadAll(body)
	return fmt.Sprint(res.StatusCode, " ", string(text)), err
}

// cookie is the session cookie, "" if there is none.
func (b *browser) cookie() string {
	for _, c := range b.client.Jar.Cookies(b.base) {
		if c.Name == "koa.sid" {
			return c.Value
		}
	}
	return ""
}

// id tells what has become of the id since the last look.
func (b *browser) id() string {
	before := b.last
	b.last = b.cookie()
	switch {
	case b.last == "":
		return "none"
	case b.last == before:
		return "kept"
	}
	return "new"
}

// A gate keeps a handler waiting, also that of another process.
type gate struct {
	url     string
	arrived chan struct{}
	opened  chan struct{}
	open    func()
}

func newGate(t *testing.T) *gate {
	g := &gate{arrived: make(chan struct{}, 1), opened: make(chan struct{})}
	g.open = sync.OnceFunc(func() { close(g.opened) })
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		g.arrived <- struct{}{}
		<-g.opened
	}))
	t.Cleanup(func() { g.open(); s.Close() })
	g.url = url.QueryEscape(s.URL)
	return g
}

func (g *gate) wait(t *testing.T) {
	t.Helper()
	select {
	case <-g.arrived:
	case <-t.Context().Done():
	}
}
