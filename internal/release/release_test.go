// Package release_test makes a release of what lies in this repository, in a
// temporary folder, and uses it as others will: from a module proxy, without
// go.work and without replace.
package release_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	module  = "github.com/gensession/gensession"
	version = "v0.1.0"

	// The oldest Fiber that we promise to leave as it is.
	fiber = "v2.52.9"

	// The gin that adapters/gin requires, and leaves as it is.
	gin = "v1.12.0"
)

// A run is a place where commands run, with time that is bounded for all.
type run struct {
	ctx context.Context
	dir string
	env []string
}

// try returns what was printed: the answer alone, if there is one and no error.
func (r run) try(name string, args ...string) (string, error) {
	cmd := exec.CommandContext(r.ctx, name, args...)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), r.env...)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	err := cmd.Run()
	if err != nil || out.Len() == 0 {
		return out.String() + complaints.String(), err
	}
	return out.String(), nil
}

func (r run) do(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := r.try(name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func TestRelease(t *testing.T) {
	for _, tool := range []string{"git", "bash"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is missing", tool)
		}
	}
	if runtime.GOOS == "windows" {
		t.Skip("ci/release.sh is for Unix")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()

	repository := run{ctx, clone(t, ctx), []string{"GIT_AUTHOR_NAME=test", "GIT_AUTHOR_EMAIL=test@example.com", "GIT_COMMITTER_NAME=test", "GIT_COMMITTER_EMAIL=test@example.com", "GIT_CONFIG_GLOBAL=" + os.DevNull}}
	sums, err := repository.try("go", "mod", "download", "github.com/CycloneDX/cyclonedx-gomod@v1.10.0")
	if err != nil && os.Getenv("REQUIRE_BACKENDS") == "" {
		t.Skipf("no module proxy is in reach: %v", err)
	} else if err != nil {
		t.Fatalf("no module proxy is in reach: %v\n%s", err, sums)
	}
	signed := signWith(t, repository)
	if out, err := repository.try("ci/release.sh", "v0.9.9"); err == nil || !strings.Contains(out, "CHANGELOG.md has no heading") {
		t.Errorf("a release that CHANGELOG.md does not have: %v\n%s", err, out)
	}
	before := repository.do(t, "git", "rev-parse", "HEAD")
	repository.do(t, "ci/release.sh", version)
	if after := repository.do(t, "git", "rev-parse", "HEAD"); after != before {
		t.Errorf("the branch is not where it was")
	}
	if out, err := repository.try("ci/release.sh", version); err == nil || !strings.Contains(out, "there is a tag "+version) {
		t.Errorf("a release that there is: %v\n%s", err, out)
	}
	tags := strings.Fields(repository.do(t, "git", "tag"))
	for _, want := range []string{"", "adapters/fasthttp/", "adapters/fiber/", "adapters/fiberv3/", "adapters/gin/", "adapters/gorilla/", "stores/redis/", "stores/memcache/", "stores/sql/", "stores/sqlite/", "stores/foreign/", "otel/", "cmd/gensession/", "examples/"} {
		if !slices.Contains(tags, want+version) {
			t.Errorf("no tag %s", want+version)
		}
	}

	for _, tag := range tags {
		if out, err := repository.try("git", "tag", "-v", tag); signed && err != nil {
			t.Errorf("the tag %s is not signed: %v\n%s", tag, err, out)
		}
		checkBill(t, repository.dir, tag)
	}

	// The proxy is ours, then what this machine has, then that of this machine.
	// A cache of its own, or the versions made here would stay in the user's.
	env := run{ctx, t.TempDir(), nil}
	cache := strings.TrimSpace(env.do(t, "go", "env", "GOMODCACHE"))
	others := strings.TrimSpace(env.do(t, "go", "env", "GOPROXY"))
	proxy := proxyOf(t, repository, tags)
	users := []string{
		"GOWORK=off", "GOFLAGS=-mod=mod -trimpath -modcacherw -buildvcs=false", "GOMODCACHE=" + t.TempDir(), "GOBIN=" + filepath.Join(env.dir, "bin"),
		"GOPROXY=" + strings.Join([]string{folder(proxy), folder(filepath.Join(cache, "cache", "download")), others}, ","),
		"GOSUMDB=off", "GOPRIVATE=", "GONOPROXY=", "GODEBUG=", "CGO_ENABLED=0",
	}
	env.env = users
	if out, err := env.try("go", "mod", "download", "github.com/gofiber/fiber/v2@"+fiber); err != nil {
		if os.Getenv("REQUIRE_BACKENDS") == "" {
			t.Skipf("no module proxy is in reach: %v", err)
		}
		t.Fatalf("no module proxy is in reach: %v\n%s", err, out)
	}

	t.Run("demo", func(t *testing.T) {
		env.do(t, "go", "install", module+"/examples/demo@"+version)
		if out, err := env.try(filepath.Join(env.dir, "bin", "demo"), "-h"); err != nil || !strings.Contains(out, "-addr") {
			t.Errorf("the installed demo: %v\n%s", err, out)
		}
		if out, err := env.try("go", "run", module+"/examples/demo@"+version, "-h"); err != nil || !strings.Contains(out, "-addr") {
			t.Errorf("go run: %v\n%s", err, out)
		}
	})

	t.Run("gensession", func(t *testing.T) {
		env.do(t, "go", "install", module+"/cmd/gensession@"+version)
		if out, err := env.try(filepath.Join(env.dir, "bin", "gensession"), "-h"); err != nil || !strings.Contains(out, "doctor") {
			t.Errorf("the installed command: %v\n%s", err, out)
		}
	})

	// resolve returns the build list of a program, and where it lies.
	resolve := func(t *testing.T, code string, require ...string) (map[string]string, run) {
		t.Helper()
		r := run{ctx, t.TempDir(), users}
		write(t, filepath.Join(r.dir, "main.go"), code)
		r.do(t, "go", "mod", "init", "example.com/program")
		for _, m := range require {
			r.do(t, "go", "mod", "edit", "-require="+m)
		}
		r.do(t, "go", "mod", "tidy")
		list := make(map[string]string)
		for line := range strings.Lines(r.do(t, "go", "list", "-m", "all")) {
			name, v, _ := strings.Cut(strings.TrimSpace(line), " ")
			list[name] = v
		}
		delete(list, "example.com/program")
		return list, r
	}
	program := func(t *testing.T, code string, require ...string) map[string]string {
		t.Helper()
		list, r := resolve(t, code, require...)
		r.do(t, "go", "build", "-o", filepath.Join(r.dir, "program"), ".")
		return list
	}
	// only fails for modules that the program has no use for.
	only := func(t *testing.T, list map[string]string, allowed ...string) {
		t.Helper()
		if len(list) == 0 {
			t.Error("the build list is empty")
		}
		for name, v := range list {
			if !slices.Contains(allowed, name) {
				t.Errorf("%s %s is in the build list", name, v)
			}
			if strings.HasPrefix(name, module) && v != version {
				t.Errorf("%s is there in %s", name, v)
			}
		}
	}
	helpers := []string{module, "go.uber.org/goleak", "pgregory.net/rapid"}

	t.Run("net/http", func(t *testing.T) {
		only(t, program(t, nethttpProgram, module+"@"+version), helpers...)
	})
	t.Run("Fiber", func(t *testing.T) {
		bare := program(t, bareFiberProgram, "github.com/gofiber/fiber/v2@"+fiber)
		list := program(t, fiberProgram, "github.com/gofiber/fiber/v2@"+fiber, module+"@"+version)
		if bare["github.com/gofiber/fiber/v2"] != fiber || bare["github.com/valyala/fasthttp"] == "" {
			t.Fatalf("the program without sessions has %v", bare)
		}
		for name, v := range bare {
			if list[name] != v {
				t.Errorf("with sessions %s is %s, without %s", name, list[name], v)
			}
			delete(list, name)
		}
		only(t, list, helpers...)
	})
	t.Run("gin", func(t *testing.T) {
		// Not built: gin takes minutes where it is not in the cache.
		bare, _ := resolve(t, bareGinProgram, "github.com/gin-gonic/gin@"+gin)
		list, _ := resolve(t, ginProgram, "github.com/gin-gonic/gin@"+gin, module+"@"+version, module+"/adapters/gin@"+version)
		for name, v := range bare {
			if list[name] != v {
				t.Errorf("with sessions %s is %s, without %s", name, list[name], v)
			}
			delete(list, name)
		}
		only(t, list, append(helpers, module+"/adapters/gin")...)
	})
	t.Run("Redis", func(t *testing.T) {
		list := program(t, redisProgram, module+"/stores/redis@"+version)
		for name := range list {
			for _, never := range []string{"gofiber", "fasthttp", "gomemcache", "porcupine"} {
				if strings.Contains(name, never) {
					t.Errorf("%s is in the build list", name)
				}
			}
		}
		if list["github.com/redis/rueidis"] == "" || list[module] != version {
			t.Errorf("the build list is %v", list)
		}
	})
}

// signWith gives the repository a key to sign with, and reports whether it could.
func signWith(t *testing.T, r run) bool {
	t.Helper()
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Log("ssh-keygen is missing: the tags are not signed")
		return false
	}
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	r.do(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "signers"), "test@example.com "+string(public))
	for name, value := range map[string]string{"gpg.format": "ssh", "user.signingKey": key, "gpg.ssh.allowedSignersFile": filepath.Join(dir, "signers")} {
		r.do(t, "git", "config", name, value)
	}
	return true
}

// checkBill looks at the bill of materials of a tag: it has the module and all of
// ours in the version of the release, and each module that go.mod requires.
func checkBill(t *testing.T, dir, tag string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "bin", "sbom", version, strings.ReplaceAll(tag, "/", "-")+".cdx.json"))
	if err != nil {
		t.Error(err)
		return
	}
	type component struct{ Name, Version, Purl string }
	var bill struct {
		BomFormat  string
		Metadata   struct{ Component component }
		Components []component
	}
	if err := json.Unmarshal(text, &bill); err != nil || bill.BomFormat != "CycloneDX" {
		t.Errorf("the bill of materials of %s: %q, %v", tag, bill.BomFormat, err)
	}
	name := strings.TrimSuffix(module+"/"+filepath.ToSlash(filepath.Dir(tag)), "/.")
	if bill.Metadata.Component.Name != name {
		t.Errorf("the bill of materials of %s is of %s", tag, bill.Metadata.Component.Name)
	}
	for _, c := range append(bill.Components, bill.Metadata.Component) {
		if ours := c.Name == module || strings.HasPrefix(c.Name, module+"/"); ours && (c.Version != version || !strings.Contains(c.Purl, "@"+version)) {
			t.Errorf("the bill of materials of %s has %s in %s", tag, c.Name, c.Version)
		}
	}
	wants := map[string]string{"stores/redis/": "github.com/redis/rueidis", "adapters/fiber/": "github.com/gofiber/fiber/v2"}[strings.TrimSuffix(tag, version)]
	if wants != "" && !slices.ContainsFunc(bill.Components, func(c component) bool { return c.Name == wants }) {
		t.Errorf("the bill of materials of %s has no %s", tag, wants)
	}
}

const nethttpProgram = `package main

import (
	"net/http"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

func main() {
	sessions, err := core.New(memorystore.New(nil), nil)
	if err == nil {
		http.ListenAndServe("127.0.0.1:0", httpsession.New(sessions, nil)(http.NotFoundHandler()))
	}
}
`

const bareFiberProgram = `package main

import "github.com/gofiber/fiber/v2"

func main() { fiber.New().Listen("127.0.0.1:0") }
`

const fiberProgram = `package main

import (
	"github.com/gofiber/fiber/v2"

	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

func main() {
	if _, err := core.New(memorystore.New(nil), nil); err == nil {
		fiber.New().Listen("127.0.0.1:0")
	}
}
`

const bareGinProgram = `package main

import "github.com/gin-gonic/gin"

func main() { gin.Default().Run("127.0.0.1:0") }
`

const ginProgram = `package main

import (
	"github.com/gin-gonic/gin"

	ginsession "github.com/gensession/gensession/adapters/gin"
	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

func main() {
	if sessions, err := core.New(memorystore.New(nil), nil); err == nil {
		r := gin.Default()
		r.Use(ginsession.New(sessions, nil))
		r.Run("127.0.0.1:0")
	}
}
`

const redisProgram = `package main

import (
	"github.com/gensession/gensession/core"
	redisstore "github.com/gensession/gensession/stores/redis"
)

func main() {
	if store, err := redisstore.Open("redis://127.0.0.1:6379", nil); err == nil {
		core.New(store, nil)
	}
}
`

func folder(path string) string { return "file:" + "//" + filepath.ToSlash(path) }

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// clone returns a repository with one commit: the files of this one as they are
// now, committed or not, with the version in CHANGELOG.md.
func clone(t *testing.T, ctx context.Context) string {
	t.Helper()
	here := run{ctx, "../..", nil}
	there := run{ctx, t.TempDir(), nil}
	for name := range strings.SplitSeq(here.do(t, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"), "\x00") {
		from := filepath.Join(here.dir, name)
		info, err := os.Lstat(from)
		if name == "" || err != nil || !info.Mode().IsRegular() {
			continue // one that was removed and is not committed
		}
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(there.dir, name)
		write(t, to, string(text))
		if err := os.Chmod(to, info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
	log := filepath.Join(there.dir, "CHANGELOG.md")
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	write(t, log, string(text)+"\n## ["+strings.TrimPrefix(version, "v")+"]\n")
	there.do(t, "git", "-c", "init.defaultBranch=main", "init", "-q")
	there.do(t, "git", "add", "-A")
	there.do(t, "git", "-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgSign=false", "commit", "-qm", "all")
	return there.dir
}

// proxyOf makes a module proxy of the tags, and returns its folder.
func proxyOf(t *testing.T, repository run, tags []string) string {
	t.Helper()
	files := make(map[string][]byte)
	archive := tar.NewReader(strings.NewReader(repository.do(t, "git", "archive", "--format=tar", version)))
	for {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if files[h.Name], err = io.ReadAll(archive); err != nil {
				t.Fatal(err)
			}
		}
	}
	// moduleOf is the folder of the module that has the file.
	moduleOf := func(file string) string {
		for dir := filepath.Dir(file); dir != "."; dir = filepath.Dir(dir) {
			if _, ok := files[dir+"/go.mod"]; ok {
				return dir
			}
		}
		return "."
	}
	commit := repository.do(t, "git", "rev-parse", version+"^{commit}")
	proxy := t.TempDir()
	for _, tag := range tags {
		if repository.do(t, "git", "rev-parse", tag+"^{commit}") != commit {
			t.Errorf("the tag %s is on another commit than %s", tag, version)
		}
		dir := filepath.Dir(tag)
		path := strings.TrimSuffix(module+"/"+dir, "/.")
		mod := files[filepath.Join(dir, "go.mod")]
		if !strings.HasPrefix(string(mod), "module "+path+"\n") {
			t.Fatalf("the tag %s has no module %s", tag, path)
		}
		if strings.Contains(string(mod), "replace") {
			t.Errorf("%s replaces something at %s", path, tag)
		}
		info, err := json.Marshal(map[string]any{"Version": version, "Time": time.Now().UTC().Truncate(time.Second)})
		if err != nil {
			t.Fatal(err)
		}
		var packed bytes.Buffer
		w := zip.NewWriter(&packed)
		for name, text := range files {
			if moduleOf(name) != dir {
				continue
			}
			rel, err := filepath.Rel(dir, name)
			if err != nil {
				t.Fatal(err)
			}
			f, err := w.Create(path + "@" + version + "/" + filepath.ToSlash(rel))
			if err == nil {
				_, err = f.Write(text)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(proxy, path, "@v", version)
		write(t, at+".info", string(info))
		write(t, at+".mod", string(mod))
		write(t, at+".zip", packed.String())
		write(t, filepath.Join(filepath.Dir(at), "list"), version+"\n")
	}
	return proxy
}
