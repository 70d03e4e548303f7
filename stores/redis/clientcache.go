package redisstore

import (
	"bytes"
	"context"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/gensession/gensession/core"
)

// A clientCache is the in-process cache of Options.NearCache.
//
// An entry has the time before its read was sent. A mark has the time of the
// last known change of its keys: when a write of this store returned, or when the
// server reported a change. An entry is valid only if it is younger than the
// mark of its key. So a read in flight can't bring an old record back, and the
// order of replies, reports and goroutines does not matter. Keys with the same
// hash share a mark, which occasionally causes a needless read.
//
// Only time limits the age of an entry. The reports of the server make most
// entries end earlier.
type clientCache struct {
	bound time.Duration
	start time.Time
	seed  maphash.Seed

	all    atomic.Int64 // mark of all keys, as time since start
	marks  [1 << 16]atomic.Int64
	shards [cacheShards]cacheShard
}

const (
	cacheShards = 16
	cacheSize   = 32 << 20 // bytes of all entries, overhead included

	// A shard has two generations. When the young one is full or older than the
	// bound, it replaces the old one. So expired entries are removed without a
	// sorted list.
	cacheGeneration = cacheSize / cacheShards / 2
	cacheLargest    = cacheGeneration / 4
	cacheOverhead   = 160
)

type cacheShard struct {
	mu         sync.RWMutex
	young, old map[string]cacheEntry
	size       int           // of young
	turned     time.Duration // when young was created, as time since start
}

type cacheEntry struct {
	data    []byte
	version core.Version
	asked   time.Time
	life    time.Duration // counted from asked
}

func newClientCache(bound time.Duration) *clientCache {
	return &clientCache{bound: bound, start: time.Now(), seed: maphash.MakeSeed()}
}

func (n *clientCache) hash(key string) uint64 { return maphash.String(n.seed, key) }

func (n *clientCache) mark(hash uint64) *atomic.Int64 { return &n.marks[hash%uint64(len(n.marks))] }

func (n *clientCache) shard(hash uint64) *cacheShard { return &n.shards[hash>>32%cacheShards] }

// get returns a copy of the valid entry of key.
func (n *clientCache) get(key string) ([]byte, core.Version, bool) {
	hash := n.hash(key)
	s := n.shard(hash)
	s.mu.RLock()
	c, ok := s.young[key]
	if !ok {
		c, ok = s.old[key]
	}
	s.mu.RUnlock()
	if !ok {
		return nil, 0, false
	}
	now := time.Now()
	if asked := int64(c.asked.Sub(n.start)); asked <= n.mark(hash).Load() || asked <= n.all.Load() {
		return nil, 0, false
	}
	// By both clocks: the monotonic one stops while the machine sleeps, and the
	// wall clock may be set.
	wall := time.Duration(now.UnixNano() - c.asked.UnixNano())
	if now.Sub(c.asked) >= c.life || wall >= c.life || wall < 0 {
		return nil, 0, false
	}
	return bytes.Clone(c.data), c.version, true
}

// put adds a copy of the result of a read that was sent after asked. The record
// had pttl milliseconds left; a negative pttl means no end.
func (n *clientCache) put(key string, data []byte, v core.Version, asked time.Time, pttl int64) {
	life := n.bound
	if pttl >= 0 && pttl < int64(life/time.Millisecond)+1 {
		life = min(life, time.Duration(pttl)*time.Millisecond)
	}
	size := len(key) + len(data) + cacheOverhead
	if life == 0 || size > cacheLargest {
		return
	}
	c := cacheEntry{bytes.Clone(data), v, asked, life}
	key = strings.Clone(key)
	s := n.shard(n.hash(key))
	s.mu.Lock()
	defer s.mu.Unlock()
	if age := time.Since(n.start); s.young == nil || s.size+size > cacheGeneration || age-s.turned > n.bound {
		s.old, s.young, s.size, s.turned = s.young, map[string]cacheEntry{}, 0, age
	}
	s.young[key] = c
	s.size += size // also if it replaces another entry
}

// wroteAll marks the keys of a request.
func (n *clientCache) wroteAll(r request, unknown bool) {
	if r.batch == nil {
		n.wrote(r.key, unknown)
		return
	}
	for _, key := range r.batch.keys {
		n.wrote(key, unknown)
	}
}

// wrote marks a key that this store has written or tried to write. While the
// outcome of a write is unknown, reads go to the server.
func (n *clientCache) wrote(key string, unknown bool) {
	age := time.Since(n.start)
	if unknown {
		age += n.bound
	}
	raise(n.mark(n.hash(key)), int64(age))
}

// changed marks the keys that the server reports as changed. Nil means all keys;
// rueidis passes it also when a connection with tracking ends.
func (n *clientCache) changed(keys []rueidis.RedisMessage) {
	age := int64(time.Since(n.start))
	if keys == nil {
		raise(&n.all, age)
	}
	for i := range keys {
		if key, err := keys[i].ToString(); err == nil {
			raise(n.mark(n.hash(key)), age)
		} else {
			raise(&n.all, age)
		}
	}
}

func raise(mark *atomic.Int64, to int64) {
	for {
		was := mark.Load()
		if was >= to || mark.CompareAndSwap(was, to) {
			return
		}
	}
}

// cachedRead reads from the cache, or from the server into the cache.
func (s *Store) cachedRead(ctx context.Context, key string) ([]byte, core.Version, error) {
	if s.closed.Load() {
		return nil, 0, errClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, 0, unsent(err)
	}
	if data, v, ok := s.cache.get(key); ok {
		return data, v, nil
	}
	pttl := int64(pttlUnknown)
	asked := time.Now()
	data, err := s.read(ctx, request{op: opLook, key: key, pttl: &pttl})
	if err != nil {
		return nil, 0, err
	}
	v := digest(data)
	if pttl == pttlNone || pttl >= 0 {
		s.cache.put(key, data, v, asked, pttl)
	}
	return data, v, nil
}
