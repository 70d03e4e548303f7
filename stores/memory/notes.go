package memorystore

import "time"

// maxNotes is the maximum of the bytes of all notes, counted as sessions are. It
// is divided evenly among the shards, which is as good as one limit, since keys
// are spread evenly, and needs no lock common to all shards.
const (
	maxNotes      = 64 << 20
	maxShardNotes = maxNotes / shards
)

// notes are the notes of a shard, which core.Write explains. They are apart from
// the sessions, so that these take no more memory, and so that the sweeper does
// not visit the sessions when notes expire.
type notes struct {
	byKey map[string]*note
	bytes int64
	due   time.Duration // none expires earlier
	ends  note          // its next is the oldest, its prev the newest
}

// A note is a record in the ring of its shard, in the order of the writes.
type note struct {
	record
	keyLen     int
	prev, next *note
}

func newNotes() *notes {
	all := &notes{byKey: map[string]*note{}, due: never}
	all.ends.prev, all.ends.next = &all.ends, &all.ends
	return all
}

// find returns the note of key if it has not expired, and removes an expired one.
func (all *notes) find(key string, now time.Duration) (record, bool) {
	n, ok := all.byKey[key]
	if ok && n.expires <= now {
		all.remove(key)
		ok = false
	}
	if !ok {
		return record{}, false
	}
	return n.record, true
}

// put makes r the newest note, in place of an older one of key. It leaves the
// limit to trim.
func (all *notes) put(key string, r record) {
	all.remove(key)
	n := &note{record: r, keyLen: len(key), prev: all.ends.prev, next: &all.ends}
	n.prev.next, n.next.prev = n, n
	all.byKey[r.text[:len(key)]] = n
	all.bytes += cost(r.text)
	all.due = min(all.due, r.expires)
}

// touch changes when the note of key expires.
func (all *notes) touch(key string, expires time.Duration) {
	all.byKey[key].expires = expires
	all.due = min(all.due, expires)
}

// remove removes the note of key, if there is one.
func (all *notes) remove(key string) {
	n, ok := all.byKey[key]
	if !ok {
		return
	}
	delete(all.byKey, key)
	n.prev.next, n.next.prev = n.next, n.prev
	all.bytes -= cost(n.text)
}

// trim removes the oldest notes beyond the limit.
func (all *notes) trim() {
	for all.bytes > maxShardNotes {
		oldest := all.ends.next
		all.remove(oldest.text[:oldest.keyLen])
	}
}
