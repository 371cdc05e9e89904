//go:build unix

package file

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

func plain(path string, flag int) (*os.File, error) {
	f, err := os.OpenFile(path, flag|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if errors.Is(err, unix.ELOOP) {
		err = ErrLink
	}
	return f, err
}

func reached(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
}

// Create makes a new file, mode 0400, to write and read.
func Create(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o400)
}

// Stat looks at an open file.
func Stat(f *os.File) (Entry, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return Entry{}, err
	}
	return entry(&st), nil
}

func entry(st *unix.Stat_t) Entry {
	mode := fs.FileMode(st.Mode & 0o777)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return Entry{mode, uint64(st.Nlink)} //nolint:unconvert // its width differs between systems
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	case unix.S_IFIFO:
		mode |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		mode |= fs.ModeSocket
	default:
		mode |= fs.ModeDevice
	}
	return Entry{mode, 1}
}

// Shared is the permission bits by which a file or folder is open to others than
// its owner.
func Shared(info fs.FileInfo) fs.FileMode { return info.Mode().Perm() }

// Owner is the user whose an open file is, as os.Geteuid would say, and its
// permission bits.
func Owner(f *os.File) (uid int, mode fs.FileMode, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, 0, err
	}
	return int(st.Uid), fs.FileMode(st.Mode & 0o777), nil
}

// Lock locks a file for one writer or, shared, for any number of readers, until
// it is closed; with wait it waits for others, otherwise they are ErrBusy.
func Lock(f *os.File, shared, wait bool) error {
	how := unix.LOCK_EX
	if shared {
		how = unix.LOCK_SH
	}
	if !wait {
		how |= unix.LOCK_NB
	}
	for {
		switch err := unix.Flock(int(f.Fd()), how); err {
		case unix.EINTR:
		case unix.EWOULDBLOCK:
			return ErrBusy
		default:
			return err
		}
	}
}

// Folder opens a folder to lock it.
func Folder(dir string) (*os.File, error) { return os.Open(dir) }

// SyncFolder makes the names in a folder durable, where the file system can.
func SyncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}

// Rename gives an open file another name, replacing what is there.
func Rename(_ *os.File, from, to string) error { return os.Rename(from, to) }

// Remove closes an open file and takes its name away, while a lock on it holds.
func Remove(f *os.File, path string) error { return errors.Join(os.Remove(path), f.Close()) }
