package main

import (
	"fmt"

	"github.com/valyala/fasthttp"

	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

func Example() {
	key := []byte("thirty-two bytes for an example.")
	sessions, err := core.New(memorystore.New(nil), &core.Options{Keys: [][]byte{key}})
	if err != nil {
		panic(err)
	}
	handler := hello(sessions)
	cookies := map[string]string{}
	for _, request := range []string{"GET /", "POST /login?user=ada", "GET /", "POST /logout", "GET /"} {
		var method, path string
		_, _ = fmt.Sscan(request, &method, &path)
		var ctx fasthttp.RequestCtx
		ctx.Request.Header.SetMethod(method)
		ctx.Request.SetRequestURI(path)
		for name, value := range cookies {
			ctx.Request.Header.SetCookie(name, value)
		}
		handler(&ctx)
		for name, line := range ctx.Response.Header.Cookies() {
			var c fasthttp.Cookie
			if err := c.ParseBytes(line); err != nil {
				panic(err)
			}
			cookies[string(name)] = string(c.Value())
		}
		fmt.Print(ctx.Response.StatusCode(), " ", string(ctx.Response.Body()))
	}
	// Output:
	// 200 visit 1 of ""
	// 303 200 visit 2 of "ada"
	// 303 200 visit 1 of ""
}
