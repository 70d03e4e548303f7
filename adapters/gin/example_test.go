package ginsession_test

import (
	"crypto/rand"
	"fmt"
	"log"
	"net/http/httptest"

	"github.com/gin-gonic/gin"

	ginsession "github.com/gensession/gensession/adapters/gin"
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

	r := gin.Default()
	r.Use(ginsession.New(sessions, nil))
	r.GET("/", ginsession.Handler(func(c *gin.Context, s *core.Session) error {
		n, err := visits.Update(s, func(n int) int { return n + 1 })
		if err != nil {
			return err
		}
		c.String(200, "visit %d\n", n)
		return nil
	}))
	// r.Run(":8080")

	var browser jartest.Browser
	for range 3 {
		req, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
		req.Header.Set("Cookie", browser.Cookie("/"))
		r.ServeHTTP(w, req)
		browser.Take("/", w.Header().Values("Set-Cookie")...)
		fmt.Print(w.Body)
	}
	// Output:
	// visit 1
	// visit 2
	// visit 3
}

// A middleware gets the session by From. This one answers users who are not logged
// in.
func ExampleFrom() {
	const user core.Key[string] = "user"
	loggedIn := func(c *gin.Context) {
		s, err := ginsession.From(c)
		if err != nil {
			_ = c.AbortWithError(core.Status(err), err)
			return
		}
		if user.Get(s) == "" {
			c.AbortWithStatusJSON(401, gin.H{"error": "log in first"})
		}
	}

	store := memorystore.New(nil)
	defer store.Close()
	sessions, err := core.New(store, &core.Options{Keys: [][]byte{[]byte("replace me by 32 bytes of openssl rand")}})
	if err != nil {
		log.Fatal(err)
	}
	defer sessions.Close()
	r := gin.Default()
	r.Use(ginsession.New(sessions, nil))
	r.GET("/account", loggedIn, func(c *gin.Context) { c.Status(200) })
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest("GET", "/account", nil))
	fmt.Println(w.Code, w.Body)
	// Output: 401 {"error":"log in first"}
}
