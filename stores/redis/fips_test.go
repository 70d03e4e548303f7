package redisstore_test

import (
	"context"
	"crypto/fips140"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/redis/rueidis"

	redisstore "github.com/gensession/gensession/stores/redis"
)

// Under GODEBUG=fips140=only SHA-1 panics. A program that has this package
// starts all the same, and is told why there is no store.
func TestFIPS(t *testing.T) {
	if !fips140.Enforced() {
		again(t, "fips140=only")
		return
	}
	if _, err := redisstore.Open("redis://127.0.0.1:1", nil); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "fips140=only") {
		t.Errorf("Open: %v", err)
	}
	if _, err := redisstore.New(noClient{}, nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("New: %v", err)
	}
}

// again runs the test once more, in a process with this GODEBUG.
func again(t *testing.T, godebug string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "GODEBUG="+godebug)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("with GODEBUG=%s: %v\n%s", godebug, err, out)
	}
}

type noClient struct{ rueidis.Client }

func (noClient) Do(context.Context, rueidis.Completed) (r rueidis.RedisResult) { return r }
