// Package rules_test holds the rules of the house that a machine can check.
package rules_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/gensession/gensession"

// root is the top of the repository.
const root = "../.."

// A pkg is what go list tells about a package.
type pkg struct {
	ImportPath   string
	Dir          string
	GoFiles      []string
	Imports      []string // of its code
	TestImports  []string
	XTestImports []string
	Deps         []string // of its code, and of what that imports
}

// name is the path within the module.
func (p pkg) name() string { return within(p.ImportPath) }

func within(importPath string) string {
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

func ours(importPath string) bool {
	return importPath == module || strings.HasPrefix(importPath, module+"/")
}

// standard: the standard library has no dot in its first element, and vendors
// under vendor/.
func standard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}

// under reports whether name is one of the folders or lies in one.
func under(name string, folders ...string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return name == f || strings.HasPrefix(name, f+"/") })
}

// internal reports whether only this repository can import the package.
func internal(name string) bool { return slices.Contains(strings.Split(name, "/"), "internal") }

func run(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOWORK=") // that of go.work, where the tests of a module run without
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, &complaints)
	}
	return out
}

// packages are those of all modules of go.work.
func packages(t *testing.T) map[string]pkg {
	t.Helper()
	all := make(map[string]pkg)
	fields := "-json=ImportPath,Dir,GoFiles,Imports,TestImports,XTestImports,Deps"
	for d := json.NewDecoder(bytes.NewReader(run(t, "go", "list", fields, "work"))); d.More(); {
		var p pkg
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all[p.name()] = p
	}
	for _, name := range []string{"core", "core/storetest", "core/jartest", "core/sessiontest", "stores/memory", "adapters/nethttp", "adapters/fasthttp", "adapters/fiber", "adapters/fiberv3", "adapters/gin", "adapters/gorilla", "stores/redis", "stores/memcache", "stores/sql", "stores/sqlite", "stores/foreign", "otel", "examples/demo", "bench/peers", "internal/faults"} {
		if _, ok := all[name]; !ok {
			t.Fatalf("there is no package %s: the rules below would check nothing", name)
		}
	}
	return all
}

// Imports point one way: adapters to core, stores to core, and nothing back. What
// makes sessions without a request is for tests alone.
func TestImports(t *testing.T) {
	suites := []string{"core/storetest", "core/jartest", "core/sessiontest"}
	helpers := append([]string{"adapters/internal/adaptertest", "examples/frameworks/internal/try"}, suites...)
	for name, p := range packages(t) {
		product := under(name, "core", "adapters", "stores", "otel", "cmd", "examples") && !under(name, helpers...)
		for _, i := range p.Imports {
			to := within(i)
			switch {
			case !ours(i):
			case under(to, "bench", "examples"):
				if !under(name, "bench", "examples") {
					t.Errorf("%s imports %s: nothing imports the benchmarks and the examples", name, to)
				}
			case (product || to == "core/sessiontest") && under(to, helpers...):
				t.Errorf("%s imports %s: only tests do", name, to)
			case product && under(to, "internal"):
				t.Errorf("%s imports %s: internal/ is proof only", name, to)
			case under(to, "core/internal") && !under(name, "core"):
				t.Errorf("%s imports %s: what modules share lies in stores/internal or adapters/internal", name, to)
			}
		}
		for _, i := range slices.Concat(p.TestImports, p.XTestImports) {
			if to := within(i); ours(i) && under(to, "bench") && !under(name, "bench") {
				t.Errorf("a test of %s imports %s: nothing imports the benchmarks", name, to)
			}
		}
		for _, i := range p.Deps {
			to := within(i)
			switch {
			case name == "core" && (!standard(i) && !under(to, "core/internal") || i == "net/http"):
				t.Errorf("core needs %s: the core is the standard library only, and not net/http", i)
			case under(name, "core/internal") && ours(i) && !under(to, "core/internal"):
				t.Errorf("%s needs %s: what lies below the core knows nothing above", name, to)
			case !ours(i):
			case under(name, suites...) && to != "core" && !under(to, "core/internal") && !under(to, suites...):
				t.Errorf("%s needs %s: a suite knows the core alone", name, to)
			case name == "otel" && to != "core" && !under(to, "core/internal"):
				t.Errorf("%s needs %s: it knows the core alone", name, to)
			case name == "stores/sqlite" && to == "stores/sql": // it is that store on a file
			case under(name, "stores") && to != "core" && !internal(to) && !under(to, name):
				t.Errorf("%s needs %s: a store knows the core alone", name, to)
			case under(name, "stores/internal", "adapters/internal") && product && !under(to, "core", "stores/internal", "adapters/internal"):
				t.Errorf("%s needs %s: what modules share knows the core alone", name, to)
			case under(name, "adapters") && product && under(to, "stores"):
				t.Errorf("%s needs %s: an adapter knows no store", name, to)
			case name == "adapters/nethttp" && under(to, "adapters") && !internal(to):
				t.Errorf("%s needs %s: it stands on the core alone", name, to)
			case name == "adapters/fasthttp" && under(to, "adapters") && to != name && !internal(to):
				t.Errorf("%s needs %s: it stands on the core alone", name, to)
			}
		}
	}
}

// A program compiles only what it uses.
func TestWhatUsersCompile(t *testing.T) {
	all := packages(t)
	const (
		fiber     = "github.com/gofiber/fiber"
		fasthttp  = "github.com/valyala/fasthttp"
		rueidis   = "github.com/redis/rueidis"
		gomemache = "github.com/bradfitz/gomemcache"
	)
	for _, c := range []struct {
		program []string
		never   []string // modules; nil: any at all
	}{
		{[]string{"adapters/nethttp", "stores/memory"}, nil},
		{[]string{"adapters/nethttp", "stores/redis"}, []string{fiber, fasthttp, gomemache}},
		{[]string{"adapters/nethttp", "stores/memcache"}, []string{fiber, fasthttp, rueidis}},
		{[]string{"adapters/nethttp", "stores/sql"}, nil},
		{[]string{"adapters/fasthttp", "stores/memory"}, []string{fiber, rueidis, gomemache}},
		{[]string{"adapters/fiber", "stores/memory"}, []string{rueidis, gomemache}},
		{[]string{"adapters/fiberv3", "stores/memory"}, []string{fiber + "/v2", rueidis, gomemache}},
		{[]string{"adapters/gin", "stores/memory"}, []string{fiber, fasthttp, rueidis, gomemache}},
		{[]string{"adapters/nethttp", "stores/foreign"}, nil},
		{[]string{"core/storetest"}, nil},
		{[]string{"core/jartest"}, nil},
		{[]string{"core/sessiontest"}, nil},
	} {
		for _, name := range c.program {
			for _, i := range all[name].Deps { // none if the package is not there yet
				if ours(i) || standard(i) {
					continue
				}
				if c.never == nil || under(i, c.never...) {
					t.Errorf("a program of %s compiles %s, through %s", strings.Join(c.program, " and "), i, name)
				}
			}
		}
	}
}

// mayRequire are what the modules may require besides each other, and the
// helpers. A new one is chosen like a colleague. The benchmarks of others, and
// the report, take what they need.
var mayRequire = map[string][]string{
	".":                    nil,
	"adapters/fasthttp":    {"github.com/valyala/fasthttp"},
	"adapters/fiber":       {"github.com/gofiber/fiber/v2", "github.com/valyala/fasthttp"},
	"adapters/fiberv3":     {"github.com/gofiber/fiber/v3", "github.com/valyala/fasthttp"},
	"adapters/gin":         {"github.com/gin-gonic/gin"},
	"adapters/gorilla":     {"github.com/gorilla/sessions"},
	"stores/redis":         {"github.com/redis/rueidis"},
	"stores/memcache":      {"github.com/bradfitz/gomemcache"},
	"stores/foreign":       nil,
	"stores/sql":           nil,
	"stores/sqlite":        {"modernc.org/sqlite"},
	"otel":                 {"go.opentelemetry.io/otel", "go.opentelemetry.io/otel/metric", "go.opentelemetry.io/otel/trace"},
	"cmd/gensession":       {"github.com/redis/rueidis", "github.com/jackc/pgx/v5", "github.com/go-sql-driver/mysql", "modernc.org/sqlite"},
	"examples":             {"github.com/gofiber/fiber/v2", "github.com/valyala/fasthttp", "github.com/jackc/pgx/v5", "github.com/go-sql-driver/mysql", "golang.org/x/crypto"},
	"examples/coming":      {"github.com/alexedwards/scs/goredisstore", "github.com/alexedwards/scs/v2", "github.com/boj/redistore", "github.com/gofiber/fiber/v3", "github.com/gofiber/storage/redis/v3", "github.com/gorilla/securecookie", "github.com/gorilla/sessions", "github.com/redis/go-redis/v9"},
	"examples/frameworks":  {"connectrpc.com/connect", "github.com/gin-gonic/gin", "github.com/gofiber/fiber/v3", "github.com/go-chi/chi/v5", "github.com/labstack/echo/v4", "github.com/labstack/echo/v5", "google.golang.org/protobuf"},
	"bench":                {"github.com/gofiber/fiber/v2", "github.com/valyala/fasthttp", "github.com/jackc/pgx/v5", "github.com/go-sql-driver/mysql", "go.opentelemetry.io/otel/sdk", "go.opentelemetry.io/otel/sdk/metric"},
	"internal/concurrency": {"github.com/gofiber/fiber/v2", "github.com/valyala/fasthttp", "github.com/anishathalye/porcupine", "github.com/redis/rueidis", "github.com/jackc/pgx/v5", "github.com/go-sql-driver/mysql"},
	"internal/databases":   {"github.com/jackc/pgx/v5", "github.com/go-sql-driver/mysql", "github.com/lib/pq"},
	"internal/e2e":         {"github.com/chromedp/cdproto", "github.com/chromedp/chromedp", "github.com/valyala/fasthttp", "golang.org/x/crypto"},
	"internal/faults":      {"github.com/gofiber/fiber/v2", "github.com/valyala/fasthttp", "github.com/redis/rueidis", "github.com/bradfitz/gomemcache", "github.com/jackc/pgx/v5"},
	"internal/foreign":     {"github.com/alexedwards/scs/v2", "github.com/alexedwards/scs/goredisstore", "github.com/alexedwards/scs/postgresstore", "github.com/alexedwards/scs/sqlite3store", "github.com/gin-contrib/sessions", "github.com/gin-gonic/gin", "github.com/gofiber/fiber/v2", "github.com/gofiber/fiber/v3", "github.com/gofiber/storage/redis/v3", "github.com/gorilla/sessions", "github.com/jackc/pgx/v5", "github.com/labstack/echo-contrib", "github.com/labstack/echo/v4", "github.com/markbates/goth", "github.com/redis/go-redis/v9", "modernc.org/sqlite"},
	"internal/koatest":     nil,
	"internal/world":       {"github.com/gin-gonic/gin", "github.com/gin-contrib/cors", "github.com/gin-contrib/gzip", "github.com/go-chi/chi/v5", "github.com/go-chi/httprate", "github.com/gofiber/fiber/v2", "github.com/gofiber/fiber/v3", "github.com/klauspost/compress", "github.com/labstack/echo/v4", "github.com/labstack/echo/v5", "github.com/rs/cors", "github.com/valyala/fasthttp"},
	"internal/websocket":   {"github.com/gorilla/websocket", "github.com/coder/websocket", "github.com/fasthttp/websocket", "github.com/gofiber/contrib/websocket", "github.com/gofiber/fiber/v2", "github.com/gin-gonic/gin", "github.com/valyala/fasthttp"},
	"internal/oteltest":    {"go.opentelemetry.io/otel", "go.opentelemetry.io/otel/trace", "go.opentelemetry.io/otel/sdk", "go.opentelemetry.io/otel/sdk/metric"},
}

// A module requires what was chosen for it. In those that users get, what is
// below that is of the chosen ones, and of nobody else.
func TestRequirements(t *testing.T) {
	helpers := []string{"go.uber.org/goleak", "pgregory.net/rapid"} // of tests, and need nothing themselves
	var work struct{ Use []struct{ DiskPath string } }
	if err := json.Unmarshal(run(t, "go", "work", "edit", "-json"), &work); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, use := range work.Use {
		name := path.Clean(use.DiskPath)
		var mod struct {
			Module  struct{ Path string }
			Require []struct {
				Path, Version string
				Indirect      bool
			}
			Replace []struct {
				Old struct{ Path string }
				New struct{ Path, Version string }
			}
		}
		if err := json.Unmarshal(run(t, "go", "mod", "edit", "-json", path.Join(name, "go.mod")), &mod); err != nil {
			t.Fatal(err)
		}
		if within(mod.Module.Path) != name {
			t.Errorf("%s is the module %s", name, mod.Module.Path)
		}
		for _, r := range mod.Replace {
			if folder := path.Join(name, r.New.Path); !ours(r.Old.Path) || r.New.Version != "" || folder != within(r.Old.Path) {
				t.Errorf("%s replaces %s by %s: only our own modules, by their folders", name, r.Old.Path, folder)
			}
		}
		chosen, ok := mayRequire[name]
		if !ok {
			if !under(name, "bench") {
				t.Errorf("there is a module %s: say here what it may require", name)
			}
			continue
		}
		seen++
		for _, r := range mod.Require {
			switch {
			case ours(r.Path):
				if to := within(r.Path); to != "." && under(name, "stores", "adapters") && !(under(name, "adapters/fiber", "adapters/fiberv3") && to == "adapters/fasthttp") && !(name == "stores/sqlite" && to == "stores/sql") {
					t.Errorf("%s requires %s", name, to)
				}
			case slices.Contains(helpers, r.Path) || slices.Contains(chosen, r.Path):
			case !r.Indirect || name == ".":
				t.Errorf("%s/go.mod requires %s: give the reason in core/DESIGN.md, and name it here", name, r.Path)
			}
		}
	}
	if seen != len(mayRequire) {
		t.Errorf("%d modules of %d are in go.work", seen, len(mayRequire))
	}
}
