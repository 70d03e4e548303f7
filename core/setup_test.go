package core_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
)

// A proxied is a Jar whose adapter has found a field that it does not trust.
type proxied struct {
	*jartest.Jar
	field string
}

func (p proxied) UntrustedTLS() string { return p.field }

// misfits are the events of that kind, and the log beside them.
type misfits struct {
	why []string
	log bytes.Buffer
}

func (m *misfits) options(o core.Options) *core.Options {
	o.Logger = slog.New(slog.NewTextHandler(&m.log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	o.Hooks.Event = func(ctx context.Context, e core.Event) {
		if e.Kind == core.EventMisconfigured {
			m.why = append(m.why, e.Why)
			_, _ = core.From(ctx) // which waits for nothing
		}
	}
	return &o
}

// want asks for one event whose reason has these words, and as many lines of the log.
func (m *misfits) want(t *testing.T, words ...string) {
	t.Helper()
	if len(words) == 0 {
		if len(m.why) != 0 {
			t.Errorf("told: %q", m.why)
		}
		return
	}
	if n := strings.Count(m.log.String(), "level=WARN"); len(m.why) != 1 || n != 1 {
		t.Fatalf("told: %q, %d lines in the log", m.why, n)
	}
	for _, word := range words {
		if !strings.Contains(m.why[0], word) {
			t.Errorf("%q does not say %s", m.why[0], word)
		}
	}
}

// visit runs a request that changes its session.
func visit(t *testing.T, m *core.Manager, jar core.Jar) error {
	t.Helper()
	v, _ := m.NewVisit(jar, nil)
	ctx := core.NewContext(context.Background(), v)
	must(t, v.Begin(ctx))
	s, err := v.Session(ctx)
	if err == nil {
		must(t, visits.Set(s, visits.Get(s)+1))
	}
	return errors.Join(err, v.Commit(ctx))
}

func TestW21AProxyThatIsNotTrusted(t *testing.T) {
	says := func(field string) core.Jar { return proxied{&jartest.Jar{}, field} }
	t.Run("W21 it is told once, with the remedy", func(t *testing.T) {
		var told misfits
		a := newApp(t, told.options(core.Options{}))
		for range 3 {
			must(t, visit(t, a.manager, says("X-Forwarded-Proto")))
		}
		told.want(t, "X-Forwarded-Proto", "TrustedProxies", "ProxyField", "TrustedHops")
	})
	t.Run("W21 also where the cookie can't be sent", func(t *testing.T) {
		var told misfits
		a := newApp(t, told.options(core.Options{Cookie: core.CookieOptions{Secure: core.On}}))
		if visit(t, a.manager, says("Forwarded")) == nil {
			t.Error("a Secure cookie was sent over plain HTTP")
		}
		if len(told.why) != 1 || !strings.Contains(told.why[0], "Forwarded") {
			t.Errorf("told: %q", told.why)
		}
	})
	for name, c := range map[string]struct {
		o   core.Options
		jar core.Jar
	}{
		"nobody says https":        {core.Options{}, says("")},
		"the adapter can't tell":   {core.Options{}, &jartest.Jar{}},
		"the request is over TLS":  {core.Options{}, proxied{&jartest.Jar{TLS: true}, "X-Forwarded-Proto"}},
		"Secure is off on purpose": {core.Options{Cookie: core.CookieOptions{Secure: core.Off}}, says("X-Forwarded-Proto")},
		"plain HTTP is allowed":    {core.Options{Cookie: core.CookieOptions{Secure: core.On}, InsecureAllowHTTP: true}, says("X-Forwarded-Proto")},
		"an id in a header":        {core.Options{Carrier: core.Header("X-Id")}, says("X-Forwarded-Proto")},
	} {
		t.Run("W21 nothing is told: "+name, func(t *testing.T) {
			var told misfits
			a := newApp(t, told.options(c.o))
			must(t, visit(t, a.manager, c.jar))
			told.want(t)
		})
	}
}

func TestP25TLSBesideHTTP(t *testing.T) {
	var told misfits
	a := newApp(t, told.options(core.Options{}))
	for range 3 {
		must(t, visit(t, a.manager, &jartest.Jar{}))
	}
	told.want(t)
	for range 2 {
		must(t, visit(t, a.manager, &jartest.Jar{TLS: true}))
		must(t, visit(t, a.manager, &jartest.Jar{}))
	}
	told.want(t, "one name", "redirect", "Name")
}

func TestW51StrippedPrefix(t *testing.T) {
	at := func(path string) *jartest.Jar { return &jartest.Jar{Target: path} }
	t.Run("W51 P25 that no request lies inside of the path is told once", func(t *testing.T) {
		for _, deferred := range []bool{false, true} {
			var told misfits
			a := newApp(t, told.options(core.Options{Defer: deferred, Cookie: core.CookieOptions{Path: "/app"}}))
			for range 100 {
				wantIs(t, visit(t, a.manager, at("/x")), core.ErrNoSession)
			}
			told.want(t, "Cookie.Path", "MountPath")
		}
	})
	t.Run("W51 P25 but not if one has", func(t *testing.T) {
		var told misfits
		a := newApp(t, told.options(core.Options{Cookie: core.CookieOptions{Path: "/app"}}))
		must(t, visit(t, a.manager, at("/app")))
		for range 100 {
			wantIs(t, visit(t, a.manager, at("/x")), core.ErrNoSession)
		}
		told.want(t)
	})
	t.Run("W51 P25 nor if nobody wants a session there, as a health check", func(t *testing.T) {
		var told misfits
		a := newApp(t, told.options(core.Options{Cookie: core.CookieOptions{Path: "/app"}}))
		for range 100 {
			v, _ := a.manager.NewVisit(at("/healthz"), nil)
			must(t, v.Begin(bg))
			must(t, v.Commit(bg))
		}
		told.want(t)
	})
	for _, c := range []struct{ mount, path, target, inside string }{
		{"/app", "/app", "/", "yes"},
		{"/app", "/app", "/x", "yes"},
		{"/app", "/", "/x", "yes"},
		{"/app", "/app/", "/x", "yes"},
		{"/app", "/app/shop", "/shop/x", "yes"},
		{"/app", "/app/shop", "/shop", "yes"},
		{"/app", "/app/shop", "/shopping", "no"},
		{"/app", "/app/shop", "/", "no"},
		{"/a/b", "/a", "/x", "yes"},
		{"/app", "/apple", "", "conflict"},
		{"/app", "/shop", "", "conflict"},
		{"app", "/", "", "wrong"},
		{"/app/", "/", "", "wrong"},
		{"/", "/", "", "wrong"},
		{"/a b", "/", "", "wrong"},
	} {
		t.Run("P25 "+c.target+" behind "+c.mount+" with a cookie of "+c.path+": "+c.inside, func(t *testing.T) {
			o := core.Options{Keys: [][]byte{testKey}, MountPath: c.mount, Cookie: core.CookieOptions{Path: c.path}}
			m, err := core.New(newMemory(t), &o)
			if c.inside == "conflict" || c.inside == "wrong" {
				if err == nil || !strings.Contains(err.Error(), "MountPath") {
					t.Errorf("New: %v", err)
				}
				return
			}
			must(t, err)
			defer m.Close()
			jar := at(c.target)
			err = visit(t, m, jar)
			if inside := err == nil; inside != (c.inside == "yes") || inside != (len(jar.SetCookies) > 0) {
				t.Errorf("got %v, %d cookies", err, len(jar.SetCookies))
			}
			if err == nil && !strings.Contains(jar.SetCookies[0], "; path="+c.path+";") {
				t.Error("the cookie has another path")
			}
		})
	}
}
