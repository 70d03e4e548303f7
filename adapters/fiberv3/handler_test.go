package fiberv3session_test

import (
	"errors"
	"io"
	"net/http/httptest"
	"testing"

	"github.com/gofiber/fiber/v3"

	fiberv3session "github.com/gensession/gensession/adapters/fiberv3"
	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// A Handler gets the session; its errors and those of the session go to the
// ErrorHandler.
func TestHandler(t *testing.T) {
	const visits core.Key[int] = "visits"
	errTeapot := errors.New("no coffee")
	memory := memorystore.New(nil)
	t.Cleanup(func() { memory.Close() })
	sessions, err := core.New(memory, &core.Options{Keys: [][]byte{[]byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sessions.Close() })
	var told error
	app := fiber.New(fiber.Config{ErrorHandler: func(c fiber.Ctx, err error) error {
		told = err
		return c.SendStatus(fiber.StatusTeapot)
	}})
	app.Get("/missing", fiberv3session.Handler(func(fiber.Ctx, *core.Session) error {
		t.Error("called without a session")
		return nil
	}))
	app.Use(fiberv3session.New(sessions, nil))
	app.Get("/fails", fiberv3session.Handler(func(_ fiber.Ctx, s *core.Session) error {
		return errors.Join(visits.Set(s, 1), errTeapot)
	}))
	app.Get("/count", fiberv3session.Handler(func(c fiber.Ctx, s *core.Session) error {
		if visits.Get(s) == 1 {
			return c.SendString("1")
		}
		return c.SendString("none")
	}))
	get := func(path, cookie string) (status int, body, cookies string) {
		t.Helper()
		req := httptest.NewRequest("GET", path, nil)
		req.Header.Set("Cookie", cookie)
		res, err := app.Test(req, fiber.TestConfig{})
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range res.Cookies() {
			cookies += c.Name + "=" + c.Value + "; "
		}
		return res.StatusCode, string(text), cookies
	}
	if status, _, _ := get("/missing", ""); status != 418 || !errors.Is(told, core.ErrNoSession) {
		t.Errorf("without the middleware: %d, %v", status, told)
	}
	status, _, cookies := get("/fails", "")
	if status != 418 || !errors.Is(told, errTeapot) {
		t.Errorf("an error of the handler: %d, %v", status, told)
	}
	if status, body, _ := get("/count", cookies); status != 200 || body != "1" {
		t.Errorf("%d %q: the session of a handler that failed is saved (K27)", status, body)
	}
}
