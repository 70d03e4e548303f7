package core_test

import (
	"context"
	"fmt"

	"github.com/gensession/gensession/core"
)

// A flash is a message for the next page: of the requests that take it, one gets it.
func Example_flash() {
	const flash core.Key[string] = "flash"
	site := newExampleSite(nil)
	defer site.Close()
	page := func(ctx context.Context, s *core.Session) error {
		message, err := flash.Take(ctx, s)
		fmt.Printf("%q\n", message)
		return err
	}
	site.Visit(func(_ context.Context, s *core.Session) error { return flash.Set(s, "saved") })
	site.Visit(page)
	site.Visit(page)
	// Output:
	// "saved"
	// ""
}
