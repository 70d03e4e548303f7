package memcachestore

import (
	"context"
	"errors"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
)

// A verb is a command of memcached.
type verb byte

const (
	verbGet verb = iota // gets, which returns the number for cas
	verbVersion
	verbGetMany // verbGet of several keys, all of one server
	verbAdd
	verbReplace
	verbCAS
	verbAppend
	verbTouch
	verbDelete
	verbMetaDelete // compares the number for cas; see metaDelete
)

// writes reports whether the command changes anything.
func (v verb) writes() bool { return v >= verbAdd }

// A request is one command, with the context of its call.
type request struct {
	verb     verb
	item     memcache.Item
	ctx      context.Context
	deadline time.Time // not later than that of ctx

	answer  *memcache.Item // of verbGet
	keys    []string       // of verbGetMany, each once; item has the first
	answers map[string]*memcache.Item
}

// send executes the command with a client.
func (r *request) send(c *memcache.Client) (err error) {
	switch r.verb {
	case verbGet:
		r.answer, err = c.Get(r.item.Key)
	case verbVersion:
		err = c.Ping()
	case verbGetMany:
		r.answers, err = c.GetMulti(r.keys)
	case verbAdd:
		err = c.Add(&r.item)
	case verbReplace:
		err = c.Replace(&r.item)
	case verbCAS:
		err = c.CompareAndSwap(&r.item)
	case verbAppend:
		err = c.Append(&r.item)
	case verbTouch:
		err = c.Touch(r.item.Key, r.item.Expiration)
	case verbDelete:
		err = c.Delete(r.item.Key)
	case verbMetaDelete:
		err = errNoMeta
	}
	return err
}

// fits reports whether the reply that led to err and r.answer has n bytes. If more
// bytes came, the next reply on this connection would be wrong: gomemcache reads
// only to the end of the first.
func (r *request) fits(err error, n int) bool {
	var want int
	switch {
	case r.verb == verbVersion:
		return true
	case r.verb == verbMetaDelete && answered(err):
		want = len("HD\r\n")
	case err == nil && r.verb == verbGet:
		it := r.answer
		want = valueLength(it) + len("END\r\n")
		if it.CasID == 0 && n == want-2 {
			return true // some proxies omit the number
		}
	case err == nil && r.verb == verbGetMany:
		want = len("END\r\n")
		for _, it := range r.answers {
			if want += valueLength(it); it.CasID == 0 {
				want -= 2
			}
		}
	case err == nil && r.verb == verbTouch:
		want = len("TOUCHED\r\n")
	case err == nil && r.verb == verbDelete:
		want = len("DELETED\r\n")
	case err == nil:
		want = len("STORED\r\n")
	case errors.Is(err, memcache.ErrCacheMiss) && r.verb == verbGet:
		want = len("END\r\n")
	case errors.Is(err, memcache.ErrCacheMiss):
		want = len("NOT_FOUND\r\n")
	case errors.Is(err, memcache.ErrNotStored):
		want = len("NOT_STORED\r\n")
	case errors.Is(err, memcache.ErrCASConflict):
		want = len("EXISTS\r\n")
	default:
		return true // the connection is closed already
	}
	return n == want
}

// valueLength returns the length of what the server sends for an item.
func valueLength(it *memcache.Item) int {
	return len("VALUE ") + len(it.Key) + len("   \r\n\r\n") +
		digits(uint64(it.Flags)) + digits(uint64(len(it.Value))) + digits(it.CasID) + len(it.Value)
}

// digits returns the number of decimal digits of n.
func digits(n uint64) int {
	d := 1
	for n > 9 {
		n /= 10
		d++
	}
	return d
}
