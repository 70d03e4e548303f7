package core_test

import (
	"context"
	"fmt"

	"github.com/gensession/gensession/core"
)

// A logout destroys the session in the store and in the browser.
func ExampleSession_Destroy() {
	const user core.Key[string] = "user"
	site := newExampleSite(nil)
	defer site.Close()
	site.Visit(func(_ context.Context, s *core.Session) error { return user.Set(s, "ada") })
	site.Visit(func(ctx context.Context, s *core.Session) error { return s.Destroy(ctx) })
	site.Visit(func(_ context.Context, s *core.Session) error {
		fmt.Printf("user %q, new session: %t, %s\n", user.Get(s), s.IsNew(), site.ID())
		return nil
	})
	// Output:
	// user "", new session: true, no id
}
