package rules_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A program with every package of ours that no framework and no driver comes with.
const programOfAll = `package main

import (
	"database/sql"
	"log"
	"net/http"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	foreignstore "github.com/gensession/gensession/stores/foreign"
	memcachestore "github.com/gensession/gensession/stores/memcache"
	memorystore "github.com/gensession/gensession/stores/memory"
	redisstore "github.com/gensession/gensession/stores/redis"
	sqlstore "github.com/gensession/gensession/stores/sql"
)

func main() {
	serve(memorystore.New(nil), nil)
	redis, err := redisstore.Open("redis://127.0.0.1", nil)
	serve(redis, err)
	memcached, err := memcachestore.Open(nil, nil)
	serve(memcached, err)
	for d := sqlstore.PostgreSQL; d <= sqlstore.SQLite; d++ {
		database, err := sqlstore.New(new(sql.DB), d, nil)
		serve(database, err)
	}
	foreign, err := foreignstore.FromFiber(nil, nil)
	serve(foreign, err)
}

func serve(s core.Store, err error) {
	sessions, err := core.New(s, nil)
	log.Fatal(err, http.ListenAndServe("", httpsession.New(sessions, nil)(nil)))
}
`

// The linker drops methods that nobody calls, unless something reachable looks for one
// by reflection under a name that is no constant: then it keeps all exported methods of
// the program, which was a fifth of a small one and two fifths of cmd/gensession.
func TestTheLinkerMayDropMethods(t *testing.T) {
	program := func(text string) (found []string) {
		file := filepath.Join(t.TempDir(), "main.go")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		build := exec.Command("go", "build", "-o", file+".out", "-ldflags=-dumpdep", file)
		build.Dir, build.Env = root, append(os.Environ(), "GOWORK=")
		out, err := build.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, " <ReflectMethod> -> ") {
				found = append(found, line)
			}
		}
		return found
	}
	if found := program(programOfAll); len(found) > 0 {
		t.Errorf("it keeps all, for %s", found[0])
	}
	// What the linker prints is no promise of its.
	const planted = `package main

import (
	"os"
	"reflect"
)

func main() { println(reflect.ValueOf(os.Stdin).MethodByName(os.Args[1]).String()) }
`
	if len(program(planted)) == 0 {
		t.Error("a planted look under any name is not found: does the linker print it in another form?")
	}
}
