package keeper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// clean removes everything that entries name, then the folder dir. It goes on
// past what fails, and keeps the folder then.
func clean(dir string, entries []Entry) error {
	in, err := hierarchies()
	errs := []error{err}
	each := func(f func(Entry) error) {
		for _, e := range entries {
			if err := f(e); err != nil {
				errs = append(errs, fmt.Errorf("%v: %w", e, err))
			}
		}
	}
	each(func(e Entry) error {
		if e.Cgroup == "" {
			return nil
		}
		return cleanCgroup(e.Cgroup, in)
	})
	each(func(e Entry) error {
		if e.Init == 0 {
			return nil
		}
		return killInit(e.Init, e.Start)
	})
	each(func(e Entry) error {
		if e.Userns == 0 {
			return nil
		}
		return killUserns(e.Userns)
	})
	each(func(e Entry) error {
		if e.Mount == "" {
			return nil
		}
		return unmount(e.Mount)
	})
	each(func(e Entry) error {
		if e.Folder == "" {
			return nil
		}
		return removeAll(e.Folder)
	})
	err = errors.Join(errs...)
	if err == nil {
		err = removeAll(dir)
	}
	if err != nil {
		return &reason.Error{Code: reason.KeeperUnclean, What: "clean up " + filepath.Base(dir), Expected: "nothing left", Err: err,
			Next: "the next start of ztlaunch tries again"}
	}
	return nil
}

// killInit kills the process pid if it is the one that started at start, and
// waits until it is gone. Its pid namespace goes with it.
func killInit(pid int, start uint64) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	if found, err := startTime(pid); err != nil || found != start {
		return nil // it is gone, or another one by now
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return os.NewSyscallError("pidfd_send_signal", err)
	}
	wait := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		n, err := unix.Poll(wait, int(patience.Milliseconds()))
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("poll", err)
		}
	}
	return errors.New("does not die")
}

// killUserns kills the processes of a user namespace until none is left.
func killUserns(ino uint64) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		left, err := inUserns(ino)
		if err != nil || left == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d processes do not die", left)
		}
	}
}

// inUserns counts those that it had to kill.
func inUserns(ino uint64) (killed int, err error) {
	names, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, n := range names {
		pid, err := strconv.Atoi(n.Name())
		if err != nil || pid <= 1 {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // gone, or a thread
		}
		over := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} // and perhaps not waited for
		var st unix.Stat_t
		if unix.Stat("/proc/"+n.Name()+"/ns/user", &st) == nil && st.Ino == ino && !ended(over) { // fd holds the id
			killed++
			err = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		}
		unix.Close(fd)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return killed, fmt.Errorf("kill process %d: %w", pid, err)
		}
	}
	return killed, nil
}

func ended(p []unix.PollFd) bool {
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0
}

// unmount detaches every mount at the path.
func unmount(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		switch {
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT): // none there, or no such place
			return nil
		case err != nil:
			return os.NewSyscallError("umount", err)
		}
	}
}

// removeAll removes a file, or a folder with all that is in it. It follows no
// symlink and enters no mount: a task's folder may hold a bind of somebody's
// files for those who look from inside the launch's mount namespace.
func removeAll(path string) error {
	parent, err := os.OpenFile(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer parent.Close()
	return removeAt(int(parent.Fd()), filepath.Base(path), path)
}

func removeAt(parent int, name, path string) error {
	err := unix.Unlinkat(parent, name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) {
		return &os.PathError{Op: "unlink", Path: path, Err: err}
	}
	fd, err := unix.Openat2(parent, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH,
	})
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if errors.Is(err, unix.EXDEV) {
		return &os.PathError{Op: "remove", Path: path, Err: errors.New("something is mounted there")}
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	dir := os.NewFile(uintptr(fd), path)
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := removeAt(fd, n, filepath.Join(path, n)); err != nil {
			return err
		}
	}
	if err := unix.Unlinkat(parent, name, unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "rmdir", Path: path, Err: err}
	}
	return nil
}
