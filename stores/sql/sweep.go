package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/gensession/gensession/stores/internal/caught"
)

// The sweeper visits the rows whose time to look has come, oldest first, in batches
// of their own transactions. It removes those that have expired. The others were
// touched since: it sets them the time to look again, so that a touch need not, which
// would change the index each time.
//
// Between two batches it rests as long as a batch took, and it passes over what
// others have locked: requests go first, and several sweepers share the work. A batch
// begins where the one before ended: a database keeps what was removed in its index for
// a while, and would look at it again each time.

// sweeper sweeps every now and then. The first time is at random, so that processes
// that are started together do not sweep together.
func (s *Store) sweeper(ctx context.Context, every time.Duration) {
	timer := time.NewTimer(rand.N(every)) // #nosec G404 -- only apart from others
	defer timer.Stop()
	var failing time.Time
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		var err error
		panicked := caught.Do(func() { _, err = s.Sweep(ctx) })
		if ctx.Err() != nil {
			return
		}
		failing = s.swept(ctx, failing, cmp.Or(panicked, err))
		timer.Reset(every)
	}
}

// swept tells the Logger of a sweep that ended with err, if it is the first that has
// failed since failing, or the first that has not. It returns since when sweeps fail,
// the zero time if they do not.
//
// Requests may not meet what the sweeper meets: it has statements of its own.
func (s *Store) swept(ctx context.Context, failing time.Time, err error) time.Time {
	level, text, attr := slog.LevelInfo, "session sweeper works again", slog.Duration("after", time.Since(failing))
	now := time.Time{}
	if err != nil {
		level, text, attr = slog.LevelWarn, "session sweeper failing", slog.Any("error", err)
		now = time.Now()
	}
	if s.logger == nil || failing.IsZero() == now.IsZero() {
		return cmp.Or(failing, now)
	}
	_ = caught.Do(func() { s.logger.LogAttrs(ctx, level, text, attr) }) // it is code of the user
	return now
}

// Sweep removes the rows of all sessions that have expired, and returns how many it
// has removed. The store does it by itself unless Options.NoSweep is set. A row stays
// for up to a minute after the end of its session, so that sessions that end at about
// the same time share a place in the index.
func (s *Store) Sweep(ctx context.Context) (removed int, err error) {
	p := params{limit: min(s.batch, smallBatch)}
	for {
		begun := time.Now()
		n, visited, err := s.sweepSome(ctx, &p)
		removed += n
		if err != nil || visited <= p.limit/2 { // if there are a few less, others have locked them
			return removed, err
		}
		took := time.Since(begun)
		switch {
		case took > batchTime:
			p.limit = max(p.limit/2, min(s.batch, smallBatch))
		case took < batchTime/2:
			p.limit = min(2*p.limit, s.batch)
		}
		rest := time.NewTimer(took)
		select {
		case <-rest.C:
		case <-ctx.Done():
			rest.Stop()
			return removed, unsent(ctx.Err())
		}
	}
}

// A batch has so many rows that it takes about batchTime, which is how long it may
// keep a request waiting. It is not smaller than smallBatch: where it takes longer then,
// that is the disk's time to commit, which fewer rows don't make shorter.
const (
	smallBatch = 20
	batchTime  = 5 * time.Millisecond
)

// sweepSome visits one batch of rows, from p.from on, and sets it for the next.
func (s *Store) sweepSome(ctx context.Context, p *params) (removed, visited int, err error) {
	ctx, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	if s.dialect == PostgreSQL {
		err = s.doAny(ctx, false, func(ctx context.Context, c *sql.Conn) error {
			_, err := readOn(ctx, c, &s.q.sweep, p, &removed, &visited, &p.from)
			return err
		})
		return removed, visited, err
	}
	next := p.from
	defer func() {
		if err == nil {
			p.from = next
		}
	}()
	if s.dialect == MySQL {
		err = s.doAny(ctx, false, func(ctx context.Context, c *sql.Conn) error {
			all := func() (bool, error) {
				over, alive, err := s.due(ctx, c, p, &next)
				if err == nil {
					removed, visited, err = s.settle(ctx, c, over, alive)
				}
				return true, err
			}
			if !s.logsStatements.Load() {
				// Without this level it would lock the gaps between the rows too.
				if _, err := c.ExecContext(ctx, "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"); err != nil {
					return unappliedError{err}
				}
				if err := s.inTransaction(ctx, c, all); s.dialect.codeOf(err) != levelNotLogged {
					return err
				}
				s.logsStatements.Store(true)
			}
			return s.inTransaction(ctx, c, all)
		})
		return removed, visited, err
	}
	var over, alive []any
	if err = s.doAny(ctx, true, func(ctx context.Context, c *sql.Conn) error {
		over, alive, err = s.due(ctx, c, p, &next)
		return err
	}); err != nil || len(over)+len(alive) == 0 {
		return 0, 0, err
	}
	err = s.doAny(ctx, false, func(ctx context.Context, c *sql.Conn) error {
		removed, visited, err = s.settle(ctx, c, over, alive)
		return err
	})
	return removed, visited, err
}

const (
	noSuchIndex    = "1176"
	levelNotLogged = "1665" // with binlog_format=STATEMENT that level changes nothing
)

// sweepTime is the longest that a batch of the sweeper may take.
const sweepTime = 10 * time.Second

// due returns the keys of rows whose time to look has come, and how far they reach.
func (s *Store) due(ctx context.Context, c *sql.Conn, p *params, reach *int64) (over, alive []any, err error) {
	row := func(rows *sql.Rows) error {
		var key string
		var expired bool
		err := rows.Scan(&key, reach, &expired)
		if expired {
			over = append(over, key)
		} else {
			alive = append(alive, key)
		}
		return err
	}
	err = s.each(ctx, c, s.q.due.text, s.q.due.args(p), row)
	if s.dialect == MySQL && s.dialect.codeOf(err) == noSuchIndex { // the table had another name
		err = s.each(ctx, c, s.q.dueUnnamed.text, s.q.dueUnnamed.args(p), row)
	}
	return over, alive, err
}

// settle removes what is over, and sets the others the time to look again.
func (s *Store) settle(ctx context.Context, c *sql.Conn, over, alive []any) (removed, visited int, err error) {
	for i, step := range []struct {
		keys []any
		text string
	}{
		{over, s.q.sweepOver.text},
		{alive, s.q.sweepAlive.text},
	} {
		if len(step.keys) == 0 {
			continue
		}
		text := step.text + " AND session_key IN (?" + strings.Repeat(", ?", len(step.keys)-1) + ")" // #nosec G202 -- placeholders
		n, err := s.execMany(ctx, c, text, step.keys)
		if err != nil {
			return removed, visited, err
		}
		if i == 0 {
			removed = int(n)
		}
	}
	return removed, len(over) + len(alive), nil
}
