package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"slices"
	"strings"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/stores/internal/storekey"
)

// The list of an owner is a column of the table, with an index. It changes when a
// session logs in or ends, and not when it is saved or touched.

// many is how many keys are in one statement.
const many = 1000

// Owned returns the keys of the living sessions whose list is owner.
func (s *Store) Owned(ctx context.Context, owner string) ([]string, error) {
	return s.keysOf(ctx, owner, &s.q.owned, &params{owner: owner})
}

// keysOf returns the keys that a statement selects.
func (s *Store) keysOf(ctx context.Context, key string, q *statement, p *params) (keys []string, err error) {
	err = s.do(ctx, key, true, func(ctx context.Context, c *sql.Conn) error {
		keys = nil
		return s.each(ctx, c, q.text, q.args(p), func(rows *sql.Rows) error {
			var key string
			err := rows.Scan(&key)
			keys = append(keys, key)
			return err
		})
	})
	return keys, err
}

// Own makes owner the list of the session under key, for as long as it lives.
func (s *Store) Own(ctx context.Context, owner, key string, ttl time.Duration) error {
	switch {
	case ttl < 0:
		return errNegative
	case !storekey.Valid(owner):
		return errKey
	}
	return s.write(ctx, &s.q.own, &params{key: key, owner: owner})
}

// Disown takes keys out of the list of owner.
func (s *Store) Disown(ctx context.Context, owner string, keys ...string) error {
	sorted := slices.Sorted(slices.Values(keys)) // as batches lock them
	for some := range slices.Chunk(sorted, many) {
		text, args, err := s.in(&s.q.disown, &params{owner: owner}, some)
		if err != nil {
			return err
		}
		err = s.do(ctx, owner, false, func(ctx context.Context, c *sql.Conn) error {
			_, err := s.execMany(ctx, c, text, args)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// in returns a statement with the condition that the key is one of keys.
func (s *Store) in(q *statement, p *params, keys []string) (text string, args []any, err error) {
	args = q.args(p)
	var list strings.Builder
	for i, key := range keys {
		if !storekey.Valid(key) {
			return "", nil, errKey
		}
		if i > 0 {
			list.WriteString(", ")
		}
		args = append(args, key)
		list.WriteString(s.table.placeholder(len(args)))
	}
	return q.text + " AND session_key IN (" + list.String() + ")" + q.end, args, nil
}

// GetMany returns the payload under each of the keys, and its version.
func (s *Store) GetMany(ctx context.Context, keys ...string) ([]core.Payload, error) {
	found := make(map[string]core.Payload, len(keys))
	for some := range slices.Chunk(keys, many) {
		text, args, err := s.in(&s.q.getMany, &params{}, some)
		if err != nil {
			return nil, err
		}
		err = s.do(ctx, some[0], true, func(ctx context.Context, c *sql.Conn) error {
			return s.each(ctx, c, text, args, func(rows *sql.Rows) error {
				var key string
				var data []byte
				var v int64
				err := rows.Scan(&key, &data, &v)
				found[key] = core.Payload{Data: blob(data), Version: core.Version(v)} // #nosec G115 -- the same bits
				return err
			})
		})
		if err != nil {
			return nil, err
		}
	}
	all := make([]core.Payload, len(keys))
	given := make(map[string]bool, len(keys))
	for i, key := range keys {
		all[i] = found[key]
		if given[key] { // a second time
			all[i].Data = bytes.Clone(all[i].Data)
		}
		given[key] = true
	}
	return all, nil
}

// Keys calls f with the keys of all living sessions and notes that begin with prefix.
func (s *Store) Keys(ctx context.Context, prefix string, f func(keys []string) error) error {
	// A blank comes before, and \x7f after all that a key may have.
	p := params{key: prefix, key2: prefix + "\x7f", limit: many}
	for {
		keys, err := s.keysOf(ctx, or(prefix, "all"), &s.q.keys, &p)
		if err != nil {
			return err
		}
		if len(keys) > 0 {
			if err := f(keys); err != nil {
				return err
			}
		}
		if len(keys) < many {
			return nil
		}
		p.key = keys[len(keys)-1] + " "
	}
}
