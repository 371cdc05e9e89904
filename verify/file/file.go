// Package file opens and locks files in the few ways that differ between the
// systems that ztlaunch is built for, and is the only place in verification that
// knows the difference.
//
// Plain opens a regular file by its path: no link in the last component is
// followed, and nothing is waited for (a FIFO has no other end here). Below opens
// what has one name below an open folder, and follows no link at all on the way:
// on Linux by openat2(2) with RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS,
// RESOLVE_NO_MAGICLINKS and RESOLVE_NO_XDEV; elsewhere each component is looked at,
// within an os.Root, and the file that was opened must be the one that was looked
// at.
//
// Locks are advisory on unix systems and bind this program's processes only. A
// folder is locked through itself where that can be done, and through a file
// named ".lock" in it on Windows.
//
// What is not checked: who may write a file. Owner says whose it is and who else
// may read it; on Windows that is left to the folder's access list.
package file

import (
	"errors"
	"io/fs"
	"os"
)

// What can be in the way, besides the errors of io/fs.
var (
	ErrLink       = errors.New("a symbolic link")
	ErrNotRegular = errors.New("not a regular file")
	ErrElsewhere  = errors.New("on another file system")
	ErrBusy       = errors.New("locked by another process")
	ErrNoUnnamed  = errors.New("no files without a name here")
)

// Plain opens a regular file; flag is as for os.OpenFile. Errors are ErrLink,
// ErrNotRegular and those of os.OpenFile.
func Plain(path string, flag int) (*os.File, error) { return regular(plain(path, flag)) }

// Reached opens a regular file to read, following links to it.
func Reached(path string) (*os.File, error) { return regular(reached(path)) }

func regular(f *os.File, err error) (*os.File, error) {
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = ErrNotRegular
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Entry is one name in a folder, looked at without following it.
type Entry struct {
	Mode  fs.FileMode // type and permission bits
	Names uint64      // hard links to a file; 1 for everything else
}
