package main

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	memorystore "github.com/gensession/gensession/stores/memory"
)

// A browser before the site, over TLS.
type browser struct {
	t       *testing.T
	handler http.Handler
	jar     http.CookieJar
}

func (b browser) send(method, path string, form url.Values) *httptest.ResponseRecorder {
	b.t.Helper()
	r := httptest.NewRequest(method, "https://example.com"+path+"?"+form.Encode(), nil)
	for _, c := range b.jar.Cookies(r.URL) {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	b.jar.SetCookies(r.URL, w.Result().Cookies())
	return w
}

func (b browser) want(name string) {
	b.t.Helper()
	if got, _ := io.ReadAll(b.send("GET", "/", nil).Body); string(got) != `Hello "`+name+`"` {
		b.t.Errorf("the page says %s, want %q", got, name)
	}
}

func (b browser) login(sid string) {
	b.t.Helper()
	if w := b.send("POST", "/login", url.Values{"user": {"ada"}, "password": {"engine"}, "sid": {sid}}); w.Code != 200 {
		b.t.Fatalf("the login: %d", w.Code)
	}
	b.want("ada")
}

func site(t *testing.T) (*app, func() browser) {
	t.Helper()
	store := memorystore.New(nil)
	a := &app{newAccounts()}
	handler, sessions, err := a.routes(store, []byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = sessions.Close()
		_ = store.Close()
	})
	return a, func() browser {
		jar, _ := cookiejar.New(nil)
		return browser{t, handler, jar}
	}
}

func TestAPasswordThatChangesEndsTheOtherSessions(t *testing.T) {
	_, open := site(t)
	here, there, guest := open(), open(), open()
	here.login("")
	there.login("")
	if w := here.send("POST", "/password", url.Values{"old": {"wrong"}, "new": {"mill"}}); w.Code != http.StatusForbidden {
		t.Errorf("with a wrong password: %d", w.Code)
	}
	there.want("ada")
	if w := here.send("POST", "/password", url.Values{"old": {"engine"}, "new": {"mill"}}); w.Code != 200 {
		t.Errorf("with the right one: %d", w.Code)
	}
	here.want("ada")
	there.want("")
	guest.want("")
}

func TestAnAccountThatIsDisabledHasNoSessions(t *testing.T) {
	a, open := site(t)
	b := open()
	b.login("")
	if err := a.accounts.change("ada", func(x *account) { x.disabled = true }); err != nil {
		t.Fatal(err)
	}
	b.want("")
	if w := b.send("POST", "/login", url.Values{"user": {"ada"}, "password": {"engine"}}); w.Code != http.StatusUnauthorized {
		t.Errorf("the login: %d", w.Code)
	}
}

func TestALogoutAtTheIdentityProviderEndsItsSessionOnly(t *testing.T) {
	a, open := site(t)
	one, two := open(), open()
	one.login("sid1")
	two.login("sid2")
	if err := a.accounts.endSID("ada", "sid1"); err != nil {
		t.Fatal(err)
	}
	one.want("")
	two.want("ada")
}

func TestMoneyNeedsAFreshLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, open := site(t)
		b := open()
		pay := func(want int) {
			t.Helper()
			if w := b.send("POST", "/money", nil); w.Code != want {
				t.Errorf("%d, want %d", w.Code, want)
			}
		}
		pay(http.StatusSeeOther)
		b.login("")
		pay(http.StatusOK)
		time.Sleep(6 * time.Minute)
		b.want("ada")
		pay(http.StatusSeeOther)
		b.login("")
		pay(http.StatusOK)
	})
}

func TestGuessesHaveToWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, open := site(t)
		try := func(password string) int {
			return open().send("POST", "/login", url.Values{"user": {"ada"}, "password": {password}}).Code
		}
		for range 7 {
			if code := try("guess"); code != http.StatusUnauthorized {
				t.Fatalf("a guess: %d", code)
			}
		}
		if code := try("engine"); code != http.StatusUnauthorized {
			t.Errorf("the right one while it waits: %d", code)
		}
		time.Sleep(2 * time.Hour)
		if code := try("engine"); code != 200 {
			t.Errorf("after the wait: %d", code)
		}
	})
}

func TestALogoutEmptiesTheBrowser(t *testing.T) {
	_, open := site(t)
	b := open()
	b.login("")
	if w := b.send("GET", "/", nil); w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("a page of the user has %q", w.Header())
	}
	if w := b.send("POST", "/logout", nil); w.Header().Get("Clear-Site-Data") != `"cache"` || w.Code != http.StatusSeeOther {
		t.Errorf("the logout: %d %q", w.Code, w.Header())
	}
	b.want("")
}

func TestAnotherSiteChangesNothing(t *testing.T) {
	_, open := site(t)
	b := open()
	b.login("")
	r := httptest.NewRequest("POST", "https://example.com/logout", nil)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	for _, c := range b.jar.Cookies(r.URL) {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	if w.Code != http.StatusForbidden {
		t.Errorf("the logout by another site: %d", w.Code)
	}
	b.want("ada")
}
