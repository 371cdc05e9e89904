package steps

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

const (
	maxLinks = 1024
	maxTotal = 64 << 20 // bytes of all links
)

// ReadLinks reads the links that lie in a folder, and those of sublayouts below
// it. What is not named as a link is not opened. It refuses with file-unreadable.
func ReadLinks(folder fs.FS) (map[string][]byte, error) {
	r := reader{folder: folder, links: map[string][]byte{}}
	if err := r.read(".", 1); err != nil {
		return nil, &reason.Error{Code: reason.FileUnreadable, What: "read the in-toto links", Expected: fmt.Sprintf("at most %d files STEP.KEYID.link of %d bytes, %d in all", maxLinks, MaxSize, maxTotal),
			Err: err, Next: "name the folder of the links: --links DIR"}
	}
	return r.links, nil
}

type reader struct {
	folder fs.FS
	links  map[string][]byte
	total  int64
}

func (r *reader) read(dir string, depth int) error {
	entries, err := fs.ReadDir(r.folder, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, isLink := strings.CutSuffix(e.Name(), ".link")
		dot := strings.LastIndexByte(name, '.')
		if dot < 1 || len(name)-dot-1 != short || !keyID(name[dot+1:]) {
			continue
		}
		at := path.Join(dir, e.Name())
		info, err := fs.Stat(r.folder, at) // of what a symbolic link leads to
		if err != nil {
			return err
		}
		switch {
		case isLink && info.Mode().IsRegular():
			err = r.file(at)
		case isLink:
			err = fmt.Errorf("%s is no regular file", at)
		case info.IsDir() && depth < maxDepth:
			err = r.read(at, depth+1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) file(at string) error {
	if len(r.links) == maxLinks {
		return errors.New("more links than that")
	}
	f, err := r.folder.Open(at)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	raw, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return err
	}
	if r.total += int64(len(raw)); len(raw) > MaxSize || r.total > maxTotal {
		return fmt.Errorf("%s is too large", at)
	}
	r.links[at] = raw
	return nil
}
