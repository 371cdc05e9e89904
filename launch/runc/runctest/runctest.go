// Package runctest runs real containers for tests: a static probe program, a
// bundle that holds nothing else, and the runtime that the Makefile built.
//
// The runtime is the file ZTLAUNCH_RUNC, or bin/ztlaunch-runc at the top of the
// module. Without it, or without root, tests skip, saying ZTLAUNCH_E2E; where
// that is "require" they fail.
package runctest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Need gives the built runtime and its sha256, or ends the test.
func Need(t testing.TB) (path, pin string) {
	t.Helper()
	path = os.Getenv("ZTLAUNCH_RUNC")
	if path == "" {
		path = filepath.Join(top(), "bin", "ztlaunch-runc")
	}
	b, err := os.ReadFile(path)
	var why string
	switch {
	case err != nil:
		why = "ZTLAUNCH_E2E: no runtime was built: " + err.Error()
	case os.Geteuid() != 0:
		why = "ZTLAUNCH_E2E: not root"
	default:
		sum := sha256.Sum256(b)
		return path, hex.EncodeToString(sum[:])
	}
	if os.Getenv("ZTLAUNCH_E2E") == "require" {
		t.Fatal(why)
	}
	t.Skip(why)
	return "", ""
}

// here is this file as it was compiled.
func here() string {
	_, file, _, _ := runtime.Caller(0)
	return file
}

func top() string { return filepath.Join(filepath.Dir(here()), "..", "..", "..") }

// Keep is a private folder for kept programs, whose mounts go with the test.
func Keep(t testing.TB) string {
	t.Helper()
	keep := filepath.Join(t.TempDir(), "keep")
	t.Cleanup(func() {
		found, _ := filepath.Glob(filepath.Join(keep, "*"))
		for _, m := range found {
			for unix.Unmount(m, unix.MNT_DETACH) == nil {
			}
		}
	})
	return keep
}

// Probe builds the probe program as dir/probe, static.
func Probe(t testing.TB, dir string) string {
	t.Helper()
	out := filepath.Join(dir, "probe")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", out, "./launch/runc/runctest/testdata/probe")
	cmd.Dir = top()
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the probe: %v\n%s", err, b)
	}
	return out
}

// Bundle is a folder with a root and a configuration in it.
type Bundle struct {
	Dir  string
	Spec specs.Spec
}

// NewBundle makes a bundle in a new folder whose root holds /probe and the
// mount points, and whose task is the probe with args: in namespaces of its own
// with no capabilities, ids from 2,000,000,000, in the cgroup /ztlaunch-test/ID.
func NewBundle(t testing.TB, id string, args ...string) *Bundle {
	t.Helper()
	dir := t.TempDir()
	// The container's root is another user on the host.
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	root := filepath.Join(dir, "root")
	for _, d := range []string{"", "proc", "dev", "sys", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	Probe(t, root)
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 2_000_000_000, Size: 65536}}
	b := &Bundle{Dir: dir, Spec: specs.Spec{
		Version: "1.2.0",
		Process: &specs.Process{
			Args: append([]string{"/probe"}, args...), Env: []string{"A=b"}, Cwd: "/",
			Capabilities: &specs.LinuxCapabilities{}, NoNewPrivileges: true,
		},
		Root:     &specs.Root{Path: root, Readonly: true},
		Hostname: "probe",
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "noexec", "mode=755", "size=65536k"}},
			{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
		},
		Linux: &specs.Linux{
			CgroupsPath: "/ztlaunch-test/" + id + "-" + strconv.Itoa(os.Getpid()), // another run may be under way
			UIDMappings: ids, GIDMappings: ids,
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.UserNamespace}, {Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.CgroupNamespace},
			},
			Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
		},
	}}
	return b
}

// Write writes config.json.
func (b *Bundle) Write(t testing.TB) {
	t.Helper()
	j, err := json.Marshal(b.Spec)
	if err == nil {
		err = os.WriteFile(filepath.Join(b.Dir, "config.json"), j, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
