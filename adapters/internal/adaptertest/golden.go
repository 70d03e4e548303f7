package adaptertest

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/golden"
)

// Golden replays the recorded exchanges of the original, in a bubble with the
// recorded time, through the adapter's server.
func Golden(t *testing.T, a Adapter) {
	(&suite{t: t, a: a}).warmUp()
	golden.Run(t, "../../core/testdata/koa-exchanges.json", golden.Server{
		Serve: func(t *testing.T, app *golden.App) func(golden.Request) golden.Response {
			return replay(&suite{t: t, a: a, pipes: true}, app)
		},
		HandlerErrors: a.HandlerErrors,
	})
}

func replay(s *suite, recorded *golden.App) func(golden.Request) golden.Response {
	outermost := recorded.Managers[0]
	a := &app{t: s.t}
	s.serve(a, recorded.TLS, func(x *Exchange) error {
		body, err := recorded.Handle(golden.Exchange{
			Ctx:     x.Ctx,
			Path:    x.URL.Path,
			Session: func() (*core.Session, error) { return x.FromManager(outermost) },
			Visit: func() (*core.Visit, error) {
				v, err := x.Visit()
				if err != nil {
					return nil, err
				}
				return v.Of(outermost)
			},
		})
		if errors.Is(err, golden.ErrOops) {
			return ErrHandler
		}
		if err == nil {
			x.Write(body)
		}
		return err
	}, recorded.Managers...)
	return func(r golden.Request) golden.Response {
		req, err := http.NewRequest("GET", a.url(r.Target), nil)
		if err != nil {
			s.t.Fatal(err)
		}
		if r.Cookie != "" {
			req.Header.Set("Cookie", r.Cookie)
		}
		res, err := a.do(req)
		if err != nil {
			s.t.Fatal(err)
		}
		body := strings.TrimSuffix(res.body, "\n")
		return golden.Response{Body: body, SetCookies: res.cookies, Failed: res.status >= 500, Oops: body == ErrHandler.Error()}
	}
}
