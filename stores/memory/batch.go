package memorystore

import (
	"context"
	"slices"
	"time"
	"unsafe"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/stores/internal/storekey"
)

// A change is a write of a batch, with what its key has.
type change struct {
	sh   *shard
	text string // the new record; nothing if the write is a removal
	old  record
	note bool // the old record is a note
	ok   bool // there is an old record
}

// Batch carries out all writes in one step, or none of them; see [core.Batcher].
// It supports any keys.
func (s *Store) Batch(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
	return s.batch(ctx, writes, false)
}

// KeepBatch is Batch without copying: each Data begins with its key, and nobody
// changes it any more. It is a fast path for the core.
func (s *Store) KeepBatch(ctx context.Context, writes []core.Write) ([]core.Version, error) {
	return s.batch(ctx, writes, true)
}

func (s *Store) batch(ctx context.Context, writes []core.Write, keep bool) ([]core.Version, error) {
	var roomForChanges [4]change
	changes := append(roomForChanges[:0], make([]change, len(writes))...)
	var roomForOrder [4]int
	order := roomForOrder[:0]

	var size int64 // of all sessions written
	for i, w := range writes {
		c := &changes[i]
		switch {
		case w.Data == nil && w.Version == 0:
			return nil, errRemoval
		case w.Data != nil && w.TTL < 0:
			return nil, errNegative
		}
		for _, earlier := range writes[:i] {
			if earlier.Key == w.Key {
				return nil, errTwice
			}
		}
		if w.Data != nil {
			if keep {
				c.text = unsafe.String(unsafe.SliceData(w.Data), len(w.Data)) // #nosec G103 -- the caller has promised not to change it
			} else {
				c.text = join(w.Key, w.Data)
			}
			switch {
			case !w.Note:
				size += cost(c.text)
			case cost(c.text) > maxShardNotes:
				return nil, errNote
			}
		}
		at := s.shardOf(w.Key)
		c.sh = &s.shards[at]
		order = append(order, at)
	}
	slices.Sort(order)
	order = slices.Compact(order)

	for {
		if err := s.lockAll(ctx, order); err != nil {
			return nil, err
		}
		now := s.now()
		entries, bytes, err := s.check(writes, changes, now)
		if err != nil {
			s.unlockAll(order)
			return nil, err
		}
		if !s.quota.take(entries, bytes) {
			s.unlockAll(order)
			if err := s.makeRoom(ctx, size); err != nil {
				return nil, err
			}
			continue // the records may have changed meanwhile
		}
		unlock := s.lockLists(writes)
		versions, expires := apply(writes, changes, now)
		s.enlist(writes, now)
		unlock()
		s.unlockAll(order)
		s.arm(expires)
		return versions, nil
	}
}

// lockAll locks the shards of order, which is sorted, so that no two batches wait
// for each other.
func (s *Store) lockAll(ctx context.Context, order []int) error {
	if err := ctx.Err(); err != nil {
		return ended(err)
	}
	for _, at := range order {
		s.shards[at].lock()
	}
	if s.closed.Load() {
		s.unlockAll(order)
		return errClosed
	}
	return nil
}

func (s *Store) unlockAll(order []int) {
	for _, at := range order {
		s.shards[at].mu.Unlock()
	}
}

// check fills in what is there, and returns by how much the sessions grow, or why
// the batch must not be carried out.
func (s *Store) check(writes []core.Write, changes []change, now time.Duration) (entries, bytes int64, err error) {
	for i, w := range writes {
		c := &changes[i]
		c.old, c.note, c.ok = s.find(c.sh, w.Key, now)
		switch {
		case !c.ok && !storekey.Valid(w.Key):
			return 0, 0, errKey
		case !c.ok && w.Version != 0:
			return 0, 0, errNotFound
		case c.ok && c.old.version != w.Version:
			return 0, 0, &core.Conflict{Write: i, Data: []byte(c.old.payload(w.Key)), Version: c.old.version}
		}
		if c.ok && !c.note {
			entries--
			bytes -= cost(c.old.text)
		}
		if w.Data != nil && !w.Note {
			entries++
			bytes += cost(c.text)
		}
	}
	return entries, bytes, nil
}

// apply carries out the writes. The quota has counted them.
func apply(writes []core.Write, changes []change, now time.Duration) (versions []core.Version, expires time.Duration) {
	versions, expires = make([]core.Version, len(writes)), never
	for i, w := range writes {
		c := &changes[i]
		asNote := w.Data != nil && w.Note
		switch {
		case c.note && !asNote:
			c.sh.notes.remove(w.Key)
		case c.ok && !c.note && (asNote || w.Data == nil):
			delete(c.sh.records, w.Key)
		}
		if w.Data == nil {
			continue
		}
		c.sh.version++
		r := record{c.text, c.sh.version, after(now, w.TTL)}
		versions[i], expires = r.version, min(expires, r.expires)
		if !asNote {
			c.sh.put(w.Key, r)
			continue
		}
		if c.sh.notes == nil {
			c.sh.notes = newNotes()
		}
		c.sh.notes.put(w.Key, r)
	}
	for i := range changes { // last, since it may remove what other writes replace
		if all := changes[i].sh.notes; all != nil {
			all.trim()
		}
	}
	return versions, expires
}

// Append appends suffix to the payload of key, which keeps its ttl. A note stays a
// note, and is then the newest.
func (s *Store) Append(ctx context.Context, key string, suffix []byte) ([]byte, core.Version, error) {
	for {
		sh, err := s.lock(ctx, key)
		if err != nil {
			return nil, 0, err
		}
		r, note, ok := s.find(sh, key, s.now())
		if !ok {
			sh.mu.Unlock()
			return nil, 0, errNotFound
		}
		size := cost(r.text) + int64(len(suffix))
		switch {
		case note && size > maxShardNotes:
			sh.mu.Unlock()
			return nil, 0, errNote
		case !note && !s.quota.take(0, int64(len(suffix))):
			sh.mu.Unlock()
			if err := s.makeRoom(ctx, size); err != nil {
				return nil, 0, err
			}
			continue // the record may have changed meanwhile
		}

		sh.version++
		r.text, r.version = r.text+string(suffix), sh.version
		if note {
			sh.notes.put(key, r)
			sh.notes.trim()
		} else {
			sh.put(key, r)
		}
		sh.mu.Unlock()
		return []byte(r.payload(key)), r.version, nil
	}
}
