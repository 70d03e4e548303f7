package fasthttpsession_test

import (
	"crypto/rand"
	"fmt"
	"log"

	"github.com/valyala/fasthttp"

	fasthttpsession "github.com/gensession/gensession/adapters/fasthttp"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

func Example() {
	key := make([]byte, 32) // keep yours: with a new one all are logged out
	rand.Read(key)

	store := memorystore.New(nil)
	defer store.Close()
	sessions, err := core.New(store, &core.Options{Keys: [][]byte{key}})
	if err != nil {
		log.Fatal(err)
	}
	defer sessions.Close()

	const visits core.Key[int] = "visits"

	app := fasthttpsession.Handler(func(ctx *fasthttp.RequestCtx, s *core.Session) error {
		n, err := visits.Update(s, func(n int) int { return n + 1 })
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(ctx, "visit %d\n", n)
		return err
	})
	handler := fasthttpsession.New(sessions, nil)(app)
	// fasthttp.ListenAndServe(":8080", handler)

	var browser jartest.Browser
	for range 3 {
		var ctx fasthttp.RequestCtx
		ctx.Request.Header.Set("Cookie", browser.Cookie("/"))
		handler(&ctx)
		for _, line := range ctx.Response.Header.Cookies() {
			browser.Take("/", string(line))
		}
		fmt.Print(string(ctx.Response.Body()))
	}
	// Output:
	// visit 1
	// visit 2
	// visit 3
}
