package redisstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/rueidis"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/stores/internal/storekey"
)

var (
	errRemoval = fmt.Errorf("redisstore: %w: a removal without a version", core.ErrRefused)
	errTwice   = fmt.Errorf("redisstore: %w: two writes of one key", core.ErrRefused)
	errApart   = fmt.Errorf("redisstore: %w: the keys are in several slots of the cluster", errors.ErrUnsupported)
	errAnswer  = fmt.Errorf("redisstore: %w: the reply has the wrong type", core.ErrOutcomeUnknown)
)

// Batch carries out all writes in one script, or none of them. It returns
// errors.ErrUnsupported, and sends nothing, if keys are in several slots of a
// Cluster. A proxy in front of a Cluster may look like a single server: the
// store learns from its first refusal.
func (s *Store) Batch(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
	if len(writes) == 0 {
		return nil, nil
	}
	b, err := s.batchOf(writes)
	if err != nil {
		return nil, err
	}
	reply, err := s.do(ctx, request{op: opBatch, key: b.keys[0], batch: b})
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		s.slotted.Store(true)
		return nil, err
	case err != nil:
		return nil, err
	case reply.IsArray():
		return nil, conflictOf(reply)
	case !reply.IsInt64():
		return nil, errAnswer
	}
	if n, _ := reply.AsInt64(); n == swapGone {
		return nil, errNotFound
	}
	versions := make([]core.Version, len(writes))
	for i, w := range writes {
		if w.Data != nil {
			versions[i] = digest(w.Data)
		}
	}
	return versions, nil
}

// conflictOf returns the [core.Conflict] in the reply of the script.
func conflictOf(reply rueidis.RedisMessage) error {
	parts, _ := reply.ToArray()
	if len(parts) != 2 {
		return errAnswer
	}
	n, err := parts[0].AsInt64()
	if err != nil {
		return errAnswer
	}
	data, err := parts[1].AsBytes() // made for this reply and not shared
	if err != nil {
		return errAnswer
	}
	return &core.Conflict{Write: int(n) - 1, Data: data, Version: digest(data)}
}

// Append appends suffix to the payload of key, keeps its ttl, and returns the
// payload and its version. A payload that would be larger than Options.MaxSize
// stays as it is, and the error is [core.ErrTooLarge].
func (s *Store) Append(ctx context.Context, key string, suffix []byte) ([]byte, core.Version, error) {
	if len(suffix) > s.maxSize {
		return nil, 0, errTooLarge
	}
	reply, err := s.do(ctx, request{op: opAppend, key: key, data: string(suffix), limit: s.maxSize})
	switch {
	case err != nil:
		return nil, 0, err
	case reply.IsInt64():
		if n, _ := reply.AsInt64(); n == swapGone {
			return nil, 0, errNotFound
		}
		return nil, 0, errTooLarge
	}
	data, err := reply.AsBytes() // as it was
	if err != nil {
		return nil, 0, errAnswer
	}
	data = append(data, suffix...)
	return data, digest(data), nil
}

// A batch has the keys, the lists of owners and the arguments of the script of Batch.
type batch struct{ keys, lists, args []string }

// batchOf checks the writes and returns them as keys and arguments: three for
// each write, the order in which they are carried out, and what each does to which
// list.
func (s *Store) batchOf(writes []core.Write) (*batch, error) {
	b := &batch{keys: make([]string, 0, len(writes)), args: make([]string, 0, 5*len(writes))}
	for _, w := range writes {
		switch {
		case !storekey.Valid(w.Key):
			return nil, errKey
		case slices.Contains(b.keys, w.Key):
			return nil, errTwice
		case w.Data == nil && w.Version == 0:
			return nil, errRemoval
		}
		version, ms := "", removal
		if w.Version != 0 {
			version = hexVersion(w.Version)
		}
		if w.Data != nil {
			if err := s.fits(w.Data, w.TTL); err != nil {
				return nil, err
			}
			ms = strconv.FormatInt(millis(w.TTL), 10)
		}
		b.keys = append(b.keys, strings.Clone(w.Key)) // it may refer to a buffer of the caller
		b.args = append(b.args, version, string(w.Data), ms)
	}
	order := make([]int, len(writes))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(rank(writes[i]), rank(writes[j])) })
	for _, i := range order {
		b.args = append(b.args, strconv.Itoa(i+1))
	}
	for _, w := range writes {
		if w.Owner == "" {
			b.args = append(b.args, "")
			continue
		}
		if !storekey.Valid(w.Owner) {
			return nil, errKey
		}
		list := slices.Index(b.lists, w.Owner)
		if list < 0 {
			list = len(b.lists)
			b.lists = append(b.lists, strings.Clone(w.Owner))
		}
		sign := "+"
		if w.Data == nil || w.Note {
			sign = "-"
		}
		b.args = append(b.args, sign+strconv.Itoa(list+1))
	}
	return b, nil
}

// removal stands in place of the ttl of a write that removes its key.
const removal = ""

// rank orders the writes of a batch. Creations come first and removals last: a
// server without memory refuses the first command of a script that needs memory,
// but no command after one that has changed something.
func rank(w core.Write) int {
	switch {
	case w.Data == nil:
		return 2
	case w.Version == 0:
		return 0
	}
	return 1
}

// apart reports whether the server can't change the keys of b in one script.
func (s *Store) apart(c rueidis.Client, b *batch) bool {
	if len(b.keys)+len(b.lists) == 1 || !s.slotted.Load() && c.Mode() != rueidis.ClientModeCluster {
		return false
	}
	first := slotOf(c, b.keys[0])
	elsewhere := func(key string) bool { return slotOf(c, key) != first }
	return slices.ContainsFunc(b.keys[1:], elsewhere) || slices.ContainsFunc(b.lists, elsewhere)
}

// slotOf returns the slot of a key. The client computes it for each command; this
// one is not sent.
func slotOf(c rueidis.Client, key string) uint16 {
	command := c.B().Arbitrary("EXISTS").Keys(key).Build()
	return command.Slot()
}

// batchScript has three arguments for each key: the version that it must have,
// empty if it must not exist; the payload; the ttl in milliseconds, empty for a
// removal. The order of the writes follows, and then for each write which list it
// goes into or leaves, if any: the lists are the keys behind. The script checks all keys
// and lists, then writes, the lists last. It returns 1, 0 if a key is missing, the number of a key with another
// version and its payload, or the unchanged error of a command.
//
// What comes before an error in a script stays. After the first write there is
// hardly an error left: an ACL may forbid DEL. The script then undoes what it has
// done. Where the ACL forbids PTTL, a payload comes back with the ttl of the write
// that is undone.
var batchScript = sync.OnceValue(func() *rueidis.Lua {
	return rueidis.NewLuaScript(listFunctions + `
local n, was, left = #ARGV / 5, {}, {}
for i = 1, n do
	local now, want = redis.pcall('GET', KEYS[i]), ARGV[3 * i - 2]
	if type(now) == 'table' then return now end
	if want == '' then
		if now then return {i, now} end
	elseif not now then
		return 0
	elseif string.sub(redis.sha1hex(now), 1, 16) ~= want then
		return {i, now}
	end
	was[i] = now
end
for i = n + 1, #KEYS do
	local r = redis.pcall('ZCARD', KEYS[i])
	if type(r) == 'table' then return r end
end

local function failed(r) return type(r) == 'table' and r.err end

local function put(key, data, ms)
	if ms == '0' then return redis.pcall('SET', key, data) end
	return redis.pcall('SET', key, data, 'PX', ms)
end

local function undo(i)
	local ms = left[i]
	if not was[i] then
		if failed(redis.pcall('DEL', KEYS[i])) then put(KEYS[i], '', '1') end
	elseif type(ms) ~= 'number' then
		put(KEYS[i], was[i], ARGV[3 * i] ~= '' and ARGV[3 * i] or '0')
	elseif ms < 0 then
		put(KEYS[i], was[i], '0')
	else
		put(KEYS[i], was[i], string.format('%.0f', math.max(ms, 1)))
	end
end

for k = 1, n do
	local i = tonumber(ARGV[3 * n + k])
	local data, ms, r = ARGV[3 * i - 1], ARGV[3 * i], nil
	if was[i] and (k < n or #KEYS > n) then left[i] = redis.pcall('PTTL', KEYS[i]) end
	if ms == '' then r = redis.pcall('DEL', KEYS[i]) else r = put(KEYS[i], data, ms) end
	if failed(r) then
		for u = k - 1, 1, -1 do undo(tonumber(ARGV[3 * n + u])) end
		return r
	end
end

for i = 1, n do
	local what, r = ARGV[4 * n + i], 1
	local list = KEYS[n + (tonumber(string.sub(what, 2)) or 0)]
	if string.sub(what, 1, 1) == '+' then
		r = enter(list, KEYS[i], ARGV[3 * i])
	elseif what ~= '' then
		r = redis.pcall('ZREM', list, KEYS[i])
	end
	if failed(r) then
		for u = n, 1, -1 do undo(tonumber(ARGV[3 * n + u])) end
		return r
	end
end
return 1
`)
})

// appendScript appends ARGV[1] if the payload is then no longer than ARGV[2]
// bytes. It returns the payload as it was, one of the numbers of swap, or the
// unchanged error of a command.
var appendScript = sync.OnceValue(func() *rueidis.Lua {
	return rueidis.NewLuaScript(`
local old = redis.pcall('GET', KEYS[1])
if not old then return 0 end
if type(old) == 'table' then return old end
if #old + #ARGV[1] > tonumber(ARGV[2]) then return 1 end
local r = redis.pcall('APPEND', KEYS[1], ARGV[1])
if type(r) == 'table' then return r end
return old
`)
})
