package rootfs

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Attr is what a bind mount may do beyond what every mount of a task may not:
// set-user-ID programs and device nodes never work there.
type Attr struct {
	ReadOnly bool
	Exec     bool
}

// Bind is a detached mount of what source is open on (O_PATH is enough), without
// what is mounted below it, its owners mapped by userns when there is one. A file
// system that cannot map owners is mount-no-idmap.
func Bind(source *os.File, a Attr, userns *os.File) (*os.File, error) {
	m, err := cloneTree(source)
	if err != nil {
		return nil, mountFailed("bind "+source.Name(), err)
	}
	set := uint64(attrs)
	if a.ReadOnly {
		set |= unix.MOUNT_ATTR_RDONLY
	}
	if !a.Exec {
		set |= unix.MOUNT_ATTR_NOEXEC
	}
	if err := setAttr(m, set, nil); err != nil {
		closeAll(m)
		return nil, mountFailed("bind "+source.Name(), err)
	}
	if userns == nil {
		return m, nil
	}
	if err := setAttr(m, 0, userns); err != nil {
		closeAll(m)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) {
			return nil, &reason.Error{Code: reason.MountNoIDMap, What: "bind " + source.Name(), Found: fileSystem(source), Err: err}
		}
		return nil, mountFailed("map owners of "+source.Name(), err)
	}
	return m, nil
}

// fileSystem names the file system of f by its magic number.
func fileSystem(f *os.File) string {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("file system %#x", uint32(st.Type))
}

// Place attaches a detached mount to target in the calling thread's mount namespace.
// A symlink at the end of target is not followed.
func Place(mount *os.File, target string) error {
	if err := unix.MoveMount(int(mount.Fd()), "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return mountFailed("mount on "+target, os.NewSyscallError("move_mount", err))
	}
	return nil
}

// Private runs f on a thread that has a mount namespace of its own, and waits for it.
// What f mounts nobody else sees, and it vanishes with the thread and the processes
// that f starts from it. f must not hand its work to other goroutines: they are
// outside.
func Private(f func() error) error {
	done := make(chan error, 1)
	var start func()
	start = func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// /proc/self is the main thread: leave it where it is, and occupied, so that
			// the next goroutine gets another.
			defer runtime.UnlockOSThread()
			again := make(chan struct{})
			go func() {
				defer close(again)
				start()
			}()
			<-again
			return
		}
		err := PrivateMountNS()
		if err == nil {
			err = f()
		}
		done <- err // and never unlock: the thread ends with the goroutine
	}
	go start()
	return <-done
}

// PrivateMountNS gives the calling thread a mount namespace of its own, from which
// nothing propagates. The thread must be locked to its goroutine and never be
// unlocked: it ends with the goroutine, and the namespace with the last process in
// it.
func PrivateMountNS() error {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return unsupported("make mount namespace", os.NewSyscallError("unshare", err))
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return unsupported("make mount namespace", os.NewSyscallError("mount", err))
	}
	return nil
}
