package core_test

import (
	"context"
	"testing"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/internal/golden"
)

const recording = "testdata/koa-exchanges.json"

// TestGolden replays the recording on a store with all abilities.
func TestGolden(t *testing.T) {
	t.Parallel()
	golden.Run(t, recording, golden.Server{Serve: inMemory, HandlerErrors: true})
}

// TestGoldenPlainStore replays it on one that can only get, set and destroy.
func TestGoldenPlainStore(t *testing.T) {
	t.Parallel()
	golden.Run(t, recording, golden.Server{Serve: inMemory, HandlerErrors: true, PlainStore: true})
}

// inMemory serves the app as an adapter does.
func inMemory(t *testing.T, app *golden.App) func(golden.Request) golden.Response {
	return func(r golden.Request) golden.Response {
		jar := &jartest.Jar{Target: r.Target, TLS: app.TLS}
		if r.Cookie != "" {
			jar.Cookies = []string{r.Cookie}
		}
		body, err := visit(t, app, jar)
		return golden.Response{Body: body, SetCookies: jar.SetCookies, Failed: err != nil, Oops: err == golden.ErrOops}
	}
}

func visit(t *testing.T, app *golden.App, jar *jartest.Jar) (body string, err error) {
	ctx := context.Background()
	var outer, inner *core.Visit
	for _, m := range app.Managers {
		v, ok := m.NewVisit(jar, inner)
		if !ok {
			t.Fatal("no visit")
		}
		if err := v.Begin(ctx); err != nil {
			return "", err
		}
		defer func() {
			if commitErr := v.Commit(ctx); err == nil {
				err = commitErr
			}
		}()
		if inner = v; outer == nil {
			outer = v
		}
	}
	return app.Handle(golden.Exchange{
		Ctx:     ctx,
		Path:    jar.Path(),
		Session: func() (*core.Session, error) { return outer.Session(ctx) },
		Visit:   func() (*core.Visit, error) { return outer, nil },
	})
}
