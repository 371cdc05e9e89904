//go:build linux

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	moby "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// told is what doctor says on standard output.
func told(t *testing.T, a answer) checkup {
	t.Helper()
	var c checkup
	if err := json.Unmarshal([]byte(a.out), &c); err != nil || !c.Verify {
		t.Fatalf("doctor: %v: %d %s%s", err, a.status, a.out, a.err)
	}
	return c
}

// withSubIDs is what newUserLab's script does for root.
const withSubIDs = `echo root:400000:65536 > "$1/root"; mount --bind "$1/root" /etc/subuid; mount --bind "$1/root" /etc/subgid`

// TestDroppedCapability is root without CAP_SYS_ADMIN: with subordinate ids it runs
// extracted roots under real limits, without them nothing.
func TestDroppedCapability(t *testing.T) {
	l := newUserLab(t, "")
	through := func(script string) []string {
		as := append([]string{}, l.as...)
		as[4] = strings.Replace(become, "--reuid 4242 --regid 4242 --clear-groups", "--bounding-set -sys_admin", 1)
		as[len(as)-1] = script
		return as
	}
	ref := l.rooted("tools")
	l.as = through(withSubIDs)
	l.ok("verify", "--key", "release.pub", ref)
	if c := told(t, l.run("doctor", "--json")); !c.Launch || c.Integrity != "extracted" {
		t.Errorf("doctor: %+v", c)
	}
	c := l.cmd("run", "--key", "release.pub", "--memory", "96m", "--result", "r.json", ref, "sleep", "5")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	limit := ""
	for range 300 {
		files, _ := filepath.Glob("/sys/fs/cgroup/memory/ztlaunch/*/memory.limit_in_bytes")
		unified, _ := filepath.Glob("/sys/fs/cgroup/ztlaunch/*/memory.max")
		for _, f := range append(files, unified...) {
			if raw, err := os.ReadFile(f); err == nil && strings.TrimSpace(string(raw)) == strconv.Itoa(96<<20) {
				limit = f
			}
		}
		if limit != "" {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := c.Wait(); err != nil || limit == "" {
		t.Errorf("%v, limit in %q", err, limit)
	}
	if o := l.outcomeOf("r.json"); o.Tier != "extracted" || len(o.Unsafe) != 0 || o.Resources.Memory != 96<<20 {
		t.Errorf("%+v", o)
	}
	if _, err := os.Stat(filepath.Dir(limit)); err == nil {
		t.Errorf("left: %s", limit)
	}
	l.as = through("umount /etc/subuid /etc/subgid; mount --bind /dev/null /etc/subuid; mount --bind /dev/null /etc/subgid")
	l.ok("verify", "--key", "release.pub", ref)
	if a := l.run("run", "--key", "release.pub", ref, "echo", "ran"); a.status != 125 || a.out != "" ||
		!strings.Contains(a.err, "host-cannot-launch") || !strings.Contains(a.err, "usermod --add-subuids") {
		t.Errorf("without subordinate ids: %d %q %s", a.status, a.out, a.err)
	}
	if c := told(t, l.run("doctor", "--json")); c.Launch || c.Refusal.Code != "host-cannot-launch" {
		t.Errorf("doctor: %+v", c)
	}
}

// TestDockerDefault is a container as docker makes it by default: its capabilities,
// seccomp profile, masked paths and devices.
func TestDockerDefault(t *testing.T) {
	l := newUserLab(t, "")
	ref := l.rooted("tools")
	for _, subIDs := range []bool{false, true} {
		text := ""
		if subIDs {
			text = "root:400000:65536\n"
		}
		l.write("accounts/subuid", text)
		l.write("accounts/subgid", text)
		if a := l.contained("verify", "--key", "release.pub", ref); a.status != 0 {
			t.Errorf("verify: %d %s%s", a.status, a.out, a.err)
		}
		next := "usermod --add-subuids"
		if subIDs {
			next = "on the host itself"
		}
		if a := l.contained("run", "--key", "release.pub", ref, "echo", "ran"); a.status != 125 || strings.Contains(a.out, "ran") ||
			!strings.Contains(a.err, "host-cannot-launch") || !strings.Contains(a.err, next) {
			t.Errorf("run: %d %q %s", a.status, a.out, a.err)
		}
		a := l.contained("doctor", "--json")
		if c := told(t, a); a.status != 3 || c.Launch || c.Nested == "" || c.Refusal == nil || c.Refusal.Code != "host-cannot-launch" {
			t.Errorf("doctor: %d %+v", a.status, c)
		}
	}
}

// rooted is image, for root in a lab that somebody had.
func (l *lab) rooted(name string) string {
	l.t.Helper()
	as := l.as
	l.as = nil
	defer func() { l.as = as }()
	if err := os.Chown(l.dir, 0, 0); err != nil {
		l.t.Fatal(err)
	}
	if err := os.RemoveAll(l.root); err != nil {
		l.t.Fatal(err)
	}
	return l.image(name)
}

// contained runs a command of ztlaunch in such a container, with this host's programs
// and the lab's folder in it.
func (l *lab) contained(args ...string) answer {
	l.t.Helper()
	bundle := l.t.TempDir()
	root := filepath.Join(bundle, "root")
	for _, dir := range []string{"usr", "etc", "proc", "sys", "dev", "tmp", "opt/zt", l.dir} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			l.t.Fatal(err)
		}
	}
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+name, filepath.Join(root, name)); err != nil {
			l.t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, ".dockerenv"), nil, 0o644); err != nil {
		l.t.Fatal(err)
	}
	bind := func(from, to, mode string) specs.Mount {
		return specs.Mount{Destination: to, Type: "bind", Source: from, Options: []string{"rbind", mode}}
	}
	caps := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
		"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE"}
	s := &specs.Spec{Version: "1.2.0", Hostname: "box", Root: &specs.Root{Path: root},
		Process: &specs.Process{Cwd: l.dir, Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "COSIGN_PASSWORD="},
			Args:         append([]string{"/opt/zt/ztlaunch", "--root", filepath.Join(l.dir, "nested")}, args...),
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
			{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro", "nosuid", "noexec", "nodev"}},
			bind("/usr", "/usr", "ro"), bind("/etc", "/etc", "ro"), bind(l.dir, l.dir, "rw"),
			bind(filepath.Join(l.dir, "accounts/subuid"), "/etc/subuid", "ro"), bind(filepath.Join(l.dir, "accounts/subgid"), "/etc/subgid", "ro"),
			bind(l.bin, "/opt/zt", "ro"),
		},
		Linux: &specs.Linux{CgroupsPath: "/ztlaunch-test/" + filepath.Base(bundle) + strconv.Itoa(os.Getpid()),
			Namespaces: []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.CgroupNamespace}},
			MaskedPaths: []string{"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
				"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		}}
	var err error
	if s.Linux.Seccomp, err = moby.GetDefaultProfile(s); err != nil {
		l.t.Fatal(err)
	}
	raw, err := json.Marshal(s)
	if err == nil {
		err = os.WriteFile(filepath.Join(bundle, "config.json"), raw, 0o600)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	id := "nested-" + strconv.Itoa(os.Getpid())
	c := exec.Command(filepath.Join(l.bin, "ztlaunch-runc"), "--root", filepath.Join(bundle, "state"), "run", "--bundle", bundle, id)
	c.Env = []string{"PATH=/usr/bin:/bin"}
	return l.finish(c)
}
