//go:build linux

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDockersFlags: groups, names and the id's file mean what they mean to docker run.
func TestDockersFlags(t *testing.T) {
	l := newLab(t)
	ref := l.image("tools")
	run := func(flags string, words ...string) answer {
		return l.run(append(append(append([]string{"run", "--key", "release.pub"}, strings.Fields(flags)...), ref), words...)...)
	}
	groups := regexp.MustCompile(`(?m)^Groups:\t(.*?) *$`)
	for flags, want := range map[string]string{
		"-u 1000:1000 --group-add 2000 --group-add 3000 --group-add 2000": "2000 3000",
		"-u 1000:1000": "",
	} {
		a := run(flags, "cat", "/proc/self/status")
		if got := groups.FindStringSubmatch(a.out); a.status != 0 || got == nil || got[1] != want {
			t.Errorf("%s: %d, groups %q, want %q: %s", flags, a.status, got, want, a.err)
		}
	}
	if a := run("--group-add nobody-knows", "true"); a.status != 125 || !strings.Contains(a.err, "user-unknown") {
		t.Errorf("an unknown group: %d %s", a.status, a.err)
	}
	a := run("--network bridge --hostname box --add-host db:10.0.0.7 --add-host six=[fd00::1] --add-host six6:fd00::2", "cat", "/etc/hosts")
	if want := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.0.1\tbox\n10.0.0.7\tdb\nfd00::1\tsix\nfd00::2\tsix6\n"; a.status != 0 || a.out != want {
		t.Errorf("hosts: %d %q, want %q: %s", a.status, a.out, want, a.err)
	}
	for _, bad := range []string{"db", "db:", ":10.0.0.7", "db:10.0.0", "a#b:10.0.0.7", "db:fe80::1%eth0"} {
		if a := run("--add-host "+bad, "true"); a.status != 125 || !strings.Contains(a.err, "usage") {
			t.Errorf("--add-host %s: %d %s", bad, a.status, a.err)
		}
	}
	file := filepath.Join(l.dir, "cid")
	if a := run("--cidfile cid --result result.json", "true"); a.status != 0 {
		t.Fatal(a.err)
	}
	id, err := os.ReadFile(file)
	if err != nil || !regexp.MustCompile(`^[0-9a-f]{64}$`).Match(id) || string(id) != l.outcomeOf("result.json").Task {
		t.Errorf("the id's file: %q %v, want %s", id, err, l.outcomeOf("result.json").Task)
	}
	l.copy(filepath.Join(l.images, "notes"), "notes")
	l.ok("sign", "--key", "release.key", "oci-layout:./notes")
	l.write("task.yaml", "image: oci-layout:./tools\ncommand: [cat, /etc/hosts]\nservers: {notes: 'oci-layout:./notes'}\n")
	l.write("policy.yaml", "identities: {release: {key: release.pub}}\nimages: [{match: '**', require: [{signature: {by: [release]}}]}]\n"+
		"servers: [{match: '**', require: [{signature: {by: [release]}}]}]\n")
	if a := l.run("run", "--policy", "policy.yaml", "--cidfile", "agent", "--result", "agent.json", "--task", "task.yaml"); a.status != 0 || !strings.Contains(a.out, "notes.mcp") {
		t.Errorf("with a server: %d %s%s", a.status, a.out, a.err)
	}
	if of, err := os.ReadFile(filepath.Join(l.dir, "agent")); err != nil || string(of) != l.outcomeOf("agent.json").Task {
		t.Errorf("the id of an agent with a server: %q %v, want %s", of, err, l.outcomeOf("agent.json").Task)
	}
	if a := run("--cidfile cid", "true"); a.status != 125 || !strings.Contains(a.err, "next:     rm cid") {
		t.Errorf("a file that is there: %d %s", a.status, a.err)
	}
	if again, err := os.ReadFile(file); err != nil || string(again) != string(id) {
		t.Errorf("it was changed: %q %v", again, err)
	}
	if a := run("--cidfile none", "no-such-program"); a.status != 127 {
		t.Errorf("%d %s", a.status, a.err)
	}
	if a := l.run("run", "--key", "absent.pub", "--cidfile", "none", ref, "true"); a.status != 125 {
		t.Errorf("%d %s", a.status, a.err)
	}
	if _, err := os.Lstat(filepath.Join(l.dir, "none")); err == nil {
		t.Error("the id of a task that did not start is left")
	}
}
