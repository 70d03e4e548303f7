package servers

import (
	"os"
	"os/exec"
	"testing"
)

// RequireEnv is the environment variable that, set to 1, turns a missing
// server into a failure.
const RequireEnv = "REQUIRE_BACKENDS"

// lookup returns the path of a server, or ends the test with what to install.
func lookup(tb testing.TB, binary, debian string) string {
	tb.Helper()
	path, err := exec.LookPath(binary)
	if err == nil {
		return path
	}
	const format = "%s is not in PATH; install it (Debian: apt-get install %s)"
	if os.Getenv(RequireEnv) == "1" {
		tb.Fatalf(format, binary, debian)
	}
	tb.Skipf(format, binary, debian)
	return ""
}
