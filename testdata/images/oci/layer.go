package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// File is one entry of a layer: a folder if Dir, a symbolic link if Link is set, a
// hard link if Hard is set, else a file with Body. Parents that are not listed are
// made, mode 0755, owned by root.
type File struct {
	Path     string // absolute, as the task sees it
	Mode     int64  // permission bits; 0 is 0755 for a folder, 0644 for a file
	UID, GID int
	Body     []byte
	Dir      bool
	Link     string // target of a symbolic link
	Hard     string // absolute path of a file listed before it
}

// tarLayer is a layer over an uncompressed tar on disk, read again each time.
func tarLayer(file string) (v1.Layer, error) {
	return layer(func() (io.ReadCloser, error) { return os.Open(file) })
}

// fileLayer is a layer of these files, sorted by path but for hard links, which
// must follow what they name.
func fileLayer(files []File) (v1.Layer, error) {
	entries := map[string]File{}
	for _, f := range files {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/" {
			return nil, fmt.Errorf("file %q: want a clean absolute path", f.Path)
		}
		if _, twice := entries[f.Path]; twice {
			return nil, fmt.Errorf("file %q: listed twice", f.Path)
		}
		entries[f.Path] = f
	}
	for _, f := range files {
		for dir := path.Dir(f.Path); dir != "/"; dir = path.Dir(dir) {
			if _, listed := entries[dir]; !listed {
				entries[dir] = File{Path: dir, Dir: true}
			}
		}
	}
	sorted := make([]File, 0, len(entries))
	for _, f := range entries {
		sorted = append(sorted, f)
	}
	slices.SortFunc(sorted, func(a, b File) int {
		if (a.Hard != "") != (b.Hard != "") {
			if a.Hard != "" {
				return 1
			}
			return -1
		}
		return strings.Compare(a.Path, b.Path)
	})

	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range sorted {
		if err := write(w, f); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	return layer(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
}

func write(w *tar.Writer, f File) error {
	name := strings.TrimPrefix(f.Path, "/")
	h := &tar.Header{Name: name, Mode: f.Mode, Uid: f.UID, Gid: f.GID, ModTime: Created, Format: tar.FormatPAX}
	switch {
	case f.Dir:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case f.Link != "":
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.Link, 0o777
	case f.Hard != "":
		h.Typeflag, h.Linkname = tar.TypeLink, strings.TrimPrefix(f.Hard, "/")
	default:
		h.Typeflag, h.Size = tar.TypeReg, int64(len(f.Body))
	}
	if h.Mode == 0 {
		h.Mode = 0o644
		if f.Dir {
			h.Mode = 0o755
		}
	}
	if err := w.WriteHeader(h); err != nil {
		return fmt.Errorf("write layer entry %s: %w", f.Path, err)
	}
	if h.Typeflag == tar.TypeReg {
		if _, err := w.Write(f.Body); err != nil {
			return fmt.Errorf("write layer entry %s: %w", f.Path, err)
		}
	}
	return nil
}

func layer(open tarball.Opener) (v1.Layer, error) {
	l, err := tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.BestSpeed))
	if err != nil {
		return nil, fmt.Errorf("read layer: %w", err)
	}
	return l, nil
}
