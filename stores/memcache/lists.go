package memcachestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/stores/internal/caught"
	"github.com/gensession/gensession/stores/internal/storekey"
)

// A list of [core.Indexer] is one item with a line for each key: the key and when it
// leaves, in Unix milliseconds by the clock of this machine, 0 for never. Of several lines
// of one key the latest time counts. A new key is appended, so that logins beside each
// other don't meet; what has to go is taken out by cas.
//
// The server drops the item when it needs the room, and all is lost with it: lists
// are best effort here.

// listLife is how long an item with a list stays after it was begun, or rewritten when
// something went. What is appended does not prolong it. A list that is lost so heals as
// others do.
const listLife = 400 * 24 * time.Hour

// clockSkew is how much longer than its session a key stays in a list, since clocks
// differ and those of the servers count whole seconds.
const clockSkew = 2 * time.Second

const never = math.MaxInt64

var errLines = fmt.Errorf("memcachestore: %w: a list has a line that is none", core.ErrCorrupt)

// Evicts reports that the server may drop a list to make room.
func (s *Store) Evicts() bool { return true }

// Owned returns the keys in the list of owner, those that the server has not lost.
func (s *Store) Owned(ctx context.Context, owner string) ([]string, error) {
	lines, _, err := s.readList(ctx, owner)
	if err != nil {
		return nil, err
	}
	keys := make([]string, 0, len(lines.ends))
	for key := range lines.ends {
		keys = append(keys, key)
	}
	if lines.spoiled > 16 && lines.spoiled > len(keys) {
		_ = s.rewrite(ctx, owner, func(map[string]int64) {}) // another time then
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
	end := endOf(ttl)
	line := request{ctx: ctx}
	if err := s.prepareWrite(&line, owner, appendLine(nil, key, end), listLife); err != nil {
		return err
	}
	for range 8 {
		line.verb = verbAppend
		if err := s.ask(&line); !errors.Is(err, core.ErrNotFound) {
			return err
		}
		line.verb = verbAdd
		if err := s.ask(&line); !errors.Is(err, core.ErrConflict) {
			return err
		}
		// It has no room for one more line, or has come just now.
		err := s.rewrite(ctx, owner, func(ends map[string]int64) { ends[key] = max(ends[key], end) })
		if !errors.Is(err, core.ErrConflict) && !errors.Is(err, core.ErrNotFound) {
			return err
		}
	}
	return errRace
}

// Disown takes keys out of the list of owner.
func (s *Store) Disown(ctx context.Context, owner string, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	var err error
	for range 8 {
		err = s.rewrite(ctx, owner, func(ends map[string]int64) {
			for _, key := range keys {
				delete(ends, key)
			}
		})
		if errors.Is(err, core.ErrNotFound) {
			return nil
		}
		if !errors.Is(err, core.ErrConflict) {
			break
		}
	}
	return err
}

// A list is what its lines say.
type list struct {
	ends    map[string]int64
	spoiled int // lines that say nothing any more
}

// readList reads a list. A missing one is empty, with the version zero.
func (s *Store) readList(ctx context.Context, owner string) (list, core.Version, error) {
	data, version, err := s.GetVersion(ctx, owner)
	if errors.Is(err, core.ErrNotFound) {
		return list{}, 0, nil
	}
	if err != nil {
		return list{}, 0, err
	}
	l, now := list{ends: map[string]int64{}}, time.Now().UnixMilli()
	for line := range bytes.Lines(data) {
		key, text, ok := strings.Cut(string(line), " ")
		end, err := strconv.ParseInt(strings.TrimSuffix(text, "\n"), 10, 64)
		if !ok || err != nil || !storekey.Valid(key) {
			return list{}, 0, errLines
		}
		if end == 0 {
			end = never
		}
		if _, twice := l.ends[key]; twice || end <= now {
			l.spoiled++
		}
		if end > now {
			l.ends[key] = max(l.ends[key], end)
		}
	}
	return l, version, nil
}

// rewrite changes a list by cas: [core.ErrConflict] if it was changed meanwhile, and
// [core.ErrNotFound] if there is none.
func (s *Store) rewrite(ctx context.Context, owner string, change func(ends map[string]int64)) error {
	l, version, err := s.readList(ctx, owner)
	if err != nil {
		return err
	}
	if version == 0 {
		return errNotFound
	}
	if change(l.ends); len(l.ends) == 0 {
		_, err := s.Batch(ctx, core.Write{Key: owner, Version: version})
		return err
	}
	var text []byte
	for key, end := range l.ends {
		text = appendLine(text, key, end)
	}
	_, err = s.SetVersion(ctx, owner, text, listLife, version)
	return err
}

// endOf is when a key leaves that stays for ttl from now on.
func endOf(ttl time.Duration) int64 {
	if ttl == 0 {
		return never
	}
	return time.Now().UnixMilli() + ttl.Milliseconds() + clockSkew.Milliseconds()
}

func appendLine(text []byte, key string, end int64) []byte {
	if end == never {
		end = 0
	}
	text = append(append(text, key...), ' ')
	return append(strconv.AppendInt(text, end, 10), '\n')
}

// someKeys are asked for in one command.
const someKeys = 100

// GetMany returns the payload and the version of each of the keys: with commands for
// some keys each, at the same time.
func (s *Store) GetMany(ctx context.Context, keys ...string) ([]core.Payload, error) {
	groups := map[*node][]string{}
	all, _ := s.backend.(nodes)
	for _, key := range keys {
		if !storekey.Valid(key) {
			return nil, errKey
		}
		var n *node // of all servers, if the client chooses them
		if all != nil {
			n = all.of(key)
		}
		groups[n] = append(groups[n], key)
	}
	var requests []*request
	for _, group := range groups {
		slices.Sort(group)
		for some := range slices.Chunk(slices.Compact(group), someKeys) {
			r := &request{verb: verbGetMany, ctx: ctx, keys: some}
			if err := s.prepare(r, some[0]); err != nil {
				return nil, err
			}
			requests = append(requests, r)
		}
	}
	errs := make([]error, len(requests))
	caught.All(len(requests), func(i int) { errs[i] = s.ask(requests[i]) })
	found := make([]core.Payload, len(keys))
	for i, r := range requests {
		if errs[i] != nil {
			return nil, errs[i]
		}
		for key, item := range r.answers {
			if item.Key != key {
				return nil, r.class(errForeign)
			}
			if item.CasID == 0 {
				return nil, errNoCAS
			}
		}
	}
	taken := map[string]bool{}
	for i, key := range keys {
		for _, r := range requests {
			item := r.answers[key]
			if item == nil {
				continue
			}
			found[i] = core.Payload{Data: item.Value, Version: core.Version(item.CasID)}
			if taken[key] { // asked for twice, and each is the caller's
				found[i].Data = bytes.Clone(item.Value)
			}
			if found[i].Data == nil {
				found[i].Data = []byte{}
			}
			taken[key] = true
			break
		}
	}
	return found, nil
}

// Keys returns errors.ErrUnsupported: memcached does not tell its keys.
func (s *Store) Keys(context.Context, string, func([]string) error) error {
	return fmt.Errorf("memcachestore: %w: memcached does not tell its keys", errors.ErrUnsupported)
}
