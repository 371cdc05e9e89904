//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// TestCapabilities runs what many entry points do as docker's root: it fails
// with its cause and the words that would grant it, and works with these.
func TestCapabilities(t *testing.T) {
	l := newLab(t)
	debian := os.Getenv("ZTLAUNCH_DEBIAN")
	l.copy(debian, "debian")
	ref := "oci-layout:./debian"
	l.ok("sign", "--key", "release.key", ref)
	rule := "identities: {k: {key: release.pub}}\nimages: [{match: localhost/*, require: [{signature: {by: [k]}}]}]\n"
	l.write("closed.yaml", rule)
	l.write("open.yaml", rule+"box: {caps: [CHOWN, SETUID, SETGID]}\n")
	chown := []string{ref, "sh", "-c", "touch /tmp/f && chown 7:8 /tmp/f && setpriv --reuid 7 --regid 8 --clear-groups stat -c %u:%g /tmp/f"}
	run := func(flags ...string) answer {
		return l.run(append(append([]string{"run", "--result", "r.json"}, flags...), chown...)...)
	}

	a := run("--policy", "closed.yaml")
	if a.status == 0 || a.status == 125 || !strings.Contains(a.err, "capability-needed") || !strings.Contains(a.err, "box: {caps: [CHOWN, SETGID, SETUID]}") {
		t.Errorf("without: status %d, err %s", a.status, a.err)
	}
	if o := l.outcomeOf("r.json"); o.Hint == nil || o.Hint.Code != reason.CapNeeded || o.Exit != a.status {
		t.Errorf("without: %+v", o)
	}
	all := []string{"--cap-add", "CHOWN", "--cap-add", "cap_setuid", "--cap-add", "SETGID"}
	if a := run(append(all, "--policy", "closed.yaml")...); a.status != 125 || !strings.Contains(a.err, "capability-not-granted") {
		t.Errorf("not granted: status %d, err %s", a.status, a.err)
	}
	if a := run(append(all, "--policy", "open.yaml")...); a.status != 0 || a.out != "7:8\n" {
		t.Errorf("granted: status %d, out %q, err %s", a.status, a.out, a.err)
	}
	if a := l.run("run", "--policy", "open.yaml", ref, "false"); a.status != 1 || strings.Contains(a.err, "capability") {
		t.Errorf("a program that needs none: status %d, err %s", a.status, a.err)
	}
	if left, err := filepath.Glob(filepath.Join(l.dir, ".r.json*")); err != nil || len(left) > 0 {
		t.Errorf("half-written results stayed: %v, %v", left, err)
	}
}
