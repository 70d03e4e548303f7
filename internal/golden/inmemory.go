package golden

import (
	"context"
	"testing"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
)

// InMemory is a [Server.Serve] that does what an adapter does, with a jar in
// memory. Handlers can fail.
func InMemory(t *testing.T, app *App) func(Request) Response {
	return func(r Request) Response {
		jar := &jartest.Jar{Target: r.Target, TLS: app.TLS}
		if r.Cookie != "" {
			jar.Cookies = []string{r.Cookie}
		}
		body, err := app.visit(t, jar)
		return Response{Body: body, SetCookies: jar.SetCookies, Failed: err != nil, Oops: err == ErrOops, Err: err}
	}
}

func (a *App) visit(t *testing.T, jar *jartest.Jar) (body string, err error) {
	ctx := context.Background()
	var outer, inner *core.Visit
	for _, m := range a.Managers {
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
	return a.Handle(Exchange{
		Ctx:     ctx,
		Path:    jar.Path(),
		Session: func() (*core.Session, error) { return outer.Session(ctx) },
		Visit:   func() (*core.Visit, error) { return outer, nil },
	})
}
