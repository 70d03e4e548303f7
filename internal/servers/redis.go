package servers

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The kit speaks to its Redis servers as a user of its own, so that it can
// when the password of the default user was changed.
const (
	kitUser     = "kit"
	kitPassword = "kit"
	kitTimeout  = 5 * time.Second
)

// RedisServer is a Redis server of a test.
type RedisServer struct {
	handle
	client     *tls.Config
	persistent bool
}

// Redis starts a Redis server that ends with the test. The arguments are
// those of redis-server, as "--maxmemory", "2mb", and prevail over the kit's.
// "--appendonly" or "--save" make the server keep its data over a restart.
func Redis(tb testing.TB, args ...string) *RedisServer {
	tb.Helper()
	s := newRedis(lookup(tb, "redis-server", "redis-server"), args)
	s.handle = own(tb, s.daemon)
	return s
}

// SetUser makes a user with a password, or gives one other rules, as "~sess:*",
// "+get".
func (s *RedisServer) SetUser(name, password string, rules ...string) {
	s.tb.Helper()
	s.Do(append([]string{"ACL", "SETUSER", name, "reset", "on", ">" + password}, rules...)...)
}

// newRedis describes a server without starting it.
func newRedis(path string, args []string) *RedisServer {
	s := &RedisServer{}
	for i := 1; i < len(args); i++ {
		if a, v := args[i-1], args[i]; a == "--appendonly" && v == "yes" || a == "--save" && v != "" {
			s.persistent = true
		}
	}
	s.daemon = &daemon{path: path, ready: s.ready}
	s.daemon.args = func(port int) []string {
		return append([]string{
			"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", s.dir,
			"--save", "", "--appendonly", "no", "--logfile", "", "--daemonize", "no",
			"--user", kitUser, "on", ">" + kitPassword, "~*", "+@all",
		}, args...)
	}
	return s
}

// ready returns nil once the process itself, and nobody else on its port,
// takes commands.
func (s *RedisServer) ready(pid int) error {
	info, err := s.Try("INFO", "server")
	if err != nil {
		return err
	}
	if !strings.Contains(info.(string), fmt.Sprintf("process_id:%d\r", pid)) {
		return fmt.Errorf("another server answers on port %d", s.port)
	}
	_, err = s.Try("PING") // an error while the server loads its data
	return err
}

// Restart ends the server and starts it again on the same port, without its
// data unless it was started with persistence.
func (s *RedisServer) Restart() {
	s.tb.Helper()
	s.mine()
	end := syscall.SIGKILL
	if s.persistent {
		_ = s.signal(sigCont)
		end = syscall.SIGTERM // to write its snapshot
	}
	s.check(s.end(end))
	s.Start()
}

// Start starts a server again that was killed, on the same port. Without
// persistence it forgets a snapshot that the server may have written.
func (s *RedisServer) Start() {
	s.tb.Helper()
	if !s.persistent {
		old, _ := filepath.Glob(filepath.Join(s.dir, "*.rdb"))
		for _, name := range old {
			s.check(os.Remove(name))
		}
	}
	s.handle.Start()
}

// URL returns the address as a URL, redis://127.0.0.1:16384 or rediss://….
func (s *RedisServer) URL() string {
	if s.client != nil {
		return "rediss://" + s.Addr()
	}
	return "redis://" + s.Addr()
}

// TLS returns the configuration that a client needs, nil for a server without
// TLS.
func (s *RedisServer) TLS() *tls.Config { return s.client.Clone() }

// Do sends a command with the rights of an administrator and returns its
// reply: a string, an int64, nil, or a []any of these.
func (s *RedisServer) Do(args ...string) any {
	s.tb.Helper()
	v, err := s.Try(args...)
	if err != nil {
		s.tb.Errorf("server %s: %s: %v", s.Addr(), args[0], err)
	}
	return v
}

// Try is Do with the error returned: a [ReplyError] when the server replied
// it.
func (s *RedisServer) Try(args ...string) (any, error) {
	c, err := s.dial()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.do(args...)
}

func (s *RedisServer) dial() (*redisConn, error) {
	c, err := dialRedis(loopback(s.port), s.client, kitTimeout)
	if err != nil {
		return nil, err
	}
	if _, err := c.do("AUTH", kitUser, kitPassword); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}
