// Package shop_test has the tests of docs/testing.md, for net/http and Fiber.
package shop_test

import (
	"errors"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/sessiontest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

const (
	user core.Key[string]   = "user"
	cart core.Key[[]string] = "cart"
)

// begin handler
func buy(w http.ResponseWriter, r *http.Request, s *core.Session) error {
	if user.Get(s) == "" {
		http.Error(w, "log in first", http.StatusUnauthorized)
		return nil
	}
	_, err := cart.Update(s, func(goods []string) []string { return append(goods, r.FormValue("what")) })
	return err
}

// end handler

func shop(sessions *core.Manager) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /buy", httpsession.HandlerFunc(buy))
	return httpsession.New(sessions, nil)(mux)
}

// begin nethttp
func TestBuy(t *testing.T) {
	sessions := manager(t)
	r := httptest.NewRequest("POST", "/buy?what=tea", nil)
	r.Header = sessiontest.New(t, sessions, func(s *core.Session) error {
		return errors.Join(s.Login(core.LoginOptions{}), user.Set(s, "ada"), cart.Set(s, []string{"milk"}))
	})
	w := httptest.NewRecorder()
	shop(sessions).ServeHTTP(w, r)

	s := sessiontest.Look(t, sessions, r.Header, w.Header())
	if got := cart.Get(s); w.Code != 200 || !slices.Equal(got, []string{"milk", "tea"}) {
		t.Errorf("%d, and the cart has %q", w.Code, got)
	}
}

func manager(t *testing.T) *core.Manager {
	store := memorystore.New(nil)
	t.Cleanup(func() { store.Close() })
	sessions, err := core.New(store, &core.Options{
		Keys:        [][]byte{[]byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")}, // of tests
		IdleTimeout: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sessions.Close() })
	return sessions
}

// end nethttp

// begin synctest
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sessions := manager(t)
		r := httptest.NewRequest("POST", "/buy?what=tea", nil)
		r.Header = sessiontest.New(t, sessions, func(s *core.Session) error { return user.Set(s, "ada") })

		time.Sleep(2 * time.Hour) // takes no time

		w := httptest.NewRecorder()
		if shop(sessions).ServeHTTP(w, r); w.Code != http.StatusUnauthorized {
			t.Errorf("two hours later: %d", w.Code)
		}
	})
}

// end synctest

// begin client
func TestBuyOverTheNetwork(t *testing.T) {
	sessions := manager(t)
	server := httptest.NewServer(shop(sessions))
	defer server.Close()
	h := sessiontest.New(t, sessions, func(s *core.Session) error { return user.Set(s, "ada") })
	cookies, err := http.ParseCookie(h.Get("Cookie"))
	if err != nil {
		t.Fatal(err)
	}
	at, _ := url.Parse(server.URL)
	client := server.Client()
	client.Jar, _ = cookiejar.New(nil)
	client.Jar.SetCookies(at, cookies)

	res, err := client.PostForm(server.URL+"/buy", url.Values{"what": {"tea"}})
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if got := cart.Get(sessiontest.Look(t, sessions, h, res.Header)); !slices.Equal(got, []string{"tea"}) {
		t.Errorf("%d, and the cart has %q", res.StatusCode, got)
	}
}

// end client
