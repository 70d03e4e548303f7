package ginsession_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	ginsession "github.com/gensession/gensession/adapters/gin"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
)

// W5: gin's ways to answer an error, and error handlers that begin the header anew.
func TestW5ErrorHandlers(t *testing.T) {
	for name, c := range map[string]struct {
		handlers []gin.HandlerFunc
		fail     func(c *gin.Context)
	}{
		"AbortWithStatus":     {fail: func(c *gin.Context) { c.AbortWithStatus(500) }},
		"AbortWithStatusJSON": {fail: func(c *gin.Context) { c.AbortWithStatusJSON(500, gin.H{}) }},
		"AbortWithError":      {fail: func(c *gin.Context) { _ = c.AbortWithError(500, errors.New("no")) }},
		"ErrorLogger":         {[]gin.HandlerFunc{gin.ErrorLogger()}, func(c *gin.Context) { _ = c.AbortWithError(500, errors.New("no")) }},
		"a header of its own": {fail: func(c *gin.Context) { c.Header("Set-Cookie", "theirs=1"); c.Status(500) }},
		"SetCookie":           {fail: func(c *gin.Context) { c.SetCookie("koa.sid", "", -1, "/", "", false, true); c.Status(500) }},
		"http.Error":          {fail: func(c *gin.Context) { clear(c.Writer.Header()); http.Error(c.Writer, "no", 500) }},
		"an error handler that begins anew": {
			[]gin.HandlerFunc{func(c *gin.Context) {
				c.Next()
				if len(c.Errors) > 0 {
					clear(c.Writer.Header())
					c.String(500, "oops")
				}
			}},
			func(c *gin.Context) { _ = c.Error(errors.New("no")) },
		},
		"an error handler outside of a guard": {
			[]gin.HandlerFunc{func(c *gin.Context) {
				c.Next()
				if len(c.Errors) > 0 {
					clear(c.Writer.Header())
					c.String(500, "oops")
				}
			}, ginsession.Guard},
			func(c *gin.Context) { _ = c.Error(errors.New("no")) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, _ := newManager(t, core.Options{})
			r := gin.New()
			r.Use(ginsession.New(m, nil))
			r.Use(c.handlers...)
			r.GET("/:do", func(x *gin.Context) {
				s, err := ginsession.From(x)
				if err != nil {
					t.Error(err)
					return
				}
				switch x.Param("do") {
				case "read":
					x.String(200, "%d", count.Get(s))
					return
				case "save":
					if _, err = count.Update(s, func(n int) int { return n + 1 }); err == nil {
						err = s.Save(x)
					}
				case "renew":
					err = s.Renew(x)
				case "destroy":
					err = s.Destroy(x)
				}
				if err != nil {
					t.Error(err)
				}
				c.fail(x)
			})
			var b jartest.Browser
			send := func(path string) *http.Response {
				req := httptest.NewRequest("GET", path, nil)
				req.Header.Set("Cookie", b.Cookie("/"))
				w := httptest.NewRecorder()
				r.ServeHTTP(w, req)
				b.Take("/", w.Result().Header.Values("Set-Cookie")...)
				return w.Result()
			}
			for _, step := range []struct{ path, read string }{{"/save", "1"}, {"/save", "2"}, {"/renew", "2"}, {"/destroy", "0"}} {
				res := send(step.path)
				ours := 0
				for _, l := range res.Header.Values("Set-Cookie") {
					if name, rest, _ := strings.Cut(l, "="); (name == "koa.sid" || name == "koa.sid.sig") && strings.Contains(rest, "; samesite=lax; httponly") {
						ours++
					}
				}
				if ours != 2 || res.StatusCode != 500 {
					t.Errorf("%s: %d, %d lines of ours", step.path, res.StatusCode, ours)
				}
				body := make([]byte, 8)
				n, _ := send("/read").Body.Read(body)
				if got := fmt.Sprint(string(body[:n])); got != step.read {
					t.Errorf("after %s: %q, want %q", step.path, got, step.read)
				}
			}
		})
	}
}
