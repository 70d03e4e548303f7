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
	site := newExampleSite(&core.Options{Keys: [][]byte{[]byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")}, RememberFor: 30 * 24 * time.Hour})
	defer site.Close()
	login := func(remember bool) {
		site.Visit(func(_ context.Context, s *core.Session) error {
			return errors.Join(s.Login(core.LoginOptions{Remember: remember}), s.Set("user", "ada"))
		})
		site.Visit(func(_ context.Context, s *core.Session) error {
			fmt.Printf("%+v\n", s.Lifetime())
			return nil
		})
	}
	login(true)
	login(false)
	// Output:
	// {IdleTimeout:0s AbsoluteTimeout:720h0m0s RenewAfter:0s UntilBrowserCloses:false}
	// {IdleTimeout:24h0m0s AbsoluteTimeout:0s RenewAfter:0s UntilBrowserCloses:false}
}
