//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/report"
)

// TestReportsAgree: a report that turns out to be unwritable late, or a standard output
// that is closed, is in the reports that were written before; they agree with the exit
// status, and nothing half-written stays.
func TestReportsAgree(t *testing.T) {
	for name, c := range map[string]struct {
		words []string
		gone  string
		out   closedOutput
		code  reason.Code
	}{
		"late":   {[]string{"json=a/r.json", "sarif=b/r.sarif", "text=a/r.txt"}, "b", false, reason.ReportUnwritable},
		"closed": {[]string{"json=a/r.json", "text=a/r.txt", "junit"}, "", true, reason.OutputClosed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			for _, dir := range []string{"a", "b"} {
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			var errs bytes.Buffer
			w := world{out: c.out, err: &errs, env: func(string) (string, bool) { return "", false }}
			r, err := w.reports(c.words)
			if err == nil && c.gone != "" {
				err = os.Remove(c.gone)
			}
			if err != nil {
				t.Fatal(err)
			}
			status := r.write(w, "verify", report.Verdict{Schema: report.Schema, Result: report.Allowed, Subject: report.Subject{Reference: "registry.example/a:1"}})
			var v struct{ Exit int }
			raw, err := os.ReadFile("a/r.json")
			if err == nil {
				err = json.Unmarshal(raw, &v)
			}
			if err != nil || status != c.code.Class().Exit() || v.Exit != status || !strings.Contains(string(raw), string(c.code)) {
				t.Errorf("status %d, %v, and the report is %s", status, err, raw)
			}
			if !strings.Contains(errs.String(), string(c.code)) || !strings.Contains(errs.String(), "allowed") {
				t.Errorf("told: %s", errs.String())
			}
			var names []string
			entries, err := os.ReadDir("a")
			for _, e := range entries {
				names = append(names, e.Name())
			}
			if err != nil || !slices.Equal(names, []string{"r.json", "r.txt"}) {
				t.Errorf("left are %q, %v", names, err)
			}
		})
	}
}

// closedOutput is a standard output, closed or not.
type closedOutput bool

func (c closedOutput) Write(p []byte) (int, error) {
	if c {
		return 0, os.ErrClosed
	}
	return len(p), nil
}
