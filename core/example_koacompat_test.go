package core_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/gensession/gensession/core"
)

// KoaCompat shares sessions with a running Koa app: give it the keys of the app.
func ExampleKoaCompat() {
	options := core.KoaCompat()
	options.Keys = [][]byte{[]byte("keys")} // app.keys
	site := newExampleSite(options)
	defer site.Close()
	site.Visit(func(_ context.Context, s *core.Session) error { return s.Set("count", 1) })
	for _, line := range site.SetCookies {
		name, _, _ := strings.Cut(line, "=")
		fmt.Println(name)
	}
	values, err := site.Sessions.GetByID(context.Background(), site.ID())
	fmt.Println(string(values), err)
	// Output:
	// koa.sid
	// koa.sid.sig
	// {"count":1} <nil>
}
