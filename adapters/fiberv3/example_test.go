package fiberv3session_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"

	"github.com/gofiber/fiber/v3"

	fiberv3session "github.com/gensession/gensession/adapters/fiberv3"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

func Example() {
	key := make([]byte, 32) // keep yours: with a new one all are logged out
	rand.Read(key)

	store := memorystore.New(nil)
	defer store.Close()
	sessions, err := core.New(store, &core.Options{Keys: [][]byte{key}})
	if err != nil {
		log.Fatal(err)
	}
	defer sessions.Close()

	const visits core.Key[int] = "visits"

	app := fiber.New()
	app.Use(fiberv3session.New(sessions, nil))
	app.Get("/", fiberv3session.Handler(func(c fiber.Ctx, s *core.Session) error {
		n, err := visits.Update(s, func(n int) int { return n + 1 })
		if err != nil {
			return err
		}
		return c.SendString(fmt.Sprintf("visit %d\n", n))
	}))
	// app.Listen(":8080")

	var browser jartest.Browser
	for range 3 {
		req := httptest.NewRequest("GET", "/", nil)
		req.Header.Set("Cookie", browser.Cookie("/"))
		res, err := app.Test(req)
		if err != nil {
			log.Fatal(err)
		}
		browser.Take("/", res.Header.Values("Set-Cookie")...)
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		fmt.Print(string(body))
	}
	// Output:
	// visit 1
	// visit 2
	// visit 3
}

// An app that shapes its errors finds the status and the reason in one error.
func Example_errorHandler() {
	app := fiber.New(fiber.Config{ErrorHandler: func(c fiber.Ctx, err error) error {
		status := fiber.StatusInternalServerError
		if f := (*fiber.Error)(nil); errors.As(err, &f) {
			status = f.Code
		}
		return c.Status(status).JSON(fiber.Map{"error": err.Error()})
	}})
	app.Get("/", fiberv3session.Handler(func(fiber.Ctx, *core.Session) error {
		return nil // not called: the middleware is missing
	}))
	res, err := app.Test(httptest.NewRequest("GET", "/", nil))
	if err != nil {
		log.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	fmt.Println(res.StatusCode, string(body))
	// Output: 500 {"error":"Internal Server Error"}
}
