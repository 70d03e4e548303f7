package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/servers"
	redisstore "github.com/gensession/gensession/stores/redis"
)

const (
	secretKey  = "koa:sess:a-key-nobody-may-see"
	secretData = `{"name":"a-payload-nobody-may-see"}`
)

// results are the errors of each kind of call.
type results struct{ get, set, create, swap, batch, add, touch, persist, destroy error }

func (r results) all() []error {
	return []error{r.get, r.set, r.create, r.swap, r.batch, r.add, r.touch, r.persist, r.destroy}
}

// try makes one call of each kind, each with a second.
func try(s *redisstore.Store) (r results) {
	call := func(f func(ctx context.Context) error) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return f(ctx)
	}
	r.get = call(func(ctx context.Context) error {
		_, err := s.Get(ctx, secretKey)
		return err
	})
	r.set = call(func(ctx context.Context) error { return s.Set(ctx, secretKey, []byte(secretData), time.Hour) })
	r.create = call(func(ctx context.Context) error {
		_, err := s.SetVersion(ctx, secretKey, []byte(secretData), time.Hour, 0)
		if errors.Is(err, core.ErrConflict) {
			return nil
		}
		return err
	})
	r.swap = call(func(ctx context.Context) error {
		_, err := s.SetVersion(ctx, secretKey, []byte(secretData), time.Hour, version(s, secretKey))
		return err
	})
	r.batch = call(func(ctx context.Context) error {
		_, err := s.Batch(ctx,
			core.Write{Key: secretKey, Data: []byte(secretData), TTL: time.Hour, Version: version(s, secretKey)},
			core.Write{Key: secretKey + "-2", Data: []byte(secretData), TTL: time.Hour})
		if errors.Is(err, core.ErrConflict) {
			return nil
		}
		return err
	})
	r.add = call(func(ctx context.Context) error {
		_, _, err := s.Append(ctx, secretKey, []byte(secretData))
		return err
	})
	r.touch = call(func(ctx context.Context) error { return s.Touch(ctx, secretKey, time.Hour) })
	r.persist = call(func(ctx context.Context) error { return s.Touch(ctx, secretKey, 0) })
	r.destroy = call(func(ctx context.Context) error { return s.Destroy(ctx, secretKey) })
	return r
}

func version(s *redisstore.Store, key string) core.Version {
	if _, v, err := s.GetVersion(context.Background(), key); err == nil {
		return v
	}
	return 1
}

// discreet fails the test if an error tells what the calls were about.
func (r results) discreet(t *testing.T) {
	t.Helper()
	for _, err := range r.all() {
		for ; err != nil; err = errors.Unwrap(err) {
			if text := fmt.Sprintf("%v %+v", err, err); strings.Contains(text, "nobody") || strings.Contains(text, "name") {
				t.Errorf("an error tells %s", text)
			}
		}
	}
}

func TestErrorsOfAServerThatAnswers(t *testing.T) {
	fine := func(*servers.RedisServer) {}
	all := func(err error) results { return results{err, err, err, err, err, err, err, err, err} }
	refused, replica := all(core.ErrRefused), all(core.ErrUnavailable)
	refused.get, replica.get = nil, nil
	for _, test := range []struct {
		name string
		args []string
		user string
		do   func(s *servers.RedisServer)
		want results
		says string
	}{
		{"out of memory", nil, "", func(s *servers.RedisServer) { s.FillUp() },
			results{set: core.ErrRefused, create: core.ErrRefused, swap: core.ErrRefused, batch: core.ErrRefused, add: core.ErrRefused}, "OOM"},
		{"full disk", nil, "", func(s *servers.RedisServer) { s.Misconf() }, refused, "MISCONF"},
		{"read-only", nil, "", func(s *servers.RedisServer) { s.ReadOnly() }, replica, "READONLY"},
		{"no replicas", nil, "", func(s *servers.RedisServer) { s.NoReplicas() }, refused, "NOREPLICAS"},
		{"wrong type", nil, "", func(s *servers.RedisServer) {
			s.Do("DEL", secretKey)
			s.Do("LPUSH", secretKey, "x")
		}, results{get: core.ErrCorrupt}, "WRONGTYPE"},
		{"no permission", nil, "reader:secret@", func(s *servers.RedisServer) {
			s.SetUser("reader", "secret", "~*", "+get")
		}, refused, "NOPERM"},
		{"no permission for the key", nil, "other:secret@", func(s *servers.RedisServer) {
			s.SetUser("other", "secret", "~other:*", "+@all")
		}, all(core.ErrRefused), "NOPERM"},
		{"unknown commands", []string{"--rename-command", "SET", "", "--rename-command", "PEXPIRE", "", "--rename-command", "PERSIST", "", "--rename-command", "DEL", "",
			"--rename-command", "EVALSHA", "", "--rename-command", "EVAL", ""}, "", fine, refused, "unknown command"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := servers.Redis(t, test.args...)
			server.Try("SET", secretKey, secretData)
			test.do(server)
			s, err := redisstore.Open("redis://"+test.user+server.Addr(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			got := try(s)
			got.discreet(t)
			for i, want := range test.want.all() {
				err := got.all()[i]
				if test.name == "unknown commands" && err != nil && strings.Contains(err.Error(), "not found") {
					continue // there is no record, since it could not be set
				}
				if !errors.Is(err, want) || want == nil && err != nil && !errors.Is(err, core.ErrNotFound) {
					t.Errorf("call %d: %v, not %v", i, err, want)
				}
				if want != nil && !strings.Contains(fmt.Sprint(err), test.says) {
					t.Errorf("call %d: %v does not say %s", i, err, test.says)
				}
			}
		})
	}
}

// A swap must not write over what is no string.
func TestASwapLeavesAnotherTypeAlone(t *testing.T) {
	server := servers.SharedRedis(t)
	s := patient(t, server.Addr())
	server.Do("DEL", "a-list")
	server.Do("LPUSH", "a-list", "x")
	for _, v := range []core.Version{0, 1} {
		if _, err := s.SetVersion(t.Context(), "a-list", []byte("y"), 0, v); !errors.Is(err, core.ErrCorrupt) && !errors.Is(err, core.ErrConflict) {
			t.Error(err)
		}
	}
	if _, err := s.SetVersion(t.Context(), "a-list", []byte("y"), 0, 1); !errors.Is(err, core.ErrCorrupt) {
		t.Error(err)
	}
	if got := server.Do("TYPE", "a-list"); got != "list" {
		t.Error("it is now", got)
	}
}

func TestTooLarge(t *testing.T) {
	server := servers.Redis(t, "--proto-max-bulk-len", "1mb")
	s, err := redisstore.Open("redis://"+server.Addr(), &redisstore.Options{MaxSize: 1 << 20, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Set(t.Context(), "k", []byte("small"), 0); err != nil {
		t.Fatal(err)
	}
	_, v, _ := s.GetVersion(t.Context(), "k")
	for _, size := range []int{1 << 20, 1<<20 + 1} {
		want := error(core.ErrTooLarge)
		if size == 1<<20 {
			want = nil
		}
		if err := s.Set(t.Context(), "new", make([]byte, size), 0); !errors.Is(err, want) {
			t.Errorf("Set of %d: %v", size, err)
		}
		now, err := s.SetVersion(t.Context(), "k", make([]byte, size), 0, v)
		if !errors.Is(err, want) {
			t.Errorf("SetVersion of %d: %v", size, err)
		}
		if err == nil {
			v = now
		}
	}
	if n := server.Do("STRLEN", "k"); n != int64(1<<20) {
		t.Error("length", n)
	}
	if s, _ := redisstore.Open("redis://"+server.Addr(), &redisstore.Options{MaxSize: 1000, Timeout: time.Minute}); s != nil { // long before the server's
		defer s.Close()
		before := server.Do("STRLEN", "k")
		for what, err := range map[string]error{
			"Set": s.Set(t.Context(), "k", make([]byte, 1001), 0),
			"SetVersion": func() error {
				_, err := s.SetVersion(t.Context(), "k", make([]byte, 1001), 0, v)
				return err
			}(),
		} {
			if !errors.Is(err, core.ErrTooLarge) || server.Do("STRLEN", "k") != before {
				t.Errorf("%s of more than MaxSize: %v", what, err)
			}
		}
	}
	if s, _ := redisstore.Open("redis://"+server.Addr(), calm); s != nil { // whose limit is above the server's
		defer s.Close()
		if err := s.Set(t.Context(), "k", make([]byte, 2<<20), 0); !errors.Is(err, core.ErrTooLarge) && !errors.Is(err, core.ErrOutcomeUnknown) {
			t.Error(err)
		}
	}
}

func TestAPasswordThatIsWrong(t *testing.T) {
	server := servers.Redis(t)
	server.SetUser("app", "right", "~*", "+@all")
	for _, user := range []string{"app:wrong@", "nobody:right@"} {
		if err := refused(t, "redis://"+user+server.Addr()); !strings.Contains(err.Error(), "WRONGPASS") {
			t.Error(err)
		}
	}
	s, err := redisstore.Open("redis://app:right@"+server.Addr(), calm)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Set(t.Context(), "k", nil, 0); err != nil {
		t.Error(err)
	}
	// It is changed meanwhile, and the connections are cut.
	server.SetUser("app", "another", "~*", "+@all")
	server.Do("ACL", "DELUSER", "app")
	waitFor(t, "a refusal", func() bool { return errors.Is(s.Set(t.Context(), "k", nil, 0), core.ErrRefused) })
}

func TestOpenNeedsAnAddress(t *testing.T) {
	for _, url := range []string{"unix://", "unix:///", "unix://?db=1"} {
		if s, err := redisstore.Open(url, nil); err == nil || !strings.Contains(err.Error(), "address") {
			t.Errorf("%s: %v", url, err)
			if s != nil {
				s.Close()
			}
		}
	}
}

// A server that does not know AUTH quotes what follows it.
func TestOpenDoesNotTellThePassword(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := make([]byte, 64<<10)
				for {
					n, err := c.Read(in)
					if err != nil {
						return
					}
					for _, command := range strings.Split(string(in[:n]), "*")[1:] {
						words := strings.Fields(command) // a number, and lengths between them
						fmt.Fprintf(c, "-ERR unknown command '%s', with args beginning with: '%s'\r\n", words[2], strings.Join(words[3:], "' '"))
					}
				}
			}()
		}
	}()
	s, err := redisstore.Open("redis://:top-secret@"+l.Addr().String(), nil)
	if err == nil {
		s.Close()
		t.Fatal("no error")
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		if strings.Contains(e.Error(), "top-secret") {
			t.Error("the error tells it")
		}
	}
	if !errors.Is(err, core.ErrRefused) || !strings.Contains(err.Error(), "unknown command") {
		t.Error(err)
	}
}

// The client's package gives the same error for all that it sets by CLIENT.
func TestOnlyNearCacheNeedsTracking(t *testing.T) {
	server := servers.Redis(t)
	server.SetUser("app", "secret", "~*", "+@all", "-client")
	s, err := redisstore.OpenOption(rueidis.ClientOption{InitAddress: []string{server.Addr()}, Username: "app", Password: "secret", ClientNoTouch: true}, nil)
	if err == nil {
		s.Close()
		t.Fatal("no error")
	}
	if strings.Contains(err.Error(), "NearCache") {
		t.Error(err)
	}
}

// A server of the protocol that answers every command but the handshake with
// the line it is given, or hangs up.
func fake(t *testing.T, line string) (addr string) { return fakeOf(t, 3, line) }

// fakeOf is fake, in a version of the protocol.
func fakeOf(t *testing.T, resp int, line string) (addr string) {
	hello := map[int]string{2: "*4", 3: "%2"}[resp] + fmt.Sprintf("\r\n+proto\r\n:%d\r\n+version\r\n+7.0.0\r\n", resp)
	return servers.Fake(t, func(c net.Conn) {
		in := make([]byte, 64<<10)
		for {
			n, err := c.Read(in)
			if err != nil {
				return
			}
			text := string(in[:n])
			switch {
			case strings.Contains(text, "$5\r\nHELLO\r\n$1\r\n"): // the handshake; a probe has no number
				for i := range strings.Count(text, "*") {
					reply := "+OK\r\n"
					if i == 0 {
						reply = hello
					}
					c.Write([]byte(reply))
				}
			case strings.Contains(text, "SLOTS"):
				c.Write([]byte("-ERR This instance has cluster support disabled\r\n"))
			case line == "":
				return
			default:
				c.Write([]byte(strings.Repeat(line+"\r\n", strings.Count(text, "*"))))
			}
		}
	})
}

func TestErrorsThatAreHardToProvoke(t *testing.T) {
	all := func(err error) results { return results{err, err, err, err, err, err, err, err, err} }
	unknown := all(core.ErrOutcomeUnknown)
	unknown.get = core.ErrUnavailable
	for line, want := range map[string]results{
		"-LOADING Redis is loading the dataset in memory":                                              all(core.ErrUnavailable),
		"-CLUSTERDOWN The cluster is down":                                                             all(core.ErrUnavailable),
		"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.":            all(core.ErrUnavailable),
		"-TRYAGAIN Multiple keys request during rehashing of slot":                                     all(core.ErrUnavailable),
		"-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.":      all(core.ErrUnavailable),
		"-ERR max number of clients reached":                                                           all(core.ErrUnavailable),
		"-NOAUTH Authentication required.":                                                             all(core.ErrRefused),
		"-DENIED Redis is running in protected mode":                                                   all(core.ErrRefused),
		"-ERR unknown command `X`, with args beginning with: `" + secretKey + "` `" + secretData + "`": all(core.ErrRefused),
		"-ERR proxy: no backend for " + secretKey:                                                      all(core.ErrRefused),
		"-ERR can't store " + secretData:                                                               all(core.ErrRefused),
		"-" + secretKey:                                                                                all(core.ErrRefused),
		"-ERR " + strings.Repeat("long ", 200):                                                         all(core.ErrRefused),
		"-ERR Protocol error: invalid bulk length":                                                     all(core.ErrTooLarge),
		"": unknown,
	} {
		t.Run(line, func(t *testing.T) {
			s := open(t, fake(t, line))
			got := try(s)
			got.discreet(t)
			for i, want := range want.all() {
				if err := got.all()[i]; !errors.Is(err, want) {
					t.Errorf("call %d: %v, not %v", i, err, want)
				}
			}
		})
	}
}

func TestAReplyOfAnotherType(t *testing.T) {
	s := open(t, fake(t, "*1\r\n:1"))
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, core.ErrCorrupt) {
		t.Error(err)
	}
	for _, line := range []string{"*1\r\n:1", "*2\r\n+x\r\n+y", "*2\r\n:1\r\n*0", "+OK", "_"} {
		s := open(t, fake(t, line))
		if _, err := s.Batch(t.Context(), core.Write{Key: "k", Data: []byte("x")}); !errors.Is(err, core.ErrOutcomeUnknown) {
			t.Errorf("Batch, %q: %v", line, err)
		}
	}
	if _, _, err := s.Append(t.Context(), "k", []byte("x")); !errors.Is(err, core.ErrOutcomeUnknown) {
		t.Error("Append:", err)
	}
}

func TestAClientThatIsClosed(t *testing.T) {
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{servers.SharedRedis(t).Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := redisstore.New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c.Close()
	got := try(s)
	if !errors.Is(got.get, core.ErrUnavailable) || !errors.Is(got.set, core.ErrUnavailable) && !errors.Is(got.set, core.ErrOutcomeUnknown) {
		t.Errorf("%+v", got)
	}
}

// waitFor waits until what is so.
func waitFor(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not come", what)
		}
	}
}

// TestR10WhatIsPrinted: a store that is printed does not show its password.
func TestR10WhatIsPrinted(t *testing.T) {
	t.Parallel()
	s, err := redisstore.Open("redis://:what-nobody-may-see@127.0.0.1:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
		if got := fmt.Sprintf(verb, s); got != "session store" {
			t.Errorf("%s shows %d characters", verb, len(got))
		}
	}
}
