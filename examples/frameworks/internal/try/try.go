// Package try is the test of the examples: one browser, with the same outcome in
// every framework.
package try

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// Sessions returns a manager on a store whose calls can fail.
func Sessions(t *testing.T) (*core.Manager, *storetest.Faulty) {
	t.Helper()
	memory := memorystore.New(nil)
	store := storetest.NewFaulty(memory)
	sessions, err := core.New(store, &core.Options{Keys: [][]byte{[]byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sessions.Close(); _ = memory.Close() })
	return sessions, store
}

// Run drives an app that has, besides GET /, POST /login and POST /logout, the routes
// /panic, which sets visits to 100 and panics, and /fails, which logs in eve and
// fails.
func Run(t *testing.T, app func(*core.Manager) http.Handler) {
	sessions, store := Sessions(t)
	server := httptest.NewServer(app(sessions))
	defer server.Close()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar}
	defer client.CloseIdleConnections()
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	id := func() string {
		for _, c := range jar.Cookies(at) {
			if c.Name == "koa.sid" {
				return c.Value
			}
		}
		return ""
	}
	want := func(method, path string, form url.Values, status int, body string) {
		t.Helper()
		req, err := http.NewRequest(method, server.URL+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != status || body != "" && string(text) != body {
			t.Fatalf("%s %s: %d %q %v, want %d %q", method, path, res.StatusCode, text, err, status, body)
		}
		if strings.Contains(string(text), "secret") {
			t.Errorf("%s %s tells too much: %q", method, path, text)
		}
	}
	ada := url.Values{"user": {"ada"}}

	want("GET", "/", nil, 200, "visit 1 of \"\"\n")
	want("GET", "/", nil, 200, "visit 2 of \"\"\n")
	first := id()
	want("POST", "/panic", nil, 500, "")
	want("POST", "/fails", nil, 500, "")
	if id() != first {
		t.Error("a login that failed has changed the id")
	}
	want("GET", "/", nil, 200, "visit 3 of \"\"\n")
	want("POST", "/login", ada, 200, "visit 4 of \"ada\"\n")
	if id() == first {
		t.Error("the login kept the id")
	}
	store.Before(func(_ context.Context, op storetest.Op, _ string) error {
		if op == storetest.OpGet || op == storetest.OpGetVersion {
			return nil
		}
		return core.ErrRefused
	})
	want("GET", "/", nil, 503, "")
	want("POST", "/login", ada, 503, "")
	store.Before(nil)
	want("GET", "/", nil, 200, "visit 5 of \"ada\"\n")
	want("POST", "/logout", nil, 200, "visit 1 of \"\"\n")
	want("POST", "/login", ada, 200, "visit 2 of \"ada\"\n")
}
