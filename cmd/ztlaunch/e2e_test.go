//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// lab is one installation of its own: state, run folder, key and policy.
type lab struct {
	t      *testing.T
	dir    string
	root   string // --root
	bin    string
	images string
	as     []string // what commands are run through; none is as root
}

// newLab needs what `make build images` made and root of the first user
// namespace. Without them the test is skipped aloud, or fails where
// ZTLAUNCH_E2E=require is set.
func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, bin: os.Getenv("ZTLAUNCH_BIN"), images: os.Getenv("ZTLAUNCH_IMAGES")}
	missing := ""
	switch {
	case os.Geteuid() != 0:
		missing = "needs root"
	case l.bin == "" || l.images == "":
		missing = "needs ZTLAUNCH_BIN and ZTLAUNCH_IMAGES, which make test sets"
	default:
		for _, f := range []string{filepath.Join(l.bin, "ztlaunch"), filepath.Join(l.bin, "ztlaunch-runc"), filepath.Join(l.bin, "ztlaunch-keeper"), filepath.Join(l.images, "tools", "index.json")} {
			if _, err := os.Stat(f); err != nil {
				missing = err.Error()
			}
		}
	}
	if missing != "" {
		if os.Getenv("ZTLAUNCH_E2E") == "require" {
			t.Fatal("ZTLAUNCH_E2E=require: " + missing)
		}
		t.Skip("ZTLAUNCH_E2E: " + missing)
	}
	// The box's init walks to its root as nobody: t.TempDir is not for everybody.
	dir, err := os.MkdirTemp("", "ztlaunch-e2e-*") //nolint:usetesting // its parents are open to root alone
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	l.dir, l.root = dir, filepath.Join(dir, "zt")
	t.Cleanup(func() {
		l.run("store", "prune")
		l.leftovers()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	l.ok("key", "generate", "--output-key-prefix", "release")
	return l
}

// answer is what a command did.
type answer struct {
	status   int
	out, err string
}

// cmd is a command of ztlaunch in the lab's folder.
func (l *lab) cmd(args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(l.bin, "ztlaunch"), append([]string{"--root", l.root}, args...)...)
	if len(l.as) > 0 {
		c = exec.Command(l.as[0], slices.Concat(l.as[1:], c.Args)...)
	}
	c.Dir = l.dir
	c.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + l.dir, "COSIGN_PASSWORD=", "FROM_CALLER=yes"}
	return c
}

func (l *lab) finish(c *exec.Cmd) answer {
	l.t.Helper()
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		l.t.Fatal(err)
	}
	status := c.ProcessState.ExitCode()
	return answer{status, out.String(), errs.String()}
}

func (l *lab) run(args ...string) answer { l.t.Helper(); return l.finish(l.cmd(args...)) }

func (l *lab) ok(args ...string) answer {
	l.t.Helper()
	a := l.run(args...)
	if a.status != 0 {
		l.t.Fatalf("ztlaunch %s: status %d\n%s%s", strings.Join(args, " "), a.status, a.out, a.err)
	}
	return a
}

// image copies a built layout into the lab and signs it; its reference is
// returned.
func (l *lab) image(name string) string {
	l.t.Helper()
	l.copy(filepath.Join(l.images, name), name)
	ref := "oci-layout:./" + name
	l.ok("sign", "--key", "release.key", ref)
	return ref
}

func (l *lab) copy(from, to string) {
	l.t.Helper()
	if err := os.CopyFS(filepath.Join(l.dir, to), os.DirFS(from)); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) write(name, text string) {
	l.t.Helper()
	file := filepath.Join(l.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		l.t.Fatal(err)
	}
}

// leftovers reports what launches left behind: tasks, mounts but the kept ones,
// cgroups, processes.
func (l *lab) leftovers() {
	l.t.Helper()
	tasks, _ := os.ReadDir(filepath.Join(l.root, "run", "tasks"))
	for _, e := range tasks {
		l.t.Errorf("a task folder was left: %s", e.Name())
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		l.t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, l.root) {
			l.t.Errorf("a mount was left: %s", line)
		}
	}
	processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range processes {
		if raw, err := os.ReadFile(p); err == nil && bytes.Contains(raw, []byte(l.root)) {
			l.t.Errorf("a process was left: %s %q", p, raw)
		}
	}
}

// form is how the launcher under test holds roots: a test build says so, and any
// other takes the strongest form of this host.
func (l *lab) form() string {
	l.t.Helper()
	if only := l.onlyForm(); only != "" {
		return only
	}
	var c checkup
	if err := json.Unmarshal([]byte(l.ok("doctor", "--json").out), &c); err != nil {
		l.t.Fatal(err)
	}
	return c.Integrity
}

// onlyForm is the form of a test build.
func (l *lab) onlyForm() string {
	l.t.Helper()
	var v struct{ OnlyForm string }
	if err := json.Unmarshal([]byte(l.ok("version", "--json").out), &v); err != nil {
		l.t.Fatal(err)
	}
	return v.OnlyForm
}

// outcomeOf reads a --result file.
func (l *lab) outcomeOf(name string) outcome {
	l.t.Helper()
	raw, err := os.ReadFile(filepath.Join(l.dir, name))
	if err != nil {
		l.t.Fatal(err)
	}
	var o outcome
	if err := json.Unmarshal(raw, &o); err != nil {
		l.t.Fatalf("%s: %v\n%s", name, err, raw)
	}
	return o
}
