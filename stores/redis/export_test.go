package redisstore

import "github.com/gensession/gensession/core"

// For the benchmark of the bare client.
var Swap = swap

func Digest(data []byte) core.Version { return digest(data) }

// NearBytes is how many bytes of payload a store has copies of.
func NearBytes(s *Store) (n int) {
	for i := range s.cache.shards {
		shard := &s.cache.shards[i]
		shard.mu.RLock()
		for _, copies := range []map[string]cacheEntry{shard.young, shard.old} {
			for _, c := range copies {
				n += len(c.data)
			}
		}
		shard.mu.RUnlock()
	}
	return n
}
