package redisstore

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/stores/internal/storekey"
)

// A list of [core.Indexer] is a sorted set of keys, with the time when each of them
// leaves as its score, in milliseconds by the clock of the server. The set itself
// expires with the last of them.

// listFunctions are what scripts do to a list. Nothing here needs a newer server than
// scripts that may ask for the time: Redis 5.
const listFunctions = `
local function clock()
	local t = redis.call('TIME')
	return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function enter(list, key, ms)
	local left, now, at = redis.pcall('PTTL', list), clock(), '+inf'
	if ms ~= '0' then at = string.format('%.0f', now + tonumber(ms)) end
	local old = redis.pcall('ZSCORE', list, key)
	if type(old) == 'table' then return old end
	if not old or tonumber(old) < tonumber(at) then
		local r = redis.pcall('ZADD', list, at, key)
		if type(r) == 'table' then return r end
	end
	redis.pcall('ZREMRANGEBYSCORE', list, '-inf', string.format('(%.0f', now))
	if ms == '0' then
		redis.pcall('PERSIST', list)
	elseif type(left) == 'number' and (left == -2 or left >= 0 and left < tonumber(ms)) then
		return redis.pcall('PEXPIRE', list, ms)
	end
	return 1
end
`

// ownScript puts ARGV[1] into the list KEYS[1] for ARGV[2] milliseconds.
var ownScript = sync.OnceValue(func() *rueidis.Lua {
	return rueidis.NewLuaScript(listFunctions + `return enter(KEYS[1], ARGV[1], ARGV[2])`)
})

// ownedScript returns the keys in the list KEYS[1], and takes out those whose time is
// over.
var ownedScript = sync.OnceValue(func() *rueidis.Lua {
	return rueidis.NewLuaScript(listFunctions + `
local from = string.format('%.0f', clock())
local keys = redis.pcall('ZRANGEBYSCORE', KEYS[1], '(' .. from, '+inf')
if keys.err then return keys end
if redis.call('ZCARD', KEYS[1]) > #keys then redis.pcall('ZREMRANGEBYSCORE', KEYS[1], '-inf', from) end
return keys
`)
})

// Owned returns the keys in the list of owner.
func (s *Store) Owned(ctx context.Context, owner string) ([]string, error) {
	reply, err := s.do(ctx, request{op: opOwned, key: owner})
	if err != nil {
		return nil, err
	}
	keys, err := reply.AsStrSlice()
	if err != nil {
		return nil, errReply
	}
	return keys, nil
}

// Own puts key into the list of owner for ttl.
func (s *Store) Own(ctx context.Context, owner, key string, ttl time.Duration) error {
	switch {
	case ttl < 0:
		return errNegative
	case !storekey.Valid(key):
		return errKey
	}
	_, err := s.do(ctx, request{op: opOwn, key: owner, data: strings.Clone(key), ms: millis(ttl)})
	return err
}

// Disown takes keys out of the list of owner.
func (s *Store) Disown(ctx context.Context, owner string, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	_, err := s.do(ctx, request{op: opDisown, key: owner, several: cloned(keys)})
	return err
}

// GetMany returns the payload and the version of each of the keys. It asks the
// server, whatever the NearCache has, for all of them in one round trip to each
// server.
func (s *Store) GetMany(ctx context.Context, keys ...string) ([]core.Payload, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	for _, key := range keys {
		if !storekey.Valid(key) {
			return nil, errKey
		}
	}
	var results []rueidis.RedisResult
	if _, err := s.do(ctx, request{op: opMany, key: keys[0], several: cloned(keys), results: &results}); err != nil {
		return nil, err
	}
	found := make([]core.Payload, len(keys))
	for i := range results {
		if data, err := results[i].AsBytes(); err == nil { // made for this reply and not shared
			found[i] = core.Payload{Data: data, Version: digest(data)}
		}
	}
	return found, nil
}

// many asks for several payloads. Its result is an error of one of them, if there is
// any but that a key is missing or has something of another type.
func (r *request) many(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
	commands := make(rueidis.Commands, len(r.several))
	for i, key := range r.several {
		commands[i] = c.B().Arbitrary("GET").Keys(key).Build()
	}
	*r.results = c.DoMulti(ctx, commands...)
	for _, result := range *r.results {
		if err := result.Error(); err != nil && !rueidis.IsRedisNil(err) && !strings.HasPrefix(err.Error(), "WRONGTYPE") {
			return result
		}
	}
	return rueidis.RedisResult{}
}

// Keys calls f with the keys that begin with prefix. It needs Redis 6 or newer, and in
// an ACL +scan.
func (s *Store) Keys(ctx context.Context, prefix string, f func(keys []string) error) error {
	nodes := map[string]rueidis.Client{"": nil}
	client := s.client.Load()
	if client != nil && (*client).Mode() == rueidis.ClientModeCluster {
		nodes = (*client).Nodes() // replicas repeat what their masters tell
	}
	for _, node := range nodes {
		for cursor := uint64(0); ; {
			reply, err := s.do(ctx, request{op: opScan, key: "*", data: pattern(prefix), ms: int64(cursor), node: node}) // #nosec G115 -- the same bits again in scan
			if err != nil {
				return err
			}
			scanned, err := reply.AsScanEntry()
			if err != nil {
				return errReply
			}
			if len(scanned.Elements) > 0 {
				if err := f(scanned.Elements); err != nil {
					return err
				}
			}
			if cursor = scanned.Cursor; cursor == 0 {
				break
			}
		}
	}
	return nil
}

// scan asks for the next keys.
func (r *request) scan(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
	if r.node != nil {
		c = r.node
	}
	cursor := strconv.FormatUint(uint64(r.ms), 10) // #nosec G115 -- as above
	return c.Do(ctx, c.B().Arbitrary("SCAN", cursor, "MATCH", r.data, "COUNT", "1000", "TYPE", "string").Build())
}

// pattern is one that all texts with the prefix match.
func pattern(prefix string) string {
	return strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`, `\`, `\\`).Replace(prefix) + "*"
}

// cloned are copies of texts that may refer to a buffer of the caller.
func cloned(texts []string) []string {
	copies := make([]string, len(texts))
	for i, text := range texts {
		copies[i] = strings.Clone(text)
	}
	return copies
}
