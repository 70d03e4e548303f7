// Package mariadb_test tests stores/sql on MariaDB, and on a MySQL where MYSQL_DSN
// names one.
package mariadb_test

import (
	"os"
	"testing"

	_ "github.com/go-sql-driver/mysql"
	"go.uber.org/goleak"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/internal/databases/suite"
	"github.com/gensession/gensession/internal/servers"
	sqlstore "github.com/gensession/gensession/stores/sql"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(servers.Main(m)) }

func dsn(user, addr, more string) string {
	text := user + "@tcp(" + addr + ")/app?interpolateParams=true"
	if more != "" {
		text += "&" + more
	}
	return text
}

var mariadb = suite.Kind{
	Dialect: sqlstore.MySQL,
	Driver:  "mysql",
	DSN:     func(addr, more string) string { return dsn("app", addr, more) },
	Admin:   func(addr string) string { return dsn("kit", addr, "") },
	Shared:  func(t testing.TB) string { return servers.SharedMariaDB(t).Addr() },
	Own:     func(t testing.TB) suite.Server { return servers.MariaDB(t) },

	Timeout:  "max_statement_time=0.05",
	ReadOnly: []string{"SET GLOBAL read_only = 1"},
	Writable: []string{"SET GLOBAL read_only = 0"},
	Quoting: func(table string) []string {
		return []string{"CREATE TRIGGER " + table + "_quotes BEFORE INSERT ON " + table +
			" FOR EACH ROW IF NEW.session_key LIKE 'the-secret%' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = NEW.session_key; END IF"}
	},
	Filler: "INSERT INTO %s (session_key, data, version, expires_at, sweep_at) SELECT CONCAT('filler', %[3]d + seq), REPEAT('x', 500), 1, 9e18, 9e18 FROM seq_1_to_%[2]d",
	Full: func(t testing.TB) suite.Server {
		return servers.MariaDB(t, "--innodb-file-per-table=0", "--innodb-data-file-path=ibdata1:12M:autoextend:max:20M")
	},
	Deadlocks: "SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'",
}

// P36.
func TestMariaDB(t *testing.T) { suite.Run(t, mariadb) }

func TestMySQL(t *testing.T) {
	dsn := os.Getenv("MYSQL_DSN")
	if dsn == "" {
		t.Skip("MYSQL_DSN names no MySQL to test on")
	}
	db := suite.Open(t, "mysql", dsn)
	storetest.Run(t, func(t *testing.T) core.Store {
		s, err := sqlstore.New(db, sqlstore.MySQL, &sqlstore.Options{Table: suite.Table()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		if err := s.CreateTable(t.Context()); err != nil {
			t.Fatal(err)
		}
		return s
	})
}
