package servers

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// ReplyError is an error that a Redis server replied, as "OOM command not
// allowed when used memory > 'maxmemory'.".
type ReplyError string

// Error returns the text of the server.
func (e ReplyError) Error() string { return string(e) }

// redisConn is a connection of the kit itself. It speaks RESP2.
type redisConn struct {
	net.Conn
	r *bufio.Reader
}

func dialRedis(addr string, config *tls.Config, timeout time.Duration) (*redisConn, error) {
	c, err := net.DialTimeout("tcp", addr, timeout)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		c.Close()
		return nil, err
	}
	if config != nil {
		c = tls.Client(c, config)
	}
	return &redisConn{Conn: c, r: bufio.NewReader(c)}, nil
}

// do sends a command and returns its reply: a string, an int64, nil or a
// []any of these. A reply that is an error is returned as a [ReplyError].
func (c *redisConn) do(args ...string) (any, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := io.WriteString(c, b.String()); err != nil {
		return nil, err
	}
	return c.reply()
}

func (c *redisConn) reply() (any, error) {
	line, err := c.r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimSuffix(line, "\r\n")
	if line == "" {
		return nil, errors.New("servers: an empty line for a reply")
	}
	switch rest := line[1:]; line[0] {
	case '+':
		return rest, nil
	case '-':
		return nil, ReplyError(rest)
	case ':':
		return strconv.ParseInt(rest, 10, 64)
	case '$':
		return c.bulk(rest)
	case '*':
		return c.array(rest)
	default:
		return nil, fmt.Errorf("servers: reply of unknown type %q", line[0])
	}
}

func (c *redisConn) bulk(length string) (any, error) {
	n, err := strconv.Atoi(length)
	if err != nil || n < 0 {
		return nil, err
	}
	b := make([]byte, n+2)
	if _, err := io.ReadFull(c.r, b); err != nil {
		return nil, err
	}
	return string(b[:n]), nil
}

// array keeps an error inside it as an element.
func (c *redisConn) array(length string) (any, error) {
	n, err := strconv.Atoi(length)
	if err != nil || n < 0 {
		return nil, err
	}
	all := make([]any, n)
	for i := range all {
		v, err := c.reply()
		if e, ok := errors.AsType[ReplyError](err); ok {
			v = e
		} else if err != nil {
			return nil, err
		}
		all[i] = v
	}
	return all, nil
}
