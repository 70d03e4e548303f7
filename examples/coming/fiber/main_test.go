package main

import (
	"testing"
	"time"

	"github.com/gofiber/fiber/v3/middleware/adaptor"
	fiberredis "github.com/gofiber/storage/redis/v3"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/examples/coming/internal/moved"
	"github.com/gensession/gensession/internal/servers"
	redisstore "github.com/gensession/gensession/stores/redis"
)

func TestASessionOfFiberGoesOn(t *testing.T) {
	server := servers.Redis(t)
	storage := fiberredis.New(fiberredis.Config{Addrs: []string{server.Addr()}})
	defer storage.Close()
	store, err := redisstore.Open(server.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	o, err := options(core.Keyring{[]byte("HxB3p0q7Zk2mVtN8wRf5yLdGsJcE9uAa")}, storage, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	sessions, err := core.New(store, o)
	if err != nil {
		t.Fatal(err)
	}
	defer sessions.Close()
	app, err := after(sessions, store)
	if err != nil {
		t.Fatal(err)
	}
	moved.Run(t, adaptor.FiberApp(before(storage)), adaptor.FiberApp(app))
}
