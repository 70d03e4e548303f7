package faultproxy_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gensession/gensession/internal/faultproxy"
	"github.com/gensession/gensession/internal/servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(servers.Main(m)) }

const (
	soon = 5 * time.Second       // for what must come
	late = 30 * time.Millisecond // for what must not
)

// echo returns the address of a server that sends back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
		}
	}()
	return l.Addr().String()
}

// conn is a client that fails its test.
type conn struct {
	*net.TCPConn
	t *testing.T
}

func dial(t *testing.T, p *faultproxy.Proxy) conn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return conn{c.(*net.TCPConn), t}
}

func (c conn) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

// want reads as much as the text is long.
func (c conn) want(text string) {
	c.t.Helper()
	b := make([]byte, len(text))
	_ = c.SetReadDeadline(time.Now().Add(soon))
	if n, err := io.ReadFull(c, b); err != nil || string(b) != text {
		c.t.Fatalf("read %q, %v; want %q", b[:n], err, text)
	}
}

func (c conn) wantNothing() {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(late))
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("read %d bytes, %v; want none", n, err)
	}
}

func (c conn) wantEnd(want error) {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(soon))
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, want) {
		c.t.Fatalf("read %d bytes, %v; want %v", n, err, want)
	}
}

func TestNothingChangesWithoutAFault(t *testing.T) {
	p := faultproxy.New(t, echo(t))
	c := dial(t, p)
	big := strings.Repeat("0123456789", 100_000)
	go func() { _, _ = io.WriteString(c, big) }()
	c.want(big)
	if s := p.Stats(); s.Accepted != 1 || s.Open != 1 || s.Requests != 1_000_000 || s.Replies != 1_000_000 {
		t.Errorf("%+v", s)
	}
	_ = c.CloseWrite()
	c.wantEnd(io.EOF)
}

func TestDelay(t *testing.T) {
	for _, f := range []faultproxy.Fault{
		{Delay: 20 * time.Millisecond},
		{Delay: 20 * time.Millisecond, Jitter: time.Millisecond},
	} {
		p := faultproxy.New(t, echo(t))
		c := dial(t, p)
		p.Requests(f)
		p.Replies(f)
		started := time.Now()
		c.send("ab")
		c.want("ab")
		if d := time.Since(started); d < 40*time.Millisecond {
			t.Errorf("took %v", d)
		}
		p.Replies(faultproxy.Fault{Delay: time.Hour})
		c.send("cd")
		c.wantNothing()
		p.Clear()
		c.want("cd")
	}
}

func TestDrip(t *testing.T) {
	p := faultproxy.New(t, echo(t))
	c := dial(t, p)
	p.Replies(faultproxy.Fault{Drip: 5 * time.Millisecond})
	c.send("abcde")
	reads := 0
	for got := ""; got != "abcde"; reads++ {
		b := make([]byte, 10)
		_ = c.SetReadDeadline(time.Now().Add(soon))
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		got += string(b[:n])
	}
	if reads < 2 {
		t.Error("all came at once")
	}
	p.Replies(faultproxy.Fault{Drip: time.Hour})
	c.send("fg")
	c.want("f")
	c.wantNothing()
	p.Clear()
	c.want("g")
}

func TestCutAtByte(t *testing.T) {
	for _, how := range []struct {
		end  faultproxy.End
		want error
	}{{faultproxy.Close, io.EOF}, {faultproxy.Reset, syscall.ECONNRESET}} {
		for n := range 4 {
			p := faultproxy.New(t, echo(t))
			c := dial(t, p)
			c.send("before")
			c.want("before")
			p.Replies(faultproxy.Fault{Cut: how.end, CutAt: n})
			c.send("abc")
			if how.end == faultproxy.Close {
				c.want("abc"[:n]) // a reset may overtake what was sent
				c.wantEnd(how.want)
			} else if _, err := io.ReadAll(c); !errors.Is(err, how.want) {
				t.Errorf("read to %v, want %v", err, how.want)
			}
			if s := p.Stats(); s.Replies != 6+int64(n) || s.Cut != 1 {
				t.Errorf("cut at %d: %+v", n, s)
			}
		}
	}
}

func TestCutRequestsOnce(t *testing.T) {
	p := faultproxy.New(t, echo(t))
	a, b := dial(t, p), dial(t, p)
	p.Requests(faultproxy.Fault{Cut: faultproxy.Close, CutAt: 2, Once: true})
	b.send("x")
	b.want("x")
	a.send("abcdef")
	if got, err := io.ReadAll(a); err != nil || len(got) > 2 {
		t.Errorf("read %q, %v", got, err)
	}
	b.send("yz")
	b.want("yz")
	if s := p.Stats(); s.Cut != 1 || s.Requests != 5 {
		t.Errorf("%+v", s)
	}
}

func TestHoleHoldsAllBackAndLosesNothing(t *testing.T) {
	p := faultproxy.New(t, echo(t))
	c := dial(t, p)
	p.Hole()
	c.send("ab")
	c.wantNothing()
	if s := p.Stats(); s.Requests != 0 {
		t.Errorf("%+v", s)
	}
	p.Requests(faultproxy.Fault{})
	c.wantNothing()
	if s := p.Stats(); s.Requests != 2 || s.Replies != 0 {
		t.Errorf("%+v", s)
	}
	other := dial(t, p) // connections are still made
	other.send("cd")
	p.Clear()
	c.want("ab")
	other.want("cd")
}

func TestHoleEndsWithTheTest(t *testing.T) {
	var p *faultproxy.Proxy
	t.Run("inner", func(t *testing.T) {
		p = faultproxy.New(t, echo(t))
		p.Hole()
		dial(t, p).send("ab")
	})
	if s := p.Stats(); s.Open != 0 {
		t.Errorf("%+v", s)
	}
}

func TestRefuse(t *testing.T) {
	p := faultproxy.New(t, echo(t))
	c := dial(t, p)
	p.Refuse(true)
	p.Refuse(true)
	if _, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial: %v", err)
	}
	c.send("ab")
	c.want("ab")
	p.Clear()
	again := dial(t, p)
	again.send("cd")
	again.want("cd")
}

func TestCutAll(t *testing.T) {
	p := faultproxy.New(t, echo(t))
	a, b := dial(t, p), dial(t, p)
	for _, c := range []conn{a, b} {
		c.send("x")
		c.want("x")
	}
	if n := p.CutAll(faultproxy.Reset); n != 2 {
		t.Errorf("cut %d", n)
	}
	a.wantEnd(syscall.ECONNRESET)
	b.wantEnd(syscall.ECONNRESET)
	c := dial(t, p)
	c.send("x")
	c.want("x")
	p.CutAll(faultproxy.Close)
	c.wantEnd(io.EOF)
}

func TestSwapReplies(t *testing.T) {
	p := faultproxy.New(t, echo(t))
	a, b := dial(t, p), dial(t, p)
	p.SwapReplies(func(reply []byte) bool { return !bytes.HasPrefix(reply, []byte("ping")) })
	a.send("ping")
	a.want("ping")
	a.send("for a")
	a.wantNothing()
	b.send("for b")
	a.want("for b")
	b.want("for a")
	if s := p.Stats(); s.Mixed != 2 {
		t.Errorf("%+v", s)
	}
	a.send("again")
	a.want("again")

	p.SwapReplies(nil)
	a.send("alone")
	a.wantNothing()
	p.Clear()
	a.want("alone")
}

func TestDuplicateReplies(t *testing.T) {
	p := faultproxy.New(t, echo(t))
	c := dial(t, p)
	p.DuplicateReplies(1, nil)
	c.send("ab")
	c.want("abab")
	c.send("cd")
	c.want("cd")
	c.wantNothing()
}

func TestServerThatGoesAndComes(t *testing.T) {
	s := servers.Memcached(t)
	p := faultproxy.New(t, s.Addr())
	c := dial(t, p)
	c.send("mn\r\n")
	c.want("MN\r\n")
	s.Kill()
	_ = c.SetReadDeadline(time.Now().Add(soon))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	down, err := net.Dial("tcp", p.Addr())
	if err == nil { // the reset may come before Dial has seen the connection
		conn{down.(*net.TCPConn), t}.wantEnd(syscall.ECONNRESET)
		down.Close()
	} else if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("dial: %v", err)
	}
	s.Start()
	c = dial(t, p)
	c.send("mn\r\n")
	c.want("MN\r\n")
}
