package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

func TestLogin(t *testing.T) {
	memory := memorystore.New(nil)
	defer memory.Close()
	store := storetest.NewFaulty(memory)
	sessions, err := core.New(store, options([]byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")))
	if err != nil {
		t.Fatal(err)
	}
	defer sessions.Close()
	server := httptest.NewServer(routes(sessions))
	defer server.Close()
	jar, _ := cookiejar.New(nil)
	var expires time.Time // of the cookie set last
	client := &http.Client{Jar: jar, CheckRedirect: func(req *http.Request, _ []*http.Request) error {
		for _, c := range req.Response.Cookies() {
			if c.Name == "koa.sid" {
				expires = c.Expires
			}
		}
		return nil
	}}
	want := func(res *http.Response, err error, status int, body string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != status || string(text) != body {
			t.Fatalf("%d %q %v, want %d %q", res.StatusCode, text, err, status, body)
		}
	}
	get := func(body string) {
		t.Helper()
		res, err := client.Get(server.URL)
		want(res, err, 200, body)
	}
	post := func(path string, form url.Values, status int, body string) {
		t.Helper()
		res, err := client.PostForm(server.URL+path, form)
		want(res, err, status, body)
	}
	days := func() float64 { return time.Until(expires).Hours() / 24 }
	id := func() string {
		at, _ := url.Parse(server.URL)
		for _, c := range jar.Cookies(at) {
			if c.Name == "koa.sid" {
				return c.Value
			}
		}
		return ""
	}

	get(" Hello \"\"\n")
	post("/login", url.Values{"user": {"ada"}, "password": {"wrong"}}, 401, "wrong name or password\n")
	ada := url.Values{"user": {"ada"}, "password": {"engine"}, "remember": {"on"}}
	post("/login", ada, 200, "Welcome! Hello \"ada\"\n")
	if d := days(); d < 29 || d > 30 {
		t.Errorf("remembered for %.1f days", d)
	}
	get(" Hello \"ada\"\n") // the message is shown once
	first := id()
	ada.Del("remember")
	post("/login", ada, 200, "Welcome! Hello \"ada\"\n")
	if d := days(); d > 1 {
		t.Errorf("a login without \"remember me\" lasts %.1f days", d)
	}
	if id() == first || id() == "" {
		t.Error("the login kept the id")
	}
	if _, err := sessions.GetByID(t.Context(), core.ID(first)); !errors.Is(err, core.ErrNotFound) {
		t.Errorf("the id from before the login: %v", err)
	}
	post("/logout", nil, 200, " Hello \"\"\n")
	if id() != "" {
		t.Error("the cookie is still there")
	}

	// A login that the store refuses is answered as an error, and nobody is in.
	store.Before(func(_ context.Context, op storetest.Op, _ string) error {
		if op == storetest.OpGetVersion || op == storetest.OpGet {
			return nil
		}
		return core.ErrRefused
	})
	post("/login", ada, 503, "Service Unavailable\n")
	store.Before(nil)
	get(" Hello \"\"\n")
}
