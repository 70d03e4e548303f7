package koatest_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gensession/gensession/internal/koamodules"
)

// requireKoa is the environment variable that, set to 1, turns a missing Koa
// into a failure.
const requireKoa = "REQUIRE_KOA"

// A side is one of the two apps.
type side struct {
	name string
	base string // its address, http://127.0.0.1:port
}

// startKoa runs the original. session are the options of the middleware, a JSON
// object or nothing.
func startKoa(t *testing.T, redis, session string, keys ...string) *side {
	t.Helper()
	modules := needModules(t)
	config, err := json.Marshal(map[string]any{"redis": redis, "keys": keys, "session": json.RawMessage(cmp.Or(session, "{}"))})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", filepath.Join("app", "app.js"), string(config))
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules)
	return &side{"koa", launch(t, cmd)}
}

// needModules is modules, or skips the test.
func needModules(t *testing.T) string {
	t.Helper()
	dir, err := modules()
	if err != nil {
		if os.Getenv(requireKoa) == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return dir
}

// modules is the folder of the packages that the original is made of.
var modules = sync.OnceValues(func() (string, error) { return koamodules.Install("app") })

// launch starts a server that prints where it listens, and ends it with the
// test.
func launch(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var complaints bytes.Buffer
	first := &firstLine{line: make(chan string, 1)}
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = first, &complaints, endWithUs()
	stdin, err := cmd.StdinPipe() // nothing goes in, but its end tells Koa that we are gone
	if err != nil {
		t.Fatal(err)
	}
	started, done := make(chan error), make(chan struct{})
	go func() {
		// Linux ends the process with the thread that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		cmd.Process.Kill()
		<-done
		if t.Failed() && complaints.Len() > 0 {
			t.Logf("%s printed:\n%s", filepath.Base(cmd.Path), &complaints)
		}
	})
	select {
	case line := <-first.line:
		if base, ok := strings.CutPrefix(line, "listening on "); ok {
			return base
		}
		t.Fatalf("%s began with %q, want where it listens", cmd.Path, line)
	case <-done:
		t.Fatalf("%s ended: %s", cmd.Path, &complaints)
	case <-time.After(30 * time.Second):
		t.Fatalf("%s does not start", cmd.Path)
	}
	return ""
}

// firstLine hands on the first line that is written to it.
type firstLine struct {
	line chan string
	text []byte
	done bool
}

func (f *firstLine) Write(p []byte) (int, error) {
	if !f.done {
		f.text = append(f.text, p...)
		if line, _, ok := bytes.Cut(f.text, []byte("\n")); ok {
			f.done = true
			f.line <- string(line)
		}
	}
	return len(p), nil
}
