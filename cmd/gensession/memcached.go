package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	memcachestore "github.com/gensession/gensession/stores/memcache"
)

// A dumped is a store on memcached that tells its keys, as well as those servers do:
// by what their crawler finds.
type dumped struct {
	*memcachestore.Store
	servers []string
}

// Keys is that of a core.Indexer. Items that somebody uses at the same moment may be
// missing.
func (d *dumped) Keys(ctx context.Context, prefix string, f func(keys []string) error) error {
	for _, server := range d.servers {
		m, err := dialMemcached(ctx, server)
		if err != nil {
			return err
		}
		if err := errors.Join(m.keys(prefix, f), m.Close()); err != nil {
			return err
		}
	}
	return nil
}

// A memcachedConn speaks the text protocol.
type memcachedConn struct {
	net.Conn
	r *bufio.Reader
}

const memcachedPatience = 30 * time.Second // for all that a connection is for

func dialMemcached(ctx context.Context, server string) (*memcachedConn, error) {
	network := "tcp"
	if strings.HasPrefix(server, "/") {
		network = "unix"
	}
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(memcachedPatience)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &memcachedConn{c, bufio.NewReader(c)}, nil
}

// lines sends a command, and calls f with each line of the answer before END.
func (c *memcachedConn) lines(command string, f func(line string) error) error {
	if _, err := io.WriteString(c, command+"\r\n"); err != nil {
		return err
	}
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return err
		}
		line = strings.TrimRight(line, "\r\n")
		word, _, _ := strings.Cut(line, " ")
		switch word {
		case "END":
			return nil
		case "ERROR", "CLIENT_ERROR", "SERVER_ERROR", "BUSY":
			return fmt.Errorf("%w %q: %s", errRefused, command, printable(line))
		}
		if err := f(line); err != nil {
			return err
		}
	}
}

// stats returns the answer to stats, or to stats with an argument.
func (c *memcachedConn) stats(of string) (map[string]string, error) {
	all := map[string]string{}
	err := c.lines(strings.TrimSpace("stats "+of), func(line string) error {
		if name, value, ok := strings.Cut(strings.TrimPrefix(line, "STAT "), " "); ok {
			all[name] = value
		}
		return nil
	})
	return all, err
}

// errRefused is an answer that says that the command was not carried out.
var errRefused = errors.New("memcached has refused")

// keys calls f with those that begin with prefix, all at once: the server waits for
// nobody who is slow.
func (c *memcachedConn) keys(prefix string, f func(keys []string) error) error {
	var all []string
	take := func(line string) error {
		for field := range strings.FieldsSeq(line) {
			escaped, ok := strings.CutPrefix(field, "key=")
			if !ok {
				continue
			}
			if key, err := url.PathUnescape(escaped); err == nil && strings.HasPrefix(key, prefix) {
				all = append(all, key)
			}
			break
		}
		return nil
	}
	// By the table of all items. The lists of those that were used lately, which older
	// servers go through, are in motion.
	err := c.lines("lru_crawler metadump hash", take)
	if errors.Is(err, errRefused) {
		err = c.lines("lru_crawler metadump all", take)
	}
	if err != nil || len(all) == 0 {
		return err
	}
	return f(all)
}
