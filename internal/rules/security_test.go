package rules_test

import (
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const securityFile = "docs/security.md"

// lastRequirement is the last of our own: each has a row.
const lastRequirement = 50

// asvs are the items of OWASP ASVS 5.0 that are about sessions and cookies.
var asvs = []string{
	"7.1.1", "7.1.2", "7.1.3", "7.2.1", "7.2.2", "7.2.3", "7.2.4", "7.3.1", "7.3.2",
	"7.4.1", "7.4.2", "7.4.3", "7.4.4", "7.4.5", "7.5.1", "7.5.2", "7.5.3", "7.6.1", "7.6.2",
	"3.3.1", "3.3.2", "3.3.3", "3.3.4", "3.3.5",
}

var (
	securityRow = regexp.MustCompile(`(?m)^\| ([\d.]+) \| ([^|]+) \| (\w+) \| ([^|]*) \| ([^|]*?) ?\|$`)
	recipeLink  = regexp.MustCompile(`\]\(#([\w-]+)\)`)
)

// docs/security.md has one row for each requirement and each item of ASVS. The
// row names tests that there are; what is the application's has a recipe
// on the same page, and what is answered otherwise has its reason.
func TestSecurityDocument(t *testing.T) {
	text := read(t, securityFile)
	tests := testsOfFolders(t)
	want := slices.Clone(asvs)
	for n := 1; n <= lastRequirement; n++ {
		want = append(want, strconv.Itoa(n))
	}
	seen := make(map[string]bool)
	recipes := anchors(text[strings.Index(text, "\n## Recipes"):])
	linked := make(map[string]bool)
	for _, m := range securityRow.FindAllStringSubmatch(text, -1) {
		item, what, by, how, column := m[1], m[2], m[3], m[4], m[5]
		where := securityFile + ": " + item
		if seen[item] || !slices.Contains(want, item) {
			t.Errorf("%s has two rows, or is none of what there is", where)
		}
		seen[item] = true
		if strings.TrimSpace(what) == "" {
			t.Errorf("%s does not say what it is about", where)
		}
		toRecipe := false
		for _, link := range recipeLink.FindAllStringSubmatch(how, -1) {
			toRecipe = toRecipe || slices.Contains(recipes, link[1]) || link[1] == "both-timeouts"
		}
		switch by {
		case "library", "both", "otherwise":
			if column == "" {
				t.Errorf("%s is done by %s, and no test holds it", where, by)
			}
			if by != "library" && len(strings.Fields(how)) < 4 {
				t.Errorf("%s is done by %s, and does not say how or why", where, by)
			}
		case "you":
			if !toRecipe {
				t.Errorf("%s is for the application, and has no link to a recipe", where)
			}
		default:
			t.Errorf("%s is done by %q, want library, both, you or otherwise", where, by)
		}
		if column == "" {
			continue
		}
		for _, h := range heldOf(t, where, column) {
			if h.also {
				t.Errorf("%s says also, which has no meaning here", where)
			}
			named(t, where, h, tests, func(string, string, []testFunc) {})
		}
	}
	for _, item := range want {
		if !seen[item] {
			t.Errorf("%s has no row for %s that can be read", securityFile, item)
		}
	}
	for _, link := range recipeLink.FindAllStringSubmatch(text, -1) {
		linked[link[1]] = true
		if !slices.Contains(anchors(text), link[1]) {
			t.Errorf("%s links to #%s, and there is no such heading", securityFile, link[1])
		}
	}
	if len(linked) < 8 || len(recipes) < 10 {
		t.Errorf("only %d recipes, %d of them linked to", len(recipes), len(linked))
	}
}

// testsOfFolders are the test functions of each folder.
func testsOfFolders(t *testing.T) map[string][]testFunc {
	t.Helper()
	tests := make(map[string][]testFunc)
	goFiles(t, func(_ *token.FileSet, name string, f *ast.File) {
		if !strings.HasSuffix(name, "_test.go") {
			return
		}
		for _, d := range f.Decls {
			if d, ok := d.(*ast.FuncDecl); ok && isTest(d) {
				folder := path.Dir(name)
				tests[folder] = append(tests[folder], testOf(f, d))
			}
		}
	})
	return tests
}

// SECURITY.md is for who wants to report something: it stays short.
func TestSecurityPageIsShort(t *testing.T) {
	text := read(t, "SECURITY.md")
	if n := strings.Count(text, "\n"); n > 40 || !strings.Contains(text, "(docs/security.md)") {
		t.Errorf("SECURITY.md has %d lines, want at most 40 and a link to %s", n, securityFile)
	}
}
