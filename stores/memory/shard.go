package memorystore

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gensession/gensession/core"
)

// A record is what is kept under one key. It lies in the map itself, and key
// and payload are one piece: so a read of one session among a million meets
// little cold memory, and the garbage collector finds one object for each
// session, without pointers in it. The text never changes, and so can be read
// without the lock of the shard.
type record struct {
	text    string // the key and then the payload
	version core.Version
	expires time.Duration // as an age of the store
}

// payload is that of the record of key.
func (r record) payload(key string) string { return r.text[len(key):] }

// shards is a power of two, and so large that two requests seldom meet in one,
// and a million sessions are only some thousands in each.
const shards = 256

// A shard is the part of the records that one lock guards. A Go map suits: it
// grows by splitting tables of at most 1024 places, so that an insertion takes
// a bounded time however many there are.
type shard struct {
	mu      sync.Mutex
	records map[string]record // nil until the first one
	version core.Version      // the last one given here; a key never changes its shard
	due     time.Duration     // no record expires before it
	peak    int               // the most records since the map was made
	waiting atomic.Int32      // calls that found it locked
	_       [20]byte          // fills the cache line: neighbours shall not slow each other down
}

// put stores r under key. The map gets the key that is in r: the caller's may
// be a part of something large, or of a buffer that is used again. Go puts it
// in place of an equal one, and so lets go of the old text.
func (sh *shard) put(key string, r record) {
	if sh.records == nil {
		sh.records = map[string]record{}
		sh.due = never
	}
	sh.records[r.text[:len(key)]] = r
	sh.peak = max(sh.peak, len(sh.records))
	sh.due = min(sh.due, r.expires)
}

// join makes the text of a record.
func join(key string, data []byte) string {
	var text strings.Builder // hands out what it has without copying it once more
	text.Grow(len(key) + len(data))
	text.WriteString(key)
	text.Write(data)
	return text.String()
}

// cost is what a record takes of Options.MaxBytes, with what Go needs to keep
// it: 70 to 130 bytes, depending on how full its map is.
func cost(text string) int64 { return int64(len(text)) + 128 }

// room counts what may still be stored. Without a limit it counts nothing,
// which spares all shards a common lock.
type quota struct {
	maxEntries, maxBytes int64

	mu             sync.Mutex
	entries, bytes int64
}

func (q *quota) limited() bool { return q.maxEntries > 0 || q.maxBytes > 0 }

// take takes room for so many entries and bytes more, if there is; less is
// always fine.
func (q *quota) take(entries, bytes int64) bool {
	if !q.limited() || entries == 0 && bytes == 0 {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if entries > 0 && q.maxEntries > 0 && q.entries+entries > q.maxEntries ||
		bytes > 0 && q.maxBytes > 0 && q.bytes+bytes > q.maxBytes {
		return false
	}
	q.entries += entries
	q.bytes += bytes
	return true
}

// give returns the room of one entry.
func (q *quota) give(bytes int64) {
	if !q.limited() {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.entries--
	q.bytes -= bytes
}
