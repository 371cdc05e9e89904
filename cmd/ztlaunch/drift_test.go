//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// sweeps is how often a test build looks; slack is what a sweep and an end may take
// on a loaded machine.
const sweeps, slack = 2 * time.Second, 8 * time.Second

// attacked starts a task with a model, lets attack act as root of the host once the
// task runs, and returns the outcome. The task must be over within the interval.
func attacked(t *testing.T, l *lab, ref string, attack func(launcher int) error) outcome {
	t.Helper()
	dir := t.TempDir()
	result := filepath.Join(dir, "r.json")
	c := l.cmd("run", "--policy", "policy.yaml", "--result", result, "--model", "main=models/small", ref, "sleep", "15")
	var errs bytes.Buffer
	c.Stderr = &errs
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Process.Kill() }() // over already
	if !running(c.Process.Pid) {
		_ = c.Process.Kill()
		_ = c.Wait()
		t.Fatalf("the task does not start: %s", errs.String())
	}
	at := time.Now()
	if err := attack(c.Process.Pid); err != nil {
		t.Errorf("the attack fails: %v", err)
		return outcome{}
	}
	err := c.Wait()
	if took := time.Since(at); took > sweeps+slack {
		t.Errorf("it ran for %v after the change", took)
	}
	if e, ok := err.(*exec.ExitError); !ok || e.ExitCode() != 137 {
		t.Errorf("%v, want status 137", err)
	}
	o := l.outcomeOf(mustRel(t, l.dir, result))
	if o.Cause != reason.Drift || len(o.Drift) == 0 || o.Drift[0].Expected == "" || o.Drift[0].Found == "" || !strings.Contains(errs.String(), "drift") {
		t.Fatalf("%+v\n%s", o, errs.String())
	}
	return o
}

func mustRel(t *testing.T, base, path string) string {
	t.Helper()
	rel, err := filepath.Rel(base, path)
	if err != nil {
		t.Fatal(err)
	}
	return rel
}

// inits are the children of a launcher that have another root than it: the tasks.
func inits(launcher int) []int {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", launcher))
	var all []int
	for _, list := range lists {
		raw, _ := os.ReadFile(list)
		for word := range strings.FieldsSeq(string(raw)) {
			pid, _ := strconv.Atoi(word)
			if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); bytes.HasPrefix(comm, []byte("sleep\x00")) {
				all = append(all, pid)
			}
		}
	}
	return all
}

// running waits until the task's own program runs.
func running(launcher int) bool {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if len(inits(launcher)) == 1 {
			return true
		}
	}
	return false
}

// mounted is a copy of the launcher's descriptor of its own mount that has name; ok
// judges it further.
func mounted(launcher int, name string, ok func(fd int) bool) (*os.File, error) {
	pid, err := unix.PidfdOpen(launcher, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(pid)
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", launcher))
	if err != nil {
		return nil, err
	}
	for _, e := range fds {
		n, _ := strconv.Atoi(e.Name())
		fd, err := unix.PidfdGetfd(pid, n, 0)
		if err != nil {
			continue
		}
		var st unix.Stat_t
		if unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && ok(fd) {
			return os.NewFile(uintptr(fd), "mount"), nil
		}
		unix.Close(fd)
	}
	return nil, fmt.Errorf("no mount of the launcher's has %s", name)
}

// thaw makes the launcher's own mount of the extracted tree that holds name writable,
// as only root of the host can.
func thaw(launcher int, name string) (*os.File, error) {
	f, err := mounted(launcher, name, func(fd int) bool {
		var fs unix.Statfs_t
		return unix.Fstatfs(fd, &fs) == nil && fs.Type == unix.TMPFS_MAGIC &&
			unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}) == nil // not the task's view
	})
	if err != nil {
		return nil, err
	}
	return f, remake(f, "rw")
}

// freeze hides that anything was done, as far as the kernel lets it.
func freeze(f *os.File) error {
	if err := remake(f, "ro"); err != nil && !errors.Is(err, unix.EBUSY) {
		return err
	}
	return unix.MountSetattr(int(f.Fd()), "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
}

func remake(f *os.File, flag string) error {
	pick, err := unix.Fspick(int(f.Fd()), "", unix.FSPICK_EMPTY_PATH|unix.FSPICK_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(pick)
	if err := unix.FsconfigSetFlag(pick, flag); err != nil {
		return err
	}
	return unix.FsconfigReconfigure(pick)
}

func driftLab(t *testing.T, form string) (*lab, string) {
	t.Helper()
	l := newLab(t)
	if l.form() != form {
		t.Logf("roots are %s here; make forms runs this for %s", l.form(), form)
		return nil, ""
	}
	ref := l.image("tools")
	l.copy(filepath.Join(l.images, "model"), "models/small")
	l.ok("sign", "--key", "release.key", "model:./models/small")
	l.write("policy.yaml", `identities: {k: {key: release.pub}}
images: [{match: "**", require: [{signature: {by: [k]}}]}]
models: [{match: "**", require: [{signature: {by: [k]}}]}]
`)
	return l, ref
}

// TestDriftExtracted changes an extracted root, or a model, while the task runs. The
// sweep names what it found, follows nothing that was planted, and waits for nothing.
func TestDriftExtracted(t *testing.T) {
	l, ref := driftLab(t, "extracted")
	if l == nil {
		return
	}
	plant := func(name string, make func(dir int, name string) error) func(*os.File) error {
		return func(top *os.File) error {
			if err := unix.Unlinkat(int(top.Fd()), name, 0); err != nil {
				return err
			}
			return make(int(top.Fd()), name)
		}
	}
	flip := func(name string) func(*os.File) error {
		return func(top *os.File) error {
			fd, err := unix.Openat(int(top.Fd()), name, unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			f := os.NewFile(uintptr(fd), name)
			defer f.Close()
			st, err := f.Stat()
			b := make([]byte, 1)
			if err == nil {
				_, err = f.ReadAt(b, st.Size()/2)
			}
			if err == nil {
				_, err = f.WriteAt([]byte{b[0] ^ 1}, st.Size()/2)
			}
			if err == nil {
				times := []unix.Timespec{unix.NsecToTimespec(st.ModTime().UnixNano()), unix.NsecToTimespec(st.ModTime().UnixNano())}
				err = unix.UtimesNanoAt(fd, "", times, unix.AT_EMPTY_PATH)
			}
			return err
		}
	}
	for _, c := range []struct {
		name, holds string
		do          func(top *os.File) error
		path        string
		code        reason.Code
		found       string
	}{
		{"byte", "etc/passwd", flip("etc/passwd"), "/etc/passwd", reason.DriftBytes, "sha256:"},
		{"model-byte", "model.safetensors", flip("model.safetensors"), "/models/main/model.safetensors", reason.DriftBytes, "sha256:"},
		{"absolute-link", "etc/passwd", plant("etc/passwd", func(dir int, name string) error { return unix.Symlinkat("/etc/shadow", dir, name) }),
			"/etc/passwd", reason.DriftType, "a symlink"},
		{"fifo", "etc/passwd", plant("etc/passwd", func(dir int, name string) error { return unix.Mkfifoat(dir, name, 0o644) }),
			"/etc/passwd", reason.DriftType, "a FIFO"},
		{"device", "etc/passwd", plant("etc/passwd", func(dir int, name string) error {
			return unix.Mknodat(dir, name, unix.S_IFCHR|0o644, int(unix.Mkdev(1, 5)))
		}), "/etc/passwd", reason.DriftType, "a device"},
		{"missing", "etc/passwd", plant("etc/passwd", func(int, string) error { return nil }), "/etc/passwd", reason.DriftMissing, "nothing"},
		{"extra", "etc/passwd", func(top *os.File) error {
			fd, err := unix.Openat(int(top.Fd()), "etc/ld.so.preload", unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
			unix.Close(fd)
			return err
		}, "/etc/ld.so.preload", reason.DriftExtra, "a regular file"},
		{"mode", "etc/passwd", func(top *os.File) error { return unix.Fchmodat(int(top.Fd()), "bin", 0o777, 0) }, "/bin", reason.DriftMode, "0777"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := attacked(t, l, ref, func(launcher int) error {
				top, err := thaw(launcher, c.holds)
				if err != nil {
					return err
				}
				defer top.Close()
				return errors.Join(c.do(top), freeze(top))
			})
			if len(o.Drift) == 0 || o.Drift[0].Path != c.path || o.Drift[0].Code != c.code || !strings.HasPrefix(o.Drift[0].Found, c.found) {
				t.Errorf("%+v, want %s at %s, found %s", o.Drift, c.code, c.path, c.found)
			}
		})
	}
}

// TestDriftMountedOver mounts something over the task's programs, in its own mount
// namespace, where the launcher's mount does not show it.
func TestDriftMountedOver(t *testing.T) {
	l, ref := driftLab(t, "extracted")
	if l == nil {
		return
	}
	o := attacked(t, l, ref, func(launcher int) error {
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", inits(launcher)[0]))
		if err != nil {
			return err
		}
		defer ns.Close()
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread ends in the task's namespace
			err := unix.Unshare(unix.CLONE_FS)
			if err == nil {
				err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS)
			}
			if err == nil {
				err = unix.Mount("tmpfs", "/bin", "tmpfs", 0, "")
			}
			done <- err
		}()
		return <-done
	})
	if len(o.Drift) == 0 || o.Drift[0].Path != "/bin" || o.Drift[0].Code != reason.DriftMount {
		t.Errorf("%+v", o.Drift)
	}
}

// TestDriftLoop puts another file behind the root's loop device.
func TestDriftLoop(t *testing.T) {
	l, ref := driftLab(t, "loop")
	if l == nil {
		return
	}
	o := attacked(t, l, ref, func(launcher int) error {
		var st unix.Stat_t
		top, err := mounted(launcher, "etc/passwd", func(fd int) bool { return unix.Fstat(fd, &st) == nil && unix.Major(st.Dev) == 7 })
		if err != nil {
			return err
		}
		defer top.Close()
		loop, err := os.Open(fmt.Sprintf("/dev/loop%d", unix.Minor(st.Dev)))
		if err != nil {
			return err
		}
		defer loop.Close()
		fd, err := unix.MemfdCreate("evil", unix.MFD_CLOEXEC)
		if err != nil {
			return err
		}
		evil := os.NewFile(uintptr(fd), "evil")
		defer evil.Close()
		if _, err := io.Copy(evil, loop); err != nil { // the same bytes, in a file that can be changed later
			return err
		}
		const loopChangeFD = 0x4c06
		return unix.IoctlSetInt(int(loop.Fd()), loopChangeFD, fd)
	})
	if len(o.Drift) == 0 || o.Drift[0].Path != "/" || o.Drift[0].Code != reason.SealBroken || !strings.Contains(o.Drift[0].Expected, "loop device") {
		t.Errorf("%+v", o.Drift)
	}
	l.ok("store", "prune") // the swapped device is found broken, and goes
}
