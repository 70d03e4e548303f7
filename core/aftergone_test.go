package core_test

import (
	"testing"

	"github.com/gensession/gensession/core"
)

// After ErrGone, because another request has given the id up meanwhile, a Destroy
// still is a logout, and a Reset must not take the fresh cookie away (P2, P3).
func TestAfterErrGone(t *testing.T) {
	told := map[string]func(*core.Session) error{
		"Save":  func(s *core.Session) error { must(t, s.Set("a", 1)); return s.Save(bg) },
		"Renew": func(s *core.Session) error { return s.Renew(bg) },
		"Reset": func(s *core.Session) error { return s.Reset(bg) },
	}
	for name, told := range told {
		for _, then := range []string{"Destroy", "Reset"} {
			t.Run(then+" after "+name, func(t *testing.T) {
				a := newApp(t, nil)
				a.ok(a.get("/", count(t)))
				late := a.browser.Jar("/")
				a.send(late, func(_ *core.Visit, s *core.Session) {
					a.ok(a.get("/", func(_ *core.Visit, other *core.Session) { must(t, other.Renew(bg)) }))
					wantIs(t, told(s), core.ErrGone)
					if then == "Destroy" {
						must(t, s.Destroy(bg))
						return
					}
					_ = s.Reset(bg)
					_ = s.Set("a", 1)
				})
				if then == "Destroy" {
					if a.lives(core.ID(a.value())) {
						t.Error("Destroy returned nil, and the successor lives")
					}
					return
				}
				a.browser.Take("/", late.SetCookies...)
				a.wantVisits(1)
			})
		}
	}
}
