package sqlitestore

import (
	"context"
	"database/sql/driver"
	"strings"
)

// SQLite compiles the text of a statement, which takes as long as executing it. So
// each connection keeps the statements of the store compiled.

// A connector makes connections that keep their statements.
type connector struct{ driver.Connector }

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	inner, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{inner.(driverConn), make(map[string]driver.Stmt)}, nil
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

func (c *conn) Close() error {
	for _, s := range c.compiled {
		_ = s.Close()
	}
	return c.driverConn.Close()
}
