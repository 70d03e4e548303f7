package sqlstore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/gensession/gensession/stores/internal/health"
)

// probe checks for the prober whether a session can be stored. Its error is the cause
// of an outage.
//
// A connection that leads to a standby is ended: it may be the old primary after a
// failover, and the name, the address or the list of hosts that the driver dials may
// lead to the new one.
func (s *Store) probe(ctx context.Context) error {
	if s.turn != nil { // a file: nothing but reading it can fail
		return s.probeOnce(ctx)
	}
	for n := s.db.Stats().Idle + 2; ; n-- {
		err := s.probeOnce(ctx)
		if err == nil || n <= 0 || ctx.Err() != nil {
			return err
		}
		if _, dialing := errors.AsType[dialError](err); dialing {
			return err
		}
	}
}

// A dialError is that of a connection that could not be opened.
type dialError struct{ error }

func (e dialError) Unwrap() error { return e.error }

func (s *Store) probeOnce(ctx context.Context) error {
	readOnly := 0
	err, connecting := s.try(ctx, func(ctx context.Context, c *sql.Conn) error {
		err := c.QueryRowContext(ctx, s.q.probe).Scan(&readOnly)
		// A server that lets this user write all the same is none.
		if err == nil && readOnly != 0 && (s.dialect == PostgreSQL || s.refused.Load()) {
			leave(c)
		} else if err == nil {
			readOnly = 0
		}
		return err
	})
	switch {
	case err == nil && readOnly == 0:
		s.refused.Store(false)
		return nil
	case err == nil:
		return health.Unusable{Err: errReadOnly}
	case ctx.Err() != nil:
		return ctx.Err() // there was no reply
	}
	f := s.dialect.classify(ctx, err, true, connecting)
	switch {
	case f.health == answered && f.code != "" && s.turn == nil:
		return nil // it answers, and may forbid what was asked
	case connecting:
		return dialError{f.error()}
	}
	return f.error()
}
