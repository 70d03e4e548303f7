// Package koamodules installs the packages of a Koa app, for tests that run one.
package koamodules

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Install returns the folder of the packages that the folder app pins. They are
// installed once for the user of this machine, outside of the repository. The error says
// what is missing.
func Install(app string) (modules string, err error) {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", fmt.Errorf("%s is not in PATH, so there is no Koa to compare with (Debian: apt-get install nodejs npm)", program)
		}
	}
	wanted, err := os.ReadFile(filepath.Join(app, "package.json"))
	if err != nil {
		return "", err
	}
	lock, err := os.ReadFile(filepath.Join(app, "package-lock.json"))
	if err != nil {
		return "", err
	}
	hash := sha256.Sum256(append(wanted[:len(wanted):len(wanted)], lock...))
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	cache = filepath.Join(cache, "gensession")
	dir := filepath.Join(cache, "koa-"+hex.EncodeToString(hash[:8]))
	installed := filepath.Join(dir, "node_modules")
	if _, err := os.Stat(installed); err == nil {
		return installed, nil
	}

	// Under another name until it is complete.
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	part, err := os.MkdirTemp(cache, "part-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(part)
	err = errors.Join(
		os.WriteFile(filepath.Join(part, "package.json"), wanted, 0o644),
		os.WriteFile(filepath.Join(part, "package-lock.json"), lock, 0o644))
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1")
	cmd.Dir, cmd.WaitDelay = part, time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm could not install Koa, so there is none to compare with: %w: %s", err, why(out))
	}
	if err := os.Rename(part, dir); err != nil {
		if _, late := os.Stat(installed); late != nil { // else another process was first
			return "", err
		}
	}
	return installed, nil
}

// why is the line of npm's output that says what went wrong.
func why(out []byte) string {
	_, said, _ := strings.Cut(string(out), "npm error ")
	line, _, _ := strings.Cut(said, "\n")
	return cmp.Or(line, "it does not say why")
}
