package httpsession_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// A browser sends the cookie along when another site's page makes it ask for
// one of ours. So what changes something is a POST, and where a POST comes from
// is looked at before the session is.
func Example_crossOrigin() {
	store := memorystore.New(nil)
	defer store.Close()
	sessions, err := core.New(store, &core.Options{Keys: [][]byte{[]byte("replace me by 32 bytes of openssl rand")}})
	if err != nil {
		log.Fatal(err)
	}
	defer sessions.Close()

	mux := http.NewServeMux()
	mux.HandleFunc("POST /transfer", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "done") })
	handler := http.NewCrossOriginProtection().Handler(httpsession.New(sessions, nil)(mux))

	post := func(field, value string) {
		r := httptest.NewRequest("POST", "https://example.com/transfer", nil)
		r.Header.Set(field, value)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		fmt.Println(field, value, w.Code)
	}
	post("Sec-Fetch-Site", "same-origin")
	post("Sec-Fetch-Site", "cross-site")
	post("Origin", "https://example.com") // a browser of before 2023
	post("Origin", "https://evil.example")
	// Output:
	// Sec-Fetch-Site same-origin 200
	// Sec-Fetch-Site cross-site 403
	// Origin https://example.com 200
	// Origin https://evil.example 403
}
