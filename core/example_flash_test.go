package core_test

import (
	"context"
	"fmt"

	"github.com/gensession/gensession/core"
)

// A flash is a message for the next page: read and removed there.
func Example_flash() {
	const flash core.Key[string] = "flash"
	site := newExampleSite(nil)
	defer site.Close()
	page := func(_ context.Context, s *core.Session) error {
		fmt.Printf("%q\n", flash.Get(s))
		return flash.Delete(s)
	}
	site.Visit(func(_ context.Context, s *core.Session) error { return flash.Set(s, "saved") })
	site.Visit(page)
	site.Visit(page)
	// Output:
	// "saved"
	// ""
}
