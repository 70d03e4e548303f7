package databases_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"modernc.org/sqlite"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/servers"
	sqlstore "github.com/gensession/gensession/stores/sql"
	sqlitestore "github.com/gensession/gensession/stores/sqlite"
)

func TestMain(m *testing.M) { os.Exit(servers.Main(m).Run()) }

// A database is one to measure.
type database struct {
	name    string
	dialect sqlstore.Dialect
	open    func(b testing.TB, inService []string) driver.Connector
	fill    string // adds %d rows, after %d
	// In service is how a server runs that is not there to be tested: it waits for its
	// disk, and has memory. The other two bring it to rest after many changes: one
	// statement to execute, and one that returns how much is left to do.
	inService    []string
	tidy, untidy string
}

const (
	postgresNow = "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
	mysqlNow    = "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(6)) DIV 1000)"
	sqliteNow   = "CAST(round(unixepoch('subsec') * 1000) AS INTEGER)"
)

var databases = []database{
	{
		name: "sqlite", dialect: sqlstore.SQLite,
		open: func(b testing.TB, _ []string) driver.Connector {
			c, err := sqlite.NewConnector("file:" + filepath.Join(b.TempDir(), "bench.db") + "?_journal_mode=WAL&_synchronous=NORMAL&_busy_timeout=5000&_pragma=wal_autocheckpoint(250)")
			return connector(b, c, err)
		},
		fill: "INSERT INTO gensession (session_key, data, version, expires_at, sweep_at) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT 'row-' || (i + %d), zeroblob(400), 1, " + sqliteNow + " + 86400000, " + sqliteNow + " + 86400000 FROM n",
		tidy: "PRAGMA wal_checkpoint(TRUNCATE)",
	},
	{
		name: "postgres", dialect: sqlstore.PostgreSQL,
		open: func(b testing.TB, inService []string) driver.Connector {
			server := servers.SharedPostgres(b)
			if inService != nil {
				server = servers.Postgres(b, inService...)
			}
			config, err := pgx.ParseConfig(server.URL())
			if err != nil {
				b.Fatal(err)
			}
			return stdlib.GetConnector(*config)
		},
		fill:      "INSERT INTO gensession (session_key, data, version, expires_at, sweep_at) SELECT 'row-' || (i + %[2]d), decode(repeat(md5(i::text), 25), 'hex'), 1, " + postgresNow + " + 86400000, " + postgresNow + " + 86400000 FROM generate_series(1, %[1]d) i",
		inService: []string{"-c", "fsync=on", "-c", "shared_buffers=1GB", "-c", "max_wal_size=2GB", "-c", "checkpoint_timeout=1h"},
		tidy:      "VACUUM gensession",
	},
	{
		name: "mariadb", dialect: sqlstore.MySQL,
		open: func(b testing.TB, inService []string) driver.Connector {
			server := servers.SharedMariaDB(b)
			if inService != nil {
				server = servers.MariaDB(b, inService...)
			}
			config, err := mysql.ParseDSN(server.DSN() + "?interpolateParams=true&clientFoundRows=true")
			if err != nil {
				b.Fatal(err)
			}
			c, err := mysql.NewConnector(config)
			return connector(b, c, err)
		},
		fill:      "INSERT INTO gensession (session_key, data, version, expires_at, sweep_at) SELECT CONCAT('row-', seq + %[2]d), REPEAT('x', 400), 1, " + mysqlNow + " + 86400000, " + mysqlNow + " + 86400000 FROM seq_1_to_%[1]d",
		inService: []string{"--innodb-flush-log-at-trx-commit=1", "--innodb-flush-method=fsync", "--innodb-log-file-size=1G", "--innodb-buffer-pool-size=1G"},
		untidy:    "SELECT variable_value > 10 FROM information_schema.global_status WHERE variable_name = 'innodb_history_list_length'",
	},
}

func connector(b testing.TB, c driver.Connector, err error) driver.Connector {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// store makes the table, and a store in it.
func (d *database) store(b testing.TB, inService ...string) (driver.Connector, *sql.DB, *sqlstore.Store) {
	b.Helper()
	c := d.open(b, inService)
	db := sql.OpenDB(c)
	db.SetMaxIdleConns(16)
	b.Cleanup(func() { db.Close() })
	s, err := sqlstore.New(db, d.dialect, &sqlstore.Options{NoSweep: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	if _, err := db.Exec("DROP TABLE IF EXISTS gensession"); err != nil {
		b.Fatal(err)
	}
	if err := s.CreateTable(b.Context()); err != nil {
		b.Fatal(err)
	}
	return c, db, s
}

// BenchmarkDatabase measures the store beside the bare driver that executes the same
// statement. They take turns, and the medians are compared: what else the machine does
// is shared by both. The deadline is that of a call of the core.
func BenchmarkDatabase(b *testing.B) {
	for _, d := range databases {
		c, db, s := d.store(b)
		data := make([]byte, 256)
		for _, op := range []string{"get", "set", "swap", "touch"} {
			b.Run(fmt.Sprintf("db=%s/op=%s", d.name, op), func(b *testing.B) {
				ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
				defer cancel()
				bare := bareOf(b, &d, c, db, "bare", data, time.Hour)
				store := &ours{s: s, key: "ours", data: data, ttl: time.Hour}
				var err error
				if store.version, err = s.SetVersion(ctx, "ours", data, time.Hour, 0); err != nil {
					b.Fatal(err)
				}
				defer s.Destroy(ctx, "ours")
				const turn = 20
				var took [2][]time.Duration
				for b.Loop() {
					for i, do := range []func(context.Context, string) error{bare.do, store.do} {
						begun := time.Now()
						for range turn {
							if err := do(ctx, op); err != nil {
								b.Fatal(err)
							}
						}
						took[i] = append(took[i], time.Since(begun)/turn)
					}
				}
				b.ReportMetric(0, "ns/op")
				for i, name := range []string{"ns-bare", "ns-store"} {
					slices.Sort(took[i])
					b.ReportMetric(float64(took[i][len(took[i])/2]), name)
				}
			})
		}
		d.drop(b, db)
	}
	// That of a file, which keeps its statements compiled.
	s, err := sqlitestore.Open(filepath.Join(b.TempDir(), "sessions.db"), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for _, op := range []string{"get", "set", "touch"} {
		b.Run("db=file/op="+op, func(b *testing.B) {
			ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
			defer cancel()
			data := make([]byte, 256)
			if err := s.Set(ctx, "k", data, time.Hour); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				switch op {
				case "get":
					_, _, err = s.GetVersion(ctx, "k")
				case "set":
					err = s.Set(ctx, "k", data, time.Hour)
				default:
					err = s.Touch(ctx, "k", time.Hour)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func (d *database) drop(b testing.TB, db *sql.DB) {
	if _, err := db.Exec("DROP TABLE gensession"); err != nil {
		b.Error(err)
	}
}

// BenchmarkRows measures calls and the sweeper in a table of so many rows. A tenth of
// them has expired when the sweeper comes, and another tenth was touched.
func BenchmarkRows(b *testing.B) {
	for _, d := range databases {
		for _, rows := range []int{1000, 1_000_000} {
			c, db, s := d.store(b, d.inService...)
			for from := 0; from < rows; from += 100_000 {
				if _, err := db.Exec(fmt.Sprintf(d.fill, min(rows, 100_000), from)); err != nil {
					b.Fatal(err)
				}
			}
			if d.dialect == sqlstore.PostgreSQL {
				if _, err := db.Exec("VACUUM ANALYZE gensession"); err != nil {
					b.Fatal(err)
				}
			}
			ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
			next := 0
			key := func() string { next += 7919; return fmt.Sprint("row-", 1+next%rows) }
			data := make([]byte, 400)
			calls := []struct {
				name string
				do   func() error
			}{
				{"get", func() error { _, _, err := s.GetVersion(ctx, key()); return err }},
				{"set", func() error { return s.Set(ctx, key(), data, time.Hour) }},
				{"touch", func() error { return s.Touch(ctx, key(), 48*time.Hour) }},
			}
			for _, call := range calls {
				b.Run(fmt.Sprintf("db=%s/op=%s/rows=%d", d.name, call.name, rows), func(b *testing.B) {
					for b.Loop() {
						if err := call.do(); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
			b.Run(fmt.Sprintf("db=%s/op=sweep/rows=%d", d.name, rows), func(b *testing.B) { d.sweeping(b, timed{c}, key) })
			cancel()
			d.drop(b, db)
		}
	}
}

// sweeping measures how long requests take beside the sweeper, and without it, and the
// longest turn of the sweeper itself.
func (d *database) sweeping(b *testing.B, c driver.Connector, key func() string) {
	db := sql.OpenDB(c)
	defer db.Close()
	s, err := sqlstore.New(db, d.dialect, &sqlstore.Options{NoSweep: true})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	request := func() error { return s.Touch(b.Context(), key(), 48*time.Hour) }
	among := func(while func()) []time.Duration {
		var all []time.Duration
		stop := make(chan bool)
		var done sync.WaitGroup
		done.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				begun := time.Now()
				if err := request(); err != nil && !errors.Is(err, core.ErrNotFound) {
					b.Error(err)
					return
				}
				all = append(all, time.Since(begun))
			}
		})
		while()
		close(stop)
		done.Wait()
		slices.Sort(all)
		return all
	}
	ms := func(all []time.Duration, share float64) float64 {
		return float64(all[min(len(all)-1, int(share*float64(len(all))))]) / 1e6
	}
	const number = "CAST(SUBSTR(session_key, 5) AS INTEGER)"
	for n := 0; b.Loop(); n++ {
		if n > 0 {
			continue // once is enough, and all that has expired is gone
		}
		for _, q := range []string{
			// They ended within 1,000 minutes, as sessions do.
			"UPDATE gensession SET sweep_at = 60000 * MOD(" + number + ", 1000), expires_at = 5 WHERE session_key LIKE 'row-%3'",
			"UPDATE gensession SET sweep_at = 60000 * MOD(" + number + ", 1000) WHERE session_key LIKE 'row-%4'",
		} {
			if _, err := db.Exec(q); err != nil {
				b.Fatal(err)
			}
		}
		d.settle(b, db)
		without := among(func() { time.Sleep(2 * time.Second) })
		removed := 0
		var turns turns
		begun := time.Now()
		with := among(func() {
			var err error
			if removed, err = s.Sweep(context.WithValue(b.Context(), turnsKey{}, &turns)); err != nil {
				b.Error(err)
			}
		})
		took := time.Since(begun)
		if len(turns.took) == 0 || turns.within {
			b.Fatalf("of the sweeper's turns %d were seen", len(turns.took))
		}
		slices.Sort(turns.took)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(ms(turns.took, 1), "sweep-max-ms")
		b.ReportMetric(ms(turns.took, 0.99), "sweep-p99-ms")
		b.ReportMetric(float64(removed)/took.Seconds(), "removed/s")
		b.ReportMetric(ms(with, 1), "ms-beside-max")
		b.ReportMetric(ms(without, 1), "ms-alone-max")
		b.ReportMetric(ms(with, 0.999), "ms-beside-p99.9")
		b.ReportMetric(ms(without, 0.999), "ms-alone-p99.9")
	}
}

// settle waits until the database has written to its files what was changed, and
// removed what is left of that, as it has long done in an application.
func (d *database) settle(b *testing.B, db *sql.DB) {
	if d.tidy != "" {
		if _, err := db.Exec(d.tidy); err != nil {
			b.Fatal(err)
		}
	}
	for left := d.untidy != ""; left; time.Sleep(100 * time.Millisecond) {
		if err := db.QueryRow(d.untidy).Scan(&left); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDay touches each of some sessions as often as a day has hours, and looks how
// much larger the table and its indexes are then. PostgreSQL alone keeps old versions of
// rows among them.
func BenchmarkDay(b *testing.B) {
	const rows, hours, callers = 10_000, 24, 8
	d := databases[1]
	_, db, s := d.store(b)
	if _, err := db.Exec(fmt.Sprintf(d.fill, rows, 0)); err != nil {
		b.Fatal(err)
	}
	size := func() (table, index float64) {
		if err := db.QueryRow("SELECT pg_table_size('gensession') / 1e6, pg_indexes_size('gensession') / 1e6").Scan(&table, &index); err != nil {
			b.Fatal(err)
		}
		return table, index
	}
	table, index := size()
	for n := 0; b.Loop(); n++ {
		if n > 0 {
			continue // once is a day
		}
		for hour := range hours {
			var all sync.WaitGroup
			for i := range callers {
				all.Go(func() {
					for row := 1 + i; row <= rows; row += callers {
						if err := s.Touch(b.Context(), fmt.Sprint("row-", row), time.Duration(24+hour)*time.Hour); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(table, "MB-table-before")
	b.ReportMetric(index, "MB-index-before")
	table, index = size()
	b.ReportMetric(table, "MB-table-after")
	b.ReportMetric(index, "MB-index-after")
}
