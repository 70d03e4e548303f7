package main

import (
	"fmt"
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
	handler := hello(sessions)

	first := httptest.NewRecorder()
	handler.ServeHTTP(first, httptest.NewRequest("GET", "/", nil))
	fmt.Print(first.Body)

	again := httptest.NewRequest("GET", "/", nil)
	for _, c := range first.Result().Cookies() {
		again.AddCookie(c)
	}
	second := httptest.NewRecorder()
	handler.ServeHTTP(second, again)
	fmt.Print(second.Body)
	// Output:
	// visit 1
	// visit 2
}
