package fetch

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// files is a folder on disk or within a tar file. Names are relative and
// slash-separated, and made here: never from what a file says unless checked.
type files interface {
	open(name string) (io.ReadCloser, int64, error) // fs.ErrNotExist if absent
	list(dir string) ([]string, error)
	close()
}

// folder is a folder on disk. Links in it are followed: whatever they lead to
// has to have the right digest.
type folder string

func (f folder) open(name string) (io.ReadCloser, int64, error) {
	return sized(openFile(filepath.Join(string(f), filepath.FromSlash(name))))
}

func sized(f *os.File, n int64, err error) (io.ReadCloser, int64, error) {
	if err != nil {
		return nil, 0, err
	}
	return f, n, nil
}

func (f folder) list(dir string) ([]string, error) {
	d, err := os.Open(filepath.Join(string(f), filepath.FromSlash(dir)))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(maxScan + 1)
	if err == io.EOF {
		err = nil
	}
	return names, err
}

func (f folder) close() {}

// tarFile is an uncompressed tar file, of which only the table is read.
type tarFile struct {
	f     *os.File
	table map[string]entry
}

type entry struct {
	offset, size int64
	link         string // the name of the entry that has the bytes
}

const maxEntries = 100000

// openTar reads the table of an archive, which it takes over. A second entry
// of the same name is refused: readers differ on which one counts.
func openTar(what string, f *os.File) (*tarFile, error) {
	t := &tarFile{f, map[string]entry{}}
	if err := t.scan(what); err != nil {
		f.Close()
		return nil, err
	}
	return t, nil
}

func (t *tarFile) scan(what string) error {
	malformed := func(err error) error {
		return &reason.Error{Code: reason.ArchiveMalformed, What: "read " + what, Err: err}
	}
	magic := make([]byte, 6)
	n, _ := t.f.ReadAt(magic, 0)
	if kind := compression(magic[:n]); kind != "" {
		return &reason.Error{Code: reason.ArchiveCompressed, What: "read " + what, Expected: "an uncompressed tar file", Found: kind, Next: "decompress it first"}
	}
	r := tar.NewReader(t.f)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return malformed(err)
		}
		at, err := t.f.Seek(0, io.SeekCurrent)
		if err != nil {
			return malformed(err)
		}
		name := path.Clean(h.Name)
		if !fs.ValidPath(name) {
			return malformed(fmt.Errorf("entry %.100q", h.Name))
		}
		e := entry{offset: at, size: h.Size}
		switch h.Typeflag {
		case tar.TypeReg:
		case tar.TypeSymlink:
			e = entry{link: path.Join(path.Dir(name), h.Linkname)}
		case tar.TypeLink:
			e = entry{link: path.Clean(h.Linkname)}
		default:
			continue
		}
		if _, twice := t.table[name]; twice {
			return malformed(fmt.Errorf("entry %.100q twice", name))
		}
		if t.table[name] = e; len(t.table) > maxEntries {
			return malformed(fmt.Errorf("more than %d entries", maxEntries))
		}
	}
	if len(t.table) == 0 {
		return malformed(errors.New("no files in it"))
	}
	return nil
}

// compression names the format that a file's first bytes tell, or is empty.
func compression(magic []byte) string {
	for _, k := range [...]struct{ kind, prefix string }{{"gzip", "\x1f\x8b"}, {"zstd", "\x28\xb5\x2f\xfd"}, {"xz", "\xfd7zXZ\x00"}, {"bzip2", "BZh"}} {
		if bytes.HasPrefix(magic, []byte(k.prefix)) {
			return k.kind
		}
	}
	return ""
}

func (t *tarFile) section(name string) (*io.SectionReader, error) {
	for range 10 {
		e, ok := t.table[name]
		if !ok {
			return nil, fs.ErrNotExist
		}
		if e.link == "" {
			return io.NewSectionReader(t.f, e.offset, e.size), nil
		}
		name = e.link
	}
	return nil, errors.New("too many links")
}

func (t *tarFile) open(name string) (io.ReadCloser, int64, error) {
	s, err := t.section(name)
	if err != nil {
		return nil, 0, err
	}
	return io.NopCloser(s), s.Size(), nil
}

func (t *tarFile) list(dir string) ([]string, error) {
	var names []string
	for name := range t.table {
		if rest, ok := strings.CutPrefix(name, dir+"/"); ok && !strings.Contains(rest, "/") {
			names = append(names, rest)
		}
	}
	return names, nil
}

func (t *tarFile) close() { t.f.Close() }
