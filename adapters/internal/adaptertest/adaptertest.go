// Package adaptertest drives an adapter as browsers do, rule by rule: the public
// suite of core/jartest, and what proves the rules of the core through an adapter. Each subtest is named by the rules of core/RULES.md
// that it proves.
package adaptertest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// What the suite needs of the tested package, and what its handlers get.
type (
	Adapter  = jartest.Adapter
	Handler  = jartest.Handler
	Exchange = jartest.Request
)

// ErrHandler is the error of a handler that fails by itself.
var ErrHandler = jartest.ErrHandler

// Run runs the suite for all adapters, and the rules of this one.
func Run(t *testing.T, a Adapter) {
	jartest.RunAdapter(t, a)
	for _, r := range slices.Concat(rules, idRules, requestRules, storeRules, keyRules, injectionRules, fieldRules, canaryRules) {
		t.Run(r.name, func(t *testing.T) { r.test(t, &suite{t: t, a: a}) })
	}
}

type rule struct {
	name string
	test func(t *testing.T, s *suite)
}

// A suite is the setting of one rule.
type suite struct {
	t *testing.T
	a Adapter
	// pipes takes the place of TCP in a bubble, which can't wait for a network.
	pipes bool
	// bounds are those of the stores.
	bounds *memorystore.Options
	// canary hears what the managers say; nil is one for each.
	canary *canary
}

// inBubble makes of a test one with the clock of testing/synctest.
func inBubble(test func(t *testing.T, s *suite)) func(t *testing.T, s *suite) {
	return func(t *testing.T, s *suite) {
		s.warmUp()
		synctest.Test(t, func(t *testing.T) { test(t, &suite{t: t, a: s.a, pipes: true}) })
	}
}

// warmUp lets the server begin what it does once in the life of the program,
// which must not belong to a bubble.
func (s *suite) warmUp() {
	s.t.Helper()
	s.app(core.Options{}, routes).user().want("/none", 200, "ok")
}

// Keys are those of every manager that the suite makes.
var Keys = [][]byte{[]byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")}

// An app is a server with one manager.
type app struct {
	t       *testing.T
	memory  *memorystore.Store
	store   *storetest.Faulty
	manager *core.Manager
	addr    string
	tls     bool
	client  *http.Client
	canary  *canary
}

// manager makes one with a store of its own.
func (s *suite) manager(o core.Options) (*core.Manager, *storetest.Faulty, *memorystore.Store) {
	s.t.Helper()
	m, store, memory, _ := s.watched(o)
	return m, store, memory
}

func (s *suite) watched(o core.Options) (*core.Manager, *storetest.Faulty, *memorystore.Store, *canary) {
	s.t.Helper()
	memory := memorystore.New(s.bounds)
	store := storetest.NewFaulty(memory)
	if o.Keys == nil && o.Carrier == nil {
		o.Keys = Keys
	}
	c := s.canary
	if c == nil {
		c = &canary{}
		s.t.Cleanup(func() { c.check(s.t) })
	}
	c.watch(&o)
	m, err := core.New(store, &o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := m.Close(); err != nil {
			s.t.Error(err)
		}
		if err := memory.Close(); err != nil {
			s.t.Error(err)
		}
	})
	return m, store, memory, c
}

func (s *suite) app(o core.Options, h Handler, more ...*core.Manager) *app {
	s.t.Helper()
	return s.listen(o, false, h, more...)
}

func (s *suite) listen(o core.Options, overTLS bool, h Handler, more ...*core.Manager) *app {
	s.t.Helper()
	m, store, memory, c := s.watched(o)
	a := &app{t: s.t, memory: memory, store: store, manager: m, canary: c}
	s.serve(a, overTLS, h, append([]*core.Manager{m}, more...)...)
	return a
}

func (s *suite) serve(a *app, overTLS bool, h Handler, managers ...*core.Manager) {
	s.t.Helper()
	l, dial := s.network()
	a.addr, a.tls = l.Addr().String(), overTLS
	if overTLS {
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{certificate(s.t)}})
	}
	if s.pipes { // the bubble's time is free, and some servers end by and by
		s.t.Cleanup(func() { time.Sleep(time.Minute) })
	}
	s.a.Serve(s.t, l, h, managers...)
	transport := &http.Transport{
		DialContext:        dial,
		DisableCompression: true,
		TLSClientConfig:    &tls.Config{InsecureSkipVerify: true}, // ours, made for this test
	}
	a.client = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       20 * time.Second, // fails a hanging test, asserts nothing
	}
	s.t.Cleanup(transport.CloseIdleConnections) // before the server stops
}

type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

func (s *suite) network() (net.Listener, dialer) {
	s.t.Helper()
	if s.pipes {
		l := newPipes()
		return l, l.dial
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	return l, new(net.Dialer).DialContext
}

func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// reads is how often the store was asked.
func (a *app) reads() int {
	return a.store.Calls(storetest.OpGet) + a.store.Calls(storetest.OpGetVersion)
}

// writes is how often something was stored.
func (a *app) writes() int {
	return a.store.Calls(storetest.OpSet) + a.store.Calls(storetest.OpSetVersion)
}

// A user is a browser before the app.
type user struct {
	a       *app
	browser *jartest.Browser
}

func (a *app) user() *user { return &user{a, &jartest.Browser{TLS: a.tls}} }

// A result is a response, read to its end.
type result struct {
	status  int
	body    string
	cookies []string // the Set-Cookie lines
	header  http.Header
}

// get asks for target and keeps the cookies. The app must answer.
func (u *user) get(target string) result {
	u.a.t.Helper()
	r, err := u.send(context.Background(), "GET", target)
	if err != nil {
		u.a.t.Fatal(err)
	}
	return r
}

func (u *user) send(ctx context.Context, method, target string) (result, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.a.url(target), nil)
	if err != nil {
		return result{}, err
	}
	if c := u.browser.Cookie(req.URL.EscapedPath()); c != "" {
		req.Header.Set("Cookie", c)
	}
	r, err := u.a.do(req)
	u.browser.Take(req.URL.EscapedPath(), r.cookies...)
	return r, err
}

func (a *app) url(target string) string {
	if a.tls {
		return "https://" + a.addr + target
	}
	return "http://" + a.addr + target
}

func (a *app) do(req *http.Request) (result, error) {
	res, err := a.client.Do(req)
	if err != nil {
		return result{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	r := result{res.StatusCode, string(body), res.Header.Values("Set-Cookie"), res.Header}
	if a.canary != nil {
		a.canary.exchange(req, r)
	}
	return r, err
}

// id is the session id in the browser, "" if there is none.
func (u *user) id() string {
	v, _ := u.browser.Value("/", "koa.sid")
	return v
}

// sig is the signature beside it.
func (u *user) sig() string {
	v, _ := u.browser.Value("/", "koa.sid.sig")
	return v
}

// want ends the test if the app did not answer as it should.
func (u *user) want(target string, status int, body string) result {
	u.a.t.Helper()
	r := u.get(target)
	if r.status != status || strings.TrimSuffix(r.body, "\n") != body {
		u.a.t.Fatalf("%s answered %d %q, want %d %q", target, r.status, r.body, status, body)
	}
	return r
}

func (r result) noCookies(t *testing.T) {
	t.Helper()
	if len(r.cookies) != 0 {
		t.Errorf("cookies were sent: %q", names(r.cookies))
	}
}

// names leaves the values out: what a test prints must not hold an id.
func names(lines []string) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		name, rest, _ := strings.Cut(l, "=")
		value, attributes, _ := strings.Cut(rest, ";")
		if value != "" {
			value = "…"
		}
		out[i] = name + "=" + value + ";" + attributes
	}
	return out
}

// pair asks for one live pair of cookies, or an expired one, and nothing else.
func (r result) pair(t *testing.T, live bool) {
	t.Helper()
	lines := slices.DeleteFunc(slices.Clone(r.cookies), func(l string) bool { return strings.HasPrefix(l, "koa.sid.next") }) // a copy, after the id has changed
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "koa.sid=") || !strings.HasPrefix(lines[1], "koa.sid.sig=") ||
		live == strings.HasPrefix(lines[0], "koa.sid=;") {
		t.Errorf("want one pair, live %t, got %q", live, names(r.cookies))
	}
}
