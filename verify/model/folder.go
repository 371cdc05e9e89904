package model

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/file"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

const (
	sigName    = "model.sig"
	maxEntries = 1 << 21 // looked at in one folder
	maxDepth   = 64
)

// unsignedTop is what the specification never signs.
var unsignedTop = []string{".git", ".gitignore", ".gitattributes", ".github"}

// folder is a model on disk: a folder, or one file in it.
type folder struct {
	dir    *os.File
	path   string
	single string // the file's name, "" for a folder
}

func openFolder(path string) (folder, error) {
	st, err := os.Stat(path)
	f := folder{path: path}
	switch {
	case err != nil:
	case st.Mode().IsRegular():
		f.path, f.single = filepath.Dir(path), filepath.Base(path)
	case !st.IsDir():
		return folder{}, &reason.Error{Code: reason.ModelFileType, What: "open model " + path, Expected: "a folder or a file", Found: st.Mode().Type().String()}
	}
	if err == nil {
		f.dir, err = os.Open(f.path)
	}
	if err != nil {
		return folder{}, unreadable("open model "+path, err)
	}
	return f, nil
}

// signatures lists where the signature may lie.
func (f folder) signatures(path string) []string {
	if f.single != "" {
		return []string{path + ".sig", filepath.Join(f.path, sigName)}
	}
	return []string{filepath.Join(path, sigName), filepath.Clean(path) + ".sig"}
}

// Open opens a regular file with one name below dir for reading, without
// following any symlink, leaving dir's file system or waiting for a FIFO.
func Open(dir *os.File, name string) (*os.File, error) {
	f, err := below(dir, name, false)
	if err != nil {
		return nil, err
	}
	e, err := file.Stat(f)
	if err != nil {
		f.Close()
		return nil, unreadable("read "+quote(name), err)
	}
	if err := plain(name, e); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// below opens name below dir under the rules of the package comment.
func below(dir *os.File, name string, folder bool) (*os.File, error) {
	f, err := file.Below(dir, name, folder)
	switch {
	case err == nil:
		return f, nil
	case errors.Is(err, file.ErrLink):
		return nil, &reason.Error{Code: reason.ModelSymlink, What: "read " + quote(name), Expected: "no symlink", Found: "a symlink"}
	case errors.Is(err, file.ErrElsewhere):
		return nil, &reason.Error{Code: reason.ModelFileType, What: "read " + quote(name), Expected: "a file of the folder's own file system", Found: "another file system"}
	case errors.Is(err, file.ErrNotRegular): // a socket, or a FIFO without a writer
		return nil, &reason.Error{Code: reason.ModelFileType, What: "read " + quote(name), Expected: "a regular file", Found: "a socket or device"}
	case errors.Is(err, fs.ErrNotExist):
		return nil, &reason.Error{Code: reason.ModelFileMissing, What: "read " + quote(name), Expected: "a file", Found: err.Error()}
	}
	return nil, unreadable("read "+quote(name), err)
}

// plain refuses everything but a regular file with one name.
func plain(name string, e file.Entry) error {
	var kind string
	switch e.Mode.Type() {
	case 0:
		if e.Names == 1 {
			return nil
		}
		return &reason.Error{Code: reason.ModelHardLink, What: "read " + quote(name), Expected: "1 name", Found: fmt.Sprintf("%d names", e.Names),
			Next: "copy the folder"}
	case fs.ModeSymlink:
		return &reason.Error{Code: reason.ModelSymlink, What: "read " + quote(name), Expected: "no symlink", Found: "a symlink"}
	case fs.ModeDir:
		kind = "a directory"
	case fs.ModeNamedPipe:
		kind = "a FIFO"
	case fs.ModeSocket:
		kind = "a socket"
	default:
		kind = "a device"
	}
	return &reason.Error{Code: reason.ModelFileType, What: "read " + quote(name), Expected: "a regular file", Found: kind}
}

// compare holds the names in the folder against the signed ones.
func (f folder) compare(m manifest, o Options) error {
	if f.single != "" {
		return nil // the folder around a single file is not the model
	}
	met := make(map[string]bool, len(m.files))
	for _, s := range m.files {
		met[s.name] = false
	}
	ignored := f.ignored(o)
	for _, p := range m.ignore {
		ignored[p] = true
	}
	w := walk{ignored: ignored, file: func(path string) error {
		if _, ok := met[path]; !ok {
			return unsigned(path)
		}
		met[path] = true
		return nil
	}}
	if err := w.directory(f.dir, "", 0); err != nil {
		return err
	}
	for _, s := range m.files {
		if !met[s.name] {
			return &reason.Error{Code: reason.ModelFileMissing, What: "look through model " + f.path, Expected: quote(s.name), Found: "no such file"}
		}
	}
	return nil
}

// ignored is what is not signed whatever the signature says.
func (f folder) ignored(o Options) map[string]bool {
	all := map[string]bool{}
	for _, p := range append(unsignedTop[:len(unsignedTop):len(unsignedTop)], o.Ignore...) {
		all[p] = true
	}
	if p := f.inside(o.Signature); p != "" {
		all[p] = true
	}
	return all
}

// inside is the path of a file relative to the folder, "" when it lies
// elsewhere.
func (f folder) inside(file string) string {
	if file == "" {
		return ""
	}
	root, err1 := filepath.EvalSymlinks(f.path)
	at, err2 := filepath.EvalSymlinks(filepath.Dir(file))
	if errors.Join(err1, err2) != nil {
		return ""
	}
	root, err1 = filepath.Abs(root)
	at, err2 = filepath.Abs(at)
	rel, err3 := filepath.Rel(root, filepath.Join(at, filepath.Base(file)))
	if errors.Join(err1, err2, err3) != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return ""
	}
	return filepath.ToSlash(rel)
}

// walk enumerates a folder and tells file of every regular file.
type walk struct {
	ignored map[string]bool
	file    func(path string) error
	seen    int
}

func (w *walk) directory(d *os.File, at string, depth int) error {
	names, err := d.Readdirnames(-1)
	if err != nil {
		return unreadable("list "+quote(at), err)
	}
	slices.Sort(names)
	if w.seen += len(names); w.seen > maxEntries || depth > maxDepth {
		return &reason.Error{Code: reason.ModelTooLarge, What: "list " + quote(at),
			Expected: fmt.Sprintf("at most %d entries, %d deep", maxEntries, maxDepth), Found: "more"}
	}
	for _, name := range names {
		path := name
		if at != "" {
			path = at + "/" + name
		}
		if w.ignored[path] {
			continue
		}
		e, err := file.Look(d, name)
		if err != nil {
			return unreadable("look at "+quote(path), err)
		}
		if e.Mode.IsDir() {
			sub, err := below(d, name, true)
			if err != nil {
				return err
			}
			err = w.directory(sub, path, depth+1)
			sub.Close()
			if err != nil {
				return err
			}
			continue
		}
		if err := plain(path, e); err != nil {
			return err
		}
		if err := w.file(path); err != nil {
			return err
		}
	}
	return nil
}

func unsigned(path string) error {
	return &reason.Error{Code: reason.ModelFileUnsigned, What: "look through the model", Expected: "signed files only", Found: quote(path),
		Next: "remove it, or sign the folder again"}
}

// readSmall reads a whole signature file.
func readSmall(path string) ([]byte, error) {
	f, err := file.Plain(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, evidence.MaxSize+1))
	if err == nil && len(raw) > evidence.MaxSize {
		err = fmt.Errorf("more than %d bytes", evidence.MaxSize)
	}
	return raw, err
}

func unreadable(what string, err error) error {
	return &reason.Error{Code: reason.ModelUnreadable, What: what, Err: err}
}
