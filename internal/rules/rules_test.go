package rules_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	rulesFile  = "core/RULES.md"
	designFile = "core/DESIGN.md"

	// lastRule is the last rule of koa-generic-session: each has a row.
	lastRule = 52
	// everyAdapter is the folder pattern of the tests that run on all HTTP
	// libraries.
	everyAdapter = "adapters/*"
	// onAdapters is one among them that has no HTTP library of its own: it
	// stands on the others.
	onAdapters = "adapters/gorilla"
)

// notOnAdapters are the rules of koa-generic-session that no test shows on an
// HTTP library, with the reason.
var notOnAdapters = map[string]string{
	"K44": "it is about stores that have a server, and the tests of the adapters have memory only",
}

// suites are the functions that run the subtests of other folders.
var suites = map[string][]string{
	"adaptertest.Run":    {"adapters/internal/adaptertest", "core/jartest"},
	"adaptertest.Golden": {"internal/golden"},
	"golden.Run":         {"internal/golden"},
	"jartest.RunAdapter": {"core/jartest"},
}

// publicSuite has subtests that are named for authors of adapters, who don't know
// our numbers: its comments cite the rules.
const publicSuite = "core/jartest/adapter_rules.go"

var (
	// A number is a letter for the list, and the number in it.
	inText = regexp.MustCompile(`\b[KRWTP][1-9]\d?\b`)
	inName = regexp.MustCompile(`[KRWTP][1-9]\d?`)
	// "requirements 6, 7 and 8"
	requirements      = regexp.MustCompile(`(?i)requirements?\s*([1-9]\d?\b(?:(?:,\s*|\s+and\s+)[1-9]\d?\b)*)`)
	subtestName       = regexp.MustCompile(`^(?:[KRWTP]\d+[ :]+)*[KRWTP]\d+(?:[ :]|$)`)
	requirementInName = regexp.MustCompile(`Requirement([1-9]\d?)`)
	decisions         = regexp.MustCompile(`(?i)decisions?[\s/]*\d+|DESIGN\s+\d+`)
	// A decision is cited by its name, up to the next punctuation.
	designCitation = regexp.MustCompile(`\bDESIGN: ([^.,;:()]*)`)
)

// numbers returns the rules that a text cites.
func numbers(text string) []string {
	found := inText.FindAllString(text, -1)
	for _, m := range requirements.FindAllStringSubmatch(text, -1) {
		for _, n := range regexp.MustCompile(`\d+`).FindAllString(m[1], -1) {
			found = append(found, "R"+n)
		}
	}
	return found
}

// numbersOfName returns the rules that the name of a function cites:
// TestK7Overwrite, TestKoaK19CookieObject, TestRequirement32SeveralCookies.
func numbersOfName(name string) []string {
	var found []string
	for _, at := range inName.FindAllStringIndex(name, -1) {
		before, after := name[:at[0]], name[at[1]:]
		capital := before != "" && 'A' <= before[len(before)-1] && before[len(before)-1] <= 'Z' // RESP2
		goesOn := after != "" && ('a' <= after[0] && after[0] <= 'z' || '0' <= after[0] && after[0] <= '9')
		if !capital && !goesOn {
			found = append(found, name[at[0]:at[1]])
		}
	}
	for _, m := range requirementInName.FindAllStringSubmatch(name, -1) {
		found = append(found, "R"+m[1])
	}
	return found
}

func TestNumbers(t *testing.T) {
	for text, want := range map[string][]string{
		"K1":                                 {"K1"},
		"K1 K52: all (R7), W54.":             {"K1", "K52", "R7", "W54"},
		"SK1 K1a K100 K0 elliptic.P256 int8": nil,
		"Requirements 32 and\n34 want":       {"R32", "R34"},
		"requirement 15: gone":               {"R15"},
		"requirement 155":                    nil,
	} {
		if got := numbers(text); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	for name, want := range map[string][]string{
		"TestK7Overwrite":                 {"K7"},
		"TestKoaK19CookieObject":          {"K19"},
		"TestK12R7Old":                    {"K12", "R7"},
		"TestRequirement32SeveralCookies": {"R32"},
		"TestT11Values":                   {"T11"},
		"TestAReplyInRESP2":               nil,
		"TestW1st":                        nil,
		"TestK123":                        nil,
	} {
		if got := numbersOfName(name); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// A testFunc is a test function with what it says of itself.
type testFunc struct {
	name   string
	cites  []string
	suites []string // folders of the subtests that it runs
}

// goFiles parses all Go files of the repository, also those of other modules.
func goFiles(t *testing.T, each func(fset *token.FileSet, name string, f *ast.File)) {
	t.Helper()
	fset := token.NewFileSet()
	tree(t, func(name, text string) {
		if filepath.Ext(name) != ".go" {
			return
		}
		f, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		each(fset, name, f)
	})
}

// citations calls each with every rule that comments, strings and the names of
// tests cite in f between two positions.
func citations(f *ast.File, from, to token.Pos, each func(at token.Pos, rule string)) {
	within := func(n ast.Node) bool { return from <= n.Pos() && n.End() <= to }
	for _, c := range f.Comments {
		if within(c) {
			for _, rule := range numbers(c.Text()) {
				each(c.Pos(), rule)
			}
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if n == nil || !within(n) {
			return n == f
		}
		switch n := n.(type) {
		case *ast.FuncDecl:
			if isTest(n) {
				for _, rule := range numbersOfName(n.Name.Name) {
					each(n.Pos(), rule)
				}
			}
		case *ast.BasicLit:
			if text, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING {
				for _, rule := range numbers(text) {
					each(n.Pos(), rule)
				}
			}
		}
		return true
	})
}

var testName = regexp.MustCompile(`^(Test|Fuzz|Benchmark|Example)`)

func isTest(d *ast.FuncDecl) bool { return d.Recv == nil && testName.MatchString(d.Name.Name) }

// A row is one line of RULES.md.
type row struct {
	rule, holds string
	held        []heldBy
}

// heldBy are the tests of a row. Those after "also" say more than the row, and
// need not cite it.
type heldBy struct {
	folder string // a pattern
	tests  []string
	also   bool
}

var (
	rowLine  = regexp.MustCompile(`(?m)^\| ([A-Z]\d+) \| ([^|]*) \| ([^|]*) \|$`)
	heldPart = regexp.MustCompile("^(also )?`([^`]+)` (\\w+(?:, \\w+)*)$")
)

func rows(t *testing.T) []row {
	t.Helper()
	text := read(t, rulesFile)
	var all []row
	for _, m := range rowLine.FindAllStringSubmatch(text, -1) {
		all = append(all, row{rule: m[1], holds: m[2], held: heldOf(t, rulesFile+": "+m[1], m[3])})
	}
	if lines := len(regexp.MustCompile(`(?m)^\|\s*\**[A-Z]\d`).FindAllString(text, -1)); lines != len(all) {
		t.Errorf("%s has %d rows, of which %d can be read", rulesFile, lines, len(all))
	}
	return all
}

// heldOf reads the last column of a row.
func heldOf(t *testing.T, where, column string) []heldBy {
	t.Helper()
	var held []heldBy
	for part := range strings.SplitSeq(column, "; ") {
		h := heldPart.FindStringSubmatch(part)
		if h == nil {
			t.Errorf("%s: %q is not \"`folder` TestName, TestName\"", where, part)
			continue
		}
		held = append(held, heldBy{folder: h[2], tests: strings.Split(h[3], ", "), also: h[1] != ""})
	}
	return held
}

// named calls each with what the tests that h names say of themselves, and says
// which of them are not there.
func named(t *testing.T, where string, h heldBy, tests map[string][]testFunc, each func(folder, name string, found []testFunc)) {
	t.Helper()
	folders := 0
	for folder, funcs := range tests {
		if ok, err := path.Match(h.folder, folder); err != nil || !ok || h.folder == everyAdapter && folder == onAdapters {
			continue
		}
		folders++
		for _, name := range h.tests {
			var found []testFunc
			for _, f := range funcs {
				if f.name == name { // core and core_test may both have one
					found = append(found, f)
				}
			}
			if len(found) == 0 {
				t.Errorf("%s names %s in %s, which is not there", where, name, folder)
				continue
			}
			each(folder, name, found)
		}
	}
	if folders == 0 {
		t.Errorf("%s names %s, where there are no tests", where, h.folder)
	}
}

// RULES.md has a row for each rule that code and documents cite, none for
// another, and each row names the tests that hold it.
func TestRules(t *testing.T) {
	cited := make(map[string]string)      // where a rule is cited first
	tests := make(map[string][]testFunc)  // of a folder
	subtests := make(map[string][]string) // the rules that subtests in a folder are named by
	goFiles(t, func(fset *token.FileSet, name string, f *ast.File) {
		folder := path.Dir(name)
		if folder == "internal/rules" {
			return // its examples are no citations
		}
		citations(f, f.FileStart, f.FileEnd, func(at token.Pos, rule string) {
			if cited[rule] == "" {
				cited[rule] = fmt.Sprintf("%s:%d", name, fset.Position(at).Line)
			}
		})
		subtests[folder] = append(subtests[folder], subtestsOf(f)...)
		if name == publicSuite {
			citations(f, f.FileStart, f.FileEnd, func(_ token.Pos, rule string) { subtests[folder] = append(subtests[folder], rule) })
		}
		if !strings.HasSuffix(name, "_test.go") {
			return
		}
		for _, d := range f.Decls {
			if d, ok := d.(*ast.FuncDecl); ok && isTest(d) {
				tests[folder] = append(tests[folder], testOf(f, d))
			}
		}
	})
	tree(t, func(name, text string) {
		if filepath.Ext(name) != ".md" || name == rulesFile {
			return
		}
		for _, rule := range numbers(text) {
			if cited[rule] == "" {
				cited[rule] = name
			}
		}
	})

	has := make(map[string]bool)
	for _, r := range rows(t) {
		if has[r.rule] {
			t.Errorf("%s has two rows", r.rule)
		}
		has[r.rule] = true
		if cited[r.rule] == "" {
			t.Errorf("%s has a row, and nothing cites it", r.rule)
		}
		if strings.TrimSpace(r.holds) == "" {
			t.Errorf("the row of %s is empty", r.rule)
		}
		checkHeld(t, r, tests, subtests)
	}
	for k := 1; k <= lastRule; k++ {
		if rule := fmt.Sprint("K", k); !has[rule] {
			t.Errorf("%s has no row", rule)
		}
	}
	for rule, at := range cited {
		if !has[rule] {
			t.Errorf("%s cites %s, which has no row", at, rule)
		}
	}
	if len(cited) < lastRule || len(tests["core"]) < 50 {
		t.Errorf("only %d rules cited, %d tests in core", len(cited), len(tests["core"]))
	}
}

// subtestsOf returns the rules that strings in f begin with, which are names of
// subtests: "K6 R16 the expired cookies …".
func subtestsOf(f *ast.File) []string {
	var found []string
	ast.Inspect(f, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if text, err := strconv.Unquote(lit.Value); err == nil {
				found = append(found, numbers(subtestName.FindString(text))...)
			}
		}
		return true
	})
	return found
}

// testOf is what a test function says of itself.
func testOf(f *ast.File, d *ast.FuncDecl) testFunc {
	test := testFunc{name: d.Name.Name}
	from := d.Pos()
	if d.Doc != nil {
		from = d.Doc.Pos()
	}
	citations(f, from, d.End(), func(_ token.Pos, rule string) { test.cites = append(test.cites, rule) })
	ast.Inspect(d, func(n ast.Node) bool {
		if call, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := call.X.(*ast.Ident); ok {
				test.suites = append(test.suites, suites[x.Name+"."+call.Sel.Name]...)
			}
		}
		return true
	})
	return test
}

// checkHeld says what is wrong with the tests that a row names: those that are
// not there, those that do not cite the rule.
func checkHeld(t *testing.T, r row, tests map[string][]testFunc, subtests map[string][]string) {
	t.Helper()
	holding, adapters := 0, false
	for _, h := range r.held {
		adapters = adapters || !h.also && h.folder == everyAdapter
		named(t, r.rule, h, tests, func(folder, name string, found []testFunc) {
			var said []string
			for _, f := range found {
				said = append(said, f.cites...)
				for _, suite := range f.suites {
					said = append(said, subtests[suite]...)
				}
			}
			switch {
			case h.also:
			case !slices.Contains(said, r.rule):
				t.Errorf("%s names %s in %s, which does not cite it: let it, or name it after \"also\"", r.rule, name, folder)
			default:
				holding++
			}
		})
	}
	if holding == 0 {
		t.Errorf("%s names no test that cites it", r.rule)
	}
	if _, ok := notOnAdapters[r.rule]; r.rule[0] == 'K' && ok == adapters {
		t.Errorf("%s names a test that runs on all HTTP libraries: %t; in notOnAdapters: %t", r.rule, adapters, ok)
	}
}

// The documentation of a package is for readers who know nothing of our lists:
// it cites no rule and no decision.
func TestNoRuleNumbersInPublicComments(t *testing.T) {
	comments := 0
	goFiles(t, func(fset *token.FileSet, name string, f *ast.File) {
		if strings.HasSuffix(name, "_test.go") || !under(name, "core", "adapters", "stores", "otel") || internal(path.Dir(name)) {
			return
		}
		publicComments(f, func(c *ast.CommentGroup) {
			comments++
			for _, line := range c.List {
				for i, text := range strings.Split(line.Text, "\n") {
					said := numbers(text)
					if m := decisions.FindString(text); m != "" {
						said = append(said, m)
					}
					if m := designCitation.FindString(text); m != "" {
						said = append(said, m)
					}
					if len(said) > 0 {
						t.Errorf("%s:%d: a public comment cites %s", name, fset.Position(line.Pos()).Line+i, strings.Join(said, ", "))
					}
				}
			}
		})
	})
	if comments < 200 {
		t.Errorf("only %d public comments found", comments)
	}
}

// publicComments calls each with the comments that go doc shows.
func publicComments(f *ast.File, each func(c *ast.CommentGroup)) {
	shown := func(comments ...*ast.CommentGroup) {
		for _, c := range comments {
			if c != nil {
				each(c)
			}
		}
	}
	fields := func(list *ast.FieldList) {
		for _, field := range list.List {
			embedded := len(field.Names) == 0
			if embedded || slices.ContainsFunc(field.Names, func(n *ast.Ident) bool { return n.IsExported() }) {
				shown(field.Doc, field.Comment)
			}
		}
	}
	shown(f.Doc)
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d))) {
				shown(d.Doc)
			}
		case *ast.GenDecl:
			public := false
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					if !s.Name.IsExported() {
						continue
					}
					public = true
					shown(s.Doc, s.Comment)
					ast.Inspect(s.Type, func(n ast.Node) bool {
						switch n := n.(type) {
						case *ast.StructType:
							fields(n.Fields)
						case *ast.InterfaceType:
							fields(n.Methods)
						}
						return true
					})
				case *ast.ValueSpec:
					if slices.ContainsFunc(s.Names, func(n *ast.Ident) bool { return n.IsExported() }) {
						public = true
						shown(s.Doc, s.Comment)
					}
				}
			}
			if public {
				shown(d.Doc)
			}
		}
	}
}

// core/DESIGN.md says of each file of core what is in it, and internal/README.md of each
// folder.
func TestPlacesAreNamed(t *testing.T) {
	_, files, _ := strings.Cut(read(t, designFile), "\n### The files\n")
	files, _, _ = strings.Cut(files, "\n### ")
	for _, c := range []struct {
		in, text, name string
		of             func(name string) string // the file or folder of a file, "" for none
	}{
		{designFile, files, "`([a-z]+\\.go)`", func(name string) string {
			if dir, file := path.Split(name); dir == "core/" && !strings.HasSuffix(file, "_test.go") {
				return file
			}
			return ""
		}},
		{"internal/README.md", read(t, "internal/README.md"), "\n\\| `([a-z0-9]+)` \\|", func(name string) string {
			in, _ := strings.CutPrefix(name, "internal/")
			folder, _, _ := strings.Cut(in, "/")
			if in == name {
				return ""
			}
			return folder
		}},
	} {
		named, there := map[string]bool{}, map[string]bool{}
		for _, m := range regexp.MustCompile(c.name).FindAllStringSubmatch(c.text, -1) {
			named[m[1]] = true
		}
		goFiles(t, func(_ *token.FileSet, name string, _ *ast.File) {
			if place := c.of(name); place != "" {
				there[place] = true
			}
		})
		if got, want := slices.Sorted(maps.Keys(named)), slices.Sorted(maps.Keys(there)); !slices.Equal(got, want) {
			t.Errorf("%s names\n%v, and there are\n%v", c.in, got, want)
		}
	}
}

// Decisions have names: each stands above its paragraph in DESIGN.md, and code
// cites it as "DESIGN: name". Numbers would be defined nowhere.
func TestDecisionsHaveNames(t *testing.T) {
	names := make(map[string]bool)
	last := ""
	for line := range strings.Lines(read(t, designFile)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "### "); ok {
			name = strings.ToLower(name)
			if names[name] || strings.ContainsAny(name, ".,;:()") {
				t.Errorf("%s: the name %q is there twice, or has punctuation", designFile, name)
			}
			names[name] = true
		} else if strings.HasPrefix(line, "**") && !strings.HasPrefix(last, "### ") {
			t.Errorf("%s: this decision has no name: %.60s", designFile, line)
		}
		if line != "" {
			last = line
		}
	}
	if len(names) < 20 {
		t.Errorf("only %d decisions have names", len(names))
	}
	goFiles(t, func(fset *token.FileSet, name string, f *ast.File) {
		for _, c := range f.Comments {
			for _, m := range designCitation.FindAllStringSubmatch(c.Text(), -1) {
				if cited := strings.ToLower(strings.Join(strings.Fields(m[1]), " ")); !names[cited] && path.Dir(name) != "internal/rules" {
					t.Errorf("%s:%d cites the decision %q, which %s has not", name, fset.Position(c.Pos()).Line, cited, designFile)
				}
			}
		}
	})
	tree(t, func(name, text string) {
		for _, at := range decisions.FindAllStringIndex(text, -1) {
			line := 1 + strings.Count(text[:at[0]], "\n")
			t.Errorf("%s:%d cites a decision by number: %q", name, line, text[at[0]:at[1]])
		}
	})
}
