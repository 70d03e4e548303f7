package load

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// A connection is one of the load generator. It knows of HTTP what the servers
// here need, since the processor's time that it takes is missing to them.
type connection struct {
	net.Conn
	r       *bufio.Reader
	request []byte
	body    []byte // of the last answer
	n       int    // requests sent
}

func dial(addr string) (*connection, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &connection{Conn: c, r: bufio.NewReader(c)}, nil
}

// ask sets the request that step repeats.
func (c *connection) ask(path, cookie string) {
	c.request = fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n", path)
	if cookie != "" {
		c.request = fmt.Appendf(c.request, "Cookie: %s\r\n", cookie)
	}
	c.request = append(c.request, "\r\n"...)
}

var (
	contentLength = []byte("Content-Length:")
	setCookie     = []byte("Set-Cookie:")
)

// step sends the request, and reads the answer. It returns the Cookie field
// that the answer asks for, if cookies is set.
func (c *connection) step(cookies bool) (cookie string, err error) {
	if _, err := c.Write(c.request); err != nil {
		return "", err
	}
	c.n++
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return "", err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
		return "", fmt.Errorf("answer %q", line)
	}
	length := -1
	var pairs []string
	for {
		line, err = c.r.ReadSlice('\n')
		if err != nil {
			return "", err
		}
		if len(line) <= len("\r\n") {
			break
		}
		switch {
		case field(line, contentLength):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(contentLength):]))); err != nil {
				return "", err
			}
		case cookies && field(line, setCookie):
			pair, _, _ := strings.Cut(string(line[len(setCookie):]), ";")
			pairs = append(pairs, strings.TrimSpace(pair))
		}
	}
	if length < 0 || length > 64 {
		return "", fmt.Errorf("an answer of length %d", length)
	}
	c.body = append(c.body[:0], make([]byte, length)...)
	_, err = io.ReadFull(c.r, c.body)
	return strings.Join(pairs, "; "), err
}

func field(line, name []byte) bool {
	return len(line) > len(name) && bytes.EqualFold(line[:len(name)], name)
}
