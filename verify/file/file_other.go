//go:build !linux

package file

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Below opens name, a slash-separated path, below an open folder: a folder if dir
// is set, otherwise whatever is there. Errors are ErrLink, ErrElsewhere,
// ErrNotRegular for what is neither a file nor a folder, and those of io/fs.
func Below(at *os.File, name string, dir bool) (*os.File, error) {
	root, err := os.OpenRoot(at.Name())
	if err != nil {
		return nil, err
	}
	defer root.Close()
	for part, rest := "", name; rest != ""; {
		var next string
		next, rest, _ = strings.Cut(rest, "/")
		part = path.Join(part, next)
		info, err := root.Lstat(filepath.FromSlash(part))
		switch {
		case err != nil:
			return nil, err
		case info.Mode()&fs.ModeSymlink != 0:
			return nil, ErrLink
		case rest != "" || dir:
			if !info.IsDir() {
				return nil, fs.ErrNotExist
			}
		case !info.Mode().IsRegular() && !info.IsDir():
			return nil, ErrNotRegular
		}
		if rest == "" {
			return same(root, part, filepath.Join(at.Name(), filepath.FromSlash(name)), info)
		}
	}
	return nil, fs.ErrNotExist
}

// same opens what was looked at. The file bears its whole path, for Below to start
// from.
func same(root *os.Root, name, whole string, looked fs.FileInfo) (*os.File, error) {
	inside, err := root.Stat(filepath.FromSlash(name))
	if err != nil {
		return nil, err
	}
	f, err := os.Open(whole)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && (!os.SameFile(info, looked) || !os.SameFile(inside, looked)) {
		err = ErrLink
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Look looks at one name in an open folder.
func Look(at *os.File, name string) (Entry, error) {
	info, err := os.Lstat(filepath.Join(at.Name(), name))
	if err != nil || !info.Mode().IsRegular() {
		if err != nil {
			return Entry{}, err
		}
		return Entry{info.Mode(), 1}, nil
	}
	f, err := os.Open(filepath.Join(at.Name(), name))
	if err != nil {
		return Entry{}, err
	}
	defer f.Close()
	return Stat(f)
}

// Unnamed says ErrNoUnnamed: these systems have no such files.
func Unnamed(string) (*os.File, error) { return nil, ErrNoUnnamed }

// Name gives an unnamed file its name.
func Name(*os.File, string) error { return ErrNoUnnamed }

// SyncData makes a file's bytes durable.
func SyncData(f *os.File) error { return f.Sync() }

// Sequential hints that a file will be read from its start to its end.
func Sequential(*os.File) {}
