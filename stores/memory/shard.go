package memorystore

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gensession/gensession/core"
)

// A record is the entry of one key. It is stored in the map by value, and key and
// payload are one string. So a read touches little memory, and the garbage
// collector has one object without pointers for each session. The text never
// changes, so it can be read without the lock of the shard.
type record struct {
	text    string // the key and then the payload
	version core.Version
	expires time.Duration // as time since start
}

// payload returns the payload of r, whose key is key.
func (r record) payload(key string) string { return r.text[len(key):] }

// shards is a power of two, and so large that two requests rarely use the same
// shard, and a million sessions are a few thousand for each shard.
const shards = 256

// A shard is the part of the records that one lock guards. A Go map suits: it
// grows by splitting tables of at most 1024 places, so that an insertion takes
// a bounded time however many there are.
type shard struct {
	mu      sync.Mutex
	records map[string]record // nil until the first one
	version core.Version      // the last version used here; a key never changes its shard
	due     time.Duration     // no record expires earlier
	peak    int               // maximum of len(records) since the map was made
	notes   *notes            // nil if there are none
	waiting atomic.Int32      // calls that wait for mu
	_       [12]byte          // fills the cache line, against false sharing
}

// lock locks the shard. A waiting call is counted, for giveWay.
func (sh *shard) lock() {
	if !sh.mu.TryLock() {
		sh.wait()
	}
}

func (sh *shard) wait() {
	sh.waiting.Add(1)
	sh.mu.Lock()
	sh.waiting.Add(-1)
}

// put stores r under key. The map gets the key from r.text, since key may refer to
// a large string or a reused buffer. Go replaces an equal key, and so releases
// the old text.
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
	var text strings.Builder // String does not copy
	text.Grow(len(key) + len(data))
	text.WriteString(key)
	text.Write(data)
	return text.String()
}

// cost returns the bytes of a record that count for Options.MaxBytes, including
// the overhead of Go, which is 70 to 130 bytes depending on the load of the map.
func cost(text string) int64 { return int64(len(text)) + 128 }

// A quota counts the stored entries and bytes. Without a limit it does not count,
// which avoids a lock common to all shards.
type quota struct {
	maxEntries, maxBytes int64

	mu             sync.Mutex
	entries, bytes int64
}

func (q *quota) limited() bool { return q.maxEntries > 0 || q.maxBytes > 0 }

// take adds entries and bytes if the limits allow it, and reports whether it did.
// Negative numbers are always allowed.
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

// give removes one entry with its bytes.
func (q *quota) give(bytes int64) {
	if !q.limited() {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.entries--
	q.bytes -= bytes
}
