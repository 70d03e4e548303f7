package try

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

const visits core.Key[int] = "visits"

// A Frame is an app that recovers panics inside of its session middleware, and has a
// guard innermost. It answers each GET by h and then with the number of visits. An
// error of h goes to the framework's error handler.
type Frame func(sessions *core.Manager, h func(s *core.Session, r *http.Request) error) http.Handler

// Frames drives the apps: what Save, Renew and Destroy have sent is in the response,
// whatever the error handler does to its header (W5), after an error a session is
// saved, and after a panic that was recovered nothing is (W13, P22).
func Frames(t *testing.T, frames map[string]Frame, failure error) {
	t.Helper()
	for name, frame := range frames {
		t.Run(name, func(t *testing.T) {
			sessions, store := Sessions(t)
			server := httptest.NewServer(frame(sessions, func(s *core.Session, r *http.Request) error {
				add := func() error {
					_, err := visits.Update(s, func(n int) int { return n + 1 })
					return err
				}
				switch r.URL.Path {
				case "/add":
					return add()
				case "/panic":
					if err := add(); err != nil {
						return err
					}
					panic("boom")
				case "/fail":
					if err := add(); err != nil {
						return err
					}
					return failure
				case "/save":
					if err := add(); err != nil {
						return err
					}
					if err := s.Save(context.Background()); err != nil {
						t.Error(err)
					}
					return failure
				case "/renew":
					if err := s.Renew(r.Context()); err != nil {
						t.Error(err)
					}
					return failure
				case "/destroy":
					if err := s.Destroy(r.Context()); err != nil {
						t.Error(err)
					}
					return failure
				}
				return nil
			}))
			defer server.Close()
			client := &http.Client{Transport: new(http.Transport)}
			defer client.CloseIdleConnections()
			var browser jartest.Browser
			for _, step := range []struct {
				path   string
				status int
				lines  int // of the session cookie, without its copy
				writes int
				body   string
			}{
				{"/add", 200, 2, 1, "1"},
				{"/panic", 500, 0, 0, ""},
				{"/", 200, 0, 0, "1"},
				{"/fail", 500, 2, 1, ""},
				{"/", 200, 0, 0, "2"},
				{"/save", 500, 2, 1, ""},
				{"/", 200, 0, 0, "3"},
				{"/renew", 500, 2, 0, ""},
				{"/", 200, 0, 0, "3"},
				{"/destroy", 500, 2, 0, ""},
				{"/", 200, 0, 0, "0"},
			} {
				before := store.Calls(storetest.OpSetVersion)
				req, err := http.NewRequest("GET", server.URL+step.path, nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Cookie", browser.Cookie("/"))
				res, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				browser.Take("/", res.Header.Values("Set-Cookie")...)
				lines := 0
				for _, c := range res.Cookies() {
					if c.Name == "koa.sid" || c.Name == "koa.sid.sig" {
						lines++
					}
				}
				if err != nil || res.StatusCode != step.status || step.status == 200 && string(text) != step.body || lines != step.lines {
					t.Errorf("%s: %d %q %v, %d lines, want %d %q and %d", step.path, res.StatusCode, text, err, lines, step.status, step.body, step.lines)
				}
				if n := store.Calls(storetest.OpSetVersion) - before; n != step.writes {
					t.Errorf("%s: %d writes, want %d", step.path, n, step.writes)
				}
			}
		})
	}
}
