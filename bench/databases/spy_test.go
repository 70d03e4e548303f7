package databases_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	sqlstore "github.com/gensession/gensession/stores/sql"
)

// A spy is a driver that notes the last statement, so that the bare driver can be
// measured with the statements of the store, whatever they are.
type spy struct {
	driver.Connector
	last said
}

type said struct {
	text string
	args []any
}

func (s *spy) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := s.Connector.Connect(ctx)
	return spyConn{c, s}, err
}

type spyConn struct {
	driver.Conn
	spy *spy
}

func (c spyConn) note(text string, args []driver.NamedValue) {
	c.spy.last = said{text: text}
	for _, a := range args {
		c.spy.last.args = append(c.spy.last.args, a.Value)
	}
}

func (c spyConn) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	c.note(text, args)
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, text, args)
}

func (c spyConn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	c.note(text, args)
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, text, args)
}

// bareOf returns what does on the bare driver what the store does with key.
func bareOf(b *testing.B, d *database, connector driver.Connector, db *sql.DB, key string, data []byte, ttl time.Duration) *bare {
	b.Helper()
	listening := &spy{Connector: connector}
	heard := sql.OpenDB(listening)
	defer heard.Close()
	s, err := sqlstore.New(heard, d.dialect, &sqlstore.Options{NoSweep: true})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	ctx := b.Context()
	all := &bare{db: db}
	must := func(into *said, err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
		*into = listening.last
	}
	must(&all.set, s.Set(ctx, key, data, ttl))
	_, old, err := s.GetVersion(ctx, key)
	must(&all.get, err)
	must(&all.touch, s.Touch(ctx, key, ttl+time.Hour))
	v, err := s.SetVersion(ctx, key, data, ttl, old)
	must(&all.swap, err)
	for i, a := range all.swap.args {
		switch a {
		case int64(old): // #nosec G115
			all.old = i
		case int64(v): // #nosec G115
			all.new = i
		}
	}
	all.version = int64(v) // #nosec G115
	return all
}

// A bare store is the driver with no care taken.
type bare struct {
	db                    querier
	get, set, swap, touch said
	old, new              int // where the versions are in swap
	version               int64
}

// A querier is a pool or a connection.
type querier interface {
	ExecContext(ctx context.Context, text string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, text string, args ...any) *sql.Row
}

// on returns s on a connection.
func (s *bare) on(c *sql.Conn) *bare {
	one := *s
	one.db = c
	return &one
}

func (s *bare) do(ctx context.Context, op string) error {
	exec := func(q *said) error {
		r, err := s.db.ExecContext(ctx, q.text, q.args...)
		if err != nil {
			return err
		}
		if _, err := r.RowsAffected(); err != nil {
			return err
		}
		return nil
	}
	switch op {
	case "get":
		var data []byte
		var v int64
		return s.db.QueryRowContext(ctx, s.get.text, s.get.args...).Scan(&data, &v)
	case "set":
		return exec(&s.set)
	case "touch":
		return exec(&s.touch)
	}
	s.swap.args[s.old], s.swap.args[s.new] = s.version, s.version+1
	s.version++
	r, err := s.db.ExecContext(ctx, s.swap.text, s.swap.args...)
	if err != nil {
		return err
	}
	if n, err := r.RowsAffected(); n != 1 || err != nil {
		return errors.Join(err, errors.New("no row was changed"))
	}
	return nil
}

// ours is the store, with the same arguments.
type ours struct {
	s       *sqlstore.Store
	key     string
	data    []byte
	ttl     time.Duration
	version core.Version
}

func (o *ours) do(ctx context.Context, op string) (err error) {
	switch op {
	case "get":
		_, _, err = o.s.GetVersion(ctx, o.key)
	case "set":
		err = o.s.Set(ctx, o.key, o.data, o.ttl)
	case "touch":
		err = o.s.Touch(ctx, o.key, o.ttl)
	default:
		o.version, err = o.s.SetVersion(ctx, o.key, o.data, o.ttl, o.version)
	}
	return err
}
