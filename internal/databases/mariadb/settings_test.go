package mariadb_test

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/databases/suite"
	"github.com/gensession/gensession/internal/servers"
	sqlstore "github.com/gensession/gensession/stores/sql"
)

// with returns a store on a pool with settings of its own, and one without on the same
// table. A server may have the same settings for all.
func with(t *testing.T, more string) (set, plain *sqlstore.Store) {
	t.Helper()
	o := sqlstore.Options{Table: suite.Table(), NoSweep: true}
	plain = open(t, "", o)
	if err := plain.CreateTable(t.Context()); err != nil {
		t.Fatal(err)
	}
	return open(t, more, o), plain
}

func open(t *testing.T, more string, o sqlstore.Options) *sqlstore.Store {
	t.Helper()
	s, err := sqlstore.New(suite.Open(t, "mysql", mariadb.DSN(mariadb.Shared(t), more)), sqlstore.MySQL, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// With autocommit=0 nothing would ever be committed, and each write would lock its row.
// With the others an owner's list had sessions that had left it, or was read in the
// middle of a batch.
func TestSettingsThatChangeStatementsAreRefused(t *testing.T) {
	for word, more := range map[string]string{
		"autocommit": "autocommit=0", "EMPTY_STRING_IS_NULL": "sql_mode=%27EMPTY_STRING_IS_NULL%27",
		"READ UNCOMMITTED": "tx_isolation=%27READ-UNCOMMITTED%27",
	} {
		bad, plain := with(t, more)
		for name, err := range map[string]error{
			"Set": bad.Set(t.Context(), "k", []byte("x"), time.Hour), "Destroy": bad.Destroy(t.Context(), "k"), "CreateTable": bad.CreateTable(t.Context()),
		} {
			if !errors.Is(err, core.ErrRefused) || !strings.Contains(err.Error(), word) {
				t.Errorf("%s: %s: %v", more, name, err)
			}
		}
		if err := plain.Set(t.Context(), "k", []byte("x"), time.Hour); err != nil {
			t.Error(err)
		}
	}
}

// The settings were asked of the first connection of a pool. Later ones have others after
// SET GLOBAL, or where another server answers to the name.
func TestSettingsOfALaterConnection(t *testing.T) {
	o := sqlstore.Options{Table: suite.Table(), NoSweep: true}
	c := &changing{t: t}
	db := sql.OpenDB(c)
	t.Cleanup(func() { db.Close() })
	s, err := sqlstore.New(db, sqlstore.MySQL, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.CreateTable(t.Context()); err != nil {
		t.Fatal(err)
	}
	held, err := db.Conn(t.Context()) // the good one
	if err != nil {
		t.Fatal(err)
	}
	off := "autocommit=0"
	c.more.Store(&off)
	if err := s.Set(t.Context(), "k", []byte("x"), time.Hour); !errors.Is(err, core.ErrRefused) {
		t.Errorf("on a connection that commits nothing: %v", err)
	}
	held.Close()
	for range 3 { // the bad one is not in the pool any more
		if err := s.Set(t.Context(), "k", []byte("x"), time.Hour); err != nil {
			t.Error(err)
		}
	}
}

// changing opens connections with settings that change.
type changing struct {
	t    *testing.T
	more atomic.Pointer[string]
}

func (c *changing) Connect(ctx context.Context) (driver.Conn, error) {
	more := ""
	if m := c.more.Load(); m != nil {
		more = *m
	}
	connector, err := mysql.MySQLDriver{}.OpenConnector(mariadb.DSN(mariadb.Shared(c.t), more))
	if err != nil {
		return nil, err
	}
	return connector.Connect(ctx)
}

func (c *changing) Driver() driver.Driver { return mysql.MySQLDriver{} }

// The connection went back into the pool with a transaction, in which the next calls
// wrote what nobody else saw.
func TestABatchEndsItsTransaction(t *testing.T) {
	for _, kind := range []string{"CHAIN", "RELEASE"} {
		t.Run(kind, func(t *testing.T) {
			s, plain := with(t, "completion_type=%27"+kind+"%27")
			write := core.Write{Key: "a", Data: []byte("x"), TTL: time.Hour}
			for _, second := range []string{"b", "a"} { // committed, and rolled back
				other := write
				if other.Key = second; second == "a" {
					write.Key = "c"
				}
				_, err := s.Batch(t.Context(), write, other)
				if (second == "a") != errors.Is(err, core.ErrConflict) {
					t.Fatal(err)
				}
				if err := s.Set(t.Context(), "after", []byte(second), time.Hour); err != nil {
					t.Error(err)
				}
				if data, err := plain.Get(t.Context(), "after"); string(data) != second {
					t.Errorf("another connection sees %q, %v", data, err)
				}
			}
		})
	}
}

// Tables that somebody has made by hand: what does not fit is told, and not cut.
func TestTablesThatDoNotFit(t *testing.T) {
	big := bytes.Repeat([]byte("x"), 1<<17)
	for name, change := range map[string][2]string{
		"keys without case": {"session_key varbinary(250)", "session_key varchar(250) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"},
		"short payloads":    {"longblob", "blob"},
		"text":              {"longblob", "longtext"},
		"short times":       {"expires_at  bigint", "expires_at  int"},
		"unsigned":          {"version     bigint  ", "version bigint unsigned "},
		"no primary key":    {" PRIMARY KEY", ""},
		"padded keys":       {"session_key varbinary(250)", "session_key binary(250)"},
		"short keys":        {"session_key varbinary(250)", "session_key varbinary(40)"},
		"a part of the key": {"NOT NULL PRIMARY KEY", "NOT NULL, PRIMARY KEY (session_key(9))"},
		"a longer key":      {"NOT NULL PRIMARY KEY", "NOT NULL, PRIMARY KEY (session_key, version)"},
		"short owners":      {"owner       varbinary(250)", "owner varbinary(40)"},
		"always an owner":   {"owner       varbinary(250)", "owner varbinary(250) NOT NULL"},
		"one of an owner":   {"owner       varbinary(250)", "owner varbinary(250) UNIQUE"},
		"no transactions":   {"InnoDB", "MyISAM"},
		"one more":          {"longblob NOT NULL", "longblob NOT NULL, more int NOT NULL"},
	} {
		t.Run(name, func(t *testing.T) {
			o := sqlstore.Options{Table: suite.Table(), NoSweep: true}
			schema, err := sqlstore.MySQL.Schema(o.Table)
			if err != nil || len(schema) != 1 {
				t.Fatal(schema, err)
			}
			made := strings.Replace(schema[0], change[0], change[1], 1)
			if made == schema[0] {
				t.Fatal("nothing is different")
			}
			mariadb.Do(t, mariadb.Shared(t), made)
			s := open(t, "", o)
			if err := s.CreateTable(t.Context()); !errors.Is(err, core.ErrRefused) || !strings.Contains(err.Error(), "Schema") {
				t.Errorf("CreateTable: %v", err)
			}
			if name == "short payloads" {
				if _, err := s.SetVersion(t.Context(), "k", big, time.Hour, 0); !errors.Is(err, core.ErrTooLarge) {
					t.Errorf("a new session: %v", err)
				}
				o.MaxSize = 1 << 15
				if err := open(t, "", o).CreateTable(t.Context()); err != nil {
					t.Errorf("it has room for those: %v", err)
				}
			}
		})
	}
	o := sqlstore.Options{Table: suite.Table(), NoSweep: true}
	schema, _ := sqlstore.MySQL.Schema(o.Table)
	mariadb.Do(t, mariadb.Shared(t), strings.Replace(schema[0], "session_key varbinary(250)", "made timestamp NOT NULL DEFAULT now(), n int NOT NULL AUTO_INCREMENT, KEY (n), session_key varchar(250) CHARACTER SET ascii COLLATE ascii_bin", 1))
	if err := open(t, "", o).CreateTable(t.Context()); err != nil {
		t.Errorf("that compares byte by byte: %v", err)
	}
}

// The index keeps its name when the table gets another.
func TestSweepAfterTheTableWasRenamed(t *testing.T) {
	o := sqlstore.Options{Table: suite.Table(), NoSweep: true}
	if err := open(t, "", o).CreateTable(t.Context()); err != nil {
		t.Fatal(err)
	}
	old := o.Table
	o.Table = suite.Table()
	mariadb.Do(t, mariadb.Shared(t), "RENAME TABLE "+old+" TO "+o.Table)
	s := open(t, "", o)
	if err := s.Set(t.Context(), "k", []byte("x"), time.Hour); err != nil {
		t.Fatal(err)
	}
	mariadb.Do(t, mariadb.Shared(t), "UPDATE "+o.Table+" SET expires_at = 5, sweep_at = 5")
	if n, err := s.Sweep(t.Context()); n != 1 || err != nil {
		t.Errorf("%d were removed: %v", n, err)
	}
}

// A server that logs statements takes no changes in the level that the sweeper wants.
func TestSweepWhereStatementsAreLogged(t *testing.T) {
	server := servers.MariaDB(t, "--log-bin=bin", "--binlog-format=STATEMENT", "--server-id=1")
	s, err := sqlstore.New(suite.Open(t, "mysql", mariadb.DSN(server.Addr(), "")), sqlstore.MySQL, &sqlstore.Options{NoSweep: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.CreateTable(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a", "b"} {
		if err := s.Set(t.Context(), key, []byte("x"), time.Hour); err != nil {
			t.Fatal(err)
		}
		mariadb.Do(t, server.Addr(), "UPDATE gensession SET expires_at = 5, sweep_at = 5 WHERE session_key = '"+key+"'")
		if n, err := s.Sweep(t.Context()); n != 1 || err != nil {
			t.Errorf("%d were removed: %v", n, err)
		}
	}
}

// Limits against statements that somebody has typed in by mistake. With two of them the
// sweeper and the lists of owners were refused; with the third an owner had three
// sessions at most, and "end all" left the others alive.
func TestLimitsOfStatements(t *testing.T) {
	for name, more := range map[string]string{
		"sql_safe_updates": "sql_safe_updates=1",
		"max_join_size":    "max_join_size=1",
		"sql_select_limit": "sql_select_limit=3",
		"all":              "sql_safe_updates=1&max_join_size=1&sql_select_limit=3",
		"all, prepared":    "sql_safe_updates=1&max_join_size=1&sql_select_limit=3&interpolateParams=false",
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			o := sqlstore.Options{Table: suite.Table(), NoSweep: true}
			s := open(t, more, o)
			for range 2 {
				if err := s.CreateTable(ctx); err != nil { // and looks at the one that is there
					t.Fatal(err)
				}
			}
			const n = 30
			keys := make([]string, n)
			for i := range keys {
				keys[i] = fmt.Sprintf("k%02d", i)
				if err := s.Set(ctx, keys[i], []byte(keys[i]), time.Hour); err != nil {
					t.Fatal(err)
				}
				if err := s.Own(ctx, "o", keys[i], time.Hour); err != nil {
					t.Fatal(err)
				}
			}
			if owned, err := s.Owned(ctx, "o"); err != nil || len(owned) != n {
				t.Errorf("Owned: %d of %d, %v", len(owned), n, err)
			}
			all, err := s.GetMany(ctx, keys...)
			if err != nil {
				t.Errorf("GetMany: %v", err)
			}
			for i, p := range all {
				if string(p.Data) != keys[i] {
					t.Errorf("GetMany: %s has %q", keys[i], p.Data)
				}
			}
			listed := 0
			if err := s.Keys(ctx, "k", func(some []string) error { listed += len(some); return nil }); err != nil || listed != n {
				t.Errorf("Keys: %d of %d, %v", listed, n, err)
			}
			if err := s.Disown(ctx, "o", keys[:10]...); err != nil {
				t.Errorf("Disown: %v", err)
			}
			if owned, err := s.Owned(ctx, "o"); err != nil || len(owned) != n-10 {
				t.Errorf("Owned after Disown: %d, %v", len(owned), err)
			}
			_, version, err := s.GetVersion(ctx, keys[0])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Batch(ctx, core.Write{Key: "new", Data: []byte("x"), TTL: time.Hour}, core.Write{Key: keys[0], Version: version}); err != nil {
				t.Errorf("a login: %v", err)
			}
			mariadb.Do(t, mariadb.Shared(t), "UPDATE "+o.Table+" SET expires_at = 5, sweep_at = 5 WHERE session_key LIKE 'k1%'", "UPDATE "+o.Table+" SET sweep_at = 5 WHERE session_key LIKE 'k2%'")
			if removed, err := s.Sweep(ctx); err != nil || removed != 10 {
				t.Errorf("Sweep: %d, %v", removed, err)
			}
			if _, err := s.Get(ctx, "k20"); err != nil {
				t.Errorf("one that lives: %v", err)
			}
		})
	}
}

// The limits are lifted for single statements: the pool is the application's.
func TestLimitsOfStatementsStay(t *testing.T) {
	db := suite.Open(t, "mysql", mariadb.DSN(mariadb.Shared(t), "sql_safe_updates=1&max_join_size=1"))
	db.SetMaxOpenConns(1)
	o := sqlstore.Options{Table: suite.Table(), NoSweep: true}
	s, err := sqlstore.New(db, sqlstore.MySQL, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.CreateTable(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Set(t.Context(), "k", []byte("x"), time.Hour); err != nil {
		t.Fatal(err)
	}
	mariadb.Do(t, mariadb.Shared(t), "UPDATE "+o.Table+" SET expires_at = 5, sweep_at = 5")
	if n, err := s.Sweep(t.Context()); n != 1 || err != nil {
		t.Errorf("%d were removed: %v", n, err)
	}
	var safe, big, most int
	if err := db.QueryRowContext(t.Context(), "SELECT @@sql_safe_updates, @@sql_big_selects, @@max_join_size").Scan(&safe, &big, &most); err != nil || safe != 1 || big != 0 || most != 1 {
		t.Errorf("the connection has sql_safe_updates %d, sql_big_selects %d, max_join_size %d, %v", safe, big, most, err)
	}
}

func TestSettingsThatMakeNoDifference(t *testing.T) {
	mariadb.Settings(t, "tx_isolation=%27SERIALIZABLE%27", "sql_mode=%27ANSI%27", "sql_mode=%27%27", "sql_mode=%27NO_BACKSLASH_ESCAPES%27", "sql_mode=%27ORACLE%27", "sql_mode=%27PAD_CHAR_TO_FULL_LENGTH,NO_ZERO_DATE%27",
		"interpolateParams=false", "clientFoundRows=true&time_zone=%27%2B09:00%27", "parseTime=true&loc=Asia%2FTokyo", "collation=utf8mb4_general_ci", "charset=latin1", "tx_isolation=%27READ-COMMITTED%27", "innodb_lock_wait_timeout=1&max_statement_time=5", "div_precision_increment=0", "old_mode=%27%27", "group_concat_max_len=4")
}
