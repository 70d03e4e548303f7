package redisstore_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/servers"
	redisstore "github.com/gensession/gensession/stores/redis"
)

// FuzzReply: whatever a server answers, each call returns when its time is over, its
// error has a class and tells nothing of the session, and no byte of the answer
// becomes that of a later call.
func FuzzReply(f *testing.F) {
	long := strings.Repeat("x", 70_000)
	for _, reply := range []string{
		"+OK\r\n", "+QUEUED\r\n", "$-1\r\n", "_\r\n", "*-1\r\n", ":0\r\n", ":1\r\n", ":-1\r\n", "(12345678901234567890\r\n", ",1.5\r\n", ",inf\r\n", "#t\r\n", "#f\r\n",
		"$0\r\n\r\n", "$7\r\nsession\r\n", "$7\r\nsess", "$70000\r\n" + long + "\r\n", "$1000000000000\r\nx", "$-2\r\n", "$9223372036854775807\r\n",
		"=15\r\ntxt:Some string\r\n", "!21\r\nSYNTAX invalid syntax\r\n", "$?\r\n;4\r\nsess\r\n;0\r\n",
		"*2\r\n$7\r\nsession\r\n$7\r\n1234567\r\n", "*2\r\n:1\r\n$-1\r\n", "*0\r\n", "*1000000\r\n:1\r\n", "*-5\r\n", "*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
		"%1\r\n+a\r\n+b\r\n", "~2\r\n+a\r\n+a\r\n", "|1\r\n+ttl\r\n:3600\r\n$1\r\na\r\n", "_\x170", "#:1\r\n", "*1\n:1\r\n", ">-1\r\n", ">3\r\n+subscribe\r\n+a\r\n:1\r\n", ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n", ">3\r\n+message\r\n+a\r\n+b\r\n",
		"-ERR unknown command\r\n", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n", "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
		"-LOADING Redis is loading the dataset in memory\r\n", "-READONLY You can't write against a read only replica.\r\n", "-NOSCRIPT No matching script.\r\n", "-MOVED 1 127.0.0.1:1\r\n", "-ASK 1 127.0.0.1:1\r\n", "-CROSSSLOT Keys in request don't hash to the same slot\r\n", "-\r\n",
		"-ERR Error running script: with '" + secretKey + "' '" + secretData + "'\r\n",
		"-WRONGTYPE " + secretData + "\r\n", "-MISCONF no room for '" + secretData + "'\r\n", "-ERR unknown command '" + secretData + "'\r\n",
		"+OK\r\n+OK\r\n", "$1\r\na\r\n$1\r\nb\r\n", "", "\r\n", "\x00\xff", "HTTP/1.1 400 Bad Request\r\n\r\n",
	} {
		f.Add([]byte(reply))
	}
	var says atomic.Value // []byte
	says.Store([]byte{})
	addr := sayer(f, &says)
	var closing sync.WaitGroup
	f.Cleanup(closing.Wait)
	// go test has no limit for the time of an input. The panic shows all goroutines.
	watchdog := func(what string) (stop func() bool) {
		return time.AfterFunc(time.Minute, func() {
			debug.SetTraceback("all")
			panic(what + " does not return")
		}).Stop
	}
	f.Fuzz(func(t *testing.T, reply []byte) {
		defer watchdog("a call")()
		says.Store([]byte("$-1\r\n"))
		s, err := redisstore.OpenOption(rueidis.ClientOption{InitAddress: []string{addr}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer closing.Go(func() { // it waits for the server's answers, too
			defer watchdog("Close")()
			s.Close()
		})
		says.Store(reply)
		within := func(name string, wait time.Duration, call func(ctx context.Context) error) {
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			defer cancel()
			servers.CheckError(t, name, call(ctx), secretKey, secretData)
		}
		const short = 20 * time.Millisecond
		value := []byte(secretData)
		var all sync.WaitGroup
		for name, call := range map[string]func(ctx context.Context) error{
			"Get":        func(ctx context.Context) error { _, err := s.Get(ctx, secretKey); return err },
			"GetVersion": func(ctx context.Context) error { _, _, err := s.GetVersion(ctx, secretKey); return err },
			"Set":        func(ctx context.Context) error { return s.Set(ctx, secretKey, value, time.Hour) },
			"create": func(ctx context.Context) error {
				_, err := s.SetVersion(ctx, secretKey, value, time.Hour, 0)
				return err
			},
			"swap": func(ctx context.Context) error {
				_, err := s.SetVersion(ctx, secretKey, value, time.Hour, 7)
				return err
			},
			"Batch": func(ctx context.Context) error {
				_, err := s.Batch(ctx, core.Write{Key: secretKey, Data: value, TTL: time.Hour, Version: 7}, core.Write{Key: secretKey + "-2", Data: value, TTL: time.Hour})
				return err
			},
			"Append":  func(ctx context.Context) error { _, _, err := s.Append(ctx, secretKey, value); return err },
			"Touch":   func(ctx context.Context) error { return s.Touch(ctx, secretKey, time.Hour) },
			"Destroy": func(ctx context.Context) error { return s.Destroy(ctx, secretKey) },
		} {
			all.Go(func() { within(name, short, call) })
		}
		all.Wait()
		says.Store([]byte("$-1\r\n"))
		within("the next Get", 2*short, func(ctx context.Context) error {
			data, err := s.Get(ctx, "another")
			if err == nil {
				t.Errorf("another call got %q", data)
			}
			return err
		})
	})
}

// sayer is a server that answers every command but the handshake with what says has.
func sayer(f *testing.F, says *atomic.Value) (addr string) {
	return servers.Fake(f, func(c net.Conn) {
		in := bufio.NewReader(c)
		for {
			command, err := readCommand(in)
			if err != nil {
				return
			}
			switch {
			case command[0] == "HELLO":
				_, err = io.WriteString(c, "%2\r\n+proto\r\n:3\r\n+version\r\n+7.0.0\r\n")
			case command[0] == "CLIENT":
				_, err = io.WriteString(c, "+OK\r\n")
			case command[0] == "CLUSTER":
				_, err = io.WriteString(c, "-ERR This instance has cluster support disabled\r\n")
			default:
				_, err = c.Write(says.Load().([]byte))
			}
			if err != nil {
				return
			}
		}
	})
}

// readCommand reads what a client sends: an array of texts.
func readCommand(in *bufio.Reader) (words []string, err error) {
	var n, size int
	if _, err := fmt.Fscanf(in, "*%d\r\n", &n); err != nil {
		return nil, err
	}
	for range n {
		if _, err := fmt.Fscanf(in, "$%d\r\n", &size); err != nil {
			return nil, err
		}
		word := make([]byte, size+2)
		if _, err := io.ReadFull(in, word); err != nil {
			return nil, err
		}
		words = append(words, string(word[:size]))
	}
	return words, nil
}
