package redisstore_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/rueidis"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/faultproxy"
	"github.com/gensession/gensession/internal/servers"
	redisstore "github.com/gensession/gensession/stores/redis"
)

// writes are the calls that change something, each on a key that has a record
// of version v.
var writes = map[string]func(ctx context.Context, s storeUnderTest, key string, v core.Version) error{
	"Set": func(ctx context.Context, s storeUnderTest, key string, _ core.Version) error {
		return s.Set(ctx, key, []byte("new"), 0)
	},
	"SetVersion": func(ctx context.Context, s storeUnderTest, key string, v core.Version) error {
		_, err := s.SetVersion(ctx, key, []byte("new"), 0, v)
		return err
	},
	"creating": func(ctx context.Context, s storeUnderTest, key string, _ core.Version) error {
		_, err := s.SetVersion(ctx, key+"-new", []byte("new"), 0, 0)
		return err
	},
	"Touch": func(ctx context.Context, s storeUnderTest, key string, _ core.Version) error {
		return s.Touch(ctx, key, time.Hour)
	},
	"Destroy": func(ctx context.Context, s storeUnderTest, key string, _ core.Version) error {
		return s.Destroy(ctx, key)
	},
}

type storeUnderTest interface {
	core.Store
	core.Swapper
	core.Toucher
}

// A write on a connection that a restart left behind was never sent, and is
// sent again.
func TestWritesSurviveARestart(t *testing.T) {
	server := servers.Redis(t, "--appendonly", "yes", "--appendfsync", "always")
	for _, busy := range []bool{false, true} {
		for name, write := range writes {
			t.Run(fmt.Sprintf("busy=%v/%s", busy, name), func(t *testing.T) {
				s := patient(t, server.Addr())
				var v core.Version
				for i := range 10 {
					var err error
					s.Destroy(t.Context(), fmt.Sprint("k", i, "-new"))
					s.Set(t.Context(), fmt.Sprint("k", i), []byte("old"), 0)
					if _, v, err = s.GetVersion(t.Context(), fmt.Sprint("k", i)); err != nil {
						t.Fatal(err)
					}
				}
				if busy {
					together(20, func() { s.Get(t.Context(), "k0") })
				}
				server.Restart()
				var all sync.WaitGroup
				for i := range 10 {
					if !busy && i > 0 {
						break
					}
					all.Go(func() {
						if err := write(t.Context(), s, fmt.Sprint("k", i), v); err != nil {
							t.Error(err)
						}
					})
				}
				all.Wait()
			})
		}
	}
}

// When the server is gone for good, nobody has to wonder.
func TestAWriteAfterTheEndOfTheServerIsUnavailable(t *testing.T) {
	for name, write := range writes {
		t.Run(name, func(t *testing.T) {
			server := servers.Redis(t)
			s := patient(t, server.Addr())
			s.Get(t.Context(), "k")
			server.Kill()
			for range 3 {
				if err := write(t.Context(), s, "k", 1); !errors.Is(err, core.ErrUnavailable) || errors.Is(err, core.ErrOutcomeUnknown) {
					t.Error(err)
				}
			}
		})
	}
}

// Whatever is done to connections: what is ErrUnavailable was not applied.
func TestUnavailableIsNotApplied(t *testing.T) {
	for _, callers := range []int{1, 16} {
		t.Run(fmt.Sprint("callers=", callers), func(t *testing.T) {
			server := servers.Redis(t)
			p := faultproxy.New(t, server.Addr())
			s := patient(t, p.Addr())
			end := time.Now().Add(1500 * time.Millisecond)
			var mu sync.Mutex
			outcomes := map[string]error{}
			var all sync.WaitGroup
			for i := range callers {
				all.Go(func() {
					for n := 0; time.Now().Before(end); n++ {
						key := fmt.Sprintf("key-%d-%d", i, n)
						_, err := s.SetVersion(context.Background(), key, make([]byte, rand.N(2000)), 0, 0)
						mu.Lock()
						outcomes[key] = err
						mu.Unlock()
						if callers == 1 {
							time.Sleep(rand.N(time.Millisecond))
						}
					}
				})
			}
			for time.Now().Before(end) {
				time.Sleep(rand.N(10 * time.Millisecond))
				how := []faultproxy.End{faultproxy.Close, faultproxy.Reset}[rand.N(2)]
				cut := faultproxy.Fault{Cut: how, CutAt: rand.N(5000), Once: true}
				switch rand.N(4) {
				case 0:
					p.CutAll(how)
				case 1:
					p.Requests(cut)
				case 2:
					p.Replies(cut)
				case 3:
					p.Refuse(true)
					time.Sleep(rand.N(5 * time.Millisecond))
					p.Refuse(false)
				}
			}
			all.Wait()
			p.Clear()
			time.Sleep(100 * time.Millisecond) // for what is still on its way
			var fine, unavailable, unknown int
			for key, err := range outcomes {
				_, get := s.Get(t.Context(), key)
				switch {
				case err == nil:
					fine++
					if get != nil {
						t.Errorf("stored, and then %v", get)
					}
				case errors.Is(err, core.ErrOutcomeUnknown):
					unknown++
				case errors.Is(err, core.ErrUnavailable):
					unavailable++
					if !errors.Is(get, core.ErrNotFound) {
						t.Errorf("%v, and it was applied", err)
					}
				default:
					t.Error(err)
				}
			}
			t.Logf("%d stored, %d unavailable, %d unknown; the proxy: %+v", fine, unavailable, unknown, p.Stats())
			if fine == 0 || unknown == 0 {
				t.Error("nothing happened")
			}
		})
	}
}

// The client's package panics at a reply too many, and takes the process with
// it.
func TestAReplyThatNobodyAskedFor(t *testing.T) {
	t.Run("to calls that wait together", func(t *testing.T) {
		s := patient(t, fake(t, "+OK\r\n+OK"))
		for range 20 {
			together(20, func() {
				if err := s.Set(t.Context(), "k", nil, 0); err != nil && !errors.Is(err, core.ErrOutcomeUnknown) && !errors.Is(err, core.ErrUnavailable) {
					t.Error(err)
				}
			})
		}
	})
	t.Run("is not the answer to the next call", func(t *testing.T) {
		s := patient(t, fake(t, "$5\r\nright\r\n$5\r\nwrong"))
		for range 20 {
			if data, err := s.Get(t.Context(), "k"); err == nil && string(data) != "right" {
				t.Fatalf("%q", data)
			}
			time.Sleep(time.Millisecond) // it has come
		}
	})
	for _, name := range []string{"+subscribe", "$10\r\npsubscribe"} {
		t.Run("confirms a subscription, "+name[len(name)-10:], func(t *testing.T) {
			s := open(t, fake(t, "$-1\r\n>3\r\n"+name+"\r\n+a\r\n:1"))
			for range 20 {
				together(8, func() {
					if _, err := s.Get(t.Context(), "k"); !errors.Is(err, core.ErrNotFound) && !errors.Is(err, core.ErrUnavailable) {
						t.Error(err)
					}
				})
			}
		})
	}
	t.Run("from a proxy", func(t *testing.T) {
		server := servers.Redis(t)
		p := faultproxy.New(t, server.Addr())
		s := open(t, p.Addr())
		for i := range 50 {
			p.DuplicateReplies(1, nil)
			together(1+i%8, func() { s.Set(t.Context(), "k", nil, 0) })
		}
		p.Clear()
		waitFor(t, "a write", func() bool { return s.Set(t.Context(), "k", []byte("x"), 0) == nil })
	})
}

// A connection whose dial took all the time of its call is closed before its
// handshake: by a PING, so that nobody has said what the server speaks.
func TestAReplyTooManyBeforeTheHandshake(t *testing.T) {
	var all sync.WaitGroup // each waits for a dial that takes a second
	for name, lines := range map[string]string{
		"two answers":           "+OK\r\n+OK",
		"an answer and a value": "+PONG\r\n$5\r\nwrong",
		"an answer and a list":  "+PONG\r\n*1\r\n:1",
		"a greeting":            "",
	} {
		all.Go(func() {
			t.Run(name, func(t *testing.T) {
				greeter := greets(t, "-ERR max number of clients reached\r\n")
				var late, dialed atomic.Int64
				var first net.Conn
				option := rueidis.ClientOption{InitAddress: []string{fake(t, lines)}}
				option.DialCtxFn = func(ctx context.Context, addr string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
					if lines == "" && late.Load() > 0 {
						addr = greeter
					}
					c, err := d.DialContext(ctx, "tcp", addr)
					if late.Load() == 0 {
						first = c
						return c, err
					}
					select {
					case <-ctx.Done():
						dialed.Add(1)
					case <-time.After(time.Second): // the ctx of a call that was handed off does not end
					}
					return c, err
				}
				s := openOption(t, option)
				late.Store(1)
				first.Close()
				s.Get(t.Context(), "k") // finds it out
				waitFor(t, "a dial that took all the time", func() bool { return dialed.Load() >= 2 })
			})
		})
	}
	all.Wait()
}

// Sizes that no message has make the client's package panic, too, or use up
// all memory.
func TestRepliesThatAreNone(t *testing.T) {
	for _, line := range []string{"$-2", "*-2", "%-1", "%-2", "|-1", "~-5", "$99999999999999", "*99999999", "*?", "$?", "!-3", "=?", "!?",
		// What the client's parser takes for more messages, or for something that nobody waits for.
		"_\x170", "_:1", "#:1", "#t:1", "*12\n:1", ">-1",
		"*1000000\r\n*1000000", // together too many
	} {
		t.Run(line, func(t *testing.T) {
			s := patient(t, fake(t, line))
			get := func() {
				if _, err := s.Get(t.Context(), "k"); !errors.Is(err, core.ErrUnavailable) {
					t.Error(err)
				}
			}
			for range 3 {
				get()
			}
			together(8, get) // read by another goroutine of the client
		})
	}
}

// A server that speaks RESP2, as before Redis 6, has no other mark of a reply
// too many than that there is one.
func TestAReplyThatNobodyAskedForInRESP2(t *testing.T) {
	option := rueidis.ClientOption{InitAddress: []string{fakeOf(t, 2, "$5\r\nright\r\n$5\r\nwrong")}, AlwaysRESP2: true}
	s := openOption(t, patiently(option))
	for range 20 {
		together(8, func() {
			if data, err := s.Get(t.Context(), "k"); err == nil && string(data) != "right" && string(data) != "wrong" {
				t.Errorf("%q", data)
			}
		})
	}
}

// greets is a server that says one thing, to whoever comes, and nothing more.
func greets(t *testing.T, greeting string) (addr string) {
	return servers.Fake(t, func(c net.Conn) {
		c.Write([]byte(greeting))
		io.Copy(io.Discard, c)
	})
}

// A dialer of the user's, and settings that the connection has to carry out
// since the client can't see through it.
func TestADialerOfTheUsers(t *testing.T) {
	server := servers.SharedRedis(t)
	var dialed int
	option := rueidis.ClientOption{InitAddress: []string{"nowhere:1"}, DisableTCPNoDelay: true}
	option.DialFn = func(_ string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
		dialed++
		return d.Dial("tcp", server.Addr())
	}
	s := openOption(t, patiently(option))
	if err := s.Set(t.Context(), "dialed", nil, time.Minute); err != nil || dialed == 0 {
		t.Errorf("%d dials, %v", dialed, err)
	}
}

// Close waits for no dial function of the user's for long.
func TestCloseBesideADialThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		var dials atomic.Int64
		option := rueidis.ClientOption{InitAddress: []string{"nowhere:1"}}
		option.DialCtxFn = func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
			if dials.Add(1) > 1 { // the first is that of Open
				<-hang
			}
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		}
		s, err := redisstore.OpenOption(option, nil)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if dials.Load() < 2 {
			t.Fatal("nobody dials")
		}
		s.Close() // else the bubble is stuck
		close(hang)
		time.Sleep(time.Minute) // for what the client still does
	})
}

// A connection that is opened while the store is closed is not left open.
func TestCloseBesideADial(t *testing.T) {
	for name, after := range map[string]bool{"that ends before it": false, "that ends after it": true} {
		t.Run(name, func(t *testing.T) {
			server := fake(t, "$-1")
			dialing, goOn := make(chan struct{}, 10), make(chan struct{})
			var dials, open atomic.Int64
			var first net.Conn
			option := rueidis.ClientOption{InitAddress: []string{server}}
			option.DialCtxFn = func(_ context.Context, _ string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
				late := dials.Add(1) > 1
				if late {
					dialing <- struct{}{}
					<-goOn
				}
				c, err := d.Dial("tcp", server)
				if err != nil {
					return nil, err
				}
				if !late {
					first = c
				}
				open.Add(1)
				return closeTold{c, sync.OnceFunc(func() { open.Add(-1) })}, nil
			}
			s, err := redisstore.OpenOption(option, nil)
			if err != nil {
				t.Fatal(err)
			}
			first.Close()
			var calls sync.WaitGroup
			calls.Go(func() { s.Get(context.Background(), "k") })
			<-dialing
			if after {
				s.Close()
				close(goOn)
			} else {
				close(goOn)
				s.Close()
			}
			calls.Wait()
			waitFor(t, "no connection", func() bool { return open.Load() == 0 })
		})
	}
}

type closeTold struct {
	net.Conn
	tell func()
}

func (c closeTold) Close() error {
	c.tell()
	return c.Conn.Close()
}
