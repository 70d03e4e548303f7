package databases_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alexedwards/scs/mysqlstore"
	"github.com/alexedwards/scs/pgxstore"
	"github.com/alexedwards/scs/postgresstore"
	"github.com/alexedwards/scs/sqlite3store"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gensession/gensession/internal/servers"
	sqlstore "github.com/gensession/gensession/stores/sql"
	sqlitestore "github.com/gensession/gensession/stores/sqlite"
)

// connections is how many each pool may open, and how many callers there are at most,
// so that none waits for a connection.
const connections = 16

// A scsStore is what all stores of scs are.
type scsStore interface {
	Find(token string) ([]byte, bool, error)
	Commit(token string, data []byte, expiry time.Time) error
	Delete(token string) error
}

// An scsPeer is a store of scs for a database.
type scsPeer struct {
	name  string
	table string // what its documentation says, without the name
	open  func(b *testing.B, db *sql.DB) scsStore
}

// scsPeers are the stores of scs for a database. Those on database/sql get the pool
// that ours has, so that the driver and its settings are the same.
func scsPeers(d sqlstore.Dialect) []scsPeer {
	switch d {
	case sqlstore.PostgreSQL:
		const table = "token TEXT PRIMARY KEY, data BYTEA NOT NULL, expiry TIMESTAMPTZ NOT NULL"
		return []scsPeer{
			{"scs-postgresstore", table, func(_ *testing.B, db *sql.DB) scsStore { return postgresstore.NewWithCleanupInterval(db, 0) }},
			{"scs-pgxstore", table, func(b *testing.B, _ *sql.DB) scsStore {
				config, err := pgxpool.ParseConfig(servers.SharedPostgres(b).URL())
				if err != nil {
					b.Fatal(err)
				}
				config.MaxConns = connections
				pool, err := pgxpool.NewWithConfig(b.Context(), config)
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(pool.Close)
				return pgxstore.NewWithCleanupInterval(pool, 0)
			}},
		}
	case sqlstore.MySQL:
		return []scsPeer{{"scs-mysqlstore", "token CHAR(43) PRIMARY KEY, data BLOB NOT NULL, expiry TIMESTAMP(6) NOT NULL",
			func(_ *testing.B, db *sql.DB) scsStore { return mysqlstore.NewWithCleanupInterval(db, 0) }}}
	}
	return []scsPeer{{"scs-sqlite3store", "token TEXT PRIMARY KEY, data BLOB NOT NULL, expiry REAL NOT NULL",
		func(_ *testing.B, db *sql.DB) scsStore { return sqlite3store.NewWithCleanupInterval(db, 0) }}}
}

// A caller does operations, each on a session of its own.
type caller func(ctx context.Context, op string) error

// BenchmarkBeside measures the store beside those of scs, by turns as in
// BenchmarkDatabase, on the same server. A save and a touch are a Commit there, which
// knows of no version. The sessions have keys of the length of a token of scs.
func BenchmarkBeside(b *testing.B) {
	for _, d := range databases {
		_, db, s := d.store(b)
		db.SetMaxOpenConns(connections)
		db.SetMaxIdleConns(connections)
		data := make([]byte, 256)
		if d.dialect == sqlstore.SQLite {
			// That of applications, which stores/sqlite opens: it keeps its statements
			// compiled.
			file, err := sqlitestore.Open(filepath.Join(b.TempDir(), "sessions.db"), &sqlstore.Options{NoSweep: true})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { file.Close() })
			s = file.Store
		}
		names := []string{"gensession"}
		libs := [][]caller{ourCallers(b, s, data)}
		if _, err := db.Exec("DROP TABLE IF EXISTS sessions"); err != nil {
			b.Fatal(err)
		}
		for i, peer := range scsPeers(d.dialect) {
			if i == 0 {
				for _, q := range []string{"CREATE TABLE sessions (" + peer.table + ")", "CREATE INDEX sessions_expiry_idx ON sessions (expiry)"} {
					if _, err := db.Exec(q); err != nil {
						b.Fatal(err)
					}
				}
			}
			names = append(names, peer.name)
			libs = append(libs, scsCallers(b, peer.open(b, db), peer.name, data))
		}
		for _, callers := range []int{1, connections} {
			if d.dialect == sqlstore.SQLite && callers > 1 {
				continue // a file has one writer at a time
			}
			for _, op := range []string{"get", "set", "swap", "touch", "set+destroy"} {
				b.Run(fmt.Sprintf("db=%s/op=%s/callers=%d", d.name, op, callers), func(b *testing.B) {
					beside(b, names, libs, op, callers)
				})
			}
		}
		if _, err := db.Exec("DROP TABLE sessions"); err != nil {
			b.Error(err)
		}
		d.drop(b, db)
	}
}

// beside lets each of libs have its turn, and reports the middle one of each, by the
// number of operations.
func beside(b *testing.B, names []string, libs [][]caller, op string, callers int) {
	ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
	defer cancel()
	turn := max(20/callers, 5)
	run := func(lib []caller) time.Duration {
		var all sync.WaitGroup
		begun := time.Now()
		for _, do := range lib[:callers] {
			all.Go(func() {
				for range turn {
					if err := do(ctx, op); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		return time.Since(begun) / time.Duration(turn*callers)
	}
	for _, lib := range libs {
		run(lib) // opens the connections
	}
	took := make([][]time.Duration, len(libs))
	for n := 0; b.Loop(); n++ {
		for i := range libs {
			i = (i + n) % len(libs) // in a changing order
			took[i] = append(took[i], run(libs[i]))
		}
	}
	b.ReportMetric(0, "ns/op")
	for i, all := range took {
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2]), "ns-"+names[i])
	}
}

// token is a key as long as one of scs.
func token(of string, i int) string {
	return strings.Repeat("k", 43)[len(of)+3:] + of + fmt.Sprintf("-%02d", i)
}

func ourCallers(b *testing.B, s *sqlstore.Store, data []byte) (all []caller) {
	b.Helper()
	for i := range connections {
		o := &ours{s: s, key: token("ours", i), data: data, ttl: time.Hour}
		var err error
		if o.version, err = s.SetVersion(b.Context(), o.key, data, o.ttl, 0); err != nil {
			b.Fatal(err)
		}
		ends := token("ends", i)
		all = append(all, func(ctx context.Context, op string) error {
			switch op {
			case "set":
				// The version of the session that swap goes on with must stay.
				return s.Set(ctx, ends, data, o.ttl)
			case "set+destroy":
				if err := s.Set(ctx, ends, data, o.ttl); err != nil {
					return err
				}
				return s.Destroy(ctx, ends)
			}
			return o.do(ctx, op)
		})
	}
	return all
}

func scsCallers(b *testing.B, s scsStore, name string, data []byte) (all []caller) {
	b.Helper()
	for i := range connections {
		key, ends := token(name, i), token(name+"-ends", i)
		if err := s.Commit(key, data, time.Now().Add(time.Hour)); err != nil {
			b.Fatal(err)
		}
		all = append(all, func(_ context.Context, op string) error {
			switch op {
			case "get":
				got, ok, err := s.Find(key)
				if err == nil && (!ok || len(got) != len(data)) {
					err = fmt.Errorf("%s has lost a session", name)
				}
				return err
			case "set+destroy":
				if err := s.Commit(ends, data, time.Now().Add(time.Hour)); err != nil {
					return err
				}
				return s.Delete(ends)
			}
			return s.Commit(key, data, time.Now().Add(time.Hour))
		})
	}
	return all
}
