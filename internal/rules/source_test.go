package rules_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// files parses the code of the packages that users import, without tests.
func files(t *testing.T, each func(t *testing.T, fset *token.FileSet, f *ast.File)) {
	fset := token.NewFileSet()
	for name, p := range packages(t) {
		if !under(name, "core", "adapters", "stores", "otel") || internal(name) {
			continue
		}
		for _, file := range p.GoFiles {
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, file), nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			each(t, fset, f)
		}
	}
}

// Everything exported has a comment that begins with its name.
func TestComments(t *testing.T) {
	files(t, func(t *testing.T, fset *token.FileSet, f *ast.File) {
		wants := func(at ast.Node, name string, comments ...*ast.CommentGroup) {
			t.Helper()
			for _, c := range comments {
				if c != nil && begins(c.Text(), name) {
					return
				}
			}
			t.Errorf("%s: %s has no comment that begins with its name", where(fset, at), name)
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d))) {
					wants(d, d.Name.Name, d.Doc)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch s := spec.(type) {
					case *ast.TypeSpec:
						if !s.Name.IsExported() {
							continue
						}
						wants(s, s.Name.Name, s.Doc, d.Doc)
						if i, ok := s.Type.(*ast.InterfaceType); ok {
							for _, m := range i.Methods.List {
								for _, n := range m.Names {
									wants(m, n.Name, m.Doc)
								}
							}
						}
					case *ast.ValueSpec:
						for _, n := range s.Names {
							// The members of a group may share its comment.
							if n.IsExported() && (d.Doc == nil || !d.Lparen.IsValid()) {
								wants(s, n.Name, s.Doc, s.Comment, d.Doc)
							}
						}
					}
				}
			}
		}
	})
}

// begins reports whether text is about name: "New returns …", "A Store keeps
// …", "ErrGone: …".
func begins(text, name string) bool {
	for _, article := range []string{"A ", "An ", "The "} {
		if rest, ok := strings.CutPrefix(text, article); ok {
			text = rest
			break
		}
	}
	rest, ok := strings.CutPrefix(text, name)
	return ok && rest != "" && !token.IsIdentifier("x"+rest[:1])
}

func receiver(d *ast.FuncDecl) string {
	expr := d.Recv.List[0].Type
	for {
		switch x := expr.(type) {
		case *ast.StarExpr:
			expr = x.X
		case *ast.IndexExpr:
			expr = x.X
		case *ast.IndexListExpr:
			expr = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// No global state that others can reach: no init, and no exported variable but
// the errors.
func TestNoGlobalState(t *testing.T) {
	files(t, func(t *testing.T, fset *token.FileSet, f *ast.File) {
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil && d.Name.Name == "init" {
					t.Errorf("%s: init", where(fset, d))
				}
			case *ast.GenDecl:
				if d.Tok != token.VAR {
					continue
				}
				for _, spec := range d.Specs {
					for _, n := range spec.(*ast.ValueSpec).Names {
						if n.IsExported() && !strings.HasPrefix(n.Name, "Err") {
							t.Errorf("%s: the exported variable %s", where(fset, n), n.Name)
						}
					}
				}
			}
		}
	})
}

// where names the place from the top of the repository.
func where(fset *token.FileSet, n ast.Node) string {
	p := fset.Position(n.Pos())
	if top, err := filepath.Abs(root); err == nil {
		if rel, err := filepath.Rel(top, p.Filename); err == nil {
			p.Filename = rel
		}
	}
	return p.String()
}
