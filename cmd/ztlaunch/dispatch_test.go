package main

import (
	"bytes"
	"encoding/json"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// A panic ends as a fault of ztlaunch's own, whatever was printed before: 5, and
// 125 for run, never 0; with --json as one failure that agrees.
func TestN40PanicIsNoSuccess(t *testing.T) {
	faults := map[string]int{"verify --audit localhost/a": 5, "adopt localhost/a --as b": 5, "verify --json --audit localhost/a": 5}
	if runtime.GOOS == "linux" { // elsewhere run looks at nothing
		faults["run localhost/a"] = 125
	}
	for line, want := range faults {
		var out, errs bytes.Buffer
		w := world{out: &out, err: &errs, env: func(string) (string, bool) { return "", false },
			now: func() time.Time { panic("the clock\x1b broke") }, root: t.TempDir()}
		status := dispatch(w, strings.Fields(line))
		if status != want || status == 0 || !strings.Contains(errs.String(), "internal: the clock? broke") {
			t.Errorf("%s: status %d, want %d: %s", line, status, want, errs.String())
		}
		if !strings.Contains(line, "--json") {
			continue
		}
		var f failure // or a verdict, which has an exit status too
		if err := json.Unmarshal(out.Bytes(), &f); err != nil || f.Exit != status || !strings.Contains(out.String(), `"code": "`+string(reason.InternalFault)+`"`) {
			t.Errorf("%s: %v: %s", line, err, out.String())
		}
	}
	var out, errs bytes.Buffer
	w := world{out: &out, err: &errs, env: func(string) (string, bool) { panic("no environment") }, now: time.Now}
	if status := dispatch(w, []string{"policy", "check", "absent.yaml"}); status == 0 {
		t.Errorf("status 0: %s", errs.String())
	}
}

// TestPanicIsReported: a fault in the middle of a verification leaves no older report
// in its place.
func TestPanicIsReported(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("r.json", []byte(`{"exit": 0}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	w := world{out: &out, err: &errs, env: func(string) (string, bool) { return "", false },
		now: func() time.Time { panic("the clock broke") }, root: t.TempDir()}
	status := dispatch(w, strings.Fields("verify --audit --report json=r.json localhost/a"))
	var v struct{ Exit int }
	raw, err := os.ReadFile("r.json")
	if err == nil {
		err = json.Unmarshal(raw, &v)
	}
	if err != nil || status != 5 || v.Exit != 5 {
		t.Errorf("status %d, %v, and the report is %s", status, err, raw)
	}
}

// TestEveryVerbHasJSON asks each verb for something impossible: what stands on
// standard output is one failure that agrees with the status.
func TestEveryVerbHasJSON(t *testing.T) {
	for _, v := range verbs() {
		if v.name == "run" { // standard output is the task's: --result
			continue
		}
		var out, errs bytes.Buffer
		w := world{out: &out, err: &errs, env: func(string) (string, bool) { return "", false }, now: time.Now, root: t.TempDir()}
		status := dispatch(w, []string{v.name, "--json", "--no-such-flag"})
		var f failure
		if err := json.Unmarshal(out.Bytes(), &f); err != nil || status != 2 || f.Exit != status || f.Code != "flag-unknown" || f.Next == "" {
			t.Errorf("%s: status %d, %v: %s", v.name, status, err, out.String())
		}
	}
}
