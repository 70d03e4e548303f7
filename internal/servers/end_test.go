package servers_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/internal/servers"
)

// childEnv is set in the test binaries that tests start themselves.
const childEnv = "SERVERS_TEST_CHILD"

// child returns a command that runs one test of this binary.
func child(t *testing.T, test string, env ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], "-test.run=^"+test+"$", "-test.v")
	cmd.Env = append(append(os.Environ(), childEnv+"=1", "TMPDIR="+t.TempDir()), env...)
	return cmd
}

func TestServersEndWithACrashedTest(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		r, m := servers.Redis(t), servers.Memcached(t)
		fmt.Printf("up %s %s\n", r.Addr(), m.Addr())
		select {} // until killed
	}
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ends them")
	}
	servers.Redis(t) // skips when it is not there
	servers.Memcached(t)
	cmd := child(t, "TestServersEndWithACrashedTest")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
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

func TestServersEndWithAFailedTest(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		r := servers.Redis(t, "--loglevel", "verbose")
		r.Do("SET", "k", "v")
		fmt.Printf("up %s\n", r.Addr())
		t.FailNow()
	}
	servers.Redis(t)
	cmd := child(t, "TestServersEndWithAFailedTest")
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatal("the child passed")
	}
	_, rest, _ := strings.Cut(string(out), "up ")
	addr, _, _ := strings.Cut(rest, "\n")
	if !goesAway(addr) {
		t.Errorf("%q outlived its test", addr)
	}
	if !strings.Contains(string(out), "Ready to accept connections") {
		t.Errorf("the log of the server is not in that of the test:\n%s", out)
	}
	for _, e := range cmd.Env {
		if dir, ok := strings.CutPrefix(e, "TMPDIR="); ok && strings.Contains(dir, t.Name()) {
			if left, _ := filepath.Glob(filepath.Join(dir, "gensession-*")); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		}
	}
}

func goesAway(addr string) bool {
	_, port, _ := strings.Cut(addr, ":")
	n, err := strconv.Atoi(port)
	if err != nil {
		return false
	}
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if servers.IsFree(n) {
			return true
		}
	}
	return false
}

func TestMissingServer(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		servers.Redis(t)
		return
	}
	const want = "redis-server is not in PATH; install it (Debian: apt-get install redis-server)"
	for _, c := range []struct{ require, outcome string }{{"", "--- SKIP"}, {"1", "--- FAIL"}} {
		cmd := child(t, "TestMissingServer", "PATH=", servers.RequireEnv+"="+c.require)
		out, err := cmd.CombinedOutput()
		if !strings.Contains(string(out), c.outcome) || !strings.Contains(string(out), want) {
			t.Errorf("%s=%s: %v\n%s", servers.RequireEnv, c.require, err, out)
		}
	}
}

func TestBadArguments(t *testing.T) {
	servers.Redis(t)
	tb := &failing{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		servers.Redis(tb, "--no-such-setting", "1")
	}()
	<-done
	if !strings.Contains(tb.text, "no-such-setting") {
		t.Errorf("failed with %q", tb.text)
	}
}

// failing is a test that keeps the reason of its failure to itself.
type failing struct {
	testing.TB
	text string
}

func (f *failing) Fatal(args ...any) {
	f.text = fmt.Sprint(args...)
	runtime.Goexit()
}
