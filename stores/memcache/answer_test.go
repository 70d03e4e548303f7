package memcachestore_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/faultproxy"
	"github.com/gensession/gensession/internal/servers"
	memcachestore "github.com/gensession/gensession/stores/memcache"
)

// A liar is a server that says to every command what the test likes. It
// answers probes.
type liar struct {
	addr  string
	conns atomic.Int64 // opened so far
}

// lie answers commands by their first two words; data is read away.
func lie(t testing.TB, answer func(w io.Writer, verb, key string)) *liar {
	t.Helper()
	s := &liar{}
	s.addr = servers.Fake(t, func(c net.Conn) {
		s.conns.Add(1)
		r := bufio.NewReader(c)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			words := append(strings.Fields(line), "", "")
			switch words[0] {
			case "version":
				io.WriteString(c, "VERSION 0\r\n")
				continue
			case "add", "replace", "cas", "append":
				r.ReadString('\n')
			}
			answer(c, words[0], words[1])
		}
	})
	return s
}

func value(key, data string) string {
	return fmt.Sprintf("VALUE %s 0 %d 7\r\n%s\r\nEND\r\n", key, len(data), data)
}

func TestAnAnswerAboutAnotherKey(t *testing.T) {
	each(t, func(t testing.TB, open opener) {
		server := lie(t, func(w io.Writer, _, _ string) { io.WriteString(w, value("alice", "alice's secret")) })
		s := open(t, patient(), server.addr)
		for range 3 {
			before := server.conns.Load()
			data, err := s.Get(t.Context(), "bob")
			if data != nil {
				t.Error("bob got", string(data))
			}
			is(t, "Get", err, core.ErrCorrupt)
			_, _, err = s.GetVersion(t.Context(), "bob")
			is(t, "GetVersion", err, core.ErrCorrupt)
			if strings.Contains(err.Error(), "alice") {
				t.Error(err)
			}
			if server.conns.Load() == before {
				t.Error("the connection is used again")
			}
		}
	})
}

// An answer too many must never become that of the next call.
func TestAnAnswerTooMany(t *testing.T) {
	var data atomic.Value
	data.Store("one")
	server := lie(t, func(w io.Writer, verb, key string) {
		answer := "STORED\r\n"
		if verb == "gets" {
			answer = value(key, data.Load().(string))
		}
		io.WriteString(w, answer+answer)
	})
	s := open(t, patient(), server.addr)
	_, err := s.Get(t.Context(), "a")
	is(t, "Get", err, core.ErrCorrupt)
	data.Store("two")
	if data, err := s.Get(t.Context(), "a"); string(data) == "one" {
		t.Errorf("the answer of an earlier call: %v", err)
	}
	is(t, "Set", s.Set(t.Context(), "a", nil, 0), core.ErrOutcomeUnknown)
}

// The second answer comes later, while nobody reads.
func TestALateAnswerTooMany(t *testing.T) {
	var n atomic.Int64
	sent := make(chan bool)
	server := lie(t, func(w io.Writer, verb, key string) {
		answer := value(key, fmt.Sprint(n.Add(1)))
		io.WriteString(w, answer)
		time.Sleep(10 * time.Millisecond)
		io.WriteString(w, answer)
		sent <- true
	})
	s := open(t, patient(), server.addr)
	for i := range 5 {
		holds(t, s, "a", fmt.Sprint(i+1))
		<-sent
		time.Sleep(10 * time.Millisecond)
	}
}

func TestWhatAServerMaySay(t *testing.T) {
	const secret = "secret"
	for said, want := range map[string]struct{ read, write error }{
		"SERVER_ERROR out of memory storing object\r\n": {core.ErrRefused, core.ErrRefused},
		"SERVER_ERROR object too large for cache\r\n":   {core.ErrTooLarge, core.ErrTooLarge},
		"CLIENT_ERROR bad command line format\r\n":      {core.ErrRefused, core.ErrRefused},
		"ERROR\r\n":                                       {core.ErrRefused, core.ErrRefused},
		"ERROR Too many open connections\r\n":             {core.ErrUnavailable, core.ErrUnavailable},
		secret + "\r\n":                                   {core.ErrCorrupt, core.ErrOutcomeUnknown},
		"VALUE " + secret + "\r\n":                        {core.ErrCorrupt, core.ErrOutcomeUnknown},
		"VALUE a 0 6 7\r\n" + secret + secret + "\r\n":    {core.ErrCorrupt, core.ErrOutcomeUnknown},
		"HTTP/1.1 400 Bad Request\r\n\r\n" + secret:       {core.ErrCorrupt, core.ErrOutcomeUnknown},
		strings.Repeat(secret, 1000) + "\r\n":             {core.ErrCorrupt, core.ErrOutcomeUnknown},
		"\r\n":                                            {core.ErrCorrupt, core.ErrOutcomeUnknown},
		"VALUE a 0 99999999999999999999 7\r\n\r\nEND\r\n": {core.ErrCorrupt, core.ErrOutcomeUnknown},
	} {
		t.Run(fmt.Sprintf("%.30q", strings.ReplaceAll(said, secret, "…")), func(t *testing.T) {
			each(t, func(t testing.TB, open opener) {
				server := lie(t, func(w io.Writer, _, _ string) { io.WriteString(w, said) })
				o := patient()
				if want.read == core.ErrUnavailable {
					o.Timeout = 200 * time.Millisecond // it is tried again until then
				}
				s := open(t, o, server.addr)
				for call, err := range calls(s, t.Context(), "a") {
					if strings.HasPrefix(call, "Get") {
						is(t, call, err, want.read)
					} else {
						is(t, call, err, want.write)
					}
					if err != nil && strings.Contains(err.Error(), secret) {
						t.Errorf("%s tells too much: %v", call, err)
					}
				}
			})
		})
	}
}

func TestAConnectionThatIsCut(t *testing.T) {
	each(t, func(t testing.TB, open opener) {
		for _, said := range []string{"", "VAL", "VALUE a 0 6 7\r\nsec", "STOR"} {
			server := lie(t, func(w io.Writer, _, _ string) {
				io.WriteString(w, said)
				w.(net.Conn).Close()
			})
			s := open(t, patient(), server.addr)
			for call, err := range calls(s, t.Context(), "a") {
				if strings.HasPrefix(call, "Get") {
					is(t, call, err, core.ErrUnavailable)
				} else {
					is(t, call, err, core.ErrOutcomeUnknown)
				}
			}
		}
	})
}

// A read on a connection that was closed a moment ago is repeated: whether one
// used so lately still lives is not looked up before.
func TestAConnectionThatIsClosedAfterEachAnswer(t *testing.T) {
	server := lie(t, func(w io.Writer, verb, key string) {
		io.WriteString(w, value(key, "x"))
		w.(net.Conn).Close()
	})
	s := open(t, patient(), server.addr)
	for range 300 {
		holds(t, s, "a", "x")
	}
	if n := server.conns.Load(); n != 300 {
		t.Errorf("%d connections for 300 answers", n)
	}
}

func TestAnAnswerThatDrips(t *testing.T) {
	each(t, func(t testing.TB, open opener) {
		done := make(chan struct{})
		server := lie(t, func(w io.Writer, verb, key string) {
			line := value(key, "")
			for i := 0; ; i++ { // items without an end, each of them in time
				select {
				case <-done:
					return
				case <-time.After(20 * time.Millisecond):
				}
				if _, err := io.WriteString(w, line[:strings.Index(line, "END")]); err != nil {
					return
				}
			}
		})
		s := open(t, nil, server.addr)
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
		defer cancel()
		is(t, "Get", timed(t, 150*time.Millisecond, func() error { _, err := s.Get(ctx, "a"); return err }), core.ErrTimeout)
		close(done)
	})
}

func TestAServerNobodyFinds(t *testing.T) {
	s := open(t, nil, "no-such-host.invalid:11211")
	for call, err := range calls(s, t.Context(), "a") {
		is(t, call, err, core.ErrUnavailable)
		if errors.Is(err, core.ErrOutcomeUnknown) {
			t.Error(call, err)
		}
	}
	var told news
	s.Notify(told.add)
	told.become(t, "false")
}

// relay carries what comes to l to a server, and back.
func relay(t testing.TB, l net.Listener, addr string) {
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			front, err := l.Accept()
			if err != nil {
				return
			}
			back, err := net.Dial("tcp", addr)
			if err != nil {
				front.Close()
				continue
			}
			for _, way := range [][2]net.Conn{{front, back}, {back, front}} {
				wg.Go(func() {
					io.Copy(way[0], way[1])
					way[0].Close()
					way[1].Close()
				})
			}
		}
	})
}

// A path among the servers is that of a unix socket.
func TestUnixSocket(t *testing.T) {
	server := servers.Memcached(t)
	path := filepath.Join(t.TempDir(), "m") // such paths are short
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	relay(t, l, server.Addr())
	each(t, func(t testing.TB, open opener) {
		s := open(t, patient(), path)
		for _, size := range []int{0, 1, 10_000, 1_000_000} {
			data := strings.Repeat("x", size)
			set(t, s, "a", data)
			holds(t, s, "a", data)
		}
	})
	s := open(t, patient(), path)
	set(t, s, "a", "x")
	server.Restart()
	set(t, s, "a", "y") // the idle connection is seen to be dead
	holds(t, s, "a", "y")
}

func TestTLS(t *testing.T) {
	server := servers.Memcached(t)
	web := httptest.NewTLSServer(nil) // for its certificate
	web.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: web.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	relay(t, l, server.Addr())
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	dialer := &tls.Dialer{Config: &tls.Config{RootCAs: roots}}
	for _, c := range storetest.Cases() {
		if strings.Contains(c.Name, "payload") || strings.Contains(c.Name, "concurrent") || strings.Contains(c.Name, "context") {
			t.Run(c.Name, func(t *testing.T) {
				c.Run(t, open(t, &memcachestore.Options{DialContext: dialer.DialContext, Timeout: 10 * time.Second}, l.Addr().String()))
			})
		}
	}
	s := open(t, &memcachestore.Options{DialContext: dialer.DialContext, Timeout: 5 * time.Second}, l.Addr().String())
	set(t, s, "a", "x")
	pause(server)
	_, err = s.Get(within(t, 60*time.Millisecond), "a")
	is(t, "Get", err, core.ErrTimeout)
	time.AfterFunc(100*time.Millisecond, server.Resume)
	holds(t, s, "a", "x") // late, but in time
	server.Restart()
	if _, err := s.Get(t.Context(), "a"); !errors.Is(err, core.ErrNotFound) {
		t.Error(err)
	}
}

// Two users ask at once, and the network gives each the answer of the other.
func TestSwappedAnswers(t *testing.T) {
	each(t, func(t testing.TB, open opener) {
		proxy := faultproxy.New(t, servers.SharedMemcached(t).Addr())
		s := open(t, patient(), proxy.Addr())
		users := []string{"swap:alice", "swap:bob"}
		for _, user := range users {
			set(t, s, user, "secret of "+user)
		}
		proxy.SwapReplies(func(reply []byte) bool { return bytes.HasPrefix(reply, []byte("VALUE")) })
		together(len(users), func(i int) {
			data, err := s.Get(t.Context(), users[i])
			is(t, "Get", err, core.ErrCorrupt)
			if data != nil {
				t.Errorf("%s got %q", users[i], data)
			}
		})
		if n := proxy.Stats().Mixed; n != 2 {
			t.Errorf("%d answers were swapped", n)
		}
		for _, user := range users {
			holds(t, s, user, "secret of "+user)
		}
	})
}

// A store that gets each answer twice never takes one for that of another call.
func TestAnswersThatComeTwice(t *testing.T) {
	proxy := faultproxy.New(t, servers.SharedMemcached(t).Addr())
	s := open(t, patient(), proxy.Addr())
	// But not those to a new connection, which would never be used.
	proxy.DuplicateReplies(1000, func(reply []byte) bool { return !bytes.HasPrefix(reply, []byte("VERSION")) })
	for i := range 100 {
		data := fmt.Sprint(i)
		err := s.Set(t.Context(), "twice", []byte(data), time.Hour)
		if err != nil && !errors.Is(err, core.ErrOutcomeUnknown) {
			t.Error(err)
		}
		switch got, err := s.Get(t.Context(), "twice"); {
		case err == nil && string(got) != data, errors.Is(err, core.ErrNotFound):
			t.Fatalf("Get after Set of %s: %q, %v", data, got, err)
		case err != nil && !errors.Is(err, core.ErrCorrupt):
			t.Error(err)
		}
	}
	if proxy.Stats().Mixed < 100 {
		t.Error("the proxy did nothing")
	}
}

// A cut connection leaves what was there, or what was to be there.
func TestACutAtEachByte(t *testing.T) {
	proxy := faultproxy.New(t, servers.SharedMemcached(t).Addr())
	s := open(t, patient(), proxy.Addr())
	for _, end := range []faultproxy.End{faultproxy.Close, faultproxy.Reset} {
		for at := range 12 {
			proxy.Clear()
			set(t, s, "cut", "old")
			proxy.Replies(faultproxy.Fault{Cut: end, CutAt: at, Once: true})
			if _, err := s.Get(t.Context(), "cut"); err != nil {
				t.Errorf("a read that was cut at byte %d and could have been repeated: %v", at, err)
			}
			proxy.Requests(faultproxy.Fault{Cut: end, CutAt: 3 * at, Once: true})
			err := s.Set(t.Context(), "cut", []byte("new"), time.Hour)
			proxy.Clear()
			data, getErr := s.Get(t.Context(), "cut")
			switch {
			case getErr != nil, string(data) != "old" && string(data) != "new":
				t.Errorf("after a write that was cut at byte %d: %q, %v", 3*at, data, getErr)
			case err == nil && string(data) != "new":
				t.Errorf("a write that was cut at byte %d is lost", 3*at)
			case err != nil && !errors.Is(err, core.ErrOutcomeUnknown) && !errors.Is(err, core.ErrUnavailable):
				t.Error(err)
			case errors.Is(err, core.ErrUnavailable) && string(data) != "old":
				t.Errorf("a write that was cut at byte %d and did not get there is there", 3*at)
			}
		}
	}
}

// What only a connection knows: a key with any bytes never gets to the server.
func FuzzKey(f *testing.F) {
	for _, key := range []string{"a", "", " ", "a b", "a\r\nflush_all", "ä", "\x7f", strings.Repeat("k", 250), strings.Repeat("k", 251)} {
		f.Add(key)
	}
	addr := servers.SharedMemcached(f).Addr()
	s := open(f, patient(), addr)
	f.Fuzz(func(t *testing.T, key string) {
		data := "under " + key
		err := s.Set(t.Context(), key, []byte(data), time.Minute)
		legal := key != "" && len(key) <= 250 && !strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' })
		if !legal {
			is(t, "Set", err, core.ErrRefused)
			_, err = s.Get(t.Context(), key)
			is(t, "Get", err, core.ErrRefused)
			is(t, "Destroy", s.Destroy(t.Context(), key), core.ErrRefused)
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		holds(t, s, key, data)
		if err := s.Destroy(t.Context(), key); err != nil {
			t.Error(err)
		}
		if _, err := s.Get(t.Context(), key); !errors.Is(err, core.ErrNotFound) {
			t.Error(err)
		}
	})
}

// Somebody gives the URL that another client takes.
func TestAServerThatIsNoneIsNotQuoted(t *testing.T) {
	for _, server := range []string{"memcached://app:the-secret@127.0.0.1:11211", "app:the-secret@127.0.0.1:11211", "the-secret"} {
		_, err := memcachestore.Open([]string{"127.0.0.1:11211", server}, nil)
		if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "server 2 of 2") {
			t.Errorf("%v", err)
		}
	}
}
