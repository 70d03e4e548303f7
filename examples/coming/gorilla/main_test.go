package main

import (
	"testing"
	"time"

	"github.com/boj/redistore"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/examples/coming/internal/moved"
	"github.com/gensession/gensession/internal/servers"
	redisstore "github.com/gensession/gensession/stores/redis"
)

func TestASessionOfGorillaGoesOn(t *testing.T) {
	server := servers.Redis(t)
	gorillaKey := []byte("the key that the application had")
	old, err := redistore.NewRediStore(10, "tcp", server.Addr(), "", "", gorillaKey)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	store, err := redisstore.Open(server.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	sessions, err := core.New(store, options(core.Keyring{[]byte("HxB3p0q7Zk2mVtN8wRf5yLdGsJcE9uAa")}, store, time.Now(), gorillaKey))
	if err != nil {
		t.Fatal(err)
	}
	defer sessions.Close()
	moved.Run(t, before(old), after(sessions))
}
