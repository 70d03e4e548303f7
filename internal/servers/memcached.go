package servers

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/user"
	"strconv"
	"strings"
	"testing"
	"time"
)

// MemcachedServer is a memcached server of a test.
type MemcachedServer struct{ handle }

// Memcached starts a memcached server that ends with the test. The arguments
// are those of memcached, as "-m", "4", "-M", and prevail over the kit's.
func Memcached(tb testing.TB, args ...string) *MemcachedServer {
	tb.Helper()
	s := newMemcached(lookup(tb, "memcached", "memcached"), args)
	s.handle = own(tb, s.daemon)
	return s
}

func newMemcached(path string, args []string) *MemcachedServer {
	s := &MemcachedServer{}
	s.daemon = &daemon{path: path, ready: s.ready}
	s.daemon.args = func(port int) []string {
		all := []string{"-l", "127.0.0.1", "-p", strconv.Itoa(port), "-U", "0"}
		if u, err := user.Current(); err == nil && os.Geteuid() == 0 {
			all = append(all, "-u", u.Username) // it does not run as root unasked
		}
		return append(all, args...)
	}
	return s
}

// ready returns nil once the process itself answers on its port.
func (s *MemcachedServer) ready(pid int) error {
	reply, err := s.Try("stats\r\n")
	if err != nil {
		return err
	}
	if !strings.Contains(reply, fmt.Sprintf("STAT pid %d\r\n", pid)) {
		return fmt.Errorf("another server answers on port %d", s.port)
	}
	return nil
}

// Restart ends the server and starts it again on the same port, without data.
func (s *MemcachedServer) Restart() {
	s.tb.Helper()
	s.Kill()
	s.Start()
}

// Do sends text as it is, one command with its line ends and data, and
// returns the whole reply.
//
//	s.Do("set k 0 0 1\r\nv\r\n") // "STORED\r\n"
func (s *MemcachedServer) Do(text string) string {
	s.tb.Helper()
	reply, err := s.Try(text)
	if err != nil {
		s.tb.Errorf("server %s: %v", s.Addr(), err)
	}
	return reply
}

// Try is Do with the error of the connection returned.
func (s *MemcachedServer) Try(text string) (string, error) {
	c, err := net.DialTimeout("tcp", loopback(s.port), kitTimeout)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(kitTimeout)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, text); err != nil {
		return "", err
	}
	return textReply(bufio.NewReader(c))
}

// textReply reads one reply of the text protocol. Only the lines of data and
// of statistics have others after them.
func textReply(r *bufio.Reader) (string, error) {
	var all strings.Builder
	for {
		line, err := r.ReadString('\n')
		all.WriteString(line)
		if err != nil {
			return all.String(), err
		}
		switch word, rest, _ := strings.Cut(strings.TrimSpace(line), " "); word {
		case "STAT", "ITEM":
		case "VALUE", "VA":
			fields := strings.Fields(rest) // key flags bytes [cas], or bytes flags
			size := fields[0]
			if word == "VALUE" {
				size = fields[2]
			}
			n, err := strconv.Atoi(size)
			if err != nil {
				return all.String(), err
			}
			if _, err := io.CopyN(&all, r, int64(n)+2); err != nil {
				return all.String(), err
			}
			if word == "VA" {
				return all.String(), nil
			}
		default:
			return all.String(), nil
		}
	}
}
