package redisstore

import (
	"context"
	"crypto/sha1" // #nosec G505 -- digest protects against accidents only, and is what the server can compute
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/gensession/gensession/core"
)

// An op is a kind of command.
type op uint8

const (
	opGet  op = iota
	opLook    // opGet with the ttl
	opExists
	opOwned
	opMany // opGet of several keys
	opScan
	opSet
	opCreate
	opSwap
	opBatch
	opAppend
	opTouch
	opPersist
	opDestroy
	opOwn
	opDisown
)

// reads reports whether a command can be repeated without harm.
func (o op) reads() bool { return o < opSet }

// A request is one command, on one key unless it is a batch. It holds strings, so that it can't change
// while it is still queued after its caller has returned.
type request struct {
	op      op
	key     string
	data    string
	ms      int64 // ttl, zero for none
	version core.Version
	pttl    *int64 // result of opLook
	limit   int    // of the payload after opAppend
	several []string
	results *[]rueidis.RedisResult // of opMany
	node    rueidis.Client         // for opScan; nil for any
	batch   *batch                 // of opBatch; key is its first
	began   time.Time
}

// Results of PTTL that are not milliseconds; pttlUnknown is no reply.
const (
	pttlNone    = -1
	pttlUnknown = -3
)

// run sends the command and waits for the reply.
func (r *request) run(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
	switch b := c.B(); r.op {
	// Reads are built so that the client does not recognize them as reads: it
	// would repeat them until ctx ends, or ask a replica.
	case opGet:
		return c.Do(ctx, b.Arbitrary("GET").Keys(r.key).Build())
	case opLook:
		// The ttl first: if the record is replaced in between, the server
		// reports the change.
		both := c.DoMulti(ctx, b.Arbitrary("PTTL").Keys(r.key).Build(), b.Arbitrary("GET").Keys(r.key).Build())
		if ms, err := both[0].AsInt64(); err == nil {
			*r.pttl = ms
		}
		return both[1]
	case opExists:
		return c.Do(ctx, b.Arbitrary("EXISTS").Keys(r.key).Build())
	case opSet:
		set := b.Set().Key(r.key).Value(r.data)
		if r.ms == 0 {
			return c.Do(ctx, set.Build())
		}
		return c.Do(ctx, set.PxMilliseconds(r.ms).Build())
	case opCreate:
		set := b.Set().Key(r.key).Value(r.data).Nx()
		if r.ms == 0 {
			return c.Do(ctx, set.Build())
		}
		return c.Do(ctx, set.PxMilliseconds(r.ms).Build())
	case opSwap:
		return swap().Exec(ctx, c, []string{r.key}, []string{hexVersion(r.version), r.data, strconv.FormatInt(r.ms, 10)})
	case opBatch:
		return batchScript().Exec(ctx, c, slices.Concat(r.batch.keys, r.batch.lists), r.batch.args)
	case opAppend:
		return appendScript().Exec(ctx, c, []string{r.key}, []string{r.data, strconv.Itoa(r.limit)})
	case opTouch:
		return c.Do(ctx, b.Pexpire().Key(r.key).Milliseconds(r.ms).Build())
	case opPersist:
		return c.Do(ctx, b.Persist().Key(r.key).Build())
	case opOwned:
		return ownedScript().Exec(ctx, c, []string{r.key}, nil)
	case opMany:
		return r.many(ctx, c)
	case opScan:
		return r.scan(ctx, c)
	case opOwn:
		return ownScript().Exec(ctx, c, []string{r.key}, []string{r.data, strconv.FormatInt(r.ms, 10)})
	case opDisown:
		return c.Do(ctx, b.Zrem().Key(r.key).Member(r.several...).Build())
	default:
		return c.Do(ctx, b.Del().Key(r.key).Build())
	}
}

// swap stores ARGV[2] for ARGV[3] milliseconds if the digest of the record begins
// with ARGV[1]. It returns OK, one of the numbers below, or the unchanged error of
// a command, which older servers would wrap. It is created at first use, since
// its name is a SHA-1.
var swap = sync.OnceValue(func() *rueidis.Lua {
	return rueidis.NewLuaScript(`
local old = redis.pcall('GET', KEYS[1])
if not old then return 0 end
if type(old) == 'table' then return old end
if string.sub(redis.sha1hex(old), 1, 16) ~= ARGV[1] then return 1 end
if ARGV[3] == '0' then return redis.pcall('SET', KEYS[1], ARGV[2]) end
return redis.pcall('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
`)
})

// hexVersion returns the version as the 16 digits that the script expects.
func hexVersion(v core.Version) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(v))
	var digits [16]byte
	hex.Encode(digits[:], b[:])
	return string(digits[:])
}

const swapGone = 0 // and 1 is a conflict

// digest returns the version of a record: the first eight bytes of its SHA-1. It
// protects against accidents, not attacks: only a writer of records could produce
// two with the same digest. Zero is replaced, so that a swap of that record is
// always a conflict.
func digest(data []byte) core.Version {
	sum := sha1.Sum(data) // #nosec G401 -- as above
	return max(1, core.Version(binary.BigEndian.Uint64(sum[:])))
}
