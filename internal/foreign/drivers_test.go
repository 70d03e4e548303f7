package foreign_test

import (
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/postgresstore"
	"github.com/alexedwards/scs/sqlite3store"
	"github.com/alexedwards/scs/v2/memstore"
	fiberredis "github.com/gofiber/storage/redis/v3"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"
	_ "modernc.org/sqlite"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/servers"
	foreignstore "github.com/gensession/gensession/stores/foreign"
)

// drivers open a store on a driver of another library. A server serves all of a test.
var drivers = map[string]struct {
	open   func(t *testing.T) func(t testing.TB) (s *foreignstore.Store, end func())
	better string
}{
	"gofiber/storage/redis": {openFiberRedis, "stores/redis"},
	"scs/goredisstore": {func(t *testing.T) func(testing.TB) (*foreignstore.Store, func()) {
		server := servers.Redis(t)
		return func(t testing.TB) (*foreignstore.Store, func()) {
			client := redis.NewClient(&redis.Options{Addr: server.Addr()})
			s := must[*foreignstore.Store](t)(foreignstore.FromSCS(goredisstore.New(client), nil))
			return s, func() { ok(t, client.Close()) }
		}
	}, "stores/redis"},
	"scs/postgresstore": {func(t *testing.T) func(testing.TB) (*foreignstore.Store, func()) {
		server := servers.SharedPostgres(t)
		return func(t testing.TB) (*foreignstore.Store, func()) {
			db := must[*sql.DB](t)(sql.Open("pgx", server.URL()))
			_, err := db.Exec("CREATE TABLE IF NOT EXISTS sessions (token TEXT PRIMARY KEY, data BYTEA NOT NULL, expiry TIMESTAMPTZ NOT NULL)")
			ok(t, err)
			s := must[*foreignstore.Store](t)(foreignstore.FromSCS(postgresstore.NewWithCleanupInterval(db, 0), nil))
			return s, func() { ok(t, db.Close()) }
		}
	}, "stores/sql"},
	"scs/memstore": {func(*testing.T) func(testing.TB) (*foreignstore.Store, func()) {
		return func(t testing.TB) (*foreignstore.Store, func()) {
			s := must[*foreignstore.Store](t)(foreignstore.FromSCS(memstore.NewWithCleanupInterval(0), nil))
			return s, func() {}
		}
	}, "stores/memory"},
}

func openFiberRedis(t *testing.T) func(t testing.TB) (*foreignstore.Store, func()) {
	return onFiberRedis(servers.Redis(t))
}

func onFiberRedis(server *servers.RedisServer) func(t testing.TB) (*foreignstore.Store, func()) {
	return func(t testing.TB) (*foreignstore.Store, func()) {
		// By itself go-redis dials again until the deadline has passed, and then nobody
		// can tell whether a write was carried out.
		client := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1, DialerRetries: 1})
		storage := fiberredis.NewFromConnection(client)
		s := must[*foreignstore.Store](t)(foreignstore.FromFiber(storage, nil))
		return s, func() { ok(t, storage.Close()) }
	}
}

func TestDrivers(t *testing.T) {
	t.Parallel()
	var waiting sync.WaitGroup // they mostly sleep
	defer waiting.Wait()
	for name, d := range drivers {
		one := func(t *testing.T) {
			open := d.open(t)
			storetest.Run(t, func(t *testing.T) core.Store {
				s, end := open(t)
				t.Cleanup(end)
				return s
			})
			s, end := open(t)
			defer end()
			m := must[*core.Manager](t)(core.New(s, &core.Options{Keys: testKeys}))
			defer m.Close()
			if got := m.Guarantees(); !strings.HasPrefix(got, "last write wins") || !strings.Contains(got, "unlike "+d.better) {
				t.Error(got)
			}
			const id = "0123456789abcdef0123456789abcdef"
			ok(t, m.SetByID(t.Context(), id, map[string]string{"user": "ada"}, 0))
			if data, err := m.GetByID(t.Context(), id); string(data) != `{"user":"ada"}` || err != nil {
				t.Errorf("%s, %v", data, err)
			}
			ok(t, m.DestroyByID(t.Context(), id))
			if _, err := m.GetByID(t.Context(), id); err == nil {
				t.Error("it lives")
			}
		}
		waiting.Go(func() { t.Run(name, one) })
	}
}

// What SQLite refuses has not been carried out, and is no unknown outcome.
func TestRefusalsOfSQLite(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]func(db *sql.DB, path string) error{
		"read-only": func(db *sql.DB, _ string) error { _, err := db.Exec("PRAGMA query_only = 1"); return err },
		"full":      func(db *sql.DB, _ string) error { _, err := db.Exec("PRAGMA max_page_count = 1"); return err },
		"locked": func(_ *sql.DB, path string) error {
			other, err := sql.Open("sqlite", path)
			if err == nil {
				t.Cleanup(func() { other.Close() })
				other.SetMaxOpenConns(1)
				_, err = other.Exec("BEGIN EXCLUSIVE")
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "sessions.db")
			db := must[*sql.DB](t)(sql.Open("sqlite", path))
			defer db.Close()
			db.SetMaxOpenConns(1)
			_, err := db.Exec("CREATE TABLE sessions (token TEXT PRIMARY KEY, data BLOB NOT NULL, expiry REAL NOT NULL)")
			ok(t, err)
			s := must[*foreignstore.Store](t)(foreignstore.FromSCS(sqlite3store.NewWithCleanupInterval(db, 0), nil))
			ok(t, s.Set(t.Context(), "k", []byte("x"), time.Hour))
			ok(t, refuse(db, path))
			err = s.Set(t.Context(), "l", make([]byte, 1<<20), time.Hour)
			if !errors.Is(err, core.ErrRefused) || !strings.Contains(err.Error(), "SQLite") {
				t.Errorf("Set: %v", err)
			}
		})
	}
}

// TestFaultsOfFiberRedis: each call ends in time, with an error of the right class.
func TestFaultsOfFiberRedis(t *testing.T) {
	server := servers.Redis(t)
	open := onFiberRedis(server)
	storetest.Faults(t, storetest.Server{
		Stop: server.Kill, Start: server.Start,
		Pause: server.Pause, Resume: server.Resume,
		Fill: server.FillUp, ReadOnly: server.ReadOnly,
	}, func(t testing.TB) (core.Store, func()) {
		s, end := open(t)
		return s, end
	})
}
