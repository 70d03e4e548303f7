package jartest

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
)

// A site is the setting of one rule.
type site struct {
	t *testing.T
	a Adapter
}

// An app is a server with the tested middleware, and the store behind it.
type app struct {
	s       *site
	manager *core.Manager
	records *records
	store   *storetest.Faulty
	addr    string
	tls     bool
	client  *http.Client
}

// manager makes a manager with a store of its own.
func (s *site) manager(o core.Options) *app {
	s.t.Helper()
	if o.Keys == nil && o.Carrier == nil {
		o.Keys = [][]byte{[]byte("J8fk3Lx0Qw9Zr7Vb2Nm5Ty4Hd6Gs1Pc8")}
	}
	a := &app{s: s, records: &records{all: make(map[string]stored)}}
	a.store = storetest.NewFaulty(a.records)
	m, err := core.New(a.store, &o)
	if err != nil {
		s.t.Fatal(err)
	}
	a.manager = m
	s.t.Cleanup(func() { _ = m.Close() })
	return a
}

// app serves h below a manager with these options, and below more.
func (s *site) app(o core.Options, h Handler, more ...*core.Manager) *app {
	s.t.Helper()
	a := s.manager(o)
	a.serve(false, h, append([]*core.Manager{a.manager}, more...)...)
	return a
}

func (a *app) serve(overTLS bool, h Handler, managers ...*core.Manager) {
	t := a.s.t
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a.addr, a.tls = l.Addr().String(), overTLS
	if overTLS {
		cert, err := certificate()
		if err != nil {
			t.Fatal(err)
		}
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}})
	}
	a.s.a.Serve(t, l, func(x *Request) error {
		if x.Guard == nil || x.Reset == nil {
			t.Error("the adapter's Request has no Guard or no Reset")
			return ErrHandler
		}
		return h(x)
	}, managers...)
	transport := &http.Transport{
		DisableCompression: true,
		// #nosec G402 -- a test, and its own certificate
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the certificate is the one above
	}
	a.client = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       20 * time.Second, // a server that does not answer fails the rule and does not hang the run
	}
	t.Cleanup(transport.CloseIdleConnections) // before the server stops
}

// reads and writes are how often the store was asked, and how often it was changed.
func (a *app) reads() int {
	return a.store.Calls(storetest.OpGet) + a.store.Calls(storetest.OpGetVersion)
}

func (a *app) writes() int {
	return a.store.Calls(storetest.OpSet) + a.store.Calls(storetest.OpSetVersion) + a.store.Calls(storetest.OpDestroy)
}

// refuse makes every call of these kinds fail as that of a server does, with a text
// that clients must not see.
func (a *app) refuse(ops ...storetest.Op) {
	a.store.Before(func(_ context.Context, op storetest.Op, _ string) error {
		if slices.Contains(ops, op) {
			return fmt.Errorf("%w: dial secret.internal", core.ErrRefused)
		}
		return nil
	})
}

func (a *app) wantWrites(want int) error {
	if got := a.writes(); got != want {
		return fmt.Errorf("the store was written %d times, want %d", got, want)
	}
	return nil
}

// A user is a browser before the app.
type user struct {
	a       *app
	browser *Browser
}

func (a *app) user() *user { return &user{a, &Browser{TLS: a.tls}} }

// An answer is a response, read to its end.
type answer struct {
	status  int
	body    string
	cookies []string // the Set-Cookie lines
	header  http.Header
}

func (u *user) send(ctx context.Context, method, target string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.a.url(target), nil)
	if err != nil {
		return answer{}, err
	}
	if c := u.browser.Cookie(req.URL.EscapedPath()); c != "" {
		req.Header.Set("Cookie", c)
	}
	res, err := u.a.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	r := answer{status: res.StatusCode, cookies: res.Header.Values("Set-Cookie"), header: res.Header}
	body, err := io.ReadAll(res.Body)
	r.body = string(body)
	u.browser.Take(req.URL.EscapedPath(), r.cookies...)
	return r, err
}

// want sends a GET and compares the answer.
func (u *user) want(target string, status int, body string) (answer, error) {
	r, err := u.send(context.Background(), "GET", target)
	if err == nil && (r.status != status || strings.TrimSuffix(r.body, "\n") != body) {
		err = fmt.Errorf("%s was answered %d %.200q, want %d %q", target, r.status, r.body, status, body)
	}
	return r, err
}

// A step is a request of a user and what must come of it.
type step struct {
	target string
	status int
	body   string
	cookie sent
}

// sent is what the response does to the session cookie.
type sent string

const (
	whatever sent = ""
	nothing  sent = "no session cookie"
	live     sent = "the session cookie and its signature"
	removal  sent = "their removal"
)

// steps sends the requests one after the other.
func (u *user) steps(steps ...step) error {
	for _, s := range steps {
		r, err := u.want(s.target, s.status, s.body)
		if err == nil && s.cookie != whatever {
			err = r.wantCookie(s.target, s.cookie)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r answer) wantCookie(target string, want sent) error {
	if got := r.cookie(); got != want {
		return fmt.Errorf("%s sent %s, want %s; its lines are those of %q", target, got, want, r.names())
	}
	return nil
}

// cookie is what r does to the session cookie. Those beside it do not count.
func (r answer) cookie() sent {
	var lines []string
	for _, l := range r.cookies {
		if strings.HasPrefix(l, "koa.sid=") || strings.HasPrefix(l, "koa.sid.sig=") {
			lines = append(lines, l)
		}
	}
	switch {
	case len(lines) == 0:
		return nothing
	case len(lines) != 2 || !strings.HasPrefix(lines[0], "koa.sid=") || !strings.HasPrefix(lines[1], "koa.sid.sig="):
		return sent(fmt.Sprintf("%d lines of session cookies", len(lines)))
	case strings.HasPrefix(lines[0], "koa.sid=;"):
		return removal
	}
	return live
}

// names leaves the values out: what a test prints must not hold an id.
func (r answer) names() (names []string) {
	for _, l := range r.cookies {
		names = append(names, nameOf(l))
	}
	return names
}

// tellsNothing asks for an answer that reveals nothing of the error and is not
// sniffed for another type.
func (r answer) tellsNothing() error {
	if strings.Contains(r.body, "secret") || strings.Contains(r.body, "session") {
		return fmt.Errorf("the answer tells of the error: %.200q", r.body)
	}
	if kind := r.header.Get("Content-Type"); !strings.HasPrefix(kind, "text/plain") {
		return fmt.Errorf("the error is answered as %q", kind)
	}
	return nil
}

func (a *app) url(target string) string {
	if a.tls {
		return "https://" + a.addr + target
	}
	return "http://" + a.addr + target
}

// records is a store with versions that keeps everything.
type records struct {
	mu   sync.Mutex
	all  map[string]stored
	last core.Version
}

type stored struct {
	data    []byte
	version core.Version
	until   time.Time
}

// len is how many sessions are stored, without the notes about ids that were given
// up.
func (s *records) len() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.all {
		if !strings.HasPrefix(string(r.data), "null") {
			n++
		}
	}
	return n
}

func (s *records) find(key string) (stored, bool) {
	r, ok := s.all[key]
	return r, ok && time.Now().Before(r.until)
}

// Get is that of [core.Store].
func (s *records) Get(ctx context.Context, key string) ([]byte, error) {
	data, _, err := s.GetVersion(ctx, key)
	return data, err
}

// GetVersion is that of [core.Swapper].
func (s *records) GetVersion(ctx context.Context, key string) ([]byte, core.Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.find(key)
	switch {
	case ctx.Err() != nil:
		return nil, 0, ctx.Err()
	case !ok:
		return nil, 0, core.ErrNotFound
	}
	return slices.Clone(r.data), r.version, nil
}

// Set is that of [core.Store].
func (s *records) Set(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	_, err := s.put(ctx, key, data, ttl, nil)
	return err
}

// SetVersion is that of [core.Swapper].
func (s *records) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	return s.put(ctx, key, data, ttl, &v)
}

func (s *records) put(ctx context.Context, key string, data []byte, ttl time.Duration, v *core.Version) (core.Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.find(key)
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case v != nil && *v == 0 && ok, v != nil && ok && r.version != *v:
		return 0, core.ErrConflict
	case v != nil && *v != 0 && !ok:
		return 0, core.ErrNotFound
	}
	s.last++
	s.all[key] = stored{slices.Clone(data), s.last, time.Now().Add(min(ttl, 400*24*time.Hour))}
	return s.last, nil
}

// Destroy is that of [core.Store].
func (s *records) Destroy(ctx context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, key)
	return ctx.Err()
}

// background runs f until the rule has ended.
func (s *site) background(f func(end <-chan struct{})) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		f(end)
	}()
	s.t.Cleanup(func() {
		close(end)
		<-ended
	})
}
