package core_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gensession/gensession/core"
)

// "Remember me" gives one session a longer life, in the browser and in the store.
// A later login without it forgets it.
func ExampleLoginOptions() {
	site := newExampleSite(nil)
	defer site.Close()
	login := func(remember bool) {
		site.Visit(func(_ context.Context, s *core.Session) error {
			var o core.LoginOptions
			if remember {
				o.RememberFor = 30 * 24 * time.Hour
			}
			return errors.Join(s.Login(o), s.Set("user", "ada"))
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
