//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// somebody is a user of the test's own, with files that only the test's processes see.
const somebody = 4242

// become is a script that gives its mount namespace the account files in the folder
// $1, does $2 there, and runs the rest as somebody.
const become = `set -e
mount --make-rprivate /
for file in passwd group subuid subgid; do mount --bind "$1/$file" "/etc/$file"; done
eval "$2"
shift 2
exec setpriv --reuid 4242 --regid 4242 --clear-groups --inh-caps=-all "$@"`

// newUserLab is a lab whose commands an ordinary user runs, with 65,536 subordinate
// ids. The script is done first, as root, in the commands' mount namespace.
func newUserLab(t *testing.T, script string) *lab {
	t.Helper()
	l := newLab(t)
	if l.onlyForm() == "loop" {
		t.Skip("a build that is to fail without loop devices")
	}
	accounts := filepath.Join(l.dir, "accounts")
	for name, line := range map[string]string{"passwd": "zt:x:4242:4242::" + l.dir + ":/bin/false\n", "group": "zt:x:4242:\n",
		"subuid": "other:200000:65536\nzt:300000:65536\n", "subgid": "zt:300000:65536\n"} {
		raw, err := os.ReadFile(filepath.Join("/etc", name))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if os.IsNotExist(err) {
			t.Fatalf("/etc/%s is not there to be mounted over", name)
		}
		if strings.HasPrefix(name, "sub") {
			raw = nil
		}
		l.write("accounts/"+name, string(raw)+line)
	}
	// The folder that the programs were built in may be closed to others.
	for _, name := range []string{"ztlaunch", "ztlaunch-runc", "ztlaunch-keeper"} {
		raw, err := os.ReadFile(filepath.Join(l.bin, name))
		if os.IsNotExist(err) && name == "ztlaunch-keeper" {
			continue
		}
		if err == nil {
			err = errors.Join(os.MkdirAll(filepath.Join(l.dir, "bin"), 0o755), os.WriteFile(filepath.Join(l.dir, "bin", name), raw, 0o755))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	l.bin = filepath.Join(l.dir, "bin")
	l.as = []string{"unshare", "-m", "sh", "-c", become, "sh", accounts, script}
	if _, err := exec.LookPath("newuidmap"); err != nil {
		if os.Getenv("ZTLAUNCH_E2E") == "require" {
			t.Fatal("ZTLAUNCH_E2E=require: no newuidmap")
		}
		t.Skip("ZTLAUNCH_E2E: no newuidmap")
	}
	if err := os.RemoveAll(l.root); err != nil { // what root wrote so far
		t.Fatal(err)
	}
	l.own()
	return l
}

// own gives everything in the lab to somebody.
func (l *lab) own() {
	l.t.Helper()
	err := filepath.WalkDir(l.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.Name() == "accounts" && d.IsDir() {
			return filepath.SkipDir
		}
		return os.Lchown(path, somebody, somebody)
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

// signed is image, for somebody.
func (l *lab) signed(name string) string {
	l.t.Helper()
	l.copy(filepath.Join(l.images, name), name)
	l.own()
	l.ok("sign", "--key", "release.key", "oci-layout:./"+name)
	return "oci-layout:./" + name
}

const noLimits = "--unsafe=no-limits"

// TestRootless runs tasks as an ordinary user.
func TestRootless(t *testing.T) {
	l := newUserLab(t, "")
	tools, agent := l.signed("tools"), l.signed("goagent")
	run := func(args ...string) answer {
		return l.run(append([]string{"run", noLimits, "--key", "release.pub", "--result", "r.json"}, args...)...)
	}

	// Limits are on; where nothing enforces them nothing runs, unless that was typed.
	if a := l.run("run", "--key", "release.pub", tools, "echo", "ran"); a.status != 125 || a.out != "" || !strings.Contains(a.err, "limits-unenforceable") {
		t.Errorf("without limits: %d %q %s", a.status, a.out, a.err)
	}
	if a := run("--memory", "64m", tools, "echo", "ran"); a.status != 125 || !strings.Contains(a.err, "limits-unenforceable") {
		t.Errorf("with a limit asked for: %d %q %s", a.status, a.out, a.err)
	}
	l.write("policy.yaml", "identities: {k: {key: release.pub}}\nimages: [{match: localhost/*, require: [{signature: {by: [k]}}]}]\nbox: {limits: {cpus: 1}}\n")
	if a := l.run("run", noLimits, "--policy", "policy.yaml", tools, "echo", "ran"); a.status != 125 || !strings.Contains(a.err, "limits-unenforceable") {
		t.Errorf("with a limit in the box: %d %q %s", a.status, a.out, a.err)
	}
	if a := run("--unsafe", "anything", tools, "true"); a.status != 125 || !strings.Contains(a.err, "usage") {
		t.Errorf("an unknown word: %d %s", a.status, a.err)
	}
	if a := run(tools, "exit", "7"); a.status != 7 {
		t.Errorf("exit 7: %d %s", a.status, a.err)
	}
	if o := l.outcomeOf("r.json"); o.Tier != "extracted" || !slices.Equal(o.Unsafe, []string{"no-limits"}) || o.Resources.Memory != 0 || o.Resources.Pids == 0 {
		t.Errorf("%+v %+v", o, o.Resources)
	}
	shown := l.ok("audit", "show", "--json").out
	if !strings.Contains(shown, `"actor":"uid 4242"`) || !strings.Contains(shown, `"unsafe":["no-limits"]`) || strings.Contains(shown, `"uid 0"`) {
		t.Errorf("the log says %s", shown)
	}

	// The box.
	var self struct {
		UIDMap     [][]string `json:"uid_map"`
		Caps       map[string]string
		NoNewPrivs string `json:"no_new_privs"`
		Seccomp    string
		Interfaces []string
		Mounts     []struct {
			Target, Type string
			Options      []string
		}
	}
	a := run("-u", "1000:1000", agent, "probe", "self")
	if err := json.Unmarshal([]byte(a.out), &self); err != nil {
		t.Fatalf("%v: %s%s", err, a.out, a.err)
	}
	if self.NoNewPrivs != "1" || self.Seccomp != "2" || strings.Join(self.Interfaces, " ") != "lo" || len(self.UIDMap) != 3 {
		t.Errorf("%+v", self)
	}
	for set, caps := range self.Caps {
		if caps != "0000000000000000" {
			t.Errorf("%s is %s", set, caps)
		}
	}
	for _, m := range self.Mounts {
		if !slices.Contains(m.Options, "ro") && m.Type != "devtmpfs" && !slices.Contains(m.Options, "noexec") {
			t.Errorf("%s (%s) is writable and executable: %v", m.Target, m.Type, m.Options)
		}
	}
	for _, probe := range [][]string{{"net", "192.0.2.1:443"}, {"file", "/etc/shadow"}, {"write", "/agent"}, {"drop", "/tmp"}, {"memfd"},
		{"syscall", "mount"}, {"syscall", "unshare-user"}, {"syscall", "bpf"}, {"file", "/proc/1/root/etc/shadow"}} {
		a := run(append([]string{agent, "probe"}, probe...)...)
		if l.outcomeOf("r.json").Started == "" || a.status == 0 {
			t.Errorf("probe %v: %d %s%s", probe, a.status, a.out, a.err)
		}
	}

	// What a task writes is the caller's, whoever it is inside.
	for _, user := range []string{"0:0", "1000:1000", "65534:65534"} {
		l.write("repo/in/a.txt", "one two\n")
		l.own()
		if a := run("-u", user, "-v", "./repo:/work", agent, "task"); a.status != 0 {
			t.Errorf("as %s: %d %s", user, a.status, a.err)
		}
		st, err := os.Stat(filepath.Join(l.dir, "repo/out/report.json"))
		if err != nil {
			t.Fatal(err)
		}
		if own := st.Sys().(*syscall.Stat_t); own.Uid != somebody || own.Gid != somebody {
			t.Errorf("as %s: the report belongs to %d:%d", user, own.Uid, own.Gid)
		}
		if err := os.RemoveAll(filepath.Join(l.dir, "repo")); err != nil {
			t.Fatal(err)
		}
	}

	// A descriptor of the caller's, and a signal to the launcher.
	c := l.cmd("run", noLimits, "--key", "release.pub", "--result", "fd:3", tools, "signals")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c.ExtraFiles = []*os.File{w}
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	buf := make([]byte, 64)
	if _, err := out.Read(buf); err != nil {
		t.Fatal(err)
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	more := make([]byte, 256)
	n, _ := out.Read(more)
	_ = c.Process.Signal(syscall.SIGKILL)
	_ = c.Wait()
	if !strings.Contains(string(more[:n]), "signal 15") {
		t.Errorf("the task was told %q", string(buf)+string(more[:n]))
	}
	r.Close()
	l.gone()
}

// gone waits until nothing of any launch is left.
func (l *lab) gone() {
	l.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		tasks, _ := os.ReadDir(filepath.Join(l.root, "run", "tasks"))
		if left := processesOf(somebody); len(tasks) == 0 && len(left) == 0 {
			return
		} else if time.Now().After(deadline) {
			l.t.Fatalf("left: %v, %v", tasks, left)
		}
	}
}

// processesOf are a user's, with those of its subordinate ids.
func processesOf(uid uint32) []string {
	var all []string
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		var st unix.Stat_t
		if unix.Stat(dir, &st) == nil && (st.Uid == uid || st.Uid >= 300000 && st.Uid < 365536) {
			comm, _ := os.ReadFile(dir + "/cmdline")
			all = append(all, dir+" "+string(comm))
		}
	}
	return all
}

// TestRootlessKilled kills the launcher at random points: without a cgroup, an init that
// waits to be started has to be found, too.
func TestRootlessKilled(t *testing.T) {
	l := newUserLab(t, "")
	tools := l.signed("tools")
	for i := range 30 {
		c := l.cmd("run", noLimits, "--key", "release.pub", tools, "sleep", "30")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if i%3 == 0 {
			time.Sleep(time.Duration(rand.IntN(500)) * time.Millisecond)
		} else {
			for until := time.Now().Add(2 * time.Second); time.Now().Before(until) && !slices.ContainsFunc(processesOf(somebody), isInit); {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(time.Duration(rand.IntN(8000)) * time.Microsecond)
		}
		_ = c.Process.Kill()
		_ = c.Wait()
	}
	l.gone()
}

// isInit says whether a process is the runtime's, on its way into the task.
func isInit(process string) bool { return strings.HasSuffix(process, "runc\x00init\x00") }

// TestRootlessFolders uses the caller's own folders.
func TestRootlessFolders(t *testing.T) {
	l := newUserLab(t, "")
	tools := l.signed("tools")
	c := l.cmd()
	at := len(c.Args) - 2
	c.Args = append(c.Args[:at], "run", noLimits, "--key", "release.pub", tools, "echo", "mine")
	if a := l.finish(c); a.status != 0 || a.out != "mine\n" {
		t.Fatalf("%d %q %s", a.status, a.out, a.err)
	}
	for _, name := range []string{"audit", "store"} {
		st, err := os.Stat(filepath.Join(l.dir, ".local/state/ztlaunch", name))
		if err != nil || st.Sys().(*syscall.Stat_t).Uid != somebody {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
	l.gone()
}

// TestRootlessTask gives a task a model and a server.
func TestRootlessTask(t *testing.T) {
	l := newUserLab(t, "")
	l.signed("goagent")
	l.signed("notes")
	l.copy(filepath.Join(l.images, "model"), "task/models/small")
	l.own()
	l.ok("sign", "--key", "release.key", "model:./task/models/small")
	l.write("policy.yaml", `identities: {release: {key: release.pub}}
images: [{match: localhost/*, require: [{signature: {by: [release]}}]}]
servers: [{match: localhost/*, require: [{signature: {by: [release]}}]}]
models: [{match: models/*, require: [{signature: {by: [release]}}]}]
`)
	l.write("task/work/in/a.txt", "the quick brown fox\n")
	l.write("task/agent.yaml", fmt.Sprintf(`image: oci-layout:%[1]s/goagent
command: [task]
models: {main: models/small}
servers: {notes: "oci-layout:%[1]s/notes"}
mounts: [{source: work, target: /work, class: work}]
`, l.dir))
	l.own()
	if a := l.run("run", noLimits, "--policy", "policy.yaml", "--task", "task/agent.yaml"); a.status != 0 {
		t.Fatalf("%d %s%s", a.status, a.out, a.err)
	}
	raw, err := os.ReadFile(filepath.Join(l.dir, "task/work/out/report.json"))
	if err != nil || !strings.Contains(string(raw), `"notes"`) || !strings.Contains(string(raw), `"main"`) {
		t.Errorf("%v: %s", err, raw)
	}
	l.gone()
}

// TestRootlessCannot takes away what mapping ids needs: the refusal says what to do,
// and verification goes on.
func TestRootlessCannot(t *testing.T) {
	for _, c := range []struct{ name, script, found, next string }{
		{"newuidmap", "mount --bind /dev/null /usr/bin/newuidmap", "no such program", "apt-get install uidmap"},
		{"newgidmap", "mount --bind /dev/null /usr/bin/newgidmap", "no such program", "apt-get install uidmap"},
		{"subuid", "umount /etc/subuid; mount --bind /dev/null /etc/subuid", "0", "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 zt"},
		{"subgid", "echo zt:300000:1000 > /tmp/.subgid-test; mount --bind /tmp/.subgid-test /etc/subgid; rm /tmp/.subgid-test", "1000", "usermod --add-subuids"},
		{"malformed", "echo zt:300000: > /tmp/.subgid-test; mount --bind /tmp/.subgid-test /etc/subuid; rm /tmp/.subgid-test", "line 1", "mend /etc/subuid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newUserLab(t, c.script)
			tools := l.signed("tools")
			a := l.run("run", noLimits, "--key", "release.pub", tools, "echo", "ran")
			if a.status != 125 || a.out != "" || !strings.Contains(a.err, "host-cannot-launch") || !strings.Contains(a.err, c.next) || !strings.Contains(a.err, c.found) {
				t.Errorf("%d %q %s", a.status, a.out, a.err)
			}
			l.ok("verify", "--key", "release.pub", tools)
			var told checkup
			a = l.run("doctor", "--json")
			if err := json.Unmarshal([]byte(a.out), &told); err != nil || a.status != 3 || told.Launch || !told.Verify ||
				told.Refusal == nil || told.Refusal.Code != "host-cannot-launch" || !strings.Contains(told.Refusal.Next, c.next) {
				t.Errorf("doctor: %d %v %s", a.status, err, a.out)
			}
			if shown := l.ok("audit", "show", "--json").out; !strings.Contains(shown, "host-cannot-launch") {
				t.Errorf("the log says %s", shown)
			}
		})
	}
}

// TestOuterIsInside calls the launcher by its inner name, as root of the first
// user namespace: nothing happens to that namespace's mounts.
func TestOuterIsInside(t *testing.T) {
	l := newLab(t)
	c := l.cmd("version")
	c.Args[0] = "ztlaunch-outer"
	if a := l.finish(c); a.status != 125 || !strings.Contains(a.err, "host-cannot-launch") {
		t.Errorf("status %d, %q", a.status, a.err)
	}
}
