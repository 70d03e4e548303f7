package memorystore

// MaxNotes is the limit of the bytes of all notes.
const MaxNotes = maxNotes

// Pass is the sweeper's pass, now.
func (s *Store) Pass() {
	s.sweeper.running.Add(1)
	s.pass()
}

// Notes returns the number of notes and their bytes, as the store counts them and
// as they are.
func (s *Store) Notes() (n int, counted, real int64) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		if all := sh.notes; all != nil {
			n += len(all.byKey)
			counted += all.bytes
			for one := all.ends.next; one != &all.ends; one = one.next {
				real += cost(one.text)
			}
		}
		sh.mu.Unlock()
	}
	return n, counted, real
}

// Used returns the sessions and bytes that count for the limits.
func (s *Store) Used() (entries, bytes int64) {
	s.quota.mu.Lock()
	defer s.quota.mu.Unlock()
	return s.quota.entries, s.quota.bytes
}

// SameShard reports whether the keys are guarded by one lock.
func (s *Store) SameShard(a, b string) bool { return s.shardOf(a) == s.shardOf(b) }
