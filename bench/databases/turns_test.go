package databases_test

import (
	"context"
	"database/sql/driver"
	"strings"
	"time"
)

// turns are those of the sweeper: a statement, or a transaction from its begin to its
// end, since that is how long it can hold what a request waits for. Those statements
// count that have a context with turnsKey; one goroutine executes them.
type turns struct {
	begun  time.Time
	within bool // a transaction
	took   []time.Duration
}

type turnsKey struct{}

func (t *turns) begin() {
	if !t.within {
		t.begun = time.Now()
	}
}

func (t *turns) end(text string) {
	switch {
	case strings.HasPrefix(text, "COMMIT") || strings.HasPrefix(text, "ROLLBACK"):
		t.within = false
	case strings.HasPrefix(text, "BEGIN") || strings.HasPrefix(text, "START TRANSACTION"):
		t.within = true
	}
	if !t.within {
		t.took = append(t.took, time.Since(t.begun))
	}
}

// A timed connector is one whose connections time the turns of the sweeper.
type timed struct{ driver.Connector }

func (t timed) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := t.Connector.Connect(ctx)
	return timedConn{c}, err
}

type timedConn struct{ driver.Conn }

func (c timedConn) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	if t, ok := ctx.Value(turnsKey{}).(*turns); ok {
		t.begin()
		defer t.end(text)
	}
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, text, args)
}

func (c timedConn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	t, ok := ctx.Value(turnsKey{}).(*turns)
	if ok {
		t.begin()
	}
	rows, err := c.Conn.(driver.QueryerContext).QueryContext(ctx, text, args)
	if ok && err != nil {
		t.end(text)
	} else if ok {
		rows = timedRows{rows, func() { t.end(text) }}
	}
	return rows, err
}

// timedRows end the statement when they are closed.
type timedRows struct {
	driver.Rows
	end func()
}

func (r timedRows) Close() error {
	defer r.end()
	return r.Rows.Close()
}
