package servers_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/gensession/gensession/internal/servers"
)

func TestRedisFaults(t *testing.T) {
	s := servers.Redis(t)
	s.Do("SET", "kept", "v")
	for _, c := range []struct {
		name  string
		fault func() func()
		text  string
	}{
		{"FillUp", s.FillUp, "OOM "},
		{"ReadOnly", s.ReadOnly, "READONLY "},
		{"NoReplicas", s.NoReplicas, "NOREPLICAS "},
		{"Misconf", s.Misconf, "MISCONF "},
	} {
		t.Run(c.name, func(t *testing.T) {
			undo := c.fault()
			_, err := s.Try("SET", "k", "v")
			reply, ok := errors.AsType[servers.ReplyError](err)
			if !ok || !strings.HasPrefix(string(reply), c.text) {
				t.Errorf("SET: %v, want %s", err, c.text)
			}
			if got := s.Do("GET", "kept"); got != "v" {
				t.Errorf("GET = %v", got)
			}
			undo()
			if got := s.Do("SET", "k", "v"); got != "OK" {
				t.Errorf("SET = %v after the fault", got)
			}
			if got := s.Do("GET", "kept"); got != "v" {
				t.Errorf("GET = %v after the fault", got)
			}
		})
	}
	s.Restart()
	if got := s.Do("GET", "kept"); got != nil {
		t.Errorf("GET = %v after a restart", got)
	}
}

func TestRedisUsers(t *testing.T) {
	s := servers.Redis(t, "--requirepass", "secret")
	s.SetUser("app", "app", "~sess:*", "+get", "+set")
	s.Do("CONFIG", "SET", "requirepass", "other")
	if got := s.Do("ACL", "WHOAMI"); got != "kit" {
		t.Errorf("WHOAMI = %v", got)
	}
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = io.WriteString(c, "AUTH app app\r\nSET sess:1 v\r\nGET other\r\nDEL sess:1\r\nQUIT\r\n")
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(got), "+OK\r\n+OK\r\n-NOPERM") || strings.Count(string(got), "-NOPERM") != 2 {
		t.Errorf("replies %q, %v", got, err)
	}
}

func TestRedisTLS(t *testing.T) {
	for _, args := range [][]string{nil, {"--tls-auth-clients", "yes"}} {
		s := servers.RedisTLS(t, args...)
		s.Do("PING")
		if want := "rediss://" + s.Addr(); s.URL() != want {
			t.Errorf("URL = %s", s.URL())
		}
		c, err := tls.Dial("tcp", s.Addr(), s.TLS())
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if _, err := tls.Dial("tcp", s.Addr(), nil); err == nil {
			t.Error("the certificate is trusted by everybody")
		}
		s.Restart()
		s.Do("PING")
	}
}

func TestMemcachedFillUp(t *testing.T) {
	t.Parallel()
	s := servers.Memcached(t, "-m", "2", "-M")
	s.Do("set kept 0 0 1\r\nv\r\n")
	undo := s.FillUp()
	for _, size := range []int{1, 100, 1000, 10_000, 100_000, 500_000} {
		set := fmt.Sprintf("add k%d 0 0 %d\r\n%s\r\n", size, size, strings.Repeat("x", size))
		if got := s.Do(set); !strings.HasPrefix(got, "SERVER_ERROR out of memory") {
			t.Errorf("set of %d bytes = %q", size, got)
		}
	}
	if got := s.Do("get kept\r\n"); got != "VALUE kept 0 1\r\nv\r\nEND\r\n" {
		t.Errorf("get = %q", got)
	}
	undo()
	for _, size := range []int{1, 1000, 100_000} {
		set := fmt.Sprintf("add k%d 0 0 %d\r\n%s\r\n", size, size, strings.Repeat("x", size))
		if got := s.Do(set); got != "STORED\r\n" {
			t.Errorf("set of %d bytes = %q afterwards", size, got)
		}
	}
}

func TestMemcachedItemSize(t *testing.T) {
	s := servers.Memcached(t, "-I", "2m", "-m", "16")
	const size = 1_500_000
	if got := s.Do(fmt.Sprintf("set k 0 0 %d\r\n%s\r\n", size, strings.Repeat("x", size))); got != "STORED\r\n" {
		t.Errorf("set = %q", got)
	}
	if got := s.Do("get k\r\n"); len(got) < size {
		t.Errorf("get = %d bytes", len(got))
	}
}
