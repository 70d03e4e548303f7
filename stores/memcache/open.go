package memcachestore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
	"unicode"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/gensession/gensession/stores/internal/duration"
	"github.com/gensession/gensession/stores/internal/health"
)

// Options configure a store. Nil and the zero value are valid and safe.
type Options struct {
	// Timeout is the timeout of a call whose context has no deadline. It
	// includes opening a connection. Default 500 ms. The core gives each call
	// a deadline: see core.Options.OpTimeout.
	Timeout time.Duration

	// MaxConns is the maximum number of concurrent calls, and of connections,
	// for each server. Further calls wait. Default 128: memcached by default
	// allows 1024 connections of all processes together. Where it allows fewer,
	// calls share those that there are, and a connection that is not used for
	// ten seconds is closed, so that another process can have it.
	//
	// For a store made by [New] it limits the calls of all servers together;
	// for the connections see MaxIdleConns of the client.
	MaxConns int

	// MaxPayload is the maximum size of a payload. A larger payload is not
	// sent, and the error is [core.ErrTooLarge]. Default 1 MiB less 2 KiB, which
	// a server with default settings accepts with any key; raise it together
	// with the server's -I.
	MaxPayload int

	// DialContext opens connections in place of a net.Dialer, for example with
	// TLS. It must return when its context ends. For a store made by [New] set
	// DialContext of the client.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
}

const (
	defaultTimeout = 500 * time.Millisecond
	grace          = 50 * time.Millisecond // how late a call may end
)

// Open returns a store on servers, each given as host:port or as the path of a
// unix socket. Open does not connect: it is not an error if a server is down.
//
// The order of the list determines which keys belong to which server, and must
// be the same in all processes. A name is resolved for each new connection, so
// a server may change its address.
func Open(servers []string, o *Options) (*Store, error) {
	s, conns, err := configure(o)
	if err != nil {
		return nil, err
	}
	var dial dialFunc = new(net.Dialer).DialContext
	if o != nil && o.DialContext != nil {
		dial = o.DialContext
	}
	if len(servers) == 0 {
		return nil, errors.New("memcachestore: Open: the list of servers is empty")
	}
	var all nodes
	for i, server := range servers {
		network := networkOf(server)
		if network == "" {
			// It may be a URL with a password.
			return nil, fmt.Errorf("memcachestore: server %d of %d is neither host:port nor a path", i+1, len(servers))
		}
		all = append(all, newNode(address{network, server}, dial, conns))
	}
	return s.start(all), nil
}

// networkOf returns the network of a server, "" if the address is invalid.
func networkOf(server string) string {
	if i := strings.IndexAny(server, "/:"); i >= 0 && server[i] == '/' {
		return "unix"
	}
	host, port, err := net.SplitHostPort(server)
	if err != nil || port == "" || strings.ContainsFunc(host, unicode.IsSpace) {
		return ""
	}
	if n, err := net.LookupPort("tcp", port); err != nil || n == 0 {
		return ""
	}
	return "tcp"
}

// New returns a store that uses a client of the caller. The caller may use the
// client for other things too, and closes it after the store.
//
// Prefer [Open] unless you need to share a client. A client has no deadlines, so
// each call runs in its own goroutine, which makes it a third to a half slower
// (15 to 20 microseconds). The client does not notice dead idle connections: the
// first write after a restart of the server fails with [core.ErrOutcomeUnknown].
// Calls to a server that does not reply reduce the number of calls to the other
// servers. A call that the server refuses because it has too many connections is
// tried again until its deadline.
//
// Set Timeout of the client, which limits how long a call continues after the
// store has abandoned it, and set MaxIdleConns to the number of concurrent
// calls. The store may call Close of the client, which closes idle connections
// only.
func New(client *memcache.Client, o *Options) (*Store, error) {
	if client == nil {
		return nil, errors.New("memcachestore: New: the client is nil")
	}
	if o != nil && o.DialContext != nil {
		return nil, errors.New("memcachestore: New: Options.DialContext is for Open: set DialContext of the client")
	}
	s, conns, err := configure(o)
	if err != nil {
		return nil, err
	}
	return s.start(&sharedClient{client, newSlots(conns), newSlots(probes)}), nil
}

// configure makes a store without servers.
func configure(o *Options) (s *Store, conns int, err error) {
	if o == nil {
		o = &Options{}
	}
	if err := duration.Check("memcachestore: Options.Timeout", o.Timeout, 24*time.Hour); err != nil {
		return nil, 0, err
	}
	if o.MaxConns < 0 || o.MaxPayload < 0 {
		return nil, 0, errors.New("memcachestore: Options.MaxConns or MaxPayload is negative: omit it for the default")
	}
	s = &Store{timeout: o.Timeout, maxPayload: o.MaxPayload, born: time.Now()}
	if conns = o.MaxConns; conns == 0 {
		conns = 128
	}
	if s.timeout == 0 {
		s.timeout = defaultTimeout
	}
	if s.maxPayload == 0 {
		s.maxPayload = 1<<20 - 2<<10
	}
	return s, conns, nil
}

func (s *Store) start(b backend) *Store {
	s.backend = b
	s.health = health.New(s.probe)
	return s
}
