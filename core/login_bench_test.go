package core_test

import (
	"context"
	"testing"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// BenchmarkLogin is a login of a browser that has a session, in memory.
func BenchmarkLogin(b *testing.B) {
	m, err := core.New(memorystore.New(nil), &core.Options{Keys: [][]byte{testKey}})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	var browser jartest.Browser
	request := func(h func(s *core.Session) error) {
		jar := browser.Jar("/")
		v, _ := m.NewVisit(jar, nil)
		ctx := core.NewContext(context.Background(), v)
		s, err := v.Session(ctx)
		if err != nil {
			b.Fatal(err)
		}
		if err := h(s); err != nil {
			b.Fatal(err)
		}
		if err := v.Commit(ctx); err != nil {
			b.Fatal(err)
		}
		browser.Take("/", jar.SetCookies...)
	}
	request(func(s *core.Session) error { return visits.Set(s, 1) })
	for name, h := range map[string]func(s *core.Session) error{
		"Login":     func(s *core.Session) error { _ = user.Set(s, "ada"); return s.Login(core.LoginOptions{}) },
		"Set,Renew": func(s *core.Session) error { _ = user.Set(s, "ada"); return s.Renew(bg) },
		"read":      func(s *core.Session) error { _ = user.Get(s); return nil },
		"write":     func(s *core.Session) error { n := visits.Get(s); return visits.Set(s, n+1) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				request(h)
			}
		})
	}
}
