// Command gin is a login with gin: handlers that get the session, and the middleware
// in the order that matters.
package main

import (
	"errors"
	"log"
	"log/slog"
	"net/http"
	"os"

	"github.com/gin-gonic/gin"

	ginsession "github.com/gensession/gensession/adapters/gin"
	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

const (
	user   core.Key[string] = "user"
	visits core.Key[int]    = "visits"
)

// begin routes
func routes(sessions *core.Manager) *gin.Engine {
	r := gin.Default() // its Recovery comes first: a panic passes the session, which saves nothing
	r.Use(ginsession.New(sessions, nil))
	r.GET("/", ginsession.Handler(home))
	r.POST("/login", ginsession.Handler(login))
	r.POST("/logout", ginsession.Handler(logout))
	return r
}

func home(c *gin.Context, s *core.Session) error {
	n, err := visits.Update(s, func(n int) int { return n + 1 })
	if err != nil {
		return err
	}
	c.String(http.StatusOK, "visit %d of %q\n", n, user.Get(s))
	return nil
}

// end routes

func login(c *gin.Context, s *core.Session) error {
	// Check the password here.
	if err := errors.Join(s.Login(core.LoginOptions{}), user.Set(s, c.PostForm("user"))); err != nil {
		return err
	}
	c.Redirect(http.StatusSeeOther, "/")
	return nil
}

func logout(c *gin.Context, s *core.Session) error {
	if err := s.Destroy(c.Request.Context()); err != nil {
		return err
	}
	c.Redirect(http.StatusSeeOther, "/")
	return nil
}

func main() {
	key := []byte(os.Getenv("SESSION_KEY")) // openssl rand -base64 32
	sessions, err := core.New(memorystore.New(nil), &core.Options{Keys: [][]byte{key}, Logger: slog.Default()})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(routes(sessions).Run("127.0.0.1:3000"))
}
