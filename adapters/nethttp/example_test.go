package httpsession_test

import (
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
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

	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		s, err := httpsession.From(r)
		if err != nil {
			http.Error(w, "no session", core.Status(err))
			return
		}
		n, err := visits.Update(s, func(n int) int { return n + 1 })
		if err != nil {
			http.Error(w, "no visit", core.Status(err))
			return
		}
		fmt.Fprintf(w, "visit %d\n", n)
	})

	server := httptest.NewServer(httpsession.New(sessions, nil)(mux))
	defer server.Close()

	browser := &http.Client{}
	browser.Jar, _ = cookiejar.New(nil)
	for range 3 {
		res, err := browser.Get(server.URL)
		if err != nil {
			log.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		fmt.Print(string(body))
	}
	browser.CloseIdleConnections()
	// Output:
	// visit 1
	// visit 2
	// visit 3
}
