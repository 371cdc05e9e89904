package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Below opens name, a slash-separated path, below an open folder: a folder if dir
// is set, otherwise whatever is there. Errors are ErrLink, ErrElsewhere,
// ErrNotRegular for a socket or a device without a driver, and those of io/fs.
func Below(at *os.File, name string, dir bool) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	}
	if dir {
		how.Flags |= unix.O_DIRECTORY
	}
	for {
		fd, err := unix.Openat2(int(at.Fd()), name, &how)
		switch err {
		case nil:
			return os.NewFile(uintptr(fd), name), nil
		case unix.EINTR, unix.EAGAIN:
			continue
		case unix.ELOOP:
			return nil, ErrLink
		case unix.EXDEV:
			return nil, ErrElsewhere
		case unix.ENXIO:
			return nil, ErrNotRegular
		case unix.ENOTDIR:
			return nil, fmt.Errorf("%w: %w", fs.ErrNotExist, err)
		}
		return nil, err
	}
}

// Look looks at one name in an open folder.
func Look(at *os.File, name string) (Entry, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(int(at.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return Entry{}, err
	}
	return entry(&st), nil
}

// Unnamed makes a file without a name on the file system of a folder, mode 0400;
// it is gone once closed, unless it gets a name. ErrNoUnnamed says that the file
// system has no such files.
func Unnamed(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o400)
	switch {
	case err == nil:
		return os.NewFile(uintptr(fd), "unnamed"), nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EISDIR), errors.Is(err, unix.EINVAL):
		return nil, ErrNoUnnamed
	}
	return nil, err
}

// Name gives an unnamed file its name, which must be free (fs.ErrExist).
func Name(f *os.File, path string) error {
	return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
}

// SyncData makes a file's bytes durable, and of its metadata what reading needs.
func SyncData(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }

// Sequential hints that a file will be read from its start to its end.
func Sequential(f *os.File) { _ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_SEQUENTIAL) }
