package rules_test

import (
	"bytes"
	"go/ast"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// tree calls each with every text file of the repository, and what a checkout
// does not have left out.
func tree(t *testing.T, each func(name, text string)) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if d.IsDir() {
			if slices.Contains([]string{".git", "bin", "bench/tmp"}, name) || d.Name() == "node_modules" {
				return fs.SkipDir
			}
			return nil
		}
		if slices.Contains([]string{".test", ".out", ".prof"}, filepath.Ext(name)) || name == ".git" || !d.Type().IsRegular() { // .git: of a worktree
			return nil
		}
		text, err := os.ReadFile(file)
		if err != nil || bytes.IndexByte(text, 0) >= 0 {
			return err
		}
		n++
		each(name, string(text))
		return nil
	})
	if err != nil || n < 50 {
		t.Fatalf("%d files seen, %v", n, err)
	}
}

// documents are those whose code is compiled and run.
var documents = []string{
	"README.md",
	"docs/coming-from-fiber.md",
	"docs/coming-from-gorilla.md",
	"docs/coming-from-scs.md",
	"docs/concurrency.md",
	"docs/frameworks.md",
	"docs/koa.md",
	"docs/live.md",
	"docs/login.md",
	"docs/middleware.md",
	"docs/operating.md",
	"docs/owners.md",
	"docs/production.md",
	"docs/security-log.md",
	"docs/security.md",
	"docs/stores.md",
	"docs/testing.md",
}

// Code in a document is a file of this repository, or a part of one that stands
// between "// begin NAME" and "// end NAME", which is compiled and run. So is a text that
// says which file it is, such as what a command prints.
func TestCodeInDocuments(t *testing.T) {
	block := regexp.MustCompile("(?s)(?:<!-- file: (\\S+) -->\n```text\n|(?:<!-- file: (\\S+) -->\n)?```go\n)(.*?)```\n")
	n := 0
	for _, doc := range documents {
		for _, b := range block.FindAllStringSubmatch(read(t, doc), -1) {
			n++
			source, copied := b[1]+b[2], b[3]
			file, part, _ := strings.Cut(source, "#")
			if file == "" {
				t.Errorf("%s: this code does not say which file it is:\n%s", doc, copied)
				continue
			}
			want := read(t, file)
			if part != "" {
				_, want, _ = strings.Cut(want, "// begin "+part+"\n")
				want, _, _ = strings.Cut(want, "// end "+part+"\n")
				want = strings.TrimSpace(want) + "\n"
			}
			if copied != want {
				t.Errorf("%s: the copy of %s differs from it", doc, source)
			}
		}
	}
	if n < 5 {
		t.Errorf("%d blocks of Go, want Fiber, net/http, a login, a store and its test", n)
	}
}

// Each feature of the original has its row.
func TestKoaFeatures(t *testing.T) {
	table := read(t, "docs/koa.md")
	for _, f := range []string{
		"key", "prefix", "ttl", "rolling", "genSid", "defer", "allowEmpty", "errorHandler", "reconnectTimeout",
		"sessionIdStore", "valid", "beforeSave", "store", "cookie", "ctx.session.k", "ctx.session = null",
		"ctx.session = {…}", "ctx.session.cookie", "ctx.sessionId", "ctx.sessionSave", "ctx.saveSession",
		"ctx.regenerateSession", "ctx.sessionStore", "app keys",
	} {
		if !regexp.MustCompile("(?m)^\\| `?" + regexp.QuoteMeta(f) + `\b|^\| .?` + regexp.QuoteMeta(f) + "`").MatchString(table) {
			t.Errorf("no row of the feature table begins with %s", f)
		}
	}
}

// A name of the code that a document mentions is in the code.
func TestDocumentsNameWhatIsThere(t *testing.T) {
	exported := make(map[string]bool)
	files(t, func(_ *testing.T, _ *token.FileSet, f *ast.File) {
		if f.Name.Name != "core" {
			return
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil {
					exported["core."+n.Name.Name] = true
				} else {
					exported[receiver(n)+"."+n.Name.Name] = true
				}
				return false
			case *ast.ValueSpec:
				for _, name := range n.Names {
					exported["core."+name.Name] = true
				}
			case *ast.TypeSpec:
				exported["core."+n.Name.Name] = true
				var fields *ast.FieldList
				switch x := n.Type.(type) {
				case *ast.StructType:
					fields = x.Fields
				case *ast.InterfaceType:
					fields = x.Methods
				default:
					return true
				}
				for _, f := range fields.List {
					for _, name := range f.Names {
						exported[n.Name.Name+"."+name.Name] = true
					}
				}
			}
			return true
		})
	})
	mention := regexp.MustCompile(`\b(core|Options|CookieOptions|Hooks|Session|Manager|Key|Visit|Store)\.([A-Z]\w*)`)
	names := 0
	for _, doc := range append(slices.Clone(documents), "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "core/DESIGN.md", "core/RULES.md") {
		text := regexp.MustCompile("(?s)```.*?```").ReplaceAllString(read(t, doc), "")
		for _, m := range mention.FindAllStringSubmatch(text, -1) {
			names++
			if ours := map[string]bool{"Options.Secure": true, "Options.Error": true, "Options.TrustedProxies": true}; !exported[m[0]] && !ours[m[0]] { // an adapter's
				t.Errorf("%s mentions %s, which there is not", doc, m[0])
			}
		}
	}
	if names < 50 {
		t.Errorf("only %d names found", names)
	}
}

// Links to files of this repository, and to headings in them, lead somewhere.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	links := 0
	tree(t, func(name, text string) {
		if filepath.Ext(name) != ".md" {
			return
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			links++
			file := filepath.Join(filepath.Dir(name), target)
			if target == "" {
				file = name
			}
			if _, err := os.Stat(filepath.Join(root, file)); err != nil {
				t.Errorf("%s links to %s: %v", name, m[1], err)
			} else if anchor != "" && !slices.Contains(anchors(read(t, file)), anchor) {
				t.Errorf("%s links to %s, and there is no such heading", name, m[1])
			}
		}
	})
	if links == 0 {
		t.Error("no links found")
	}
}

// TestTables checks that the line below the head of a table has as many columns: else
// it is shown as text.
func TestTables(t *testing.T) {
	t.Parallel()
	line := regexp.MustCompile(`^\|(\s*:?-+:?\s*\|)+$`)
	found := 0
	tree(t, func(name, text string) {
		if filepath.Ext(name) != ".md" {
			return
		}
		lines := strings.Split(strings.ReplaceAll(text, `\|`, ""), "\n")
		for i, l := range lines {
			if i == 0 || !line.MatchString(l) {
				continue
			}
			found++
			if strings.Count(l, "|") != strings.Count(lines[i-1], "|") {
				t.Errorf("%s:%d: the table has another number of columns than its head", name, i+1)
			}
		}
	})
	if found == 0 {
		t.Error("no tables were found")
	}
}

// anchors are the names that GitHub gives to the headings of a document.
func anchors(text string) []string {
	var all []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		a := regexp.MustCompile(`[^\w\- ]`).ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, strings.ReplaceAll(a, " ", "-"))
	}
	return all
}

// No file names a place of the machine that it was written on.
func TestNoPathsOfAMachine(t *testing.T) {
	// In pieces, or this file would be the first to be found.
	places := regexp.MustCompile(`(^|[^\w.])(/(work|root|Users|home)/\w|` + `C:\\Users|/tm` + `p/\w|file:/` + `//)`)
	tree(t, func(name, text string) {
		for i, line := range strings.Split(text, "\n") {
			if at := places.FindString(line); at != "" {
				t.Errorf("%s:%d names a place of a machine: %s", name, i+1, at)
			}
		}
	})
}
