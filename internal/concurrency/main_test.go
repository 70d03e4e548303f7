// Package concurrency_test proves what core promises to concurrent requests
// of one session: nothing is lost, nothing revived.
//
//   - Every order of the store calls of two requests, compared with a small
//     machine that says what may come out (spec_test.go, cells_test.go).
//   - Random sequences of everything that can happen to a few browsers,
//     compared with a model (model_test.go).
//   - Histories of parallel clients, with a checker for linearizability
//     (history_test.go).
//   - Planted bugs that these tests have to find (planted_test.go).
//
// Some of them play a share of their cells, another one in each run. With SOAK=1 in the
// environment they play share after share, while there is time: see internal/soak.
package concurrency_test

import (
	"database/sql"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"go.uber.org/goleak"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/servers"
	"github.com/gensession/gensession/internal/soak"
	memcachestore "github.com/gensession/gensession/stores/memcache"
	memorystore "github.com/gensession/gensession/stores/memory"
	redisstore "github.com/gensession/gensession/stores/redis"
	sqlstore "github.com/gensession/gensession/stores/sql"
	sqlitestore "github.com/gensession/gensession/stores/sqlite"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(servers.Main(m),
		// What rueidis still does when the client of a Cluster is closed, as in the
		// tests of stores/redis.
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"),
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*clusterClient)._refresh.func2"),
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*clusterClient).redirectOrNew.func1"))
}

// turn says which share of the cells a run plays. SHARE=turn repeats it.
var turn = func() int {
	if n, err := strconv.Atoi(os.Getenv("SHARE")); err == nil {
		return n
	}
	return rand.IntN(1000)
}()

// A share chooses one of so many cells, others in each turn.
type share struct{ of, turn, cells int }

// shares are one of so many, or with SOAK=1 as many as there is time for, in one of so
// many parts of a test.
func shares(parts, of int) iter.Seq[*share] {
	rounds := soak.Rounds(parts, 1, of)
	return func(yield func(*share) bool) {
		for i := range rounds {
			if !yield(&share{of: of, turn: turn + i}) {
				return
			}
		}
	}
}

// next reports whether the next cell is to be played.
func (s *share) next() bool {
	s.cells++
	return (s.cells+s.turn)%s.of == 0
}

var (
	firstKey  = []byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")
	secondKey = []byte("q8Wd2LxN7vKb4Rz0Tj6Yh1Mc9Fs3Pg5E")
)

// A kind of store, opened for one test. A run plays one of share cells on it.
type kind struct {
	name  string
	share int
	open  func(t testing.TB) core.Store
}

var stores = append([]kind{
	{"memory", 1, func(t testing.TB) core.Store { return newMemory(t) }},
	{"redis", 3, func(t testing.TB) core.Store { return openRedis(t)(servers.SharedRedis(t).Addr()) }},
	{"memcached", 3, func(t testing.TB) core.Store { return openMemcached(t)(servers.SharedMemcached(t).Addr()) }},
}, databases()...)

// databases returns those that stores/sql keeps sessions in: one of them, another in
// each run, and with SOAK=1 all.
func databases() []kind {
	all := []kind{
		{"postgres", 6, func(t testing.TB) core.Store {
			return openDatabase(t, "pgx", servers.SharedPostgres(t).URL(), sqlstore.PostgreSQL)
		}},
		{"mariadb", 6, func(t testing.TB) core.Store {
			return openDatabase(t, "mysql", servers.SharedMariaDB(t).DSN()+"?interpolateParams=true", sqlstore.MySQL)
		}},
		{"sqlite", 6, openFile},
	}
	if soak.On {
		return all
	}
	return all[turn%3 : turn%3+1]
}

// most bounds the orders of a cell, which on memcached are many: a save reads first.
func (k kind) most() int {
	if soak.On || k.share == 1 {
		return 0
	}
	return 30
}

// openRedis returns what opens a store for the time of a test.
func openRedis(t testing.TB) func(addr string) core.Store {
	return func(addr string) core.Store {
		s, err := redisstore.Open("redis://"+addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
}

func openMemcached(t testing.TB) func(addr string) core.Store {
	return func(addr string) core.Store {
		s, err := memcachestore.Open([]string{addr}, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
}

func openDatabase(t testing.TB, driver, dsn string, d sqlstore.Dialect) core.Store {
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(30)
	db.SetMaxIdleConns(30)
	t.Cleanup(func() { db.Close() })
	s, err := sqlstore.New(db, d, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.CreateTable(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func openFile(t testing.TB) core.Store {
	s, err := sqlitestore.Open(filepath.Join(t.TempDir(), "sessions.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newMemory(t testing.TB) *memorystore.Store {
	s := memorystore.New(nil)
	t.Cleanup(func() { s.Close() })
	return s
}
