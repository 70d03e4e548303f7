package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/stores/internal/duration"
	"github.com/gensession/gensession/stores/internal/health"
)

// Options configure a store. Nil and the zero value are valid.
type Options struct {
	// Table is the name of the table, perhaps after the name of a schema and a dot,
	// in lower case. Default "gensession".
	Table string

	// MaxSize is the maximum size of a payload. A larger payload is not sent, and
	// the error is [core.ErrTooLarge]. It must be less than half of
	// max_allowed_packet of MariaDB and MySQL, which is 16 MiB by default, since a
	// byte may need two in a statement. Default 8 MiB less 4 KiB.
	MaxSize int

	// SweepEvery is how often the store removes the rows of expired sessions. Every
	// process may do so; they keep out of each other's way. Default a minute.
	SweepEvery time.Duration

	// SweepBatch is the maximum number of rows that are removed in one transaction, up
	// to 10,000. There are fewer where that many would take longer than some
	// milliseconds, in which a request may have to wait. Default 500.
	SweepBatch int

	// NoSweep leaves expired rows in the table until somebody calls
	// [Store.Sweep], as a job of cron. They are never sessions, but take space.
	NoSweep bool

	// Logger gets a message at level WARN when a sweep that the store does by itself
	// fails, one for all until sweeps work again, and then one at INFO. It has no key
	// and no value. Calls of [Store.Sweep] return their error, and log nothing. Nil
	// logs nothing.
	Logger *slog.Logger
}

// A Store keeps sessions in a table of a database. It is safe for concurrent use.
type Store struct {
	db      *sql.DB
	dialect Dialect
	table   tableName
	q       *statements
	maxSize int
	batch   int
	logger  *slog.Logger // may be nil
	vague   bool         // the driver's ErrBadConn does not say that nothing was sent

	health         *health.Prober
	closed         atomic.Bool
	refused        atomic.Bool   // a write was refused since the last probe, as by a standby
	logsStatements atomic.Bool   // MariaDB and MySQL: binlog_format is STATEMENT
	suited         connSet       // MariaDB and MySQL: those whose settings do
	turn           chan struct{} // SQLite: the writes of this process take turns

	once sync.Once
	stop context.CancelFunc
	done sync.WaitGroup // the sweeper
}

var (
	_ core.Store    = (*Store)(nil)
	_ core.Swapper  = (*Store)(nil)
	_ core.Batcher  = (*Store)(nil)
	_ core.Indexer  = (*Store)(nil)
	_ core.Toucher  = (*Store)(nil)
	_ core.Notifier = (*Store)(nil)
	_ core.Causer   = (*Store)(nil)
)

// Format does not show what is in the store, under any verb.
func (s *Store) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("session store")) }

// New returns a store in db, which the caller closes after the store. Nil options
// are valid. New does not connect: a database that is down, or a table that is
// missing, is an error of the calls. See [Store.CreateTable].
func New(db *sql.DB, d Dialect, o *Options) (*Store, error) {
	if o == nil {
		o = &Options{}
	}
	if db == nil {
		return nil, errors.New("sqlstore: New: the database is nil")
	}
	if err := duration.Check("sqlstore: Options.SweepEvery", o.SweepEvery, 365*24*time.Hour); err != nil {
		return nil, err
	}
	t, err := d.table(o.Table)
	switch {
	case err != nil:
		return nil, err
	case o.MaxSize < 0:
		return nil, fmt.Errorf("sqlstore: Options.MaxSize is %d", o.MaxSize)
	case o.SweepBatch < 0 || o.SweepBatch > 10_000:
		return nil, fmt.Errorf("sqlstore: Options.SweepBatch is %d", o.SweepBatch)
	}
	s := &Store{db: db, dialect: d, table: t, q: statementsOf(t), maxSize: or(o.MaxSize, 8<<20-4<<10), batch: or(o.SweepBatch, 500), logger: o.Logger, vague: d.isVague(db.Driver())}
	if d == SQLite {
		s.turn = make(chan struct{}, 1)
	}
	s.health = health.New(s.probe)
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	if !o.NoSweep {
		s.done.Go(func() { s.sweeper(ctx, or(o.SweepEvery, time.Minute)) })
	}
	return s, nil
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// CreateTable creates the table with its indexes if it is missing, in one step. Indexes
// of these names on another table are an error.
// [Dialect.Schema] has the statements. Of a table that is there it only reads, so
// every process may call it at its start. One that somebody has made otherwise is an
// error: with other types, with less room than Options.MaxSize, without the primary key,
// or with columns that take different keys for one.
func (s *Store) CreateTable(ctx context.Context) error {
	f := s.lookForTable(ctx)
	if f == nil || !f.noTable {
		return f.error()
	}
	err := s.doAny(ctx, false, func(ctx context.Context, c *sql.Conn) error {
		return s.inTransaction(ctx, c, func() (bool, error) { // MariaDB and MySQL end it with their one statement
			for _, text := range s.table.schema() {
				// An index of that name belongs to another table, as to a former one that was
				// renamed: this one would be without.
				text = strings.Replace(text, "CREATE INDEX IF NOT EXISTS", "CREATE INDEX", 1)
				if _, err := c.ExecContext(ctx, text); err != nil {
					return false, err
				}
			}
			return true, nil
		})
	})
	if err != nil && s.lookForTable(ctx) == nil {
		return nil // another process was at it
	}
	return err
}

// lookForTable returns nil if the table is there, with its columns.
func (s *Store) lookForTable(ctx context.Context) *fault {
	var f *fault
	err := s.doAny(ctx, true, func(ctx context.Context, c *sql.Conn) error {
		f = nil
		err := s.each(ctx, c, s.q.columns, nil, func(*sql.Rows) error { return nil })
		if err != nil && s.dialect.codeOf(err) != "" {
			if told := s.dialect.classify(ctx, err, true, false); !told.again {
				f = &told
				return nil
			}
		}
		if err == nil {
			f, err = s.misfit(ctx, c)
		}
		return err
	})
	if err != nil {
		return &fault{whole: err}
	}
	return f
}

// misfit returns what is wrong with a table that somebody else has made, and what the
// database would not tell when it is used: keys that differ are one, or payloads are cut.
func (s *Store) misfit(ctx context.Context, c *sql.Conn) (*fault, error) {
	unfit, different := 0, 0
	look := s.q.unfit
	err := s.beyond(look.text, func(text string) error {
		look.text = text
		_, err := readOn(ctx, c, &look, &params{limit: s.maxSize}, &unfit)
		return err
	})
	if err != nil {
		return nil, err
	}
	if unfit > 0 {
		return &fault{class: core.ErrRefused, text: "a column has another type or less room, or a key, an index or the engine is another: see Dialect.Schema and Options.MaxSize"}, nil
	}
	var first string
	switch err := s.each(ctx, c, s.q.compares, nil, func(row *sql.Rows) error { return row.Scan(&different, &first) }); {
	case err != nil:
		return nil, err
	case different != 3 || first != "B":
		return &fault{class: core.ErrRefused, text: "the column session_key does not compare keys byte by byte: see Dialect.Schema"}, nil
	}
	return nil, nil
}

// Get returns the payload under key.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	p := params{key: key}
	var data []byte
	found, err := s.read(ctx, key, &s.q.get, &p, &data)
	if err == nil && !found {
		err = errNotFound
	}
	if err != nil {
		return nil, err
	}
	return blob(data), nil
}

// GetVersion returns the payload under key and its version.
func (s *Store) GetVersion(ctx context.Context, key string) ([]byte, core.Version, error) {
	p := params{key: key}
	var data []byte
	var v int64
	found, err := s.read(ctx, key, &s.q.getVersion, &p, &data, &v)
	if err == nil && !found {
		err = errNotFound
	}
	if err != nil {
		return nil, 0, err
	}
	return blob(data), core.Version(v), nil // #nosec G115 -- the same bits
}

// read reads a row into the variables.
func (s *Store) read(ctx context.Context, key string, q *statement, p *params, into ...any) (found bool, err error) {
	err = s.do(ctx, key, true, func(ctx context.Context, c *sql.Conn) error {
		found, err = readOn(ctx, c, q, p, into...)
		return err
	})
	return found, err
}

func readOn(ctx context.Context, c *sql.Conn, q *statement, p *params, into ...any) (found bool, err error) {
	err = c.QueryRowContext(ctx, q.text, q.args(p)...).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// write executes a statement, however many rows it changes.
func (s *Store) write(ctx context.Context, q *statement, p *params) error {
	return s.do(ctx, p.key, false, func(ctx context.Context, c *sql.Conn) error {
		_, err := exec(ctx, c, q, p)
		return err
	})
}

// Set stores data under key for ttl. A ttl of zero has no end.
func (s *Store) Set(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	if err := s.fits(data, ttl); err != nil {
		return err
	}
	return s.write(ctx, &s.q.set, &params{key: key, data: data, version: newVersion(), ttl: ttl})
}

// SetVersion is Set on condition that key still has version v, or does not exist if
// v is zero. Only a call that is refused makes a second statement, which asks why.
func (s *Store) SetVersion(ctx context.Context, key string, data []byte, ttl time.Duration, v core.Version) (core.Version, error) {
	if err := s.fits(data, ttl); err != nil {
		return 0, err
	}
	p := params{key: key, data: data, version: newVersion(), ttl: ttl, old: v}
	var why error
	err := s.do(ctx, key, false, func(ctx context.Context, c *sql.Conn) error {
		why = nil
		changed, err := s.writeIf(ctx, c, &p)
		if err != nil || changed {
			return err
		}
		why = errConflict
		if v == 0 {
			return nil
		}
		there, err := readOn(ctx, c, &s.q.alive, &p, new(int))
		if err == nil && !there {
			why = errNotFound
		}
		if err != nil {
			return unappliedError{err}
		}
		return nil
	})
	if err == nil {
		err = why
	}
	if err != nil {
		return 0, err
	}
	return p.version, nil
}

// writeIf writes if the row has the version p.old, or is not there if that is zero.
// It reports whether it has.
func (s *Store) writeIf(ctx context.Context, c *sql.Conn, p *params) (bool, error) {
	q := &s.q.swap
	if p.old == 0 {
		q = &s.q.create
	}
	n, err := exec(ctx, c, q, p)
	if p.old == 0 && s.dialect == MySQL && s.dialect.codeOf(err) == duplicateKey {
		n, err = exec(ctx, c, &s.q.takeOver, p)
	}
	return n > 0, err
}

// Touch sets the ttl of key, counted from now.
func (s *Store) Touch(ctx context.Context, key string, ttl time.Duration) error {
	if ttl < 0 {
		return errNegative
	}
	p := params{key: key, ttl: ttl}
	found := false
	err := s.do(ctx, key, false, func(ctx context.Context, c *sql.Conn) error {
		n, err := exec(ctx, c, &s.q.touch, &p)
		found = n > 0
		if err == nil && !found && s.dialect == MySQL { // it counts no row that had these values already
			found, err = readOn(ctx, c, &s.q.alive, &p, new(int))
		}
		return err
	})
	if err == nil && !found {
		err = errNotFound
	}
	return err
}

// Destroy removes key.
func (s *Store) Destroy(ctx context.Context, key string) error {
	return s.write(ctx, &s.q.destroy, &params{key: key})
}

// Notify calls f(false) when the database can't be used, and f(true) when it can be
// used again, each within a second. A server can't be used while it is unreachable,
// rejects the password or is read-only, as a standby is. It calls f(false) when the
// store is closed.
func (s *Store) Notify(f func(up bool)) (stop func()) { return s.health.Notify(f) }

// Cause returns why the database can't be used, or couldn't be used when the store
// was down last.
func (s *Store) Cause() error {
	if s.closed.Load() {
		return errClosed
	}
	return s.health.Cause()
}

// Close stops the goroutines of the store. It does not close the database. Later
// calls fail with [core.ErrUnavailable]. A second Close does nothing. The error is
// always nil.
func (s *Store) Close() error {
	s.once.Do(func() {
		s.closed.Store(true)
		s.stop()
		s.health.Close()
		s.done.Wait()
	})
	return nil
}

// fits checks the size and the ttl of a write.
func (s *Store) fits(data []byte, ttl time.Duration) error {
	if ttl < 0 {
		return errNegative
	}
	if len(data) > s.maxSize {
		return errTooLarge
	}
	return nil
}

// newVersion returns a version that no row ever had, as far as 64 random bits go. A
// counter would begin again after a removal.
func newVersion() core.Version {
	for {
		if v := core.Version(rand.Uint64()); v != 0 { // #nosec G404 -- different, not secret
			return v
		}
	}
}
