package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"slices"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/stores/internal/storekey"
)

// Batch carries out all writes in one transaction, or none of them. On PostgreSQL the
// batch of a login is one statement, and one round trip.
func (s *Store) Batch(ctx context.Context, writes ...core.Write) ([]core.Version, error) {
	if len(writes) == 0 {
		return nil, nil
	}
	all, versions, err := s.paramsOf(writes)
	if err != nil {
		return nil, err
	}
	move := s.move(all)
	var why error
	err = s.doAny(ctx, false, func(ctx context.Context, c *sql.Conn) (err error) {
		why, err = s.batchOn(ctx, c, all, move)
		return err
	})
	if err == nil {
		err = why
	}
	if err != nil {
		return nil, err
	}
	return versions, nil
}

// paramsOf are those of the writes, with the versions that these get.
func (s *Store) paramsOf(writes []core.Write) (all []params, versions []core.Version, err error) {
	all, versions = make([]params, len(writes)), make([]core.Version, len(writes))
	for i, w := range writes {
		p := &all[i]
		*p = params{key: w.Key, data: w.Data, ttl: w.TTL, old: w.Version}
		switch {
		case !storekey.Valid(w.Key):
			return nil, nil, errKey
		case slices.ContainsFunc(writes[:i], func(earlier core.Write) bool { return earlier.Key == w.Key }):
			return nil, nil, errTwice
		case w.Data == nil && w.Version == 0:
			return nil, nil, errRemoval
		case w.Owner != "" && !storekey.Valid(w.Owner):
			return nil, nil, errKey
		}
		if w.Data == nil {
			continue
		}
		if err := s.fits(w.Data, w.TTL); err != nil {
			return nil, nil, err
		}
		p.version = newVersion()
		versions[i] = p.version
		switch {
		case w.Note:
			p.owner = ""
		case w.Owner != "":
			p.owner = w.Owner
		}
	}
	return all, versions, nil
}

// batchOn makes the writes on c, in one statement if it can. why is the answer of a
// database that has made none of them.
func (s *Store) batchOn(ctx context.Context, c *sql.Conn, all []params, move *move) (why, err error) {
	if len(all) == 1 {
		done, err := s.change(ctx, c, &all[0])
		if err != nil || done {
			return nil, err
		}
		if why, err = s.whyNot(ctx, c, all, 0); err != nil {
			err = unappliedError{err}
		}
		return why, err
	}
	if move != nil {
		n, err := exec(ctx, c, move.statement, &move.params)
		if err == nil && n > 0 {
			return nil, nil
		}
		if err != nil && s.dialect.codeOf(err) != uniqueViolation {
			return nil, err
		}
		// Something is in the way, perhaps an expired session.
	}
	err = s.inTransaction(ctx, c, func() (bool, error) {
		for _, i := range order(all) {
			done, err := s.change(ctx, c, &all[i])
			if err != nil {
				return false, err
			}
			if !done {
				why, err = s.whyNot(ctx, c, all, i)
				return false, err
			}
		}
		return true, nil
	})
	return why, err
}

// The codes for a key that is taken.
const (
	uniqueViolation = "23505"
	duplicateKey    = "1062"
)

// A move is a batch in one statement: a new session comes, and what was there under
// another key is replaced or goes.
type move struct {
	*statement
	params
}

// move returns all as one statement, or nil if it is another batch.
func (s *Store) move(all []params) *move {
	if s.dialect != PostgreSQL || len(all) != 2 {
		return nil
	}
	created, old := &all[0], &all[1]
	if created.old != 0 {
		created, old = old, created
	}
	if created.old != 0 || old.old == 0 {
		return nil
	}
	m := &move{&s.q.swapInto, *old}
	if old.data == nil {
		m.statement = &s.q.removeInto
	}
	m.key2, m.data2, m.version2, m.ttl2, m.owner2 = created.key, created.data, created.version, created.ttl, created.owner
	return m
}

// order returns the order in which the writes are made: that of their keys, so that
// no two batches wait for each other.
func order(all []params) []int {
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(all[i].key, all[j].key) })
	return order
}

// change makes one write, and reports whether its condition held.
func (s *Store) change(ctx context.Context, c *sql.Conn, p *params) (bool, error) {
	if p.data == nil {
		n, err := exec(ctx, c, &s.q.remove, p)
		return n > 0, err
	}
	return s.writeIf(ctx, c, p)
}

// whyNot returns why the condition of a write did not hold.
func (s *Store) whyNot(ctx context.Context, c *sql.Conn, all []params, i int) (why, err error) {
	var data []byte
	var v int64
	there, err := readOn(ctx, c, &s.q.getVersion, &all[i], &data, &v)
	switch {
	case err != nil:
		return nil, err
	case there:
		return &core.Conflict{Write: i, Data: blob(data), Version: core.Version(v)}, nil // #nosec G115 -- the same bits
	case all[i].old == 0: // it has gone meanwhile
		return errConflict, nil
	}
	return errNotFound, nil
}

// Append appends suffix to the payload of key, keeps its ttl, and returns the payload
// and its version. A payload that would be larger than Options.MaxSize stays as it
// is, and the error is [core.ErrTooLarge]. On databases that do not return what they
// have written, a second statement reads it.
func (s *Store) Append(ctx context.Context, key string, suffix []byte) ([]byte, core.Version, error) {
	if len(suffix) > s.maxSize {
		return nil, 0, errTooLarge
	}
	p := params{key: key, data: suffix, version: newVersion(), limit: s.maxSize - len(suffix)}
	var data []byte
	var v int64
	var why error
	err := s.do(ctx, key, false, func(ctx context.Context, c *sql.Conn) error {
		for {
			done, returned, err := s.appendOnce(ctx, c, &p, &data, &v)
			if err != nil || returned {
				why = nil
				return err
			}
			there, err := readOn(ctx, c, &s.q.getVersion, &p, &data, &v)
			switch {
			case err != nil && done:
				return appliedError{err}
			case err != nil:
				return unappliedError{err}
			case !there:
				why = errNotFound
			case done:
				why = nil
			case len(data) > p.limit:
				why = errTooLarge
			default:
				continue // it came between the two statements
			}
			return nil
		}
	})
	if err == nil {
		err = why
	}
	if err != nil {
		return nil, 0, err
	}
	return blob(data), core.Version(v), nil // #nosec G115 -- the same bits
}

// appendOnce appends, and reports whether there was something to append to, and
// whether the payload and the version were returned.
func (s *Store) appendOnce(ctx context.Context, c *sql.Conn, p *params, data *[]byte, v *int64) (done, returned bool, err error) {
	if s.dialect == PostgreSQL {
		done, err = readOn(ctx, c, &s.q.append, p, data, v)
		return done, done, err
	}
	n, err := exec(ctx, c, &s.q.append, p)
	return n > 0, false, err
}
