package jartest

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A request is sent as it stands: net/http's client would put its fields in
// order and clean its target.
type request struct {
	method  string // GET if empty
	target  string // "/" if empty
	headers [][2]string
}

type response struct {
	status  int
	headers [][2]string // names in lower case
}

func (r response) values(name string) []string {
	var vs []string
	for _, f := range r.headers {
		if f[0] == name {
			vs = append(vs, f[1])
		}
	}
	return vs
}

// A server is the tested server with one client.
type server struct {
	client

	mu      sync.Mutex
	use     func(Exchange)
	calls   int
	buffers bool // the Jar is a bufferJar
	bytes   bool // cookies are set by SetCookieBytes
}

func (s *server) handle(x Exchange) {
	b, ok := x.Jar.(bufferJar)
	s.mu.Lock()
	use := s.use
	s.calls++
	s.buffers = ok
	if s.bytes {
		x.Jar = bytesJar{b}
	}
	s.mu.Unlock()
	use(x)
}

// setBytes sets cookies by SetCookieBytes from now on, if the Jar has it.
func (s *server) setBytes() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes = s.buffers
	return s.bytes
}

// during says what to do with the Jars from now on.
func (s *server) during(use func(Exchange)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.use, s.calls = use, 0
}

// exchange sends req and has use called in its handler.
func (s *server) exchange(req request, use func(Exchange)) (response, error) {
	s.during(use)
	res, err := s.send(req)
	if err != nil {
		return res, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls != 1 || res.status != 200 {
		return res, fmt.Errorf("the server answered %d and called the handler %d times", res.status, s.calls)
	}
	return res, nil
}

// A client is one connection, and the next when the server has closed it.
type client struct {
	addr string
	tls  bool
	conn net.Conn
	in   *bufio.Reader
}

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

func (c *client) send(req request) (res response, err error) {
	if c.conn == nil {
		if c.tls {
			// The certificate is the one of run, made for nothing else.
			c.conn, err = tls.Dial("tcp", c.addr, &tls.Config{InsecureSkipVerify: true}) // #nosec G402 -- a test, and its own certificate
		} else {
			c.conn, err = net.Dial("tcp", c.addr)
		}
		if err != nil {
			c.conn = nil // not a nil *tls.Conn
			return res, err
		}
		c.in = bufio.NewReader(c.conn)
	}
	// A server that does not answer fails the case and does not hang the run.
	if err := c.conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return res, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: example.com\r\n", or(req.method, "GET"), or(req.target, "/"))
	for _, f := range req.headers {
		fmt.Fprintf(&b, "%s: %s\r\n", f[0], f[1])
	}
	if req.method == "POST" {
		b.WriteString("Content-Length: 0\r\n")
	}
	b.WriteString("\r\n")
	if _, err := io.WriteString(c.conn, b.String()); err != nil {
		return res, err
	}
	res, err = read(c.in)
	if err != nil {
		return res, err
	}
	return res, c.skipBody(req, res)
}

func read(in *bufio.Reader) (res response, err error) {
	line, err := readLine(in)
	if err != nil {
		return res, err
	}
	_, status, _ := strings.Cut(line, " ")
	status, _, _ = strings.Cut(status, " ")
	if res.status, err = strconv.Atoi(status); err != nil {
		return res, fmt.Errorf("not a status line: %q", line)
	}
	for {
		line, err = readLine(in)
		if err != nil || line == "" {
			return res, err
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return res, fmt.Errorf("not a field: %.200q", line)
		}
		// One blank is the server's, every other would be a change.
		res.headers = append(res.headers, [2]string{strings.ToLower(name), strings.TrimPrefix(value, " ")})
	}
}

func readLine(in *bufio.Reader) (string, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return "", errors.Join(errors.New("the response ends in its head"), err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), nil
}

// skipBody makes the connection ready for the next exchange, a new one if the
// end of the body can't be seen.
func (c *client) skipBody(req request, res response) error {
	if req.method == "HEAD" {
		return nil
	}
	length := res.values("content-length")
	if len(length) == 1 && strings.Join(res.values("connection"), "") != "close" {
		n, err := strconv.ParseInt(length[0], 10, 64)
		if err != nil {
			return err
		}
		_, err = io.CopyN(io.Discard, c.in, n)
		return err
	}
	c.close()
	return nil
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// certificate makes one that lives as long as the test.
func certificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{"example.com"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
