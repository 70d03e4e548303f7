package core_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/gensession/gensession/core"
)

// A login gives the session a new id when it is saved: an id from before the
// login, which somebody may have planted, is worthless afterwards. The values
// stay.
func ExampleSession_Login() {
	const user core.Key[string] = "user"
	site := newExampleSite(nil)
	defer site.Close()
	site.Visit(func(_ context.Context, s *core.Session) error { return s.Set("cart", []int{7}) })
	before := site.ID()
	site.Visit(func(_ context.Context, s *core.Session) error { // the password was right
		return errors.Join(s.Login(core.LoginOptions{}), user.Set(s, "ada"))
	})
	site.Visit(func(_ context.Context, s *core.Session) error {
		fmt.Println(user.Get(s), s.Get("cart"), "logged in:", !s.LoggedIn().IsZero())
		return nil
	})
	_, err := site.Sessions.GetByID(context.Background(), before)
	fmt.Println("the old id:", errors.Is(err, core.ErrNotFound))
	// Output:
	// ada [7] logged in: true
	// the old id: true
}
