package main

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/examples/coming/internal/moved"
	"github.com/gensession/gensession/internal/servers"
	redisstore "github.com/gensession/gensession/stores/redis"
)

func TestASessionOfScsGoesOn(t *testing.T) {
	server := servers.Redis(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	store, err := redisstore.Open(server.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	o, err := options(core.Keyring{[]byte("HxB3p0q7Zk2mVtN8wRf5yLdGsJcE9uAa")}, client, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	sessions, err := core.New(store, o)
	if err != nil {
		t.Fatal(err)
	}
	defer sessions.Close()
	moved.Run(t, before(client), after(sessions))
}
