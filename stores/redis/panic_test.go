package redisstore_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/gensession/gensession/internal/servers"
	redisstore "github.com/gensession/gensession/stores/redis"
)

// A panicky client panics while it is told to, as a wrapper of a user may.
type panicky struct {
	rueidis.Client
	armed *atomic.Bool
}

func (p panicky) Do(ctx context.Context, c rueidis.Completed) rueidis.RedisResult {
	p.check()
	return p.Client.Do(ctx, c)
}

func (p panicky) DoMulti(ctx context.Context, all ...rueidis.Completed) []rueidis.RedisResult {
	p.check()
	return p.Client.DoMulti(ctx, all...)
}

func (p panicky) check() {
	if p.armed.Load() {
		panic("koa:sess:a-key-of-somebody")
	}
}

// panicOf is what f panics with.
func panicOf(f func()) (p any) {
	defer func() { p = recover() }()
	f()
	return nil
}

// R22: a client of the user that panics does so in the call, on whichever goroutine it
// runs, and leaves no place taken. A probe that panics is an outage, whose cause does
// not say what the panic says.
func TestR22AClientThatPanics(t *testing.T) {
	armed := new(atomic.Bool)
	s, err := redisstore.New(panicky{client(t, servers.Redis(t).Addr()), armed}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := t.Context()
	for range 2 {
		armed.Store(true)
		for range 600 { // more than there are places
			if p := panicOf(func() { _ = s.Set(ctx, "k", []byte("v"), time.Minute) }); p == nil || fmt.Sprint(p) != "panic: string" {
				t.Fatalf("the panic of the call is %v", p)
			}
		}
		armed.Store(false)
		for range 100 { // until calls run in this goroutine
			if err := s.Set(ctx, "k", []byte("v"), time.Minute); err != nil {
				t.Fatal(err)
			}
		}
	}
	armed.Store(true)
	down, up := make(chan error, 1), make(chan struct{}, 1)
	var registered atomic.Bool // if the store is down already, the listener is first called on this goroutine
	stop := s.Notify(func(is bool) {
		if is {
			select {
			case up <- struct{}{}:
			default:
			}
		} else {
			select {
			case down <- s.Cause():
			default:
			}
		}
		if registered.Load() {
			panic("a listener")
		}
	})
	defer stop()
	registered.Store(true)
	if cause := <-down; cause == nil || !strings.Contains(cause.Error(), "panic: string") {
		t.Errorf("the cause is %v", cause)
	}
	armed.Store(false)
	<-up
}

// R22: a function of the options that panics while the client is made is an outage.
func TestR22ADialThatPanics(t *testing.T) {
	server := servers.Redis(t)
	var armed atomic.Bool
	armed.Store(true)
	option := rueidis.ClientOption{
		InitAddress: []string{server.Addr()},
		DialCtxFn: func(ctx context.Context, addr string, d *net.Dialer, c *tls.Config) (net.Conn, error) {
			if armed.Load() {
				panic("a dial")
			}
			return d.DialContext(ctx, "tcp", addr)
		},
	}
	s, err := redisstore.OpenOption(option, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	up := make(chan struct{}, 1)
	defer s.Notify(func(is bool) {
		if is {
			up <- struct{}{}
		}
	})()
	if _, err := s.Get(t.Context(), "k"); err == nil || !strings.Contains(err.Error(), "panic: string") {
		t.Errorf("Get: %v", err)
	}
	armed.Store(false)
	<-up
}
