package e2e

import (
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"testing"
)

// shots is where the screenshots go.
var shots = os.Getenv("E2E_SHOTS")

// chromium is the path of the browser.
var chromium string

func TestMain(m *testing.M) {
	if os.Getenv("E2E") == "" {
		fmt.Println("skipped: a browser is needed, which make e2e installs")
		return
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			chromium = path
			break
		}
	}
	if chromium == "" {
		fmt.Println("there is no chromium: apt-get install chromium")
		os.Exit(1)
	}
	if shots == "" {
		dir, err := os.MkdirTemp("", "e2e")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		shots = dir
	}
	log.SetOutput(io.Discard) // of requests that fail on purpose
	os.Exit(m.Run())
}
