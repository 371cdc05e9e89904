//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// TestN43AbsentPolicyDenies: where there is no policy, or a file that says nothing,
// nothing is looked up and nothing admitted.
func TestN43AbsentPolicyDenies(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy *string
		want   reason.Code
		status int
	}{
		{"absent", nil, reason.PolicyAbsent, 1},
		{"empty", new(string), reason.FormSyntax, 2},
	} {
		root := t.TempDir()
		if c.policy != nil {
			file := filepath.Join(root, "config", "policy.yaml")
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(*c.policy), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var out, errs bytes.Buffer
		w := world{in: os.Stdin, out: &out, err: &errs, env: func(string) (string, bool) { return "", false }, now: time.Now, root: root}
		var v struct{ Exit int }
		status := dispatch(w, []string{"verify", "--json", "registry.example/agents/coder:1.4"})
		if err := json.Unmarshal(out.Bytes(), &v); err != nil || status != c.status || v.Exit != status || !bytes.Contains(out.Bytes(), []byte(c.want)) {
			t.Errorf("%s: status %d, %s%s", c.name, status, out.String(), errs.String())
		}
	}
}
