package load

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// A generator keeps connections busy: each sends as soon as it has all answers
// to what it has sent. The processor's time that this takes is missing to the
// servers. So one thread waits for all connections, and reads only where there
// is something: a goroutine for each took half as much again.
type generator struct {
	epoll  int
	conns  []*connection
	events []syscall.EpollEvent
	buf    []byte
}

func newGenerator() (*generator, error) {
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	return &generator{epoll: epoll, events: make([]syscall.EpollEvent, 64), buf: make([]byte, 64<<10)}, err
}

func (g *generator) close() {
	for _, c := range g.conns {
		syscall.Close(c.fd)
	}
	syscall.Close(g.epoll)
}

// connect adds a connection. Its calls block: it is read only where there is
// something, which spares the call that finds nothing.
func (g *generator) connect(addr string) (*connection, error) {
	a, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		return nil, err
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	c := &connection{fd: fd}
	event := &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(len(g.conns))}
	g.conns = append(g.conns, c)
	if err := syscall.Connect(fd, &syscall.SockaddrInet4{Port: a.Port, Addr: [4]byte(a.IP.To4())}); err != nil {
		return nil, os.NewSyscallError("connect", err)
	}
	if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1); err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	return c, os.NewSyscallError("epoll_ctl", syscall.EpollCtl(g.epoll, syscall.EPOLL_CTL_ADD, fd, event))
}

// run sends so many requests over these connections, and returns when all are
// answered.
func (g *generator) run(requests int, conns ...*connection) error {
	left, open := requests, requests
	send := func(c *connection) error {
		n := min(c.atOnce, left)
		left -= n
		return c.send(n)
	}
	for _, c := range conns {
		if err := send(c); err != nil {
			return err
		}
	}
	for open > 0 {
		n, err := syscall.EpollWait(g.epoll, g.events, 10_000)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return fmt.Errorf("%d requests got no answer for ten seconds, %v", open, err)
		}
		for _, e := range g.events[:n] {
			c := g.conns[e.Fd]
			answers, err := c.read(g.buf)
			if err != nil {
				return err
			}
			if open -= answers; c.answered < c.sent {
				continue
			}
			if err := send(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// A connection knows of HTTP what the servers here need.
type connection struct {
	fd             int
	requests       []byte // as many as are sent at once
	atOnce         int
	sent, answered int    // requests
	part           []byte // of an answer whose end is to come
	head, body     []byte // of the last answer
}

// ask sets the request that is sent again and again, so many at once.
func (c *connection) ask(path, cookie string, atOnce int) {
	r := "GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\n"
	if cookie != "" {
		r += "Cookie: " + cookie + "\r\n"
	}
	c.requests, c.atOnce = bytes.Repeat([]byte(r+"\r\n"), atOnce), atOnce
}

func (c *connection) send(n int) error {
	if n == 0 {
		return nil
	}
	c.sent += n
	text := c.requests[:len(c.requests)/c.atOnce*n]
	if n, err := syscall.Write(c.fd, text); n < len(text) {
		return fmt.Errorf("%d bytes of %d are written: %v", n, len(text), err)
	}
	return nil
}

// read reads once, and returns how many answers have come to their end.
func (c *connection) read(buf []byte) (answers int, err error) {
	n, err := syscall.Read(c.fd, buf)
	if n <= 0 {
		return 0, fmt.Errorf("the connection has ended: %v", err)
	}
	in := buf[:n]
	if len(c.part) > 0 {
		c.part = append(c.part, in...)
		in = c.part
	}
	var last []byte
	for len(in) > 0 {
		n, err := answer(in)
		if err != nil {
			return 0, err
		}
		if n == 0 {
			break
		}
		last, in = in[:n], in[n:]
		answers++
	}
	if last != nil {
		head, body, _ := bytes.Cut(last, endOfHead)
		c.head, c.body = append(c.head[:0], head...), append(c.body[:0], body...)
	}
	c.part = append(c.part[:0], in...)
	if c.answered += answers; c.answered > c.sent {
		return answers, fmt.Errorf("%d answers to %d requests", c.answered, c.sent)
	}
	return answers, nil
}

var (
	status        = []byte("HTTP/1.1 200 ")
	contentLength = []byte("\r\nContent-Length: ")
	endOfHead     = []byte("\r\n\r\n")
)

// answer returns the length of the answer that in begins with, or zero if its
// end is not there.
func answer(in []byte) (int, error) {
	head := bytes.Index(in, endOfHead)
	if head < 0 {
		return 0, nil
	}
	_, length, ok := bytes.Cut(in[:head+len("\r\n")], contentLength)
	if !ok || !bytes.HasPrefix(in, status) {
		return 0, fmt.Errorf("answer %q", in[:head])
	}
	digits, _, _ := bytes.Cut(length, []byte("\r\n"))
	body, err := strconv.Atoi(string(digits))
	if err != nil {
		return 0, err
	}
	if end := head + len(endOfHead) + body; end <= len(in) {
		return end, nil
	}
	return 0, nil
}

// cookie is the Cookie field that the last answer asks for.
func (c *connection) cookie() string {
	var pairs []string
	for line := range strings.Lines(string(c.head)) {
		if name, value, _ := strings.Cut(line, ":"); strings.EqualFold(name, "Set-Cookie") {
			pair, _, _ := strings.Cut(value, ";")
			pairs = append(pairs, strings.TrimSpace(pair))
		}
	}
	return strings.Join(pairs, "; ")
}
