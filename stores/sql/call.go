package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/gensession/gensession/stores/internal/caught"
	"github.com/gensession/gensession/stores/internal/storekey"
)

// A call takes a connection first, so that a call that got none has certainly done
// nothing, and then makes its statements on it.
//
// It is tried again if it was certainly not carried out, and if the next try may go
// well: on another connection where this one is from before a restart, and after a
// moment where the server has ended a deadlock.

// patience is how often a call is tried again that others keep from its turn: longer
// than any deadline of the core. Each try waits for up to longestRest.
const (
	patience    = 1000
	longestRest = 20 * time.Millisecond
)

// do carries out a call on one key.
func (s *Store) do(ctx context.Context, key string, reads bool, work func(ctx context.Context, c *sql.Conn) error) error {
	if !storekey.Valid(key) {
		return errKey
	}
	return s.doAny(ctx, reads, work)
}

// doAny carries out a call. work returns the errors of the driver as they are. It
// may run several times, but only until it was carried out.
func (s *Store) doAny(ctx context.Context, reads bool, work func(ctx context.Context, c *sql.Conn) error) error {
	if s.closed.Load() {
		return errClosed
	}
	if err := ctx.Err(); err != nil {
		return unsent(err)
	}
	if s.turn != nil && !reads {
		select {
		case s.turn <- struct{}{}:
			defer func() { <-s.turn }()
		case <-ctx.Done():
			return unsent(ctx.Err())
		}
	}
	stale := -1      // how many connections may yet be of no use
	var before error // of the try before
	for try := 0; ; try++ {
		err, connecting := s.try(ctx, work)
		if err == nil {
			s.health.Answered()
			return nil
		}
		if try > 0 && connecting && ctx.Err() != nil {
			return fmt.Errorf("%w: %w", before, unsent(ctx.Err())) // no try has done anything
		}
		f := s.dialect.classify(ctx, err, reads, connecting)
		s.report(&f)
		before = f.error()
		if !f.again {
			return before
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", before, unsent(ctx.Err()))
		}
		if f.stale {
			if stale < 0 {
				stale = s.db.Stats().Idle + 2
			}
			if stale--; stale < 0 {
				return f.error()
			}
			continue
		}
		if try >= patience {
			return f.error()
		}
		rest := time.NewTimer(rand.N(min(time.Millisecond<<min(try, 10), longestRest))) // #nosec G404 -- only apart from others
		select {
		case <-rest.C:
		case <-ctx.Done():
			rest.Stop()
			return fmt.Errorf("%w: %w", before, unsent(ctx.Err()))
		}
	}
}

// try makes one try. connecting means that it got no connection. database/sql does not
// take a connection back whose driver has panicked, nor could it be given back: its
// lock is not released.
func (s *Store) try(ctx context.Context, work func(ctx context.Context, c *sql.Conn) error) (err error, connecting bool) {
	defer func() { caught.Again(recover()) }()
	c, err := s.db.Conn(ctx)
	if err != nil {
		return err, true
	}
	if err = s.suits(ctx, c); err == nil {
		err = work(ctx, c)
	}
	if s.vague && errors.Is(err, driver.ErrBadConn) {
		err = vagueError{err}
	}
	if err != nil && s.dialect.classify(ctx, err, true, false).drop {
		leave(c)
	}
	_ = c.Close() // which gives it back; it was an error already if it is of no use
	return err, false
}

// suits asks a connection once whether its settings do what the store relies on. MariaDB
// and MySQL have some that change what a statement means, and nothing tells then: a write
// is undone with the connection, a list of an owner has sessions that have left it, a read
// sees what is never committed. A connection that is opened later may have others than the
// first, as after SET GLOBAL or by another server behind the same name.
func (s *Store) suits(ctx context.Context, c *sql.Conn) error {
	if s.dialect != MySQL {
		return nil
	}
	conn := driverConn(c)
	if conn != nil && s.suited.has(conn) {
		return nil
	}
	bad := 0
	if err := c.QueryRowContext(ctx, "SELECT (1 - @@autocommit) + 2 * (@@sql_mode LIKE '%EMPTY_STRING_IS_NULL%')").Scan(&bad); err != nil {
		return unappliedError{err}
	}
	switch {
	case bad&1 != 0:
		return errAutocommit
	case bad != 0:
		return errEmptyIsNull
	}
	// The variable has two names, and no server has had both all the time.
	if err := s.each(ctx, c, "SHOW SESSION VARIABLES LIKE 't%isolation'", nil, func(rows *sql.Rows) error {
		var name, level string
		if err := rows.Scan(&name, &level); err != nil {
			return err
		}
		if strings.HasSuffix(level, "UNCOMMITTED") {
			return errUncommitted
		}
		return nil
	}); err != nil {
		return unappliedError{err}
	}
	if conn != nil {
		s.suited.add(conn, s.db.Stats().OpenConnections)
	}
	return nil
}

// driverConn returns what tells the connection of a driver from others, nil if nothing
// does.
func driverConn(c *sql.Conn) (conn any) {
	_ = c.Raw(func(of any) error {
		if reflect.TypeOf(of).Kind() == reflect.Pointer { // else two may be equal
			conn = of
		}
		return nil
	})
	return conn
}

// connSet are connections. It keeps those that were closed, too, until it has many more
// than the pool: then it forgets all, and they are asked once more.
type connSet struct {
	mu  sync.RWMutex
	all map[any]struct{}
}

func (s *connSet) has(conn any) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.all[conn]
	return ok
}

func (s *connSet) add(conn any, open int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil || len(s.all) > 2*open+8 {
		s.all = map[any]struct{}{}
	}
	s.all[conn] = struct{}{}
}

// leave ends a connection, which then does not go back into the pool.
func leave(c *sql.Conn) { _ = c.Raw(func(any) error { return driver.ErrBadConn }) }

// report tells the prober what a fault tells about the server.
func (s *Store) report(f *fault) {
	switch f.health {
	case answered:
		s.health.Answered()
	case lost:
		if f.readOnly {
			s.refused.Store(true)
		}
		s.health.Lost()
	case late:
		s.health.Late()
	}
}

// exec executes a statement and returns how many rows it has changed.
func exec(ctx context.Context, c *sql.Conn, s *statement, p *params) (int64, error) {
	r, err := c.ExecContext(ctx, s.text, s.args(p)...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// The codes of MariaDB and MySQL for a statement that may read more rows than
// max_join_size, or that finds what it changes by no index although sql_safe_updates
// is set. They judge by an estimate: a LIMIT, and an index that a hint names, are not
// always seen. All statements on a single key pass.
const (
	tooManyRows = "1104"
	noKeyUsed   = "1175"
)

// beyond executes a statement that reads or changes many rows, and does so once more
// without these two limits if that is what it meets. They are lifted for the statement
// alone: the connection belongs to a pool of the application, and goes back as it came.
func (s *Store) beyond(text string, execute func(text string) error) error {
	err := execute(text)
	if s.dialect != MySQL {
		return err
	}
	switch s.dialect.codeOf(err) {
	case tooManyRows, noKeyUsed:
		verb, rest, _ := strings.Cut(text, " ")
		// The first is a comment for MySQL, the second for MariaDB.
		return execute("/*M! SET STATEMENT sql_big_selects = 1, sql_safe_updates = 0 FOR */ " +
			verb + " /*+ SET_VAR(sql_big_selects = 1) SET_VAR(sql_safe_updates = 0) */ " + rest)
	}
	return err
}

// execMany is exec for a statement with a list of keys.
func (s *Store) execMany(ctx context.Context, c *sql.Conn, text string, args []any) (n int64, err error) {
	err = s.beyond(text, func(text string) error {
		r, err := c.ExecContext(ctx, text, args...)
		if err != nil {
			return err
		}
		n, err = r.RowsAffected()
		return err
	})
	return n, err
}

// each calls f for each row.
func (s *Store) each(ctx context.Context, c *sql.Conn, text string, args []any, f func(rows *sql.Rows) error) error {
	return s.beyond(text, func(text string) error {
		rows, err := c.QueryContext(ctx, text, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := f(rows); err != nil {
				return err
			}
		}
		if err := rows.Err(); err != nil {
			return err
		}
		return rows.Close()
	})
}

// inTransaction executes work in a transaction, which it ends by commit, or by
// rollback if work returns false or an error.
func (s *Store) inTransaction(ctx context.Context, c *sql.Conn, work func() (bool, error)) error {
	if _, err := c.ExecContext(ctx, s.q.begin); err != nil {
		leave(c) // it may have begun
		return unappliedError{err}
	}
	done, err := work()
	if err == nil && done {
		_, err := c.ExecContext(ctx, s.q.commit)
		if err != nil && s.dialect == SQLite {
			// It is still open if the file was locked, for example.
			s.rollback(ctx, c)
			if s.dialect.codeOf(err) != "" {
				return unappliedError{err}
			}
		}
		return err
	}
	s.rollback(ctx, c)
	if err != nil {
		return unappliedError{err}
	}
	return nil
}

// rollback ends a transaction that shall change nothing. If that can't be said to
// the server, the connection is ended, which says it too.
func (s *Store) rollback(ctx context.Context, c *sql.Conn) {
	if ctx.Err() == nil {
		if _, err := c.ExecContext(ctx, s.q.rollback); err == nil {
			return
		}
	}
	leave(c)
}
