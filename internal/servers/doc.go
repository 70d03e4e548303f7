// Package servers starts real Redis, memcached, PostgreSQL and MariaDB servers for tests and does
// to them what servers suffer: they are killed, paused, restarted, filled up.
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(servers.Main(m)) }
//
//	func TestStore(t *testing.T) {
//		shared := servers.SharedRedis(t) // one for all tests of the package
//		own := servers.Redis(t, "--maxmemory", "2mb") // one to ill-treat
//		...
//	}
//
// Each server is taken from PATH or from where Debian keeps it, listens on a free port of 127.0.0.1, writes
// into a temporary folder, keeps nothing over a restart unless its arguments
// say so, and ends with the test. On Linux it also ends with a test binary
// that crashed. What it printed goes to the log of a test that failed.
//
// A server that is not installed skips the test with one line that says what
// to install; with REQUIRE_BACKENDS=1 it fails the test.
//
// Methods without an error among their results report what goes wrong as an
// error of the test. They may be called from any goroutine of a running test.
package servers
