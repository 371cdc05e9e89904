//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// TestMovedTag runs what was admitted, whatever the tag has become since.
func TestMovedTag(t *testing.T) {
	l := newLab(t)
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	ref := strings.TrimPrefix(server.URL, "http://") + "/agents/tools:1"
	l.copy(filepath.Join(l.images, "tools"), "one")
	l.ok("copy", "oci-layout:./one", ref)
	l.ok("sign", "--key", "release.key", ref)
	run := func(flags ...string) answer {
		return l.run(append(append([]string{"run", "--key", "release.pub", "--result", "r.json"}, flags...), ref, "echo", "x")...)
	}
	if a := run(); a.status != 0 {
		t.Fatalf("first: %d %s", a.status, a.err)
	}
	first := l.outcomeOf("r.json").Parts[0]
	if first.Local {
		t.Error("the first run opened no socket, yet the store was empty")
	}
	l.copy(filepath.Join(l.images, "goagent"), "two")
	l.ok("copy", "oci-layout:./two", ref)
	l.ok("sign", "--key", "release.key", ref)
	if a := run(); a.status != 0 || a.out != "x\n" {
		t.Fatalf("after the tag moved: %d %s", a.status, a.err)
	}
	if again := l.outcomeOf("r.json").Parts[0]; again.Digest != first.Digest || !again.Local {
		t.Errorf("after the tag moved: %+v, want digest %s and no socket", again, first.Digest)
	}
	if a := run("--pull", "always"); a.status != 125 || !strings.Contains(a.err, "tag-moved") {
		t.Errorf("--pull always: %d %s", a.status, a.err)
	}
	server.Close()
	if a := run(); a.status != 0 {
		t.Errorf("with the registry gone: %d %s", a.status, a.err)
	}
}

// TestWorkFolderGrantsNothing starts in a folder that brings its own policy, task
// and lock.
func TestWorkFolderGrantsNothing(t *testing.T) {
	l := newLab(t)
	ref := l.image("tools")
	l.write("policy.yaml", "identities:\n  k: {key: release.pub}\nimages: [{match: localhost/*, require: [{signature: {by: [k]}}]}]\n")
	l.write("ztlaunch.lock", "version: 1\nentries: []\n")
	l.write("agent.yaml", "image: "+ref+"\ncommand: [\"true\"]\n")
	for _, args := range [][]string{{"run", ref, "true"}, {"run", "--task", "agent.yaml"}} {
		if a := l.run(args...); a.status != 125 || !strings.Contains(a.err, "policy-absent") {
			t.Errorf("%v: status %d, err %s", args, a.status, a.err)
		}
	}
	if a := l.run("verify", ref); a.status != 1 {
		t.Errorf("verify: status %d, want 1", a.status)
	}
	l.ok("run", "--policy", "policy.yaml", ref, "true")
}

// TestSweeps leaves what a launch leaves whose launcher and keeper were killed
// together: the next launch cleans up after it.
func TestSweeps(t *testing.T) {
	l := newLab(t)
	ref := l.image("tools")
	made := filepath.Join(l.root, "run", "made")
	l.write("zt/run/made/file", "x")
	l.write("zt/run/tasks/0123456789abcdef/record", fmt.Sprintf("{\"folder\":%q}\n", made))
	for _, dir := range []string{"zt", "zt/run", "zt/run/tasks", "zt/run/tasks/0123456789abcdef"} {
		if err := os.Chmod(filepath.Join(l.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	l.ok("run", "--key", "release.pub", ref, "true")
	if _, err := os.Stat(made); err == nil {
		t.Error("the recorded folder stayed")
	}
}

// TestRefusedFlags reads each flag that would open the box.
func TestRefusedFlags(t *testing.T) {
	l := newLab(t)
	ref := l.image("tools")
	l.write(".ssh/id", "secret")
	for _, flags := range []string{
		"--privileged", "--network host", "--net=mine", "--pid host", "--ipc host", "--uts host", "--userns host", "--cgroupns host",
		"--cap-add SYS_ADMIN", "--device /dev/kvm", "--security-opt seccomp=unconfined", "--security-opt systempaths=unconfined",
		"-p 80:80", "--add-host a:host-gateway", "--add-host x.mcp:1.2.3.4", "--dns 1.1.1.1", "--volumes-from x", "--sysctl a=b", "--ulimit nofile=1", "--runtime crun",
		"--use-api-socket", "--read-only=false", "-v /:/host", "-v /proc:/p", "-v /sys:/s", "-v /dev:/d", "-v /run:/r",
		"-v ./.ssh:/keys", "-v .:/home", "-v ./work:/proc", "-v ./work:/etc/hosts", "--tmpfs /dev/shm", "-v name:/data",
		"-v ./work:/work:exec", "-v ./zt:/t", "-v ./zt/state:/t:ro", "-v .:/t", "-v ./work:/etc", "--memory 0", "--cpus 0", "--pids-limit 0", "--pids-limit=-1", "--memory 1k", "--mount type=bind,source=./absent,target=/x", "--mount type=volume,target=/x",
	} {
		a := l.run(append(append([]string{"run", "--key", "release.pub"}, strings.Fields(flags)...), ref, "true")...)
		if a.status != 125 || !strings.Contains(a.err, "found:") && !strings.Contains(a.err, "expected:") {
			t.Errorf("%s: status %d, err %s", flags, a.status, a.err)
		}
	}
}

// TestInside looks at the box from inside and tries to get out.
func TestInside(t *testing.T) {
	l := newLab(t)
	ref := l.image("goagent")
	var self struct {
		UIDMap     [][]string `json:"uid_map"`
		Caps       map[string]string
		NoNewPrivs string `json:"no_new_privs"`
		Seccomp    string
		Interfaces []string
		Env        []string
		Files      map[string]string
		Mounts     []struct {
			Target, Type string
			Options      []string
		}
	}
	a := l.ok("run", "--key", "release.pub", ref, "probe", "self")
	if err := json.Unmarshal([]byte(a.out), &self); err != nil {
		t.Fatalf("%v: %s", err, a.out)
	}
	if self.NoNewPrivs != "1" || self.Seccomp != "2" || strings.Join(self.Interfaces, " ") != "lo" ||
		strings.Join(self.Env, " ") != "HOME HOSTNAME PATH" {
		t.Errorf("%+v", self)
	}
	for set, caps := range self.Caps {
		if caps != "0000000000000000" {
			t.Errorf("%s is %s", set, caps)
		}
	}
	if len(self.UIDMap) != 1 || self.UIDMap[0][0] != "0" || self.UIDMap[0][1] < "1073741824" || self.UIDMap[0][2] != "65536" {
		t.Errorf("uid map %v", self.UIDMap)
	}
	for _, m := range self.Mounts {
		writable := !slices.Contains(m.Options, "ro") && m.Type != "devtmpfs"
		if writable && !slices.Contains(m.Options, "noexec") {
			t.Errorf("%s (%s) is writable and executable: %v", m.Target, m.Type, m.Options)
		}
		if m.Target == "/sys/fs/cgroup" {
			t.Error("the task sees control groups")
		}
	}
	for _, probe := range [][]string{
		{"net", "192.0.2.1:443"}, {"net", "169.254.169.254:80"}, {"net", "[2001:db8::1]:443"}, {"file", "/etc/shadow"},
		{"file", "/proc/kcore"}, {"file", "/proc/1/root/etc/shadow"}, {"write", "/agent"}, {"write", "/proc/sys/kernel/core_pattern"},
		{"write", "/sys/kernel/uevent_helper"}, {"drop", "/tmp"}, {"drop", "/run"}, {"drop", "/dev"}, {"drop", "/dev/shm"}, {"memfd"},
		{"syscall", "mount"}, {"syscall", "unshare-user"}, {"syscall", "unshare-net"}, {"syscall", "bpf"}, {"syscall", "ptrace"},
		{"syscall", "keyctl"}, {"syscall", "io_uring_setup"}, {"syscall", "socket-alg"}, {"syscall", "socket-vsock"},
		{"syscall", "socket-packet"}, {"syscall", "socket-raw"}, {"syscall", "clone3"}, {"syscall", "open_by_handle"},
		{"syscall", "pidfd_getfd"}, {"syscall", "process_vm_read"}, {"syscall", "userfaultfd"}, {"syscall", "perf_event_open"},
		{"syscall", "tiocsti"}, {"syscall", "fsopen"}, {"syscall", "open_tree"}, {"syscall", "mknod"}, {"syscall", "int80-socketcall"},
	} {
		a := l.run(append([]string{"run", "--key", "release.pub", "--result", "r.json", ref, "probe"}, probe...)...)
		if l.outcomeOf("r.json").Started == "" {
			t.Errorf("probe %v did not start: %s", probe, a.err)
		}
		if a.status == 0 {
			t.Errorf("probe %v got through: %s", probe, a.out)
		}
	}
}

// TestWorkMount checks that what a task makes belongs to the folder's owner, and
// that nothing there can be executed.
func TestWorkMount(t *testing.T) {
	l := newLab(t)
	ref := l.image("goagent")
	l.write("repo/in/a.txt", "one two\n")
	for _, dir := range []string{"repo", "repo/in", "repo/in/a.txt"} {
		if err := os.Chown(filepath.Join(l.dir, dir), 4321, 4322); err != nil {
			t.Fatal(err)
		}
	}
	l.ok("run", "--key", "release.pub", "-u", "1000:1000", "-v", "./repo:/work", ref, "task")
	st, err := os.Stat(filepath.Join(l.dir, "repo/out/report.json"))
	if err != nil {
		t.Fatal(err)
	}
	if own := st.Sys().(*syscall.Stat_t); own.Uid != 4321 || own.Gid != 4322 {
		t.Errorf("the report belongs to %d:%d", own.Uid, own.Gid)
	}
	if a := l.run("run", "--key", "release.pub", "-v", "./repo:/work", ref, "probe", "drop", "/work"); a.status == 0 {
		t.Errorf("a program ran from a work mount: %s", a.out)
	}
	if a := l.run("run", "--key", "release.pub", "-v", "./repo:/work:ro", ref, "probe", "write", "/work/x"); a.status == 0 {
		t.Errorf("a read-only mount was written: %s", a.out)
	}
}

// TestNothingStartsUnrecorded takes the audit log away.
func TestNothingStartsUnrecorded(t *testing.T) {
	l := newLab(t)
	ref := l.image("tools")
	l.ok("run", "--key", "release.pub", ref, "true")
	file := filepath.Join(l.root, "state", "audit", "host.jsonl")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(strings.TrimSuffix(string(raw), "\n"), "\n")
	cut := strings.Join(lines[:len(lines)-2], "")
	if err := os.WriteFile(file, []byte(cut), 0o600); err != nil {
		t.Fatal(err)
	}
	if a := l.run("audit", "verify"); a.status == 0 {
		t.Errorf("a cut tail was not seen: %s", a.out)
	}
	if a := l.run("run", "--key", "release.pub", ref, "echo", "ran"); a.status != 125 || a.out != "" {
		t.Errorf("a run with a broken log: status %d, out %q", a.status, a.out)
	}
}

// TestLimits ends tasks that take too much, and says why.
func TestLimits(t *testing.T) {
	l := newLab(t)
	l.image("tools")
	l.write("agent.yaml", "image: oci-layout:./tools\ncommand: [sleep, \"60\"]\nlimits: {time: 1s}\n")
	a := l.run("run", "--key", "release.pub", "--result", "r.json", "--task", "agent.yaml")
	if o := l.outcomeOf("r.json"); a.status != 137 || o.Cause != "time-limit" || !strings.Contains(a.err, "expected: an end within 1s") {
		t.Errorf("time: status %d, cause %q, err %s", a.status, o.Cause, a.err)
	}
	// cat reads a file whole before it writes.
	a = l.run("run", "--key", "release.pub", "--memory", "64m", "--result", "r.json", "oci-layout:./tools", "cat", "/dev/zero")
	if o := l.outcomeOf("r.json"); a.status != 137 || o.Cause != "out-of-memory" || !strings.Contains(a.err, "out-of-memory") || !strings.Contains(a.err, "expected: at most 64 MiB of memory") || a.out != "" {
		t.Errorf("memory: status %d, cause %q, err %s", a.status, o.Cause, a.err)
	}
}

// TestNothingLeft launches in a row, at once, and with the launcher killed at
// random points.
func TestNothingLeft(t *testing.T) {
	l := newLab(t)
	ref := l.image("tools")
	inRow, atOnce, killed := 20, 10, 20
	if os.Getenv("ZTLAUNCH_E2E") == "require" && l.onlyForm() == "" {
		inRow, atOnce, killed = 200, 20, 100
	}
	l.ok("run", "--key", "release.pub", ref, "true")
	files, spaces := l.files(), namespaces(t)
	for range inRow {
		l.ok("run", "--key", "release.pub", ref, "true")
	}
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() {
			out, err := l.cmd("run", "--key", "release.pub", ref, "echo", "x").Output()
			if err != nil || string(out) != "x\n" {
				t.Errorf("at once: %q %v", out, err)
			}
		})
	}
	all.Wait()
	for i := range killed {
		cmd := l.cmd("run", "--key", "release.pub", ref, "sleep", "30")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Errorf("kill %d: the launcher ended well", i)
		}
	}
	deadline := time.Now().Add(60 * time.Second)
	for time.Now().Before(deadline) {
		if left, _ := os.ReadDir(filepath.Join(l.root, "run", "tasks")); len(left) == 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	launched := 0
	for line := range strings.Lines(l.ok("audit", "show", "--json").out) {
		var record struct{ Body struct{ Task string } }
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatal(err)
		}
		if record.Body.Task == "" {
			continue
		}
		launched++
		groups, _ := filepath.Glob("/sys/fs/cgroup/*/ztlaunch/" + record.Body.Task)
		unified, _ := filepath.Glob("/sys/fs/cgroup/ztlaunch/" + record.Body.Task)
		for _, g := range append(groups, unified...) {
			t.Errorf("a cgroup was left: %s", g)
		}
	}
	if launched < inRow+atOnce {
		t.Errorf("the log knows %d records of tasks", launched)
	}
	// A lock's empty file may outlive a launch that was killed while it had the lock;
	// it is the next one's, which takes it away.
	l.ok("run", "--key", "release.pub", ref, "true")
	if now := l.files(); !slices.Equal(now, files) {
		t.Errorf("files before %q, now %q", files, now)
	}
	// The kernel takes namespaces apart behind the last process in them.
	for time.Now().Before(deadline) && len(slices.DeleteFunc(namespaces(t), func(n string) bool { return slices.Contains(spaces, n) })) > 0 {
		time.Sleep(50 * time.Millisecond)
	}
	for _, n := range namespaces(t) {
		if !slices.Contains(spaces, n) {
			t.Errorf("a namespace was left: %s", n)
		}
	}
	l.ok("store", "prune")
	l.leftovers()
	l.ok("audit", "verify")
}

// files are the names of all that ztlaunch has on the disk, in order.
func (l *lab) files() []string {
	l.t.Helper()
	var all []string
	err := filepath.WalkDir(l.root, func(name string, _ os.DirEntry, err error) error {
		all = append(all, strings.TrimPrefix(name, l.root))
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return all
}

// namespaces are those that some process is in, but for those that only threads are.
func namespaces(t *testing.T) []string {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/ns/*")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil {
			all = append(all, to)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// TestRealTask is the main job on a real Debian userland: a Python agent with a
// work mount, a model and an MCP server.
func TestRealTask(t *testing.T) {
	l := newLab(t)
	debian := os.Getenv("ZTLAUNCH_DEBIAN")
	if _, err := os.Stat(filepath.Join(debian, "index.json")); err != nil {
		if os.Getenv("ZTLAUNCH_E2E") == "require" {
			t.Fatal("ZTLAUNCH_E2E=require: no Debian image: ", err)
		}
		t.Skip("ZTLAUNCH_E2E: no Debian image")
	}
	l.copy(debian, "debian")
	l.ok("sign", "--key", "release.key", "oci-layout:./debian")
	l.image("notes")
	l.copy(filepath.Join(l.images, "model"), "task/models/small")
	l.ok("sign", "--key", "release.key", "model:./task/models/small")
	l.write("policy.yaml", `identities: {release: {key: release.pub}}
images: [{match: localhost/*, require: [{signature: {by: [release]}}]}]
servers: [{match: localhost/*, require: [{signature: {by: [release]}}]}]
models: [{match: models/*, require: [{signature: {by: [release]}}]}]
box: {limits: {memory: 1GiB, cpus: 2, pids: 128, time: 2m}}
`)
	l.write("task/work/in/a.txt", "the quick brown fox\n")
	l.write("task/agent.yaml", fmt.Sprintf(`image: oci-layout:%[1]s/debian
models: {main: models/small}
servers: {notes: "oci-layout:%[1]s/notes"}
mounts: [{source: work, target: /work, class: work}]
`, l.dir))
	for range 2 { // cold, then warm
		a := l.run("run", "--policy", "policy.yaml", "--result", "r.json", "--task", "task/agent.yaml")
		if a.status != 0 {
			t.Fatalf("status %d: %s%s", a.status, a.out, a.err)
		}
	}
	var report struct {
		Counted string
		Words   int
		Model   struct{ Name string }
	}
	raw, err := os.ReadFile(filepath.Join(l.dir, "task/work/out/report.json"))
	if err == nil {
		err = json.Unmarshal(raw, &report)
	}
	if err != nil || report.Words != 4 || report.Counted != "notes" || report.Model.Name != "main" {
		t.Errorf("%v: %s", err, raw)
	}
	if o := l.outcomeOf("r.json"); len(o.Parts) != 3 || o.Tier != l.form() {
		t.Errorf("parts %+v, tier %s", o.Parts, o.Tier)
	}
	// A file more in the model's folder than was signed.
	l.write("task/models/small/planted.bin", "x")
	if a := l.run("run", "--policy", "policy.yaml", "--task", "task/agent.yaml"); a.status != 125 || !strings.Contains(a.err, "model-") {
		t.Errorf("a planted model file: status %d, err %s", a.status, a.err)
	}
}
