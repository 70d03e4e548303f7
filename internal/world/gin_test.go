//go:build !386 && !arm

package world_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/gin-contrib/cors"
	"github.com/gin-contrib/gzip"
	"github.com/gin-gonic/gin"

	ginsession "github.com/gensession/gensession/adapters/gin"
	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
)

func init() {
	gin.SetMode(gin.ReleaseMode)
	gin.DefaultWriter, gin.DefaultErrorWriter = io.Discard, io.Discard
}

var ginPrograms = []program{
	{name: "gin", start: func(t *testing.T, m *core.Manager) string {
		r := gin.Default()
		r.Use(ginsession.New(m, nil))
		return serve(t, ginRoutes(r))
	}},
	{name: "gin with gzip and CORS outside", start: func(t *testing.T, m *core.Manager) string {
		r := gin.Default()
		r.Use(cors.New(cors.Config{AllowAllOrigins: true}), gzip.Gzip(gzip.DefaultCompression), ginsession.New(m, nil))
		return serve(t, ginRoutes(r))
	}},
	{name: "gin with gzip, CORS, Recovery and Guard inside", start: func(t *testing.T, m *core.Manager) string {
		r := gin.Default()
		r.Use(ginsession.New(m, nil), cors.New(cors.Config{AllowAllOrigins: true}), gzip.Gzip(gzip.DefaultCompression), gin.Recovery(), ginsession.Guard)
		return serve(t, ginRoutes(r))
	}},
	{name: "gin in httpsession", start: func(t *testing.T, m *core.Manager) string {
		return serve(t, httpsession.New(m, nil)(ginRoutes(gin.Default())))
	}},
}

func ginRoutes(r *gin.Engine) http.Handler {
	for _, x := range routes {
		r.Handle(x.method, x.path, ginsession.Handler(func(c *gin.Context, s *core.Session) error {
			to, body, err := act(c.Request.Context(), s, x.path, c.Query)
			switch {
			case err != nil:
				return err
			case to != "":
				c.Redirect(http.StatusSeeOther, to)
			default:
				c.String(http.StatusOK, "%s", body)
			}
			return nil
		}))
	}
	r.GET("/public", func(c *gin.Context) { c.String(http.StatusOK, "public") })
	return r
}
