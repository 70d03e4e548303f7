package core_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"sync"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// A browser that sends twenty requests at once: none of their increments is
// lost, and none of the other values that they set.
func ExampleKey_Update_parallel() {
	const clicks core.Key[int] = "clicks"

	key := []byte("thirty-two bytes for an example.")
	sessions, err := core.New(memorystore.New(nil), &core.Options{Keys: [][]byte{key}})
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/click", httpsession.HandlerFunc(func(_ http.ResponseWriter, r *http.Request, s *core.Session) error {
		if _, err := clicks.Update(s, func(n int) int { return n + 1 }); err != nil {
			return err
		}
		return s.Set("seen"+r.URL.RawQuery, true)
	}))
	mux.Handle("/", httpsession.HandlerFunc(func(w http.ResponseWriter, _ *http.Request, s *core.Session) error {
		_, err := fmt.Fprintf(w, "%d clicks, %d values", clicks.Get(s), len(s.Names()))
		return err
	}))
	server := httptest.NewServer(httpsession.New(sessions, nil)(mux))
	defer server.Close()

	jar, _ := cookiejar.New(nil)
	browser := &http.Client{Jar: jar}
	get := func(path string) string {
		res, err := browser.Get(server.URL + path)
		if err != nil {
			return err.Error()
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return string(body)
	}
	get("/click?0") // begins the session
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() { get(fmt.Sprintf("/click?%d", i+1)) })
	}
	all.Wait()
	browser.CloseIdleConnections()
	fmt.Println(get("/"))
	// Output: 21 clicks, 22 values
}
