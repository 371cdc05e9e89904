//go:build linux

package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// negativeCases is how many cases of others' history are numbered, from N01.
const negativeCases = 53

// negative is one test that shows a numbered case refused.
type negative struct {
	id, what, test string
	codes          []string
}

// TestNegatives holds testdata/negatives.md against the tests: each case of the
// field's history has a test of its name (TestN07...), whose comment says what it is
// and whose body names the reason codes that it ends in.
func TestNegatives(t *testing.T) {
	const table = "../../testdata/negatives.md"
	all := negatives(t)
	var b strings.Builder
	b.WriteString("# What has gone wrong elsewhere, and is refused here\n\n" +
		"Made from the tests by `go test ./cmd/ztlaunch -run TestNegatives -update`. Each case is a flaw that a verifier, a signer or\n" +
		"a launcher has had, or an attack on one.\n\n| id | case | reason code | test |\n|---|---|---|---|\n")
	for _, n := range all {
		fmt.Fprintf(&b, "| %s | %s | %s | `%s` |\n", n.id, strings.ReplaceAll(n.what, "|", `\|`), strings.Join(n.codes, ", "), n.test)
	}
	if *update {
		if err := os.WriteFile(table, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if raw, err := os.ReadFile(table); err != nil || string(raw) != b.String() {
		t.Errorf("%s is not what the tests say (%v): run it with -update", table, err)
	}
	for i := range negativeCases {
		id := fmt.Sprintf("N%02d", i+1)
		if !slices.ContainsFunc(all, func(n negative) bool { return n.id == id }) {
			t.Errorf("%s: no test", id)
		}
	}
}

// negatives reads them from the test files.
func negatives(t *testing.T) (all []negative) {
	t.Helper()
	spelled := map[string]string{}
	for code, name := range codeNames(t) {
		spelled[name] = code
	}
	named := regexp.MustCompile(`^TestN(\d\d)[A-Z]`)
	for _, root := range []string{"cmd", "verify", "launch", "sbom"} {
		err := filepath.WalkDir(filepath.Join("..", "..", root), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
			if err != nil {
				return err
			}
			for _, decl := range f.Decls {
				fn, ok := decl.(*ast.FuncDecl)
				if !ok || named.FindString(fn.Name.Name) == "" {
					continue
				}
				n := negative{id: "N" + fn.Name.Name[5:7], what: sentence(fn), test: strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "../../") + " " + fn.Name.Name}
				codes := map[string]bool{}
				ast.Inspect(fn, func(node ast.Node) bool {
					if code := spelled[codeName(node)]; code != "" {
						codes[code] = true
					}
					return true
				})
				n.codes = slices.Sorted(maps.Keys(codes))
				if n.id == "N53" { // what must not be there is no refusal
					n.codes = []string{"none: it is not there"}
				}
				if n.what == "" || len(n.codes) == 0 {
					t.Errorf("%s: its comment says no case, or its body names no reason code", n.test)
				}
				all = append(all, n)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.SortStableFunc(all, func(a, b negative) int { return strings.Compare(a.id+a.test, b.id+b.test) })
	return all
}

// sentence is the first sentence of a test's comment, without the test's name.
func sentence(fn *ast.FuncDecl) string {
	text := strings.Join(strings.Fields(fn.Doc.Text()), " ")
	text = strings.TrimSpace(strings.TrimPrefix(text, fn.Name.Name))
	text = regexp.MustCompile(`^\(?N\d\d\)?[:,]? ?`).ReplaceAllString(text, "")
	if i := strings.Index(text, ". "); i >= 0 {
		text = text[:i+1]
	}
	if text = strings.TrimPrefix(text, ": "); text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:]
}
