package main

import (
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/gin-gonic/gin"

	ginsession "github.com/gensession/gensession/adapters/gin"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/examples/frameworks/internal/try"
)

func TestGin(t *testing.T) {
	gin.SetMode(gin.TestMode)
	gin.DefaultWriter, gin.DefaultErrorWriter = io.Discard, io.Discard
	try.Run(t, func(sessions *core.Manager) http.Handler {
		r := routes(sessions)
		r.POST("/panic", func(c *gin.Context) {
			s, err := ginsession.From(c)
			if err != nil {
				t.Error(err)
			}
			panic(visits.Set(s, 100))
		})
		r.POST("/fails", ginsession.Handler(func(_ *gin.Context, s *core.Session) error {
			return errors.Join(s.Login(core.LoginOptions{}), user.Set(s, "eve"), errors.New("no"))
		}))
		return r
	})
}
