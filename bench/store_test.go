package bench

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/gensession/gensession/bench/internal/drive"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/servers"
	memcachestore "github.com/gensession/gensession/stores/memcache"
	memorystore "github.com/gensession/gensession/stores/memory"
	redisstore "github.com/gensession/gensession/stores/redis"
	sqlstore "github.com/gensession/gensession/stores/sql"
	sqlitestore "github.com/gensession/gensession/stores/sqlite"
)

func TestMain(m *testing.M) {
	drive.Tell("redis-server", "memcached")
	os.Exit(servers.Main(m).Run())
}

// A closingStore is what all stores of this project are.
type closingStore interface {
	core.Store
	Close() error
}

// A namedStore opens a store.
type namedStore struct {
	name string
	open func(b testing.TB) (closingStore, error)
}

// stores are the stores to compare. Those with a server start it, and skip in
// one line where it is not installed.
func stores() []namedStore {
	return []namedStore{
		{"memory", func(testing.TB) (closingStore, error) { return memorystore.New(nil), nil }},
		{"redis", func(b testing.TB) (closingStore, error) {
			return redisstore.Open("redis://"+servers.SharedRedis(b).Addr(), nil)
		}},
		{"memcache", func(b testing.TB) (closingStore, error) {
			return memcachestore.Open([]string{servers.SharedMemcached(b).Addr()}, nil)
		}},
	}
}

// databases are those of stores/sql, which is measured by calls, and not by requests.
func databases() []namedStore {
	return []namedStore{
		{"sqlite", func(b testing.TB) (closingStore, error) {
			return sqlitestore.Open(filepath.Join(b.TempDir(), "sessions.db"), nil)
		}},
		{"postgres", func(b testing.TB) (closingStore, error) {
			return openDatabase(b, "pgx", servers.SharedPostgres(b).URL(), sqlstore.PostgreSQL)
		}},
		{"mariadb", func(b testing.TB) (closingStore, error) {
			return openDatabase(b, "mysql", servers.SharedMariaDB(b).DSN()+"?interpolateParams=true", sqlstore.MySQL)
		}},
	}
}

func openDatabase(b testing.TB, driver, dsn string, d sqlstore.Dialect) (closingStore, error) {
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxIdleConns(64)
	b.Cleanup(func() { db.Close() })
	s, err := sqlstore.New(db, d, nil)
	if err != nil {
		return nil, err
	}
	return s, s.CreateTable(b.Context())
}

func open(b *testing.B, f func(b testing.TB) (closingStore, error)) core.Store {
	s, err := f(b)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

// BenchmarkStore measures the stores beside each other:
// store=redis/op=get/size=256/mode=serial and so on.
func BenchmarkStore(b *testing.B) {
	for _, s := range append(stores(), databases()...) {
		b.Run("store="+s.name, func(b *testing.B) {
			storetest.Bench(b, func(b *testing.B) core.Store { return open(b, s.open) })
		})
	}
}
