package file

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/windows"
)

func plain(path string, flag int) (*os.File, error) {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeSymlink != 0:
		return nil, ErrLink
	case !info.Mode().IsRegular():
		return nil, ErrNotRegular
	}
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, err
	}
	if now, err := f.Stat(); err != nil || !os.SameFile(info, now) {
		f.Close()
		return nil, errors.Join(ErrLink, err)
	}
	return f, nil
}

func reached(path string) (*os.File, error) { return os.Open(path) }

// Create makes a new file to write and read.
func Create(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}

// Stat looks at an open file.
func Stat(f *os.File) (Entry, error) {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		if err != nil {
			return Entry{}, err
		}
		return Entry{info.Mode(), 1}, nil
	}
	var by windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(windows.Handle(f.Fd()), &by); err != nil {
		return Entry{}, err
	}
	return Entry{info.Mode(), uint64(by.NumberOfLinks)}, nil
}

// Shared is 0700: the folder's access list is what keeps others out, and the bits
// that are shown here say nothing.
func Shared(fs.FileInfo) fs.FileMode { return 0o700 }

// Owner is the caller, alone: the folder's access list is what keeps others out.
func Owner(*os.File) (uid int, mode fs.FileMode, err error) { return os.Geteuid(), 0o600, nil }

// Lock locks a file for one writer or, shared, for any number of readers, until
// it is closed; with wait it waits for others, otherwise they are ErrBusy.
func Lock(f *os.File, shared, wait bool) error {
	var flags uint32
	if !shared {
		flags |= windows.LOCKFILE_EXCLUSIVE_LOCK
	}
	if !wait {
		flags |= windows.LOCKFILE_FAIL_IMMEDIATELY
	}
	// One byte far beyond any file's end: a lock here keeps others from what it
	// covers, and they are to read.
	at := windows.Overlapped{OffsetHigh: 1 << 30}
	err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, &at)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return ErrBusy
	}
	return err
}

// Folder opens a folder to lock it: a file in it, since a folder cannot be locked.
func Folder(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, ".lock"), os.O_RDWR|os.O_CREATE, 0o600)
}

// SyncFolder does nothing: names are durable when they are written.
func SyncFolder(string) error { return nil }

// Rename gives an open file another name, replacing what is there. The file is
// closed first: an open one keeps its name here.
func Rename(f *os.File, from, to string) error {
	if err := f.Close(); err != nil {
		return err
	}
	// A name cannot be given while another process has what bears it open. It does
	// so for moments only: what is read here is read at once.
	err := os.Rename(from, to)
	for wait := time.Millisecond; wait < patience && (errors.Is(err, windows.ERROR_ACCESS_DENIED) || errors.Is(err, windows.ERROR_SHARING_VIOLATION)); wait *= 2 {
		time.Sleep(wait)
		err = os.Rename(from, to)
	}
	return err
}

// patience is the longest single wait for a name; they add up to twice that.
const patience = time.Second

// Remove closes an open file and takes its name away.
func Remove(f *os.File, path string) error { return errors.Join(f.Close(), os.Remove(path)) }
