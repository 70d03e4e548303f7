package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

func (p *patient) memcached(ctx context.Context, a address) error {
	s, err := p.c.open()
	if err != nil {
		return err
	}
	defer s.Close()
	if err := p.reach(ctx, s); err != nil {
		return err
	}
	p.use(ctx, s, "")
	servers := strings.Split(a.rest, ",")
	for _, server := range servers {
		if len(servers) > 1 {
			p.server = server
		}
		if err := p.memcachedServer(ctx, server); err != nil {
			p.find("server", fault, "it does not answer: "+err.Error(), "The sessions of this server can't be used")
		}
	}
	return nil
}

func (p *patient) memcachedServer(ctx context.Context, server string) error {
	c, err := dialMemcached(ctx, server)
	if err != nil {
		return err
	}
	defer c.Close()
	began := time.Now()
	stats, err := c.stats("")
	if err != nil {
		return err
	}
	ended := time.Now()
	settings, err := c.stats("settings")
	if err != nil {
		return err
	}
	p.find("version", fine, "memcached "+stats["version"]+", up for "+(time.Duration(number(stats["uptime"]))*time.Second).String(), "")
	p.clock(time.Unix(number(stats["time"]), 0).Add(time.Second/2), began, ended)
	p.either("eviction", settings["evictions"] == "off", "a full server refuses new sessions (-M)", note, "a full server removes sessions of people who are logged in",
		"Give it enough memory (-m), or start it with -M, so that it refuses new sessions instead")
	p.either("evicted", stats["evictions"] == "0", "no item was evicted since the server started", fault, stats["evictions"]+" items were evicted since the server started",
		"Sessions among them are lost: give the server more memory (-m)")
	used, most := number(stats["bytes"]), number(stats["limit_maxbytes"])
	p.either("memory", used <= most/10*9, fmt.Sprintf("%s used of %s", size(used), size(most)), fault, fmt.Sprintf("%s used of %s", size(used), size(most)),
		"The server is nearly full: it will evict, or refuse new sessions")
	item := number(settings["item_size_max"])
	p.either("item size", item >= 512<<10, "an item may have "+size(item), fault, "an item may have "+size(item)+" only",
		"Options.MaxSize of an application is 256 KiB by default: set -I 1m, or a lower MaxSize")
	p.either("clients", stats["listen_disabled_num"] == "0", "the server was never out of connections", fault,
		"the server was out of connections "+stats["listen_disabled_num"]+" times", "Raise -c, or lower MaxConns of the stores")
	crawls := settings["lru_crawler"] == "yes"
	p.either("listing", crawls, "list, show, end by fingerprint and count find most sessions", note, "the server does not tell its keys, so list, show, end by fingerprint and count don't work",
		"Start it with -o lru_crawler")
	return nil
}
