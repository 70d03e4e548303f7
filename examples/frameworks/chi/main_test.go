package main

import (
	"errors"
	"net/http"
	"testing"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/examples/frameworks/internal/try"
)

func TestChi(t *testing.T) {
	try.Run(t, func(sessions *core.Manager) http.Handler {
		r := routes(sessions)
		r.Method("POST", "/panic", httpsession.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request, s *core.Session) error {
			panic(visits.Set(s, 100))
		}))
		r.Method("POST", "/fails", httpsession.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request, s *core.Session) error {
			return errors.Join(s.Login(core.LoginOptions{}), user.Set(s, "eve"), errors.New("no"))
		}))
		return r
	})
}
