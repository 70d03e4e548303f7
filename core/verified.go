package core

import (
	"crypto/subtle"
	"hash/maphash"
	"strings"
	"sync/atomic"
)

// A browser sends the same two cookies with every request. Verifying the
// signature and deriving the store's key from the id takes a third of the time
// of a request that reads a session from memory, and has the same result each
// time.

// A verified remembers signed ids whose signature was verified. It has a fixed
// size. It stores an entry only at the second verification in a row that maps
// to the same slot: a visitor with a single request costs nothing, and where
// there are far more sessions than slots, almost nothing is stored.
//
// It does not cache sessions: the store is read by each request.
type verified struct {
	seed  maphash.Seed
	slots [1 << 12]struct {
		entry atomic.Pointer[signedID]
		last  atomic.Uint32 // part of the hash of the id that was added last
	}
}

// A signedID is an id with its signature, as a request carries them.
type signedID struct {
	id        ID
	signature string
	by        *keyring // whose first key made the signature
	key       string   // the store's key of id
}

func newVerified() *verified { return &verified{seed: maphash.MakeSeed()} }

// lookup returns the entry of id, nil if there is none. An entry counts only if
// signature and keyring are the same as well. The signature is compared in
// constant time.
func (c *verified) lookup(id, signature string, by *keyring) *signedID {
	e := c.slots[maphash.String(c.seed, id)%uint64(len(c.slots))].entry.Load()
	if e == nil || e.by != by || string(e.id) != id || subtle.ConstantTimeCompare(viewed(signature), viewed(e.signature)) == 0 {
		return nil
	}
	return e
}

// made is a new pair for id, which the next request will bring. key is the store's
// key of id.
func (c *verified) made(id ID, by *keyring, name, key string) *signedID {
	pair := new(struct {
		signedID
		room [64]byte // of its signature, which nobody changes any more
	})
	signature := by.sign(pair.room[:0], name, string(id))
	pair.signedID = signedID{id: id, signature: kept(signature), by: by, key: key}
	c.slots[maphash.String(c.seed, string(id))%uint64(len(c.slots))].entry.Store(&pair.signedID)
	return &pair.signedID
}

// add records that signature was just verified for id. key returns the store's
// key of an id. add copies the strings, which may be parts of a large text.
func (c *verified) add(id, signature string, by *keyring, key func(ID) string) {
	hash := maphash.String(c.seed, id)
	slot := &c.slots[hash%uint64(len(c.slots))]
	if tag := uint32(hash >> 32); slot.last.Swap(tag) != tag {
		return
	}
	e := &signedID{id: ID(strings.Clone(id)), signature: strings.Clone(signature), by: by}
	e.key = key(e.id)
	slot.entry.Store(e)
}
