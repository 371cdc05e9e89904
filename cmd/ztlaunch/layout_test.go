package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
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
	}
	pure := []string{"verify/policy", "verify/admit", "verify/tree", "launch/plan"}
	leaves := []string{"verify/artifact", "verify/content", "verify/tree", "verify/trust", "verify/sign", "launch/audit", "launch/host",
		"launch/program", "launch/userns", "launch/runc", "launch/keeper", "launch/outer", "sbom", "profiles", "verify/reason", "launch/egress", "launch/mcp"}
	mayImport := map[string][]string{"verify/tree": {"verify/content"}, "verify/trust": {"verify/content"}, "launch/runc": {"launch/program"}, "launch/keeper": {"launch/program", "launch/userns"}}
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
			case slices.Contains(leaves, p.ImportPath) && ours != "verify/reason" && !slices.Contains(mayImport[p.ImportPath], ours):
				t.Errorf("%s is a leaf and imports %s", p.ImportPath, ours)
			}
		}
	}
}
