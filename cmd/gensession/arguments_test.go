package main

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// golden compares text with a file of testdata, or writes it with UPDATE=1.
func golden(t *testing.T, name, text string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || string(want) != text {
		t.Errorf("%s differs, %v; if that is meant: UPDATE=1 go test . It is now\n%s", name, err, text)
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"-h"}, {"help"}, {"list", "-h"}, {"-help", "nonsense"}} {
		r := gensession(t, "", args...).want(exitDone, "")
		golden(t, "help.txt", r.out)
	}
}

// What makes no sense reaches no store. A command line is never quoted: it may have an
// id or a password.
func TestUsage(t *testing.T) {
	const id = "AbCdEf0123456789AbCdEf0123456789"
	const redis = "redis://user:" + canary + "@127.0.0.1:1"
	missing := filepath.Join(t.TempDir(), "missing")
	for _, c := range []struct {
		store string
		args  []string
		says  string
	}{
		{redis, nil, "say what to do, before all flags: list, show"},
		{redis, []string{"-json"}, "say what to do"},
		{redis, []string{"destroy"}, "there is no such command"},
		{redis, []string{"list", "-nonsense"}, "see gensession -h"},
		{redis, []string{"list", "id:01234567"}, "list takes no session"},
		{redis, []string{"count", "-owner", "ada"}, "count takes no session"},
		{redis, []string{"doctor", "-handle", "x"}, "doctor takes no session"},
		{redis, []string{"show", "-owner", "ada"}, "show takes no session"},
		{redis, []string{"show"}, "say which session"},
		{redis, []string{"show", "id:01234567", "-handle", "x"}, "say which session"},
		{redis, []string{"end"}, "say which session"},
		{redis, []string{"end", "id:01234567", "-owner", "x"}, "say which session"},
		{redis, []string{"end", "id:01234567", "id:01234568"}, "one session at a time"},
		{redis, []string{"end", id}, "that is no fingerprint"},
		{redis, []string{"end", "id:0123456X"}, "that is no fingerprint"},
		{redis, []string{"list", "-values"}, "-values is for show"},
		{redis, []string{"sweep", "-create"}, "-create is for schema"},
		{redis, []string{"list", "-timeout", "0s"}, "-timeout must be positive"},
		{redis, []string{"list", "-seal-keys", missing}, "the keys can't be read"},
		{redis, []string{"end", "-owner", "ada"}, "-owner needs the keys of the lists"},
		{redis, []string{"list", "-koa", "GENSESSION_SEAL_KEYS=x"}, "-koa goes neither"},
		{redis, []string{"sweep"}, "sweep is for a database"},
		{redis, []string{"schema"}, "schema is for a database"},
		{redis, []string{"list", "-table", "t"}, "-table is for a database"},
		{redis, []string{"doctor", "-koa"}, "-koa says nothing"},
		{"", []string{"list"}, "say which store"},
		{"redis:" + canary, []string{"list"}, "-store names no store"},
		{"mongodb://" + canary, []string{"list"}, "-store names no store"},
		{"redis://:" + canary + "@local host/%zz", []string{"list"}, "the URL has none of the forms"},
		{"memcached://a:1,,b:1", []string{"list"}, "server 2 of 3"},
		{"mysql://u:" + canary + "@local host/%zz", []string{"list"}, "-store names no store"},
		{"postgres://u:" + canary + "@local host/%zz", []string{"list"}, "-store names no store"},
		{"memory", []string{"list"}, "-store names no store"},
		{"sqlite:", []string{"list"}, "-store names no store"},
		{"postgres://127.0.0.1:1/x", []string{"schema", "-table", "Robert'); DROP"}, "Options.Table must be"},
	} {
		r := gensession(t, c.store, c.args...)
		if r.code != exitUsage || r.out != "" || !strings.Contains(r.err, c.says) || strings.Count(r.err, "\n") != 1 {
			t.Errorf("%q on %.20s ends with %d and says %q and %q", c.args, c.store, r.code, r.out, r.err)
		}
		if strings.Contains(r.err, canary) || strings.Contains(r.err, id) {
			t.Errorf("%q quotes its arguments: %q", c.args, r.err)
		}
	}
}

// It takes the URLs that the examples take, who have a test of the same list.
func TestURLs(t *testing.T) {
	list, err := os.ReadFile("../../examples/internal/openstore/testdata/urls.txt")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("the module lies alone, without the examples")
	}
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(list)) {
		want, url, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if _, err := (&command{store: url}).address(); (err == nil) != (want == "yes") {
			t.Errorf("%q: %v, and the list says %s", url, err, want)
		}
	}
}

// A server that is down is an error of each command, and no session is "not there".
func TestUnreachable(t *testing.T) {
	for _, store := range []string{"redis://user:" + canary + "@127.0.0.1:1", "memcached://127.0.0.1:1", "postgres://u:" + canary + "@127.0.0.1:1/x", "mysql://u:" + canary + "@127.0.0.1:1/x", "sqlite:" + filepath.Join(t.TempDir(), "missing.db")} {
		for _, args := range [][]string{{"list"}, {"show", "id:01234567"}, {"end", "id:01234567"}, {"count"}, {"doctor"}, {"doctor", "-json"}} {
			if r := gensession(t, store, append(args, "-timeout", "2s")...); r.code != exitFailed || r.out != "" || r.err == "" || strings.Contains(r.err, canary) {
				t.Errorf("%q on %.20s ends with %d and says %q and %q", args, store, r.code, r.out, r.err)
			}
		}
	}
}

// Flags may stand on both sides of the fingerprint.
func TestFlagsOnBothSides(t *testing.T) {
	c, err := parse([]string{"show", "-values", "id:01234567", "-json", "-store", "redis://x"}, func(string) string { return "" }, nil)
	if err != nil || c.print != "id:01234567" || !c.values || !c.out.json || c.store != "redis://x" {
		t.Errorf("%+v, %v", c, err)
	}
}

// What others have written does nothing to a terminal, and stays JSON.
func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"Zoë, 東京": "Zoë, 東京", "\x1b[31m": `\u001b[31m`, "a\nb": `a\u000ab`, "\u009b2J": `\u009b2J`, "\u202e": `\u202e`,
	} {
		if got := printable(text); got != want {
			t.Errorf("%q is printed as %q, want %q", text, got, want)
		}
	}
}

// Each check of doctor has its row in docs/operating.md, and each row its check.
func TestDocumentedChecks(t *testing.T) {
	calls := regexp.MustCompile(`\.(?:find|either|ask|value)\((?:ctx, )?"([a-z ]+)"`)
	files, err := filepath.Glob("doctor*.go")
	if err != nil {
		t.Fatal(err)
	}
	checks := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(file, "_test.go") {
			for _, m := range calls.FindAllStringSubmatch(string(text), -1) {
				checks[m[1]] = true
			}
		}
	}
	document, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(document), "| check | where |")
	rows := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\| ([a-z ]+) \|`).FindAllStringSubmatch(table, -1) {
		rows[m[1]] = true
	}
	if len(checks) < 20 || !maps.Equal(checks, rows) {
		t.Errorf("doctor has the checks %q, the document %q", slices.Sorted(maps.Keys(checks)), slices.Sorted(maps.Keys(rows)))
	}
}
