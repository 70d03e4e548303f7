package core_test

import (
	"context"
	"fmt"
	"time"

	"github.com/gensession/gensession/core"
)

// "Remember me" gives one session a longer life, in the browser and in the store.
// The zero CookieOptions are those of the configuration.
func ExampleSession_SetCookie() {
	site := newExampleSite(nil)
	defer site.Close()
	login := func(remember bool) {
		site.Visit(func(_ context.Context, s *core.Session) error {
			var cookie core.CookieOptions
			if remember {
				cookie.MaxAge = 30 * 24 * time.Hour
			}
			if err := s.SetCookie(cookie); err != nil {
				return err
			}
			return s.Set("user", "ada")
		})
		site.Visit(func(_ context.Context, s *core.Session) error {
			fmt.Println(s.Cookie().MaxAge)
			return nil
		})
	}
	login(true)
	login(false)
	// Output:
	// 720h0m0s
	// 24h0m0s
}
