package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/gensession/gensession/core"
)

// The levels of a finding.
const (
	fine    = "ok"
	note    = "note"    // it may be meant
	fault   = "fault"   // sessions get lost, or requests fail, now or some day
	unknown = "unknown" // the server does not tell
)

// A finding is what one check has found.
type finding struct {
	Server string `json:"server,omitempty"` // of several
	Check  string `json:"check"`
	Level  string `json:"level"`
	Found  string `json:"found"`
	Remedy string `json:"remedy,omitempty"`
}

// errFault is that doctor has found one.
var errFault = errors.New("a fault was found")

// A patient is a server under examination.
type patient struct {
	c      *command
	server string
	faults int
	failed error // of the output
}

func (p *patient) find(check, level, found, remedy string) {
	f := finding{p.server, check, level, printable(found), remedy}
	if level == fault {
		p.faults++
	}
	text := f.Found
	if f.Remedy != "" {
		text += ". " + f.Remedy
	}
	if p.server != "" {
		text = p.server + ": " + text
	}
	if err := p.c.out.row(f, "%-7s  %-12s  %s", []any{"LEVEL", "CHECK", "FOUND"}, level, check, text); err != nil && p.failed == nil {
		p.failed = err
	}
}

// either finds that all is well, or else what is not.
func (p *patient) either(check string, well bool, good, level, bad, remedy string) {
	if well {
		p.find(check, fine, good, "")
	} else {
		p.find(check, level, bad, remedy)
	}
}

func (c *command) doctor(ctx context.Context) error {
	if c.koa {
		return mistake("-koa says nothing to doctor")
	}
	a, err := c.address()
	if err != nil {
		return err
	}
	p := &patient{c: c}
	switch a.scheme {
	case "redis", "rediss":
		err = p.redis(ctx, a)
	case "memcached":
		err = p.memcached(ctx, a)
	case "sqlite":
		err = p.sqlite(ctx, a)
	default:
		err = p.database(ctx, a)
	}
	if err == nil {
		err = p.failed
	}
	if err == nil && p.faults > 0 {
		err = errFault
	}
	return err
}

// reach asks whether the store answers: an error if not, for all else would only say
// the same again.
func (p *patient) reach(ctx context.Context, s core.Store) error {
	ctx, cancel := context.WithTimeout(ctx, p.c.timeout)
	defer cancel()
	began := time.Now()
	_, err := s.Get(ctx, p.c.prefix+rand.Text())
	took := time.Since(began).Round(10 * time.Microsecond)
	if errors.Is(err, core.ErrUnavailable) || errors.Is(err, core.ErrTimeout) {
		return err
	}
	p.find("reach", fine, fmt.Sprintf("the first answer came after %v", took), "")
	return nil
}

const tryTTL = 10 * time.Second // of the record with which use tries the store

// use does what an application does, with a record of its own that it removes again:
// permissions are what works.
func (p *patient) use(ctx context.Context, s core.Store, remedy string) {
	ctx, cancel := context.WithTimeout(ctx, p.c.timeout)
	defer cancel()
	key := p.c.prefix + "doctor-" + rand.Text()
	defer func() { _ = s.Destroy(context.WithoutCancel(ctx), key) }()
	failed := false
	try := func(what string, err error) {
		if err != nil && !errors.Is(err, errors.ErrUnsupported) && !failed {
			failed = true
			p.find("permissions", fault, what+" fails: "+err.Error(), remedy)
		}
	}
	data := []byte("a record of gensession doctor")
	if swapper, ok := core.As[core.Swapper](s); ok {
		_, err := swapper.SetVersion(ctx, key, data, tryTTL, 0)
		try("creating a record", err)
		if err == nil {
			_, version, err := swapper.GetVersion(ctx, key)
			try("reading a record", err)
			_, err = swapper.SetVersion(ctx, key, append(data, '.'), tryTTL, version)
			try("changing a record", err)
		}
	}
	if toucher, ok := core.As[core.Toucher](s); ok && !failed {
		try("prolonging a record", toucher.Touch(ctx, key, tryTTL))
	}
	if batcher, ok := core.As[core.Batcher](s); ok && !failed {
		_, version, err := batcher.Append(ctx, key, []byte(" "))
		try("appending to a record", err)
		if err == nil {
			_, err = batcher.Batch(ctx, core.Write{Key: key, Version: version})
			try("removing a record by its version", err)
		}
	}
	if !failed {
		try("removing a record", s.Destroy(ctx, key))
	}
	if !failed {
		p.find("permissions", fine, "a record was created, read, changed, prolonged and removed", "")
		p.useLists(ctx, s, key, p.c.prefix+"own:doctor-"+rand.Text(), remedy)
	}
}

// useLists is use for Options.Owners, which not every application has.
func (p *patient) useLists(ctx context.Context, s core.Store, key, list, remedy string) {
	indexer, ok := core.As[core.Indexer](s)
	if !ok {
		return
	}
	err := indexer.Own(ctx, list, key, tryTTL)
	if err == nil {
		_, err = indexer.Owned(ctx, list)
	}
	if err == nil {
		err = indexer.Disown(ctx, list, key)
	}
	p.either("owners", err == nil, "the list of an owner was written and read", note, fmt.Sprintf("Options.Owners would fail: %v", err), remedy)
}

// clock compares that of the server with that of this machine. began and ended are when
// it was asked.
func (p *patient) clock(theirs, began, ended time.Time) {
	const most = 2 * time.Second // memcached counts in seconds, and its timer may be late
	off := theirs.Sub(began.Add(ended.Sub(began) / 2))
	p.either("clock", off.Abs() <= most+ended.Sub(began),
		"it agrees with that of this machine", fault,
		fmt.Sprintf("it differs by %v from that of this machine", off.Round(time.Second)),
		"Set both by NTP: the absolute limit of a session is counted by the clocks of the application, the idle limit by that of the server")
}

// number is what text says, 0 if it is none.
func number(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}

// size is n bytes in words.
func size(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}
