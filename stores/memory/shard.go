package memorystore

import (
	"strings"
	"sync"
	"time"

	"github.com/gensession/gensession/core"
)

// A record is what is kept under one key. It changes under the lock of its
// shard only; data never does, and so can be read outside of it.
type record struct {
	data    string
	version core.Version
	expires time.Duration // as an age of the store
}

// shards is a power of two, and so large that two requests seldom meet in one,
// and a million sessions are only some thousands in each.
const shards = 256

// A shard is the part of the records that one lock guards. A Go map suits: it
// grows by splitting tables of at most 1024 places, so that an insertion takes
// a bounded time however many there are.
type shard struct {
	mu      sync.Mutex
	records map[string]*record // nil until the first one
	version core.Version       // the last one given here; a key never changes its shard
	due     time.Duration      // no record expires before it
	peak    int                // the most records since the map was made
	_       [24]byte           // fills the cache line: neighbours shall not slow each other down
}

// add makes the record of a key that has none.
func (sh *shard) add(key string) *record {
	if sh.records == nil {
		sh.records = map[string]*record{}
		sh.due = never
	}
	r := &record{}
	sh.records[strings.Clone(key)] = r // a key may be a part of something large
	sh.peak = max(sh.peak, len(sh.records))
	return r
}

// cost is what a record takes of Options.MaxBytes, with what Go needs to keep
// it: 80 to 130 bytes, depending on how full its map is.
func cost(key string, payload int) int64 { return int64(len(key)) + int64(payload) + 128 }

// room counts what may still be stored. Without a limit it counts nothing,
// which spares all shards a common lock.
type room struct {
	maxEntries, maxBytes int64

	mu             sync.Mutex
	entries, bytes int64
}

func (r *room) limited() bool { return r.maxEntries > 0 || r.maxBytes > 0 }

// take takes room for so many entries and bytes more, if there is; less is
// always fine.
func (r *room) take(entries, bytes int64) bool {
	if !r.limited() || entries == 0 && bytes == 0 {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if entries > 0 && r.maxEntries > 0 && r.entries+entries > r.maxEntries ||
		bytes > 0 && r.maxBytes > 0 && r.bytes+bytes > r.maxBytes {
		return false
	}
	r.entries += entries
	r.bytes += bytes
	return true
}

// give returns the room of one entry.
func (r *room) give(bytes int64) {
	if !r.limited() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries--
	r.bytes -= bytes
}
