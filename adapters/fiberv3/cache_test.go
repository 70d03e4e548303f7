package fiberv3session_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/static"
	"github.com/valyala/fasthttp"

	fiberv3session "github.com/gensession/gensession/adapters/fiberv3"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
)

// Files and upstreams say how long their answers are good for, and know nothing of
// our cookies.
func TestW18FilesAndUpstreams(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.css"), []byte("css"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]core.Options{
		"Rolling":    {IdleTimeout: time.Hour, TouchEvery: 1, AllowEmpty: true},
		"AllowEmpty": {AllowEmpty: true},
	} {
		t.Run("W18 "+name, func(t *testing.T) {
			m, _ := newManager(t, o)
			app := fiber.New(quiet)
			app.Use(fiberv3session.New(m, nil))
			app.Get("/static/*", static.New(dir, static.Config{MaxAge: 3600, CacheDuration: -1}))
			app.Get("/upstream", func(c fiber.Ctx) error {
				var from fasthttp.Response // as proxies do it
				from.Header.Set("Cache-Control", "public, max-age=60")
				from.Header.Set("CDN-Cache-Control", "max-age=60")
				from.CopyTo(c.Response())
				return nil
			})
			for target, want := range map[string]string{"/static/x.css": "private, max-age=3600", "/upstream": "private, max-age=60"} {
				b := new(jartest.Browser)
				for range 2 {
					res, _ := ask(t, app, b, target)
					sent := len(res.Header["Set-Cookie"]) > 0
					if got := res.Header.Get("Cache-Control"); res.StatusCode != 200 || sent && got != want {
						t.Errorf("%s answered %d, Cache-Control %q, want %q", target, res.StatusCode, got, want)
					}
					if res.Header.Get("CDN-Cache-Control") != "" && sent {
						t.Errorf("%s: CDN-Cache-Control is left", target)
					}
				}
				if v, _ := b.Value("/", "koa.sid"); v == "" {
					t.Errorf("%s has sent no session", target)
				}
			}
		})
	}
}
