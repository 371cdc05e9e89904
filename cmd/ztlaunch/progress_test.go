//go:build linux

package main

import (
	"io"
	"log"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

// TestProgress fetches with and without a terminal: bars are for people, and
// leave nothing behind on their screen.
func TestProgress(t *testing.T) {
	l := newLab(t)
	script, err := exec.LookPath("script")
	if err != nil {
		t.Fatal(err) // .ci/setup.sh installs it
	}
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	ref := strings.TrimPrefix(server.URL, "http://") + "/agents/goagent:1"
	l.copy(filepath.Join(l.images, "goagent"), "one")
	l.ok("copy", "oci-layout:./one", ref)
	l.ok("sign", "--key", "release.key", ref)
	verify := []string{"verify", "--key", "release.pub", ref}

	if a := l.run(verify...); a.status != 0 || strings.ContainsAny(a.err, "\r\x1b") || strings.Contains(a.err, "layers") {
		t.Errorf("without a terminal: status %d, err %q", a.status, a.err)
	}
	fresh := filepath.Join(l.dir, "fresh")
	cmd := exec.Command(script, "-qec", strings.Join(append([]string{filepath.Join(l.bin, "ztlaunch"), "--root", fresh}, verify...), " "), "/dev/null")
	cmd.Dir = l.dir
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "layers") || !strings.Contains(string(out), "\r") {
		t.Fatalf("on a terminal: %v: %q", err, out)
	}
	rest := string(out)[strings.LastIndex(string(out), "layers"):]
	if bar, _, told := strings.Cut(rest, "allowed"); !told || !strings.Contains(bar, "\r"+strings.Repeat(" ", 40)) {
		t.Errorf("the bar stayed: %q", rest)
	}
}
