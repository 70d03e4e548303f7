package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/gensession/gensession/core"
)

// Open makes a store with a client of its own, from one of
//
//	redis://user:password@host:port/db
//	rediss://user:password@host:port/db      over TLS
//	unix:///path/to/redis.sock?db=0
//
// all parts but the host or the path being optional. One address may be that
// of any node of a Cluster; more are given as ?addr=host:port&addr=host:port.
// With ?master_set=name they are those of sentinels. See [OpenOption].
func Open(url string, o *Options) (*Store, error) {
	c, err := rueidis.ParseURL(url)
	if err != nil {
		// What url.Parse says quotes the URL, and the password with it.
		return nil, errors.New("redisstore: the URL is not one of redis://user:password@host:port/db, rediss://… and unix:///path?db=0")
	}
	return OpenOption(c, o)
}

// OpenOption makes a store with a client of its own, for what a URL can't say:
// certificates, credentials that change, Sentinel with its own password.
//
// The client gets settings that are right for sessions: no cache but that of
// Options.NearCache, no retries but the store's own, at most 5 redirections; and unless
// c has others, 500 ms for a dial, 1 s for a connection to answer, 300 ms
// between its signs of life, 5 s between two looks at the sentinels, and one
// connection to each server. All calls share that one without waiting for each
// other, and the more do, the better it is used: two were slower where it was
// measured. PipelineMultiplex has more of them, for payloads of megabytes.
//
// A server that can't be reached yet is no error, be it a single one, a Cluster
// or one behind Sentinel: the store is down, as its listeners are told, and
// connects as soon as it can be. One that refuses the password is an error.
func OpenOption(c rueidis.ClientOption, o *Options) (*Store, error) {
	s, err := newStore(o)
	if err != nil {
		return nil, err
	}
	for _, addr := range c.InitAddress {
		if addr == "" || addr == "/" {
			return nil, errors.New("redisstore: an address is empty: a socket needs a path, as in unix:///path/to/redis.sock")
		}
	}
	if s.cache != nil && (c.DisableCache || c.AlwaysRESP2 || c.ClientTrackingOptions != nil) {
		return nil, errors.New("redisstore: Options.NearCache goes with none of DisableCache, AlwaysRESP2 and ClientTrackingOptions")
	}
	c = watched(settings(c), s.limiter.crowded)
	if s.cache != nil {
		c = tracking(c, s.cache)
	}
	s.dialer = &dialer{option: c}
	switch err := s.dialer.dial(context.Background(), &s.client); {
	case err == nil:
	case unreachable(err):
		s.health.Down()
	case s.cache != nil && errors.Is(err, rueidis.ErrNoCache):
		s.Close()
		return nil, fmt.Errorf("redisstore: Options.NearCache needs CLIENT TRACKING, of Redis 6 or newer: %w", err)
	default:
		s.Close()
		return nil, unopened(err)
	}
	return s, nil
}

// unopened is the error of a client that could not be made. What a server says
// of the handshake may quote the password.
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

// tracking returns c with servers that tell of changes to all that was read.
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

// unreachable reports whether a client could not be made because of a server
// that may come.
func unreachable(err error) bool {
	if server, ok := rueidis.IsRedisErr(err); ok {
		_, class := classifyReply(server.Error())
		return errors.Is(class, core.ErrUnavailable)
	}
	if _, ok := errors.AsType[*net.AddrError](err); ok {
		return false // what is no address will not become one
	}
	var n net.Error
	return errors.As(err, &n) || timedOut(err) || broken(err)
}

// A dialer makes the client of a store. The client's package makes none while
// the server can't be reached, so it is tried again and again.
type dialer struct {
	option rueidis.ClientOption

	mu     sync.Mutex
	closed bool
	trying chan struct{} // closed when the try is over, nil if there is none
	err    error         // of the last try
}

// dial puts a new client into its place, or waits for a try that has begun.
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
	c, err := rueidis.NewClient(d.option)
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

// down is the error of a call while there is no client, with the text of the
// last try: its class is another one, for it was another thing that ran out of
// time, perhaps.
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

// close closes the client, and waits for one that is just being made.
func (d *dialer) close(client *atomic.Pointer[rueidis.Client]) {
	d.mu.Lock()
	d.closed = true
	trying := d.trying
	d.mu.Unlock()
	if trying != nil {
		<-trying
	}
	if c := client.Load(); c != nil {
		(*c).Close()
	}
}
