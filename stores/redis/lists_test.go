package redisstore_test

import (
	"errors"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/servers"
	redisstore "github.com/gensession/gensession/stores/redis"
)

// A list expires with its last key, and a login takes out what is over.
func TestAListEndsWithItsKeys(t *testing.T) {
	server := servers.SharedRedis(t)
	s := connected(t, patient(t, server.Addr()))
	const list = "lists:own:ends"
	write := func(key string, ttl time.Duration) {
		t.Helper()
		if _, err := s.Batch(t.Context(), core.Write{Key: key, Data: []byte("x"), TTL: ttl, Owner: list}); err != nil {
			t.Fatal(err)
		}
	}
	write("lists:short", 50*time.Millisecond)
	write("lists:longer", time.Minute)
	if ms := server.Do("PTTL", list).(int64); ms < 50_000 || ms > 60_000 {
		t.Errorf("the list ends in %d ms", ms)
	}
	write("lists:shorter-again", time.Second)
	if ms := server.Do("PTTL", list).(int64); ms < 50_000 {
		t.Errorf("a shorter one has shortened the list: %d ms", ms)
	}
	waitFor(t, "an end", func() bool { return server.Do("EXISTS", "lists:short").(int64) == 0 })
	time.Sleep(5 * time.Millisecond)
	write("lists:another", time.Minute)
	if n := server.Do("ZCARD", list).(int64); n != 3 {
		t.Errorf("%d keys after a login, want 3: what is over stays", n)
	}
	write("lists:forever", 0)
	if ms := server.Do("PTTL", list).(int64); ms != -1 {
		t.Errorf("a list with a key without an end ends in %d ms", ms)
	}
	keys, err := s.Owned(t.Context(), list)
	if err != nil || len(keys) != 4 {
		t.Errorf("%q, %v", keys, err)
	}
	if err := s.Disown(t.Context(), list, keys...); err != nil {
		t.Fatal(err)
	}
	if server.Do("EXISTS", list).(int64) != 0 {
		t.Error("an empty list stays")
	}
}

// What can't be put into its list is not stored either, and what ends leaves on a
// server without memory, too.
func TestAListThatCantBeWritten(t *testing.T) {
	server := servers.Redis(t)
	const list = "koa:sess:own:x"
	batch := func(s *redisstore.Store, w core.Write) error {
		_, err := s.Batch(t.Context(), w)
		return err
	}
	t.Run("another type", func(t *testing.T) {
		s := connected(t, patient(t, server.Addr()))
		server.Do("SET", list, "no list")
		if err := batch(s, core.Write{Key: "koa:sess:a", Data: []byte("x"), TTL: time.Minute, Owner: list}); !errors.Is(err, core.ErrCorrupt) {
			t.Errorf("Batch: %v", err)
		}
		if server.Do("EXISTS", "koa:sess:a").(int64) != 0 {
			t.Error("the session is stored, and in no list")
		}
		server.Do("DEL", list)
	})
	t.Run("no right to", func(t *testing.T) {
		server.SetUser("app", "secret", "~koa:sess:*", "+@all", "-zadd", "-scan")
		s, err := redisstore.Open("redis://app:secret@"+server.Addr(), calm)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		connected(t, s)
		server.Do("SET", "koa:sess:b", "old", "PX", "60000")
		_, v, err := s.GetVersion(t.Context(), "koa:sess:b")
		if err != nil {
			t.Fatal(err)
		}
		if err := batch(s, core.Write{Key: "koa:sess:a", Data: []byte("x"), TTL: time.Minute, Owner: list}); !errors.Is(err, core.ErrRefused) {
			t.Errorf("Batch: %v", err)
		}
		if err := batch(s, core.Write{Key: "koa:sess:b", Data: []byte("new"), TTL: time.Hour, Version: v, Owner: list}); !errors.Is(err, core.ErrRefused) {
			t.Errorf("Batch: %v", err)
		}
		if server.Do("EXISTS", "koa:sess:a").(int64) != 0 || server.Do("GET", "koa:sess:b") != "old" || server.Do("PTTL", "koa:sess:b").(int64) > 60_000 {
			t.Error("a batch that was refused has changed something")
		}
	})
	t.Run("no memory", func(t *testing.T) {
		s := connected(t, patient(t, server.Addr()))
		if err := batch(s, core.Write{Key: "koa:sess:c", Data: []byte("x"), TTL: time.Minute, Owner: list}); err != nil {
			t.Fatal(err)
		}
		_, v, err := s.GetVersion(t.Context(), "koa:sess:c")
		if err != nil {
			t.Fatal(err)
		}
		server.Do("CONFIG", "SET", "maxmemory", "1")
		defer server.Do("CONFIG", "SET", "maxmemory", "0")
		if err := batch(s, core.Write{Key: "koa:sess:d", Data: []byte("x"), TTL: time.Minute, Owner: list}); !errors.Is(err, core.ErrRefused) {
			t.Errorf("a login: %v", err)
		}
		if keys, err := s.Owned(t.Context(), list); err != nil || len(keys) != 1 {
			t.Errorf("Owned: %q, %v", keys, err)
		}
		if err := batch(s, core.Write{Key: "koa:sess:c", Version: v, Owner: list}); err != nil {
			t.Errorf("a logout: %v", err)
		}
		if keys, err := s.Owned(t.Context(), list); err != nil || len(keys) != 0 {
			t.Errorf("Owned: %q, %v", keys, err)
		}
	})
}
