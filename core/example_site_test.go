package core_test

import (
	"context"
	"fmt"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// An exampleSite is a Manager and one browser: what an adapter and a browser do,
// without the network.
type exampleSite struct {
	Sessions   *core.Manager
	SetCookies []string // of the last response
	store      *memorystore.Store
	browser    jartest.Browser
}

func newExampleSite(o *core.Options) *exampleSite {
	if o == nil {
		o = &core.Options{Keys: [][]byte{[]byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")}}
	}
	store := memorystore.New(nil)
	sessions, err := core.New(store, o)
	if err != nil {
		panic(err)
	}
	return &exampleSite{Sessions: sessions, store: store}
}

// Visit is one request with its handler.
func (e *exampleSite) Visit(h func(ctx context.Context, s *core.Session) error) {
	jar := e.browser.Jar("/")
	v, _ := e.Sessions.NewVisit(jar, nil)
	ctx := core.NewContext(context.Background(), v)
	s, err := v.Session(ctx)
	if err == nil {
		err = h(ctx, s)
	}
	if err != nil {
		fmt.Println(err)
		v.HandlerFailed()
	}
	if err := v.Commit(ctx); err != nil {
		fmt.Println(err)
	}
	e.browser.Take("/", jar.SetCookies...)
	e.SetCookies = jar.SetCookies
}

// ID is the id in the browser's cookie.
func (e *exampleSite) ID() core.ID {
	value, _ := e.browser.Value("/", "koa.sid")
	return core.ID(value)
}

func (e *exampleSite) Close() {
	e.Sessions.Close()
	e.store.Close()
}
