package main

import (
	"encoding/json"
	"errors"
	"go/ast"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

const module = "github.com/ztlaunch/ztlaunch"

type listed struct {
	ImportPath string
	Imports    []string
}

// packages are this module's, with what each imports outside its tests.
func packages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, module+"/")
		all = append(all, p)
	}
	if len(all) < 20 {
		t.Fatalf("only %d packages", len(all))
	}
	return all
}

// TestRooms keeps the arrows between packages pointing down and the doors where
// they belong.
func TestRooms(t *testing.T) {
	tests := []string{"verify/verifytest", "launch/runc/runctest", "cmd/ztlaunch-sbom"} // no part of ztlaunch
	only := map[string][]string{
		"net/http": {"verify/fetch", "launch/egress", "launch/mcp"},
		"os/exec":  {"launch/runc", "launch/host", "launch/keeper", "launch/rootfs", "launch/outer", "cmd/ztlaunch"},
		"github.com/sigstore/sigstore-go/pkg/verify":                       {"verify/evidence"},
		"github.com/sigstore/sigstore-go/pkg/root":                         {"verify/evidence", "verify/trust"},
		"github.com/theupdateframework/go-tuf/v2/metadata":                 {"verify/trust/tuf"},
		"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata": {"verify/trust/tuf"},
		module + "/verify/trust/tuf":                                       {"cmd/ztlaunch"},
		"github.com/in-toto/in-toto-golang/in_toto":                        {"verify/steps", "verify/sign"}, // sign takes types alone
	}
	pure := []string{"verify/policy", "verify/policy/fixture", "verify/admit", "verify/tree", "launch/plan", "verify/report"}
	leaves := []string{"verify/artifact", "verify/content", "verify/tree", "verify/trust", "verify/sign", "launch/audit", "launch/host",
		"launch/program", "launch/userns", "launch/runc", "launch/keeper", "launch/outer", "sbom", "profiles", "verify/reason", "verify/file", "verify/steps", "launch/egress", "launch/mcp"}
	mayImport := map[string][]string{"verify/steps": {"verify/content", "verify/trust"}, "verify/tree": {"verify/content"}, "verify/trust": {"verify/content"}, "launch/runc": {"launch/program"}, "launch/keeper": {"launch/program", "launch/userns"}}
	for _, p := range packages(t) {
		if slices.Contains(tests, p.ImportPath) {
			continue
		}
		for _, i := range p.Imports {
			ours, isOurs := strings.CutPrefix(i, module+"/")
			if doors, kept := only[i]; kept && !slices.Contains(doors, p.ImportPath) {
				t.Errorf("%s imports %s, which only %v may", p.ImportPath, i, doors)
			}
			if slices.Contains(pure, p.ImportPath) && slices.Contains([]string{"os", "net", "math/rand", "crypto/rand", "os/exec", "net/http"}, i) {
				t.Errorf("%s is pure and imports %s", p.ImportPath, i)
			}
			switch {
			case !isOurs:
			case strings.HasPrefix(p.ImportPath, "verify") && (strings.HasPrefix(ours, "launch") || strings.HasPrefix(ours, "cmd")),
				strings.HasPrefix(p.ImportPath, "launch") && (ours == "verify" || strings.HasPrefix(ours, "cmd") || ours == "verify/policy" || ours == "verify/fetch"),
				p.ImportPath == "profiles":
				t.Errorf("%s imports %s: imports point down", p.ImportPath, ours)
			case slices.Contains(leaves, p.ImportPath) && ours != "verify/reason" && ours != "verify/file" && !slices.Contains(mayImport[p.ImportPath], ours):
				t.Errorf("%s is a leaf and imports %s", p.ImportPath, ours)
			}
		}
	}
}

// TestSupposedInFixturesOnly: what nobody proved is supposed in one place, and a
// policy rehearses there alone.
func TestSupposedInFixturesOnly(t *testing.T) {
	room := filepath.Join("..", "..", "verify", "policy", "fixture")
	n := 0
	for _, root := range []string{"cmd", "verify", "launch"} {
		for _, file := range sources(t, filepath.Join("..", "..", root)) {
			ast.Inspect(parseGo(t, file), func(node ast.Node) bool {
				s, ok := node.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				x, ok := s.X.(*ast.Ident)
				suppose := ok && slices.Contains([]string{"evidence.Suppose", "evidence.Supposition", "steps.Suppose", "steps.Supposition", "policy.Rehearse"}, x.Name+"."+s.Sel.Name)
				if !suppose && s.Sel.Name != "SupposeFeed" {
					return true
				}
				if n++; filepath.Dir(file) != room {
					t.Errorf("%s uses %s, which is for %s", file, s.Sel.Name, room)
				}
				return true
			})
		}
	}
	if n < 6 {
		t.Errorf("only %d uses", n)
	}
	for _, p := range packages(t) {
		if slices.Contains(p.Imports, module+"/verify/policy/fixture") && p.ImportPath != "cmd/ztlaunch" {
			t.Errorf("%s imports fixtures", p.ImportPath)
		}
	}
}

// TestN44NothingRunsInspections: no code of ours so much as names what in
// in-toto-golang runs a layout's commands, or runs commands at all.
func TestN44NothingRunsInspections(t *testing.T) {
	calls := 0
	for _, room := range []string{"verify", "cmd", "launch", "sbom", "profiles"} {
		for _, file := range sources(t, filepath.Join("..", "..", room)) {
			ast.Inspect(parseGo(t, file), func(n ast.Node) bool {
				call, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if of, ok := call.X.(*ast.Ident); !ok || of.Name != "in_toto" {
					return true
				}
				calls++
				if slices.Contains([]string{"InTotoVerify", "InTotoVerifyWithDirectory", "RunInspections", "VerifySublayouts", "VerifyStepCommandAlignment",
					"InTotoRun", "RunCommand", "InTotoRecordStart", "InTotoRecordStop", "InTotoMatchProducts"}, call.Sel.Name) {
					t.Errorf("%s: in_toto.%s, where a layout is refused with %s", file, call.Sel.Name, reason.InTotoInspection)
				}
				return true
			})
		}
	}
	if calls < 10 {
		t.Errorf("only %d uses of in-toto-golang were seen", calls)
	}
}
