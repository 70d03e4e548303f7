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
	mux.Handle("GET /", httpsession.HandlerFunc(func(w http.ResponseWriter, r *http.Request, s *core.Session) error {
		n, err := visits.Update(s, func(n int) int { return n + 1 })
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "visit %d\n", n)
		return err
	}))

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

// From gives the session where a handler has another form.
func ExampleFrom() {
	store := memorystore.New(nil)
	defer store.Close()
	sessions, err := core.New(store, &core.Options{Keys: [][]byte{[]byte("thirty-two bytes for an example.")}})
	if err != nil {
		log.Fatal(err)
	}
	defer sessions.Close()

	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := httpsession.From(r)
		if err != nil {
			http.Error(w, "no session", core.Status(err))
			return
		}
		fmt.Fprintf(w, "new: %t", s.IsNew())
	})
	w := httptest.NewRecorder()
	httpsession.New(sessions, nil)(page).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	fmt.Println(w.Body)
	// Output: new: true
}
