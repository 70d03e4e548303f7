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

	"github.com/gensession/gensession/stores/internal/health"
)

// Options are the bounds of a store. Nil and the zero value are safe defaults.
type Options struct {
	// Timeout is the time that a call may take whose context has no deadline,
	// opening a connection included. Default 500 ms. The core gives each call
	// a deadline: see core.Options.OpTimeout.
	Timeout time.Duration

	// MaxConns is how many calls may be under way at once for each server,
	// and how many connections are opened to it and kept. A call above it
	// waits for one before it to end. Default 128: memcached allows 1024 in
	// all, of all processes.
	//
	// For a store that was made by [New] it bounds the calls of all servers
	// together; for the connections see MaxIdleConns of the client.
	MaxConns int

	// MaxPayload is the size of the largest payload. A larger one is
	// [core.ErrTooLarge] and is not sent. Default 1 MiB less 2 KiB, which is
	// what a server with its own defaults can take with any key; raise it
	// together with the server's -I.
	MaxPayload int

	// DialContext opens connections, with TLS for example, instead of a
	// net.Dialer. It must obey its context. For a store that was made by [New]
	// see DialContext of the client.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
}

const (
	defaultTimeout = 500 * time.Millisecond
	grace          = 50 * time.Millisecond // that a call may be late
)

// Open makes a store on servers, each as host:port or as the path of a unix
// socket. It opens no connection yet: a server that is down is no error here.
//
// The order of the list decides which keys belong to which server, and has to
// be the same in all processes. A name is resolved again for each connection,
// so a server may come back under another address.
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
		return nil, errors.New("memcachestore: no servers")
	}
	var all nodes
	for _, server := range servers {
		network := networkOf(server)
		if network == "" {
			return nil, fmt.Errorf("memcachestore: server %q is neither host:port nor a path", server)
		}
		all = append(all, newNode(address{network, server}, dial, conns))
	}
	return s.start(all), nil
}

// networkOf is what a server is dialed on, or "" if it never can be.
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

// New makes a store on a client of the user's, who goes on using it for other
// things and closes it after the store.
//
// [Open] is the better choice where nothing speaks against it: a client knows
// no deadlines, so each call runs in a goroutine of its own, which makes it a
// third to a half dearer (some 15 to 20 microseconds); it finds out that idle
// connections are dead by losing the first write after a restart of the
// server, which then fails with [core.ErrOutcomeUnknown]; and calls to a
// server that does not answer take room from those to the others. The client
// needs a Timeout of its own, which bounds how long a call goes on after the
// store has given it up, and as many MaxIdleConns as there are calls at once.
// The store may call its Close, which closes idle connections and no more.
func New(client *memcache.Client, o *Options) (*Store, error) {
	if client == nil {
		return nil, errors.New("memcachestore: no client")
	}
	if o != nil && o.DialContext != nil {
		return nil, errors.New("memcachestore: Options.DialContext is for Open, set that of the client")
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
	if o.Timeout < 0 || o.MaxConns < 0 || o.MaxPayload < 0 {
		return nil, 0, errors.New("memcachestore: a negative option")
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
	s.health = health.New(b.probe)
	return s
}
