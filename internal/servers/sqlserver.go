package servers

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// ownUser is who a database runs as when the test runs as root: they refuse root.
const ownUser = "nobody"

// PostgresServer is a PostgreSQL server of a test.
type PostgresServer struct{ handle }

// Postgres starts a PostgreSQL server that ends with the test. The arguments are
// those of postgres, as "-c", "statement_timeout=100", and prevail over the kit's.
// It does not wait for its disk, so that it keeps its data when it is killed, but not
// when the machine is.
func Postgres(tb testing.TB, args ...string) *PostgresServer {
	tb.Helper()
	s := newPostgres(lookupPostgres(tb), args)
	s.handle = own(tb, s.daemon)
	return s
}

// SharedPostgres returns the PostgreSQL server of the package, as [SharedRedis] does
// for Redis. Tests keep apart by their tables.
func SharedPostgres(tb testing.TB) *PostgresServer {
	tb.Helper()
	path := lookupPostgres(tb)
	s := *shared.postgres.get(tb, func() (*PostgresServer, *daemon) {
		s := newPostgres(path, nil)
		return s, s.daemon
	})
	s.handle = handle{daemon: s.daemon, tb: tb, shared: true}
	return &s
}

// URL returns the address as a URL, of a superuser and of an empty database.
func (s *PostgresServer) URL() string { return s.At(s.Addr()) }

// At returns the URL with another address, such as that of a proxy before it.
func (s *PostgresServer) At(addr string) string {
	return "postgres://kit@" + addr + "/postgres?sslmode=disable"
}

// lookupPostgres returns the path of postgres. Debian keeps it out of PATH, since
// there may be several.
func lookupPostgres(tb testing.TB) string {
	tb.Helper()
	if path, err := exec.LookPath("postgres"); err == nil {
		return path
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) > 0 {
		return found[len(found)-1]
	}
	return lookup(tb, "postgres", "postgresql")
}

func newPostgres(path string, args []string) *PostgresServer {
	s := &PostgresServer{}
	s.daemon = &daemon{path: path, user: ownUser, family: true, ready: s.ready}
	s.daemon.files = func(dir string) error {
		return s.runAs(filepath.Join(filepath.Dir(path), "initdb"), "--pgdata", filepath.Join(dir, "data"),
			"--auth", "trust", "--username", "kit", "--encoding", "UTF8", "--locale", "C", "--wal-segsize", "1", "--no-sync", "--no-instructions")
	}
	s.daemon.args = func(port int) []string {
		return append([]string{
			"-D", filepath.Join(s.dir, "data"), "-p", strconv.Itoa(port), "-c", "listen_addresses=127.0.0.1",
			"-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "shared_buffers=64MB", "-c", "max_connections=200",
		}, args...)
	}
	return s
}

// ready returns nil once the process itself takes connections.
func (s *PostgresServer) ready(pid int) error {
	file, err := os.ReadFile(filepath.Join(s.dir, "data", "postmaster.pid"))
	if err != nil {
		return err
	}
	lines := strings.Fields(string(file))
	if len(lines) == 0 || lines[0] != strconv.Itoa(pid) || lines[len(lines)-1] != "ready" {
		return fmt.Errorf("it is not ready: %q", lines)
	}
	return nil
}

// LimitFiles keeps files of the server from growing beyond so many bytes, as a full disk
// does. Zero ends that. The segments of the log have 1 MiB, and must be able to.
func (s *PostgresServer) LimitFiles(bytes int64) {
	s.tb.Helper()
	s.mine()
	limit := "unlimited"
	if bytes > 0 {
		limit = strconv.FormatInt(bytes, 10)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, pid := range append(s.p.children(), s.p.pid) {
		// A program of the same user may; this process may not even if it is root's.
		if err := s.runAs("prlimit", "--pid", strconv.Itoa(pid), "--fsize="+limit+":unlimited"); err != nil && !ended(pid) {
			s.check(err)
		}
	}
}

// MariaDBServer is a MariaDB server of a test.
type MariaDBServer struct{ handle }

// MariaDB starts a MariaDB server that ends with the test. The arguments are those
// of mariadbd, as "--max-statement-time=1", and prevail over the kit's. It does not
// wait for its disk, as [Postgres] does not.
func MariaDB(tb testing.TB, args ...string) *MariaDBServer {
	tb.Helper()
	s := newMariaDB(lookupMariaDB(tb), args)
	s.handle = own(tb, s.daemon)
	return s
}

// SharedMariaDB returns the MariaDB server of the package, as [SharedRedis] does for
// Redis. Tests keep apart by their tables.
func SharedMariaDB(tb testing.TB) *MariaDBServer {
	tb.Helper()
	path := lookupMariaDB(tb)
	s := *shared.mariadb.get(tb, func() (*MariaDBServer, *daemon) {
		s := newMariaDB(path, nil)
		return s, s.daemon
	})
	s.handle = handle{daemon: s.daemon, tb: tb, shared: true}
	return &s
}

// DSN returns the address as the driver for Go wants it, of a user who has all
// rights in one database and none besides: SUPER would write to a read-only server.
func (s *MariaDBServer) DSN() string { return s.At(s.Addr()) }

// At returns the DSN with another address, such as that of a proxy before it.
func (s *MariaDBServer) At(addr string) string { return "app@tcp(" + addr + ")/app" }

// URL returns the address as a URL, which no driver reads.
func (s *MariaDBServer) URL() string { return "mysql://app@" + s.Addr() + "/app" }

// AdminDSN is DSN for a user who has all rights.
func (s *MariaDBServer) AdminDSN() string { return "kit@tcp(" + s.Addr() + ")/app" }

func lookupMariaDB(tb testing.TB) string {
	tb.Helper()
	if path := "/usr/sbin/mariadbd"; isThere(path) { // not in everybody's PATH
		return path
	}
	return lookup(tb, "mariadbd", "mariadb-server")
}

func isThere(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

const mariaUsers = `CREATE DATABASE IF NOT EXISTS app;
CREATE USER IF NOT EXISTS 'kit'@'127.0.0.1';
GRANT ALL ON *.* TO 'kit'@'127.0.0.1' WITH GRANT OPTION;
CREATE USER IF NOT EXISTS 'app'@'127.0.0.1';
GRANT ALL ON app.* TO 'app'@'127.0.0.1';
`

func newMariaDB(path string, args []string) *MariaDBServer {
	s := &MariaDBServer{}
	s.daemon = &daemon{path: path, user: ownUser, ready: s.ready}
	s.daemon.files = func(dir string) error {
		if err := os.WriteFile(filepath.Join(dir, "users.sql"), []byte(mariaUsers), 0o644); err != nil { // #nosec G306 -- another user reads it
			return err
		}
		return s.runAs("mariadb-install-db", "--no-defaults", "--datadir="+filepath.Join(dir, "data"), "--tmpdir="+dir, "--auth-root-authentication-method=normal", "--skip-test-db",
			"--innodb-log-file-size=4M", "--innodb-flush-log-at-trx-commit=0")
	}
	s.daemon.args = func(port int) []string {
		return append([]string{
			"--no-defaults", "--datadir=" + filepath.Join(s.dir, "data"), "--tmpdir=" + s.dir, "--socket=" + filepath.Join(s.dir, "socket"), "--pid-file=" + filepath.Join(s.dir, "pid"),
			"--bind-address=127.0.0.1", "--port=" + strconv.Itoa(port), "--skip-name-resolve", "--init-file=" + filepath.Join(s.dir, "users.sql"),
			"--innodb-flush-log-at-trx-commit=2", "--innodb-log-file-size=16M", "--innodb-buffer-pool-size=64M", "--innodb-flush-method=nosync",
			"--max-connections=300", "--thread-pool-max-threads=500",
		}, args...)
	}
	return s
}

// ready returns nil once the process itself takes connections, which it greets.
func (s *MariaDBServer) ready(pid int) error {
	file, err := os.ReadFile(filepath.Join(s.dir, "pid"))
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(file)) != strconv.Itoa(pid) {
		return fmt.Errorf("the pid file is of %q", file)
	}
	c, err := net.DialTimeout("tcp", loopback(s.port), kitTimeout)
	if err != nil {
		return err
	}
	return c.Close()
}
