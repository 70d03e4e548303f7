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

// A near keeps copies of records in the process, for Options.NearCache.
//
// A copy is dated with the time before its read was sent, and a mark with the
// time at which something is known to have changed: when a write of this store
// returns, and when the server tells that a key has changed. A copy is good
// only if it is younger than the mark of its key, so a read that was on its way
// meanwhile can't bring an old record back, and neither the order of replies
// and news nor that of goroutines matters. Marks are shared by keys with the
// same hash, which costs a needless read at times.
//
// What bounds the age of a copy is time alone. That the server tells of changes
// only makes it better.
type clientCache struct {
	bound time.Duration
	start time.Time
	seed  maphash.Seed

	all    atomic.Int64 // mark of all keys, as an age of the near
	marks  [1 << 16]atomic.Int64
	shards [cacheShards]cacheShard
}

const (
	cacheShards = 16
	cacheSize   = 32 << 20 // of all copies, with what they take beside their bytes

	// A shard has two generations. When the young one is full or older than the
	// bound it becomes the old one, and that goes: so what is over time is not
	// kept by new copies, and no list has to be in order.
	cacheGeneration = cacheSize / cacheShards / 2
	cacheLargest    = cacheGeneration / 4
	cacheOverhead   = 160
)

type cacheShard struct {
	mu         sync.RWMutex
	young, old map[string]cacheEntry
	size       int           // of the young ones
	turned     time.Duration // when they began, as an age of the near
}

type cacheEntry struct {
	data    []byte
	version core.Version
	asked   time.Time
	life    time.Duration // from then
}

func newClientCache(bound time.Duration) *clientCache {
	return &clientCache{bound: bound, start: time.Now(), seed: maphash.MakeSeed()}
}

func (n *clientCache) hash(key string) uint64 { return maphash.String(n.seed, key) }

func (n *clientCache) mark(hash uint64) *atomic.Int64 { return &n.marks[hash%uint64(len(n.marks))] }

func (n *clientCache) shard(hash uint64) *cacheShard { return &n.shards[hash>>32%cacheShards] }

// get returns a copy of what is good of key.
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
	// By both clocks: one stands still while the machine sleeps, the other may
	// be set.
	wall := time.Duration(now.UnixNano() - c.asked.UnixNano())
	if now.Sub(c.asked) >= c.life || wall >= c.life || wall < 0 {
		return nil, 0, false
	}
	return bytes.Clone(c.data), c.version, true
}

// put keeps a copy of what a read returned that was sent after asked. The
// record had pttl milliseconds, or none to end if that is negative.
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
	s.size += size // also when it takes the place of another
}

// wrote marks a key that this store has written, or tried to. While nobody
// knows whether a write was applied or will be, the server is asked.
func (n *clientCache) wrote(key string, unknown bool) {
	age := time.Since(n.start)
	if unknown {
		age += n.bound
	}
	raise(n.mark(n.hash(key)), int64(age))
}

// changed hears from the server which keys have changed that were read; nil
// stands for all, also when a connection has ended that would have told.
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

// cachedRead is a read by way of the copies.
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
