package servers_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/gensession/gensession/internal/servers"
)

// Databases run as another user, and PostgreSQL has children in groups of their own:
// all of them end with a test binary that was killed, and with a server that was.
func TestDatabases(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		p, m := servers.Postgres(t), servers.MariaDB(t)
		fmt.Printf("up %s %s\n", p.Addr(), m.Addr())
		select {} // until killed
	}
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ends them")
	}
	p := servers.Postgres(t) // skips when it is not there
	if _, err := os.Stat("/usr/sbin/mariadbd"); err != nil {
		t.Skip("mariadbd is not there")
	}
	folder := t.TempDir()
	for _, dir := range []string{folder, folder + "/.."} { // for the other user
		if err := os.Chmod(dir, 0o755); err != nil { // #nosec G302
			t.Fatal(err)
		}
	}
	cmd := child(t, "TestDatabases", "TMPDIR="+folder)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}

	connection, err := net.Dial("tcp", p.Addr()) // meanwhile
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close() // it has a child of its own
	p.Kill()
	if _, err := net.Dial("tcp", p.Addr()); err == nil {
		t.Error("a killed server answers")
	}
	p.Start()
	p.Pause()
	p.Resume()

	var addrs []string
	for in := bufio.NewScanner(out); len(addrs) == 0 && in.Scan(); {
		if rest, ok := strings.CutPrefix(in.Text(), "up "); ok {
			addrs = strings.Fields(rest)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if len(addrs) != 2 {
		t.Fatal("the servers did not start")
	}
	for _, addr := range addrs {
		if !goesAway(addr) {
			t.Errorf("%s outlived its test", addr)
		}
	}
}
