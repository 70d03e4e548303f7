package memcachestore_test

import (
	"context"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/servers"
	memcachestore "github.com/gensession/gensession/stores/memcache"
)

// FuzzReply: whatever a server answers, each call returns when its time is over, its
// error has a class and tells nothing of the session, a value is that of its key, and
// no byte of the answer becomes that of a later call.
func FuzzReply(f *testing.F) {
	const key, data = "koa:sess:a-key-nobody-may-see", `{"name":"a-payload-nobody-may-see"}`
	long := strings.Repeat("x", 70_000)
	for _, reply := range []string{
		"STORED\r\n", "NOT_STORED\r\n", "EXISTS\r\n", "NOT_FOUND\r\n", "DELETED\r\n", "TOUCHED\r\n", "END\r\n", "OK\r\n", "ERROR\r\n",
		"CLIENT_ERROR bad data chunk\r\n", "SERVER_ERROR out of memory storing object\r\n", "SERVER_ERROR object too large for cache\r\n", "CLIENT_ERROR line too long\r\n",
		"SERVER_ERROR " + key + " " + data + "\r\n", "ERROR " + data + "\n", "SERVER_ERROR no such value: " + data + "\r\n", "VERSION 1.6.18\r\n",
		value(key, data), value("alice", data), value(key, ""), value(key, long), value(key, data) + value(key, data), value(key, data)[:40],
		"VALUE " + key + " 0 5 7\r\nsession\r\nEND\r\n", "VALUE " + key + " 0 9999999999 7\r\nx", "VALUE " + key + " 0 -1 7\r\n\r\nEND\r\n", "VALUE " + key + " 4294967296 1 18446744073709551616\r\na\r\nEND\r\n", "VALUE " + key + " 0 1\r\na\r\nEND\r\n", "VALUE " + key + "\r\n", "VALUE\r\n",
		"HD\r\n", "HD c7\r\n", "NS\r\n", "EX\r\n", "NF\r\n", "EN\r\n", "MN\r\n", "VA 7 c7\r\nsession\r\n", "VA 7\r\nsess", "VA -1 c7\r\n",
		"STORED\r\nSTORED\r\n", "END\r\nEND\r\n", "STORED\n", "STORED", "", "\r\n", "\x00\xff", "HTTP/1.1 400 Bad Request\r\n\r\n", strings.Repeat("A", 5000),
	} {
		f.Add([]byte(reply))
	}
	var says atomic.Value // []byte
	says.Store([]byte{})
	server := lie(f, func(w io.Writer, _, _ string) { _, _ = w.Write(says.Load().([]byte)) })
	f.Fuzz(func(t *testing.T, reply []byte) {
		says.Store(reply)
		s := open(t, &memcachestore.Options{Timeout: 20 * time.Millisecond}, server.addr)
		check := func(name string, call func(ctx context.Context) error) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			servers.CheckError(t, name, call(ctx), key, data)
		}
		got := func(data []byte, err error) error {
			if err == nil && !strings.Contains(string(reply), "VALUE "+key+" ") && !strings.Contains(string(reply), "VA ") {
				t.Errorf("a value of another key: %q", data)
			}
			return err
		}
		check("Get", func(ctx context.Context) error { return got(s.Get(ctx, key)) })
		check("GetVersion", func(ctx context.Context) error { data, _, err := s.GetVersion(ctx, key); return got(data, err) })
		check("Set", func(ctx context.Context) error { return s.Set(ctx, key, []byte(data), time.Hour) })
		check("create", func(ctx context.Context) error {
			_, err := s.SetVersion(ctx, key, []byte(data), time.Hour, 0)
			return err
		})
		check("swap", func(ctx context.Context) error {
			_, err := s.SetVersion(ctx, key, []byte(data), time.Hour, 7)
			return err
		})
		check("remove", func(ctx context.Context) error { _, err := s.Batch(ctx, core.Write{Key: key, Version: 7}); return err })
		check("Append", func(ctx context.Context) error { _, _, err := s.Append(ctx, key, []byte(data)); return err })
		check("Touch", func(ctx context.Context) error { return s.Touch(ctx, key, time.Hour) })
		check("Destroy", func(ctx context.Context) error { return s.Destroy(ctx, key) })
		says.Store([]byte("END\r\n"))
		check("the next Get", func(ctx context.Context) error {
			data, err := s.Get(ctx, "another")
			if err == nil {
				t.Errorf("another call got %q", data)
			}
			return err
		})
	})
}
