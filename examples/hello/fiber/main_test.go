package main

import (
	"fmt"
	"io"
	"net/http/httptest"

	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

func Example() {
	key := []byte("thirty-two bytes for an example.")
	sessions, err := core.New(memorystore.New(nil), &core.Options{Keys: [][]byte{key}})
	if err != nil {
		panic(err)
	}
	app := hello(sessions)

	req := httptest.NewRequest("GET", "/", nil)
	for range 2 {
		res, err := app.Test(req)
		if err != nil {
			panic(err)
		}
		body, _ := io.ReadAll(res.Body)
		fmt.Print(string(body))

		req = httptest.NewRequest("GET", "/", nil)
		for _, c := range res.Cookies() {
			req.AddCookie(c)
		}
	}
	// Output:
	// visit 1
	// visit 2
}
