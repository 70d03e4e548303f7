package memcachestore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/servers"
	memcachestore "github.com/gensession/gensession/stores/memcache"
)

// Each of many callers makes some calls to a server that allows fewer connections
// than Options.MaxConns. All get their turn, and when it is quiet the store is up:
// its prober needs no connection of its own.
func TestW24AServerAtItsLimit(t *testing.T) {
	for name, args := range map[string][]string{
		"refuses":      nil,
		"leaves alone": {"-o", "no_maxconns_fast"}, // connections above the limit are not answered
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t testing.TB, open opener) {
				o, lent := patient(), strings.HasSuffix(t.Name(), "/New")
				if lent && args != nil {
					o.Timeout = 200 * time.Millisecond
				}
				// A client of the user's waits for the connection that it has opened,
				// also if another one comes back meanwhile.
				patience := func(err error) bool {
					return lent && args != nil && (errors.Is(err, core.ErrTimeout) || errors.Is(err, core.ErrOutcomeUnknown))
				}
				server := servers.Memcached(t, append([]string{"-c", "60"}, args...)...)
				s := open(t, o, server.Addr())
				var told news
				defer s.Notify(told.add)()
				together(500, func(i int) {
					key, late := fmt.Sprint("key", i), false
					for n := range 5 {
						if err := s.Set(t.Context(), key, []byte(fmt.Sprint(n)), time.Hour); patience(err) {
							late = true // it may be carried out after the next one
							continue
						} else if err != nil {
							t.Error("Set:", err)
						}
						if data, err := s.Get(t.Context(), key); !patience(err) && (err != nil || !late && string(data) != fmt.Sprint(n)) {
							t.Errorf("Get: %q, %v", data, err)
						}
					}
				})
				time.Sleep(2 * time.Second) // some probes
				if got := told.String(); got != "" && !strings.HasSuffix(got, "true") {
					t.Errorf("told %s", got)
				}
				together(20, func(int) {
					if _, err := s.Get(t.Context(), "key1"); err != nil {
						t.Error(err)
					}
				})
			})
		})
	}
}

// A pipeServer is a server in this process, so that time can be played.
type pipeServer struct {
	mu                sync.Mutex
	limit             int  // of open connections, 0 for none
	silent            bool // connections above it are not answered
	open, most, dials int
	takes             time.Duration // a reply
	err               error         // of a dial
}

func (p *pipeServer) dial(context.Context, string, string) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dials++
	if p.err != nil {
		return nil, p.err
	}
	client, server := net.Pipe()
	full := p.limit > 0 && p.open >= p.limit
	if !full {
		p.open++
		p.most = max(p.most, p.open)
	}
	go func() {
		defer server.Close()
		switch {
		case full && p.silent:
			io.Copy(io.Discard, server)
			return
		case full:
			go io.Copy(io.Discard, server)
			io.WriteString(server, "ERROR Too many open connections\r\n")
			return
		}
		r := bufio.NewReader(server)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				break
			}
			reply := "END\r\n"
			if strings.HasPrefix(line, "version") {
				reply = "VERSION 0\r\n"
			} else {
				time.Sleep(p.takes)
			}
			if _, err := io.WriteString(server, reply); err != nil {
				break
			}
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.open--
	}()
	return client, nil
}

// counts are the connections that are open, and the dials so far.
func (p *pipeServer) counts() (open, dials int) {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open, p.dials
}

func (p *pipeServer) store(t *testing.T, o memcachestore.Options) *memcachestore.Store {
	t.Helper()
	o.DialContext = p.dial
	s, err := memcachestore.Open([]string{"memcached.test:11211"}, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestW24Connections(t *testing.T) {
	get := func(t *testing.T, s *memcachestore.Store) {
		t.Helper()
		if _, err := s.Get(t.Context(), "k"); !errors.Is(err, core.ErrNotFound) {
			t.Error(err)
		}
	}
	t.Run("idle ones are closed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := &pipeServer{takes: time.Millisecond}
			s := p.store(t, memcachestore.Options{})
			defer s.Notify(func(bool) {})()
			together(100, func(int) { get(t, s) })
			if open, _ := p.counts(); open != 100 {
				t.Errorf("%d connections after a burst", open)
			}
			for range 20 { // a few are used on, and stay
				together(3, func(int) { get(t, s) })
				time.Sleep(time.Second)
			}
			open, dials := p.counts()
			if open != 3 || dials != 100 {
				t.Errorf("%d connections of those that are in use, %d dials", open, dials)
			}
			time.Sleep(time.Minute)
			if open, dials := p.counts(); open != 1 || dials != 100 { // that of the prober
				t.Errorf("%d connections after a minute, %d dials", open, dials)
			}
			get(t, s)
			if _, dials := p.counts(); dials != 100 {
				t.Errorf("%d dials", dials)
			}
		})
	})
	for _, silent := range []bool{false, true} {
		t.Run(fmt.Sprintf("a refused dial waits/silent=%v", silent), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &pipeServer{takes: time.Millisecond, limit: 3, silent: silent}
				s := p.store(t, memcachestore.Options{})
				var told news
				defer s.Notify(told.add)()
				began := time.Now()
				for range 3 {
					together(90, func(int) { get(t, s) })
				}
				// 270 calls of a millisecond on three connections
				if took := time.Since(began); took > 100*time.Millisecond {
					t.Errorf("it took %v", took)
				}
				if _, dials := p.counts(); !silent && dials > 100 {
					t.Errorf("%d dials", dials)
				}
				time.Sleep(time.Minute)
				if got := told.String(); got != "" {
					t.Errorf("told %s", got)
				}
				if open, _ := p.counts(); open != 1 {
					t.Errorf("%d connections", open)
				}
			})
		})
	}
	t.Run("none comes back", func(t *testing.T) { // since other processes have them all
		synctest.Test(t, func(t *testing.T) {
			p := &pipeServer{limit: 1, open: 1}
			s := p.store(t, memcachestore.Options{})
			var told news
			defer s.Notify(told.add)()
			for range 3 {
				began := time.Now()
				_, err := s.Get(t.Context(), "k")
				is(t, "Get", err, core.ErrUnavailable)
				if took := time.Since(began); took > 0 || errors.Is(err, core.ErrTimeout) || !strings.Contains(err.Error(), "too many open connections") {
					t.Errorf("%v after %v", err, took)
				}
			}
			time.Sleep(time.Second)
			if cause := s.Cause(); cause == nil || !strings.Contains(cause.Error(), "too many open connections") {
				t.Errorf("the cause is %v", cause)
			}
			p.mu.Lock()
			p.open = 0
			p.mu.Unlock()
			time.Sleep(time.Second)
			if got := told.String(); got != "false true" {
				t.Errorf("told %s", got)
			}
			get(t, s)
		})
	})
	t.Run("a dial that is slow", func(t *testing.T) { // others don't wait for it
		synctest.Test(t, func(t *testing.T) {
			p := &pipeServer{takes: time.Millisecond, limit: 1, silent: true}
			s := p.store(t, memcachestore.Options{MaxConns: 2})
			get(t, s)
			began := time.Now()
			together(2, func(int) { get(t, s) })
			if took := time.Since(began); took != 2*time.Millisecond {
				t.Errorf("it took %v", took)
			}
		})
	})
	t.Run("a caller that gives up", func(t *testing.T) { // leaves its connection to others
		synctest.Test(t, func(t *testing.T) {
			p := &pipeServer{takes: 100 * time.Millisecond, limit: 1}
			s := p.store(t, memcachestore.Options{})
			get(t, s)
			go get(t, s)
			synctest.Wait()
			var all sync.WaitGroup
			for range 10 {
				all.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
					defer cancel()
					_, err := s.Get(ctx, "k")
					is(t, "Get", err, core.ErrUnavailable)
				})
			}
			all.Wait()
			get(t, s)
			if open, _ := p.counts(); open != 1 {
				t.Errorf("%d connections", open)
			}
		})
	})
	t.Run("Close", func(t *testing.T) { // ends the waiting
		synctest.Test(t, func(t *testing.T) {
			p := &pipeServer{takes: time.Hour, limit: 1}
			s := p.store(t, memcachestore.Options{Timeout: 10 * time.Second})
			var all sync.WaitGroup
			for range 3 {
				all.Go(func() {
					_, err := s.Get(t.Context(), "k")
					is(t, "Get", err, core.ErrUnavailable)
				})
			}
			synctest.Wait()
			s.Close()
			all.Wait()
			_, err := s.Get(t.Context(), "k")
			is(t, "Get", err, core.ErrUnavailable)
			time.Sleep(2 * time.Hour)
			if open, _ := p.counts(); open != 0 {
				t.Errorf("%d connections", open)
			}
		})
	})
}

// What is wrong is in the cause and in the errors of calls.
func TestW26TheCauseIsTold(t *testing.T) {
	page := httptest.NewServer(http.NotFoundHandler())
	defer page.Close()
	closing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer closing.Close()
	go func() {
		for {
			c, err := closing.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	gone := servers.Memcached(t)
	gone.Kill()
	unresolved := func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "no.such.host", IsNotFound: true}}
	}
	for name, test := range map[string]struct {
		addr string
		dial func(context.Context, string, string) (net.Conn, error)
		says []string
	}{
		"no such host":         {"no.such.host:11211", unresolved, []string{"no such host"}},
		"nobody listens":       {gone.Addr(), nil, []string{"connection refused"}},
		"an HTTP server":       {page.Listener.Addr().String(), nil, []string{"not valid in the protocol"}},
		"one that expects TLS": {closing.Addr().String(), nil, []string{"closed the connection before its first reply", "connection reset"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := memcachestore.Open([]string{test.addr}, &memcachestore.Options{DialContext: test.dial})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			var told news
			defer s.Notify(told.add)()
			told.become(t, "false")
			_, err = s.Get(t.Context(), "k")
			is(t, "Get", err, core.ErrUnavailable)
			for what, err := range map[string]error{"cause": s.Cause(), "error": err} {
				if err == nil || !slices.ContainsFunc(test.says, func(text string) bool { return strings.Contains(err.Error(), text) }) {
					t.Errorf("the %s is %v", what, err)
				}
			}
		})
	}
}
