package core_test

import (
	"context"
	"fmt"
	"net/textproto"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// Non-browser clients carry the id in a header field. It is not signed,
// so Options has no Keys.
func ExampleHeader() {
	const visits core.Key[int] = "visits"
	store := memorystore.New(nil)
	defer store.Close()
	sessions, err := core.New(store, &core.Options{Carrier: core.Header("X-Session-Id")})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sessions.Close()
	ctx := context.Background()
	id := ""
	for range 2 {
		jar := &jartest.Jar{Request: textproto.MIMEHeader{"X-Session-Id": {id}}}
		visit, _ := sessions.NewVisit(jar, nil)
		s, err := visit.Session(ctx)
		if err != nil {
			fmt.Println(err)
			return
		}
		n, err := visits.Update(s, func(n int) int { return n + 1 })
		fmt.Println("visit", n, err)
		if err := visit.Commit(ctx); err != nil {
			fmt.Println(err)
		}
		id = jar.ResponseHeader("X-Session-Id")
	}
	// Output:
	// visit 1 <nil>
	// visit 2 <nil>
}
