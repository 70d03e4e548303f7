package memcachestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/gensession/gensession/core"
)

var (
	errSeveral = fmt.Errorf("memcachestore: %w: memcached changes one key at a time", errors.ErrUnsupported)
	errRemoval = fmt.Errorf("memcachestore: %w: a removal without a version", core.ErrRefused)
	errNoRoom  = fmt.Errorf("memcachestore: %w: the server has no room for the longer payload, or its limit (-I) is lower", core.ErrRefused)
	errNoMeta  = fmt.Errorf("memcachestore: %w: the client has no meta commands", core.ErrRefused)
)

// Batch carries out one write. It returns errors.ErrUnsupported, and sends
// nothing, if there are several. memcached does not report the version of a write,
// so Batch reads it afterwards. If reading fails, the version is zero, as with
// [Store.SetVersion].
//
// A removal is a cas of an item that has expired already. On a server started
// with -M that has no memory left for it, the store uses the meta command md of
// memcached 1.6, which compares and deletes, too. With a client passed to [New],
// or an older server, it reads the version, then deletes: only there, a write of
// another client between the two is removed.
func (s *Store) Batch(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
	switch {
	case len(writes) == 0:
		return nil, nil
	case len(writes) > 1:
		return nil, errSeveral
	}
	w := writes[0]
	if w.Owner != "" {
		return nil, errSeveral
	}
	r := request{verb: verbCAS, ctx: ctx}
	r.item.CasID = uint64(w.Version)
	switch {
	case w.Data == nil && w.Version == 0:
		return nil, errRemoval
	case w.Data == nil:
		if err := s.prepare(&r, w.Key); err != nil {
			return nil, err
		}
		r.item.Expiration = expired
	default:
		if err := s.prepareWrite(&r, w.Key, w.Data, w.TTL); err != nil {
			return nil, err
		}
		if w.Version == 0 {
			r.verb = verbAdd
		}
	}
	for range 8 {
		err := s.ask(&r)
		if w.Data == nil && errors.Is(err, core.ErrRefused) {
			err = s.removeWithoutMemory(&r)
		}
		if err == nil {
			return []core.Version{0}, nil
		}
		if !errors.Is(err, core.ErrConflict) {
			return nil, err
		}
		found, err := s.look(&r)
		if err == nil {
			return nil, &core.Conflict{Data: found.Value, Version: core.Version(found.CasID)}
		}
		if r.verb != verbAdd || !errors.Is(err, core.ErrNotFound) {
			return nil, err
		}
		// What was in the way of a creation is gone.
	}
	return nil, errRace
}

// removeWithoutMemory removes the key of r on condition of its version, with
// commands that need no memory.
func (s *Store) removeWithoutMemory(r *request) error {
	meta := *r
	meta.verb = verbMetaDelete
	if err := s.ask(&meta); !errors.Is(err, core.ErrRefused) {
		return err
	}
	found, err := s.look(r)
	switch {
	case err != nil:
		return err
	case found.CasID != r.item.CasID:
		return errConflict
	}
	plain := *r
	plain.verb = verbDelete
	return s.ask(&plain)
}

// look reads the key of r within the deadline of r.
func (s *Store) look(r *request) (*memcache.Item, error) {
	get := request{verb: verbGet, ctx: r.ctx, deadline: r.deadline}
	get.item.Key = r.item.Key
	if err := s.ask(&get); err != nil {
		return nil, err
	}
	if get.answer.CasID == 0 {
		return nil, errNoCAS
	}
	return get.answer, nil
}

// Append appends suffix to the payload of key, keeps its ttl, and then reads the
// payload and its version. If reading fails, the error is
// [core.ErrOutcomeUnknown].
//
// Options.MaxPayload limits the suffix. The whole payload is limited by the
// server: beyond its limit, or if it has no memory left, nothing changes, and the
// error is [core.ErrTooLarge] or [core.ErrRefused].
func (s *Store) Append(ctx context.Context, key string, suffix []byte) ([]byte, core.Version, error) {
	r := request{verb: verbAppend, ctx: ctx}
	if err := s.prepareWrite(&r, key, suffix, 0); err != nil {
		return nil, 0, err
	}
	var before core.Version
	for range 8 {
		err := s.ask(&r)
		if err != nil && !errors.Is(err, core.ErrNotFound) {
			return nil, 0, err
		}
		appended := err == nil
		found, err := s.look(&r)
		switch {
		case appended && err == nil:
			return found.Value, core.Version(found.CasID), nil
		case appended && !errors.Is(err, core.ErrNotFound):
			return nil, 0, unread(err)
		case err != nil:
			return nil, 0, err
		}
		// The server gives the same answer if the key does not exist and if the
		// longer payload does not fit. The key may have been created since: only one
		// that was there before, too, has no room.
		version := core.Version(found.CasID)
		switch {
		case version != before:
			before = version
		case len(found.Value)+len(suffix) > s.maxPayload:
			return nil, 0, errTooLarge
		default:
			return nil, 0, errNoRoom
		}
	}
	return nil, 0, errRace
}

// unread returns the error of an Append that can't tell what it has made.
func unread(err error) error {
	for _, cause := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, cause) {
			return fmt.Errorf("memcachestore: %w: appended, but not read: %w", core.ErrOutcomeUnknown, cause)
		}
	}
	// The class of err is that of a read, and does not apply to the call.
	return fmt.Errorf("memcachestore: %w: appended, but not read: %v", core.ErrOutcomeUnknown, err)
}

// metaDelete sends the command md, which gomemcache does not know, on the
// connection of its client.
func (l *connClient) metaDelete(r *request) error {
	line, err := l.conn.command(fmt.Sprintf("md %s C%d\r\n", r.item.Key, r.item.CasID))
	switch {
	case err != nil:
	case line == "HD\r\n":
		return nil
	case line == "NF\r\n":
		return memcache.ErrCacheMiss
	case line == "EX\r\n":
		return memcache.ErrCASConflict
	default:
		err = fmt.Errorf("memcache: unexpected response line from %q: %q", "md", line) // as gomemcache does
	}
	_ = l.conn.Close()
	return err
}

// command sends a line and returns the line that is the reply.
func (c *conn) command(text string) (string, error) {
	if _, err := c.Write([]byte(text)); err != nil {
		return "", err
	}
	var line [256]byte
	for n := 0; n < len(line); {
		m, err := c.Read(line[n:])
		n += m
		if i := bytes.IndexByte(line[:n], '\n'); i >= 0 {
			return string(line[:i+1]), nil // with more than a line it does not fit
		}
		if err != nil {
			return "", err
		}
	}
	return "", errStrange
}
