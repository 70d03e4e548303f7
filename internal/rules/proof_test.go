package rules_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// lastRule is K52: the rules of koa-generic-session are K1 to K52.
const lastRule = 52

var (
	// unproved are the rules that no test names yet, with the reason.
	unproved = map[int]string{}
	// elsewhere are those that no test shows on an HTTP library, with the
	// reason.
	elsewhere = map[int]string{44: "it is about stores that have a server, and here is only memory: see internal/faults"}
)

// everywhere are the files whose tests run on net/http, fasthttp and Fiber.
var everywhere = []string{"adapters/internal/adaptertest", "internal/golden"}

// TestEveryRuleHasATest: each rule is named by a test, and by one that runs on
// all HTTP libraries. The table is in the log.
func TestEveryRuleHasATest(t *testing.T) {
	proofs := make(map[int][]string)
	shared := make(map[int]bool) // named by a test that runs everywhere
	testNames(t, func(file, name string) {
		for _, k := range rulesOf(name) {
			if k < 1 || k > lastRule {
				t.Errorf("%s: %q names K%d, which is no rule", file, name, k)
			}
			proofs[k] = append(proofs[k], file+": "+name)
			shared[k] = shared[k] || under(file, everywhere...)
		}
	})
	var table strings.Builder
	for k := 1; k <= lastRule; k++ {
		late, isLate := unproved[k]
		_, isElsewhere := elsewhere[k]
		switch named := len(proofs[k]) > 0; {
		case isLate && named:
			t.Errorf("K%d has a test now: take it out of unproved", k)
		case isLate:
		case !named:
			t.Errorf("no test names K%d", k)
		case isElsewhere == shared[k]:
			t.Errorf("K%d is named by a test that runs on all HTTP libraries: %t; in elsewhere: %t", k, shared[k], isElsewhere)
		}
		fmt.Fprintf(&table, "\nK%d %s", k, late)
		slices.Sort(proofs[k])
		for _, p := range slices.Compact(proofs[k]) {
			fmt.Fprintf(&table, "\n\t%s", p)
		}
	}
	t.Log(table.String())
}

var (
	testFunc    = regexp.MustCompile(`^Test\w*?K(\d+)(?:\D|$)`)
	subtestName = regexp.MustCompile(`^(?:[KR]\d+[ :]+)*[KR]\d+(?:[ :]|$)`) // R are the requirements on security
	number      = regexp.MustCompile(`K(\d+)`)
)

// rulesOf returns the rules that a test's name begins with, or a test
// function's has in it.
func rulesOf(name string) []int {
	found := subtestName.FindString(name)
	if m := testFunc.FindStringSubmatch(name); m != nil {
		found = "K" + m[1]
	}
	var rules []int
	for _, m := range number.FindAllStringSubmatch(found, -1) {
		if k, err := strconv.Atoi(m[1]); err == nil {
			rules = append(rules, k)
		}
	}
	return rules
}

// testNames calls each with the test functions of the repository, and with the
// texts in tests that could name a subtest.
func testNames(t *testing.T, each func(file, name string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		file, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		file = filepath.ToSlash(file)
		helper := under(file, everywhere...) && strings.HasSuffix(file, ".go")
		switch {
		case d.IsDir() && (file == ".git" || file == "internal/rules"):
			return fs.SkipDir
		case d.IsDir() || !helper && !strings.HasSuffix(file, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				each(file, n.Name.Name)
			case *ast.BasicLit:
				// What has a % is the complaint of a test, not its name.
				if text, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING && !strings.Contains(text, "%") {
					each(file, text)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
