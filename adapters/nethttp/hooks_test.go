package httpsession_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// W38: a hook that writes the response does not wait for itself: the request is answered,
// and the server goes on.
func TestW38AHookThatWritesTheResponse(t *testing.T) {
	t.Parallel()
	const n core.Key[int] = "n"
	for _, deferred := range []bool{false, true} {
		for _, which := range []string{"Valid", "BeforeSave", "Event", "Error"} {
			t.Run(which, func(t *testing.T) {
				store := memorystore.New(nil)
				defer store.Close()
				var w http.ResponseWriter // of the one request that runs
				writes, wrote := "", 0
				write := func(hook string) {
					if hook == writes && w != nil {
						wrote++
						_, _ = w.Write([]byte("from the hook"))
					}
				}
				m, err := core.New(store, &core.Options{Keys: [][]byte{[]byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")}, Defer: deferred, Hooks: core.Hooks{
					Valid:      func(context.Context, core.Jar, *core.Session) (bool, error) { write("Valid"); return true, nil },
					BeforeSave: func(context.Context, core.Jar, *core.Session) error { write("BeforeSave"); return nil },
					Event:      func(context.Context, core.Event) { write("Event") },
					Error:      func(_ context.Context, e *core.Error) error { write("Error"); return e },
				}})
				if err != nil {
					t.Fatal(err)
				}
				defer m.Close()
				server := httptest.NewServer(httpsession.New(m, nil)(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					w = rw
					s, err := httpsession.From(r)
					if err != nil {
						http.Error(rw, "none", 500)
						return
					}
					switch r.URL.Path {
					case "/save":
						_, _ = n.Update(s, func(n int) int { return n + 1 })
						_ = s.Save(r.Context())
					case "/wrong":
						_ = core.Key[string]("n").Get(s)
						_ = s.Set("c", make(chan int))
					default:
						_, _ = n.Update(s, func(n int) int { return n + 1 })
					}
				})))
				defer server.Close()
				client := &http.Client{Timeout: 20 * time.Second} // fails a hanging test, asserts nothing
				var cookies []*http.Cookie
				get := func(path string) {
					t.Helper()
					r, err := http.NewRequest("GET", server.URL+path, nil)
					if err != nil {
						t.Fatal(err)
					}
					for _, c := range cookies {
						r.AddCookie(c)
					}
					res, err := client.Do(r)
					if err != nil {
						t.Errorf("%s: %v", path, errors.Unwrap(err))
						return
					}
					res.Body.Close()
					if cookies == nil {
						cookies = res.Cookies()
					}
					w = nil
				}
				get("/")
				writes = which
				for _, path := range []string{"/", "/save", "/wrong"} {
					get(path)
				}
				if wrote == 0 && !(which == "Valid" && !deferred) { // which runs before the handler
					t.Error("the hook has not written: this test proves nothing")
				}
				writes = ""
				get("/")
			})
		}
	}
}
