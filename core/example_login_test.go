package core_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/gensession/gensession/core"
)

// A login renews the session before it says who the user is: an id from before
// the login, which somebody may have planted, is worthless afterwards.
func Example_login() {
	const user core.Key[string] = "user"
	login := func(ctx context.Context, s *core.Session, name string) error {
		if err := s.Renew(ctx); err != nil {
			return err // nothing of this request is saved
		}
		return user.Set(s, name)
	}

	site := newExampleSite(nil)
	defer site.Close()
	site.Visit(func(_ context.Context, s *core.Session) error { return s.Set("cart", []int{7}) })
	before := site.ID()
	site.Visit(func(ctx context.Context, s *core.Session) error { return login(ctx, s, "ada") })
	site.Visit(func(_ context.Context, s *core.Session) error {
		fmt.Println(user.Get(s), s.Get("cart"))
		return nil
	})
	_, err := site.Sessions.GetByID(context.Background(), before)
	fmt.Println("the old id:", errors.Is(err, core.ErrNotFound))
	// Output:
	// ada [7]
	// the old id: true
}
