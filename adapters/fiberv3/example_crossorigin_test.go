package fiberv3session_test

import (
	"fmt"
	"log"
	"net/http/httptest"
	"net/url"

	"github.com/gofiber/fiber/v3"

	fiberv3session "github.com/gensession/gensession/adapters/fiberv3"
	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// crossOrigin refuses what another site's page makes a browser ask for. It is
// the check of net/http's CrossOriginProtection.
func crossOrigin(c fiber.Ctx) error {
	switch c.Method() {
	case fiber.MethodGet, fiber.MethodHead, fiber.MethodOptions:
		return c.Next() // these must change nothing
	}
	switch c.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return c.Next()
	case "": // a browser of before 2023, or none
		origin := c.Get(fiber.HeaderOrigin)
		if origin == "" {
			return c.Next()
		}
		if u, err := url.Parse(origin); err == nil && u.Host == string(c.RequestCtx().Host()) {
			return c.Next()
		}
	}
	return fiber.ErrForbidden
}

// A browser sends the cookie along when another site's page makes it ask for
// one of ours. So what changes something is a POST, and where a POST comes from
// is looked at before the session is.
func Example_crossOrigin() {
	store := memorystore.New(nil)
	defer store.Close()
	sessions, err := core.New(store, &core.Options{Keys: [][]byte{[]byte("replace me by 32 bytes of openssl rand")}})
	if err != nil {
		log.Fatal(err)
	}
	defer sessions.Close()

	app := fiber.New()
	app.Use(crossOrigin, fiberv3session.New(sessions, nil))
	app.Post("/transfer", func(c fiber.Ctx) error { return c.SendString("done") })

	post := func(field, value string) {
		r := httptest.NewRequest("POST", "/transfer", nil) // to example.com
		r.Header.Set(field, value)
		res, err := app.Test(r, fiber.TestConfig{})
		if err != nil {
			log.Fatal(err)
		}
		res.Body.Close()
		fmt.Println(field, value, res.StatusCode)
	}
	post("Sec-Fetch-Site", "same-origin")
	post("Sec-Fetch-Site", "cross-site")
	post("Origin", "https://example.com")
	post("Origin", "https://evil.example")
	// Output:
	// Sec-Fetch-Site same-origin 200
	// Sec-Fetch-Site cross-site 403
	// Origin https://example.com 200
	// Origin https://evil.example 403
}
