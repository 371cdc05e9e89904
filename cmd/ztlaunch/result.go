package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// result is where --result goes, or a report; nil is nowhere. A file's folder may be one that
// the task or others write to, so nothing is there by name until the run is over,
// and then under a name that nobody could know.
type result struct {
	file   *os.File // a descriptor, pipe or device; nil for a file
	folder *os.Root // of a file
	name   string   // in folder
}

// openResult looks at the target before anything is done, so that a wrong one
// stops the run.
func openResult(flag, to string) (*result, error) {
	if to == "" {
		return nil, nil
	}
	fail := func(expected string, err error) (*result, error) {
		return nil, &reason.Error{Code: reason.FileUnwritable, What: "open " + flag + " " + to, Expected: expected, Err: err}
	}
	if n, ok := descriptor(to); ok {
		fd, err := strconv.Atoi(n)
		if err != nil || fd < 1 {
			return nil, wrong("read "+flag+" "+to, "FILE or fd:N", flag+" result.json")
		}
		f := os.NewFile(uintptr(fd), to)
		switch fd {
		case 1:
			f = os.Stdout
		case 2:
			f = os.Stderr
		}
		if _, err := f.Stat(); err != nil {
			return fail("an open descriptor", err)
		}
		return &result{file: f}, nil
	}
	if st, err := os.Lstat(to); err == nil && !st.Mode().IsRegular() { // a pipe or a device is written to, never replaced
		f, err := special(to, st)
		if err != nil {
			return fail("a file that can be written, or none yet", err)
		}
		return &result{file: f}, nil
	}
	folder, err := os.OpenRoot(filepath.Dir(to))
	if err != nil {
		return fail("a file in a writable folder", err)
	}
	r := &result{folder: folder, name: filepath.Base(to)}
	f, try, err := r.create()
	if err == nil {
		f.Close()
		err = folder.Remove(try)
	}
	if err != nil {
		folder.Close()
		return fail("a file in a writable folder", err)
	}
	return r, nil
}

// special opens what is no regular file, as it was seen. Who else may write to the
// folder may have put a link there, which is followed nowhere but below /dev.
func special(name string, seen os.FileInfo) (*os.File, error) {
	if seen.Mode()&os.ModeSymlink != 0 {
		at, err := filepath.Abs(name)
		if err == nil && strings.HasPrefix(at, "/dev/") {
			seen, err = os.Stat(name)
		}
		if err != nil {
			return nil, err
		}
		if mode := seen.Mode(); mode.IsRegular() || mode&os.ModeSymlink != 0 {
			leads, err := os.Readlink(name)
			return nil, errors.Join(fmt.Errorf("a symbolic link to %s", leads), err)
		}
	}
	f, err := os.OpenFile(name, os.O_WRONLY|syscall.O_NONBLOCK, 0) // a pipe that nobody reads is an error
	if err != nil {
		return nil, err
	}
	if is, err := f.Stat(); err != nil || !os.SameFile(seen, is) {
		return nil, errors.Join(errors.New("another file than a moment ago"), err, f.Close())
	}
	return f, nil
}

// descriptor is N of fd:N and of the names that a shell's user knows it by: what is
// open there is written to, wherever it leads.
func descriptor(to string) (n string, ok bool) {
	switch to {
	case "/dev/stdout":
		return "1", true
	case "/dev/stderr":
		return "2", true
	}
	for _, folder := range []string{"fd:", "/dev/fd/", "/proc/self/fd/"} {
		if n, ok = strings.CutPrefix(to, folder); ok {
			return n, true
		}
	}
	return "", false
}

// end closes what was opened here, and leaves standard output and error.
func (r *result) end() error {
	if r.file == os.Stdout || r.file == os.Stderr {
		return nil
	}
	return r.file.Close()
}

// create makes a new file in the folder, under a name of its own.
func (r *result) create() (*os.File, string, error) {
	name := "." + r.name + "." + rand.Text()
	f, err := r.folder.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	return f, name, err
}

// write writes an outcome, when nothing of the task is left.
func (r *result) write(o any) error {
	if r == nil {
		return nil
	}
	var err error
	if r.file != nil {
		err = errors.Join(writeJSON(r.file, o), r.end())
	} else {
		err = r.replace(o)
	}
	if err != nil {
		return &reason.Error{Code: reason.OutputClosed, What: "write --result", Err: err}
	}
	return nil
}

// replace puts the outcome at the file's name, whole or not at all.
func (r *result) replace(o any) error {
	defer r.folder.Close()
	f, name, err := r.create()
	if err != nil {
		return err
	}
	if err := errors.Join(writeJSON(f, o), f.Close()); err != nil {
		return errors.Join(err, r.folder.Remove(name))
	}
	return r.folder.Rename(name, r.name)
}
