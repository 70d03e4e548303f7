package koatest_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gensession/gensession/internal/cookiefields"
	"github.com/gensession/gensession/internal/servers"
)

// TestRequirement33CookieFields: in random Cookie fields, most of them odd, we find
// the id that Koa finds, but for the differences that have a reason.
func TestRequirement33CookieFields(t *testing.T) {
	t.Parallel()
	const id, name = "0123456789abcdef", "koa.sid"
	koa := startKoa(t, servers.SharedRedis(t).URL(), "", "unused")
	b := newBrowser(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := random{rand.New(rand.NewPCG(seed, 0))}
	pieces := []string{
		name + "=" + id, name + "=" + id, name + "=x", name, name + "=", name + " = " + id, "x" + name + "=" + id, name + ".sig=" + id, strings.ToUpper(name) + "=" + id,
		name + `="` + id + `"`, name + `="` + id, name + "=" + id + `"`, `"` + name + `"=` + id, "a=b", "a", "=", "==", "a=b=c", `a="b; ` + name + "=" + id + `"`, "$Version=1",
		name + "==" + id, name + "=" + id + ",c=d", name + "=" + id + " x", name + "=\t" + id, "k%6fa.sid=" + id, name + "[]=" + id,
	}
	separators := []string{"; ", "; ", ";", " ;", ";;", ",", " ", "; ; ", ";\t"}
	fields := make([]string, max(500, many()))
	for i := range fields {
		for range 1 + r.IntN(5) {
			fields[i] += pieces[r.IntN(len(pieces))] + separators[r.IntN(len(separators))]
		}
	}
	var theirs []*string
	if err := json.Unmarshal([]byte(b.post(koa, "/cookies", encode(map[string]any{"name": name, "fields": fields}))), &theirs); err != nil {
		t.Fatal(err)
	}
	reader, err := cookiefields.NewReader(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	found := 0
	for i, field := range fields {
		ours, _, err := reader.Read(field)
		if err != nil {
			t.Fatal(err)
		}
		koas := ""
		if theirs[i] != nil {
			koas = *theirs[i]
		}
		if ours != "" && ours == koas {
			found++
		}
		if _, err := cookiefields.Explain(cookiefields.Case{Parser: cookiefields.Koa, Name: name, Field: field, Ours: ours, Theirs: koas}); err != nil {
			t.Error(err)
		}
	}
	if found < len(fields)/20 {
		t.Errorf("%d of %d fields have an id for both: the test shows little", found, len(fields))
	}
}

// TestCookieFieldsAreThoseOfNode: what the tests of the adapters compare with is what
// Node's packages say. UPDATE=1 records it anew.
func TestCookieFieldsAreThoseOfNode(t *testing.T) {
	t.Parallel()
	installed := needModules(t)
	cmd := exec.Command("node", filepath.Join("..", "cookiefields", "make.js"))
	cmd.Env = append(os.Environ(), "NODE_PATH="+installed)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	now, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, &complaints)
	}
	file := filepath.Join("..", "cookiefields", "recorded.json")
	if os.Getenv("UPDATE") == "1" {
		if err := os.WriteFile(file, now, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// What the server refuses is up to the version of Node, not to the packages.
	lines := func(text []byte) []string {
		return strings.Split(strings.ReplaceAll(string(text), `,"refused"]`, "]"), "\n")
	}
	was, is := lines(kept), lines(now)
	if slices.Equal(was, is) {
		return
	}
	for i := range min(len(was), len(is)) {
		if was[i] != is[i] {
			t.Fatalf("line %d of the recording is\n%.1000s\nand now\n%.1000s", i+1, was[i], is[i])
		}
	}
	t.Fatalf("the recording has %d lines, and now %d", len(was), len(is))
}
