package core

import (
	"crypto/subtle"
	"hash/maphash"
	"strings"
	"sync/atomic"
)

// A browser sends the same cookie pair with every request. To see that it is
// genuine and to make the store's key of its id takes a third of the time of a
// request that reads a session in memory, and comes to the same each time.

// genuine remembers pairs that were found genuine. It has a fixed size, and
// takes up a pair only when it meets it a second time with no other in between
// that wants the same place: visitors who come once cost nothing, and where
// there are far more sessions than places, hardly any is taken up.
//
// It is no cache of sessions: the store is asked each time.
type genuine struct {
	seed  maphash.Seed
	slots [1 << 12]struct {
		pair atomic.Pointer[pair]
		met  atomic.Uint32 // a part of the hash of the id met last
	}
}

// A pair is an id with its signature, as a request carries them.
type pair struct {
	id        ID
	signature string
	by        *keyring // its first key has made signature
	key       string   // where the store has id
}

func newGenuine() *genuine { return &genuine{seed: maphash.MakeSeed()} }

// recall returns the pair, nil if it is not remembered. A pair that differs in
// anything is not, nor is one of an earlier keyring. The signature is compared
// in constant time.
func (g *genuine) recall(id, signature string, by *keyring) *pair {
	p := g.slots[maphash.String(g.seed, id)%uint64(len(g.slots))].pair.Load()
	if p == nil || p.by != by || string(p.id) != id || subtle.ConstantTimeCompare(viewed(signature), viewed(p.signature)) == 0 {
		return nil
	}
	return p
}

// meet tells of a pair that was found genuine just now. key makes the store's
// key of an id. The strings may be parts of something large: they are copied.
func (g *genuine) meet(id, signature string, by *keyring, key func(ID) string) {
	hash := maphash.String(g.seed, id)
	slot := &g.slots[hash%uint64(len(g.slots))]
	if tag := uint32(hash >> 32); slot.met.Swap(tag) != tag {
		return
	}
	p := &pair{id: ID(strings.Clone(id)), signature: strings.Clone(signature), by: by}
	p.key = key(p.id)
	slot.pair.Store(p)
}
