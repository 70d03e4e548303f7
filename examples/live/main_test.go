package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

func TestStream(t *testing.T) {
	memory := memorystore.New(nil)
	defer memory.Close()
	store := storetest.NewFaulty(memory)
	sessions, err := core.New(store, &core.Options{Keys: [][]byte{[]byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")}, FailFast: true})
	if err != nil {
		t.Fatal(err)
	}
	defer sessions.Close()
	server := httptest.NewServer(routes(sessions, time.Millisecond))
	defer server.Close()
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar}
	defer client.CloseIdleConnections()
	post := func(path, name string) {
		t.Helper()
		res, err := client.PostForm(server.URL+path, url.Values{"user": {name}})
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != 200 {
			t.Fatalf("%s answered %d", path, res.StatusCode)
		}
	}
	res, err := client.Get(server.URL + "/events")
	if err != nil {
		t.Fatal(err)
	}
	if _ = res.Body.Close(); res.StatusCode != 401 {
		t.Fatalf("without a login %d", res.StatusCode)
	}

	post("/login", "ada")
	res, err = client.Get(server.URL + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	until := func(prefix string) string {
		t.Helper()
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatalf("no %q: %v", prefix, err)
			}
			if strings.HasPrefix(line, prefix) {
				return line
			}
		}
	}
	if got := until("data:"); got != "data: ada 1\n" {
		t.Errorf("got %q", got)
	}
	if got := until("data:"); got != "data: ada 2\n" {
		t.Errorf("got %q", got)
	}
	post("/rename", "grace")
	until("data: grace ")

	failed := make(chan bool)
	store.Before(func(context.Context, storetest.Op, string) error { failed <- true; return core.ErrUnavailable })
	for range 3 { // it goes on
		<-failed
	}
	store.Before(nil)
	select { // another one that had begun
	case <-failed:
	case <-time.After(10 * time.Millisecond):
	}
	until("data: grace ")

	post("/logout", "")
	until("event: end")
	if _, err := io.ReadAll(lines); err != nil {
		t.Error(err)
	}
}
