package rules_test

import (
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// apiFile lists every exported name of the packages that users import.
const apiFile = "api.txt"

// apiHeader is the first line of apiFile.
const apiHeader = "# The exported names of all public packages. Update: UPDATE=1 go test ./internal/rules -run API\n"

// A change of the public API changes api.txt, so that every review sees it.
func TestAPI(t *testing.T) {
	var lines []string
	for name, p := range packages(t) {
		if under(name, "core", "adapters", "stores", "otel") && !internal(name) {
			lines = append(lines, api(t, p)...)
		}
	}
	slices.Sort(lines)
	want := apiHeader + strings.Join(lines, "\n") + "\n"

	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(filepath.Join(root, apiFile), []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	listed := strings.Split(read(t, apiFile), "\n")
	exported := strings.Split(want, "\n")
	for _, line := range exported {
		if !slices.Contains(listed, line) {
			t.Errorf("not in %s: %s", apiFile, line)
		}
	}
	for _, line := range listed {
		if !slices.Contains(exported, line) {
			t.Errorf("%s lists what is not exported: %s", apiFile, line)
		}
	}
	if !t.Failed() && !slices.Equal(listed, exported) {
		t.Errorf("%s is not sorted", apiFile)
	}
	if t.Failed() {
		t.Logf("if the change is intended: UPDATE=1 go test ./internal/rules -run API")
	}
}

// api returns a line for each exported name of p: the path of the package, the
// kind, the name and the signature.
func api(t *testing.T, p pkg) []string {
	t.Helper()
	fset := token.NewFileSet()
	var parsed []*ast.File
	for _, name := range p.GoFiles {
		f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, f)
	}
	d, err := doc.NewFromFiles(fset, parsed, p.ImportPath, doc.PreserveAST)
	if err != nil {
		t.Fatal(err)
	}

	l := apiList{fset: fset, pkg: p.name()}
	values := func(kind string, all []*doc.Value) {
		for _, v := range all {
			l.values(kind, v.Decl)
		}
	}
	funcs := func(kind string, all []*doc.Func) {
		for _, f := range all {
			text := l.source(&ast.FuncDecl{Recv: f.Decl.Recv, Name: f.Decl.Name, Type: f.Decl.Type})
			l.add(kind, strings.TrimPrefix(text, "func "))
		}
	}
	values("const", d.Consts)
	values("var", d.Vars)
	funcs("func", d.Funcs)
	for _, typ := range d.Types {
		values("const", typ.Consts)
		values("var", typ.Vars)
		funcs("func", typ.Funcs)
		funcs("method", typ.Methods)
		for _, spec := range typ.Decl.Specs {
			if spec := spec.(*ast.TypeSpec); spec.Name.Name == typ.Name {
				l.typ(spec)
			}
		}
	}
	return l.lines
}

// An apiList collects the lines of one package.
type apiList struct {
	fset  *token.FileSet
	pkg   string
	lines []string
}

func (l *apiList) add(kind, text string) {
	l.lines = append(l.lines, fmt.Sprintf("%s: %s %s", l.pkg, kind, text))
}

// values adds the names of a const or var declaration. Their values are not
// listed, except for strings, which programs compare and store.
func (l *apiList) values(kind string, d *ast.GenDecl) {
	typ := ""
	for _, spec := range d.Specs {
		spec := spec.(*ast.ValueSpec)
		switch {
		case spec.Type != nil:
			typ = " " + l.source(spec.Type)
		case len(spec.Values) > 0:
			typ = ""
		}
		for i, name := range spec.Names {
			if !name.IsExported() {
				continue
			}
			text := name.Name + typ
			if i < len(spec.Values) {
				if lit, ok := spec.Values[i].(*ast.BasicLit); ok && lit.Kind == token.STRING {
					text += " = " + lit.Value
				}
			}
			l.add(kind, text)
		}
	}
}

// typ adds a type, with its exported fields or the methods of an interface.
func (l *apiList) typ(spec *ast.TypeSpec) {
	head := spec.Name.Name
	if spec.TypeParams != nil {
		head = strings.TrimPrefix(l.source(&ast.FuncType{TypeParams: spec.TypeParams, Params: &ast.FieldList{}}), "func")
		head = spec.Name.Name + strings.TrimSuffix(head, "()")
	}
	kind, members := "", (*ast.FieldList)(nil)
	switch typ := spec.Type.(type) {
	case *ast.StructType:
		kind, members = "struct", typ.Fields
	case *ast.InterfaceType:
		kind, members = "interface", typ.Methods
	default:
		kind = l.source(typ)
	}
	l.add("type", head+" "+kind)
	if members == nil {
		return
	}
	for _, m := range members.List {
		if len(m.Names) == 0 { // embedded
			if text := l.source(m.Type); ast.IsExported(text[strings.LastIndexAny(text, "*.")+1:]) {
				l.add("embedded", spec.Name.Name+" "+text)
			}
			continue
		}
		for _, name := range m.Names {
			if !name.IsExported() {
				continue
			}
			if kind == "interface" {
				l.add("method", spec.Name.Name+"."+name.Name+strings.TrimPrefix(l.source(m.Type), "func"))
			} else {
				l.add("field", spec.Name.Name+"."+name.Name+" "+l.source(m.Type))
			}
		}
	}
}

var blanks = regexp.MustCompile(`\s+`)

// source prints n in one line.
func (l *apiList) source(n ast.Node) string {
	var b strings.Builder
	if err := printer.Fprint(&b, l.fset, n); err != nil {
		return err.Error()
	}
	return blanks.ReplaceAllString(b.String(), " ")
}
