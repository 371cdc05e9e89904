package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// TestReasonTable holds every row of the table of reason codes against the test
// that it names: the function is there, so is the subtest, and the file of that
// function, or a case below testdata, speaks of that very code. What produces a
// code is looked for too: a code that nothing can be refused with is no code.
func TestReasonTable(t *testing.T) {
	names := codeNames(t)
	used := usedNames(t)
	shelves := map[string]shelf{}
	for _, r := range reason.Table() {
		name := names[string(r.Code)]
		if !used[name] {
			t.Errorf("%s: nothing is ever refused with it", r.Code)
		}
		dir, test, ok := strings.Cut(r.Test, " ")
		if !ok {
			t.Errorf("%s: %q names no package and test", r.Code, r.Test)
			continue
		}
		s, read := shelves[dir]
		if !read {
			s = readShelf(t, filepath.Join("..", "..", filepath.FromSlash(dir)))
			shelves[dir] = s
		}
		function, sub, nested := strings.Cut(test, "/")
		file := s.file(function)
		switch {
		case file == nil:
			t.Errorf("%s: %s has no %s", r.Code, dir, function)
		case nested && !s.subtest(sub):
			t.Errorf("%s: nothing in the tests of %s is called %q", r.Code, dir, sub)
		case !file.words[string(r.Code)] && !file.words["reason."+name] && !s.cases(sub, string(r.Code)):
			t.Errorf("%s: the file of %s %s does not speak of this code", r.Code, dir, function)
		}
	}
}

// shelf is what the tests of one package hold.
type shelf struct {
	files []testFile
	text  map[string]string // cases below testdata, by name without extension
}

// testFile is one file: its functions, its string literals, and the names of
// codes as "reason.X".
type testFile struct {
	funcs, words map[string]bool
}

func (s shelf) file(function string) *testFile {
	i := slices.IndexFunc(s.files, func(f testFile) bool { return f.funcs[function] })
	if i < 0 {
		return nil
	}
	return &s.files[i]
}

// subtest says whether each element of a subtest's name is a literal of the
// tests, or the name of a case in a file of its own.
func (s shelf) subtest(name string) bool {
	for element := range strings.SplitSeq(name, "/") {
		_, found := s.text[element]
		for _, f := range s.files {
			found = found || f.words[element] || f.words[strings.ReplaceAll(element, "_", " ")]
		}
		if !found {
			return false
		}
	}
	return true
}

// cases says whether the case of that name, or any where none has it, speaks of
// the code.
func (s shelf) cases(sub, code string) bool {
	if text, ok := s.text[sub]; ok {
		return strings.Contains(text, code)
	}
	for _, text := range s.text {
		if strings.Contains(text, code) {
			return true
		}
	}
	return false
}

func readShelf(t *testing.T, dir string) shelf {
	t.Helper()
	s := shelf{text: map[string]string{}}
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		f := testFile{map[string]bool{}, map[string]bool{}}
		ast.Inspect(parseGo(t, name), func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				f.funcs[n.Name.Name] = n.Recv == nil
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING {
					f.words[text] = true
					for word := range strings.FieldsSeq(text) {
						f.words[word] = true
					}
				}
			}
			if code := codeName(n); code != "" {
				f.words["reason."+code] = true
			}
			return true
		})
		s.files = append(s.files, f)
	}
	root := filepath.Join(dir, "testdata")
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		s.text[strings.TrimSuffix(d.Name(), filepath.Ext(d.Name()))] = string(raw)
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return s
}

// codeNames are the constants of verify/reason by the code that they stand for.
func codeNames(t *testing.T) map[string]string {
	t.Helper()
	names := map[string]string{}
	for _, file := range sources(t, filepath.Join("..", "..", "verify", "reason")) {
		ast.Inspect(parseGo(t, file), func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 {
				if lit, ok := v.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if code, err := strconv.Unquote(lit.Value); err == nil {
						names[code] = v.Names[0].Name
					}
				}
			}
			return true
		})
	}
	return names
}

// usedNames are the constants that the code outside tests names.
func usedNames(t *testing.T) map[string]bool {
	t.Helper()
	used := map[string]bool{}
	for _, root := range []string{"cmd", "verify", "launch", "sbom", "profiles"} {
		for _, file := range sources(t, filepath.Join("..", "..", root)) {
			ast.Inspect(parseGo(t, file), func(n ast.Node) bool {
				used[codeName(n)] = true
				return true
			})
		}
	}
	return used
}

// codeName is X of reason.X.
func codeName(n ast.Node) string {
	if s, ok := n.(*ast.SelectorExpr); ok {
		if x, ok := s.X.(*ast.Ident); ok && x.Name == "reason" {
			return s.Sel.Name
		}
	}
	return ""
}

// sources are the Go files below dir, without tests.
func sources(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func parseGo(t *testing.T, file string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
