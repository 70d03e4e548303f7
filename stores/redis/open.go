package redisstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/stores/internal/caught"
)

// Open returns a store with its own client. The url has one of the forms
//
//	redis://user:password@host:port/db
//	rediss://user:password@host:port/db      over TLS
//	unix:///path/to/redis.sock?db=0
//
// All parts but the host or the path are optional. The address may be that of
// any node of a Cluster. More addresses are given as
// ?addr=host:port&addr=host:port. With ?master_set=name the addresses are those
// of sentinels. See [OpenOption].
func Open(url string, o *Options) (*Store, error) {
	c, err := rueidis.ParseURL(url)
	if err != nil {
		// The error of url.Parse quotes the URL with the password.
		return nil, errors.New("redisstore: the URL has none of the forms redis://user:password@host:port/db, rediss://… and unix:///path?db=0")
	}
	return OpenOption(c, o)
}

// OpenOption returns a store with its own client, for settings that a URL can't
// express: certificates, changing credentials, a password of Sentinel.
//
// The client gets settings for sessions: no cache except for Options.NearCache,
// no retries except those of the store, at most 5 redirections. Unless c sets
// them, the dial timeout is 500 ms, the timeout of a connection (ConnWriteTimeout)
// 1 s, the keep-alive interval 300 ms, the refresh interval of Sentinel 5 s, and
// there is one connection to each server. All calls are pipelined on it; two
// connections were slower in measurements. For payloads of megabytes set
// PipelineMultiplex to use more.
//
// It is not an error if the server, Cluster or Sentinel is unreachable: the store
// is then down, reports that to its listeners, and connects as soon as possible.
// It is an error if the server rejects the password.
func OpenOption(c rueidis.ClientOption, o *Options) (*Store, error) {
	s, err := newStore(o)
	if err != nil {
		return nil, err
	}
	for _, addr := range c.InitAddress {
		if addr == "" || addr == "/" {
			return nil, errors.New("redisstore: an address is empty: a unix socket needs a path, as in unix:///path/to/redis.sock")
		}
	}
	if s.cache != nil && (c.DisableCache || c.AlwaysRESP2 || c.ClientTrackingOptions != nil) {
		return nil, errors.New("redisstore: Options.NearCache can't be combined with DisableCache, AlwaysRESP2 or ClientTrackingOptions")
	}
	c = watched(settings(c), &s.conns, s.limiter.crowded)
	if s.cache != nil {
		c = tracking(c, s.cache)
	}
	s.dialer = &dialer{option: c}
	switch err := s.dialer.dial(context.Background(), &s.client); {
	case err == nil:
	case unreachable(err):
		s.health.Down(s.causeOf(context.Background(), err))
	case s.cache != nil && errors.Is(err, rueidis.ErrNoCache):
		_ = s.Close()
		return nil, fmt.Errorf("redisstore: Options.NearCache needs CLIENT TRACKING, of Redis 6 or newer: %w", err)
	default:
		_ = s.Close()
		return nil, unopened(err)
	}
	return s, nil
}

// unopened returns the error of a client that could not be created. The server's
// error of the handshake may quote the password.
func unopened(err error) error {
	var class error
	if server, ok := rueidis.IsRedisErr(err); ok {
		_, class = classifyReply(server.Error())
	}
	return describe(err, class, request{})
}

func settings(c rueidis.ClientOption) rueidis.ClientOption {
	c.DisableCache = true
	c.DisableRetry = true
	c.ClusterOption.MaxMovedRedirections = 5
	c.Dialer = patient(c.Dialer)
	if c.PipelineMultiplex == 0 {
		c.PipelineMultiplex = -1
	}
	if c.ConnWriteTimeout == 0 {
		c.ConnWriteTimeout = time.Second
	}
	if c.Sentinel.MasterSet != "" {
		c.Sentinel.Dialer = patient(c.Sentinel.Dialer)
		if c.Sentinel.TopologyRefreshInterval == 0 {
			c.Sentinel.TopologyRefreshInterval = 5 * time.Second
		}
	}
	return c
}

// tracking returns c with CLIENT TRACKING, so that servers report changes of the
// keys that were read.
func tracking(c rueidis.ClientOption, n *clientCache) rueidis.ClientOption {
	c.DisableCache = false
	c.ClientTrackingOptions = []string{}
	told := c.OnInvalidations
	c.OnInvalidations = func(keys []rueidis.RedisMessage) {
		n.changed(keys)
		if told != nil {
			told(keys)
		}
	}
	return c
}

func patient(d net.Dialer) net.Dialer {
	if d.Timeout == 0 {
		d.Timeout = 500 * time.Millisecond
	}
	if d.KeepAlive == 0 {
		d.KeepAlive = 300 * time.Millisecond
	}
	return d
}

// unreachable reports whether a client could not be created because the server is
// down, and may come up.
func unreachable(err error) bool {
	if server, ok := rueidis.IsRedisErr(err); ok {
		_, class := classifyReply(server.Error())
		return errors.Is(class, core.ErrUnavailable)
	}
	if _, ok := errors.AsType[*net.AddrError](err); ok {
		return false // an invalid address stays invalid
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return false
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return false
	}
	var n net.Error
	return errors.As(err, &n) || timedOut(err) || broken(err)
}

// A dialer creates the client of a store. rueidis creates none while the server is
// unreachable, so the dialer tries repeatedly.
type dialer struct {
	option rueidis.ClientOption

	mu     sync.Mutex
	closed bool
	trying chan struct{} // closed when the try is over, nil if there is none
	err    error         // of the last try
}

// dial stores a new client in client, or waits for an attempt in progress.
func (d *dialer) dial(ctx context.Context, client *atomic.Pointer[rueidis.Client]) error {
	d.mu.Lock()
	if d.trying == nil {
		d.trying = make(chan struct{})
		go d.try(client)
	}
	trying := d.trying
	d.mu.Unlock()
	select {
	case <-trying:
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *dialer) try(client *atomic.Pointer[rueidis.Client]) {
	var c rueidis.Client
	var err error
	if panicked := caught.Do(func() { c, err = rueidis.NewClient(d.option) }); panicked != nil { // in a function of the options
		err = panicked
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil && d.closed {
		err = errClosed
	}
	if err == nil {
		client.Store(&c)
	} else if c != nil {
		c.Close()
	}
	d.err = err
	close(d.trying)
	d.trying = nil
}

// down returns the error of a call while there is no client. It contains only
// the text of the last attempt, whose class does not apply to the call.
func (d *dialer) down() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil {
		return errDown
	}
	text := d.err.Error()
	if _, ok := rueidis.IsRedisErr(d.err); ok {
		text = redact(text, request{})
	}
	return fmt.Errorf("%w: %s", errDown, text)
}

// closing is the longest time that Close waits for the client. That takes a second by
// its own account; a dial function of the user may take any time.
const closing = 2 * time.Second

// close closes the client, after an attempt in progress, and all its connections. A
// call that dials just then lets the client forget a connection.
func (d *dialer) close(client *atomic.Pointer[rueidis.Client], open *conns) {
	d.mu.Lock()
	d.closed = true
	trying := d.trying
	d.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if trying != nil {
			<-trying
		}
		if c := client.Load(); c != nil {
			(*c).Close()
		}
	}()
	timer := time.NewTimer(closing)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
	open.close()
}
