package launch_test

import (
	"context"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/launch/plan"
	"github.com/ztlaunch/ztlaunch/launch/rootfs"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// TestDrift changes a root under its running task, as host root can: the task is
// ended, and the result says what was found.
func TestDrift(t *testing.T) {
	for _, c := range []struct {
		name  string
		form  rootfs.Form
		ready func(t *testing.T, root *os.File) (strike func() error)
		code  reason.Code
		path  string
	}{
		{"bytes", rootfs.Extracted, func(t *testing.T, root *os.File) func() error {
			b := mapped(t, writable(t, root, "data"))
			return func() error { b[0]++; return nil }
		}, reason.DriftBytes, "/data"},
		{"a byte more", rootfs.Extracted, func(t *testing.T, root *os.File) func() error {
			f := writable(t, root, "more")
			return func() error { _, err := f.Write([]byte{0}); return err }
		}, reason.DriftSize, "/more"},
		{"mode", rootfs.Extracted, func(t *testing.T, root *os.File) func() error {
			f := writable(t, root, "data")
			return func() error { return f.Chmod(0o777 | os.ModeSetuid) }
		}, reason.DriftMode, "/data"},
		{"mount flags", rootfs.InRAMFS, func(_ *testing.T, root *os.File) func() error {
			return func() error {
				return unix.MountSetattr(int(root.Fd()), "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_NOSUID})
			}
		}, reason.SealBroken, "/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t, c.form, plan.Task{}, "fork", "1")
			strike := c.ready(t, s.parts.Root.Root())
			result := s.started(t, func(context.CancelFunc) error { return strike() })
			if result.Status != 137 || codeOf(result.Cause) != reason.Drift || len(result.Drift) != 1 {
				t.Fatalf("%+v", result)
			}
			if d := result.Drift[0]; d.Code != c.code || d.Path != c.path || d.Expected == "" || d.Found == "" {
				t.Errorf("%+v, want %s of %s", d, c.code, c.path)
			}
		})
	}
}

// writable makes the file system behind a read-only mount writable, and opens
// one file of it.
func writable(t *testing.T, root *os.File, name string) *os.File {
	t.Helper()
	pick, err := unix.Fspick(int(root.Fd()), "", unix.FSPICK_EMPTY_PATH|unix.FSPICK_CLOEXEC)
	check(t, err)
	defer unix.Close(pick)
	check(t, errors.Join(unix.FsconfigSetFlag(pick, "rw"), unix.FsconfigReconfigure(pick)))
	mount, err := unix.OpenTree(int(root.Fd()), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	check(t, err)
	defer unix.Close(mount)
	check(t, unix.MountSetattr(mount, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}))
	fd, err := unix.Openat(mount, name, unix.O_RDWR|unix.O_CLOEXEC, 0)
	check(t, err)
	f := os.NewFile(uintptr(fd), name)
	t.Cleanup(func() { f.Close() })
	return f
}

// mapped is the file in memory, written to once with its time put back: what is
// written from then on changes its bytes and nothing else of it.
func mapped(t *testing.T, f *os.File) []byte {
	t.Helper()
	b, err := unix.Mmap(int(f.Fd()), 0, 1, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	check(t, err)
	t.Cleanup(func() { check(t, unix.Munmap(b)) })
	var before unix.Stat_t
	check(t, unix.Fstat(int(f.Fd()), &before))
	b[0]++
	b[0]--
	check(t, unix.Futimes(int(f.Fd()), []unix.Timeval{unix.NsecToTimeval(before.Atim.Nano()), unix.NsecToTimeval(before.Mtim.Nano())}))
	return b
}
