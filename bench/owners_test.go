package bench

import (
	"context"
	"testing"

	"github.com/gensession/gensession/bench/internal/ours"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
)

// BenchmarkOwners measures what an owner costs beside the same without one: a login
// that takes the place of a session, a read and a write of it, and the list of ten
// devices.
func BenchmarkOwners(b *testing.B) {
	for _, s := range stores() {
		store, err := s.open(b)
		if err != nil {
			b.Fatal(err)
		}
		defer store.Close()
		for name, owner := range map[string]string{"nobody": "", "owner": "ada"} {
			m, err := core.New(store, &core.Options{Keys: ours.Keys(), Owners: owner != ""})
			if err != nil {
				b.Fatal(err)
			}
			defer m.Close()
			run := func(browser *jartest.Browser, h handler) {
				jar := browser.Jar("/")
				v, _ := m.NewVisit(jar, nil)
				ctx := core.NewContext(context.Background(), v)
				err := v.Begin(ctx)
				if err == nil {
					session, _ := v.Session(ctx)
					if err = h(ctx, session); err == nil {
						err = v.Commit(ctx)
					}
				}
				if err != nil {
					b.Fatal(err)
				}
				browser.Take("/", jar.SetCookies...)
			}
			login := logsInAs(owner, core.LoginOptions{})
			for op, h := range map[string]handler{"login": login, "read": reads, "write": sets, "logout": logsOut} {
				b.Run("store="+s.name+"/op="+op+"/of="+name, func(b *testing.B) {
					b.ReportAllocs()
					browser := new(jartest.Browser)
					run(browser, sets)
					run(browser, login)
					for b.Loop() {
						b.StopTimer() // a login takes the place of a visitor's session
						switch op {
						case "logout":
							run(browser, login)
						case "login":
							run(browser, logsOut)
							run(browser, sets)
						}
						b.StartTimer()
						run(browser, h)
					}
				})
			}
			if owner == "" {
				continue
			}
			b.Run("store="+s.name+"/op=list of 10", func(b *testing.B) {
				if err := m.DestroyByOwner(b.Context(), "bob", nil); err != nil {
					b.Fatal(err)
				}
				for range 10 {
					run(new(jartest.Browser), logsInAs("bob", core.LoginOptions{}))
				}
				b.ReportAllocs()
				for b.Loop() {
					if all, err := m.ListByOwner(b.Context(), "bob", nil); err != nil || len(all) != 10 {
						b.Fatal(len(all), err)
					}
				}
			})
		}
	}
}
