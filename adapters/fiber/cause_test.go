package fibersession_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"

	fibersession "github.com/gensession/gensession/adapters/fiber"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/core/storetest"
)

// W42: the client sees the status, and the ErrorHandler has the cause for its log.
func TestW42TheCauseIsForTheLog(t *testing.T) {
	m, store := newManager(t, core.Options{FailFast: true})
	var got error
	config := fiber.Config{}
	for _, handled := range []bool{false, true} {
		if handled {
			config.ErrorHandler = func(c *fiber.Ctx, err error) error {
				got = err
				return fiber.DefaultErrorHandler(c, err)
			}
		}
		app := fiber.New(config)
		app.Use(fibersession.New(m, nil))
		handle := func(path string, f func(s *core.Session) error) {
			app.Get(path, fibersession.Handler(func(_ *fiber.Ctx, s *core.Session) error { return f(s) }))
		}
		handle("/set", func(s *core.Session) error { return s.Set("secret", "text") })
		handle("/type", func(s *core.Session) error { _, _, err := core.Key[int]("secret").Lookup(s); return err })
		handle("/encode", func(s *core.Session) error { return s.Set("secret", make(chan int)) })
		handle("/reserved", func(s *core.Session) error { return s.Set("cookie", 1) })
		handle("/large", func(s *core.Session) error { return s.Set("secret", strings.Repeat("x", 1<<20)) })
		handle("/cookie", func(s *core.Session) error { return s.SetCookie(core.CookieOptions{Path: "secret"}) })
		handle("/replace", func(s *core.Session) error { return s.Replace("secret") })
		handle("/count", func(s *core.Session) error { return s.Set("n", 1) })
		var b jartest.Browser
		want(t, app, &b, "/set", 200, "")
		for path, cause := range map[string]string{
			"/type": `"secret" does not decode into int`, "/encode": "chan int", "/reserved": "reserved", "/large": "MaxSize",
			"/cookie": "SetCookie", "/replace": "no JSON object", "/count": "full",
		} {
			status, text := 500, "Internal Server Error"
			if path == "/count" {
				store.Before(failing(fmt.Errorf("%w: full", core.ErrRefused), storetest.OpSetVersion))
				status, text = 503, "Service Unavailable"
			}
			want(t, app, &b, path, status, text)
			store.Before(nil)
			if !handled {
				continue
			}
			if log := fmt.Sprintf("%+v", got); !strings.Contains(log, cause) || !strings.HasPrefix(log, text+": ") {
				t.Errorf("%s: %%+v is %q", path, log)
			}
			if inner := errors.Unwrap(got); inner == nil || !strings.Contains(inner.Error(), cause) {
				t.Errorf("%s: Unwrap returns %v", path, inner)
			}
			if plain := fmt.Sprintf("%v %s %q", got, got, got); plain != fmt.Sprintf("%s %s %q", text, text, text) {
				t.Errorf("%s: it prints %s", path, plain)
			}
		}
	}
}
