package sqlitestore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"modernc.org/sqlite"
)

// SQLite compiles the text of a statement, which takes as long as executing it. So
// each connection keeps the statements of the store compiled.

// A connector makes connections that keep their statements.
type connector struct {
	driver.Connector
	room  *room
	place *place
}

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	if err := c.place.check(); err != nil {
		return nil, err
	}
	inner, err := c.Connector.Connect(ctx)
	if err != nil && isFull(err) && c.room.give() {
		inner, err = c.Connector.Connect(ctx)
	}
	if err != nil {
		return nil, err
	}
	return &conn{inner.(driverConn), c.room, c.place, make(map[string]driver.Stmt)}, nil
}

// driverConn is what connections of the driver are.
type driverConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// A conn is used by one goroutine at a time, and a statement is over before the next
// begins.
//
// The driver starts a goroutine for each statement whose ctx can end, which takes as long
// as a part of the statement itself. A compiled one needs none: it reads or changes a
// bounded number of rows by an index, and waits for no lock but returns an error, so that
// the store waits until the deadline. So ctx is looked at before it begins. What remains
// is the disk, from which the driver can't take it back either.
type conn struct {
	driverConn
	room     *room
	place    *place
	compiled map[string]driver.Stmt
}

// most bounds the statements: the store has fewer.
const most = 64

// statement returns text compiled, or nil if it is not worth it: one with a list of
// keys hardly comes again.
func (c *conn) statement(ctx context.Context, text string, args []driver.NamedValue) (driver.Stmt, error) {
	if s := c.compiled[text]; s != nil {
		return s, nil
	}
	if len(args) == 0 || len(c.compiled) >= most || strings.Contains(text, " IN (") {
		return nil, nil
	}
	s, err := c.PrepareContext(ctx, text)
	if err == nil {
		c.compiled[text] = s
	}
	return s, err
}

func (c *conn) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	payload := stores(text)
	switch {
	case payload && !c.room.forPayload():
		return nil, code(full)
	case !payload && c.room.spent.Load() && (strings.HasPrefix(text, "DELETE ") || strings.HasPrefix(text, "BEGIN ")):
		// It may fail, as within a transaction. Then the statement tells.
		_, _ = c.driverConn.ExecContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)", nil)
	}
	r, err := c.exec(ctx, text, args)
	if err != nil && !payload && isFull(err) && c.room.give() {
		return nil, code(busy) // the next try has room
	}
	return r, err
}

// stores reports whether a statement stores a payload, and may make the file grow.
func stores(text string) bool {
	return strings.HasPrefix(text, "INSERT ") || strings.Contains(text, " SET data = ")
}

// A code is an error of SQLite by its number, as the store reads it.
type code int

const (
	busy code = 5
	full code = 13
)

func (c code) Error() string { return fmt.Sprintf("SQLite's error %d", int(c)) }

// Code returns the number.
func (c code) Code() int { return int(c) }

// isFull reports whether the disk has no room, for a page or for the index of the log.
func isFull(err error) bool {
	const index = 4874 // SQLITE_IOERR_SHMSIZE
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && (e.Code()&0xff == int(full) || e.Code() == index)
}

func (c *conn) exec(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	s, err := c.statement(ctx, text, args)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return c.driverConn.ExecContext(ctx, text, args)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.(driver.StmtExecContext).ExecContext(context.Background(), args)
}

func (c *conn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	s, err := c.statement(ctx, text, args)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return c.driverConn.QueryContext(ctx, text, args)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.(driver.StmtQueryContext).QueryContext(context.Background(), args)
}

// ResetSession is called before a connection is used again. One that leads to another
// file is of no use.
func (c *conn) ResetSession(ctx context.Context) error {
	if c.place.check() != nil {
		return driver.ErrBadConn
	}
	return c.driverConn.ResetSession(ctx)
}

func (c *conn) Close() error {
	for _, s := range c.compiled {
		_ = s.Close()
	}
	return c.driverConn.Close()
}
