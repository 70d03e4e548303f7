// Package sqlitestore keeps sessions in a file, with SQLite: they outlive the
// process, and no server is needed.
//
//	store, err := sqlitestore.Open("sessions.db", nil)
//	...
//	sessions, err := core.New(store, &core.Options{Keys: keys})
//
// It is [github.com/gensession/gensession/stores/sql] on a driver in Go, without
// cgo, with the settings that are right for sessions. Several processes of one
// machine can share the file. It must be on a disk of that machine: the locks of
// network file systems are not good enough.
//
// # What a crash loses
//
// The file has a write-ahead log beside it (FILE-wal), and an index of that
// (FILE-shm). The three belong together. A process that is killed loses nothing that
// it has been told is stored. The log is written to the disk itself only now and
// then, when its content moves into the file (synchronous is NORMAL): if the machine
// loses its power, what was stored last may be lost, seconds or, on a quiet site,
// hours. The file itself is never damaged by that. A lost save logs a user out or
// forgets a change, and a lost logout logs a user in again who had logged out. If
// that is not acceptable, use a server that writes each commit to its disk, as
// PostgreSQL does.
//
// # What can be wrong with the file
//
// [Open] returns an error that tells it, and so does each call, if the file gets
// damaged, read-only or full later: it is [core.ErrRefused], and what was stored
// before is unchanged. A file that another process keeps locked is waited for
// until the deadline of the call, and is then [core.ErrUnavailable]. So is, within a
// second, one that is removed or replaced while a process has it open, as by a backup
// that is restored: stop all processes first.
//
// On a full disk sessions can still be read, prolonged and ended; what would have to be
// stored is refused until a second after there is room again. For that a file of 2 MB
// (FILE-reserve) lies beside the others, and is given up in parts. Without room for it
// nothing is stored. Its use is up when the last process closes the file on a disk that
// is still full; and on a file system that never overwrites in place, as btrfs and ZFS,
// it lasts for some hundred removals.
//
// The file is created for its owner alone, since who can read it can read all
// sessions. It does not become smaller, but uses again what has become free.
package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"modernc.org/sqlite"

	"github.com/gensession/gensession/core"
	sqlstore "github.com/gensession/gensession/stores/sql"
)

// A Store keeps sessions in a file. It is safe for concurrent use.
type Store struct {
	*sqlstore.Store
	db    *sql.DB
	place *place
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

// openTime is the longest that Open waits for another process.
const openTime = 5 * time.Second

// Open opens the file, and creates it and the table in it where they are missing.
// The folder must exist. Nil options are valid.
func Open(path string, o *sqlstore.Options) (*Store, error) {
	if path == "" || strings.HasPrefix(path, ":") || strings.HasPrefix(path, "file:") {
		return nil, errors.New("sqlitestore: Open needs the path of a file; stores/memory keeps sessions in memory")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("sqlitestore: %w", err)
	}
	if err := create(path); err != nil {
		return nil, err
	}
	plain, err := sqlite.NewConnector(dsn(path))
	if err != nil {
		return nil, fmt.Errorf("sqlitestore: %w", err)
	}
	own, err := filepath.EvalSymlinks(path) // a link that leads elsewhere later moves no file
	if err != nil {
		own = path
	}
	file, err := os.Stat(own)
	if err != nil {
		return nil, fmt.Errorf("sqlitestore: %w", err)
	}
	place := newPlace(own, file)
	db := sql.OpenDB(connector{plain, newRoom(path + "-reserve"), place})
	connections := max(4, 2*runtime.GOMAXPROCS(0))
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	s, err := sqlstore.New(db, sqlstore.SQLite, o)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	ctx, cancel := context.WithTimeout(context.Background(), openTime)
	defer cancel()
	err = s.CreateTable(ctx)
	if err == nil {
		// It tells if nothing can be written. A file that others keep locked will do.
		if e := s.Destroy(ctx, "none"); !errors.Is(e, core.ErrUnavailable) && !errors.Is(e, core.ErrTimeout) {
			err = e
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("sqlitestore: %s: %w", filepath.Base(path), err), s.Close(), db.Close())
	}
	return &Store{s, db, place}, nil
}

var creating sync.Mutex

// create creates the file where it is missing: SQLite would create it for everybody to
// read. One that is there it does not open: the system drops all locks that a process
// has on a file, those of SQLite too, when the process closes it once. So nobody else
// of this process may be opening a file that is being created.
func create(path string) error {
	creating.Lock()
	defer creating.Unlock()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) // #nosec G304 -- the path is the caller's
	if err == nil {
		err = f.Close()
	}
	if err == nil || errors.Is(err, os.ErrExist) {
		return nil
	}
	if e, ok := errors.AsType[*os.PathError](err); ok {
		err = e.Err // without the path
	}
	return fmt.Errorf("sqlitestore: the file can't be opened for writing: %w", err)
}

// dsn returns the name of the file for the driver, with the settings of each
// connection. There is no busy_timeout: the store waits for a lock itself, so that it
// knows that a write that got none was not carried out.
func dsn(path string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") { // C:/…
		path = "/" + path
	}
	name := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{
		"_journal_mode": {"WAL"},
		"_synchronous":  {"NORMAL"},
		"_error_rc":     {"1"},
		// The write that makes the log longer than so many pages moves it into the file
		// and waits for the disk: with 250 for 3 ms, with SQLite's 1,000 for 10, and as
		// much in sum.
		"_pragma": {"wal_autocheckpoint(250)", "journal_size_limit(1048576)"},
	}.Encode()}
	return name.String()
}

// Close closes the store and the file. A second Close does nothing.
func (s *Store) Close() error {
	return errors.Join(s.Store.Close(), s.db.Close())
}
