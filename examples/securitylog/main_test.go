package main

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	memorystore "github.com/gensession/gensession/stores/memory"
)

// Each security event of a visit is one line with when, where, who and what, and no
// line has a cookie or a password.
func TestSecurityLog(t *testing.T) {
	var out bytes.Buffer
	store := memorystore.New(nil)
	defer store.Close()
	handler, sessions, err := site(store, []byte("a-key-of-these-tests-4f9c02b71de8"), slog.New(slog.NewTextHandler(&out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer sessions.Close()
	server := httptest.NewServer(handler)
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar}
	address, _ := url.Parse(server.URL)
	var secrets []string
	visit := func(method, path string, form url.Values) {
		t.Helper()
		req, _ := http.NewRequest(method, server.URL+path, strings.NewReader(form.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		for _, c := range jar.Cookies(address) {
			secrets = append(secrets, c.Value)
		}
	}
	visit("POST", "/login", url.Values{"user": {"ada"}, "password": {"guess"}})
	visit("POST", "/login", url.Values{"user": {"ada"}, "password": {"secret"}})
	visit("GET", "/", nil)
	visit("POST", "/logout", nil)
	jar.SetCookies(address, []*http.Cookie{{Name: "koa.sid", Value: "0123456789abcdef"}, {Name: "koa.sid.sig", Value: "forged"}})
	visit("GET", "/", nil)
	server.Close()

	want := []string{
		`level=WARN msg="login failed" from=127.0.0.1 user=ada`,
		`level=INFO msg="session logged in" from=127.0.0.1 session=id:X user=ada`,
		`level=INFO msg="session logged out" from=127.0.0.1 session=id:X user=""`,
		`level=WARN msg="session cookie refused" from=127.0.0.1 session="" user="" why="a signature by none of the keys"`,
	}
	log := regexp.MustCompile(`(?m)^time=\S+ `).ReplaceAllString(out.String(), "")
	log = regexp.MustCompile(`id:[0-9a-f]{8}`).ReplaceAllString(log, "id:X")
	if log != strings.Join(want, "\n")+"\n" {
		t.Errorf("the log is\n%s", log)
	}
	if len(secrets) == 0 {
		t.Error("no cookies")
	}
	for _, secret := range append(secrets, "guess", "secret") {
		if strings.Contains(out.String(), secret) {
			t.Error("a secret is in the log")
		}
	}
}
